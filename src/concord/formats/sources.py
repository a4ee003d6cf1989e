"""From whatever people have to sources of raw rows: files of the usual formats, folders, data sets, lists.

    find_sources(data)  the sources, in order; each can be read any number of times
    Source              a name, a split, and `rows()`

What a file holds is told from its first bytes more than from its name, so what was misnamed is read right.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

from concord.errors import NOTHING, InputError, RowError, Said, explain
from concord.formats.files import (
    DAMAGES,
    HEAD,
    Lines,
    Meter,
    beginning,
    binary_kind,
    file_bytes,
    regular_file,
)
from concord.formats.hub import digest_of, hub_kind, hub_rows, memory_rows, refuse_object
from concord.formats.jsons import holds_document, json_lines, json_rows
from concord.formats.rows import BadRow, Row
from concord.formats.strict import Unreadable, decoded, json_object
from concord.formats.tables import arrow_rows, csv_rows, parquet_rows, pyarrow, repeated

__all__ = ["DataLike", "Source", "find_sources", "search", "split_named"]

DataLike: TypeAlias = Any
"""A path (file or folder), a list of paths, a Dataset, IterableDataset or DatasetDict of `datasets`, a
sequence of mappings, or a mapping from splits to any of these but paths."""

_Rows: TypeAlias = Callable[[Meter], Iterator[Row | BadRow]]
_SUFFIXES = ("jsonl", "ndjson", "json", "csv", "tsv", "parquet", "arrow")
_PACKED = ("gz", "bz2", "xz")
_ACCEPTED = "JSON lines, JSON, CSV, TSV (each also as .gz, .bz2, .xz), Parquet, Arrow"
# What the hub's library and repositories put beside the rows.
_BESIDE = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
_SPLITS = {
    "train": "train",
    "training": "train",
    "valid": "validation",
    "validation": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "eval",
    "evaluation": "eval",
}


@dataclass(eq=False)
class Source:
    """Rows that belong together: a file, or one split of a data set.

    `plain` says that its values are what JSON has and nothing else. `size` is in bytes on disk for a file, in
    rows for an object, and 0 where it is not known. `position` says how far the latest reading has come, in
    the same unit.
    """

    name: str
    split: str
    size: int
    on_disk: bool
    plain: bool
    _read: _Rows = field(repr=False)
    _meter: Meter = field(default_factory=Meter, repr=False)

    def rows(self) -> Iterator[Row | BadRow]:
        """The rows from the first on; each call starts afresh."""
        self._meter = Meter()
        return self._read(self._meter)

    @property
    def position(self) -> int:
        """How far the latest reading has come, in the unit of `size`."""
        return self._meter.position

    def digest(self) -> bytes:
        """A digest of what the source holds: of the bytes of a file, of the rows of an object."""
        if not self.on_disk:
            return digest_of(self.rows)
        with Path(self.name).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()


def find_sources(data: DataLike) -> tuple[Source, ...]:
    """The sources of what people give, in order; refused with what to do where there is none."""
    return search(data)[0]


def search(data: DataLike) -> tuple[tuple[Source, ...], tuple[str, ...]]:
    """As `find_sources`, with notes on what was left aside."""
    notes: list[str] = []
    return tuple(_found(data, notes)), tuple(notes)


def split_named(path: str) -> str:
    """The split that a name of a file or folder speaks of, if any; the last word that is one decides."""
    words = re.split(r"[^a-z]+", path.lower())
    return next((_SPLITS[word] for word in reversed(words) if word in _SPLITS), "")


def _split(key: str) -> str:
    """The split of a data set by its key there: by its usual name, if it has one."""
    return _SPLITS.get(key.lower(), key)


def _found(data: DataLike, notes: list[str]) -> Iterable[Source]:
    """The sources of anything."""
    if isinstance(data, str | os.PathLike):
        return _at_path(os.fspath(cast("str | os.PathLike[str]", data)), notes)
    if hub_kind(data):
        split = str(getattr(data, "split", None) or "")
        return [_of_hub(data, f"dataset[{split}]" if split else "dataset", re.split(r"[^\w]", split)[0])]
    if isinstance(data, Mapping):
        return _splits(cast("Mapping[object, Any]", data), notes)
    if isinstance(data, Sequence) and not isinstance(data, bytes | bytearray):
        return _of_list(cast("Sequence[Any]", data), notes)
    raise refuse_object(data)


def _of_list(data: Sequence[Any], notes: list[str]) -> list[Source]:
    """Sources of a list: of paths, or of rows."""
    if not data:
        do = "give at least one path or row"
        raise InputError(
            explain("there are no data", found=data, accepted="a list of paths or of rows", do=do)
        )
    paths = [isinstance(one, str | os.PathLike) for one in data]
    if all(paths):
        sources = _told_apart([source for one in data for source in _found(one, notes)])
        names = [source.name for source in sources]
        if twice := repeated(names):
            wrong, do = "a file is named twice", "name each file once; repeat rows by the number of epochs"
            raise InputError(explain(wrong, found=twice, accepted="different files", do=do))
        return sources
    if hub_kind(data[0]):
        do = "join them with `datasets.concatenate_datasets`, or name them in a mapping from splits"
        wrong, found = "a list of data sets is not read", Said(f"{len(data)} data sets")
        raise InputError(explain(wrong, found=found, accepted="one, or a mapping from splits", do=do))
    if paths[0]:
        wrong, do = "a list mixes paths and rows", "read the files first, or name files alone"
        raise InputError(explain(wrong, found=data[paths.index(False)], accepted="one of the two", do=do))
    return [Source("rows", "", len(data), False, False, partial(memory_rows, data, "rows"))]


def _of_hub(data: Any, name: str, split: str) -> Source:
    """A source that is a data set of the hub's library."""
    if hub_kind(data) == "Dataset" and data.format["type"] == "custom":
        wrong, do = "the data set has a transform, which is not applied here", "apply it with `map` first"
        raise InputError(explain(wrong, found=Said("a transform"), accepted="rows as they are stored", do=do))
    size = len(data) if hub_kind(data) == "Dataset" else 0
    return Source(name, _split(split), size, False, False, partial(hub_rows, data, name))


def _splits(data: Mapping[object, Any], notes: list[str]) -> list[Source]:
    """Sources from a mapping of splits."""
    sources: list[Source] = []
    for key, part in data.items():
        if hub_kind(part):
            sources.append(_of_hub(part, f"dataset[{key}]", str(key)))
        elif isinstance(part, list | tuple) and all(
            isinstance(row, Mapping) for row in cast("list[Any]", part)
        ):
            rows, name = cast("list[Any]", part), f"rows[{key}]"
            read = partial(memory_rows, rows, name)
            sources.append(Source(name, _split(str(key)), len(rows), False, False, read))
        else:
            raise refuse_object(data)
    if not sources:
        do = "give at least one split with rows"
        raise InputError(explain("there are no data", found=NOTHING, accepted="splits with rows", do=do))
    return sources


def _told_apart(sources: list[Source]) -> list[Source]:
    """Files whose names speak of no split have that of the folders in which they differ from each other."""
    if len(sources) < 2:
        return sources
    paths = [os.path.abspath(source.name) for source in sources]
    shared = os.path.commonpath([os.path.dirname(path) for path in paths])
    return [
        source if source.split else replace(source, split=split_named(os.path.relpath(path, shared)))
        for source, path in zip(sources, paths, strict=True)
    ]


# --- files and folders ------------------------------------------------------------------------------------


def _at_path(given: str, notes: list[str]) -> list[Source]:
    """The sources at a path."""
    if given == "-":
        do = "write it to a file first (`... > rows.jsonl`), and name that file"
        accepted = "a file or a folder, since data are read more than once"
        raise InputError(
            explain("standard input can be read only once", found=given, accepted=accepted, do=do)
        )
    if not given:
        do = "name one; `.` is the folder you are in"
        raise InputError(explain("the path is empty", found=given, accepted="a file or a folder", do=do))
    if re.match(r"[a-z][a-z0-9+.-]+://", given):
        do = "download it, and name the file; or give what `datasets.load_dataset(...)` returns"
        raise InputError(explain("data are not fetched", found=given, accepted="a file or a folder", do=do))
    path = Path(given).expanduser()
    if os.path.isdir(path):
        return _in_folder(path, notes)
    return [_file(path, split_named(path.name))]


def _in_folder(folder: Path, notes: list[str]) -> list[Source]:
    """The sources in a folder: the data files in it, sorted; what was left aside is noted."""
    taken, aside = _walk(folder)
    sources = [_file(path, split) for path, split in taken]
    if not sources:
        found = Said("; ".join(aside) if aside else "nothing")
        do = "name the folder with the data files, or the file itself"
        raise InputError(explain(f"{folder}: no data in this folder", found=found, accepted=_ACCEPTED, do=do))
    if aside:
        shown = "; ".join(aside[:5]) + (f" and {len(aside) - 5} more" if len(aside) > 5 else "")
        notes.append(f"{folder}: left aside: {shown}")
    return sources


def _walk(folder: Path) -> tuple[list[tuple[Path, str]], list[str]]:
    """The data files of a folder with their splits, and what was left aside and why."""
    taken: list[tuple[Path, str]] = []
    aside: list[str] = []
    seen: set[str] = set()

    def refused(error: OSError) -> None:
        aside.append(f"{error.filename} ({error.strerror})")

    for root, folders, names in os.walk(folder, followlinks=True, onerror=refused):
        here = Path(root)
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        if (real := os.path.realpath(root)) in seen:
            folders.clear()
            continue
        seen.add(real)
        if "state.json" in names and (saved := _saved(here / "state.json")) is not None:
            # A folder that `save_to_disk` made; its own list says which files are the data.
            folders.clear()
            split = "" if here == folder else _split(here.name)
            taken += [(here / name, split) for name in saved]
            continue
        for name in sorted(names):
            inside = (here / name).relative_to(folder)
            if name.startswith("."):
                aside.append(f"{inside} (hidden)")
            elif name in _BESIDE:
                continue
            elif not _suffix(name):
                aside.append(f"{inside} (of no known type)")
            else:
                taken.append((here / name, split_named(str(inside))))
    return taken, aside


def _saved(state: Path) -> list[str] | None:
    """The data files that a saved data set lists; None where the file is something else."""
    try:
        kept = json.loads(state.read_bytes())
        files = [str(one["filename"]) for one in kept["_data_files"]]
    except (ValueError, KeyError, TypeError, OSError, RecursionError):
        return None
    if kept.get("_indices_data_files"):
        wrong = f"{state.parent}: this data set was saved with a selection of rows beside it"
        do = "load it with a present version of `datasets`, and save it again"
        raise InputError(explain(wrong, found="_indices_data_files", accepted="rows as they stand", do=do))
    return files


def _suffix(name: str) -> str:
    """What the name of a file says it holds; nothing where it says nothing that is known."""
    parts = name.lower().split(".")
    if len(parts) > 1 and parts[-1] in _PACKED:
        parts.pop()
    return parts[-1] if len(parts) > 1 and parts[-1] in _SUFFIXES else ""


def _file(path: Path, split: str) -> Source:
    """The source that a file is, by its first bytes and its name."""
    size = regular_file(path)
    name, accepted = str(path), _ACCEPTED
    if not size:
        do = "write the rows again, or leave the file out"
        raise InputError(
            explain(f"{name}: the file is empty", found=Said("0 bytes"), accepted=accepted, do=do)
        )
    try:
        with file_bytes(path) as stream:
            raw = beginning(stream)
        with file_bytes(path) as stream:
            head = b"" if binary_kind(raw) else beginning(Lines(stream).stream)
    except DAMAGES as error:
        wrong, do = f"{name}: the file cannot be decompressed", "fetch or write the file again"
        found = Said(str(error) or type(error).__name__)
        raise RowError(explain(wrong, found=found, accepted="a whole file", do=do)) from None
    if raw[:4] == b"PAR1" or raw[:6] == b"ARROW1" or raw[:4] == b"\xff\xff\xff\xff":
        if _is_packed(path):
            wrong, do = f"{name}: a columnar file is compressed as a whole", "decompress it"
            accepted = "Parquet, which compresses by itself"
            raise InputError(explain(wrong, found=path.name, accepted=accepted, do=do))
        pyarrow(name)
        reader = parquet_rows if raw[:4] == b"PAR1" else arrow_rows
        return Source(name, split, size, True, False, partial(reader, path, name))
    if known := binary_kind(raw):
        wrong, (kind, do) = f"{name}: not a file of rows", known
        raise InputError(explain(wrong, found=Said(kind), accepted=accepted, do=do))
    return Source(name, split, size, True, True, _text_reader(path, name, head, whole=len(raw) < HEAD))


def _is_packed(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"))


def _text_reader(path: Path, name: str, head: bytes, *, whole: bool) -> _Rows:
    """The reader for a text, by what stands in it where its name is not to be believed."""
    suffix, begin = _suffix(path.name), head.lstrip()[:1]
    first = head.lstrip().split(b"\n", 1)[0]
    if suffix in ("csv", "tsv") and not (begin == b"{" and _is_row(first)):
        return partial(csv_rows, path, name, sign="\t" if suffix == "tsv" else ",")
    if suffix == "" and not (begin and begin in b"{[" and (_is_row(first) or begin == b"[")):
        found = Said(f"text that begins with {head[:40].decode('utf-8', 'replace')!r}")
        if not head.isascii() and b"\0" in head:
            found = Said("bytes that are no text")
        do = "write the rows as JSON lines (`.jsonl`), with one object a line, or as CSV with a header"
        raise InputError(explain(f"{name}: not a file of rows", found=found, accepted=_ACCEPTED, do=do))
    if suffix in ("parquet", "arrow") and not _is_row(first):
        found, do = Said("other first bytes than such a file has"), "fetch or write the file again"
        raise InputError(explain(f"{name}: not a {suffix} file", found=found, accepted=_ACCEPTED, do=do))
    if begin in (b"{", b"[") and _is_document(path, head, first, whole=whole):
        return partial(json_rows, path, name)
    if suffix == "json" and begin not in (b"{", b"["):
        found = head[:40].decode("utf-8", "replace")
        do = "write JSON; a table with a header is named .csv or .tsv"
        raise InputError(explain(f"{name}: this is not JSON", found=found, accepted=_ACCEPTED, do=do))
    return partial(json_lines, path, name)


def _is_document(path: Path, head: bytes, first: bytes, *, whole: bool) -> bool:
    """Whether a text is one JSON document, and not an object a line."""
    lines_meant = _suffix(path.name) in ("jsonl", "ndjson")
    if _is_row(first):
        # Whatever follows, no document goes on after its object.
        return not lines_meant and whole and head.strip() == first.strip()
    if not holds_document(head, whole=whole, lines_meant=lines_meant):
        return False
    if whole or b"\n" in head.lstrip():
        return True
    return not (lines_meant and head.lstrip()[:1] == b"{") and not _has_line_end(path)


def _is_row(line: bytes) -> bool:
    """Whether a line is an object by itself."""
    try:
        return bool(json_object(decoded(line)))
    except Unreadable:
        return False


def _has_line_end(path: Path) -> bool:
    """Whether the first line of a file, longer than its head, is not all of it."""
    with file_bytes(path) as stream:
        text = Lines(stream).stream
        while chunk := text.read(2**20):
            if b"\n" in chunk:
                return bool(chunk.partition(b"\n")[2].strip() or text.read(64).strip())
    return False
