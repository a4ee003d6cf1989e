"""Several at once: intervals that hold together, groups, and plans that come true."""

from math import sqrt

import numpy as np
import pytest

from concord.errors import InputError
from concord.eval.reckoning import resampling
from concord.eval.reckoning.comparing import (
    DETECTABLE,
    Standings,
    detectable,
    found_from,
    simultaneous,
    spread,
)
from concord.eval.reckoning.statistics import difference_result, mean_result
from concord.types import Result
from tests.eval.reckoning.chance import bound, clustered, crossed, draws


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer resamples, for tests that reckon hundreds of intervals."""
    monkeypatch.setattr(resampling, "RESAMPLES", 500)


def ends(result: Result) -> tuple[float, float]:
    assert result.interval is not None
    return result.interval.low, result.interval.high


def scored(
    means: dict[str, float], seed: int = 0, *, noise: float = 0.3
) -> tuple[dict[str, list[float]], list[int]]:
    """Scores on 50 prompts, four of a template, which are hard or easy for all."""
    chance = np.random.default_rng(seed)
    shared, labels = chance.normal(size=50), [place // 4 for place in range(50)]
    return {
        name: (shared + mean + noise * chance.normal(size=50)).tolist() for name, mean in means.items()
    }, labels


# --- against the best -------------------------------------------------------------------------------------


def test_who_is_clearly_apart_is_told_apart() -> None:
    scores, labels = scored({"base": 0, "sft": 1, "dpo": 2.0, "kto": 2.02})
    found = simultaneous(scores, clusters=(labels,))
    assert found.groups == (("kto", "dpo"), ("sft",), ("base",))
    assert not found.apart("dpo", "kto")
    assert found.apart("base", "sft")
    assert ("sft", "base") in found.told_apart
    assert len(found.told_apart) == 5
    assert list(found.differences)[2:] == ["sft", "base"]
    second = found.differences["sft"]
    assert ends(second)[1] < 0
    assert (second.name, second.n, second.at) == ("difference_to_best", 50, {"of": "sft"})
    first = found.differences[next(iter(found.differences))]
    assert ends(first)[0] < 0 < ends(first)[1]


def test_values_are_differences_to_the_best_of_the_others() -> None:
    scores, labels = scored({"a": 0, "b": 1, "c": 3})
    found = simultaneous(scores, clusters=(labels,)).differences
    means = {name: float(np.mean(values)) for name, values in scores.items()}
    assert found["c"].value == pytest.approx(means["c"] - means["b"])
    assert found["b"].value == pytest.approx(means["b"] - means["c"])
    assert found["a"].value == pytest.approx(means["a"] - means["c"])


def test_two_are_compared_as_a_pair() -> None:
    scores, labels = scored({"a": 0, "b": 0.1})
    pair = difference_result("x", scores["a"], scores["b"], clusters=(labels,))
    found = simultaneous(scores, clusters=(labels,)).differences
    assert ends(found["a"]) == pytest.approx(ends(pair), abs=0.01)
    assert ends(found["b"]) == pytest.approx(tuple(-end for end in reversed(ends(pair))), abs=0.01)


def test_more_to_compare_with_makes_intervals_wider() -> None:
    scores, labels = scored({"a": 2, "b": 0, **{f"c{place}": -20 for place in range(6)}})
    two = simultaneous({name: scores[name] for name in "ab"}, clusters=(labels,)).differences["b"]
    all_ = simultaneous(scores, clusters=(labels,)).differences["b"]
    assert 1.2 * (ends(two)[1] - ends(two)[0]) < ends(all_)[1] - ends(all_)[0]


def test_lower_can_be_better() -> None:
    scores, labels = scored({"a": 0, "b": 1, "c": 3})
    found = simultaneous(
        scores, clusters=(labels,), higher_is_better=False, at={"split": "test"}, unit="prompts"
    )
    turned = simultaneous(
        {name: [-value for value in values] for name, values in scores.items()}, clusters=(labels,)
    )
    assert found.groups == turned.groups
    assert list(found.differences) == ["a", "b", "c"]
    assert found.differences["c"].value == pytest.approx(float(np.mean(scores["c"]) - np.mean(scores["a"])))
    low, high = ends(turned.differences["c"])
    assert ends(found.differences["c"]) == pytest.approx((-high, -low))
    assert found.differences["c"].at == {"split": "test", "of": "c"}
    assert (found.differences["c"].unit, found.differences["c"].higher_is_better) == ("prompts", False)


def test_copies_are_one_group() -> None:
    scores, labels = scored({"a": 0})
    found = simultaneous({"a": scores["a"], "b": scores["a"], "c": scores["a"]}, clusters=(labels,))
    assert found.groups == (("a", "b", "c"),)
    assert {ends(result) for result in found.differences.values()} == {(0.0, 0.0)}
    worse = simultaneous({"a": scores["a"], "b": scores["a"]}, higher_is_better=False).differences["b"]
    assert "-" not in f"{worse.value} {ends(worse)}", "no zero is negative"
    rounded = {"a": [0.1 + 0.2] * 9, "b": [0.3] * 9}
    assert len(simultaneous(rounded).groups) == 1
    near = simultaneous({"a": scores["a"], "b": scores["a"], **scored({"c": -9}, 1)[0]}, clusters=(labels,))
    assert near.groups == (("a", "b"), ("c",))


def test_groups_overlap_where_the_middle_is_apart_from_neither() -> None:
    # Waves that have nothing in common: the half width is 0.15.
    waves = {
        mean: 0.42 * np.cos(2 * np.pi * turns * np.arange(48) / 48)
        for mean, turns in ((0.2, 1), (0.1, 2), (0, 3))
    }
    scores = {str(mean): (mean + wave).tolist() for mean, wave in waves.items()}
    found = simultaneous(scores)
    assert found.told_apart == (("0.2", "0"),)
    assert found.groups == (("0.2", "0.1"), ("0.1", "0"))


def test_a_difference_without_spread_is_believed_if_there_is_enough_of_it() -> None:
    for count, groups in ((4, 1), (8, 2)):
        found = simultaneous({"right": [1] * count, "wrong": [0] * count})
        assert len(found.groups) == groups


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("prompts", "seeds"), [(40, 10), (40, 5)])
def test_all_intervals_hold_at_once(prompts: int, seeds: int) -> None:
    # Five methods, two of them best: seeds are crossed with prompts, and matter.
    means, trials, held, false = np.array([0.0, -0.1, 0.3, 0.3, -1.0]), 120, 0, 0
    to_best = means - np.array([np.delete(means, place).max() for place in range(5)])
    experiments = draws(crossed(prompts, seeds, (0.3, 0.1)), 5 * trials, seed=2)
    for _ in range(trials):
        drawn = [next(experiments) for _ in means]
        scores = {str(place): (mean + drawn[place][0]).tolist() for place, mean in enumerate(means)}
        found = simultaneous(scores, clusters=drawn[0][1])
        ranges = [ends(found.differences[str(place)]) for place in range(5)]
        held += all(low <= truth <= high for (low, high), truth in zip(ranges, to_best, strict=True))
        false += found.apart("2", "3")
    assert held / trials >= 0.95 - bound(0.95, trials)
    assert false / trials <= 0.05 + bound(0.95, trials)


def test_a_place_without_a_score_is_left_out_for_all() -> None:
    found = simultaneous({"a": [1, 2, 3, None], "b": [0, None, 1, 5]})
    assert {(result.n, result.failures) for result in found.differences.values()} == {(2, 2)}
    assert found.differences["a"].value == 1.5
    none = simultaneous({"a": [1, None], "b": [None, 2]})
    assert none == Standings(differences=none.differences, told_apart=(), groups=(("a", "b"),))
    assert {result.why_none for result in none.differences.values()} == {"no place has a score of each"}
    empty = simultaneous({"a": [], "b": []}).differences["a"]
    assert empty.why_none == "there was nothing to measure"


def test_one_place_tells_nobody_apart() -> None:
    found = simultaneous({"a": [1.0], "b": [0.0]})
    assert found.groups == (("a", "b"),)
    assert found.differences["a"].interval is None
    assert found.differences["a"].how == "no interval: too few places, or clusters of them"


def test_one_alone_cannot_be_compared() -> None:
    with pytest.raises(
        InputError, match=r"nothing to compare with; found scores of 1; accepted: .* two or more"
    ):
        simultaneous({"a": [1, 2]})
    with pytest.raises(InputError, match="paired values differ in number; found 2 and 1"):
        simultaneous({"a": [1, 2], "b": [1]})


# --- before a run -----------------------------------------------------------------------------------------


def test_the_detectable_difference_in_closed_form() -> None:
    assert detectable(2, 1_000_000) == pytest.approx(2 * (1.959964 + 0.841621) / 1000, rel=1e-4)
    # Ten clusters of ten: design effect 1 + 9 icc, Student's t with nine degrees of freedom.
    expected = (2.262157 + 0.883404) * sqrt((1 + 9 * 0.2) / 100)
    assert detectable(1, 100, clusters=(10,), icc=(0.2,)) == pytest.approx(expected, rel=1e-5)
    # Crossed: 400 prompts and 5 seeds.
    expected = (2.776445 + 0.940965) * sqrt(0.3 / 400 + 0.1 / 5 + 0.6 / 2000)
    assert detectable(1, 2000, clusters=(400, 5), icc=(0.3, 0.1)) == pytest.approx(expected, rel=1e-5)
    assert detectable(0, 10) == 0
    assert detectable(1, 50, power=0.9) > detectable(1, 50) > detectable(1, 50, level=0.9)
    assert detectable(1, 50, power=0.5) == pytest.approx(2.009575 / sqrt(50), rel=1e-4)


@pytest.mark.usefixtures("quick")
def test_the_detectable_difference_is_found_as_often_as_was_planned() -> None:
    effect, found, trials = detectable(1, 150, clusters=(30,), icc=(0.3,)), 0, 300
    for values, clusters in draws(clustered(30, 5, 0.3), trials):
        found += ends(mean_result("x", (values + effect).tolist(), clusters=clusters))[0] > 0
    assert found / trials == pytest.approx(0.8, abs=bound(0.8, trials))


def test_a_pilot_shows_what_values_share() -> None:
    values, clusters = next(draws(clustered(2000, 4, 0.3), 1))
    sd, icc = spread((3 * values).tolist(), clusters=clusters)
    assert (sd, *icc) == pytest.approx((3, 0.3), rel=0.08)
    assert spread([1.0, None, 2.0, 3.0]) == (pytest.approx(1.0), ())
    assert spread([2.0, 2.0]) == (0.0, ())


def test_what_would_have_been_found_is_what_the_spread_and_the_clusters_of_the_values_allow() -> None:
    values, clusters = next(draws(clustered(60, 5, 0.3), 1))
    found = found_from("gain", values.tolist(), clusters=clusters, unit="pairs", how="ours less theirs")
    sd, icc = spread(values.tolist(), clusters=clusters)
    assert found.value == pytest.approx(detectable(sd, 300, clusters=(60,), icc=icc))
    assert (found.name, found.at, found.n, found.unit) == (DETECTABLE, {"of": "gain"}, 300, "pairs")
    low, high = ends(found)
    assert 0 < low < (found.value or 0.0) < high
    assert "80% of repetitions" in found.how
    assert found.how.endswith("; ours less theirs")
    alone = found_from("gain", [*values.tolist(), None])
    sd, _ = spread(values.tolist())
    assert alone.value == pytest.approx(detectable(sd, 300))
    assert (alone.n, alone.failures) == (300, 1)
    # One cluster that holds half of the values leaves as few as if there were hardly four.
    uneven = found_from("gain", values.tolist(), clusters=([max(0, place - 149) for place in range(300)],))
    assert (uneven.value or 0.0) > (found.value or 0.0)


def test_pairs_that_do_not_differ_or_are_too_few_show_no_spread() -> None:
    for gaps, labels, why in (
        ([0.1 + 0.2, 0.3, 0.3], None, "the same in each pair"),
        ([1.0], None, "too few pairs"),
        ([1.0, 2.0], ["a", "a"], "too few pairs"),
        ([None], None, "nothing to measure"),
        ([], None, "nothing to measure"),
    ):
        found = found_from("gain", gaps, clusters=() if labels is None else (labels,))
        assert found.value is None
        assert why in found.why_none


def test_pilots_are_right_on_average() -> None:
    found = [
        spread(values.tolist(), clusters=clusters)
        for values, clusters in draws(crossed(12, 9, (0.4, 0.2)), 300)
    ]
    variance = np.mean([sd**2 for sd, _ in found])
    shares = np.mean([np.multiply(sd**2, icc) for sd, icc in found], axis=0)
    assert variance == pytest.approx(1, abs=0.05)
    assert shares.tolist() == pytest.approx([0.4, 0.2], abs=0.05)


def test_prompts_of_a_template_share_what_the_template_has() -> None:
    values, (templates,) = next(draws(clustered(300, 8, 0.5), 1))
    prompts = [place // 2 for place in range(len(values))]
    _, icc = spread(values.tolist(), clusters=(prompts, templates))
    assert icc == pytest.approx((0, 0.5), abs=0.06)


def test_plans_that_no_run_fits_are_refused() -> None:
    for plan in (
        {"sd": -1, "n": 9},
        {"sd": 1, "n": 1},
        {"sd": float("nan"), "n": 9},
        {"sd": 1, "n": 9, "clusters": (3,)},
        {"sd": 1, "n": 9, "clusters": (1,), "icc": (0.1,)},
        {"sd": 1, "n": 9, "clusters": (3, 3), "icc": (0.6, 0.6)},
        {"sd": 1, "n": 9, "clusters": (3,), "icc": (-0.1,)},
    ):
        with pytest.raises(InputError, match=r"no run is like this; found sd .*; accepted: sd of 0 or more"):
            detectable(**plan)  # pyright: ignore[reportArgumentType]
    for power, level in ((0.4, 0.95), (1, 0.95), (0.8, 1)):
        with pytest.raises(InputError, match="there is no such power or level"):
            detectable(1, 9, power=power, level=level)
    with pytest.raises(InputError, match="the pilot shows no spread; found 2 values of 1 clusters"):
        spread([1, 2], clusters=(["a", "a"],))
    with pytest.raises(InputError, match="the pilot shows no spread"):
        spread([1])
