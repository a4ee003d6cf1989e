"""Metrics of each family of records, whatever the loss. Names are the ones dashboards know.

A metric carries its sum and its count, so that parts of a step add up to the step's own mean: never a mean
of means. Nothing here has a gradient.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from concord.tensors import (
    Pairs,
    PerPair,
    PerReply,
    Ranked,
    RankedRewards,
    ReferencedPairs,
    ReferencedRanked,
    ReferencedReplies,
    ReferencedTokens,
    Replies,
    ReplyFlags,
    RewardPairs,
    Rollouts,
    Scalar,
    StepLogits,
    Tokens,
    Values,
)

__all__ = [
    "Metric",
    "nll_metrics",
    "pair_metrics",
    "ranked_reward_metrics",
    "ranking_metrics",
    "reply_metrics",
    "reward_metrics",
    "rollout_metrics",
    "step_metrics",
    "token_metrics",
    "value_metrics",
]


@dataclass(frozen=True, slots=True)
class Metric:
    """A sum over so many values; two of them add up, and `mean` is theirs together."""

    sum: Scalar
    count: Scalar

    @property
    def mean(self) -> Scalar:
        """The mean over all values; not a number where there are none."""
        return self.sum / self.count

    def plus(self, other: "Metric") -> "Metric":
        """The metric over the values of both."""
        return Metric(self.sum + other.sum, self.count + other.count)


def _of(values: Tensor, where: Tensor | None = None) -> Metric:
    values = values.detach()
    where = torch.ones_like(values, dtype=torch.bool) if where is None else where
    return Metric(values.masked_fill(~where, 0.0).sum(), where.to(values.dtype).sum())


def _implicit_reward(replies: Replies, beta: float, per_token: bool) -> PerReply:
    reward = replies.ratio if isinstance(replies, ReferencedReplies) else replies.logp
    return beta * (reward / replies.length if per_token else reward)


def _agreement(gap: PerPair) -> Metric:
    """How often the chosen side leads; a tie counts one half."""
    return _of((gap > 0).to(gap.dtype) + (gap == 0).to(gap.dtype) / 2)


def pair_metrics(pairs: Pairs, *, beta: float = 0.1, per_token: bool = False) -> Mapping[str, Metric]:
    """Implicit rewards beta rho (beta log pi without a reference) of both sides, accuracy, likelihoods.

    `nll_loss` is that of chosen replies, a token: what imitation would make small.
    """
    chosen = _implicit_reward(pairs.chosen, beta, per_token)
    rejected = _implicit_reward(pairs.rejected, beta, per_token)
    metrics = {
        "rewards/chosen": _of(chosen),
        "rewards/rejected": _of(rejected),
        "rewards/margins": _of(chosen - rejected),
        "rewards/accuracies": _agreement(chosen - rejected),
        "logps/chosen": _of(pairs.chosen.logp),
        "logps/rejected": _of(pairs.rejected.logp),
        "nll_loss": Metric(-pairs.chosen.logp.detach().sum(), pairs.chosen.length.to(chosen.dtype).sum()),
    }
    if isinstance(pairs, ReferencedPairs):
        metrics |= {"logps/ref_chosen": _of(pairs.chosen.ref), "logps/ref_rejected": _of(pairs.rejected.ref)}
    return metrics


def ranking_metrics(ranked: Ranked, *, beta: float = 0.1, per_token: bool = False) -> Mapping[str, Metric]:
    """How often implicit rewards order two replies of a row as their utilities do, and the best's reward."""
    values = ranked.ratio if isinstance(ranked, ReferencedRanked) else ranked.logp
    reward = beta * (values / ranked.length.clamp(min=1) if per_token else values).detach()
    gap = reward[:, :, None] - reward[:, None, :]
    return {
        "rewards/accuracies": _of((gap > 0).to(gap.dtype) + (gap == 0).to(gap.dtype) / 2, ranked.better),
        "rewards/margins": _of(gap, ranked.better),
        "rewards/chosen": _of(reward, ranked.best),
        "logps/chosen": _of(ranked.logp, ranked.best),
    }


def nll_metrics(tokens: Tokens) -> Mapping[str, Metric]:
    """Negative log-likelihood a token and a reply, and how long replies are."""
    return {
        "nll_loss": _of(-tokens.logp),
        "nll_sequence": _of(-tokens.sum(tokens.logp)),
        "length": _of(tokens.length.to(tokens.logp.dtype)),
    }


def reply_metrics(
    replies: Replies, *, desirable: ReplyFlags, beta: float = 0.1, per_token: bool = False
) -> Mapping[str, Metric]:
    """Implicit rewards and likelihoods of good and of bad replies, each with its own count."""
    reward = _implicit_reward(replies, beta, per_token)
    return {
        "rewards/chosen": _of(reward, desirable),
        "rewards/rejected": _of(reward, ~desirable),
        "logps/chosen": _of(replies.logp, desirable),
        "logps/rejected": _of(replies.logp, ~desirable),
    }


def reward_metrics(rewards: RewardPairs) -> Mapping[str, Metric]:
    """How often and by how much a reward model puts the chosen side first."""
    return {
        "accuracy": _agreement(rewards.gap),
        "margin": _of(rewards.gap),
        "mean_reward": _of(torch.cat([rewards.chosen, rewards.rejected])),
    }


def ranked_reward_metrics(ranked: RankedRewards) -> Mapping[str, Metric]:
    """How often and by how much a reward model puts the better of two replies first; its mean reward."""
    gap = ranked.reward[:, :, None] - ranked.reward[:, None, :]
    return {
        "accuracy": _of((gap > 0).to(gap.dtype) + (gap == 0).to(gap.dtype) / 2, ranked.better),
        "margin": _of(gap, ranked.better),
        "mean_reward": _of(ranked.reward, ranked.mask),
    }


def step_metrics(steps: StepLogits) -> Mapping[str, Metric]:
    """How often a step is judged as labelled, a label counting as right from one half up."""
    right = (steps.logit > 0) == (steps.label >= 0.5)
    return {"accuracy": _of(right.to(steps.logit.dtype))}


def rollout_metrics(rollouts: Rollouts, *, low: float = 0.2, high: float = 0.2) -> Mapping[str, Metric]:
    """How far the policy has moved from the sampler, and how often the clip binds."""
    ratio, a = rollouts.importance.detach(), rollouts.advantage
    moved = (rollouts.logp - rollouts.old).detach()
    too_low, too_high = (ratio < 1 - low) & (a < 0), (ratio > 1 + high) & (a > 0)
    return {
        "policy/clipfrac_avg": _of((too_low | too_high).to(ratio.dtype)),
        "clip_ratio/low": _of(too_low.to(ratio.dtype)),
        "clip_ratio/high": _of(too_high.to(ratio.dtype)),
        "policy/approxkl_avg": _of(moved.square() / 2),
        "val/ratio": _of(ratio),
    }


def token_metrics(tokens: ReferencedTokens) -> Mapping[str, Metric]:
    """KL to the reference on the policy's own samples: `objective/kl` a reply, `kl` (k3) a token."""
    d = tokens.ratio.detach()
    return {"objective/kl": _of(tokens.sum(d)), "kl": _of(torch.expm1(-d.clamp(-20, 20)) + d.clamp(-20, 20))}


def value_metrics(values: Values, *, clip: float = 0.2) -> Mapping[str, Metric]:
    """The critic's error, and how often its clip binds."""
    error = (values.value - values.returns).detach().square()
    kept = values.value.detach().clamp(values.old - clip, values.old + clip)
    binds = (kept - values.returns).square() > error
    return {"loss/value_avg": _of(error / 2), "val/clipfrac_avg": _of(binds.to(error.dtype))}
