"""The layers: the contracts hold, would notice if they did not, and leave no module out."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT, SOURCE, TORCH_PLACES

CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
CONTRACTS = {contract["id"]: contract for contract in CONFIG["importlinter"]["contracts"]}
TOP_LEVEL = {
    path.stem: path.relative_to(ROOT).as_posix()
    for path in SOURCE.iterdir()
    if (path.suffix == ".py" and not path.stem.startswith("__")) or (path / "__init__.py").exists()
}
# These may import a torch place, or what it rests on, inside a function.
LAZY = {"cli", "formats", "label", "render", "report", "serve"}


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    """Hold the tree in a folder to the contracts."""
    program = "import sys; sys.path.insert(0, 'src'); from importlinter.cli import lint_imports_command; "
    command = [sys.executable, "-c", program + "lint_imports_command()", "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Copy the package and its contracts, to be spoilt."""
    copied = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=copied)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_contracts_hold() -> None:
    checked = lint_imports(ROOT)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("file", "line", "named"),
    [
        ("errors.py", "from concord import types", "concord.errors -> concord.types"),
        ("types.py", "import torch", "concord.types -> torch"),
        ("types.py", "def late():\n    import transformers", "concord.types -> transformers"),
        ("tensors.py", "from concord import types", "concord.tensors -> concord.types"),
        ("objectives/extra.py", "import concord.types", "concord.objectives.extra -> concord.types"),
        ("surprise.py", "VALUE = 1", "surprise"),
        ("train/rows/extra.py", "from concord.train import loop", "train.rows.extra -> concord.train.loop"),
        ("train/surprise.py", "VALUE = 1", "surprise"),
        ("eval/order/extra.py", "from concord.eval import card", "eval.order.extra -> concord.eval.card"),
        (
            "eval/card/own/extra.py",
            "from concord.eval.card import harbour",
            "own.extra -> concord.eval.card.harbour",
        ),
        ("eval/surprise.py", "VALUE = 1", "surprise"),
    ],
)
def test_a_violation_is_named(tree: Path, file: str, line: str, named: str) -> None:
    with (tree / "src" / "concord" / file).open("a", encoding="utf-8") as spoilt:
        spoilt.write(f"\n{line}\n")
    checked = lint_imports(tree)
    assert checked.returncode == 1
    assert named in checked.stdout


def test_what_a_lazy_module_imports_late_is_not_held_against_its_users(tree: Path) -> None:
    source = tree / "src" / "concord"
    for folder, text in {
        "formats": "def rows():\n    import datasets\n    return datasets",
        "data": "from concord.formats.hub import rows",
    }.items():
        (source / folder).mkdir(exist_ok=True)
        (source / folder / "__init__.py").write_text("", encoding="utf-8")
        (source / folder / "hub.py").write_text(text, encoding="utf-8")
    config = (tree / "pyproject.toml").read_text(encoding="utf-8")
    held = config.replace('"concord.catalogue",', '"concord.data",')
    assert held != config
    (tree / "pyproject.toml").write_text(held, encoding="utf-8")
    checked = lint_imports(tree)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    with (source / "data" / "hub.py").open("a", encoding="utf-8") as spoilt:
        spoilt.write("\nimport datasets\n")
    assert "concord.data.hub -> datasets" in lint_imports(tree).stdout


def test_every_module_is_a_torch_place_or_held_to_be_torch_free() -> None:
    held = {name.removeprefix("concord.") for name in CONTRACTS["torch-free"]["source_modules"]}
    there = set(TOP_LEVEL) - set(TORCH_PLACES) - LAZY
    assert held == there, "bring `source_modules` of the contract in pyproject.toml up to date"


def test_types_are_strict_outside_the_torch_places() -> None:
    strict = set(CONFIG["pyright"]["strict"])
    held = {file for name, file in TOP_LEVEL.items() if name not in TORCH_PLACES}
    assert held <= strict, "add to `strict` in pyproject.toml"
    assert not {TOP_LEVEL.get(name) for name in TORCH_PLACES} & strict
