"""From several scores to one: over the steps of a solution, the members of an ensemble, a judge's options."""

from typing import Literal, assert_never

import torch
from torch.nn.functional import logsigmoid

from concord.tensors import GroupTable, Members, PerPair, PerReply, StepLogits

__all__ = [
    "ensemble_mean",
    "ensemble_uncertainty_weighted",
    "ensemble_worst_case",
    "soft_labels_from_choice",
    "step_aggregate",
]


def step_aggregate(
    steps: StepLogits, *, how: Literal["min", "prod", "last", "mean", "geometric_mean", "log_prod"] = "min"
) -> PerReply:
    """One score for a solution from the probabilities of its steps.

    A reply without steps scores one, the most there is: drop such replies before the best is chosen.

    paper: Lightman et al. 2023, arXiv 2305.20050 (min, prod)
    how: the least, the product (or its log), the last, or a mean of the steps' probabilities
    """
    p, empty = torch.sigmoid(steps.logit), steps.length == 0
    log_prod = steps.sum(logsigmoid(steps.logit))
    match how:
        case "min":
            return p.new_ones(steps.num_replies).scatter_reduce(0, steps.owner, p, "amin")
        case "prod":
            return log_prod.exp()
        case "log_prod":
            return log_prod
        case "geometric_mean":
            return (log_prod / steps.length.clamp(min=1)).exp()
        case "mean":
            return steps.mean(p).masked_fill(empty, 1.0)
        case "last":
            return steps.sum(p.masked_fill(~steps.last, 0.0)).masked_fill(empty, 1.0)
        case _:
            assert_never(how)


def ensemble_mean(rewards: Members) -> PerReply:
    """Mean over the members of an ensemble, brought to one scale beforehand.

    paper: Coste et al. 2023, arXiv 2310.02743
    """
    return rewards.mean(-1)


def ensemble_worst_case(rewards: Members) -> PerReply:
    """The least that any member gives: worst-case optimisation.

    paper: Coste et al. 2023, arXiv 2310.02743
    """
    return rewards.amin(-1)


def ensemble_uncertainty_weighted(rewards: Members, *, lam: float = 0.5) -> PerReply:
    """Mean less lam times the variance between members.

    paper: Coste et al. 2023, arXiv 2310.02743
    lam: weight of the variance; 0.5 suits best-of-n, 0.1 PPO
    """
    return rewards.mean(-1) - lam * rewards.var(-1, correction=0)


def soft_labels_from_choice(logps: GroupTable, *, low: float = 0.0, high: float = 1.0) -> PerPair:
    """P(first) from a judge's log-probabilities of two options, kept within [low, high].

    Constitutional AI keeps labels behind a chain of thought, which is overconfident, within 0.4 and 0.6.

    paper: Bai et al. 2022, arXiv 2212.08073
    low: least probability
    high: greatest probability; 0.4 and 0.6 behind a chain of thought
    """
    return logps.softmax(-1)[:, 0].clamp(low, high)
