"""`concord train`: help, flags and recipes on the way to the trainer, and TRL's files as recipes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from concord.cli import main
from concord.recipes import Recipe, offline_methods, read_recipe
from tests.conftest import LIGHT

NEEDED = ["--model", "some/model", "--data", "prefs.jsonl"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["train", *arguments])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Recipe, dict[str, Any]]]:
    """What the trainer is asked for, without training."""
    train = pytest.importorskip("concord.train", reason="training needs the extra `train`")
    calls: list[tuple[Recipe, dict[str, Any]]] = []
    monkeypatch.setattr(train, "train", lambda recipe, **how: calls.append((recipe, how)), raising=False)
    return calls


# --- help -------------------------------------------------------------------------------------------------


def test_help_is_short_and_has_first_what_decides() -> None:
    told = run("--help").output
    assert told.index("What decides a run:") < told.index("What to do:") < told.index("Methods:")
    assert all(flag in told for flag in ("--model", "--learning-rate X", "--batch-size N", "--dry-run"))
    assert "--adam-beta1" not in told
    assert len(told.splitlines()) < 70
    listed = set(told.partition("Methods:")[2].replace(",", " ").split())
    assert set(offline_methods()) <= listed


def test_help_of_a_method_has_its_knobs_and_all_settings() -> None:
    told = run("f_dpo", "--help").output
    assert "--divergence reverse_kl|forward_kl|js|alpha" in told
    assert "[0.5]" in told
    assert "--adam-beta1 X" in told
    assert "--teacher" not in told
    assert "f_dpo.yaml" in told.replace("\n", "")
    assert "[5e-7; of an adapter 5e-6]" in " ".join(told.split())
    assert "--beta" in run("--recipe", "x.yaml", "dpo", "-h").output
    assert "What decides a run:" in run("my.losses:square", "--help").output


def test_help_of_no_method_names_the_nearest() -> None:
    told = run("dppo", "--help")
    assert (told.exit_code, told.stdout) == (2, "")
    assert "did you mean 'dpo'?" in told.stderr


# --- on the way to the trainer ----------------------------------------------------------------------------


def test_flags_become_a_recipe(asked: list[tuple[Recipe, dict[str, Any]]]) -> None:
    told = run("dpo", *NEEDED, "more.jsonl", "--beta", "0.5", "--learning-rate=5e-6", "--no-compile")
    assert (told.exit_code, told.stderr) == (0, "")
    ((recipe, how),) = asked
    assert (recipe.method, recipe.data, recipe.learning_rate) == ("dpo", ("prefs.jsonl", "more.jsonl"), 5e-6)
    assert recipe.objective_knobs == {"beta": 0.5}
    assert (how["resume"], how["dry_run"]) == (False, False)


def test_flags_go_before_the_recipe(tmp_path: Path, asked: list[tuple[Recipe, dict[str, Any]]]) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("method: dpo\nmodel: m\ndata: d\nbeta: 0.2\nbatch_size: 8\n")
    assert run("--recipe", str(file), "--beta", "0.3", "--resume", "--dry-run").exit_code == 0
    assert run("simpo", "--recipe", str(file), "--beta", "3").exit_code == 0
    (one, how), (other, _) = asked
    assert (one.objective_knobs, one.batch_size, how["resume"], how["dry_run"]) == (
        {"beta": 0.3},
        8,
        True,
        True,
    )
    assert (other.method, other.objective_knobs) == ("simpo", {"beta": 3.0, "gamma": 1.0})


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "no method is named; found nothing; accepted: concord train METHOD --model M --data FILE"),
        ("--data a dpo", "no method is named"),
        ("dpo", "dpo needs the setting model; found nothing"),
        (
            "dpo --model m --data d --betta 1",
            "there is no setting betta; found 'betta'; accepted: beta, perhaps",
        ),
        ("dpo --model m --data d --lr 1", "accepted: learning_rate; to do: write learning_rate."),
        ("dpo --model m --data d --beta high", "the knob beta of dpo is not right; found 'high'"),
        ("dpo --model m --data d --method ipo", "two methods are named; found dpo and --method ipo"),
        ("dpo --model m --data d --seed 1 --seed 2", "--seed is given twice"),
        ("grpo --model m --data d", "grpo learns from samples of its own"),
        ("--recipe missing.yaml", "there is no recipe missing.yaml"),
        ("--convert missing.yaml", "missing.yaml cannot be read"),
        ("--convert x.yaml --seed 1", "--convert takes no settings; found seed"),
    ],
)
def test_what_is_wrong_is_one_sentence(line: str, told: str) -> None:
    done = run(*line.split())
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("concord: ")
    assert told in done.stderr


def test_a_word_too_many_is_named() -> None:
    done = run("dpo", "ipo", *NEEDED)
    assert done.exit_code == 2
    assert "unexpected extra argument (ipo)" in done.stderr


@pytest.mark.skipif(not LIGHT, reason="for an environment without torch")
def test_without_torch_it_says_what_to_install() -> None:
    done = run("dpo", *NEEDED)
    assert done.exit_code == 2
    assert 'pip install "concord-align[train]"' in done.stderr


def test_help_and_errors_need_no_torch() -> None:
    program = (
        "import sys; from concord.cli import main\n"
        "try: main(['train', 'dpo', *sys.argv[1:]])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'transformers', 'numpy'} & sys.modules.keys()"
    )
    for arguments in (["--help"], ["--betta", "1"]):
        command = [sys.executable, "-c", program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


# --- from TRL ---------------------------------------------------------------------------------------------


def test_a_file_of_trls_becomes_a_recipe(tmp_path: Path) -> None:
    file = tmp_path / "trl.yaml"
    file.write_text("model_name_or_path: m\ndataset_name: d.jsonl\nbeta: 0.2\noptim: adamw_torch\n")
    done = run("dpo", "--convert", str(file))
    assert done.exit_code == 0
    assert read_recipe(yaml.safe_load(done.stdout)).objective_knobs == {"beta": 0.2}
    assert "Said in the recipe:\n" in done.stderr
    assert "Without a meaning here:\n  optim: AdamW is the optimiser\n" in done.stderr
    assert yaml.safe_load(run("sft", "--convert", str(file)).stdout)["method"] == "sft"
