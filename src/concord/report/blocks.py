"""What reports are made of: records that say what is shown, and nothing of how.

    Page(title, blocks)        a whole report
    Heading, Paragraph         structure and prose, with `code`
    Facts                      names and values that open a report
    Callout                    what one must know: severity, title, detail, what to do
    Table                      columns with units; cells are text, numbers, Measured, Noted
    Curve, Histogram           drawings over a pair of axes
    Samples                    conversations, with what is learned from
    Command                    a line for the shell

`concord.report.html` draws them as one HTML file, `concord.cli.blocks` in a terminal.
"""

from dataclasses import dataclass, field
from math import isfinite
from typing import Literal, TypeAlias

from concord.errors import InputError, Said, explain
from concord.findings import Severity
from concord.results import Interval

__all__ = [
    "Axis",
    "Block",
    "Callout",
    "Cell",
    "Column",
    "Command",
    "Counts",
    "Curve",
    "Facts",
    "Heading",
    "Histogram",
    "Mark",
    "Measured",
    "Noted",
    "Page",
    "Paragraph",
    "Piece",
    "Point",
    "Sample",
    "Samples",
    "Series",
    "ShownReply",
    "Table",
    "Turn",
]


@dataclass(frozen=True, slots=True)
class Heading:
    """The name of what follows; level 1 for a section, 2 for a part of one."""

    text: str
    level: Literal[1, 2] = 1


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Prose; an empty line parts paragraphs, and `code` stands in backticks."""

    text: str


@dataclass(frozen=True, slots=True)
class Callout:
    """What a reader must not miss: what is so, in detail, and what to do about it."""

    severity: Severity
    title: str
    detail: str = ""
    do: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """A line for the shell, to be copied."""

    line: str
    title: str = ""


# --- tables -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Measured:
    """A number with its interval; None with the reason why there is none."""

    value: float | None
    interval: Interval | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Noted:
    """A cell with a footnote."""

    cell: "str | int | float | Measured | None"
    note: str


Cell: TypeAlias = str | int | float | Measured | Noted | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name and unit, and how its cells are set.

    `per_cent` shows shares (0 to 1) in per cent; `bar` draws a bar of the value's length behind it, full at 1
    for shares and at the largest value else; `decimals` fixes their number, or the least beside an interval.
    """

    name: str
    unit: str = ""
    per_cent: bool = field(default=False, kw_only=True)
    bar: bool = field(default=False, kw_only=True)
    decimals: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under named columns, with a caption above and notes below."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = field(default="", kw_only=True)
    notes: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        for at, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                wrong = f"row {at} of the table {self.caption!r} does not fit its columns"
                found, accepted = Said(f"{len(row)} cells"), f"{len(self.columns)} cells, one for each column"
                raise InputError(explain(wrong, found=found, accepted=accepted, do="give None for no value"))


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values that open a report."""

    facts: tuple[tuple[str, Cell], ...]


# --- drawings ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis counts, in which unit, and whether its scale is logarithmic."""

    label: str
    unit: str = ""
    log: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a curve, with the ends of its interval where it has one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a drawing; a y that is no number leaves a gap."""

    name: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A place on the x axis that has a name: a limit, a start."""

    x: float
    label: str


@dataclass(frozen=True, slots=True)
class Curve:
    """Lines over a pair of axes, with bands where points have intervals."""

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    caption: str = field(default="", kw_only=True)
    marks: tuple[Mark, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many fell into each bin, of one group."""

    name: str
    counts: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """How values are distributed: bins between edges, and the counts of one or more groups."""

    title: str
    x: Axis
    edges: tuple[float, ...]
    groups: tuple[Counts, ...]
    y: Axis = field(default=Axis("rows"), kw_only=True)
    caption: str = field(default="", kw_only=True)
    marks: tuple[Mark, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        ascending = all(low < high for low, high in zip(self.edges, self.edges[1:], strict=False))
        if len(self.edges) < 2 or not ascending or not all(map(isfinite, self.edges)):
            wrong, accepted = f"the edges of {self.title!r} bound no bins", "two or more, each above the last"
            raise InputError(explain(wrong, found=self.edges, accepted=accepted, do="sort the edges"))
        for group in self.groups:
            sound = all(isfinite(count) and count >= 0 for count in group.counts)
            if len(group.counts) != len(self.edges) - 1 or not sound:
                wrong = f"the counts of {group.name!r} in {self.title!r} do not fit the bins"
                accepted = f"{len(self.edges) - 1} counts, none below 0"
                do = "count each bin once"
                raise InputError(explain(wrong, found=group.counts, accepted=accepted, do=do))


# --- conversations ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text; whether it is learned from, and whether it is a special token."""

    text: str
    trained: bool = False
    special: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """What one speaker says; the role is empty for text as it is rendered, special tokens and all."""

    role: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class ShownReply:
    """One reply of a sample: what it is called (chosen, rejected, score 4), and its turns."""

    label: str
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt with its replies, where it is from, and remarks upon it."""

    title: str
    prompt: tuple[Turn, ...]
    replies: tuple[ShownReply, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def turns(self) -> tuple[Turn, ...]:
        """All turns, those of the prompt first."""
        return (*self.prompt, *(turn for reply in self.replies for turn in reply.turns))


@dataclass(frozen=True, slots=True)
class Samples:
    """Rows to be read by a person."""

    samples: tuple[Sample, ...]
    caption: str = ""


Block: TypeAlias = Heading | Paragraph | Callout | Command | Table | Facts | Curve | Histogram | Samples


@dataclass(frozen=True, slots=True)
class Page:
    """A report: a title, what it is about, and blocks in their order."""

    title: str
    subtitle: str = ""
    blocks: tuple[Block, ...] = ()
