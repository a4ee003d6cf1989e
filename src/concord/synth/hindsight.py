"""Replies behind words that say how good they are, to be imitated: the data of Chain of Hindsight."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from concord.messages import Message, Turns
from concord.types import RESERVED_META, Item, Label, Preference, Ranks, Ratings, Shown

__all__ = ["BAD", "GOOD", "MARK", "hindsight"]

GOOD, BAD = "A helpful answer:", "An unhelpful answer:"
"""What stands before better and before worse replies. Ask for good ones with the former."""

MARK = "hindsight"
"""The key of `meta` that says which of the two stands before a reply: good or bad."""


def hindsight(item: Item, *, good: str = GOOD, bad: str = BAD) -> Iterator[Item]:
    """Make an example of each reply that is known to be good or bad, behind its words, which open its turn.

    These are both replies of a comparison, the reply of a judgement, the best and the worst one of a ranking
    or a rating. The words are part of what is asked, so nothing is learned of them. Of ties, and of what is
    in between, there is nothing to tell: such replies are left out.

    paper: Liu et al. 2023, arXiv 2302.02676
    departs: one reply a sequence; the paper also puts both into one, where the second may be copied from the
        first, and hides some tokens of the past so that it is not
    """
    meta = {name: value for name, value in item.meta.items() if name not in RESERVED_META}
    for place, better in _told(item):
        opened = Message("assistant", good if better else bad)
        prompt = replace(item.prompt, messages=(*item.prompt.messages, opened))
        known = {**meta, MARK: "good" if better else "bad"}
        yield replace(
            item, prompt=prompt, replies=(_goes_on(item.replies[place]),), utilities=Shown(), meta=known
        )


def _told(item: Item) -> list[tuple[int, bool]]:
    """The places of the replies that are known to be good or bad, and which they are."""
    match item.utilities:
        case Label(desirable):
            return [(0, desirable)]
        case Preference(first):
            return [] if first == 0.5 else [(0, first > 0.5), (1, first < 0.5)]
        case Ranks(ranks):
            return _ends([-rank for rank in ranks])
        case Ratings(scores):
            return _ends(scores)
        case _:
            return []


def _ends(values: Sequence[float | None]) -> list[tuple[int, bool]]:
    """The best and the worst of several; of those that tie the first."""
    told = [(value, place) for place, value in enumerate(values) if value is not None]
    if len({value for value, _ in told}) < 2:
        return []
    (_, best), (_, worst) = max(told, key=lambda one: one[0]), min(told, key=lambda one: one[0])
    return [(best, True), (worst, False)]


def _goes_on(reply: Turns) -> Turns:
    """The reply as it goes on from words before it: with a blank between."""
    first = reply[0]
    if not isinstance(first.content, str) or first.content[:1].isspace():
        return reply
    return (replace(first, content=f" {first.content}"), *reply[1:])
