"""Divergences: f-generators, between whole distributions, per token on one chunk of logits, from samples.

D_f[P || Q] = sum_y Q(y) f(P(y) / Q(y)), f convex, f(1) = 0. The order of arguments is the papers' trap:
with P the target and Q the policy, `kl` is KL(target, policy), the cross-entropy that covers all modes;
with P the policy and Q the target, as in f-DPG and RLHF, the same `kl` is KL(policy, target).
"""

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import softplus

from concord.tensors import Distribution, Logits, PerToken, ReferencedTokens, Scalar, TopK

__all__ = [
    "Generator",
    "collision",
    "entropy",
    "f_divergence",
    "f_generator",
    "f_prime",
    "forward_kl",
    "jsd",
    "k1",
    "k2",
    "k3",
    "kl_k1_reward",
    "kl_k2_loss",
    "kl_k2_reward",
    "kl_k3_forward_loss",
    "kl_k3_value_k2_gradient_loss",
    "log1mexp",
    "log_derivative",
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


def f_generator(t: Tensor, *, name: Generator, alpha: float = 0.5) -> Tensor:
    """The generator f at t = P / Q.

    kl t log t; reverse_kl -log t; js (t log t - (t + 1) log((t + 1) / 2)) / 2; tv |t - 1| / 2;
    chi2_pearson (t - 1)^2; chi2_neyman (t - 1)^2 / t; hellinger2 (sqrt t - 1)^2;
    alpha (t^(1 - a) - (1 - a) t - a) / (a (a - 1)), towards kl as a -> 0 and reverse_kl as a -> 1

    name: which f
    alpha: of the alpha-divergence
    """
    match name:
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


def f_prime(t: Tensor, *, name: Generator, alpha: float = 0.5) -> Tensor:
    """The derivative f' of the generator at t = P / Q: minus the reward that f-DPG pays.

    name: which f
    alpha: of the alpha-divergence
    """
    match name:
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


def f_divergence(p: Distribution, q: Distribution, *, name: Generator, alpha: float = 0.5) -> Scalar:
    """D_f[P || Q] between two distributions over the same replies, for any f.

    D_f = sum_y Q(y) f(P(y) / Q(y))

    paper: Csiszar 1967; the survey arXiv 2403.04204, Eq. 3
    name: which f; `kl` is KL(P, Q)
    alpha: of the alpha-divergence
    """
    return (q * f_generator(p / q, name=name, alpha=alpha)).sum()


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


# --- from samples: where an estimator stands decides what it does -----------------------------------------


def k1(tokens: ReferencedTokens) -> PerToken:
    """The plain estimate of KL(policy, reference) at a sampled token, without gradient: d = log pi - log ref.

    Unbiased, noisy, and negative as often as not: for metrics, and inside `kl_k1_reward`.

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


def kl_k1_reward(tokens: ReferencedTokens, *, beta: float = 0.05) -> PerToken:
    """Penalty -beta d in the reward: its policy gradient is that of KL(policy, reference), exactly.

    In a loss the same estimator has an expected gradient of zero, so there is no such function here.

    paper: Ziegler et al. 2019, arXiv 1909.08593, Eq. 2
    beta: weight of the KL to the reference
    """
    return -beta * k1(tokens)


def kl_k2_reward(tokens: ReferencedTokens, *, beta: float = 0.05) -> PerToken:
    """Penalty -beta d^2 / 2 in the reward: milder for rare tokens, and not quite a KL.

    paper: Schulman 2020, a note on approximating the KL divergence
    beta: weight of the penalty
    """
    return -beta * k2(tokens)


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
    peers: TRL's and verl's penalty (k3, low_var_kl)
    """
    d = tokens.ratio.clamp(-20, 20)
    return torch.expm1(-d) + d


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


# --- on one chunk of logits -------------------------------------------------------------------------------


def entropy(logits: Logits) -> PerToken:
    """Entropy of the next token."""
    logp = logits.log_softmax(-1)
    return -(logp.exp() * logp).sum(-1)


def collision(logits: Logits) -> PerToken:
    """log sum_v pi(v)^2: log of the expected probability of a token that the policy draws itself."""
    return (2 * logits.log_softmax(-1)).logsumexp(-1)


def topk(logits: Logits, *, k: int) -> TopK:
    """The k likeliest tokens and their log-probabilities: what is kept of a teacher.

    k: how many tokens to keep
    """
    values, index = logits.log_softmax(-1).topk(k)
    return TopK(index=index, logp=values)


def forward_kl(logits: Logits, *, teacher: Logits) -> PerToken:
    """KL(teacher, student) at each position: cover all that the teacher would say.

    paper: standard
    teacher: the teacher's next-token logits at the same positions
    """
    p, q = teacher.log_softmax(-1), logits.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


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
    p, q = teacher.log_softmax(-1), logits.log_softmax(-1)
    m = torch.logaddexp(p + math.log(beta), q + math.log1p(-beta))
    return (beta * p.exp() * (p - m) + (1 - beta) * q.exp() * (q - m)).sum(-1)


def topk_forward_kl(logits: Logits, *, teacher: TopK) -> PerToken:
    """KL(teacher, student) from the teacher's k likeliest tokens, all others taken as one.

    paper: standard
    teacher: the teacher's k likeliest tokens and their log-probabilities
    """
    q = logits.log_softmax(-1).gather(-1, teacher.index)
    rest = teacher.rest.exp() * (teacher.rest - log1mexp(q.logsumexp(-1)))
    return (teacher.logp.exp() * (teacher.logp - q)).sum(-1) + rest


def topk_exact_kl(logits: Logits, *, teacher: Logits, k: int = 500) -> PerToken:
    """KL(policy, reference) on the reference's k likeliest tokens, both normalised anew on them.

    paper: Baichuan alignment report 2024, arXiv 2410.14940
    teacher: the reference's next-token logits at the same positions
    k: how many tokens
    """
    index = teacher.topk(min(k, teacher.shape[-1])).indices
    return reverse_kl(logits.gather(-1, index), teacher=teacher.gather(-1, index))
