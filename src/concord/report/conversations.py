"""Samples as elements of a page: what is learned from is marked, blanks and special tokens can be seen."""

import re

from concord.report.blocks import Piece, Sample, Samples, ShownReply, Turn
from concord.report.markup import Markup, el, join, prose
from concord.report.pieces import counted, length, split_pieces
from concord.report.words import one_line, visible

__all__ = ["drawn_samples"]

_OPEN = 700  # characters of a turn that are shown unfolded
_LEAST_FOLDED = 250  # less than this is not worth a click
_LONGEST = 20_000  # characters of a turn that are in the page at all
_BLANKS = re.compile(r"(\n|\t|(?:(?<= ) | (?= )| (?=\n)|(?<=\n) |^ | $)|\[U\+[0-9A-F]{4,6}\])")
_UNSEEN = re.compile(r"\[U\+[0-9A-F]{4,6}\]")


def drawn_samples(block: Samples) -> Markup:
    """All samples of a block, with a legend where anything is marked."""
    pieces = [piece for sample in block.samples for turn in sample.turns for piece in turn.pieces]
    legend: list[Markup | str] = []
    if any(piece.trained for piece in pieces):
        legend += [el("mark", "marked text"), " is learned from. "]
    if any(piece.special for piece in pieces):
        legend += [el("span", "text in this colour", class_="special"), " is a special token."]
    return el(
        "div",
        el("p", block.caption, class_="caption") if block.caption else None,
        el("p", *legend, class_="legend") if legend else None,
        *map(_sample, block.samples),
        class_="samples",
    )


def _sample(sample: Sample) -> Markup:
    several = len(sample.replies) > 1
    return el(
        "article",
        el("p", el("bdi", one_line(sample.title)), class_="sample-title"),
        *map(_turn, sample.prompt),
        el("div", *map(_reply, sample.replies), class_="replies side" if several else "replies")
        if sample.replies
        else None,
        *(el("p", prose(remark), class_="remark") for remark in sample.remarks),
        class_="sample",
        aria_label=sample.title,
    )


def _reply(reply: ShownReply) -> Markup:
    known = reply.label.lower()
    tone = f"reply {known}" if known in ("chosen", "rejected") else "reply"
    label = el("p", el("bdi", one_line(reply.label)), class_="label") if reply.label else None
    return el("section", label, *map(_turn, reply.turns), class_=tone, aria_label=reply.label or "reply")


def _turn(turn: Turn) -> Markup:
    size = length(turn.pieces)
    shown, folded = split_pieces(turn.pieces, _OPEN if size > _OPEN + _LEAST_FOLDED else size)
    folded, lost = split_pieces(folded, _LONGEST - _OPEN)
    more = None
    if folded:
        more = el(
            "details",
            el("summary", counted(folded, "more ")),
            el("div", _said(folded), class_="said", dir="auto"),
        )
    return el(
        "div",
        el("p", one_line(turn.role), class_="role") if turn.role else None,
        el("div", _said(shown) if shown else el("em", "nothing"), class_="said", dir="auto"),
        more,
        el("p", f"{counted(lost, 'further ')} left out here.", class_="remark") if lost else None,
        class_=f"turn {turn.role}" if turn.role in ("system", "user", "assistant", "tool") else "turn",
    )


def _said(pieces: list[Piece]) -> Markup:
    return join(*map(_piece, pieces))


def _piece(piece: Piece) -> Markup:
    inside = join(*map(_blank, _BLANKS.split(visible(piece.text))))
    if piece.special:
        inside = el("span", inside, class_="special")
    return el("mark", inside) if piece.trained else inside


def _blank(text: str) -> Markup | str:
    """A sign before each line end, tab and doubled or outer blank; drawn by the style, so never copied."""
    match text:
        case "\n":
            return join(el("span", class_="nl"), "\n")
        case "\t":
            return el("span", "\t", class_="tab")
        case " ":
            return el("span", " ", class_="sp")
        case _ if _UNSEEN.fullmatch(text):
            # By itself, or right-to-left text around it would tear it apart.
            return el("bdi", text, class_="unseen")
        case _:
            return text
