"""Advantages: from rewards to what each reply, or each token, is worth beyond what was expected.

The first of three menus; a policy-gradient method is an advantage, an objective and a reduction.
"""

import torch

from concord.tensors import Groups, PerReply, PerToken, Tokens

__all__ = [
    "batch_standardised",
    "centred",
    "gae",
    "leave_one_out",
    "reward_to_go",
    "standardised",
    "whiten",
]


def centred(groups: Groups) -> PerReply:
    """Reward less the mean of its group, which is all that Dr. GRPO does.

    paper: Liu et al. 2025, arXiv 2503.20783 (Dr. GRPO)
    """
    return groups.reward - groups.mean


def standardised(groups: Groups, *, eps: float = 1e-4, ddof: int = 1) -> PerReply:
    """Centred and divided by the group's deviation, as GRPO has it.

    Dividing changes what is maximised: on a reward of 0 or 1, 2 arcsin(sqrt p) instead of p. A group of
    equal rewards gets zeros.

    paper: Shao et al. 2024, arXiv 2402.03300 (GRPO)
    eps: added to the deviation
    ddof: 1 divides the variance by n - 1, 0 by n
    peers: eps is 1e-4 in TRL, 1e-6 in verl; ddof is 1 in both, 0 in HALOs
    """
    return centred(groups) / (groups.std(ddof=ddof) + eps)


def batch_standardised(groups: Groups, *, eps: float = 1e-4, ddof: int = 1) -> PerReply:
    """Centred in the group, divided by the deviation of all rewards of the batch.

    paper: standard
    eps: added to the deviation
    ddof: 1 divides the variance by n - 1, 0 by n
    peers: TRL's scale_rewards batch
    """
    whole = Groups(groups.reward, torch.zeros_like(groups.group), 1)
    return centred(groups) / (whole.std(ddof=ddof) + eps)


def leave_one_out(groups: Groups) -> PerReply:
    """Reward less the mean of the others in its group, as RLOO has it.

    Unbiased. A reply alone in its group has nothing to be compared with and gets zero.

    paper: Ahmadian et al. 2024, arXiv 2402.14740 (RLOO)
    """
    return centred(groups) * groups.size / (groups.size - 1).clamp(min=1)


def whiten(values: PerToken, *, shift: bool = True, ddof: int = 1, eps: float = 1e-8) -> PerToken:
    """To unit deviation and, with `shift`, to mean zero, over all values of the step.

    paper: standard
    shift: False keeps the mean, as for rewards
    ddof: 1 divides the variance by n - 1, 0 by n
    eps: added to the variance
    peers: TRL and verl have ddof 1, OpenRLHF has 0
    """
    # The mean is taken above the lowest, so that equal values give exact zeros; see `Groups.mean`.
    low = values.min() if len(values) else 0.0
    mean = low + (values - low).mean()
    # One value alone has no spread: it is left where the mean puts it.
    variance = (values - mean).square().sum() / max(len(values) - ddof, 1)
    scaled = (values - mean) / (variance + eps).sqrt()
    return scaled if shift else scaled + mean


def reward_to_go(tokens: Tokens, *, reward: PerToken, gamma: float = 1.0) -> PerToken:
    """Discounted sum of this and all later rewards of the reply.

    G_t = sum_{s >= t} gamma^(s - t) r_s

    paper: standard
    reward: reward of each token
    gamma: discount; 1 counts all later rewards alike
    """
    return _decayed_sum(tokens, reward, gamma)


def gae(
    tokens: Tokens, *, reward: PerToken, value: PerToken, gamma: float = 1.0, lam: float = 0.95
) -> PerToken:
    """Generalised advantage estimation. What the critic is fitted to, the returns, is advantage + value.

    A_t = delta_t + gamma lam A_{t+1}, delta_t = r_t + gamma V_{t+1} - V_t

    V after the last token is zero. There is no gradient.

    paper: Schulman et al. 2015, arXiv 1506.02438
    reward: reward of each token
    value: the critic's value of the state before each token
    gamma: discount of later rewards
    lam: towards 0 trusts the critic (bias), towards 1 the rewards (variance)
    """
    reward, value = reward.detach(), value.detach()
    return _decayed_sum(tokens, reward + gamma * tokens.later(value) - value, gamma * lam)


def _decayed_sum(tokens: Tokens, values: PerToken, decay: float) -> PerToken:
    """sum_{s >= t} decay^(s - t) x_s within each reply, in log2(longest) steps: each doubles the span."""
    rows, span = tokens.padded(values), 1
    while span < rows.shape[1]:
        ahead = torch.nn.functional.pad(rows[:, span:], (0, span))
        rows, span = rows + decay**span * ahead, 2 * span
    return rows[tokens.owner, tokens.position]
