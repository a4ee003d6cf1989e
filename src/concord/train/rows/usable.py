"""Items on their way to an objective: converted to a kind that it takes or left out, and counted."""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from concord.errors import NOTHING, InputError, Said, explain
from concord.messages import is_number
from concord.train.rows.wanted import COLUMNS, Wanted
from concord.types import (
    JSON,
    RATED_BY,
    RESERVED_META,
    Item,
    Label,
    Preference,
    Ranks,
    Ratings,
    SegmentPreference,
    StepLabels,
    TurnRewards,
)
from concord.views import (
    CONVERSIONS,
    Converted,
    Kind,
    to_comparisons,
    to_demonstrations,
    to_judgements,
    to_rankings,
    to_ratings,
    view,
)

__all__ = ["Usable", "judgements", "rows_said"]

_CONVERT: Mapping[Kind, Callable[..., Converted]] = {
    "comparison": to_comparisons,
    "demonstration": to_demonstrations,
    "judgement": to_judgements,
    "ranking": to_rankings,
    "rating": to_ratings,
}
_LEAD = 4 / 3  # by which good replies may outweigh bad ones
_BY_THRESHOLD = ("demonstration", "judgement")


class Usable:
    """The items that an objective can learn from; go through it to get them, and to count them afresh.

    `read` counts items as they come, `used` those that are given out, `dropped` those left out, by reason.
    `labels` counts the good and the bad replies, `silent` the rows that say nothing of what some rows must;
    `judgements` are the votes, scores and examples of what is given out, `rated_by` the feedbacks that gave
    them, where the rows name any.
    """

    def __init__(self, items: Iterable[Item], wanted: Wanted, *, threshold: float | None = None) -> None:
        self._items, self._wanted, self._threshold = items, wanted, threshold
        self._begin()

    def _begin(self) -> None:
        self.read = self.used = self.judgements = 0
        self.rated_by: set[str] = set()
        self.dropped: Counter[str] = Counter()
        self.labels: Counter[bool] = Counter()
        self.silent: Counter[str] = Counter()
        self._converted: Counter[tuple[Kind, Kind]] = Counter()
        self._made: Counter[tuple[Kind, Kind]] = Counter()
        self._remarks: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Item]:
        """Give out what can be used."""
        self._begin()
        for item in self._items:
            self.read += 1
            used = [usable for made in self._seen(item) if (usable := self._checked(made)) is not None]
            if used:
                self.judgements += judgements(item)
                self.rated_by.update(str(name) for name in _listed(item.meta.get(RATED_BY) or ()))
            for usable in used:
                self.used += 1
                yield usable

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of the items that went through: converted, left out, taken for something."""
        converted = [
            f"{rows_said(count)} of kind {kind} read as {self._made[kind, to]:,} of kind {to},"
            f" which leaves out: {CONVERSIONS[kind][to]}"
            for (kind, to), count in self._converted.items()
        ]
        dropped = [f"{rows_said(count)} not used: {reason}" for reason, count in self.dropped.items()]
        return (
            *converted,
            *dropped,
            *(f"{rows_said(count)} {what}" for what, count in self._remarks.items()),
            *(
                f"{rows_said(count)} without {name}, of which the rest is learned"
                for name, count in self.silent.items()
            ),
        )

    @property
    def advice(self) -> Iterator[str]:
        """What is to be done about labels that are all the same, or far from balanced."""
        good, bad = self.labels[True], self.labels[False]
        if self.labels and self.labels.total() == self.used and not (good and bad):
            kind, other = ("good", "bad") if good else ("bad", "good")
            yield f"every reply is a {kind} one, and there is none to tell it from: give {other} ones too"
        elif good and bad and self._wanted.weights:
            yield from _balance(good, bad, *self._wanted.weights)

    def require(self, side: str) -> None:
        """Refuse data of which nothing could be used; `side` says which data they are."""
        if self.used:
            return
        kinds = self._wanted.kinds
        seen = [kind for kind, ways in CONVERSIONS.items() if set(ways) & set(kinds) and kind not in kinds]
        said = "; ".join(f"{count:,}: {reason}" for reason, count in self.dropped.items())
        found = Said(f"{rows_said(self.read)} ({said})") if self.read else NOTHING
        accepted = f"rows of kind {', '.join(kinds)}" + (f", or converted: {', '.join(seen)}" if seen else "")
        if self._wanted.required:
            accepted += f"; with {', '.join(self._wanted.required)}"
        do = "give other data, say what the columns mean with --map, or take another method"
        wrong = f"{side} hold no row that {self._wanted.by} can learn from"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))

    def require_some(self, side: str) -> None:
        """Refuse data of which no row says what some must."""
        for name in self._wanted.partly:
            if self.used and self.silent[name] == self.used:
                wrong = f"{side} say nothing of {name}, from which {self._wanted.by} learns"
                found, accepted = Said(f"{rows_said(self.used)} without"), f"{name} in some rows at least"
                do = "give them, say with --map what the columns mean, or take another method"
                raise InputError(explain(wrong, found=found, accepted=accepted, do=do))

    def drop(self, reason: str) -> None:
        """Count an item, given out before, as one that cannot be used after all."""
        self.used -= 1
        self.dropped[reason] += 1

    # --- one item -----------------------------------------------------------------------------------------

    def _seen(self, item: Item) -> Sequence[Item]:
        """The item as a kind that is wanted."""
        kind = view(item).kind
        if kind in self._wanted.kinds:
            return (item,)
        ways: Container[Kind] = CONVERSIONS.get(kind, {})
        to: Kind | None = next((one for one in self._wanted.kinds if one in ways), None)
        if to is None:
            self.dropped[f"of kind {kind}, which cannot be seen as {' or '.join(self._wanted.kinds)}"] += 1
            return ()
        given = {"threshold": self._threshold} if to in _BY_THRESHOLD else {}
        converted = _CONVERT[to](item, **given)
        self._converted[kind, to] += 1
        self._made[kind, to] += len(converted.items)
        self._remarks.update(f"without {one}" for one in converted.ignored if one.startswith("the column"))
        if not converted.items:
            self.dropped[f"nothing sets the replies apart, or none is fit to be a {to}"] += 1
        made = [
            self._carried(item, one, [item.replies.index(reply) for reply in one.replies])
            for one in converted.items
        ]
        return [self._unmeasured(one) for one in made]

    def _unmeasured(self, item: Item) -> Item:
        """A pair made of ratings without the difference of scores as its strength, where that is a choice."""
        known = item.utilities
        if "strength" not in self._wanted.optional or not isinstance(known, Preference) or not known.strength:
            return item
        self._remarks["made of scores, whose difference is not taken for a margin"] += 1
        return replace(item, utilities=replace(known, strength=None))

    def _carried(self, item: Item, made: Item, places: Sequence[int]) -> Item:
        """What is made of some replies of an item, with the columns that speak of these replies."""
        meta: dict[str, Any] = dict(made.meta)
        for name in COLUMNS & meta.keys():
            if len(values := _listed(meta[name])) == len(item.replies):
                meta[name] = [values[place] for place in places]
        if (shown := _place(item)) is not None:
            meta.pop("shown")
            if shown in places:
                meta["shown"] = places.index(shown)
        return replace(made, meta=meta)

    def _checked(self, item: Item) -> Item | None:
        """The item, if it says all that is required; None, and counted, where it does not."""
        match item.utilities:
            case Ratings() if self._wanted.rated:
                item = self._scored(item)
            case Preference(first) | SegmentPreference(first):
                if not self._wanted.soft and first == 0.5:
                    return self._left(f"a tie, from which {self._wanted.by} cannot learn")
                if not self._wanted.soft and first not in (0, 1):
                    self._remarks["with a preference that is not certain, taken for the likelier side"] += 1
            case StepLabels(labels) if not any(label is not None for label in labels):
                return self._left("no step is judged")
            case _:
                pass
        lacks = (_lack(item, name) for name in self._wanted.required)
        tied = _orders_nothing(item) if self._wanted.ranks else ""
        if reason := tied or next(filter(None, lacks), ""):
            return self._left(reason)
        self._count(item)
        return item

    def _count(self, item: Item) -> None:
        """Count what is to be said of an item that is used."""
        if isinstance(item.utilities, Label):
            self.labels[item.utilities.desirable] += 1
        if self._wanted.gaps and isinstance(item.utilities, Ranks):
            self._remarks["of ranks and no scores: where gaps matter, a reply is worth minus its rank"] += 1
        self.silent.update(name for name in self._wanted.partly if _lack(item, name))
        if "strength" in self._wanted.optional and getattr(item.utilities, "strength", None):
            self._remarks["with a strength of the preference, taken for its margin"] += 1

    def _left(self, reason: str) -> None:
        self.dropped[reason] += 1

    def _scored(self, item: Item) -> Item:
        """The item without those of its replies that were not scored."""
        assert isinstance(item.utilities, Ratings)
        places = [place for place, score in enumerate(item.utilities.scores) if score is not None]
        if len(places) == len(item.replies):
            return item
        self._remarks["without those of their replies that have no score"] += 1
        scores = tuple(item.utilities.scores[place] for place in places)
        aspects = {n: tuple(of[place] for place in places) for n, of in item.utilities.aspects.items()}
        replies = tuple(item.replies[place] for place in places)
        stale = [name for name in RESERVED_META if name in item.meta]
        self._remarks.update(f"without the column {name}, which belongs to other replies" for name in stale)
        meta = {name: value for name, value in item.meta.items() if name not in stale}
        made = replace(item, replies=replies, utilities=Ratings(scores, aspects), meta=meta)
        return self._carried(item, made, places)


def judgements(item: Item) -> int:
    """How many judgements a row holds: votes, scores, labels of steps, or one for all else."""
    match item.utilities:
        case Preference(votes=votes) if votes is not None:
            return sum(votes)
        case Ratings(scores) | StepLabels(scores) | TurnRewards(scores):
            return sum(score is not None for score in scores)
        case _:
            return 1


def rows_said(count: int) -> str:
    """So many rows, in words."""
    return f"{count:,} {'row' if count == 1 else 'rows'}"


def _balance(good: int, bad: int, good_weight: float, bad_weight: float) -> Iterator[str]:
    """What to weigh replies by, where the weights leave one label far behind: Eq. 8 of KTO."""
    weighed, against = good_weight * good, bad_weight * bad
    if not (weighed and against) or against <= weighed <= _LEAD * against:
        return
    yield (
        f"{good:,} good and {bad:,} bad replies, which weigh {weighed:g} to {against:g}: together good ones"
        f" should weigh 1 to {_LEAD:.3g} times as much as bad ones. Take a desirable_weight of"
        f" {against / good:.3g} to {_LEAD * against / good:.3g}, or an undesirable_weight of"
        f" {weighed / bad / _LEAD:.3g} to {weighed / bad:.3g}"
    )


def _place(item: Item) -> int | None:
    """The place of the reply that the column `shown` names, if it names one."""
    shown = item.meta.get("shown")
    if isinstance(shown, bool) or not is_number(shown) or shown not in range(len(item.replies)):
        return None
    return int(cast("float", shown))


def _listed(value: JSON) -> Sequence[JSON]:
    """A list as it is, anything else as a list of itself."""
    return value if isinstance(value, list | tuple) else [value]


def _orders_nothing(item: Item) -> str:
    """Why replies of a ranked row cannot be told apart, if they cannot."""
    match item.utilities:
        case Ranks(values) | Ratings(values):
            pass
        case _:
            return ""
    if len(values) < 2:
        return "a single reply has nothing to be ranked against"
    return "all replies tie" if len(set(values)) == 1 else ""


def _lack(item: Item, name: str) -> str:
    """What an item does not say of a required input, if it is silent."""
    known = item.utilities
    if name in ("scores", "strength"):
        given = getattr(known, name, None) if isinstance(known, Preference) else None
        return f"without the {name} of a preference" if given is None else ""
    if name == "shown":
        accepted = "the place, from 0, of the reply that is a demonstration"
        return f"without a column 'shown' that holds {accepted}" if _place(item) is None else ""
    values = _listed(item.meta.get(name))
    whole = len(values) == len(item.replies) and all(is_number(one) for one in values)
    return "" if whole else f"without a column {name!r} that holds a number for each reply"
