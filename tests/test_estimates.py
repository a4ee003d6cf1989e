"""Intervals that allow for rows of one prompt being alike, and exact percentiles."""

from collections import Counter
from math import sqrt

import numpy as np
import pytest

from concord.estimates import clustered_mean, clustered_share, percentile, t_quantile, wilson_ends


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [
        (0, 1.959964),
        (1, 12.7062),
        (2, 4.302653),
        (3, 3.182446),
        (5, 2.570582),
        (10, 2.228139),
        (100, 1.983972),
    ],
)
def test_quantiles_of_students_t_are_those_of_the_tables(freedom: int, expected: float) -> None:
    assert t_quantile(0.95, freedom) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("level", "freedom", "expected"),
    [
        (0.9, 3, 2.353363),
        (0.99, 3, 5.840909),
        (0.999, 3, 12.923979),
        (0.999, 4, 8.610302),
        (0.99, 30, 2.749996),
    ],
)
def test_quantiles_of_students_t_hold_at_other_levels(level: float, freedom: int, expected: float) -> None:
    assert t_quantile(level, freedom) == pytest.approx(expected, abs=2e-6)
    assert t_quantile(level, 31) == pytest.approx(t_quantile(level, 30), rel=0.01)


def test_wilson_is_the_root_of_its_equation() -> None:
    # The ends are the p for which (share - p)^2 = z^2 p (1 - p) / n.
    z = t_quantile(0.95, 0)
    for end in wilson_ends(0.3, 50):
        assert (0.3 - end) ** 2 == pytest.approx(z**2 * end * (1 - end) / 50)


def test_independent_rows_get_wilsons_interval() -> None:
    found = clustered_share([True] * 300 + [False] * 700, range(1000))
    low, high = wilson_ends(0.3, 1000)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), abs=1e-3)


def test_rows_that_repeat_count_once() -> None:
    # Each prompt ten times with one and the same outcome: as good as one row a prompt.
    wins = np.repeat([True] * 60 + [False] * 40, 10)
    found = clustered_share(wins, np.repeat(np.arange(100), 10))
    low, high = wilson_ends(0.6, 100)
    assert found.interval is not None
    assert found.interval.high - found.interval.low == pytest.approx(high - low, rel=0.05)
    assert (found.n, found.prompts) == (1000, 100)


def test_where_all_agree_prompts_are_counted_and_not_rows() -> None:
    found = clustered_share([True] * 1000, np.repeat(np.arange(10), 100))
    assert found.interval is not None
    assert found.interval.low < 0.75


@pytest.mark.parametrize("prompts", [40, 200])
def test_the_interval_covers_the_truth_where_prompts_differ(prompts: int) -> None:
    # The share of wins differs from prompt to prompt (Beta with mean 0.7), and so does the number of rows.
    generator = np.random.default_rng(prompts)
    covered, naive = 0, 0
    for _ in range(600):
        sizes = generator.integers(1, 12, prompts)
        wins = generator.random(sizes.sum()) < np.repeat(generator.beta(1.4, 0.6, prompts), sizes)
        found = clustered_share(wins, np.repeat(np.arange(prompts), sizes))
        assert found.interval is not None
        covered += found.interval.low <= 0.7 <= found.interval.high
        low, high = wilson_ends(float(wins.mean()), len(wins))
        naive += low <= 0.7 <= high
    assert covered / 600 >= 0.93
    assert naive / 600 < 0.85, "the rows were no harder than independent ones, so this shows nothing"


@pytest.mark.parametrize("largest", [40, 2000])
def test_a_prompt_with_most_of_the_rows_does_not_speak_for_the_others(largest: int) -> None:
    generator = np.random.default_rng(largest)
    covered, of_mean, trials = 0, 0, 400
    for _ in range(trials):
        sizes = np.array([largest, *generator.integers(1, 12, 19)])
        wins = generator.random(sizes.sum()) < np.repeat(generator.beta(1.4, 0.6, 20), sizes)
        prompts = np.repeat(np.arange(20), sizes)
        found, mean = clustered_share(wins, prompts).interval, clustered_mean(wins, prompts).interval
        assert found is not None
        assert mean is not None
        covered += found.low <= 0.7 <= found.high
        of_mean += mean.low <= 0.7 <= mean.high
    assert covered / trials >= 0.93
    assert of_mean / trials >= 0.93


def test_the_variance_is_that_of_leaving_each_prompt_out() -> None:
    generator = np.random.default_rng(5)
    prompts = np.repeat(np.arange(6), [1, 2, 3, 5, 8, 13])
    values = generator.normal(size=len(prompts))
    means = np.array([values[prompts != one].mean() for one in range(6)])
    variance = 5 / 6 * ((means - values.mean()) ** 2).sum()
    found = clustered_mean(values, prompts).interval
    assert found is not None
    # 32 squared over the sum of squared sizes is 3.76: about four prompts of equal size.
    assert found.high - found.low == pytest.approx(2 * t_quantile(0.95, 3) * sqrt(variance))


def test_one_observation_and_one_prompt_say_how_little_they_know() -> None:
    alone = clustered_share([True], [7])
    assert alone.interval is not None
    assert alone.interval.low < 0.25
    one = clustered_share([True, False] * 50, [7] * 100)
    assert one.interval is not None
    assert "one prompt, of which alone it speaks" in one.interval.how
    assert clustered_share([], []).value is None
    assert clustered_mean([], []).value is None


def test_a_clustered_mean_is_students_where_rows_are_independent() -> None:
    values = np.random.default_rng(0).normal(3, 2, 50)
    found = clustered_mean(values, np.arange(50))
    half = t_quantile(0.95, 49) * values.std(ddof=1) / sqrt(50)
    assert found.interval is not None
    assert found.interval.high - found.interval.low == pytest.approx(2 * half)
    assert clustered_mean(values, np.zeros(50)).interval is None


def test_percentiles_are_lengths_that_occur() -> None:
    counts = Counter({5: 50, 7: 49, 1000: 1})
    assert [percentile(counts, share) for share in (0.01, 0.5, 0.51, 0.99, 1.0)] == [5, 5, 7, 7, 1000]


def test_percentiles_are_those_of_the_sorted_list() -> None:
    lengths = np.random.default_rng(1).integers(0, 40, 317)
    for share in (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0):
        expected = np.percentile(lengths, 100 * share, method="inverted_cdf")
        assert percentile(Counter(lengths.tolist()), share) == expected
