"""What is to be predicted: for each trained token the hidden state that predicts it, its label, its reply.

Both layouts (`forest`, `rows`) carry the same targets, in the order of the lines, so the head does not know
them apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from concord.errors import InputError, Said, explain

__all__ = ["Ints", "Line", "Targets", "check_lines", "gathered", "reach"]

Ints: TypeAlias = npt.NDArray[np.integer[Any]]


def _no_spans() -> Ints:
    return np.zeros((0, 2), np.int64)


def _no_marks() -> Ints:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One sequence of token ids, the spans of it that are predicted, and the number of its reply."""

    ids: Ints
    """[T] one integer a token, none of them negative."""
    spans: Ints = field(default_factory=_no_spans)
    """[k, 2] from and to, ascending; no two overlap, and the first token is in none."""
    reply: int = 0
    """Counted from 0; lines of one number are one reply."""
    marks: Ints = field(default_factory=_no_marks)
    """[m] tokens whose own hidden states are asked for: the last of a reply, the ends of its steps."""


@dataclass(frozen=True)
class Targets:
    """Flat over all predicted tokens of a micro-batch, in the order of the lines."""

    where: Tensor
    """[N] the place of the hidden state that predicts each token."""
    labels: Tensor
    """[N] the token that is predicted."""
    owner: Tensor
    """[N] the reply it belongs to."""
    marks: Tensor | None = None
    """[M] the places of the hidden states of marked tokens, if any are marked."""
    mark_owner: Tensor | None = None
    """[M] the reply each belongs to."""

    def to(self, device: torch.device | str) -> "Targets":
        """The same targets on a device."""
        where, labels, owner = (part.to(device) for part in (self.where, self.labels, self.owner))
        if self.marks is None or self.mark_owner is None:
            return Targets(where, labels, owner)
        return Targets(where, labels, owner, self.marks.to(device), self.mark_owner.to(device))


def check_lines(lines: Sequence[Line]) -> None:
    """Refuse arrays that are none of tokens and places: some would be cut, rounded or wrapped in silence."""
    for number, line in enumerate(lines):
        parts = {"ids": (line.ids, 1), "spans": (line.spans, 2), "marks": (line.marks, 1)}
        for name, (part, dimensions) in parts.items():
            if fault := _fault(part, dimensions):
                accepted = f"an array of whole numbers, {'[k, 2]' if dimensions == 2 else '[n]'}"
                raise _no_line(f"the {name} of line {number}", fault, accepted)
        if len(line.ids) and line.ids.min() < 0:
            raise _no_line(f"the ids of line {number}", f"the token {line.ids.min()}", "none below zero")
        if not isinstance(line.reply, int | np.integer) or line.reply < 0:
            raise _no_line(f"the reply of line {number}", str(line.reply), "a whole number from 0 on")


def _fault(part: Any, dimensions: int) -> str:
    """What is wrong with an array of whole numbers, or of pairs of them, if anything is."""
    if not isinstance(part, np.ndarray):
        return type(part).__name__
    found: npt.NDArray[Any] = part
    if found.dtype.kind not in "iu":
        return f"an array of {found.dtype}"
    fits = found.ndim == dimensions and (dimensions == 1 or found.shape[1] == 2)
    return "" if fits else f"an array of the shape {list(found.shape)}"


def _no_line(what: str, found: str, accepted: str) -> InputError:
    do = "give ids as a tokenizer does, places counted in them, and replies numbered from 0"
    return InputError(explain(f"{what} cannot be laid out", found=Said(found), accepted=accepted, do=do))


def gathered(lines: Sequence[Line], places: Sequence[Ints]) -> Targets:
    """The targets of lines whose tokens lie at the given places."""
    where: list[Ints] = []
    labels: list[Ints] = []
    owner: list[int] = []
    sizes: list[int] = []
    for line, place in zip(lines, places, strict=True):
        before = 1
        for start, stop in line.spans.tolist():
            if not before <= start <= stop <= len(line.ids):
                raise _misplaced(line, start, stop)
            before = stop
            where.append(place[start - 1 : stop - 1])
            labels.append(line.ids[start:stop])
            owner.append(line.reply)
            sizes.append(stop - start)
    none = [np.zeros(0, np.int64)]
    flat = np.concatenate(where or none), np.concatenate(labels or none), np.repeat(owner, sizes)
    found, wanted, whose = (torch.from_numpy(part.astype(np.int64)) for part in flat)
    return Targets(found, wanted, whose, *_marked(lines, places))


def _marked(lines: Sequence[Line], places: Sequence[Ints]) -> tuple[Tensor | None, Tensor | None]:
    """The places of marked tokens and the replies they belong to; nothing where no token is marked."""
    if not any(len(line.marks) for line in lines):
        return None, None
    for line in lines:
        if len(line.marks) and not 0 <= line.marks.min() <= line.marks.max() < len(line.ids):
            wrong, found = "a marked token is not inside its sequence", Said(str(line.marks.tolist()))
            accepted, do = f"0 to {len(line.ids) - 1}", "count from the first token of the sequence"
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    marks = np.concatenate([place[line.marks] for line, place in zip(lines, places, strict=True)])
    owner = np.repeat([line.reply for line in lines], [len(line.marks) for line in lines])
    return torch.from_numpy(marks.astype(np.int64)), torch.from_numpy(owner.astype(np.int64))


def reach(lines: Sequence[Line]) -> tuple[int, int]:
    """How long the shortest and the longest sequence are, empty ones left out; zeros if there is no other."""
    lengths = [len(line.ids) for line in lines if len(line.ids)]
    return min(lengths, default=0), max(lengths, default=0)


def _misplaced(line: Line, start: int, stop: int) -> InputError:
    wrong = (
        "a span of predicted tokens is not inside its sequence, after its first token and the spans before"
    )
    accepted = f"0 < start <= stop <= {len(line.ids)}, in ascending order"
    do = "begin with a token that is not predicted, such as the one that begins a text, and sort the spans"
    return InputError(explain(wrong, found=Said(f"({start}, {stop})"), accepted=accepted, do=do))
