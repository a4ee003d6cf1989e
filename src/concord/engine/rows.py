"""Rows: one sequence a row, padded on the right. What every causal model can do, also where the forest cannot.

Padding stands behind all that is real, so no causal model lets it reach a real token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from concord.engine.targets import Line, Targets, gathered

__all__ = ["Rows", "stack"]


@dataclass(frozen=True)
class Rows:
    """A micro-batch of sequences as a padded table."""

    ids: Tensor
    positions: Tensor
    mask: Tensor
    targets: Targets

    @property
    def tokens(self) -> int:
        """How many tokens the model computes, padding with them."""
        return self.ids.numel()

    def to(self, device: torch.device | str) -> "Rows":
        """The same rows on a device."""
        return Rows(
            self.ids.to(device), self.positions.to(device), self.mask.to(device), self.targets.to(device)
        )


def stack(lines: Sequence[Line], *, pad: int = 0) -> Rows:
    """Lay sequences out as rows, in their order; `pad` may be any token, for nothing looks at it."""
    longest = max((len(line.ids) for line in lines), default=0)
    ids = np.full((len(lines), longest), pad, np.int64)
    mask = np.zeros((len(lines), longest), np.int64)
    for number, line in enumerate(lines):
        ids[number, : len(line.ids)] = line.ids
        mask[number, : len(line.ids)] = 1
    positions = np.broadcast_to(np.arange(longest), ids.shape).copy()
    places = [np.arange(len(line.ids)) + number * longest for number, line in enumerate(lines)]
    made = (torch.from_numpy(table) for table in (ids, positions, mask))
    return Rows(*made, gathered(lines, places))
