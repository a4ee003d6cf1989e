"""Reading: data of any format opened as items, as often as one likes, with bad rows named or counted."""

import datetime
import decimal
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from concord.errors import InputError, RowError
from concord.formats import Reading, open_items
from concord.types import Item, Message, Origin, Preference
from tests.shared import SHARED, needs_shared

PAIRS = [{"prompt": f"p{at}", "chosen": f"c{at}", "rejected": f"r{at}", "n": at} for at in range(6)]
PARTS = ("; found ", "; accepted: ", "; to do: ")


def put(path: Path, rows: Sequence[Any] | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


def spoiled(path: Path) -> Path:
    """Six rows, of which the second is no JSON and the fourth lacks what it must have."""
    texts = [json.dumps(row) for row in PAIRS]
    texts[1], texts[3] = "{nonsense", json.dumps({"prompt": "p3", "chosen": "c3", "rejected": 7, "n": 3})
    return put(path, "\n".join(texts))


def numbers(reading: Reading) -> list[Any]:
    return [item.meta["n"] for item in reading]


def test_rows_are_items_with_place_and_meta(tmp_path: Path) -> None:
    path = put(tmp_path / "prefs_train.jsonl", PAIRS)
    reading = open_items(path)
    first, *_ = items = list(reading)
    assert first == Item(
        first.prompt,
        ((Message("assistant", "c0"),), (Message("assistant", "r0"),)),
        Preference(),
        meta={"n": 0},
        origin=Origin(str(path), 1),
    )
    assert first.prompt.text == "p0"
    assert [item.origin and item.origin.line for item in items] == [1, 2, 3, 4, 5, 6]
    assert reading.kind == "comparison"
    assert reading.sources[0].split == "train"
    assert (reading.rows, reading.skipped, reading.errors, reading.notes) == (6, 0, (), ())
    assert list(reading) == items, "a reading starts afresh"
    assert reading.rows == 6, "and counts afresh"


def test_numbers_of_a_table_are_numbers_where_they_are_asked_for(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", "prompt,completion,label,n\np,c,true,1\nq,d,false,2\n")
    items = list(open_items(path))
    assert [item.utilities for item in items] == [
        type(items[0].utilities)(True),  # type: ignore[call-arg, misc]
        type(items[0].utilities)(False),  # type: ignore[call-arg, misc]
    ]
    assert [item.origin and item.origin.line for item in items] == [2, 3]


def test_a_mapping_says_what_the_columns_are(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", [{"ask": "p", "up": "c", "down": "r"}])
    [item] = open_items(path, mapping="prompt=ask chosen=up rejected=down")
    assert [reply[0].content for reply in item.replies] == ["c", "r"]
    with pytest.raises(InputError, match="asks"):
        open_items(path, mapping="prompt=asks chosen=up rejected=down")


# --- bad rows ---------------------------------------------------------------------------------------------


def test_a_bad_row_stops_at_once(tmp_path: Path) -> None:
    path = spoiled(tmp_path / "a.jsonl")
    with pytest.raises(RowError) as stopped:
        open_items(path)
    message = str(stopped.value)
    assert message.startswith(f"{path}:2: ")
    assert all(part in message for part in PARTS)
    assert "--on-bad-row skip" in message


def test_a_bad_row_beyond_the_sample_stops_the_reading(tmp_path: Path) -> None:
    rows = [{**PAIRS[0], "n": at} for at in range(1500)]
    rows[1200]["rejected"] = 7
    path = put(tmp_path / "a.jsonl", rows)
    reading, seen = open_items(path), list[Item]()
    with pytest.raises(RowError, match=rf"^{path}:1201: column 'rejected'.*--on-bad-row skip"):
        seen.extend(reading)
    assert len(list(zip(range(1200), reading, strict=False))) == 1200
    skipping = open_items(path, on_bad_row="skip")
    assert (len(list(skipping)), skipping.skipped) == (1499, 1)


def test_bad_rows_are_counted_and_written_aside(tmp_path: Path) -> None:
    path, aside = spoiled(tmp_path / "a.jsonl"), tmp_path / "skipped.jsonl"
    reading = open_items(path, on_bad_row="skip", skipped_to=aside)
    assert not aside.exists(), "opening alone writes nothing"
    for _ in range(2):
        assert numbers(reading) == [0, 2, 4, 5]
        assert (reading.rows, reading.skipped, len(reading.errors)) == (4, 2, 2)
        kept = [json.loads(line) for line in aside.read_text().splitlines()]
        assert [(one["file"], one["line"]) for one in kept] == [(str(path), 2), (str(path), 4)]
        assert kept[0]["row"] == "{nonsense"
        assert kept[1]["row"] == {"prompt": "p3", "chosen": "c3", "rejected": 7, "n": 3}
        assert tuple(one["error"] for one in kept) == reading.errors
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.jsonl", "skipped.jsonl"]


def test_what_json_has_not_is_written_aside_as_text(tmp_path: Path) -> None:
    odd = {"rejected": 7, "a": float("nan"), "b": {(1, 2): b"\0"}, "c": 10**5000, "n": 0}
    aside = tmp_path / "skipped.jsonl"
    assert numbers(open_items([PAIRS[1], PAIRS[2] | odd], on_bad_row="skip", skipped_to=aside)) == [1]

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    [kept] = [json.loads(line, parse_constant=refuse) for line in aside.read_text().splitlines()]
    assert kept["row"] == PAIRS[2] | odd | {
        "a": "nan",
        "b": {"(1, 2)": {"base64": "AA=="}},
        "c": "int too long to show",
    }


def test_a_reading_that_is_broken_off_keeps_the_whole_list_of_skipped_rows(tmp_path: Path) -> None:
    path, aside = spoiled(tmp_path / "a.jsonl"), tmp_path / "skipped.jsonl"
    reading = open_items(path, on_bad_row="skip", skipped_to=aside)
    begun = iter(reading)
    assert [next(begun).meta["n"], next(begun).meta["n"]] == [0, 2]
    begun.close()  # type: ignore[attr-defined]
    assert len(aside.read_text().splitlines()) == 1
    list(reading)
    whole = aside.read_text()
    begun = iter(reading)
    next(begun)
    begun.close()  # type: ignore[attr-defined]
    assert aside.read_text() == whole
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.jsonl", "skipped.jsonl"]


def test_skipped_rows_go_over_nothing_but_skipped_rows(tmp_path: Path) -> None:
    path, aside = spoiled(tmp_path / "a.jsonl"), tmp_path / "aside.jsonl"
    for content in ("precious\n", json.dumps(PAIRS[0]), "x" * 3_000_000):
        put(aside, content)
        with pytest.raises(InputError, match="not written over this"):
            open_items(path, on_bad_row="skip", skipped_to=aside)
        assert aside.read_text() == content
    for odd in (path, tmp_path, tmp_path / "no" / "folder.jsonl"):
        with pytest.raises(InputError, match="not written over this"):
            open_items(path, on_bad_row="skip", skipped_to=odd)
    aside.write_text("")
    list(open_items(path, on_bad_row="skip", skipped_to=aside))
    assert len(aside.read_text().splitlines()) == 2
    list(open_items(put(tmp_path / "b.jsonl", PAIRS), on_bad_row="skip", skipped_to=aside))
    assert aside.read_text() == "", "a new reading of its own has nothing to say"


def test_rows_that_are_all_bad_are_an_error(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", "x\ny\n")
    with pytest.raises(
        InputError, match=rf"{path}: no row can be read; found 2 rows.* The first one: .*:1: "
    ):
        open_items(path, on_bad_row="skip")
    odd = put(tmp_path / "b.jsonl", [{"prompt": "p", "chosen": "same", "rejected": "same"}] * 3)
    with pytest.raises(InputError, match=rf"{odd}:1: "):
        open_items(odd, on_bad_row="skip")


@pytest.mark.parametrize("text", ["\n\n", "[]", "prompt,chosen,rejected\n"])
def test_data_without_rows_are_an_error(tmp_path: Path, text: str) -> None:
    path = put(tmp_path / ("a.csv" if "," in text else "a.json" if "[" in text else "a.jsonl"), text)
    for way in ("stop", "skip"):
        with pytest.raises(InputError, match="there are no rows"):
            open_items(path, on_bad_row=way)  # type: ignore[arg-type]


def test_what_is_lost_with_the_end_of_a_file_is_noted(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", json.dumps(PAIRS)[:-30])
    reading = open_items(path, on_bad_row="skip")
    assert len(list(reading)) == 5
    assert reading.skipped == 1
    [note] = reading.notes
    assert note.startswith(f"{path}:6: what follows")


def test_there_are_two_ways_with_bad_rows(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="stop or skip"):
        open_items(PAIRS, on_bad_row="ignore")  # type: ignore[arg-type]


# --- sources and splits -----------------------------------------------------------------------------------


def test_a_split_is_read_by_any_of_its_names(tmp_path: Path) -> None:
    put(tmp_path / "train.jsonl", PAIRS[:3])
    put(tmp_path / "dev.jsonl", PAIRS[3:5])
    assert numbers(open_items(tmp_path)) == [3, 4, 0, 1, 2]
    for name in ("validation", "val", "dev"):
        assert numbers(open_items(tmp_path, split=name)) == [3, 4]
    assert numbers(open_items({"train_sft": PAIRS[:1], "test_sft": PAIRS[1:]}, split="train")) == [0]
    with pytest.raises(InputError, match="found 'tests'; accepted: train, validation"):
        open_items(tmp_path, split="tests")
    with pytest.raises(InputError, match="these data have no splits"):
        open_items(PAIRS, split="train")


def test_files_of_different_shapes_are_told_apart(tmp_path: Path) -> None:
    one = put(tmp_path / "a.jsonl", PAIRS)
    two = put(tmp_path / "b.jsonl", [{"messages": [{"role": "user", "content": "x"}]}] * 3)
    with pytest.raises(InputError) as refused:
        open_items([one, two])
    assert all(part in str(refused.value) for part in PARTS)
    assert str(one) in str(refused.value) or str(two) in str(refused.value)
    # Half of the rows are of either shape: no shape fits all, and each file says what it is.
    two = put(tmp_path / "b.jsonl", [{"text": "Some text."}] * 7)
    three = put(tmp_path / "c.jsonl", [{"question": "Why?", "answer": "So."}] * 7)
    with pytest.raises(InputError, match="of different shapes") as refused:
        open_items([one, two, three])
    for path, line in ((one, "prompt=prompt chosen=chosen rejected=rejected"), (two, "text=text")):
        assert f"{path} reads as {line!r}" in str(refused.value)


def test_notes_say_what_was_left_aside(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", PAIRS)
    put(tmp_path / "README.md", "words")
    assert "README.md" in open_items(tmp_path).notes[0]


def test_progress_goes_from_nothing_to_all(tmp_path: Path) -> None:
    rows = [{**PAIRS[0], "x": "y" * 100, "n": at} for at in range(30_000)]
    one = put(tmp_path / "a.jsonl", rows)
    two = tmp_path / "b.jsonl.gz"
    two.write_bytes(gzip.compress(one.read_bytes(), 1))
    reading = open_items([one, two])
    assert reading.size == one.stat().st_size + two.stat().st_size
    assert reading.progress == 0
    shares = [reading.progress or 0 for _ in reading]
    assert shares == sorted(shares)
    assert shares[0] < 0.3
    assert len(set(shares)) > 3
    assert reading.progress == 1
    memory = open_items(PAIRS)
    assert (memory.size, [memory.progress for _ in memory][2]) == (0, 0.5)


def test_a_fingerprint_is_of_content_and_split(tmp_path: Path) -> None:
    one, two = put(tmp_path / "a.jsonl", PAIRS), put(tmp_path / "b.jsonl", PAIRS)
    train, other = put(tmp_path / "train.jsonl", PAIRS), put(tmp_path / "c.jsonl", PAIRS[:5])
    known = [open_items(path).fingerprint() for path in (one, two, train, other)]
    assert known[0] == known[1]
    assert len(set(known)) == 3
    assert open_items(PAIRS).fingerprint() == open_items(list(PAIRS)).fingerprint()


# --- what meta can hold -----------------------------------------------------------------------------------


def test_meta_is_json_whatever_a_row_in_memory_has() -> None:
    row = {
        **PAIRS[0],
        "day": datetime.date(2024, 2, 29),
        "at": datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC),
        "price": decimal.Decimal("1.10"),
        "one": np.float32(0.5),
        "many": np.arange(3),
        "inner": {"deep": (1, [np.int64(2)])},
        "nothing": None,
        "raw": b"\xff",
        "odd": float("nan"),
    }
    reading = open_items([row])
    [item] = reading
    assert json.loads(json.dumps(item.meta)) == item.meta
    assert item.meta == {
        "n": 0,
        "day": "2024-02-29",
        "at": "2024-02-29T12:00:00+00:00",
        "price": "1.10",
        "one": 0.5,
        "many": [0, 1, 2],
        "inner": {"deep": [1, [2]]},
        "nothing": None,
    }
    assert sorted(note.partition(" cannot")[0] for note in reading.notes) == [
        "column 'odd': numbers that are not finite",
        "column 'raw': bytes",
    ]


def test_pictures_reach_the_prompt(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="Parquet is read with pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet is read with pyarrow")
    row = {"prompt": "see", "chosen": "c", "rejected": "r", "images": [{"bytes": b"png", "path": None}]}
    parquet.write_table(arrow.Table.from_pylist([row]), tmp_path / "a.parquet")
    [item] = open_items(tmp_path / "a.parquet")
    [message] = item.prompt.messages
    assert b"png" in [getattr(part, "source", None) for part in message.parts]
    assert item.meta == {}


# --- real data --------------------------------------------------------------------------------------------

REAL = [
    ("pref/dpo_en_demo.jsonl.gz", "comparison"),
    ("pref/hh_harmless.jsonl.gz", "comparison"),
    ("unary/kto_en_demo.jsonl.gz", "judgement"),
    ("sft/gsm8k_train.jsonl.gz", "demonstration"),
]


@needs_shared
@pytest.mark.parametrize(("name", "kind"), REAL)
def test_real_data_are_read_whole(name: str, kind: str) -> None:
    manifest = json.loads((SHARED / "manifest.json").read_text())
    reading = open_items(SHARED / name, on_bad_row="skip")
    count = sum(1 for _ in reading)
    assert reading.kind == kind
    assert count == reading.rows
    assert reading.skipped <= count / 100, reading.errors
    assert name in json.dumps(manifest)
