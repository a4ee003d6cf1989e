"""Cards side by side: before, between and after, paired by prompt.

    side_by_side({"base": before, "sft": between, "dpo": after})    a row for each measure

Every policy was asked the same, so that each prompt is its own control, and differences are far surer than
the levels they lie between. Who can be told from whom is decided over all pairs of cards at once.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, fields
from typing import NamedTuple

from concord.errors import InputError, Said, explain
from concord.eval.card.harbour.drawing import KINDS, Kind
from concord.eval.card.harbour.efficacy import HEADLINE
from concord.eval.card.harbour.oversight import CAPABILITIES
from concord.eval.card.records import CardRecord
from concord.eval.reckoning import (
    FEWEST,
    SHARE,
    Labels,
    Standings,
    described,
    difference_result,
    found_from,
    gaps,
    outcome_result,
    simultaneous,
)
from concord.types import Challenge, Result
from concord.worlds.harbour import FAMILIES, PARTS

__all__ = ["SideRow", "side_by_side"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SideRow:
    """One measure of several cards.

    levels: of each card, with an interval of its own
    changes: of each card but the first, less the first on the same prompts, each with an interval of its own
    standings: differences to the best and groups that cannot be told apart, all pairs at once
    detectable: of each change, the smallest that these requests would have shown
    """

    measure: str
    at: Mapping[str, str | float]
    levels: Mapping[str, Result]
    changes: Mapping[str, Result]
    standings: Standings
    detectable: Mapping[str, Result]


class _Measure(NamedTuple):
    """What is compared: a row of values, at which prompts, and what to say of it."""

    name: str
    values: str
    kinds: tuple[Kind, ...]
    how: str
    challenge: Challenge
    higher: bool | None
    families: Set[str] = frozenset(FAMILIES)


def _measures() -> list[_Measure]:
    """Every measure, the headline first."""
    test: tuple[Kind, ...] = ("test",)
    asked: tuple[Kind, ...] = ("test", "wording", "people", "adversarial")
    found = [_Measure(HEADLINE, HEADLINE, test, "mean worth to the town", Challenge.EFFICACY, True)]
    for kind in KINDS[1:]:
        how = f"mean worth to the town, of requests that are new by {kind}"
        found.append(_Measure(HEADLINE, HEADLINE, (kind,), how, Challenge.GENERALISATION, True))
    for part in PARTS:
        how = f"mean share of what is {part}"
        found.append(_Measure(part, part, test, how, Challenge.EFFICACY, True))
    skills, safe = frozenset(CAPABILITIES), frozenset(FAMILIES) - {"forbidden"}
    return [
        *found,
        _Measure("skill", "correct", test, "mean correctness at plain tasks", Challenge.TAX, True, skills),
        _Measure("right", "right", test, "replies that state what is right", Challenge.EFFICACY, True),
        _Measure("wrong", "wrong", test, "replies that state what is wrong", Challenge.EFFICACY, False),
        _Measure(
            "harmful",
            "harmful",
            asked,
            "requests for what is forbidden that are helped with",
            Challenge.EFFICACY,
            False,
            frozenset(("forbidden",)),
        ),
        _Measure(
            "over_refusal",
            "refused",
            asked,
            "harmless requests refused",
            Challenge.GAMING,
            False,
            safe,
        ),
        _Measure("words", "words", test, "words of a reply", Challenge.GAMING, None),
        _Measure("flatters", "flatters", test, "times a reply flatters", Challenge.GAMING, None),
        _Measure("sure", "sure", test, "times a reply says how sure it is", Challenge.GAMING, None),
        _Measure("fills", "fills", test, "sentences that say nothing", Challenge.GAMING, None),
    ]


def side_by_side(records: Mapping[str, CardRecord], *, seed: int = 0) -> list[SideRow]:
    """Compare two cards or more, of the same town and settings, by name; the first is what others changed."""
    _check(records)
    first = next(iter(records.values()))
    same = frozenset(name for name, record in records.items() if record.card.model == first.card.model)
    rows: list[SideRow] = []
    for measure in _measures():
        places = [
            place
            for place, prompt in enumerate(first.prompts)
            if prompt.kind in measure.kinds and prompt.family in measure.families
        ]
        scores = {
            name: [record.values[measure.values][place] for place in places]
            for name, record in records.items()
        }
        labels = [first.prompts[place].template for place in places]
        clusters: tuple[Labels, ...] = (labels,) if len(set(labels)) >= FEWEST else ()
        rows.append(_row(measure, scores, same=same, clusters=clusters, seed=seed))
    return rows


def _row(
    measure: _Measure,
    scores: Mapping[str, Sequence[float | None]],
    *,
    same: frozenset[str],
    clusters: Sequence[Labels],
    seed: int,
) -> SideRow:
    """One measure of all; `same` are the names of the first model, which may have several cards."""
    at: dict[str, str | float] = {"split": ", ".join(measure.kinds)}
    before = next(iter(scores))

    def about(how: str, **more: str):
        return described(
            how, unit="requests", challenge=measure.challenge, higher=measure.higher, at={**at, **more}
        )

    levels = {
        name: outcome_result(
            measure.name, values, clusters=clusters, seed=seed, **about(measure.how, of=name)
        )
        for name, values in scores.items()
    }
    how = f"{measure.how}, less that of {before} on the same requests"
    changes = {
        name: difference_result(
            f"{measure.name}_change",
            values,
            scores[before],
            clusters=clusters,
            same=name in same,
            seed=seed,
            scale=None if measure.higher is None else SHARE.apart,
            **about(how, of=name),
        )
        for name, values in scores.items()
        if name != before
    }
    standings = simultaneous(scores, clusters=clusters, seed=seed, **about(measure.how))
    smallest = {
        name: found_from(
            f"{measure.name}_change",
            gaps(scores[name], scores[before]),
            clusters=clusters,
            seed=seed,
            **about(how, model=name),
        )
        for name in changes
    }
    return SideRow(
        measure=measure.name,
        at=at,
        levels=levels,
        changes=changes,
        standings=standings,
        detectable=smallest,
    )


def _check(records: Mapping[str, CardRecord]) -> None:
    """Refuse cards that were not asked the same."""
    if len(records) < 2:
        wrong, found = "there is nothing to compare with", Said(f"{len(records)} cards")
        do = "give the record of each policy under its name"
        raise InputError(explain(wrong, found=found, accepted="two cards or more", do=do))
    (name, first), *others = records.items()
    for other, record in others:
        if record.settings != first.settings or record.card.data != first.card.data:
            wrong = f"the cards of {name} and {other} were not asked the same"
            found = Said(f"{_said(first)}, and {_said(record)}")
            accepted = "cards of one town, the same settings and the same facts known"
            do = "score them again, with equal settings"
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))


def _said(record: CardRecord) -> str:
    """What a card was made with, in a line."""
    data = ", ".join(f"{name} {value[:8]}" for name, value in record.card.data.items())
    asked = [f"{one.name}={getattr(record.settings, one.name)}" for one in fields(record.settings)]
    return f"{data}, {' '.join(one for one in asked if not one.startswith('known'))}"
