"""Tables: CSV and TSV, where every cell is text; Parquet and Arrow, which keep numbers, lists and bytes.

Parquet and Arrow are read a batch at a time with pyarrow, so memory stays that of a batch. Pictures that the
libraries of the hub keep as {bytes, path} become their bytes, or the path where there are none.
"""

import csv
import struct
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias, cast

from concord.errors import InputError, Said, UnavailableError, explain
from concord.formats import files
from concord.formats.files import DAMAGES, Lines, Meter, file_bytes
from concord.formats.jsons import damaged, line_text, refused
from concord.formats.rows import BadRow, Row, bad_row
from concord.formats.strict import Unreadable
from concord.types import Origin

__all__ = [
    "arrow_rows",
    "batch_rows",
    "csv_rows",
    "made_row",
    "parquet_rows",
    "pyarrow",
    "repeated",
]

_LONGEST_CELL = 64 * 2**20  # characters; also what a quote that is never closed may swallow
_LONGEST_NAME = 200  # characters of a column's name; what is longer is text, and the header is missing
_BATCH = 256
_DELIMITERS = ",\t;|"


def _delimiter(head: bytes, usual: str) -> str:
    """The sign between the columns, from the header: the usual one for the file's name, if it is there."""
    line = head.lstrip(b"\r\n").split(b"\n", 1)[0].decode("utf-8", "replace")
    unquoted = "".join(line.split('"')[::2])
    if usual in unquoted:
        return usual
    return max(_DELIMITERS, key=lambda sign: (unquoted.count(sign), sign == usual))


class _Texts:
    """The lines of a file as text for the reader of CSV, with those of the present row kept.

    An iterator and no generator: it goes on after an error.
    """

    def __init__(self, lines: Lines) -> None:
        self.lines, self.taken = lines, list[str]()
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self.lines, b"")
        if not line:
            self.ended = True
            raise StopIteration
        try:
            text = line_text(line)
        except Unreadable:
            self.taken.append(line[: files.LONGEST_LINE].decode("utf-8", "replace"))
            raise
        self.taken.append(text)
        if "\0" in text:
            do = "write the file again: zeros are what a disk leaves where writing was cut off"
            raise Unreadable("a byte of zero stands in the text", Said("the byte 0x00"), "text", do)
        return text


def csv_rows(path: Path, name: str, meter: Meter, sign: str) -> Iterator[Row | BadRow]:
    """The rows of a table whose first line names its columns; `sign` is the usual one between columns."""
    csv.field_size_limit(_LONGEST_CELL)
    with file_bytes(path, meter) as stream:
        texts = _Texts(Lines(stream))
        head = texts.lines.stream.peek(files.HEAD)[: files.HEAD]  # type: ignore[attr-defined]
        reader = csv.reader(texts, delimiter=_delimiter(cast(bytes, head), sign), strict=True)
        header = None
        while True:
            texts.taken.clear()
            line = texts.lines.number + 1
            try:
                cells = next(reader, None)
                if cells is None:
                    return
                if header is None:
                    header = _header(name, cells) if any(cells) else None
                    continue
                if not cells:
                    continue
                if len(cells) != len(header):
                    found, accepted = Said(f"{len(cells)} cells"), f"{len(header)}, as the header has"
                    do = "quote cells that hold the separator or line ends"
                    raise Unreadable("the row has another number of cells", found, accepted, do)
            except (csv.Error, Unreadable) as error:
                why = error if isinstance(error, Unreadable) else _csv_error(error, texts)
                if header is None:
                    message = explain(why.wrong, found=why.found, accepted=why.accepted, do=why.do)
                    raise InputError(f"{name}:{line}: the header cannot be read: {message}") from None
                yield refused(Origin(name, line), why, "".join(texts.taken)[: files.LONGEST_LINE])
                continue
            except DAMAGES as error:
                yield damaged(name, line, error)
                return
            yield Row(dict(zip(header, cells, strict=True)), Origin(name, line), textual=True)


def _csv_error(error: csv.Error, texts: _Texts) -> Unreadable:
    """Why a row of a table is none."""
    said = str(error)
    if "unexpected end" in said or "field larger" in said:
        found = Said(f"no closing quote in the {len(texts.taken):,} lines that follow")
        wrong, do = "a quote that opens a cell is not closed", "close the quote"
        return Unreadable(wrong, found, '"..." around a cell', do)
    accepted, do = 'cells as "...", with quotes inside doubled', "double the quotes inside of cells"
    return Unreadable("the row is no CSV", Said(said), accepted, do)


def _header(name: str, cells: list[str]) -> list[str]:
    """The names of the columns."""
    accepted, do = "a first line with the names of the columns", "write the names of the columns first"
    if odd := [cell for cell in cells if len(cell) > _LONGEST_NAME or "\n" in cell]:
        raise InputError(
            explain(f"{name}:1: the table has no header", found=odd[0], accepted=accepted, do=do)
        )
    # An index without a name is what data frames write first.
    named = [cell.strip() or ("index" if at == 0 else "") for at, cell in enumerate(cells)]
    if "" in named:
        wrong, found = (
            f"{name}:1: a column has no name",
            Said(f"column {named.index('') + 1} of {len(named)}"),
        )
        raise InputError(
            explain(wrong, found=found, accepted="a name for each column", do="name it, or drop it")
        )
    _distinct(named, f"{name}:1")
    return named


def repeated(names: Sequence[str]) -> str | None:
    """The first name that stands twice among some; None where all differ."""
    seen = set[str]()
    return next((name for name in names if name in seen or seen.add(name)), None)


def _distinct(names: Sequence[str], where: str) -> None:
    """Refuse two columns of one name, of which one would be lost."""
    if twice := repeated(names):
        wrong, do = f"{where}: two columns have the same name", "rename one, or drop it"
        raise InputError(explain(wrong, found=twice, accepted="different names", do=do))


# --- columnar files ---------------------------------------------------------------------------------------


_Mend: TypeAlias = Callable[[Any], Any]


def pyarrow(name: str) -> Any:
    """The library that reads columnar files."""
    try:
        for part in ("pyarrow.ipc", "pyarrow.parquet"):
            import_module(part)
        return import_module("pyarrow")
    except ImportError:
        wrong, found = f"{name}: pyarrow is not installed, which reads Parquet and Arrow", Said("no pyarrow")
        do = "`pip install pyarrow`, or write the rows as JSON lines"
        raise UnavailableError(explain(wrong, found=found, accepted="pyarrow", do=do)) from None


def parquet_rows(path: Path, name: str, meter: Meter) -> Iterator[Row | BadRow]:
    """The rows of a Parquet file, batch by batch."""
    arrow, count, total = pyarrow(name), 0, path.stat().st_size
    try:
        with arrow.parquet.ParquetFile(path, pre_buffer=False) as table:
            every = max(1, table.metadata.num_rows)
            _distinct(table.schema_arrow.names, name)
            for batch in table.iter_batches(batch_size=_BATCH):
                for columns in batch_rows(batch):
                    count += 1
                    yield made_row(columns, Origin(name, count))
                meter.position = total * count // every
    except (arrow.ArrowException, OSError, struct.error) as error:
        yield _unreadable(name, count, error)


def arrow_rows(path: Path, name: str, meter: Meter) -> Iterator[Row | BadRow]:
    """The rows of an Arrow file, a stream as `datasets` writes it or one with a footer."""
    arrow, count = pyarrow(name), 0
    try:
        with arrow.OSFile(str(path)) as under:
            framed = under.read(6) == b"ARROW1"
            under.seek(0)
            for batch in _batches(arrow, under, framed=framed):
                _distinct(batch.schema.names, name)
                for start in range(0, batch.num_rows, _BATCH):
                    for columns in batch_rows(batch.slice(start, _BATCH)):
                        count += 1
                        yield made_row(columns, Origin(name, count))
                meter.position = under.tell()
    except (arrow.ArrowException, OSError) as error:
        yield _unreadable(name, count, error)


def _batches(arrow: Any, under: Any, *, framed: bool) -> Iterator[Any]:
    if framed:
        opened = arrow.ipc.open_file(under)
        yield from (opened.get_batch(at) for at in range(opened.num_record_batches))
    else:
        yield from arrow.ipc.open_stream(under)


def _unreadable(name: str, count: int, error: Exception) -> BadRow:
    """A bad row for the place where a columnar file breaks off."""
    if count:
        return damaged(name, count + 1, error)
    wrong, accepted = "this is not the columnar file that its first bytes say", "Parquet or Arrow"
    said = str(error).split("\n")[0][:160]
    found, do = Said(said or type(error).__name__), "fetch or write the file again"
    return bad_row(Origin(name, 1), wrong, found=found, accepted=accepted, do=do)


def batch_rows(batch: Any) -> Iterator[dict[str, Any] | Unreadable]:
    """The rows of a record batch or table as Python values, pictures as bytes; or why one cannot be read."""
    mends: dict[str, _Mend] = {
        field.name: mend for field in batch.schema if (mend := _mend(field.type)) is not None
    }
    columns = dict[str, list[Any]]()
    spoiled = dict[int, Unreadable]()
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        values: list[Any] = _values(name, column, spoiled)
        mend = mends.get(name)
        columns[name] = values if mend is None else [mend(value) for value in values]
    names = tuple(columns)
    for at, cells in enumerate(zip(*columns.values(), strict=True)):
        yield spoiled[at] if at in spoiled else dict(zip(names, cells, strict=True))


def _values(name: str, column: Any, spoiled: dict[int, Unreadable]) -> list[Any]:
    """The values of a column: as text where Python has no type for them; what is no text spoils its row."""
    try:
        return column.to_pylist(maps_as_pydicts="strict")
    except (ValueError, KeyError, ImportError, OverflowError, TypeError):
        return [_value(name, at, cell, spoiled) for at, cell in enumerate(column)]


def _value(name: str, at: int, cell: Any, spoiled: dict[int, Unreadable]) -> Any:
    try:
        return cell.as_py()
    except UnicodeDecodeError as error:
        found = Said(f"the byte 0x{error.object[error.start]:02x}, byte {error.start + 1} of the text")
        do = "write the file again with text in UTF-8, or leave the row out"
        spoiled[at] = Unreadable(f"column {name!r}: the text does not decode", found, "UTF-8", do)
        return None
    except (ValueError, KeyError, ImportError, OverflowError):
        return str(cell)  # a time finer than those of Python


def made_row(columns: dict[str, Any] | Unreadable, origin: Origin) -> Row | BadRow:
    """A row of a batch, with its place."""
    return refused(origin, columns, "") if isinstance(columns, Unreadable) else Row(columns, origin)


def _mend(kind: Any) -> _Mend | None:
    """What makes plain values of a column's: pictures of {bytes, path}; None where they are plain already."""
    arrow = pyarrow("a table")
    types = arrow.types
    if types.is_struct(kind):
        fields = {kind.field(at).name: kind.field(at).type for at in range(kind.num_fields)}
        if fields.keys() == {"bytes", "path"}:
            return _picture
        inner = {name: mend for name, of in fields.items() if (mend := _mend(of)) is not None}
        return _inside(inner) if inner else None
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        each = _mend(kind.value_type)
        return _each(each) if each else None
    return None


def _picture(value: Any) -> Any:
    if value is None:
        return None
    return value["path"] if value["bytes"] is None else value["bytes"]


def _inside(mends: dict[str, _Mend]) -> _Mend:
    def mended(value: Any) -> Any:
        return value if value is None else value | {name: mend(value[name]) for name, mend in mends.items()}

    return mended


def _each(mend: _Mend) -> _Mend:
    def mended(value: Any) -> Any:
        return value if value is None else [mend(one) for one in value]

    return mended
