"""Ends of means, of their differences and of their ratios."""

from itertools import product
from math import inf

import numpy as np
import pytest

from concord.eval.reckoning import (
    SHARE,
    Level,
    Scale,
    difference,
    level,
    measured,
    ratio,
    scale_of,
    together,
    wilson,
)


def of(values: list[float], *, scale: Scale | None = None, clusters: object = ()) -> Level:
    (numbers,), design = measured(values, clusters=clusters)  # type: ignore[arg-type]
    return level(numbers, design, scale=scale)


def test_a_scale_is_known_where_nothing_passes_its_ends() -> None:
    assert scale_of([0.0, None], [1.0, 0.5]) == SHARE
    assert scale_of([0.0], [1.1]) is None
    assert scale_of([None], []) is None


@pytest.mark.parametrize("hits", [0, 3, 10])
def test_values_at_the_ends_of_a_scale_have_the_interval_of_a_share(hits: int) -> None:
    held = [1.0] * hits + [0.0] * (10 - hits)
    ends = wilson(hits, 10)
    share = of(held, scale=SHARE)
    assert (share.low, share.high) == pytest.approx((ends.low, ends.high))
    signs = of([2 * one - 1 for one in held], scale=SHARE.apart)
    assert (signs.low, signs.high) == pytest.approx((2 * ends.low - 1, 2 * ends.high - 1))


def test_values_that_are_all_alike_may_not_be_elsewhere() -> None:
    most = wilson(0, 20).high
    half = of([0.5] * 20, scale=SHARE)
    assert (half.low, half.high) == pytest.approx((0.5 - most / 2, 0.5 + most / 2))
    none = of([0.0] * 20, scale=SHARE.apart)
    assert (none.low, none.high) == pytest.approx((-most, most))
    assert of([3.0] * 20) == Level(3.0, 3.0, 3.0)
    assert of([3.0] * 11) == Level(3.0, -inf, inf)
    assert of([3.0] * 40, clusters=([place // 4 for place in range(40)],)) == Level(3.0, -inf, inf)
    assert not of([0.5, 0.7], scale=SHARE, clusters=(["a", "a"],)).known


def test_a_difference_has_newcombes_ends() -> None:
    """56 of 70 less 48 of 80, as published (Newcombe 1998, method 10)."""
    one, other = (of([1.0] * hits + [0.0] * (n - hits), scale=SHARE) for hits, n in ((56, 70), (48, 80)))
    found = difference(one, other)
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert not difference(one, Level(0.5, -inf, inf)).known


def test_a_ratio_ends_where_the_difference_may_be_none() -> None:
    for one, other, along in product(
        (Level(1.0, 0.5, 1.6), Level(-1.0, -1.3, -0.6), Level(0.0, -0.2, 0.2)),
        (Level(2.0, 1.5, 2.6), Level(-2.0, -2.6, -1.5)),
        (0.0, 0.6),
    ):
        found = ratio(one, other, together=along)
        assert found is not None
        assert found.low < found.value == one.value / other.value < found.high
        for q in (found.low, found.high):
            times = sorted((q * other.low, q * other.high))
            side = Level(q * other.value, times[0], times[1])
            gap = difference(one, side, together=along if q >= 0 else -along)
            assert min(abs(gap.low), abs(gap.high)) == pytest.approx(0, abs=1e-9)
    # Fieller's interval, where halves are symmetric: 1 / 2, each 0.5 off at most.
    fieller = ratio(Level(1.0, 0.5, 1.5), Level(2.0, 1.5, 2.5))
    assert fieller is not None
    ends = sorted(float(one) for one in np.roots([4 - 0.25, -4, 1 - 0.25]))
    assert [fieller.low, fieller.high] == pytest.approx(ends)
    assert ratio(Level(1.0, 0.5, 1.5), Level(0.1, -0.1, 0.3)) is None
    assert ratio(Level(1.0, -inf, inf), Level(2.0, 1.5, 2.5)) is None


def test_means_move_together_as_far_as_clusters_hold_values_of_both() -> None:
    chance = np.random.default_rng(0)
    shared = chance.normal(size=200)
    one, other = shared + chance.normal(size=200), shared + chance.normal(size=200)
    labels = list(range(200))
    assert together(one, other, [labels * 2]) == pytest.approx(np.corrcoef(one, other)[0, 1])
    assert together(one, other, [list(range(400))]) == 0
    assert together(one, other, []) == 0
    assert together(one, np.zeros(200), [labels * 2]) == 0
