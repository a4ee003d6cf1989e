"""Distillation: losses on one chunk of next-token logits, with a teacher's at the same positions."""

from concord.objectives.divergences import expected_over_tokens, forward_kl, jsd, log_probs, reverse_kl
from concord.tensors import Logits, PerToken

__all__ = ["adpa_advantage", "generalised_jsd", "teacher_forward_kl"]


def generalised_jsd(
    logits: Logits, *, teacher: Logits, beta: float = 0.5, temperature: float = 0.9
) -> PerToken:
    """Generalised knowledge distillation: a divergence between forward and reverse KL, on either's samples.

    loss_t = beta KL(P || M) + (1 - beta) KL(Q || M), M = beta P + (1 - beta) Q, P teacher, Q student;
    beta = 0 is KL(P || Q), beta = 1 is KL(Q || P)

    paper: Agarwal et al. 2023, arXiv 2306.13649, Eq. 1 and 4
    teacher: the teacher's next-token logits at the same positions
    beta: towards 0 covers the teacher's modes, towards 1 seeks one. The ends are not limits: inside,
        the divergence itself goes to 0
    temperature: divides both logits; there is no factor of its square
    minimises: generalised JSD(teacher, policy)
    optimum: the teacher
    """
    logits, teacher = logits / temperature, teacher / temperature
    if beta in (0.0, 1.0):
        return (forward_kl if beta == 0.0 else reverse_kl)(logits, teacher=teacher)
    return jsd(logits, teacher=teacher, beta=beta)


def teacher_forward_kl(logits: Logits, *, teacher: Logits) -> PerToken:
    """The distillation term of DCKD: forward KL from a preference-tuned teacher.

    loss_t = KL(teacher || policy), on chosen and on rejected replies

    paper: Gao et al. 2025, arXiv 2502.17927
    teacher: the teacher's next-token logits at the same positions
    minimises: forward KL(teacher, policy)
    optimum: the teacher
    """
    return forward_kl(logits, teacher=teacher)


def adpa_advantage(logits: Logits, *, teacher: Logits, teacher_ref: Logits, gamma: float = 1.0) -> PerToken:
    """Advantage-guided distillation: a tuned teacher's lead over its own reference is each token's advantage.

    loss_t = -gamma sum_a pi(a) A(a), A = log teacher(a) - log teacher_ref(a), on the student's own replies

    paper: Gao et al. 2025, arXiv 2502.17927
    teacher: logits of the preference-tuned teacher
    teacher_ref: logits of the teacher before tuning
    gamma: weight, the teacher's beta within it; the loss is linear in pi, so it needs the imitation term
    minimises: -E[advantage of the teacher]; with imitation, p_w(a) / (nu - gamma A(a))
    optimum: with the imitation term: p_w / (nu - gamma A), nu by normalisation
    """
    return -gamma * expected_over_tokens(log_probs(logits), log_probs(teacher) - log_probs(teacher_ref))
