"""Uncertainty: does a model know when it is wrong, and what can be promised from it?

    calibration_results(confidence, correct)    ECE, adaptive ECE, Brier, log loss, AUROC, AURC
    conformal_threshold(scores)                 what holds the right reply, at a promised rate
    decomposed(members)                         total, aleatoric and epistemic uncertainty of an ensemble

`confidence[i]` is the probability that a model gives to being right on item i: a stated one, a share of
samples that agree, or a normalised likelihood. Sources: Guo et al. 2017 (arXiv 1706.04599), Nixon et al. 2019
(arXiv 1904.01685, adaptive bins), Geifman et al. 2019 (arXiv 1805.08206, risk and coverage), Angelopoulos et
al. 2022 (arXiv 2208.02814, control of risks).
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, inf, log

import numpy as np
from numpy.typing import ArrayLike, NDArray

from concord.errors import InputError, Said, explain
from concord.eval.reckoning import SHARE, About, Labels, Scale, check_alike, complete_result, mean_result
from concord.types import Challenge, Result

__all__ = [
    "Uncertainty",
    "adaptive_calibration_error",
    "area_under_risk",
    "auroc",
    "brier",
    "calibration_error",
    "calibration_results",
    "conformal_risk_threshold",
    "conformal_threshold",
    "decomposed",
    "log_loss",
    "lower_bound",
    "risk_coverage",
    "sample_entropy",
]

_Floats = NDArray[np.float64]
_EXTREMES = (((1.0, 0.0),), ((1.0, 1.0),), ((0.0, 1.0),), ((1.0, 1.0), (0.0, 0.0)), ((1.0, 0.0), (0.0, 1.0)))
# Of confidence and outcome: surely wrong, surely right, and the two told apart, or taken for each other.
_SMALLEST = 1e-12  # a probability below this would make one sure mistake outweigh everything
_MOST = -log(_SMALLEST)


# --- calibration ------------------------------------------------------------------------------------------


def _gaps(confidence: _Floats, correct: _Floats, bin_of: NDArray[np.intp]) -> float:
    """sum_b n_b / n |accuracy_b - confidence_b|"""
    return float(np.abs(np.bincount(bin_of, weights=correct - confidence)).sum()) / len(confidence)


def calibration_error(confidence: ArrayLike, correct: ArrayLike, *, bins: int = 10) -> float:
    """The expected calibration error over bins of equal width, each open at its lower end."""
    sure, right = _checked(confidence, correct)
    return _gaps(sure, right, np.clip(np.ceil(np.round(sure * bins, 9)).astype(np.intp) - 1, 0, bins - 1))


def adaptive_calibration_error(confidence: ArrayLike, correct: ArrayLike, *, bins: int = 10) -> float:
    """The same over bins of equally many items, in order of confidence; equal ones stay in one bin."""
    sure, right = _checked(confidence, correct)
    _, first, which = np.unique(np.sort(sure), return_index=True, return_inverse=True)
    place = np.empty(len(sure), dtype=np.intp)
    place[np.argsort(sure, kind="stable")] = first[which]
    return _gaps(sure, right, place * bins // len(sure))


def brier(confidence: ArrayLike, correct: ArrayLike) -> float:
    """mean (confidence - correct)^2"""
    sure, right = _checked(confidence, correct)
    return float(np.square(sure - right).mean())


def log_loss(confidence: ArrayLike, correct: ArrayLike) -> float:
    """- mean log of the probability given to what was the case, no less than 1e-12."""
    sure, right = _checked(confidence, correct)
    return float(-np.log(np.maximum(np.where(right > 0, sure, 1 - sure), _SMALLEST)).mean())


def auroc(scores: ArrayLike, positive: ArrayLike) -> float | None:
    """P(a positive scores above a negative), ties counting one half; None where there is only one kind."""
    values, holds = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=bool)
    good = int(holds.sum())
    if not 0 < good < len(holds):
        return None
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    rank = np.cumsum(counts) - (counts - 1) / 2
    return float(rank[which][holds].sum() - good * (good + 1) / 2) / (good * (len(holds) - good))


def risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> list[tuple[float, float]]:
    """The share of wrong replies among the most confident, at each share of items that can be answered.

    Items of equal confidence are answered together or not at all.
    """
    sure, right = _checked(confidence, correct)
    order = np.argsort(-sure, kind="stable")
    risk = np.cumsum(1 - right[order]) / np.arange(1, len(sure) + 1)
    last = np.append(np.diff(sure[order]) != 0, True)
    return [((place + 1) / len(sure), float(risk[place])) for place in np.flatnonzero(last).tolist()]


def area_under_risk(confidence: ArrayLike, correct: ArrayLike) -> float:
    """AURC: the mean, over coverages 1/n to 1, of the risk that a model takes which answers the surest first.

    Among items of equal confidence the order is by chance: the expected risk is taken.
    """
    sure, right = _checked(confidence, correct)
    _, which, counts = np.unique(-sure, return_inverse=True, return_counts=True)
    wrong = np.bincount(which, weights=1 - right) / counts
    risks = np.cumsum(np.repeat(wrong, counts)) / np.arange(1, len(sure) + 1)
    return float(risks.mean())


def calibration_results(
    confidence: Sequence[float | None],
    correct: Sequence[bool | None],
    *,
    bins: int = 10,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
) -> list[Result]:
    """All of these as results; an item without a confidence, or of which nothing is known, is a failure.

    Refusals have no place here: leave them out as None, so that they are not taken for wrong replies.
    """
    check_alike("confidences and outcomes differ in number", confidence, correct)
    rows = [
        None if sure is None or right is None else (float(sure), float(right))
        for sure, right in zip(confidence, correct, strict=True)
    ]
    if there := [row for row in rows if row is not None]:
        _checked(*np.asarray(there).T)
    each: list[tuple[str, _Measure, str, float]] = [
        ("brier", brier, "mean squared distance of confidence from outcome", 1.0),
        ("log_loss", log_loss, "mean -log of the confidence in what was the case, in nats", _MOST),
    ]
    whole: list[tuple[str, _Measure, str]] = [
        (
            "calibration_error",
            partial(calibration_error, bins=bins),
            f"distance of confidence from accuracy over {bins} bins of equal width; chance alone gives some",
        ),
        (
            "adaptive_calibration_error",
            partial(adaptive_calibration_error, bins=bins),
            f"distance of confidence from accuracy over {bins} bins of equally many; chance alone gives some",
        ),
        ("error_auroc", auroc, "chance that a right reply is more confident than a wrong one"),
        ("area_under_risk", area_under_risk, "mean share of wrong replies as the surest are answered first"),
    ]
    results = [
        mean_result(
            name,
            [None if row is None else measure([row[0]], [row[1]]) for row in rows],
            clusters=clusters,
            seed=seed,
            scale=Scale(0.0, highest),
            **_about(how, higher=False),
        )
        for name, measure, how, highest in each
    ]
    for name, measure, how in whole:
        result = complete_result(
            name,
            rows,
            lambda some, measure=measure: measure(*np.asarray(some, dtype=np.float64).T),
            why_none="right and wrong replies are both needed; ask other questions",
            scale=SHARE._replace(extremes=_EXTREMES),
            clusters=clusters,
            seed=seed,
            **_about(how, higher=name == "error_auroc"),
        )
        results.append(result)
    return results


_Measure = Callable[[ArrayLike, ArrayLike], float | None]


def _about(how: str, *, higher: bool) -> About:
    return About(unit="items", how=how, challenge=Challenge.EFFICACY, higher_is_better=higher)


# --- what can be promised ---------------------------------------------------------------------------------


def conformal_threshold(scores: Sequence[float], *, alpha: float = 0.1) -> float:
    """The score that a new item stays at or below with probability 1 - alpha or more (split conformal).

    The ceil((n + 1) (1 - alpha))-th smallest of n calibration scores; infinite where that is more than n,
    so that nothing is left out. Scores say how odd the right reply is, on items drawn as the new ones are.
    """
    _check_alpha(alpha)
    place = _place(len(scores), alpha)
    return sorted(scores)[place - 1] if place <= len(scores) else inf


def conformal_risk_threshold(
    losses: ArrayLike, thresholds: Sequence[float], *, alpha: float = 0.1, bound: float = 1.0
) -> float | None:
    """The smallest threshold at which the expected loss on a new item is alpha or less; None where none is.

    min { t : n / (n + 1) mean loss(t) + bound / (n + 1) <= alpha }

    losses: a row an item, a column a threshold; none rises from one to the next, none is above `bound`
    """
    _check_alpha(alpha)
    table = np.asarray(losses, dtype=np.float64)
    known = table.ndim == 2 and table.shape[1] == len(thresholds) and len(table) > 0
    if not known or (np.diff(table) > 0).any() or (np.diff(thresholds) <= 0).any() or (table > bound).any():
        wrong = "the losses are not those of rising thresholds"
        accepted = f"a row an item, a column a threshold, falling from left to right, {bound:g} at most"
        do = "sort the thresholds upwards, and take a loss that a higher threshold never raises"
        found = Said(f"a table of {table.shape}, {len(thresholds)} thresholds")
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    n = len(table)
    kept = np.flatnonzero(table.sum(axis=0) + bound <= alpha * (n + 1) * (1 + 1e-12))
    return thresholds[int(kept[0])] if len(kept) else None


def _place(n: int, alpha: float) -> int:
    """ceil((n + 1) (1 - alpha)), not lifted to the next number by the last bit of alpha."""
    return ceil((n + 1) * (1 - alpha) - 1e-9)


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        wrong, do = "the promised rate is out of range", "give 0.1 for a promise that holds nine times in ten"
        raise InputError(explain(wrong, found=alpha, accepted="alpha above 0 and below 1", do=do))


# --- where uncertainty comes from -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncertainty:
    """In nats: what the mean prediction leaves open, what each member does, and the difference."""

    total: float
    aleatoric: float
    epistemic: float


def decomposed(members: ArrayLike) -> Uncertainty:
    """The uncertainty of an ensemble on one item; a row is one member's distribution over the options.

    total = H(mean p), aleatoric = mean H(p), epistemic = total - aleatoric
    """
    p = np.asarray(members, dtype=np.float64)
    if p.ndim != 2 or not len(p) or (p < 0).any() or not np.allclose(p.sum(axis=1), 1, atol=1e-6):
        wrong, accepted = "a member gives no distribution", "a row a member, of probabilities that sum to 1"
        found, do = Said(f"a table of {p.shape}"), "normalise each row"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    total, aleatoric = float(_entropy(p.mean(axis=0))), float(_entropy(p).mean())
    return Uncertainty(total=total, aleatoric=aleatoric, epistemic=max(0.0, total - aleatoric))


def _entropy(p: _Floats) -> _Floats:
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)


def sample_entropy(meanings: Sequence[Hashable]) -> float:
    """The entropy, in nats, of what samples mean: 0 where all mean the same (semantic entropy).

    Whoever calls says which samples mean the same, by giving them the same label.
    """
    counts = np.unique([list(dict.fromkeys(meanings)).index(one) for one in meanings], return_counts=True)[1]
    return float(_entropy(counts / counts.sum()))


def lower_bound(rewards: ArrayLike, *, k: float = 1.0) -> float:
    """mean - k sd of the rewards of an ensemble (n in the variance): what a reply is worth at least."""
    values = np.asarray(rewards, dtype=np.float64)
    return float(values.mean() - k * values.std())


def _checked(confidence: ArrayLike, correct: ArrayLike) -> tuple[_Floats, _Floats]:
    """Both as numbers, after a look at what they are."""
    sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if sure.shape != right.shape or sure.ndim != 1 or not len(sure):
        wrong, accepted = "confidences and outcomes do not match", "as many of each, one or more"
        found, do = Said(f"{sure.shape} and {right.shape}"), "give both for the same items"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    if not ((sure >= 0) & (sure <= 1)).all():
        odd = float(sure[~((sure >= 0) & (sure <= 1))][0])
        wrong, do = "a confidence is no probability", "bring confidences to that scale"
        raise InputError(explain(wrong, found=odd, accepted="0 to 1", do=do))
    return sure, right
