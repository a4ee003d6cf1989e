"""Values: distance from what is wanted, questionnaires, Schwartz's circle, norms, better against worse."""

from math import cos, pi

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import InputError
from concord.eval.conduct.values import (
    HHH,
    HIGHER_ORDER,
    MORAL_FOUNDATIONS,
    SCHWARTZ,
    NormVerdict,
    Profile,
    Questionnaire,
    ValueSystem,
    Wanted,
    all_right_results,
    circular_pattern,
    hhh_results,
    norm_results,
    norm_violation,
    opposite,
    profile_results,
    profiles_of,
    value_distance,
    value_loss,
)
from concord.types import Result, Score, Unscored

SYSTEM = ValueSystem(name="hhh", wanted={name: Wanted(1.0) for name in HHH})
levels = st.one_of(st.none(), st.floats(-1, 1))
profiles = st.fixed_dictionaries(dict.fromkeys(HHH, levels))


def named(results: list[Result]) -> dict[str, Result]:
    return {"/".join([one.name, *map(str, one.at.values())]): one for one in results}


# --- systems of values ------------------------------------------------------------------------------------


@given(profiles, st.floats(0, 10))
def test_loss(profile: dict[str, float | None], weight: float) -> None:
    there = {name: value for name, value in profile.items() if value is not None}
    loss = value_loss(profile, SYSTEM)
    if loss is None:
        assert not there
        assert value_distance(profile, SYSTEM) is None
        return
    assert loss == pytest.approx(sum((value - 1) ** 2 for value in there.values()))
    assert value_loss(there, SYSTEM) == loss, "None is as good as missing"
    turned = ValueSystem(name="t", wanted=dict(reversed([*SYSTEM.wanted.items()])))
    assert value_loss(dict(reversed([*profile.items()])), turned) == pytest.approx(loss)
    heavy = ValueSystem(name="w", wanted={name: Wanted(1.0, weight) for name in HHH})
    assert value_loss(profile, heavy) == pytest.approx(weight * loss)
    assert value_distance(profile, heavy) == pytest.approx((weight * loss) ** 0.5)


def test_what_is_wanted_has_no_loss() -> None:
    assert value_loss({"helpful": 1, "honest": 1, "harmless": None}, SYSTEM) == 0


def test_profiles_come_from_the_parts_of_scores() -> None:
    scores = [Score(0.5, parts={"helpful": 0.5, "tone": 1.0}), Unscored("unreadable")]
    assert profiles_of(scores, SYSTEM) == [{"helpful": 0.5, "honest": None, "harmless": None}, None]


def test_profile_results() -> None:
    rows: list[Profile | None] = [
        {"helpful": 1.0, "honest": 0.0},
        {"helpful": 0.0, "honest": None},
        {"honest": None},
        None,
    ]
    results = named(profile_results(rows, SYSTEM, clusters=(["a", "b", "c", "d"],)))
    assert (results["value_profile/hhh/helpful"].value, results["value_profile/hhh/helpful"].n) == (0.5, 2)
    assert results["value_at_stake/hhh/honest"].value == pytest.approx(1 / 3)
    assert results["value_profile/hhh/harmless"].value is None
    loss = results["value_loss/hhh"]
    assert (loss.value, loss.n, loss.failures) == (1, 2, 2)


def test_systems_that_say_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="no dimension"):
        ValueSystem(name="empty", wanted={})
    with pytest.raises(InputError, match="is no number"):
        Wanted(1.0, -1.0)
    with pytest.raises(InputError, match="hhh has no such value; found 'kind'"):
        value_loss({"kind": 1.0}, SYSTEM)


# --- better against worse ---------------------------------------------------------------------------------


def test_ties_count_one_half() -> None:
    better, worse = [1.0, 0.5, 0.0, 2.0, None], [0.0, 0.5, 1.0, 1.0, 1.0]
    groups = ["helpful", "helpful", "honest", "honest", "honest"]
    results = named(hhh_results(better, worse, groups))
    assert results["hhh_accuracy"].value == pytest.approx(2.5 / 4)
    assert results["hhh_accuracy/helpful"].value == 0.75
    assert results["hhh_accuracy/honest"].value == 0.5
    assert results["hhh_accuracy"].failures == 1
    turned = named(hhh_results(worse[:4], better[:4], groups[:4]))
    assert turned["hhh_accuracy"].value == pytest.approx(1 - 2.5 / 4)
    assert named(hhh_results([1.0] * 4, [1.0] * 4, groups[:4]))["hhh_accuracy"].value == 0.5


def test_pairs_and_norms_that_all_go_one_way_leave_room_for_others() -> None:
    (whole, *_) = hhh_results([1.0] * 30, [0.0] * 30, ["honest"] * 30)
    assert whole.interval is not None
    assert 0.8 < whole.interval.low < whole.interval.high == 1
    (kept,) = norm_results([[NormVerdict(relevance=1, agreement=1, violated=False)]] * 30)
    assert kept.interval is not None
    assert 0 == kept.interval.low < kept.interval.high < 0.2


# --- questionnaires ---------------------------------------------------------------------------------------


def test_a_scripted_respondent() -> None:
    key: dict[int | str, str] = {item: MORAL_FOUNDATIONS[item % 5] for item in range(30)}
    sheet = Questionnaire(key=key, low=0, high=5, catch={"sums": (0, 2), "good": (3, 5)})
    answers: dict[int | str, float | None] = {item: float(item % 5) for item in range(30)}
    assert sheet.scores(answers) == {name: at for at, name in enumerate(MORAL_FOUNDATIONS)}
    assert sheet.careless({**answers, "sums": 1.0, "good": 4.0}) == []
    assert sheet.careless({**answers, "sums": 5.0, "good": 4.0}) == ["sums"]
    assert sheet.careless({**answers, "sums": 5.0, "good": 0.0}) == ["sums", "good"]


@given(st.lists(st.integers(1, 4), min_size=20, max_size=20), st.integers(0, 2))
def test_centred_scores_do_not_know_how_a_scale_is_used(answers: list[int], added: int) -> None:
    key = {item: SCHWARTZ[item % 10] for item in range(20)}
    sheet = Questionnaire(key=key, low=1, high=6, reversed=frozenset(key), centred=True)
    before = sheet.scores(dict(enumerate(map(float, answers))))
    after = sheet.scores({item: float(answer + added) for item, answer in enumerate(answers)})
    for value in SCHWARTZ:
        assert before[value] == pytest.approx(after[value], abs=1e-9)
    assert sum(score or 0 for score in before.values()) == pytest.approx(0, abs=1e-9)


def test_reversed_items_and_missing_ones() -> None:
    key = {1: "power", 2: "power", 3: "security"}
    sheet = Questionnaire(key=key, low=1, high=6, reversed=frozenset({2}))
    assert sheet.scores({1: 6.0, 2: 2.0, 3: None}) == {"power": 5.5, "security": None}
    assert sheet.scores({2: 1.0}) == {"power": 6, "security": None}
    with pytest.raises(InputError, match="no such item; found 9"):
        sheet.scores({9: 1.0})
    with pytest.raises(InputError, match=r"not on the scale; found 7\.0; accepted: 1 to 6"):
        sheet.scores({1: 7.0})


# --- the circle -------------------------------------------------------------------------------------------


def test_opposites_and_higher_orders() -> None:
    assert opposite("power") == "universalism"
    assert opposite("tradition") == "hedonism"
    for value in SCHWARTZ:
        assert opposite(opposite(value)) == value
    assert {value for group in HIGHER_ORDER.values() for value in group} == set(SCHWARTZ)
    assert opposite("stimulation") in HIGHER_ORDER["conservation"]
    assert opposite("achievement") in HIGHER_ORDER["self-transcendence"]
    with pytest.raises(InputError, match="none of Schwartz's values; found 'wealth'"):
        opposite("wealth")


@pytest.mark.parametrize("peak", range(10))
def test_a_wave_peaks_where_it_was_made(peak: int) -> None:
    wave = {value: 3 + 2 * cos(2 * pi * (at - peak) / 10) for at, value in enumerate(SCHWARTZ)}
    pattern = circular_pattern(wave)
    assert pattern[SCHWARTZ[peak]] == pytest.approx(1)
    assert pattern[opposite(SCHWARTZ[peak])] == pytest.approx(-1)
    assert max(pattern, key=lambda value: pattern[value] or 0) == SCHWARTZ[peak]
    some = circular_pattern({**wave, SCHWARTZ[(peak + 3) % 10]: None})
    assert some[SCHWARTZ[peak]] == pytest.approx(1)


def test_what_does_not_vary_has_no_pattern() -> None:
    assert circular_pattern(dict.fromkeys(SCHWARTZ, 2.0))["power"] is None


# --- norms ------------------------------------------------------------------------------------------------


def verdict(relevance: float, agreement: float, *, violated: bool) -> NormVerdict:
    return NormVerdict(relevance=relevance, agreement=agreement, violated=violated)


def test_weighted_violation() -> None:
    rules = [verdict(1, 4, violated=True), verdict(0.5, 2, violated=False), verdict(0, 4, violated=True)]
    assert norm_violation(rules) == pytest.approx(4 / 5)
    assert norm_violation(rules[:2]) == norm_violation(rules), "a rule that does not apply has no say"
    worse = [rules[0], verdict(0.5, 2, violated=True)]
    assert (norm_violation(worse) or 0) > (norm_violation(rules) or 0)
    assert norm_violation([]) is None
    assert norm_violation([rules[2]]) is None
    (result,) = norm_results([rules, [], None])
    assert (result.value, result.n, result.failures) == (pytest.approx(0.8), 1, 2)
    with pytest.raises(InputError, match="no such weight"):
        verdict(-1, 1, violated=True)


def test_groups_are_right_as_a_whole() -> None:
    hits = [True, True, True, False, True, None, False, None]
    groups = [1, 1, 2, 2, 3, 3, 4, 4]
    (result,) = all_right_results(hits, groups)
    assert (result.value, result.n, result.failures) == (pytest.approx(1 / 3), 3, 1)
