"""Scales: round ticks, places worked by hand, and no number that breaks them."""

from itertools import pairwise
from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.report.scales import nice_step, scale_of, step_ticks


@pytest.mark.parametrize(
    ("span", "most", "step"), [(137, 6, 50), (1, 5, 0.2), (100, 10, 10), (101, 10, 20), (0.003, 4, 0.001)]
)
def test_steps_are_round(span: float, most: int, step: float) -> None:
    assert nice_step(span, most) == pytest.approx(step)


def test_ticks_within_a_stretch() -> None:
    assert step_ticks(-3, 11, 5) == [0, 5, 10]
    assert step_ticks(0.1, 0.3, 0.1) == pytest.approx([0.1, 0.2, 0.3])


def test_a_scale_reaches_to_the_next_ticks() -> None:
    scale = scale_of([3, 137], 100, 0, most=6)
    assert (scale.low, scale.high) == (0, 150)
    assert scale.ticks == ((0, "0"), (50, "50"), (100, "100"), (150, "150"))
    assert scale.place(0) == 100
    assert scale.place(75) == 50
    assert scale.place(150) == 0


def test_a_tight_scale_ends_where_the_values_do() -> None:
    scale = scale_of([3, 137], 0, 134, most=6, tight=True)
    assert scale.ticks == ((50, "50"), (100, "100"))
    assert scale.place(50) == pytest.approx(47)


def test_a_logarithmic_scale() -> None:
    scale = scale_of([0.3, 4000, 0, -5], 0, 100, most=6, log=True)
    assert (scale.low, scale.high) == (pytest.approx(0.1), 10_000)
    assert [label for _, label in scale.ticks] == ["0.1", "1", "10", "100", "1,000", "10,000"]
    assert scale.place(10) == pytest.approx(40)
    assert not scale.holds(0)
    few = scale_of([2, 70], 0, 100, most=9, log=True)
    assert [label for _, label in few.ticks] == ["1", "2", "5", "10", "20", "50", "100"]


def test_zero_is_drawn_in_where_it_must_be() -> None:
    assert scale_of([5, 9], 0, 1, most=5, zero=True).low == 0
    assert scale_of([-5, -9], 0, 1, most=5, zero=True).high == 0
    assert scale_of([0, 0], 0, 1, most=5, zero=True).low == 0


@given(
    st.lists(st.floats(), max_size=5),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(min_value=2, max_value=9),
)
def test_no_numbers_break_a_scale(values: list[float], log: bool, zero: bool, tight: bool, most: int) -> None:
    scale = scale_of(values, 10, 110, most=most, log=log, zero=zero and not log, tight=tight)
    assert scale.low < scale.high
    for value in values:
        if scale.holds(value):
            assert 9.9 <= scale.place(value) <= 110.1
    places = [scale.place(value) for value, _ in scale.ticks]
    assert all(isfinite(place) and 9.9 <= place <= 110.1 for place in places)
    assert all(low < high for low, high in pairwise(places))
    assert len(scale.ticks) <= 3 * most + 3
