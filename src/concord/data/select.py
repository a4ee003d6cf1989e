"""Which rows are taken: splits that do not leak, samples, caps.

split(prompt_key(item), {"train": 0.9, "test": 0.1})   which split a prompt belongs to
sample(rows, size, seed)                               a sample of row numbers, in ascending order
take, where, capped                                    the first, those that hold, so many of each source
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from itertools import chain, islice
from typing import TypeVar

import numpy as np

from concord import store
from concord.data.mixing import exact_shares
from concord.data.order import Integers, check_count, permuted, subseed
from concord.errors import InputError, explain, nearest
from concord.messages import Audio, Image, Images, Message, Part, Prompt, Text, Video
from concord.types import Item

__all__ = ["capped", "prompt_key", "sample", "split", "take", "where"]

T = TypeVar("T")


def split(key: str, shares: Mapping[str, float], seed: int = 0) -> str:
    """The name of the split that a key belongs to: with {"train": 0.9, "test": 0.1}, one of these two.

    Decided by a hash of the key (that of the prompt, by `prompt_key`), so all replies to a prompt are on
    the same side, and rows that are added or reordered move nothing. Each split gets its share of the
    prompts, as far as chance goes.
    """
    drawn = subseed(seed, "split", key)
    reached = Fraction(0)
    exact = _ordered(tuple(sorted(shares.items())))
    for name, share in exact:
        reached += share
        if drawn < reached * (1 << 64):
            return name
    raise AssertionError("shares add up to one")


@lru_cache(maxsize=16)
def _ordered(shares: tuple[tuple[str, float], ...]) -> tuple[tuple[str, Fraction], ...]:
    return tuple(exact_shares(dict(shares), "share").items())


def prompt_key(item: Item | Prompt) -> str:
    """A key that prompts share if and only if they ask the same: the same turns said by the same roles.

    Tools, arguments of the template and marks for training do not count, so that no split holds a question
    of another one in a new frame.
    """
    prompt = item.prompt if isinstance(item, Item) else item
    asked: object = [[turn.role, *_said(turn)] for turn in prompt.messages] or prompt.tokens
    return store.key("prompt", asked)


def _said(turn: Message) -> list[object]:
    """What a turn says. In how many parts its text and its pictures are given does not count."""
    said: list[object] = []
    for shown in chain.from_iterable(map(_shown, turn.parts)):
        if isinstance(shown, str) and said and isinstance(said[-1], str):
            said[-1] += shown
        elif shown:
            said.append(shown)
    if turn.reasoning or turn.tool_calls:
        return [said, turn.reasoning, [[call.name, call.arguments] for call in turn.tool_calls]]
    return [said]


def _shown(part: Part) -> list[object]:
    """A text as it is; what is no text by its kind and source."""
    match part:
        case Text(text):
            return [text]
        case Images(images):
            return [one for image in images for one in _shown(image)]
        case Video(source) if isinstance(source, tuple):
            return [["Video", [one for image in source for one in _shown(image)]]]
        case Image(source) | Video(source) | Audio(source):
            return [[type(part).__name__, source]]


# --- taking some of the rows ------------------------------------------------------------------------------


def take(items: Iterable[T], most: int) -> Iterator[T]:
    """The first items, at most so many; the rest is not read."""
    check_count(most, "the number of items to take", least=0)
    return islice(items, most)


def where(items: Iterable[T], holds: Callable[[T], bool]) -> Iterator[T]:
    """The items that a condition holds for."""
    return (item for item in items if holds(item))


def sample(rows: int, size: int, seed: int = 0) -> Integers:
    """A sample of `size` of the numbers from 0 to rows - 1, without repeats, in ascending order.

    A larger sample with the same seed holds the smaller one.
    """
    check_count(rows, "the number of rows to sample from")
    check_count(size, "the size of a sample", least=0)
    if size > rows:
        wrong, do = "a sample is larger than what it is taken from", "take fewer rows"
        raise InputError(explain(wrong, found=size, accepted=f"at most {rows}", do=do))
    drawn = permuted(np.arange(size, dtype=np.int64), rows, subseed(seed, "sample"))
    return np.sort(drawn)


def capped(
    items: Iterable[Item], most: int | Mapping[str, int], *, by: Callable[[Item], str] | None = None
) -> Iterator[Item]:
    """The first items of each source: as many as `most` says, for all of them or by name.

    The source of an item is what `by` says, else the file it came from. A source that a mapping does not
    name is refused, rather than dropped or let through.
    """
    by_name = None if isinstance(most, int) else most
    for cap in [most] if isinstance(most, int) else most.values():
        check_count(cap, "the cap of a source", least=0)
    seen: Counter[str] = Counter()
    for item in items:
        source = by(item) if by else item.origin.file if item.origin else ""
        if by_name is not None and source not in by_name:
            wrong, do = "an item comes from a source without a cap", "give it one; 0 leaves it out"
            raise InputError(explain(wrong, found=source, accepted=nearest(source, by_name), do=do))
        if seen[source] < (most if isinstance(most, int) else most[source]):
            seen[source] += 1
            yield item
