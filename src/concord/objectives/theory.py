"""The survey's formal frame (arXiv 2403.04204), Eq. 4 and 6 to 10; misprints are put right and named.

Distributions are over replies that can be listed. Eq. 1, misalignment, is a measurement, not a loss: it is
in `concord.eval.order.misalignment`, free of torch. Eq. 2 is `reward_regression` and `reward_hinge`, Eq. 3
`f_divergence`, Eq. 5 `bradley_terry`.
"""

import torch
from torch import Tensor

from concord.tensors import Conditional, Distribution, Joint, PerCondition, PerReply, PerToken, Scalar

__all__ = [
    "conditional_imitation",
    "in_context_imitation",
    "in_context_posterior",
    "preference_imitation",
    "rlhf_objective",
    "rlhf_optimum",
    "rlhf_ptx_objective",
    "sft_printed",
    "sft_standard",
    "unified_rlhf",
    "unified_rlhf_optimum",
]


def _kl(p: Tensor, q: Tensor) -> Scalar:
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum()


# --- Eq. 4 and 6 to 10 ------------------------------------------------------------------------------------


def sft_standard(logp: PerReply) -> Scalar:
    """Eq. 4 as meant: -(1/N) sum_i log pi(y_i), the negative log-likelihood of whole replies.

    paper: the survey arXiv 2403.04204, Eq. 4
    """
    return -logp.mean()


def sft_printed(logp: PerReply) -> Scalar:
    """Eq. 4 as printed: -log (1/N) sum_i pi(y_i). Its gradient goes to the likeliest reply alone.

    paper: the survey arXiv 2403.04204, Eq. 4
    """
    n = torch.tensor(len(logp), dtype=logp.dtype, device=logp.device)
    return n.log() - logp.logsumexp(0)


def rlhf_objective(
    policy: Distribution, *, reference: Distribution, reward: Distribution, beta: float
) -> Scalar:
    """Eq. 6, to be made large: E_pi[r] - beta KL(pi, ref).

    paper: the survey arXiv 2403.04204, Eq. 6
    reference: where the policy started
    reward: of each reply
    beta: weight of the KL to the reference
    """
    return (policy * reward).sum() - beta * _kl(policy, reference)


def rlhf_optimum(*, reference: Distribution, reward: Distribution, beta: float) -> Distribution:
    """The policy that Eq. 6 is largest for: ref exp(r / beta), normalised.

    paper: the survey arXiv 2403.04204, Eq. 6
    reference: where the policy started
    reward: of each reply
    beta: weight of the KL to the reference
    """
    return (reference.log() + reward / beta).softmax(-1)


def rlhf_ptx_objective(
    *, reward: PerReply, kl: PerReply, pretrain_logp: PerToken, beta: float, gamma: float
) -> Scalar:
    """InstructGPT's Eq. 2, to be made large: E[r - beta KL] + gamma E[log pi] a token of pretraining text.

    paper: Ouyang et al. 2022, arXiv 2203.02155, Eq. 2
    reward: of each sampled reply
    kl: of each sampled reply, from its reference
    pretrain_logp: of each token of pretraining text
    beta: weight of the KL to the reference
    gamma: weight of the pretraining text
    """
    return (reward - beta * kl).mean() + gamma * pretrain_logp.mean()


def unified_rlhf(
    policy: Distribution,
    *,
    human: Distribution,
    reward: Distribution,
    sft: Distribution,
    lam: float,
) -> Scalar:
    """Eq. 7: TV[r*, R] + KL[pi, R] + lam KL[pi, pi_SFT]: learn a reward, follow it, stay near the start.

    Meaningful only when rewards are normalised over replies; total variation is half the L1 distance.

    paper: the survey arXiv 2403.04204, Eq. 7
    human: rewards that people give, normalised over replies
    reward: the learned rewards, normalised likewise
    sft: where the policy started
    lam: weight of staying near it
    """
    return (human - reward).abs().sum() / 2 + _kl(policy, reward) + lam * _kl(policy, sft)


def unified_rlhf_optimum(*, reward: Distribution, sft: Distribution, lam: float) -> Distribution:
    """The policy that Eq. 7 is least for: R^(1 / (1 + lam)) pi_SFT^(lam / (1 + lam)), normalised.

    paper: the survey arXiv 2403.04204, Eq. 7
    reward: the learned rewards, normalised over replies
    sft: where the policy started
    lam: weight of staying near it
    """
    return ((reward.log() + lam * sft.log()) / (1 + lam)).softmax(-1)


def preference_imitation(
    policy: Distribution, *, chosen: Distribution, rejected: Distribution
) -> tuple[Scalar, Scalar]:
    """Eq. 8: imitate the chosen, avoid the rejected; the gap of likelihoods, and the gap of KLs.

    gap = -E_w[log pi] + E_l[log pi]

    It equals KL[p_w, pi] - KL[p_l, pi] up to H(p_w) - H(p_l), and is unbounded below wherever p_l > p_w:
    every working loss bounds it.

    paper: the survey arXiv 2403.04204, Eq. 8
    chosen: the law of replies to be imitated
    rejected: the law of replies to be avoided
    """
    gap = torch.xlogy(rejected, policy).sum() - torch.xlogy(chosen, policy).sum()
    return gap, _kl(chosen, policy) - _kl(rejected, policy)


def conditional_imitation(policy: Conditional, *, joint: Conditional) -> Scalar:
    """Eq. 9: E_r KL[p(y | r), pi(y | r)], imitation given feedback r in words (chain of hindsight).

    Equals -E log pi(y | r) up to the entropy of the data; the minus is missing in print.

    paper: the survey arXiv 2403.04204, Eq. 9
    joint: p(r, y), feedback by replies
    """
    marginal = joint.sum(-1, keepdim=True)
    p = joint / marginal
    return (marginal * (torch.xlogy(p, p) - torch.xlogy(p, policy))).sum()


def in_context_imitation(p: Joint, *, policy: Joint) -> tuple[Scalar, Scalar, Scalar]:
    """Eq. 10: the joint KL[p(x, y, c), pi(x, y, c)] over prompts, replies and concepts, and its two parts.

    joint = -braces + rest, braces = E_p(x, y) {E_p(c | x, y) log pi(y | x, c) - KL[p(c | x, y), pi(c | x)]},
    rest = E_p log p(x, y) - E_p log pi(x), which no conditional of pi enters

    The survey's second argmin must be an argmax. Returns (joint, braces, rest).

    paper: the survey arXiv 2403.04204, Eq. 10
    policy: its own joint law of prompts, replies and concepts
    """
    p_xy, pi_x, pi_xc = p.sum(-1), policy.sum((1, 2)), policy.sum(1)
    p_c = p / p_xy[..., None]
    prior = (pi_xc / pi_x[:, None])[:, None, :]
    kl = (torch.xlogy(p_c, p_c) - torch.xlogy(p_c, prior)).sum(-1)
    braces = torch.xlogy(p, policy / pi_xc[:, None, :]).sum() - (p_xy * kl).sum()
    rest = torch.xlogy(p_xy, p_xy).sum() - torch.xlogy(p_xy.sum(1), pi_x).sum()
    return _kl(p, policy), braces, rest


def in_context_posterior(
    likelihood: PerCondition, *, prior: PerCondition, replies: Conditional
) -> Distribution:
    """What Eq. 10 makes of demonstrations: pi(y | x, D) = sum_c pi(c | x, D) pi(y | x, c).

    likelihood: log-probability of the demonstrations under each concept
    paper: the survey arXiv 2403.04204, Eq. 10
    prior: pi(c | x) of each concept
    replies: pi(y | x, c) for each concept
    """
    return (prior.log() + likelihood).softmax(-1) @ replies
