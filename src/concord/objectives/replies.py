"""Losses on single replies with a label, with and without a reference. rho = log pi(y) - log ref(y)."""

import torch
from torch.nn.functional import logsigmoid

from concord.objectives.contract import coupled, per_token
from concord.tensors import PerReply, ReferencedReplies, Replies, ReplyFlags, RunningMean

__all__ = ["apo_zero_unpaired", "bco", "kto", "safe_align"]


@coupled
def kto(
    replies: ReferencedReplies,
    *,
    desirable: ReplyFlags,
    mismatched: ReferencedReplies,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> PerReply:
    """Kahneman-Tversky optimisation: gains and losses against how far the policy has moved at all.

    loss = lam_D (1 - sigmoid(beta (rho - z))) for good replies, lam_U (1 - sigmoid(beta (z - rho))) for bad,
    z = max(0, mean of rho over mismatched replies), without gradient

    paper: Ethayarajh et al. 2024, arXiv 2402.01306, Eq. 7; weights Eq. 8
    desirable: whether each reply is a good one
    mismatched: the same replies behind other rows' prompts: the estimate of KL(policy, reference)
    beta: risk aversion; higher saturates sooner
    desirable_weight: lam_D, weight of good replies; lam_D n_D / (lam_U n_U) between 1 and 4/3 is advised
    undesirable_weight: lam_U, weight of bad replies
    minimises: bounded contrast (sigmoid), with a reference point
    optimum: none inside: each reply saturates towards its majority label
    """
    z = mismatched.ratio.mean().clamp(min=0).detach()
    gain = torch.where(desirable, replies.ratio - z, z - replies.ratio)
    loss = 1 - torch.sigmoid(beta * gain)
    return torch.where(desirable, desirable_weight * loss, undesirable_weight * loss)


def apo_zero_unpaired(replies: ReferencedReplies, *, desirable: ReplyFlags, beta: float = 0.1) -> PerReply:
    """Anchored preference optimisation on single replies: KTO with its reference point at zero.

    loss = 1 - sigmoid(beta rho) for good replies, 1 - sigmoid(-beta rho) for bad

    paper: D'Oosterlinck et al. 2024, arXiv 2408.06266, without pairing
    desirable: whether each reply is a good one
    beta: steepness; higher lets the gradient vanish sooner
    minimises: bounded contrast (sigmoid), anchored at the reference
    peers: TRL's KTO with loss_type apo_zero_unpaired
    """
    return 1 - torch.sigmoid(beta * torch.where(desirable, replies.ratio, -replies.ratio))


@coupled
def bco(
    replies: ReferencedReplies,
    *,
    desirable: ReplyFlags,
    state: tuple[RunningMean, RunningMean],
    beta: float = 0.1,
) -> tuple[PerReply, tuple[RunningMean, RunningMean]]:
    """Binary classifier optimisation: tell good replies from bad against the middle of their mean rewards.

    loss = -log sigmoid(+-(beta rho - delta)), delta = (mean beta rho of good + mean of bad) / 2

    paper: Jung et al. 2024, arXiv 2404.04656
    desirable: whether each reply is a good one
    state: running means of the rewards of good and of bad replies, this step included
    beta: weight of the KL to the reference; lower lets the policy move further
    minimises: bounded contrast (log-sigmoid), against a running reference point
    peers: TRL's former BCO trainer took one mean over all replies, which leans to the commoner label
    """
    reward = beta * replies.ratio
    good, bad = state[0].updated(reward[desirable]), state[1].updated(reward[~desirable])
    # Until both kinds have been seen, the one mean there is stands for both.
    middle = (good.mean + bad.mean) / 2
    shift = torch.where(good.count == 0, bad.mean, torch.where(bad.count == 0, good.mean, middle))
    return -logsigmoid(torch.where(desirable, reward - shift, shift - reward)), (good, bad)


@per_token
def safe_align(
    replies: Replies,
    *,
    desirable: ReplyFlags,
    blue_weight: float = 1.0,
    red_weight: float = 0.1,
    threshold: float = 1.0,
) -> PerReply:
    """Red-instruct's blue-red alignment: imitate safe replies, push harmful ones away until unlikely enough.

    loss = lam_b nll for good replies, -lam_r nll [nll < threshold] for bad, nll the mean over tokens

    paper: Bhardwaj and Poria 2023, arXiv 2308.09662; use with reduction `label_sum`
    desirable: whether each reply is a safe one (blue) or a harmful one (red)
    blue_weight: lam_b, weight of imitation
    red_weight: lam_r; the authors' own table shows worse attack rates than with blue alone
    threshold: mean nll above which a harmful reply is let be, in nats a token
    minimises: forward KL(safe, policy), and contrast bounded by a threshold
    departs: the red half was never released; its constants are not verified
    """
    nll = -replies.mean
    return torch.where(desirable, blue_weight * nll, -red_weight * nll * (nll < threshold))
