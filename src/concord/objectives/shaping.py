"""What happens to rewards before they become advantages, and which samples are kept.

Penalties, redistribution, filters and weights, controllers: all without gradient.
"""

from typing import Literal

import torch

from concord.objectives.divergences import kl_k1_reward, kl_k2_reward
from concord.tensors import (
    Distribution,
    Groups,
    GroupTable,
    PairFlags,
    PerReply,
    PerToken,
    ReferencedTokens,
    ReplyFlags,
    Steps,
    Tokens,
)

__all__ = [
    "above_threshold",
    "adaptive_kl_horizon",
    "adaptive_kl_ziegler",
    "best_of_n",
    "best_of_n_kl_bound",
    "best_of_n_weights",
    "easy_to_hard_rewards",
    "first_wins",
    "informative",
    "kl_shaped_rewards",
    "overlong_penalty",
    "redistribute_by_value",
    "redistribute_by_weight",
    "tilted_weights",
]


# --- rewards ----------------------------------------------------------------------------------------------


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


def overlong_penalty(length: PerReply, *, max_length: int = 20480, cache: int = 4096) -> PerReply:
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
    share = torch.where(
        total > 0, weight / total.clamp(min=torch.finfo(weight.dtype).tiny), 1 / tokens.spread(tokens.length)
    )
    return tokens.spread(reward) * share


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
    steps: Steps,
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
    return fall + bonus / steps.spread(steps.length)


# --- which samples count, and how much --------------------------------------------------------------------


def informative(groups: Groups) -> ReplyFlags:
    """Flags replies of groups whose rewards are not all equal: DAPO's dynamic sampling keeps only these.

    paper: Yu et al. 2025, arXiv 2503.14476, Eq. 11
    """
    return groups.std(ddof=0) > 0


def above_threshold(groups: Groups, *, threshold: float) -> ReplyFlags:
    """Flags rewards strictly above the threshold: ReST's filter.

    Each Improve step raises the threshold, so what is kept shrinks.

    paper: Gulcehre et al. 2023, arXiv 2308.08998 (ReST)
    threshold: what a reward must exceed
    """
    return groups.reward > threshold


def best_of_n(groups: Groups) -> ReplyFlags:
    """Flags the first reply of highest reward in each group: RAFT, rejection sampling, expert iteration.

    paper: Dong et al. 2023, arXiv 2304.06767 (RAFT); standard
    """
    top = groups.reward.new_full((groups.num_groups,), -torch.inf)
    is_top = groups.reward == top.scatter_reduce(0, groups.group, groups.reward, "amax")[groups.group]
    place = torch.arange(len(is_top), device=is_top.device)
    candidates = torch.where(is_top, place, len(is_top))
    first = place.new_full((groups.num_groups,), len(is_top)).scatter_reduce(
        0, groups.group, candidates, "amin"
    )
    return place == first[groups.group]


def first_wins(rewards: GroupTable) -> PairFlags:
    """Which of two fresh samples is chosen in online DPO: the first, in a tie too.

    paper: Guo et al. 2024, arXiv 2402.04792
    """
    return rewards[:, 0] >= rewards[:, 1]


def best_of_n_weights(probability: Distribution, reward: Distribution, *, n: int) -> Distribution:
    """The law of best-of-n over replies that can be listed.

    weight(y) = F(<= y)^n - F(< y)^n, F the base's distribution function in order of reward

    Replies of equal reward share their group's mass in proportion to the base.

    paper: standard
    n: how many replies the best is chosen from
    """
    below = (reward[None, :] < reward[:, None]).to(probability.dtype) @ probability
    equal = (reward[None, :] == reward[:, None]).to(probability.dtype) @ probability
    return ((below + equal) ** n - below**n) * probability / equal


def best_of_n_kl_bound(n: int) -> float:
    """log n - (n - 1) / n: KL(best-of-n, base) if no two rewards are equal, and an upper bound otherwise.

    paper: Beirami et al. 2024, arXiv 2401.01879
    """
    return float(torch.tensor(n, dtype=torch.float64).log()) - (n - 1) / n


def tilted_weights(groups: Groups, *, beta: float) -> PerReply:
    """softmax(reward / beta) in each group: turns samples of the reference into ref exp(r / beta).

    paper: standard
    beta: temperature; lower puts all weight on the best reply
    """
    peak = groups.reward.new_full((groups.num_groups,), -torch.inf)
    peak = peak.scatter_reduce(0, groups.group, groups.reward, "amax")[groups.group]
    weight = ((groups.reward - peak) / beta).exp()
    return weight / groups.sum(weight)


# --- controllers ------------------------------------------------------------------------------------------


def adaptive_kl_ziegler(beta: float, *, kl: float, target: float = 6.0, k: float = 0.1) -> float:
    """The next KL coefficient: raised while the policy is further away than it should be.

    beta' = beta (1 + k e), e = clip(KL / target - 1, -0.2, 0.2)

    paper: Ziegler et al. 2019, arXiv 1909.08593, Eq. 5; KL is the mean over replies of the sum over tokens
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
