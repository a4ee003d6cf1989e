"""Rows that a feedback has rated: what a trainer takes, and a record of whose word it goes by.

rated = list(rated_rows(feedback, items))
rated[0].utilities, rated[0].meta["rated_by"]
"""

from collections.abc import Iterable, Iterator
from itertools import islice

from concord.errors import InputError, explain
from concord.messages import is_count
from concord.types import RATED_BY, Feedback, Item, Rate, Ratings, Score, Unscored

__all__ = ["rated_rows"]


def rated_rows(feedback: Feedback, items: Iterable[Item], *, batch: int = 256) -> Iterator[Item]:
    """The same rows with a score for each reply, and with its parts as aspects; what was known is replaced.

    The id of the feedback stands in `meta["rated_by"]`: whatever learns from the rows keeps it, so that
    `concord score` has no model judged by what it was optimised against. A reply that could not be scored
    has None. Where no reply of a row could be, the row says why in `meta["unscored"]`, and has no utilities.
    """
    if not is_count(batch) or not batch:
        wrong, do = "rows cannot be rated so many at a time", "give a count, or leave it out"
        raise InputError(explain(wrong, found=batch, accepted="1 or more", do=do))
    waiting = iter(items)
    while group := list(islice(waiting, batch)):
        rates = [Rate(item.prompt, item.replies, meta=item.meta) for item in group]
        for item, scores in zip(group, feedback.rate(rates), strict=True):
            yield _rated(item, scores, feedback.id)


def _rated(item: Item, scores: tuple[Score | Unscored, ...], who: str) -> Item:
    known = [one if isinstance(one, Score) else None for one in scores]
    meta = {**item.meta, RATED_BY: who}
    if not any(known):
        reasons = [one.reason for one in scores if isinstance(one, Unscored)]
        why = reasons[0] if reasons else "the row has no reply"
        return Item(item.prompt, item.replies, meta={**meta, "unscored": why}, origin=item.origin)
    # A part that some reply lacks cannot be an aspect of the row.
    scored = [one for one in known if one is not None]
    names = sorted(name for name in scored[0].parts if all(name in one.parts for one in scored))
    aspects = {name: tuple(None if one is None else one.parts[name] for one in known) for name in names}
    ratings = Ratings(tuple(None if one is None else one.value for one in known), aspects)
    return Item(item.prompt, item.replies, ratings, meta=meta, origin=item.origin)
