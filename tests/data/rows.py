"""Rows for the tests of shards: small random ones, and items to go with them."""

from collections.abc import Iterator

import numpy as np

from concord.render.records import Leaf, Rendered
from concord.types import Item, Origin, Preference, Prompt, as_prompt, as_turns

__all__ = ["item_of", "rendered_row", "rendered_rows", "same"]


def rendered_row(seed: int, *, replies: int = 2, leaves: int = 1) -> Rendered:
    """A row with random tokens whose leaves begin with the prompt, or, every third seed, with part of it."""
    chance = np.random.default_rng(seed)
    prompt = chance.integers(0, 200_000, chance.integers(1, 30), dtype=np.int32)

    def leaf() -> Leaf:
        head = prompt[: len(prompt) // 2] if seed % 3 == 0 else prompt
        ids = np.concatenate([head, chance.integers(0, 200_000, chance.integers(2, 40), dtype=np.int32)])
        middle = len(head) + 1
        spans = np.array([[len(head), middle], [middle, len(ids)]][: 1 + seed % 2], np.int32)
        return Leaf(ids, spans)

    return Rendered(prompt, tuple(tuple(leaf() for _ in range(leaves)) for _ in range(replies)))


def rendered_rows(count: int) -> Iterator[Rendered]:
    """Rows of every shape: none, one or three replies, with one leaf or two."""
    return (rendered_row(seed, replies=(2, 0, 1, 3)[seed % 4], leaves=1 + seed % 2) for seed in range(count))


def item_of(number: int) -> Item:
    """An item whose facts are its own."""
    prompt: Prompt = as_prompt(f"q{number}")
    replies = (as_turns("a"), as_turns("b"))
    facts = {"number": number, "text": "\u00e9\u2028\U0001f600"}
    return Item(
        prompt, replies, Preference(number % 5 / 5), meta=facts, origin=Origin("rows.jsonl", number + 1)
    )


def same(first: Rendered, second: Rendered) -> bool:
    """Whether two rows hold the same numbers in the same places."""
    pairs = [(first.prompt, second.prompt)]
    if [len(leaves) for leaves in first.replies] != [len(leaves) for leaves in second.replies]:
        return False
    for ours, theirs in zip(first.replies, second.replies, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            pairs += [(one.ids, other.ids), (one.spans, other.spans)]
    return all(np.array_equal(one, other) and one.dtype == other.dtype for one, other in pairs)
