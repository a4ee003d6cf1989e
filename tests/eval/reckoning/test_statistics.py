"""Results with intervals: published and closed values, how often they hold the truth, and what is refused."""

from collections.abc import Callable, Sequence
from math import log, nan, sqrt
from statistics import NormalDist, fmean, median, stdev

import numpy as np
import pytest

from concord.errors import InputError
from concord.eval.reckoning import resampling
from concord.eval.reckoning.statistics import (
    SHARE,
    Scale,
    difference_result,
    mean_result,
    ratio_result,
    share_result,
    statistic_result,
    wilson,
    withheld,
)
from concord.types import Challenge, Interval, Result
from tests.eval.reckoning.chance import Draw, alone, bound, clustered, crossed, draws, hits

Z = NormalDist().inv_cdf(0.975)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer resamples, for tests that reckon hundreds of intervals."""
    monkeypatch.setattr(resampling, "RESAMPLES", 500)


def ends(result: Result) -> tuple[float, float]:
    assert result.interval is not None
    return result.interval.low, result.interval.high


def normal(n: int, seed: int = 0) -> list[float]:
    return np.random.default_rng(seed).normal(size=n).tolist()


# --- how often they hold the truth ------------------------------------------------------------------------


def differences(chance: np.random.Generator, n: int) -> np.ndarray:
    """Of two models that are nearly always right or wrong together; the mean is 0.04."""
    return chance.choice([-1.0, 0.0, 1.0], p=[0.04, 0.88, 0.08], size=n)


HOLDING: dict[str, tuple[Draw, float]] = {
    "20 normal": (alone(lambda chance, n: chance.normal(size=n), 20), 0),
    "400 normal": (alone(lambda chance, n: chance.normal(size=n), 400), 0),
    "5 normal": (alone(lambda chance, n: chance.normal(size=n), 5), 0),
    "50 skewed": (alone(lambda chance, n: chance.exponential(size=n), 50), 1),
    "200 mostly 0": (alone(differences, 200), 0.04),
    "3 clusters": (clustered(3, 10, 0.3), 0),
    "8 clusters": (clustered(8, 5, 0.3), 0),
    "10 uneven": (clustered(10, 8, 0.3, uneven=True), 0),
    "40 clusters": (clustered(40, 5, 0.3), 0),
    "20 x 10": (crossed(20, 10, (0.3, 0.3)), 0),
    "12 x 12": (crossed(12, 12, (0.3, 0)), 0),
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("case", HOLDING)
def test_the_interval_of_a_mean_holds_the_truth_as_often_as_it_says(case: str) -> None:
    (draw, truth), held, trials = HOLDING[case], 0, 400
    for values, clusters in draws(draw, trials):
        low, high = ends(mean_result("mean", values.tolist(), clusters=clusters))
        held += low <= truth <= high
    assert held / trials == pytest.approx(0.95, abs=bound(0.95, trials))


@pytest.mark.usefixtures("quick")
def test_who_takes_clustered_values_for_independent_is_wrong_more_often() -> None:
    for draw in (clustered(40, 5, 0.3), crossed(20, 10, (0.3, 0.3))):
        held, trials = 0, 200
        for values, _ in draws(draw, trials):
            low, high = ends(mean_result("mean", values.tolist()))
            held += low <= 0 <= high
        assert held / trials < 0.85


@pytest.mark.usefixtures("quick")
def test_a_person_who_is_one_of_few_makes_the_interval_wide_enough() -> None:
    # Student's t for five people, also where people hardly matter: held too often rather than too rarely.
    for icc, most in (((0.3, 0.3), 1.0), ((0.3, 0.0), 1.0)):
        held, trials = 0, 300
        for values, clusters in draws(crossed(40, 5, icc), trials):
            low, high = ends(mean_result("mean", values.tolist(), clusters=clusters))
            held += low <= 0 <= high
        assert 0.95 - bound(0.95, trials) <= held / trials <= most


@pytest.mark.parametrize("share", [0.03, 0.1, 0.5])
@pytest.mark.parametrize(("count", "size"), [(20, 5), (40, 5), (100, 4)])
def test_the_interval_of_a_share_holds_the_truth(share: float, count: int, size: int) -> None:
    # With 3 in 100, one or two clusters in ten hold all hits; a little is allowed for that.
    held, trials = 0, 400
    for values, clusters in draws(hits(count, size, share, 0.3), trials):
        low, high = ends(share_result("share", [bool(value) for value in values], clusters=clusters))
        held += low <= share <= high
    assert held / trials >= 0.95 - 1.4 * bound(0.95, trials)


@pytest.mark.parametrize("n", [20, 100, 400])
def test_wilson_holds_small_shares_on_average(n: int) -> None:
    # Exactly: the probability of the counts whose interval holds the share, averaged over shares.
    counts = np.arange(n + 1)
    low, high = np.array([(found.low, found.high) for found in (wilson(hit, n) for hit in range(n + 1))]).T
    chooses = np.concatenate([[0.0], np.cumsum(np.log((n - counts[:-1]) / (counts[:-1] + 1)))])
    holding: list[float] = []
    for share in np.linspace(0.001, 0.1, 200):
        law = np.exp(chooses + counts * log(share) + (n - counts) * log(1 - share))
        holding.append(float(law[(low <= share) & (share <= high)].sum()))
    assert fmean(holding) == pytest.approx(0.95, abs=0.02)


@pytest.mark.usefixtures("quick")
def test_ratios_and_statistics_hold_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("concord.eval.reckoning.statistics._REDRAWN", 200)
    chance, trials = np.random.default_rng(1), 200
    of_ratio = of_median = 0
    for _ in range(trials):
        below = chance.integers(1, 9, 40).astype(float)
        above = chance.binomial(below.astype(int), 0.4)
        low, high = ends(ratio_result("ratio", above.tolist(), below.tolist()))
        of_ratio += low <= 0.4 <= high
        values = chance.exponential(size=30).tolist()
        low, high = ends(statistic_result("median", values, median))
        of_median += low <= log(2) <= high
    for held in (of_ratio, of_median):
        assert held / trials == pytest.approx(0.95, abs=bound(0.95, trials))


# --- closed values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(count: int, n: int, low: float, high: float) -> None:
    # Newcombe, Statistics in Medicine 17 (1998) 857, table I, method 3.
    found = wilson(count, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    other = wilson(n - count, n)
    assert (1 - other.high, 1 - other.low) == pytest.approx((low, high), abs=5e-5)
    result = share_result("share", [True] * count + [False] * (n - count))
    assert ends(result) == pytest.approx((low, high), abs=5e-5)
    assert result.value == count / n


def test_wilson_takes_halves_and_other_levels() -> None:
    low, high = wilson(4, 10), wilson(5, 10)
    assert low.low < wilson(4.5, 10).low < high.low
    narrow = wilson(5, 10, level=0.5)
    assert (narrow.level, narrow.high - narrow.low < high.high - high.low) == (0.5, True)


def test_many_values_have_the_normal_interval() -> None:
    values = normal(2000)
    half = Z * stdev(values) / sqrt(2000)
    assert ends(mean_result("mean", values)) == pytest.approx(
        (fmean(values) - half, fmean(values) + half), abs=0.04 * half
    )


@pytest.mark.parametrize(("count", "t"), [(2, 12.7062), (3, 4.30265), (5, 2.776445)])
def test_few_clusters_have_students_interval(count: int, t: float) -> None:
    means = normal(count)
    values = [mean + spread for mean in means for spread in (-1, 0, 1)]
    result = mean_result("mean", values, clusters=([cluster for cluster in range(count) for _ in range(3)],))
    half = t * stdev(means) / sqrt(count)
    assert ends(result) == pytest.approx((fmean(means) - half, fmean(means) + half), rel=1e-5)
    assert result.interval is not None
    assert result.interval.how == f"Student's t over {count} clusters"


def test_values_that_repeat_count_once() -> None:
    values = normal(30)
    once = mean_result("mean", values)
    often = mean_result("mean", values * 7, clusters=(list(range(30)) * 7,))
    assert ends(often) == pytest.approx(ends(once))
    assert (once.n, often.n) == (30, 210)


def test_where_all_agree_the_share_has_width_and_clusters_are_counted() -> None:
    assert ends(share_result("share", [True] * 20)) == pytest.approx((1 - 0.1611, 1), abs=5e-5)
    low, high = ends(share_result("share", [False] * 100, clusters=([place // 10 for place in range(100)],)))
    assert low == 0
    assert high > wilson(0, 10).high


def test_a_ratio_over_ones_is_a_mean_and_scales() -> None:
    values = normal(40)
    assert ends(ratio_result("ratio", values, [1.0] * 40)) == pytest.approx(ends(mean_result("mean", values)))
    low, high = ends(ratio_result("ratio", values, [4.0] * 40))
    assert (4 * low, 4 * high) == pytest.approx(ends(mean_result("mean", values)))
    pooled = ratio_result("ratio", [1, 1, 8], [1, 1, 18])
    assert pooled.value == 0.5


def test_a_difference_is_the_mean_of_differences() -> None:
    ours, theirs, labels = normal(60), normal(60, 1), [place % 15 for place in range(60)]
    found = difference_result("gain", ours, theirs, clusters=(labels,))
    gaps = [one - other for one, other in zip(ours, theirs, strict=True)]
    assert ends(found) == pytest.approx(ends(mean_result("gain", gaps, clusters=(labels,))))
    turned = difference_result("loss", theirs, ours, clusters=(labels,))
    assert ends(turned) == pytest.approx(tuple(-end for end in reversed(ends(found))), rel=0.05)


def test_a_model_differs_from_itself_by_nothing() -> None:
    values = [0.1, 0.2, 0.7, 1e9]
    found = difference_result("tax", values, values, same=True)
    assert (found.value, ends(found)) == (0, (0, 0))
    rounded = difference_result("tax", [0.1 + 0.2, 0.7], [0.3, 0.7], same=True)
    assert (rounded.value, ends(rounded)) == (0, (0, 0))
    single = difference_result("tax", [0.3], [0.3], same=True)
    assert (single.value, ends(single)) == (0, (0, 0))


def test_two_that_are_equal_in_each_pair_may_differ_in_others() -> None:
    labels = [place // 4 for place in range(40)]
    for few, clusters in (([1.0], ()), ([0.3] * 11, ()), ([0.0, 1.0] * 20, (labels,))):
        found = difference_result("tax", few, few, clusters=clusters)
        assert (found.value, found.interval) == (0, None)
        assert "too few to show that they always are" in found.how
    shares = difference_result("tax", [1.0, 0.0] * 15, [1.0, 0.0] * 15)
    # Wilson's, of 0 in 30, reaches to 0.1135.
    assert ends(shares) == pytest.approx((-0.11351339, 0.11351339))
    scores = difference_result("tax", [-3.0, 7.0] * 15, [-3.0, 7.0] * 15)
    assert ends(scores) == (0, 0)
    assert scores.interval is not None
    assert "no pair differed" in scores.interval.how


def test_a_statistic_that_is_a_mean_has_nearly_its_interval() -> None:
    values, labels = normal(80), [place % 20 for place in range(80)]
    for clusters in ((), (labels,), (labels, [place // 20 for place in range(80)])):
        low, high = ends(statistic_result("mean", values, fmean, clusters=clusters))
        a, b = ends(mean_result("mean", values, clusters=clusters))
        assert high - low == pytest.approx(b - a, rel=0.2)
        assert (low + high) / 2 == pytest.approx(fmean(values))


# --- what it depends on -----------------------------------------------------------------------------------


def test_neither_order_nor_labels_matter_and_the_seed_decides() -> None:
    values, clusters = next(draws(crossed(12, 9, (0.3, 0.2)), 1))
    mixed = np.random.default_rng(5).permutation(len(values))
    for kept in ((), clusters[:1], clusters):
        found = mean_result("mean", values.tolist(), clusters=kept)
        moved = [[f"label {labels[place]}" for place in mixed] for labels in kept]
        assert ends(mean_result("mean", values[mixed].tolist(), clusters=moved)) == pytest.approx(ends(found))
        assert ends(mean_result("mean", values.tolist(), clusters=kept)) == ends(found)
        other = mean_result("mean", values.tolist(), clusters=kept, seed=1)
        assert ends(other) != ends(found)
        assert ends(other) == pytest.approx(ends(found), abs=0.05)


def test_a_factor_within_another_and_one_with_one_label_add_nothing() -> None:
    values, (templates,) = next(draws(clustered(20, 6, 0.3), 1))
    prompts, town = [place // 2 for place in range(len(values))], ["town"] * len(values)
    found = ends(mean_result("mean", values.tolist(), clusters=(templates,)))
    for clusters in ((prompts, templates), (templates, prompts, town), (town, templates)):
        assert ends(mean_result("mean", values.tolist(), clusters=clusters)) == found


def test_what_is_told_is_kept() -> None:
    result = mean_result(
        "reward",
        [1.0, 2.0, 4.0],
        unit="replies",
        how="mean reward.",
        challenge=Challenge.TAX,
        higher_is_better=True,
        at={"split": "test"},
        reading="judge",
    )
    assert (result.name, result.unit, result.how, result.reading) == (
        "reward",
        "replies",
        "mean reward.",
        "judge",
    )
    assert (result.challenge, result.higher_is_better, result.at) == (Challenge.TAX, True, {"split": "test"})


# --- what could not be measured ---------------------------------------------------------------------------


def test_none_is_a_failure_and_never_a_zero() -> None:
    labels = ["a", "a", "b", "b", "c", "c"]
    mean = mean_result("mean", [1, None, 2, 3, None, 5], clusters=(labels,))
    assert (mean.value, mean.n, mean.failures) == (11 / 4, 4, 2)
    assert ends(mean) == ends(mean_result("mean", [1, 2, 3, 5], clusters=(["a", "b", "b", "c"],)))
    share = share_result("share", [True, None, False, True])
    assert (share.value, share.n, share.failures) == (2 / 3, 3, 1)
    gain = difference_result("gain", [1, 2, None, 4], [None, 1, 1, 1])
    assert (gain.value, gain.n, gain.failures) == (2, 2, 2)
    ratio = ratio_result("ratio", [1, None, 3], [2, 2, None])
    assert (ratio.value, ratio.n, ratio.failures, ratio.interval) == (0.5, 1, 2, None)


@pytest.mark.parametrize("clusters", [(), ([0, 1, 2],), ([0, 1, 2], [0, 0, 1])])
def test_where_nothing_was_measured_it_is_said(clusters: tuple[list[int], ...]) -> None:
    none = [None] * 3
    found = [
        share_result("x", none, clusters=clusters),
        mean_result("x", none, clusters=clusters),
        difference_result("x", none, [1, 2, 3], clusters=clusters),
        ratio_result("x", none, none, clusters=clusters),
    ]
    for result in found:
        assert (result.value, result.n, result.failures) == (None, 0, 3)
        assert result.why_none == "none of 3 could be measured"
    empty = [share_result("x", []), mean_result("x", []), statistic_result("x", [], fmean)]
    assert {result.why_none for result in empty} == {"there was nothing to measure"}


NO_INTERVAL: dict[str, Callable[[], Result]] = {
    "mean; no interval: there is one value only": lambda: mean_result("x", [3.0], how="mean."),
    "no interval: nothing differs between the 2 independent values": lambda: mean_result("x", [3.0, 3.0]),
    "no interval: nothing differs between the 2 clusters": lambda: mean_result(
        "x", [0, 1, 0, 1], clusters=(list("aabb"),)
    ),
    "no interval: all values are of one cluster": lambda: mean_result("x", [1, 3], clusters=(["a", "a"],)),
    "no interval: one of the 3 independent values holds all that is divided by": lambda: ratio_result(
        "x", [1, 2, 3], [0, 0, 2]
    ),
    "no interval: it comes out the same in every resample of 3 independent": lambda: statistic_result(
        "x", [1, 2, 3], lambda _: 7.0
    ),
    "no interval: the statistic has no value in": lambda: statistic_result(
        "x", [1, 2, 3], lambda rows: 1.0 if len(set(rows)) == 3 else None
    ),
}


@pytest.mark.parametrize("why", NO_INTERVAL)
def test_where_there_is_no_interval_it_is_said_why(why: str) -> None:
    result = NO_INTERVAL[why]()
    assert result.value is not None
    assert result.interval is None
    assert why in result.how


def test_values_that_are_all_alike_have_the_interval_of_a_share_where_their_scale_has_ends() -> None:
    labels = [place // 3 for place in range(30)]
    for clusters in ((), (labels,)):
        never = share_result("x", [False] * 30, clusters=clusters)
        assert ends(mean_result("x", [0] * 30, clusters=clusters, scale=SHARE)) == pytest.approx(ends(never))
        high = ends(never)[1]
        some = mean_result("x", [0.4] * 30, clusters=clusters, scale=SHARE)
        assert ends(some) == pytest.approx((0.4 - 0.4 * high, 0.4 + 0.6 * high))
        lost = difference_result("x", [0] * 30, [1] * 30, clusters=clusters, scale=Scale(-1.0, 1.0))
        assert ends(lost) == pytest.approx((-1, -1 + 2 * high))
        ratio = ratio_result("x", [3] * 30, [3] * 30, clusters=clusters, scale=SHARE)
        assert ends(ratio) == pytest.approx((1 - high, 1))
        assert mean_result("x", [0] * 30, clusters=clusters, scale=Scale(0.0)).interval is None
    assert "from 0 to 1" in (some.interval.how if some.interval else "")


def test_a_single_value_or_cluster_says_next_to_nothing() -> None:
    low, high = ends(share_result("x", [True, True, False], clusters=(["a", "a", "a"],)))
    assert (low, high) == (pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.02))
    low, high = ends(share_result("x", [True, True], clusters=(["a", "a"],)))
    assert (low, high) == (pytest.approx(0, abs=0.02), 1)
    one = ends(mean_result("x", [0.5, 0.7], clusters=(["a", "a"],), scale=SHARE))
    assert one == pytest.approx((0, 1), abs=0.02)
    # Of a single independent value: Wilson's interval on one.
    assert ends(mean_result("x", [1.0], scale=SHARE)) == pytest.approx(ends(share_result("x", [True])))


def test_a_statistic_that_no_resample_moves_reaches_as_far_as_rows_that_were_not_seen_take_it() -> None:
    rows = [("a", 1.0)] * 15 + [("b", 1.0)] * 15

    def gap(drawn: Sequence[tuple[str, float]]) -> float | None:
        of = {kind: [value for name, value in drawn if name == kind] for kind in "ab"}
        return fmean(of["a"]) - fmean(of["b"]) if all(of.values()) else None

    extremes = [[("a", 1.0), ("b", 0.0)], [("a", 0.0), ("b", 1.0)]]
    found = statistic_result("x", rows, gap, scale=Scale(-1.0, 1.0, extremes))
    # Each group of 15 counts by itself: none of 15 is at most 0.2039.
    _, most = ends(share_result("x", [False] * 15))
    assert (found.value, ends(found)) == (0, pytest.approx((-most, most), abs=0.01))
    low, high = ends(statistic_result("x", rows, gap, scale=Scale(-1.0, 1.0)))
    assert (low, high) == pytest.approx((-0.1135, 0.1135), abs=1e-3)
    moving = statistic_result("x", [0.1, 0.9, 1.0], fmean, scale=SHARE)
    assert ends(moving)[1] == 1, "and no interval leaves the scale"


@pytest.mark.parametrize("share", [0.01, 0.03])
def test_intervals_on_a_scale_hold_the_truth_where_values_are_nearly_all_alike(share: float) -> None:
    chance, held, trials = np.random.default_rng(3), 0, 600
    for _ in range(trials):
        values = np.where(chance.random(30) < share, 1.0, 0.2)
        if (values == 0.2).all():
            low, high = ends(mean_result("x", values.tolist(), scale=SHARE))
            held += low <= 0.2 + 0.8 * share <= high
        else:
            held += 1
    assert held / trials >= 0.95


def test_a_value_without_an_interval_is_withheld_with_what_came_of_it() -> None:
    kept = mean_result("x", [1.0, 2.0, 4.0])
    assert withheld(kept) is kept
    lone = withheld(mean_result("x", [3.0], unit="pairs", how="asked"))
    assert (lone.value, lone.n, lone.how) == (None, 1, "asked")
    assert lone.why_none == (
        "no interval can be told (there is one value only); it came to 3 over 1 pairs; measure more"
    )
    none = mean_result("x", [None])
    assert withheld(none) is none


def test_where_there_is_no_value_it_is_said_why() -> None:
    ratio = ratio_result("x", [1, 2], [0, 0])
    assert (ratio.n, ratio.failures) == (0, 2)
    assert "what is divided by adds up to 0" in ratio.why_none
    statistic = statistic_result("x", [1, 2], lambda _: None)
    assert (statistic.n, statistic.failures) == (0, 2)
    assert "the statistic has no value on these 2 rows" in statistic.why_none


def test_a_statistic_says_how_often_it_had_no_value() -> None:
    rows = [0] * 15 + [1] * 5  # no 1 is drawn in 3 of 1000 resamples
    result = statistic_result("x", rows, lambda rows: 1 / fmean(rows) if any(rows) else None)
    assert result.interval is not None
    assert "that gave no value" in result.interval.how


# --- what is refused --------------------------------------------------------------------------------------

REFUSED: dict[str, Callable[[], Result | Interval]] = {
    "a value is not finite; found nan; accepted: finite numbers; to do: give None": lambda: mean_result(
        "x", [1.0, nan]
    ),
    "a value is not finite; found inf": lambda: statistic_result("x", [1.0], lambda _: float("inf")),
    "a value is neither yes nor no; found 0.5; .*take mean_result": lambda: share_result("x", [True, 0.5]),  # type: ignore[list-item]
    "paired values differ in number; found 2 and 3": lambda: difference_result("x", [1, 2], [1, 2, 3]),
    "labels and values differ in number; found 1 labels for 2 values": lambda: mean_result(
        "x", [1, 2], clusters=([1],)
    ),
    "clusters are not given as lists of labels; found 'ab'.*write clusters=": lambda: mean_result(
        "x", [1, 2], clusters=("ab",)
    ),
    "clusters are not given as lists of labels; found 7": lambda: mean_result("x", [1, 2], clusters=[7, 8]),  # type: ignore[list-item]
    "an amount to divide by is negative; found -1.0": lambda: ratio_result("x", [1, 2], [1, -1]),
    "a seed is negative; found -1": lambda: mean_result("x", list(range(9)), seed=-1),
    "there is no such share; found 3 of 2": lambda: wilson(3, 2),
    "there is no such share; found 0 of 0": lambda: wilson(0, 0),
    "there is no such share; found 1 of 2 at 1": lambda: wilson(1, 2, level=1),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_meant_is_refused(message: str) -> None:
    with pytest.raises(InputError, match=message):
        REFUSED[message]()
