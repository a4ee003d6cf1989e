"""Several at once: how far each is from the best, who can be told apart, and what a run could show at all.

    simultaneous    of several scored on the same items: differences to the best, and groups
    detectable      the smallest difference that a run of some size would find
    spread          what `detectable` needs to know, from a pilot
    found_from      the smallest difference that what was measured would have shown, as a result

    standings = simultaneous({"dpo": dpo, "kto": kto, "sft": sft}, clusters=(prompts, seeds))
    standings.groups                                      (("dpo", "kto"), ("sft",))

    sd, icc = spread(pilot, clusters=(prompts, seeds))    of paired differences, say
    detectable(sd, 400 * 5, clusters=(400, 5), icc=icc)

Seeds are crossed with prompts: give a score for each prompt and seed, and the labels of both. A handful of
seeds decides how wide the intervals are, however many prompts there are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from math import inf, isfinite, sqrt
from typing import Unpack

import numpy as np

from concord.errors import InputError, Said, explain
from concord.estimates import t_quantile
from concord.eval.reckoning.resampling import (
    FEWEST,
    Design,
    Floats,
    Labels,
    between,
    errors,
    measured,
    parts,
    reach,
)
from concord.eval.reckoning.rows import left_out_result
from concord.eval.reckoning.statistics import LEVEL, About, without_interval
from concord.types import Interval, Result

__all__ = ["DETECTABLE", "Standings", "detectable", "found_from", "simultaneous", "spread"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standings:
    """How several stand to each other, the best first.

    `differences` are to the best of the others: that of the best itself is its lead. `told_apart` holds the
    pairs that differ beyond their interval, the better one first. `groups` are led by their best, from which
    none of them can be told apart; they overlap where one can be told apart from neither of two that do
    differ.
    """

    differences: Mapping[str, Result]
    told_apart: tuple[tuple[str, str], ...]
    groups: tuple[tuple[str, ...], ...]

    def apart(self, one: str, other: str) -> bool:
        """Whether two can be told apart, whichever is the better."""
        return bool({(one, other), (other, one)} & {*self.told_apart})


def simultaneous(
    scores: Mapping[str, Sequence[float | None]],
    *,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
    **about: Unpack[About],
) -> Standings:
    """Compare the mean scores of several, paired by position. Higher is better unless it is said to be not.

    theta_i - max_(j != i) theta_j in [min_j L_ij, min_j U_ij], where theta_i - theta_j in [L_ij, U_ij]

    Quantiles of |t*| that all pairs keep to at once make all intervals hold in 95 of 100 experiments, and
    with them those to the best, whichever that is (multiple comparisons with the best, Hsu 1984). A place at
    which one of them has no score is a failure.
    """
    if len(scores) < 2:
        wrong, found = "there is nothing to compare with", Said(f"scores of {len(scores)}")
        do = "give the scores of each under its name"
        raise InputError(explain(wrong, found=found, accepted="scores of two or more", do=do))
    columns, design = measured(*scores.values(), clusters=clusters)
    n, places = len(columns[0]), len(next(iter(scores.values())))
    at, told = about.pop("at", {}), about.pop("how", "")
    tell = partial(Result, name="difference_to_best", n=n, failures=places - n, **about)
    if not n:
        why = "no place has a score of each" if places else "there was nothing to measure"
        nothing = {name: tell(value=None, why_none=why, how=told, at={**at, "of": name}) for name in scores}
        return Standings(differences=nothing, told_apart=(), groups=(tuple(scores),))
    sign = -1.0 if about.get("higher_is_better") is False else 1.0
    order = sorted(range(len(columns)), key=lambda place: -sign * float(columns[place].mean()))
    names = [list(scores)[place] for place in order]
    ahead, half, how = _pairs(sign * np.stack([columns[place] for place in order], axis=1), design, seed)
    differences: dict[str, Result] = {}
    for place, name in enumerate(names):
        gap, wide = np.delete(ahead[place], place), np.delete(half[place], place)
        # Zero is added so that none is negative.
        low, high = sorted(sign * float(ends.min()) + 0.0 for ends in (gap - wide, gap + wide))
        interval = Interval(low, high, level=LEVEL, how=how) if isfinite(high - low) else None
        said = told if interval else without_interval(told, "too few places, or clusters of them")
        value = sign * float(gap.min()) + 0.0
        differences[name] = tell(value=value, interval=interval, how=said, at={**at, "of": name})
    pairs = combinations(range(len(names)), 2)
    apart = [(one, other) for one, other in pairs if ahead[one, other] > half[one, other]]
    told_apart = tuple((names[one], names[other]) for one, other in apart)
    return Standings(differences=differences, told_apart=told_apart, groups=_groups(names, {*apart}))


def _pairs(table: Floats, design: Design, seed: int) -> tuple[Floats, Floats, str]:
    """How far each column is ahead of each other one, the half widths of that, and how these were found.

    They are infinite where they cannot be known. A difference that is the same at each place has no spread
    to go by; it is believed from FEWEST effective clusters on, as signs that agree so often would be.
    """
    count = table.shape[1]
    one, other = np.triu_indices(count, k=1)
    gaps = between(table[:, one], table[:, other])
    gap, size = gaps.mean(axis=0), np.ones(len(table))
    ahead, half, wide, how = np.zeros((count, count)), np.zeros((count, count)), np.full(len(gap), inf), ""
    if design.known:
        moved = gaps - gaps[0]  # so that equal values leave exact zeros
        off = moved - moved.mean(axis=0)
        error = errors(design, off, size)
        times, how = reach(design, off, size, error, level=LEVEL, seed=seed) if error.any() else (0.0, "")
        unsure = (error == 0) & (gap != 0) & (design.effective() < FEWEST)
        wide = np.where(unsure, inf, times * error)
        how = f"all pairs at once: {how or 'differences are the same at each place'}"
    ahead[one, other], ahead[other, one] = gap, -gap
    half[one, other], half[other, one] = wide, wide
    return ahead, half, how


def _groups(names: Sequence[str], apart: set[tuple[int, int]]) -> tuple[tuple[str, ...], ...]:
    """For each, it and those below that it cannot be told apart from; none that lies within another."""
    groups: list[tuple[str, ...]] = []
    for leader in range(len(names)):
        alike = (place for place in range(leader, len(names)) if (leader, place) not in apart)
        group = tuple(names[place] for place in alike)
        if not any({*group} <= {*earlier} for earlier in groups):
            groups.append(group)
    return tuple(groups)


def detectable(
    sd: float,
    n: int,
    *,
    clusters: Sequence[int] = (),
    icc: Sequence[float] = (),
    power: float = 0.8,
    level: float = LEVEL,
) -> float:
    """The smallest true mean that n values find to differ from 0, with this power, at this level.

    (t_level + t_power) sd sqrt(sum_f icc_f / K_f + (1 - sum_f icc_f) / n)

    For a comparison let the values be paired differences. t are quantiles of Student's t with K - 1 degrees
    of freedom, K the number of clusters of the factor that has fewest, or n; with many, 2.80 sd / sqrt(n).
    sd: standard deviation of single values
    clusters: how many of each factor there will be, with values in every combination: (400, 5) for 400
        prompts and 5 seeds
    icc: for each factor, the share of variance that values of one cluster have in common
    """
    counts = (*clusters, n)
    plausible = len(icc) == len(clusters) and min(icc, default=0) >= 0 and sum(icc) <= 1 + 1e-9
    if not (0 <= sd < inf and plausible and min(counts) >= 2):
        wrong, found = "no run is like this", Said(f"sd {sd}, n {n}, clusters {clusters}, icc {icc}")
        accepted = (
            "sd of 0 or more, two values and clusters or more, an icc for each factor, at most 1 in all"
        )
        do = "leave out a factor that has one cluster; `spread` finds sd and icc from a pilot"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    if not (0.5 <= power < 1 and 0 < level < 1):
        wrong, found = "there is no such power or level", Said(f"power {power}, level {level}")
        accepted, do = "power from 0.5 up to 1, level between 0 and 1", "0.8 and 0.95 are usual"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    variance = sum(share / count for share, count in zip(icc, clusters, strict=True)) + (1 - sum(icc)) / n
    freedom = min(counts) - 1
    return (t_quantile(level, freedom) + t_quantile(2 * power - 1, freedom)) * sd * sqrt(variance)


def spread(
    pilot: Sequence[float | None], *, clusters: Sequence[Labels] = ()
) -> tuple[float, tuple[float, ...]]:
    """The standard deviation of single values, and for each factor the `icc` that `detectable` asks for.

    Estimated by moments, so that a pilot of few clusters knows them roughly. What is None is left out.
    """
    (values,), design = measured(pilot, clusters=clusters, nested=True)
    if len(values) < 2 or not design.known:
        wrong, found = "the pilot shows no spread", Said(f"{len(values)} values of {design.words}")
        accepted, do = "two values or more, of two clusters of each factor", "leave out a factor that has one"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    sd, icc = parts(design, values)
    return sd, () if design.independent else icc


DETECTABLE = "detectable_difference"
"""The name of what `found_from` returns; `at["of"]` says of which result."""

_POWER = 0.8
_NONE = "there was nothing to measure"


def found_from(
    of: str,
    gaps: Sequence[float | None],
    *,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
    **about: Unpack[About],
) -> Result:
    """The smallest true difference that as many values like these find in four repetitions of five.

    `detectable` with the spread of these paired differences, and as many values and clusters as they have;
    the interval says how well so many values know their spread. Where a difference was not found, it may
    still be as large as this.

    of: the name of the result that the differences are those of
    """
    (values,), design = measured(gaps, clusters=clusters)
    n, failures = len(values), len(gaps) - len(values)
    told, _ = about.pop("how", ""), about.pop("higher_is_better", None)
    how = f"a true difference of so much is found in {_POWER:.0%} of repetitions, a smaller one less often"
    about["how"] = f"{how}; {told}" if told else how
    about["at"] = {**about.get("at", {}), "of": of}
    tell = partial(Result, name=DETECTABLE, n=n, failures=failures, **about)
    if n < 2 or not design.known:
        why = "there are too few pairs, or clusters of them, to show a spread; ask more" if n else _NONE
        return tell(value=None, why_none=why)
    if not between(values, np.full(n, values[0])).any():
        why = "the difference is the same in each pair, which shows no spread; ask more, or other requests"
        return tell(value=None, why_none=why)

    def smallest(kept: Sequence[int]) -> float | None:
        some = design.of(kept)
        if not some.known:
            return None
        sd, icc = parts(some, values[np.asarray(kept, dtype=np.intp)])
        if design.independent:
            return detectable(sd, n, power=_POWER)
        # Clusters of unequal size count as fewer; their shares of variance cannot be more than all of it.
        counts = [max(2, round(one)) for one in design.each()]
        whole = max(1.0, sum(icc))
        return detectable(sd, n, clusters=counts, icc=[one / whole for one in icc], power=_POWER)

    found = left_out_result(DETECTABLE, smallest, design.labels, why_none=_NONE, seed=seed, **about)
    return replace(found, failures=failures)
