"""The forest: sequences laid end to end, what they share laid once.

Prompts of pairs and groups, system prompts and earlier turns are all one thing, a shared token prefix. The
prefix tree of the sequences of a micro-batch is laid out flat, segment after segment, each before those that
hang on it (so all that descends from a segment stands right behind it); a token attends to its own segment
causally, and to the segments it descends from whole. A pair costs P + C1 + C2 tokens.

    ids, positions          [T] what the model is given; positions count from the root of each tree
    segments                for each stretch of the tree: start, stop, parent (-1 for a root)
    targets                 which hidden states predict which tokens of which sequence
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from concord.engine.targets import Ints, Line, Targets, check_lines, gathered, reach

__all__ = ["PRICE", "Forest", "Notes", "Segment", "plant"]

PRICE = 8
"""How many tokens a further segment may cost. It is one more call of attention a layer, which took as long
as 3 to 5 tokens of a model of 15 million weights on two cores, and as less than one token of larger ones."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of the forest without a branch: the half-open range of its tokens, and where it hangs."""

    start: int
    stop: int
    parent: int
    depth: int
    """The position of its first token in the sequences that run through it."""
    last: int
    """Where all that descends from it stops: a later token before this place has the segment in its past."""


class Notes:
    """What is noted of a forest on its way through the layers.

    No dataclass: FSDP2 copies those, field by field, where it casts what a layer is given; this it hands on.
    """

    def __init__(self) -> None:
        """Begin with nothing noted."""
        self.calls: list[int | None] = []
        self.plans: dict[Hashable, Any] = {}


@dataclass(frozen=True)
class Forest:
    """A micro-batch of sequences with their shared prefixes laid once."""

    ids: Tensor
    positions: Tensor
    segments: tuple[Segment, ...]
    targets: Targets
    reach: tuple[int, int]
    """How long the shortest and the longest sequence are."""
    notes: Notes = field(default_factory=Notes, compare=False, repr=False)

    @property
    def calls(self) -> list[int | None]:
        """The layers whose attention went through the forest, in order: for the guard that counts them."""
        return self.notes.calls

    @property
    def plans(self) -> dict[Hashable, Any]:
        """What kernels work out once a forest and not once a layer: ranges, masks."""
        return self.notes.plans

    @property
    def tokens(self) -> int:
        """How many tokens the model computes."""
        return self.ids.shape[-1]

    def ends(self) -> Tensor:
        """[T] Where all that descends from each token stops: later tokens before that place see it."""
        if "ends" not in self.plans:
            sizes = [segment.stop - segment.start for segment in self.segments]
            lasts = np.repeat([segment.last for segment in self.segments], sizes)
            self.plans["ends"] = torch.from_numpy(lasts.astype(np.int64)).to(self.ids.device)
        return self.plans["ends"]

    def path(self, number: int) -> tuple[int, ...]:
        """A segment with those it descends from, the root first."""
        found: list[int] = []
        while number >= 0:
            found.append(number)
            number = self.segments[number].parent
        return tuple(reversed(found))

    def to(self, device: torch.device | str) -> "Forest":
        """The same forest on a device."""
        ids, positions, targets = self.ids.to(device), self.positions.to(device), self.targets.to(device)
        return Forest(ids, positions, self.segments, targets, self.reach)


def plant(lines: Sequence[Line], *, price: int = PRICE, multiple: int = 1) -> Forest:
    """Lay sequences out as a forest.

    `price`: how many tokens sharing must save for each segment it adds. `multiple`: tokens are filled up to a
    multiple of this, and to one at least, by trees of their own that nothing looks at.
    """
    check_lines(lines)
    root, far = _tree(lines), reach(lines)
    _prune(root, price)
    table: list[tuple[int, int, int, int]] = []
    pieces: list[Ints] = []
    places: list[Ints] = [np.zeros(0, np.int64)] * len(lines)
    laid = 0
    for node in _walk(root):
        own, path, size = -1, node.path, node.stop - node.start
        if size:
            own, path = len(table), [*path, np.arange(laid, laid + size)]
            table.append((laid, laid + size, node.parent, node.start))
            pieces.append(lines[node.line].ids[node.start : node.stop])
            laid += size
        for child in node.children:
            child.parent, child.path = own, path
        if node.ends:
            place = np.concatenate(path) if path else np.zeros(0, np.int64)
            for number in node.ends:
                places[number] = place
    end = laid + (-laid % multiple if laid else multiple)
    # No filler is longer than the longest sequence: some models compute all tokens by the largest position.
    step = max(1, far[1])
    table += [(start, min(start + step, end), -1, 0) for start in range(laid, end, step)]
    pieces.append(np.zeros(end - laid, np.int64))
    depths = [np.arange(depth, depth + stop - start) for start, stop, _, depth in table]
    ids, positions = (torch.from_numpy(np.concatenate(part).astype(np.int64)) for part in (pieces, depths))
    return Forest(ids, positions, _segments(table), gathered(lines, places), far)


def _segments(table: Sequence[tuple[int, int, int, int]]) -> tuple[Segment, ...]:
    """The segments of a table of starts, stops, parents and depths, with where what hangs on each stops."""
    last = [stop for _, stop, _, _ in table]
    for number in range(len(table) - 1, -1, -1):
        if (parent := table[number][2]) >= 0:
            last[parent] = max(last[parent], last[number])
    return tuple(Segment(*row, end) for row, end in zip(table, last, strict=True))


@dataclass(slots=True, eq=False)
class _Node:
    """A branching of the prefix tree, and the stretch up to it: tokens of `line` from `start` to `stop`."""

    line: int
    start: int
    stop: int
    children: list["_Node"] = field(default_factory=list["_Node"])
    ends: list[int] = field(default_factory=list[int])
    """The lines that stop here."""
    parent: int = -1
    path: list[Ints] = field(default_factory=list[Ints])


def _tree(lines: Sequence[Line]) -> _Node:
    """The prefix tree of all lines, from a root of no tokens; children in the order of their tokens."""
    order = sorted(range(len(lines)), key=lambda number: _sortable(lines[number].ids))
    root = _Node(-1, 0, 0)
    path = [root]
    before = -1
    for number in order:
        length = len(lines[number].ids)
        shared = _common(lines[before].ids, lines[number].ids) if before >= 0 else 0
        below = None
        while path[-1].stop > shared:
            below = path.pop()
        if path[-1].stop < shared:
            # The line leaves the one before it in the middle of a stretch, which is cut there.
            assert below is not None, "what was shared was laid"
            middle = _Node(below.line, below.start, shared, [below])
            below.start = shared
            path[-1].children[-1] = middle
            path.append(middle)
        if length > shared:
            leaf = _Node(number, shared, length)
            path[-1].children.append(leaf)
            path.append(leaf)
        path[-1].ends.append(number)
        before = number
    return root


def _prune(root: _Node, price: int) -> None:
    """Lay twice what it does not pay to share: stretches go down into what hangs on them, the deepest first.

    A stretch with c branches saves its tokens c - 1 times. It is one segment more, unless some line ends
    with it, which would need one anyway.
    """
    for node in reversed(list(_walk(root))):
        kept: list[_Node] = []
        for child in node.children:
            branches = len(child.children) + bool(child.ends)
            if child.children and not child.ends and (branches - 1) * (child.stop - child.start) < price:
                for grandchild in child.children:
                    grandchild.start = child.start
                kept += child.children
            else:
                kept.append(child)
        node.children = kept


def _walk(root: _Node) -> Iterator[_Node]:
    """Every node before those that hang on it, in order."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += reversed(node.children)


def _sortable(ids: Ints) -> bytes:
    """A key that sorts sequences token by token, a prefix before what it begins."""
    return ids.astype(">u4").tobytes()


def _common(first: Ints, second: Ints) -> int:
    """How many tokens two sequences begin with in common."""
    size = min(len(first), len(second))
    differ = first[:size] != second[:size]
    place = int(differ.argmax()) if size else 0
    return place if size and differ[place] else size
