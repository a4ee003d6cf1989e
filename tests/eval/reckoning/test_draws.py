"""Several draws: best of n against enumeration, success in k against all ways to take k."""

import json
from itertools import combinations, product
from math import comb, log
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import InputError
from concord.eval.reckoning.draws import (
    best_of_n_kl,
    best_of_n_kl_bound,
    best_of_n_law,
    best_of_n_mean,
    best_of_n_weights,
    success_in,
)
from tests.conftest import ROOT

VECTORS = json.loads((ROOT / "tests" / "objectives" / "vectors.json").read_text(encoding="utf-8"))
BANDIT = next(one for one in VECTORS["bandits"] if one["name"] == "best_of_n_distribution")

laws = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=4)
scores = st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 3)), min_size=1, max_size=6)


# --- best of n --------------------------------------------------------------------------------------------


@given(laws, st.integers(1, 3))
def test_the_law_is_that_of_all_draws(law: list[tuple[int, int]], n: int) -> None:
    total = sum(mass for mass, _ in law)
    p, reward = [mass / total for mass, _ in law], [float(one) for _, one in law]
    wanted = [0.0] * len(law)
    for drawn in product(range(len(law)), repeat=n):
        best = max(drawn, key=lambda one: reward[one])  # the first of equals
        wanted[best] += float(np.prod([p[one] for one in drawn]))
    found = best_of_n_law(p, reward, n)
    assert found == pytest.approx(wanted)
    kl = sum(q * log(q / base) for q, base in zip(wanted, p, strict=True) if q > 0)
    assert best_of_n_kl(p, reward, n) == pytest.approx(kl, abs=1e-12)
    assert kl <= best_of_n_kl_bound(n) + 1e-12


def test_worked_laws() -> None:
    inputs, n, wanted = BANDIT["inputs"], BANDIT["params"]["n"], BANDIT["expected"]
    assert best_of_n_law(inputs["pi_ref"], inputs["reward"], n) == pytest.approx(wanted["pi_bon"])
    assert best_of_n_kl(inputs["pi_ref"], inputs["reward"], n) == pytest.approx(wanted["kl"])
    assert best_of_n_kl_bound(n) == pytest.approx(wanted["kl_bound"])
    even = [0.25] * 4, [0.0, 1.0, 2.0, 3.0]
    assert best_of_n_law(*even, 2) == pytest.approx([one / 16 for one in (1, 3, 5, 7)])
    assert best_of_n_kl(*even, 2) == pytest.approx(0.173980, abs=1e-6)
    assert best_of_n_kl(*even, 4) == pytest.approx(0.590310, abs=1e-6)
    assert best_of_n_kl(*even, 1000) == pytest.approx(1.386294, abs=1e-6)
    uneven = [0.5, 0.3, 0.2]
    assert best_of_n_law(uneven, [0, 1, 2], 2) == pytest.approx([0.25, 0.39, 0.36])
    assert best_of_n_kl(uneven, [0, 1, 2], 2) == pytest.approx(0.140638, abs=1e-6)
    assert best_of_n_law(uneven, [0, 1, 1], 2) == pytest.approx([0.25, 0.45, 0.30])
    assert best_of_n_kl(uneven, [0, 1, 1], 2) == pytest.approx(0.130812, abs=1e-6)
    assert best_of_n_law(uneven, [0, 1, 2], 1) == pytest.approx(uneven)
    assert best_of_n_law([1.0, 0.0], [0.0, 1.0], 9) == (1.0, 0.0)


def test_worked_bounds() -> None:
    wanted = {1: 0, 2: 0.193147, 4: 0.636294, 8: 1.204442, 16: 1.835089, 64: 3.174508, 256: 4.549084}
    assert {n: best_of_n_kl_bound(n) for n in wanted} == pytest.approx(wanted, abs=1e-6)
    assert best_of_n_kl_bound(1000) == pytest.approx(5.908755, abs=1e-6)


@given(scores, st.integers(1, 6))
def test_the_estimate_is_the_mean_over_all_subsets(drawn: list[tuple[int, int]], n: int) -> None:
    proxy, gold = [float(one) for one, _ in drawn], [float(one) for _, one in drawn]
    if n > len(drawn):
        with pytest.raises(InputError, match=f"found {n}; accepted: n from 1 to {len(drawn)}"):
            best_of_n_mean(proxy, gold, n)
        return
    wanted = fmean(
        fmean(gold[one] for one in some if proxy[one] == max(proxy[other] for other in some))
        for some in combinations(range(len(drawn)), n)
    )
    assert best_of_n_mean(proxy, gold, n) == pytest.approx(wanted, abs=1e-9)


def test_worked_estimates() -> None:
    values = [1.0, 2.0, 3.0, 4.0, 10.0]
    assert [best_of_n_mean(values, values, n) for n in (1, 2, 3, 5)] == pytest.approx([4, 6, 7.5, 10])
    for count, n in ((5, 2), (12, 4), (30, 30)):
        wanted = [comb(i - 1, n - 1) / comb(count, n) for i in range(1, count + 1)]
        assert best_of_n_weights(count, n) == pytest.approx(wanted)
    assert best_of_n_weights(5000, 2500).sum() == pytest.approx(1)


# --- a success in k tries -------------------------------------------------------------------------------


def test_success_in_k_tries() -> None:
    assert success_in(2, tries=5, successes=2) == pytest.approx(0.7)
    assert success_in(1, tries=5, successes=2) == pytest.approx(0.4)
    assert success_in(5, tries=5, successes=1) == 1
    assert success_in(3, tries=5, successes=0) == 0


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.data())
def test_it_is_the_mean_over_all_ways_to_take_k(tries: list[bool], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(tries)))
    drawn = [any(some) for some in combinations(tries, k)]
    assert success_in(k, tries=len(tries), successes=sum(tries)) == pytest.approx(sum(drawn) / len(drawn))


def test_more_successes_than_tries_are_refused() -> None:
    for k, tries, successes in ((1, 2, 3), (3, 2, 1), (0, 2, 1)):
        with pytest.raises(InputError, match="success in k tries cannot be known"):
            success_in(k, tries=tries, successes=successes)
