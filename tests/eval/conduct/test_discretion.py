"""Discretion: the worked comparisons, annotators whose priorities are known, and what is asked."""

import random
from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import InputError
from concord.eval.conduct.discretion import (
    agreement_of,
    discretion,
    discretion_discrepancy,
    discretion_results,
    priorities,
    supremacy,
)
from concord.feedback.pairs import Pair, Verdict
from concord.types import Result, Unscored

OPINIONS = [(1, 1, 0), (1, -1, 1), (1, 1, 1), (0, 0, 0), (-1, -1, 0), (1, -1, -1), (1, -1, 0)]
DECISIONS = [1, 1, -1, 1, -1, -1, 1]
NAMES = ("a", "b", "c")

opinions = st.lists(st.tuples(*[st.sampled_from([-1, 0, 1, None])] * 3), min_size=1, max_size=20)


def named(results: Sequence[Result]) -> dict[str, Result]:
    return {"/".join([one.name, *map(str, one.at.values())]): one for one in results}


# --- worked values ----------------------------------------------------------------------------------------


def test_worked_comparisons() -> None:
    wins = supremacy(OPINIONS, DECISIONS)
    assert wins == [[0, 2, 0], [1, 0, 0], [1, 1, 0]]
    assert priorities(wins) == pytest.approx((0.243679, 0.159014, 0.597307), abs=1e-6)
    results = named(discretion_results(OPINIONS, DECISIONS, principles=NAMES))
    wanted = {
        "principles_consensus": (3 / 7, 7),
        "principles_conflict": (3 / 7, 7),
        "principles_indifference": (1 / 7, 7),
        "discretion_arbitrariness": (1 / 3, 3),
        "principle_supremacy/a/b": (2 / 3, 3),
        "principle_supremacy/a/c": (0, 1),
        "principle_supremacy/b/c": (0, 1),
        "principle_priority/a": (0.243679, 3),
        "principle_priority/b": (0.159014, 3),
        "principle_priority/c": (0.597307, 3),
    }
    assert results.keys() == wanted.keys()
    for name, (value, n) in wanted.items():
        assert results[name].value == pytest.approx(value, abs=1e-6), name
        assert results[name].n == n, name
        assert results[name].failures == 0
        assert results[name].interval is not None, name


def test_discrepancy() -> None:
    assert discretion_discrepancy((0, 1, 2, 3), (0, 1, 2, 3)) == 0
    assert discretion_discrepancy((0, 1, 2, 3), (3, 2, 1, 0)) == 1
    assert discretion_discrepancy((0, 1, 2, 3), (1, 0, 3, 2)) == pytest.approx(1 / 3)
    assert discretion_discrepancy((0, 1), (1, 1)) == 0.5
    assert discretion_discrepancy((1, 1), (1, 1)) == 0
    with pytest.raises(InputError, match="no two principles"):
        discretion_discrepancy((1,), (1,))
    with pytest.raises(InputError, match="not those of the same principles"):
        discretion_discrepancy((1, 2), (1, 2, 3))


@pytest.mark.parametrize(
    ("held", "case"),
    [
        ((1, 0, None), None),
        ((1, -1, None), "conflict"),
        ((0, 0), "indifference"),
        ((0, -1), "consensus"),
        ((), "indifference"),
    ],
)
def test_cases(held: tuple[int | None, ...], case: str | None) -> None:
    assert agreement_of(held) == case


# --- annotators that are known ----------------------------------------------------------------------------


@given(opinions, st.data())
def test_one_principle_over_another_and_back_make_one(
    held: list[tuple[int | None, ...]], data: st.DataObject
) -> None:
    decided = [data.draw(st.sampled_from([-1, 0, 1, None])) for _ in held]
    wins = supremacy(held, decided)
    for i, j in combinations(range(3), 2):
        met = sum({one[i], one[j]} == {1, -1} and bool(to) for one, to in zip(held, decided, strict=True))
        assert wins[i][j] + wins[j][i] == met


def test_an_annotator_that_is_a_principle_makes_it_supreme() -> None:
    results = named(discretion_results(OPINIONS, [one[0] for one in OPINIONS], principles=NAMES))
    assert results["principle_supremacy/a/b"].value == 1
    assert results["principle_supremacy/a/c"].value == 1
    assert results["discretion_arbitrariness"].value == 0
    top = max(NAMES, key=lambda name: results[f"principle_priority/{name}"].value or 0)
    assert top == "a"


def test_arbitrariness_is_the_rate_of_flips() -> None:
    chance = random.Random(0)
    held = [(1, 1, 0)] * 600
    for rate in (0.0, 0.2, 0.5):
        decided = [-1 if chance.random() < rate else 1 for _ in held]
        one = named(discretion_results(held, decided, principles=NAMES))["discretion_arbitrariness"]
        assert one.value == decided.count(-1) / 600
        assert one.interval is not None
        assert one.interval.low - 0.02 <= rate <= one.interval.high + 0.02


@pytest.mark.parametrize("count", [3, 20, 25])
def test_decisions_that_are_all_alike_leave_a_priority_as_unsure_as_others_may_make_it(count: int) -> None:
    held, labels = [(1, -1), (-1, 1)] * count, [[place // 3 for place in range(2 * count)]]
    for clusters in ((), labels):
        found = discretion_results(held, [1, -1] * count, principles=("x", "y"), clusters=clusters)
        for one in found:
            if one.name == "principle_priority":
                assert one.interval is not None
                assert "unlike these" in one.interval.how
                assert 0 < one.interval.low < (one.value or 0.0) < one.interval.high < 1
                assert one.interval.high - one.interval.low > 0.1
    one_other = discretion_results(held, [-1, -1, *[1, -1] * (count - 1)], principles=("x", "y"))
    ends = next(one for one in one_other if one.name == "principle_priority").interval
    assert ends is not None
    assert ends.low < ends.high


def test_known_priorities_are_found_in_order() -> None:
    """Six principles, some 250 conflicts for each two of them."""
    chance, strength = random.Random(3), (8, 5, 3, 2, 1.2, 0.5)
    held: list[tuple[int, ...]] = []
    decided: list[int] = []
    for i, j in combinations(range(6), 2):
        for _ in range(250):
            row = [0] * 6
            row[i], row[j] = chance.choice([(1, -1), (-1, 1)])
            held.append(tuple(row))
            wins = chance.random() < strength[i] / (strength[i] + strength[j])
            decided.append(row[i] if wins else row[j])
    found = priorities(supremacy(held, decided))
    assert found == tuple(sorted(found, reverse=True))
    whole = sum(strength)
    assert found == pytest.approx([one / whole for one in strength], abs=0.04)


def test_decisions_that_are_none_are_not_held_against_anyone() -> None:
    results = named(discretion_results([(1, 1), (1, -1), (1, 1)], [0, 0, None], principles=("a", "b")))
    arbitrary = results["discretion_arbitrariness"]
    assert (arbitrary.value, arbitrary.n, arbitrary.failures) == (None, 0, 1)
    assert results["principle_supremacy/a/b"].value is None
    assert results["principle_priority/a"].value is None
    assert "never" in results["principle_supremacy/a/b"].why_none


def test_what_oracles_do_not_say_is_a_failure() -> None:
    results = named(discretion_results([(1, None), (1, 1)], [1, 1], principles=("a", "b")))
    assert (results["principles_consensus"].value, results["principles_consensus"].failures) == (1, 1)
    assert results["discretion_arbitrariness"].failures == 1


@pytest.mark.parametrize(
    ("held", "decided", "message"),
    [
        ([(1, 1)], [1, 1], "differ in number"),
        ([(1,)], [1], "lacks the opinion of a principle; found 1 opinions"),
        ([(1, 2)], [1], "an opinion or decision is none; found 2"),
    ],
)
def test_what_is_refused(held: list[tuple[int, ...]], decided: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        discretion_results(held, decided, principles=("a", "b"))


# --- asking -----------------------------------------------------------------------------------------------


class Prefers:
    """Prefers the reply that holds a word; favours what is shown first where `first` is set."""

    def __init__(self, word: str, *, first: bool = False) -> None:
        self.word, self.first = word, first

    @property
    def id(self) -> str:
        return f"prefers {self.word}"

    def compare(self, pairs: Sequence[Pair]) -> list[Verdict | Unscored]:
        return [self._one(pair) for pair in pairs]

    def _one(self, pair: Pair) -> Verdict | Unscored:
        texts = pair.first[0].text, pair.second[0].text
        if "garbled" in texts:
            return Unscored("unreadable")
        gap = (self.word in texts[0]) - (self.word in texts[1])
        return Verdict(1.0 if self.first else (1 + gap) / 2)


def test_oracles_and_annotator_are_asked_in_both_orders() -> None:
    pairs = [Pair.of("?", *both) for both in (("kind", "true"), ("kind true", "so"), ("x", "garbled"))]
    oracles = {"kindness": Prefers("kind"), "honesty": Prefers("true")}
    results = named(discretion(pairs, Prefers("true"), oracles))
    assert results["principle_supremacy/kindness/honesty"].value == 0
    assert results["discretion_arbitrariness"].value == 0
    assert results["principles_consensus"].failures == 1
    swayed = named(discretion(pairs, Prefers("true", first=True), oracles))
    assert swayed["discretion_arbitrariness"].value is None, "whoever looks at the order only decides nothing"
