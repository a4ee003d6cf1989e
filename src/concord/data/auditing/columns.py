"""What an audit keeps of a million rows: some numbers and 64-bit hashes of content a row, never the rows.

Columns        rows, their replies, and the comparisons that they hold, as columns of numbers
content_hash   64 bits of BLAKE2 of a text: two texts of a million share one by chance at odds of 1 in 10^7
mixed          hashes of tuples of hashes, for whole columns at once
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from concord.data.order import scrambled
from concord.types import Item, Message, Origin, Text, Turns

__all__ = ["Columns", "Hashes", "content_hash", "mixed", "prompt_hash", "turns_hash", "turns_text"]

Hashes = NDArray[np.uint64]

_STEP = np.uint64(0x9E3779B97F4A7C15)


def content_hash(content: str | bytes) -> int:
    """A 64-bit hash of a text or of bytes, the same everywhere and always."""
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return int.from_bytes(blake2b(raw, digest_size=8).digest(), "little")


def turns_text(turns: Turns) -> str:
    """The text of several turns, a line each."""
    return turns[0].text if len(turns) == 1 else "\n".join(turn.text for turn in turns)


def turns_hash(turns: Turns) -> int:
    """A hash of all that turns say: role, text, thinking, calls, pictures and sounds."""
    return content_hash("\x1e".join(map(_said, turns)))


def prompt_hash(item: Item) -> int:
    """A hash of a prompt; 0 for one that says nothing, as there is nothing in which two of them are alike."""
    prompt = item.prompt
    if prompt.tokens is not None:
        return content_hash(repr(prompt.tokens))
    images = item.meta.get("images")
    if not (prompt.messages or prompt.tools or images):
        return 0
    # A second text can be asked with other tools, which makes it another prompt.
    tools = f"\x1d{prompt.tools!r}" if prompt.tools else ""
    pictures = _attached(images) if images else ""
    said = "\x1e".join(map(_said, prompt.messages))
    return content_hash(said + tools + pictures)


def mixed(*columns: NDArray[np.generic]) -> Hashes:
    """One hash for each row of several columns; their order counts."""
    result = np.full(len(columns[0]), _STEP, dtype=np.uint64)
    for column in columns:
        result = scrambled((result ^ column.astype(np.uint64)) + _STEP)
    return result


def _said(turn: Message) -> str:
    if isinstance(turn.content, str):
        said = f"{turn.role}\x1f{turn.content}"
    else:
        parts = (part.text if isinstance(part, Text) else _attached(part) for part in turn.content)
        said = f"{turn.role}\x1f{''.join(parts)}"
    if turn.reasoning or turn.tool_calls:
        said += f"\x1d{turn.reasoning}\x1d{turn.tool_calls!r}"
    return said


def _attached(thing: object) -> str:
    return f"\x1d{content_hash(repr(thing))}"


def _u16() -> "array[int]":
    return array("H")


def _u32() -> "array[int]":
    return array("I")


def _u64() -> "array[int]":
    return array("Q")


def _bytes() -> "array[int]":
    return array("b")


def _floats() -> "array[float]":
    return array("f")


@dataclass(slots=True)
class Columns:
    """What is kept of rows, replies and comparisons: about 100 bytes for a row with one pair."""

    split: "array[int]" = field(default_factory=_u16)
    source: "array[int]" = field(default_factory=_u16)
    file: "array[int]" = field(default_factory=_u32)
    line: "array[int]" = field(default_factory=_u32)
    prompt: "array[int]" = field(default_factory=_u64)
    content: "array[int]" = field(default_factory=_u64)
    """Of the whole row: prompt, replies in their order, and what is known of them."""

    reply_row: "array[int]" = field(default_factory=_u32)
    reply: "array[int]" = field(default_factory=_u64)
    characters: "array[int]" = field(default_factory=_u32)
    tokens: "array[int]" = field(default_factory=_u32)
    """Of each reply; empty where nothing was rendered."""
    formatting: "array[int]" = field(default_factory=_u16)
    lists: "array[int]" = field(default_factory=_u16)
    code: "array[int]" = field(default_factory=_u16)
    exclamations: "array[int]" = field(default_factory=_u16)
    refusal: "array[int]" = field(default_factory=_bytes)

    first: "array[int]" = field(default_factory=_u32)
    """The reply that stands first in a comparison, by its place among all replies; `second` likewise."""
    second: "array[int]" = field(default_factory=_u32)
    first_wins: "array[float]" = field(default_factory=_floats)
    """Votes, or the probability where there are none; a tie is a win for neither."""
    second_wins: "array[float]" = field(default_factory=_floats)
    preference: "array[float]" = field(default_factory=_floats)
    implied: "array[int]" = field(default_factory=_bytes)
    """1 where a ranking or scores say it, 0 where the two were compared."""

    judged: "array[int]" = field(default_factory=_u32)
    """The replies that are labelled, by their place, and in `desirable` how."""
    desirable: "array[int]" = field(default_factory=_bytes)

    files: list[str] = field(default_factory=list[str])
    splits: list[str] = field(default_factory=list[str])
    sources: list[str] = field(default_factory=list[str])

    def origin(self, row: int) -> Origin:
        """Where a row stands, by its number in the order of the pass."""
        line = self.line[row]
        return Origin(self.files[self.file[row]], line or None)

    def origins(self, rows: Iterable[int], most: int) -> tuple[Origin, ...]:
        """Where the first few of these rows stand."""
        return tuple(self.origin(int(row)) for row in islice(rows, most))

    @property
    def row_prompts(self) -> Hashes:
        """The prompt of each row; a row without one stands for itself."""
        prompts, content = self.view("prompt"), self.view("content")
        return np.where(prompts == 0, content, prompts)

    def view(self, name: str) -> NDArray[Any]:
        """A column as an array, without a copy. No row may be added while it is held."""
        column: array[float] = getattr(self, name)
        return np.frombuffer(column, dtype=column.typecode) if column else np.zeros(0, dtype=column.typecode)
