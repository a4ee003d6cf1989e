"""Agreement: the worked value, and what the definitions say when everything is tried."""

import json
from itertools import combinations
from math import inf, nan, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import InputError
from concord.eval.reckoning.agreement import agreement, kendall_tau, ranking_tau
from tests.conftest import ROOT

VECTORS = json.loads((ROOT / "tests" / "objectives" / "vectors.json").read_text(encoding="utf-8"))["vectors"]
VECTOR = next(vector for vector in VECTORS if vector["name"] == "cyclealign")

rankings = st.lists(st.integers(0, 7), unique=True, max_size=7)
paired = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=9)


def by_hand(first: list[int], second: list[int]) -> list[int]:
    """Of all that both hold in order the longest; of those, the one that is over soonest in the first."""
    places = [part for size in range(len(first) + 1) for part in combinations(range(len(first)), size)]

    def held(part: tuple[int, ...]) -> bool:
        wanted = [first[place] for place in part]
        return [thing for thing in second if thing in wanted] == wanted

    best = max(
        (part for part in places if held(part)), key=lambda part: (len(part), [-p for p in part[::-1]])
    )
    return [first[place] for place in best]


def tau_by_hand(pairs: list[tuple[int, int]]) -> float | None:
    """Count the pairs of pairs one by one."""

    def sign(a: int, b: int) -> int:
        return (a > b) - (a < b)

    both = [(sign(a[0], b[0]), sign(a[1], b[1])) for a, b in combinations(pairs, 2)]
    untied = sum(x != 0 for x, _ in both) * sum(y != 0 for _, y in both)
    return sum(x * y for x, y in both) / sqrt(untied) if untied else None


def test_worked_value() -> None:
    black = VECTOR["inputs"]["black_box_ranking_best_first"]
    white = VECTOR["inputs"]["white_box_ranking_best_first"]
    assert agreement(black, white) == VECTOR["expected"]["agreement_lcs"]
    assert ranking_tau(black, white) == pytest.approx(2 / 3)


@given(rankings, rankings)
def test_agreement_is_the_longest_and_drops_the_latest(first: list[int], second: list[int]) -> None:
    assert agreement(first, second) == by_hand(first, second)


def test_agreement_at_the_edges() -> None:
    assert agreement([], []) == agreement([], ["a"]) == agreement(["a"], ["b"]) == []
    assert agreement("abc", "abc") == ["a", "b", "c"]
    assert agreement("abc", "cba") == ["a"]
    assert agreement(["\u00e9", "b"], ["b", "\u00e9"]) == ["\u00e9"]
    # a d, b d, a c and b c are all longest; d and b are the later ones of the first ranking.
    assert agreement("abcd", "badc") == ["a", "c"]
    assert agreement("abcd", "bxcdya") == ["b", "c", "d"]


@given(paired)
def test_tau_counts_pairs(pairs: list[tuple[int, int]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    expected, found = tau_by_hand(pairs), kendall_tau(first, second)
    assert found == kendall_tau(second, first)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-12))


def test_tau_at_the_edges() -> None:
    assert kendall_tau([], []) is kendall_tau([1], [1]) is kendall_tau([1, 1], [1, 2]) is None
    assert kendall_tau([1, 2, 3], [-inf, 0, inf]) == 1
    assert kendall_tau([1, 2, 3], [3, 2, 1]) == -1
    # The usual worked example with ties on both sides.
    assert kendall_tau([12, 2, 1, 12, 2], [1, 4, 7, 1, 0]) == pytest.approx(-0.47140452079103173)


def test_tau_of_rankings() -> None:
    assert ranking_tau("abcd", "abcd") == 1
    assert ranking_tau("abcd", "dcba") == -1
    assert ranking_tau([], []) is ranking_tau(["a"], ["a"]) is None


def test_rankings_hold_each_thing_once() -> None:
    with pytest.raises(InputError, match="the first ranking holds a thing more than once; found 'a'"):
        agreement("aba", "ab")
    with pytest.raises(InputError, match="the second ranking holds a thing more than once; found 1"):
        ranking_tau([1, 2], [1, 1])
    with pytest.raises(InputError, match=r"holds some things; found 'b', 'c'; .* `agreement`"):
        ranking_tau("ab", "ac")


def test_scores_are_paired_numbers() -> None:
    with pytest.raises(InputError, match=r"differ in length; found \(1, 2\)"):
        kendall_tau([1], [1, 2])
    with pytest.raises(InputError, match=r"a score is not a number; .*leave unscored things out"):
        kendall_tau([1, nan], [1, 2])
