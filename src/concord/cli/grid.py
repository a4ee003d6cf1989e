"""Tables in a terminal: numbers whole and to the right, text wrapped; row by row, where there is no room."""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from concord.cli.drawings import bar
from concord.cli.terminal import paragraph
from concord.report.blocks import Table
from concord.report.cells import Filled, Footnotes, filled, is_right, titled
from concord.report.words import one_line, visible

__all__ = ["grid"]

_GAP = 2
_LEAST = 12  # a column of text that is narrower is no longer read
_BAR = 10
_ROOMY = 90  # bars only where there is room


def grid(out: Console, table: Table) -> None:
    """Print the rows of a table under their heads, and its notes."""
    notes = Footnotes()
    cells = filled(table, notes)
    right = [is_right(row[at] for row in table.rows) for at in range(len(table.columns))]
    heads = [one_line(titled(column)) for column in table.columns]
    columns = [_texts([row[at] for row in cells], is_num, out) for at, is_num in enumerate(right)]
    rows = [list(row) for row in zip(*columns, strict=True)]
    sizes = _sizes(heads, rows, right, out.width)
    if not rows:
        paragraph(out, "No rows.", style="dim")
    elif sizes:
        _line(out, heads, sizes, right, style="dim")
        _line(out, ["-" * size for size in sizes], sizes, right, style="dim")
        for row in rows:
            _line(out, row, sizes, right)
    else:
        _stacked(out, heads, rows)
    for note, at in notes.notes.items():
        paragraph(out, f"[{at}] {visible(note)}", style="dim")
    for note in table.notes:
        paragraph(out, visible(note), style="dim")


def _texts(cells: Sequence[Filled], is_num: bool, out: Console) -> list[str]:
    """The cells of a column; bars begin at one place, so that they can be compared."""
    texts = [cell.text + (f" [{cell.note}]" if cell.note else "") for cell in cells]
    if not is_num or out.width < _ROOMY or all(cell.bar is None for cell in cells):
        return texts
    widest = max(map(cell_len, texts))
    bars = [" " * _BAR if cell.bar is None else bar(cell.bar, _BAR, out) for cell in cells]
    return [f"{drawn}  {text:>{widest}}" for drawn, text in zip(bars, texts, strict=True)]


def _sizes(heads: Sequence[str], rows: list[list[str]], right: Sequence[bool], width: int) -> list[int]:
    """The width of each column, or nothing where they cannot stand side by side."""
    room = width - _GAP * (len(heads) - 1)
    wanted: list[int] = []
    least: list[int] = []
    for at, head in enumerate(heads):
        cells = [cell_len(line) for row in rows for line in row[at].split("\n")]
        widest = max(cells, default=0)
        longest_word = max((cell_len(word) for word in head.split()), default=0)
        wanted.append(max(widest, cell_len(head)))
        least.append(max(widest if right[at] else min(widest, _LEAST), longest_word))
    while sum(wanted) > room:
        # The column with most to give gives first, so that short ones stay whole.
        spare, at = max((now - floor, at) for at, (now, floor) in enumerate(zip(wanted, least, strict=True)))
        if spare <= 0:
            return []
        wanted[at] -= min(max(spare // 4, 1), max(sum(wanted) - room, 1))
    return wanted


def _line(
    out: Console, cells: Sequence[str], sizes: Sequence[int], right: Sequence[bool], *, style: str = ""
) -> None:
    wrapped = [
        [line for part in cell.split("\n") for line in Text(part).wrap(out, size, overflow="fold")]
        or [Text()]
        for cell, size in zip(cells, sizes, strict=True)
    ]
    for at in range(max(map(len, wrapped))):
        line = Text(style=style)
        for lines, size, is_right_column in zip(wrapped, sizes, right, strict=True):
            part = lines[at].copy() if at < len(lines) else Text()
            part.rstrip()
            blank = " " * max(size - part.cell_len, 0)
            if is_right_column:
                line.append(blank).append_text(part)
            else:
                line.append_text(part).append(blank)
            line.append(" " * _GAP)
        line.rstrip()
        out.print(line)


def _stacked(out: Console, heads: Sequence[str], rows: list[list[str]]) -> None:
    """Each row by itself: its first cell, and below it every other with its name."""
    for row in rows:
        paragraph(out, row[0], style="bold")
        for head, cell in zip(heads[1:], row[1:], strict=True):
            if cell:
                paragraph(out, f"{head}: {cell}", indent=_GAP)
