"""Statistics of rows of which some could not be measured, or that must not be drawn twice.

Whatever was not measured is left out and counted as a failure. Where a row drawn twice would look like
agreement (two equal texts, say), `left_out` leaves rows out instead of drawing them again.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf, isfinite, sqrt
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
    share_result,
    statistic_result,
    unseen,
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
    "left_out",
    "outcome_result",
    "rate_result",
    "share_among",
]

T = TypeVar("T")

PARTS = 20
"""Into how many parts rows are shared out, each of which is left out in turn."""


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
    scale = SHARE if known and min(known) >= 0 and max(known) <= 1 else None
    return mean_result(name, outcomes, clusters=clusters, seed=seed, scale=scale, **about)


def left_out(
    statistic: Callable[[Sequence[int]], float | None],
    value: float,
    units: Sequence[Labels],
    *,
    low: float = 0.0,
    high: float = inf,
    seed: int = 0,
) -> Interval | None:
    """An interval for a statistic of the places of rows, from leaving out a part of the units in turn.

    Var = (g - 1) / g sum_k (t_k - mean t)^2 for g parts (the delete-a-group jackknife), Student's t

    Where nothing moves it, or there is one unit only, it may be as far from here as a share of units takes it
    that are unlike all of these, if it is a mean over pairs; `Scale` says how large that share is.

    units: a label a row for each way in which rows share something; of several the widest interval stands
    low, high: ends that the statistic cannot pass
    """
    widths = [_half_width(statistic, labels, seed=seed) for labels in units]
    known = [width for width in widths if width is not None]
    if len(known) < len(widths) or not any(known):
        if not (units and isfinite(low) and isfinite(high)):
            return None
        # Labels that are all different say that rows are independent.
        shared = [[labels] if len(set(labels)) < len(labels) else () for labels in units]
        designs = [designed(one, len(units[0])) for one in shared]
        share, design = max(((unseen(one), one) for one in designs), key=lambda both: both[0])
        pairs = 1 - (1 - share) ** 2  # in which one at least of the two is unlike these
        ends = (value + pairs * (end - value) for end in (low, high))
        return Interval(*ends, level=LEVEL, how=Scale(low, high).how(share, design))
    how = f"Student's t, leaving out one of at most {PARTS} parts in turn"
    return Interval(max(low, value - max(known)), min(high, value + max(known)), level=LEVEL, how=how)


def _half_width(
    statistic: Callable[[Sequence[int]], float | None], labels: Labels, *, seed: int
) -> float | None:
    """Half the width of the interval from one way of sharing; None of a single unit."""
    units = list(dict.fromkeys(labels))
    random.Random(f"parts {seed}").shuffle(units)
    part = {label: place % PARTS for place, label in enumerate(units)}
    count = min(PARTS, len(units))
    if count < 2:
        return None
    left = [[place for place, label in enumerate(labels) if part[label] != gone] for gone in range(count)]
    values = [value for rows in left if (value := statistic(rows)) is not None]
    if len(values) < count:
        return None
    spread = sum((value - fmean(values)) ** 2 for value in values)
    return t_quantile(LEVEL, count - 1) * sqrt((count - 1) / count * spread)
