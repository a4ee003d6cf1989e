"""Replies behind words that say how good they are, to be imitated: the data of Chain of Hindsight."""

from collections.abc import Iterator
from dataclasses import replace

from concord.messages import Message, Turns
from concord.types import RESERVED_META, Item, Preference, Shown

__all__ = ["BAD", "GOOD", "hindsight"]

GOOD, BAD = "A helpful answer:", "An unhelpful answer:"
"""What stands before better and before worse replies. Ask for good ones with the former."""


def hindsight(item: Item, *, good: str = GOOD, bad: str = BAD) -> Iterator[Item]:
    """Make two examples of a comparison: each reply behind its words, which open the assistant's own turn.

    They are part of what is asked, so nothing is learned of them. Of a tie there is nothing to tell: both
    replies are left out.

    paper: Liu et al. 2023, arXiv 2302.02676
    departs: one reply a sequence; the paper also puts both into one, where the second may be copied from the
        first, and hides some tokens of the past so that it is not
    """
    known = item.utilities
    if not isinstance(known, Preference) or known.first == 0.5:
        return
    meta = {name: value for name, value in item.meta.items() if name not in RESERVED_META}
    for place, reply in enumerate(item.replies):
        better = (known.first > 0.5) == (place == 0)
        opened = Message("assistant", good if better else bad)
        prompt = replace(item.prompt, messages=(*item.prompt.messages, opened))
        yield replace(item, prompt=prompt, replies=(_goes_on(reply),), utilities=Shown(), meta=meta)


def _goes_on(reply: Turns) -> Turns:
    """The reply as it goes on from words before it: with a blank between."""
    first = reply[0]
    if not isinstance(first.content, str) or first.content[:1].isspace():
        return reply
    return (replace(first, content=f" {first.content}"), *reply[1:])
