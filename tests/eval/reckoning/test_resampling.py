"""The numbers under the statistics, against reckoning by hand and by force."""

from itertools import product

import numpy as np
import pytest

from concord.eval.reckoning.resampling import Design, designed, errors, reach, redrawn


def of_cells(values: dict[tuple[int, ...], float]) -> tuple[float, float]:
    """The mean of values in crossed clusters, and its standard error."""
    design, numbers = Design(tuple(np.array(list(values)).T)), np.array(list(values.values()))
    off = (numbers - numbers.mean())[:, None]
    return float(numbers.mean()), float(errors(design, off, np.ones(len(numbers)))[0])


def test_effective_clusters_are_those_of_equal_size_that_weigh_as_much() -> None:
    design = designed((list("aaaabc"),), 6)
    assert design.counts == (3,)
    assert design.effective() == 36 / 18
    assert design.freedom() == 1
    assert design.effective(np.array([1, 0, 0, 0, 1, 1.0])) == 3
    assert designed((), 6).effective() == 6
    assert designed((list("aabbcc"), list("xyxyxy")), 6).effective() == 2


def test_the_error_is_that_of_leaving_each_cluster_out() -> None:
    chance, labels = np.random.default_rng(0), np.array([0, 0, 0, 1, 2, 2])
    above, below = chance.normal(size=6), chance.uniform(1, 2, 6)
    ratio = above.sum() / below.sum()
    left = [above[labels != out].sum() / below[labels != out].sum() for out in range(3)]
    found = errors(designed((labels.tolist(),), 6), (above - ratio * below)[:, None], below)
    assert found[0] ** 2 == pytest.approx(2 / 3 * sum((one - ratio) ** 2 for one in left))


def test_variances_of_crossed_factors_add_up_as_sizes_of_sets_do() -> None:
    rows, columns = [place // 3 for place in range(12)], [place % 3 for place in range(12)]
    values = np.add.outer([1.0, 5, -2, 3], [0.5, 2, -1]).ravel() + np.random.default_rng(1).normal(size=12)
    off = (values - values.mean())[:, None]
    parts = [
        errors(designed(clusters, 12), off, np.ones(12))[0] ** 2
        for clusters in ((rows,), (columns,), (), (rows, columns))
    ]
    assert parts[3] == pytest.approx(max(parts[0] + parts[1] - parts[2], parts[0], parts[1]))
    assert parts[3] > max(parts[0], parts[1])


@pytest.mark.parametrize("crossing", [1, 2, 3])
def test_resamples_by_force(crossing: int) -> None:
    # Nine clusters of each factor, a value for each combination but the last, drawn value by value.
    chance = np.random.default_rng(2)
    cells = list(product(range(9), repeat=crossing))[: 9**crossing - 1]
    values = dict(zip(cells, chance.exponential(size=len(cells)), strict=True))
    mean, error = of_cells(values)
    off = np.array(list(values.values()))[:, None] - mean
    design = Design(tuple(np.array(cells).T))
    times, how = reach(design, off, np.ones(len(cells)), np.array([error]), level=0.8, seed=0)
    assert how == f"symmetric bootstrap-t, 10,000 resamples of {design.words}"
    found: list[float] = []
    for _ in range(600):
        drawn = chance.integers(9, size=(crossing, 9))
        copies = {
            cell: values[copy]
            for cell in product(range(9), repeat=crossing)
            if (copy := tuple(int(drawn[factor, place]) for factor, place in enumerate(cell))) in values
        }
        again, error_again = of_cells(copies)
        found.append(abs(again - mean) / error_again)
    assert times == pytest.approx(np.quantile(found, 0.8), rel=0.08)


def test_crossed_factors_too_many_to_lay_out_get_students_t(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("concord.eval.reckoning.resampling._LARGEST", 99)
    rows, columns = np.divmod(np.arange(100), 10)
    off, size, design = np.random.default_rng(4).normal(size=(100, 1)), np.ones(100), Design((rows, columns))
    off -= off.mean()
    times, how = reach(design, off, size, errors(design, off, size), level=0.95, seed=0)
    assert (times.item(), how) == (pytest.approx(2.262157), "Student's t over 10 x 10 clusters")


def test_the_largest_of_several_reaches_further() -> None:
    off = np.random.default_rng(3).normal(size=(40, 10))
    off -= off.mean(axis=0)
    design, size = designed((), 40), np.ones(40)
    error = errors(design, off, size)
    ten, _ = reach(design, off, size, error, level=0.95, seed=0)
    one, _ = reach(design, off[:, :1], size, error[:1], level=0.95, seed=0)
    # Of ten independent normal quantities, the largest stays within 2.80 in 95 of 100.

    assert 1.9 < one[0] < 2.2
    assert all(2.6 < each < 3.4 for each in ten)
    assert 2.8 < ten.mean() < 3.2
    few = designed(([place % 4 for place in range(40)],), 40)
    reached, how = reach(few, off, size, errors(few, off, size), level=0.95, seed=0)
    assert how == "Student's t over 4 clusters"
    assert reached.min() > 5.8  # of a t with three degrees of freedom, at 0.95 to the tenth root


def test_a_column_with_a_heavy_tail_does_not_widen_the_others() -> None:
    chance = np.random.default_rng(5)
    plain, rare = chance.normal(size=60), (chance.random(60) < 0.1) * 1.0
    off = np.stack([plain, rare], axis=1)
    off -= off.mean(axis=0)
    design, size = designed((), 60), np.ones(60)
    both, _ = reach(design, off, size, errors(design, off, size), level=0.95, seed=0)
    twice = np.stack([plain, chance.normal(size=60)], axis=1)
    twice -= twice.mean(axis=0)
    like, _ = reach(design, twice, size, errors(design, twice, size), level=0.95, seed=0)
    assert both[0] == pytest.approx(like[0], rel=0.1)
    assert both[1] > 1.2 * both[0]


def test_values_that_are_nearly_all_equal_get_students_t() -> None:
    values = np.zeros(60)
    values[:2] = 1
    design, off = designed((), 60), (values - values.mean())[:, None]
    times, how = reach(design, off, np.ones(60), errors(design, off, np.ones(60)), level=0.95, seed=0)
    assert how == "Student's t over 60 independent values"
    assert times == pytest.approx(2.000995, abs=1e-3)


def test_rows_of_a_cluster_are_drawn_together() -> None:
    design = designed((list("aabbbc"), list("xyxyzz")), 6)
    for places in redrawn(design, (0,), 50, seed=1):
        assert all(places.count(0) == places.count(1) for _ in places)
        assert places.count(2) == places.count(4)
    assert list(redrawn(design, (1,), 5, seed=1)) == list(redrawn(design, (1,), 5, seed=1))
    assert max(len(places) for places in redrawn(design, (0, 1), 5, seed=1)) == 6
