"""What the README shows is what happens."""

import contextlib
import csv
import importlib
import io
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from concord.cli import main
from concord.recipes import read_recipe
from concord.recipes.flags import read_flags
from concord.recipes.schema import SECTIONS, section_of, setting_names

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


PAGES = ("README.md", "docs/harbour.md", "docs/feedback.md", "docs/score.md")
BLOCKS = {page: BLOCK.findall((ROOT / page).read_text(encoding="utf-8")) for page in PAGES}
SESSIONS = [
    (page, at)
    for page, blocks in BLOCKS.items()
    for at, (language, _) in enumerate(blocks)
    if language == "python"
]


@pytest.mark.parametrize(("page", "at"), SESSIONS)
def test_a_session_prints_what_it_says(page: str, at: int) -> None:
    session, (language, expected) = BLOCKS[page][at][1], BLOCKS[page][at + 1]
    assert language == "text"
    if "import torch" in session and os.environ.get("CONCORD_LIGHT") == "1":
        pytest.skip("the session needs torch")
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        exec(compile(session, page, "exec"), {"__name__": "readme"})
    assert shown.getvalue().split("\n") == expected.split("\n")


def test_there_are_sessions() -> None:
    assert {page for page, _ in SESSIONS} == set(PAGES)


SCORED = [
    (page, line)
    for page in PAGES
    for line in re.findall(r"^concord score (.+)", (ROOT / page).read_text(encoding="utf-8"), re.M)
]


@pytest.mark.parametrize(("page", "line"), SCORED)
def test_every_command_that_scores_is_understood(page: str, line: str) -> None:
    command = importlib.import_module("concord.cli.score").command
    words = shlex.split(line, comments=True)
    assert command.make_context("score", words).params["models"]


def test_the_base_is_scored_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="the base is a model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONCORD_CACHE", str(tmp_path / "cache"))
    ((_, *words),) = of_readme("concord score base")
    found = CliRunner().invoke(main, words)
    assert found.exit_code == 0, found.output
    for number in range(1, 8):
        assert f"RC{number} " in found.output
    (card,) = (tmp_path / "runs").glob("score-base-*/scorecard.json")
    assert card.with_name("report.html").is_file()


TRAINED = [
    (page, command)
    for page in ("README.md", "docs/training.md")
    if (ROOT / page).is_file()
    for command in re.findall(r"^(?:[a-z].* -m )?concord train (.+)", (ROOT / page).read_text("utf-8"), re.M)
]
OTHERS = {"--dry-run": 0, "--resume": 0, "--help": 0, "--recipe": 1, "--convert": 1}


@pytest.mark.parametrize(("page", "command"), TRAINED)
def test_every_command_that_trains_is_understood(page: str, command: str) -> None:
    words = shlex.split(command.partition(" > ")[0], comments=True)
    left, settings = read_flags(words, OTHERS)
    if not {"--recipe", "--convert", "--help"} & set(left):
        read_recipe({"method": left[0], **settings})


def test_the_settings_that_decide_are_those_of_the_page() -> None:
    page = ROOT / "docs" / "training.md"
    if not page.is_file():
        pytest.skip("the pages are not beside the tests")
    told = page.read_text(encoding="utf-8").partition("## The ten settings")[2].partition("\n## ")[0]
    decide = [name for name in setting_names() if section_of(name) == SECTIONS[0] and name != "method"]
    assert re.findall(r"^\| `(\w+)` \|", told, re.MULTILINE) == decide
    assert len(decide) == 10


def of_readme(start: str) -> list[list[str]]:
    """The commands of the README that begin so, word by word."""
    lines = re.findall(rf"^({re.escape(start)}.*)", README, re.MULTILINE)
    return [shlex.split(line, comments=True) for line in lines]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
def test_a_newcomer_trains_from_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="training needs the extra `train`")
    from tests.train import homes

    homes.home(tmp_path / "my-model")
    with (tmp_path / "prefs.csv").open("w", encoding="utf-8", newline="") as file:
        ((language, table), *_) = (block for block in BLOCKS["README.md"] if block[0] == "csv")
        assert language == "csv"
        rows = list(csv.reader(io.StringIO(table)))
        numbered = ([f"{row[0]} {number}", *row[1:]] for number in range(10) for row in rows[1:])
        csv.writer(file).writerows([rows[0], *numbered])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONCORD_CACHE", str(tmp_path / "cache"))
    rehearsal, run, *_ = of_readme("concord train dpo --model ./my-model --data prefs.csv --eval-share")
    shown = CliRunner().invoke(main, rehearsal[1:])
    assert (shown.exit_code, (tmp_path / "runs").exists()) == (0, False), (shown.stderr, shown.exception)
    done = CliRunner().invoke(main, run[1:])
    assert done.exit_code == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert re.fullmatch(r"dpo-[0-9a-f]{12}", folder.name)
    assert (folder / "report.html").is_file()
    again = CliRunner().invoke(main, [*run[1:], "--resume"])
    assert again.stdout == done.stdout
    (loading,) = (text for language, text in BLOCKS["README.md"] if language == "py")
    found: dict[str, Any] = {}
    exec(loading.replace("runs/dpo-0123456789ab", str(folder)), found)
    prompt = found["tokenizer"]("Is it far?", return_tensors="pt")
    assert found["model"].generate(**prompt, max_new_tokens=3).shape[1] > prompt["input_ids"].shape[1]


def test_every_verb_it_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        for verb in re.findall(r"\bmake ([a-z][a-z-]*)", text):
            assert re.search(rf"^{verb}:", makefile, re.MULTILINE), f"{page}: make {verb}"


def test_every_place_it_points_to_exists() -> None:
    for page in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (ROOT / target).exists(), f"{page} links to {target}"
        for name in re.findall(r"`concord\.([A-Za-z_.]+)`", text):
            assert defined(name.split(".")), f"{page}: concord.{name}"


def defined(parts: list[str]) -> bool:
    """Whether parts lead to a module, or to a name in one; read as text, so torch is not needed."""
    place = ROOT / "src" / "concord"
    while parts and ((place / parts[0]).is_dir() or (place / f"{parts[0]}.py").exists()):
        place = place / parts[0]
        parts = parts[1:]
    source = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return len(parts) <= 1 and all(
        re.search(rf"\b{name}\b", source.read_text(encoding="utf-8")) for name in parts
    )
