"""The page of pains answers every one that concerns training, with tests that there are."""

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "pains.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="the pages are not beside the tests")

SAMPLED = {4, 5, 12, 21}
"""The pains of training on one's own samples."""

ENTRY = re.compile(r"^\*\*(\d+)\. (.*?)(?=^\*\*\d+\. |^The other |\Z)", re.MULTILINE | re.DOTALL)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def entries() -> dict[int, str]:
    """The text of each pain by its number."""
    found = ENTRY.findall(PAGE.read_text(encoding="utf-8"))
    assert len({number for number, _ in found}) == len(found)
    return {int(number): text for number, text in found}


def defined(file: Path) -> set[str]:
    """The tests of a file; read as text, so nothing of it has to be installed."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_pain_of_training_has_an_entry() -> None:
    assert set(entries()) == set(range(1, 26)) - SAMPLED
    apart = PAGE.read_text(encoding="utf-8").rpartition("The other four ")[2]
    assert {int(number) for number in re.findall(r"[(;] ?(\d+), ", apart)} == SAMPLED


def test_every_entry_names_tests_that_there_are() -> None:
    for number, text in entries().items():
        named = TEST.findall(text)
        assert named, f"pain {number} names no test"
        for place, name in named:
            file = ROOT / place
            assert file.is_file(), f"pain {number}: {place}"
            assert name in defined(file), f"pain {number}: {place}::{name}"


def test_every_test_on_the_page_belongs_to_an_entry() -> None:
    named = [one for text in entries().values() for one in TEST.findall(text)]
    assert len(named) == PAGE.read_text(encoding="utf-8").count("tests/")
    assert len(set(named)) == len(named)
