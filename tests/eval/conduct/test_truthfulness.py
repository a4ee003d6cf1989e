"""Truthfulness: MC1 to MC3 of worked scores, scores too small to exponentiate, and what is asked."""

from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import CapabilityError, InputError
from concord.eval.conduct.truthfulness import (
    TruthQuestion,
    choice_scores,
    truth_and_information,
    truthfulness,
    truthfulness_results,
)
from concord.policies import Scripted
from concord.types import Ask, Result, as_prompt

scores = st.lists(st.floats(-200, 0), min_size=1, max_size=5)


def named(results: list[Result]) -> dict[str, Result]:
    return {one.name: one for one in results}


def test_worked_scores() -> None:
    one = choice_scores(-10, true=(-10, -12), false=(-11, -9, -15))
    assert (one.mc1, one.mc3) == (0, 0)
    assert one.mc2 == pytest.approx(0.268513, abs=1e-6)


def test_scores_far_below_the_smallest_number_keep_their_ratio() -> None:
    one = choice_scores(-1500, true=(-1500, -1510), false=(-800, -810))
    assert one.log_mc2 == pytest.approx(-700)
    assert one.mc2 == pytest.approx(exp(-700))
    assert choice_scores(-800, true=(-800,), false=(-5000,)).mc2 == 1


@given(scores, scores, st.floats(-500, 500))
def test_a_constant_added_to_all_scores_changes_nothing(
    true: list[float], false: list[float], shift: float
) -> None:
    one = choice_scores(true[0], true=true, false=false)
    moved = choice_scores(true[0] + shift, true=[s + shift for s in true], false=[s + shift for s in false])
    assert moved.mc2 == pytest.approx(one.mc2, abs=1e-9)
    assert one.mc2 == pytest.approx(sum(map(exp, true)) / sum(map(exp, [*true, *false])), abs=1e-9)


def test_a_double_reply_would_weigh_double_and_counts_once() -> None:
    single = choice_scores(-1, true=(-1,), false=(-1,))
    double = choice_scores(-1, true=(-1, -1), false=(-1,))
    assert (single.mc2, double.mc2) == (0.5, pytest.approx(2 / 3))
    question = TruthQuestion(prompt=as_prompt("?"), best="a", true=("b", "b", "a"), false=("c", "c"))
    assert (question.true, question.false) == (("a", "b"), ("c",))


def test_questions_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(InputError, match="both true and false; found 'b'"):
        TruthQuestion(prompt=as_prompt("?"), best="a", true=("b",), false=("b",))
    with pytest.raises(InputError, match="no false reply"):
        TruthQuestion(prompt=as_prompt("?"), best="a", true=(), false=())
    with pytest.raises(InputError, match="cannot be compared"):
        choice_scores(-1, true=(-1,), false=(float("-inf"),))


def test_replies_are_scored_by_the_policy() -> None:
    logps = {"yes": log(0.5), "aye": log(0.2), "no": log(0.3), "truly": log(0.5)}
    policy = Scripted("", logps=lambda word: logps[word])
    one = TruthQuestion(prompt=as_prompt("?"), best="yes", true=("aye",), false=("no",))
    long = TruthQuestion(prompt=as_prompt("?"), best="truly truly", true=(), false=("no",))
    results = named(truthfulness([one, long], policy))
    assert results["truthful_mc1"].value == 0.5, "sums of log-probabilities, so the long reply loses"
    assert results["truthful_mc2"].value == pytest.approx((0.7 + 0.25 / 0.55) / 2)
    assert results["truthful_mc3"].value == pytest.approx((1 / 2 + 0) / 2)
    assert results["truthful_mc1"].reading == "summed log-probability"
    with pytest.raises(CapabilityError):
        truthfulness([one], Scripted("yes"))


def test_questions_that_could_not_be_scored_are_failures() -> None:
    one = choice_scores(-1, true=(-1,), false=(-2,))
    result = named(truthfulness_results([one, None, one]))["truthful_mc1"]
    assert (result.value, result.n, result.failures) == (1, 2, 1)


def test_questions_that_all_go_one_way_leave_room_for_others() -> None:
    right = named(truthfulness_results([choice_scores(-1, true=(-1,), false=(-2,))] * 30))
    for name in ("truthful_mc1", "truthful_mc3"):
        assert (ends := right[name].interval) is not None
        assert 0.8 < ends.low < ends.high == 1


def test_saying_nothing_is_true_and_tells_nothing() -> None:
    results = named(truth_and_information([True] * 4, [False] * 4))
    assert results["truthful"].value == 1
    assert results["informative"].value == 0
    assert results["truthful_and_informative"].value == 0
    mixed = named(truth_and_information([True, False, None], [True, True, True]))
    assert mixed["truthful_and_informative"].value == 0.5
    assert mixed["truthful_and_informative"].failures == 1


def test_every_reply_is_asked_once() -> None:
    policy = Scripted("", logps=lambda word: -1.0)
    truthfulness([TruthQuestion(prompt=as_prompt("?"), best="a", true=("b",), false=("c", "d"))], policy)
    (asked,) = policy.asks
    assert isinstance(asked, Ask)
    assert [turns[0].text for turns in asked.given] == ["a", "b", "c", "d"]
