"""Generalisation: does what was learned hold where it was not learned?

    generalisation(splits, policy, feedback)    asks, scores, and reckons
    gap_results                                 scores by split in: levels, gaps, the worst split out
    robustness_results                          how much of what alignment gained is gained elsewhere too
    effective_robustness                        more than other models of the same level inside would have
    consistency, consistency_results            decisions that do not change with the wording, or the draw

With M a mean score, I the split inside of what was learned and O_j those outside of it:

    gap_j = M(I) - M(O_j)
    relative robustness = (M_aligned(O) - M_base(O)) / (M_aligned(I) - M_base(I))
"""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress
from math import exp, log
from typing import TypeAlias, TypedDict, Unpack

import numpy as np

from concord.errors import InputError, explain, nearest
from concord.eval.reckoning import (
    FEWEST,
    LEVEL,
    About,
    Labels,
    Level,
    Scale,
    check_alike,
    difference,
    difference_result,
    gaps,
    level,
    measured,
    outcome_result,
    rate_result,
    ratio,
    scale_of,
    share_result,
    together,
    without_interval,
)
from concord.eval.replies import drawn, joined_labels, scored_by_name
from concord.types import Challenge, Feedback, Interval, Item, Policy, Result, Sampling, Turns

__all__ = [
    "Decide",
    "consistency",
    "consistency_results",
    "effective_robustness",
    "gap_results",
    "generalisation",
    "robustness_results",
]

Decide: TypeAlias = Callable[[Item, str], Hashable | None]
"""What a reply to an item decides (a choice, yes or no, a class); None where it decides nothing."""

_Scores: TypeAlias = Mapping[str, Sequence[float | None]]
_Clusters: TypeAlias = Mapping[str, Sequence[Labels]]


class _About(TypedDict):
    unit: str
    challenge: Challenge


_ABOUT: _About = {"unit": "items", "challenge": Challenge.GENERALISATION}
_TOO_FEW = "a split has too few values, or too few clusters of them, that differ"


# --- splits -----------------------------------------------------------------------------------------------


def generalisation(
    splits: Mapping[str, Sequence[Item]],
    policy: Policy,
    feedback: Feedback | Mapping[str, Feedback],
    *,
    inside: str,
    base: Policy | None = None,
    sampling: Sampling | None = None,
    clusters: _Clusters | None = None,
    seed: int = 0,
) -> list[Result]:
    """Ask each item once, score the replies, and compare the splits; with a base also relative robustness.

    inside: the split that is like what was learned from; the others are outside
    sampling: the likeliest reply, if left out
    clusters: what the items of each split share
    """
    scores = scored_by_name(splits, policy, feedback, sampling=sampling)
    found = gap_results(scores, inside=inside, clusters=clusters, seed=seed)
    if base is not None:
        before = scored_by_name(splits, base, feedback, sampling=sampling)
        found += robustness_results(scores, before, inside=inside, clusters=clusters, seed=seed)
    return found


def gap_results(
    scores: _Scores,
    *,
    inside: str,
    metric: str = "score",
    higher_is_better: bool = True,
    clusters: _Clusters | None = None,
    seed: int = 0,
) -> list[Result]:
    """The level of each split, the gap to each split outside, and the level of the worst.

    scores: of each item, by split; None where there is none
    metric: what the scores are, which names the levels
    """
    _check_splits(inside, scores)
    shared = clusters or {}
    levels: About = {**_ABOUT, "higher_is_better": higher_is_better}
    lower: About = {**_ABOUT, "higher_is_better": not higher_is_better}
    found: list[Result] = []
    scale = scale_of(*scores.values())
    for split, values in scores.items():
        about: About = {**levels, "how": "mean over the items of the split", "at": {"split": split}}
        found.append(outcome_result(metric, values, clusters=shared.get(split, ()), seed=seed, **about))
    for split in scores:
        if split != inside:
            both = {inside: scores[inside], split: scores[split]}
            how = f"mean {metric} on {inside} less that on {split}"
            about = {**lower, "how": how, "at": {"split": split}}
            sides = _sides(both, shared, scale, seed)
            found.append(_told("generalisation_gap", sides, both, _gap, **about))
    about = {**levels, "how": f"mean {metric} on the split where it is worst; chance alone makes it worse"}
    return [*found, _worst(scores, shared, seed, about)]


def _worst(scores: _Scores, clusters: _Clusters, seed: int, about: About) -> Result:
    """The level of the worst split, in [min_j L_j, min_j U_j], where every level j is in [L_j, U_j] (Sidak).

    Which split is worst is itself left to chance: an interval around its level alone would say too little.
    """
    extreme = max if about.get("higher_is_better") is False else min
    parts = {split: measured(values, clusters=clusters.get(split, ())) for split, values in scores.items()}
    means = {split: float(values.mean()) for split, ((values,), _) in parts.items() if len(values)}
    n = sum(len(values) for (values,), _ in parts.values())
    if means:
        about["at"] = {"split": extreme(means, key=means.__getitem__)}
    tell = partial(Result, name="worst_split", n=n, failures=sum(map(len, scores.values())) - n)
    if len(means) < len(parts):
        return tell(value=None, why_none="a split has no score; look at why its items have none", **about)
    scale = scale_of(*scores.values())
    levels = [
        level(values, design, scale=scale, at_once=len(parts), seed=seed)
        for (values,), design in parts.values()
    ]
    interval = None
    if all(one.known for one in levels):
        low, high = extreme(one.low for one in levels), extreme(one.high for one in levels)
        how = f"intervals of all {len(means)} splits at once (Sidak); of their ends the worst"
        interval = Interval(low, high, level=LEVEL, how=how)
    else:
        about["how"] = without_interval(about.get("how", ""), _TOO_FEW)
    return tell(value=extreme(means.values()), interval=interval, **about)


def robustness_results(
    aligned: _Scores,
    base: _Scores,
    *,
    inside: str,
    clusters: _Clusters | None = None,
    seed: int = 0,
) -> list[Result]:
    """What alignment gained on each split, and how much of the gain inside is found on each split outside.

    relative robustness = (M_aligned(O) - M_base(O)) / (M_aligned(I) - M_base(I)): 1 where as much is gained,
    0 where nothing is, below 0 where something is lost. It has no value where the gain inside is not certain.

    aligned, base: the score of each item by split, in one order; None where there is none
    """
    _check_splits(inside, aligned)
    if odd := sorted(aligned.keys() ^ base.keys()):
        wrong, accepted = "the two models were asked other splits", "the same splits of both"
        do = "add what is missing, or leave it out of both"
        raise InputError(explain(wrong, found=odd[0], accepted=accepted, do=do))
    shared, gains = clusters or {}, dict[str, Sequence[float | None]]()
    found: dict[str, Result] = {}
    for split, after in aligned.items():
        check_alike(f"scores of {split} by the two models differ in number", after, base[split])
        gains[split] = gaps(after, base[split])
        at, labels = {"split": split}, shared.get(split, ())
        how = "mean score of the aligned model less that of its base, on the same items"
        about: About = {**_ABOUT, "how": how, "at": at, "higher_is_better": True}
        found[split] = difference_result(
            "alignment_gain", after, base[split], clusters=labels, seed=seed, **about
        )
    ratios: list[Result] = []
    shares = scale_of(*aligned.values(), *base.values())
    scale = shares and shares.apart
    for split in aligned:
        if split != inside:
            how = f"what alignment gained on {split}, relative to {inside}"
            about = {**_ABOUT, "how": how, "at": {"split": split}, "higher_is_better": True}
            both = {inside: gains[inside], split: gains[split]}
            if _uncertain(found[inside]):
                failures = sum(map(len, both.values()))
                why = f"it is not certain that alignment gained or lost anything on {inside}; ask more items"
                none = Result(
                    name="relative_robustness", value=None, n=0, failures=failures, why_none=why, **about
                )
                ratios.append(none)
            else:
                sides = _sides(both, shared, scale, seed)
                ratios.append(_told("relative_robustness", sides, both, _kept_gain, **about))
    return [*found.values(), *ratios]


def _uncertain(gain: Result) -> bool:
    """Whether a gain may be none at all, so that nothing can be divided by it."""
    if gain.interval is None:  # there are too few items, or all have gained as much
        return not gain.value or gain.n < FEWEST
    return gain.interval.low <= 0 <= gain.interval.high


def effective_robustness(inside: float, outside: float, baselines: Sequence[tuple[float, float]]) -> Result:
    """How much better a model is outside than other models of its level inside are.

    outside - sigmoid(a logit(inside) + b), with a and b fitted to the baselines (Taori et al. 2020, arXiv
    2007.00644); all are shares, such as accuracies

    baselines: (inside, outside) of models that were not aligned, or in other ways
    """
    shares = [inside, outside, *(share for pair in baselines for share in pair)]
    if odd := [share for share in shares if not 0 < share < 1]:
        wrong, do = "a level has no log-odds", "leave out models that are always right or always wrong"
        raise InputError(explain(wrong, found=odd[0], accepted="shares between 0 and 1", do=do))
    if len({one for one, _ in baselines}) < 2:
        wrong, accepted = (
            "no line goes through these baselines",
            "two models or more of different level inside",
        )
        raise InputError(explain(wrong, found=tuple(baselines), accepted=accepted, do="add other models"))
    logits = np.log([(one / (1 - one), two / (1 - two)) for one, two in baselines])
    slope, start = np.polyfit(logits[:, 0], logits[:, 1], 1)
    expected = 1 / (1 + exp(-(slope * log(inside / (1 - inside)) + start)))
    how = (
        "level outside, above that of a line through the log-odds of other models; no interval: their levels"
    )
    return Result(
        name="effective_robustness",
        value=float(outside - expected),
        n=len(baselines),
        unit="baselines",
        how=how + " are taken as exact",
        challenge=Challenge.GENERALISATION,
        higher_is_better=True,
    )


@dataclass(frozen=True, slots=True)
class _Sides:
    """The mean of two splits, each with its own ends, and how far they move together."""

    inside: Level
    outside: Level
    together: float


def _sides(scores: _Scores, clusters: _Clusters, scale: Scale | None, seed: int) -> _Sides | None:
    """The two splits of these scores, the first inside; None where one has no score."""
    parts = {split: measured(values, clusters=clusters.get(split, ())) for split, values in scores.items()}
    if not all(len(values) for (values,), _ in parts.values()):
        return None
    inside, outside = (level(values, design, scale=scale, seed=seed) for (values,), design in parts.values())
    named = {split: clusters[split] for split in scores if split in clusters}
    sizes = {split: len(values) for split, values in scores.items()}
    there = [value is not None for values in scores.values() for value in values]
    labels = [list(compress(one, there)) for one in joined_labels(sizes, named)]
    (first,), (second,) = (values for values, _ in parts.values())
    return _Sides(inside, outside, together(first, second, labels))


def _told(
    name: str,
    sides: _Sides | None,
    scores: _Scores,
    of: Callable[[_Sides], tuple[float, Level | None]],
    **about: Unpack[About],
) -> Result:
    """What is reckoned from two splits, as a result; it has no value where one of them has no score."""
    n = sum(value is not None for values in scores.values() for value in values)
    failures = sum(map(len, scores.values())) - n
    tell = partial(Result, name=name, n=n, failures=failures)
    if sides is None:
        return tell(value=None, why_none="a split has no score; look at why its items have none", **about)
    value, ends = of(sides)
    if ends is None or not ends.known:
        about["how"] = without_interval(about.get("how", ""), _TOO_FEW)
        return tell(value=value, **about)
    how = "the intervals of both splits, put together (MOVER)"
    return tell(value=value, interval=Interval(ends.low, ends.high, level=LEVEL, how=how), **about)


def _gap(sides: _Sides) -> tuple[float, Level]:
    found = difference(sides.inside, sides.outside, together=sides.together)
    return found.value, found


def _kept_gain(sides: _Sides) -> tuple[float, Level | None]:
    found = ratio(sides.outside, sides.inside, together=sides.together)
    return sides.outside.value / sides.inside.value, found


# --- other words, other draws -----------------------------------------------------------------------------


def consistency(
    wordings: Sequence[Sequence[Item]],
    policy: Policy,
    decide: Decide,
    *,
    sampling: Sampling | None = None,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
) -> list[Result]:
    """Ask each question in all of its wordings, and see whether the decision changes.

    wordings: for each question its items, the same thing in other words, or in another language. The same
        item several times, at a temperature above 0, tells how consistent draws are
    decide: what a reply decides
    sampling: the likeliest reply, if left out
    """
    items = [item for row in wordings for item in row]
    replies = drawn(policy, items, sampling=sampling or Sampling(temperature=0))
    decided = iter([_decided(decide, item, row) for item, row in zip(items, replies, strict=True)])
    decisions = [[next(decided) for _ in row] for row in wordings]
    return consistency_results(decisions, clusters=clusters, seed=seed)


def _decided(decide: Decide, item: Item, replies: tuple[Turns, ...]) -> Hashable | None:
    return decide(item, replies[0][-1].text) if replies else None


def consistency_results(
    decisions: Sequence[Sequence[Hashable | None]], *, clusters: Sequence[Labels] = (), seed: int = 0
) -> list[Result]:
    """The share of questions on which all decisions are the same, and how often two of them are.

    decisions: for each question, one for each wording or draw; None where a reply decides nothing. Two that
        differ settle a question; where all that are known agree and one is missing, it is a failure
    """
    same = [_all_same(row) for row in decisions]
    alike = [_agreement(row) for row in decisions]
    about: _About = {"unit": "questions", "challenge": Challenge.GENERALISATION}
    how = "questions on which all wordings, or draws, lead to one decision"
    pairs = "mean probability that two wordings, or draws, lead to the same decision"
    return [
        share_result(
            "consistency", same, clusters=clusters, seed=seed, how=how, higher_is_better=True, **about
        ),
        rate_result(
            "decision_agreement",
            alike,
            clusters=clusters,
            seed=seed,
            how=pairs,
            higher_is_better=True,
            **about,
        ),
    ]


def _all_same(row: Sequence[Hashable | None]) -> bool | None:
    known = {one for one in row if one is not None}
    if len(known) > 1:
        return False
    return None if len(row) < 2 or None in row else True


def _agreement(row: Sequence[Hashable | None]) -> float | None:
    counts = Counter(one for one in row if one is not None)
    n = counts.total()
    return sum(count * (count - 1) for count in counts.values()) / (n * (n - 1)) if n > 1 else None


# --- what is accepted -------------------------------------------------------------------------------------


def _check_splits(inside: str, scores: Mapping[str, object]) -> None:
    if inside not in scores:
        wrong, do = "the split inside is none of those given", "name the split that is like the training data"
        raise InputError(explain(wrong, found=inside, accepted=nearest(inside, scores), do=do))
    if len(scores) < 2:
        wrong, accepted = "there is no split outside of what was learned", "two splits or more"
        raise InputError(explain(wrong, found=tuple(scores), accepted=accepted, do="add one to compare with"))
