"""Defaults and weights, written down by hand from the papers: the catalogue is generated, this is not."""

from typing import Any

import pytest

import concord.objectives as ob

KNOBS: dict[str, dict[str, Any]] = {
    "dpo": {"beta": 0.1},
    "cdpo": {"beta": 0.1, "label_smoothing": 0.1},
    "robust_dpo": {"beta": 0.1, "flip_rate": 0.1},
    "dpo_nll": {"beta": 0.1, "alpha": 1.0},
    "dpo_hinge": {"beta": 0.1},
    "ipo": {"tau": 0.1},
    "ipo_token_mean": {"tau": 0.1},
    "psi_po": {"tau": 0.1},
    "ln_dpo": {"beta": 2.0},
    "r_dpo": {"beta": 0.1, "alpha": 0.05},
    "dpop": {"beta": 0.3, "lam": 50.0},
    "dpop_outside": {"beta": 0.3, "lam": 50.0},
    "apo_zero": {"beta": 0.1},
    "apo_down": {"beta": 0.1},
    "exo_pair": {"beta": 0.1, "label_smoothing": 1e-3},
    "exo_pair_unnormalised": {"beta": 0.1, "log_epsilon": -10.0},
    "nca_pair": {"beta": 0.1},
    "bco_pair": {"beta": 0.1},
    "sppo_hard": {"beta": 1e-3},
    "aot": {"beta": 0.1, "label_smoothing": 0.0},
    "aot_unpaired": {"beta": 0.1, "label_smoothing": 0.0},
    "discopop": {"beta": 0.05, "tau": 0.05},
    "f_dpo": {"divergence": "js", "alpha": 0.5, "beta": 0.1},
    "wpo": {"beta": 0.01, "max_weight": 1.0},
    "modpo": {"weight": 0.5, "beta": 0.1},
    "dpo_reference_free": {"beta": 0.1},
    "simpo": {"beta": 2.0, "gamma": 1.0},
    "simpo_hinge": {"beta": 2.0, "gamma": 1.0},
    "cpo": {"beta": 0.1, "alpha": 1.0},
    "cpo_sequence_nll": {"beta": 0.1, "alpha": 1.0},
    "orpo": {"lam": 0.1},
    "slic_hf": {"delta": 1.0, "lam": 0.1},
    "slic_hf_chosen": {"delta": 1.0, "lam": 0.1},
    "cpl": {"alpha": 0.1, "lam": 0.5},
    "kto": {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0},
    "apo_zero_unpaired": {"beta": 0.1},
    "bco": {"beta": 0.1},
    "safe_align": {"blue_weight": 1.0, "red_weight": 0.1, "threshold": 1.0},
    "rrhf": {"rank_weight": 1.0},
    "cyclealign": {"rank_weight": 1.0},
    "plackett_luce": {"beta": 0.1},
    "pro": {"sft_weight": 0.05, "temperature": True},
    "stable_alignment": {"margin": 10.0, "ratio": 0.2, "scale": 7.0},
    "exo_ranked": {"beta": 0.5, "beta_r": 0.5},
    "info_nca": {"beta": 0.01, "alpha": 0.5},
    "nca": {"beta": 0.01, "alpha": 0.5},
    "cpl_ranked": {"alpha": 0.1, "lam": 0.5},
    "grao": {"beta": 0.5, "lam": 0.6, "include_shown": True},
    "bradley_terry": {"label_smoothing": 0.0, "center_rewards_coefficient": 0.0},
    "bradley_terry_scored": {"alpha": 0.1},
    "reward_hinge": {"margin": 1.0},
    "segment_preference": {"error_rate": 0.1},
    "f_dpg": {"generator": "kl", "alpha": 0.5, "window": 1024},
    "ppo_clip": {"low": 0.2, "high": 0.2},
    "ppo_dual_clip": {"low": 0.2, "high": 0.2, "c": 3.0},
    "gspo_clip": {"low": 3e-4, "high": 4e-4},
    "sequence_clip": {"low": 0.2, "high": 0.2},
    "clipped_value": {"clip": 0.2},
    "temporal_difference": {"gamma": 1.0},
    "generalised_jsd": {"beta": 0.5, "temperature": 0.9},
    "adpa_advantage": {"gamma": 1.0},
    "standardised": {"eps": 1e-4, "ddof": 1},
    "whiten": {"shift": True, "ddof": 1, "eps": 1e-8},
    "gae": {"gamma": 1.0, "lam": 0.95},
    "kl_shaped_rewards": {"beta": 0.05, "estimator": "k1"},
    "overlong_penalty": {"max_length": 20480, "cache": 4096},
    "easy_to_hard_rewards": {"scheme": "min", "start": 0.5, "bonus": 0.25},
    "adaptive_kl_ziegler": {"target": 6.0, "k": 0.1},
    "ensemble_uncertainty_weighted": {"lam": 0.5},
    "topk_exact_kl": {"k": 500},
}

# (weight, objective, reduction, stream) of each term.
TERMS: dict[str, list[tuple[float, str, str, str]]] = {
    "reinforce": [(1, "reinforce", "token_mean", "samples")],
    "ppo": [(1, "ppo_clip", "token_mean", "samples"), (0.1, "clipped_value", "token_mean", "values")],
    "ppo_dual": [
        (1, "ppo_dual_clip", "token_mean", "samples"),
        (0.1, "clipped_value", "token_mean", "values"),
    ],
    "ppo_ptx": [
        (1, "ppo_clip", "token_mean", "samples"),
        (0.1, "clipped_value", "token_mean", "values"),
        (27.8, "sft", "token_mean", "pretrain"),
    ],
    "rloo": [(1, "reinforce", "sequence_sum", "samples")],
    "rloo_clip": [(1, "sequence_clip", "row_mean", "samples")],
    "reinforce_pp": [(1, "ppo_clip", "token_mean", "samples")],
    "reinforce_pp_baseline": [
        (1, "ppo_clip", "token_mean", "samples"),
        (0.001, "kl_k2_loss", "token_mean", "samples"),
    ],
    "grpo": [
        (1, "ppo_clip", "sequence_mean", "samples"),
        (0.04, "kl_k3_forward_loss", "sequence_mean", "samples"),
    ],
    "dr_grpo": [(1, "ppo_clip", "fixed_length_mean", "samples")],
    "dapo": [(1, "ppo_clip", "token_mean", "samples")],
    "gspo": [(1, "gspo_clip", "sequence_mean", "samples")],
    "chain_of_hindsight": [(1, "sft", "token_mean", "hindsight"), (0.01, "sft", "token_mean", "pretrain")],
    "mah_dpo": [(1, "dpo", "group_mean", "pairs")],
    "red_instruct": [(1, "safe_align", "label_sum", "replies")],
    "dckd": [
        (1, "sft", "token_mean", "chosen"),
        (0.5, "teacher_forward_kl", "row_mean", "chosen_logits"),
        (0.5, "teacher_forward_kl", "row_mean", "rejected_logits"),
    ],
    "adpa": [(1, "sft", "token_mean", "chosen"), (1, "adpa_advantage", "row_mean", "sampled_logits")],
    "gkd": [(1, "generalised_jsd", "row_mean", "logits")],
}

STEPS: dict[str, tuple[str, ...]] = {
    "reinforce": ("kl_shaped_rewards", "reward_to_go", "whiten"),
    "ppo": ("kl_shaped_rewards", "gae", "whiten"),
    "ppo_dual": ("kl_shaped_rewards", "gae", "whiten"),
    "ppo_ptx": ("kl_shaped_rewards", "gae", "whiten"),
    "rloo": ("kl_shaped_rewards", "leave_one_out"),
    "rloo_clip": ("kl_shaped_rewards", "leave_one_out"),
    "reinforce_pp": ("kl_shaped_rewards", "reward_to_go", "whiten"),
    "reinforce_pp_baseline": ("centred", "whiten"),
    "grpo": ("standardised",),
    "dr_grpo": ("centred",),
    "dapo": ("informative", "overlong_penalty", "standardised"),
    "gspo": ("standardised",),
}


@pytest.mark.parametrize("name", KNOBS)
def test_defaults(name: str) -> None:
    assert ob.describe(getattr(ob, name)).knobs.items() >= KNOBS[name].items()


def test_terms_of_methods() -> None:
    written = {
        name: [(term.weight, term.objective, term.reduction, term.on) for term in method.terms]
        for name, method in ob.METHODS.items()
    }
    assert written == TERMS


def test_steps_of_methods() -> None:
    written = {
        name: tuple(step.name for step in (*m.keep, *m.bonus, *m.shaping, *m.advantage))
        for name, m in ob.METHODS.items()
    }
    assert {name: steps for name, steps in written.items() if steps} == STEPS


def test_settings_of_methods() -> None:
    assert ob.METHODS["dapo"].terms[0].knobs == {"low": 0.2, "high": 0.28}
    for name in ("ppo", "ppo_dual", "ppo_ptx"):
        assert ob.METHODS[name].shaping[0].knobs == {"beta": 0.02}
    for name in ("reinforce_pp", "reinforce_pp_baseline"):
        assert ob.METHODS[name].advantage[-1].knobs == {"ddof": 0}
