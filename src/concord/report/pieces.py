"""Pieces of conversations, for whoever draws them: special tokens set apart, long ones split and counted."""

import re
from collections.abc import Collection, Iterable, Iterator

from concord.report.blocks import Piece

__all__ = ["counted", "length", "special_apart", "split_pieces"]


def special_apart(pieces: Iterable[tuple[str, bool]], special: Collection[str] = ()) -> tuple[Piece, ...]:
    """Pieces from (text, trained), with special tokens in pieces of their own."""
    return tuple(part for text, trained in pieces for part in _apart(text, trained, special))


def _apart(text: str, trained: bool, special: Collection[str]) -> Iterator[Piece]:
    # The longest first, so that no token is taken for another that begins alike.
    tokens = sorted(filter(None, special), key=len, reverse=True)
    parts = re.split(f"({'|'.join(map(re.escape, tokens))})", text) if tokens else [text]
    for at, part in enumerate(parts):
        if part:
            yield Piece(part, trained, special=at % 2 == 1)


def split_pieces(pieces: Iterable[Piece], at: int) -> tuple[list[Piece], list[Piece]]:
    """The first so many characters of the pieces, and the rest."""
    head: list[Piece] = []
    tail: list[Piece] = []
    left = at
    for piece in pieces:
        first, rest = piece.text[:left], piece.text[left:]
        left -= len(first)
        if first:
            head.append(Piece(first, piece.trained, piece.special))
        if rest:
            tail.append(Piece(rest, piece.trained, piece.special))
    return head, tail


def length(pieces: Iterable[Piece]) -> int:
    """How many characters there are."""
    return sum(len(piece.text) for piece in pieces)


def counted(pieces: Collection[Piece], more: str = "") -> str:
    """How many characters there are, in words, and how many of them are learned from."""
    size, trained = length(pieces), length(piece for piece in pieces if piece.trained)
    which = f", {trained:,} of them learned from" if trained else ""
    return f"{size:,} {more}character{'s' * (size != 1)}{', all learned from' if trained == size else which}"
