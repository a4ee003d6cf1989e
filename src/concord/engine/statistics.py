"""What can be asked of the logits of predicted tokens: functions that go into the chunk loop.

Each takes a `Chunk` and gives one number (or one row) a token. They are differentiable as far as their
mathematics is; `measured` makes one that is only looked at, at the cost of no graph. A teacher goes through
the loop beside the student: its hidden states are all that is kept of it, and its logits exist for one
chunk at a time.

    student(layout=..., beside={"teacher": Teacher(teacher.head, its_states)},
            functions={"loss": on_logits(generalised_jsd, beta=0.5), "entropy": measured(entropy)})
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from concord.engine.head import Chunk, ChunkFunction
from concord.errors import InputError, Said, explain
from concord.objectives import divergences
from concord.tensors import Owner, PerToken, TopK

__all__ = [
    "Given",
    "Teacher",
    "best",
    "entropy",
    "is_measured",
    "lead",
    "logps",
    "mean_logit",
    "measured",
    "on_logits",
    "top",
]


def logps(chunk: Chunk) -> PerToken:
    """The log-probability of each label."""
    return chunk.logits.gather(-1, chunk.labels[:, None])[:, 0] - torch.logsumexp(chunk.logits, -1)


def entropy(chunk: Chunk) -> PerToken:
    """Entropy of the next token, in nats."""
    return divergences.entropy(chunk.logits)


def mean_logit(chunk: Chunk) -> PerToken:
    """Mean of the logits of all tokens that are not ruled out: what dashboards show as `logits/chosen`."""
    ruled_out = chunk.logits == -torch.inf
    return chunk.logits.masked_fill(ruled_out, 0.0).sum(-1) / (~ruled_out).sum(-1)


def best(chunk: Chunk) -> Owner:
    """The likeliest token, the first of equals: what greedy decoding would have said."""
    return chunk.logits.argmax(-1)


def lead(chunk: Chunk) -> PerToken:
    """How far the label stands above the likeliest other token, in nats; infinite where there is no other.

    It is small where greedy decoding nearly ties.
    """
    label = chunk.labels[:, None]
    others = chunk.logits.scatter(-1, label, -torch.inf)
    return chunk.logits.gather(-1, label)[:, 0] - others.amax(-1)


def top(k: int) -> Callable[[Chunk], TopK]:
    """The k likeliest tokens and their log-probabilities: what is kept of a teacher."""
    if k < 1:
        wrong, accepted = "there is nothing to keep of a teacher", "k of 1 or more"
        raise InputError(explain(wrong, found=k, accepted=accepted, do="ask for some tokens"))

    def likeliest(chunk: Chunk) -> TopK:
        return divergences.topk(chunk.logits, k=min(k, chunk.logits.shape[-1]))

    return likeliest


def on_logits(objective: Callable[..., Any], **knobs: Any) -> ChunkFunction:
    """A chunk function of a function of logits, such as those of `objectives.distillation` and `divergences`.

    Its keyword inputs without a default (`teacher`, `teacher_ref`) are what goes through the loop beside
    the logits under these names; `knobs` are the rest.
    """
    keywords = inspect.signature(objective).parameters.values()
    inputs = [
        one.name
        for one in keywords
        if one.kind is one.KEYWORD_ONLY and one.default is one.empty and one.name not in knobs
    ]

    def of_chunk(chunk: Chunk) -> Tensor | TopK:
        if missing := [name for name in inputs if name not in chunk.beside]:
            wrong = f"{getattr(objective, '__name__', objective)} needs what does not go through the loop"
            accepted = f"beside= with {', '.join(inputs)}"
            do = "give a Teacher or a Given of each"
            raise InputError(explain(wrong, found=Said("no " + ", ".join(missing)), accepted=accepted, do=do))
        _check_vocabularies(chunk, inputs)
        return objective(chunk.logits, **{name: chunk.beside[name] for name in inputs}, **knobs)

    return of_chunk


def _check_vocabularies(chunk: Chunk, inputs: list[str]) -> None:
    """Teacher and student must mean the same token by the same number."""
    for name in inputs:
        other = chunk.beside[name]
        if isinstance(other, Tensor) and other.ndim == 2 and other.shape != chunk.logits.shape:
            wrong = "teacher and student do not speak of the same tokens"
            found = Said(f"logits {list(chunk.logits.shape)} of the student, {list(other.shape)} of {name}")
            accepted = "the same tokens and the same vocabulary"
            do = "take a teacher with the student's tokenizer"
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))


def measured(function: ChunkFunction) -> ChunkFunction:
    """The same function without gradient: for metrics."""

    @wraps(function)
    def looked_at(chunk: Chunk) -> Tensor | TopK:
        with torch.no_grad():
            return function(Chunk(chunk.logits.detach(), chunk.labels, chunk.beside))

    looked_at.measured = True  # type: ignore[attr-defined]
    return looked_at


def is_measured(function: ChunkFunction) -> bool:
    """Whether a chunk function has no gradient."""
    return bool(getattr(function, "measured", False))


@dataclass(frozen=True)
class Given:
    """What is known of each predicted token beforehand, in the order of the targets."""

    value: Tensor | TopK

    def __len__(self) -> int:
        """How many tokens it knows of."""
        return len(self.value)

    def at(self, part: slice) -> Tensor | TopK:
        """What belongs to some of the tokens."""
        return self.value.rows(part) if isinstance(self.value, TopK) else self.value[part]


@dataclass(frozen=True)
class Teacher:
    """Another model's head, and its hidden states for the same targets; its layout may differ."""

    head: Callable[[Tensor], Tensor]
    states: Tensor

    def __len__(self) -> int:
        """How many tokens it knows of."""
        return len(self.states)

    def at(self, part: slice) -> Tensor:
        """The teacher's logits for some of the tokens, in float32, without gradient."""
        with torch.no_grad():
            logits = self.head(self.states[part].detach())
            return logits if logits.dtype == torch.float64 else logits.float()
