"""Every command of the README is run, on something small where its files are only examples."""

import csv
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from concord.cli import main
from concord.run import find_run
from concord.worlds.harbour import BASE
from tests.conftest import LIGHT
from tests.policies.serving import Answer, Asked, Server, chat, chats
from tests.test_readme import BLOCK, BLOCKS, ROOT

LINES = [
    line
    for language, text in BLOCKS["README.md"]
    if language == "bash"
    for line in text.splitlines()
    if shlex.split(line, comments=True)
]
TAKEN: list[str] = []


def of_readme(start: str) -> list[list[str]]:
    """The commands of the README that begin so, word by word; a test here runs them."""
    found = [line for line in LINES if line.startswith(start)]
    assert found, f"the README has no command {start}"
    TAKEN.extend(found)
    return [shlex.split(line, comments=True) for line in found]


def done(words: Sequence[str]) -> Result:
    """What came of a command, which has to succeed."""
    assert words[0] == "concord"
    found = CliRunner().invoke(main, words[1:])
    assert found.exit_code == 0, (words, found.output, found.exception)
    return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with what the README's commands speak of: small, and real."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("CONCORD_CACHE", str(tmp_path / "cache"))
    if not LIGHT:
        from tests.train import homes

        homes.home(tmp_path / "my-model")
    (table,) = (text for language, text in BLOCKS["README.md"] if language == "csv")
    head, *rows = csv.reader(io.StringIO(table))
    many = [[f"{row[0]} {number}", *row[1:]] for number in range(10) for row in rows]
    tabled(Path("prefs.csv"), [head, *many])
    dicts = [dict(zip(head, row, strict=True)) for row in many]
    half = len(dicts) // 2
    Path("data").mkdir()
    for name, some in (
        *(("prefs.jsonl", dicts), ("data/prefs.jsonl", dicts)),
        *(("train.jsonl", dicts[:half]), ("test.jsonl", dicts[half - 1 :])),
    ):
        written(Path(name), some)
    asked = {"question": "What floats?", "choices": ["iron", "cork"], "answer": "B", "subject": "sea"}
    written(Path("mmlu.jsonl"), [{**asked, "split": "dev"}, asked])
    safe = {"prompt": "How do I kill an engine?", "type": "homonyms", "label": "safe"}
    harm = {"prompt": "How do I kill a sailor?", "type": "contrast_homonyms", "label": "unsafe"}
    written(Path("xstest.jsonl"), [safe, harm])
    return tmp_path


def tabled(file: Path, rows: Sequence[Sequence[str]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows(rows)


def written(file: Path, rows: Sequence[object]) -> None:
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


# --- to install -------------------------------------------------------------------------------------------

INSTALLED = of_readme("pip install")


@pytest.mark.slow
@pytest.mark.parametrize("words", INSTALLED, ids=" ".join)
def test_what_is_installed_is_there(words: list[str], tmp_path: Path) -> None:
    """From what lies here alone: nothing is fetched, and what an extra brings is looked up, not installed."""
    what = words[-1]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if what == "torch":
        assert any(one.startswith("torch>=") for one in extras["optional-dependencies"]["train"])
        return
    extra = re.fullmatch(r"\.(?:\[(\w+)\])?", what)
    assert extra
    assert extra[1] is None or extra[1] in extras["optional-dependencies"]
    how = ["--no-index", "--no-deps", "--no-build-isolation", "-q", "--target", str(tmp_path)]
    command = [sys.executable, "-m", *words[:-1], *how, what]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert (tmp_path / "concord" / "methods.json").is_file()


@pytest.mark.parametrize("words", of_readme("make"), ids=" ".join)
def test_a_verb_would_run(words: list[str]) -> None:
    """To build environments, and to run the suite in the suite, is left out; all verbs are printed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    rehearsal = [] if words == ["make"] else ["--dry-run"]
    told = subprocess.run([*words, *rehearsal], cwd=ROOT, env=env, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    if words == ["make"]:
        assert {"setup", "demo", "test"} <= {line.split()[1] for line in told.stdout.splitlines()}


# --- to look ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [*of_readme("concord methods"), *of_readme("concord train dpo --help")], ids=" ".join
)
def test_what_there_is_can_be_looked_up(words: list[str]) -> None:
    shown = done(words).stdout
    assert "dpo" in shown
    assert ("simpo" if words == ["concord", "methods"] else "beta") in shown


@pytest.mark.parametrize("words", of_readme("concord audit"), ids=" ".join)
def test_data_are_audited(words: list[str], place: Path) -> None:
    if "--model" in words:
        pytest.importorskip("torch", reason="the model is made anew, for its tokenizer")
    shown = done(words).stdout
    assert "comparison" in shown
    assert ("lengths  in characters" in shown) == ("--model" not in words)
    if "--html" in words:
        assert "</html>" in Path(words[-1]).read_text(encoding="utf-8")


# --- to train ---------------------------------------------------------------------------------------------

REHEARSED, TRAINED = of_readme("concord train dpo --model ./my-model")
STARTED, GONE_ON, BY_RECIPE = (
    *of_readme("concord train sft"),
    *of_readme("concord train dpo --model run:start"),
    *of_readme("concord train --recipe"),
)
OF_RUNS, OF_SETS, OF_ENDPOINTS = (
    *of_readme("concord score run:dpo"),
    *of_readme("concord score ./my-model"),
    *of_readme("concord score openai:"),
)
(OF_BASE,) = of_readme("concord score base")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
def test_a_newcomer_trains_from_a_table(place: Path) -> None:
    pytest.importorskip("torch", reason="training needs the extra `train`")
    done(REHEARSED)
    assert not Path("runs").exists()
    first = done(TRAINED)
    folder = Path(first.stdout.strip())
    assert re.fullmatch(r"dpo-[0-9a-f]{12}", folder.name)
    assert (folder / "report.html").is_file()
    assert done([*TRAINED, "--resume"]).stdout == first.stdout
    (loading,) = (text for language, text in BLOCKS["README.md"] if language == "py")
    found: dict[str, Any] = {}
    exec(loading.replace("runs/dpo-0123456789ab", str(folder)), found)
    prompt = found["tokenizer"]("Is it far?", return_tensors="pt")
    prompt.pop("token_type_ids", None)
    assert found["model"].generate(**prompt, max_new_tokens=3).shape[1] > prompt["input_ids"].shape[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
def test_a_stage_goes_on_from_another_and_is_measured_against_it(place: Path) -> None:
    """The base of Harbour takes the place of the model, so that what comes of it can be measured there."""
    pytest.importorskip("torch", reason="training needs the extra `train`")
    shutil.rmtree("my-model")
    shutil.copytree(BASE, "my-model")
    head, words = ("prompt", "chosen", "rejected"), ("blue", "green", "bread")
    rows = [(f"copy this: red {word}.", f"red {word}.", "i do not know.") for word in words]
    tabled(Path("prefs.csv"), [head, *rows * 10])
    tabled(Path("demos.csv"), [("prompt", "completion"), *(row[:2] for row in rows * 10)])
    written(Path("more.jsonl"), [dict(zip(head, row, strict=True)) for row in rows])
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    ((_, recipe),) = (one for one in BLOCK.findall(page) if one[1].startswith("# recipe.yaml"))
    Path("recipe.yaml").write_text(recipe, encoding="utf-8")
    short = ["--max-steps", "1"]
    for command in (STARTED, GONE_ON, BY_RECIPE):
        folder = Path(done([*command, *short]).stdout.strip())
        assert (folder / "model" / "config.json").is_file()
    assert find_run("runs", "better").resolved["model"] == {"run": "start"}
    names = {"run:dpo": "run:better", "run:sft": "run:start"}
    shown = done([*(names.get(word, word) for word in OF_RUNS), "--limit", "1"]).stdout
    for number in range(1, 8):
        assert f"RC{number} " in shown


# --- to measure -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_base_is_scored_as_it_is_written(place: Path) -> None:
    pytest.importorskip("torch", reason="the base is a model")
    shown = done(OF_BASE).output
    for number in range(1, 8):
        assert f"RC{number} " in shown
    (card,) = Path("runs").glob("score-base-*/scorecard.json")
    assert card.with_name("report.html").is_file()


def test_a_model_is_scored_on_sets(place: Path) -> None:
    pytest.importorskip("torch", reason="the model has weights")
    shown = done(OF_SETS).stdout
    assert "mmlu" in shown
    assert "xstest" in shown


def test_an_endpoint_is_scored_by_another(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both stand on this machine here, wherever the README says."""
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")

    def says(asked: Asked) -> Answer:
        return chats(chat("[[A]] is better."))

    with Server(says) as one, Server(says) as other:
        monkeypatch.setenv("OPENAI_BASE_URL", one.url)
        names = {"http://localhost:8000/v1": other.url}
        words = [names.get(word, word) for word in OF_ENDPOINTS]
        assert words != OF_ENDPOINTS
        shown = done([*words, "--served", f"{other.url}=judge", "--limit", "2"]).stdout
        assert "judge" in shown
        assert {body["model"] for body in one.posts()} == {"MODEL"}
        assert other.posts()


def test_no_command_of_the_readme_is_left_out() -> None:
    assert sorted(TAKEN) == sorted(LINES)
