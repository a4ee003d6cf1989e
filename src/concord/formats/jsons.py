"""JSON lines, and JSON documents: a list of rows, an object of columns, a list under a key, one row.

A list is read entry by entry, so that a document of any size takes the memory of its longest row. An object
is read whole, since only its end says what it is.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

from concord.errors import InputError, Said, explain
from concord.formats import files
from concord.formats.files import DAMAGES, Lines, Meter, file_bytes
from concord.formats.rows import BadRow, Row, bad_row
from concord.formats.strict import (
    DECODER,
    Unreadable,
    decoded,
    json_object,
    json_value,
    too_deep,
    unreadable,
)
from concord.places import brief
from concord.types import Origin

__all__ = ["damaged", "holds_document", "json_lines", "json_rows", "line_text", "refused"]

_LARGEST = 2**30  # bytes of a document that is one object, which has to be held in memory
_CHUNK = 2**20
_ENTRY = "the entries of a list are rows: [{...}, {...}]"
_CUT = "the file ends before its list does: it seems cut"
# Names under which a list of rows is kept in an object, with the splits that are.
_KEPT_UNDER = (
    *(
        "data",
        "dataset",
        "rows",
        "items",
        "entries",
        "records",
        "examples",
        "instances",
        "samples",
        "results",
    ),
    *("annotations", "train", "training", "test", "validation", "valid", "val", "dev", "eval"),
)
_BLANK = re.compile(r"[ \t\r\n]*")


def refused(origin: Origin, error: Unreadable, raw: str) -> BadRow:
    """A bad row from the reason why its text is none."""
    return bad_row(origin, error.wrong, found=error.found, accepted=error.accepted, do=error.do, raw=raw)


def damaged(name: str, line: int, error: Exception) -> BadRow:
    """What stands in the place of the rows that a damaged file no longer gives."""
    wrong = "the file cannot be read further, and what follows is lost"
    found, accepted = Said(str(error) or type(error).__name__), "a whole file"
    do = "fetch or write the file again: it is cut or damaged"
    return replace(bad_row(Origin(name, line), wrong, found=found, accepted=accepted, do=do), ends=True)


def line_text(line: bytes) -> str:
    """The text of a line that is not too long."""
    if len(line) > files.LONGEST_LINE:
        found, accepted = Said(f"more than {files.LONGEST_LINE:,} bytes"), f"at most {files.LONGEST_LINE:,}"
        do = "keep pictures and long texts in files of their own, one row a line"
        raise Unreadable("a line is too long", found, accepted, do)
    return decoded(line)


def json_lines(path: Path, name: str, meter: Meter) -> Iterator[Row | BadRow]:
    """The rows of a file with one object a line; blank lines are passed over."""
    with file_bytes(path, meter) as stream:
        lines = Lines(stream)
        while True:
            line = b""
            try:
                line = next(lines, b"")
                if not line:
                    return
                columns = json_object(text) if (text := line_text(line)).strip() else None
            except Unreadable as error:
                raw = line[: files.LONGEST_LINE].decode("utf-8", "replace").rstrip("\r\n")
                yield refused(Origin(name, lines.number), error, raw)
                continue
            except DAMAGES as error:
                yield damaged(name, lines.number + 1, error)
                return
            if columns is not None:
                yield Row(columns, Origin(name, lines.number))


# --- documents --------------------------------------------------------------------------------------------


def holds_document(head: bytes, *, whole: bool, lines_meant: bool) -> bool:
    """Whether what begins so is one JSON document and not JSON lines.

    `whole` says that the head is all there is, `lines_meant` that the name of the file speaks of lines. In
    JSON lines most lines are objects; a document that is written a row a line has commas at their ends, or
    brackets on lines of their own.
    """
    lines = [line.strip() for line in head.split(b"\n")]
    if not whole:
        lines.pop()
    lines = [line for line in lines if line]
    rows = sum(line[:1] == b"{" and line[-1:] == b"}" for line in lines)
    if len(lines) < 2:
        return True
    return rows * 2 < len(lines) + (not lines_meant)


def json_rows(path: Path, name: str, meter: Meter) -> Iterator[Row | BadRow]:
    """The rows of a JSON document; they are counted from 1."""
    with file_bytes(path, meter) as stream:
        text = _Text(Lines(stream).stream)
        try:
            if text.skip() == "[":
                yield from _listed(text, name)
            else:
                yield from _one(text, name)
        except DAMAGES as error:
            yield damaged(name, text.count + 1, error)


class _Text:
    """The text of a stream, of which only what has not been read stays in memory."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._kept, self.over = stream, b"", False
        self.text: str = ""
        self.at, self.count = 0, 0

    def more(self) -> bool:
        """Read on; False at the end. What is no UTF-8 becomes lone surrogates, which no row may hold."""
        if self.over:
            return False
        # As much again as is waiting: a long row is then scanned a few times, and not once a chunk.
        chunk = self._kept + self._stream.read(max(_CHUNK, len(self.text) - self.at))
        self.over = len(chunk) == len(self._kept)
        # A character may be cut in two by the end of the chunk.
        cut = 0 if self.over else next((n for n in (1, 2, 3) if chunk[-n:][:1] >= b"\xc0"), 0)
        self._kept = chunk[len(chunk) - cut :] if cut else b""
        new = chunk[: len(chunk) - cut].decode("utf-8", "surrogateescape")
        self.text, self.at = self.text[self.at :] + new, 0
        return True

    def skip(self) -> str:
        """Pass over blanks; the next sign, or nothing at the end."""
        while True:
            blank = _BLANK.match(self.text, self.at)
            self.at = blank.end() if blank else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def value(self) -> tuple[Any, str]:
        """The next value and its text; `Unreadable` where there is none."""
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.at)
            except (json.JSONDecodeError, Unreadable) as error:
                if len(self.text) - self.at > files.LONGEST_LINE:
                    found, accepted = Said("a longer one"), f"at most {files.LONGEST_LINE:,} characters"
                    raise Unreadable("a row is too long", found, accepted, "keep pictures in files") from None
                if not isinstance(error, Unreadable) and self._cut(error) and self.more():
                    continue
                raise self._wrong(error) from None
            except (ValueError, RecursionError) as error:
                raise self._wrong(error) from None
            if end == len(self.text) and self.more():
                continue  # a number may go on in the next chunk
            text = self.text[self.at : end]
            self.at = end
            return value, text

    def _cut(self, error: json.JSONDecodeError) -> bool:
        """Whether what looks wrong may only be cut by the end of the chunk."""
        return error.msg.startswith("Unterminated") or error.pos + 16 > len(self.text)

    def _wrong(self, error: Exception) -> Unreadable:
        """Why there is no value here, counted from its beginning."""
        if isinstance(error, json.JSONDecodeError):
            rest = self.text[self.at :]
            return unreadable(json.JSONDecodeError(error.msg, rest, error.pos - self.at), rest)
        return unreadable(error, "")


def _listed(text: _Text, name: str) -> Iterator[Row | BadRow]:
    """The entries of a list, up to the first place where it is no JSON any more."""
    text.at += 1
    if text.skip() == "]":
        text.at += 1
        yield from _ended(text, name)
        return
    while True:
        text.count += 1
        origin = Origin(name, text.count)
        text.skip()
        try:
            value, raw = text.value()
        except Unreadable as error:
            yield _lost(origin, error)
            return
        yield _entry(origin, value, raw)
        sign = text.skip()
        text.at += 1
        if sign == "]":
            yield from _ended(text, name)
            return
        if sign != ",":
            rest = text.text[text.at - 1 : text.at + 40]
            wrong = _CUT if not sign else "between two rows of a list there is no comma"
            yield _lost(Origin(name, text.count + 1), Unreadable(wrong, rest or Said("its end"), _ENTRY))
            return


def _lost(origin: Origin, error: Unreadable) -> BadRow:
    """A bad row after which the list cannot be read: where the next row begins is not known."""
    more = Unreadable(
        f"{error.wrong}, and the rest of the list is lost", error.found, error.accepted, error.do
    )
    return replace(refused(origin, more, ""), ends=True)


def _entry(origin: Origin, value: Any, raw: str) -> Row | BadRow:
    """A row from an entry of a list."""
    try:
        if not raw.isascii():
            decoded(raw.encode("utf-8", "surrogateescape"))
        if type(value) is not dict:
            raise Unreadable("the row is not an object", brief(value), _ENTRY)
        if "\\u" in raw or too_deep(raw):
            json_value(raw)
    except Unreadable as error:
        return refused(origin, error, raw.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    return Row(cast("dict[str, Any]", value), origin)


def _ended(text: _Text, name: str) -> Iterator[BadRow]:
    """Nothing, where nothing follows the list."""
    if text.skip():
        rest = text.text[text.at : text.at + 40]
        wrong, do = "something follows the list of rows, and is not read", "write one list, or JSON lines"
        yield refused(Origin(name, text.count + 1), Unreadable(wrong, rest, "the end of the file", do), rest)


def _one(text: _Text, name: str) -> Iterator[Row | BadRow]:
    """The rows of a document that is one object."""
    origin = Origin(name, 1)
    while len(text.text) <= _LARGEST and text.more():
        pass
    whole = text.text[text.at :]
    if not text.over:
        wrong, found = f"{name}: one object is too large to be read", Said(f"more than {_LARGEST:,} bytes")
        accepted, do = "JSON lines, or a list of rows, of any size", "write it as JSON lines"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    raw = whole if len(whole) < 10_000 else ""
    try:
        if not whole.isascii():
            decoded(whole.encode("utf-8", "surrogateescape"))
        value = json_object(whole)
        rows = _unfolded(value)
    except Unreadable as error:
        yield refused(origin, error, raw.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
        return
    for row in rows:
        text.count += 1
        place = Origin(name, text.count)
        if isinstance(row, Mapping):
            yield Row(cast("Mapping[str, Any]", row), place)
        else:
            yield refused(place, Unreadable("the row is not an object", brief(row), _ENTRY), json.dumps(row))


def _unfolded(value: dict[str, Any]) -> Iterator[Any]:
    """The rows that one object stands for: a list of rows under a key, columns, or one row."""
    listed = {key: cast("list[Any]", under) for key, under in value.items() if _rows(under)}
    others = [under for key, under in value.items() if key not in listed]
    if len(listed) == 1:
        [(key, rows)] = listed.items()
        turns = all(_turn(row) for row in rows[:10])
        if not turns and (key.lower() in _KEPT_UNDER or not any(isinstance(one, list) for one in others)):
            return iter(rows)
    splits = [key for key in listed if key.lower() in _KEPT_UNDER]
    if len(splits) > 1 and len(splits) == len(listed):
        accepted, do = "one list of rows a file", "write each list into a file of its own"
        raise Unreadable("the object holds several lists of rows", Said(", ".join(splits)), accepted, do)
    columns = list(value.values())
    lists = all(isinstance(column, list) for column in columns)
    if columns and lists and not all(map(_turns, columns)):
        return _across(value)
    if columns and all(_numbered(column) for column in columns):
        return _across({key: list(column.values()) for key, column in value.items()})
    return iter([value])


def _across(columns: dict[str, list[Any]]) -> Iterator[Any]:
    """The rows of an object of columns."""
    lengths = {key: len(column) for key, column in columns.items()}
    if len(set(lengths.values())) > 1:
        found = Said(", ".join(f"{key}: {count}" for key, count in lengths.items()))
        accepted, do = "columns of one length, or a list of rows", "write the rows as JSON lines"
        raise Unreadable("the columns of the object differ in length", found, accepted, do)
    return (dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True))


def _rows(value: object) -> bool:
    """Whether a value is a list of objects."""
    entries = cast("list[Any]", value) if isinstance(value, list) else []
    return bool(entries) and all(isinstance(one, dict) for one in entries)


def _turn(value: object) -> bool:
    """Whether an object is a turn of a conversation, and not a row."""
    keys = cast("Mapping[str, Any]", value).keys() if isinstance(value, Mapping) else ()
    return {"role", "content"} <= set(keys) or {"from", "value"} <= set(keys)


def _turns(column: Sequence[object]) -> bool:
    """Whether a list is one conversation, so that its object is one row and not columns."""
    return bool(column) and all(map(_turn, column))


def _numbered(column: object) -> bool:
    """Whether an object numbers its cells from 0, as data frames are written."""
    keys = list(cast("dict[str, Any]", column)) if isinstance(column, dict) else []
    return bool(keys) and keys == [str(at) for at in range(len(keys))]
