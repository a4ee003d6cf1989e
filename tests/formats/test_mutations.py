"""Five hundred spoiled files: each is read, or refused with what to do. Nothing else ever comes of them.

The files are made from a seed: rows of many shapes, written in every format, and then spoiled in one or two
ways. What is asserted is what holds for any file: the kind of error, its four parts, the file's name in it,
and that rows which were read and rows which were skipped are all the rows there are.
"""

import bz2
import csv
import gzip
import importlib.util
import io
import json
import lzma
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from concord.errors import InputError, RowError
from concord.formats import BadRow, find_sources, open_items

Rows: TypeAlias = list[Any]
Chance: TypeAlias = random.Random

PARTS = ("; found ", "; accepted: ", "; to do: ")
FILES, BATCHES = 500, 10


def chat(*contents: str) -> list[dict[str, str]]:
    """A conversation of turns by turns."""
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(contents)]


SHAPES: dict[str, Callable[[int], dict[str, Any]]] = {
    "pair": lambda n: {"prompt": f"Why {n}?", "chosen": f"So {n}.", "rejected": "No.", "margin": n / 4},
    "chat pair": lambda n: {"chosen": chat(f"Why {n}?", "So."), "rejected": chat(f"Why {n}?", "No.")},
    "shown": lambda n: {"instruction": f"Add {n}", "input": "to 1", "output": str(n + 1)},
    "messages": lambda n: {"messages": chat(f"Hi {n}", "Hello", "And?", "Bye"), "source": "x"},
    "sharegpt": lambda n: {
        "conversations": [{"from": "human", "value": f"q{n}"}, {"from": "gpt", "value": "a"}]
    },
    "judged": lambda n: {"prompt": f"p{n}", "completion": f"a{n}", "label": n % 2 == 0},
    "hh": lambda n: {
        "chosen": f"\n\nHuman: q{n}\n\nAssistant: yes",
        "rejected": f"\n\nHuman: q{n}\n\nAssistant: no",
    },
    "rated": lambda n: {"prompt": f"p{n}", "completions": [{"response": "a", "score": 1.5}] * 2},
    "task": lambda n: {"prompt": f"p{n}", "ground_truth": n},
    "text": lambda n: {"text": f"Some text \u00e9 \U0001f600 {n}"},
}


# --- formats ----------------------------------------------------------------------------------------------


def as_lines(rows: Rows) -> bytes:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode("utf-8", "surrogatepass")


def as_list(rows: Rows) -> bytes:
    return json.dumps(rows, indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass")


def as_columns(rows: Rows) -> bytes:
    whole = [row for row in rows if isinstance(row, dict)]
    names = {name: None for row in whole for name in row}
    return json.dumps({name: [row.get(name) for row in whole] for name in names}).encode()


def as_table(rows: Rows, sign: str = ",") -> bytes:
    whole = [row for row in rows if isinstance(row, dict)]
    names = list(dict.fromkeys(name for row in whole for name in row))
    writer = csv.writer(text := io.StringIO(newline=""), delimiter=sign)
    writer.writerow(names)
    for row in whole:
        cells = [row.get(name, "") for name in names]
        writer.writerow([cell if isinstance(cell, str) else json.dumps(cell) for cell in cells])
    return text.getvalue().encode("utf-8", "surrogatepass")


def as_parquet(rows: Rows) -> bytes:
    import pyarrow
    from pyarrow import parquet

    whole = [row for row in rows if isinstance(row, dict)]
    try:
        table = pyarrow.Table.from_pylist(whole)
        parquet.write_table(table, kept := io.BytesIO(), row_group_size=3)
    except (pyarrow.ArrowException, UnicodeError, OverflowError):  # rows that no column can hold
        return as_lines(rows)
    return kept.getvalue()


FORMATS: dict[str, Callable[[Rows], bytes]] = {
    "jsonl": as_lines,
    "json": as_list,
    "columns.json": as_columns,
    "csv": as_table,
    "tsv": lambda rows: as_table(rows, "\t"),
    "jsonl.gz": lambda rows: gzip.compress(as_lines(rows)),
    "json.bz2": lambda rows: bz2.compress(as_list(rows)),
    "csv.xz": lambda rows: lzma.compress(as_table(rows)),
    "utf16.jsonl": lambda rows: as_lines(rows).decode("utf-8", "replace").encode("utf-16"),
}
if importlib.util.find_spec("pyarrow"):
    FORMATS["parquet"] = as_parquet


# --- what is done to rows and to bytes --------------------------------------------------------------------

ODD: list[Any] = [
    *(None, 7, -1.5, True, "", " ", [], {}, [[]], [None], {"a": 1}, "x" * 50_000, 10**400, "\0", "\x1f"),
    *(
        chat("hi"),
        chat("hi")[0],
        [{"role": "nobody", "content": "x"}],
        [{"content": 1}],
        "[1",
        '{"a":',
        "NaN",
    ),
    *(1e308, [[[[[["deep"]]]]]], {"from": "human"}, "\n\nAssistant:", [{"role": "user", "content": [{}]}]),
]


def retype(rows: Rows, chance: Chance) -> Rows:
    row = chance.choice(rows)
    if isinstance(row, dict) and row:
        row[chance.choice(list(row))] = chance.choice(ODD)
    return rows


def retype_all(rows: Rows, chance: Chance) -> Rows:
    whole = [row for row in rows if isinstance(row, dict)]
    name, odd = chance.choice(list(whole[0])), chance.choice(ODD)
    return [{**row, name: odd} for row in whole]


def drop_columns(rows: Rows, chance: Chance) -> Rows:
    row = chance.choice(rows)
    if isinstance(row, dict) and row:
        del row[chance.choice(list(row))]
    return rows


def mix(rows: Rows, chance: Chance) -> Rows:
    made = SHAPES[chance.choice(list(SHAPES))]
    rows[chance.randrange(len(rows)) :] = [made(at) for at in range(3)]
    return rows


def no_objects(rows: Rows, chance: Chance) -> Rows:
    rows[chance.randrange(len(rows))] = chance.choice([1, "x", None, [1], [{}], {}])
    return rows


def empty(rows: Rows, chance: Chance) -> Rows:
    return chance.choice([[{}], [{}, {}], rows[:1]])


OF_ROWS: list[Callable[[Rows, Chance], Rows]] = [retype, retype_all, drop_columns, mix, no_objects, empty]


def cut(data: bytes, chance: Chance) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def cut_in_front(data: bytes, chance: Chance) -> bytes:
    return data[chance.randrange(len(data) + 1) :]


def flip(data: bytes, chance: Chance) -> bytes:
    made = bytearray(data)
    for _ in range(chance.choice([1, 3, 30])):
        made[chance.randrange(len(made))] = chance.randrange(256)
    return bytes(made)


def put_in(data: bytes, chance: Chance) -> bytes:
    pieces = [b"\0", b"\xff\xfe", b'"', b"\n", b"\r", b"}", b"]", b",", b"\\u", b'{"a":1,"a":2}\n', b"NaN"]
    pieces += [b"[" * 3000, b"1" * 5000, b"1e999", b"\\ud800", b"'", b"\xed\xa0\x80", b"{" * 200, b"\xc3"]
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice(pieces) + data[at:]


def other_ends(data: bytes, chance: Chance) -> bytes:
    return data.replace(b"\n", chance.choice([b"\r", b"\r\n", b"\n\n", b"\n\r", b""]))


def other_signs(data: bytes, chance: Chance) -> bytes:
    one, other = chance.sample([b",", b"\t", b";", b":", b'"', b"{"], 2)
    return data.replace(one, other)


def mark(data: bytes, chance: Chance) -> bytes:
    return chance.choice([b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0", b"\x1f\x8b"]) + data


def recode(data: bytes, chance: Chance) -> bytes:
    text = data.decode("utf-8", "replace")
    return text.encode(chance.choice(["utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252"]), "replace")


def twice(data: bytes, chance: Chance) -> bytes:
    return data + chance.choice([b"", b"\n", b","]) + data


def noise(data: bytes, chance: Chance) -> bytes:
    return chance.randbytes(chance.choice([0, 1, 5, 500]))


OF_BYTES: list[Callable[[bytes, Chance], bytes]] = [
    *(cut, cut_in_front, flip, put_in, put_in, other_ends, other_signs, mark, recode, twice, noise)
]


def spoiled(chance: Chance) -> tuple[str, bytes]:
    """The name and the content of one spoiled file."""
    made, suffix = SHAPES[chance.choice(list(SHAPES))], chance.choice(list(FORMATS))
    rows: Rows = [made(at) for at in range(chance.choice([1, 2, 8]))]
    way = chance.random()
    if way < 0.5:
        rows = chance.choice(OF_ROWS)(rows, chance)
    data = FORMATS[suffix](rows)
    if way > 0.35 and data:
        data = chance.choice(OF_BYTES)(data, chance)
    if chance.random() < 0.1:
        suffix = chance.choice([*FORMATS, "txt", "bin"])
    return f"rows.{suffix}", data


# --- what holds for all of them ---------------------------------------------------------------------------


def check_error(error: InputError, path: Path) -> str:
    """Hold an error to what every error of a file says; return how it ended."""
    message = str(error)
    assert all(part in message for part in PARTS), message
    assert str(path) in message, message
    if isinstance(error, RowError):
        assert message.startswith(str(path)), message
    assert len(message) < 2500, message
    return "refused"


def check_stop(path: Path) -> str:
    """Open a file so that a bad row stops it."""
    try:
        reading = open_items(path)
        count = sum(1 for _ in reading)
    except InputError as error:
        return check_error(error, path)
    assert count >= reading.rows > 0 == reading.skipped
    return "read"


def check_skip(path: Path, stopped: str) -> str:
    """Open a file so that bad rows are left out, and add up."""
    aside = path.with_name("aside")
    try:
        reading = open_items(path, on_bad_row="skip", skipped_to=aside)
        items = list(reading)
    except InputError as error:
        if stopped != "refused":
            raise
        return check_error(error, path)
    found = [row for source in find_sources(path) for row in source.rows()]
    assert reading.rows + reading.skipped == len(found)
    assert reading.skipped >= sum(isinstance(row, BadRow) for row in found)
    assert (reading.skipped == 0) == (stopped == "read")
    assert all(item.origin is not None and item.origin.file == str(path) for item in items)
    for item in items:
        json.dumps(item.meta, allow_nan=False).encode()
    kept = [json.loads(line) for line in aside.read_bytes().splitlines()]
    assert len(kept) == reading.skipped
    for one in kept:
        check_error(RowError(one["error"]), path)
    return "read" if not kept else "read in part"


@pytest.mark.parametrize("batch", range(BATCHES))
def test_a_spoiled_file_is_read_or_refused(tmp_path: Path, batch: int) -> None:
    ends: Counter[str] = Counter()
    for at in range(FILES // BATCHES):
        seed = batch * 1000 + at
        name, data = spoiled(random.Random(seed))
        path = tmp_path / str(seed) / name
        path.parent.mkdir()
        path.write_bytes(data)
        try:
            ends[check_skip(path, check_stop(path))] += 1
        except Exception as error:
            error.add_note(f"seed {seed}: {name}, {data[:300]!r}")
            raise
    # A batch in which nothing can be read, or nothing is refused, would test nothing.
    assert ends["read"] + ends["read in part"] >= 5
    assert ends["refused"] >= 5
    assert ends["read in part"] >= 1
