"""Reward models: losses on pairs, rankings, scores and steps, and what is made of their scores.

R is what the head gives. Bradley-Terry and Plackett-Luce know R up to a constant; regression knows it whole.
"""

import math

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid, relu

from concord.objectives.rankings import plackett_luce_nll, row_mean_where
from concord.tensors import (
    PairValues,
    PerPair,
    PerReply,
    PerToken,
    RankedRewards,
    RewardPairs,
    Rewards,
    StepLogits,
)

__all__ = [
    "bradley_terry",
    "bradley_terry_scored",
    "kwise_bradley_terry",
    "listwise_top1",
    "plackett_luce_reward",
    "reward_hinge",
    "reward_regression",
    "segment_preference",
    "step_bce",
    "step_mse",
]


def bradley_terry(
    rewards: RewardPairs,
    *,
    preference: PerPair | None = None,
    strength: PerPair | None = None,
    label_smoothing: float = 0.0,
    center_rewards_coefficient: float = 0.0,
) -> PerPair:
    """Bradley-Terry reward model: the logistic likelihood that the chosen reply wins.

    loss = -q log sigmoid(d) - (1 - q) log sigmoid(-d) + c (R_w + R_l)^2,
    d = R_w - R_l - m, q = (1 - e) p + e (1 - p)

    paper: Christiano et al. 2017, arXiv 1706.03741; margin of Llama 2, arXiv 2307.09288; centring of
        arXiv 2312.09244, Eq. 2; soft labels of RL from AI feedback, arXiv 2212.08073
    preference: p, the probability that the chosen side is better; 1 where nothing else is known
    strength: m, by how much the chosen side should lead; 0 where nothing else is known
    label_smoothing: e, the share of labels taken to be wrong
    center_rewards_coefficient: c; 0.01 brings rewards of different prompts to one zero, and shrinks the scale
    minimises: value learning: maximum likelihood of the preferences
    optimum: r + constant; centring, in its limit, takes mean zero
    peers: OpenRLHF's log-exp loss ignores the margin; HALOs reads one of two logits
    """
    gap = rewards.gap if strength is None else rewards.gap - strength
    p = torch.ones_like(gap) if preference is None else preference
    q = (1 - label_smoothing) * p + label_smoothing * (1 - p)
    loss = -q * logsigmoid(gap) - (1 - q) * logsigmoid(-gap)
    return loss + center_rewards_coefficient * (rewards.chosen + rewards.rejected).square()


def bradley_terry_scored(rewards: RewardPairs, *, scores: PairValues, alpha: float = 0.1) -> PerPair:
    """Bradley-Terry with a pull of each reward to its absolute annotation.

    loss = -log sigmoid(R_w - R_l) + alpha ((R_w - s_w)^2 + (R_l - s_l)^2)

    paper: Baichuan alignment report 2024, arXiv 2410.14940, Eq. 1
    scores: normalised absolute annotations of both sides; not a number where there is none
    alpha: weight of the pull; the report does not give its value
    minimises: value learning, by likelihood and by regression
    """
    pull = _pull(rewards.chosen, scores.chosen) + _pull(rewards.rejected, scores.rejected)
    return bradley_terry(rewards) + alpha * pull


def _pull(reward: PerPair, score: PerPair) -> PerPair:
    """Squared distance to a score, zero where there is none: left out before it can reach a gradient."""
    given = ~score.isnan()
    return torch.where(given, reward - score.masked_fill(~given, 0.0), 0.0).square()


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
    reward = ranked.reward.masked_fill(~ranked.mask, 0.0)
    return row_mean_where(-logsigmoid(reward[:, :, None] - reward[:, None, :]), ranked.better)


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
    # Not minus infinity, of which an empty row has no softmax.
    logp = ranked.reward.masked_fill(~ranked.mask, torch.finfo(ranked.reward.dtype).min).log_softmax(-1)
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
    wins = _log_choice(rewards.gap, error_rate)
    return -preference * wins - (1 - preference) * _log_choice(-rewards.gap, error_rate)


def _log_choice(gap: PerPair, error_rate: float) -> PerPair:
    """log((1 - e) sigmoid(gap) + e / 2), exact for any gap."""
    if error_rate == 0:
        return logsigmoid(gap)
    guess = gap.new_tensor(error_rate / 2).log()
    return torch.logaddexp(math.log1p(-error_rate) + logsigmoid(gap), guess)


def step_bce(steps: StepLogits) -> PerToken:
    """Process reward model: is each step right? Labels may be soft, e.g. the share of rollouts that succeed.

    loss_s = -c log sigmoid(z) - (1 - c) log sigmoid(-z)

    paper: Lightman et al. 2023, arXiv 2305.20050; soft labels of Wang et al. 2023, arXiv 2312.08935
    minimises: value learning on steps: cross-entropy to the label
    departs: the label stands at the end of each step; copying it to all tokens of a step is a data choice
    """
    return binary_cross_entropy_with_logits(steps.logit, steps.label, reduction="none")


def step_mse(steps: StepLogits) -> PerToken:
    """Process values by regression on the share of rollouts that succeed.

    loss_s = (sigmoid(z) - c)^2

    paper: Wang et al. 2023, arXiv 2312.08935; value head of arXiv 2510.01167
    minimises: value learning on steps: squared error
    """
    return (torch.sigmoid(steps.logit) - steps.label).square()
