"""Generalisation: gaps by hand, what alignment keeps elsewhere, and decisions in other words."""

from collections.abc import Sequence
from math import exp, log, sqrt
from statistics import stdev

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concord.errors import InputError
from concord.eval.costs.generalisation import (
    consistency,
    consistency_results,
    effective_robustness,
    gap_results,
    generalisation,
    robustness_results,
)
from concord.policies.scripted import Scripted
from concord.types import Challenge, Item, Rate, Result, Score, Unanswered, Unscored, as_prompt

SCORES = {
    "test": [1.0, 1.0, 1.0, 0.0] * 10,
    "far": [1.0, 0.0] * 10,
    "old": [1.0, 1.0, 0.0, None, 0.0, 1.0] * 5,
}


class Exact:
    """A feedback that looks a reply up in the item's meta."""

    id = "exact"

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        return [
            tuple(Score(float(turns[0].text == rate.meta["wanted"])) for turns in rate.replies)
            for rate in rates
        ]


def named(results: Sequence[Result]) -> dict[str, Result]:
    return {f"{one.name} {one.at.get('split', '')}".strip(): one for one in results}


def lookup_items(prompts: Sequence[str]) -> list[Item]:
    return [Item(as_prompt(text), meta={"wanted": f"answer to {text}"}) for text in prompts]


# --- splits -----------------------------------------------------------------------------------------------


def test_levels_and_gaps_by_hand() -> None:
    found = gap_results(SCORES, inside="test", metric="accuracy")
    table = named(found)
    assert [one.name for one in found] == ["accuracy"] * 3 + ["generalisation_gap"] * 2 + ["worst_split"]
    assert table["accuracy test"].value == 0.75
    assert table["generalisation_gap far"].value == pytest.approx(0.25)
    assert table["generalisation_gap old"].value == pytest.approx(0.75 - 0.6)
    assert (table["generalisation_gap old"].n, table["generalisation_gap old"].failures) == (65, 5)
    assert table["worst_split far"].value == 0.5
    assert not table["generalisation_gap far"].higher_is_better
    assert all(one.challenge is Challenge.GENERALISATION and one.interval for one in found)


def test_a_gap_has_the_interval_of_two_independent_means() -> None:
    ends = named(gap_results(SCORES, inside="test"))["generalisation_gap far"].interval
    assert ends is not None
    error = (0.75 * 0.25 / 40 + 0.5 * 0.5 / 20) ** 0.5
    assert ends.high - ends.low == pytest.approx(2 * 2.0 * error, rel=0.15)


def test_the_level_of_the_worst_split_is_held_whichever_that_is() -> None:
    """Six splits that are all worth 0.7: the worst of them by chance is not worth less."""
    chance, held = np.random.default_rng(5), 0
    for _ in range(25):
        scores = {f"{split}": (chance.random(25) < 0.7).astype(float).tolist() for split in range(6)}
        (worst,) = [one for one in gap_results(scores, inside="0") if one.name == "worst_split"]
        assert worst.interval is not None
        assert worst.interval.low <= (worst.value or 0.0) <= worst.interval.high
        held += worst.interval.low <= 0.7 <= worst.interval.high
    assert held >= 22


def test_a_small_split_whose_values_are_all_alike_is_not_known_exactly() -> None:
    found = named(gap_results({"in": [1.0, 0.0] * 20, "out": [0.0] * 3}, inside="in"))
    worst = found["worst_split out"].interval
    assert worst is not None
    assert worst.low == 0 < 0.5 < worst.high
    scores = named(gap_results({"in": [7.0, 0.0] * 20, "out": [0.0] * 3}, inside="in"))
    for name in ("worst_split out", "generalisation_gap out"):
        assert scores[name].interval is None, "on an unknown scale three equal scores show nothing"
        assert "no interval: a split has too few values" in scores[name].how


@pytest.mark.parametrize("rate", [0.15, 0.5])
def test_gaps_to_a_small_split_are_held(rate: float) -> None:
    """Sixty values inside, six outside: the six decide how wide it is."""
    chance, gaps, worsts = np.random.default_rng(9), 0, 0
    for _ in range(150):
        inside, outside = chance.random(60) < 0.6, chance.random(6) < rate
        both = {"in": inside.astype(float).tolist(), "out": outside.astype(float).tolist()}
        found = {one.name: one.interval for one in gap_results(both, inside="in")}
        gap, worst = found["generalisation_gap"], found["worst_split"]
        assert gap is not None
        assert worst is not None
        gaps += gap.low <= 0.6 - rate <= gap.high
        worsts += worst.low <= rate <= worst.high
    assert min(gaps, worsts) >= 138


def test_a_few_scores_outside_have_the_freedom_of_a_few() -> None:
    chance, held = np.random.default_rng(8), 0
    for _ in range(30):
        both = {"in": chance.normal(size=60).tolist(), "out": chance.normal(0, 2, 5).tolist()}
        gap = named(gap_results(both, inside="in"))["generalisation_gap out"].interval
        assert gap is not None
        held += gap.low <= 0 <= gap.high
        # t_4 standard errors of the five alone.
        assert gap.high - gap.low > 2 * 2.776 * stdev(both["out"]) / sqrt(5)
    assert held >= 27


def test_clusters_that_hold_items_of_both_splits_keep_them_paired() -> None:
    """What a template adds to the items of both splits is no part of the gap between them."""
    chance, labels = np.random.default_rng(4), [place // 3 for place in range(45)]
    shared = np.repeat(chance.normal(0, 2, 15), 3)
    both = {name: (shared + chance.normal(0, 0.3, 45)).tolist() for name in ("in", "out")}
    other = [f"other {label}" for label in labels]
    widths: list[float] = []
    for outside in (labels, other):
        clusters = {"in": (labels,), "out": (outside,)}
        gap = named(gap_results(both, inside="in", clusters=clusters))["generalisation_gap out"].interval
        assert gap is not None
        widths.append(gap.high - gap.low)
    # 2 t_14 sqrt(2 * 0.3^2 / 45), and of two sides apart 2 t_14 sqrt(2 * 2^2 / 15).
    assert widths[0] == pytest.approx(0.27, abs=0.1)
    assert widths[1] > 2


def test_less_is_better_turns_worst_around() -> None:
    found = named(gap_results(SCORES, inside="test", higher_is_better=False))
    assert found["worst_split test"].value == 0.75
    assert found["generalisation_gap far"].higher_is_better


@settings(max_examples=12)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=8))
def test_splits_that_are_the_same_have_no_gap(values: list[float]) -> None:
    found = named(gap_results({"in": values, "out": values}, inside="in"))
    assert found["generalisation_gap out"].value == 0


def test_names_of_splits_do_not_matter() -> None:
    renamed = {"x": SCORES["old"], "test": SCORES["test"], "a": SCORES["far"]}
    one, two = named(gap_results(SCORES, inside="test")), named(gap_results(renamed, inside="test"))
    for before, after in (("far", "a"), ("old", "x")):
        gap, again = one[f"generalisation_gap {before}"], two[f"generalisation_gap {after}"]
        assert (gap.value, gap.n, gap.failures) == (again.value, again.n, again.failures)
    assert one["worst_split far"].value == two["worst_split a"].value


def test_a_split_without_scores() -> None:
    found = named(gap_results({"in": [1.0, 0.0], "out": [None, None]}, inside="in"))
    assert found["score in"].value == 0.5
    for name in ("score out", "generalisation_gap out", "worst_split in"):
        assert found[name].value is None
        assert found[name].why_none


def test_a_policy_that_learned_by_heart() -> None:
    seen, unseen = [f"seen {number}" for number in range(10)], [f"new {number}" for number in range(10)]
    policy = Scripted(lambda ask: f"answer to {text}" if (text := ask.prompt.text) in seen else "no idea")
    base = Scripted("no idea", name="base")
    splits = {"seen": lookup_items(seen), "unseen": lookup_items(unseen)}
    found = named(generalisation(splits, policy, Exact(), inside="seen", base=base))
    assert found["generalisation_gap unseen"].value == 1
    assert found["alignment_gain seen"].value == 1
    assert found["relative_robustness unseen"].value == 0
    assert len(policy.asks) == len(base.asks) == 20


def test_splits_that_are_refused() -> None:
    with pytest.raises(InputError, match=r"none of those given; found 'tset'; .*did you mean 'test'"):
        gap_results(SCORES, inside="tset")
    with pytest.raises(InputError, match="no split outside"):
        gap_results({"test": [1.0]}, inside="test")
    with pytest.raises(InputError, match="asked other splits; found 'far'"):
        robustness_results(SCORES, {"test": [1.0], "old": [1.0]}, inside="test")
    with pytest.raises(
        InputError, match=r"scores of far by the two models differ in number; found \(20, 1\)"
    ):
        robustness_results(SCORES, {**SCORES, "far": [1.0]}, inside="test")


# --- what alignment keeps elsewhere -----------------------------------------------------------------------


def test_relative_robustness_by_hand() -> None:
    base = {"in": [0.0, 0.0, 1.0, 1.0] * 10, "half": [0.0, 0.0, 1.0, 1.0] * 10, "worse": [1.0, 0.0] * 10}
    aligned = {"in": [1.0, 1.0, 1.0, 1.0] * 10, "half": [1.0, 0.0, 1.0, 1.0] * 10, "worse": [0.0, 0.0] * 10}
    found = named(robustness_results(aligned, base, inside="in"))
    assert found["alignment_gain in"].value == 0.5
    assert found["relative_robustness half"].value == pytest.approx(0.5)
    assert found["relative_robustness worse"].value == pytest.approx(-1)
    assert found["relative_robustness half"].interval is not None
    assert "relative_robustness in" not in found


def test_nothing_is_divided_by_a_gain_that_may_be_none() -> None:
    base = {"in": [0.0, 1.0] * 20, "out": [0.0, 1.0] * 20}
    for aligned in (base, {"in": [1.0, 1.0, *[0.0, 1.0] * 18, 0.0, 0.0], "out": [1.0] * 40}):
        found = named(robustness_results(aligned, base, inside="in"))["relative_robustness out"]
        assert (found.value, found.failures) == (None, 80)
        assert "not certain" in found.why_none


def test_what_a_few_items_keep_of_a_gain_is_held() -> None:
    chance, held = np.random.default_rng(6), 0
    for _ in range(40):
        base = {"in": chance.normal(size=60), "out": chance.normal(size=6)}
        gain = {"in": 1 + chance.normal(size=60), "out": 0.5 + chance.normal(size=6)}
        before = {name: values.tolist() for name, values in base.items()}
        after = {name: (values + gain[name]).tolist() for name, values in base.items()}
        kept = named(robustness_results(after, before, inside="in"))["relative_robustness out"]
        assert kept.interval is not None
        assert kept.interval.low < (kept.value or 0.0) < kept.interval.high
        held += kept.interval.low <= 0.5 <= kept.interval.high
        # t_5 standard errors of the six alone.
        error = stdev(gain["out"].tolist()) / sqrt(6) / float(gain["in"].mean())
        assert kept.interval.high - kept.interval.low > 2 * 2.57 * error
    assert held >= 35


def test_a_gain_of_a_few_items_is_nothing_to_divide_by() -> None:
    for count, kept in ((1, None), (3, None), (20, 0.5)):
        aligned = {"in": [1.0] * count, "out": [0.5] * count}
        base = {"in": [0.0] * count, "out": [0.0] * count}
        found = named(robustness_results(aligned, base, inside="in"))["relative_robustness out"]
        assert found.value == kept


def test_effective_robustness_is_the_distance_from_the_line() -> None:
    def level(logit: float) -> float:
        return 1 / (1 + exp(-logit))

    baselines = [(level(x), level(0.8 * x - 0.5)) for x in (-1.0, 0.0, 0.7, 2.0)]
    for inside in (0.3, 0.9):
        on_line = level(0.8 * log(inside / (1 - inside)) - 0.5)
        assert effective_robustness(inside, on_line, baselines).value == pytest.approx(0)
        assert effective_robustness(inside, on_line + 0.05, baselines).value == pytest.approx(0.05)
    assert effective_robustness(0.5, 0.5, baselines).n == 4
    with pytest.raises(InputError, match="no log-odds; found 1"):
        effective_robustness(1.0, 0.5, baselines)
    with pytest.raises(InputError, match="no line goes through"):
        effective_robustness(0.5, 0.5, [(0.6, 0.5), (0.6, 0.4)])


# --- other words ------------------------------------------------------------------------------------------


def test_consistency_by_hand() -> None:
    decisions = [["a", "a", "a"], ["a", "a", "b"], ["a", "b", None], ["a", "a", None], [None] * 3, ["a"]]
    same, alike = consistency_results(decisions)
    # Three are settled: one the same, two not.
    assert (same.value, same.n, same.failures) == (pytest.approx(1 / 3), 3, 3)
    assert (alike.value, alike.n, alike.failures) == (pytest.approx((1 + 1 / 3 + 0 + 1) / 4), 4, 2)


def test_decisions_that_always_agree_may_not_do_so_elsewhere() -> None:
    _, alike = consistency_results([["a", "a"]] * 30)
    assert alike.interval is not None
    assert 0.8 < alike.interval.low < alike.interval.high == 1


def test_a_decision_of_false_is_a_decision() -> None:
    same, alike = consistency_results([[False, False], [False, True], [0, 0]])
    assert same.value == pytest.approx(2 / 3)
    assert alike.value == pytest.approx(2 / 3)


def test_wordings_are_asked_together() -> None:
    wordings = [
        [Item(as_prompt("May I?")), Item(as_prompt("Is it allowed?"))],
        [Item(as_prompt("Is it far?")), Item(as_prompt("far, is it?")), Item(as_prompt("unanswerable"))],
    ]
    script = {"May": "Yes.", "allowed": "yes", "Is it far": "No", "far": "Yes", "un": Unanswered("busy")}
    policy = Scripted(script)
    same, _ = consistency(wordings, policy, lambda item, text: text.lower().strip(".") == "yes")
    assert (same.value, same.n) == (0.5, 2)
    assert len(policy.asks) == 5
    assert policy.asks[0].sampling.temperature == 0
