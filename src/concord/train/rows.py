"""From prepared rows to lines for the engine, and from what it answers to the record an objective speaks of.

The engine answers with *values*: one number a token (log-probabilities), a reply (rewards) or a step. All of
them lie flat, reply after reply, row after row, so the rows of a step can be split in any way, and the values
of its parts put together again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from concord import tensors
from concord.data import Prepared
from concord.engine import Line
from concord.errors import InputError, Said, explain
from concord.types import Label, Preference, Ranks, Ratings, SegmentPreference, Shown, Utilities

__all__ = ["Rows", "input_of", "record_of", "value_kind"]


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a step, with what is known of all of its rows where a mean over them is needed."""

    rows: tuple[Prepared, ...]
    means: Mapping[str, float]
    """Mean lengths over all rows of the step, by side: what makes a token mean one row's own affair."""

    @classmethod
    def of_step(cls, rows: Sequence[Prepared]) -> "Rows":
        """All rows of a step."""
        whole = cls(tuple(rows), {})
        return cls(tuple(rows), {name: float(np.mean(sizes)) for name, sizes in whole._sides().items()})

    def part(self, places: Sequence[int]) -> "Rows":
        """Some of the rows."""
        return Rows(tuple(self.rows[place] for place in places), self.means)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def lines(self) -> list[Line]:
        """What the engine is to lay out: the leaves of all replies, which are counted through all rows."""
        made: list[Line] = []
        number = 0
        for row in self.rows:
            for leaves in row.rendered.replies:
                made += [Line(leaf.ids, leaf.spans, number, self._marks(leaf.ids)) for leaf in leaves]
                number += 1
        return made

    def _marks(self, ids: Any) -> Any:
        return np.array([len(ids) - 1], np.int64)

    @cached_property
    def counts(self) -> list[int]:
        """How many replies each row has."""
        return [len(row.rendered.replies) for row in self.rows]

    @cached_property
    def lengths(self) -> Tensor:
        """How many tokens of each reply are learned from."""
        return torch.tensor(
            [
                sum(int((leaf.spans[:, 1] - leaf.spans[:, 0]).sum()) for leaf in leaves)
                for row in self.rows
                for leaves in row.rendered.replies
            ],
            dtype=torch.int64,
        )

    @property
    def replies(self) -> int:
        """How many replies there are."""
        return sum(self.counts)

    @cached_property
    def owner(self) -> Tensor:
        """The reply each token belongs to."""
        return torch.arange(self.replies).repeat_interleave(self.lengths)

    @cached_property
    def first(self) -> Tensor:
        """The number of the first reply of each row."""
        return torch.tensor([0, *np.cumsum(self.counts)[:-1]], dtype=torch.int64)[: len(self)]

    @cached_property
    def preference(self) -> Tensor:
        """For each pair the probability that its first reply is the better one."""
        return torch.tensor([_preferred(row) for row in self.rows], dtype=torch.float32)

    @cached_property
    def chosen(self) -> Tensor:
        """The numbers of the better replies of pairs; of a tie the first."""
        return torch.where(self.preference >= 0.5, self.first, self.first + 1)

    @cached_property
    def rejected(self) -> Tensor:
        """The numbers of the other ones."""
        return 2 * self.first + 1 - self.chosen

    @cached_property
    def table(self) -> tuple[Tensor, Tensor]:
        """[B, K] the number of each reply of a row, and whether there is one."""
        most = max(self.counts, default=0)
        places = torch.arange(most)
        mask = places < torch.tensor(self.counts)[:, None]
        return (self.first[:, None] + places).masked_fill(~mask, 0), mask

    @cached_property
    def utility(self) -> Tensor:
        """What each reply is worth, by ranks or by ratings, in the order of the replies."""
        return torch.tensor([value for row in self.rows for value in _worth(row)], dtype=torch.float32)

    def _sides(self) -> dict[str, Any]:
        lengths = self.lengths.numpy()
        sides = {"": lengths}
        if self.rows and all(count == 2 for count in self.counts):
            sides |= {"chosen": lengths[self.chosen.numpy()], "rejected": lengths[self.rejected.numpy()]}
        return sides

    def to(self, device: torch.device | str) -> "Rows":
        """The same rows; what they give out lies on a device."""
        return replace(self)


# --- records ----------------------------------------------------------------------------------------------


def value_kind(record: type[tensors.Record]) -> str:
    """Which values a record is made of: of each token, of each reply's last token, of each step."""
    if issubclass(record, tensors.StepLogits):
        return "steps"
    if issubclass(record, tensors.RewardPairs | tensors.Rewards | tensors.RankedRewards):
        return "rewards"
    return "logps"


def record_of(
    kind: type[tensors.Record], rows: Rows, values: Tensor, ref: Tensor | None = None
) -> tensors.Record:
    """The record of some rows. `values` and `ref` lie flat: a number a token, or a reply for rewards."""
    build = _BUILDERS.get(kind)
    if build is None:
        wrong, do = f"no loop over rows makes {kind.__name__}", "use an objective over one of these"
        accepted = ", ".join(sorted(one.__name__ for one in _BUILDERS))
        raise InputError(explain(wrong, found=Said(kind.__name__), accepted=accepted, do=do))
    return build(rows, values, ref)


def _sums(rows: Rows, values: Tensor) -> Tensor:
    return values.new_zeros(rows.replies).index_add(0, rows.owner.to(values.device), values)


def _mean(rows: Rows, side: str, like: Tensor) -> Tensor:
    return like.new_tensor(rows.means[side])


def _replies(rows: Rows, values: Tensor, ref: Tensor | None, which: Any = slice(None), side: str = "") -> Any:
    length = rows.lengths.to(values.device)[which]
    known = {"mean_length": _mean(rows, side, values)}
    if ref is None:
        return tensors.Replies(_sums(rows, values)[which], length, **known)
    return tensors.ReferencedReplies(_sums(rows, values)[which], length, ref=_sums(rows, ref)[which], **known)


def _pairs(rows: Rows, values: Tensor, ref: Tensor | None) -> Any:
    made = tensors.Pairs if ref is None else tensors.ReferencedPairs
    return made(
        _replies(rows, values, ref, rows.chosen, "chosen"), _replies(rows, values, ref, rows.rejected, "rejected")
    )


def _ranked(rows: Rows, values: Tensor, ref: Tensor | None) -> Any:
    table, mask = rows.table

    def spread(numbers: Tensor) -> Tensor:
        return numbers[table].masked_fill(~mask, 0)

    known = {
        "utility": spread(rows.utility),
        "mask": mask,
        "logp": spread(_sums(rows, values)),
        "length": spread(rows.lengths),
    }
    return tensors.Ranked(**known) if ref is None else tensors.ReferencedRanked(**known, ref=spread(_sums(rows, ref)))


def _tokens(rows: Rows, values: Tensor, ref: Tensor | None) -> Any:
    known = {"owner": rows.owner, "num_replies": rows.replies, "logp": values}
    return tensors.Tokens(**known) if ref is None else tensors.ReferencedTokens(**known, ref=ref)


def _reward_pairs(rows: Rows, values: Tensor, _: Tensor | None) -> Any:
    return tensors.RewardPairs(values[rows.chosen], values[rows.rejected])


def _rewards(_: Rows, values: Tensor, __: Tensor | None) -> Any:
    return tensors.Rewards(values)


def _ranked_rewards(rows: Rows, values: Tensor, _: Tensor | None) -> Any:
    table, mask = rows.table
    utility = rows.utility[table].masked_fill(~mask, 0)
    return tensors.RankedRewards(utility=utility, mask=mask, reward=values[table].masked_fill(~mask, 0))


_BUILDERS: Mapping[Any, Callable[[Rows, Tensor, Tensor | None], Any]] = {
    tensors.Replies: _replies,
    tensors.ReferencedReplies: _replies,
    tensors.Pairs: _pairs,
    tensors.ReferencedPairs: _pairs,
    tensors.Ranked: _ranked,
    tensors.ReferencedRanked: _ranked,
    tensors.Tokens: _tokens,
    tensors.ReferencedTokens: _tokens,
    tensors.RewardPairs: _reward_pairs,
    tensors.Rewards: _rewards,
    tensors.RankedRewards: _ranked_rewards,
}


# --- what is known of utilities ---------------------------------------------------------------------------


def input_of(name: str, rows: Rows) -> Any:
    """An input whose source is the item: see `objectives.contract.INPUTS`."""
    return _INPUTS[name](rows)


def _surer(rows: Rows) -> Tensor:
    return torch.maximum(rows.preference, 1 - rows.preference)


def _desirable(rows: Rows) -> Tensor:
    return torch.tensor([_known(row, Label).desirable for row in rows.rows])


_INPUTS: Mapping[str, Callable[[Rows], Any]] = {
    "preference": _surer,
    "desirable": _desirable,
    "utility": lambda rows: rows.utility,
}


def _known(row: Prepared, *kinds: Any) -> Any:
    known: Utilities = row.utilities
    if not isinstance(known, kinds):
        wrong = f"row {row.origin or row.number} does not know what this objective learns from"
        found = Said("nothing" if known is None else type(known).__name__)
        accepted, do = " or ".join(kind.__name__ for kind in kinds), "convert the rows, or use another method"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    return known


def _preferred(row: Prepared) -> float:
    return float(_known(row, Preference, SegmentPreference).first)


def _worth(row: Prepared) -> list[float]:
    match _known(row, Ranks, Ratings, Shown, Preference):
        case Ranks(ranks):
            return [-float(rank) for rank in ranks]
        case Ratings(scores):
            return [float("nan") if score is None else float(score) for score in scores]
        case Preference(first):
            return [first, 1 - first]
        case _:
            return [1.0] * len(row.rendered.replies)
