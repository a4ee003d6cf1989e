"""Settings as flags: which words belong to which, and what they are."""

from typing import Any

import pytest

from concord.errors import RecipeError
from concord.recipes import offline_methods
from concord.recipes.flags import described, read_flags
from concord.recipes.methods import wants_of
from concord.recipes.schema import SECTIONS, setting_names

OTHERS = {"--recipe": 1, "--dry-run": 0}


@pytest.mark.parametrize(
    ("line", "left", "settings"),
    [
        ("dpo --beta 0.5", ["dpo"], {"beta": 0.5}),
        ("--learning-rate=5e-7 dpo", ["dpo"], {"learning_rate": 5e-7}),
        (
            "dpo --data a.jsonl b.jsonl --data c --seed 3",
            ["dpo"],
            {"data": ["a.jsonl", "b.jsonl", "c"], "seed": 3},
        ),
        ("dpo --plain --no-compile", ["dpo"], {"plain": True, "compile": False}),
        ("--plain dpo", ["dpo"], {"plain": True}),
        ("--plain false dpo", ["dpo"], {"plain": False}),
        ("grao --no-include-shown --lam 1", ["grao"], {"include_shown": False, "lam": 1}),
        ("grao --include-shown --lam 1", ["grao"], {"include_shown": True, "lam": 1}),
        ("x --log-epsilon -10 --wild -.inf", ["x"], {"log_epsilon": -10, "wild": float("-inf")}),
        ("dpo --name 7 --model 3", ["dpo"], {"name": "7", "model": "3"}),
        ("dpo --reference 3 --teacher=4", ["dpo"], {"reference": "3", "teacher": "4"}),
        ("dpo --template-args a=true b=x=y", ["dpo"], {"template_args": {"a": True, "b": "x=y"}}),
        ("dpo --weights pretrain=0", ["dpo"], {"weights": {"pretrain": 0}}),
        ("dpo --recipe r.yaml --dry-run", ["dpo", "--recipe", "r.yaml", "--dry-run"], {}),
        ("--recipe=r.yaml -h", ["--recipe=r.yaml", "-h"], {}),
        ("dpo --train lora -- --model x", ["dpo", "--model", "x"], {"train": "lora"}),
        ("dpo --map prompt=a", ["dpo"], {"map": "prompt=a"}),
    ],
)
def test_words_become_settings(line: str, left: list[str], settings: dict[str, Any]) -> None:
    assert read_flags(line.split(), OTHERS) == (left, settings)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--beta 1 --beta 2", "--beta is given twice; found '2'"),
        ("--seed", "--seed has no value; found nothing; accepted: --seed N"),
        ("--data --seed 1", "--data has no value; found nothing; accepted: --data NAME"),
        ("--template-args a", "--template-args has a value without a name; found 'a'"),
    ],
)
def test_what_is_no_flag_is_said(line: str, told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_flags(line.split(), OTHERS)
    assert told in str(caught.value)


def test_a_mapping_may_be_written_whole() -> None:
    assert read_flags(["--weights", "{pretrain: 0.5}"], {}) == ([], {"weights": {"pretrain": 0.5}})


def test_help_has_every_setting_once_under_a_heading() -> None:
    listed = [row.name for rows in described().values() for row in rows]
    assert [*described()] == [*SECTIONS]
    assert sorted(listed) == sorted(setting_names().keys() - {"method"})
    assert len(described()[SECTIONS[0]]) <= 11


@pytest.mark.parametrize("method", ["dpo", "sft", "slic_hf", "adpa"])
def test_help_of_a_method_has_its_knobs_and_defaults_and_only_what_it_reads(method: str) -> None:
    shown = {row.name: row for rows in described(method).values() for row in rows}
    wants = wants_of(method)
    assert wants.knobs.keys() <= shown.keys()
    assert ("reference" in shown) == ("reference_mixup" in shown) == ("reference" in wants.needs)
    assert ("teacher_ref" in shown) == ("teacher_ref" in wants.inputs)
    assert ("reduction" in shown) == (method == "sft")
    assert ("weights" in shown) == (method == "adpa")


def test_help_shows_the_defaults_that_hold() -> None:
    shown = {row.name: row for rows in described("dpo").values() for row in rows}
    assert (shown["beta"].flag, shown["beta"].default) == ("--beta X", "0.1")
    assert shown["learning_rate"].default == "5e-7; of an adapter 5e-6"
    assert (shown["train"].flag, shown["train"].default) == ("--train auto|full|lora", "auto")
    assert (shown["plain"].flag, shown["plain"].default) == ("--plain", "")
    assert all(described(method) for method in offline_methods())
