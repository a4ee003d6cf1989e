"""Uncertainty: worked values, what each number is blind to, and promises that hold by simulation."""

from math import inf, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import InputError
from concord.eval.conduct.calibration import (
    adaptive_calibration_error,
    area_under_risk,
    auroc,
    brier,
    calibration_error,
    calibration_results,
    conformal_risk_threshold,
    conformal_threshold,
    decomposed,
    log_loss,
    lower_bound,
    risk_coverage,
    sample_entropy,
)
from concord.types import Result

SURE, RIGHT = [0.9, 0.9, 0.6, 0.6], [1, 0, 1, 1]
rows = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.7, 1.0]), st.booleans()), min_size=1, max_size=12
)


def named(results: list[Result]) -> dict[str, Result]:
    return {one.name: one for one in results}


# --- calibration ------------------------------------------------------------------------------------------


def test_worked_values() -> None:
    assert calibration_error(SURE, RIGHT) == pytest.approx(0.4)
    assert brier(SURE, RIGHT) == pytest.approx(0.285)
    assert log_loss(SURE, RIGHT) == pytest.approx(-(log(0.9) + log(0.1) + 2 * log(0.6)) / 4)
    assert auroc(SURE, RIGHT) == pytest.approx(0.5 / 3)
    assert risk_coverage(SURE, RIGHT) == [(0.5, 0.5), (1.0, 0.25)]
    assert area_under_risk(SURE, RIGHT) == pytest.approx((0.5 + 0.5 + 1 / 3 + 1 / 4) / 4)


def test_equal_widths_and_equal_numbers_see_different_things() -> None:
    sure, right = [0.91, 0.92, 0.98, 0.99], [0, 0, 1, 1]
    assert calibration_error(sure, right) == pytest.approx(0.45), "one bin"
    assert adaptive_calibration_error(sure, right, bins=2) == pytest.approx((0.915 + 0.015) / 2)
    assert adaptive_calibration_error([0.5] * 4, right, bins=4) == 0, "equal ones stay in one bin"


def test_the_edges_of_bins() -> None:
    for sure in (0.1, 0.3, 0.6, 0.7, 1.0):
        assert calibration_error([sure] * 10, [1] * round(10 * sure) + [0] * round(10 - 10 * sure)) < 1e-9
    assert calibration_error([0.0, 0.1], [0, 1]) == pytest.approx(abs(0.1 - 1) / 2), "both in the first bin"


@given(rows)
def test_against_counting(given_rows: list[tuple[float, bool]]) -> None:
    sure, right = zip(*given_rows, strict=True)
    good = [s for s, r in given_rows if r]
    bad = [s for s, r in given_rows if not r]
    if good and bad:
        wins = sum((a > b) + (a == b) / 2 for a in good for b in bad)
        assert auroc(sure, right) == pytest.approx(wins / (len(good) * len(bad)))
    else:
        assert auroc(sure, right) is None
    curve = risk_coverage(sure, right)
    for coverage, risk in curve:
        count = round(coverage * len(sure))
        least = sorted(sure, reverse=True)[count - 1]
        answered = [r for s, r in given_rows if s >= least]
        assert len(answered) == count
        assert risk == pytest.approx(answered.count(False) / count)
    assert curve[-1][0] == 1
    bins = [min(9, max(0, -(-round(s * 10, 9) // 1) - 1)) for s in sure]
    gaps = [sum(r - s for s, r, b in zip(sure, right, bins, strict=True) if b == one) for one in set(bins)]
    assert calibration_error(sure, right) == pytest.approx(sum(map(abs, gaps)) / len(sure))


def test_results() -> None:
    chance = np.random.default_rng(0)
    sure = chance.uniform(0.5, 1, 200)
    right = chance.uniform(size=200) < sure
    results = named(calibration_results([*sure.tolist(), None], [*right.tolist(), True]))
    assert len(results) == 6
    for one in results.values():
        assert (one.n, one.failures) == (200, 1)
        assert one.interval is not None
        assert one.interval.low < (one.value or 0) < one.interval.high
    assert results["brier"].value == pytest.approx(brier(sure, right))
    assert results["log_loss"].value == pytest.approx(log_loss(sure, right))
    assert (results["calibration_error"].value or 1) < 0.1
    assert results["error_auroc"].higher_is_better


def test_intervals_do_not_leave_the_scale() -> None:
    sure = [0.95] * 30 + [0.6] * 10
    right = [True] * 29 + [False] + [True] * 6 + [False] * 4
    for one in calibration_results(sure, right):
        assert one.interval is not None
        assert 0 <= one.interval.low < one.interval.high
        assert one.interval.high <= (inf if one.name == "log_loss" else 1)


def test_a_model_that_is_always_right_has_no_errors_to_detect() -> None:
    results = named(calibration_results([0.9, 0.8], [True, True]))
    assert results["error_auroc"].value is None
    assert "both needed" in results["error_auroc"].why_none
    assert results["area_under_risk"].value == 0
    assert named(calibration_results([None], [True]))["brier"].value is None


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(InputError, match=r"no probability; found 1\.5"):
        calibration_results([1.5], [True])
    with pytest.raises(InputError, match="do not match"):
        brier([0.5], [1, 0])


# --- promises ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "place"), [(9, 9), (19, 18), (99, 90)])
def test_the_place_of_the_threshold(n: int, place: int) -> None:
    assert conformal_threshold(range(1, n + 1), alpha=0.1) == place


def test_too_few_scores_promise_nothing() -> None:
    assert conformal_threshold([1.0] * 8, alpha=0.1) == inf
    with pytest.raises(InputError, match="out of range"):
        conformal_threshold([1.0], alpha=0)


def test_coverage_is_that_of_the_beta_binomial_law() -> None:
    """With n scores and place k, hits among m new items follow a beta-binomial law of (k, n + 1 - k)."""
    chance, n, place, m, times = np.random.default_rng(1), 19, 18, 20, 300
    hits = 0
    for _ in range(times):
        threshold = conformal_threshold(chance.normal(size=n).tolist(), alpha=0.1)
        hits += int((chance.normal(size=m) <= threshold).sum())
    a, b = place, n + 1 - place
    variance = m * a * b * (a + b + m) / ((a + b) ** 2 * (a + b + 1))
    assert abs(hits / times - m * a / (a + b)) < 5 * (variance / times) ** 0.5


def test_control_of_a_risk() -> None:
    losses = [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]]
    thresholds = [0.1, 0.2, 0.3, 0.4]
    assert conformal_risk_threshold(losses, thresholds, alpha=0.25) == 0.4
    assert conformal_risk_threshold(losses, thresholds, alpha=0.5) == 0.3
    assert conformal_risk_threshold(losses, thresholds, alpha=0.2) is None, "(0 + 1) / 4 is above it"
    for bad in ([[0, 1]], [[1]], [[2, 1]]):
        with pytest.raises(InputError, match="not those of rising thresholds"):
            conformal_risk_threshold(bad, [0.1, 0.2])


def test_a_controlled_risk_holds_by_simulation() -> None:
    chance, grid = np.random.default_rng(2), np.linspace(0, 1, 51).tolist()
    risks = []
    for _ in range(300):
        odd = chance.uniform(size=40)
        threshold = conformal_risk_threshold(odd[:, None] > np.array(grid), grid, alpha=0.2)
        assert threshold is not None
        risks.append(1 - threshold)
    assert 0.14 < np.mean(risks) <= 0.2


# --- where uncertainty comes from -------------------------------------------------------------------------


def test_worked_decomposition() -> None:
    one = decomposed([(0.9, 0.1), (0.1, 0.9)])
    assert one.total == pytest.approx(0.693147, abs=1e-6)
    assert one.aleatoric == pytest.approx(0.325083, abs=1e-6)
    assert one.epistemic == pytest.approx(0.368064, abs=1e-6)
    assert decomposed([(0.3, 0.7)] * 4).epistemic == pytest.approx(0, abs=1e-12)
    certain = decomposed([(1.0, 0.0), (0.0, 1.0)])
    assert (certain.aleatoric, certain.epistemic) == (0, pytest.approx(log(2)))
    with pytest.raises(InputError, match="no distribution"):
        decomposed([(0.5, 0.2)])


def test_samples_and_ensembles() -> None:
    assert sample_entropy(["a", "a", "a"]) == 0
    assert sample_entropy(["a", "b", "a", "b"]) == pytest.approx(log(2))
    assert lower_bound([1.0, 2.0, 3.0], k=0) == 2
    assert lower_bound([1.0, 3.0], k=1) == 1
