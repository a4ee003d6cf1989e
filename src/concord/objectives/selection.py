"""Which samples count, and how much: filters and weights over the replies to each prompt."""

import math
from dataclasses import replace

import torch

from concord.tensors import Distribution, Groups, GroupTable, PairFlags, PerReply, ReplyFlags

__all__ = [
    "above_threshold",
    "best_of_n",
    "best_of_n_kl_bound",
    "best_of_n_weights",
    "first_wins",
    "informative",
    "tilted_weights",
]


def informative(groups: Groups) -> ReplyFlags:
    """Flags replies of groups whose rewards are not all equal: DAPO's dynamic sampling keeps only these.

    paper: Yu et al. 2025, arXiv 2503.14476, Eq. 11
    """
    highest = -replace(groups, reward=-groups.reward).lowest
    return highest != groups.lowest


def above_threshold(groups: Groups, *, threshold: float) -> ReplyFlags:
    """Flags rewards strictly above the threshold: ReST's filter.

    Each Improve step raises the threshold, so what is kept shrinks.

    paper: Gulcehre et al. 2023, arXiv 2308.08998 (ReST)
    threshold: what a reward must exceed
    """
    return groups.reward > threshold


def best_of_n(groups: Groups) -> ReplyFlags:
    """Flags the first reply of highest reward in each group: RAFT, rejection sampling, expert iteration.

    A reward that is not a number wins nothing, and its group has no best: drop it before.

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
    share = torch.where(equal > 0, probability / equal.clamp(min=torch.finfo(equal.dtype).tiny), 0.0)
    return ((below + equal) ** n - below**n) * share


def best_of_n_kl_bound(n: int) -> float:
    """log n - (n - 1) / n: at least KL(best-of-n, base), and equal to it where no reply can be drawn twice.

    paper: Beirami et al. 2024, arXiv 2401.01879
    """
    return math.log(n) - (n - 1) / n


def tilted_weights(groups: Groups, *, beta: float) -> PerReply:
    """softmax(reward / beta) in each group: turns samples of the reference into ref exp(r / beta).

    paper: standard
    beta: temperature; lower puts all weight on the best reply
    """
    peak = groups.reward.new_full((groups.num_groups,), -torch.inf)
    peak = peak.scatter_reduce(0, groups.group, groups.reward, "amax")[groups.group]
    weight = ((groups.reward - peak) / beta).exp()
    return weight / groups.sum(weight)
