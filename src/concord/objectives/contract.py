"""What it takes to be an objective, and how the rest of the library reads one.

An objective is a function from one record to unreduced losses:

    def name(record: Record, *, inputs: Tensor, knobs: float = default) -> PerRow

* The type of its first parameter says what it needs (see `NEEDS`): what it cannot see, it cannot use.
* A keyword whose type is a tensor or a record is an *input*, supplied by whoever calls, under one of the
  names of the closed list `INPUTS`. Every other keyword is a *knob*, with the paper's default; which numbers
  make sense for it stands in `RANGES`.
* An objective whose rows depend on each other is marked `@coupled`, and is then given all rows of an
  optimizer step at once. All others may be evaluated a few rows at a time.
* What is carried from step to step comes as the input `state`, and is returned after the losses.

The docstring says, in this order: one line; the equation; then `label: text` lines. The labels are `paper`
(required), one for each input and each knob (required), `minimises` (the divergence that is reduced),
`optimum` (where it is known), `departs` (each departure from the paper, with its reason) and `peers` (what
others call by this name). `describe` reads all of that back.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from torch import Tensor

from concord import tensors
from concord.errors import NOTHING, RecipeError, Said, explain, nearest
from concord.tensors import Record, RunningMean

__all__ = [
    "INPUTS",
    "NEEDS",
    "RANGES",
    "Card",
    "Input",
    "Source",
    "check_inputs",
    "check_objective",
    "counts",
    "coupled",
    "describe",
    "initial_state",
    "per_token",
    "range_of",
]

Source: TypeAlias = Literal["item", "policy", "sampler", "feedback", "critic", "teacher", "state"]


@dataclass(frozen=True)
class Input:
    """Where an input comes from, and what it is."""

    source: Source
    meaning: str


INPUTS: Mapping[str, Input] = {
    "collision": Input(
        "policy", "mean over tokens of log sum_v pi(v)^2, for both sides: a per-token statistic"
    ),
    "desirable": Input("item", "whether each reply is a good one"),
    "log_target": Input("feedback", "log of an unnormalised target density of each reply"),
    "margins": Input("feedback", "rewards of both sides under the other objectives"),
    "mismatched": Input("policy", "the same replies behind other rows' prompts, without gradient"),
    "old": Input("sampler", "log-probability under the policy that sampled"),
    "preference": Input("item", "probability that the chosen side is the better one; 0.5 for a tie"),
    "psi": Input("feedback", "expected Psi(probability of winning) of both sides"),
    "reward": Input("feedback", "reward of each token"),
    "scores": Input("item", "absolute annotations of both sides"),
    "shown": Input("item", "which reply of each row is the demonstration"),
    "state": Input("state", "what is carried from step to step; `initial_state` makes the first"),
    "strength": Input("item", "by how much the chosen side is better, in units of reward"),
    "target": Input("item", "a reply of the supervised data, with its likelihood under the policy"),
    "teacher": Input("teacher", "the teacher's next-token logits at the same positions"),
    "teacher_ref": Input("teacher", "logits of the teacher's own reference at the same positions"),
    "utility": Input("item", "what each reply is worth"),
}
"""The closed list of inputs: a keyword of an objective that is not a knob has one of these names."""

RANGES: Mapping[str, str] = {
    "alpha": "[0, inf)",
    "beta": "(0, inf)",
    "beta_r": "(0, inf)",
    "blue_weight": "[0, inf)",
    "c": "(1, inf)",
    "center_rewards_coefficient": "[0, inf)",
    "clip": "(0, inf]",
    "cpl.alpha": "(0, inf)",
    "cpl.lam": "[0, 1]",
    "cpl_ranked.alpha": "(0, inf)",
    "cpl_ranked.lam": "[0, 1]",
    "delta": "[0, inf)",
    "desirable_weight": "[0, inf)",
    "error_rate": "[0, 1)",
    "exo_pair.label_smoothing": "(0, 0.5)",
    "f_dpg.alpha": "(0, 1)",
    "f_dpo.alpha": "(0, 1]",
    "flip_rate": "[0, 0.5)",
    "gamma": "[0, inf)",
    "generalised_jsd.beta": "[0, 1]",
    "grao.beta": "[0, inf)",
    "high": "[0, inf)",
    "info_nca.alpha": "(0, inf)",
    "label_smoothing": "[0, 0.5)",
    "lam": "[0, inf)",
    "log_epsilon": "(-inf, 0)",
    "low": "[0, 1]",
    "margin": "[0, inf)",
    "max_weight": "(0, inf]",
    "nca.alpha": "(0, inf)",
    "rank_weight": "[0, inf)",
    "ratio": "[0, inf)",
    "red_weight": "[0, inf)",
    "scale": "(0, inf)",
    "sft_weight": "[0, inf)",
    "tau": "(0, inf)",
    "temperature": "(0, inf)",
    "temporal_difference.gamma": "[0, 1]",
    "threshold": "[0, inf]",
    "undesirable_weight": "[0, inf)",
    "weight": "(0, 1]",
    "window": "[1, inf)",
}
"""What a number may be as a knob of an objective: by its name, or as `objective.knob` where that one differs.

An end in round brackets is left out. What is a temperature or is divided by lies above 0. A weight of 0
takes a part of the loss away, one below 0 would turn it round. Labels half of which are wrong say nothing.
"""

NEEDS: Mapping[Any, str] = {
    tensors.Replies: "replies",
    tensors.ReferencedReplies: "replies, reference",
    tensors.Pairs: "pairs",
    tensors.ReferencedPairs: "pairs, reference",
    tensors.Ranked: "rankings",
    tensors.ReferencedRanked: "rankings, reference",
    tensors.RewardPairs: "pairs, reward head",
    tensors.RankedRewards: "rankings, reward head",
    tensors.Rewards: "scored replies, reward head",
    tensors.StepLogits: "steps, step head",
    tensors.Tokens: "tokens",
    tensors.ReferencedTokens: "tokens, reference",
    tensors.Rollouts: "samples, advantages",
    tensors.ReferencedRollouts: "samples, advantages, reference",
    tensors.Values: "samples, value head",
    tensors.Groups: "rewards by prompt",
    tensors.Logits: "next-token logits",
}
"""What the type of an objective's first parameter asks of the data and of the models."""

F = TypeVar("F", bound=Callable[..., Any])
_LABEL = re.compile(r"^([a-z_][a-z_0-9]*): (.*)$")


def coupled(objective: F) -> F:
    """Mark an objective whose rows depend on each other: it must see all rows of a step at once."""
    objective.coupled = True  # type: ignore[attr-defined]
    return objective


def per_token(objective: F) -> F:
    """Mark an objective whose rewards are those of a token: log-probabilities divided by length."""
    objective.per_token = True  # type: ignore[attr-defined]
    return objective


def counts(counter: Callable[..., Tensor]) -> Callable[[F], F]:
    """Say what a reduction divides by: `counter` takes what the reduction takes, and returns that count.

    A loop adds the counts of all parts of a step, over all ranks, and passes the sum as `total`.
    """

    def mark(reduction: F) -> F:
        reduction.counts = counter  # type: ignore[attr-defined]
        return reduction

    return mark


@dataclass(frozen=True, kw_only=True)
class Card:
    """All that an objective says of itself, read from its signature and docstring."""

    name: str
    summary: str
    equation: str
    needs: str
    record: Any
    inputs: tuple[str, ...]
    optional: tuple[str, ...]
    """Those of the inputs that may be left out."""
    knobs: Mapping[str, Any]
    coupled: bool
    per_token: bool = False
    notes: Mapping[str, str] = field(default_factory=dict[str, str])


def _is_input(hint: Any) -> bool:
    """Whether a keyword of this type is an input: a tensor, a record, or a union or tuple with one."""
    if get_origin(hint) is not None:
        return any(_is_input(arg) for arg in get_args(hint))
    return isinstance(hint, type) and (issubclass(hint, Tensor | Record) or hasattr(hint, "array_type"))


def describe(function: Callable[..., Any]) -> Card:
    """Read the signature and docstring of an objective, or of another function of the menus, into a card.

    Knobs that functools.partial has bound are shown with their bound values.
    """
    bound, function = (function.keywords, function.func) if isinstance(function, partial) else ({}, function)
    hints = get_type_hints(function)
    first, *keywords = inspect.signature(function).parameters.values()
    summary, equation, notes = _read_docstring(inspect.getdoc(function) or "")
    record = hints.get(first.name)
    inputs = [p for p in keywords if _is_input(hints.get(p.name)) and p.name not in bound]
    return Card(
        name=function.__name__,
        summary=summary,
        equation=equation,
        needs=NEEDS.get(record, "values"),
        record=record,
        inputs=tuple(p.name for p in inputs),
        optional=tuple(p.name for p in inputs if p.default is not p.empty),
        knobs={p.name: p.default for p in keywords if not _is_input(hints.get(p.name))} | bound,
        coupled=getattr(function, "coupled", False),
        per_token=getattr(function, "per_token", False),
        notes=notes,
    )


def range_of(objective: str, knob: str) -> str:
    """What a number may be as a knob of an objective; empty where nothing is known of it."""
    return RANGES.get(f"{objective}.{knob}", RANGES.get(knob, ""))


def check_objective(objective: Callable[..., Any]) -> Card:
    """The card of an objective that the loop can run: a known record, inputs of the closed list, a docstring.

    Also for objectives of a user's own, named as `package.module:function`.
    """
    try:
        card = describe(objective)
    except (AttributeError, NameError, TypeError, ValueError) as error:
        wrong, do = "an objective has no signature that can be read", "write it with def, and annotate it"
        accepted = "a function whose first parameter is a record"
        raise RecipeError(explain(wrong, found=Said(str(error)), accepted=accepted, do=do)) from error
    if card.needs == "values":
        kinds = ", ".join(sorted(kind.__name__ for kind in NEEDS))
        raise RecipeError(
            explain(
                f"the first parameter of {card.name} is no record",
                found=str(card.record),
                accepted=kinds,
                do="annotate it with the record that the loss speaks of",
            )
        )
    for name in card.inputs:
        if name not in INPUTS:
            raise RecipeError(
                explain(
                    f"nobody supplies the input {name!r} of {card.name}",
                    found=name,
                    accepted=nearest(name, INPUTS),
                    do="give it one of these names, or make it a knob with a plain type and a default",
                )
            )
    return card


def check_inputs(objective: Callable[..., Any], record: Any, inputs: Mapping[str, Any]) -> None:
    """Refuse inputs that an objective lacks, does not take, or that would broadcast against its record.

    Reads shapes only, so it costs nothing on a device; a loop calls it once a step.
    """
    card = check_objective(objective)
    function = objective.func if isinstance(objective, partial) else objective
    hints = get_type_hints(function)
    wrong = sorted(set(inputs) - set(card.inputs)) + sorted(
        set(card.inputs) - set(card.optional) - set(inputs)
    )
    if wrong:
        raise RecipeError(
            explain(
                f"{card.name} {'does not take' if wrong[0] in inputs else 'needs'} the input {wrong[0]!r}",
                found=", ".join(sorted(inputs)) or NOTHING,
                accepted=", ".join(card.inputs) or "the record alone",
                do="give the inputs that the objective names",
            )
        )
    rows = len(record.owner) if isinstance(record, tensors.Flat) else len(record)
    for name, value in inputs.items():
        fits = not isinstance(value, Tensor) or (
            isinstance(value, _plain(hints[name])) and len(value) == rows
        )
        if isinstance(value, tensors.PairValues):
            fits = len(value) == rows
        if not fits:
            shape = value.chosen.shape if isinstance(value, tensors.PairValues) else value.shape
            raise RecipeError(
                explain(
                    f"the input {name!r} of {card.name} does not fit its record",
                    found=f"shape {list(shape)}, {getattr(value, 'dtype', 'two sides')}",
                    accepted=f"{getattr(_plain(hints[name]), '__name__', name)} with {rows} rows",
                    do="give one value for each row of the record",
                )
            )


def _plain(hint: Any) -> Any:
    """The type of an input that may be left out, without its None."""
    return next((arg for arg in get_args(hint) if arg is not type(None)), hint) if get_origin(hint) else hint


def initial_state(objective: Callable[..., Any], *, like: Tensor) -> Any:
    """What an objective with a `state` is given at the first step; None for all others."""
    function = objective.func if isinstance(objective, partial) else objective
    hint = get_type_hints(function).get("state")
    if hint is None:
        return None
    count = len(get_args(hint))
    return tuple(RunningMean.empty(like) for _ in range(count)) if count else RunningMean.empty(like)


def _read_docstring(doc: str) -> tuple[str, str, dict[str, str]]:
    """Split a docstring into its first line, its equation and its labelled notes."""
    summary, _, rest = doc.partition("\n")
    equation: list[str] = []
    notes: dict[str, str] = {}
    label = ""
    for line in rest.splitlines():
        if match := _LABEL.match(line):
            label, notes[match[1]] = match[1], match[2]
        elif label and line.strip():
            notes[label] += " " + line.strip()
        elif not label:
            equation.append(line)
    return summary.strip(), "\n".join(equation).strip("\n"), notes
