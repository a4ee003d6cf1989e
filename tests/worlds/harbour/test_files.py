"""Harbour as plain files: what is written is read again, by us and as bare JSON."""

import json
from pathlib import Path
from typing import Any

import pytest

from concord.types import Ratings
from concord.worlds.harbour import Harbour, rated, read_requests, vocabulary, worth, write_world

WORLD = Harbour()
SOME: Any = {"splits": ("validation",), "talk": 300}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world in files."""
    root = tmp_path_factory.mktemp("harbour")
    assert sorted(write_world(WORLD, root, **SOME)) == sorted(root.iterdir())
    return root


def rows(path: Path) -> list[dict[str, object]]:
    """The rows of a file, as bare JSON."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_requests_come_back(folder: Path) -> None:
    assert read_requests(folder / "requests.validation.jsonl") == WORLD.requests("validation")


def test_rows_have_plain_columns(folder: Path) -> None:
    (row, *_) = rows(folder / "requests.validation.jsonl")
    assert row.keys() >= {"prompt", "family", "template", "cell", "level", "key"}
    statements, dialogues = rows(folder / "statements.jsonl"), rows(folder / "dialogues.jsonl")
    assert len(statements) + len(dialogues) == 300
    assert all(isinstance(row["text"], str) for row in statements)
    assert all(row.keys() >= {"prompt", "completion", "manner"} for row in dialogues)
    assert len(rows(folder / "facts.jsonl")) == len(WORLD.facts)
    assert (folder / "words.txt").read_text().split() == [*vocabulary()]


def test_pools_say_what_each_reply_is_worth() -> None:
    asked = WORLD.requests("test")[0]
    item = rated(asked, WORLD, 5)
    assert isinstance(item.utilities, Ratings)
    values = [worth(asked, reply[0].text).value for reply in item.replies]
    assert item.utilities.scores == tuple(values)
    assert {*item.utilities.aspects} == {"helpful", "honest", "harmless", "brief", "warm"}


def test_the_same_world_makes_the_same_files(folder: Path, tmp_path: Path) -> None:
    for path in write_world(WORLD, tmp_path, **SOME):
        assert path.read_bytes() == (folder / path.name).read_bytes()
