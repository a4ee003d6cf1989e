"""YAML as people mean it, and messages that say where it is not."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import RecipeError
from concord.recipes.loading import load_yaml, scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-7", 5e-7),
        ("1E3", 1000.0),
        ("-2.5e+1", -25.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("64", 64),
        ("1_000", 1000),
        ("08", 8),
        ("-.inf", -math.inf),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("0x10", "0x10"),
        ("'5e-7'", "5e-7"),
        ("run:sft", "run:sft"),
        ("{run: sft}", {"run": "sft"}),
        ("[a, 1e-3]", ["a", 1e-3]),
    ],
)
def test_scalars_are_what_they_look_like(text: str, value: object) -> None:
    read = load_yaml(f"name: {text}", "recipe.yaml")["name"]
    assert (read, type(read)) == (value, type(value))
    assert scalar(text) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_that_python_writes_is_that_number(number: float) -> None:
    assert load_yaml(f"name: {number!r}", "x")["name"] == number


def test_a_key_that_stands_twice_is_named_with_both_lines() -> None:
    with pytest.raises(RecipeError, match=r"^r.yaml: the key beta stands twice; found lines 2 and 4;"):
        load_yaml("method: dpo\nbeta: 1\n# between\nbeta: 2\n", "r.yaml")
    with pytest.raises(RecipeError, match="the key a stands twice"):
        load_yaml("weights:\n  a: 1\n  a: 2\n", "r.yaml")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [1\n", r"^r.yaml, line 2, column 1: this is no YAML; found expected"),
        ("\ta: 1", r"^r.yaml, line 1, column 1: this is no YAML"),
        ("- a\n- b\n", "r.yaml: a recipe is no such thing; found a list"),
        ("just words", "r.yaml: a recipe is no such thing; found a str"),
        ("5: 1", "a key is no name; found 5 in line 1"),
        ("a: !!python/object/apply:os.getcwd []", "this is no YAML; found could not determine a constructor"),
        ("a: " + "[" * 5000, "this is no YAML"),
        ("a: " + "9" * 5000, "this is no YAML"),
        ("a: \x00", "this is no YAML"),
    ],
)
def test_what_is_no_recipe_is_said_in_a_sentence(text: str, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        load_yaml(text, "r.yaml")


def test_nothing_is_an_empty_recipe(tmp_path: Path) -> None:
    assert load_yaml("# only words\n", "r.yaml") == {}
