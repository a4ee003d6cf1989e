"""What an audit says: measurements, findings, samples, tables and flags, all of it JSON by `concord.wire`."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from concord.errors import InputError, explain
from concord.findings import Finding
from concord.formats import Reading
from concord.render.records import Facts, Leaf, Rendered, Unrendered
from concord.render.show import Piece
from concord.results import Result
from concord.types import Item, Origin

__all__ = [
    "Audit",
    "AuditSettings",
    "Evidence",
    "LengthCounts",
    "Readable",
    "Renders",
    "Sample",
    "SampleText",
    "Table",
]

Readable: TypeAlias = Reading | Iterable[Item]
"""What is audited: a reading, which also says how rows were read and what was skipped, or items alone."""


class Renders(Protocol):
    """What turns items into tokens: a `concord.render.Renderer`, or whatever speaks like one.

    Where it has `settings`, flags for the tokens that end a reply and for the template follow from them.
    """

    @property
    def id(self) -> str:
        """Of all that decides the tokens."""
        ...

    @property
    def facts(self) -> Facts:
        """What was found out about the tokenizer and its model."""
        ...

    def render(self, items: Iterable[Item], /) -> Iterator[Rendered | Unrendered]:
        """Items in tokens, in their order, and what cannot be rendered."""
        ...

    def pieces(self, leaf: Leaf, /) -> Iterable[Piece]:
        """The text of a leaf, what is trained on apart."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """What an audit may be told.

    max_length: tokens of the longest row that will be trained on, where that is laid down already
    near: whether to look for near duplicates, half of the time that an audit takes
    threshold: the share of pieces from which two texts are near duplicates
    seed: what samples and drawn data follow from
    level: the level of all intervals
    samples: how many rows are shown
    examples: how many rows a finding points at
    """

    max_length: int | None = None
    near: bool = True
    threshold: float = 0.8
    seed: int = 0
    level: float = 0.95
    samples: int = 3
    examples: int = 5

    def __post_init__(self) -> None:
        bounds = {"threshold": (self.threshold, 0.5, 1.0), "level": (self.level, 0.5, 0.9999)}
        for name, (value, low, high) in bounds.items():
            if not low <= value <= high:
                wrong, accepted = f"{name} is out of range", f"{low} to {high}"
                raise InputError(explain(wrong, found=value, accepted=accepted, do=f"change {name}"))
        counts = {"max_length": (self.max_length, 1), "samples": (self.samples, 0)}
        for name, (value, least) in (counts | {"examples": (self.examples, 0)}).items():
            if value is not None and value < least:
                wrong, accepted = f"{name} is too small", f"{least} and above"
                raise InputError(explain(wrong, found=value, accepted=accepted, do=f"change {name}"))


@dataclass(frozen=True, slots=True)
class Evidence:
    """A result, and a few rows that show what it speaks of: what findings are made from."""

    result: Result
    rows: tuple[Origin, ...] = ()


@dataclass(frozen=True, slots=True)
class SampleText:
    """One sequence of a sample: what it is, and its pieces in order, each with whether it is trained on."""

    what: str
    pieces: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One row as a model will see it; without a model, as plain text."""

    kind: str
    split: str
    source: str
    texts: tuple[SampleText, ...]
    origin: Origin | None = None
    rendered: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of numbers and words for people; each number of it is a result or follows from one."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float | None, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthCounts:
    """How lengths are distributed: bins that all sides share, and how often each side falls into each.

    A bin holds its lower edge and not its upper one. Where lengths differ by orders of magnitude, bins widen
    in proportion and begin at 1, and `log` says so; the first then holds `zeros` lengths of 0 too.
    """

    unit: str
    edges: tuple[int, ...]
    counts: Mapping[str, tuple[int, ...]]
    log: bool = False
    zeros: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """All that an audit found. `flags` are what training needs to read the same rows the same way."""

    results: tuple[Result, ...]
    findings: tuple[Finding, ...] = ()
    samples: tuple[Sample, ...] = ()
    tables: tuple[Table, ...] = ()
    lengths: tuple[LengthCounts, ...] = ()
    """In characters and, where something made tokens, in tokens."""
    flags: tuple[str, ...] = ()
    rows: int = 0
    splits: tuple[str, ...] = ()
    renderer: str = ""
    """The identity of what made the tokens; empty where lengths are in characters."""
    notes: tuple[str, ...] = ()
    """What the readers of the files had to say."""
    mappings: Mapping[str, str] = field(default_factory=dict[str, str])
    """How the columns of each split were read, in one line."""

    @property
    def flag_line(self) -> str:
        """The flags as they are typed."""
        return shlex.join(self.flags)

    def result(self, name: str, **at: str | float) -> Result | None:
        """The first result of this name at these coordinates, further ones left open."""
        for one in self.results:
            if one.name == name and all(one.at.get(key) == place for key, place in at.items()):
                return one
        return None
