"""Sources: what people have, read as rows; and what cannot be read, refused with what to do."""

import bz2
import gzip
import io
import json
import lzma
import os
import socket
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from concord.errors import InputError, NotFoundError, RowError
from concord.formats import files
from concord.formats.rows import BadRow, Row
from concord.formats.sources import find_sources, search, split_named

ROWS = [{"prompt": f"p{at}", "chosen": "c\u00e9 \U0001f600", "rejected": "r", "n": at} for at in range(5)]
LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
TEXTS = [{"prompt": f'a "{at}"\nb, c', "reply": "x;y\tz|"} for at in range(3)]
PARTS = ("; found ", "; accepted: ", "; to do: ")


def table(sign: str = ",") -> str:
    quoted = [[f'"{cell}"' for cell in (row["prompt"].replace('"', '""'), row["reply"])] for row in TEXTS]
    return "\n".join(sign.join(cells) for cells in (["prompt", "reply"], *quoted)) + "\n"


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(data: Any) -> tuple[list[dict[str, Any]], list[BadRow]]:
    rows = [row for source in find_sources(data) for row in source.rows()]
    good = [dict(row.columns) for row in rows if isinstance(row, Row)]
    return good, [row for row in rows if isinstance(row, BadRow)]


def lines(data: Any) -> list[int | None]:
    return [row.origin.line for source in find_sources(data) for row in source.rows()]


def well_said(error: Exception, name: object) -> str:
    message = str(error)
    assert all(part in message for part in PARTS), message
    assert str(name) in message
    return message


# --- what is read -----------------------------------------------------------------------------------------

COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}
NUMBERED = {name: {str(at): cell for at, cell in enumerate(cells)} for name, cells in COLUMNS.items()}
READ: dict[str, tuple[str, str | bytes]] = {
    "lines": ("a.jsonl", LINES),
    "last line end": ("a.jsonl", LINES + "\n"),
    "blank lines": ("a.jsonl", "\n\n" + LINES.replace("\n", "\n  \n") + "\n\n"),
    "ndjson": ("a.ndjson", LINES),
    "crlf": ("a.jsonl", LINES.replace("\n", "\r\n")),
    "cr only": ("a.jsonl", LINES.replace("\n", "\r")),
    "mark": ("a.jsonl", b"\xef\xbb\xbf" + LINES.encode()),
    "two marks": ("a.jsonl", b"\xef\xbb\xbf" * 2 + LINES.encode()),
    "utf-16": ("a.jsonl", LINES.encode("utf-16")),
    "utf-16 big": ("a.jsonl", b"\xfe\xff" + LINES.encode("utf-16-be")),
    "utf-16 unmarked": ("a.jsonl", LINES.encode("utf-16-le")),
    "utf-32 list": ("a.json", json.dumps(ROWS, indent=1).encode("utf-32")),
    "utf-16 cr only": ("a.jsonl", LINES.replace("\n", "\r").encode("utf-16")),
    "gz": ("a.jsonl.gz", gzip.compress(LINES.encode())),
    "bz2": ("a.jsonl.bz2", bz2.compress(LINES.encode())),
    "xz": ("a.json.xz", lzma.compress(json.dumps(ROWS).encode())),
    "gz unnamed": ("a.jsonl", gzip.compress(LINES.encode())),
    "gz of utf-16": ("a.jsonl.gz", gzip.compress(LINES.encode("utf-16"))),
    "gz in two members": (
        "a.jsonl.gz",
        b"".join(gzip.compress(part.encode()) for part in (LINES[:9], LINES[9:])),
    ),
    "list": ("a.json", json.dumps(ROWS)),
    "list indented": ("a.json", json.dumps(ROWS, indent=2)),
    "list called lines": ("a.jsonl", json.dumps(ROWS)),
    "list indented called lines": ("a.jsonl", json.dumps(ROWS, indent=4)),
    "lines called json": ("a.json", LINES),
    "lines without a name": ("rows", LINES),
    "lines called text": ("a.txt", LINES),
    "lines called csv": ("a.csv", LINES),
    "list a row a line": ("a.json", "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]"),
    "under data": ("a.json", json.dumps({"version": 1, "data": ROWS})),
    "under data indented": ("a.json", json.dumps({"data": ROWS}, indent=2)),
    "under data a row a line": ("a.json", '{"data": [\n' + ",\n".join(map(json.dumps, ROWS)) + "\n]}"),
    "under any name": ("a.json", json.dumps({"preferences": ROWS})),
    "under train": ("a.json", json.dumps({"train": ROWS})),
    "columns": ("a.json", json.dumps(COLUMNS)),
    "numbered columns": ("a.json", json.dumps(NUMBERED)),
}


@pytest.mark.parametrize("case", READ)
def test_rows_are_read_whatever_they_are_in(tmp_path: Path, case: str) -> None:
    name, content = READ[case]
    assert read(put(tmp_path / name, content)) == (ROWS, [])


TABLES: dict[str, tuple[str, str | bytes]] = {
    "csv": ("a.csv", table()),
    "tsv": ("a.tsv", table("\t")),
    "tsv called csv": ("a.csv", table("\t")),
    "csv called tsv": ("a.tsv", table()),
    "semicolons": ("a.csv", table(";")),
    "bars": ("a.csv", table("|")),
    "mark": ("a.csv", b"\xef\xbb\xbf" + table().encode()),
    "two marks": ("a.csv", b"\xef\xbb\xbf" * 2 + table().encode()),
    "utf-16": ("a.csv", table().encode("utf-16")),
    "gz": ("a.csv.gz", gzip.compress(table().encode())),
    "cr only": ("a.csv", table().replace("\n", "\r")),
    "no last line end": ("a.csv", table().rstrip("\n")),
    "blank lines": ("a.csv", "\n" + table() + "\n\n"),
}


@pytest.mark.parametrize("case", TABLES)
def test_tables_are_read_whatever_separates_them(tmp_path: Path, case: str) -> None:
    name, content = TABLES[case]
    path = put(tmp_path / name, content)
    assert read(path) == (TEXTS, [])
    assert lines(path) == [at + (case == "blank lines") for at in (2, 4, 6)]
    assert all(row.textual for row in find_sources(path)[0].rows() if isinstance(row, Row))


def test_a_cell_of_a_table_is_text(tmp_path: Path) -> None:
    path = put(tmp_path / "a.csv", 'a,b,c\n1,true,"[1, 2]"\n')
    assert read(path)[0] == [{"a": "1", "b": "true", "c": "[1, 2]"}]


def test_the_index_of_a_data_frame_gets_a_name(tmp_path: Path) -> None:
    assert read(put(tmp_path / "a.csv", ",a\n0,x\n"))[0] == [{"index": "0", "a": "x"}]


ONE_ROW = {
    "one object": {"prompt": "p", "chosen": "c", "rejected": "r"},
    "a conversation": {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
    "three conversations": {
        name: [{"role": "user", "content": name}] for name in ("prompt", "chosen", "rejected")
    },
    "lists beside text": {"prompt": "p", "responses": [{"text": "a"}, {"text": "b"}], "scores": [1, 2]},
}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("case", ONE_ROW)
def test_one_object_is_one_row(tmp_path: Path, case: str, indent: int | None) -> None:
    path = put(tmp_path / "a.json", json.dumps(ONE_ROW[case], indent=indent))
    assert read(path) == ([ONE_ROW[case]], [])


def test_a_single_line_called_lines_is_a_row(tmp_path: Path) -> None:
    row = {"prompt": ["a", "b"], "chosen": ["c", "d"]}
    assert read(put(tmp_path / "a.jsonl", json.dumps(row)))[0] == [row]
    assert len(read(put(tmp_path / "a.json", json.dumps(row)))[0]) == 2


@pytest.mark.parametrize("text", [LINES, LINES.replace("\n", "\n\n")])
def test_lines_are_numbered_as_an_editor_does(tmp_path: Path, text: str) -> None:
    step = text.count("\n") // 4
    assert lines(put(tmp_path / "a.jsonl", text)) == [1 + at * step for at in range(5)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.txt"])
def test_two_lines_of_which_one_is_cut_are_lines(tmp_path: Path, name: str) -> None:
    good, [bad] = read(put(tmp_path / name, '{"a": 1}\n{"a": '))
    assert good == [{"a": 1}]
    assert bad.origin.line == 2


def test_a_line_that_ends_inside_a_text_is_cut(tmp_path: Path) -> None:
    good, [bad] = read(put(tmp_path / "a.jsonl", '{"a": "1"}\n{"a": "2\n{"a": "3"}\n'))
    assert good == [{"a": "1"}, {"a": "3"}]
    assert bad.origin.line == 2
    assert "it seems cut; found the end of the text; accepted" in str(bad.error)


def test_a_cut_first_line_does_not_make_a_document(tmp_path: Path) -> None:
    good, [bad] = read(put(tmp_path / "a.jsonl", '{"a": \n{"a": 2}\n'))
    assert good == [{"a": 2}]
    assert bad.origin.line == 1


def test_a_long_first_line_does_not_make_a_document(tmp_path: Path) -> None:
    long = [{"prompt": "x" * 200_000}, {"prompt": "y"}]
    for name in ("a.json", "a.jsonl", "rows"):
        path = put(tmp_path / name, "\n".join(map(json.dumps, long)))
        if name == "rows":
            with pytest.raises(InputError):
                read(path)
        else:
            assert read(path) == (long, [])


@pytest.mark.parametrize("size", [1, 1000, 70_000, 3_000_000])
def test_a_list_is_read_across_chunks(tmp_path: Path, size: int) -> None:
    rows = [{"a": "\u00e9" * size, "n": [at, 1.5, None]} for at in range(3)]
    path = put(tmp_path / "a.json", json.dumps(rows, ensure_ascii=False))
    assert read(path) == (rows, [])


def test_numbers_at_the_edge_of_a_chunk_are_whole(tmp_path: Path) -> None:
    # Numbers have no closing sign, so a chunk that ends inside of one must not be taken for its end.
    rows = [{"n": 1234567890123} for _ in range(120_000)]
    got, bad = read(put(tmp_path / "a.json", json.dumps(rows, separators=(",", ":"))))
    assert not bad
    assert got == rows


def test_a_large_list_takes_the_memory_of_a_row(tmp_path: Path) -> None:
    path = put(tmp_path / "a.json", json.dumps([{"a": "x" * 1000}] * 30_000))
    [source] = find_sources(path)
    tracemalloc.start()
    count = sum(1 for _ in source.rows())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 30_000
    assert peak < 12_000_000 < path.stat().st_size


def test_sources_can_be_read_again_and_say_how_far(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl.gz", gzip.compress(LINES.encode()))
    [source] = find_sources(path)
    assert source.position == 0
    first = list(source.rows())
    assert source.position == source.size == path.stat().st_size
    assert list(source.rows()) == first
    reading = source.rows()
    next(reading)
    assert next(source.rows()) == first[0], "readings do not disturb each other"


# --- bad rows ---------------------------------------------------------------------------------------------

BAD: dict[str, tuple[bytes, str]] = {
    "not utf-8": (b'{"a": "x\xff"}', "the byte 0xff, byte 9 of the line"),
    "a key twice": (b'{"a": 1, "a": 2}', "'a'"),
    "a key twice inside": (b'{"b": [{"a": 1, "a": 2}]}', "'a'"),
    "nan": (b'{"a": NaN}', "NaN"),
    "infinity": (b'{"a": -Infinity}', "-Infinity"),
    "too large": (b'{"a": 1e999}', "1e999"),
    "too long": (b'{"a": ' + b"1" * 5000 + b"}", "thousands of digits"),
    "endless": (b"[" * 100_000, "nested too deep"),
    "deep": (b'{"a": ' + b"[" * 150 + b"]" * 150 + b"}", "nested too deep"),
    "half a character": (b'{"a": "\\ud83d"}', "half a character"),
    "half a key": (b'{"\\uDE00": 1}', "half a character"),
    "a list": (b"[1, 2]", "a list of 2"),
    "a number": (b"17", "17"),
    "null": (b"null", "null"),
    "python": (b"{'a': 1}", "json.dumps"),
    "words": (b"hello", "hello"),
    "two objects": (b'{"a": 1} {"a": 2}', "one object a line"),
    "a zero": (b'{"a": "\0"}', "0x00"),
    "zeros": (b"\0\0\0\0", "0x00"),
    "a tab in text": (b'{"a": "x\ty"}', "control"),
    "cut": (b'{"a": "x', "cut"),
    "cut after a key": (b'{"a":', "cut"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("last", [False, True])
def test_a_bad_line_is_named_and_the_rest_is_read(tmp_path: Path, case: str, last: bool) -> None:
    line, said = BAD[case]
    content = b'{"a": 1}\n{"a": 2}\n' + line + (b"" if last else b'\n{"a": 3}\n{"a": 4}\n')
    path = put(tmp_path / "a.jsonl", content)
    good, [bad] = read(path)
    assert good == [{"a": at} for at in ((1, 2) if last else (1, 2, 3, 4))]
    assert bad.origin.line == 3
    assert isinstance(bad.error, RowError)
    message = well_said(bad.error, path)
    assert message.startswith(f"{path}:3: ")
    assert said in message
    assert bad.raw == line.decode("utf-8", "replace")


@pytest.mark.parametrize("case", ["not utf-8", "a key twice", "nan", "deep", "half a character", "a list"])
def test_a_bad_entry_of_a_list_is_named(tmp_path: Path, case: str) -> None:
    line, said = BAD[case]
    path = put(tmp_path / "a.json", b'[{"a": 1},\n' + line + b',\n{"a": 3}]')
    good, [bad] = read(path)
    assert said in well_said(bad.error, f"{path}:2: ")
    # Where the decoder itself gives up, no one knows where the next entry begins, and that is said.
    assert bad.ends == (case in ("a key twice", "nan"))
    assert good == ([{"a": 1}] if bad.ends else [{"a": 1}, {"a": 3}])


@pytest.mark.parametrize(
    ("text", "good", "said"),
    [
        ('[{"a": 1}, {"a": 2', 1, "cut"),
        ('[{"a": 1}, ', 1, "cut"),
        ('[{"a": 1}', 1, "cut"),
        ("[", 0, "cut"),
        ('[{"a": 1} {"a": 2}]', 1, "no comma"),
        ('[{"a": 1}] {"a": 2}', 1, "follows the list"),
        ('[{"a": 1},]', 1, "rest of the list is lost"),
        ('{"a": 1', 0, "cut"),
        ('{"a": [1, 2], "b": [1]}', 0, "a: 2, b: 1"),
        ('{"train": [{"a": 1}], "test": [{"a": 1}]}', 0, "train, test"),
    ],
)
def test_a_document_that_breaks_off_says_so(tmp_path: Path, text: str, good: int, said: str) -> None:
    path = put(tmp_path / "a.json", text)
    rows, [bad] = read(path)
    assert len(rows) == good
    assert said in well_said(bad.error, f"{path}:{good + 1}: ")


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LONGEST_LINE", 1000)
    path = put(tmp_path / "a.jsonl", '{"a": 1}\n{"a": "' + "x" * 3_000_000 + '"}\n{"a": 3}\n')
    good, [bad] = read(path)
    assert good == [{"a": 1}, {"a": 3}]
    assert bad.origin.line == 2
    assert "too long" in well_said(bad.error, path)
    assert len(bad.raw) <= 1000


@pytest.mark.parametrize(
    ("name", "pack"),
    [("gz", gzip.compress), ("bz2", lambda data: bz2.compress(data, 1)), ("xz", lzma.compress)],
)
def test_a_cut_archive_gives_what_it_has_and_says_so(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    noise = os.urandom(400_000).hex()
    whole = [json.dumps({"a": noise[at : at + 80]}) for at in range(0, len(noise), 80)]
    packed = pack("\n".join(whole).encode())
    path = put(tmp_path / f"a.jsonl.{name}", packed[: len(packed) * 3 // 4])
    good, [bad] = read(path)
    assert good == [json.loads(line) for line in whole[: len(good)]]
    assert 0 < len(good) < len(whole)
    assert bad.ends
    assert "lost" in well_said(bad.error, f"{path}:{len(good) + 1}: ")


def test_text_in_utf_16_that_breaks_off_is_a_bad_row(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", ('{"a": 1}\n{"a": 2}').encode("utf-16")[:-1])
    good, [bad] = read(path)
    assert good == [{"a": 1}]
    assert bad.origin.line == 2
    lone = put(tmp_path / "b.jsonl", '{"a": 1}\n{"a": "\ud83d"}\n{"a": 3}'.encode("utf-16", "surrogatepass"))
    good, [bad] = read(lone)
    assert good == [{"a": 1}, {"a": 3}]


@pytest.mark.parametrize(
    ("text", "at", "good", "said"),
    [
        (b"a,b\n1,2\n1,2,3\n5,6\n", 3, 2, "3 cells"),
        (b"a,b\n1,2\n1\n5,6\n", 3, 2, "1 cells"),
        (b"a,b\n1,2\n\xff,2\n5,6\n", 3, 2, "0xff"),
        (b"a,b\n1,2\nx\0,2\n5,6\n", 3, 2, "0x00"),
        (b'a,b\n1,2\n"x"y,2\n5,6\n', 3, 2, "no CSV"),
        (b'a,b\n1,2\n"x,2\n5,6\n', 3, 1, "not closed"),
        (b'a,b\n"1\n1",2\n1,2,3\n5,6\n', 4, 2, "3 cells"),
    ],
)
def test_a_bad_row_of_a_table_is_named(tmp_path: Path, text: bytes, at: int, good: int, said: str) -> None:
    path = put(tmp_path / "a.csv", text)
    rows, [bad] = read(path)
    assert len(rows) == good
    assert said in well_said(bad.error, f"{path}:{at}: ")
    assert bad.raw.strip()


# --- what is refused --------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.jsonl", b"", "empty"),
    "spreadsheet": ("a.xlsx", b"PK\x03\x04" + b"x" * 40, "export the spreadsheet to CSV"),
    "zip called lines": ("a.jsonl", b"PK\x03\x04" + b"x" * 40, "zip"),
    "pickle": ("a.pkl", b"\x80\x04\x95" + b"x" * 40, "pickle"),
    "safetensors": ("a.safetensors", (64).to_bytes(8, "little") + b'{"x": 1}' + b" " * 60, "safetensors"),
    "zstd": ("a.jsonl.zst", b"\x28\xb5\x2f\xfd" + b"x" * 40, "zstd -d"),
    "text": ("a.txt", b"hello", "JSON lines"),
    "markdown": ("README.md", b"# hello\n", "JSON lines"),
    "noise": ("a.bin", bytes(range(128, 256)), "not a file of rows"),
    "not parquet": ("a.parquet", b"hello", "not a parquet file"),
    "not json": ("a.json", b"a,b\n1,2\n", "named .csv"),
    "no header": ("a.csv", b"x" * 300 + b",b\n1,2\n", "no header"),
    "names twice": ("a.csv", b"a,a\n1,2\n", "same name"),
    "no name": ("a.csv", b"a,\n1,2\n", "no name"),
    "a header that is no text": ("a.csv", b"\xff,b\n1,2\n", "0xff"),
    "not gzip after all": ("a.jsonl.gz", b"\x1f\x8b\x08" + b"x" * 40, "decompressed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_holds_no_rows_is_refused_with_what_to_do(tmp_path: Path, case: str) -> None:
    name, content, said = REFUSED[case]
    path = put(tmp_path / name, content)
    with pytest.raises(InputError) as refused:
        read(path)
    assert said in well_said(refused.value, path)


def test_a_path_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    put(tmp_path / "prefs_train.jsonl", LINES)
    with pytest.raises(NotFoundError) as refused:
        find_sources(tmp_path / "pref_train.jsonl")
    assert "did you mean 'prefs_train.jsonl'?" in well_said(refused.value, tmp_path)
    with pytest.raises(NotFoundError, match=r"load_dataset"):
        find_sources("someone/some-data-set")
    with pytest.raises(NotFoundError):
        find_sources(tmp_path / "no" / "such" / "folder.jsonl")


@pytest.mark.parametrize("path", ["-", "https://example.org/a.jsonl", "hf://datasets/a", "a\0b", "/dev/null"])
def test_what_is_no_file_is_refused(path: str) -> None:
    with pytest.raises(InputError) as refused:
        find_sources(path)
    well_said(refused.value, "")


def test_a_path_of_nothing_is_not_the_present_folder() -> None:
    with pytest.raises(InputError, match="the path is empty"):
        find_sources("")


def test_rows_in_place_of_a_path_make_a_short_message() -> None:
    with pytest.raises(InputError, match="this path cannot be looked at") as refused:
        find_sources('{"prompt": "Why?"}\n' * 1000)
    assert len(well_said(refused.value, "")) < 500


def test_links_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", LINES)
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "away.jsonl")
    with pytest.raises(NotFoundError, match=r"b\.jsonl: .*found a link that leads nowhere"):
        find_sources(tmp_path)
    (tmp_path / "b.jsonl").unlink()
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "b.jsonl")
    with pytest.raises(InputError, match=r"b\.jsonl: this path cannot be looked at"):
        find_sources(tmp_path)


def test_a_socket_in_a_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("s.jsonl")
        with pytest.raises(InputError, match=r"s\.jsonl: this can be read only once"):
            find_sources(tmp_path)


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(InputError, match=r"pipe\.jsonl: this can be read only once"):
        find_sources(tmp_path / "pipe.jsonl")


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "a.jsonl", LINES)
    path.chmod(0)
    monkeypatch.setattr(os, "access", lambda *_: False)  # a superuser may read everything
    with pytest.raises(InputError, match=r"a\.jsonl: this file may not be read.*chmod"):
        find_sources(path)


# --- folders, lists, splits -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train.jsonl", "train"),
        ("data/train-00000-of-00003.parquet", "train"),
        ("validation/rows.csv", "validation"),
        ("prefs_dev.jsonl", "validation"),
        ("val.json", "validation"),
        ("my-test.set.csv", "test"),
        ("evaluation.jsonl", "eval"),
        ("training/a.json", "train"),
        ("latest.jsonl", ""),
        ("developer.jsonl", ""),
        ("prefs.jsonl", ""),
    ],
)
def test_a_split_is_a_word_of_the_name(path: str, split: str) -> None:
    assert split_named(path) == split


def test_a_folder_gives_its_files_in_order(tmp_path: Path) -> None:
    for name in ("data/train-1.jsonl", "data/train-0.jsonl", "data/test.csv", "extra/dev/x.json.gz"):
        content = json.dumps({"name": name}) if not name.endswith("csv") else "name\nx\n"
        put(tmp_path / name, gzip.compress(content.encode()) if name.endswith("gz") else content)
    for name in ("README.md", ".hidden.jsonl", ".git/config.json", "dataset_infos.json"):
        put(tmp_path / name, "{}")
    sources, notes = search(tmp_path)
    names = [(source.name.removeprefix(f"{tmp_path}/"), source.split) for source in sources]
    assert names == [
        ("data/test.csv", "test"),
        ("data/train-0.jsonl", "train"),
        ("data/train-1.jsonl", "train"),
        ("extra/dev/x.json.gz", "validation"),
    ]
    [note] = notes
    assert "README.md (of no known type)" in note
    assert ".hidden.jsonl (hidden)" in note


def test_the_place_of_a_folder_says_nothing_of_splits(tmp_path: Path) -> None:
    put(tmp_path / "dev" / "data" / "rows.jsonl", LINES)
    assert find_sources(tmp_path / "dev" / "data")[0].split == ""
    assert find_sources(tmp_path / "dev" / "data" / "rows.jsonl")[0].split == ""


def test_a_folder_without_data_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found nothing"):
        find_sources(tmp_path)
    put(tmp_path / "notes.docx", "x")
    with pytest.raises(InputError) as refused:
        find_sources(tmp_path)
    assert "notes.docx (of no known type)" in well_said(refused.value, tmp_path)


def test_a_folder_that_holds_itself_ends(tmp_path: Path) -> None:
    put(tmp_path / "a.jsonl", LINES)
    (tmp_path / "loop").symlink_to(tmp_path)
    assert len(find_sources(tmp_path)) == 1


def test_a_list_of_paths_keeps_its_order_and_is_read_once(tmp_path: Path) -> None:
    one, two = put(tmp_path / "b.jsonl", LINES), put(tmp_path / "a.csv", "x\n1\n")
    assert [source.name for source in find_sources([one, str(two)])] == [str(one), str(two)]
    with pytest.raises(InputError, match="named twice"):
        find_sources([one, two, one])
    with pytest.raises(InputError, match="mixes paths and rows"):
        find_sources([one, {"a": 1}])


# --- rows in memory ---------------------------------------------------------------------------------------


def test_rows_in_memory_are_read() -> None:
    assert read(ROWS) == (ROWS, [])
    assert lines(tuple(ROWS)) == [1, 2, 3, 4, 5]
    sources = find_sources({"train": ROWS, "val": ROWS[:1]})
    assert [(source.split, source.name, source.size) for source in sources] == [
        ("train", "rows[train]", 5),
        ("validation", "rows[val]", 1),
    ]


def test_a_row_in_memory_that_is_none_is_named() -> None:
    good, bad = read([{"a": 1}, "x", {1: 2}])
    assert good == [{"a": 1}]
    assert [str(one.error).partition(" ")[0] for one in bad] == ["rows:2:", "rows:3:"]
    assert all(well_said(one.error, "") for one in bad)


def test_rows_in_memory_are_no_deeper_than_those_of_files() -> None:
    deep: Any = 0
    for _ in range(150):
        deep = [deep]
    turning: dict[str, Any] = {"a": 1}
    turning["turning"] = turning
    good, bad = read([{"a": 1}, {"a": deep}, turning])
    assert good == [{"a": 1}]
    assert all("nested too deep" in well_said(one.error, "") for one in bad)
    assert len(bad) == 2


class Array:
    """As an array, or one number of it, looks from outside."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def tolist(self) -> Any:
        return self.value


def test_arrays_in_memory_are_lists() -> None:
    row = {"label": Array(True), "scores": Array([1.0, 2.0]), "deep": [{"n": Array(3)}]}
    assert read([row])[0] == [{"label": True, "scores": [1.0, 2.0], "deep": [{"n": 3}]}]


class Frame:
    """As a data frame looks from outside."""

    columns = ("a",)

    def to_dict(self) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (iter(ROWS), "only once"),
        ([], "no data"),
        ({}, "no data"),
        ({"a": 1}, "not something that holds rows"),
        (17, "not something that holds rows"),
        (None, "not something that holds rows"),
        (b"bytes", "not something that holds rows"),
        (Frame(), 'to_dict("records")'),
    ],
)
def test_what_holds_no_rows_in_memory_is_refused(data: Any, said: str) -> None:
    with pytest.raises(InputError) as refused:
        find_sources(data)
    assert said in well_said(refused.value, "")


def test_digests_are_of_the_content(tmp_path: Path) -> None:
    one, two = put(tmp_path / "a.jsonl", LINES), put(tmp_path / "b.jsonl", LINES)
    other = put(tmp_path / "c.jsonl", LINES + "\n")
    digests = [find_sources(path)[0].digest() for path in (one, two, other)]
    assert digests[0] == digests[1] != digests[2]
    turned = [dict(reversed(row.items())) for row in ROWS]
    assert find_sources(ROWS)[0].digest() == find_sources(turned)[0].digest()
    assert find_sources(ROWS)[0].digest() != find_sources(ROWS[::-1])[0].digest()


# --- columnar files and the hub's library -----------------------------------------------------------------


PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20


def test_parquet_is_read_batch_by_batch(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="Parquet is read with pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet is read with pyarrow")
    rows = [{**row, "turns": [{"role": "user", "content": "x"}], "score": None} for row in ROWS * 200]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=300)
    assert read(tmp_path / "a.parquet") == (rows, [])
    assert lines(tmp_path / "a.parquet")[-1] == 1000
    [source] = find_sources(tmp_path / "a.parquet")
    assert sum(1 for _ in source.rows()) == 1000
    assert source.position == source.size
    misnamed = (tmp_path / "a.parquet").rename(tmp_path / "a.json")
    assert len(read(misnamed)[0]) == 1000


def test_pictures_in_parquet_are_bytes_or_paths(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="Parquet is read with pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet is read with pyarrow")
    kept, named = {"bytes": PNG, "path": None}, {"bytes": None, "path": "a.png"}
    rows = [
        {"image": kept, "images": [kept, named], "in": {"image": named, "n": 1}},
        {"image": None, "images": [], "in": None},
    ]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet")[0] == [
        {"image": PNG, "images": [PNG, "a.png"], "in": {"image": "a.png", "n": 1}},
        {"image": None, "images": [], "in": None},
    ]


@pytest.mark.parametrize("cut", [8, 100, -100, -9, -1])
def test_damaged_parquet_is_refused_or_named(tmp_path: Path, cut: int) -> None:
    arrow = pytest.importorskip("pyarrow", reason="Parquet is read with pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet is read with pyarrow")
    parquet.write_table(arrow.Table.from_pylist(ROWS), whole := io.BytesIO())
    path = put(tmp_path / "a.parquet", whole.getvalue()[:cut])
    _, [bad] = read(path)
    well_said(bad.error, f"{path}:1: ")


def test_text_in_parquet_that_does_not_decode_spoils_its_row(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="Parquet is read with pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet is read with pyarrow")
    texts = arrow.array([b"one", b"t\xffo", None, b"four"]).view(arrow.string())
    parquet.write_table(arrow.table({"text": texts, "n": [1, 2, 3, 4]}), tmp_path / "a.parquet")
    good, [bad] = read(tmp_path / "a.parquet")
    assert [row["n"] for row in good] == [1, 3, 4]
    message = well_said(bad.error, f"{tmp_path / 'a.parquet'}:2: column 'text'")
    assert "0xff, byte 2" in message


def test_times_finer_than_those_of_python_are_text(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="Parquet is read with pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet is read with pyarrow")
    times = arrow.array([1, 10**9], arrow.timestamp("ns"))
    parquet.write_table(arrow.table({"at": times}), tmp_path / "a.parquet")
    good, bad = read(tmp_path / "a.parquet")
    assert not bad
    assert str(good[0]["at"]).startswith("1970-01-01 00:00:00.000000001")


def test_saved_data_sets_are_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="makes the folders that are read")
    made = datasets.Dataset.from_list(ROWS)
    made.save_to_disk(tmp_path / "one", num_shards=2)
    assert read(tmp_path / "one") == (ROWS, [])
    put(tmp_path / "one" / "cache-123.arrow", "left over")
    assert read(tmp_path / "one") == (ROWS, []), "only what the data set lists is its data"
    both = datasets.DatasetDict({"train": made, "test_prefs": made.select([4, 0]), "dev": made.select([1])})
    both.save_to_disk(tmp_path / "both")
    sources = find_sources(tmp_path / "both")
    assert [source.split for source in sources] == ["validation", "test_prefs", "train"]
    assert [row.columns["n"] for row in sources[1].rows() if isinstance(row, Row)] == [4, 0]


def test_data_sets_of_the_hub_are_read() -> None:
    datasets = pytest.importorskip("datasets", reason="the library whose objects are read")
    made = datasets.Dataset.from_list(ROWS)
    assert read(made) == (ROWS, [])
    assert read(made.select([3, 1]))[0] == [ROWS[3], ROWS[1]]
    assert read(made.with_format("numpy"))[0] == ROWS, "a format is for those who asked for it"
    assert read(made.to_iterable_dataset())[0] == ROWS
    assert read(made.to_iterable_dataset().map(lambda row: {"n": row["n"] + 1}))[0][0]["n"] == 1
    sources = find_sources(datasets.DatasetDict({"train": made, "valid": made}))
    assert [(source.split, source.name) for source in sources] == [
        ("train", "dataset[train]"),
        ("validation", "dataset[valid]"),
    ]


def test_data_sets_that_would_be_other_rows_are_refused() -> None:
    datasets = pytest.importorskip("datasets", reason="the library whose objects are read")
    made = datasets.Dataset.from_list(ROWS)
    changed = made.with_transform(lambda batch: {name: batch[name][::-1] for name in batch})
    for data in (changed, {"train": changed}):
        with pytest.raises(InputError, match="has a transform, which is not applied") as refused:
            find_sources(data)
        well_said(refused.value, "")
    with pytest.raises(InputError, match="concatenate_datasets"):
        find_sources([made, made])


def test_pictures_of_the_hub_stay_encoded() -> None:
    datasets = pytest.importorskip("datasets", reason="the library whose objects are read")
    kinds = datasets.Features({"image": datasets.Image(), "images": [datasets.Image()]})
    row = {"image": {"bytes": PNG, "path": None}, "images": [{"bytes": PNG, "path": None}]}
    # Not by `from_list`, which opens each picture, and needs a library for it.
    stored = pytest.importorskip("pyarrow").Table.from_pylist([row], schema=kinds.arrow_schema)
    made = datasets.Dataset(stored, info=datasets.DatasetInfo(features=kinds))
    for data in (made, made.to_iterable_dataset()):
        assert read(data) == ([{"image": PNG, "images": [PNG]}], [])


def test_the_folders_in_which_named_files_differ_tell_their_splits(tmp_path: Path) -> None:
    for name in ("test/train/a.jsonl", "test/test/a.jsonl", "test/train/b.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"text": "x"}\n')
    folder = tmp_path / "test"
    both = find_sources([folder / "train" / "a.jsonl", folder / "test" / "a.jsonl"])
    assert [one.split for one in both] == ["train", "test"]
    alike = find_sources([folder / "train" / "a.jsonl", folder / "train" / "b.jsonl"])
    assert [one.split for one in alike] == ["", ""]
    assert [one.split for one in find_sources([folder / "test" / "a.jsonl"])] == [""]
