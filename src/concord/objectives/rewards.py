"""Reward models: losses on pairs, rankings, scores and steps, and what is made of their scores.

R is what the head gives. Bradley-Terry and Plackett-Luce know R up to a constant; regression knows it whole.
"""

from typing import Literal

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, relu

from concord.objectives.rankings import plackett_luce_nll
from concord.tensors import (
    GroupTable,
    Members,
    PairValues,
    PerPair,
    PerReply,
    PerToken,
    RankedRewards,
    RewardPairs,
    Rewards,
    Steps,
)

__all__ = [
    "bradley_terry",
    "bradley_terry_scored",
    "bradley_terry_soft",
    "ensemble_mean",
    "ensemble_uncertainty_weighted",
    "ensemble_worst_case",
    "kwise_bradley_terry",
    "listwise_top1",
    "plackett_luce_reward",
    "reward_hinge",
    "reward_regression",
    "segment_preference",
    "soft_labels_from_choice",
    "step_aggregate",
    "step_bce",
    "step_mse",
]


def bradley_terry(
    rewards: RewardPairs,
    *,
    strength: PerPair | None = None,
    label_smoothing: float = 0.0,
    center_rewards_coefficient: float = 0.0,
) -> PerPair:
    """Bradley-Terry reward model: the logistic likelihood that the chosen reply wins.

    loss = -(1 - e) log sigmoid(d) - e log sigmoid(-d) + c (R_w + R_l)^2, d = R_w - R_l - m

    paper: Christiano et al. 2017; margin of Llama 2, arXiv 2307.09288; centring of arXiv 2312.09244, Eq. 2
    strength: m, by how much the chosen side should lead; none is 0
    label_smoothing: e, the share of labels taken to be wrong
    center_rewards_coefficient: c; 0.01 brings rewards of different prompts to one zero, and shrinks the scale
    minimises: value learning: maximum likelihood of the preferences
    optimum: r + constant; centring, in its limit, takes mean zero
    peers: OpenRLHF's log-exp loss ignores the margin; HALOs reads one of two logits
    """
    gap = rewards.gap if strength is None else rewards.gap - strength
    loss = -(1 - label_smoothing) * logsigmoid(gap) - label_smoothing * logsigmoid(-gap)
    return loss + center_rewards_coefficient * (rewards.chosen + rewards.rejected).square()


def bradley_terry_soft(rewards: RewardPairs, *, preference: PerPair) -> PerPair:
    """Bradley-Terry on soft labels: votes, an AI judge's probabilities, ties at one half.

    loss = -p log sigmoid(R_w - R_l) - (1 - p) log sigmoid(R_l - R_w)

    paper: Bai et al. 2022, arXiv 2212.08073 (RL from AI feedback); ties of WebGPT, arXiv 2112.09332
    preference: probability that the chosen side is better
    minimises: value learning: cross-entropy to the label
    optimum: r + constant, when p = sigmoid(r_w - r_l)
    """
    return -preference * logsigmoid(rewards.gap) - (1 - preference) * logsigmoid(-rewards.gap)


def bradley_terry_scored(rewards: RewardPairs, *, scores: PairValues, alpha: float = 0.1) -> PerPair:
    """Bradley-Terry with a pull of each reward to its absolute annotation.

    loss = -log sigmoid(R_w - R_l) + alpha ((R_w - s_w)^2 + (R_l - s_l)^2)

    paper: Baichuan alignment report 2024, arXiv 2410.14940, Eq. 1
    scores: normalised absolute annotations of both sides; not a number where there is none
    alpha: weight of the pull; the report does not give its value
    minimises: value learning, by likelihood and by regression
    """
    pull = (rewards.chosen - scores.chosen).square() + (rewards.rejected - scores.rejected).square()
    return bradley_terry(rewards) + alpha * pull.nan_to_num(0.0)


def reward_hinge(rewards: RewardPairs, *, margin: float = 1.0) -> PerPair:
    """Margin reward model: no gradient once the chosen reply leads by the margin.

    loss = max(0, margin - R_w + R_l)

    paper: the survey arXiv 2403.04204, Eq. 2, margin form
    margin: the lead asked for
    minimises: value learning, down to a flat set of minimisers: regularise if R is used in reinforcement
    """
    return relu(margin - rewards.gap)


def kwise_bradley_terry(ranked: RankedRewards) -> PerPair:
    """All pairs of one ranking in one row: as in InstructGPT, so as not to overfit.

    loss = mean over u_i > u_j of -log sigmoid(R_i - R_j)

    paper: Ouyang et al. 2022, arXiv 2203.02155, Eq. 1
    minimises: value learning: maximum likelihood of the preferences
    optimum: r + constant
    departs: tied pairs are left out
    """
    loss = -logsigmoid(ranked.reward[:, :, None] - ranked.reward[:, None, :])
    return (loss * ranked.better).sum((1, 2)) / ranked.better.sum((1, 2)).clamp(min=1)


def plackett_luce_reward(ranked: RankedRewards) -> PerPair:
    """Plackett-Luce reward model: the likelihood of choosing the best, then the best of the rest, and so on.

    loss = -sum_{k < K} [R_(k) - log sum_{j >= k} exp R_(j)], best first

    paper: Plackett 1975; Luce 1959; as in arXiv 2203.02155 for K-wise data
    minimises: value learning: maximum likelihood of the ranking
    optimum: r + constant
    departs: equal utilities are taken in the order given
    """
    best_first = ranked.sorted()
    return plackett_luce_nll(best_first.reward, best_first.mask)


def listwise_top1(ranked: RankedRewards) -> PerPair:
    """Softmax of the best reply against all: only the winner of each row matters.

    loss = -log softmax(R)_best

    paper: Cao et al. 2007 (ListNet, top one); the InfoNCE form
    minimises: value learning: likelihood of the winner
    """
    logp = ranked.reward.masked_fill(~ranked.mask, -torch.inf).log_softmax(-1)
    return -logp.masked_fill(~ranked.best, 0.0).sum(-1)


def reward_regression(rewards: Rewards, *, utility: PerReply) -> PerReply:
    """Regression of rewards on scores: fixes zero and scale, where comparisons fix only the order.

    loss = (R - u)^2

    paper: the survey arXiv 2403.04204, Eq. 2
    utility: what each reply is worth; normalise it for each annotator
    minimises: value learning: squared error
    optimum: E[r | y]
    """
    return (rewards.reward - utility).square()


def segment_preference(rewards: RewardPairs, *, preference: PerPair, error_rate: float = 0.1) -> PerPair:
    """Preferences between segments by their summed step rewards, with people who sometimes just guess.

    loss = -p log P - (1 - p) log(1 - P), P = (1 - e) sigmoid(S_1 - S_2) + e / 2, S = sum of step rewards

    paper: Christiano et al. 2017, arXiv 1706.03741, Eq. 1
    preference: probability that the first segment is better; 0.5 for equal ones, drop incomparable ones
    error_rate: e, the share of choices made at random; 0 is Bradley-Terry
    minimises: value learning: maximum likelihood of the preferences
    """
    wins = (1 - error_rate) * torch.sigmoid(rewards.gap) + error_rate / 2
    loses = (1 - error_rate) * torch.sigmoid(-rewards.gap) + error_rate / 2
    tiny = torch.finfo(wins.dtype).tiny
    return -preference * wins.clamp(min=tiny).log() - (1 - preference) * loses.clamp(min=tiny).log()


def step_bce(steps: Steps) -> PerToken:
    """Process reward model: is each step right? Labels may be soft, e.g. the share of rollouts that succeed.

    loss_s = -c log sigmoid(z) - (1 - c) log sigmoid(-z)

    paper: Lightman et al. 2023, arXiv 2305.20050; soft labels of Wang et al. 2023, arXiv 2312.08935
    minimises: value learning on steps: cross-entropy to the label
    departs: the label stands at the end of each step; copying it to all tokens of a step is a data choice
    """
    return binary_cross_entropy_with_logits(steps.logit, steps.label, reduction="none")


def step_mse(steps: Steps) -> PerToken:
    """Process values by regression on the share of rollouts that succeed.

    loss_s = (sigmoid(z) - c)^2

    paper: Wang et al. 2023, arXiv 2312.08935; value head of arXiv 2510.01167
    minimises: value learning on steps: squared error
    """
    return (torch.sigmoid(steps.logit) - steps.label).square()


def step_aggregate(
    steps: Steps, *, how: Literal["min", "prod", "last", "mean", "geometric_mean", "log_prod"] = "min"
) -> PerReply:
    """One score for a solution from the probabilities of its steps. A reply without steps scores one.

    paper: Lightman et al. 2023, arXiv 2305.20050 (min, prod)
    how: the least, the product, the last or the mean of the steps' probabilities
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
