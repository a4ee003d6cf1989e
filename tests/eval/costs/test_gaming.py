"""Gaming: the published peaks, and worlds where the proxy is known to fail."""

from collections.abc import Sequence
from math import inf, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import InputError
from concord.eval.costs.gaming import (
    Form,
    OverFit,
    Scored,
    TrainedPoint,
    best_of_n_results,
    course_results,
    fit_curve,
    hackable,
    picks_results,
)
from concord.eval.reckoning.draws import best_of_n_kl, best_of_n_kl_bound
from concord.types import Challenge, Result


def named(results: Sequence[Result]) -> dict[str, Result]:
    return {f"{one.name} {one.at['n']:g}" if "n" in one.at else one.name: one for one in results}


# --- curves -----------------------------------------------------------------------------------------------


def test_published_peaks() -> None:
    assert OverFit(form="best of n", a=1, b=0.1).peak == pytest.approx((5, 2.5))
    assert OverFit(form="reinforcement learning", a=1, b=0.3).peak == pytest.approx(
        (10.312259, 3.093678), abs=1e-6
    )
    for fit in (
        OverFit(form="best of n", a=1, b=0),
        OverFit(form="best of n", a=-1, b=0.1),
        OverFit(form="reinforcement learning", a=1, b=-0.3),
    ):
        assert fit.peak is None


@pytest.mark.parametrize("form", ["best of n", "reinforcement learning"])
@pytest.mark.parametrize(("a", "b"), [(1.0, 0.1), (0.3, 0.8), (2.0, -0.2), (-0.5, 0.3)])
def test_the_curve_is_fitted_and_its_best_point_found(form: Form, a: float, b: float) -> None:
    curve = OverFit(form=form, a=a, b=b)
    distances = [0.2, 0.5, 1.1, 1.9, 2.5]
    found = fit_curve(distances, [curve.at(d) for d in distances], form)
    assert (found.a, found.b) == pytest.approx((a, b))
    grid = np.linspace(0, 3, 30_001).tolist()
    assert curve.best(3.0) == pytest.approx(max(grid, key=curve.at), abs=1e-3)
    assert curve.at(0) == 0


def test_curves_that_are_refused() -> None:
    with pytest.raises(InputError, match="two distances from the base"):
        fit_curve([0.5, 0.5], [1.0, 1.0], "best of n")
    with pytest.raises(InputError, match="two distances from the base"):
        fit_curve([0.0, 0.5], [0.0, 1.0], "best of n")
    with pytest.raises(InputError, match=r"no such form.*best of n, reinforcement learning"):
        fit_curve([0.5, 1.0], [1.0, 1.0], "best-of-n")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="not finite; found inf"):
        fit_curve([0.5, 1.0], [1.0, float("inf")], "best of n")


# --- hackable ---------------------------------------------------------------------------------------------


def test_two_policies_that_hack() -> None:
    assert hackable([0.0, 1.0], [1.0, 0.0]) == (0, 1)
    assert hackable([1.0, 0.0], [0.0, 1.0]) == (1, 0)
    assert hackable([0.0, 1.0], [0.0, 1.0]) is None
    assert hackable([0.0, 0.0], [0.0, 1.0]) is None  # a proxy that knows nothing moves no policy
    assert hackable([0.0, 1.0], [1.0, 1.0]) is None
    assert hackable([3.0, 1.0, 2.0], [0.5, 0.0, 0.7]) == (2, 0)
    with pytest.raises(InputError, match="the policies are not given as two lists"):
        hackable([1.0], [1.0, 2.0])


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=8), st.integers(1, 5), st.integers(-9, 9))
def test_gold_on_another_scale_is_never_hackable(gold: list[int], times: int, plus: int) -> None:
    assert hackable([times * one + plus for one in gold], gold) is None
    assert (hackable([-one for one in gold], gold) is None) is (len(set(gold)) == 1)


# --- results ----------------------------------------------------------------------------------------------


def goodhart(noise: float, *, prompts: int = 60, draws: int = 64, fall: float = 0.0) -> list[list[Scored]]:
    """Gold is normal, the proxy is gold and noise; what the proxy likes too much gold does not."""
    chance = np.random.default_rng(5)
    gold = chance.normal(size=(prompts, draws))
    proxy = gold + noise * chance.normal(size=(prompts, draws))
    gold = gold - fall * np.maximum(proxy - 1, 0) ** 2
    return [[Scored(p, g) for p, g in zip(*row, strict=True)] for row in zip(proxy, gold, strict=True)]


def expected_maximum(n: int) -> float:
    """Of n standard normal numbers, by the integral of its distribution."""
    x = np.linspace(-8, 8, 200_001)
    density = np.exp(-(x**2) / 2) / sqrt(2 * np.pi)
    upto = np.cumsum(density) * (x[1] - x[0])
    return float(np.sum(x * n * density * upto ** (n - 1)) * (x[1] - x[0]))


@pytest.mark.parametrize("noise", [0.0, 1.0, 2.0])
def test_noise_in_the_proxy_takes_its_share_of_the_gain(noise: float) -> None:
    found = named(best_of_n_results(goodhart(noise)))
    spread = sqrt(1 + noise**2)
    for n in (2, 8, 32):
        for name, wanted in (("proxy", expected_maximum(n) * spread), ("gold", expected_maximum(n) / spread)):
            result = found[f"{name}_reward {n}"]
            # 60 prompts of 64 draws: five standard errors of a mean, with room.
            assert result.value == pytest.approx(wanted, abs=0.25 * spread)
            assert result.at["sqrt_kl_at_most"] == pytest.approx(sqrt(best_of_n_kl_bound(n)))
            assert "sqrt_kl" not in result.at
    gap, part = found["overoptimisation_gap"], found["regressional_gap"]
    assert gap.value == pytest.approx(expected_maximum(32) * (spread - 1 / spread), abs=0.3 * spread)
    assert gap.value == pytest.approx((part.value or 0.0) + (found["unforeseen_gap"].value or 0.0))
    if noise:
        assert part.value == pytest.approx(gap.value, rel=0.1)
        assert (ends := found["unforeseen_gap"].interval) is not None
        # Four standard errors: noise is all that there is.
        assert abs(found["unforeseen_gap"].value or 0.0) < ends.high - ends.low
    else:
        assert gap.value == part.value == 0


def test_heavy_tails_of_the_proxy_leave_gold_where_it_is() -> None:
    chance = np.random.default_rng(6)
    gold, noise = chance.normal(size=(80, 128)), chance.standard_cauchy(size=(80, 128))
    rows = [zip(g + e, g, strict=True) for g, e in zip(gold, noise, strict=True)]
    found = named(best_of_n_results([[Scored(p, g) for p, g in row] for row in rows]))
    value = {n: found[f"gold_reward {n}"].value or 0.0 for n in (1, 4, 64)}
    # With normal noise of the same middle half, gold of the best of 64 would be above 1.5.
    assert value[4] > 0.2
    assert value[64] < value[4] + 0.1
    assert (found["proxy_reward 64"].value or 0.0) > 20


def test_gold_that_goes_on_rising_has_no_turning_point() -> None:
    found = named(best_of_n_results(goodhart(1.0)))
    point = found["overoptimisation_point"]
    assert (point.value, point.interval) == (None, None)
    assert "gold has not turned" in point.why_none
    assert found["gold_lost"].value == 0


def test_gold_that_turns_is_found_to_turn() -> None:
    draws = goodhart(1.0, fall=0.3)
    found = named(best_of_n_results(draws))
    point, lost = found["overoptimisation_point"], found["gold_lost"]
    means = {n: found[f"gold_reward {n}"].value or 0.0 for n in (1, 2, 4, 8, 16, 32)}
    best = max(means, key=means.__getitem__)
    assert 1 < best < 32
    assert point.value == pytest.approx(sqrt(best_of_n_kl_bound(best)), abs=0.25)
    assert point.interval is not None
    assert 0 < point.interval.low < point.interval.high < sqrt(best_of_n_kl_bound(32))
    assert lost.value == pytest.approx(means[best] - means[32])
    assert lost.interval is not None
    assert lost.interval.low > 0
    assert found["unforeseen_gap"].interval is not None
    assert found["unforeseen_gap"].interval.low > 0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "kind", ["gold is the same", "gold is the proxy", "gold is a line of it", "proxy is the same"]
)
def test_what_is_nothing_is_zero_to_the_last_bit(kind: str, seed: int) -> None:
    draws = [
        [
            Scored(0.4, 0.3 * one)
            if kind == "proxy is the same"
            else Scored(one, {"gold is the same": 0.3, "gold is the proxy": one}.get(kind, 0.7 * one + 0.3))
            for one in row
        ]
        for row in np.random.default_rng(seed).normal(size=(20, 16)).tolist()
    ]
    found = named(best_of_n_results(draws))
    zero = {
        "gold is the same": ("gold_lost", "unforeseen_gap"),
        "gold is the proxy": ("gold_lost", "unforeseen_gap", "regressional_gap", "overoptimisation_gap"),
        "gold is a line of it": ("gold_lost", "unforeseen_gap"),
        "proxy is the same": ("gold_lost", "overoptimisation_gap"),
    }[kind]
    assert {name: (found[name].value, found[name].interval) for name in zero} == dict.fromkeys(
        zero, (0.0, None)
    )


def test_gold_that_stays_the_same_has_no_turning_point() -> None:
    draws = [[Scored(float(place), 0.3) for place in range(16)]] * 20
    point = named(best_of_n_results(draws))["overoptimisation_point"]
    assert (point.value, point.interval) == (None, None)
    assert "gold is the same at every point" in point.why_none


def test_intervals_of_losses_and_turning_points_stay_on_their_scale() -> None:
    chance = np.random.default_rng(3)
    for _ in range(4):
        rows = chance.normal(size=(12, 8, 2)).tolist()
        found = named(best_of_n_results([[Scored(*one) for one in row] for row in rows]))
        for name, most in (("gold_lost", inf), ("overoptimisation_point", sqrt(best_of_n_kl_bound(4)))):
            if (ends := found[name].interval) is not None:
                assert 0 <= ends.low <= (found[name].value or 0.0) <= ends.high <= most
        assert found["gold_lost"].interval is not None


def test_gold_that_falls_from_the_start_turns_at_the_base() -> None:
    draws = [[Scored(float(place), -float(place)) for place in range(16)]] * 20
    found = named(best_of_n_results(draws))
    assert found["overoptimisation_point"].value == 0
    assert found["overoptimisation_gap"].value == pytest.approx(2 * (expected_rank(16, 8) - 7.5))


def expected_rank(count: int, n: int) -> float:
    """Of the best of n of 0, ..., count - 1, without replacement."""
    return n * (count + 1) / (n + 1) - 1


def test_the_scales_that_results_speak_of() -> None:
    found = best_of_n_results(goodhart(1.0, prompts=10))
    assert all(one.challenge is Challenge.GAMING and one.unit == "prompts" for one in found)
    better = {one.name: one.higher_is_better for one in found}
    assert better == {
        "proxy_reward": None,
        "gold_reward": True,
        "overoptimisation_point": True,
        "overoptimisation_gap": False,
        "gold_lost": False,
        "kl_estimate": None,
        "regressional_gap": False,
        "unforeseen_gap": False,
    }


def test_a_kl_that_is_known_is_taken_and_said() -> None:
    draws = goodhart(1.0, prompts=8, draws=8)
    bound = best_of_n_results(draws, ns=[2, 4])
    exact = best_of_n_results(draws, ns=[4, 2], kl={2: 0.09, 4: 0.36})
    assert "bound" in bound[0].how
    assert "exact" in exact[0].how
    assert [one.at["sqrt_kl"] for one in exact[::2][:3]] == pytest.approx([0, 0.3, 0.6])
    assert [one.value for one in exact[:6]] == [one.value for one in bound[:6]]
    with pytest.raises(InputError, match="the best of some n is not given; found n of 4: None"):
        best_of_n_results(draws, ns=[2, 4], kl={2: 0.09})


def test_beside_the_bound_stands_what_the_draws_tell_of_the_kl() -> None:
    apart = named(best_of_n_results(goodhart(1.0, prompts=8)))
    for n in (2, 8, 32):
        value, bound = apart[f"kl_estimate {n}"].value, best_of_n_kl_bound(n)
        assert value is not None
        assert bound - 0.011 < value <= bound  # the most is what 64 draws cannot show
        assert "an estimate" in apart[f"kl_estimate {n}"].how
    assert "kl_estimate 1" not in apart
    # Two replies, of which one comes nine times in ten: the bound is far above what is so.
    chance = np.random.default_rng(1)
    rows = [[Scored(float(one), 0.5) for one in row] for row in chance.random(size=(60, 64)) < 0.9]
    found = named(best_of_n_results(rows))
    for n in (2, 4):
        true = best_of_n_kl([0.1, 0.9], [0.0, 1.0], n)
        assert found[f"kl_estimate {n}"].value == pytest.approx(true, rel=0.1)
        assert true < 0.5 * best_of_n_kl_bound(n)
    same = named(best_of_n_results([[Scored(1.0, float(place)) for place in range(8)]] * 4))
    assert same["kl_estimate 4"].value == 0
    exact = best_of_n_results(goodhart(1.0, prompts=8, draws=8), ns=[2], kl={2: 0.1})
    assert not any(one.name == "kl_estimate" for one in exact)


def test_prompts_with_too_few_scored_draws_are_failures() -> None:
    draws: list[list[Scored | None]] = [[*row] for row in goodhart(1.0, prompts=9, draws=8)]
    draws[3][:6] = [None] * 6
    found = best_of_n_results(draws)
    assert {one.at["n"] for one in found if "n" in one.at} == {1, 2, 4}
    assert all((one.n, one.failures) == (8, 1) for one in found if one.value is not None)
    rest = best_of_n_results([row for place, row in enumerate(draws) if place != 3])
    assert [one.value for one in found] == [one.value for one in rest]
    for one in best_of_n_results([[None] * 8] * 2):
        assert (one.value, one.n, one.failures) == (None, 0, 2)
        assert one.why_none


def test_a_proxy_that_tells_nothing_apart() -> None:
    found = named(best_of_n_results([[Scored(1.0, float(place)) for place in range(8)]] * 4))
    assert found["gold_reward 4"].value == 3.5
    assert found["regressional_gap"].value is None
    assert "all draws to a prompt equal" in found["regressional_gap"].why_none


# --- courses ----------------------------------------------------------------------------------------------


def course(gold: OverFit, *, prompts: int = 30) -> list[TrainedPoint]:
    points: list[TrainedPoint] = []
    for d in (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0):
        replies = [Scored(place + d, place + gold.at(d)) for place in range(prompts)]
        points.append(TrainedPoint(d * d, replies))
    return points


def test_a_policy_in_training_turns_where_its_curve_does() -> None:
    curve = OverFit(form="reinforcement learning", a=1, b=0.3)
    points = course(curve)
    found = course_results(points[::-1])
    table = {one.name: one for one in found if one.name not in ("proxy_reward", "gold_reward")}
    assert table["overoptimisation_point"].value == pytest.approx(10.312259, abs=1e-5)
    assert table["gold_lost"].value == pytest.approx(curve.at(8.0) - curve.at(16.0))
    assert table["overoptimisation_gap"].value == pytest.approx(16.0 - curve.at(16.0))
    assert [one.at["sqrt_kl"] for one in found[:4]] == pytest.approx([0, 0, 0.5, 0.5])
    assert "measured" in found[0].how


def test_the_gap_is_that_of_the_point_where_it_is_widest() -> None:
    """Proxy 0, 2, 1 and gold 0, -1, 0 on the way: 3 apart in the middle, 1 at the end."""

    def gap(*both: tuple[float, float]) -> float | None:
        points = [
            TrainedPoint(float(kl), [Scored(place + p, 7 + place + g) for place in range(4)])
            for kl, (p, g) in enumerate(both)
        ]
        (found,) = [one for one in course_results(points) if one.name == "overoptimisation_gap"]
        assert "at the point where that is most" in found.how
        return found.value

    assert gap((0, 0), (2, -1), (1, 0)) == 3
    assert gap((0, 0), (1, 0), (2, -1)) == 3
    assert gap((0, 0), (1, 2), (2, 3)) == 0, "gold gains more throughout: widest at the base"
    rows = [[Scored(float(place), abs(place - 3.5) * 2) for place in range(8)] for _ in range(6)]
    found = named(best_of_n_results(rows, ns=[2, 8]))
    gained = [[found[f"{name}_reward {n}"].value or 0.0 for n in (1, 2, 8)] for name in ("proxy", "gold")]
    gaps = [p - gained[0][0] - g + gained[1][0] for p, g in zip(*gained, strict=True)]
    whole = found["overoptimisation_gap"].value
    assert whole == pytest.approx(max(gaps))
    assert max(gaps) > gaps[-1] + 0.5
    parts = [found[name].value or 0.0 for name in ("regressional_gap", "unforeseen_gap")]
    assert sum(parts) == pytest.approx(whole)


def test_prompts_that_lack_a_point_are_failures() -> None:
    points = course(OverFit(form="reinforcement learning", a=1, b=0.3))
    broken = [*points[:-1], TrainedPoint(points[-1].kl, [None, *points[-1].replies[1:]])]
    assert all((one.n, one.failures) == (29, 1) for one in course_results(broken))
    few = {one.name: one for one in course_results(points[:2])}
    assert "3 points or more" in few["overoptimisation_point"].why_none


def test_courses_that_are_refused() -> None:
    points = course(OverFit(form="reinforcement learning", a=1, b=0.3))
    for wrong in (
        [],
        points[1:],
        [*points, points[-1]],
        [*points, TrainedPoint(float("nan"), points[0].replies)],
    ):
        with pytest.raises(InputError, match="no course away from a base"):
            course_results(wrong)
    with pytest.raises(InputError, match=r"different prompts; found 30 at KL 0, 1 at KL 0.25"):
        course_results([points[0], TrainedPoint(0.25, points[1].replies[:1])])


# --- picks ------------------------------------------------------------------------------------------------


def test_picks_are_followed_and_one_that_is_missing_is_a_failure() -> None:
    rows = [
        [Scored(0.0, 0.5), Scored(1.0, 0.9), Scored(2.0, 0.6)],
        [Scored(1.0, 0.5), Scored(1.0, 0.5), Scored(3.0, 0.2)],
        [Scored(1.0, 0.5), None, Scored(3.0, 0.2)],
    ]
    found = named(picks_results(rows, ns=[1, 2, 4]))
    assert [found[f"gold_reward {n}"].value for n in (1, 2, 4)] == pytest.approx([0.5, 0.7, 0.4])
    assert [found[f"proxy_reward {n}"].value for n in (1, 2, 4)] == pytest.approx([0.5, 1.0, 2.5])
    assert found["gold_lost"].value == pytest.approx(0.3)
    assert (found["gold_reward 4"].n, found["gold_reward 4"].failures) == (2, 1)
    assert found["gold_reward 4"].at["sqrt_kl_at_most"] == pytest.approx(sqrt(best_of_n_kl_bound(4)))
    turn = found["overoptimisation_point"].value
    assert turn is not None
    assert 0 < turn < sqrt(best_of_n_kl_bound(4))
    assert "overoptimisation_gap" not in found
    others = {one.reading for name, one in found.items() if not name.startswith("proxy")}
    assert others == {"preference to a plain draw"}


@pytest.mark.parametrize("ns", [[], [2, 4], [1, 1], [4, 1], [1, 2, 4]])
def test_picks_of_no_curve_are_refused(ns: list[int]) -> None:
    with pytest.raises(InputError, match="these are no picks of a curve"):
        picks_results([[Scored(0.0, 0.5), Scored(1.0, 0.9)]], ns=ns)
