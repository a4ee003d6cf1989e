"""Named methods that are not one function but a choice from the menus, as data.

A policy-gradient method says how rewards are shaped, what the advantage is, and which objectives, reduced
how, are summed. Other methods are weighted sums over more than one stream of data (chosen replies,
pretraining text). `running` evaluates any of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from concord.errors import NotFoundError, explain, nearest

__all__ = ["METHODS", "Method", "Step", "Term", "find_method"]


@dataclass(frozen=True)
class Step:
    """One function of the menus on the way from rewards to advantages, with its knobs."""

    name: str
    knobs: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class Term:
    """One part of a loss: weight times the reduction of an objective on a stream of data.

    `knobs` are those of the objective and of the reduction.
    """

    objective: str
    reduction: str = "row_mean"
    weight: float = 1.0
    on: str = "samples"
    knobs: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class Method:
    """A choice from the menus. For methods on own samples, in this order:

    `keep` says which groups are used, `bonus` adds to each reply's reward what its length earns, `shaping`
    makes token rewards of it, `advantage` turns them into advantages step by step, `terms` are the loss.
    """

    summary: str
    paper: str
    terms: tuple[Term, ...]
    keep: tuple[Step, ...] = ()
    bonus: tuple[Step, ...] = ()
    shaping: tuple[Step, ...] = ()
    advantage: tuple[Step, ...] = ()
    minimises: str = ""
    optimum: str = ""
    departs: str = ""
    peers: str = ""


_CLIP = Term(objective="ppo_clip", reduction="token_mean")
_K3 = "kl_k3_forward_loss"
_KL = (Step("kl_shaped_rewards"),)
_INSTRUCT_KL = (Step("kl_shaped_rewards", {"beta": 0.02}),)

METHODS: Mapping[str, Method] = {
    "reinforce": Method(
        summary="Plain policy gradient on whitened rewards to go.",
        paper="Williams 1992",
        terms=(Term(objective="reinforce", reduction="token_mean"),),
        advantage=(Step("reward_to_go"), Step("whiten")),
        shaping=_KL,
        minimises="-E[reward] + beta KL(policy, reference)",
        optimum="ref exp(r / beta)",
    ),
    "ppo": Method(
        summary="Clipped policy gradient with a critic: RLHF without pretraining text.",
        paper="Ouyang et al. 2022, arXiv 2203.02155; Schulman et al. 2017, arXiv 1707.06347",
        terms=(_CLIP, Term(objective="clipped_value", reduction="token_mean", weight=0.1, on="values")),
        advantage=(Step("gae"), Step("whiten")),
        shaping=_INSTRUCT_KL,
        minimises="-E[reward] + beta KL(policy, reference)",
        optimum="ref exp(r / beta)",
    ),
    "ppo_dual": Method(
        summary="PPO with the loss of bad tokens bounded as well.",
        paper="Ye et al. 2019, arXiv 1912.09729",
        terms=(
            Term(objective="ppo_dual_clip", reduction="token_mean"),
            Term(objective="clipped_value", reduction="token_mean", weight=0.1, on="values"),
        ),
        advantage=(Step("gae"), Step("whiten")),
        shaping=_INSTRUCT_KL,
        minimises="-E[reward] + beta KL(policy, reference)",
        optimum="ref exp(r / beta)",
    ),
    "ppo_ptx": Method(
        summary="PPO mixed with pretraining text, against the alignment tax.",
        paper="Ouyang et al. 2022, arXiv 2203.02155, Eq. 2",
        terms=(
            _CLIP,
            Term(objective="clipped_value", reduction="token_mean", weight=0.1, on="values"),
            Term(objective="sft", reduction="token_mean", weight=27.8, on="pretrain"),
        ),
        advantage=(Step("gae"), Step("whiten")),
        shaping=_INSTRUCT_KL,
        minimises="-E[reward] + beta KL(policy, reference), and forward KL(pretraining text, policy)",
    ),
    "rloo": Method(
        summary="REINFORCE on whole replies, each compared with the others to its prompt.",
        paper="Ahmadian et al. 2024, arXiv 2402.14740",
        terms=(Term(objective="reinforce", reduction="sequence_sum"),),
        advantage=(Step("leave_one_out"),),
        shaping=_KL,
        minimises="-E[reward] + beta KL(policy, reference)",
        optimum="ref exp(r / beta)",
        departs="the KL is part of the reward that the baseline is taken of; OpenRLHF adds it afterwards",
    ),
    "rloo_clip": Method(
        summary="RLOO with a clipped ratio of whole replies, for more than one step a sample.",
        paper="Ahmadian et al. 2024, arXiv 2402.14740, as TRL has it",
        terms=(Term(objective="sequence_clip"),),
        advantage=(Step("leave_one_out"),),
        shaping=_KL,
        minimises="-E[reward] + beta KL(policy, reference)",
        optimum="ref exp(r / beta)",
        peers="TRL's RLOO",
    ),
    "reinforce_pp": Method(
        summary="REINFORCE++: rewards to go, whitened over all tokens of the step, with PPO's clip.",
        paper="Hu 2025, arXiv 2501.03262",
        terms=(_CLIP,),
        advantage=(Step("reward_to_go"), Step("whiten", {"ddof": 0})),
        shaping=_KL,
        minimises="-E[reward] + beta KL(policy, reference)",
        optimum="ref exp(r / beta)",
        departs="whitening by prompt or by micro-batch would make another method of it",
        peers="OpenRLHF's reinforce",
    ),
    "reinforce_pp_baseline": Method(
        summary="REINFORCE++ with the group mean as baseline, whitened over the step, not by group.",
        paper="Hu 2025, arXiv 2501.03262",
        terms=(_CLIP, Term(objective="kl_k2_loss", reduction="token_mean", weight=0.001)),
        advantage=(Step("centred"), Step("whiten", {"ddof": 0})),
        minimises="-E[reward] + beta KL(policy, reference)",
        departs="the weight of the penalty is ours: the paper gives none",
        peers="OpenRLHF's reinforce_baseline",
    ),
    "grpo": Method(
        summary="Group-relative policy optimisation: rewards standardised by group, k3 penalty in the loss.",
        paper="Shao et al. 2024, arXiv 2402.03300, Eq. 3 and 4",
        terms=(
            Term(objective="ppo_clip", reduction="sequence_mean"),
            Term(objective=_K3, reduction="sequence_mean", weight=0.04),
        ),
        advantage=(Step("standardised"),),
        minimises="-E[standardised reward] + beta KL(reference, policy): the forward KL, by k3's gradient",
        optimum="without the division by the deviation: beta ref / (nu - r)",
        peers="TRL's grpo with use_bias_correction_kl off; on, its penalty is kl_k3_corrected_loss. "
        "TRL's default is DAPO's token mean, with beta 0",
    ),
    "dr_grpo": Method(
        summary="GRPO done right: no deviation, and a fixed length as denominator.",
        paper="Liu et al. 2025, arXiv 2503.20783",
        terms=(Term(objective="ppo_clip", reduction="fixed_length_mean"),),
        advantage=(Step("centred"),),
        minimises="-E[reward]",
        peers="TRL's loss_type dr_grpo",
    ),
    "dapo": Method(
        summary="Clip-higher, token mean, groups of equal rewards sampled anew, a soft penalty for length.",
        paper="Yu et al. 2025, arXiv 2503.14476, Eq. 8 to 13",
        terms=(Term(objective="ppo_clip", reduction="token_mean", knobs={"low": 0.2, "high": 0.28}),),
        advantage=(Step("standardised"),),
        bonus=(Step("overlong_penalty"),),
        keep=(Step("informative"),),
        minimises="-E[standardised reward]",
        peers="TRL's and verl's default reduction",
    ),
    "gspo": Method(
        summary="Group sequence policy optimisation: GRPO's advantage with one ratio a reply.",
        paper="Zheng et al. 2025, arXiv 2507.18071",
        terms=(Term(objective="gspo_clip", reduction="sequence_mean"),),
        advantage=(Step("standardised"),),
        minimises="-E[standardised reward]",
        peers="TRL's importance_sampling_level sequence",
    ),
    "chain_of_hindsight": Method(
        summary="Imitate replies behind words that say how good they are; ask for good ones afterwards.",
        paper="Liu et al. 2023, arXiv 2302.02676",
        terms=(
            Term(objective="sft", reduction="token_mean", on="hindsight"),
            Term(objective="sft", reduction="token_mean", weight=0.01, on="pretrain"),
        ),
        minimises="forward KL of p(reply | feedback)",
        departs="one reply a sequence, and no token of the past is hidden: the paper also puts both replies "
        "of a pair into one, and hides 15% of the tokens, so that the second is not copied from the first; "
        "its weight of pretraining text is larger than its code's 0.01",
    ),
    "mah_dpo": Method(
        summary="Multi-action-head DPO: one language-model head for each dimension of preference.",
        paper="Multi-objective alignment of LLMs 2025, arXiv 2510.01167",
        terms=(Term(objective="dpo", reduction="group_mean", on="pairs"),),
        minimises="value learning through each head, with reverse KL(policy, reference)",
        departs="the mean over heads of each head's mean, not the mean over pairs",
    ),
    "red_instruct": Method(
        summary="Blue-red alignment: the mean over safe replies plus the mean over harmful ones.",
        paper="Bhardwaj and Poria 2023, arXiv 2308.09662",
        terms=(Term(objective="safe_align", reduction="label_sum", on="replies"),),
        minimises="forward KL(safe, policy), and contrast bounded by a threshold",
    ),
    "dckd": Method(
        summary="Dual-constrained distillation: imitate the chosen, and match a tuned teacher on both sides.",
        paper="Gao et al. 2025, arXiv 2502.17927",
        terms=(
            Term(objective="sft", reduction="token_mean", on="chosen"),
            Term(objective="teacher_forward_kl", reduction="row_mean", weight=0.5, on="chosen_logits"),
            Term(objective="teacher_forward_kl", reduction="row_mean", weight=0.5, on="rejected_logits"),
        ),
        departs="the paper tunes the weight of the teacher on a grid; 0.5 is ours",
        minimises="forward KL(chosen, policy) and forward KL(teacher, policy)",
    ),
    "adpa": Method(
        summary="Advantage-guided distillation: imitate the chosen, follow a tuned teacher's lead.",
        paper="Gao et al. 2025, arXiv 2502.17927",
        terms=(
            Term(objective="sft", reduction="token_mean", on="chosen"),
            Term(objective="adpa_advantage", reduction="row_mean", on="sampled_logits"),
        ),
        minimises="forward KL(chosen, policy), less the teacher's advantage",
        optimum="p_w / (nu - gamma A), nu by normalisation",
    ),
    "gkd": Method(
        summary="Generalised distillation on a mixture of own samples and data.",
        paper="Agarwal et al. 2023, arXiv 2306.13649",
        terms=(Term(objective="generalised_jsd", reduction="row_mean", on="logits"),),
        minimises="generalised JSD(teacher, policy)",
        optimum="the teacher",
    ),
}
"""Methods by name. Weights and knobs are the paper's where it gives them, and `departs` says where not; what
is not said is the objective's own default."""


def find_method(name: str) -> Method:
    """The named method, or an error that lists those there are."""
    if name not in METHODS:
        raise NotFoundError(
            explain(
                "no such method",
                found=name,
                accepted=nearest(name, METHODS),
                do="see `concord methods --kind method`",
            )
        )
    return METHODS[name]
