"""Rows that are missing, shares among some rows, and intervals from leaving parts out."""

from collections.abc import Sequence
from statistics import fmean

import numpy as np
import pytest

from concord.errors import InputError
from concord.eval.reckoning.rows import (
    complete_result,
    kept,
    left_out_result,
    outcome_result,
    rate_result,
    share_among,
)
from concord.eval.reckoning.statistics import SHARE, Scale
from concord.types import Interval


def test_missing_rows_are_left_out_and_counted() -> None:
    result = complete_result("median", [1.0, None, 3.0, 8.0], lambda rows: sorted(rows)[1], why_none="none")
    assert (result.value, result.n, result.failures) == (3, 3, 1)
    assert result.interval is not None


def test_an_interval_stays_on_the_scale() -> None:
    rows = [0.9, 0.97, 0.99, 0.2, 1.0]
    free = complete_result("x", rows, fmean, why_none="none")
    held = complete_result("x", rows, fmean, why_none="none", scale=SHARE)
    rate = rate_result("x", rows)
    assert free.interval is not None
    assert held.interval is not None
    assert rate.interval is not None
    assert free.interval.high > 1 == held.interval.high == rate.interval.high
    assert free.interval.low == held.interval.low


def test_a_value_that_rounding_moved_off_the_scale_keeps_its_place_in_its_interval() -> None:
    ends = SHARE.clip(1 + 1e-12, Interval(0.8, 1.2, level=0.95, how="t"))
    assert (ends.low, ends.high) == (0.8, 1 + 1e-12)


def test_labels_go_with_their_rows() -> None:
    assert kept([1, None, 3], (["a", "b", "c"], [0, 1, 2])) == ([1, 3], (["a", "c"], [0, 2]))
    with pytest.raises(InputError, match=r"differ in number; found \(2, 1\)"):
        kept([1, 2], (["a"],))


def test_a_statistic_without_a_value_gives_the_reason() -> None:
    nothing = complete_result("x", [None, None], fmean, why_none="ask more")
    assert (nothing.value, nothing.n, nothing.failures, nothing.why_none) == (None, 0, 2, "ask more")
    silent = complete_result("x", [1.0], lambda rows: None, why_none="ask more")
    assert (silent.value, silent.n, silent.why_none) == (None, 1, "ask more")


def test_a_share_among_some_rows() -> None:
    hits, among = [True, False, None, True, True], [True, True, True, False, None]
    result = share_among("x", hits, among, why_none="none counts")
    assert (result.value, result.n, result.failures) == (0.5, 2, 2)
    none = share_among("x", hits, [False] * 5, why_none="none counts")
    assert (none.value, none.why_none) == (None, "none counts")


def test_a_share_among_rows_keeps_their_clusters() -> None:
    hits = [True, True, False, False] * 10
    alone = share_among("x", hits, [True] * 40, why_none="")
    labels = [place % 4 for place in range(40)]
    together = share_among("x", hits, [True] * 40, why_none="", clusters=(labels,))
    assert alone.interval is not None
    assert together.interval is not None
    assert together.interval.high > alone.interval.high + 0.1


def test_rates_that_all_agree_have_an_interval() -> None:
    result = rate_result("x", [0.0, 0.0, None, 0.0])
    assert (result.value, result.failures) == (0, 1)
    assert result.interval is not None
    assert result.interval.high > 0.3
    assert rate_result("x", [0.5, 0.0]).value == 0.25


@pytest.mark.parametrize("count", [40, 39])
def test_leaving_out_covers_a_mean_as_often_as_it_says(count: int) -> None:
    """Twenty parts of two values, or one of a single one: a binomial bound of one in a million around 95%."""
    chance, hits, times = np.random.default_rng(0), 0, 400
    for seed in range(times):
        values = chance.exponential(size=count)
        interval = left_out_result(
            "mean",
            lambda places, values=values: float(values[list(places)].mean()),
            [range(count)],
            why_none="",
            seed=seed,
        ).interval
        assert interval is not None
        hits += interval.low <= 1 <= interval.high
    assert 0.88 < hits / times < 0.99


def test_the_wider_way_of_sharing_stands() -> None:
    values = np.repeat(np.arange(8.0), 10)

    def mean(places: object) -> float:
        return float(values[np.asarray(places, dtype=int)].mean())

    alone, shared = [range(80)], [range(80), np.repeat(np.arange(8), 10).tolist()]
    widths = []
    for units in (alone, shared):
        interval = left_out_result("mean", mean, units, why_none="").interval
        assert interval is not None
        widths.append(interval.high - 3.5)
    assert widths[1] > 2 * widths[0]
    one = left_out_result("mean", mean, [[0] * 80], why_none="")
    assert one.interval is None, "one unit shows nothing"
    assert "one cluster" in one.how
    whole = left_out_result("mean", mean, [[0] * 80], why_none="", scale=Scale(0.0, 7.0)).interval
    assert whole is not None, "but it cannot leave its scale"
    assert 0 < whole.low < 0.1
    assert 6.9 < whole.high < 7


def test_a_statistic_that_no_part_moves_has_the_interval_of_pairs_that_were_not_seen() -> None:
    def same(places: object) -> float:
        return 1.0

    found = left_out_result("x", same, [range(30)], why_none="", scale=SHARE)
    assert found.interval is not None
    # By Wilson's interval at most 0.1135 of the values are unlike these, and (1 - 0.1135)^2 of pairs alike.
    ends = (found.interval.low, found.interval.high)
    assert ends == (pytest.approx((1 - 0.11351339) ** 2), 1)
    open_ended = left_out_result("x", same, [range(30)], why_none="")
    assert open_ended.interval is None, "a scale without end tells nothing"


def test_an_interval_stays_within_its_ends() -> None:
    values = [1.0] * 8 + [0.9]
    interval = left_out_result(
        "x",
        lambda kept: fmean(values[place] for place in kept),
        [range(9)],
        why_none="",
        scale=Scale(0.98, 1.0),
    ).interval
    assert interval is not None
    assert (interval.low, interval.high) == (0.98, 1)


@pytest.mark.parametrize("count", [2, 3, 20, 25, 39])
def test_where_it_comes_out_the_same_whatever_is_left_out_there_is_no_interval(count: int) -> None:
    def among(kept: Sequence[int]) -> float:
        """Depends on nothing but how many there are."""
        return 0.3 + 2 / len(kept)

    found = left_out_result("x", among, [range(count)], why_none="", how="counted")
    assert found.value == among(range(count))
    assert found.interval is None
    assert found.how == "counted; no interval: it comes out the same whichever rows are left out"
    uneven = [[place * place // 9 for place in range(max(count, 4))]]
    assert left_out_result("x", among, uneven, why_none="").interval is None
    curved = left_out_result("x", lambda kept: among(kept) ** 2, uneven, why_none="", alike=True)
    assert curved.interval is None, "as it is said that nothing differs"


@pytest.mark.parametrize("outcome", [0.0, 0.5, 1.0])
def test_outcomes_that_are_all_the_same_have_an_interval(outcome: float) -> None:
    found = outcome_result("won", [outcome] * 30)
    assert found.value == outcome
    assert found.interval is not None
    assert 0 <= found.interval.low <= outcome <= found.interval.high <= 1
    # Wilson's, of 0 in 30, reaches to 0.1135; ties may be half a win or half a loss each.
    reach = 0.11351339 * (0.5 if outcome == 0.5 else 1)
    assert max(outcome - found.interval.low, found.interval.high - outcome) == pytest.approx(reach)


def test_an_interval_does_not_pass_what_a_win_rate_can_be() -> None:
    nearly = outcome_result("win_rate", [1.0] * 18 + [0.5] * 2)
    assert nearly.interval is not None
    assert nearly.interval.high == 1
    # Scores that are no outcomes have no such ends.
    scores = outcome_result("reward", [0.5, 2.0, 2.5])
    assert scores.interval is not None
    assert scores.interval.low < 0 < 3 < scores.interval.high
