"""Named methods that are not one function but a choice from the menus, as data.

A policy-gradient method names an advantage, one or more weighted objectives, and a reduction for each.
Other methods are weighted sums over more than one stream of data (chosen replies, pretraining text).
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, get_type_hints

from torch import Tensor

from concord.errors import NotFoundError, RecipeError, explain, nearest
from concord.tensors import Record, Scalar

__all__ = ["METHODS", "Method", "Term", "find_method", "method_loss", "weighted_sum"]


@dataclass(frozen=True, kw_only=True)
class Term:
    """One part of a loss: weight times the reduction of an objective on a stream of data."""

    objective: str
    reduction: str = "row_mean"
    weight: float = 1.0
    on: str = "samples"
    knobs: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True)
class Method:
    """A choice from the menus: how rewards are shaped, what the advantage is, which terms are summed."""

    summary: str
    paper: str
    terms: tuple[Term, ...]
    advantage: str = ""
    shaping: str = ""
    keep: str = ""
    minimises: str = ""
    optimum: str = ""
    departs: str = ""
    peers: str = ""


_CLIP = Term(objective="ppo_clip", reduction="token_mean")
_K3 = "kl_k3_forward_loss"

METHODS: Mapping[str, Method] = {
    "reinforce": Method(
        summary="Plain policy gradient on whitened rewards to go.",
        paper="Williams 1992",
        terms=(Term(objective="reinforce", reduction="token_mean"),),
        advantage="reward_to_go",
        shaping="kl_shaped_rewards",
        minimises="-E[reward] + beta KL(policy, reference)",
        optimum="ref exp(r / beta)",
    ),
    "ppo": Method(
        summary="Clipped policy gradient with a critic: RLHF without pretraining text.",
        paper="Ouyang et al. 2022, arXiv 2203.02155; Schulman et al. 2017, arXiv 1707.06347",
        terms=(_CLIP, Term(objective="clipped_value", reduction="token_mean", weight=0.1, on="values")),
        advantage="gae",
        shaping="kl_shaped_rewards",
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
        advantage="gae",
        shaping="kl_shaped_rewards",
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
        advantage="gae",
        shaping="kl_shaped_rewards",
        minimises="-E[reward] + beta KL(policy, reference), and forward KL(pretraining text, policy)",
    ),
    "rloo": Method(
        summary="REINFORCE on whole replies, each compared with the others to its prompt.",
        paper="Ahmadian et al. 2024, arXiv 2402.14740",
        terms=(Term(objective="reinforce", reduction="sequence_sum"),),
        advantage="leave_one_out",
        shaping="kl_shaped_rewards",
        minimises="-E[reward] + beta KL(policy, reference)",
        optimum="ref exp(r / beta)",
        departs="the KL is part of the reward that the baseline is taken of; OpenRLHF adds it afterwards",
    ),
    "rloo_clip": Method(
        summary="RLOO with a clipped ratio of whole replies, for more than one step a sample.",
        paper="Ahmadian et al. 2024, arXiv 2402.14740, as TRL has it",
        terms=(Term(objective="sequence_clip"),),
        advantage="leave_one_out",
        shaping="kl_shaped_rewards",
        minimises="-E[reward] + beta KL(policy, reference)",
        optimum="ref exp(r / beta)",
        peers="TRL's RLOO",
    ),
    "reinforce_pp": Method(
        summary="REINFORCE++: rewards to go, whitened over all tokens of the step, with PPO's clip.",
        paper="Hu 2025, arXiv 2501.03262",
        terms=(_CLIP,),
        advantage="reward_to_go",
        shaping="kl_shaped_rewards",
        minimises="-E[reward] + beta KL(policy, reference)",
        optimum="ref exp(r / beta)",
        departs="whitening by prompt or by micro-batch would make another method of it",
        peers="OpenRLHF's reinforce",
    ),
    "reinforce_pp_baseline": Method(
        summary="REINFORCE++ with the group mean as baseline, whitened over the step, not by group.",
        paper="Hu 2025, arXiv 2501.03262",
        terms=(_CLIP, Term(objective="kl_k2_loss", reduction="token_mean", weight=0.001)),
        advantage="centred_whitened",
        minimises="-E[reward] + beta KL(policy, reference)",
        peers="OpenRLHF's reinforce_baseline",
    ),
    "grpo": Method(
        summary="Group-relative policy optimisation: rewards standardised by group, k3 penalty in the loss.",
        paper="Shao et al. 2024, arXiv 2402.03300, Eq. 3 and 4",
        terms=(
            Term(objective="ppo_clip", reduction="sequence_mean"),
            Term(objective=_K3, reduction="sequence_mean", weight=0.04),
        ),
        advantage="standardised",
        minimises="-E[standardised reward] + beta KL(reference, policy): the forward KL, by k3's gradient",
        optimum="without the division by the deviation: beta ref / (nu - r)",
        peers="TRL's loss_type grpo; TRL's default is DAPO's token mean, with beta 0",
    ),
    "dr_grpo": Method(
        summary="GRPO done right: no deviation, and a fixed length as denominator.",
        paper="Liu et al. 2025, arXiv 2503.20783",
        terms=(Term(objective="ppo_clip", reduction="fixed_length_mean"),),
        advantage="centred",
        minimises="-E[reward]",
        peers="TRL's loss_type dr_grpo",
    ),
    "dapo": Method(
        summary="Clip-higher, token mean, groups of equal rewards sampled anew, a soft penalty for length.",
        paper="Yu et al. 2025, arXiv 2503.14476, Eq. 8 to 13",
        terms=(Term(objective="ppo_clip", reduction="token_mean", knobs={"low": 0.2, "high": 0.28}),),
        advantage="standardised",
        shaping="overlong_penalty",
        keep="informative",
        minimises="-E[standardised reward]",
        peers="TRL's and verl's default reduction",
    ),
    "gspo": Method(
        summary="Group sequence policy optimisation: GRPO's advantage with one ratio a reply.",
        paper="Zheng et al. 2025, arXiv 2507.18071",
        terms=(Term(objective="gspo_clip", reduction="sequence_mean"),),
        advantage="standardised",
        minimises="-E[standardised reward]",
        peers="TRL's importance_sampling_level sequence",
    ),
    "chain_of_hindsight": Method(
        summary="Imitate replies behind words that say how good they are; ask for good ones afterwards.",
        paper="Liu et al. 2023, arXiv 2302.02676",
        terms=(
            Term(objective="sft", reduction="token_mean"),
            Term(objective="sft", reduction="token_mean", weight=0.01, on="pretrain"),
        ),
        minimises="forward KL of p(reply | feedback)",
        departs="the paper's weight of pretraining text is larger than its code's 0.01",
    ),
    "mah_dpo": Method(
        summary="Multi-action-head DPO: one language-model head for each dimension of preference.",
        paper="2025, arXiv 2510.01167",
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
        paper="Gao et al. 2025, arXiv 2502.17927, Eq. 6",
        terms=(
            Term(objective="sft", reduction="token_mean", on="chosen"),
            Term(objective="teacher_forward_kl", reduction="row_mean", weight=0.5, on="chosen_logits"),
            Term(objective="teacher_forward_kl", reduction="row_mean", weight=0.5, on="rejected_logits"),
        ),
        minimises="forward KL(chosen, policy) and forward KL(teacher, policy)",
    ),
    "adpa": Method(
        summary="Advantage-guided distillation: imitate the chosen, follow a tuned teacher's lead.",
        paper="Gao et al. 2025, arXiv 2502.17927, Eq. 9 and 10",
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
"""Methods by name. Weights and knobs are the paper's; what is not said is the objective's own default."""


def _supplied(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the given values that a function has keywords for."""
    return {name: given[name] for name in inspect.signature(function).parameters if name in given}


def method_loss(
    method: Method,
    streams: Mapping[str, Any],
    *,
    inputs: Mapping[str, Any] | None = None,
    resolve: Callable[[str], Callable[..., Any]],
) -> Scalar:
    """Evaluate a method on one step: streams are the records its terms speak of, by name.

    `inputs` are tensors and settings for objectives and reductions, by the name of their keyword, or by
    `stream.name` where streams differ. `resolve` finds a function by its name in the menus.
    """
    total = None
    for term in method.terms:
        if term.on not in streams:
            raise RecipeError(
                explain(f"no stream {term.on!r} for {term.objective}", accepted=", ".join(streams))
            )
        here = dict(inputs or {})
        here |= {k.split(".")[1]: v for k, v in here.items() if k.startswith(f"{term.on}.")}
        objective, reduction = resolve(term.objective), resolve(term.reduction)
        record = streams[term.on]
        loss = objective(record, **_supplied(objective, {**here, **term.knobs}))
        takes_record = "tokens" in inspect.signature(reduction).parameters
        reduce = partial(reduction, loss, *([record] if takes_record else []))
        part = term.weight * reduce(**_supplied(reduction, here))
        total = part if total is None else total + part
    assert total is not None, "a method has at least one term"
    return total


def weighted_sum(*terms: tuple[float, Callable[..., Tensor]]) -> Callable[..., Tensor]:
    """An objective that is a weighted sum of others on the same record, e.g. (1.0, dpo), (0.2, simpo).

    It needs what its most demanding term needs. Knobs are bound beforehand with functools.partial; inputs
    are passed on to the terms that take them.
    """
    functions = [getattr(term, "func", term) for _, term in terms]
    needs = [next(iter(get_type_hints(function).values())) for function in functions]
    widest = max(needs, key=lambda kind: len(kind.__mro__))
    for kind, function in zip(needs, functions, strict=True):
        if not issubclass(widest, kind):
            raise RecipeError(
                explain(
                    f"{function.__name__} cannot be summed with the others",
                    found=f"{kind.__name__} beside {widest.__name__}",
                    accepted="objectives on one kind of record",
                )
            )

    def objective(record: Record, **inputs: Any) -> Tensor:
        return sum((w * term(record, **_supplied(term, inputs)) for w, term in terms), start=0.0)  # type: ignore[return-value]

    objective.__annotations__ = {"record": widest, "return": Tensor}
    objective.__name__ = "weighted_sum"
    return objective


def find_method(name: str) -> Method:
    """The named method, or an error that lists those there are."""
    if name not in METHODS:
        raise NotFoundError(explain("no such method", found=name, accepted=nearest(name, METHODS)))
    return METHODS[name]
