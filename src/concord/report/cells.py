"""What stands in the cells of a table, whoever draws it: text, value to sort by, bar, footnote."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite

from concord.report.blocks import Cell, Column, Measured, Noted, Table
from concord.report.numbers import MISSING, number, share, with_interval
from concord.report.words import cut, visible

__all__ = ["Filled", "Footnotes", "filled", "is_right", "titled"]

_LONGEST = 400  # characters of a text in a cell


@dataclass(frozen=True, slots=True)
class Filled:
    """A cell ready to be shown: text, value to sort by, bar length in [0, 1], number of its footnote."""

    text: str
    value: float | None = None
    bar: float | None = None
    note: int | None = None


class Footnotes:
    """Collects notes and numbers them, equal ones once."""

    def __init__(self) -> None:
        self.notes: dict[str, int] = {}

    def number(self, note: str) -> int | None:
        """The number of a note; nothing for an empty one."""
        return self.notes.setdefault(note, len(self.notes) + 1) if note else None


def is_right(cells: Iterable[Cell]) -> bool:
    """Whether a column is aligned right: where it has numbers and no text."""
    return not any(isinstance(_bare(cell), str) for cell in cells)


def titled(column: Column) -> str:
    """A column's name with its unit."""
    return f"{column.name} ({column.unit})" if column.unit else column.name


def filled(table: Table, notes: Footnotes) -> list[list[Filled]]:
    """All cells of a table, row by row."""
    fullest = [_fullest(column, [row[at] for row in table.rows]) for at, column in enumerate(table.columns)]
    return [
        [
            _filled(cell, column, full, notes)
            for cell, column, full in zip(row, table.columns, fullest, strict=True)
        ]
        for row in table.rows
    ]


def _filled(cell: Cell, column: Column, full: float, notes: Footnotes) -> Filled:
    bare, note = (cell.cell, cell.note) if isinstance(cell, Noted) else (cell, "")
    if isinstance(bare, str):
        return Filled(cut(visible(bare), _LONGEST), note=notes.number(note))
    if isinstance(bare, Measured):
        text = with_interval(
            bare.value, bare.interval, per_cent=column.per_cent, decimals=column.decimals or 0
        )
        note = "; ".join(part for part in (note, bare.reason if bare.value is None else "") if part)
    elif column.per_cent:
        text = share(bare)
    else:
        text = number(bare, decimals=column.decimals)
    value = _value(bare)
    bar = None
    if column.bar and value is not None and isfinite(value):
        bar = min(max(value / full, 0.0), 1.0)
    return Filled(text or MISSING, value, bar, notes.number(note))


def _bare(cell: Cell) -> "str | int | float | Measured | None":
    return cell.cell if isinstance(cell, Noted) else cell


def _value(cell: "str | int | float | Measured | None") -> float | None:
    value = cell.value if isinstance(cell, Measured) else cell
    if value is None or isinstance(value, str):
        return None
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _fullest(column: Column, cells: Iterable[Cell]) -> float:
    """The value whose bar is full."""
    if column.per_cent:
        return 1.0
    values = (_value(_bare(cell)) for cell in cells)
    return max((one for one in values if one is not None and isfinite(one)), default=1.0) or 1.0
