"""What is to be predicted: for each trained token the hidden state that predicts it, its label, its reply.

Both layouts (`forest`, `rows`) carry the same targets, so that the head does not know them apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from concord.errors import InputError, Said, explain

__all__ = ["Line", "Targets", "gathered"]

Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One sequence of token ids, the spans of it that are predicted, and the number of its reply."""

    ids: Ints
    spans: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    reply: int = 0


@dataclass(frozen=True)
class Targets:
    """Flat over all predicted tokens of a micro-batch, in the order of the lines."""

    where: Tensor
    """[N] the place of the hidden state that predicts each token."""
    labels: Tensor
    """[N] the token that is predicted."""
    owner: Tensor
    """[N] the reply it belongs to."""

    def to(self, device: torch.device | str) -> "Targets":
        """The same targets on a device."""
        return Targets(self.where.to(device), self.labels.to(device), self.owner.to(device))


def gathered(lines: Sequence[Line], places: Sequence[Ints]) -> Targets:
    """The targets of lines whose tokens lie at the given places."""
    where: list[Ints] = []
    labels: list[Ints] = []
    owner: list[Ints] = []
    for line, place in zip(lines, places, strict=True):
        for start, stop in line.spans:
            _check(line, int(start), int(stop))
            where.append(place[start - 1 : stop - 1])
            labels.append(line.ids[start:stop])
            owner.append(np.full(stop - start, line.reply))
    none = [np.zeros(0, np.int64)]
    parts = (np.concatenate(part or none).astype(np.int64) for part in (where, labels, owner))
    return Targets(*(torch.from_numpy(part) for part in parts))


def _check(line: Line, start: int, stop: int) -> None:
    if not 0 < start <= stop <= len(line.ids):
        wrong = "a span of predicted tokens does not lie inside its sequence, after the first token"
        accepted = f"0 < start <= stop <= {len(line.ids)}"
        do = "begin with a token that is not predicted, such as the one that begins a text"
        raise InputError(explain(wrong, found=Said(f"({start}, {stop})"), accepted=accepted, do=do))
