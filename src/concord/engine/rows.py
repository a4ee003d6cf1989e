"""Rows: one sequence a row, padded on the right. What every causal model can do, also where the forest
cannot.

Padding stands behind all that is real, so no causal model lets it reach a real token. Some models change
their angles with the longest sequence of a forward pass: rows on both sides of such a length go in bands,
one forward pass each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from concord.engine.targets import Ints, Line, Targets, check_lines, gathered, reach

__all__ = ["Rows", "stack"]


@dataclass(frozen=True)
class Rows:
    """A micro-batch of sequences as a padded table."""

    ids: Tensor
    positions: Tensor
    mask: Tensor
    targets: Targets
    reach: tuple[int, int] = (0, 0)
    """How long the shortest and the longest sequence are."""
    bands: tuple[tuple[int, int, int], ...] = ()
    """First and last row and width of what goes through the model together; none where all of it does."""

    @property
    def tokens(self) -> int:
        """How many tokens the model computes, padding with them."""
        return sum((last - first) * width for first, last, width in self.bands) or self.ids.numel()

    def to(self, device: torch.device | str) -> "Rows":
        """The same rows on a device."""
        ids, positions, mask = (part.to(device) for part in (self.ids, self.positions, self.mask))
        return Rows(ids, positions, mask, self.targets.to(device), self.reach, self.bands)


def stack(lines: Sequence[Line], *, pad: int = 0, thresholds: Sequence[int] = ()) -> Rows:
    """Lay sequences out as rows; `pad` may be any token, for nothing looks at it.

    Rows stand in the order of the lines, but for `thresholds`, lengths up to which and beyond which a model
    computes the same tokens differently: there, each side is a band of its own, the shorter first.
    """
    check_lines(lines)
    lengths = [len(line.ids) for line in lines]
    side = [sum(length > threshold for threshold in thresholds) for length in lengths]
    order = sorted(range(len(lines)), key=side.__getitem__)
    row = {number: place for place, number in enumerate(order)}
    # One token at least, so that a micro-batch without any still is a forward pass like the others.
    shape = max(len(lines), 1), max(*lengths, 1, 1)
    ids, mask = np.full(shape, pad, np.int64), np.zeros(shape, np.int64)
    mask[:, 0] = 1
    for number, line in enumerate(lines):
        ids[row[number], : lengths[number]] = line.ids
        mask[row[number], : lengths[number]] = 1
    positions = np.broadcast_to(np.arange(shape[1]), shape).copy()
    places: list[Ints] = [np.arange(length) + row[number] * shape[1] for number, length in enumerate(lengths)]
    bands = _bands(sorted(side), [lengths[number] for number in order])
    table, counted, real = (torch.from_numpy(part) for part in (ids, positions, mask))
    return Rows(table, counted, real, gathered(lines, places), reach(lines), bands)


def _bands(side: Sequence[int], lengths: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    """The runs of equal sides, if there are several: first row, last row, width."""
    edges = [place for place in range(len(side)) if place == 0 or side[place] != side[place - 1]]
    if len(edges) < 2:
        return ()
    pairs = zip(edges, [*edges[1:], len(side)], strict=True)
    return tuple((first, last, max(1, *lengths[first:last])) for first, last in pairs)
