"""Conversions between the kinds of item. Each keeps meta and origin, and says all that it leaves out.

The keys of meta that belong to the replies as they stand (`RESERVED_META`) are left out, and said to be,
where the replies do not stay as they are.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from math import isfinite
from typing import assert_never

from concord.errors import ConversionError, Said, explain, nearest
from concord.types import RESERVED_META, Item, Turns
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
    "Conversion",
    "Converted",
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
        "demonstration": "the rejected reply, all that is known but which it is; all of a tie",
        "ranking": "all that is known but which reply is the better one; all of a tie",
        "judgement": "all that is known but which reply is the better one; all of a tie",
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
        "comparison": "replies without a score, the aspects beyond their order",
        "ranking": "replies without a score, the scores beyond their order, the aspects; all where all tie",
        "judgement": "replies without a score, the scores beyond a threshold (to be given), the aspects",
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


class Conversion:
    """Items on their way to another kind: go through it to get them, one after the other.

    Nothing is kept of what has gone through but the tally: `ignored` counts, for each sentence on what was
    left out, of how many items it was said, up to now. Going through again begins a new tally.
    """

    def __init__(self, items: Iterable[Item], step: Callable[[Item], Converted]) -> None:
        self._items, self._step = items, step
        self.ignored: Counter[str] = Counter()
        self.read = 0
        """How many items went in."""
        self.made = 0
        """How many came out."""

    def __iter__(self) -> Iterator[Item]:
        self.ignored, self.read, self.made = Counter(), 0, 0
        for item in self._items:
            converted = self._step(item)
            self.read += 1
            self.ignored.update(converted.ignored)
            for made in converted.items:
                self.made += 1
                yield made


def convert(items: Iterable[Item], *, to: Kind, threshold: float | None = None) -> Conversion:
    """Convert a whole data set to one kind, as it is gone through; `CONVERSIONS` lists what can be."""
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
    _sound(threshold)
    uses = to in ("demonstration", "judgement")
    wrong = f"a threshold plays no part in a conversion to {to}"
    demand(uses or threshold is None, wrong, threshold, "demonstration or judgement", "leave it out")
    return Conversion(items, targets[to])


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
    _sound(threshold)
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
        case Rating():
            scored, scores, unscored = _scored(row)
            return _best(item, scored, scores, *unscored, threshold=threshold)
        case _:
            raise _impossible(item, "demonstration")


def to_comparisons(item: Item) -> Converted:
    """All pairs of the replies, the better one first; a tie has the preference 0.5.

    Of a rating each pair keeps its two scores, their difference as its strength, and which reply is the
    better one by each aspect that both were scored on.
    """
    row = view(item)
    match row:
        case Comparison():
            return Converted((item,))
        case SegmentComparison(prompt, first, second, preference):
            pair = Comparison(prompt, first, second, preference)
            return _made(item, [pair], "that each step is an action of its own")
        case Ranking(prompt, replies, ranks):
            if len(replies) < 2:
                return _made(item, [], _same(len(replies)), *_known(row))
            known = ["the gaps between the ranks"] if _dense(ranks) != ranks else []
            places = combinations(range(len(replies)), 2)
            ordered = [(a, b) if ranks[a] <= ranks[b] else (b, a) for a, b in places]
            pairs = [
                Comparison(prompt, replies[a], replies[b], 0.5 if ranks[a] == ranks[b] else 1.0)
                for a, b in ordered
                if ranks[a] == ranks[b] or replies[a] != replies[b]
            ]
            return _made(item, pairs, *known, *_odd(len(ordered) - len(pairs)))
        case Rating():
            return _compared(item, row)
        case _:
            raise _impossible(item, "comparison")


def _compared(item: Item, row: Rating) -> Converted:
    """The pairs of the replies of a rating that have scores."""
    scores = {place: score for place, score in enumerate(row.scores) if score is not None}
    unscored = _unscored(len(row.replies) - len(scores))
    if len(scores) < 2:
        return _made(item, [], *([_same(1)] if scores else []), *unscored, *_known(row))
    pairs: list[View] = []
    odd = 0
    for one, other in combinations(scores, 2):
        a, b = (one, other) if scores[one] >= scores[other] else (other, one)
        first, second, same = row.replies[a], row.replies[b], row.replies[a] == row.replies[b]
        if same and scores[a] != scores[b]:
            odd += 1
            continue
        by_aspect = {} if same else {name: (values[a], values[b]) for name, values in row.aspects.items()}
        aspects = {n: _preferred(x, y) for n, (x, y) in by_aspect.items() if x is not None and y is not None}
        pair = Comparison(row.prompt, first, second, _preferred(scores[a], scores[b]))
        gap = scores[a] - scores[b]
        strength = gap if isfinite(gap) else None
        pairs.append(replace(pair, strength=strength, scores=(scores[a], scores[b]), aspects=aspects))
    beyond = [f"{_count(len(row.aspects), 'aspect')} beyond the order"] if row.aspects else []
    return _made(item, pairs, *unscored, *beyond, *_odd(odd))


def _preferred(first: float, second: float) -> float:
    return 0.5 if first == second else float(first > second)


def to_rankings(item: Item) -> Converted:
    """The order of the replies, ties included."""
    row = view(item)
    match row:
        case Ranking():
            return Converted((item,))
        case Comparison(prompt, first, second, preference):
            replies, values, known = (first, second), (preference, 1 - preference), _strength(row)
        case Rating(prompt):
            replies, values, known = _scored(row)
            known += _beyond(row, "their order")
        case _:
            raise _impossible(item, "ranking")
    if len(set(values)) < 2:
        return _made(item, [], *([_same(len(replies))] if replies else []), *known)
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
    _sound(threshold)
    row = view(item)
    match row:
        case Judgement():
            return Converted((item,))
        case Comparison(prompt, tie=True):
            return _made(item, [], _same(2), *_strength(row))
        case Comparison(prompt):
            rows = [Judgement(prompt, row.chosen, True), Judgement(prompt, row.rejected, False)]
            return _made(item, rows, *_strength(row))
        case Rating(prompt):
            replies, scores, unscored = _scored(row)
            cut = _cut(item, scores, threshold)
            pairs = zip(replies, scores, strict=True)
            rows = [Judgement(prompt, reply, score >= cut) for reply, score in pairs]
            return _made(item, rows, *unscored, *_beyond(row, "the threshold"))
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
    item: Item,
    replies: Sequence[Turns],
    values: Sequence[float],
    *unscored: str,
    threshold: float | None = None,
) -> Converted:
    """Show the replies of the highest value, or those that reach the threshold."""
    known = [*unscored, *_known(view(item))]
    if threshold is None and len(set(values)) < 2:
        return _made(item, [], *([_same(len(replies))] if replies else []), *known)
    cut = max(values) if threshold is None else threshold
    rows = [shown(item.prompt, reply) for reply, value in zip(replies, values, strict=True) if value >= cut]
    worse = len(replies) - len(rows)
    return _made(item, rows, *([_count(worse, "worse reply")] if worse else []), *known)


def _scored(row: Rating) -> tuple[tuple[Turns, ...], list[float], list[str]]:
    """The replies that have a score, their scores, and what is said of the rest."""
    pairs = [
        (reply, score) for reply, score in zip(row.replies, row.scores, strict=True) if score is not None
    ]
    replies = tuple(reply for reply, _ in pairs)
    return replies, [score for _, score in pairs], _unscored(len(row.replies) - len(pairs))


def _unscored(number: int) -> list[str]:
    return [f"{_count(number, 'reply')} without a score"] if number else []


def _odd(number: int) -> list[str]:
    """What is said of pairs in which a reply would be preferred to itself."""
    return [f"{_count(number, 'pair')} of a reply with itself"] if number else []


def _sound(threshold: object) -> None:
    """Refuse a threshold that nothing can be compared with."""
    number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    wrong, do = "a threshold is not a number", "give a number, or leave it out"
    demand(threshold is None or (number and threshold == threshold), wrong, threshold, "a number", do)


def _cut(item: Item, values: Sequence[float], threshold: float | None) -> float:
    """The threshold, which has to be given."""
    if threshold is None:
        wrong = f"{_at(item)}scores become labels only by a threshold"
        do = "give one as threshold, or as --label-threshold where a model is trained"
        raise ConversionError(explain(wrong, found=Said(f"{len(values)} scores"), accepted="a number", do=do))
    return threshold


def _made(item: Item, rows: Iterable[View], *ignored: str) -> Converted:
    """Store the views that were made of an item, with its origin and such meta as is still true of them."""
    items = [row.item(meta=item.meta, origin=item.origin) for row in rows]
    stale = [key for key in RESERVED_META if key in item.meta]
    if not stale or all(made.replies == item.replies for made in items):
        return Converted(tuple(items), ignored)
    meta = {key: value for key, value in item.meta.items() if key not in stale}
    kept = tuple(made if made.replies == item.replies else replace(made, meta=meta) for made in items)
    return Converted(
        kept, (*ignored, *(f"the column {key}, which belongs to other replies" for key in stale))
    )


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
        case Comparison():
            known = ["1 preference"]
            known += [_count(sum(row.votes), "vote")] if row.votes else []
            known += ["1 strength"] if row.strength is not None else []
            known += ["2 scores"] if row.scores else []
            return known + ([_count(len(row.aspects), "aspect")] if row.aspects else [])
        case SegmentComparison():
            return ["1 preference"]
        case Ranking(_, _, ranks):
            return [_count(len(ranks), "rank")]
        case Judgement():
            return ["1 label"]
        case Rating(_, _, scores, aspects):
            scored = sum(score is not None for score in scores)
            known = [_count(scored, "score")] if scored else []
            return known + ([_count(len(aspects), "aspect")] if aspects else [])
        case Steps(_, _, labels):
            return [_count(len(labels), "step label")]
        case Trajectory(_, _, rewards):
            return [_count(len(rewards), "turn reward")]
        case _:
            assert_never(row)


def _strength(row: Comparison) -> list[str]:
    """What a preference says beyond which reply is the better one."""
    known = _known(row)[1:]
    return known if row.preference in (0, 0.5, 1) else ["how sure the preference is", *known]


def _beyond(row: Rating, kept: str) -> list[str]:
    """What a rating says beyond what is kept of its scores."""
    return [f"{said} beyond {kept}" if "score" in said else said for said in _known(row)]


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
