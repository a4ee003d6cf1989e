"""A rendered row as one run of bytes: what the store keeps and what shards are made of.

    pack(rendered)    -> bytes
    unpack(words)     -> the row again; its arrays are views wherever no two parts had to be joined
    measure(words)    -> its lengths, without making it

Words of 32 bits, little-endian: four counts (replies, leaves, tokens of the prompt, spans); for each leaf
its reply, how many tokens it shares with the prompt, how many follow, and its spans; then the tokens of
the prompt, those that follow in each leaf, and the spans. The prompt stands once, whatever the number of
replies. Always 32 bits: vocabularies of today do not fit 16, and a view of 32 needs no conversion.
"""

from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np

from concord.errors import Said, StoreError, explain
from concord.render.records import Leaf, Rendered

__all__ = ["LAYOUT", "Measure", "Words", "measure", "pack", "unpack"]

LAYOUT = 1
"""Goes up when the layout of a packed row changes; it is part of what rows are stored under."""

Words: TypeAlias = np.ndarray[Any, np.dtype[np.int32]]
"""Numbers of 32 bits, as an array."""

_COUNTS = 4
_WORD = np.dtype("<i4")


class Measure(NamedTuple):
    """The lengths of a row: `tokens` with the prompt once; `leaves` as (reply, length, trained tokens)."""

    tokens: int
    prompt: int
    leaves: Words

    @property
    def longest(self) -> int:
        """The length of the longest leaf; of the prompt, where there is none."""
        return int(self.leaves[:, 1].max(initial=0)) if len(self.leaves) else self.prompt


def pack(rendered: Rendered) -> bytes:
    """A rendered row as bytes."""
    prompt = rendered.prompt
    table: list[tuple[int, int, int, int]] = []
    rests: list[Words] = []
    spans: list[Words] = []
    for number, leaves in enumerate(rendered.replies):
        assert leaves, "a reply has at least one leaf"
        for leaf in leaves:
            shared = _shared(prompt, leaf.ids)
            rests.append(leaf.ids[shared:])
            spans.append(leaf.spans.reshape(-1))
            table.append((number, shared, leaf.ids.size - shared, len(leaf.spans)))
    counts = (len(rendered.replies), len(table), prompt.size, sum(row[3] for row in table))
    header = np.array([*counts, *(count for row in table for count in row)], _WORD)
    return np.concatenate([header, prompt, *rests, *spans]).astype(_WORD, copy=False).tobytes()


def _shared(prompt: Words, ids: Words) -> int:
    """How many tokens two runs begin with alike."""
    shortest = min(prompt.size, ids.size)
    differs = prompt[:shortest] != ids[:shortest]
    first = int(differs.argmax()) if shortest else 0
    return first if shortest and differs[first] else shortest


def unpack(data: bytes | Words) -> Rendered:
    """The row that was packed."""
    words, table = _opened(data)
    replies: list[list[Leaf]] = [[] for _ in range(int(words[0]))]
    start = _COUNTS + table.size
    at = start + int(words[2])
    prompt = words[start:at]
    span = at + int(table[:, 2].sum())
    for number, shared, rest, spans in table.tolist():
        own = words[at : at + rest]
        ids = np.concatenate([prompt[:shared], own]) if shared else own
        learned = cast(Words, words[span : span + 2 * spans].reshape(-1, 2))
        replies[int(number)].append(Leaf(ids, learned))
        at, span = at + rest, span + 2 * spans
    return Rendered(prompt, tuple(map(tuple, replies)))


def measure(data: bytes | Words) -> Measure:
    """The lengths of a packed row."""
    words, table = _opened(data)
    prompt, rests = int(words[2]), int(table[:, 2].sum())
    spans = words[_COUNTS + table.size + prompt + rests :].reshape(-1, 2)
    owners = np.repeat(np.arange(len(table)), table[:, 3])
    trained = np.bincount(owners, spans[:, 1] - spans[:, 0], len(table))
    leaves = np.column_stack([table[:, 0], table[:, 1] + table[:, 2], trained]).astype(np.int32)
    return Measure(prompt + rests, prompt, leaves)


def _opened(data: bytes | Words) -> tuple[Words, Words]:
    """The words of a row and the table of its leaves, if they agree with each other."""
    words = cast(Words, np.frombuffer(data, _WORD)) if isinstance(data, bytes) else data
    if words.size >= _COUNTS:
        replies, leaves, prompt, spans = words[:_COUNTS].tolist()
        if min(replies, leaves, prompt, spans) >= 0 and words.size >= _COUNTS + 4 * leaves:
            table = words[_COUNTS : _COUNTS + 4 * leaves].reshape(-1, 4)
            rests, spanned = int(table[:, 2].sum()), int(table[:, 3].sum())
            whole = words.size == _COUNTS + 4 * leaves + prompt + rests + 2 * spans and spanned == spans
            # Replies are numbered from 0 without a gap, so none can be claimed that has no words.
            numbered = len(set(table[:, 0].tolist())) == replies == int(table[:, 0].max(initial=-1)) + 1
            if whole and numbered and (table >= 0).all() and (table[:, 1] <= prompt).all():
                return words, table
    wrong, do = "a rendered row is damaged", "prepare the data again"
    found, accepted = Said(f"{words.size} words that contradict their own counts"), "a row as it was packed"
    raise StoreError(explain(wrong, found=found, accepted=accepted, do=do))
