"""Writing prepared rows: a folder that appears when it is whole, and not before."""

import hashlib
import os
import re
import shutil
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

import numpy as np

from concord import durable, wire
from concord.data.packed import measure
from concord.data.shards import FILES, FORMAT, HEADER, VERSION, Facts, Header, Media, Part, Shards, file_name
from concord.errors import RunError, Said, StoreError, explain
from concord.messages import Text
from concord.types import JSON, Item

__all__ = ["Writer"]

_BUFFER = 1 << 20
_PART = re.compile(rf"part-\d{{5,}}\.({'|'.join(FILES)})")


class _File:
    """A file that knows its size and hash."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] = path.open("xb", buffering=_BUFFER)
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def close(self) -> str:
        self._file.close()
        return self._hash.hexdigest()

    def abandon(self) -> None:
        with suppress(OSError):  # on a full disk, what waits to be written cannot be
            self._file.close()


class Writer:
    """Writes a folder of prepared rows, aside, and makes it appear when `publish` is called.

    Leaving the `with` block without that throws away what was written. A folder of prepared rows that stands
    there is replaced; anything else is left alone. One process at a time writes a folder, and what a
    killed one left is removed by the next.
    """

    part_bytes: int = 4 << 30

    def __init__(self, folder: str | Path, *, renderer: str) -> None:
        """Begin a folder; `renderer` is the id of what made the tokens."""
        self.folder = Path(os.path.realpath(folder))  # so that a link goes on being one
        if not self.folder.name:
            wrong, do = "prepared rows cannot be a whole disk", "name a folder on it"
            raise StoreError(explain(wrong, found=str(self.folder), accepted="a folder", do=do))
        self._renderer = renderer
        self._parts: list[Part] = []
        self._files: dict[str, _File] = {}
        self._rows = self._rows_before = self._tokens = 0
        self._ends = [0, 0, 0]
        self._aside = durable.aside(self.folder)
        self._lock = -1
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self._lock = self._locked()
            _refuse_foreign(self.folder)
            _remove_left(self.folder)
            self._aside.mkdir()
        except BaseException as error:
            self.discard()
            if isinstance(error, OSError):
                raise self._failed(error) from error
            raise

    def __enter__(self) -> Self:
        """Use the writer in a `with` block, which throws away what was not published."""
        return self

    def __exit__(self, *_: object) -> None:
        """Discard, unless it was published."""
        self.discard()

    def _locked(self) -> int:
        path = self.folder.with_name(f".{self.folder.name}.lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if durable.lock(descriptor, wait=False):
            return descriptor
        os.close(descriptor)
        wrong, found = f"{self.folder} is being written", Said("another process that prepares it")
        do = "wait for it, or name another folder"
        raise StoreError(explain(wrong, found=found, accepted="one writer at a time", do=do))

    def append(self, packed: bytes, item: Item) -> int:
        """Add a row: packed tokens, and what the item says beside prompt and replies. Returns its tokens."""
        lengths = measure(packed)
        known = Facts(item.utilities, item.meta, item.origin, _media(item))
        facts = wire.dumps(known).encode() + b"\n"
        try:
            self._begin_part()
            sizes = (len(packed) // 4, len(facts), len(lengths.leaves))
            self._ends = [end + size for end, size in zip(self._ends, sizes, strict=True)]
            trained = int(lengths.leaves[:, 2].sum())
            check = zlib.crc32(facts, zlib.crc32(packed))
            row = (*self._ends, lengths.tokens, lengths.prompt, lengths.longest, trained, check)
            self._files["tokens"].write(packed)
            self._files["facts"].write(facts)
            self._files["rows"].write(np.array(row, "<i8").tobytes())
            self._files["leaves"].write(lengths.leaves.astype("<i4", copy=False).tobytes())
            self._rows, self._tokens = self._rows + 1, self._tokens + lengths.tokens
            if self._files["tokens"].size >= self.part_bytes:
                self._finish_part()
        except OSError as error:
            raise self._failed(error) from error
        return lengths.tokens

    def publish(self, about: Mapping[str, JSON] | None = None) -> Shards:
        """Make the folder appear, synced to disk, and open it; `about` is kept in its header."""
        try:
            if self._files or not self._parts:
                self._begin_part()
                self._finish_part()
            header = Header(
                format=FORMAT,
                version=VERSION,
                renderer=self._renderer,
                rows=self._rows,
                tokens=self._tokens,
                parts=tuple(self._parts),
                about=dict(about or {}),
            )
            (self._aside / HEADER).write_text(wire.dumps(header, indent=2) + "\n", encoding="utf-8")
            durable.publish_directory(self._aside, self.folder)
        except OSError as error:
            raise self._failed(error) from error
        except RunError as error:
            raise StoreError(str(error)) from error
        finally:
            self.discard()
        return Shards(self.folder)

    def discard(self) -> None:
        """Throw away what was not published; doing so twice is harmless."""
        if self._lock < 0:
            return
        for file in self._files.values():
            file.abandon()
        self._files = {}
        shutil.rmtree(self._aside, ignore_errors=True)
        os.close(self._lock)
        self._lock = -1

    def _begin_part(self) -> None:
        if not self._files:
            aside, number = self._aside, len(self._parts)
            self._files = {name: _File(aside / file_name(number, name)) for name in FILES}
            self._ends, self._rows_before = [0, 0, 0], self._rows

    def _finish_part(self) -> None:
        hashes = {name: file.close() for name, file in self._files.items()}
        sizes = {name: file.size for name, file in self._files.items()}
        self._parts.append(Part(rows=self._rows - self._rows_before, bytes=sizes, sha256=hashes))
        self._files = {}

    def _failed(self, error: OSError) -> StoreError:
        kept = "what stood there before is whole"
        return StoreError(durable.disk_message(error, doing=f"writing {self.folder}", kept=kept))


def _media(item: Item) -> Media:
    """The pictures and sounds of the prompt, then those of each reply; nothing where there are none."""
    talks = (item.prompt.messages, *item.replies)
    media = tuple(
        tuple(part for turn in talk for part in turn.parts if not isinstance(part, Text)) for talk in talks
    )
    return media if any(media) else ()


def _remove_left(folder: Path) -> None:
    """Remove what killed writers of this folder left: names that `durable.aside` gives, and no others."""
    left = re.compile(rf"\.{re.escape(folder.name)}\.\d+-[0-9a-f]{{8}}\.tmp")
    for path in folder.parent.iterdir():
        if left.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def _refuse_foreign(folder: Path) -> None:
    """Keep from replacing what is not a folder of prepared rows, whole or damaged."""
    durable.recover_directory(folder)
    if not folder.exists():
        return
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else [folder.name]
    foreign = [name for name in names if not (name == HEADER or _PART.fullmatch(name))]
    if foreign or names == [HEADER]:
        wrong, found = f"{folder} holds something else than prepared rows", (foreign or names)[0]
        do = "name another folder, or empty this one"
        accepted = "a folder that is absent, empty, or holds prepared rows"
        raise StoreError(explain(wrong, found=found, accepted=accepted, do=do))
