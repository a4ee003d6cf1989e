"""What objectives learn from: read from their records, for all of them."""

from functools import partial
from typing import Any

import pytest
from torch import Tensor

import concord.objectives as ob
from concord.catalogue import load
from concord.errors import RecipeError
from concord.objectives.contract import describe
from concord.tensors import PairValues, ReferencedPairs, ReferencedReplies, Replies
from concord.train.rows.wanted import Wanted, wanted

OFFLINE = {
    "imitation": {"demonstration", "dialogue"},
    "pairs": {"comparison"},
    "pairs without reference": {"comparison"},
    "single replies": {"judgement"},
    "rankings": {"rating", "ranking"},
    "distillation": {"demonstration", "dialogue"},
}
REWARDS: dict[str, set[str]] = {
    "bradley_terry": {"comparison"},
    "bradley_terry_scored": {"comparison"},
    "kwise_bradley_terry": {"rating", "ranking"},
    "listwise_top1": {"rating", "ranking"},
    "plackett_luce_reward": {"rating", "ranking"},
    "reward_hinge": {"comparison"},
    "reward_regression": {"rating"},
    "segment_preference": {"comparison", "segment_comparison"},
    "step_bce": {"steps"},
    "step_mse": {"steps"},
}
OBJECTIVES = [entry for entry in load() if entry.kind == "objective"]


def of(name: str) -> Wanted:
    return wanted(describe(getattr(ob, name)))


@pytest.mark.parametrize("entry", [e for e in OBJECTIVES if e.family in OFFLINE], ids=lambda e: e.name)
def test_a_family_learns_from_its_kind(entry: Any) -> None:
    kinds = {*OFFLINE[entry.family], "segment_comparison"} if entry.name == "cpl" else OFFLINE[entry.family]
    assert set(of(entry.name).kinds) == kinds


def test_reward_models_learn_from_what_they_are_fitted_to() -> None:
    assert {e.name for e in OBJECTIVES if e.family == "reward models"} == REWARDS.keys()
    assert {name: set(of(name).kinds) for name in REWARDS} == REWARDS


@pytest.mark.parametrize(
    "name", [e.name for e in OBJECTIVES if {"samples, advantages", "samples"} & set(e.needs)]
)
def test_samples_of_the_policy_are_no_data(name: str) -> None:
    with pytest.raises(RecipeError, match=rf"{name} learns from what the policy itself samples; found"):
        of(name)


def test_inputs_say_what_rows_must_know() -> None:
    known = {e.name: of(e.name) for e in OBJECTIVES if e.family in (*OFFLINE, "reward models")}
    assert {name: one.required for name, one in known.items() if one.required} == {
        "f_dpg": ("log_target", "old"),
        "grao": ("shown",),
        "modpo": ("margins",),
        "pro": ("shown",),
        "psi_po": ("psi",),
    }
    assert {name for name, one in known.items() if one.optional} == {"bradley_terry"}
    assert known["bradley_terry"].optional == ("strength",)
    assert {name: one.partly for name, one in known.items() if one.partly} == {
        "bradley_terry_scored": ("scores",)
    }
    assert {name for name, one in known.items() if one.standard} == {"reward_regression"}
    assert {name for name, one in known.items() if one.gaps} == {
        name for name, one in known.items() if "ranking" in one.kinds
    }
    assert {name: one.weights for name, one in known.items() if one.weights} == {"kto": (1.0, 1.0)}
    soft = {name for name, one in known.items() if one.soft}
    assert soft == {"bradley_terry", "cpl", "dpo", "segment_preference"}
    assert known["dpo"].by == "dpo"


def test_weights_are_those_that_were_asked_for() -> None:
    assert wanted(describe(partial(ob.kto, undesirable_weight=3))).weights == (1.0, 3.0)


def test_steps_of_few_rows_are_said_to_be_where_rows_are_looked_at_together() -> None:
    (said,) = wanted(describe(ob.aot), batch_size=4).advice
    assert said.startswith("a step of 4 is small for aot, which looks at all rows of a step together")
    assert not wanted(describe(ob.aot), batch_size=8).advice
    assert not wanted(describe(ob.aot)).advice
    assert not wanted(describe(ob.dpo), batch_size=1).advice


def test_an_objective_of_ones_own_is_read_the_same_way() -> None:
    def worth(replies: Replies, *, utility: Tensor) -> Tensor:
        return replies.logp * utility

    def close(pairs: ReferencedPairs, *, scores: PairValues | None = None) -> Tensor:
        return pairs.margin

    def plain(replies: ReferencedReplies) -> Tensor:
        return replies.ratio

    assert wanted(describe(worth)).kinds == ("rating",)
    assert wanted(describe(close)) == Wanted(kinds=("comparison",), optional=("scores",), by="close")
    assert wanted(describe(plain)).kinds == ("demonstration", "dialogue")
