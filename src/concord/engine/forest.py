"""The forest: sequences laid end to end, what they share laid once.

Prompts of pairs and groups, system prompts and earlier turns are all one thing, a shared token prefix. The
prefix tree of the sequences of a micro-batch is laid out flat, segment after segment; a token attends to its
own segment causally, and to the segments it descends from whole. A pair costs P + C1 + C2 tokens.

    ids, positions          [T] what the model is given; positions count from the root of each tree
    segments                for each stretch of the tree: start, stop, parent (-1 for a root)
    targets                 which hidden states predict which tokens of which sequence
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from concord.engine.targets import Line, Targets, gathered

__all__ = ["Forest", "Segment", "plant"]

Ints: TypeAlias = npt.NDArray[np.int64]

SHORTEST = 8
"""Fewer shared tokens than this are laid twice: sharing them saves less than one more segment costs."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of the forest without a branch: the half-open range of its tokens, and where it hangs."""

    start: int
    stop: int
    parent: int
    depth: int
    """The position of its first token in the sequences that run through it."""


@dataclass(frozen=True)
class Forest:
    """A micro-batch of sequences with their shared prefixes laid once."""

    ids: Tensor
    positions: Tensor
    segments: tuple[Segment, ...]
    targets: Targets
    calls: list[int | None] = field(default_factory=list[int | None], compare=False)
    """The layers whose attention went through the forest, in order: for the guard that counts them."""

    @property
    def tokens(self) -> int:
        """How many tokens the model computes."""
        return self.ids.shape[-1]

    def path(self, number: int) -> tuple[int, ...]:
        """A segment with those it descends from, the root first."""
        found: list[int] = []
        while number >= 0:
            found.append(number)
            number = self.segments[number].parent
        return tuple(reversed(found))

    def to(self, device: torch.device | str) -> "Forest":
        """The same forest on a device."""
        moved = self.ids.to(device), self.positions.to(device), self.segments, self.targets.to(device)
        return Forest(*moved)


def plant(lines: Sequence[Line], *, shortest: int = SHORTEST) -> Forest:
    """Lay sequences out as a forest. `shortest`: how many shared tokens are worth a segment of their own."""
    order = sorted(range(len(lines)), key=lambda number: _sortable(lines[number].ids))
    shared = [0, *(_common(lines[a].ids, lines[b].ids) for a, b in zip(order, order[1:], strict=False))]
    segments: list[Segment] = []
    pieces: list[Ints] = []
    flat: dict[int, list[tuple[int, int, int]]] = {number: [] for number in order}
    laid = 0
    for first, last, start, stop, parent in _stretches(lines, order, shared, max(shortest, 1)):
        size = stop - start
        segments.append(Segment(laid, laid + size, parent, start))
        pieces.append(lines[order[first]].ids[start:stop])
        for place in range(first, last):
            flat[order[place]].append((start, stop, laid))
        laid += size
    ids = np.concatenate(pieces) if pieces else np.zeros(0, np.int64)
    positions = np.concatenate([np.arange(s.depth, s.depth + s.stop - s.start) for s in segments] or [ids])
    places = [_places(line, flat[number]) for number, line in enumerate(lines)]
    return Forest(
        torch.from_numpy(ids.astype(np.int64)),
        torch.from_numpy(positions.astype(np.int64)),
        tuple(segments),
        gathered(lines, places),
    )


_Stretch: TypeAlias = tuple[int, int, int, int, int]


def _stretches(
    lines: Sequence[Line], order: Sequence[int], shared: Sequence[int], shortest: int
) -> Iterator[_Stretch]:
    """Walk the prefix tree of the sorted lines: (first line, last line, from, to, parent), parents first."""
    waiting: list[tuple[int, int, int, int]] = [(0, len(order), 0, -1)]
    count = 0
    while waiting:
        first, last, depth, parent = waiting.pop()
        runs: list[tuple[int, int]] = []
        start = first
        for place in range(first + 1, last + 1):
            if place == last or shared[place] - depth < shortest:
                runs.append((start, place))
                start = place
        for begin, end in runs:
            alone = end - begin == 1
            reach = len(lines[order[begin]].ids) if alone else min(shared[begin + 1 : end])
            own = parent
            if reach > depth:
                yield begin, end, depth, reach, parent
                own, count = count, count + 1
            if not alone:
                # A line that is a prefix of the next ones ends here, and sorts first.
                while begin < end and len(lines[order[begin]].ids) == reach:
                    begin += 1
                if begin < end:
                    waiting.append((begin, end, reach, own))


def _places(line: Line, stretches: Sequence[tuple[int, int, int]]) -> Ints:
    """For each token of a line its place in the forest."""
    parts = [np.arange(laid, laid + stop - start) for start, stop, laid in stretches]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _sortable(ids: Ints) -> bytes:
    return ids.astype(">u4").tobytes()


def _common(first: Ints, second: Ints) -> int:
    """How many tokens two sequences begin with in common."""
    size = min(len(first), len(second))
    differ = np.flatnonzero(first[:size] != second[:size])
    return int(differ[0]) if len(differ) else size
