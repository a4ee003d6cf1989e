"""Numbers: digits that are known, none that are not, and nothing said to be all that is not."""

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.report.numbers import number, share, spelled, whole, with_interval
from concord.results import Interval


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0"),
        (0.0, "0"),
        (-1234567, "-1,234,567"),
        (0.5, "0.500"),
        (12.345, "12.3"),
        (1234.6, "1,235"),
        (-0.0001, "-0.000100"),
        (0.0000123, "1.23e-05"),
        (1e16, "1.00e+16"),
        (-(10**20), "-1.00e+20"),
        pytest.param(10**5000, "1.00e+5000", id="huge"),
        (inf, "inf"),
        (-inf, "-inf"),
        (nan, "nan"),
        (True, "1"),
    ],
)
def test_a_number_has_three_digits_and_whole_ones_have_all(value: float | None, text: str) -> None:
    assert number(value) == text


def test_decimals_can_be_fixed() -> None:
    assert [number(value, decimals=2) for value in (1.5, 0.004, -0.004, 1234.0)] == [
        "1.50",
        "0.00",
        "0.00",
        "1,234.00",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0%"),
        (1, "100%"),
        (0.5, "50.0%"),
        (0.6312, "63.1%"),
        (0.0003, "0.03%"),
        (0.99973, "99.97%"),
        (1e-12, "<0.000001%"),
        (1 - 1e-12, ">99.999999%"),
        (-0.25, "-25.0%"),
    ],
)
def test_a_share_is_all_or_nothing_only_where_it_is(value: float | None, text: str) -> None:
    assert share(value) == text


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (0.6312, 0.612, 0.651, "0.631 [0.612, 0.651]"),
        (0.31, 0.26, 0.35, "0.31 [0.26, 0.35]"),
        (1.0, 0.68, 1.32, "1.00 [0.68, 1.32]"),
        (1.0, 0.64, 1.36, "1.0 [0.6, 1.4]"),
        (1234.5, 1200, 1270, "1,234 [1,200, 1,270]"),
        (-0.001, -0.02, 0.03, "-0.001 [-0.020, 0.030]"),
        (0.5, -inf, 1, "0.500 [-inf, 1]"),
        (2.0, 2.0, 2.0, "2.00 [2.00, 2.00]"),
        (1e-9, 5e-10, 2e-9, "1.0e-09 [5e-10, 2.0e-09]"),
        (2.8810065386828434, 2.8810065386828412, 2.8810065386828456, "2.88 [2.88, 2.88]"),
    ],
)
def test_the_interval_decides_the_digits(value: float, low: float, high: float, text: str) -> None:
    assert with_interval(value, Interval(low, high)) == text


def test_shares_with_intervals_are_in_per_cent() -> None:
    assert with_interval(0.6312, Interval(0.6262, 0.6361), per_cent=True) == "63.1% [62.6, 63.6]"
    assert with_interval(0.6312, Interval(0.53, 0.73), per_cent=True) == "63% [53, 73]"
    assert with_interval(0.6312, Interval(0.53, 0.73), per_cent=True, decimals=1) == "63.1% [53.0, 73.0]"
    assert (
        with_interval(0.6312, Interval(0.6310, 0.6314), per_cent=True, decimals=1)
        == "63.120% [63.100, 63.140]"
    )
    assert with_interval(0.5, None, per_cent=True) == "50.0%"
    assert with_interval(None, Interval(0, 1)) == "-"


@given(st.floats(), st.floats(allow_nan=False), st.floats(allow_nan=False), st.booleans())
def test_every_number_can_be_told(value: float, one: float, other: float, per_cent: bool) -> None:
    text = with_interval(value, Interval(min(one, other), max(one, other)), per_cent=per_cent)
    assert text.isascii()
    assert max(map(len, (text, number(value), share(value), whole(value)))) < 100


@given(st.floats(min_value=-1e12, max_value=1e12), st.integers(min_value=0, max_value=6))
def test_what_is_spelled_is_the_number(value: float, decimals: int) -> None:
    text = spelled(value, decimals)
    assert abs(float(text.replace(",", "")) - value) <= 0.5 * 10**-decimals + 1e-9 * abs(value)
    assert not text.startswith("-0") or float(text.replace(",", "")) != 0
