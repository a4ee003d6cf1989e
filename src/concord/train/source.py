"""Where the rows of each step come from. A step's rows follow from its number alone, so nothing is lost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np

from concord.data import Prepared, Shards, permuted, row_at
from concord.data.order import subseed
from concord.engine.forest import PRICE
from concord.errors import InputError, Said, explain
from concord.render import Rendered
from concord.render.records import Leaf
from concord.train.batch import Batch

__all__ = ["Rows", "Source", "costs", "longest_of", "mismatched"]


@runtime_checkable
class Source(Protocol):
    """Whatever gives the rows of a step by its number."""

    def batch(self, step: int) -> Batch:
        """The rows of a step, counted from 0, on every rank the same."""
        ...


@dataclass(frozen=True)
class Rows:
    """Rows that are given, in an order shuffled anew every epoch.

    `positions` bounds how many rows are gone through in all: the last step is as large as what is left.
    `streams` are companions that come from rows of their own.
    """

    rows: Shards | Sequence[Prepared]
    batch_size: int
    seed: int = 0
    positions: int = 0
    companions: tuple[str, ...] = ()
    streams: Mapping[str, Shards | Sequence[Prepared]] = field(
        default_factory=dict[str, Shards | Sequence[Prepared]]
    )
    view: Callable[[Prepared], Prepared] | None = None
    """Which part of each row is learned from; all of it where this is left out."""

    def __post_init__(self) -> None:
        if not len(self.rows):
            wrong, accepted = "there is nothing to train on", "at least one row"
            raise InputError(explain(wrong, found=Said("no rows"), accepted=accepted, do="give data"))

    def places(self, step: int) -> list[int]:
        """The numbers of the rows of a step."""
        first = step * self.batch_size
        last = first + self.batch_size
        if self.positions:
            last = min(last, self.positions)
        return row_at(np.arange(first, last), len(self.rows), self.seed).tolist()

    def batch(self, step: int) -> Batch:
        """The rows of a step."""
        return self.of(self.places(step))

    def of(self, places: Sequence[int]) -> Batch:
        """Some rows, with their companions."""
        rows = [self.view(self.rows[place]) if self.view else self.rows[place] for place in places]
        found: dict[str, list[Prepared]] = {}
        for name in self.companions:
            beside = _MADE.get(name)
            found[name] = [beside(self, place) if beside else self._beside(name, place) for place in places]
        return Batch.of_step(rows, found)

    def _beside(self, name: str, place: int) -> Prepared:
        """The row of another stream that goes with a row: always the same one."""
        others = self.streams[name]
        return others[permuted(place % len(others), len(others), subseed(self.seed, name))]

    @cached_property
    def behind(self) -> int:
        """How many rows further, in a shuffle of its own, the row stands whose prompt is borrowed."""
        return max(1, len(self.rows) // 2)


def mismatched(rows: Rows, place: int) -> Prepared:
    """A row's reply behind the prompt of another row: the same one in every epoch.

    So what the reference thinks of it is reckoned once. Drawn within a batch, as it is usually done, it would
    be another one each time, and would depend on the size of batches.
    """
    size = len(rows.rows)
    if size < 2:
        wrong, found = "no other prompt can be put before a reply", Said("one row")
        raise InputError(explain(wrong, found=found, accepted="two rows or more", do="give more data"))
    row = rows.rows[place]
    other = rows.rows[(place + rows.behind) % size].rendered
    leaf = row.rendered.replies[0][0]
    shared = len(row.rendered.prompt)
    ids = np.concatenate([other.prompt, leaf.ids[shared:]])
    spans = (leaf.spans + (len(other.prompt) - shared)).astype(leaf.spans.dtype)
    return Prepared(row.number, Rendered(other.prompt, ((Leaf(ids, spans),),)), row.text)


_MADE: Mapping[str, Callable[[Rows, int], Prepared]] = {"mismatched": mismatched}


def costs(batch: Batch, layout: str = "forest") -> list[int]:
    """How many tokens each row of a step has with its companions, as they are laid out: never fewer."""
    count = _padded if layout == "rows" else _shared
    streams = [batch, *batch.companions.values()]
    return [sum(count(stream.rows[place].rendered) for stream in streams) for place in range(len(batch))]


def _shared(row: Rendered) -> int:
    """The prompt once, and what each further leaf may cost at most for what is too short to be shared."""
    prompt, leaves = len(row.prompt), [leaf for reply in row.replies for leaf in reply]
    firsts = {id(reply[0]) for reply in row.replies}
    own = sum(len(leaf.ids) - (prompt if id(leaf) in firsts else 0) for leaf in leaves)
    return prompt + own + PRICE * max(0, len(leaves) - 1)


def _padded(row: Rendered) -> int:
    leaves = [len(leaf.ids) for reply in row.replies for leaf in reply]
    return len(leaves) * max(leaves, default=0)


def longest_of(batch: Batch) -> int:
    """The longest sequence of some rows and their companions."""
    streams = [batch, *batch.companions.values()]
    leaves = (leaf for one in streams for row in one.rows for reply in row.rendered.replies for leaf in reply)
    return max((len(leaf.ids) for leaf in leaves), default=0)
