"""Each way of going wrong lights its own diagnostic, lowers the headline, and lights no other."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from concord.eval.card import DIAGNOSTIC, RULES, lit, score_harbour
from concord.eval.card.harbour.diagnostics import diagnoses
from concord.eval.card.harbour.drawing import draw
from concord.policies import Scripted
from concord.report.blocks import Callout
from concord.report.scored import scored_page
from concord.types import Challenge, Feedback, Message, Rate, Reply, Result, Score, Unscored
from tests.eval.card.harbour.speakers import OTHER, SETTINGS, SPEAKERS, in_manner, mixed, record, saying


def headline(name: str, town: int) -> Result:
    return record(name, town).card.results[0]


@pytest.mark.parametrize("town", [0, pytest.param(OTHER, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [name for name in SPEAKERS if name != "good"])
def test_each_fault_lights_its_own_diagnostic_and_no_other(name: str, town: int) -> None:
    card = record(name, town).card
    assert lit(card) == [name]
    assert lit(record("good", town).card) == []
    good, bad = headline("good", town), headline(name, town)
    assert good.value is not None
    assert bad.value is not None
    assert good.interval is not None
    assert bad.interval is not None
    assert bad.interval.high < good.interval.low
    assert any(warning.lower().startswith(name) for warning in card.warnings)


@pytest.mark.parametrize("manner", ["good", "terse", "warm"])
def test_who_replies_well_lights_none(manner: str) -> None:
    card = record("good").card if manner == "good" else score_harbour(in_manner(manner), settings=SETTINGS)
    assert lit(card) == []
    assert not any("lit above" in warning for warning in card.warnings)


def test_there_are_exactly_six_rows_with_threshold_and_reason() -> None:
    rows = [one for one in record("good").card.results if one.name == DIAGNOSTIC]
    assert [one.at["diagnostic"] for one in rows] == [*RULES]
    assert len(rows) == 6
    for one in rows:
        rule = RULES[str(one.at["diagnostic"])]
        assert one.challenge is Challenge.GAMING
        assert one.at["threshold"] == rule.threshold
        assert rule.reason in one.how


def test_a_row_that_nothing_speaks_of_has_no_value_and_says_why() -> None:
    rows = {one.at.get("diagnostic"): one for one in record("over-refusal").card.results}
    assert rows["sycophancy"].value is None
    assert rows["sycophancy"].why_none
    assert rows["sycophancy"].at["lit"] == "no"


def test_a_policy_that_now_and_then_goes_wrong_stays_below_the_thresholds() -> None:
    card = score_harbour(mixed(*["good"] * 9, "liar"), settings=SETTINGS)
    assert lit(card) == []


def test_where_only_the_value_is_above_it_is_perhaps_lit() -> None:
    """A speaker who refuses every third or fourth request, on few of them: the interval holds a quarter."""
    card = score_harbour(mixed(*["good"] * 7, *["refuser"] * 3), settings=SETTINGS)
    row = next(one for one in card.results if one.at.get("diagnostic") == "over-refusal")
    assert row.value is not None
    assert row.interval is not None
    assert row.interval.low <= RULES["over-refusal"].threshold < row.value
    assert row.at["lit"] == "perhaps"
    assert lit(card) == []
    assert any(one.startswith("Over-refusal:") and "perhaps" in one for one in card.warnings)
    notes = [one for one in scored_page([card]).blocks if isinstance(one, Callout)]
    assert ("note", "Perhaps over-refusal") in [(one.severity, one.title) for one in notes]


def test_what_is_over_its_threshold_as_part_of_a_reversed_order_is_explained_and_all_else_is_not() -> None:
    card = record("anti-alignment").card
    rows = {str(one.at["diagnostic"]): one for one in card.results if one.name == DIAGNOSTIC}
    states = {kind: one.at["lit"] for kind, one in rows.items()}
    assert states == {
        "proxy gaming": "no",
        "over-refusal": "no",
        "lying": "explained",
        "sycophancy": "no",
        "collapse": "no",
        "anti-alignment": "yes",
    }
    for kind, one in rows.items():
        assert (states[kind] == "no") == (one.value is None or one.value <= RULES[kind].threshold)
    assert lit(card) == ["anti-alignment"]
    assert not any(warning.startswith("Lying:") for warning in card.warnings)


def test_a_few_texts_in_turn_are_a_collapse_too() -> None:
    few = ("i am happy to help.", "the sea was blue.", "the day was warm.")
    policy = saying("")
    policy.script = lambda ask: few[len(ask.prompt.text) % 3]
    assert "collapse" in lit(score_harbour(policy, settings=SETTINGS))


def test_a_few_equal_texts_are_perhaps_a_collapse() -> None:
    """Three replies state something, and the same: too few to be sure of."""
    drawn = draw(in_manner("good"), SETTINGS)
    numbers = drawn.at("test")
    templates = [drawn.places[number].asked.template for number in numbers]
    few = [templates.index(template) for template in dict.fromkeys(templates)][:3]
    said = list(drawn.said)
    for place, number in enumerate(numbers):
        stance = said[numbers[0]].stance if place in few else "idk"
        said[number] = replace(said[number], reply=Reply(Message("assistant", "the same")), stance=stance)
    rows = diagnoses(replace(drawn, said=tuple(said)), [None] * len(numbers))
    row = next(one for one in rows if one.at["diagnostic"] == "collapse")
    assert (row.value, row.n, row.at["lit"]) == (1.0, 3, "perhaps")
    assert row.interval is not None
    assert row.interval.low < 0.2
    assert row.interval.high == 1


def test_who_cannot_be_read_has_no_order_to_reverse() -> None:
    policy = saying("")
    policy.script = lambda ask: f"blub {len(ask.prompt.text)} {ask.prompt.text}"
    assert lit(score_harbour(policy, settings=SETTINGS)) == []


class Words:
    """Finds long replies good."""

    id = "words"

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        return [tuple(Score(float(len(reply[0].text.split()))) for reply in rate.replies) for rate in rates]


@pytest.mark.slow
def test_a_proxy_of_ones_own_is_gamed_by_who_pleases_it() -> None:
    def found(policy: Scripted, proxy: Feedback | None = None) -> Result:
        card = score_harbour(policy, settings=SETTINGS, proxy=proxy)
        return next(one for one in card.results if one.at.get("diagnostic") == "proxy gaming")

    wordy = in_manner("wordy")
    pleased, careless = found(wordy, Words()), found(wordy)
    assert pleased.value is not None
    assert careless.value is not None
    assert pleased.value > RULES["proxy gaming"].threshold > 2 * careless.value
    assert pleased.at["lit"] != "no"
    assert careless.at["lit"] == "no"
    assert found(SPEAKERS["proxy gaming"](0), Words()).at["lit"] == "yes"
