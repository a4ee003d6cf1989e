"""The blocks of a report in a terminal, at any width, in a pipe, with and without colour.

Where nobody sees colour (a pipe, a file, NO_COLOR), what is learned from stands in [[ and ]].
"""

from collections.abc import Sequence
from typing import assert_never

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from concord.cli.drawings import draw_curve, draw_histogram
from concord.cli.grid import grid
from concord.cli.terminal import heading, paragraph
from concord.report.blocks import (
    Block,
    Callout,
    Column,
    Command,
    Curve,
    Facts,
    Heading,
    Histogram,
    Page,
    Paragraph,
    Piece,
    Sample,
    Samples,
    ShownReply,
    Table,
    Turn,
)
from concord.report.cells import Footnotes, filled
from concord.report.pieces import counted, length, split_pieces
from concord.report.words import one_line, visible

__all__ = ["show_block", "show_page"]

_READABLE = 110  # prose wider than this is not read
_HEAD, _TAIL = 320, 160  # characters of a long turn that are shown
_SEVERITIES = {
    "note": ("note", "bold blue"),
    "warn": ("WARNING", "bold yellow"),
    "stop": ("STOP", "bold red"),
}


def show_page(out: Console, page: Page) -> None:
    """Print a whole page."""
    _prose(out, one_line(page.title), style="bold")
    if page.subtitle:
        _prose(out, page.subtitle, style="dim")
    for block in page.blocks:
        out.print()
        show_block(out, block)


def show_block(out: Console, block: Block) -> None:
    """Print one block."""
    match block:
        case Heading():
            _heading(out, block)
        case Paragraph():
            _prose(out, block.text)
        case Callout():
            _callout(out, block)
        case Command():
            if block.title:
                _prose(out, block.title)
            # Never wrapped: a line end of ours would be copied too.
            out.print(
                Text(f"  {one_line(block.line)}", style="bold"), no_wrap=True, overflow="ignore", crop=False
            )
        case Facts():
            _facts(out, block)
        case Table():
            if block.caption:
                _prose(out, block.caption, style="bold")
            grid(out, block)
        case Curve():
            draw_curve(out, block)
        case Histogram():
            draw_histogram(out, block)
        case Samples():
            _samples(out, block)
        case _:
            assert_never(block)


def _prose(out: Console, text: str, *, style: str = "", indent: int = 0) -> None:
    width = out.width
    out.width = min(width, _READABLE)
    paragraph(out, visible(text), style=style, indent=indent)
    out.width = width


def _heading(out: Console, block: Heading) -> None:
    if block.level == 1:
        heading(out, one_line(block.text))
    else:
        _prose(out, one_line(block.text), style="bold")


def _callout(out: Console, block: Callout) -> None:
    word, style = _SEVERITIES[block.severity]
    line = Text.assemble((word, style), "  ", (one_line(block.title), "bold"))
    for wrapped in line.wrap(out, max(min(out.width, _READABLE), 1), overflow="fold"):
        wrapped.rstrip()
        out.print(wrapped)
    if block.detail:
        _prose(out, block.detail, indent=2)
    if block.do:
        _prose(out, f"To do: {block.do}", indent=2)


def _facts(out: Console, block: Facts) -> None:
    notes = Footnotes()
    rows = filled(Table((Column(""),), tuple((cell,) for _, cell in block.facts)), notes)
    names = [one_line(name) for name, _ in block.facts]
    size = max(map(cell_len, names), default=0)
    for name, (cell,) in zip(names, rows, strict=True):
        text = cell.text + (f" [{cell.note}]" if cell.note else "")
        if out.width - size < 32:
            _prose(out, name, style="dim")
            _prose(out, text, indent=2)
            continue
        lines = Text(text).wrap(out, out.width - size - 2, overflow="fold")
        for at, line in enumerate(lines):
            line.rstrip()
            first = Text(name if at == 0 else "", style="dim")
            out.print(Text.assemble(first, " " * (size + 2 - first.cell_len), line))
    for note, at in notes.notes.items():
        _prose(out, f"[{at}] {note}", style="dim")


# --- conversations ----------------------------------------------------------------------------------------


def _samples(out: Console, block: Samples) -> None:
    if block.caption:
        _prose(out, block.caption, style="bold")
    turns = [turn for sample in block.samples for turn in sample.turns]
    if any(piece.trained for turn in turns for piece in turn.pieces):
        plain = "What stands in [[ and ]] is learned from."
        _prose(out, "Green text is learned from." if _coloured(out) else plain, style="dim")
    for at, sample in enumerate(block.samples):
        if at:
            out.print()
        _sample(out, sample)


def _sample(out: Console, sample: Sample) -> None:
    _prose(out, f"--- {one_line(sample.title)}", style="dim")
    for turn in sample.prompt:
        _turn(out, turn)
    for reply in sample.replies:
        _reply(out, reply)
    for remark in sample.remarks:
        _prose(out, remark, style="dim")


def _reply(out: Console, reply: ShownReply) -> None:
    if reply.label:
        _prose(out, one_line(reply.label), style="bold")
    for turn in reply.turns:
        _turn(out, turn)


def _turn(out: Console, turn: Turn) -> None:
    if turn.role:
        _prose(out, one_line(turn.role), style="cyan")
    text = _told(turn.pieces, coloured=_coloured(out))
    for line in text.split("\n", allow_blank=True):
        for wrapped in line.wrap(out, max(min(out.width, _READABLE) - 2, 1), overflow="fold", tab_size=4):
            wrapped.rstrip()
            out.print(Text("  ").append_text(wrapped) if wrapped else Text())


def _told(pieces: Sequence[Piece], *, coloured: bool) -> Text:
    """The pieces as text; of what is long the beginning and the end, with what is between them counted."""
    shown, rest = split_pieces(pieces, _HEAD)
    size = length(rest)
    if size <= _TAIL * 2:
        return _joined([*shown, *rest], coloured) if shown or rest else Text("(nothing)", style="dim")
    left_out, end = split_pieces(rest, size - _TAIL)
    between = Text(f"\n... {counted(left_out)} ...\n", style="dim")
    return _joined(shown, coloured).append_text(between).append_text(_joined(end, coloured))


def _joined(pieces: Sequence[Piece], coloured: bool) -> Text:
    text = Text()
    inside = False
    for piece in pieces:
        if not coloured and piece.trained != inside:
            text.append("[[" if piece.trained else "]]")
        inside = piece.trained
        style = "green" if piece.trained else ""
        text.append(visible(piece.text), style=f"{style} bold".strip() if piece.special else style)
    if inside and not coloured:
        text.append("]]")
    return text


def _coloured(out: Console) -> bool:
    return out.is_terminal and not out.no_color and out.color_system is not None
