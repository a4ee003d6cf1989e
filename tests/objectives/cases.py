"""One row for each objective: where its worked value is, and the facts that the contract suite checks.

A fact that is not listed is not claimed. Read a row as a summary of how the loss behaves:

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

import concord.objectives as ob

LN2 = math.log(2)


@dataclass(frozen=True, kw_only=True)
class Case:
    objective: Callable[..., Any]
    vectors: tuple[str, ...] = ()
    by_hand: str = ""
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
    Case(objective=ob.dpo_nll, by_hand="ln 2 + alpha * 1.5 at the reference, token mean 1.5"),
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
        by_hand="(1.7 - (0.9 - 0.4) / 0.5)^2 = 0.49",
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
        by_hand="means -0.85 and -0.9 at beta 2, gamma 1: 1 - 0.1 + 1 = 1.9",
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
        by_hand="rewards 0.3, -0.1; means 0.3, -0.1, shift 0.1: both -log sigmoid(0.2) = 0.598139",
        ignores=RATIOS,
        coupled=True,
        frozen="the running means",
    ),
    Case(objective=ob.safe_align, vectors=("safe_align_blue_red",)),
]

RANKINGS = [
    Case(objective=ob.rrhf, vectors=("rrhf",)),
    Case(objective=ob.cyclealign, vectors=("cyclealign",)),
    Case(
        objective=ob.plackett_luce, by_hand="with two replies it is dpo", ignores=MARGINS, at_reference=None
    ),
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
        by_hand="two equally likely tokens: half the cross-entropy, 0.5 ln 2",
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
    Case(objective=ob.sequence_clip, by_hand="A 2, log-ratios 0.1 and -0.3: -2 exp(-0.2) = -1.637462"),
    Case(objective=ob.clipped_value, vectors=("ppo_clipped_value_loss",)),
    Case(
        objective=ob.temporal_difference,
        by_hand="V 0.5, 0.2; r 0, 1; gamma 0.9: (0.5 - 0.18)^2, (0.2 - 1)^2",
        frozen="the bootstrapped target",
    ),
    Case(objective=ob.kl_k2_loss, vectors=("kl_estimators",), at_reference=0.0, ignores=("joint",)),
    Case(
        objective=ob.kl_k3_corrected_loss,
        by_hand="ratio exp(0.5), d = -1: exp(0.5) (e - 2) = 1.184262",
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
