"""Misalignment: worked values, all pairs counted one by one, what each measure is blind to, and the edges."""

import json
from collections.abc import Callable
from itertools import product
from math import inf, nan
from typing import Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from concord.errors import InputError
from concord.eval.order.misalignment import (
    concordance,
    concordance_by,
    longer_side,
    margin_bucket,
    misalignment,
    order_violation,
    scaled_misalignment,
    strict_misalignment,
)
from concord.eval.reckoning.agreement import kendall_tau
from concord.types import Challenge
from tests.conftest import ROOT

VECTORS = json.loads((ROOT / "tests" / "objectives" / "vectors.json").read_text(encoding="utf-8"))["vectors"]
WORKED = {vector["name"]: vector for vector in VECTORS}
MEASURES = (misalignment, strict_misalignment, scaled_misalignment, order_violation, concordance)
Form = Literal["abs", "squared", "signed"]
FORMS: tuple[Form, ...] = ("abs", "squared", "signed")

# Few levels, so that ties are common; weights of 0 too.
level = st.sampled_from([-2.0, -0.75, 0.0, 0.5, 1.0, 3.0])
replies = st.lists(st.tuples(level, level, st.sampled_from([0.0, 0.1, 0.5, 3.0])), min_size=1, max_size=7)
untied = st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=2, max_size=9)

Replies = list[tuple[float, float, float]]


def columns(rows: Replies) -> tuple[list[float], list[float], list[float]]:
    assume(any(w for *_, w in rows))
    human, agent, weight = zip(*rows, strict=True)
    return list(human), list(agent), list(weight)


def over_pairs(
    rows: Replies,
    value: Callable[[float, float], float],
    *,
    given: Callable[[float, float], bool] = lambda dh, da: True,
    distinct: bool = False,
) -> float | None:
    """E[value(dU_H, dU_A) | given], pair by pair; None where no pair fits."""
    top = bottom = 0.0
    for (i, (h1, a1, w1)), (j, (h2, a2, w2)) in product(enumerate(rows), repeat=2):
        if given(h1 - h2, a1 - a2) and not (distinct and i == j):
            top += w1 * w2 * value(h1 - h2, a1 - a2)
            bottom += w1 * w2
    return top / bottom if bottom else None


# --- worked values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "gap", "agrees"),
    [
        ((7, 8, 9), 0.0, 1.0),
        ((0, 2, 4), 0.82, 1.0),
        ((0, 0.5, 3), 0.53, 1.0),
        ((0, -1, -2), 1.64, 0.0),
        ((1, 0, 2), 0.92, 0.516129),
    ],
)
def test_misalignment_under_a_law(agent: tuple[float, ...], gap: float, agrees: float) -> None:
    p, human = [0.5, 0.3, 0.2], [0.0, 1.0, 2.0]
    assert misalignment(human, agent, weight=p) == pytest.approx(gap)
    assert misalignment(human, agent, weight=p, form="signed") == 0
    assert concordance(human, agent, weight=p) == pytest.approx(agrees, abs=1e-6)
    assert misalignment(human, agent, weight=[5, 3, 2]) == pytest.approx(gap)


def test_worked_values() -> None:
    human, agent = WORKED["misalignment_eq1"]["inputs"].values()
    wanted = WORKED["misalignment_eq1"]["expected"]
    assert misalignment(human, agent) == pytest.approx(wanted["abs_iid_pairs"])
    assert misalignment(human, agent, distinct=True) == pytest.approx(wanted["abs_distinct_pairs"])
    assert misalignment(human, agent, form="squared") == pytest.approx(wanted["squared_iid_pairs"])
    assert order_violation(human, agent) == pytest.approx(wanted["ordering_violation_rate"])
    wanted = WORKED["misalignment_strict"]["expected"]
    assert strict_misalignment(human, agent) == pytest.approx(wanted["loss"])
    moved = [a + 3 for a in agent]
    assert strict_misalignment(human, moved) == pytest.approx(wanted["after_adding_3_to_U_A"])
    assert misalignment(human, moved) == pytest.approx(wanted["eq1_abs_after_adding_3_to_U_A"])


def test_concordance_over_pairs_of_replies() -> None:
    human = [0.0, 1.0, 2.0]
    assert concordance(human, [1.0, 0.0, 2.0]) == 2 / 3
    assert concordance(human, [0.0, 0.0, 0.0]) == 0.5  # a constant scorer knows nothing
    assert order_violation(human, [0.0, 0.0, 0.0]) == 1  # and is not aligned


def test_scaling_excuses_scale_and_nothing_else() -> None:
    human = [0.0, 1.0, 2.0, 5.0]
    tripled, reversed_order = [3 * h + 1 for h in human], [-h for h in human]
    assert scaled_misalignment(human, tripled) == pytest.approx(0, abs=1e-12)
    assert scaled_misalignment(human, reversed_order) == pytest.approx(misalignment(human, [0.0] * 4))
    assert order_violation(human, tripled) == 0
    assert order_violation(human, reversed_order) == 1


# --- against counting -------------------------------------------------------------------------------------


@given(replies)
def test_distances_are_those_of_all_pairs(rows: Replies) -> None:
    human, agent, weight = columns(rows)
    values: dict[Form, Callable[[float, float], float]] = {
        "abs": lambda dh, da: abs(dh - da),
        "squared": lambda dh, da: (dh - da) ** 2,
        "signed": lambda dh, da: dh - da,
    }
    for form, distinct in product(FORMS, (False, True)):
        wanted = over_pairs(rows, values[form], distinct=distinct)
        if wanted is None:
            with pytest.raises(
                InputError, match=r"no two replies to be drawn.*found 1; accepted: two.*leave"
            ):
                misalignment(human, agent, weight=weight, form=form, distinct=distinct)
        else:
            got = misalignment(human, agent, weight=weight, form=form, distinct=distinct)
            assert got == pytest.approx(wanted, abs=1e-12)
    alone = sum(w * abs(h - a) for h, a, w in rows) / sum(weight)
    assert strict_misalignment(human, agent, weight=weight) == pytest.approx(alone, abs=1e-12)


@given(replies)
def test_orders_are_those_of_all_pairs(rows: Replies) -> None:
    human, agent, weight = columns(rows)
    fails = over_pairs(rows, lambda dh, da: da <= 0, given=lambda dh, da: dh > 0)
    agrees = over_pairs(
        rows, lambda dh, da: 0.5 if da == 0 else (dh > 0) == (da > 0), given=lambda dh, da: dh != 0
    )
    if fails is None:
        for measure in (order_violation, concordance):
            with pytest.raises(
                InputError, match=r"no two of these replies.*utilities among them: 1'; accepted"
            ):
                measure(human, agent, weight=weight)
    else:
        assert order_violation(human, agent, weight=weight) == pytest.approx(fails)
        assert concordance(human, agent, weight=weight) == pytest.approx(agrees)


@given(replies)
def test_the_scale_is_the_best_that_is_not_negative(rows: Replies) -> None:
    human, agent, weight = columns(rows)
    product_mean = over_pairs(rows, lambda dh, da: dh * da) or 0.0
    square_mean = over_pairs(rows, lambda dh, da: da * da) or 0.0
    scale = max(0.0, product_mean / square_mean) if square_mean else 0.0
    fitted = [scale * a for a in agent]
    wanted = misalignment(human, fitted, weight=weight)
    assert scaled_misalignment(human, agent, weight=weight) == pytest.approx(wanted, abs=1e-12)
    least = misalignment(human, fitted, weight=weight, form="squared")
    for other in (0.0, 0.9 * scale, 1.1 * scale, scale + 0.01):
        tried = misalignment(human, [other * a for a in agent], weight=weight, form="squared")
        assert least <= tried + 1e-12


# --- what each is blind to --------------------------------------------------------------------------------


@given(replies, st.integers(-8, 8), st.sampled_from([0.25, 0.5, 2.0, 8.0]))
def test_what_changes_nothing(rows: Replies, shift: int, scale: float) -> None:
    human, agent, weight = columns(rows)
    shifted, scaled = [a + shift for a in agent], [a * scale for a in agent]
    for measure in (misalignment, scaled_misalignment):
        wanted = measure(human, agent, weight=weight)
        assert measure(human, shifted, weight=weight) == pytest.approx(wanted, abs=1e-12)
        assert measure([h + shift for h in human], agent, weight=weight) == pytest.approx(wanted, abs=1e-12)
        assert measure(human, agent, weight=[7 * w for w in weight]) == pytest.approx(wanted, abs=1e-12)
        assert measure(human[::-1], agent[::-1], weight=weight[::-1]) == pytest.approx(wanted, abs=1e-12)
    wanted = scaled_misalignment(human, agent, weight=weight)
    assert scaled_misalignment(human, scaled, weight=weight) == pytest.approx(wanted, abs=1e-12)
    # Eq. 1 is a distance: it goes with the scale of both, and the strict form bounds it.
    whole = misalignment(human, agent, weight=weight)
    doubled = misalignment([2 * h for h in human], [2 * a for a in agent], weight=weight)
    assert doubled == pytest.approx(2 * whole, abs=1e-12)
    assert whole == misalignment(agent, human, weight=weight)
    assert whole <= 2 * strict_misalignment(human, agent, weight=weight) + 1e-12
    if len({h for h, w in zip(human, weight, strict=True) if w}) > 1:
        for measure in (order_violation, concordance):
            wanted = measure(human, agent, weight=weight)
            assert measure([h**3 for h in human], [a * scale + shift for a in agent], weight=weight) == wanted
            assert measure(human[::-1], agent[::-1], weight=weight[::-1]) == wanted
            kept = [row for row in rows if row[2]]
            assert measure(*columns(kept)[:2], weight=columns(kept)[2]) == wanted
        negated = concordance(human, [-a for a in agent], weight=weight)
        assert negated == pytest.approx(1 - concordance(human, agent, weight=weight))


@given(untied)
def test_without_ties_it_is_kendalls_tau(rows: list[tuple[int, int]]) -> None:
    human, agent = ([*dict.fromkeys(side)] for side in zip(*rows, strict=True))
    size = min(len(human), len(agent))
    assume(size > 1)
    agrees = concordance(human[:size], agent[:size])
    assert 2 * agrees - 1 == pytest.approx(kendall_tau(human[:size], agent[:size]))
    assert order_violation(human[:size], agent[:size]) == pytest.approx(1 - agrees)


@given(replies)
def test_a_weight_is_a_number_of_copies(rows: Replies) -> None:
    human, agent, weight = columns(rows)
    counts = [round(2 * w) for w in weight]
    assume(any(counts))
    copies = [row[:2] for row, count in zip(rows, counts, strict=True) for _ in range(count)]
    each = [list(side) for side in zip(*copies, strict=True)]
    for measure in (misalignment, strict_misalignment, scaled_misalignment):
        assert measure(human, agent, weight=counts) == pytest.approx(measure(*each), abs=1e-12)
    if len(set(each[0])) > 1:
        for measure in (order_violation, concordance):
            assert measure(human, agent, weight=counts) == measure(*each)


# --- edges ------------------------------------------------------------------------------------------------


def test_large_pools_are_counted_exactly_and_soon() -> None:
    n = 20_000
    human = [float(i) for i in range(n)]
    agent = [h if h % 2 else h + 2 for h in human]  # turns each pair (2k, 2k + 1) round, and no other
    assert order_violation(human, agent) == (n / 2) / (n * (n - 1) / 2)
    assert misalignment(human, agent) == pytest.approx(1)  # half of the gaps are 0, half are 2
    assert misalignment(human, agent, distinct=True) == pytest.approx(n / (n - 1))
    assert scaled_misalignment(human, [2e-3 * h - 5e6 for h in human]) < 1e-4
    law = [1 / (i + 1) for i in range(n)]
    assert order_violation(human, human, weight=law) == 0
    assert concordance(human, human, weight=law) == 1


def test_weights_of_any_size() -> None:
    human, agent = [0.0, 1.0, 2.0], [0.0, 2.0, 1.0]
    for unit in (5e-324, 1e-300, 1e300):
        weight = [unit, unit, unit]
        assert concordance(human, agent, weight=weight) == 2 / 3
        assert misalignment(human, agent, weight=weight) == pytest.approx(misalignment(human, agent))
    assert concordance(human, agent, weight=[1.0, 1e-300, 1e-300]) == pytest.approx(1)
    assert concordance(human, agent, weight=[0.0, 1e-300, 1.0]) == 0


def test_utilities_of_any_size() -> None:
    human = [0.0, 1.0, 3.0]
    for unit in (1e-320, 1e-160, 1e99):
        agent = [unit * h for h in human]
        assert scaled_misalignment(human, agent) == pytest.approx(0, abs=1e-3)
        assert scaled_misalignment(agent, human) == pytest.approx(0, abs=1e-3 * unit)
        assert misalignment(agent, [0.0] * 3) == pytest.approx(
            unit * misalignment(human, [0.0] * 3), rel=1e-3
        )
    assert scaled_misalignment(human, [0.1, 0.1, 0.1]) == pytest.approx(misalignment(human, [0.0] * 3))
    assert scaled_misalignment([0.1, 0.1, 0.1], human) == 0
    # A log-probability of minus infinity still has its place in the order.
    assert concordance(human, [-inf, -3.0, -1.0]) == 1
    assert order_violation(human, [-inf, -inf, -1.0]) == 1 / 3


def test_one_reply() -> None:
    assert misalignment([1.0], [4.0]) == 0
    assert scaled_misalignment([1.0], [4.0]) == 0
    assert strict_misalignment([1.0], [4.0]) == 3


@pytest.mark.parametrize("measure", MEASURES)
def test_what_cannot_be_measured_is_refused(measure: Callable[..., float]) -> None:
    for human, agent, weight, message in (
        (
            [0, 1],
            [0],
            None,
            r"differ in number; found \(2, 1\); accepted: as many of each; to do: give the same",
        ),
        ([0, 1], [0, 1], [1], r"differ in number; found \(2, 2, 1\)"),
        ([], [], None, "no replies to measure; found 0; accepted: one reply or more; to do: score"),
        ([0, nan], [0, 1], None, "found nan; accepted: numbers.*to do: leave unscored"),
        ([0, 1], [nan, 1], None, "found nan; accepted: numbers.*to do: leave unscored"),
        (
            [0, 1],
            [0, 1],
            [1, -0.5],
            "not the weight of anything; found -0.5; accepted: finite.*to do: give each",
        ),
        ([0, 1], [0, 1], [1, nan], "not the weight of anything; found nan"),
        ([0, 1], [0, 1], [inf, 1], "not the weight of anything; found inf"),
        (
            [0, 1],
            [0, 1],
            [0.0, 0.0],
            "all weights are 0.*found 0.0; accepted: a sum above 0; to do: leave `weight`",
        ),
    ):
        with pytest.raises(InputError, match=message):
            measure(human, agent, weight=weight)


def test_what_only_some_measures_need() -> None:
    for measure in (misalignment, strict_misalignment, scaled_misalignment):
        for odd in (inf, -inf, 1e101):
            with pytest.raises(
                InputError, match=r"not finite, or too large; found .*accepted: numbers from -1e\+100"
            ):
                measure([0.0, 1.0], [0.0, odd])
    for measure in (order_violation, concordance):
        with pytest.raises(
            InputError, match=r"above 0: 2, different utilities among them: 1'; accepted: two.*to do"
        ):
            measure([1.0, 1.0], [0.0, 1.0])
        with pytest.raises(InputError, match=r"above 0: 1, different utilities among them: 1'"):
            measure([1.0, 2.0], [0.0, 1.0], weight=[0.0, 1.0])
    with pytest.raises(
        InputError, match=r"no such form.*found 'square'; .*did you mean 'squared'.*to do: take abs"
    ):
        misalignment([0.0, 1.0], [0.0, 1.0], form="square")  # type: ignore[arg-type]


# --- by group ---------------------------------------------------------------------------------------------


def test_a_scorer_of_length_is_found_out() -> None:
    long, short = [120, 80, 50, 70], [60, 90, 40, 70]
    by_length = concordance_by(long, short, group=longer_side(long, short))
    assert {side: (result.value, result.n) for side, result in by_length.items()} == {
        "chosen is longer": (1.0, 2),
        "rejected is longer": (0.0, 1),
        "same length": (0.5, 1),
    }
    whole = concordance_by(long, short, group=["all"] * 4, reading="length")["all"]
    assert (whole.name, whole.value, whole.n, whole.unit) == ("concordance", 0.625, 4, "pairs")
    assert (whole.at, whole.reading) == ({"group": "all"}, "length")
    assert whole.challenge is Challenge.EFFICACY
    assert whole.higher_is_better
    assert concordance_by([], [], group=[]) == {}


def test_a_group_has_an_interval_over_what_its_pairs_share() -> None:
    good, bad = [1.0] * 30, [0.0] * 20 + [2.0] * 10
    prompts = [pair // 5 for pair in range(30)]
    alone, shared = (
        concordance_by(good, bad, group=["all"] * 30, clusters=clusters)["all"]
        for clusters in ((), (prompts,))
    )
    assert alone.value == shared.value == pytest.approx(2 / 3)
    assert alone.interval is not None
    assert shared.interval is not None
    assert shared.interval.high - shared.interval.low > 1.5 * (alone.interval.high - alone.interval.low)
    with pytest.raises(InputError, match=r"labels of clusters differ in number; found \(1, 2\)"):
        concordance_by([1], [0], group=["all"], clusters=([0, 1],))


def test_groups_make_up_the_whole() -> None:
    chosen, rejected = [3.0, 1.0, 2.0, 0.0, 5.0], [1.0, 2.0, 2.0, -1.0, -inf]
    margins = [0.1, 0.5, 2.0, 0.7, -1.0]
    group = margin_bucket(margins, edges=[0, 0.5, 1])
    assert group == ["0 to 0.5", "0.5 to 1", "1 and above", "0.5 to 1", "below 0"]
    parts = concordance_by(chosen, rejected, group=group).values()
    assert sum((part.value or 0) * part.n for part in parts) == 3.5
    # A pool of two replies that people order is a labelled pair.
    for good, bad in zip(chosen, rejected, strict=True):
        assert concordance_by([good], [bad], group=[0])[0].value == concordance([1.0, 0.0], [good, bad])


def test_groups_that_cannot_be_made_are_refused() -> None:
    with pytest.raises(InputError, match=r"both utilities and a group; found \(2, 2, 1\); accepted: as many"):
        concordance_by([1, 2], [0, 0], group=["all"])
    with pytest.raises(InputError, match="found nan; accepted: numbers"):
        concordance_by([nan], [0], group=["all"])
    with pytest.raises(InputError, match=r"needs both lengths; found \(1, 2\)"):
        longer_side([1], [0, 0])
    for edges in ([], [1, 0], [0, 0], [nan], [0, nan]):
        with pytest.raises(
            InputError, match=r"do not rise; found \[.*accepted: one edge or more.*to do: sort"
        ):
            margin_bucket([0.5], edges=edges)
    with pytest.raises(InputError, match="found nan"):
        margin_bucket([nan], edges=[0])
