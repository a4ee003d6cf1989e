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
differs between them, resamples show nothing: then a `scale` that no value can leave gives the interval (see
`Scale`), and without one there is none, and `how` says why. Two cases hold the truth in some 90 of 100 only:
means of 20 values with a heavy tail, and shares that a few of the clusters decide.

None stands for what could not be measured: it counts into `failures`, and never as a zero. Values and `seed`
decide all; the order in which they come matters to `statistic_result` alone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from math import ceil, inf, isfinite, sqrt
from typing import Any, NamedTuple, TypedDict, TypeVar, Unpack

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
    "SHARE",
    "About",
    "Labels",
    "Scale",
    "difference_result",
    "mean_result",
    "ratio_result",
    "scale_of",
    "share_ends",
    "share_result",
    "statistic_result",
    "unseen",
    "wilson",
    "withheld",
    "without_interval",
]

T = TypeVar("T")

LEVEL = 0.95
"""The level of confidence of every interval here."""
ALIKE = 12
"""Values, or clusters, all alike and on no known scale, that are taken at their word; fewer may be chance."""

_REDRAWN = 1_000  # resamples of a statistic, each of which calls a function; a standard error needs no more
_SILENT = 0.05  # of these may have no value
_SILENCE = "the statistic has no value"
_NO_INTERVAL = "no interval: "


class About(TypedDict, total=False):
    """What a result says of itself, as in `Result`."""

    unit: str
    how: str
    challenge: Challenge
    higher_is_better: bool
    at: Mapping[str, str | float]
    reading: str


class Scale(NamedTuple):
    """The ends that a measure cannot pass, and what is as far from all that was seen as can be.

    No interval goes beyond the ends. Where all values are alike, the interval reaches as far as it would if
    a share of values stood at either end, which is the largest that Wilson's interval allows where none of K
    clusters is like that: z^2 / (K + z^2). So thirty zeros on a scale of 0 to 1 have the interval of a share
    that never holds.

    extremes: sets of rows for what is no mean; as many of each are added as that share takes, and the value
        with them is an end. Without any, the value itself moves as a mean does.
    """

    low: float = -inf
    high: float = inf
    extremes: Sequence[Sequence[Any]] = ()

    def clip(self, value: float, interval: Interval) -> Interval:
        """The interval without what lies beyond the ends; it holds the value, which rounding may move."""
        low, high = max(self.low, interval.low), min(self.high, interval.high)
        return replace(interval, low=min(value, low), high=max(value, high))

    def alike(self, value: float, design: Design, size: Floats | None = None) -> Interval | None:
        """The interval of a mean whose clusters are all alike; None where an end is infinite."""
        if not (isfinite(self.low) and isfinite(self.high)):
            return None
        share = unseen(design, size)
        low, high = (value + share * (end - value) for end in (self.low, self.high))
        return self.clip(value, Interval(low, high, level=LEVEL, how=self.how(share, design)))

    @property
    def apart(self) -> "Scale":
        """The scale of differences between two values on this one."""
        return Scale(self.low - self.high, self.high - self.low)

    def how(self, share: float, design: Design) -> str:
        """How such an interval was reckoned."""
        ends = f"from {self.low:g} to {self.high:g}"
        return f"by Wilson's interval at most {share:.1%} are unlike these {design.words}, anywhere {ends}"


SHARE = Scale(0.0, 1.0)
"""The scale of shares, and of all that lies between 0 and 1."""


def scale_of(*columns: Iterable[float | None]) -> Scale | None:
    """That of shares, where no number passes 0 or 1: shares and outcomes; else None, for it is not known."""
    known = [value for column in columns for value in column if value is not None]
    return SHARE if known and min(known) >= 0 and max(known) <= 1 else None


def unseen(design: Design, size: Floats | None = None, *, level: float = LEVEL) -> float:
    """The largest share of values that Wilson's interval allows to be unlike all that were seen.

    z^2 / (K + z^2) of K effective clusters; z is Student's t where these are of several values.
    """
    z = t_quantile(level, 0 if design.independent else design.freedom(size))
    return z * z / (design.effective(size) + z * z)


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
    independent values. Where all values agree, or are of one cluster, nothing shows how clusters differ, and
    each counts once. No chance is in it; `seed` is taken so that all results are called alike.
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
    low, high, effective = share_ends(held, design)
    how = f"Wilson's interval on {effective:.6g} effective of {n} values, of {design.words}"
    return _result(name, share, n, Interval(low, high, level=LEVEL, how=how), failures=failures, about=about)


def share_ends(held: Floats, design: Design, *, level: float = LEVEL) -> tuple[float, float, float]:
    """The ends of the share of values that are 1 and not 0, and how many effective values it rests on."""
    share, n = float(held.mean()), len(held)
    effective, reached = float(n), None
    if not design.independent:
        reached = t_quantile(level, design.freedom())
        if 0 < share < 1 and design.known:
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
    scale: Scale | None = None,
    **about: Unpack[About],
) -> Result:
    """The mean of numbers; `scale` has the ends that none can pass. Of yes and no take `share_result`."""
    (numbers,), design = measured(values, clusters=clusters)
    failures = len(values) - len(numbers)
    if not len(numbers):
        return _result(name, None, 0, "", failures=failures, about=about)
    value, interval = _ratio(numbers, np.ones(len(numbers)), design, seed, scale or Scale())
    return _result(name, value, len(numbers), interval, failures=failures, about=about)


def difference_result(
    name: str,
    ours: Sequence[float | None],
    theirs: Sequence[float | None],
    *,
    clusters: Sequence[Labels] = (),
    same: bool = False,
    seed: int = 0,
    scale: Scale | None = None,
    **about: Unpack[About],
) -> Result:
    """The mean of ours - theirs, paired by position; a pair that lacks one is a failure.

    Pairs that are all equal do not show that others are. Fewer than ALIKE give no interval, where no scale is
    told; more of them that of a scale, if no score passes 0 or 1, and else 0, of which it is said that no
    pair differed.

    same: the two are one model, which differs from itself by 0 with no width
    scale: the ends that no difference can pass; pairs that are all alike then have its interval
    """
    (mine, yours), design = measured(ours, theirs, clusters=clusters)
    failures = len(ours) - len(mine)
    if not len(mine):
        return _result(name, None, 0, "", failures=failures, about=about)
    gap = between(mine, yours)
    value, interval = _ratio(gap, np.ones(len(gap)), design, seed, scale or Scale())
    if not gap.any() and (same or isinstance(interval, str)):
        interval = _of_equals(mine, design, same=same)
    return _result(name, value, len(gap), interval, failures=failures, about=about)


def _of_equals(scores: Floats, design: Design, *, same: bool) -> Interval | str:
    """The interval of a difference of two that are equal in each pair, or why it has none."""
    equal = f"the two are equal in each of {len(scores)} pairs"
    if same:
        return Interval(0.0, 0.0, level=LEVEL, how=f"{equal}, as they are one model")
    if not design.known or design.effective() < ALIKE:
        return f"{equal}, too few to show that they always are"
    scale = scale_of(scores)
    ends = scale and scale.apart.alike(0.0, design)
    return ends or Interval(0.0, 0.0, level=LEVEL, how=f"no pair differed: {equal}")


def ratio_result(
    name: str,
    above: Sequence[float | None],
    below: Sequence[float | None],
    *,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
    scale: Scale | None = None,
    **about: Unpack[About],
) -> Result:
    """The sum of `above` over the sum of `below`, paired by position: hits per try, tokens per reply.

    Not the mean of ratios, to which a prompt with few tries would add as much as one with many.

    scale: the ends that no ratio can pass
    """
    (numbers, sizes), design = measured(above, below, clusters=clusters)
    if (sizes < 0).any():
        wrong, do = "an amount to divide by is negative", "exchange the signs of both"
        raise InputError(explain(wrong, found=float(sizes.min()), accepted="0 and above", do=do))
    failures = len(above) - len(numbers)
    if not sizes.any():
        why = "what is divided by adds up to 0; give values of which some are larger" if len(sizes) else ""
        return _result(name, None, 0, why, failures=failures + len(sizes), about=about)
    value, interval = _ratio(numbers, sizes, design, seed, scale or Scale())
    return _result(name, value, len(numbers), interval, failures=failures, about=about)


def statistic_result(
    name: str,
    rows: Sequence[T],
    statistic: Callable[[Sequence[T]], float | None],
    *,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
    scale: Scale | None = None,
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
    scale = scale or Scale()
    interval = _too_few(design) or _scattered(rows, statistic, value, design, seed)
    if isinstance(interval, Interval):
        interval = scale.clip(value, interval)
    elif not interval.startswith(_SILENCE):
        interval = _with_extremes(rows, statistic, value, design, scale) or interval
    return _result(name, value, len(rows), interval, failures=0, about=about)


def without_interval(how: str, why: str) -> str:
    """How something was measured, and why it has no interval."""
    return f"{how.rstrip('.')}; {_NO_INTERVAL}{why}".removeprefix("; ")


def withheld(result: Result) -> Result:
    """A result without its value, where chance may have made that and no interval says how far.

    The reason says what came of it, and on how little that rests.
    """
    if result.value is None or result.interval is not None:
        return result
    how, _, why = result.how.rpartition(_NO_INTERVAL)
    rests = f"{result.value:.4g} over {result.n:,} {result.unit}".rstrip()
    reason = f"no interval can be told ({why or 'nothing shows how much it varies'}); it came to {rests}"
    return replace(result, value=None, how=how.rstrip("; ") or result.how, why_none=f"{reason}; measure more")


def _ratio(
    above: Floats, below: Floats, design: Design, seed: int, scale: Scale
) -> tuple[float, Interval | str]:
    """The value of sum above / sum below, with its interval or why there is none."""
    first = above[0] / below[0] if below[0] else 0.0
    moved = above - first * below  # so that equal values leave exact zeros
    rest = moved.sum() / below.sum()
    value = float(first + rest)
    if why := _too_few(design):
        return value, scale.alike(value, design, below) or why
    off = (moved - rest * below)[:, None]
    error = errors(design, off, below)
    if not error[0]:
        return value, scale.alike(value, design, below) or f"nothing differs between the {design.words}"
    if not isfinite(error[0]):
        why = f"one of the {design.words} holds all that is divided by"
        return value, scale.alike(value, design, below) or why
    times, how = reach(design, off, below, error, level=LEVEL, seed=seed)
    half = float(times[0] * error[0])
    return value, scale.clip(value, Interval(value - half, value + half, level=LEVEL, how=how))


def _with_extremes(
    rows: Sequence[T],
    statistic: Callable[[Sequence[T]], float | None],
    value: float,
    design: Design,
    scale: Scale,
) -> Interval | None:
    """The interval of a statistic that no resample moves: as far as rows that were not seen would move it."""
    if not scale.extremes:
        return scale.alike(value, design)
    share = unseen(design)
    more = ceil(share / (1 - share) * len(rows))
    moved = [statistic([*rows, *(row for row in some for _ in range(more))]) for some in scale.extremes]
    ends = [value, *(one for one in moved if one is not None)]
    how = scale.how(share, design)
    return scale.clip(value, Interval(min(ends), max(ends), level=LEVEL, how=how))


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
            return f"{_SILENCE} in {silent} or more of {_REDRAWN:,} resamples"
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
