"""The exponential plateau: the worked value, and a fit that finds it and knows when it cannot."""

import json
import random
from math import exp, inf, isfinite, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import InputError
from concord.eval.costs.efficiency import Plateau, exponential_plateau, fit_plateau, n_to_reach
from tests.conftest import ROOT

VECTORS = json.loads((ROOT / "tests" / "objectives" / "vectors.json").read_text(encoding="utf-8"))["vectors"]
VECTOR = next(vector for vector in VECTORS if vector["name"] == "exponential_plateau")
NS, YS, PARAMS = VECTOR["inputs"]["n"], VECTOR["expected"]["y"], VECTOR["params"]


def test_worked_value() -> None:
    assert [exponential_plateau(n, **PARAMS) for n in NS] == pytest.approx(YS, abs=1e-6)
    plateau = Plateau(**PARAMS)
    assert [plateau.at(n) for n in NS] == pytest.approx(YS, abs=1e-6)


def test_the_fit_finds_the_worked_curve() -> None:
    fit = fit_plateau(NS, YS)
    assert (fit.y_max, fit.y0, fit.k) == pytest.approx((7, 5, 0.0005), rel=1e-6)
    assert fit.rmse < 1e-9
    assert fit.identifiable
    assert n_to_reach(fit, 0.5) == pytest.approx(log(2) / 0.0005, rel=1e-6)


@given(st.floats(-5, 5), st.sampled_from([-3.0, 0.5, 40.0]), st.floats(0.5, 8), st.sampled_from([1, 7, 1e6]))
def test_an_exact_curve_is_found(y0: float, rise: float, rate: float, scale: float) -> None:
    ns = [scale * n for n in (0.8, 0.0, 0.05, 0.3, 0.15, 1.0)]
    truth = Plateau(y_max=y0 + rise, y0=y0, k=rate / scale)
    fit = fit_plateau(ns, [truth.at(n) for n in ns])
    assert fit.identifiable
    assert fit.k == pytest.approx(truth.k, rel=1e-5)
    assert (fit.y_max, fit.y0) == pytest.approx((truth.y_max, truth.y0), abs=1e-4)


def test_no_nearby_curve_fits_better() -> None:
    chance = random.Random(3)
    ns = [10 * n for n in range(12)]
    ys = [exponential_plateau(n, y_max=7, y0=5, k=0.03) + chance.gauss(0, 0.1) for n in ns]
    fit = fit_plateau(ns, ys)

    def error(y_max: float, y0: float, k: float) -> float:
        return sum(
            (exponential_plateau(n, y_max=y_max, y0=y0, k=k) - y) ** 2 for n, y in zip(ns, ys, strict=True)
        )

    least = error(fit.y_max, fit.y0, fit.k)
    assert fit.rmse == pytest.approx((least / len(ns)) ** 0.5)
    for step in (-1e-3, 1e-3):
        assert error(fit.y_max + step, fit.y0, fit.k) > least
        assert error(fit.y_max, fit.y0 + step, fit.k) > least
        assert error(fit.y_max, fit.y0, fit.k * exp(step)) > least
    assert fit.identifiable
    assert fit.k_interval is not None
    low, high = fit.k_interval
    assert low < fit.k < high
    assert low < 0.03 < high


def test_the_interval_holds_the_rate_as_often_as_it_says() -> None:
    chance, held = random.Random(0), 0
    for _ in range(60):
        ns = [chance.uniform(0, 100) for _ in range(chance.choice([4, 6, 15]))]
        ys = [exponential_plateau(n, y_max=7, y0=5, k=0.05) + chance.gauss(0, 0.05) for n in ns]
        interval = fit_plateau(ns, ys).k_interval
        assert interval is not None
        held += interval[0] <= 0.05 <= interval[1]
    assert 53 <= held <= 60


@pytest.mark.parametrize(
    ("ns", "ys", "problem"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3], "a straight line fits as well"),
        ([0, 1, 2], [0, 1, 4], "a straight line fits as well"),
        ([0, 1, 2, 3], [5, 6, 6, 6], "the rate may be any higher one"),
        (
            [1000, 1001, 1002, 1003, 1004, 1005],
            [0, 9, 9.9, 9.99, 9.999, 9.9999],
            "count n from the first one",
        ),
        ([0, 1, 2, 3], [0.1, 0.1, 0.1, 0.1], "any rate fits"),
        ([0, 1, 2, 3, 4, 5], [0, 3, -2, 4, -1, 1], "any rate fits"),
    ],
)
def test_what_the_data_leave_open_is_said(ns: list[float], ys: list[float], problem: str) -> None:
    fit = fit_plateau(ns, ys)
    assert problem in fit.problem
    assert not fit.identifiable
    assert all(isfinite(value) for value in (fit.y_max, fit.y0, fit.k, fit.rmse))
    with pytest.raises(InputError, match=r"rate of this plateau is not known.*found '.*measure at more"):
        n_to_reach(fit, 0.9)


def test_repeated_measurements_and_falling_curves() -> None:
    fit = fit_plateau([0, 0, 10, 10, 40, 40], [3.1, 2.9, 1.1, 0.9, 0.1, -0.1])
    assert fit.identifiable
    assert fit.y_max < 0.2 < 2.5 < fit.y0
    assert fit.rmse > 0.09


def test_the_way_to_a_fraction() -> None:
    plateau = Plateau(**PARAMS)
    assert n_to_reach(plateau, 0) == 0
    for fraction in (0.1, 0.5, 0.99):
        assert plateau.at(n_to_reach(plateau, fraction)) == pytest.approx(5 + 2 * fraction)
    for fraction in (-0.1, 1, float("nan")):
        with pytest.raises(InputError, match=rf"no finite n reaches.*found {fraction}; accepted: 0 up to"):
            n_to_reach(plateau, fraction)
    with pytest.raises(InputError, match=r"found 'k = -1'"):
        n_to_reach(Plateau(y_max=1, y0=0, k=-1), 0.5)


@pytest.mark.parametrize(
    ("ns", "ys", "message"),
    [
        ([], [], "three parameters need three different n; found 0; accepted: 3 or more; to do: measure"),
        ([0, 1, 1], [0, 1, 2], "three different n; found 2"),
        ([0, 1, 2], [0, 1], r"each n needs its y; found \(3, 2\)"),
        ([0, 1, 2], [0, 1, inf], "a value is not finite; found inf"),
        ([0, 1, float("nan")], [0, 1, 2], "a value is not finite; found nan"),
        ([-1, 1, 2], [0, 1, 2], "an amount of data is negative; found -1"),
        ([1e6, 1e6 + 1, 1e6 + 2], [0, 1, 1.5], "lie too close together.*count n from where"),
    ],
)
def test_points_that_cannot_be_fitted_are_refused(ns: list[float], ys: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_plateau(ns, ys)
