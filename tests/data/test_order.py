"""Shuffles are one to one, fair, and the same everywhere."""

from collections import Counter
from itertools import permutations
from math import factorial, sqrt

import numpy as np
import pytest

from concord.data.order import permuted, row_at, subseed
from concord.errors import InputError


def positions(stop: int, start: int = 0) -> np.ndarray:
    return np.arange(start, stop, dtype=np.int64)


def far_from_even(counts: Counter, cells: int, drawn: int) -> float:
    """By how many deviations the chi-square of counts is above what chance gives."""
    expected = drawn / cells
    chi = sum((count - expected) ** 2 / expected for count in counts.values())
    chi += expected * (cells - len(counts))
    return (chi - (cells - 1)) / sqrt(2 * (cells - 1))


@pytest.mark.parametrize("size", [*range(1, 130), 255, 256, 257, 1000, 4096, 65_537])
def test_every_position_leads_to_one_row(size: int) -> None:
    for seed in (0, 1, 2**64 - 1):
        rows = permuted(positions(size), size, seed)
        assert np.array_equal(np.sort(rows), positions(size))


def test_large_sizes_stay_in_range_and_apart() -> None:
    for size in (2**31 - 1, 2**40 + 7, 2**62):
        rows = permuted(positions(5000), size, 9)
        assert rows.min() >= 0
        assert rows.max() < size
        assert len(set(rows.tolist())) == 5000
        assert rows.max() > size // 2


def test_one_position_is_as_in_an_array() -> None:
    rows = permuted(positions(97), 97, 5)
    assert [permuted(at, 97, 5) for at in range(97)] == rows.tolist()
    shaped = permuted(positions(96).reshape(8, 12), 97, 5)
    assert shaped.tolist() == rows[:96].reshape(8, 12).tolist()


def test_the_order_is_the_same_on_every_machine_and_version() -> None:
    # Written down once; a change here would change which rows every run trains on.
    assert subseed(7, "epoch", 3) == 4220984504621876804
    assert permuted(positions(10), 10, 7).tolist() == [4, 2, 3, 7, 6, 8, 1, 0, 9, 5]
    assert [permuted(at, 1_000_003, 7) for at in (0, 1, 999_999)] == [605_772, 290_560, 91_297]


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_all_permutations_come_out_equally_often(size: int) -> None:
    drawn = 25 * factorial(size)
    seen = Counter(tuple(permuted(positions(size), size, subseed(seed)).tolist()) for seed in range(drawn))
    assert set(seen) == set(permutations(range(size)))
    assert abs(far_from_even(seen, factorial(size), drawn)) < 4


@pytest.mark.parametrize("size", [10, 64, 101])
def test_shuffles_are_fair(size: int) -> None:
    seeds = range(1500)
    rows = np.stack([permuted(positions(size), size, seed) for seed in seeds])
    for column in (0, 1, size // 2, size - 1):
        assert abs(far_from_even(Counter(rows[:, column].tolist()), size, len(seeds))) < 4
    adjacent = Counter(((rows[:, 1] - rows[:, 0]) % size).tolist())
    assert abs(far_from_even(adjacent, size - 1, len(seeds))) < 4
    fixed = (rows == positions(size)).sum(1)
    assert abs(fixed.mean() - 1) < 4 / sqrt(len(seeds))
    assert abs(fixed.var() - 1) < 0.2


def test_neighbours_are_torn_apart_in_one_long_shuffle() -> None:
    size = 200_000
    rows = permuted(positions(size), size, 3)
    steps = np.diff(rows) % size
    counts = Counter((steps * 100 // size).tolist())
    assert abs(far_from_even(counts, 100, size - 1)) < 4
    assert abs(np.corrcoef(rows, positions(size))[0, 1]) < 4 / sqrt(size)
    assert (np.diff(rows) == 1).sum() < 10


def test_seeds_and_epochs_differ() -> None:
    first, other = (permuted(positions(1000), 1000, seed) for seed in (0, 1))
    assert (first == other).sum() < 10
    run = row_at(positions(3000), 1000, 4).reshape(3, 1000)
    assert all(np.array_equal(np.sort(epoch), positions(1000)) for epoch in run)
    assert (run[0] == run[1]).sum() < 10
    assert (run[1] == run[2]).sum() < 10


def test_a_run_goes_on_from_any_position() -> None:
    whole = row_at(positions(5000), 777, 4)
    assert row_at(positions(5000, 1234), 777, 4).tolist() == whole[1234:].tolist()
    assert row_at(2500, 777, 4) == whole[2500]
    # An epoch is the shuffle that its own seed names.
    epoch = permuted(positions(777), 777, subseed(4, "epoch", 2))
    assert whole[2 * 777 : 3 * 777].tolist() == epoch.tolist()


def test_subseeds_are_apart() -> None:
    seeds = {subseed(seed, part, 1) for seed in range(50) for part in ("epoch", "pass", 1, "1")}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**64 for seed in seeds)


@pytest.mark.parametrize(
    ("index", "size", "said"),
    [
        (5, 5, "outside"),
        (-1, 5, "outside"),
        (0, 0, "not a count"),
        (0, 2.5, "not a count"),
        (0, True, "not a count"),
        (0, 2**62 + 1, "not a count"),
        (1.5, 5, "not a whole number"),
    ],
)
def test_what_is_no_position_is_refused(index: int, size: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        permuted(index, size, 0)


@pytest.mark.parametrize("seed", ["1", 1.5, True, None])
def test_a_seed_is_a_whole_number(seed: int) -> None:
    for use in (lambda: permuted(0, 5, seed), lambda: row_at(0, 5, seed), lambda: subseed(seed, "epoch")):
        with pytest.raises(InputError, match="a seed is not a whole number"):
            use()
