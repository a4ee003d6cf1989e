"""Harbour as plain files: what is written is read again, by us and as bare JSON."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from concord.errors import InputError, RunError
from concord.types import RATED_BY, Ratings
from concord.worlds.harbour import Gold, Harbour, rated, read_requests, vocabulary, worth, write_world
from scripts import files

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
    assert item.meta[RATED_BY] == Gold(known=WORLD.known).id
    assert {*item.utilities.aspects} == {"helpful", "honest", "harmless", "brief", "warm"}


def test_the_same_world_makes_the_same_files(folder: Path, tmp_path: Path) -> None:
    for path in write_world(WORLD, tmp_path, **SOME):
        assert path.read_bytes() == (folder / path.name).read_bytes()


def test_the_command_writes_the_same_files_and_says_how_many_rows_each_has(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["files", str(tmp_path), "--split", *SOME["splits"], "--talk", str(SOME["talk"])]
    monkeypatch.setattr(sys, "argv", words)
    files.main()
    said = {tuple(line.split()) for line in capsys.readouterr().out.splitlines()}
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    counts = {path: len(path.read_text().splitlines()) for path in tmp_path.iterdir()}
    assert said == {(f"{count:,}", str(path)) for path, count in counts.items()}


@pytest.mark.parametrize(
    ("column", "held"),
    [
        ("world", 5),
        ("world", "harbour/x"),
        ("family", "fax"),
        ("template", ["home"]),
        ("entity", 5),
        ("split", None),
        ("level", "one"),
        ("key", 5),
        ("key", {"fact": "home mara"}),
        ("key", {"kind": ["nothing"], "fact": "home mara"}),
        ("key", {"kind": "nothing", "fact": "home mara"}),
    ],
)
def test_a_row_that_was_changed_is_named(folder: Path, tmp_path: Path, column: str, held: object) -> None:
    kept = rows(folder / "requests.validation.jsonl")[:3]
    kept[1][column] = held
    edited = tmp_path / "edited.jsonl"
    edited.write_text("".join(f"{json.dumps(row)}\n" for row in kept))
    with pytest.raises(
        InputError, match=rf"edited\.jsonl:2: this row was not asked in Harbour; found .*{column}"
    ):
        read_requests(edited)


def test_a_key_without_what_judges_is_named(folder: Path) -> None:
    (asked, *_) = read_requests(folder / "requests.validation.jsonl")
    with pytest.raises(InputError, match="the key of this request has no 'fact'"):
        worth(replace(asked, key={"kind": "fact"}), "i do not know.")


def test_a_world_that_cannot_be_written_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="nothing was written"):
        write_world(WORLD, tmp_path / "file", **SOME)
    with pytest.raises(InputError, match="the size of the talk is not a count; found -1"):
        write_world(WORLD, tmp_path / "new", splits=("test",), talk=-1)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
