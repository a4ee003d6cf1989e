"""Histograms: round edges, everything counted once."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.report.blocks import Axis
from concord.report.histograms import histogram


def test_whole_numbers_have_bins_of_their_own() -> None:
    drawn = histogram("h", {"a": [1, 1, 2, 5]}, Axis("x"))
    assert drawn.edges == (1, 2, 3, 4, 5, 6)
    assert drawn.groups[0].counts == (2, 1, 0, 0, 1)


def test_groups_share_round_edges() -> None:
    drawn = histogram("h", {"a": range(0, 100), "b": [250]}, Axis("x"), bins=10)
    assert drawn.edges == (0, 50, 100, 150, 200, 250, 300)
    assert [group.counts for group in drawn.groups] == [(50, 50, 0, 0, 0, 0), (0, 0, 0, 0, 0, 1)]


def test_a_logarithmic_histogram_has_bins_of_equal_ratio() -> None:
    drawn = histogram("h", {"a": [1, 10, 100, 1000, 0, -4]}, Axis("x", log=True), bins=3)
    assert drawn.edges == pytest.approx((1, 10, 100, 1000))
    assert drawn.groups[0].counts == (3, 1, 2)


def test_what_is_no_number_is_left_out_aloud() -> None:
    drawn = histogram("h", {"a": [1.5, float("nan"), float("inf")]}, Axis("x"), caption="So.")
    assert sum(drawn.groups[0].counts) == 1
    assert drawn.caption == "So. 2 values that are no numbers are left out."


@pytest.mark.parametrize("values", [[], [0], [-7.25], [1e300, 1e300], [5e-324]])
@pytest.mark.parametrize("log", [False, True])
def test_few_values_make_a_histogram_too(values: list[float], log: bool) -> None:
    assert sum(histogram("h", {"a": values}, Axis("x", log=log)).groups[0].counts) == len(values)


@given(st.lists(st.floats(min_value=-1e9, max_value=1e9), min_size=1), st.booleans())
def test_everything_is_counted_once(values: list[float], log: bool) -> None:
    drawn = histogram("h", {"a": values, "b": np.array(values[:1])}, Axis("x", log=log))
    assert [sum(group.counts) for group in drawn.groups] == [len(values), 1]
    assert len(drawn.edges) <= 64


@given(st.lists(st.integers(min_value=0, max_value=40), min_size=1))
def test_whole_numbers_are_counted_where_they_are(values: list[int]) -> None:
    drawn = histogram("h", {"a": values}, Axis("x"), bins=60)
    counted = {edge: count for edge, count in zip(drawn.edges, drawn.groups[0].counts, strict=False) if count}
    assert counted == dict(Counter(values))
