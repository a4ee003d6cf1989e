"""Results of scorecards as tables, a section for each research challenge; of one card, or of several.

Results that differ in their coordinates alone stand in a table of their own, under their name; all others of
a section share one. What no card has a value for stands last, with the reason.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal, TypeAlias

from concord.eval.costs.gaming import AT_MOST
from concord.report.blocks import (
    Axis,
    Block,
    Cell,
    Column,
    Curve,
    Heading,
    Mark,
    Measured,
    Noted,
    Paragraph,
    Point,
    Series,
    Table,
)
from concord.results import Challenge, Result

__all__ = [
    "QUESTIONS",
    "Row",
    "measured",
    "results_blocks",
    "rows_of",
    "section_blocks",
    "sentence",
    "standing",
]

QUESTIONS: Mapping[Challenge, str] = {
    Challenge.EFFICACY: "Does it do what people want of it?",
    Challenge.GENERALISATION: "Does it still, where nothing like it was seen: other people, other words,"
    " longer tasks, later years, attacks?",
    Challenge.EFFICIENCY: "What did it take: judgements of people, computation, tokens?",
    Challenge.INTERPRETABILITY: "Can one tell what it goes by, when it prefers one reply to another?",
    Challenge.TAX: "What did that cost of the abilities it had?",
    Challenge.OVERSIGHT: "Does what is learned where people can judge hold where they hardly can?",
    Challenge.GAMING: "Does it serve what is meant, or only what is measured?",
}
"""What each research challenge asks of a model, in the order of the field's list."""

_EVEN: Mapping[str, float] = {
    **dict.fromkeys(("gold_gain", "alignment_gain", "tax", "mean_tax", "worst_tax", "reward_gain"), 0.0),
    "win_rate": 0.5,
    "relative_robustness": 1.0,
}
"""Results that hold a model against another one, each with the value at which neither is ahead."""
_CURVED = {"proxy_reward": "the proxy", "gold_reward": "gold"}
_TURN = "overoptimisation_point"
_FAR = {
    AT_MOST: "sqrt of KL from where it began, at most",
    "sqrt_kl": "sqrt(KL) from where it began",
}
"""The coordinates that say how far a point of a curve is, bounds first, each with the name of its axis."""
_Of: TypeAlias = Literal["", "name", "reading", "place"]  # what the rows of a table have in common
_TABLED = 3  # results of one name that make a table of their own
_TALLEST = 10  # rows of a table; its notes would else be far from its numbers
_REASON = "There was nothing to measure."


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measurement of all cards: a result for each, None of a card that does not have it."""

    name: str
    at: tuple[tuple[str, str | float], ...]
    reading: str
    results: tuple[Result | None, ...]

    @property
    def first(self) -> Result:
        """The first of the results that are there."""
        return next(one for one in self.results if one is not None)

    @property
    def known(self) -> bool:
        """Whether any card has a value."""
        return any(one is not None and one.value is not None for one in self.results)

    def cells(self, *, brief: bool = False) -> tuple[Cell, ...]:
        """The values, each with its interval or why there is none, and with what is so of its card alone."""
        return tuple(_noted(measured(one), self._own(one, brief=brief)) for one in self.results)

    def _own(self, one: Result | None, *, brief: bool) -> str:
        """The place of a card's result where the row has none, and what it says beyond the row's how."""
        if one is None:
            return ""
        places = [] if self.at else [str(place) for place in one.at.values()]
        more = "" if brief else one.how.removeprefix(self.how).lstrip("; ")
        return "; ".join(filter(None, (*places, more)))

    @property
    def count(self) -> str:
        """What the values rest on: 120 prompts, or 118 to 120 prompts."""
        counts = [one.n for one in self.results if one is not None and one.n]
        ends = dict.fromkeys((min(counts), max(counts))) if counts else ()
        unit = self.first.unit.removesuffix("s") if list(ends) == [1] else self.first.unit
        return f"{' to '.join(f'{one:,}' for one in ends)} {unit}".strip()

    @property
    def how(self) -> str:
        """How the values were got: what all cards say of it."""
        hows = [one.how for one in self.results if one is not None and one.how]
        return min(hows, key=len, default="")

    def place(self, of: Collection[str] | None = None) -> str:
        """Where it stands, by the values of its coordinates alone: of some of them, or of all."""
        found = [at for name, at in self.at if of is None or name in of]
        return ", ".join(_words(at) if isinstance(at, str) else f"{at:g}" for at in found)

    @property
    def label(self) -> str:
        """Its name and its place in words."""
        return ", ".join((_words(self.name), *map(_place, self.at))) + _by(self.reading)


def _words(name: str) -> str:
    """A name as one says it."""
    return name.replace("_", " ")


def _by(reading: str) -> str:
    return f", by {reading}" if reading else ""


def _place(at: tuple[str, str | float]) -> str:
    """A coordinate: text says of itself what it is, a number does not."""
    name, place = at
    return _words(place) if isinstance(place, str) else f"{_words(name)} {place:g}"


def rows_of(cards: Sequence[Sequence[Result]]) -> list[Row]:
    """Results of several cards, those of one measurement together, in the order in which they first come.

    Who or what is worst may be another in each card, and is no part of the measurement then.
    """
    found: dict[tuple[object, ...], list[Result | None]] = {}
    for number, results in enumerate(cards):
        for one in results:
            key = (one.name, _places(one, len(cards)), one.reading)
            found.setdefault(key, [None] * len(cards))[number] = one
    rows: list[Row] = []
    for results in found.values():
        first = next(one for one in results if one is not None)
        at = _places(first, len(cards))
        rows.append(Row(name=first.name, at=at, reading=first.reading, results=tuple(results)))
    return rows


def _places(one: Result, cards: int) -> tuple[tuple[str, str | float], ...]:
    return () if cards > 1 and one.name.startswith("worst_") else tuple(one.at.items())


# --- sections ---------------------------------------------------------------------------------------------


def section_blocks(
    challenge: Challenge, cards: Sequence[Sequence[Result]], names: Sequence[str], *, brief: bool = False
) -> Iterator[Block]:
    """The section of a challenge: what it asks, and what the cards have of it.

    names: of the cards; brief: without how each number was got, for where there is little room
    """
    number = list(Challenge).index(challenge) + 1
    yield Heading(f"RC{number} {challenge.value.capitalize()}")
    yield Paragraph(QUESTIONS[challenge])
    yield from results_blocks([_of(card, challenge) for card in cards], names, brief=brief)


def _of(results: Sequence[Result], challenge: Challenge) -> list[Result]:
    return [one for one in results if one.challenge is challenge]


def results_blocks(
    cards: Sequence[Sequence[Result]], names: Sequence[str], *, brief: bool = False
) -> Iterator[Block]:
    """Tables of the results of one or several cards."""
    rows = rows_of(cards)
    if not rows:
        yield Paragraph("Nothing was measured of it here.")
    there = [row for row in rows if row.known and row.name not in _CURVED]
    # One name in several places, then several names of one reading, or in one place.
    families, there = _grouped(there, lambda row: (row.name, row.reading, *dict(row.at)) if row.at else ())
    readings, there = _grouped(there, lambda row: row.reading)
    places, rest = _grouped(there, lambda row: row.at)
    tall = max(len(rest), 1) if brief else _TALLEST
    for start in range(0, len(rest), tall):
        yield _table(rest[start : start + tall], names, brief=brief)
    kinds: dict[_Of, list[list[Row]]] = {"reading": readings, "name": families, "place": places}
    for of, groups in kinds.items():
        for group in groups:
            yield _table(group, names, brief=brief, of=of)
    yield from _curves([row for row in rows if row.known and row.name in _CURVED], rest, names)
    yield from _unmeasured([row for row in rows if not row.known])


def _grouped(
    rows: Sequence[Row], by: Callable[[Row], Collection[object]]
) -> tuple[list[list[Row]], list[Row]]:
    """Rows of which several are alike in something that is not empty, and all others; both in their order."""
    groups: dict[object, list[Row]] = {}
    for row in rows:
        groups.setdefault(by(row), []).append(row)
    large = [group for alike, group in groups.items() if alike and len(group) >= _TABLED]
    taken = {id(row) for group in large for row in group}
    return large, [row for row in rows if id(row) not in taken]


def _table(rows: Sequence[Row], names: Sequence[str], *, brief: bool, of: _Of = "") -> Table:
    """Rows under the names of the cards; what those of a group have in common is the caption."""
    first = rows[0].at if of == "name" else ()
    moving = [at[0] for at in first if any(at not in row.at for row in rows)]
    hows = list(dict.fromkeys(_general(row, moving) for row in rows))
    shared = of == "name" and len(hows) == 1
    optional: dict[str, list[Cell]] = {
        "better": [_better(row.first) for row in rows],
        "than its base": [_against(row.first) if len(names) == 1 else "" for row in rows],
        "failed": [max(one.failures for one in row.results if one is not None) or "" for row in rows],
    }
    shown = {name: cells for name, cells in optional.items() if any(cells)}
    heads = (
        Column(", ".join(map(_words, moving)) if moving else "what"),
        *(Column(name) for name in (names if len(names) > 1 else ("value",))),
        Column("n"),
        *map(Column, shown),
    )
    cells: list[tuple[Cell, ...]] = []
    for at, row in enumerate(rows):
        label = _noted(_label(row, of, moving), "" if brief or shared else row.how)
        more = (column[at] for column in shown.values())
        cells.append((label, *row.cells(brief=brief), row.count, *more))
    below = () if brief else (*filter(None, hows if shared else ()), *_intervals(rows))
    return Table(heads, tuple(cells), caption=_capital(_caption(rows[0], of, moving)), notes=below)


def _label(row: Row, of: _Of, moving: Collection[str]) -> str:
    """What a row is called, without what its table has in common."""
    match of:
        case "":
            return row.label
        case "name":
            return row.place(moving)
        case "reading":
            return ", ".join(filter(None, (_words(row.name), row.place())))
        case "place":
            return _words(row.name) + _by(row.reading)


def _caption(row: Row, of: _Of, moving: Collection[str]) -> str:
    """What all rows of a table have in common."""
    match of:
        case "":
            return ""
        case "name":
            fixed = [name for name, _ in row.at if name not in moving]
            return ", ".join(filter(None, (_words(row.name), row.place(fixed)))) + _by(row.reading)
        case "reading":
            return f"by {row.reading}"
        case "place":
            return row.place()


def measured(result: Result | None) -> Cell:
    """A value with its interval, or the reason why there is none; nothing for a card without it."""
    return None if result is None else Measured(result.value, result.interval, result.why_none or _REASON)


def _noted(cell: Cell, note: str) -> Cell:
    return Noted(cell, note) if note and not isinstance(cell, Noted) else cell


def _general(row: Row, moving: Collection[str]) -> str:
    """How a value was got, without the name of its place, so that it may serve for the whole table."""
    said = row.how
    for name, place in row.at:
        if name in moving:
            shown = place if isinstance(place, str) else f"{place:g}"
            said = re.sub(rf"\b{re.escape(shown)}\b", "...", said)
    return said


def _better(result: Result) -> str:
    return {None: "", True: "higher", False: "lower"}[result.higher_is_better]


def _against(result: Result) -> str:
    """Whether a model is ahead of what it is held against, where the result says that."""
    return standing(result, even=_EVEN[result.name]) if result.name in _EVEN else ""


def _intervals(rows: Sequence[Row]) -> Iterator[str]:
    """What the brackets are: their level, and how they were reckoned, where all were in one way."""
    found = [one.interval for row in rows for one in row.results if one is not None and one.interval]
    if found:
        levels = " and ".join(dict.fromkeys(f"{100 * one.level:g}%" for one in found))
        kinds = {one.how for one in found if one.how}
        yield f"In brackets: {levels} intervals{', ' * len(kinds) + kinds.pop() if len(kinds) == 1 else ''}."


def _unmeasured(rows: Sequence[Row]) -> Iterator[Block]:
    """What has no value, and why; those of one reason together."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        failed = f"None of {row.first.failures:,} could be measured." if row.first.failures else _REASON
        of_it = reasons.setdefault(row.first.why_none or failed, {})
        of_it.setdefault(_words(row.name) + _by(row.reading), []).append(row.place())
    if reasons:
        cells = tuple((_listed(names), sentence(reason)) for reason, names in reasons.items())
        yield Table((Column("not measured"), Column("why, and what would give it")), cells)


def _listed(names: Mapping[str, Sequence[str]]) -> str:
    """Names, each with its places: look gain (words, fills), mean tax."""
    said = ((name, ", ".join(filter(None, places))) for name, places in names.items())
    return ", ".join(f"{name} ({places})" if places else name for name, places in said)


def _curves(curved: Sequence[Row], rest: Sequence[Row], names: Sequence[str]) -> Iterator[Block]:
    """What the proxy says and what it is worth, of the best of n by the proxy, as n grows."""
    series: list[Series] = []
    for card, name in enumerate(names):
        for kind, said in _CURVED.items():
            points = [_point(row, card) for row in curved if row.name == kind]
            label = f"{name}: {said}" if len(names) > 1 else said
            series.append(Series(label, tuple(sorted(filter(None, points), key=lambda one: one.x))))
    series = [one for one in series if one.points]
    if not series:
        return
    turns = [row for row in rest if row.name == _TURN]
    marks = [
        Mark(one.value, f"{name}: gold turns" if len(names) > 1 else "gold turns")
        for row in turns
        for name, one in zip(names, row.results, strict=True)
        if one is not None and one.value is not None
    ]
    ns = ", ".join(dict.fromkeys(f"{dict(row.at).get('n', 0):g}" for row in curved))
    yield Curve(
        "Optimising the proxy: what it says, and what that is worth",
        Axis(next(axis for name, axis in _FAR.items() if any(name in dict(row.at) for row in curved))),
        Axis("mean score"),
        tuple(series),
        caption=f"{sentence(curved[0].how)} From left to right n is {ns}. Bands are 95% intervals.",
        marks=tuple(marks),
    )


def _point(row: Row, card: int) -> Point | None:
    at = dict(row.at)
    result, x = row.results[card], next((at[name] for name in _FAR if name in at), None)
    if result is None or result.value is None or not isinstance(x, float | int):
        return None
    ends = (result.interval.low, result.interval.high) if result.interval else (None, None)
    return Point(x, result.value, *ends)


# --- differences ------------------------------------------------------------------------------------------


def standing(result: Result, *, even: float = 0.0) -> str:
    """What a comparison says: better or worse, where its interval leaves out that neither is ahead."""
    value, interval, up = result.value, result.interval, result.higher_is_better
    if value is None or up is None:
        return ""
    if interval is None or not isfinite(interval.low) or not isfinite(interval.high):
        return "unclear"
    if interval.low <= even <= interval.high:
        return "same" if interval.low == interval.high else "unclear"
    return "better" if (value > even) == up else "worse"


def sentence(text: str) -> str:
    """Words as a sentence: a capital letter before, a full stop behind."""
    return f"{_capital(text).rstrip('.')}."


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"
