"""Opinions: distances between answers of a model and of people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import InputError
from concord.eval.conduct.opinions import jensen_shannon, opinion_results, ordinal_representativeness

weights = st.lists(st.integers(0, 9), min_size=4, max_size=4).filter(any)


def law(given_weights: list[int]) -> list[float]:
    return [one / sum(given_weights) for one in given_weights]


def test_worked_values() -> None:
    assert ordinal_representativeness((1, 0, 0, 0), (0, 0, 0, 1)) == 0
    assert ordinal_representativeness((0.25,) * 4, (1, 0, 0, 0)) == pytest.approx(0.5)
    assert jensen_shannon((0.5, 0.5), (1, 0)) == pytest.approx(0.311278, abs=1e-6)
    assert jensen_shannon((1, 0), (0, 1)) == 1


@given(weights, weights)
def test_distances(first: list[int], second: list[int]) -> None:
    one, other = law(first), law(second)
    assert ordinal_representativeness(one, one) == pytest.approx(1)
    assert jensen_shannon(one, one) == 0
    assert ordinal_representativeness(one, other) == pytest.approx(ordinal_representativeness(other, one))
    assert jensen_shannon(one, other) == pytest.approx(jensen_shannon(other, one))
    assert 0 <= jensen_shannon(one, other) <= 1
    assert ordinal_representativeness(one[::-1], other[::-1]) == pytest.approx(
        ordinal_representativeness(one, other)
    )


def test_results() -> None:
    people = [(1.0, 0.0), (0.5, 0.5), (0.0, 1.0)]
    (ordered,) = opinion_results([people[0], (1.0, 0.0), None], people, group="sailors", ordinal=True)
    assert (ordered.value, ordered.n, ordered.failures) == (0.75, 2, 1)
    assert ordered.at == {"group": "sailors"}
    (other,) = opinion_results([people[0], (1.0, 0.0), None], people, group="sailors", ordinal=False)
    assert other.value == pytest.approx(1 - 0.311278 / 2, abs=1e-6)
    assert "bits" in other.how


def test_what_is_no_distribution_is_refused() -> None:
    for bad in ((0.5, 0.2), (1.0,), (1.5, -0.5)):
        with pytest.raises(InputError, match="not two distributions"):
            jensen_shannon(bad, (0.5, 0.5))
