"""A page as one HTML file that needs nothing else: no network, no font, no library.

The file says so itself (its content security policy forbids everything from outside, and any script or
style but its own), works from a disk, follows the light or dark of the system, can be read on a phone and
printed. Scripts only sort tables and copy commands; without them everything is there still.
"""

import base64
import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import assert_never

from concord import durable
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
    Samples,
    Table,
)
from concord.report.cells import Filled, Footnotes, filled, is_right, titled
from concord.report.conversations import drawn_samples
from concord.report.markup import Child, Markup, el, join, prose, void
from concord.report.plots import COLOURS, curve_notes, drawn_curve, drawn_histogram, named_axis
from concord.report.words import one_line

__all__ = ["page_html", "write_page"]

_CONTENTS_FROM = 4  # so many headings make contents worth their room
_SEVERITIES = {"note": "Note", "warn": "Warning", "stop": "Stop"}


def page_html(page: Page) -> str:
    """The page as HTML: the same text for an equal page."""
    anchors = _anchors(page)
    contents = _contents(page, anchors) if len(anchors) >= _CONTENTS_FROM else None
    names = iter(anchors)
    parts = [_block(block, at, names) for at, block in enumerate(page.blocks)]
    subtitle = el("p", prose(page.subtitle), class_="subtitle") if page.subtitle else None
    header = el("header", el("h1", one_line(page.title), dir="auto"), subtitle)
    footer = el(
        "footer", el("p", "Made by Concord. This file is complete in itself and asks nothing of a network.")
    )
    body = el(
        "body",
        header,
        contents,
        el("main", *_in_lines(parts)),
        footer,
        class_="with-contents" if contents else None,
    )
    whole = el("html", *_in_lines([_head(page), body]), lang="en")
    return f"<!doctype html>\n{whole}\n"


def write_page(page: Page, path: str | Path) -> None:
    """Write the page to a file, which holds the old or the new one at any moment."""
    durable.write_bytes(path, page_html(page).encode("utf-8"))


# --- head and contents ------------------------------------------------------------------------------------


def _head(page: Page) -> Markup:
    style, script = _own("page.css"), _own("page.js")
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src '{_hashed(style)}'",
            f"script-src '{_hashed(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    return el(
        "head",
        *_in_lines(
            [
                void("meta", charset="utf-8"),
                void("meta", http_equiv="Content-Security-Policy", content=policy),
                void("meta", name="viewport", content="width=device-width, initial-scale=1"),
                void("meta", name="color-scheme", content="light dark"),
                void("meta", name="referrer", content="no-referrer"),
                void("meta", name="generator", content="Concord"),
                el("title", one_line(page.title)),
                el("style", Markup(style)),
                el("script", Markup(script), type="module"),
            ]
        ),
    )


@cache
def _own(name: str) -> str:
    """The style or the script that every page carries."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _hashed(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _anchors(page: Page) -> list[str]:
    """A name for each heading, for links: its words, numbered where they come again."""
    taken: set[str] = set()
    anchors: list[str] = []
    for heading in _headings(page):
        words = re.sub(r"[^a-z0-9]+", "-", heading.text.lower())[:60].strip("-") or "section"
        anchor, again = words, 1
        while anchor in taken:
            again += 1
            anchor = f"{words}-{again}"
        taken.add(anchor)
        anchors.append(anchor)
    return anchors


def _headings(page: Page) -> Iterator[Heading]:
    yield from (block for block in page.blocks if isinstance(block, Heading))


def _contents(page: Page, anchors: list[str]) -> Markup:
    entries = [
        el("li", el("a", one_line(heading.text), href=f"#{anchor}"), class_=f"level{heading.level}")
        for heading, anchor in zip(_headings(page), anchors, strict=True)
    ]
    return el("nav", el("p", "Contents"), el("ol", *entries), aria_label="Contents")


def _in_lines(parts: list[Markup]) -> Iterator[str]:
    for part in parts:
        yield "\n"
        yield part
    yield "\n"


# --- blocks -----------------------------------------------------------------------------------------------


def _block(block: Block, at: int, anchors: Iterator[str]) -> Markup:
    match block:
        case Heading():
            return el(f"h{block.level + 1}", one_line(block.text), id=next(anchors), dir="auto")
        case Paragraph():
            return join(*(el("p", prose(part), dir="auto") for part in re.split(r"\n\s*\n", block.text)))
        case Callout():
            return _callout(block)
        case Command():
            return _command(block)
        case Facts():
            return _facts(block)
        case Table():
            # No heading has this anchor: theirs hold no underscore.
            return _table(block, f"table_{at}")
        case Curve():
            names = [series.name for series in block.series]
            notes = " ".join(part for part in (block.caption, curve_notes(block)) if part)
            return _figure(block, drawn_curve(block), names, notes)
        case Histogram():
            names = [group.name for group in block.groups]
            return _figure(block, drawn_histogram(block), names, block.caption)
        case Samples():
            return drawn_samples(block)
        case _:
            assert_never(block)


def _callout(block: Callout) -> Markup:
    return el(
        "aside",
        el(
            "p",
            el("strong", _SEVERITIES[block.severity], class_="severity"),
            " ",
            el("b", prose(block.title)),
        ),
        el("p", prose(block.detail), dir="auto") if block.detail else None,
        el("p", el("span", "To do: ", class_="do"), prose(block.do)) if block.do else None,
        class_=f"callout {block.severity}",
        aria_label=_SEVERITIES[block.severity],
    )


def _command(block: Command) -> Markup:
    title = el("p", prose(block.title), class_="caption") if block.title else None
    return el("div", title, el("pre", el("code", block.line), tabindex="0"), class_="command")


def _facts(block: Facts) -> Markup:
    notes = Footnotes()
    table = Table((Column(""),), tuple((cell,) for _, cell in block.facts))
    pairs = [
        el("div", el("dt", name), el("dd", el("bdi", prose(cell.text)), _reference(cell)))
        for (name, _), (cell,) in zip(block.facts, filled(table, notes), strict=True)
    ]
    return join(el("dl", *pairs), _notes(notes))


def _table(block: Table, name: str) -> Markup:
    notes = Footnotes()
    rows = filled(block, notes)
    right = [is_right(row[at] for row in block.rows) for at in range(len(block.columns))]
    heads = [
        el("th", titled(column), scope="col", class_="num" if is_num else None)
        for column, is_num in zip(block.columns, right, strict=True)
    ]
    body = [el("tr", *_cells(row, right)) for row in rows]
    caption = el("p", prose(block.caption), class_="caption", id=name) if block.caption else None
    table = el(
        "table",
        el("thead", el("tr", *heads)),
        el("tbody", *body),
        class_="sortable" if len(rows) > 1 else None,
        aria_labelledby=name if block.caption else None,
    )
    # Focusable, so that a table that is wider than the page can be scrolled with the keyboard.
    scroll = el(
        "div", table, class_="scroll", tabindex="0", role="region", aria_label=block.caption or "table"
    )
    empty = el("p", "No rows.", class_="remark") if not rows else None
    return el("div", caption, scroll, empty, _notes(notes, block.notes), class_="table")


def _cells(row: list[Filled], right: list[bool]) -> Iterator[Markup]:
    for at, (cell, is_num) in enumerate(zip(row, right, strict=True)):
        yield _cell(cell, is_num, first=at == 0)


def _cell(cell: Filled, is_num: bool, *, first: bool) -> Markup:
    bar = None
    if cell.bar is not None:
        box = el("rect", x=0, y=0, width=100 * cell.bar, height=8)
        bar = el(
            "svg", box, class_="bar", viewBox="0 0 100 8", preserveAspectRatio="none", aria_hidden="true"
        )
    value = None if cell.value is None else repr(cell.value)
    text: Child = cell.text if is_num else el("bdi", cell.text)
    # The first column names the row, unless it is a number like any other.
    name, scope = ("th", "row") if first and not is_num else ("td", None)
    inside = join(text, _reference(cell))
    if bar:
        inside = el("div", bar, el("span", inside), class_="barred")
    return el(name, inside, scope=scope, class_="num" if is_num else None, data_v=value)


def _reference(cell: Filled) -> Markup | None:
    return None if cell.note is None else el("sup", str(cell.note), class_="ref")


def _notes(notes: Footnotes, below: tuple[str, ...] = ()) -> Markup | None:
    numbered = [el("li", prose(note)) for note in notes.notes]
    parts = [el("p", prose(note)) for note in below]
    if not numbered and not parts:
        return None
    return el("div", el("ol", *numbered) if numbered else None, *parts, class_="notes")


def _figure(block: Curve | Histogram, drawn: Markup, names: list[str], caption: str) -> Markup:
    # Beside the line itself its name says more than its colour; a legend for one nameless line says nothing.
    legend = (
        el("ul", *(_key(name, at) for at, name in enumerate(names)), class_="keys") if any(names) else None
    )
    return el(
        "figure",
        el("figcaption", prose(block.title)),
        legend,
        el("p", named_axis(block.y), class_="axis y"),
        drawn,
        el("p", named_axis(block.x), class_="axis x"),
        el("p", prose(caption), class_="remark") if caption else None,
    )


def _key(name: str, at: int) -> Markup:
    dashed = " dash" if at >= COLOURS else ""
    line = el("line", x1=0, x2=22, y1=5, y2=5, class_=f"line s{at % COLOURS}{dashed}")
    swatch = el("svg", line, viewBox="0 0 22 10", class_="key", aria_hidden="true")
    return el("li", swatch, el("bdi", one_line(name)))
