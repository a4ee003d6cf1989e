"""The page of a scorecard, or of several side by side: what came of it first, then challenge by challenge.

    scored_page([card])                                        of one model
    scored_page([before, after], ["before", "after"])          the first is what the others are held against

A page is made of what cards hold, and measures nothing itself. Where records are given in place of cards,
with the replies to every request, some of these are shown too.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from concord.errors import NOTHING, InputError, explain
from concord.eval.card import DIAGNOSTIC, EXPLAINING, LEAVES, CardRecord, SideRow, side_by_side
from concord.eval.reckoning import DETECTABLE
from concord.findings import Severity
from concord.report.blocks import (
    Block,
    Callout,
    Cell,
    Column,
    Facts,
    Heading,
    Noted,
    Page,
    Paragraph,
    Table,
)
from concord.report.challenges import measured, results_blocks, rows_of, section_blocks, sentence
from concord.report.replied import reply_blocks
from concord.results import Challenge, Result, Scorecard

__all__ = ["scored_page"]

_DIGITS = 24  # of an identity that are shown
_TELLING: Mapping[Challenge, Sequence[str]] = {
    Challenge.EFFICACY: ("gold_utility", "win_rate", "reward", "concordance"),
    Challenge.GENERALISATION: ("generalisation_gap",),
    Challenge.EFFICIENCY: ("run_labels", "flops_a_reply", "tokens_a_reply"),
    Challenge.INTERPRETABILITY: ("reward_explained",),
    Challenge.TAX: ("mean_tax", "solved"),
    Challenge.OVERSIGHT: ("easy_to_hard_gap",),
    Challenge.GAMING: ("gold_lost", "overoptimisation_gap"),
}
"""The results that say most of a challenge, the first of them that was measured."""
_STATE = {"explained": f"explained by {EXPLAINING}"}
"""States of a diagnostic that need more words than their own."""


def scored_page(
    cards: Sequence[Scorecard | CardRecord],
    names: Sequence[str] = (),
    *,
    title: str = "",
    sides: Sequence[SideRow] | None = None,
    brief: bool = False,
) -> Page:
    """The page of one card, or of several that were made alike.

    names: what the models are called, where not by their identity
    sides: what `side_by_side` found; reckoned here, if left out, where all cards are records
    brief: for a terminal, without how each number was got
    """
    plain = [one.card if isinstance(one, CardRecord) else one for one in cards]
    names = _named(plain, names)
    records = [one for one in cards if isinstance(one, CardRecord)]
    found = [[one for one in card.results if one.name != DIAGNOSTIC] for card in plain]
    if sides is None:
        whole = len(records) == len(cards) > 1
        sides = side_by_side(dict(zip(names, records, strict=True))) if whole else ()
    parts = (
        *_facts(plain, names),
        *_headlines(found, names),
        *_diagnostics(plain, names),
        *_warnings(plain, names),
        *_changes(sides, names, brief=brief),
        *(block for one in Challenge for block in section_blocks(one, found, names, brief=brief)),
        *_others(found, names, brief=brief),
        *_leaves(plain),
        *(() if brief else reply_blocks(records, names)),
    )
    return Page(title or f"Scorecard of {', '.join(names)}", _subtitle(plain), parts)


def _named(cards: Sequence[Scorecard], names: Sequence[str]) -> Sequence[str]:
    """A name for each card, and no two alike."""
    if not cards:
        do = "make one with `concord score`"
        raise InputError(explain("there is no card to show", found=NOTHING, accepted="one or more", do=do))
    names = names or [card.model[:_DIGITS] for card in cards]
    if len(names) != len(cards) or len(set(names)) < len(names):
        wrong, accepted = "the names do not fit the cards", f"{len(cards)} names, no two alike"
        raise InputError(explain(wrong, found=tuple(names), accepted=accepted, do="name each card"))
    return names


def _subtitle(cards: Sequence[Scorecard]) -> str:
    """How much was measured, in one line."""
    results = [one for card in cards for one in card.results]
    known = sum(one.value is not None for one in results)
    models = "One model" if len(cards) == 1 else f"{len(cards)} models"
    return f"{models}: {known:,} numbers, and {len(results) - known:,} that could not be measured."


# --- what was scored, and what came of it -----------------------------------------------------------------


def _facts(cards: Sequence[Scorecard], names: Sequence[str]) -> Iterator[Block]:
    """What was scored: what all cards have in common, and what each has of its own."""
    told = [dict(_known(card)) for card in cards]
    heads = list(dict.fromkeys(head for one in told for head in one))
    common = [head for head in heads if len({one.get(head) for one in told}) == 1]
    if common:
        yield Facts(tuple((head, told[0][head]) for head in common))
    if own := [head for head in heads if head not in common]:
        rows = tuple((name, *map(one.get, own)) for name, one in zip(names, told, strict=True))
        yield Table((Column("name"), *map(Column, own)), rows)


def _known(card: Scorecard) -> Iterator[tuple[str, Cell]]:
    usage = card.ledger.usage
    known: dict[str, Cell] = {
        "model": card.model[:_DIGITS],
        "held against": (card.base or "")[:_DIGITS],
        "method": card.method,
        "data": ", ".join(card.data),
        "judged by": ", ".join(judge.id[:_DIGITS] for judge in card.judges),
        "requests": usage.calls or None,
        "tokens written": usage.new_tokens or None,
        "cost": usage.cost or None,
        "seconds": round(usage.seconds) or None,
        "seed": card.seed,
    }
    yield from ((name, cell) for name, cell in known.items() if cell not in (None, ""))


def _headlines(cards: Sequence[Sequence[Result]], names: Sequence[str]) -> Iterator[Block]:
    """One number for each challenge: the one that says most of it, of those that were measured."""
    rows: list[tuple[Cell, ...]] = []
    for challenge in Challenge:
        of_it = rows_of([[one for one in card if one.challenge is challenge] for card in cards])
        there = [row for row in of_it if row.known]
        told = (row for name in _TELLING[challenge] for row in there if row.name == name)
        if (row := next(chain(told, there), None)) is not None:
            rows.append((challenge.value, row.label, *row.cells(brief=True), row.count))
    heads = ("challenge", "what says most", *(names if len(names) > 1 else ("value",)), "n")
    yield Heading("At a glance")
    yield Table(tuple(map(Column, heads)), tuple(rows))
    yield from _undetected(cards, names)


def _undetected(cards: Sequence[Sequence[Result]], names: Sequence[str]) -> Iterator[Block]:
    """How large a difference from the base may be that was not found."""
    said: list[str] = []
    for row in rows_of([[one for one in card if one.name == DETECTABLE] for card in cards]):
        ends = [
            f"{one.value:.2g}{f' ({name})' if len(names) > 1 else ''}"
            for one, name in zip(row.results, names, strict=True)
            if one is not None and one.value is not None
        ]
        if ends:
            said.append(f"in {row.place()} below {', '.join(ends)}, with {row.count}")
    if said:
        yield Paragraph(
            f"What would not have been found: differences from the base {'; '.join(said)}. Of differences as"
            " large as that, four repetitions in five find one."
        )


def _diagnostics(cards: Sequence[Scorecard], names: Sequence[str]) -> Iterator[Block]:
    """The ways of going wrong that are looked for: what is lit, and then all of them."""
    found = [{_kind(one): one for one in card.results if one.name == DIAGNOSTIC} for card in cards]
    rows: list[tuple[Cell, ...]] = []
    callouts: list[Callout] = []
    for kind in dict.fromkeys(kind for card in found for kind in card):
        of_it = [card.get(kind) for card in found]
        first = next(one for one in of_it if one is not None)
        lit = {name: str(one.at["lit"]) for name, one in zip(names, of_it, strict=True) if one is not None}
        callouts.extend(_told(kind, first, lit, several=len(cards) > 1))
        limit = f"above {float(first.at['threshold']):g}"
        said = _who(lit) if len(cards) > 1 else _STATE.get(lit[names[0]], lit[names[0]])
        rows.append((kind, said, *map(measured, of_it), limit))
    if rows:
        heads = ("what can go wrong", "lit", *(names if len(names) > 1 else ("value",)), "is lit")
        yield Heading("Diagnostics")
        yield from callouts
        yield Table(tuple(map(Column, heads)), tuple(rows))


def _kind(one: Result) -> str:
    return str(one.at["diagnostic"])


def _told(kind: str, first: Result, lit: Mapping[str, str], *, several: bool) -> Iterator[Callout]:
    """What is said of a diagnostic that is lit, and of one that perhaps is."""
    for state, title in (("yes", kind.capitalize()), ("perhaps", f"Perhaps {kind}")):
        of = [name for name, its in lit.items() if its == state]
        if of:
            severity = _severity(first) if state == "yes" else "note"
            yield Callout(severity, f"{title} ({', '.join(of)})" if several else title, sentence(first.how))


def _who(lit: Mapping[str, str]) -> str:
    """Whose diagnostic is lit, whose perhaps is, and whose is over its threshold for another reason."""
    said = {"yes": "", "perhaps": " perhaps", **{state: f" ({words})" for state, words in _STATE.items()}}
    return ", ".join(f"{name}{said[state]}" for name, state in lit.items() if state in said) or "none"


def _severity(one: Result) -> Severity:
    return "stop" if one.at["severity"] == "stop" else "warn"


def _warnings(cards: Sequence[Scorecard], names: Sequence[str]) -> Iterator[Block]:
    """What else the cards say must be known of them: what is lit is told already."""
    said: dict[str, list[str]] = {}
    for card, name in zip(cards, names, strict=True):
        told = tuple(f"{_kind(one).capitalize()}:" for one in card.results if one.name == DIAGNOSTIC)
        for warning in card.warnings:
            if not (told and warning.startswith(told)):
                said.setdefault(warning, []).append(name)
    for warning, of in said.items():
        yield Callout("warn", f"{', '.join(of)}: {warning}" if len(of) < len(cards) else warning)


# --- what changed -----------------------------------------------------------------------------------------


def _changes(sides: Sequence[SideRow], names: Sequence[str], *, brief: bool) -> Iterator[Block]:
    """What is another number than that of the first card, and whether by more than chance."""
    if not sides:
        return
    first, *others = names
    yield Heading("What changed")
    yield Paragraph(
        f"Every model was asked the same, and is held against {first} request by request: a difference is"
        " better or worse where all pairs of models taken together leave out chance."
    )
    # What has no best is counted, and is no share.
    for shares in (True, False):
        rows = [one for one in sides if (_level(one).higher_is_better is not None) == shares]
        heads = (
            Column("what" if shares else "how it looks"),
            *(Column(name, per_cent=shares, bar=shares and not brief) for name in names),
            *(Column(f"{name} less {first}", per_cent=shares) for name in others),
            *((Column(f"than {first}"),) if shares else ()),
        )
        if rows:
            yield Table(heads, tuple(_change(one, names, brief=brief, told=shares) for one in rows))
    yield from _standings(sides, names, brief=brief)


def _standings(sides: Sequence[SideRow], names: Sequence[str], *, brief: bool) -> Iterator[Block]:
    """Who cannot be told from whom, how far each is from the best, and what would not have been found."""
    first, *others = names
    yield Heading("Who can be told apart", 2)
    yield Paragraph(
        "Models in one group cannot be told apart; groups stand in order, the best first. Each model is held"
        " against the best of the others, with intervals that hold for all pairs at once. A change from"
        f" {first} that is smaller than what is detectable would not have been found: of one as large, four"
        " repetitions in five find it."
    )
    heads = (
        Column("what"),
        Column("groups"),
        *(Column(f"{name} less the best other", per_cent=True) for name in names),
        *(Column(f"{name}: detectable", per_cent=True) for name in others),
    )
    rows = [one for one in sides if _level(one).higher_is_better is not None]
    yield Table(heads, tuple(_stands(one, names, brief=brief) for one in rows))


def _stands(side: SideRow, names: Sequence[str], *, brief: bool) -> tuple[Cell, ...]:
    _, *others = names
    found, label = side.standings, _label(side)
    return (
        label if brief else Noted(label, next(iter(side.detectable.values())).how),
        " > ".join(f"{{{', '.join(one)}}}" if len(one) > 1 else "".join(one) for one in found.groups),
        *(measured(found.differences[name]) for name in names),
        *(measured(side.detectable[name]) for name in others),
    )


def _level(side: SideRow) -> Result:
    return next(iter(side.levels.values()))


def _change(side: SideRow, names: Sequence[str], *, brief: bool, told: bool) -> tuple[Cell, ...]:
    first, *others = names
    split, level = str(side.at["split"]), _level(side)
    label = _label(side)
    verdicts = (_verdict(side, first, name) for name in others)
    return (
        label if brief else Noted(label, f"{level.how}; {level.n:,} {level.unit} of {split}"),
        *(side.levels[name].value for name in names),
        *(measured(side.changes[name]) for name in others),
        *((", ".join(verdicts),) if told else ()),
    )


def _label(side: SideRow) -> str:
    """A measure, and its split where that is another than test alone or several."""
    split = str(side.at["split"])
    several = "," in split or split == "test"
    return side.measure.replace("_", " ") + ("" if several else f", {split}")


def _verdict(side: SideRow, first: str, name: str) -> str:
    """Better or worse, where the two can be told apart among all pairs of models."""
    change = side.changes[name]
    if change.value is None:
        return "-"
    if not side.standings.apart(first, name):
        known = change.interval is None or change.interval.low == change.interval.high
        return "same" if known and not change.value else "unclear"
    return "better" if (change.value > 0) == change.higher_is_better else "worse"


def _others(cards: Sequence[Sequence[Result]], names: Sequence[str], *, brief: bool) -> Iterator[Block]:
    """Results that speak to no challenge."""
    rest = [[one for one in card if one.challenge is None] for card in cards]
    if any(rest):
        yield Heading("Also measured")
        yield from results_blocks(rest, names, brief=brief)


def _leaves(cards: Sequence[Scorecard]) -> Iterator[Block]:
    """Which kinds of trust the numbers speak of, and on which they are silent."""
    spoken = {leaf for card in cards for leaf in card.leaves_covered}
    if not spoken:
        return
    count = sum(map(len, LEAVES.values()))
    yield Heading("What these numbers speak of")
    yield Paragraph(
        f"{len(spoken)} of the {count} kinds of trust that Liu et al. (2023) tell apart. Of others nothing"
        " was measured, which says no good of them."
    )
    rows = tuple(
        (
            category,
            ", ".join(leaf for leaf in leaves if leaf in spoken),
            ", ".join(leaf for leaf in leaves if leaf not in spoken),
        )
        for category, leaves in LEAVES.items()
    )
    yield Table((Column("kind"), Column("measured"), Column("not measured")), rows)
