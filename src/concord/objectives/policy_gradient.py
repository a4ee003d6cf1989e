"""Policy-gradient losses on sampled tokens: the second of three menus. Advantages come with the record.

ratio = pi / old at a token; A the advantage. All are losses: to be made small.
"""

import torch

from concord.objectives.divergences import k3
from concord.tensors import PerReply, PerToken, ReferencedRollouts, ReferencedTokens, Rollouts, Values

__all__ = [
    "clipped_value",
    "gspo_clip",
    "kl_k2_loss",
    "kl_k3_corrected_loss",
    "kl_k3_forward_loss",
    "kl_k3_value_k2_gradient_loss",
    "ppo_clip",
    "ppo_dual_clip",
    "reinforce",
    "sequence_clip",
    "temporal_difference",
]


def reinforce(rollouts: Rollouts) -> PerToken:
    """Plain policy gradient: raise the log-probability of what did better than expected.

    loss_t = -A_t log pi(y_t)

    paper: Williams 1992; with `leave_one_out` and `sequence_sum` it is RLOO, arXiv 2402.14740
    minimises: -E[reward], when sampled from the policy itself
    optimum: ref exp(r / beta), when the reward carries -beta k1
    """
    return -rollouts.advantage * rollouts.logp


def ppo_clip(rollouts: Rollouts, *, low: float = 0.2, high: float = 0.2) -> PerToken:
    """Proximal policy optimisation: no gain from leaving a band around the sampler.

    loss_t = max(-A ratio, -A clip(ratio, 1 - low, 1 + high))

    paper: Schulman et al. 2017, arXiv 1707.06347, Eq. 7
    low: how far a ratio may fall below one before the gain stops
    high: how far it may rise; DAPO has 0.28 (clip-higher)
    minimises: -E[reward] to first order, near the sampler
    """
    a, ratio = rollouts.advantage, rollouts.importance
    return torch.maximum(-a * ratio, -a * ratio.clamp(1 - low, 1 + high))


def ppo_dual_clip(rollouts: Rollouts, *, low: float = 0.2, high: float = 0.2, c: float = 3.0) -> PerToken:
    """PPO whose loss for bad tokens is bounded too, so that one huge ratio cannot take over.

    loss_t = ppo_clip, but at most -c A where A < 0

    paper: Ye et al. 2019, arXiv 1912.09729, Eq. 5
    low: how far a ratio may fall below one before the gain stops
    high: how far it may rise
    c: the ratio at which the loss of a bad token stops growing; above 1
    minimises: -E[reward] to first order, near the sampler
    peers: on by default in verl
    """
    loss, a = ppo_clip(rollouts, low=low, high=high), rollouts.advantage
    return torch.where(a < 0, torch.minimum(loss, -a * c), loss)


def gspo_clip(rollouts: Rollouts, *, low: float = 3e-4, high: float = 4e-4) -> PerToken:
    """Group sequence policy optimisation: one ratio a reply, the geometric mean of its tokens'.

    loss_t = max(-A s, -A clip(s, 1 - low, 1 + high)), s = exp(mean_t log(pi / old))

    paper: Zheng et al. 2025, arXiv 2507.18071, Eq. 5 and 7; reduce with `sequence_mean`
    low: how far the sequence ratio may fall below one
    high: how far it may rise
    minimises: -E[reward] to first order, near the sampler
    """
    a, ratio = rollouts.advantage, rollouts.sequence_importance
    return torch.maximum(-a * ratio, -a * ratio.clamp(1 - low, 1 + high))


def sequence_clip(rollouts: Rollouts, *, low: float = 0.2, high: float = 0.2) -> PerReply:
    """PPO with the whole reply as one action: the ratio is the product over its tokens.

    loss = max(-A s, -A clip(s, 1 - low, 1 + high)), s = exp(sum_t log(pi / old))

    paper: Ahmadian et al. 2024, arXiv 2402.14740, as TRL's RLOO has it
    low: how far the sequence ratio may fall below one
    high: how far it may rise
    minimises: -E[reward] to first order, near the sampler
    departs: the log of s is kept within 20 nats
    """
    ratio = rollouts.sum(rollouts.logp - rollouts.old).clamp(-20, 20).exp()
    a = rollouts.mean(rollouts.advantage)
    return torch.maximum(-a * ratio, -a * ratio.clamp(1 - low, 1 + high))


def clipped_value(values: Values, *, clip: float = 0.2) -> PerToken:
    """Critic's loss that does not reward moving a value further than `clip` from where it was.

    loss_t = max((V - ret)^2, (clip(V, V_old - clip, V_old + clip) - ret)^2) / 2

    paper: Schulman et al. 2017, released code
    clip: the band around the old value; infinity is plain regression
    minimises: value learning: squared error to the returns
    """
    kept = values.value.clamp(values.old - clip, values.old + clip)
    squares = torch.maximum((values.value - values.returns).square(), (kept - values.returns).square())
    return squares / 2


def temporal_difference(values: Values, *, reward: PerToken, gamma: float = 1.0) -> PerToken:
    """Value learning from the next value instead of the end: the bootstrapped instance of regression.

    loss_t = (V_t - sg[r_t + gamma V_{t+1}])^2, V after the last token zero

    paper: Sutton 1988; the survey arXiv 2403.04204, Eq. 2, with the bootstrapped target for r*
    reward: reward of each token
    gamma: discount of later rewards
    minimises: value learning: squared Bellman error, semi-gradient
    optimum: the expected discounted return of each state
    """
    return (values.value - (reward + gamma * values.later(values.value)).detach()).square()


# --- penalties: where an estimator stands decides what it does --------------------------------------------


def kl_k2_loss(tokens: ReferencedTokens) -> PerToken:
    """Penalty on the policy's own samples that pulls as KL(policy, reference) does.

    loss_t = d^2 / 2, d = log pi - log ref

    paper: Schulman 2020, approximating KL divergence; its gradient: `kl_estimators_as_loss` in the tests
    minimises: reverse KL(policy, reference), in expectation over samples of the policy
    """
    return tokens.ratio.square() / 2


def kl_k3_forward_loss(tokens: ReferencedTokens) -> PerToken:
    """GRPO's penalty: k3 in the loss, whose gradient is that of the forward KL.

    loss_t = exp(-d) - 1 + d, d = log pi - log ref

    paper: Shao et al. 2024, arXiv 2402.03300, Eq. 4
    minimises: forward KL(reference, policy), in expectation: it does not lead to ref exp(r / beta)
    departs: d is kept within 20 nats
    peers: verl's low_var_kl, and TRL's penalty with use_bias_correction_kl off
    """
    d = tokens.ratio.clamp(-20, 20)
    return torch.expm1(-d) + d


def kl_k3_corrected_loss(rollouts: ReferencedRollouts) -> PerToken:
    """k3 weighted by the ratio to the sampler, gradient included: it pulls as KL(policy, reference) again.

    loss_t = (pi / old) (exp(-d) - 1 + d), d = log pi - log ref

    paper: DeepSeek-V3.2 2025, arXiv 2512.02556, the unbiased estimate
    minimises: reverse KL(policy, reference), in expectation over samples of the sampler
    departs: d is kept within 20 nats
    peers: TRL's use_bias_correction_kl, on by default since 1.16
    """
    return rollouts.importance * kl_k3_forward_loss(rollouts)


def kl_k3_value_k2_gradient_loss(tokens: ReferencedTokens) -> PerToken:
    """A penalty that reads as k3 and pulls as k2: never negative, and led to ref exp(r / beta).

    loss_t = d^2 / 2 + sg[exp(-d) - 1 + d - d^2 / 2], d = log pi - log ref

    paper: none: the form that verl calls k3+
    minimises: reverse KL(policy, reference), in expectation over samples of the policy
    departs: d is kept within 20 nats in the value
    peers: verl's k3+
    """
    loss = kl_k2_loss(tokens)
    return loss + (k3(tokens) - loss).detach()
