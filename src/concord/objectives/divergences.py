"""Divergences: f-generators, between whole distributions, per token on one chunk of logits, from samples.

D_f[P || Q] = sum_y Q(y) f(P(y) / Q(y)), f convex, f(1) = 0. The order of arguments is the papers' trap:
with P the target and Q the policy, `kl` is KL(target, policy), the cross-entropy that covers all modes;
with P the policy and Q the target, as in f-DPG and RLHF, the same `kl` is KL(policy, target).
"""

import math
from collections.abc import Mapping
from typing import Literal, TypeAlias, assert_never

import torch
from torch import Tensor
from torch.nn.functional import softplus

from concord.tensors import Distribution, Logits, PerToken, ReferencedTokens, Scalar, TopK

__all__ = [
    "Generator",
    "collision",
    "entropy",
    "expected_over_tokens",
    "f_divergence",
    "f_generator",
    "f_prime",
    "forward_kl",
    "jsd",
    "k1",
    "k2",
    "k3",
    "log1mexp",
    "log_derivative",
    "log_probs",
    "reverse_kl",
    "topk",
    "topk_exact_kl",
    "topk_forward_kl",
]

Generator: TypeAlias = Literal[
    "kl", "reverse_kl", "js", "tv", "alpha", "chi2_pearson", "chi2_neyman", "hellinger2"
]


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x < 0, exact both near zero and far from it; x is kept below zero."""
    x = x.clamp(max=-torch.finfo(x.dtype).tiny)
    # Each branch is fed only what it can digest: where() lets the gradient of the other one through.
    near = torch.log(-torch.expm1(x.clamp(min=-1.0)))
    return torch.where(x > -math.log(2.0), near, torch.log1p(-torch.exp(x.clamp(max=-math.log(2.0)))))


# --- f-divergences ----------------------------------------------------------------------------------------


def f_generator(t: Tensor, *, generator: Generator, alpha: float = 0.5) -> Tensor:
    """The generator f at t = P / Q.

    kl t log t; reverse_kl -log t; js (t log t - (t + 1) log((t + 1) / 2)) / 2; tv |t - 1| / 2;
    chi2_pearson (t - 1)^2; chi2_neyman (t - 1)^2 / t; hellinger2 (sqrt t - 1)^2;
    alpha (t^(1 - a) - (1 - a) t - a) / (a (a - 1)), towards kl as a -> 0 and reverse_kl as a -> 1

    generator: which f
    alpha: of the alpha-divergence
    """
    match generator:
        case "kl":
            return torch.xlogy(t, t)
        case "reverse_kl":
            return -t.log()
        case "js":
            return (torch.xlogy(t, t) - (t + 1) * ((t + 1) / 2).log()) / 2
        case "tv":
            return (t - 1).abs() / 2
        case "alpha":
            return (t ** (1 - alpha) - (1 - alpha) * t - alpha) / (alpha * (alpha - 1))
        case "chi2_pearson":
            return (t - 1).square()
        case "chi2_neyman":
            return (t - 1).square() / t
        case "hellinger2":
            return (t.sqrt() - 1).square()
        case _:
            assert_never(generator)


def f_prime(t: Tensor, *, generator: Generator, alpha: float = 0.5) -> Tensor:
    """The derivative f' of the generator at t = P / Q: minus the reward that f-DPG pays.

    generator: which f
    alpha: of the alpha-divergence
    """
    match generator:
        case "kl":
            return t.log() + 1
        case "reverse_kl":
            return -1 / t
        case "js":
            return (2 * t / (1 + t)).log() / 2
        case "tv":
            return (t - 1).sign() / 2
        case "alpha":
            return (1 - t**-alpha) / alpha
        case "chi2_pearson":
            return 2 * (t - 1)
        case "chi2_neyman":
            return 1 - t**-2
        case "hellinger2":
            return 1 - t.rsqrt()
        case _:
            assert_never(generator)


def f_divergence(p: Distribution, q: Distribution, *, generator: Generator, alpha: float = 0.5) -> Scalar:
    """D_f[P || Q] between two distributions over the same replies, for any f.

    D_f = sum_y Q(y) f(P(y) / Q(y)); where Q(y) = 0, P(y) f'(infinity) in its limit

    paper: Csiszar 1967; the survey arXiv 2403.04204, Eq. 3
    generator: which f; `kl` is KL(P, Q)
    alpha: of the alpha-divergence
    """
    # Picked, not masked: an infinite slope times a zero gradient would be no number.
    inside, outside = q > 0, (q == 0) & (p > 0)
    covered = q[inside] * f_generator(p[inside] / q[inside], generator=generator, alpha=alpha)
    return covered.sum() + (_SLOPE_AT_INFINITY.get(generator, 1 / alpha) * p[outside]).sum()


_SLOPE_AT_INFINITY: Mapping[Generator, float] = {
    "kl": math.inf,
    "reverse_kl": 0.0,
    "js": math.log(2) / 2,
    "tv": 0.5,
    "chi2_pearson": math.inf,
    "chi2_neyman": 1.0,
    "hellinger2": 1.0,
}
"""f' far out: what a reply costs that only P can give. For alpha it is 1 / alpha."""


def log_derivative(
    ratio: Tensor, *, divergence: Literal["reverse_kl", "forward_kl", "js", "alpha"], alpha: float = 0.5
) -> Tensor:
    """f'(u) at u = exp(ratio), up to a constant, for the divergences that f-DPO admits.

    Named from the policy's side: reverse_kl is KL(policy, reference), log u; forward_kl -1 / u;
    js log(2 u / (1 + u)), twice the half-and-half form; alpha -u^-alpha / alpha.

    divergence: which f, from the policy's side
    alpha: of the alpha-divergence
    """
    match divergence:
        case "reverse_kl":
            return ratio
        case "forward_kl":
            return -(-ratio).clamp(max=80).exp()
        case "js":
            return math.log(2) - softplus(-ratio)
        case "alpha":
            return -(-alpha * ratio).clamp(max=80).exp() / alpha
        case _:
            assert_never(divergence)


# --- from samples -----------------------------------------------------------------------------------------


def k1(tokens: ReferencedTokens) -> PerToken:
    """The plain estimate of KL(policy, reference) at a sampled token, without gradient: d = log pi - log ref.

    Unbiased, noisy, and negative as often as not: for metrics, and inside `kl_shaped_rewards`.

    paper: Schulman 2020, a note on approximating the KL divergence
    """
    return tokens.ratio.detach()


def k2(tokens: ReferencedTokens) -> PerToken:
    """d^2 / 2, without gradient: never negative, biased to second order in d.

    paper: Schulman 2020, a note on approximating the KL divergence
    """
    return k1(tokens).square() / 2


def k3(tokens: ReferencedTokens) -> PerToken:
    """exp(-d) - 1 + d, without gradient: unbiased and never negative. d is kept within 20 nats.

    paper: Schulman 2020, a note on approximating the KL divergence
    """
    d = k1(tokens).clamp(-20, 20)
    return torch.expm1(-d) + d


# --- on one chunk of logits -------------------------------------------------------------------------------


def log_probs(logits: Logits) -> Logits:
    """Log-probabilities, in float32 at least: half precision is off by a tenth over a large vocabulary."""
    full = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    return full.log_softmax(-1)


def expected_over_tokens(logp: Logits, values: Logits) -> PerToken:
    """Sum of p times a value over the vocabulary; what cannot come adds nothing."""
    return (logp.exp() * values.masked_fill(logp == -torch.inf, 0.0)).sum(-1)


def entropy(logits: Logits) -> PerToken:
    """Entropy of the next token."""
    logp = log_probs(logits)
    return -expected_over_tokens(logp, logp)


def collision(logits: Logits) -> PerToken:
    """log sum_v pi(v)^2: log of the expected probability of a token that the policy draws itself."""
    return (2 * log_probs(logits)).logsumexp(-1)


def topk(logits: Logits, *, k: int) -> TopK:
    """The k likeliest tokens and their log-probabilities: what is kept of a teacher.

    k: how many tokens to keep
    """
    values, index = log_probs(logits).topk(k)
    return TopK(index=index, logp=values)


def forward_kl(logits: Logits, *, teacher: Logits) -> PerToken:
    """KL(teacher, student) at each position: cover all that the teacher would say.

    paper: standard
    teacher: the teacher's next-token logits at the same positions
    """
    p, q = log_probs(teacher), log_probs(logits)
    return expected_over_tokens(p, p - q)


def reverse_kl(logits: Logits, *, teacher: Logits) -> PerToken:
    """KL(student, teacher) at each position: say nothing that the teacher would not.

    paper: standard
    teacher: the teacher's next-token logits at the same positions
    """
    return forward_kl(teacher, teacher=logits)


def jsd(logits: Logits, *, teacher: Logits, beta: float = 0.5) -> PerToken:
    """Generalised Jensen-Shannon divergence of teacher P and student Q at each position.

    jsd = beta KL(P || M) + (1 - beta) KL(Q || M), M = beta P + (1 - beta) Q

    paper: Agarwal et al. 2023, arXiv 2306.13649, Eq. 1
    teacher: the teacher's next-token logits at the same positions
    beta: the teacher's share of the mixture, strictly between 0 and 1
    """
    p, q = log_probs(teacher), log_probs(logits)
    floor = torch.finfo(p.dtype).min / 4  # of two infinities the sum would have no gradient
    m = torch.logaddexp(p.clamp(min=floor) + math.log(beta), q.clamp(min=floor) + math.log1p(-beta))
    return beta * expected_over_tokens(p, p - m) + (1 - beta) * expected_over_tokens(q, q - m)


def topk_forward_kl(logits: Logits, *, teacher: TopK) -> PerToken:
    """KL(teacher, student) from the teacher's k likeliest tokens, all others taken as one.

    paper: standard
    teacher: the teacher's k likeliest tokens and their log-probabilities
    """
    q = log_probs(logits).gather(-1, teacher.index)
    rest = teacher.rest.exp() * (teacher.rest - log1mexp(q.logsumexp(-1)))
    return expected_over_tokens(teacher.logp, teacher.logp - q) + rest


def topk_exact_kl(logits: Logits, *, teacher: Logits, k: int = 500) -> PerToken:
    """KL(policy, reference) on the reference's k likeliest tokens, both normalised anew on them.

    paper: Baichuan alignment report 2024, arXiv 2410.14940
    teacher: the reference's next-token logits at the same positions
    k: how many tokens
    """
    index = teacher.topk(min(k, teacher.shape[-1])).indices
    return reverse_kl(logits.gather(-1, index), teacher=teacher.gather(-1, index))
