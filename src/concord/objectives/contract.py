"""What it takes to be an objective, and how the rest of the library reads one.

An objective is a function from one record to unreduced losses:

    def name(record: Record, *, inputs: Tensor, knobs: float = default) -> PerRow

* The type of its first parameter says what it needs (see `NEEDS`): what it cannot see, it cannot use.
* A keyword whose type is a tensor or a record is an *input*, supplied by whoever calls, under one of the
  names of the closed list `INPUTS`. Every other keyword is a *knob*, with the paper's default.
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
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from torch import Tensor

from concord import tensors
from concord.tensors import Record

__all__ = ["INPUTS", "NEEDS", "Card", "coupled", "describe"]

INPUTS: Mapping[str, str] = {
    "collision": "mean over tokens of log sum_v pi(v)^2, for both sides: a per-token statistic of the policy",
    "desirable": "whether each reply is a good one",
    "margins": "rewards of both sides under the other objectives",
    "mismatched": "the same replies behind other rows' prompts, without gradient",
    "old": "log-probability under the policy that sampled",
    "preference": "probability that the chosen side is the better one; 0.5 for a tie",
    "psi": "expected Psi(probability of winning) of both sides",
    "reward": "reward of each token or reply",
    "scores": "absolute annotations of both sides",
    "shown": "which reply of each row is the demonstration",
    "state": "what is carried from step to step",
    "strength": "by how much the chosen side is better, in units of reward",
    "target": "what is to be imitated or matched",
    "teacher": "the teacher's next-token logits at the same positions",
    "teacher_ref": "logits of the teacher's own reference at the same positions",
    "utility": "what each reply is worth",
    "value": "the critic's value of the state before each token",
}
"""The closed list of inputs: a keyword of an objective that is not a knob has one of these names."""

NEEDS: Mapping[type | str, str] = {
    tensors.Replies: "replies",
    tensors.ReferencedReplies: "replies, reference",
    tensors.Pairs: "pairs",
    tensors.ReferencedPairs: "pairs, reference",
    tensors.Ranked: "rankings",
    tensors.ReferencedRanked: "rankings, reference",
    tensors.RewardPairs: "pairs, reward head",
    tensors.RankedRewards: "rankings, reward head",
    tensors.Rewards: "scored replies, reward head",
    tensors.Steps: "steps, step head",
    tensors.Tokens: "tokens",
    tensors.ReferencedTokens: "tokens, reference",
    tensors.Rollouts: "samples, advantages",
    tensors.Values: "samples, value head",
    tensors.Groups: "rewards by prompt",
    "Logits": "next-token logits",
}
"""What the type of an objective's first parameter asks of the data and of the models."""

F = TypeVar("F", bound=Callable[..., Any])
_LABEL = re.compile(r"^([a-z_][a-z_0-9]*): (.*)$")
_FIXED = ("paper", "minimises", "optimum", "departs", "peers")


def coupled(objective: F) -> F:
    """Mark an objective whose rows depend on each other: it must see all rows of a step at once."""
    objective.coupled = True  # type: ignore[attr-defined]
    return objective


@dataclass(frozen=True, kw_only=True)
class Card:
    """All that an objective says of itself, read from its signature and docstring."""

    name: str
    summary: str
    equation: str
    needs: str
    inputs: tuple[str, ...]
    knobs: Mapping[str, Any]
    coupled: bool
    notes: Mapping[str, str] = field(default_factory=dict[str, str])


def _is_input(hint: Any) -> bool:
    """Whether a keyword of this type is an input: a tensor, a record, or a union or tuple with one."""
    if get_origin(hint) is not None:
        return any(_is_input(arg) for arg in get_args(hint))
    return isinstance(hint, type) and (issubclass(hint, Tensor | Record) or hasattr(hint, "array_type"))


def _needs(hint: Any) -> str:
    if hint is tensors.Logits:
        return NEEDS["Logits"]
    return NEEDS.get(hint, "values")


def describe(objective: Callable[..., Any]) -> Card:
    """Read an objective's signature and docstring into a card."""
    hints = get_type_hints(objective)
    first, *keywords = inspect.signature(objective).parameters.values()
    summary, equation, notes = _read_docstring(inspect.getdoc(objective) or "")
    return Card(
        name=objective.__name__,
        summary=summary,
        equation=equation,
        needs=_needs(hints[first.name]),
        inputs=tuple(p.name for p in keywords if _is_input(hints[p.name])),
        knobs={p.name: p.default for p in keywords if not _is_input(hints[p.name])},
        coupled=getattr(objective, "coupled", False),
        notes=notes,
    )


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
