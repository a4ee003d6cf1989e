"""Some rows of an optimizer step: as lines for the engine, and as the numbers that tell replies apart.

The engine answers with *values*, a number a token or a number a mark. They lie flat: reply after reply, row
after row. So the rows of a step can be split in any way, and the values of its parts put together again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from concord.data import Prepared
from concord.engine import Line
from concord.errors import InputError, Said, explain
from concord.train.rows import STEP_ENDS
from concord.types import Preference, Ranks, Ratings, SegmentPreference

__all__ = ["Batch", "Marks", "known"]

Marks: TypeAlias = Literal["none", "ends", "steps"]
"""Which tokens a further head looks at: a reply's last (of a segment, that of each turn), or each step's."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of a step, with companions: further rows that belong to each of them, by name."""

    rows: tuple[Prepared, ...]
    means: Mapping[str, float] = field(default_factory=dict[str, float])
    """Mean lengths over all rows of the step, by side: what makes a token mean one row's own affair."""
    companions: "Mapping[str, Batch]" = field(default_factory=dict[str, "Batch"])

    @classmethod
    def of_step(
        cls, rows: Sequence[Prepared], companions: Mapping[str, Sequence[Prepared]] | None = None
    ) -> "Batch":
        """All rows of a step, and as many companions under each name."""
        whole = cls(tuple(rows))
        means = {side: float(np.mean(sizes)) for side, sizes in whole._sides().items() if len(sizes)}
        beside = {name: cls.of_step(others) for name, others in (companions or {}).items()}
        return replace(whole, means=means, companions=beside)

    def part(self, places: Sequence[int]) -> "Batch":
        """Some of the rows, each with its companions."""
        beside = {name: other.part(places) for name, other in self.companions.items()}
        return Batch(tuple(self.rows[place] for place in places), self.means, beside)

    def with_companions(self, names: Sequence[str]) -> "Batch":
        """The same rows with some of their companions."""
        return replace(self, companions={name: self.companions[name] for name in names})

    def __len__(self) -> int:
        return len(self.rows)

    # --- what the engine lays out -------------------------------------------------------------------------

    def lines(self, marks: Marks = "none") -> list[Line]:
        """What the engine is to lay out: all replies, counted from 0; those of companions follow.

        Where marks are scored nothing is to be predicted, so the head that speaks has nothing to do.
        """
        made: list[Line] = []
        number = 0
        for batch in (self, *self.companions.values()):
            # Row by row and not stream by stream would share more prefixes; the forest finds them anyhow.
            for row in batch.rows:
                for leaves in row.rendered.replies:
                    last = len(leaves) - 1
                    for place, leaf in enumerate(leaves):
                        where = _marked(row, leaf, marks, last=place == last)
                        spans = leaf.spans if marks == "none" else _NO_SPANS
                        made.append(Line(leaf.ids, spans, number, where))
                    number += 1
        return made

    @cached_property
    def counts(self) -> list[int]:
        """How many replies each row has, its companions' not counted."""
        return [len(row.rendered.replies) for row in self.rows]

    @property
    def replies(self) -> int:
        """How many replies there are."""
        return sum(self.counts)

    @cached_property
    def lengths(self) -> Tensor:
        """[R] How many tokens of each reply are learned from."""
        sizes = [
            sum(int((leaf.spans[:, 1] - leaf.spans[:, 0]).sum()) for leaf in leaves)
            for row in self.rows
            for leaves in row.rendered.replies
        ]
        return torch.tensor(sizes, dtype=torch.int64)

    def marked(self, marks: Marks) -> Tensor:
        """[R] How many marks each reply has."""
        sizes = [
            sum(len(_marked(row, leaf, marks, last=leaf is leaves[-1])) for leaf in leaves)
            for row in self.rows
            for leaves in row.rendered.replies
        ]
        return torch.tensor(sizes, dtype=torch.int64)

    @cached_property
    def first(self) -> Tensor:
        """[B] The number of the first reply of each row."""
        ends = np.cumsum([0, *self.counts], dtype=np.int64)
        return torch.from_numpy(ends[:-1])

    # --- pairs and rankings -------------------------------------------------------------------------------

    @cached_property
    def preference(self) -> Tensor:
        """[B] The probability that the first reply of each pair is the better one."""
        shares = [known(row, Preference, SegmentPreference).first for row in self.rows]
        return torch.tensor(shares, dtype=torch.float32)

    @cached_property
    def chosen(self) -> Tensor:
        """[B] The numbers of the better replies of pairs; of a tie the first."""
        return torch.where(self.preference >= 0.5, self.first, self.first + 1)

    @cached_property
    def rejected(self) -> Tensor:
        """[B] The numbers of the others."""
        return 2 * self.first + 1 - self.chosen

    @cached_property
    def table(self) -> tuple[Tensor, Tensor]:
        """[B, K] The number of each reply of a row, and whether it is there and was judged."""
        places = torch.arange(max(self.counts, default=0))
        there = places < torch.tensor(self.counts, dtype=torch.int64)[:, None]
        index = (self.first[:, None] + places).masked_fill(~there, 0)
        return index, there & ~self.worth[index].isnan() if len(self) else there

    @cached_property
    def worth(self) -> Tensor:
        """[R] What each reply is worth, by ratings or by ranks; not a number where it was not judged."""
        return torch.tensor([value for row in self.rows for value in _worth(row)], dtype=torch.float32)

    def _sides(self) -> dict[str, Any]:
        lengths = self.lengths.numpy()
        sides = {"": lengths}
        kinds = (Preference, SegmentPreference)
        if all(len(row.rendered.replies) == 2 and isinstance(row.utilities, kinds) for row in self.rows):
            sides |= {"chosen": lengths[self.chosen.numpy()], "rejected": lengths[self.rejected.numpy()]}
        return sides


def known(row: Prepared, *kinds: Any) -> Any:
    """What is known of the utility of a row's replies, if it is of one of these kinds."""
    found: object = row.utilities
    if not isinstance(found, kinds):
        wrong = f"{row.origin or f'row {row.number}'} does not say what this objective learns from"
        said = Said("nothing" if found is None else type(found).__name__)
        accepted, do = " or ".join(kind.__name__ for kind in kinds), "convert the rows, or use another method"
        raise InputError(explain(wrong, found=said, accepted=accepted, do=do))
    return found


def _worth(row: Prepared) -> list[float]:
    match known(row, Ranks, Ratings):
        case Ranks(ranks):
            return [-float(rank) for rank in ranks]
        case Ratings(scores):
            return [float("nan") if score is None else float(score) for score in scores]
        case other:
            raise AssertionError(other)


_NO_MARKS, _NO_SPANS = np.zeros(0, np.int64), np.zeros((0, 2), np.int64)


def _marked(row: Prepared, leaf: Any, marks: Marks, *, last: bool) -> Any:
    """The tokens of a leaf that a further head looks at."""
    match marks:
        case "none":
            return _NO_MARKS
        case "ends" if isinstance(row.utilities, SegmentPreference):
            # Behaviour earns a reward with each of its turns.
            return leaf.spans[:, 1].astype(np.int64) - 1
        case "ends":
            return np.array([len(leaf.ids) - 1], np.int64) if last else _NO_MARKS
        case "steps":
            return np.array(row.meta[STEP_ENDS], np.int64) if last else _NO_MARKS
