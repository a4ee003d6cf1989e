"""Rendered rows on disk, at random access in flat memory: what trainers read.

    with Writer(folder, renderer=renderer.id) as writer:
        writer.append(pack(rendered), item)
        shards = writer.publish()
    shards = Shards(folder)
    shards[7].rendered, shards[7].utilities, shards.lengths.tokens

A folder holds header.json and, for each part, four files: the packed rows (`tokens`), what is known of them
as lines of JSON (`facts`), and two tables of numbers, one line a row (`rows`: where it ends in the others,
its lengths, its checksum) and one a leaf (`leaves`). All are mapped, none is read as a whole, and lengths are
known without touching a token.

A folder is filled aside, synced, and renamed, so it is whole or absent. A row is checked when it is taken
out, the tables when lengths are asked for; the header has a hash of every file, for `verify`.
"""

import hashlib
import mmap
import operator
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self, SupportsIndex, TypeAlias, cast, overload

import numpy as np
from numpy.typing import NDArray

from concord import durable, messages, wire
from concord.data.packed import Words, unpack
from concord.errors import InputError, NotFoundError, RunError, Said, StoreError, explain
from concord.manifest import hash_file
from concord.render.records import Rendered
from concord.types import JSON, Origin, Utilities

__all__ = [
    "FILES",
    "FORMAT",
    "HEADER",
    "ROW",
    "VERSION",
    "Facts",
    "Header",
    "Lengths",
    "Media",
    "Part",
    "Prepared",
    "Shards",
    "file_name",
    "read_header",
]

HEADER = "header.json"
FORMAT, VERSION = "concord-shards", 1
"""What the header of such a folder says it is."""

ROW = ("words", "facts", "leaves", "tokens", "prompt", "longest", "trained", "check")
"""The columns of the table of rows: where a row ends in the three other files, its lengths, its checksum."""

FILES: dict[str, tuple[str, int]] = {
    "tokens": ("<i4", 1),
    "facts": ("u1", 1),
    "rows": ("<i8", len(ROW)),
    "leaves": ("<i4", 3),
}
"""The files of a part: the type of their numbers, and how many stand in a line."""

Media: TypeAlias = tuple[tuple[messages.Part, ...], ...]
"""The pictures and sounds of a prompt, then those of each reply; empty where all is text."""

_Table: TypeAlias = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of the rows: how many there are, and the size and sha256 of each file."""

    rows: int
    bytes: Mapping[str, int]
    sha256: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Header:
    """What header.json says. `about` is for whoever wrote the rows."""

    format: str
    version: int
    renderer: str
    rows: int
    tokens: int
    parts: tuple[Part, ...]
    about: Mapping[str, JSON] = field(default_factory=dict[str, JSON])


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a row beside its tokens, as in `Item`; and its pictures and sounds."""

    utilities: Utilities = None
    meta: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    origin: Origin | None = None
    media: Media = ()


@dataclass(frozen=True, eq=False)
class Prepared:
    """A row as trainers see it: its number, its tokens, and what is known of it, parsed when asked for."""

    number: int
    rendered: Rendered
    text: bytes = field(repr=False)

    @cached_property
    def facts(self) -> Facts:
        """What is known of the row."""
        try:
            return wire.loads(Facts, self.text, where=f"row {self.number}")
        except InputError as error:
            raise _damaged(f"what is known of row {self.number} cannot be read", str(error)) from error

    @property
    def utilities(self) -> Utilities:
        """What is known of the utility of its replies."""
        return self.facts.utilities

    @property
    def meta(self) -> Mapping[str, JSON]:
        """Every other column of the row."""
        return self.facts.meta

    @property
    def origin(self) -> Origin | None:
        """The file and line that the row came from."""
        return self.facts.origin

    @property
    def media(self) -> Media:
        """Its pictures and sounds."""
        return self.facts.media


@dataclass(frozen=True, eq=False)
class Lengths:
    """How long rows are, as columns.

    For each row: `tokens` with the prompt counted once (its cost in a forest), those of its `prompt`, its
    `longest` leaf, and how many are `trained`. For each leaf: the `row` and the `reply` it belongs to, its
    `length`, and its trained tokens, `learned`.
    """

    tokens: NDArray[np.int64]
    prompt: NDArray[np.int64]
    longest: NDArray[np.int64]
    trained: NDArray[np.int64]
    row: NDArray[np.int64]
    reply: NDArray[np.int32]
    length: NDArray[np.int32]
    learned: NDArray[np.int32]


def read_header(folder: Path) -> Header:
    """The header of a folder of prepared rows; a StoreError where it is no such folder, or not for us."""
    try:
        said = durable.read_object(folder / HEADER, ["format"])
    except RunError as error:
        wrong, accepted = f"{folder} does not hold prepared rows", f"a folder with a {HEADER} of Concord's"
        do = "prepare the data into it, or mend the path"
        found = Said("no such file" if not (folder / HEADER).exists() else str(error))
        raise StoreError(explain(wrong, found=found, accepted=accepted, do=do)) from error
    version: object = said.get("version")
    if said["format"] != FORMAT or version != VERSION:
        newer = said["format"] == FORMAT
        wrong = f"{folder} is of {'another version' if newer else 'another kind'}"
        found, accepted = version if newer else said["format"], f"{FORMAT}, version {VERSION}"
        do = "use the Concord that wrote it, or prepare the data again into another folder"
        raise StoreError(explain(wrong, found=found, accepted=accepted, do=do))
    try:
        return wire.from_json(Header, said, where=str(folder / HEADER))
    except InputError as error:
        raise _damaged(f"the header of {folder} cannot be used", str(error)) from error


class Shards:
    """The rows of a folder that a `Writer` published: a sequence of `Prepared`.

    Objects can be pickled and survive a fork; a pickled one opens the same folder, and refuses it where
    other rows stand there by then.
    """

    def __init__(self, folder: str | Path) -> None:
        """Map the files, after checking that their sizes are what the header says."""
        self.folder = Path(folder).absolute()
        self.header = read_header(self.folder)
        self._parts: list[dict[str, _Table]] | None = [
            _mapped(self.folder, number, part) for number, part in enumerate(self.header.parts)
        ]
        self._starts = np.cumsum([0, *(part.rows for part in self.header.parts)]).tolist()
        if self._starts[-1] != self.header.rows:
            raise _damaged(f"the parts of {self.folder} do not add up", f"{self._starts[-1]} rows")

    def __enter__(self) -> Self:
        """Use the rows in a `with` block, which closes them."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def __reduce__(self) -> tuple[Any, tuple[str, Header]]:
        """Pickle as the place and what stands there."""
        return _reopened, (str(self.folder), self.header)

    def close(self) -> None:
        """Let go of the files. Rows that were taken out stay usable, and keep theirs open."""
        self._parts = None
        self.__dict__.pop("lengths", None)

    def __len__(self) -> int:
        """Count the rows."""
        return self.header.rows

    def __iter__(self) -> Iterator[Prepared]:
        """Go through the rows in order."""
        return map(self.__getitem__, range(len(self)))

    @overload
    def __getitem__(self, number: SupportsIndex) -> Prepared: ...
    @overload
    def __getitem__(self, number: slice) -> list[Prepared]: ...
    def __getitem__(self, number: SupportsIndex | slice) -> Prepared | list[Prepared]:
        """A row by its number, from the end where that is negative; or those of a slice, in a list."""
        if isinstance(number, slice):
            return [self._row(one) for one in range(*number.indices(len(self)))]
        wanted = operator.index(number)
        counted = wanted + len(self) if wanted < 0 else wanted
        if not 0 <= counted < len(self):
            raise IndexError(f"there is no row {wanted}: {self.folder} holds {len(self)}")
        return self._row(counted)

    @cached_property
    def lengths(self) -> Lengths:
        """How long all rows are. Taken from the tables alone, which are checked to be as written."""
        parts = self._open()
        for number, (part, written) in enumerate(zip(parts, self.header.parts, strict=True)):
            for name in ("rows", "leaves"):
                if hashlib.sha256(part[name].data).hexdigest() != written.sha256[name]:
                    raise _damaged(f"{self.folder / file_name(number, name)} is damaged", "other bytes")
        rows = np.concatenate([part["rows"] for part in parts])
        leaves = np.concatenate([part["leaves"] for part in parts])
        counts = [np.diff(part["rows"][:, 2], prepend=0) for part in parts]
        owners = np.repeat(np.arange(len(rows)), np.concatenate(counts))
        tokens, prompt, longest, trained = rows.T[3:7]
        reply, length, learned = leaves.T
        return Lengths(tokens, prompt, longest, trained, owners, reply, length, learned)

    def verify(self) -> tuple[str, ...]:
        """Read everything, and name the files whose content is not what was written."""
        bad: list[str] = []
        for number, part in enumerate(self.header.parts):
            for name in FILES:
                path = self.folder / file_name(number, name)
                with suppress(NotFoundError):
                    if hash_file(path) == part.sha256[name]:
                        continue
                bad.append(path.name)
        return tuple(bad)

    def _open(self) -> list[dict[str, _Table]]:
        if self._parts is None:
            wrong, do = f"the rows of {self.folder} were closed", "open them again with Shards(folder)"
            raise StoreError(explain(wrong, found=Said("a closed object"), accepted="an open one", do=do))
        return self._parts

    def _row(self, number: int) -> Prepared:
        parts = self._open()
        at = bisect_right(self._starts, number) - 1
        part, within = parts[at], number - self._starts[at]
        stop = part["rows"][within, :2].tolist()
        start = part["rows"][within - 1, :2].tolist() if within else [0, 0]
        limits = (len(part["tokens"]), len(part["facts"]))
        if not all(0 <= a < b <= most for a, b, most in zip(start, stop, limits, strict=True)):
            raise _damaged(f"row {number} of {self.folder} is damaged", "a place outside of its files")
        words = cast(Words, part["tokens"][start[0] : stop[0], 0])
        facts = part["facts"][start[1] : stop[1], 0].tobytes()
        if zlib.crc32(facts, zlib.crc32(words.data)) != part["rows"][within, -1]:
            raise _damaged(f"row {number} of {self.folder} is damaged", "another checksum than was written")
        return Prepared(number, unpack(words), facts)


def file_name(part: int, name: str) -> str:
    """The name of a file of a part."""
    return f"part-{part:05d}.{name}"


def _reopened(folder: str, header: Header) -> Shards:
    shards = Shards(folder)
    if shards.header != header:
        wrong, do = f"{folder} holds other rows than it did", "start again with the rows that stand there now"
        accepted = "the rows that were there when this object was pickled"
        raise StoreError(explain(wrong, found=Said("another header"), accepted=accepted, do=do))
    return shards


def _mapped(folder: Path, number: int, part: Part) -> dict[str, _Table]:
    """The files of a part as arrays that cannot be written to."""
    tables: dict[str, _Table] = {}
    for name, (kind, width) in FILES.items():
        path = folder / file_name(number, name)
        try:
            with open(path, "rb") as file:
                size = file.seek(0, 2)
                data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        except OSError as error:
            raise _damaged(f"{path} cannot be read", error.strerror or type(error).__name__) from error
        if size != part.bytes.get(name) or size % (width * np.dtype(kind).itemsize):
            raise _damaged(f"{path} has another size than was written", f"{size} bytes")
        tables[name] = np.frombuffer(data, kind).reshape(-1, width)
    rows = tables["rows"]
    ends = [len(tables[name]) for name in ("tokens", "facts", "leaves")]
    if len(rows) != part.rows or (len(rows) and rows[-1, :3].tolist() != ends):
        raise _damaged(f"the files of part {number} of {folder} contradict each other", f"{len(rows)} rows")
    return tables


def _damaged(wrong: str, found: str) -> StoreError:
    accepted, do = "the files as they were written", "prepare the data again, or restore a copy"
    return StoreError(explain(wrong, found=Said(found), accepted=accepted, do=do))
