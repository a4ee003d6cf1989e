"""Imitation: learn from what was shown, or match a distribution that can be written down."""

from concord.objectives.contract import coupled
from concord.objectives.divergences import Generator, f_prime
from concord.tensors import PerReply, PerToken, Replies, RunningMean, Tokens

__all__ = ["dft", "f_dpg", "sft"]


def sft(tokens: Tokens) -> PerToken:
    """Supervised fine-tuning: maximum likelihood of the shown tokens.

    loss_t = -log pi(y_t)

    paper: the survey arXiv 2403.04204, Eq. 4; reduce with `token_mean`, `sequence_mean` or `sequence_sum`
    minimises: forward KL(data, policy)
    optimum: the distribution of the data
    departs: the survey prints the log outside the mean, which trains on the likeliest reply alone
    peers: TRL's nll, with the token mean over the whole step
    """
    return -tokens.logp


def dft(tokens: Tokens) -> PerToken:
    """Dynamic fine-tuning: likelihood weighted by the token's own probability, so rare tokens pull less.

    loss_t = -sg[pi(y_t)] log pi(y_t)

    paper: Wu et al. 2025, arXiv 2508.05629
    minimises: no divergence: the probability of the shown token, by policy gradient with reward 1
    peers: TRL's loss_type dft
    """
    return -tokens.logp.detach().exp() * tokens.logp


@coupled
def f_dpg(
    replies: Replies,
    *,
    log_target: PerReply,
    old: PerReply,
    state: tuple[RunningMean, RunningMean],
    generator: Generator = "kl",
    alpha: float = 0.5,
    window: int = 1024,
) -> tuple[PerReply, tuple[RunningMean, RunningMean]]:
    """Distributional policy gradient: match an explicit target P under any f-divergence.

    loss = -sg[(pi / q) (A - baseline)] log pi(y), A = -f'(pi Z / P), Z = E_q P / q

    paper: Go et al. 2023, arXiv 2302.08215
    log_target: log P(y), unnormalised, e.g. log ref + r / beta
    old: log q(y) of the policy that sampled; the policy itself when on-policy
    state: running Z and running mean of A, this step included
    generator: f, with P the policy and Q the target; `kl` is KL(policy, target), as in RLHF
    alpha: of the alpha-divergence
    window: how many values the baseline remembers
    minimises: D_f(policy, target)
    optimum: the target, for every f
    departs: pi Z / P and pi / q are kept within e^-20 to e^20; the baseline forgets gradually
    peers: disco's KLLoss is `reverse_kl` here, and its ChiSquaredLoss half of `chi2_pearson`
    """
    logp = replies.logp.detach()
    z = state[0].updated((log_target - old).clamp(-20, 20).exp())
    reward = -f_prime(
        (logp - log_target + z.mean.log()).clamp(-20, 20).exp(), generator=generator, alpha=alpha
    )
    baseline = state[1].updated(reward, window=window)
    weight = (logp - old).clamp(-20, 20).exp() * (reward - baseline.mean)
    return -weight * replies.logp, (z, baseline)
