"""Named methods that are not one function but a choice from the menus, as data.

A policy-gradient method says how rewards are shaped, what the advantage is, and which objectives, reduced
how, are summed. Other methods are weighted sums over more than one stream of data (chosen replies,
pretraining text). `method_advantage` and `method_loss` evaluate any of them.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, get_type_hints

from torch import Tensor

from concord import tensors
from concord.errors import NOTHING, InputError, NotFoundError, RecipeError, explain, nearest
from concord.objectives.contract import Card, describe
from concord.tensors import Groups, PerToken, Record, ReplyIndex, Scalar, Tokens

__all__ = [
    "METHODS",
    "Method",
    "Resolve",
    "Step",
    "Term",
    "find_method",
    "method_advantage",
    "method_loss",
    "weighted_sum",
]

Resolve = Callable[[str], Callable[..., Any]]
"""Finds a function of the menus by its name."""


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
            Term(objective="sft", reduction="token_mean"),
            Term(objective="sft", reduction="token_mean", weight=0.01, on="pretrain"),
        ),
        minimises="forward KL of p(reply | feedback)",
        departs="the paper's weight of pretraining text is larger than its code's 0.01",
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


class _Caller:
    """Calls functions of the menus with those given values that each takes, and remembers what was taken."""

    def __init__(self, given: Mapping[str, Any] | None, resolve: Resolve) -> None:
        self.given, self.resolve = dict(given or {}), resolve
        self.taken: set[str] = set()

    def __call__(self, name: str, *args: Any, knobs: Mapping[str, Any], on: str = "", **values: Any) -> Any:
        """`values` come from the pipeline; what is given goes before a method's own `knobs`."""
        function = self.resolve(name)
        takes = [*inspect.signature(function).parameters][1:]
        if unknown := sorted(set(knobs) - set(takes)):
            raise RecipeError(
                explain(
                    f"{name} has no knob {unknown[0]!r}",
                    found=unknown[0],
                    accepted=nearest(unknown[0], takes),
                    do="correct the name, or leave it out for the default",
                )
            )
        chosen = {}
        for key, value in self.given.items():
            stream, _, bare = key.rpartition(".")
            if bare in takes and stream in ("", on):
                chosen[bare] = value
                self.taken.add(key)
        return function(*args, **{**knobs, **chosen, **{k: v for k, v in values.items() if k in takes}})

    def check_all_taken(self) -> None:
        """Refuse what was given and nothing took: a misspelt setting must not pass for a set one."""
        if unused := sorted(set(self.given) - self.taken):
            raise RecipeError(
                explain(
                    f"no part of the method takes {unused[0]!r}",
                    found=", ".join(unused),
                    accepted=", ".join(sorted(self.taken)) or "nothing beyond the records",
                    do="correct the name; `concord methods NAME` lists the inputs and knobs of each part",
                )
            )


def method_advantage(
    method: Method,
    tokens: Tokens,
    *,
    reward: Tensor,
    group: ReplyIndex,
    inputs: Mapping[str, Any] | None = None,
    resolve: Resolve,
) -> PerToken:
    """From the rewards of sampled replies to the advantage of each token, by a method's steps.

    `group` says which prompt each reply answers. `inputs` are what steps need beyond that, by keyword: the
    critic's `value`, or another setting for a knob. All replies of a step must be given at once: advantages
    compare them.
    """
    if not bool(tokens.length.all()):
        raise InputError(
            explain(
                "a sampled reply is empty, so its reward has no token to stand at",
                found=f"{int((tokens.length == 0).sum())} empty of {len(tokens)} replies",
                accepted="replies of at least one token: the stop token counts",
                do="give an empty reply its stop token, or drop it together with its reward",
            )
        )
    if not len(tokens) == len(reward) == len(group):
        raise InputError(
            explain(
                "rewards, prompts and replies differ in number",
                found=f"{len(reward)} rewards, {len(group)} prompts' places, {len(tokens)} replies",
                accepted="one reward and one place for each reply",
                do="drop replies that were not scored from all three",
            )
        )
    if not reward.is_floating_point():
        reward = reward.float()
    call = _Caller(inputs, resolve)
    for step in method.bonus:
        reward = reward + call(step.name, tokens.length, knobs=step.knobs)
    values = tokens.at_last(reward)
    for step in method.shaping:
        # Shapers take a reply's reward and place it themselves.
        values = call(step.name, tokens, knobs=step.knobs, reward=reward)
    for step in method.advantage:
        kind = next(iter(get_type_hints(resolve(step.name)).values()))
        if kind is Groups:
            groups = Groups(tokens.sum(values), group, int(group.max()) + 1)
            values = tokens.spread(call(step.name, groups, knobs=step.knobs))
        elif kind is Tokens:
            values = call(step.name, tokens, knobs=step.knobs, reward=values)
        else:
            values = call(step.name, values, knobs=step.knobs)
    call.check_all_taken()
    return values.detach()


def method_loss(
    method: Method,
    streams: Mapping[str, Any],
    *,
    inputs: Mapping[str, Any] | None = None,
    resolve: Resolve,
) -> Scalar:
    """Evaluate a method on one step: streams are the records its terms speak of, by name.

    `inputs` are tensors and settings for objectives and reductions, by the name of their keyword, or by
    `stream.name` where streams differ; they go before the method's own settings.
    """
    call, total = _Caller(inputs, resolve), None
    for term in method.terms:
        if term.on not in streams:
            raise RecipeError(
                explain(
                    f"no stream {term.on!r} for {term.objective}",
                    found=", ".join(streams),
                    accepted=", ".join(sorted({t.on for t in method.terms})),
                    do="give a record for every stream that the method speaks of",
                )
            )
        part = term.weight * _term_loss(term, streams[term.on], call)
        total = part if total is None else total + part
    assert total is not None, "a method has at least one term"
    call.check_all_taken()
    return total


def _term_loss(term: Term, record: Any, call: _Caller) -> Scalar:
    for_reduction = inspect.signature(call.resolve(term.reduction)).parameters
    own = {k: v for k, v in term.knobs.items() if k in for_reduction}
    rest = {k: v for k, v in term.knobs.items() if k not in own}
    loss = call(term.objective, record, knobs=rest, on=term.on)
    if isinstance(loss, tuple):
        raise RecipeError(
            explain(
                f"{term.objective} carries state, which a term has no place for",
                found=term.objective,
                accepted="objectives without the input `state`",
                do="call the objective itself, or weighted_sum, and keep the state it returns",
            )
        )
    by_token = "tokens" in for_reduction
    return call(term.reduction, loss, *([record] if by_token else []), knobs=own, on=term.on)


def weighted_sum(**terms: tuple[float, Callable[..., Any]]) -> Callable[..., Any]:
    """An objective that is a weighted sum of named others on one record: `dpo=(1.0, dpo), nll=(0.2, simpo)`.

    It needs what its most demanding term needs, is coupled where one of them is, and takes all their inputs.
    Knobs are bound beforehand with functools.partial. Where a term carries state, `state` is a mapping
    from the term's name to its state, and comes back after the losses.
    """
    if not terms:
        raise RecipeError(
            explain(
                "a sum of nothing", found=NOTHING, accepted="one term or more", do="name=(weight, objective)"
            )
        )
    cards = {name: describe(term) for name, (_, term) in terms.items()}
    widest = _common_record(cards)
    known = {taken for card in cards.values() for taken in card.inputs} - {"state"}
    with_state = {name for name, card in cards.items() if "state" in card.inputs}

    def summed(record: Record, *, state: Mapping[str, Any] | None = None, **inputs: Any) -> Any:
        total: Any = 0.0
        after: dict[str, Any] = {}
        if unknown := sorted(set(inputs) - known):
            raise RecipeError(
                explain(
                    f"no term of the sum takes {unknown[0]!r}",
                    found=unknown[0],
                    accepted=nearest(unknown[0], known) if known else "the record alone",
                    do="bind knobs with functools.partial when the sum is made; correct the name of an input",
                )
            )
        for name, (weight, term) in terms.items():
            taken = {k: v for k, v in inputs.items() if k in cards[name].inputs}
            if name in with_state:
                loss, after[name] = term(record, state=(state or {})[name], **taken)
            else:
                loss = term(record, **taken)
            if isinstance(total, Tensor) and loss.shape != total.shape:
                raise RecipeError(
                    explain(
                        f"{name} has another number of losses than the terms before it",
                        found=f"{tuple(loss.shape)} beside {tuple(total.shape)}",
                        accepted="losses of one kind of row: pairs, replies or tokens",
                        do="give it a term of its own, with its own reduction, in a Method",
                    )
                )
            total = total + weight * loss
        return (total, after) if with_state else total

    hints, parameters = {"record": widest}, [inspect.Parameter("record", inspect.Parameter.POSITIONAL_ONLY)]
    for name, (_, term) in terms.items():
        function = term.func if isinstance(term, partial) else term
        own = inspect.signature(function).parameters
        for taken in cards[name].inputs:
            if taken not in hints:
                hints[taken] = get_type_hints(function)[taken]
                parameters.append(own[taken].replace(kind=inspect.Parameter.KEYWORD_ONLY))
    summed.__name__ = " + ".join(f"{weight:g} {cards[name].name}" for name, (weight, _) in terms.items())
    summed.__annotations__ = {**hints, "return": Tensor}
    summed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    summed.coupled = any(card.coupled for card in cards.values())  # type: ignore[attr-defined]
    return summed


def _common_record(cards: Mapping[str, Card]) -> Any:
    """The plainest kind of record that every term can read."""
    wanted = {card.record for card in cards.values()}
    kinds = [kind for kind in vars(tensors).values() if isinstance(kind, type) and issubclass(kind, Record)]
    fit = [kind for kind in kinds if all(isinstance(w, type) and issubclass(kind, w) for w in wanted)]
    if len(wanted) > 1 and not fit:
        raise RecipeError(
            explain(
                f"{' and '.join(cards)} cannot be summed",
                found=" beside ".join(sorted({card.needs for card in cards.values()})),
                accepted="objectives on one kind of record",
                do="give each kind of record a term of its own in a Method",
            )
        )
    return wanted.pop() if len(wanted) == 1 else min(fit, key=lambda kind: len(kind.__mro__))


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
