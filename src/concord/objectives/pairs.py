"""Losses on preference pairs, with a reference.

rho = log pi(y) - log ref(y), h = rho_w - rho_l (`pairs.margin`), w chosen, l rejected, |y| length in tokens.
"""

from typing import Literal

import torch
from torch.nn.functional import logsigmoid, relu

from concord.objectives.contract import coupled, per_token
from concord.objectives.divergences import log_derivative
from concord.tensors import PairValues, PerPair, ReferencedPairs, RunningMean

__all__ = [
    "aot",
    "aot_unpaired",
    "apo_down",
    "apo_zero",
    "bco_pair",
    "cdpo",
    "discopop",
    "dpo",
    "dpo_hinge",
    "dpo_nll",
    "dpop",
    "dpop_outside",
    "exo_pair",
    "exo_pair_unnormalised",
    "f_dpo",
    "ipo",
    "ipo_token_mean",
    "ln_dpo",
    "modpo",
    "nca_pair",
    "psi_po",
    "r_dpo",
    "robust_dpo",
    "sppo_hard",
    "wpo",
]


def dpo(pairs: ReferencedPairs, *, preference: PerPair | None = None, beta: float = 0.1) -> PerPair:
    """Direct preference optimisation: logistic loss on the difference of implicit rewards beta rho.

    loss = -log sigmoid(beta h); where the preference is known to be p,
    loss = -p log sigmoid(beta h) - (1 - p) log sigmoid(-beta h)

    paper: Rafailov et al. 2023, arXiv 2305.18290, Eq. 7; known p: arXiv 2310.12036, Psi-PO with Psi = logit
    preference: p, the probability that the chosen side is better: soft labels, votes; 0.5 is a tie
    beta: weight of the KL to the reference; lower lets the policy move further
    minimises: value learning through the policy, with reverse KL(policy, reference)
    optimum: ref exp(r / beta), when preferences are Bradley-Terry with reward r
    peers: TRL's sigmoid, which has no soft labels
    """
    z = beta * pairs.margin
    if preference is None:
        return -logsigmoid(z)
    return -preference * logsigmoid(z) - (1 - preference) * logsigmoid(-z)


def cdpo(pairs: ReferencedPairs, *, beta: float = 0.1, label_smoothing: float = 0.1) -> PerPair:
    """DPO that believes each label only with probability 1 - e, and so stops at a finite margin.

    loss = -(1 - e) log sigmoid(beta h) - e log sigmoid(-beta h)

    paper: Mitchell 2023, a note on DPO with noisy preferences
    beta: weight of the KL to the reference; lower lets the policy move further
    label_smoothing: e, the share of labels taken to be wrong; 0 is DPO
    minimises: value learning through the policy, with reverse KL(policy, reference)
    optimum: two replies: sigmoid(beta h) = (1 - e) p + e (1 - p); none in closed form for more
    peers: label_smoothing under TRL's CPO and aot; its DPO ignores it under sigmoid
    """
    return dpo(pairs, preference=torch.full_like(pairs.margin, 1 - label_smoothing), beta=beta)


def robust_dpo(pairs: ReferencedPairs, *, beta: float = 0.1, flip_rate: float = 0.1) -> PerPair:
    """DPO corrected for labels that are flipped at a known rate e: unbiased for the clean loss.

    loss = (-(1 - e) log sigmoid(beta h) + e log sigmoid(-beta h)) / (1 - 2 e)

    paper: Chowdhury et al. 2024, arXiv 2403.00409
    beta: weight of the KL to the reference; lower lets the policy move further
    flip_rate: e, below one half; 0 is DPO. The loss is unbounded below: stop early
    minimises: value learning through the policy, with reverse KL(policy, reference)
    optimum: ref exp(r / beta) of the clean labels, from labels flipped at rate e
    peers: TRL's label_smoothing under loss_type robust
    """
    e, z = flip_rate, beta * pairs.margin
    return (-(1 - e) * logsigmoid(z) + e * logsigmoid(-z)) / (1 - 2 * e)


def dpo_nll(pairs: ReferencedPairs, *, beta: float = 0.1, alpha: float = 1.0) -> PerPair:
    """DPO with an imitation term on the chosen reply, which keeps its likelihood from falling.

    loss = -log sigmoid(beta h) + alpha NLL_w, with NLL the token mean over the step

    paper: Pang et al. 2024, arXiv 2404.19733 (iterative reasoning preference optimisation)
    beta: weight of the KL to the reference; lower lets the policy move further
    alpha: weight of the imitation term; 0 is DPO
    minimises: value learning with reverse KL(policy, reference), and forward KL(chosen, policy)
    departs: the paper divides each NLL by its own length; the token mean is what a demonstration run has
    peers: TRL's loss_type [sigmoid, sft]; rpo in older versions
    """
    return dpo(pairs, beta=beta) + alpha * pairs.chosen.token_nll


def dpo_hinge(pairs: ReferencedPairs, *, beta: float = 0.1) -> PerPair:
    """Hinge on the implicit reward difference: no gradient once the margin is reached.

    loss = max(0, 1 - beta h)

    paper: Liu et al. 2023, arXiv 2309.06657 (RSO)
    beta: steepness; the margin asked for is h = 1 / beta
    minimises: bounded contrast, with the reference as its zero
    optimum: two replies: h = 1 / beta for the better one
    peers: TRL, torchtune and LLaMA-Factory call this hinge; it is not SLiC-HF, which is `slic_hf`
    """
    return relu(1 - beta * pairs.margin)


def ipo(pairs: ReferencedPairs, *, tau: float = 0.1) -> PerPair:
    """Identity preference optimisation on summed log-ratios: regress the margin on a finite target.

    loss = (h - 1 / (2 tau))^2

    paper: Azar et al. 2023, arXiv 2310.12036, Eq. 17
    tau: weight of the KL to the reference; the margin is driven to 1 / (2 tau) nats and no further
    minimises: expected probability of winning, with reverse KL(policy, reference)
    optimum: ref exp(p(y beats mu) / tau)
    peers: OpenRLHF, the original DPO code and TRL's online DPO sum as here; see `ipo_token_mean`
    """
    return (pairs.margin - 1 / (2 * tau)).square()


@per_token
def ipo_token_mean(pairs: ReferencedPairs, *, tau: float = 0.1) -> PerPair:
    """Identity preference optimisation on log-ratios averaged over tokens.

    loss = (rho_w / |w| - rho_l / |l| - 1 / (2 tau))^2

    paper: Azar et al. 2023, arXiv 2310.12036, Eq. 17, on per-token means
    tau: the target 1 / (2 tau) is in nats a token: multiply the tau of a summed run by the reply length
    minimises: expected probability of winning, with reverse KL(policy, reference) a token
    departs: the paper sums; its authors' own experiments are reported to have averaged
    peers: TRL's DPO trainer, HALOs, and LLaMA-Factory average as here
    """
    return (pairs.chosen.mean_ratio - pairs.rejected.mean_ratio - 1 / (2 * tau)).square()


def psi_po(pairs: ReferencedPairs, *, psi: PairValues, tau: float = 0.1) -> PerPair:
    """General Psi preference optimisation, by regression on the margin of its optimum.

    loss = (h - (psi_w - psi_l) / tau)^2, psi(y) = E_mu Psi(p(y beats y'))

    paper: Azar et al. 2023, arXiv 2310.12036
    psi: expected Psi(probability of winning) of both sides; probability itself is IPO, its logit is DPO
    tau: weight of the KL to the reference; lower lets the policy move further
    minimises: -E Psi(probability of winning), with reverse KL(policy, reference)
    optimum: ref exp(psi(y) / tau)
    departs: the paper states the optimum; the squared loss that has it follows from its IPO derivation
    """
    return (pairs.margin - psi.gap / tau).square()


@per_token
def ln_dpo(pairs: ReferencedPairs, *, beta: float = 2.0) -> PerPair:
    """DPO on log-ratios averaged over tokens, so that long replies do not carry the gradient.

    loss = -log sigmoid(beta (rho_w / |w| - rho_l / |l|))

    paper: Ahrabian et al. 2024, arXiv 2407.15229 (length-normalised DPO)
    beta: weight of the KL a token; about a reply length larger than DPO's (1 to 5 are used)
    minimises: value learning through the policy, with reverse KL(policy, reference) a token
    optimum: ref exp(|y| (r + c) / beta), c fixed by normalisation: not free of length
    peers: TRL's sigmoid_norm, open-instruct's dpo_norm (beta 5)
    """
    return -logsigmoid(beta * (pairs.chosen.mean_ratio - pairs.rejected.mean_ratio))


def r_dpo(pairs: ReferencedPairs, *, beta: float = 0.1, alpha: float = 0.05) -> PerPair:
    """DPO that charges the reward for length, so that it need not learn that longer wins.

    loss = -log sigmoid(beta h + alpha (|w| - |l|))

    paper: Park et al. 2024, arXiv 2403.19159
    beta: weight of the KL to the reference; lower lets the policy move further
    alpha: reward taken off for each token; 0.01 to 0.1
    minimises: value learning on r - alpha |y|, with reverse KL(policy, reference)
    optimum: ref exp((r - alpha |y|) / beta)
    peers: one popular port has a minus before alpha, which rewards length
    """
    return -logsigmoid(beta * pairs.margin + alpha * (pairs.chosen.length - pairs.rejected.length))


def dpop(pairs: ReferencedPairs, *, beta: float = 0.3, lam: float = 50.0) -> PerPair:
    """DPO with a penalty, inside the sigmoid, for a chosen reply less likely than under the reference.

    loss = -log sigmoid(beta (h - lam max(0, -rho_w)))

    paper: Pal et al. 2024, arXiv 2402.13228 (Smaug)
    beta: weight of the KL to the reference; lower lets the policy move further
    lam: how much a fall of the chosen likelihood counts; 0 is DPO
    minimises: value learning through the policy, with reverse KL(policy, reference)
    peers: ports that add the penalty outside the sigmoid have `dpop_outside`
    """
    return -logsigmoid(beta * (pairs.margin - lam * relu(-pairs.chosen.ratio)))


def dpop_outside(pairs: ReferencedPairs, *, beta: float = 0.3, lam: float = 50.0) -> PerPair:
    """DPO plus a penalty, outside the sigmoid, for a chosen reply less likely than under the reference.

    loss = -log sigmoid(beta h) + lam max(0, -rho_w)

    paper: none: a form of DPOP found in ports (mlx-lm-lora) of arXiv 2402.13228
    beta: weight of the KL to the reference; lower lets the policy move further
    lam: how much a fall of the chosen likelihood counts; 0 is DPO
    minimises: value learning with reverse KL(policy, reference), and a hinge that never saturates
    departs: the paper has the penalty inside, where a large margin switches it off: `dpop`
    """
    return dpo(pairs, beta=beta) + lam * relu(-pairs.chosen.ratio)


def apo_zero(pairs: ReferencedPairs, *, beta: float = 0.1) -> PerPair:
    """Anchored preference optimisation, when chosen replies are better than the model's own.

    loss = 1 - sigmoid(beta rho_w) + sigmoid(beta rho_l)

    paper: D'Oosterlinck et al. 2024, arXiv 2408.06266, Eq. 7
    beta: steepness; the gradient vanishes for replies far from the reference on either side
    minimises: bounded contrast (sigmoid), each side anchored at the reference
    """
    return 1 - torch.sigmoid(beta * pairs.chosen.ratio) + torch.sigmoid(beta * pairs.rejected.ratio)


def apo_down(pairs: ReferencedPairs, *, beta: float = 0.1) -> PerPair:
    """Anchored preference optimisation, when the model's own replies are better than the chosen ones.

    loss = sigmoid(beta rho_w) + 1 - sigmoid(beta h)

    paper: D'Oosterlinck et al. 2024, arXiv 2408.06266, Eq. 8
    beta: steepness; the gradient vanishes for replies far from the reference on either side
    minimises: bounded contrast (sigmoid): both likelihoods fall, the rejected one faster
    """
    return torch.sigmoid(beta * pairs.chosen.ratio) + 1 - torch.sigmoid(beta * pairs.margin)


def exo_pair(pairs: ReferencedPairs, *, beta: float = 0.1, label_smoothing: float = 1e-3) -> PerPair:
    """Exact optimisation on pairs: reverse KL from the policy's choice to the smoothed label.

    loss = KL((q, 1 - q) || (1 - e, e)), q = sigmoid(beta h)

    paper: Ji et al. 2024, arXiv 2402.00856, Eq. 16
    beta: weight of the KL to the reference; lower lets the policy move further
    label_smoothing: e, above zero: how far from certain the label is
    minimises: reverse KL over the sampled pair, where DPO minimises the forward KL
    optimum: two replies: beta h = (2 p - 1) log((1 - e) / e)
    peers: TRL's exo_pair; the authors' code is `exo_pair_unnormalised`
    """
    e = torch.tensor(label_smoothing, dtype=pairs.margin.dtype, device=pairs.margin.device)
    return _reverse_kl_to_label(beta * pairs.margin, (-e).log1p(), e.log())


def exo_pair_unnormalised(
    pairs: ReferencedPairs, *, beta: float = 0.1, log_epsilon: float = -10.0
) -> PerPair:
    """Exact optimisation on pairs as its authors' code has it: the label's log-weights are 0 and log e.

    loss = q log q + (1 - q) (log(1 - q) - log e), q = sigmoid(beta h)

    paper: Ji et al. 2024, arXiv 2402.00856, released code
    beta: weight of the KL to the reference; lower lets the policy move further
    log_epsilon: log-weight of the wrong side
    minimises: reverse KL over the sampled pair, up to the missing normaliser
    departs: the paper's label is normalised, as in `exo_pair`
    """
    zero = pairs.margin.new_zeros(())
    return _reverse_kl_to_label(beta * pairs.margin, zero, zero + log_epsilon)


def _reverse_kl_to_label(z: PerPair, log_right: torch.Tensor, log_wrong: torch.Tensor) -> PerPair:
    right = torch.sigmoid(z) * (logsigmoid(z) - log_right)
    return right + torch.sigmoid(-z) * (logsigmoid(-z) - log_wrong)


def nca_pair(pairs: ReferencedPairs, *, beta: float = 0.1) -> PerPair:
    """Noise-contrastive alignment on pairs: absolute likelihoods count, so the chosen one does not fall.

    loss = -log sigmoid(R_w) - 1/2 log sigmoid(-R_w) - 1/2 log sigmoid(-R_l), R = beta rho

    paper: Chen et al. 2024, arXiv 2402.05369
    beta: weight of the KL to the reference; lower lets the policy move further
    minimises: value learning through the policy, with reverse KL(policy, reference)
    """
    chosen, rejected = beta * pairs.chosen.ratio, beta * pairs.rejected.ratio
    return -logsigmoid(chosen) - (logsigmoid(-chosen) + logsigmoid(-rejected)) / 2


@coupled
def bco_pair(pairs: ReferencedPairs, *, state: RunningMean, beta: float = 0.1) -> tuple[PerPair, RunningMean]:
    """Binary classifier optimisation on pairs: each side is told from a running mean of rewards.

    loss = -log sigmoid(beta rho_w - delta) - log sigmoid(delta - beta rho_l)

    paper: Jung et al. 2024, arXiv 2404.04656
    state: the running mean delta of all rewards so far, this step included
    beta: weight of the KL to the reference; lower lets the policy move further
    minimises: bounded contrast (log-sigmoid), each side against the mean reward
    peers: TRL's bco_pair now holds delta at 0; its earlier versions had the running mean
    """
    chosen, rejected = beta * pairs.chosen.ratio, beta * pairs.rejected.ratio
    state = state.updated(torch.cat([chosen, rejected]))
    return -logsigmoid(chosen - state.mean) - logsigmoid(state.mean - rejected), state


def sppo_hard(pairs: ReferencedPairs, *, beta: float = 1e-3) -> PerPair:
    """Self-play preference optimisation with hard labels: each side has a log-ratio of its own to reach.

    loss = (rho_w - 1 / (2 beta))^2 + (rho_l + 1 / (2 beta))^2

    paper: Wu et al. 2024, arXiv 2405.00675, Eq. 4.7
    beta: the inverse of the paper's eta; targets are 1 / (2 beta) and its negative
    minimises: expected probability of winning against the policy itself
    peers: TRL's sppo_hard
    """
    return (pairs.chosen.ratio - 0.5 / beta).square() + (pairs.rejected.ratio + 0.5 / beta).square()


@coupled
def aot(pairs: ReferencedPairs, *, beta: float = 0.1, label_smoothing: float = 0.0) -> PerPair:
    """Alignment by optimal transport on pairs: the policy's sorted margins should exceed the reference's.

    loss_k = -log sigmoid(beta d_k), d = sort(log pi_w - log pi_l) - sort(log ref_w - log ref_l)

    paper: Melnyk et al. 2024, arXiv 2406.05882
    beta: steepness; higher lets the gradient vanish sooner
    label_smoothing: share of labels taken to be wrong
    minimises: the policy's margins dominate the reference's in distribution (first order)
    peers: TRL's aot_pair (aot in its newer versions)
    """
    policy = (pairs.chosen.logp - pairs.rejected.logp).sort().values
    return _smoothed(beta * (policy - (pairs.chosen.ref - pairs.rejected.ref).sort().values), label_smoothing)


@coupled
def aot_unpaired(pairs: ReferencedPairs, *, beta: float = 0.1, label_smoothing: float = 0.0) -> PerPair:
    """Alignment by optimal transport without pairing: sorted chosen ratios should exceed sorted rejected.

    loss_k = -log sigmoid(beta (sort(rho_w)_k - sort(rho_l)_k))

    paper: Melnyk et al. 2024, arXiv 2406.05882
    beta: steepness; higher lets the gradient vanish sooner
    label_smoothing: share of labels taken to be wrong
    minimises: chosen ratios dominate rejected ratios in distribution (first order)
    peers: TRL's aot_unpaired
    """
    d = pairs.chosen.ratio.sort().values - pairs.rejected.ratio.sort().values
    return _smoothed(beta * d, label_smoothing)


def _smoothed(z: PerPair, e: float) -> PerPair:
    return -(1 - e) * logsigmoid(z) - e * logsigmoid(-z)


def discopop(pairs: ReferencedPairs, *, beta: float = 0.05, tau: float = 0.05) -> PerPair:
    """The log-ratio modulated loss, found by search: logistic near zero margin, exponential far from it.

    loss = (1 - m) (-log sigmoid(z)) + m exp(-z), z = beta h, m = sigmoid(z / tau)

    paper: Lu et al. 2024, arXiv 2406.08414, Eq. 5
    beta: weight of the KL to the reference; unstable at or below 0.01 and at or above 2.5
    tau: how sharply one loss gives way to the other
    minimises: nothing convex: at h = 0 the margin at first shrinks. Clip gradients
    departs: Eq. 4 of the paper prints (m - 1); its code leaves beta out of m
    peers: TRL's discopop, with beta in m as here
    """
    z = beta * pairs.margin
    return -torch.sigmoid(-z / tau) * logsigmoid(z) + (logsigmoid(z / tau) - z).exp()


def f_dpo(
    pairs: ReferencedPairs,
    *,
    divergence: Literal["reverse_kl", "forward_kl", "js", "alpha"] = "js",
    alpha: float = 0.5,
    beta: float = 0.1,
) -> PerPair:
    """DPO under another divergence to the reference: the implicit reward is beta f'(pi / ref).

    loss = -log sigmoid(beta (f'(u_w) - f'(u_l))), u = exp(rho)

    paper: Wang et al. 2023, arXiv 2309.16240
    divergence: reverse_kl is DPO; forward_kl, js and alpha as in the paper. TV and chi-square have a
        finite f' at 0 and are not admissible
    alpha: of the alpha-divergence; towards 0 reverse KL, towards 1 forward KL
    beta: weight of the divergence
    minimises: value learning through the policy, with D_f(policy, reference)
    optimum: ref (f')^-1((r - nu) / beta), nu by normalisation
    departs: exp(-rho) is taken at no more than exp(80), beyond which float32 ends
    peers: TRL's f_alpha_divergence_coef is 1 - alpha
    """
    w = log_derivative(pairs.chosen.ratio, divergence=divergence, alpha=alpha)
    return -logsigmoid(beta * (w - log_derivative(pairs.rejected.ratio, divergence=divergence, alpha=alpha)))


def wpo(
    pairs: ReferencedPairs, *, collision: PairValues, beta: float = 0.01, max_weight: float = 1.0
) -> PerPair:
    """DPO weighted by how likely the policy itself would be to write the pair.

    loss = -w log sigmoid(beta h), w = min(max_weight, w_w w_l), without gradient, where
    w_y = exp(mean_t [log pi(y_t) - log sum_v pi(v)^2])

    paper: Zhou et al. 2024, arXiv 2406.11827, Eq. 2
    collision: mean over tokens of log sum_v pi(v)^2, for both sides
    beta: weight of the KL to the reference; lower lets the policy move further
    max_weight: cap of the weight; infinity is TRL's form
    minimises: as DPO: weights do not move the optimum
    optimum: ref exp(r / beta)
    peers: TRL's use_weighting has no cap
    """
    aligned = pairs.chosen.mean - collision.chosen + pairs.rejected.mean - collision.rejected
    return aligned.detach().exp().clamp(max=max_weight) * dpo(pairs, beta=beta)


def modpo(pairs: ReferencedPairs, *, margins: PairValues, weight: float = 0.5, beta: float = 0.1) -> PerPair:
    """Multi-objective DPO: preferences on one objective, the other objectives' rewards as a margin.

    loss = -log sigmoid((beta h - (m_w - m_l)) / weight)

    paper: Zhou et al. 2023, arXiv 2310.03708
    margins: weighted sum of the other objectives' rewards, w_-k . r_-k, for both sides
    weight: w_k, the share of the objective whose preferences these are
    beta: weight of the KL to the reference; lower lets the policy move further
    minimises: value learning on w . r, with reverse KL(policy, reference)
    optimum: ref exp(w . r / beta)
    """
    return -logsigmoid((beta * pairs.margin - margins.gap) / weight)
