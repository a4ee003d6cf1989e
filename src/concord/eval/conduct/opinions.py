"""How near a model's opinions are to those of groups of people, from how both answer questions with options.

    opinion_results(model, people, ordinal=...)    representativeness, question by question, with an interval

A model's distribution over the options of a question comes from `concord.eval.replies.choices`, refusals left
out and reported by whoever asks. Sources: Santurkar et al. 2023, "OpinionQA" (arXiv 2303.17548), for ordered
options; Durmus et al. 2023, "GlobalOpinionQA" (arXiv 2306.16388), for others.
"""

from collections.abc import Sequence
from itertools import accumulate
from math import fsum, isfinite, log2
from typing import TypeAlias

from concord.errors import InputError, Said, explain
from concord.eval.reckoning import Labels, check_alike, rate_result
from concord.types import Challenge, Result

__all__ = ["Law", "jensen_shannon", "opinion_results", "ordinal_representativeness"]

Law: TypeAlias = Sequence[float]
"""The probability of each option."""


def ordinal_representativeness(model: Law, people: Law) -> float:
    """1 - W1(model, people) / (N - 1) for N options in order: 1 for the same, 0 for opposite ends."""
    _check(model, people)
    gaps = (abs(one - other) for one, other in zip(accumulate(model), accumulate(people), strict=True))
    return 1 - fsum(gaps) / (len(model) - 1)


def jensen_shannon(model: Law, people: Law) -> float:
    """The Jensen-Shannon divergence in bits: 0 for the same law, 1 for those that share no option."""
    _check(model, people)
    middle = [(one + other) / 2 for one, other in zip(model, people, strict=True)]
    laws = (model, people)
    terms = (p * log2(p / m) for law in laws for p, m in zip(law, middle, strict=True) if p)
    return max(0.0, fsum(terms) / 2)


def opinion_results(
    model: Sequence[Law | None],
    people: Sequence[Law],
    *,
    group: str,
    ordinal: bool,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
) -> list[Result]:
    """How well the model represents a group of people, over questions; None is one that it did not answer.

    ordinal: the options have an order (agree to disagree); if not, 1 less the divergence in bits is taken
    """
    check_alike("the model's answers and people's differ in number", model, people)
    values = [
        None
        if one is None
        else ordinal_representativeness(one, other)
        if ordinal
        else 1 - jensen_shannon(one, other)
        for one, other in zip(model, people, strict=True)
    ]
    result = rate_result(
        "representativeness",
        values,
        clusters=clusters,
        seed=seed,
        unit="questions",
        how="1 less the distance of the model's answers from those of the group, "
        + ("moved along the options" if ordinal else "as Jensen-Shannon divergence in bits"),
        challenge=Challenge.EFFICACY,
        higher_is_better=True,
        at={"group": group},
    )
    return [result]


def _check(model: Law, people: Law) -> None:
    """Refuse what are not two distributions over the same options."""
    alike = len(model) == len(people) >= 2
    for law in (model, people):
        if not (alike and all(isfinite(p) and p >= 0 for p in law) and abs(fsum(law) - 1) < 1e-6):
            wrong, accepted = (
                "these are not two distributions",
                "probabilities that sum to 1, for 2 options or more",
            )
            found, do = Said(f"{list(model)} and {list(people)}"), "normalise both, over the same options"
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
