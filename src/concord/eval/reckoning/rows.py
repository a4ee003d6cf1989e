"""Statistics of rows of which some could not be measured, or that must not be drawn twice.

Whatever was not measured is left out and counted as a failure. Where a row drawn twice would look like
agreement (two equal texts, say), `left_out_result` leaves rows out instead of drawing them again.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import isfinite, sqrt
from statistics import fmean
from typing import TypeVar, Unpack

from concord.errors import InputError, Said, explain
from concord.estimates import t_quantile
from concord.eval.reckoning.resampling import designed
from concord.eval.reckoning.statistics import (
    LEVEL,
    SHARE,
    About,
    Labels,
    Scale,
    mean_result,
    scale_of,
    share_result,
    statistic_result,
    unseen,
    without_interval,
)
from concord.types import Challenge, Interval, Result

__all__ = [
    "PARTS",
    "check_alike",
    "check_numbers",
    "complete_result",
    "described",
    "gaps",
    "kept",
    "left_out_result",
    "outcome_result",
    "rate_result",
    "share_among",
]

T = TypeVar("T")

PARTS = 20
"""Into how many parts rows are shared out, each of which is left out in turn."""

_ROUNDING = 1e-12  # of the numbers themselves
_FROM_ZERO = Scale(0.0)


def check_alike(wrong: str, *given: Sequence[object]) -> None:
    """Refuse lists that should speak of the same things and differ in length."""
    if len({len(values) for values in given}) > 1:
        lengths = tuple(len(values) for values in given)
        do = "give the same things in the same order, with None for what could not be measured"
        raise InputError(explain(wrong, found=lengths, accepted="as many of each", do=do))


def check_numbers(what: str, first: Sequence[float], second: Sequence[float]) -> None:
    """Refuse two lists of numbers that do not go together one by one, or of which one is not finite."""
    if len(first) != len(second) or not first:
        wrong, do = f"{what} are not given as two lists of equal length", "leave out what lacks either number"
        found, accepted = Said(f"{len(first)} and {len(second)} numbers"), "as many of each, one or more"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    if odd := [value for value in (*first, *second) if not isfinite(value)]:
        wrong, do = f"a number of {what} is not finite", "leave out what could not be scored"
        raise InputError(explain(wrong, found=odd[0], accepted="finite numbers", do=do))


def kept(rows: Sequence[T | None], clusters: Sequence[Labels] = ()) -> tuple[list[T], tuple[Labels, ...]]:
    """The rows that could be measured, with their labels."""
    check_alike("rows and labels of clusters differ in number", rows, *clusters)
    labels = tuple(
        [label for label, row in zip(one, rows, strict=True) if row is not None] for one in clusters
    )
    return [row for row in rows if row is not None], labels


def complete_result(
    name: str,
    rows: Sequence[T | None],
    statistic: Callable[[Sequence[T]], float | None],
    *,
    why_none: str,
    scale: Scale | None = None,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
    **about: Unpack[About],
) -> Result:
    """As `statistic_result`, of the rows that are there; each None is a failure.

    why_none: what to say where no row is there, or where the statistic has no value
    scale: ends that the statistic cannot pass, and rows that would take it there
    """
    there, labels = kept(rows, clusters)
    failures = len(rows) - len(there)
    if not there or statistic(there) is None:
        return Result(name=name, value=None, n=len(there), failures=failures, why_none=why_none, **about)
    result = statistic_result(name, there, statistic, clusters=labels, seed=seed, scale=scale, **about)
    return replace(result, failures=result.failures + failures)


def share_among(
    name: str,
    hits: Sequence[bool | None],
    among: Sequence[bool | None],
    *,
    why_none: str,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
    **about: Unpack[About],
) -> Result:
    """The share of hits among the rows that count: P(hit given among).

    A row is a failure where it cannot be told whether it counts, or whether it is a hit.

    why_none: what to say where no row counts
    """
    check_alike("rows, and what counts among them, differ in number", hits, among, *clusters)
    places = [place for place, counts in enumerate(among) if counts]
    chosen = [hits[place] for place in places]
    unknown = sum(counts is None for counts in among)
    if all(hit is None for hit in chosen):
        failures = unknown + len(chosen)
        return Result(name=name, value=None, n=0, failures=failures, why_none=why_none, **about)
    labels = tuple([one[place] for place in places] for one in clusters)
    result = share_result(name, chosen, clusters=labels, seed=seed, **about)
    return replace(result, failures=result.failures + unknown)


def described(
    how: str,
    *,
    unit: str,
    challenge: Challenge,
    higher: bool | None = None,
    at: Mapping[str, str | float] | None = None,
) -> About:
    """What a result says of itself; `higher` is None where neither more nor less of it is better."""
    about = About(unit=unit, how=how, challenge=challenge, at=at or {})
    if higher is not None:
        about["higher_is_better"] = higher
    return about


def gaps(ours: Sequence[float | None], theirs: Sequence[float | None]) -> list[float | None]:
    """ours - theirs, paired by position; None where one is missing."""
    check_alike("paired values differ in number", ours, theirs)
    pairs = zip(ours, theirs, strict=True)
    return [None if one is None or other is None else one - other for one, other in pairs]


def rate_result(
    name: str,
    rates: Sequence[float | None],
    *,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
    **about: Unpack[About],
) -> Result:
    """The mean of rates in 0 to 1, with an interval even if all agree. Where each is 0 or 1 it is a share."""
    if all(rate in (0, 1, None) for rate in rates):
        hits = [None if rate is None else rate == 1 for rate in rates]
        return share_result(name, hits, clusters=clusters, seed=seed, **about)
    return mean_result(name, rates, clusters=clusters, seed=seed, scale=SHARE, **about)


def outcome_result(
    name: str,
    outcomes: Sequence[float | None],
    *,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
    **about: Unpack[About],
) -> Result:
    """The mean of wins (1), losses (0) and what is between, with an interval even where all are the same.

    A share, where none is between: thirty wins of thirty have Wilson's interval. Where all are ties, as many
    as Wilson's interval allows may be none, half a win or half a loss each. Where none passes 0 or 1, neither
    does the interval.
    """
    known = {one for one in outcomes if one is not None}
    if known and known <= {0, 1}:
        hits = [None if one is None else one == 1 for one in outcomes]
        return share_result(name, hits, clusters=clusters, seed=seed, **about)
    if known == {0.5}:
        differ = [None if one is None else False for one in outcomes]
        found = share_result(name, differ, clusters=clusters, seed=seed, **about)
        ends = found.interval and replace(
            found.interval, low=0.5 - found.interval.high / 2, high=0.5 + found.interval.high / 2
        )
        return replace(found, value=0.5, interval=ends)
    return mean_result(name, outcomes, clusters=clusters, seed=seed, scale=scale_of(known), **about)


def left_out_result(
    name: str,
    statistic: Callable[[Sequence[int]], float | None],
    units: Sequence[Labels],
    *,
    why_none: str,
    scale: Scale = _FROM_ZERO,
    alike: bool = False,
    seed: int = 0,
    **about: Unpack[About],
) -> Result:
    """A statistic of the places of rows, with an interval from leaving out a part of the units in turn.

    Var = 1 / g sum_k (p_k - mean p)^2 / (h_k - 1),  p_k = h_k t - (h_k - 1) t_k

    for g parts, t_k the statistic without part k, h_k the rows of all over those of the part; Student's t
    (the delete-m_k jackknife; Busing, Meijer and van der Leeden 1999). A statistic that falls with the number
    of rows does not seem to differ between parts of unlike size.

    Where nothing moves it, or there is one unit only, parts do not show how far off it may be. On a scale
    with ends that is as far as a share of units takes it that are unlike these, if it is a mean over pairs;
    `Scale` says how large that share is. Without ends there is no interval.

    units: a label a row for each way in which rows share something; of several the widest interval stands
    why_none: what to say where the statistic has no value
    scale: ends that the statistic cannot pass
    alike: whether the rows are, so that it can only differ by how many there are
    """
    places = range(len(units[0]))
    value = statistic(places)
    if value is None:
        return Result(name=name, value=None, n=len(places), why_none=why_none, **about)
    tell = partial(Result, name=name, value=value, n=len(places))
    widths = [_half_width(statistic, value, labels, seed=seed) for labels in units]
    why = next((width for width in widths if isinstance(width, str)), "")
    half = max((width for width in widths if not isinstance(width, str)), default=0.0)
    if not why and half and not alike:
        how = f"Student's t, leaving out one of at most {PARTS} parts in turn"
        ends = Interval(value - half, value + half, level=LEVEL, how=how)
        return tell(interval=scale.clip(value, ends), **about)
    if (ends := _of_pairs(value, units, scale)) is None:
        why = why or "it comes out the same whichever rows are left out"
        about["how"] = without_interval(about.get("how", ""), why)
    return tell(interval=ends, **about)


def _of_pairs(value: float, units: Sequence[Labels], scale: Scale) -> Interval | None:
    """The interval of a mean over pairs of units that are all alike; None where an end is infinite."""
    if not (isfinite(scale.low) and isfinite(scale.high)):
        return None
    # Labels that are all different say that rows are independent.
    shared = [[labels] if len(set(labels)) < len(labels) else () for labels in units]
    designs = [designed(one, len(units[0])) for one in shared]
    share, design = max(((unseen(one), one) for one in designs), key=lambda both: both[0])
    pairs = 1 - (1 - share) ** 2  # in which one at least of the two is unlike these
    low, high = (value + pairs * (end - value) for end in (scale.low, scale.high))
    return scale.clip(value, Interval(low, high, level=LEVEL, how=scale.how(share, design)))


def _half_width(
    statistic: Callable[[Sequence[int]], float | None], value: float, labels: Labels, *, seed: int
) -> float | str:
    """Half the width of the interval from one way of sharing, 0 where nothing differs; or why it has none."""
    units = list(dict.fromkeys(labels))
    random.Random(f"parts {seed}").shuffle(units)
    count = min(PARTS, len(units))
    if count < 2:
        return "all rows are of one cluster" if len(labels) > 1 else "there is one row only"
    part = {label: place % PARTS for place, label in enumerate(units)}
    left = [[place for place, label in enumerate(labels) if part[label] != gone] for gone in range(count)]
    values = [found for rows in left if (found := statistic(rows)) is not None]
    if len(values) < count:
        return "it has no value where some of the rows are left out"
    more = [len(rows) / (len(labels) - len(rows)) for rows in left]  # h - 1
    pseudo = [value + less * (value - one) for less, one in zip(more, values, strict=True)]
    middle = fmean(pseudo)
    error = sqrt(fmean((one - middle) ** 2 / less for less, one in zip(more, pseudo, strict=True)))
    same = error <= _ROUNDING * max(more) * max(abs(value), *(abs(one) for one in values))
    return 0.0 if same else t_quantile(LEVEL, count - 1) * error
