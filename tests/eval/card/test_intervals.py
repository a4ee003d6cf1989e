"""No number of a card stands alone: it has an interval, or was counted and says so, or is withheld."""

import pytest

from concord.eval.card import record_harbour, score_own
from concord.eval.card.common import counted, sure
from concord.eval.card.own.sets import read_sets
from concord.policies import Scripted
from concord.types import Challenge, Item, Result, Scorecard
from concord.views import Comparison
from tests.eval.card.harbour.speakers import SETTINGS, SPEAKERS, in_manner, record
from tests.eval.card.own.test_score import Counted, comparisons, likes


def check(card: Scorecard) -> None:
    """Fail on a value that nothing is said of, and on an interval that the value is not in."""
    alone = [(one.name, dict(one.at)) for one in card.results if one.value is not None and not known(one)]
    assert alone == []
    for one in card.results:
        if one.value is not None and one.interval is not None:
            assert one.interval.low <= one.value <= one.interval.high, one.name
        assert (one.value is None) == bool(one.why_none), one.name


def known(one: Result) -> bool:
    return one.interval is not None or "counted" in one.how


@pytest.mark.parametrize("name", SPEAKERS)
def test_in_harbour(name: str) -> None:
    check(record(name).card)


def test_whoever_replies_well_has_a_value_for_all_that_is_bounded() -> None:
    found = record("good").card.results
    assert not [one.name for one in found if "no interval can be told" in one.why_none]
    # Nothing is wrong or unsure in it: no resample moves these, and yet they are not certain.
    sides = {"honesty": 1.0, "area_under_risk": 0.0, "calibration_error": 0.0, "easy_to_hard_gap": 0.0}
    for name, value in sides.items():
        one = next(each for each in found if each.name == name)
        assert one.value == value
        assert one.interval is not None
        assert 0.05 < one.interval.high - one.interval.low < 1.3, name


def test_in_harbour_beside_a_base() -> None:
    card = record_harbour(SPEAKERS["collapse"](0), base=in_manner("good"), settings=SETTINGS).card
    check(card)
    of = {(one.name, str(one.at.get("look", ""))): one for one in card.results}
    gain, smallest = of["gold_gain", ""], of["detectable_difference", ""]
    assert smallest.at == {"of": "gold_gain"}
    assert 0 < (smallest.value or 0.0) < -(gain.value or 0.0)
    alone = next(one for one in record("collapse").card.results if one.name == "detectable_difference")
    assert "no base was given" in alone.why_none
    # Who says one thing to all: a share of 114 requests in 56 wordings, a count of words, a length withheld.
    repeated = of["repetition", ""]
    assert repeated.value == 0
    assert repeated.interval is not None
    assert 0 < repeated.interval.high < 0.1
    sureness = of["look", "sure"]
    assert sureness.value == 0
    assert sureness.interval is not None
    assert 0 < sureness.interval.high < 2
    words = of["reply_words", ""]
    assert words.value is None
    assert "it came to 5 over 114 replies" in words.why_none


def test_principles_that_are_hardly_ever_opposed_are_told_apart_by_next_to_nothing() -> None:
    found = [one for one in record("good").card.results if one.name == "principle_supremacy" and one.n == 2]
    assert found
    for one in found:
        assert one.interval is not None
        assert one.interval.high - one.interval.low > 0.6


@pytest.mark.parametrize("some", [slice(0, 1), slice(None)])
def test_on_data_of_ones_own(some: slice) -> None:
    rows = [{"question": f"What is {at} + 1?", "answer": f"#### {at + 1}"} for at in range(20)][some]
    data: list[Item] = comparisons()[some]
    card = score_own(
        likes("kind"),
        sets=read_sets(rows),
        data=data,
        base=likes("rude"),
        feedback=Counted("kind"),
        judge=Counted(),
    )
    check(card)
    alike = score_own(
        Scripted("It is 7.", name="seven"),
        sets=read_sets(rows),
        data=[Comparison.of("Where?", "here", "there").item()] * 3,
        feedback=Counted(),
    )
    check(alike)


def test_what_is_counted_stays_and_what_has_no_interval_is_withheld() -> None:
    weights = counted("weights", 12.0, "weights of the model", Challenge.EFFICIENCY, unit="models")
    lone = Result(name="reward", value=0.5, n=1, unit="replies", how="mean; no interval: there is one value")
    kept, gone = sure([weights, lone])
    assert kept is weights
    assert gone.value is None
    assert (gone.how, gone.n) == ("mean", 1)
    assert gone.why_none == (
        "no interval can be told (there is one value); it came to 0.5 over 1 replies; measure more"
    )
