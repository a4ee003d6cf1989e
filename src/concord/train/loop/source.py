"""Where the rows of each step come from. A step's rows follow from its number alone, so nothing is lost."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from concord.data import Prepared, Shards, permuted, row_at
from concord.data.order import subseed
from concord.data.shards import Lengths
from concord.engine.forest import PRICE
from concord.errors import InputError, Said, explain
from concord.render import Rendered
from concord.render.records import Leaf
from concord.train.loop.batch import Batch
from concord.train.loop.plan import Plan, plan_rows, plan_step

__all__ = ["Extent", "Rows", "Source", "costs", "longest_of", "mismatched", "plan_of", "row_cost"]


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
        first = step * self.batch_size
        return self.of(self.places(step), first)

    def of(self, places: Sequence[int], first: int = 0) -> Batch:
        """Some rows, with their companions; the first of them stands at this position of the run."""
        rows = [self.view(self.rows[place]) if self.view else self.rows[place] for place in places]
        found: dict[str, list[Prepared]] = {}
        for name in self.companions:
            beside = _MADE.get(name)
            found[name] = [
                beside(self, place) if beside else self._beside(name, place, first + number)
                for number, place in enumerate(places)
            ]
        return Batch.of_step(rows, found)

    def _beside(self, name: str, place: int, position: int) -> Prepared:
        """The row of another stream that goes with a row: one of the same prompt, else the next in turn."""
        others = self.streams[name]
        same = self.prompts(name).get(_ids(self.rows[place]), ())
        if same:
            return others[same[position % len(same)]]
        return others[permuted(position % len(others), len(others), subseed(self.seed, name))]

    def prompts(self, name: str) -> Mapping[bytes, Sequence[int]]:
        """The rows of another stream by their prompts."""
        if name not in self._prompts:
            found: dict[bytes, list[int]] = {}
            for number, row in enumerate(self.streams[name]):
                found.setdefault(_ids(row), []).append(number)
            self._prompts[name] = found
        return self._prompts[name]

    @cached_property
    def _prompts(self) -> dict[str, Mapping[bytes, Sequence[int]]]:
        return {}

    @cached_property
    def stride(self) -> int:
        """How far away the row is whose prompt is borrowed; one that leads through all rows."""
        size = len(self.rows)
        stride = 1 + subseed(self.seed, "mismatched") % max(1, size - 1)
        while math.gcd(stride, size) > 1:
            stride += 1
        return stride


def _ids(row: Prepared) -> bytes:
    return row.rendered.prompt.tobytes()


def mismatched(rows: Rows, place: int) -> Prepared:
    """A row's reply behind the prompt of another row that asks something else: the same in every epoch.

    So what the reference thinks of it is reckoned once. Drawn within a batch, as it is usually done, it would
    be another one each time, and would depend on the size of batches.
    """
    size, row = len(rows.rows), rows.rows[place]
    others = (rows.rows[(place + turn * rows.stride) % size] for turn in range(1, size))
    other = next((one for one in others if _ids(one) != _ids(row)), None)
    if other is None:
        wrong = (
            "no other prompt can be put before a reply, as this objective does to see how far it has moved"
        )
        found = Said(f"{size:,} rows that ask the same" if size > 1 else "a single row")
        raise InputError(explain(wrong, found=found, accepted="two prompts or more", do="give more data"))
    leaf, borrowed = row.rendered.replies[0][0], other.rendered.prompt
    shared = len(row.rendered.prompt)
    ids = np.concatenate([borrowed, leaf.ids[shared:]])
    spans = (leaf.spans + (len(borrowed) - shared)).astype(leaf.spans.dtype)
    return Prepared(row.number, Rendered(borrowed, ((Leaf(ids, spans),),)), row.text)


_MADE: Mapping[str, Callable[[Rows, int], Prepared]] = {"mismatched": mismatched}


def plan_of(batch: Batch, layout: str, *, budget: int, ranks: int = 1) -> Plan:
    """How the rows of a step are split, companions with them, as they will be laid out."""
    if layout == "rows":
        return plan_rows(_shapes(batch), budget=budget, ranks=ranks)
    return plan_step(costs(batch), budget=budget, ranks=ranks)


def costs(batch: Batch, layout: str = "forest") -> list[int]:
    """How many tokens each row of a step has by itself, with its companions: in a forest never fewer."""
    return [int(row_cost(parts, layout)) for parts in _extents(batch)]


class Extent(NamedTuple):
    """What decides what a row costs, as numbers; or of many rows, as columns."""

    tokens: Any
    """With the prompt counted once."""
    leaves: Any
    longest: Any
    """Of its leaves."""

    @classmethod
    def of(cls, row: Rendered) -> "Extent":
        """That of one row."""
        prompt = len(row.prompt)
        leaves = [(len(leaf.ids), place) for reply in row.replies for place, leaf in enumerate(reply)]
        tokens = prompt + sum(size - (prompt if place == 0 else 0) for size, place in leaves)
        return cls(tokens, len(leaves), max((size for size, _ in leaves), default=0))

    @classmethod
    def of_all(cls, lengths: Lengths) -> "Extent":
        """Those of a table of rows."""
        leaves = np.bincount(lengths.row, minlength=len(lengths.tokens))
        return cls(lengths.tokens, leaves, lengths.longest)


def row_cost(parts: Sequence[Extent], layout: str) -> Any:
    """What a plan reckons a row with its companions at, as they are laid out by themselves.

    As rows all leaves are padded to the longest. In a forest each of them has its tokens, the prompt once,
    and what every further leaf may cost at most for what is too short to be shared.
    """
    if layout == "rows":
        return sum(one.leaves for one in parts) * reduce(np.maximum, [one.longest for one in parts])
    return sum(one.tokens + PRICE * (one.leaves - 1) for one in parts)


def _extents(batch: Batch) -> list[list[Extent]]:
    """Each row, and its companions behind it."""
    streams = [batch, *batch.companions.values()]
    return [[Extent.of(one.rows[place].rendered) for one in streams] for place in range(len(batch))]


def _shapes(batch: Batch) -> list[tuple[int, int]]:
    """How many sequences each row is with its companions, and the longest of them."""
    return [
        (sum(one.leaves for one in parts), max(one.longest for one in parts)) for parts in _extents(batch)
    ]


def longest_of(batch: Batch) -> int:
    """The longest sequence of some rows and their companions."""
    return max((longest for _, longest in _shapes(batch)), default=0)
