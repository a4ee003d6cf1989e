"""Losses on preference pairs that need no reference.

w chosen, l rejected, |y| length in tokens; log-probabilities are sums unless divided by the length.
"""

from torch.nn.functional import logsigmoid, relu

from concord.objectives.contract import per_token
from concord.objectives.divergences import log1mexp
from concord.tensors import Pairs, PerPair, PerReply, Replies

__all__ = [
    "cpl",
    "cpo",
    "cpo_sequence_nll",
    "dpo_reference_free",
    "orpo",
    "simpo",
    "simpo_hinge",
    "slic_hf",
    "slic_hf_chosen",
]


def dpo_reference_free(pairs: Pairs, *, beta: float = 0.1) -> PerPair:
    """DPO against a uniform reference: logistic loss on the likelihoods alone.

    loss = -log sigmoid(beta (log pi_w - log pi_l))

    paper: Rafailov et al. 2023, arXiv 2305.18290, released code
    beta: steepness; higher lets the gradient vanish sooner
    minimises: bounded contrast (log-sigmoid)
    optimum: exp(r / beta), normalised
    """
    return -logsigmoid(beta * (pairs.chosen.logp - pairs.rejected.logp))


@per_token
def simpo(pairs: Pairs, *, beta: float = 2.0, gamma: float = 1.0) -> PerPair:
    """Simple preference optimisation: likelihood a token as the reward, with a margin to reach.

    loss = -log sigmoid(beta (log pi_w / |w| - log pi_l / |l|) - gamma)

    paper: Meng et al. 2024, arXiv 2405.14734, Eq. 6
    beta: steepness; 2 to 2.5, up to 10
    gamma: target margin in units of reward; 0.25 to 0.5 of beta is usual
    minimises: bounded contrast (log-sigmoid) on likelihood a token, with no reference
    optimum: gamma = 0: exp(|y| (r + c) / beta), c fixed by normalisation
    peers: TRL's CPO with loss_type simpo adds an NLL term unless cpo_alpha is 0; align-anything
        divides sums by lengths that include the prompt
    """
    return -logsigmoid(beta * (pairs.chosen.mean - pairs.rejected.mean) - gamma)


@per_token
def simpo_hinge(pairs: Pairs, *, beta: float = 2.0, gamma: float = 1.0) -> PerPair:
    """SimPO with a hinge: no gradient once the margin is reached by a whole unit of reward.

    loss = max(0, 1 - beta (log pi_w / |w| - log pi_l / |l|) + gamma)

    paper: Meng et al. 2024, arXiv 2405.14734, released code
    beta: steepness; 2 to 2.5, up to 10
    gamma: target margin in units of reward
    minimises: bounded contrast (hinge) on likelihood a token, with no reference
    """
    return relu(1 - beta * (pairs.chosen.mean - pairs.rejected.mean) + gamma)


def cpo(pairs: Pairs, *, beta: float = 0.1, alpha: float = 1.0) -> PerPair:
    """Contrastive preference optimisation: reference-free DPO with an imitation term.

    loss = -log sigmoid(beta (log pi_w - log pi_l)) + alpha NLL_w, with NLL the token mean over the step

    paper: Xu et al. 2024, arXiv 2401.08417, with the NLL of the released code
    beta: steepness of the contrast
    alpha: weight of the imitation term
    minimises: forward KL(chosen, policy), and bounded contrast (log-sigmoid)
    departs: the paper's NLL is of the whole sequence, which is `cpo_sequence_nll`
    peers: TRL and ALMA have the token mean
    """
    return dpo_reference_free(pairs, beta=beta) + alpha * pairs.chosen.token_nll


def cpo_sequence_nll(pairs: Pairs, *, beta: float = 0.1, alpha: float = 1.0) -> PerPair:
    """Contrastive preference optimisation as printed: the imitation term is the sequence likelihood.

    loss = -log sigmoid(beta (log pi_w - log pi_l)) - alpha log pi_w

    paper: Xu et al. 2024, arXiv 2401.08417
    beta: steepness of the contrast
    alpha: weight of the imitation term, which outweighs the contrast by about a reply length
    minimises: forward KL(chosen, policy), and bounded contrast (log-sigmoid)
    optimum: two replies: beta (p - sigmoid(beta s)) + alpha (p - sigmoid(s)) = 0, s the log-probability gap
    """
    return dpo_reference_free(pairs, beta=beta) - alpha * pairs.chosen.logp


@per_token
def orpo(pairs: Pairs, *, lam: float = 0.1) -> PerPair:
    """Odds-ratio preference optimisation: imitation of the chosen reply, with an odds-ratio contrast.

    loss = NLL_w - lam log sigmoid(log odds_w - log odds_l), odds = P / (1 - P), P = exp(log pi / |y|)

    paper: Hong et al. 2024, arXiv 2403.07691, Eq. 6 and 7
    lam: weight of the contrast
    minimises: forward KL(chosen, policy), and bounded contrast on odds
    optimum: two one-token replies: (p - sigmoid(s)) + 2 lam (p - sigmoid(2 s)) = 0
    departs: NLL is the token mean of the reply; the released code and TRL include the prompt
    peers: LLaMA-Factory averages the NLL of each reply first
    """
    odds = _log_odds(pairs.chosen.mean) - _log_odds(pairs.rejected.mean)
    return pairs.chosen.token_nll - lam * logsigmoid(odds)


def _log_odds(mean: PerReply) -> PerReply:
    return mean - log1mexp(mean)


def slic_hf(pairs: Pairs, *, target: Replies, delta: float = 1.0, lam: float = 0.1) -> PerPair:
    """Sequence likelihood calibration: a hinge on the likelihood gap, regularised towards a target reply.

    loss = max(0, delta - log pi_w + log pi_l) - lam log pi(target)

    paper: Zhao et al. 2023, arXiv 2305.10425, Eq. 1
    target: the reply of the supervised model's data that regularises each pair
    delta: the margin, in nats
    lam: weight of the regulariser
    minimises: bounded contrast (hinge), and forward KL(target, policy)
    optimum: two replies: sigmoid(s) = q + (2 p - 1) / lam inside the margin, else a kink at s = delta
    peers: what TRL and others call hinge is `dpo_hinge`
    """
    return relu(delta - pairs.chosen.logp + pairs.rejected.logp) - lam * target.logp


def slic_hf_chosen(pairs: Pairs, *, delta: float = 1.0, lam: float = 0.1) -> PerPair:
    """Sequence likelihood calibration regularised towards the chosen reply itself.

    loss = max(0, delta - log pi_w + log pi_l) - lam log pi_w

    paper: Zhao et al. 2023, arXiv 2305.10425, Eq. 1, on pairs alone
    delta: the margin, in nats
    lam: weight of the regulariser
    minimises: bounded contrast (hinge), and forward KL(chosen, policy)
    departs: pairs alone have no supervised target, so the chosen reply stands in for it
    peers: HALOs' slic
    """
    return slic_hf(pairs, target=pairs.chosen, delta=delta, lam=lam)


def cpl(pairs: Pairs, *, preference: PerPair, alpha: float = 0.1, lam: float = 0.5) -> PerPair:
    """Contrastive preference learning: segments are preferred for their regret, not for their reward.

    loss = -p log sigmoid(S_w - lam S_l) - (1 - p) log sigmoid(S_l - lam S_w), S = alpha log pi

    paper: Hejna et al. 2023, arXiv 2310.13639
    preference: probability that the chosen segment is better; 0.5 averages both directions
    alpha: temperature of the maximum-entropy advantage
    lam: below 1 biases towards likelier segments (conservative); 1 is the unbiased form
    minimises: maximum-entropy value learning; on log-ratios instead of log-probabilities it is DPO
    optimum: lam = 1: exp(advantage / alpha)
    departs: a discount gamma^t, absent from the released code, is applied by `Tokens.discounted_sum`
    """
    chosen, rejected = alpha * pairs.chosen.logp, alpha * pairs.rejected.logp
    backwards = logsigmoid(rejected - lam * chosen)
    return -preference * logsigmoid(chosen - lam * rejected) - (1 - preference) * backwards
