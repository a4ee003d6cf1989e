"""Rules for conflicts of values: worked choices, what no rule may do, and what each is blind to."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import InputError
from concord.eval.conduct.conflicts import (
    Decision,
    borda,
    constrained,
    copeland,
    dominated,
    kemeny,
    kemeny_rankings,
    lexicographic,
    maximin,
    multipliers,
    nash_product,
    parliament,
    plurality,
    weighted_sum,
)

WORKED = [[1, 0.1], [0.6, 0.5], [0.2, 0.9]]
CYCLE = [[3, 1, 2], [2, 3, 1], [1, 2, 3]]
RULES: dict[str, Callable[[list[list[float]]], Decision]] = {
    "weighted sum": weighted_sum,
    "lexicographic": lambda u: lexicographic(u, range(len(u[0])), tolerance=1),
    "constrained": lambda u: constrained(u, objective=0, at_least={len(u[0]) - 1: 2}),
    "maximin": maximin,
    "nash product": nash_product,
    "plurality": plurality,
    "borda": borda,
    "copeland": copeland,
    "kemeny": kemeny,
    "parliament": parliament,
}
tables = st.integers(1, 3).flatmap(
    lambda width: st.lists(
        st.lists(st.sampled_from([0.0, 1.0, 2.0, 5.0]), min_size=width, max_size=width),
        min_size=1,
        max_size=5,
    )
)


def test_worked_choices() -> None:
    sums = weighted_sum(WORKED)
    assert sums.scores == pytest.approx((1.1, 1.1, 1.1))
    assert sums.tied == (0, 1, 2)
    product = nash_product(WORKED)
    assert (product.chosen, product.scores[1]) == (1, pytest.approx(0.3))
    least = maximin(WORKED)
    assert (least.chosen, least.scores[1]) == (1, 0.5)
    assert lexicographic(WORKED, [0]).chosen == 0
    assert lexicographic(WORKED, [1]).chosen == 2
    assert lexicographic(WORKED, [0, 1], tolerance=0.4).chosen == 1
    assert constrained(WORKED, objective=0, at_least={1: 0.4}).chosen == 1
    assert weighted_sum(WORKED, [2, 1]).chosen == 0


def test_a_decision_says_who_loses_and_how_much() -> None:
    assert maximin(WORKED).lost == pytest.approx({0: 0.4, 1: 0.4})
    assert lexicographic(WORKED, [0]).lost == pytest.approx({1: 0.8})
    assert weighted_sum([[1, 1], [0, 0]]).lost == {}


def test_bounds_that_nobody_meets_give_no_decision() -> None:
    one = constrained(WORKED, objective=0, at_least={0: 0.5, 1: 0.8})
    assert (one.chosen, one.tied, one.scores) == (None, (), (None, None, None))
    assert nash_product([[1, -1], [-1, 1]]).chosen is None


def test_a_cycle() -> None:
    assert copeland(CYCLE).tied == (0, 1, 2)
    assert kemeny(CYCLE).tied == (0, 1, 2)
    assert sorted(kemeny_rankings(CYCLE)) == [(0, 1, 2), (1, 2, 0), (2, 0, 1)]


def test_rules_of_voting_differ() -> None:
    """Nine voters: 4 rank 0 1 2, 3 rank 1 2 0, 2 rank 2 1 0."""
    votes = [[2, 0, 0], [1, 2, 1], [0, 1, 2]]
    weights = [4, 3, 2]
    assert plurality(votes, weights).chosen == 0
    assert borda(votes, weights).chosen == 1
    assert copeland(votes, weights).chosen == 1
    assert kemeny_rankings(votes, weights) == ((1, 2, 0),)
    assert borda(votes, weights).scores == (8, 12, 7)
    assert plurality([[1, 1], [1, 0]]).scores == (1.5, 0.5)


@pytest.mark.parametrize("rule", RULES)
@given(table=tables)
def test_no_rule_returns_what_another_reply_dominates(rule: str, table: list[list[float]]) -> None:
    decision = RULES[rule](table)
    for reply in decision.tied:
        assert not dominated(table, reply)
    if decision.chosen is not None:
        best = [max(column) for column in zip(*table, strict=True)]
        gaps = {at: top - table[decision.chosen][at] for at, top in enumerate(best)}
        assert decision.lost == {at: gap for at, gap in gaps.items() if gap > 0}


@given(tables, st.sampled_from([0.5, 2.0, 8.0]))
def test_the_product_is_blind_to_scale_and_the_sum_is_not(table: list[list[float]], scale: float) -> None:
    scaled = [[row[0] * scale, *row[1:]] for row in table]
    assert nash_product(scaled).tied == nash_product(table).tied
    assert parliament(scaled).tied == parliament(table).tied
    assert weighted_sum([[3, 0], [0, 2]]).chosen == 0
    assert weighted_sum([[3, 0], [0, 8]]).chosen == 1


def test_small_utilities_are_told_apart_as_large_ones_are() -> None:
    for scale in (1.0, 0.01, 1e-80, 1e80):
        less, more = [0.3 * scale] * 5, [0.4 * scale] * 4 + [0.29 * scale]
        for rule in (nash_product, weighted_sum):
            assert rule([less, more]).tied == (1,)
        assert maximin([less, more]).tied == (0,)
        assert nash_product([less, more], disagreement=[0.2 * scale] * 5).tied == (1,)
        assert nash_product([[0.1 * scale, 0.6 * scale], [0.2 * scale, 0.3 * scale]]).tied == (0, 1)
        # 0.1 + 0.2 and 0.3 are equal but for rounding, however small what is left of them is.
        assert weighted_sum([[0.1 * scale, 0.2 * scale, -0.3 * scale], [0.0] * 3]).tied == (0, 1)
    assert kemeny(CYCLE, [1e-15, 1e-15, 2e-15]).chosen == kemeny(CYCLE, [1, 1, 2]).chosen == 2
    assert nash_product([[0.003] * 5, [0.004] * 4 + [0.0029]]).chosen == 1


@given(tables)
def test_the_order_of_values_changes_nothing(table: list[list[float]]) -> None:
    turned = [row[::-1] for row in table]
    for rule in (weighted_sum, maximin, nash_product, plurality, borda, copeland, kemeny, parliament):
        assert rule(turned).tied == rule(table).tied


def test_parliament() -> None:
    """The second theory speaks a thousand times as loud, and half as many believe it."""
    table = [[1.0, 0.0], [0.0, 1000.0]]
    assert parliament(table, [2, 1]).chosen == 0
    assert parliament(table, [1, 2]).chosen == 1
    assert parliament([[1, 7], [0, 7]]).chosen == 0, "a theory that finds all equal has no say"


def test_multipliers_rise_where_a_bound_is_broken() -> None:
    assert multipliers([0.0, 1.0], [0.2, 0.9], [0.5, 0.4], rate=2) == pytest.approx((0.6, 0.0))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: weighted_sum([[1, 2], [1]]), "no table"),
        (lambda: weighted_sum([]), "no table"),
        (lambda: maximin([[float("nan")]]), "not finite"),
        (lambda: weighted_sum(WORKED, [1]), "weights are not those"),
        (lambda: weighted_sum(WORKED, [0, 0]), "weights are not those"),
        (lambda: lexicographic(WORKED, [0, 0]), "no order of the values"),
        (lambda: constrained(WORKED, objective=2, at_least={}), "no such value"),
        (lambda: nash_product(WORKED, disagreement=[0]), "disagreement point"),
        (lambda: kemeny([[1.0]] * 9), "too many replies"),
    ],
)
def test_what_is_refused(act: Callable[[], Decision], message: str) -> None:
    with pytest.raises(InputError, match=message):
        act()
