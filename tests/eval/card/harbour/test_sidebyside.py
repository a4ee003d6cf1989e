"""Cards side by side: paired by prompt, told apart at once, refused where they were not asked the same."""

import json
from dataclasses import replace
from statistics import fmean

import pytest

from concord import wire
from concord.errors import InputError
from concord.eval.card import CardRecord, SideRow, cards_json, read_cards, record_harbour, side_by_side
from concord.types import Scorecard
from tests.eval.card.harbour.speakers import SETTINGS, in_manner, record


@pytest.fixture(scope="module")
def rows() -> list[SideRow]:
    return side_by_side({"liar": record("lying"), "good": record("good"), "again": again()})


def again() -> CardRecord:
    return replace(record("good"))


def the(rows: list[SideRow], measure: str, split: str = "test") -> SideRow:
    (found,) = [one for one in rows if one.measure == measure and one.at["split"] == split]
    return found


def test_the_headline_comes_first_with_levels_of_each(rows: list[SideRow]) -> None:
    assert rows[0].measure == "gold_utility"
    for name, kept in (("liar", record("lying")), ("good", record("good"))):
        level, own = rows[0].levels[name], kept.card.results[0]
        assert (level.value, level.n) == (own.value, own.n)


def test_changes_are_paired_by_prompt_with_the_first(rows: list[SideRow]) -> None:
    before, after = record("lying"), record("good")
    places = [place for place, one in enumerate(before.prompts) if one.kind == "test"]
    gaps: list[float] = []
    for place in places:
        one, two = (kept.values["gold_utility"][place] for kept in (before, after))
        assert one is not None
        assert two is not None
        gaps.append(two - one)
    change = rows[0].changes["good"]
    assert change.value == pytest.approx(fmean(gaps), abs=1e-12)
    assert change.interval is not None
    assert change.interval.low > 0
    assert "liar" not in rows[0].changes


def test_who_differs_is_told_apart_and_who_does_not_is_not(rows: list[SideRow]) -> None:
    standings = rows[0].standings
    assert standings.apart("liar", "good")
    assert not standings.apart("good", "again")
    assert standings.groups == (("good", "again"), ("liar",))


def test_measures_speak_of_their_own_requests(rows: list[SideRow]) -> None:
    prompts = record("good").prompts
    assert the(rows, "harmful", "test, wording, people, adversarial").levels["good"].n == sum(
        one.family == "forbidden" for one in prompts
    )
    wrong = the(rows, "wrong")
    assert wrong.levels["liar"].higher_is_better is False
    assert (wrong.levels["liar"].value or 0) > (wrong.levels["good"].value or 0)
    years = the(rows, "gold_utility", "years").levels["good"]
    assert years.n == sum(one.kind == "years" for one in prompts)


def test_what_is_detectable_is_told_of_each_change(rows: list[SideRow]) -> None:
    smallest = rows[0].detectable
    assert list(smallest) == ["good", "again"]
    value, change = smallest["good"].value, rows[0].changes["good"]
    assert value is not None
    assert change.value is not None
    assert 0 < value < change.value
    assert smallest["good"].at == {"split": "test", "model": "good", "of": "gold_utility_change"}
    twins = side_by_side({"good": record("good"), "again": again()})
    assert "the same in each pair" in twins[0].detectable["again"].why_none


def test_all_of_it_is_kept_with_the_cards_and_read_again(rows: list[SideRow]) -> None:
    cards = {"liar": record("lying").card, "good": record("good").card}
    held = json.loads(json.dumps(cards_json(cards, rows), allow_nan=False))
    assert list(held) == ["liar", "good", "side by side"]
    assert read_cards(held) == (cards, tuple(rows))
    assert read_cards(cards_json(cards)) == (cards, ())
    single = cards_json({"good": cards["good"]})
    assert wire.from_json(Scorecard, single) == cards["good"]
    assert read_cards(single) == ({cards["good"].model: cards["good"]}, ())
    # A model may be called as a field of a card.
    odd = {"model": cards["good"], "results": cards["liar"]}
    assert read_cards(cards_json(odd)) == (odd, ())


def test_what_is_no_card_is_refused() -> None:
    with pytest.raises(InputError, match=r"kept\.json: this is no scorecard"):
        read_cards([], where="kept.json")
    with pytest.raises(InputError, match="unlike"):
        read_cards({"a": {"unlike": 1}})
    card = record("good").card
    with pytest.raises(InputError, match="under which comparisons are kept; found 'side by side'"):
        cards_json({"side by side": card, "b": card})


@pytest.mark.slow
def test_cards_that_were_asked_otherwise_are_refused() -> None:
    other = record_harbour(in_manner("good"), settings=replace(SETTINGS, draws=2))
    with pytest.raises(InputError, match="not asked the same"):
        side_by_side({"one": record("good"), "two": other})
    knows = replace(SETTINGS, known=SETTINGS.known[1:] if SETTINGS.known else None)
    with pytest.raises(InputError, match="not asked the same"):
        side_by_side({"one": record("good"), "two": record_harbour(in_manner("good"), settings=knows)})
    with pytest.raises(InputError, match="nothing to compare"):
        side_by_side({"one": record("good")})
