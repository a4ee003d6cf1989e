"""What the README shows is what happens. Its commands are run by tests/test_commands.py."""

import contextlib
import importlib
import io
import os
import re
import shlex
from pathlib import Path

import pytest

from concord.recipes import read_recipe
from concord.recipes.flags import read_flags
from concord.recipes.schema import SECTIONS, section_of, setting_names

ROOT = Path(__file__).parents[1]
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


def test_every_verb_it_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in ("README.md", "CONTRIBUTING.md", "docs/harbour.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        for verb in re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, re.MULTILINE):
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
