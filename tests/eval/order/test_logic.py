"""The logic of losses: the published table, counts by enumeration, order by entailment, the way back."""

from collections.abc import Mapping
from itertools import product
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import InputError
from concord.eval.order.logic import LOSSES, Structure, formula_of, minimal, model_count, structure_of

POINT = {"W": 0.6, "L": 0.3, "RW": 0.5, "RL": 0.2}
inside = st.floats(0.01, 0.99)
WORLDS = list(product((False, True), repeat=2))
formulas = st.frozensets(st.sampled_from(WORLDS))


@pytest.mark.parametrize(
    ("name", "above", "below", "rho", "loss"),
    [
        ("cross_entropy", 0.60, 0.40, 0.4055, 0.5108),
        ("unlikelihood", 0.42, 0.58, -0.3228, 0.8675),
        ("cpo", 0.60, 0.30, 0.6931, 0.4055),
        ("orpo", 0.42, 0.12, 1.2528, 0.2513),
        ("implication", 0.88, 0.12, 1.9924, 0.1278),
        ("dpo", 0.12, 0.15, -0.2231, 0.8109),
    ],
)
def test_the_table(name: str, above: float, below: float, rho: float, loss: float) -> None:
    one = LOSSES[name]
    given_point = [POINT[proposition] for proposition in one.names]
    assert model_count(one.numerator, given_point) == pytest.approx(above)
    assert model_count(one.denominator, given_point) == pytest.approx(below)
    assert one.log_ratio(POINT) == pytest.approx(rho, abs=5e-5)
    assert one.loss(POINT) == pytest.approx(loss, abs=5e-5)


def test_formulas_are_spelled_out() -> None:
    rules = {name: one.rule for name, one in LOSSES.items()}
    assert rules["cpo"] == "W follows from L"
    assert rules["orpo"] == "W not-L follows from not-W L"
    assert rules["dpo"] == "W RL follows from L RW"
    assert rules["cross_entropy"] == "W follows from not-W"
    assert rules["implication"] == "not-L or W follows from not-W L"
    assert minimal(frozenset(), ("W", "L")) == "never"
    assert minimal(frozenset(WORLDS), ("W", "L")) == "always"


@given(inside, inside, inside, inside)
def test_counts_are_the_polynomials(w: float, low: float, rw: float, rl: float) -> None:
    assert model_count(LOSSES["dpo"].numerator, (w, low, rw, rl)) == pytest.approx(w * rl, abs=1e-12)
    assert model_count(LOSSES["unlikelihood"].denominator, (w, low)) == pytest.approx(
        1 - w * (1 - low), abs=1e-12
    )


@given(formulas, formulas, inside, inside)
def test_the_way_back(
    above: frozenset[tuple[bool, ...]], below: frozenset[tuple[bool, ...]], w: float, low: float
) -> None:
    """From formulas to the polynomials that count them, and to the same formulas again."""
    one = Structure(names=("W", "L"), numerator=above, denominator=below)

    def counts(formula: frozenset[tuple[bool, ...]], p: Mapping[str, float]) -> float:
        return sum((p["W"] if a else 1 - p["W"]) * (p["L"] if b else 1 - p["L"]) for a, b in formula)

    again = structure_of(lambda p: counts(above, p), lambda p: counts(below, p), names=("W", "L"))
    assert again == one
    assert again.loss({"W": w, "L": low}) == one.loss({"W": w, "L": low})
    either = one.core | one.twice
    assert either & one.counted == one.numerator, "(P or P_A) and P_C = F_N"
    against = frozenset(WORLDS) - one.core
    assert (against | one.twice) & one.counted == one.denominator, "(not P or P_A) and P_C = F_D"


@given(inside, inside)
def test_entailment_orders_losses(w: float, low: float) -> None:
    loss = {name: one.loss({"W": w, "L": low}) for name, one in LOSSES.items() if len(one.names) == 2}
    for name in ("orpo", "cpo", "unlikelihood"):
        assert LOSSES[name].outweighs(LOSSES["implication"])
        assert loss[name] >= loss["implication"] - 1e-12
    for name in ("orpo", "cpo"):
        assert LOSSES["unlikelihood"].outweighs(LOSSES[name])
        assert loss["unlikelihood"] >= loss[name] - 1e-12


def test_orpo_and_cpo_cannot_be_compared() -> None:
    orpo, cpo = LOSSES["orpo"], LOSSES["cpo"]
    assert not orpo.outweighs(cpo)
    assert not cpo.outweighs(orpo)
    gaps = {
        orpo.loss(p) > cpo.loss(p) for p in ({"W": 0.1, "L": 0.3}, {"W": 0.9, "L": 0.3}, {"W": 0.3, "L": 0.9})
    }
    assert gaps == {True, False}


def test_one_proposition_makes_sixteen_structures() -> None:
    """Each of two worlds is on one side, the other, both or neither."""
    marks = product(((True, False), (False, True), (True, True), (False, False)), repeat=2)
    made = {
        Structure(
            names=("W",),
            numerator=frozenset((world,) for world, (n, _) in zip((False, True), mark, strict=True) if n),
            denominator=frozenset((world,) for world, (_, d) in zip((False, True), mark, strict=True) if d),
        )
        for mark in marks
    }
    assert len(made) == 4**2
    assert len({(one.core, one.counted, one.twice) for one in made}) == 16


def test_what_is_no_formula_is_refused() -> None:
    with pytest.raises(InputError, match="not multilinear"):
        structure_of(
            lambda p: p["W"] ** 2 * p["RL"], lambda p: p["L"] * p["RW"], names=("W", "L", "RW", "RL")
        )
    with pytest.raises(InputError, match=r"counts no worlds; found 2 at W = 1"):
        formula_of(lambda p: 2 * p["W"], ("W",))
    with pytest.raises(InputError, match="no probability; found 'L'"):
        LOSSES["cpo"].loss({"W": 0.5})
    with pytest.raises(InputError, match="not about the same propositions"):
        LOSSES["cpo"].outweighs(LOSSES["dpo"])


def test_what_cannot_be_is_infinitely_bad() -> None:
    assert LOSSES["cpo"].loss({"W": 0.0, "L": 0.5}) == inf
    assert LOSSES["cpo"].log_ratio({"W": 0.0, "L": 0.5}) == -inf
    assert LOSSES["cpo"].log_ratio({"W": 0.5, "L": 0.0}) == inf
