"""What happens to rewards before they become advantages: penalties, redistribution, controllers.

All without gradient.
"""

from typing import Literal

import torch

from concord.objectives.divergences import k1, k2
from concord.tensors import (
    PerReply,
    PerToken,
    ReferencedTokens,
    ReplyLengths,
    StepLogits,
    Tokens,
)

__all__ = [
    "adaptive_kl_horizon",
    "adaptive_kl_ziegler",
    "easy_to_hard_rewards",
    "kl_k1_reward",
    "kl_k2_reward",
    "kl_shaped_rewards",
    "overlong_penalty",
    "redistribute_by_value",
    "redistribute_by_weight",
]


# --- rewards ----------------------------------------------------------------------------------------------


def kl_k1_reward(tokens: ReferencedTokens, *, beta: float = 0.05) -> PerToken:
    """Penalty -beta d in the reward: its policy gradient is that of KL(policy, reference), exactly.

    In a loss the same estimator has an expected gradient of zero, so there is no such function here.

    paper: Ziegler et al. 2019, arXiv 1909.08593, Eq. 2
    beta: weight of the KL to the reference
    """
    return -beta * k1(tokens)


def kl_k2_reward(tokens: ReferencedTokens, *, beta: float = 0.05) -> PerToken:
    """Penalty -beta d^2 / 2 in the reward: milder for rare tokens, and not quite a KL.

    paper: Schulman 2020, a note on approximating the KL divergence
    beta: weight of the penalty
    """
    return -beta * k2(tokens)


def kl_shaped_rewards(
    tokens: ReferencedTokens,
    *,
    reward: PerReply,
    beta: float = 0.05,
    estimator: Literal["k1", "k2"] = "k1",
) -> PerToken:
    """Token rewards of RLHF: a KL penalty at every token, the reply's reward at its last.

    r_t = -beta KL_t + reward [t is the last token]

    paper: Ziegler et al. 2019, arXiv 1909.08593, Eq. 2
    reward: reward of each reply
    beta: weight of the KL to the reference; lower lets the policy move further
    estimator: k1 has the gradient of KL(policy, reference); k2 is milder for rare tokens
    """
    penalty = {"k1": kl_k1_reward, "k2": kl_k2_reward}[estimator](tokens, beta=beta)
    return penalty + torch.where(tokens.last, tokens.spread(reward), 0.0)


def overlong_penalty(length: ReplyLengths, *, max_length: int = 20480, cache: int = 4096) -> PerReply:
    """DAPO's soft penalty: 0 up to max_length - cache, linear to -1 at max_length, -1 beyond.

    paper: Yu et al. 2025, arXiv 2503.14476, Eq. 13
    max_length: length from which the penalty is whole
    cache: how many tokens before that it begins
    """
    return ((max_length - cache - length) / cache).clamp(-1, 0)


def redistribute_by_weight(tokens: Tokens, *, reward: PerReply, weight: PerToken) -> PerToken:
    """Dense rewards in proportion to non-negative weights (attention, attribution): sums to the reward.

    A reply whose weights are all zero has its reward spread evenly.

    paper: standard: return-preserving credit
    reward: reward of each reply
    weight: how much of it each token is to have, not negative
    """
    total = tokens.spread(tokens.sum(weight))
    share = weight / total.clamp(min=torch.finfo(weight.dtype).tiny)
    even = tokens.spread(reward / tokens.length.clamp(min=1))
    return torch.where(total > 0, tokens.spread(reward) * share, even)


def redistribute_by_value(tokens: Tokens, *, reward: PerReply, value: PerToken) -> PerToken:
    """Dense rewards as the rise of a predicted return: sums to the reward.

    value_t predicts the reply's reward from its tokens up to and including t; what the last prediction
    misses is made good at the last token.

    paper: Arjona-Medina et al. 2018, arXiv 1806.07857 (RUDDER)
    reward: reward of each reply
    value: prediction of that reward after each token
    """
    before = value.roll(1).masked_fill(tokens.position == 0, 0.0)
    correction = torch.where(tokens.last, tokens.spread(reward) - value, 0.0)
    return value - before + correction


def easy_to_hard_rewards(
    steps: StepLogits,
    *,
    score: PerToken,
    scheme: Literal["min", "prod"] = "min",
    start: float = 0.5,
    bonus: float = 0.25,
) -> PerToken:
    """Step rewards of easy-to-hard generalisation: the fall of a running minimum, and a bonus for each step.

    r_s = min(0, x_s - lowest x before), lowest at first `start`, plus bonus / T;
    x is the step's score (`min`) or the product of scores so far (`prod`)

    paper: Sun et al. 2024, arXiv 2403.09472, released code (which spreads each over two tokens)
    score: what the process reward model gives to each step
    scheme: min takes the step's score, prod the product of scores so far
    start: what the first step is compared with
    bonus: shared by all steps of a reply
    """
    rows = steps.padded(score)
    running = rows if scheme == "min" else rows.cumprod(1)
    lowest = torch.cat([torch.full_like(running[:, :1], start), running], 1).cummin(1).values
    fall = (lowest[:, 1:] - lowest[:, :-1])[steps.owner, steps.position]
    return fall + bonus / steps.spread(steps.length.to(score.dtype))


# --- controllers ------------------------------------------------------------------------------------------


def adaptive_kl_ziegler(beta: float, *, kl: float, target: float = 6.0, k: float = 0.1) -> float:
    """The next KL coefficient: raised while the policy is further away than it should be.

    beta' = beta (1 + k e), e = clip(KL / target - 1, -0.2, 0.2)

    paper: Ziegler et al. 2019, arXiv 1909.08593; KL is the mean over replies of the sum over tokens
    kl: what was measured over the last step
    target: what it is steered to
    k: how fast it is steered
    """
    return beta * (1 + k * min(max(kl / target - 1, -0.2), 0.2))


def adaptive_kl_horizon(
    beta: float, *, kl: float, num_samples: int, target: float = 6.0, horizon: int = 10000
) -> float:
    """The next KL coefficient as TRL, OpenRLHF and verl reckon it: the gain is samples / horizon.

    paper: Ziegler et al. 2019, arXiv 1909.08593, released code
    kl: what was measured over the last step
    num_samples: replies of the step
    target: what the KL is steered to
    horizon: samples over which the gain adds up to one
    """
    return adaptive_kl_ziegler(beta, kl=kl, target=target, k=num_samples / horizon)
