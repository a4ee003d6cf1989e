"""One row for each objective: where its worked value is, and the facts that the contract suite checks.

A fact that is not listed is not claimed. Read a row as a summary of how the loss behaves:

by_hand       a function of this file that returns (ours, worked on paper), where no entry has the loss
at_reference  the loss when policy and reference agree, whatever the likelihoods
signs         "-" or "+" for each trained side (chosen, rejected): its gradient never has the other sign
ignores       "reference", "length", "prompt" (a constant added to the policy's view of all replies of a
              row), "joint" (a constant added to policy and reference of one reply), "shift" (to all rewards)
coupled       rows depend on each other
frozen        parts of the loss are held constant for the gradient, so finite differences do not apply
optimum       the entry of `vectors.json` whose closed form a tabular policy is driven to
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

import concord.objectives as ob
from concord.tensors import (
    Pairs,
    PairValues,
    ReferencedPairs,
    ReferencedRanked,
    ReferencedReplies,
    ReferencedRollouts,
    Rollouts,
    RunningMean,
    Tokens,
    Values,
)

LN2 = math.log(2)
ByHand = Callable[[], list[tuple[Any, Any]]]
"""What ours gives beside what was worked on paper; its docstring is the working, for the page."""


@dataclass(frozen=True, kw_only=True)
class Case:
    objective: Callable[..., Any]
    vectors: tuple[str, ...] = ()
    by_hand: ByHand | None = None
    at_reference: float | None = None
    signs: str = ""
    ignores: tuple[str, ...] = ()
    coupled: bool = False
    frozen: str = ""
    optimum: str = ""

    @property
    def name(self) -> str:
        return self.objective.__name__

    def facts(self) -> list[str]:
        """The row in words, for the pages."""
        sides = ("chosen side", "rejected side") if len(self.signs) == 2 else ("likelihood",)
        words = {"-": "always raises", "+": "always lowers", "0": "is not claimed to have one sign on"}
        meanings = {
            "reference": "the reference",
            "length": "lengths",
            "prompt": "a constant added to the policy's log-probability of every reply of a row",
            "joint": "a constant added to policy and reference alike",
            "shift": "a constant added to all rewards of a row",
        }
        facts = []
        if self.at_reference is not None:
            facts.append(f"At policy = reference the loss is {self.at_reference:.6g}.")
        facts += [
            f"A descent step {words[s]} the {side}." for s, side in zip(self.signs, sides, strict=False)
        ]
        facts += [f"It does not see {meanings[i]}." for i in self.ignores]
        facts.append("Rows depend on each other." if self.coupled else "Rows are independent.")
        if self.frozen:
            facts.append(f"No gradient flows through {self.frozen}.")
        return facts


# --- worked by hand ---------------------------------------------------------------------------------------


def replies_of(logp: list[float], length: list[int], ref: list[float]) -> ReferencedReplies:
    t = torch.tensor
    return ReferencedReplies(t(logp, dtype=torch.float64), t(length), t(ref, dtype=torch.float64))


def one_reply(logp: torch.Tensor) -> dict[str, Any]:
    return {"logp": logp, "owner": torch.zeros(len(logp), dtype=torch.long), "num_replies": 1}


def dpo_nll() -> list[tuple[Any, Any]]:
    """At the reference, with a token mean of 1.5 and alpha 2: ln 2 + 2 x 1.5."""
    side = replies_of([-3.0, -6.0], [2, 4], [-3.0, -6.0])
    return [(ob.dpo_nll(ReferencedPairs(side, side), alpha=2.0).mean(), LN2 + 2 * 1.5)]


def psi_po() -> list[tuple[Any, Any]]:
    """h = 1.7, psi 0.9 and 0.4, tau 0.5: (1.7 - 0.5 / 0.5)^2 = 0.49."""
    pairs = ReferencedPairs(replies_of([-1.0], [1], [-2.0]), replies_of([-2.7], [1], [-2.0]))
    psi = PairValues(torch.tensor([0.9]).double(), torch.tensor([0.4]).double())
    return [(ob.psi_po(pairs, psi=psi, tau=0.5), [0.49])]


def simpo_hinge() -> list[tuple[Any, Any]]:
    """Means -0.85 and -0.9, beta 2, gamma 1: 1 - 0.1 + 1 = 1.9; with beta 100, 1 - 5 + 1 is below zero."""
    pairs = Pairs(replies_of([-8.5], [10], [0.0]), replies_of([-1.8], [2], [0.0]))
    return [(ob.simpo_hinge(pairs), [1.9]), (ob.simpo_hinge(pairs, beta=100.0), [0.0])]


def bco() -> list[tuple[Any, Any]]:
    """Rewards 0.3 of a good, -0.1 of a bad reply, so the middle is 0.1: both -log sigmoid(0.2) = 0.598139."""
    replies = replies_of([-2.0, -6.0], [1, 1], [-5.0, -5.0])
    empty = RunningMean.empty(replies.logp)
    rows, (good, bad) = ob.bco(replies, desirable=torch.tensor([True, False]), state=(empty, empty))
    return [(rows, [0.5981388694] * 2), (good.mean, 0.3), (bad.mean, -0.1)]


def plackett_luce() -> list[tuple[Any, Any]]:
    """With two replies it is dpo: the second is better, rho 0.5 and -1, so log(1 + exp(0.1 x 1.5))."""
    t = torch.tensor
    two = ReferencedRanked(
        logp=t([[-1.5, -3.0]]), ref=t([[-2.0, -2.0]]), length=t([[1, 1]]), utility=t([[0.2, 0.7]])
    )
    return [(ob.plackett_luce(two, beta=0.1), [math.log1p(math.exp(0.15))])]


def dft() -> list[tuple[Any, Any]]:
    """Two equally likely tokens: half the cross-entropy, 0.5 ln 2."""
    return [(ob.dft(Tokens(**one_reply(torch.full((3,), 0.5).log()))), [0.5 * LN2] * 3)]


def sequence_clip() -> list[tuple[Any, Any]]:
    """A = 2: log-ratios 0.1 and -0.3 give -2 exp(-0.2) = -1.637462; 0.2 and 0.2 are clipped to -2 x 1.2."""
    old, worked = torch.tensor([-1.0, -1.0]), []
    for moved, want in (([0.1, -0.3], -2 * math.exp(-0.2)), ([0.2, 0.2], -2.4)):
        new = one_reply(old + torch.tensor(moved))
        worked.append((ob.sequence_clip(Rollouts(**new, old=old, advantage=torch.full((2,), 2.0))), [want]))
    return worked


def temporal_difference() -> list[tuple[Any, Any]]:
    """V 0.5, 0.2, rewards 0, 1, gamma 0.9: (0.5 - 0.18)^2 and (0.2 - 1)^2."""
    zero, value = torch.zeros(2), torch.tensor([0.5, 0.2])
    owner = torch.zeros(2, dtype=torch.long)
    values = Values(value=value, old=zero, returns=zero, owner=owner, num_replies=1)
    rows = ob.temporal_difference(values, reward=torch.tensor([0.0, 1.0]), gamma=0.9)
    return [(rows, [0.32**2, 0.8**2])]


def kl_k3_corrected_loss() -> list[tuple[Any, Any]]:
    """Ratio exp(0.5), d = -1: exp(0.5) (e - 2) = 1.184262."""
    logp = torch.tensor([-2.0])
    rollouts = ReferencedRollouts(**one_reply(logp), old=logp - 0.5, ref=logp + 1, advantage=torch.ones(1))
    return [(ob.kl_k3_corrected_loss(rollouts), [math.exp(0.5) * (math.e - 2)])]


# --- the table --------------------------------------------------------------------------------------------

RATIOS = ("joint", "length")
MARGINS = ("prompt", "joint", "length")
REWARDS = ("shift",)

PAIRS = [
    Case(
        objective=ob.dpo,
        vectors=("dpo", "dpo_beta_0_5", "psipo_logit_equals_soft_dpo"),
        at_reference=LN2,
        signs="-+",
        ignores=MARGINS,
        optimum="dpo_infinite_bt_data",
    ),
    Case(
        objective=ob.cdpo,
        vectors=("cdpo",),
        at_reference=LN2,
        ignores=MARGINS,
        optimum="cdpo_four_arms_numeric",
    ),
    Case(
        objective=ob.robust_dpo,
        vectors=("robust_dpo",),
        at_reference=LN2,
        signs="-+",
        ignores=MARGINS,
        optimum="two_arm_optima",
    ),
    Case(objective=ob.dpo_nll, by_hand=dpo_nll),
    Case(
        objective=ob.dpo_hinge,
        vectors=("dpo_hinge",),
        at_reference=1.0,
        signs="-+",
        ignores=MARGINS,
        optimum="two_arm_optima",
    ),
    Case(
        objective=ob.ipo, vectors=("ipo_sum",), at_reference=25.0, ignores=MARGINS, optimum="ipo_fixed_point"
    ),
    Case(objective=ob.ipo_token_mean, vectors=("ipo_token_mean",), at_reference=25.0, ignores=("joint",)),
    Case(
        objective=ob.psi_po,
        by_hand=psi_po,
        ignores=MARGINS,
        optimum="psipo_general",
    ),
    Case(
        objective=ob.ln_dpo,
        vectors=("ln_dpo",),
        at_reference=LN2,
        signs="-+",
        ignores=("joint",),
        optimum="length_normalised_optima",
    ),
    Case(
        objective=ob.r_dpo,
        vectors=("r_dpo", "r_dpo_wrong_sign_variant"),
        signs="-+",
        ignores=("prompt", "joint"),
        optimum="r_dpo_optimum",
    ),
    Case(objective=ob.dpop, vectors=("dpop",), at_reference=LN2, signs="-+", ignores=RATIOS),
    Case(
        objective=ob.dpop_outside,
        vectors=("dpop_outside_variant",),
        at_reference=LN2,
        signs="-+",
        ignores=RATIOS,
    ),
    Case(objective=ob.apo_zero, vectors=("apo_zero",), at_reference=1.0, signs="-+", ignores=RATIOS),
    Case(objective=ob.apo_down, vectors=("apo_down",), at_reference=1.0, signs="0+", ignores=RATIOS),
    Case(
        objective=ob.exo_pair,
        vectors=("exo_pref",),
        at_reference=-LN2 - (math.log(1 - 1e-3) + math.log(1e-3)) / 2,
        ignores=MARGINS,
        optimum="two_arm_optima",
    ),
    Case(
        objective=ob.exo_pair_unnormalised,
        vectors=("exo_pref_official_code",),
        at_reference=5 - LN2,
        ignores=MARGINS,
    ),
    Case(objective=ob.nca_pair, vectors=("nca_pair",), at_reference=2 * LN2, signs="0+", ignores=RATIOS),
    Case(
        objective=ob.bco_pair,
        vectors=("bco_pair_no_shift",),
        signs="-+",
        ignores=RATIOS,
        coupled=True,
        frozen="the running mean",
    ),
    Case(objective=ob.sppo_hard, vectors=("sppo_hard",), at_reference=500_000.0, ignores=RATIOS),
    Case(
        objective=ob.aot,
        vectors=("aot_paired",),
        signs="-+",
        at_reference=LN2,
        ignores=("prompt", "length"),
        coupled=True,
    ),
    Case(
        objective=ob.aot_unpaired,
        vectors=("aot_unpaired",),
        signs="-+",
        at_reference=LN2,
        ignores=RATIOS,
        coupled=True,
    ),
    Case(
        objective=ob.discopop,
        vectors=("discopop", "discopop_beta_0_1"),
        at_reference=(LN2 + 1) / 2,
        ignores=MARGINS,
        optimum="discopop_landscape",
    ),
    Case(
        objective=ob.f_dpo,
        vectors=("f_dpo_js", "f_dpo_forward_kl", "f_dpo_alpha_0_3"),
        at_reference=LN2,
        signs="-+",
        ignores=RATIOS,
        optimum="f_regularised_optima",
    ),
    Case(
        objective=ob.wpo,
        vectors=("wpo", "wpo_clamped"),
        signs="-+",
        frozen="the weight",
        optimum="dpo_infinite_bt_data",
    ),
    Case(objective=ob.modpo, vectors=("modpo",), signs="-+", ignores=MARGINS, optimum="modpo_optimum"),
]

CONTRAST = [
    Case(
        objective=ob.dpo_reference_free,
        vectors=("dpo_reference_free",),
        signs="-+",
        ignores=("prompt", "length"),
    ),
    Case(objective=ob.simpo, vectors=("simpo",), signs="-+", optimum="length_normalised_optima"),
    Case(
        objective=ob.simpo_hinge,
        by_hand=simpo_hinge,
        signs="-+",
    ),
    Case(objective=ob.cpo, vectors=("cpo_token_mean_nll",), signs="-+", optimum="two_arm_optima"),
    Case(
        objective=ob.cpo_sequence_nll,
        vectors=("cpo_sequence_nll",),
        signs="-+",
        ignores=("length",),
        optimum="two_arm_optima",
    ),
    Case(objective=ob.orpo, vectors=("orpo",), signs="-+", optimum="two_arm_optima"),
    Case(
        objective=ob.slic_hf,
        vectors=("slic_hf",),
        signs="-+",
        ignores=("prompt", "length"),
        optimum="two_arm_optima",
    ),
    Case(
        objective=ob.slic_hf_chosen,
        vectors=("slic_hf_reg_on_chosen",),
        signs="-+",
        ignores=("length",),
        optimum="two_arm_optima",
    ),
    Case(objective=ob.cpl, vectors=("cpl",), ignores=("length",), optimum="two_arm_optima"),
]

REPLIES = [
    Case(
        objective=ob.kto,
        vectors=("kto",),
        ignores=RATIOS,
        coupled=True,
        frozen="the reference point",
        optimum="kto_direction",
    ),
    Case(objective=ob.apo_zero_unpaired, vectors=("kto",), at_reference=0.5, ignores=RATIOS),
    Case(
        objective=ob.bco,
        by_hand=bco,
        ignores=RATIOS,
        coupled=True,
        frozen="the running means",
    ),
    Case(objective=ob.safe_align, vectors=("safe_align_blue_red",)),
]

RANKINGS = [
    Case(objective=ob.rrhf, vectors=("rrhf",)),
    Case(objective=ob.cyclealign, vectors=("cyclealign",)),
    Case(objective=ob.plackett_luce, by_hand=plackett_luce, ignores=MARGINS),
    Case(objective=ob.pro, vectors=("pro",)),
    Case(objective=ob.stable_alignment, vectors=("stable_alignment",)),
    Case(objective=ob.exo_ranked, vectors=("exo_rw",), ignores=MARGINS, optimum="exo_rw_optimum"),
    Case(
        objective=ob.info_nca, vectors=("info_nca_reward",), ignores=MARGINS, optimum="dpo_infinite_bt_data"
    ),
    Case(objective=ob.nca, vectors=("nca_reward",), ignores=RATIOS, optimum="nca_reward_beta1_Kinf"),
    Case(objective=ob.cpl_ranked, vectors=("cpl_scores_dense",), ignores=("length",)),
    Case(objective=ob.grao, vectors=("grao_loss",)),
]

REWARD_MODELS = [
    Case(
        objective=ob.bradley_terry,
        vectors=(
            "rm_bradley_terry",
            "rm_bradley_terry_margin",
            "rm_bradley_terry_centered",
            "rm_bradley_terry_label_smoothing",
            "rm_soft_label_pm",
        ),
        signs="-+",
        ignores=REWARDS,
        optimum="reward_model_optima",
    ),
    Case(objective=ob.bradley_terry_scored, vectors=("rm_bt_plus_pointwise_mse",)),
    Case(
        objective=ob.reward_hinge,
        vectors=("rm_margin_hinge", "value_learning_margin"),
        signs="-+",
        ignores=REWARDS,
    ),
    Case(
        objective=ob.kwise_bradley_terry,
        vectors=("rm_kwise_pairs_instructgpt",),
        ignores=REWARDS,
        optimum="reward_model_optima",
    ),
    Case(
        objective=ob.plackett_luce_reward,
        vectors=("rm_plackett_luce",),
        ignores=REWARDS,
        optimum="reward_model_optima",
    ),
    Case(objective=ob.listwise_top1, vectors=("rm_top1_listwise",), ignores=REWARDS),
    Case(
        objective=ob.reward_regression,
        vectors=("rm_regression_mse", "value_learning_mse_eq2"),
        optimum="reward_model_optima",
    ),
    Case(objective=ob.segment_preference, vectors=("rm_christiano_segments",), ignores=REWARDS),
    Case(objective=ob.step_bce, vectors=("prm_step_bce", "prm_step_bce_soft_mc")),
    Case(objective=ob.step_mse, vectors=("prm_step_bce_soft_mc",)),
]

IMITATION = [
    Case(
        objective=ob.sft,
        vectors=("sft_reductions", "sft_completion_only_ce", "coh_masked_loss"),
        signs="-",
        optimum="distillation_optimum",
    ),
    Case(
        objective=ob.dft,
        by_hand=dft,
        signs="-",
        frozen="the weight",
    ),
    Case(
        objective=ob.f_dpg,
        vectors=("f_dpg_gradient",),
        ignores=("length",),
        coupled=True,
        frozen="the weight",
        optimum="f_dpg_optimum",
    ),
]

POLICY_GRADIENT = [
    Case(objective=ob.reinforce, vectors=("rloo_reinforce_loss",), optimum="rlhf_kl_regularised"),
    Case(
        objective=ob.ppo_clip,
        vectors=("ppo_clip_policy_loss", "grpo_loss", "dapo_loss_clip_higher", "grpo_on_policy_identity"),
    ),
    Case(objective=ob.ppo_dual_clip, vectors=("ppo_dual_clip",)),
    Case(objective=ob.gspo_clip, vectors=("gspo_sequence_ratio",)),
    Case(objective=ob.sequence_clip, by_hand=sequence_clip),
    Case(objective=ob.clipped_value, vectors=("ppo_clipped_value_loss",)),
    Case(
        objective=ob.temporal_difference,
        by_hand=temporal_difference,
        frozen="the bootstrapped target",
    ),
    Case(objective=ob.kl_k2_loss, vectors=("kl_estimators",), at_reference=0.0, ignores=("joint",)),
    Case(
        objective=ob.kl_k3_corrected_loss,
        by_hand=kl_k3_corrected_loss,
        at_reference=0.0,
    ),
    Case(
        objective=ob.kl_k3_forward_loss,
        vectors=("kl_estimators", "grpo_loss"),
        at_reference=0.0,
        ignores=("joint",),
    ),
    Case(
        objective=ob.kl_k3_value_k2_gradient_loss,
        vectors=("kl_estimators",),
        at_reference=0.0,
        ignores=("joint",),
        frozen="the difference of k3 and k2",
    ),
]

DISTILLATION = [
    Case(
        objective=ob.generalised_jsd,
        vectors=("gkd_generalised_jsd", "gkd_temperature"),
        ignores=("prompt",),
        optimum="distillation_optimum",
    ),
    Case(
        objective=ob.teacher_forward_kl,
        vectors=("dckd",),
        ignores=("prompt",),
        optimum="distillation_optimum",
    ),
    Case(
        objective=ob.adpa_advantage, vectors=("adpa",), ignores=("prompt",), optimum="adpa_one_step_optimum"
    ),
]

CASES = [*PAIRS, *CONTRAST, *REPLIES, *RANKINGS, *REWARD_MODELS, *IMITATION, *POLICY_GRADIENT, *DISTILLATION]
