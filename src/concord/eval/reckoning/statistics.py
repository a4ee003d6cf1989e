"""Results with intervals: shares, means, paired differences, ratios of sums, and any statistic of rows.

    share_result         of yes and no           Wilson's interval, on the effective number of values
    mean_result          of numbers              symmetric bootstrap-t, 10,000 resamples
    difference_result    of paired numbers       the same; where no pair differs, as far as that is known
    ratio_result         sum over sum            the same
    statistic_result     of anything else        Student's t with the bootstrap's standard error
    reckoning.comparing  several at once, and what a run of some size could show

    share_result("refused", refused, clusters=(templates,), unit="replies", how="...")

`clusters` says what makes values alike, one label a value for each reason: () where values are independent,
(templates,) where those of one template are alike, (templates, people) where both matter. An interval then
speaks of other templates and other people too. Levels are 95%.

The kinds of interval were chosen by how often they hold the truth, with 20 to 400 values, which the tests
repeat. Percentiles of the bootstrap, also corrected (BCa), do so less often than they say with few clusters,
and equal tails of bootstrap-t with values that are nearly all equal. Below 8 effective clusters resamples
are too much alike, and Student's t on the clusters takes their place. With one cluster, or where nothing
differs between them, there is no interval, and `how` says why. Two cases hold the truth in some 90 of 100
only: means of 20 values with a heavy tail, and shares that a few of the clusters decide.

None stands for what could not be measured: it counts into `failures`, and never as a zero. Values and `seed`
decide all; the order in which they come matters to `statistic_result` alone.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite, sqrt
from typing import TypedDict, TypeVar, Unpack

import numpy as np

from concord.errors import InputError, Said, explain
from concord.estimates import t_quantile, wilson_ends
from concord.eval.reckoning.resampling import (
    Design,
    Floats,
    Labels,
    between,
    check_finite,
    combined,
    designed,
    errors,
    measured,
    reach,
    redrawn,
)
from concord.types import Challenge, Interval, Result

__all__ = [
    "ALIKE",
    "LEVEL",
    "About",
    "Labels",
    "difference_result",
    "mean_result",
    "ratio_result",
    "share_ends",
    "share_result",
    "statistic_result",
    "wilson",
    "without_interval",
]

T = TypeVar("T")

LEVEL = 0.95
"""The level of confidence of every interval here."""
ALIKE = 12
"""Values, or clusters of them, without any spread that are taken at their word; fewer may be so by chance."""

_REDRAWN = 1_000  # resamples of a statistic, each of which calls a function; a standard error needs no more
_SILENT = 0.05  # of these may have no value


class About(TypedDict, total=False):
    """What a result says of itself, as in `Result`."""

    unit: str
    how: str
    challenge: Challenge
    higher_is_better: bool
    at: Mapping[str, str | float]
    reading: str


def wilson(hits: float, n: int, *, level: float = LEVEL) -> Interval:
    """Wilson's interval of a share: the p for which (hits / n - p)^2 <= z^2 p (1 - p) / n (1927).

    It has width where nothing or everything hits. Hits may be halves, as of ties.
    """
    if not (n > 0 and 0 <= hits <= n and 0 < level < 1):
        wrong, found = "there is no such share", Said(f"{hits!r} of {n!r} at {level!r}")
        accepted = "n of 1 or more, hits from 0 to n, a level between 0 and 1"
        raise InputError(explain(wrong, found=found, accepted=accepted, do="count again"))
    low, high = wilson_ends(hits / n, n, level=level)
    return Interval(low, high, level=level, how=f"Wilson's interval on {n} values")


def share_result(
    name: str,
    hits: Sequence[bool | None],
    *,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
    **about: Unpack[About],
) -> Result:
    """The share of values that hold.

    Wilson's interval on n / max(1, design effect) values: the variance over clusters relative to that of
    independent values. Where all values agree nothing shows how clusters differ, and each counts once. No
    chance is in it; `seed` is taken so that all results are called alike.
    """
    del seed
    if odd := [hit for hit in hits if hit is not None and hit not in (0, 1)]:
        wrong, do = "a value is neither yes nor no", "give True or False, or take mean_result for numbers"
        raise InputError(explain(wrong, found=odd[0], accepted="True, False, None", do=do))
    (held,), design = measured(hits, clusters=clusters)
    n, failures = len(held), len(hits) - len(held)
    if not n:
        return _result(name, None, 0, "", failures=failures, about=about)
    share = float(held.mean())
    if not (design.independent or design.known):
        return _result(name, share, n, _too_few(design), failures=failures, about=about)
    low, high, effective = share_ends(held, design)
    how = f"Wilson's interval on {effective:.6g} effective of {n} values, of {design.words}"
    return _result(name, share, n, Interval(low, high, level=LEVEL, how=how), failures=failures, about=about)


def share_ends(held: Floats, design: Design, *, level: float = LEVEL) -> tuple[float, float, float]:
    """The ends of the share of values that are 1 and not 0, and how many effective values it rests on."""
    share, n = float(held.mean()), len(held)
    effective, reached = float(n), None
    if not design.independent:
        reached = t_quantile(level, design.freedom())
        if 0 < share < 1:
            variance = float(errors(design, (held - share)[:, None], np.ones(n))[0]) ** 2
            effective = n / max(1.0, variance * n / (share * (1 - share)))
        else:
            effective = design.effective()
    return *wilson_ends(share, effective, level=level, reach=reached), effective


def mean_result(
    name: str,
    values: Sequence[float | None],
    *,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
    **about: Unpack[About],
) -> Result:
    """The mean of numbers. Take `share_result` for yes and no: it knows that a share stays within 0 and 1."""
    (numbers,), design = measured(values, clusters=clusters)
    failures = len(values) - len(numbers)
    if not len(numbers):
        return _result(name, None, 0, "", failures=failures, about=about)
    value, interval = _ratio(numbers, np.ones(len(numbers)), design, seed)
    return _result(name, value, len(numbers), interval, failures=failures, about=about)


def difference_result(
    name: str,
    ours: Sequence[float | None],
    theirs: Sequence[float | None],
    *,
    clusters: Sequence[Labels] = (),
    same: bool = False,
    seed: int = 0,
    **about: Unpack[About],
) -> Result:
    """The mean of ours - theirs, paired by position; a pair that lacks one is a failure.

    Pairs that are all equal do not show that others are: fewer than ALIKE give no interval, and more of them
    one with the ends that Wilson's allows, where scores stay between 0 and 1; on any other scale 0, of which
    it is said that no pair differed.

    same: the two are one model, which differs from itself by 0 with no width
    """
    (mine, yours), design = measured(ours, theirs, clusters=clusters)
    failures = len(ours) - len(mine)
    if not len(mine):
        return _result(name, None, 0, "", failures=failures, about=about)
    gap = between(mine, yours)
    value, interval = _ratio(gap, np.ones(len(gap)), design, seed)
    if not gap.any():
        interval = _of_equals(mine, design, same=same)
    return _result(name, value, len(gap), interval, failures=failures, about=about)


def _of_equals(scores: Floats, design: Design, *, same: bool) -> Interval | str:
    """The interval of a difference of two that are equal in each pair, or why it has none."""
    equal = f"the two are equal in each of {len(scores)} pairs"
    if same:
        return Interval(0.0, 0.0, level=LEVEL, how=f"{equal}, as they are one model")
    if not design.known or design.effective() < ALIKE:
        return f"{equal}, too few to show that they always are"
    if scores.min() < 0 or scores.max() > 1:
        return Interval(0.0, 0.0, level=LEVEL, how=f"no pair differed: {equal}")
    most = share_ends(np.zeros(len(scores)), design)[1]
    how = f"{equal}; Wilson's interval of how many may differ, by 1 at most"
    return Interval(-most, most, level=LEVEL, how=how)


def ratio_result(
    name: str,
    above: Sequence[float | None],
    below: Sequence[float | None],
    *,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
    **about: Unpack[About],
) -> Result:
    """The sum of `above` over the sum of `below`, paired by position: hits per try, tokens per reply.

    Not the mean of ratios, to which a prompt with few tries would add as much as one with many.
    """
    (numbers, sizes), design = measured(above, below, clusters=clusters)
    if (sizes < 0).any():
        wrong, do = "an amount to divide by is negative", "exchange the signs of both"
        raise InputError(explain(wrong, found=float(sizes.min()), accepted="0 and above", do=do))
    failures = len(above) - len(numbers)
    if not sizes.any():
        why = "what is divided by adds up to 0; give values of which some are larger" if len(sizes) else ""
        return _result(name, None, 0, why, failures=failures + len(sizes), about=about)
    value, interval = _ratio(numbers, sizes, design, seed)
    return _result(name, value, len(numbers), interval, failures=failures, about=about)


def statistic_result(
    name: str,
    rows: Sequence[T],
    statistic: Callable[[Sequence[T]], float | None],
    *,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
    **about: Unpack[About],
) -> Result:
    """Any function of rows, None where they give it no value: a correlation, a median, a concordance.

    Student's t with the standard deviation over 1,000 resamples: the interval always holds the value, and a
    bias that grows as rows repeat does not move it. For crossed factors variances add up as in
    `concord.eval.reckoning.resampling`. A mean, a difference or a ratio has better intervals, and sooner.
    """
    design = designed(clusters, len(rows))
    value = statistic(rows) if len(rows) else None
    if value is None:
        why = f"the statistic has no value on these {len(rows)} rows; give more of them" if len(rows) else ""
        return _result(name, None, 0, why, failures=len(rows), about=about)
    check_finite([value])
    interval = _too_few(design) or _scattered(rows, statistic, value, design, seed)
    return _result(name, value, len(rows), interval, failures=0, about=about)


def without_interval(how: str, why: str) -> str:
    """How something was measured, and why it has no interval."""
    return f"{how.rstrip('.')}; no interval: {why}".removeprefix("; ")


def _ratio(above: Floats, below: Floats, design: Design, seed: int) -> tuple[float, Interval | str]:
    """The value of sum above / sum below, with its interval or why there is none."""
    first = above[0] / below[0] if below[0] else 0.0
    moved = above - first * below  # so that equal values leave exact zeros
    rest = moved.sum() / below.sum()
    value = float(first + rest)
    if why := _too_few(design):
        return value, why
    off = (moved - rest * below)[:, None]
    error = errors(design, off, below)
    if not error[0]:
        return value, f"nothing differs between the {design.words}"
    if not isfinite(error[0]):
        return value, f"one of the {design.words} holds all that is divided by"
    times, how = reach(design, off, below, error, level=LEVEL, seed=seed)
    half = float(times[0] * error[0])
    return value, Interval(value - half, value + half, level=LEVEL, how=how)


def _scattered(
    rows: Sequence[T],
    statistic: Callable[[Sequence[T]], float | None],
    value: float,
    design: Design,
    seed: int,
) -> Interval | str:
    variances: list[Floats] = []
    silent = 0
    for chosen in design.sets():
        draws = redrawn(design, chosen, _REDRAWN, seed=seed)
        drawn = [statistic([rows[place] for place in places]) for places in draws]
        there = np.array([one for one in drawn if one is not None and isfinite(one)])
        silent = max(silent, len(drawn) - len(there))
        if silent > _SILENT * _REDRAWN:
            return f"the statistic has no value in {silent} or more of {_REDRAWN:,} resamples"
        count = int(design.within(chosen).max()) + 1
        variances.append(count / (count - 1) * there.var(keepdims=True))
    error = sqrt(float(combined(design.sets(), variances)[0]))
    if not error:
        return f"it comes out the same in every resample of {design.words}"
    half = t_quantile(LEVEL, design.freedom()) * error
    how = f"Student's t, {_REDRAWN:,} resamples of {design.words}"
    how += f", without {silent} that gave no value" * bool(silent)
    return Interval(value - half, value + half, level=LEVEL, how=how)


def _too_few(design: Design) -> str:
    """Why no interval can be reckoned, where it cannot."""
    if design.known:
        return ""
    return "there is one value only" if design.independent else "all values are of one cluster"


def _result(
    name: str, value: float | None, n: int, interval: Interval | str, *, failures: int, about: About
) -> Result:
    """A result with its interval, or with the reason why it has none."""
    if value is None:
        why = f"none of {failures} could be measured" if failures else "there was nothing to measure"
        why = interval if isinstance(interval, str) and interval else why
        return Result(name=name, value=None, n=0, failures=failures, why_none=why, **about)
    if isinstance(interval, str):
        about["how"] = without_interval(about.get("how", ""), interval)
        return Result(name=name, value=value, n=n, failures=failures, **about)
    return Result(name=name, value=value, n=n, interval=interval, failures=failures, **about)
