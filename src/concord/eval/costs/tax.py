"""The alignment tax: what a model could do before it was aligned, and does worse since.

    tax(capabilities, policy, base, feedback)    asks both models, scores both, and reckons
    tax_results                                  scores of both models on the same items in, results out
    pareto_front, hypervolume                    of several models: what is gained against what is lost

tax_c = M_c(base) - M_c(aligned) for each capability c, over the same items, asked in the same way. The base
is the model as it was before it was aligned: any other makes this a comparison of two models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, sqrt
from statistics import fmean
from typing import TypedDict

import numpy as np

from concord.errors import InputError, Said, explain
from concord.eval.reckoning import LEVEL, Labels, Scale, complete_result, difference_result
from concord.eval.replies import joined_labels, scored_by_name
from concord.types import Challenge, Feedback, Interval, Item, Policy, Result, Sampling

__all__ = ["Tradeoff", "hypervolume", "pareto_front", "tax", "tax_results"]

_Scores = Mapping[str, Sequence[float | None]]
_Row = tuple[str, float, float]


class _About(TypedDict):
    challenge: Challenge
    higher_is_better: bool


_ABOUT: _About = {"challenge": Challenge.TAX, "higher_is_better": False}


def tax(
    capabilities: Mapping[str, Sequence[Item]],
    policy: Policy,
    base: Policy,
    feedback: Feedback | Mapping[str, Feedback],
    *,
    sampling: Sampling | None = None,
    clusters: Mapping[str, Sequence[Labels]] | None = None,
    seed: int = 0,
) -> list[Result]:
    """Ask both models each item of each capability once, and score their replies.

    feedback: what tells how well a reply does: one for all, or one for each capability by its name
    sampling: the same for both; the likeliest reply, if left out
    clusters: what the items of each capability share
    """
    before, after = (scored_by_name(capabilities, one, feedback, sampling=sampling) for one in (base, policy))
    return tax_results(before, after, same=policy.id == base.id, clusters=clusters, seed=seed)


def tax_results(
    base: _Scores,
    aligned: _Scores,
    *,
    same: bool = False,
    clusters: Mapping[str, Sequence[Labels]] | None = None,
    seed: int = 0,
    scale: Scale | None = None,
) -> list[Result]:
    """The tax of each capability, the mean and the worst of them in standard deviations of their items.

    base, aligned: the score of each item by capability, in one order; None where there is none
    same: the two are one model, which pays itself no tax
    clusters: what the items of each capability share
    scale: the ends that no score can pass, of whichever capability
    """
    _check_names("the two models were asked for different capabilities", base, aligned)
    labels = clusters or {}
    found = [
        difference_result(
            "tax",
            before,
            aligned[name],
            clusters=labels.get(name, ()),
            same=same,
            seed=seed,
            scale=scale and scale.apart,
            unit="items",
            how="mean score of the base less that of the aligned model, on the same items",
            at={"capability": name},
            **_ABOUT,
        )
        for name, before in base.items()
    ]
    summaries = _summaries(base, aligned, labels, same=same, seed=seed) if found else []
    return [*found, *summaries]


def _summaries(
    base: _Scores,
    aligned: _Scores,
    clusters: Mapping[str, Sequence[Labels]],
    *,
    same: bool,
    seed: int,
) -> list[Result]:
    """Mean and worst tax, each capability in its own standard deviations, so that units do not matter.

    Of two that are not one model and score alike on every item there is no interval: nothing shows how far
    apart they would be where they are not alike.
    """
    rows: list[_Row | None] = [
        None if before is None or after is None else (name, before, after)
        for name in base
        for before, after in zip(base[name], aligned[name], strict=True)
    ]
    there = [row for row in rows if row is not None]
    labels = joined_labels({name: len(values) for name, values in base.items()}, clusters)
    names = {name for name, _, _ in there}

    def mean(rows: Sequence[_Row]) -> float | None:
        taxes = _standardised(rows)
        return fmean(taxes.values()) if names <= taxes.keys() else None

    def worst(rows: Sequence[_Row]) -> float | None:
        taxes = _standardised(rows)
        return max(taxes.values()) if names <= taxes.keys() else None

    taxes = _standardised(there)
    highest: dict[str, str | float] = {"capability": max(taxes, key=taxes.__getitem__)} if taxes else {}
    why = "a capability has one score for all items of either model, so that nothing says how much that is"
    found: list[Result] = []
    for name, statistic, at in (("mean_tax", mean, {}), ("worst_tax", worst, highest)):
        how = f"{name.partition('_')[0]} tax of {len(names)} capabilities, in standard deviations of items"
        how += "; chance alone raises it" * (name == "worst_tax" and len(names) > 1)
        result = complete_result(
            name,
            rows,
            statistic,
            why_none=why if there else "no item has a score of both models; look at why",
            clusters=labels,
            seed=seed,
            unit="items",
            how=how,
            at=at,
            **_ABOUT,
        )
        if same and there and all(before == after for _, before, after in there):
            nothing = f"the two are equal on each of {len(there)} items, as they are one model"
            result = replace(result, interval=Interval(0.0, 0.0, level=LEVEL, how=nothing), how=how)
        found.append(result)
    return found


def _standardised(rows: Sequence[_Row]) -> dict[str, float]:
    """The tax of each capability by the standard deviation that items have, of both models together.

    0 where the models are equal on every item; without those whose items have one score by one model and
    another by the other, and nothing between.
    """
    by_name: dict[str, list[tuple[float, float]]] = {}
    for name, before, after in rows:
        by_name.setdefault(name, []).append((before, after))
    taxes: dict[str, float] = {}
    for name, pairs in by_name.items():
        scores = np.asarray(pairs)
        lost = float((scores[:, 0] - scores[:, 1]).mean())
        if np.ptp(scores, axis=0).any():
            taxes[name] = lost / sqrt(scores.var(axis=0).mean())
        elif not lost:
            taxes[name] = 0.0
    return taxes


# --- several models ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tradeoff:
    """A model by what alignment gained it (more is better) and what it cost it (less is better)."""

    name: str
    gain: float
    tax: float


def pareto_front(models: Sequence[Tradeoff]) -> list[Tradeoff]:
    """Those that no other model beats in one respect without losing to them in the other, by rising tax.

    Of models that are equal in both, all are kept.
    """
    _check_finite(models)

    def beaten(one: Tradeoff) -> bool:
        return any(
            other.gain >= one.gain and other.tax <= one.tax and (other.gain > one.gain or other.tax < one.tax)
            for other in models
        )

    return sorted((one for one in models if not beaten(one)), key=lambda one: (one.tax, one.gain, one.name))


def hypervolume(models: Sequence[Tradeoff], *, gain: float = 0.0, tax: float = 1.0) -> float:
    """The area between the front and a reference point: what is gained at which cost, in one number.

    gain, tax: the reference point, the least gain and the highest tax that count. A single model has the
    product of its margins to it; one that is no better than the point in either adds nothing.
    """
    _check_finite([*models, Tradeoff("the reference point", gain, tax)])
    area, reached = 0.0, gain
    for one in pareto_front([one for one in models if one.gain > gain and one.tax < tax]):
        area += (one.gain - reached) * (tax - one.tax)
        reached = one.gain
    return area


# --- what is accepted -------------------------------------------------------------------------------------


def _check_names(wrong: str, first: Mapping[str, object], second: Mapping[str, object]) -> None:
    if first.keys() != second.keys():
        odd = sorted(first.keys() ^ second.keys())
        accepted, do = "the same capabilities in both", "add what is missing, or leave it out of both"
        raise InputError(explain(wrong, found=Said(", ".join(odd)), accepted=accepted, do=do))


def _check_finite(models: Sequence[Tradeoff]) -> None:
    if odd := [one for one in models if not (isfinite(one.gain) and isfinite(one.tax))]:
        wrong, do = "a gain or a tax is not finite", "leave out what could not be measured"
        raise InputError(explain(wrong, found=odd[0], accepted="finite numbers", do=do))
