"""Losses on several replies to one prompt, ranked or rated. A row may have fewer than K replies (`mask`).

p_i = log pi(y_i) / |y_i|, u_i the utility of reply i, rho = log pi(y) - log ref(y).
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from concord.objectives.contract import per_token
from concord.tensors import PerPair, PerRank, Ranked, RankFlags, ReferencedRanked

__all__ = [
    "cpl_ranked",
    "cyclealign",
    "exo_ranked",
    "grao",
    "info_nca",
    "nca",
    "plackett_luce",
    "plackett_luce_nll",
    "pro",
    "row_mean_where",
    "rrhf",
    "stable_alignment",
]


def _row_sum(values: Tensor, where: Tensor) -> PerPair:
    return values.masked_fill(~where, 0.0).flatten(1).sum(-1)


def row_mean_where(values: Tensor, where: Tensor) -> PerPair:
    """Mean of the flagged values of each row; zero for a row without any."""
    return _row_sum(values, where) / where.flatten(1).sum(-1).clamp(min=1)


def _log_softmax(values: PerRank, mask: RankFlags) -> PerRank:
    return values.masked_fill(~mask, -torch.inf).log_softmax(-1).masked_fill(~mask, 0.0)


def _pick(values: PerRank, chosen: RankFlags) -> PerPair:
    return values.masked_fill(~chosen, 0.0).sum(-1)


def _hinge(scores: PerRank, ranked: Ranked) -> PerPair:
    """Sum of max(0, p_j - p_i) over the pairs in which i is truly better than j."""
    return _row_sum(relu(scores[:, None, :] - scores[:, :, None]), ranked.better)


@per_token
def rrhf(ranked: Ranked, *, rank_weight: float = 1.0) -> PerPair:
    """Rank responses to align with human feedback: a hinge on mean likelihoods, and imitation of the best.

    loss = w sum_{u_i > u_j} max(0, p_j - p_i) - log pi(y_best)

    paper: Yuan et al. 2023, arXiv 2304.05302, Eq. 2 to 4
    rank_weight: w; 1 in the paper, 100 in its code
    minimises: forward KL(best, policy), and bounded contrast (hinge)
    departs: the released code averages the likelihood over the padded length, which padding changes
    """
    return rank_weight * _hinge(ranked.mean, ranked) - _pick(ranked.logp, ranked.best)


@per_token
def cyclealign(ranked: Ranked, *, rank_weight: float = 1.0) -> PerPair:
    """CycleAlign's training step: the hinge on a judge's ranking, and imitation of its best.

    loss = w sum_{u_i > u_j} max(0, p_j - p_i) - p_best

    paper: Hong et al. 2023, arXiv 2310.16271
    rank_weight: w, weight of the ranking
    minimises: forward KL(best, policy), and bounded contrast (hinge)
    departs: no official code; the likelihood of the best reply is taken a token
    """
    return rank_weight * _hinge(ranked.mean, ranked) - _pick(ranked.mean, ranked.best)


def plackett_luce(ranked: ReferencedRanked, *, beta: float = 0.1) -> PerPair:
    """DPO on whole rankings: the Plackett-Luce likelihood of the order under implicit rewards beta rho.

    loss = -sum_{k < K} [beta rho_(k) - log sum_{j >= k} exp(beta rho_(j))], best first

    paper: Rafailov et al. 2023, arXiv 2305.18290, Eq. 20
    beta: weight of the KL to the reference; lower lets the policy move further
    minimises: value learning through the policy, with reverse KL(policy, reference)
    optimum: ref exp(r / beta), when rankings are Plackett-Luce with reward r
    departs: equal utilities are taken in the order given
    """
    best_first = ranked.sorted()
    return plackett_luce_nll(beta * best_first.ratio, best_first.mask)


def plackett_luce_nll(scores: PerRank, mask: RankFlags) -> PerPair:
    """Negative log-likelihood of the order of columns, best first, under Plackett-Luce with these scores."""
    # The smallest number stands in for absent replies: minus infinity would give nan gradients.
    gone = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    below = gone.flip(-1).logcumsumexp(-1).flip(-1)
    return (below - scores).masked_fill(~mask, 0.0).sum(-1)


@per_token
def pro(ranked: Ranked, *, shown: RankFlags, sft_weight: float = 0.05, temperature: bool = True) -> PerPair:
    """Preference ranking optimisation: each reply against all worse ones, at temperatures of the reward gaps.

    L_k = -p_k g_k + log(exp(p_k g_k) + sum_{i > k} exp(p_i (u_k - u_i))), g_k = max_i (u_k - u_i),
    loss = sum_{k < K} L_k - b (K - 1)^2 log pi(y_shown)

    paper: Song et al. 2023, arXiv 2306.17492
    shown: the reply of each row that is imitated, not always the best
    sft_weight: b, weight of imitation
    temperature: False sets every gap to 1
    minimises: Plackett-Luce value learning through the policy, and forward KL(shown, policy)
    departs: the released code adds 1e-10 inside the log and appends no stop token
    """
    best_first = ranked.sorted()
    gaps = best_first.utility[:, :, None] - best_first.utility[:, None, :]
    gaps = gaps if temperature else torch.ones_like(gaps)
    later = torch.ones_like(gaps, dtype=torch.bool).triu(1)
    worse = later & best_first.mask[:, :, None] & best_first.mask[:, None, :]
    own = best_first.mean * gaps.masked_fill(~worse, 0.0).amax(-1)
    lowest = torch.finfo(gaps.dtype).min
    others = (best_first.mean[:, None, :] * gaps).masked_fill(~worse, lowest)
    nll = torch.cat([own[..., None], others], -1).logsumexp(-1) - own
    imitation = _pick(ranked.logp, shown) * (ranked.count - 1).square()
    return _row_sum(nll, worse.any(-1)) - sft_weight * imitation


@per_token
def stable_alignment(
    ranked: Ranked, *, margin: float = 10.0, ratio: float = 0.2, scale: float = 7.0
) -> PerPair:
    """Stable alignment: imitate the best-rated reply, hold worse ones off by a margin of their ratings.

    loss = l_best + ratio mean_{i != best} max(0, l_best - l_i + margin (u_best - u_i) / scale), l = -p

    paper: Liu et al. 2023, arXiv 2305.16960
    margin: M: 10 in the README, 1 in the code's defaults
    ratio: weight of the contrast
    scale: largest rating
    minimises: forward KL(best, policy), and contrast bounded by a margin
    departs: the released code takes max or mean before max(0, .), and reads ratings at the wrong index
    """
    best_nll, best_u = -_pick(ranked.mean, ranked.best), _pick(ranked.utility, ranked.best)
    gap = best_nll[:, None] + ranked.mean + margin * (best_u[:, None] - ranked.utility) / scale
    return best_nll + ratio * row_mean_where(relu(gap), ranked.mask & ~ranked.best)


def exo_ranked(ranked: ReferencedRanked, *, beta: float = 0.5, beta_r: float = 0.5) -> PerPair:
    """Exact optimisation on rewards: reverse KL from the policy's choice among K replies to the reward's.

    loss = KL(softmax(beta rho) || softmax(u / beta_r))

    paper: Ji et al. 2024, arXiv 2402.00856
    beta: weight of the KL to the reference (beta_pi in the paper)
    beta_r: temperature of the reward
    minimises: reverse KL(policy, ref exp(u / (beta beta_r))) over the sampled replies
    optimum: ref exp(r / (beta beta_r))
    peers: EXO-rw in the paper
    """
    q = _log_softmax(beta * ranked.ratio, ranked.mask)
    return _row_sum(q.exp() * (q - _log_softmax(ranked.utility / beta_r, ranked.mask)), ranked.mask)


def info_nca(ranked: ReferencedRanked, *, beta: float = 0.01, alpha: float = 0.5) -> PerPair:
    """InfoNCA: cross-entropy from the reward's choice among K replies to the policy's.

    loss = -sum_i softmax(u / alpha)_i log softmax(beta rho)_i

    paper: Chen et al. 2024, arXiv 2402.05369
    beta: weight of the KL to the reference; lower lets the policy move further
    alpha: temperature of the reward; towards 0 with two replies it is DPO
    minimises: forward KL over the sampled replies, with reverse KL(policy, reference)
    optimum: ref exp(r / (alpha beta))
    departs: the released code adds 0.01 to the first score to break ties
    """
    target = _log_softmax(ranked.utility / alpha, ranked.mask).exp()
    return -_row_sum(target * _log_softmax(beta * ranked.ratio, ranked.mask), ranked.mask)


def nca(ranked: ReferencedRanked, *, beta: float = 0.01, alpha: float = 0.5) -> PerPair:
    """Noise-contrastive alignment: each of K replies is told from the reference's, weighted by its reward.

    loss = -sum_i [softmax(u / alpha)_i log sigmoid(beta rho_i) + (1 / K) log sigmoid(-beta rho_i)]

    paper: Chen et al. 2024, arXiv 2402.05369
    beta: weight of the KL to the reference; lower lets the policy move further
    alpha: temperature of the reward
    minimises: absolute likelihoods against the reference: the best reply's does not fall
    optimum: beta = 1, many replies: ref exp(r / alpha)
    departs: the released code adds 0.01 to the first score to break ties
    """
    target = _log_softmax(ranked.utility / alpha, ranked.mask).exp()
    pull = _row_sum(target * logsigmoid(beta * ranked.ratio), ranked.mask)
    return -pull - row_mean_where(logsigmoid(-beta * ranked.ratio), ranked.mask)


def cpl_ranked(ranked: Ranked, *, alpha: float = 0.1, lam: float = 0.5) -> PerPair:
    """Contrastive preference learning on scored segments: every pair of a row, in the order of the scores.

    loss = mean over u_i > u_j of -log sigmoid(S_i - lam S_j), S = alpha log pi

    paper: Hejna et al. 2023, arXiv 2310.13639, on dense comparisons
    alpha: temperature of the maximum-entropy advantage
    lam: below 1 biases towards likelier segments (conservative); 1 is the unbiased form
    minimises: maximum-entropy value learning
    departs: the released code drops pairs whose loss happens to be zero
    """
    s = alpha * ranked.logp.masked_fill(~ranked.mask, 0.0)
    return row_mean_where(-logsigmoid(s[:, :, None] - lam * s[:, None, :]), ranked.better)


@per_token
def grao(
    ranked: Ranked,
    *,
    shown: RankFlags,
    beta: float = 0.5,
    lam: float = 0.6,
    include_shown: bool = True,
) -> PerPair:
    """Group relative alignment: explore with own samples, imitate a shown reply, and tie the two.

    loss = -[mean_i A_i p_i + beta A_y p_y + lam mean_i A_i (p_i - p_y)], A standardised in the group

    paper: Wang et al. 2025, arXiv 2508.07750, Eq. 3 and 4
    shown: which reply of each row is the reference answer y; the others are samples
    beta: weight of imitation
    lam: weight of the tie
    include_shown: whether y counts in the group's mean and deviation. Without it sum_i A_i = 0, and
        the tie never reaches y
    minimises: advantage-weighted forward KL(shown, policy); no divergence bounds it
    departs: the paper's equation leaves y out of the statistics, its text does not; the text is the default
    """
    samples = ranked.mask & ~shown
    group = ranked.mask if include_shown else samples
    centred = ranked.utility - row_mean_where(ranked.utility, group)[:, None]
    std = row_mean_where(centred.square(), group).sqrt()[:, None]
    # Equal rewards are told by comparing them: their deviation may be a rounding error instead of zero.
    lowest = ranked.utility.masked_fill(~group, torch.inf).amin(-1, keepdim=True)
    highest = ranked.utility.masked_fill(~group, -torch.inf).amax(-1, keepdim=True)
    advantage = torch.where(highest > lowest, centred / std.clamp(min=torch.finfo(std.dtype).tiny), 0.0)
    p_y, a_y = _pick(ranked.mean, shown), _pick(advantage, shown)
    explore = row_mean_where(advantage * ranked.mean, samples)
    tie = row_mean_where(advantage * (ranked.mean - p_y[:, None]), samples)
    return -(explore + beta * a_y * p_y + lam * tie)
