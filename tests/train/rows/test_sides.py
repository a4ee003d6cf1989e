"""What is trained on, and what the data say is held out."""

from pathlib import Path
from typing import Any

import pytest

from concord.errors import RowError
from concord.train.rows.sides import open_data
from tests.train.rows.written import pairs, written


def names(readings: tuple[Any, ...]) -> list[str]:
    return [Path(source.name).name for reading in readings for source in reading.sources]


def test_files_are_read_together_or_each_by_its_own_shape(tmp_path: Path) -> None:
    one, two = written(tmp_path / "a.jsonl", pairs(4)), written(tmp_path / "b.jsonl", pairs(6))
    other = written(tmp_path / "c.jsonl", [{"question": "is it", "answer": "it was"}] * 3)
    assert [len(list(reading)) for reading in open_data([one, two]).train] == [10]
    apart = open_data([one, two, other])
    assert [(reading.kind, len(list(reading))) for reading in apart.train] == [
        ("comparison", 4),
        ("comparison", 6),
        ("demonstration", 3),
    ]
    assert apart.held_out == apart.notes == ()


def test_a_bad_row_stops_or_is_left_out(tmp_path: Path) -> None:
    file = written(tmp_path / "a.jsonl", pairs(4))
    file.write_text(file.read_text() + '{"prompt": \n')
    with pytest.raises(RowError, match=r"a\.jsonl:5"):
        open_data([file, written(tmp_path / "b.jsonl", pairs(2))])
    assert open_data([file], on_bad_row="skip").train[0].on_bad_row == "skip"


def test_other_splits_are_not_trained_on(tmp_path: Path) -> None:
    for name in ("train", "valid", "test", "more"):
        written(tmp_path / "folder" / f"{name}.jsonl", pairs(4))
    apart = written(tmp_path / "apart.jsonl", pairs(2))
    opened = open_data(tmp_path / "folder")
    assert (names(opened.train), names(opened.held_out)) == (["more.jsonl", "train.jsonl"], ["valid.jsonl"])
    files = ", ".join(str(tmp_path / "folder" / f"{name}.jsonl") for name in ("more", "train"))
    assert opened.notes[0] == f"trained on: {files}"
    assert opened.notes[1:] == ("the split validation is held out", "the split test is left aside")
    given = open_data(tmp_path / "folder", [apart])
    assert (names(given.train), names(given.held_out)) == (["more.jsonl", "train.jsonl"], ["apart.jsonl"])
    assert given.notes[1:] == ("the split validation is left aside", "the split test is left aside")
    alone = open_data(tmp_path / "folder" / "test.jsonl")
    assert (names(alone.train), alone.held_out, alone.notes) == (["test.jsonl"], (), ())


def test_rows_in_memory_are_data_too() -> None:
    opened = open_data({"train": pairs(6), "test": pairs(4)})
    assert [len(list(reading)) for reading in (*opened.train, *opened.held_out)] == [6, 4]
    assert len(list(open_data(pairs(3)).train[0])) == 3
