"""Blocks in a terminal: within any width, whole, harmless, and readable without colour."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from concord.cli.blocks import show_block, show_page
from concord.cli.drawings import bar
from concord.report.blocks import (
    Axis,
    Block,
    Callout,
    Column,
    Command,
    Counts,
    Curve,
    Facts,
    Heading,
    Histogram,
    Mark,
    Measured,
    Noted,
    Page,
    Paragraph,
    Piece,
    Point,
    Sample,
    Samples,
    Series,
    ShownReply,
    Table,
    Turn,
)
from concord.results import Interval
from tests.report.pages import HOSTILE, whole_page

WIDTHS = (20, 40, 60, 80, 120, 200)
BIAS = Table(
    (
        Column("property"),
        Column("chosen has more", per_cent=True, bar=True),
        Column("rows"),
        Column("source"),
    ),
    (
        ("length", Measured(0.6312, Interval(0.6262, 0.6361)), 58211, "all of them"),
        (
            Noted("words of the prompt", "Without common ones."),
            Measured(0.213, Interval(0.18, 0.25)),
            2210,
            "web",
        ),
        ("code", Measured(None, None, "Too few."), 12, ""),
    ),
    caption="Bias",
)


def terminal(width: int, *, colour: bool = False, encoding: str = "utf-8") -> tuple[Console, io.BytesIO]:
    raw = io.BytesIO()
    system = "standard" if colour else None
    out = Console(
        file=io.TextIOWrapper(raw, encoding=encoding, write_through=True),
        width=width,
        force_terminal=colour,
        color_system=system,
        no_color=not colour,
        highlight=False,
        emoji=False,
        markup=False,
    )
    return out, raw


def told(block: Block | Page, width: int = 80, *, colour: bool = False, encoding: str = "utf-8") -> str:
    out, raw = terminal(width, colour=colour, encoding=encoding)
    if isinstance(block, Page):
        show_page(out, block)
    else:
        show_block(out, block)
    return raw.getvalue().decode(encoding)


def test_a_table_at_80_columns() -> None:
    assert told(BIAS, 80) == (
        "Bias\n"
        "property                    chosen has more    rows  source\n"
        "-----------------------  ------------------  ------  -----------\n"
        "length                   63.1% [62.6, 63.6]  58,211  all of them\n"
        "words of the prompt [1]  21.3% [18.0, 25.0]   2,210  web\n"
        "code                                  - [2]      12\n"
        "[1] Without common ones.\n"
        "[2] Too few.\n"
    )


def test_a_table_at_60_columns_wraps_text_and_no_number() -> None:
    lines = told(BIAS, 60).splitlines()
    assert lines[1] == "property                chosen has more    rows  source"
    assert lines[4:6] == [
        "words of the prompt  21.3% [18.0, 25.0]   2,210  web",
        "[1]",
    ]


def test_a_table_at_40_columns_stands_row_by_row() -> None:
    assert told(BIAS, 40).splitlines()[:9] == [
        "Bias",
        "length",
        "  chosen has more: 63.1% [62.6, 63.6]",
        "  rows: 58,211",
        "  source: all of them",
        "words of the prompt [1]",
        "  chosen has more: 21.3% [18.0, 25.0]",
        "  rows: 2,210",
        "  source: web",
    ]


def test_a_wide_table_has_bars_that_begin_at_one_place() -> None:
    rows = told(BIAS, 120, encoding="ascii").splitlines()[3:6]
    assert rows == [
        "length                   ######      63.1% [62.6, 63.6]  58,211  all of them",
        "words of the prompt [1]  ##          21.3% [18.0, 25.0]   2,210  web",
        "code                                              - [2]      12",
    ]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("text", [*HOSTILE, "two words", "\u6f22\u5b57 " * 30, "x" * 300])
def test_nothing_is_wider_than_the_terminal_or_steers_it(width: int, colour: bool, text: str) -> None:
    page = whole_page(text)
    commands = [block for block in page.blocks if isinstance(block, Command)]
    page = Page(page.title, page.subtitle, tuple(block for block in page.blocks if block not in commands))
    shown = told(page, width, colour=colour)
    if colour:
        shown = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    assert max(cell_len(line) for line in shown.split("\n")) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_every_number_is_there_at_every_width(width: int) -> None:
    shown = told(BIAS, width)
    squeezed = re.sub(r"\s+", "", shown)
    for text in ("63.1%[62.6,63.6]", "58,211", "allofthem", "Withoutcommonones."):
        assert text in squeezed
    assert all(line == line.rstrip() for line in shown.splitlines())


@given(st.text(max_size=40), st.integers(min_value=20, max_value=60))
def test_any_text_fits_in_any_table(text: str, width: int) -> None:
    shown = told(Table((Column(text), Column("n")), ((text, 1), (text, 1234567))), width)
    assert max(cell_len(line) for line in shown.split("\n")) <= width


def test_a_command_is_one_line_whatever_the_width() -> None:
    line = "concord audit " + "a-file.jsonl " * 20
    assert told(Command(line, "Again:"), 40) == f"Again:\n  {line.strip()}\n"


def test_a_callout_says_how_grave_it_is() -> None:
    assert told(Callout("stop", "The title", "So it is.", "Mend it.")) == (
        "STOP  The title\n  So it is.\n  To do: Mend it.\n"
    )
    assert told(Callout("warn", "T")).startswith("WARNING  T")
    assert told(Callout("note", "T")).startswith("note  T")


def test_facts_headings_and_prose() -> None:
    facts = Facts((("Rows", 1234), ("Kind", Noted("comparison", "As found."))))
    assert told(facts) == "Rows  1,234\nKind  comparison [1]\n[1] As found.\n"
    assert told(facts, 30) == "Rows\n  1,234\nKind\n  comparison [1]\n[1] As found.\n"
    assert told(Heading("Lengths\nall")) == "Lengths all\n"
    assert told(Paragraph("a `b`\n\nc")) == "a `b`\n\nc\n"


# --- samples ----------------------------------------------------------------------------------------------

SAMPLE = Sample(
    "a.jsonl:7",
    (Turn("user", (Piece("Why?\n\tSo"),)),),
    (
        ShownReply("chosen", (Turn("", (Piece("no "), Piece("yes", True), Piece("<e>", True, True))),)),
        ShownReply("rejected", (Turn("assistant", (Piece(""),)),)),
    ),
    ("A remark.",),
)


def test_without_colour_what_is_learned_from_stands_in_brackets() -> None:
    assert told(Samples((SAMPLE,), "One")) == (
        "One\nWhat stands in [[ and ]] is learned from.\n--- a.jsonl:7\nuser\n  Why?\n      So\n"
        "chosen\n  no [[yes<e>]]\nrejected\nassistant\n  (nothing)\nA remark.\n"
    )


def test_with_colour_it_is_coloured_and_has_no_brackets() -> None:
    shown = told(Samples((SAMPLE,)), colour=True)
    assert "\x1b[32myes\x1b[0m" in shown
    assert "\x1b[1;32m<e>\x1b[0m" in shown
    assert "[[" not in shown


def test_of_a_long_turn_beginning_and_end_are_shown() -> None:
    turn = Turn("assistant", (Piece("a" * 600), Piece("b" * 600, trained=True)))
    shown = told(Samples((Sample("s", (turn,)),)), 200)
    squeezed = re.sub(r"\s+", "", shown)
    assert "a" * 320 + "...720characters,440ofthemlearnedfrom...[[" + "b" * 160 + "]]" in squeezed


# --- drawings ---------------------------------------------------------------------------------------------


def test_a_histogram_in_ascii() -> None:
    drawn = Histogram(
        "Tokens", Axis("length"), (0, 10, 20, 30), (Counts("a", (8, 4, 0)), Counts("b", (0, 1, 1000))),
        marks=(Mark(20, "limit"),), caption="All.",
    )  # fmt: skip
    assert told(drawn, 40, encoding="ascii") == (
        "Tokens\n"
        "length    a             b\n"
        " 0 to 10  .          8                 0\n"
        "10 to 20  .          4  .              1\n"
        "-- limit: 20 ---------------------------\n"
        "20 to 30             0  #########  1,000\n"
        "Counts: rows.\n"
        "All.\n"
    )


def test_many_bins_are_added_up_and_none_is_lost() -> None:
    drawn = Histogram("H", Axis("x"), tuple(range(101)), (Counts("", tuple(range(100))),))
    rows = told(drawn, 80).splitlines()[2:-1]
    assert len(rows) == 15
    assert rows[0].split()[:3] == ["0", "to", "7"]
    assert rows[-1].split()[:3] == ["98", "to", "100"]
    assert sum(int(row.split()[-1]) for row in rows) == 4950


def test_a_curve_is_a_row_of_bars() -> None:
    points = tuple(Point(x, x) for x in range(9))
    curve = Curve("Rise", Axis("step"), Axis("gain", "nats"), (Series("a", points),))
    lines = told(curve, 60, encoding="ascii").splitlines()
    assert lines[:3] == ["Rise", "gain (nats) by step", "a"]
    assert lines[3].replace(" ", "") == "_.-=+*#@@"  # of the scale from 0 to 8 each step is one level
    assert len(lines[3]) == 60
    assert lines[4:] == ["0 at 0 to 8 at 8; lowest 0 at 0, highest 8 at 8", "Scale: 0 to 8."]


def test_a_curve_of_nothing_says_so() -> None:
    shown = told(Curve("C", Axis("x"), Axis("y", log=True), (Series("a", (Point(1, -1.0),)),)))
    assert "Nothing to draw." in shown
    assert "1 points have no place on these scales and are not drawn." in shown


@pytest.mark.parametrize(
    ("length", "text"), [(0, "    "), (0.001, "\u258f   "), (0.5, "\u2588\u2588  "), (1, "\u2588" * 4)]
)
def test_a_bar_is_as_long_as_its_value_and_never_unseen(length: float, text: str) -> None:
    assert bar(length, 4, terminal(80)[0]) == text
