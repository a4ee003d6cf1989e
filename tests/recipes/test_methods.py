"""The recipe files: one a method that can be trained on data, each complete, and true to the catalogue."""

import math
import re
import shlex
from typing import Any

import pytest

from concord.catalogue import find, load
from concord.errors import RecipeError
from concord.recipes import offline_methods, read_recipe, recipe_file
from concord.recipes.flags import read_flags
from concord.recipes.loading import load_yaml
from concord.recipes.methods import wants_of
from concord.recipes.schema import setting_names

FAMILIES = {
    "distillation",
    "imitation",
    "pairs",
    "pairs without reference",
    "rankings",
    "reward models",
    "single replies",
}
APART = {"f_dpg", "mah_dpo"}
"""What learns from the policy's own samples only, and what has a head for each dimension."""


def shown(method: str) -> dict[str, Any]:
    """The settings of the command that stands at the head of a recipe file."""
    (line,) = re.findall(r"^#   concord train (.+)$", recipe_file(method).read_text("utf-8"), re.MULTILINE)
    (named, *rest), settings = read_flags(shlex.split(line), {})
    assert (named, rest) == (method, [])
    return {"method": named, **settings}


def test_every_method_that_needs_no_samples_has_a_file() -> None:
    known = {e.name for e in load() if e.kind in ("objective", "method") and e.family in FAMILIES}
    assert set(offline_methods()) == known - APART


@pytest.mark.parametrize("method", offline_methods())
def test_a_recipe_file_is_a_recipe_but_for_model_and_data(method: str) -> None:
    text = recipe_file(method).read_text("utf-8")
    file, entry, asked = load_yaml(text, method), find(method), shown(method)
    assert len(text.splitlines()) in range(12, 26)
    assert text.isascii()
    assert text.startswith(f"# {entry.summary}\n")
    recipe = read_recipe(asked)
    assert recipe.method == file["method"] == method
    assert {name: recipe.resolved[name] for name in file} == file
    assert recipe.needs == set(entry.needs)
    # What the command must give, and no more: each name is one that its lack makes an error of.
    for name in asked.keys() - {"method"}:
        with pytest.raises(RecipeError, match=f"{method} needs the (setting|knob) {name}; found nothing"):
            read_recipe({key: value for key, value in asked.items() if key != name})


@pytest.mark.parametrize("method", offline_methods())
def test_knobs_are_the_catalogues_and_so_are_their_defaults(method: str) -> None:
    entry, file = find(method), load_yaml(recipe_file(method).read_text("utf-8"), method)
    knobs = {name.rpartition(".")[2]: knob for name, knob in entry.knobs.items()}
    assert len(knobs) == len(entry.knobs)
    assert file.keys() - setting_names().keys() == {n for n, knob in knobs.items() if not knob.required}
    recipe = read_recipe(shown(method))
    assert recipe.objective_knobs.keys() == knobs.keys()
    assert all(recipe.objective_knobs[n] == knob.default for n, knob in knobs.items() if not knob.required)


@pytest.mark.parametrize("method", offline_methods())
def test_a_number_that_makes_no_sense_is_refused_for_every_knob(method: str) -> None:
    for name, knob in wants_of(method).knobs.items():
        if knob.type not in ("float", "int"):
            continue
        assert isinstance(knob.default, float | int)
        assert knob.range, f"say in objectives.contract.RANGES what {name} may be"
        assert knob.allows(knob.default)
        ends = [float(end) for end in knob.range[1:-1].split(", ")]
        beyond = [ends[0] - 1, ends[1] + 1] if math.inf not in ends else [ends[0] - 1]
        for value in (*beyond, math.nan, 10**400, -(10**400), *(end for end in ends if not knob.allows(end))):
            with pytest.raises(RecipeError, match=f"the knob {name} of {method} is not right; found .*"):
                read_recipe({**shown(method), name: value})


@pytest.mark.parametrize("method", offline_methods())
def test_what_is_resolved_can_be_read_again(method: str) -> None:
    recipe = read_recipe(shown(method))
    again = read_recipe(recipe.resolved)
    assert again.resolved == recipe.resolved
    assert again.terms == recipe.terms


def test_no_knob_has_the_name_of_a_setting() -> None:
    for method in offline_methods():
        assert setting_names().keys().isdisjoint(wants_of(method).knobs)


def test_terms_carry_weights_knobs_and_reductions() -> None:
    (dpo,) = read_recipe({**shown("dpo"), "beta": 0.3}).terms
    assert (dpo.objective, dpo.reduction, dpo.weight, dpo.on) == ("dpo", "row_mean", 1.0, "data")
    assert dpo.knobs == {"beta": 0.3}
    (sft,) = read_recipe({**shown("sft"), "reduction": "sequence_mean"}).terms
    assert sft.reduction == "sequence_mean"
    parts = read_recipe({**shown("dckd"), "weights": {"chosen_logits": 2, "rejected_logits": 0}}).terms
    assert [(part.on, part.weight) for part in parts] == [("chosen", 1.0), ("chosen_logits", 2.0)]


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ("dppo", "there is no method of this name; found 'dppo'; .*did you mean 'dpo'"),
        ("grpo", "grpo learns from samples of its own, and not from data alone"),
        ("token_mean", "token_mean is no method by itself but a reduction"),
        ("a:b:c", "this names no function"),
        ("my-losses:square", "this names no function"),
    ],
)
def test_what_cannot_be_trained_on_data_is_refused(method: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        wants_of(method)


def test_names_of_methods_are_found_as_papers_write_them() -> None:
    assert wants_of("SLiC-HF").name == "slic_hf"
    assert recipe_file("SimPO").name == "simpo.yaml"
