"""What the README shows is what happens."""

import contextlib
import io
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


BLOCKS = BLOCK.findall(README)
SESSIONS = [at for at, (language, _) in enumerate(BLOCKS) if language == "python"]


@pytest.mark.parametrize("at", SESSIONS)
def test_a_session_prints_what_it_says(at: int) -> None:
    session, (language, expected) = BLOCKS[at][1], BLOCKS[at + 1]
    assert language == "text"
    if "import torch" in session and os.environ.get("CONCORD_LIGHT") == "1":
        pytest.skip("the session needs torch")
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        exec(compile(session, "README.md", "exec"), {"__name__": "readme"})
    assert shown.getvalue().split("\n") == expected.split("\n")


def test_there_are_sessions() -> None:
    assert len(SESSIONS) >= 2


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
