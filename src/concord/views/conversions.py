"""Conversions between the kinds of item. Each keeps meta and origin, and says all that it leaves out."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import assert_never

from concord.errors import ConversionError, explain, nearest
from concord.types import Item, Turns
from concord.views.kinds import (
    Candidates,
    Comparison,
    Demonstration,
    Dialogue,
    Judgement,
    Kind,
    Ranking,
    Rating,
    SegmentComparison,
    Steps,
    Task,
    Trajectory,
    View,
    demand,
    shown,
    view,
)

__all__ = [
    "CONVERSIONS",
    "Converted",
    "ConvertedRows",
    "convert",
    "to_candidates",
    "to_comparisons",
    "to_demonstrations",
    "to_judgements",
    "to_rankings",
    "to_ratings",
    "to_tasks",
]

CONVERSIONS: Mapping[Kind, Mapping[Kind, str]] = {
    "candidates": {"task": "the replies"},
    "demonstration": {
        "task": "the reply",
        "candidates": "that the reply is an example",
    },
    "dialogue": {
        "task": "the reply",
        "candidates": "that the reply is an example",
        "demonstration": "nothing: it stays a dialogue",
    },
    "comparison": {
        "task": "the replies and the preference",
        "candidates": "the preference",
        "demonstration": "the rejected reply, the strength of the preference; all of a tie",
        "ranking": "the strength of the preference; all of a tie",
        "judgement": "the strength of the preference; all of a tie",
    },
    "segment_comparison": {
        "task": "the replies and the preference",
        "candidates": "the preference",
        "comparison": "that each step is an action of its own",
    },
    "ranking": {
        "task": "the replies and their ranks",
        "candidates": "the ranks",
        "demonstration": "all but the best replies, the ranks; all where every reply ties",
        "comparison": "the gaps between the ranks",
    },
    "judgement": {
        "task": "the reply and its label",
        "candidates": "the label",
        "demonstration": "an undesirable reply",
    },
    "rating": {
        "task": "the replies and their scores",
        "candidates": "the scores",
        "demonstration": "all but the best replies (or those below a threshold), the scores",
        "comparison": "the scores beyond their order, the aspects",
        "ranking": "the scores beyond their order, the aspects; all where every reply ties",
        "judgement": "the scores beyond a threshold, which must be given, and the aspects",
    },
    "steps": {
        "task": "the reply and its step labels",
        "candidates": "the step labels",
        "judgement": "the step labels, beyond whether all are good; all where that is not known",
    },
    "trajectory": {
        "task": "the reply and its rewards",
        "candidates": "the rewards",
        "rating": "how the total is split over the turns; all where there is no reward",
    },
}
"""What can be converted, from kind to kind, and what is left out on the way."""


@dataclass(frozen=True, slots=True)
class Converted:
    """What one item became, and in short sentences all that was left out of it."""

    items: tuple[Item, ...]
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConvertedRows:
    """What many items became, and for each sentence on what was left out, of how many items it was said."""

    items: tuple[Item, ...]
    ignored: Mapping[str, int]


def convert(items: Iterable[Item], *, to: str, threshold: float | None = None) -> ConvertedRows:
    """Convert a whole data set to one kind; `CONVERSIONS` lists what can be."""
    targets: dict[str, Callable[[Item], Converted]] = {
        "task": to_tasks,
        "candidates": to_candidates,
        "demonstration": partial(to_demonstrations, threshold=threshold),
        "comparison": to_comparisons,
        "ranking": to_rankings,
        "rating": to_ratings,
        "judgement": partial(to_judgements, threshold=threshold),
    }
    if to not in targets:
        wrong = "nothing is converted to this kind"
        raise ConversionError(explain(wrong, found=to, accepted=nearest(to, targets), do="name one of these"))
    uses = to in ("demonstration", "judgement")
    wrong = f"a threshold plays no part in a conversion to {to}"
    demand(uses or threshold is None, wrong, threshold, "demonstration or judgement", "leave it out")
    made: list[Item] = []
    ignored: Counter[str] = Counter()
    for item in items:
        converted = targets[to](item)
        made += converted.items
        ignored.update(converted.ignored)
    return ConvertedRows(tuple(made), ignored)


def to_tasks(item: Item) -> Converted:
    """The prompt alone."""
    replies = [_count(len(item.replies), "reply")] if item.replies else []
    return _made(item, [Task(item.prompt)], *replies, *_known(view(item)))


def to_candidates(item: Item) -> Converted:
    """The replies, and nothing of their utility."""
    if not item.replies:
        raise _impossible(item, "candidates")
    return _made(item, [Candidates(item.prompt, item.replies)], *_known(view(item)))


def to_demonstrations(item: Item, *, threshold: float | None = None) -> Converted:
    """The best reply (all of them, where they tie for the best), as an example or a dialogue.

    With a threshold, the replies of a rating whose scores reach it.
    """
    row = view(item)
    match row:
        case Demonstration() | Dialogue():
            return Converted((item,))
        case Comparison():
            if row.tie:
                return _made(item, [], _same(2), *_strength(row))
            return _made(item, [shown(row.prompt, row.chosen)], "1 rejected reply", *_strength(row))
        case Judgement(prompt, reply, desirable):
            return (
                _made(item, [shown(prompt, reply)]) if desirable else _made(item, [], "1 undesirable reply")
            )
        case Ranking(_, replies, ranks):
            return _best(item, replies, [-rank for rank in ranks])
        case Rating(_, replies, scores):
            return _best(item, replies, scores, threshold=threshold)
        case _:
            raise _impossible(item, "demonstration")


def to_comparisons(item: Item) -> Converted:
    """All pairs of the replies, the better one first; a tie has the preference 0.5."""
    row = view(item)
    match row:
        case Comparison():
            return Converted((item,))
        case SegmentComparison(prompt, first, second, preference):
            pair = Comparison(prompt, first, second, preference)
            return _made(item, [pair], "that each step is an action of its own")
        case Ranking(prompt, replies, ranks):
            known = ["the gaps between the ranks"] if _dense(ranks) != ranks else []
            values = [-rank for rank in ranks]
        case Rating(prompt, replies, values):
            known = _beyond(row, "their order")
        case _:
            raise _impossible(item, "comparison")
    if len(replies) < 2:
        return _made(item, [], _same(len(replies)), *_known(row))
    rows: list[View] = []
    for (a, value_a), (b, value_b) in combinations(zip(replies, values, strict=True), 2):
        better, worse = (a, b) if value_a >= value_b else (b, a)
        rows.append(Comparison(prompt, better, worse, 0.5 if value_a == value_b else 1.0))
    return _made(item, rows, *known)


def to_rankings(item: Item) -> Converted:
    """The order of the replies, ties included."""
    row = view(item)
    match row:
        case Ranking():
            return Converted((item,))
        case Comparison(prompt, first, second, preference):
            replies, values, known = (first, second), (preference, 1 - preference), _strength(row)
        case Rating(prompt, replies, values):
            known = _beyond(row, "their order")
        case _:
            raise _impossible(item, "ranking")
    if len(set(values)) < 2:
        return _made(item, [], _same(len(replies)), *known)
    return _made(item, [Ranking(prompt, replies, _dense([-value for value in values]))], *known)


def to_ratings(item: Item) -> Converted:
    """The total reward of a trajectory as its score."""
    row = view(item)
    match row:
        case Rating():
            return Converted((item,))
        case Trajectory(prompt, turns, rewards) if any(reward is not None for reward in rewards):
            split = [f"how the total is split over {len(rewards)} turns"] if len(rewards) > 1 else []
            return _made(item, [Rating(prompt, (turns,), (row.total,))], *split)
        case Trajectory():
            return _made(item, [], "1 reply without rewards")
        case _:
            raise _impossible(item, "rating")


def to_judgements(item: Item, *, threshold: float | None = None) -> Converted:
    """The chosen reply as desirable and the rejected one not; scores and soft labels need a threshold.

    Steps make a desirable reply when all of them are good, an undesirable one when any is bad.
    """
    row = view(item)
    match row:
        case Judgement():
            return Converted((item,))
        case Comparison(prompt, tie=True):
            return _made(item, [], _same(2), *_strength(row))
        case Comparison(prompt):
            rows = [Judgement(prompt, row.chosen, True), Judgement(prompt, row.rejected, False)]
            return _made(item, rows, *_strength(row))
        case Rating(prompt, replies, scores):
            cut = _cut(item, scores, threshold)
            pairs = zip(replies, scores, strict=True)
            rows = [Judgement(prompt, reply, score >= cut) for reply, score in pairs]
            return _made(item, rows, *_beyond(row, "the threshold"))
        case Steps(prompt, reply, labels):
            judged = [label for label in labels if label is not None]
            cut = 0.5 if set(judged) <= {0, 1} and threshold is None else _cut(item, judged, threshold)
            good = all(label >= cut for label in judged)
            if good and (None in labels or not labels):
                return _made(item, [], "1 reply whose steps are not all judged", *_known(row))
            return _made(item, [Judgement(prompt, reply, good)], *_known(row))
        case _:
            raise _impossible(item, "judgement")


def _best(
    item: Item, replies: Sequence[Turns], values: Sequence[float], *, threshold: float | None = None
) -> Converted:
    """Show the replies of the highest value, or those that reach the threshold."""
    known = _known(view(item))
    if threshold is None and len(set(values)) < 2:
        return _made(item, [], _same(len(replies)), *known)
    cut = max(values) if threshold is None else threshold
    rows = [shown(item.prompt, reply) for reply, value in zip(replies, values, strict=True) if value >= cut]
    worse = len(replies) - len(rows)
    return _made(item, rows, *([_count(worse, "worse reply")] if worse else []), *known)


def _cut(item: Item, values: Sequence[float], threshold: float | None) -> float:
    """The threshold, which has to be given."""
    if threshold is None:
        wrong, do = f"{_at(item)}scores become labels only by a threshold", "give threshold=..."
        raise ConversionError(explain(wrong, found=tuple(values), accepted="a number", do=do))
    return threshold


def _made(item: Item, rows: Iterable[View], *ignored: str) -> Converted:
    """Store the views that were made of an item, with its meta and origin."""
    items = tuple(row.item(meta=item.meta, origin=item.origin) for row in rows)
    return Converted(items, ignored)


def _impossible(item: Item, to: Kind) -> ConversionError:
    kind = view(item).kind
    sources = ", ".join([to, *(source for source, targets in CONVERSIONS.items() if to in targets)])
    wrong, do = f"{_at(item)}this kind cannot be seen as {to}", f"leave it out, or collect data for {to}"
    return ConversionError(explain(wrong, found=kind, accepted=sources, do=do))


def _at(item: Item) -> str:
    return f"{item.origin}: " if item.origin else ""


def _known(row: View) -> list[str]:
    """All that a view knows of the utility of its replies, as what is left out without it."""
    match row:
        case Task() | Candidates():
            return []
        case Demonstration() | Dialogue():
            return ["that the reply is an example"]
        case Comparison() | SegmentComparison():
            votes = row.votes if isinstance(row, Comparison) else None
            return ["1 preference", *([_count(sum(votes), "vote")] if votes else [])]
        case Ranking(_, _, ranks):
            return [_count(len(ranks), "rank")]
        case Judgement():
            return ["1 label"]
        case Rating(_, _, scores, aspects):
            return [_count(len(scores), "score"), *([_count(len(aspects), "aspect")] if aspects else [])]
        case Steps(_, _, labels):
            return [_count(len(labels), "step label")]
        case Trajectory(_, _, rewards):
            return [_count(len(rewards), "turn reward")]
        case _:
            assert_never(row)


def _strength(row: Comparison) -> list[str]:
    """What a preference says beyond which reply is the better one."""
    votes = _known(row)[1:]
    return votes if row.preference in (0, 0.5, 1) else ["the strength of the preference", *votes]


def _beyond(row: Rating, kept: str) -> list[str]:
    """What a rating says beyond what is kept of its scores."""
    scores, *aspects = _known(row)
    return [f"{scores} beyond {kept}", *aspects]


def _same(number: int) -> str:
    return f"{_count(number, 'reply')} that nothing sets apart"


def _count(number: int, noun: str) -> str:
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun.removesuffix('y')}ies" if noun.endswith("y") else f"{number} {noun}s"


def _dense(values: Sequence[float]) -> tuple[int, ...]:
    """Ranks without gaps, 1 for the least value."""
    places = {value: place for place, value in enumerate(sorted(set(values)), start=1)}
    return tuple(places[value] for value in values)
