"""Text from data made fit to be shown: whatever would be unseen, or would disturb its surroundings, is named.

A page or a terminal must not be steered by a row of data. Control characters (with them the sequences that a
terminal obeys), marks that turn the direction of what follows, invisible characters and halves of surrogate
pairs are shown by their number, as [U+202E]. What languages and emoji need stays: joiners, variation
selectors, combining and right-to-left letters.
"""

import re
from collections.abc import Iterator

__all__ = ["code_pieces", "cut", "one_line", "short_path", "visible"]

_UNSEEN = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, without tab and line feed
    "\u00ad\u061c\u200b\u2028\u2029\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
    "\U000e0000-\U000e007f"  # tags: whole hidden messages can be written in them
    "]"
)
_CODE = re.compile(r"`([^`\n]+)`")


def visible(text: str) -> str:
    """The text with everything that would be unseen, or obeyed, named by its number; lines and tabs stay."""
    return _UNSEEN.sub(lambda found: f"[U+{ord(found[0]):04X}]", text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """Visible text without line ends, for headings, names and attributes."""
    return " ".join(visible(text).split())


def cut(text: str, longest: int) -> str:
    """The text, or its beginning and how long it is."""
    return text if len(text) <= longest else f"{text[:longest].rstrip()} ... ({len(text):,} characters)"


def code_pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Split text at its `code`: each piece, and whether it is code."""
    for at, piece in enumerate(_CODE.split(text)):
        if piece:
            yield piece, at % 2 == 1


def short_path(path: str) -> str:
    """The name of a file without its folders."""
    return path.replace("\\", "/").rpartition("/")[2]
