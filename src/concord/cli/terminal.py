"""How verbs write: laid out for people at any width, as JSON for programs.

Rich gives width and colour (it minds NO_COLOR and pipes); lines are laid out here, without trailing blanks,
so that what is piped into another program is what is seen.
"""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

import click
from rich.console import Console
from rich.text import Text

__all__ = ["columns", "console", "emit", "heading", "paragraph", "widths"]

_PIPED = 200  # wide enough that in a file or a pipe a line stays a line
_NARROWEST = 30  # less than this for the last column, and it goes below the others
_GAP = 2
_FLOOR = 20


def console() -> Console:
    """A console as wide as the terminal, or as COLUMNS says; wide where nobody watches."""
    given = os.environ.get("COLUMNS", "")
    width = int(given) if given.isascii() and given.isdigit() else 0
    if not width:
        out: object = sys.stdout  # None where a process was started without one
        watched = out is not None and sys.stdout.isatty()
        width = (os.get_terminal_size(sys.stdout.fileno()).columns or 80) if watched else _PIPED
    return Console(highlight=False, emoji=False, markup=False, width=max(width, _FLOOR))


def emit(data: Any) -> None:
    """Print JSON for a program: legal, ASCII, one document."""
    click.echo(json.dumps(data, indent=1, allow_nan=False))


def heading(out: Console, text: str) -> None:
    """Print the name of what follows."""
    paragraph(out, text, style="bold underline")


def paragraph(out: Console, text: str, *, style: str = "", indent: int = 0) -> None:
    """Print text, its lines kept, wrapped where they are too long."""
    for line in _wrapped(out, Text(text, style=style), max(out.width - indent, 1)):
        out.print(Text(" " * indent).append_text(line))


def widths(rows: Iterable[Sequence[str]]) -> list[int]:
    """How wide each column is but the last, which takes what is left."""
    columns = zip(*rows, strict=True)
    return [max(len(line) for cell in column for line in cell.split("\n")) for column in columns][:-1]


def columns(
    out: Console, rows: Sequence[Sequence[str]], *, sizes: Sequence[int] = (), styles: Sequence[str] = ()
) -> None:
    """Print rows side by side; where there is no room, each last cell below the cells before it.

    `sizes`: what `widths` gave, for several tables to be aligned. `styles`: one for each column.
    """
    sizes = sizes or widths(rows)
    left = out.width - sum(sizes) - _GAP * len(sizes)
    styles = [*styles, *[""] * (len(sizes) + 1 - len(styles))]
    for *first, last in rows:
        if left < _NARROWEST:
            named = [Text(cell, style=style) for cell, style in zip(first, styles, strict=False) if cell]
            for line in _wrapped(out, Text(" " * _GAP).join(named), out.width):
                out.print(line)
            paragraph(out, last, style=styles[-1], indent=_GAP)
        else:
            _side_by_side(out, [*first, last], [*sizes, left], styles)


def _side_by_side(out: Console, cells: Sequence[str], sizes: Sequence[int], styles: Sequence[str]) -> None:
    pieces = [
        _wrapped(out, Text(cell, style=style), size)
        for cell, style, size in zip(cells, styles, sizes, strict=True)
    ]
    for parts in zip_longest(*pieces):
        line = Text()
        for part, size in zip(parts, sizes, strict=True):
            cell: Text = part or Text()
            line.append_text(cell).append(" " * (size - len(cell) + _GAP))
        line.rstrip()
        out.print(line)


def _wrapped(out: Console, text: Text, width: int) -> list[Text]:
    lines: list[Text] = []
    for line in text.split("\n", allow_blank=True):
        for wrapped in line.wrap(out, max(width, 1), overflow="fold"):
            wrapped.rstrip()
            lines.append(wrapped)
    return lines
