"""What our functions give for the inputs of each entry of `vectors.json`, under the keys of its `expected`.

The numbers were computed by an independent numpy program in float64. `SKIPPED` names keys that are no
output of ours, each with its reason; whatever else an entry expects, its function here must return.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import concord.objectives as ob
from concord.eval.costs.efficiency import exponential_plateau
from concord.eval.order.misalignment import misalignment, order_violation, strict_misalignment
from concord.eval.reckoning.agreement import agreement
from concord.synth.edits import edit_chain
from concord.synth.novelty import is_novel, rouge_l
from concord.tensors import (
    Groups,
    Logits,
    Pairs,
    PairValues,
    Ranked,
    RankedRewards,
    ReferencedPairs,
    ReferencedRanked,
    ReferencedReplies,
    ReferencedRollouts,
    ReferencedTokens,
    Replies,
    RewardPairs,
    Rewards,
    Rollouts,
    RunningMean,
    StepLogits,
    Tokens,
    Values,
)

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())
BY_NAME: Mapping[str, Any] = {entry["name"]: entry for entry in VECTORS["vectors"]}
Inputs = Mapping[str, Any]
Outputs = Mapping[str, Any]
WORKED: dict[str, Callable[[Inputs, Inputs], Outputs]] = {}

SKIPPED: Mapping[str, Mapping[str, str]] = {
    "misalignment_eq1": {
        "squared_identity_2var": "the right side of the identity that squared_iid_pairs tests"
    },
    "kto": {"weight_rule_eq8_ratio": "advice on the choice of weights"},
    "rrhf": {"grad_seq_logps_rank": "two means are equal there: a kink under the entry's central difference"},
    "stable_alignment": {
        "loss_relu_of_mean": "the released code's order of mean and max(0, .), which is not ours",
        "loss_relu_of_max": "another variant of the released code",
        "official_code_max_flow_on_permuted_input": "the released code's indexing error",
        "permuted_input": "input of that error",
    },
    "wpo": {"weight_without_alignment": "open-instruct's weight, which is not ours"},
}


def t(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def leaf(values: Any) -> Tensor:
    return t(values).requires_grad_()


def works(*names: str) -> Callable[[Callable[..., Outputs]], Callable[..., Outputs]]:
    def register(function: Callable[..., Outputs]) -> Callable[..., Outputs]:
        WORKED.update(dict.fromkeys(names, function))
        return function

    return register


def grads(loss: Tensor, **leaves: Tensor) -> dict[str, Tensor]:
    got = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, retain_graph=True)
    return {k: torch.zeros_like(v) if g is None else g for (k, v), g in zip(leaves.items(), got, strict=True)}


# --- pairs: one adapter for all ---------------------------------------------------------------------------


def make_pairs(x: Inputs) -> tuple[Any, Tensor, Tensor]:
    chosen, rejected = leaf(x["policy_chosen_logps"]), leaf(x["policy_rejected_logps"])
    lengths = t(x.get("chosen_len", [12, 8, 25])), t(x.get("rejected_len", [15, 6, 20]))
    if "ref_chosen_logps" not in x:
        return Pairs(Replies(chosen, lengths[0]), Replies(rejected, lengths[1])), chosen, rejected
    w = ReferencedReplies(chosen, lengths[0], t(x["ref_chosen_logps"]))
    l = ReferencedReplies(rejected, lengths[1], t(x["ref_rejected_logps"]))  # noqa: E741
    return ReferencedPairs(w, l), chosen, rejected


def pair_vector(name: str, objective: Callable[..., Any], **knobs: str | float) -> None:
    """Register a pairwise entry. A knob that is a string is taken from the entry's params under that name."""

    @works(name)
    def run(x: Inputs, p: Inputs) -> Outputs:
        pairs, chosen, rejected = make_pairs(x)
        settings = {k: p[v] if isinstance(v, str) and v in p else v for k, v in knobs.items()}
        rows = objective(pairs, **settings)
        loss = rows.mean()
        g = grads(loss, grad_policy_chosen_logps=chosen, grad_policy_rejected_logps=rejected)
        metrics = {k: m.mean for k, m in ob.pair_metrics(pairs, beta=p.get("beta", 0.1)).items()}
        out = {"loss": loss, "per_example": rows, "accuracy": metrics["rewards/accuracies"], **g}
        if isinstance(pairs, ReferencedPairs):
            r = [p.get("beta", 0.1) * s.ratio for s in (pairs.chosen, pairs.rejected)]
            out |= {"rewards_chosen": r[0], "rewards_rejected": r[1], "margins": r[0] - r[1]}
        return out


BETA: dict[str, str | float] = {"beta": "beta"}
pair_vector("dpo", ob.dpo, **BETA)
pair_vector("dpo_beta_0_5", ob.dpo, **BETA)
pair_vector("dpo_reference_free", ob.dpo_reference_free, **BETA)
pair_vector("cdpo", ob.cdpo, label_smoothing="label_smoothing", **BETA)
pair_vector("robust_dpo", ob.robust_dpo, flip_rate="epsilon", **BETA)
pair_vector("dpo_hinge", ob.dpo_hinge, **BETA)
pair_vector("ipo_sum", ob.ipo, tau="tau")
pair_vector("ipo_token_mean", ob.ipo_token_mean, tau="tau")
pair_vector("slic_hf_reg_on_chosen", ob.slic_hf_chosen, delta="delta", lam="lam")
pair_vector("simpo", ob.simpo, gamma="gamma", **BETA)
pair_vector("cpo_sequence_nll", ob.cpo_sequence_nll, alpha="alpha", **BETA)
pair_vector("ln_dpo", ob.ln_dpo, **BETA)
pair_vector("apo_zero", ob.apo_zero, **BETA)
pair_vector("apo_down", ob.apo_down, **BETA)
pair_vector("dpop", ob.dpop, lam="lam", **BETA)
pair_vector("dpop_outside_variant", ob.dpop_outside, lam="lam", **BETA)
pair_vector("r_dpo", ob.r_dpo, alpha="alpha", **BETA)
pair_vector(
    "r_dpo_wrong_sign_variant",
    lambda q, alpha, beta: ob.r_dpo(q, alpha=-alpha, beta=beta),
    alpha="alpha",
    **BETA,
)
pair_vector("exo_pref", ob.exo_pair, beta="beta_pi", label_smoothing="epsilon")
pair_vector("exo_pref_official_code", ob.exo_pair_unnormalised, beta="beta_pi", log_epsilon="log_epsilon")
pair_vector("nca_pair", ob.nca_pair, **BETA)
pair_vector("sppo_hard", ob.sppo_hard, **BETA)
pair_vector("aot_paired", ob.aot, **BETA)
pair_vector("aot_unpaired", ob.aot_unpaired, **BETA)
pair_vector("discopop", ob.discopop, tau="tau", **BETA)
pair_vector("discopop_beta_0_1", ob.discopop, tau="tau", **BETA)
pair_vector("f_dpo_forward_kl", ob.f_dpo, divergence="forward_kl", **BETA)
pair_vector("f_dpo_js", ob.f_dpo, divergence="js", **BETA)
pair_vector("f_dpo_alpha_0_3", partial(ob.f_dpo, divergence="alpha"), alpha="alpha", **BETA)


def _with_preference(pairs: ReferencedPairs, *, p_star: float, tau: float) -> Tensor:
    return ob.dpo(pairs, preference=torch.full_like(pairs.margin, p_star), beta=tau)


pair_vector("psipo_logit_equals_soft_dpo", _with_preference, p_star="p_star", tau="tau")


def _held_at_zero(pairs: ReferencedPairs, *, beta: float) -> Tensor:
    # A state that rests on so many zeros that this step cannot move it.
    state = RunningMean(t(0.0), torch.tensor(10**18))
    return ob.bco_pair(pairs, state=state, beta=beta)[0]


pair_vector("bco_pair_no_shift", _held_at_zero, **BETA)


@works("cpo_token_mean_nll", "orpo")
def token_mean_nll(x: Inputs, p: Inputs) -> Outputs:
    pairs, chosen, rejected = make_pairs(x)
    rows = ob.orpo(pairs, **p) if "lam" in p else ob.cpo(pairs, **p)
    # The entry adds the one token mean to every row; ours gives each row its share. The mean is the same.
    nll = pairs.chosen.token_nll
    out = {"loss": rows.mean(), "per_example": rows - p.get("alpha", 1.0) * (nll - nll.mean())}
    odds = [s.mean - ob.log1mexp(s.mean) for s in (pairs.chosen, pairs.rejected)]
    out |= {"log_odds": odds[0] - odds[1], "nll_token_mean": nll.mean()}
    return out | grads(rows.mean(), grad_policy_chosen_logps=chosen, grad_policy_rejected_logps=rejected)


@works("slic_hf")
def slic_hf(x: Inputs, p: Inputs) -> Outputs:
    pairs, chosen, rejected = make_pairs(x)
    target = Replies(t(x["regularisation_target_logps"]), t([1, 1, 1]))
    rows = ob.slic_hf(pairs, target=target, **p)
    g = grads(rows.mean(), grad_policy_chosen_logps=chosen, grad_policy_rejected_logps=rejected)
    return {"loss": rows.mean(), "per_example": rows, **g}


@works("modpo")
def modpo(x: Inputs, p: Inputs) -> Outputs:
    pairs, chosen, rejected = make_pairs(x)
    others = PairValues(p["w"][1] * t(x["margin_reward_chosen"]), p["w"][1] * t(x["margin_reward_rejected"]))
    rows = ob.modpo(pairs, margins=others, weight=p["w"][0], beta=p["beta"])
    g = grads(rows.mean(), grad_policy_chosen_logps=chosen, grad_policy_rejected_logps=rejected)
    return {"loss": rows.mean(), "per_example": rows, **g}


@works("mah_dpo")
def mah_dpo(x: Inputs, p: Inputs) -> Outputs:
    pairs, chosen, _ = make_pairs(x)
    head = torch.tensor(x["head_index"])
    method = ob.find_method("mah_dpo")
    loss = ob.method_loss(
        method,
        {"pairs": pairs},
        inputs={"group": head, "num_groups": p["num_heads"], "beta": p["beta"]},
        resolve=resolve,
    )
    rows = ob.dpo(pairs, beta=p["beta"])
    per_head = [rows[head == h].mean().item() for h in range(p["num_heads"])]
    return {"loss": loss, "per_head": per_head, **grads(loss, grad_policy_chosen_logps=chosen)}


def resolve(name: str) -> Callable[..., Any]:
    return getattr(ob, name)


@works("wpo", "wpo_clamped")
def wpo(x: Inputs, p: Inputs) -> Outputs:
    sides, collisions, refs = [], [], (x["ref_chosen_logp"], x["ref_rejected_logp"])
    for logits, ids, ref in zip(x["policy_logits_chosen_rejected"], x["token_ids"], refs, strict=True):
        logp = t(logits).log_softmax(-1)[range(len(ids)), ids]
        collisions.append(ob.collision(t(logits)).mean()[None])
        sides.append(ReferencedReplies(logp.sum()[None], t([len(ids)]), t([ref])))
    pairs, collision = ReferencedPairs(*sides), PairValues(*collisions)
    dpo = ob.dpo(pairs, beta=p["beta"])
    ours = ob.wpo(pairs, collision=collision, beta=p["beta"])
    uncapped = ob.wpo(pairs, collision=collision, beta=p["beta"], max_weight=float("inf"))
    return {
        "mean_aligned_logp": [(s.mean - c).item() for s, c in zip(sides, collisions, strict=True)],
        "dpo_term": dpo[0],
        "loss": ours[0],
        "loss_trl_unclamped": uncapped[0],
        "weight_clamped_max1": (ours / dpo)[0],
        "weight_unclamped_trl": (uncapped / dpo)[0],
    }


@works("cpl")
def cpl(x: Inputs, p: Inputs) -> Outputs:
    first, second = leaf(x["seg1_step_logps"]), leaf(x["seg2_step_logps"])
    ones = torch.ones_like(first, dtype=torch.bool)
    preference = 1 - t(x["label_prefers_2"])

    def loss(gamma: float, lam: float) -> Tensor:
        tokens = [Tokens.from_padded(mask=ones, logp=s) for s in (first, second)]
        sums = [Replies(k.discounted_sum(k.logp, gamma=gamma), k.length) for k in tokens]
        return ob.cpl(Pairs(*sums), preference=preference, alpha=p["alpha"], lam=lam).mean()

    main = loss(p["gamma"], p["lam"])
    out = {"loss": main, "loss_lambda_1": loss(1.0, 1.0), "loss_gamma_0_9": loss(0.9, p["lam"])}
    return out | grads(main, grad_seg1=first, grad_seg2=second)


# --- single replies and rankings --------------------------------------------------------------------------


@works("kto")
def kto(x: Inputs, p: Inputs) -> Outputs:
    logp, one = leaf(x["policy_logps"]), torch.ones(4, dtype=torch.float64)
    replies = ReferencedReplies(logp, one, t(x["ref_logps"]))
    mismatched = ReferencedReplies(t(x["policy_KL_logps"]), one, t(x["ref_KL_logps"]))
    good = torch.tensor(x["label_desirable"]).bool()
    rows = ob.kto(replies, desirable=good, mismatched=mismatched, **p)
    heavier = ob.kto(replies, desirable=good, mismatched=mismatched, desirable_weight=1.33)
    return {
        "z0": mismatched.ratio.mean().clamp(min=0),
        "loss": rows.mean(),
        "per_example": rows,
        "loss_weights_1_33_and_1": heavier.mean(),
        "loss_z0_zero_apo_zero_unpaired": ob.apo_zero_unpaired(replies, desirable=good).mean(),
        **grads(rows.mean(), grad_policy_logps=logp),
    }


@works("safe_align_blue_red")
def safe_align(x: Inputs, p: Inputs) -> Outputs:
    nll = t(x["nll_blue_token_mean"] + x["nll_red_token_mean"])
    replies = Replies(-4 * nll, torch.full((4,), 4.0, dtype=torch.float64))
    good = torch.tensor([True, True, False, False])
    knobs = {"blue_weight": p["lambda_blue"], "red_weight": p["lambda_red"]}
    inputs = {"desirable": good, "threshold": p["red_threshold"], **knobs}
    method = ob.find_method("red_instruct")
    loss = ob.method_loss(method, {"replies": replies}, inputs=inputs, resolve=resolve)
    rows = ob.safe_align(replies, desirable=good, threshold=float("inf"), **knobs)
    red = ob.safe_align(replies, desirable=good, threshold=p["red_threshold"], **knobs)[2:]
    return {"loss": loss, "loss_unthresholded": ob.label_sum(rows, desirable=good), "red_active": red != 0}


@works("cpl_scores_dense")
def cpl_dense(x: Inputs, p: Inputs) -> Outputs:
    logp = t([x["segment_logp_sums"]])
    ranked = Ranked(logp=logp, length=torch.ones_like(logp), utility=t([x["scores"]]))
    return {"loss": ob.cpl_ranked(ranked, **p).mean()}


@works("exo_rw", "info_nca_reward", "nca_reward")
def on_rewards(x: Inputs, p: Inputs) -> Outputs:
    ratio = leaf([x["logratios"]])
    zero = torch.zeros_like(ratio)
    ranked = ReferencedRanked(logp=ratio, length=zero + 1, utility=t([x["rewards"]]), ref=zero)
    if "beta_pi" in p:
        rows = ob.exo_ranked(ranked, beta=p["beta_pi"], beta_r=p["beta_r"])
    else:
        # InfoNCA and NCA take the same settings; their entries differ by what they expect.
        rows = ob.info_nca(ranked, **p) if x is BY_NAME["info_nca_reward"]["inputs"] else ob.nca(ranked, **p)
    return {"loss": rows.mean(), "grad_logratios": grads(rows.mean(), g=ratio)["g"][0]}


@works("rrhf")
def rrhf(x: Inputs, p: Inputs) -> Outputs:
    logp = leaf([x["seq_logps"]])
    ranked = Ranked(logp=logp, length=t([x["lengths"]]), utility=t([x["rewards"]]))
    loss, imitation = ob.rrhf(ranked).mean(), ob.rrhf(ranked, rank_weight=0.0).mean()
    rank = loss - imitation
    by_token = ob.cyclealign(ranked, rank_weight=100.0).mean()
    return {
        "p_mean_logp": ranked.mean[0],
        "rank_loss": rank,
        "sft_sum": imitation,
        "sft_token_mean": ob.cyclealign(ranked, rank_weight=0.0).mean(),
        "loss_paper": loss,
        "loss_code_weight100_tokenmean": by_token,
    }


@works("cyclealign")
def cyclealign(x: Inputs, p: Inputs) -> Outputs:
    best_first, mean = x["black_box_ranking_best_first"], t([x["mean_token_logps"]])
    utility = torch.zeros_like(mean)
    utility[0, best_first] = t([4, 3, 2, 1])
    ranked = Ranked(logp=3 * mean, length=torch.full_like(mean, 3), utility=utility)
    imitation = ob.cyclealign(ranked, rank_weight=0.0)[0]
    loss = ob.cyclealign(ranked, rank_weight=p["lam"])[0]
    lcs = agreement(best_first, x["white_box_ranking_best_first"])
    return {
        "agreement_lcs": list(lcs),
        "rank_loss": loss - imitation,
        "sft_token_mean": imitation,
        "loss": loss,
    }


@works("pro")
def pro(x: Inputs, p: Inputs) -> Outputs:
    logp = leaf([x["seq_logps_best_to_worst"]])
    ranked = Ranked(logp=logp, length=t([x["lengths"]]), utility=t([x["rewards"]]))
    rank = ob.pro(ranked, shown=ranked.best, sft_weight=0.0)
    plain = ob.pro(ranked, shown=ranked.best, sft_weight=0.0, temperature=False)
    loss = ob.pro(ranked, shown=ranked.best, **p)
    return {
        "rank_loss": rank.mean(),
        "loss": loss.mean(),
        "rank_loss_no_temperature": plain.mean(),
        "grad_seq_logps": grads(loss.mean(), g=logp)["g"][0],
    }


@works("stable_alignment")
def stable_alignment(x: Inputs, p: Inputs) -> Outputs:
    def loss(nll: Any, ratings: Any) -> Tensor:
        ranked = Ranked(logp=-5 * t([nll]), length=torch.full((1, 3), 5.0).double(), utility=t([ratings]))
        return ob.stable_alignment(ranked, margin=p["margin"], ratio=p["ratio"], scale=p["rating_scale"])[0]

    main = loss(x["token_mean_nll"], x["ratings"])
    permuted = BY_NAME["stable_alignment"]["expected"]["permuted_input"]
    torch.testing.assert_close(loss(permuted["token_mean_nll"], permuted["ratings"]), main)
    # Two candidates at a time show the penalty of each: 0.2 max(0, negative) above the best one's nll.
    best, rest = (
        (x["token_mean_nll"][0], x["ratings"][0]),
        zip(x["token_mean_nll"][1:], x["ratings"][1:], strict=True),
    )
    negatives = [best[0] - n + p["margin"] * (best[1] - r) / p["rating_scale"] for n, r in rest]
    return {"loss_mean_of_relu_paper": main, "negatives": negatives}


@works("grao_loss")
def grao(x: Inputs, p: Inputs) -> Outputs:
    out = {}
    for key, inclusive in (("stats_over_G_samples_only", False), ("stats_over_G_plus_reference", True)):
        mean = leaf([[*x["mean_token_logp_samples"], x["mean_token_logp_reference"]]])
        utility = t([[*x["reward_samples"], x["reward_reference"]]])
        ranked = Ranked(logp=2 * mean, length=torch.full_like(mean, 2).detach(), utility=utility)
        shown = torch.tensor([[False, False, False, True]])
        loss = ob.grao(ranked, shown=shown, beta=p["beta"], lam=p["lam"], include_shown=inclusive)[0]
        (g,) = torch.autograd.grad(loss, mean)
        group = utility[0] if inclusive else utility[0, :3]
        a = (utility[0] - group.mean()) / group.std(correction=0)
        out[key] = {"loss": loss, "grad_J_samples": g[0, :3], "grad_J_reference": g[0, 3]}
        out[key] |= {"adv_samples": a[:3], "adv_reference": a[3]}
    return out


# --- reward models ----------------------------------------------------------------------------------------


@works(
    "rm_bradley_terry",
    "rm_bradley_terry_margin",
    "rm_bradley_terry_centered",
    "rm_bradley_terry_label_smoothing",
    "rm_bt_plus_pointwise_mse",
    "rm_margin_hinge",
    "rm_soft_label_pm",
)
def reward_pairs(x: Inputs, p: Inputs) -> Outputs:
    chosen, rejected = leaf(x["chosen_rewards"]), leaf(x["rejected_rewards"])
    rewards = RewardPairs(chosen, rejected)
    if "p_chosen" in x:
        rows = ob.bradley_terry(rewards, preference=t(x["p_chosen"]))
    elif "chosen_scores" in x:
        scores = PairValues(t(x["chosen_scores"]), t(x["rejected_scores"]))
        rows = ob.bradley_terry_scored(rewards, scores=scores, alpha=p["alpha"])
    elif "margin" in p:
        rows = ob.reward_hinge(rewards, margin=p["margin"])
    else:
        names = {"epsilon": "label_smoothing"}
        knobs = {names.get(k, k): v for k, v in p.items()}
        rows = ob.bradley_terry(rewards, strength=t(x["margin"]) if "margin" in x else None, **knobs)
    metrics = {k: m.mean for k, m in ob.reward_metrics(rewards).items()}
    g = grads(rows.mean(), grad_chosen_rewards=chosen, grad_rejected_rewards=rejected)
    return {"loss": rows.mean(), "per_example": rows, **metrics, **g}


@works("rm_plackett_luce", "rm_kwise_pairs_instructgpt", "rm_top1_listwise")
def reward_rankings(x: Inputs, p: Inputs) -> Outputs:
    reward = leaf(x["rewards_best_to_worst"])
    ranked = RankedRewards(reward=reward, utility=torch.arange(4.0, 0, -1).double().expand(2, 4))
    # The three entries share their inputs; the object tells which is asked for.
    asked = next(name for name, entry in BY_NAME.items() if entry["inputs"] is x)
    losses = {
        "rm_plackett_luce": ob.plackett_luce_reward,
        "rm_kwise_pairs_instructgpt": ob.kwise_bradley_terry,
        "rm_top1_listwise": ob.listwise_top1,
    }
    rows = losses[asked](ranked)
    return {"loss": rows.mean(), "per_example": rows, **grads(rows.mean(), grad_rewards=reward)}


@works("rm_regression_mse", "value_learning_mse_eq2")
def regression(x: Inputs, p: Inputs) -> Outputs:
    pred = leaf(x.get("pred", x.get("R")))
    target = t(x.get("target", x.get("r_star")))
    loss = ob.reward_regression(Rewards(pred), utility=target).mean()
    (g,) = torch.autograd.grad(loss, pred)
    mae = strict_misalignment(target.tolist(), pred.tolist())
    return {"loss": loss, "grad_pred": g, "grad_R": g, "mae": mae}


@works("value_learning_margin")
def margin(x: Inputs, p: Inputs) -> Outputs:
    chosen, rejected = leaf(x["R_ystar"]), leaf(x["R_y"])
    rows = ob.reward_hinge(RewardPairs(chosen, rejected), margin=p["alpha"])
    return {
        "loss": rows.mean(),
        "per_example": rows,
        **grads(rows.mean(), grad_R_ystar=chosen, grad_R_y=rejected),
    }


def steps_of(logits: Any, labels: Any = None) -> StepLogits:
    logit = leaf(logits)
    label = t(labels) if labels is not None else torch.zeros_like(logit)
    return StepLogits(
        logit=logit, label=label, owner=torch.zeros(len(logit), dtype=torch.long), num_replies=1
    )


@works("prm_step_bce", "prm_step_bce_soft_mc")
def steps(x: Inputs, p: Inputs) -> Outputs:
    record = steps_of(x["step_logits"], x.get("step_labels", x.get("step_targets")))
    rows = ob.step_bce(record)
    g = grads(rows.mean(), grad_step_logits=record.logit)
    accuracy = ob.step_metrics(record)["accuracy"].mean
    return {
        "loss": rows.mean(),
        "per_step": rows,
        "mse_variant": ob.step_mse(record).mean(),
        "accuracy": accuracy,
        **g,
    }


@works("prm_aggregation")
def aggregation(x: Inputs, p: Inputs) -> Outputs:
    record = steps_of(x["step_logits"])
    names = {"logprod": "log_prod"}
    keys = ("min", "prod", "mean", "last", "geometric_mean", "logprod")
    out = {k: ob.step_aggregate(record, how=names.get(k, k))[0] for k in keys}  # type: ignore[arg-type]
    return {"step_probs": record.logit.sigmoid(), **out}


@works("prm_easy_to_hard_shaped_reward")
def easy_to_hard(x: Inputs, p: Inputs) -> Outputs:
    record, score = steps_of([0.0] * 4), t(x["step_scores"])
    knobs = {"start": p["process_reward_upper_bound"], "bonus": p["positive_score"]}
    out = {s: ob.easy_to_hard_rewards(record, score=score, scheme=s, **knobs) for s in ("min", "prod")}
    return {f"{s}_scheme": r for s, r in out.items()} | {f"{s}_sum": r.sum() for s, r in out.items()}


@works("reward_ensemble")
def ensemble(x: Inputs, p: Inputs) -> Outputs:
    members = t(x["rewards_samples_x_members"])
    return {
        "mean": ob.ensemble_mean(members),
        "worst_case_wco": ob.ensemble_worst_case(members),
        "uncertainty_weighted_uwo": ob.ensemble_uncertainty_weighted(members, lam=p["uwo_lambda"]),
        "member_std": (ob.ensemble_mean(members) - ob.ensemble_uncertainty_weighted(members, lam=1.0)).sqrt(),
    }


@works("rm_christiano_segments")
def segments(x: Inputs, p: Inputs) -> Outputs:
    sums = [t([sum(x[f"segment{i}_step_rewards"])]) for i in (1, 2)]
    rewards, e = RewardPairs(*sums), p["human_error_rate"]

    def loss(preference: float, error_rate: float) -> Tensor:
        return ob.segment_preference(rewards, preference=t([preference]), error_rate=error_rate)[0]

    return {
        "p_1_over_2": (-loss(1.0, 0.0)).exp(),
        "loss_mu_1_0": loss(1.0, 0.0),
        "loss_mu_half_half": loss(0.5, 0.0),
        "p_with_error_model": (-loss(1.0, e)).exp(),
        "loss_with_error_model_mu_1_0": loss(1.0, e),
    }


@works("cai_soft_label_from_choice_logprobs")
def choice(x: Inputs, p: Inputs) -> Outputs:
    logps, (low, high) = t(x["logp_A_B"]), p["clamp"]
    clamped = ob.soft_labels_from_choice(logps, low=low, high=high)
    return {"p_A": ob.soft_labels_from_choice(logps), "p_A_cot_clamped": clamped}


# --- the formal frame -------------------------------------------------------------------------------------


@works("misalignment_eq1", "misalignment_strict")
def formal_misalignment(x: Inputs, p: Inputs) -> Outputs:
    human, agent = x["U_H"], x["U_A"]
    moved = [value + 3 for value in agent]
    violation = order_violation(human, agent)
    return {
        "abs_iid_pairs": misalignment(human, agent),
        "abs_distinct_pairs": misalignment(human, agent, distinct=True),
        "signed_iid_pairs": misalignment(human, agent, form="signed"),
        "squared_iid_pairs": misalignment(human, agent, form="squared"),
        "ordering_violation_rate": violation,
        "aligned": violation == 0,
        "loss": strict_misalignment(human, agent),
        "after_adding_3_to_U_A": strict_misalignment(human, moved),
        "eq1_abs_after_adding_3_to_U_A": misalignment(human, moved),
    }


@works("f_divergences")
def f_divergences(x: Inputs, p: Inputs) -> Outputs:
    P, Q = t(x["P"]), t(x["Q"])
    return {
        name: {
            "D_f_P_Q": ob.f_divergence(P, Q, generator=name, **p),  # type: ignore[arg-type]
            "f_prime_at_P_over_Q": ob.f_prime(P / Q, generator=name, **p),  # type: ignore[arg-type]
        }
        for name in BY_NAME["f_divergences"]["expected"]
    }


@works("f_dpg_gradient")
def f_dpg(x: Inputs, p: Inputs) -> Outputs:
    out = {}
    for name in BY_NAME["f_dpg_gradient"]["expected"]:
        logits, target = leaf(x["theta_logits"]), t(x["target_p"])
        logp, nothing = logits.log_softmax(-1), RunningMean.empty(logits)
        # Each reply once, as if a uniform proposal had drawn them: the expectation is then exact.
        old, one = torch.full_like(target, 0.25).log(), torch.ones_like(target)
        loss, _ = ob.f_dpg(
            Replies(logp, one),
            log_target=target.log(),
            old=old,
            state=(nothing, nothing),
            generator=name,
            alpha=p["alpha"],
        )
        pi = logp.detach().exp()
        out[name] = {
            "divergence": ob.f_divergence(pi, target, generator=name, alpha=p["alpha"]),
            "pseudo_reward_minus_fprime": -ob.f_prime(pi / target, generator=name, alpha=p["alpha"]),
            "grad_logits": torch.autograd.grad(loss.mean(), logits)[0],
        }
    return out


@works("unification_eq7")
def unification_eq7(x: Inputs, p: Inputs) -> Outputs:
    r, R, pi, sft = (t(x[k]) for k in ("r_star", "R_phi", "pi_theta", "pi_sft"))
    return {
        "tv": ob.f_divergence(r, R, generator="tv"),
        "kl_policy_reward": ob.f_divergence(pi, R, generator="kl"),
        "kl_policy_sft": ob.f_divergence(pi, sft, generator="kl"),
        "total": ob.unified_rlhf(pi, human=r, reward=R, sft=sft, lam=p["lam"]),
    }


@works("unification_eq8")
def unification_eq8(x: Inputs, p: Inputs) -> Outputs:
    gap, kl = ob.preference_imitation(t(x["pi_theta"]), chosen=t(x["p_w"]), rejected=t(x["p_l"]))
    return {"neg_expected_logratio": gap, "kl_difference": kl, "constant_H_pw_minus_H_pl": gap - kl}


@works("unification_eq10")
def unification_eq10(x: Inputs, p: Inputs) -> Outputs:
    joint, braces, rest = ob.in_context_imitation(t(x["p_xyc"]), policy=t(x["pi_xyc"]))
    return {"joint_kl": joint, "braces_E_logpi_minus_kl": braces, "rest_independent_of_conditional": rest}


# --- reinforcement ----------------------------------------------------------------------------------------


def flat(x: Inputs, kind: type, **fields: Any) -> tuple[Any, Tensor]:
    """A flat record from the padded values of an entry, and the padded leaf that its gradients go to."""
    mask, logp = t(x["mask"]).bool(), leaf(x["logps"])
    return kind.from_padded(mask=mask, logp=logp, **{k: t(v) for k, v in fields.items()}), logp


@works("kl_estimators")
def kl_estimators(x: Inputs, p: Inputs) -> Outputs:
    tokens, _ = flat(x, ReferencedTokens, ref=x["ref_logps"])
    kinds = {"k1": ob.k1(tokens), "k2": ob.k2(tokens), "k3": ob.k3(tokens)}
    torch.testing.assert_close(ob.kl_k2_loss(tokens).detach(), kinds["k2"])
    torch.testing.assert_close(ob.kl_k3_forward_loss(tokens).detach(), kinds["k3"])
    out = {k: tokens.padded(v) for k, v in kinds.items()} | {
        f"{k}_masked_mean": v.mean() for k, v in kinds.items()
    }
    return out | {"k1_seq_sum": tokens.sum(kinds["k1"])}


@works("kl_shaped_rewards")
def kl_shaped_rewards(x: Inputs, p: Inputs) -> Outputs:
    tokens, _ = flat(x, ReferencedTokens, ref=x["ref_logps"])
    rewards = ob.kl_shaped_rewards(tokens, reward=t(x["scores"]), beta=p["kl_coef"], estimator=p["estimator"])
    penalty = tokens.sum(ob.kl_k1_reward(tokens, beta=p["kl_coef"])).mean()
    return {
        "rewards": tokens.padded(rewards),
        "non_score_reward_mean": penalty,
        "rlhf_reward": tokens.sum(rewards).mean(),
    }


@works("gae")
def gae(x: Inputs, p: Inputs) -> Outputs:
    mask = t(x["mask"]).bool()
    tokens = Tokens.from_padded(mask=mask, logp=t(x["rewards"]))
    out = {}
    for key, gamma in (("gamma_1", 1.0), ("gamma_099", 0.99)):
        value = t(x["values"])[mask]
        advantage = ob.gae(tokens, reward=tokens.logp, value=value, gamma=gamma, lam=p["lam"])
        out[key] = {"advantages": tokens.padded(advantage), "returns": tokens.padded(advantage + value)}
    return out


@works("whiten")
def whiten(x: Inputs, p: Inputs) -> Outputs:
    mask = t(x["mask"]).bool()
    tokens = Tokens.from_padded(mask=mask, logp=t(x["x"]))
    return {
        "unbiased": tokens.padded(ob.whiten(tokens.logp, eps=p["eps"])),
        "biased": tokens.padded(ob.whiten(tokens.logp, eps=p["eps"], ddof=0)),
        "unbiased_no_shift": tokens.padded(ob.whiten(tokens.logp, eps=p["eps"], shift=False)),
    }


@works("ppo_clip_policy_loss", "ppo_dual_clip")
def ppo_clip(x: Inputs, p: Inputs) -> Outputs:
    rollouts, logp = flat(x, Rollouts, old=x["old_logps"], advantage=x["advantages"])
    clip = {"low": p["cliprange"], "high": p["cliprange"]}
    rows = ob.ppo_dual_clip(rollouts, **clip, c=p["c"]) if "c" in p else ob.ppo_clip(rollouts, **clip)
    loss = ob.token_mean(rows, rollouts)
    metrics = {k: m.mean for k, m in ob.rollout_metrics(rollouts, **clip).items()}
    return {
        "token_losses": rollouts.padded(rows),
        "loss_token_mean": loss,
        "clipfrac": metrics["policy/clipfrac_avg"],
        "approx_kl_k2": metrics["policy/approxkl_avg"],
        "approx_kl_k1_old_minus_new": (rollouts.old - rollouts.logp).mean(),
        "ratio_mean": metrics["val/ratio"],
        "grad_logps_token_mean": torch.autograd.grad(loss, logp)[0],
    }


@works("ppo_clipped_value_loss")
def clipped_value(x: Inputs, p: Inputs) -> Outputs:
    mask = t(x["mask"]).bool()
    fields = {"value": t(x["values_new"]), "old": t(x["values_old"]), "returns": t(x["returns"])}
    values = Values.from_padded(mask=mask, **fields)
    return {
        "loss": ob.clipped_value(values, clip=p["cliprange_value"]).mean(),
        "unclipped": ob.clipped_value(values, clip=float("inf")).mean(),
        "clipfrac": ob.value_metrics(values, clip=p["cliprange_value"])["val/clipfrac_avg"].mean,
    }


@works("adaptive_kl")
def adaptive_kl(x: Inputs, p: Inputs) -> Outputs:
    beta, target = p["init_kl_coef"], p["target"]
    horizon = {"num_samples": p["n_steps"], "horizon": p["horizon"]}
    return {
        "ziegler": [
            ob.adaptive_kl_ziegler(beta, kl=kl, target=target, k=p["K_beta"]) for kl in x["current_kl"]
        ],
        "trl_style": [
            ob.adaptive_kl_horizon(beta, kl=kl, target=target, **horizon) for kl in x["current_kl"]
        ],
    }


@works("rloo_advantage", "grpo_advantage", "reinforce_pp_baseline_advantage")
def advantages(x: Inputs, p: Inputs) -> Outputs:
    table = t(x.get("rewards_prompts_x_k", x.get("rewards_prompts_x_G")))
    groups, eps = Groups.of(table), p.get("eps", 1e-4)
    out = {
        "advantages": ob.leave_one_out(groups),
        "std_ddof1": ob.standardised(groups, eps=eps),
        "std_ddof0": ob.standardised(groups, eps=eps, ddof=0),
        "dr_grpo_no_std": ob.centred(groups),
        "batch_std_ddof1": ob.batch_standardised(groups, eps=eps),
        "seq_advantages_global_norm_biased": ob.whiten(ob.centred(groups), ddof=0),
    }
    return {k: v.view_as(table) for k, v in out.items()}


@works("rloo_reinforce_loss")
def rloo(x: Inputs, p: Inputs) -> Outputs:
    logp = leaf(x["seq_logps"])
    groups = Groups.of(t(x["rewards_prompts_x_k"]))
    one_token = torch.ones(8, 1, dtype=torch.bool)
    rollouts = Rollouts.from_padded(
        mask=one_token, logp=logp.view(8, 1), old=logp.detach().view(8, 1), advantage=ob.leave_one_out(groups)
    )
    loss = ob.method_loss(ob.find_method("rloo"), {"samples": rollouts}, resolve=resolve)
    return {"loss": loss, "grad_seq_logps": torch.autograd.grad(loss, logp)[0]}


@works("reinforce_pp_advantage")
def reinforce_pp(x: Inputs, p: Inputs) -> Outputs:
    tokens = Tokens.from_padded(mask=t(x["mask"]).bool(), logp=t(x["shaped_rewards"]))
    returns = ob.reward_to_go(tokens, reward=tokens.logp, gamma=p["gamma"])
    return {
        "returns_to_go": tokens.padded(returns),
        "normalised_biased": tokens.padded(ob.whiten(returns, ddof=0)),
        "normalised_unbiased": tokens.padded(ob.whiten(returns)),
    }


@works("grpo_loss", "grpo_on_policy_identity", "dapo_loss_clip_higher", "gspo_sequence_ratio")
def grpo(x: Inputs, p: Inputs) -> Outputs:
    fields = {"old": x["old_logps"], "advantage": x["seq_advantages"], "ref": x.get("ref_logps", x["logps"])}
    rollouts, logp = flat(x, ReferencedRollouts, **fields)
    k3, clip = p.get("beta", 0.0), p.get("epsilon", 0.2)

    def loss(reduction: str, objective: str = "ppo_clip", **knobs: float) -> dict[str, Tensor]:
        terms = [ob.Term(objective=objective, reduction=reduction, knobs=knobs)]
        terms += [ob.Term(objective="kl_k3_forward_loss", reduction=reduction, weight=k3)] if k3 else []
        method = ob.Method(summary="", paper="", terms=tuple(terms))
        fixed = {"max_length": p.get("max_completion_length", 4)} if reduction == "fixed_length_mean" else {}
        value = ob.method_loss(method, {"samples": rollouts}, inputs=fixed, resolve=resolve)
        (g,) = torch.autograd.grad(value, logp, retain_graph=True)
        return {"loss": value, "grad_logps": g}

    symmetric = {"low": clip, "high": clip}
    grpo = loss("sequence_mean", **symmetric)
    out: dict[str, Any] = {
        "grpo_seq_mean_token_mean": grpo,
        "dapo_token_mean": loss("token_mean", **symmetric),
        "dr_grpo_const_normaliser": loss("fixed_length_mean", **symmetric),
        "seq_mean_token_sum": loss("sequence_sum", **symmetric),
        "loss_grpo": grpo["loss"],
        "grad_logps_grpo": grpo["grad_logps"],
        "loss_dapo": loss("token_mean", **symmetric)["loss"],
        "ratio": rollouts.mean(rollouts.logp - rollouts.old).exp(),
        "loss": loss("sequence_mean", "gspo_clip", **symmetric)["loss"],
    }
    if "epsilon_high" in p:
        out["loss"] = loss("token_mean", low=p["epsilon_low"], high=p["epsilon_high"])["loss"]
    return out


@works("dapo_soft_overlong_penalty")
def overlong(x: Inputs, p: Inputs) -> Outputs:
    return {"penalty": ob.overlong_penalty(t(x["lengths"]), max_length=p["max_len"], cache=p["cache"])}


@works("ppo_ptx_objective")
def ppo_ptx(x: Inputs, p: Inputs) -> Outputs:
    reward, kl, text = t(x["scores"]), t(x["seq_kl_k1"]), t(x["pretrain_token_logps"])
    return {"objective": ob.rlhf_ptx_objective(reward=reward, kl=kl, pretrain_logp=text, **p)}


@works("online_dpo_pairing")
def online_pairing(x: Inputs, p: Inputs) -> Outputs:
    return {"chosen_is_first": ob.first_wins(torch.stack([t(x["reward_first"]), t(x["reward_second"])], -1))}


@works("rest_improve_filter")
def rest(x: Inputs, p: Inputs) -> Outputs:
    groups, nll = Groups.of(t([x["rewards"]])), t(x["seq_nll"])
    kept = [ob.above_threshold(groups, threshold=tau) for tau in p["thresholds"]]
    return {
        "kept": torch.stack(kept),
        "filtered_loss_mean_over_kept": [ob.row_mean(nll[k]).item() for k in kept],
        "paper_loss_mean_over_all": [ob.row_mean(nll[k], total=len(nll)).item() for k in kept],
    }


@works("best_of_n_raft")
def best_of_n(x: Inputs, p: Inputs) -> Outputs:
    table = t(x["rewards_prompts_x_n"])
    bound = BY_NAME["best_of_n_raft"]["expected"]["kl_bound_n"]
    return {
        "selected_index": ob.best_of_n(Groups.of(table)).view_as(table).long().argmax(-1),
        "kl_bound_n": {n: ob.best_of_n_kl_bound(int(n)) for n in bound},
    }


# --- imitation and distillation ---------------------------------------------------------------------------


@works("sft_reductions")
def sft_reductions(x: Inputs, p: Inputs) -> Outputs:
    tokens = Tokens.from_padded(mask=t(x["mask"]).bool(), logp=t(x["token_logps"]))
    nll, whole = ob.sft(tokens), tokens.sum(tokens.logp)
    return {
        "seq_sum_mean": ob.sequence_sum(nll, tokens),
        "token_mean_global": ob.token_mean(nll, tokens),
        "seq_mean_of_token_mean": ob.sequence_mean(nll, tokens),
        "eq4_literal_log_outside_mean": ob.sft_printed(whole),
        "eq4_standard_mean_of_logs": ob.sft_standard(whole),
    }


@works("sft_eq4_literal_vs_standard")
def sft_printed(x: Inputs, p: Inputs) -> Outputs:
    logp = leaf(x["seq_logps"])
    printed, standard = ob.sft_printed(logp), ob.sft_standard(logp)
    out = {"literal": printed, "standard": standard}
    return out | {"grad_literal": grads(printed, g=logp)["g"], "grad_standard": grads(standard, g=logp)["g"]}


@works("sft_completion_only_ce")
def completion_only(x: Inputs, p: Inputs) -> Outputs:
    logits, ids = t(x["logits"]), torch.tensor(x["input_ids"])
    # The logits at position t speak of token t + 1: so the first token is never a target.
    logp = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    place = torch.arange(1, ids.shape[1])[None]
    real = torch.tensor(x["attention_mask"]).bool()[:, 1:]
    reply = real & (place >= torch.tensor(x["prompt_len"])[:, None])
    tokens = Tokens.from_padded(mask=reply, logp=logp)
    everything = Tokens.from_padded(mask=real, logp=logp)
    return {
        "completion_only_token_mean": ob.token_mean(ob.sft(tokens), tokens),
        "n_completion_tokens": len(tokens.logp),
        "full_sequence_token_mean": ob.token_mean(ob.sft(everything), everything),
        "completion_seq_logps": tokens.sum(tokens.logp),
    }


@works("coh_masked_loss")
def chain_of_hindsight(x: Inputs, p: Inputs) -> Outputs:
    tokens = Tokens.from_padded(mask=t(x["loss_mask"]).bool(), logp=t(x["token_logps"]))
    text = Tokens.from_padded(mask=torch.ones(1, 2, dtype=torch.bool), logp=t([x["pretrain_token_logps"]]))
    streams = {"hindsight": tokens, "pretrain": text}
    total = ob.method_loss(ob.find_method("chain_of_hindsight"), streams, resolve=resolve)
    parts = {k: ob.token_mean(ob.sft(v), v) for k, v in streams.items()}
    return {"hf_loss": parts["hindsight"], "pt_loss": parts["pretrain"], "total": total}


@works("topk_exact_kl_baichuan")
def topk_exact_kl(x: Inputs, p: Inputs) -> Outputs:
    policy, reference = t([x["policy_logits"]]), t([x["ref_logits"]])
    return {
        "topk_indices": ob.topk(reference, k=p["k"]).index[0],
        "kl_policy_ref": ob.topk_exact_kl(policy, teacher=reference, k=p["k"])[0],
        "full_vocab_kl": ob.reverse_kl(policy, teacher=reference)[0],
    }


@works("gkd_generalised_jsd", "gkd_temperature")
def gkd(x: Inputs, p: Inputs) -> Outputs:
    logits, teacher = leaf(x["student_logits"]), t(x["teacher_logits"])

    def run(beta: float) -> dict[str, Tensor]:
        loss = ob.generalised_jsd(logits, teacher=teacher, beta=beta, temperature=p["temperature"]).mean()
        return {"loss": loss, **grads(loss, grad_student_logits=logits)}

    return {f"beta_{b:g}": run(b) for b in (0.0, 0.1, 0.5, 0.9, 1.0)} | run(p.get("beta", 0.5))


@works("dckd")
def dckd(x: Inputs, p: Inputs) -> Outputs:
    chosen, rejected = t(x["student_logits_chosen"]), t(x["student_logits_rejected"])
    logp = chosen.log_softmax(-1)[range(3), x["chosen_ids"]]
    tokens = Tokens(logp=logp, owner=torch.zeros(3, dtype=torch.long), num_replies=1)
    streams = {"chosen": tokens, "chosen_logits": chosen, "rejected_logits": rejected}
    teachers = {f"{s}_logits.teacher": t(x[f"teacher_logits_{s}"]) for s in ("chosen", "rejected")}
    loss = ob.method_loss(ob.find_method("dckd"), streams, inputs=teachers, resolve=resolve)
    fkl = [
        ob.teacher_forward_kl(v, teacher=w).mean()
        for v, w in zip((chosen, rejected), teachers.values(), strict=True)
    ]
    return {"sft": ob.sft(tokens).mean(), "fkl_chosen": fkl[0], "fkl_rejected": fkl[1], "loss": loss}


@works("adpa")
def adpa(x: Inputs, p: Inputs) -> Outputs:
    logits: Logits = leaf(x["student_logits_on_student_response"])
    teacher, reference = t(x["dpo_teacher_logits"]), t(x["ref_teacher_logits"])
    term = ob.adpa_advantage(logits, teacher=teacher, teacher_ref=reference, gamma=p["gamma"]).mean()
    # Each column of the advantage shows where all of the student's mass stands on that token.
    sure = torch.eye(4, dtype=torch.float64).log().clamp(min=-1e9)
    columns = [
        -ob.adpa_advantage(sure[a].expand(3, 4), teacher=teacher, teacher_ref=reference) for a in range(4)
    ]
    loss = x["sft_nll"] + term
    out = {"advantage": torch.stack(columns, -1), "loss": loss, "adpa_term": term}
    return out | grads(loss, grad_student_logits=logits)


# --- data -------------------------------------------------------------------------------------------------


@works("second_thoughts_edit_chain")
def edits(x: Inputs, p: Inputs) -> Outputs:
    out = {}
    for key, replace in (("costs_ins1_del1_rep2", 2), ("costs_1_1_1", 1)):
        chain = edit_chain(x["source"], x["target"], insert=1, delete=1, replace=replace)
        out[key] = {"cost": chain.cost, "ops": [[e.operation, e.at, e.old, e.new] for e in chain.edits]}
    return out


@works("self_instruct_rouge_filter")
def rouge(x: Inputs, p: Inputs) -> Outputs:
    scores = [rouge_l(x["candidate"], known).f for known in x["pool"]]
    return {"rougeL_f": scores, "keep": is_novel(x["candidate"], x["pool"], threshold=p["threshold"])}


@works("exponential_plateau")
def plateau(x: Inputs, p: Inputs) -> Outputs:
    return {"y": [exponential_plateau(n, **p) for n in x["n"]]}
