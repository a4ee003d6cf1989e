"""Quotas hold at every prefix, and any step can be asked for."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.data.mixing import Mix, mix
from concord.data.order import row_at
from concord.errors import InputError

SIZES = {"chat": 1000, "code": 50, "maths": 333}


def worst(order: Mix, steps: int) -> float:
    """The largest difference between counts and quotas over all prefixes and sources."""
    sources, _ = order.rows(0, steps)
    counts = np.cumsum(sources[:, None] == np.arange(len(order.names)), axis=0)
    quotas = np.arange(1, steps + 1)[:, None] * np.array([float(order.shares[name]) for name in order.names])
    return float(np.abs(counts - quotas).max())


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=9).filter(sum),
    st.integers(0, 5),
)
def test_counts_are_never_off_by_one_or_more(weights: list[int], seed: int) -> None:
    names = [f"s{number}" for number in range(len(weights))]
    order = mix(dict.fromkeys(names, 7), dict(zip(names, weights, strict=True)), seed)
    assert worst(order, 400) < 1
    assert sum(order.shares.values()) == 1
    assert [share > 0 for share in order.shares.values()] == [weight > 0 for weight in weights]


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ((0.7, 0.2, 0.1), (Fraction(7, 10), Fraction(1, 5), Fraction(1, 10))),
        ((1 / 3, 1 / 3, 1 / 3), (Fraction(1, 3),) * 3),
        ((1 / 7, 6 / 7, 0), (Fraction(1, 7), Fraction(6, 7), Fraction(0))),
        ((3, 1, 4), (Fraction(3, 8), Fraction(1, 8), Fraction(1, 2))),
    ],
)
def test_weights_are_taken_as_written(weights: tuple[float, ...], shares: tuple[Fraction, ...]) -> None:
    order = mix(SIZES, dict(zip(SIZES, weights, strict=True)))
    assert tuple(order.shares.values()) == shares
    assert worst(order, 5000) < 1


def test_odd_weights_are_rounded_by_little() -> None:
    weights = {"chat": 0.123456789, "code": 3.14159265, "maths": 1e-4}
    order = mix(SIZES, weights)
    total = sum(weights.values())
    assert sum(order.shares.values()) == 1
    assert all(abs(order.shares[name] - weights[name] / total) < 4e-6 for name in SIZES)
    assert worst(order, 60_000) < 1


def test_any_step_can_be_asked_for() -> None:
    order = mix(SIZES, {"chat": 0.7, "code": 0.2, "maths": 0.1}, seed=3)
    sources, rows = order.rows(0, 4000)
    later = order.rows(1777, 4000)
    assert later[0].tolist() == sources[1777:].tolist()
    assert later[1].tolist() == rows[1777:].tolist()
    assert [order.at(step) for step in (0, 5, 3999)] == [(sources[s], rows[s]) for s in (0, 5, 3999)]
    again = mix(SIZES, {"maths": 0.1, "code": 0.2, "chat": 0.7}, seed=3)
    assert again.rows(0, 4000)[1].tolist() == rows.tolist()


def test_each_source_is_walked_whole_and_shuffled_anew() -> None:
    order = mix(SIZES, {"chat": 1, "code": 1, "maths": 2}, seed=1)
    sources, rows = order.rows(0, 4000)
    for number, size in enumerate(SIZES.values()):
        walk = rows[sources == number]
        passes = [walk[start : start + size] for start in range(0, len(walk) - size + 1, size)]
        assert passes
        assert all(sorted(one.tolist()) == list(range(size)) for one in passes)
        assert size > 500 or not np.array_equal(passes[0], passes[1])
    code = rows[sources == 1]
    assert not np.array_equal(
        code[:50], mix(SIZES, {"chat": 1, "code": 1, "maths": 2}, seed=2).rows(0, 200)[1][:50]
    )


def test_two_sources_of_one_size_are_not_walked_alike() -> None:
    order = mix({"a": 100, "b": 100}, {"a": 1, "b": 1})
    sources, rows = order.rows(0, 200)
    assert (rows[sources == 0] == rows[sources == 1]).sum() < 10


@pytest.mark.parametrize("weights", [None, {"chat": 0.7, "code": 0.2, "maths": 0.1}])
def test_counts_and_passes_are_those_of_the_order(weights: dict[str, float] | None) -> None:
    order = mix(SIZES, weights, seed=5)
    sources, _ = order.rows(0, 3000)
    for steps in (0, 1, 999, 1383, 3000):
        counted = np.bincount(sources[:steps], minlength=3).tolist()
        assert list(order.counts(steps).values()) == counted
        passes = [count / size for count, size in zip(counted, SIZES.values(), strict=True)]
        assert list(order.passes(steps).values()) == passes


def test_an_epoch_ends_where_it_says() -> None:
    order = mix(SIZES, {"chat": 0.7, "code": 0.2, "maths": 0.1}, seed=5)
    shortest, longest = order.length("shortest"), order.length("longest")
    assert max(order.passes(shortest).values()) == 1
    assert max(order.passes(shortest - 1).values()) < 1
    assert min(order.passes(longest).values()) == 1
    assert min(order.passes(longest - 1).values()) < 1
    without = mix(SIZES, {"chat": 1, "code": 1, "maths": 0})
    assert without.length("longest") in (1999, 2000)
    assert without.passes(2000)["maths"] == 0


def test_without_weights_everything_is_shuffled_as_one() -> None:
    order = mix(SIZES, seed=5)
    assert order.length("shortest") == order.length("longest") == 1383
    for epoch in range(2):
        sources, rows = order.rows(epoch * 1383, (epoch + 1) * 1383)
        assert len(set(zip(sources.tolist(), rows.tolist(), strict=True))) == 1383
        starts = np.array([0, 1000, 1050])
        flat = row_at(np.arange(epoch * 1383, (epoch + 1) * 1383), 1383, 5)
        assert (starts[sources] + rows).tolist() == flat.tolist()
    assert order.passes(2766) == {"chat": 2, "code": 2, "maths": 2}


@pytest.mark.parametrize(
    ("sizes", "weights", "said"),
    [
        ({}, None, "nothing to mix"),
        ({"a": 0}, None, "the size of 'a'"),
        ({"a": 3}, {"a": -1}, "weight of 'a'"),
        ({"a": 3}, {"a": float("nan")}, "weight of 'a'"),
        ({"a": 3}, {"a": True}, "weight of 'a'"),
        ({"a": 3}, {"a": 0}, "every weight is zero"),
        ({"chat": 3}, {"chatt": 1}, "did you mean 'chat'"),
        ({"a": 3, "b": 3}, {"a": 1}, "no weight"),
        ({"a": 3, "b": 3}, {"a": 1, "b": 1e-9}, "the share of 'b' is too small"),
        ({"a": 3, "b": 3}, {"a": 1, "b": 1e-14}, "the share of 'b' is too small"),
    ],
)
def test_what_cannot_be_mixed_is_refused(sizes: dict[str, int], weights: dict[str, float], said: str) -> None:
    with pytest.raises(InputError, match=said):
        mix(sizes, weights)


def test_steps_that_make_no_sense_are_refused() -> None:
    order = mix(SIZES)
    for start, stop in ((-1, 3), (3, 2)):
        with pytest.raises(InputError, match="step"):
            order.rows(start, stop)
    with pytest.raises(InputError, match="shortest, longest"):
        order.length("first")  # type: ignore[arg-type]
