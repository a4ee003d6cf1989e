"""What lies under the store: a directory of append-only segment files, its lock, and the index of keys.

On disk: an empty lock file whose name carries the format version, and segment files named by a
running number and a random salt. A segment is a row of records and nothing else; a record is a
48-byte header (mark, length and checksum of the value, key, checksum of the header) and the value.
The header's checksum starts from the salt and the record's offset, so a length is believed only where
it was written, and bytes that merely look like a record (a segment stored as a value) never count.

A damaged value costs that value; a damaged header costs that record, since reading goes on at the next
header that is true for its place. Only the holder of the lock appends, and only after reading what
others did; so a tail without a true header is what a killed writer left, and is cut off.

The methods that read files are called inside `using`, those that write inside `locked`.
"""

import contextlib
import errno
import logging
import os
import re
import secrets
import struct
import threading
import time
import weakref
import zlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from concord.durable import disk_message, lock, sync_directory, unlock, write_all
from concord.errors import NOTHING, Said, StoreError, explain

__all__ = ["HEADER_BYTES", "LONGEST_VALUE", "BadRecord", "Records", "Segment", "Segments", "grouped"]

_VERSION = 1
_MARK = b"CcR1"
_HEADER = struct.Struct("<4sII32sI")  # mark, value length, value checksum, key, header checksum
HEADER_BYTES = _HEADER.size
LONGEST_VALUE = 2**32 - 1
_COVERED = HEADER_BYTES - 4  # the header's own checksum covers all before it
_LOCK_NAME = re.compile(r"concord-store-(\d+)\.lock")
_SEGMENT_NAME = re.compile(r"segment-(\d{8,})-([0-9a-f]{8})\.log")
_PLACE_BITS = 40  # an index entry is (segment number << 40) | offset: one small int, not a tuple
_WINDOW = 256 << 10
_GROUP = 4 << 20  # bytes joined into one write
_MAX_OPEN = 100

_log = logging.getLogger(__name__)

Records = list[tuple[bytes, bytes]]
"""Keys, as 32 bytes, with their values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRecord:
    """A stretch of a segment that cannot be believed; its key is known where only the value is damaged."""

    segment: str
    offset: int
    length: int
    key: str | None
    why: str


@dataclass(slots=True)
class Segment:
    """One file of records; the index knows its bytes up to `end`."""

    number: int
    name: str
    salt: int
    end: int = 0


class Segments:
    """The directory of segments as this process knows it."""

    def __init__(self, root: Path) -> None:
        """Take the directory, which must be ours, empty or not yet there, and read its segments."""
        self.root = root
        self.index: dict[bytes, int] = {}
        self.by_number: dict[int, Segment] = {}  # oldest first
        self.damaged: dict[tuple[str, int], BadRecord] = {}
        self.dirty = False
        self.synced = time.monotonic()
        self._files: dict[int, int] = {}
        self._generation = -1
        self._mutex = threading.RLock()
        self._process = os.getpid()
        self._lock_files: list[int] = []
        # A store that is dropped without `close` must not keep its files.
        weakref.finalize(self, _close_all, self._files, self._lock_files)
        with self._explained("opening"):
            self._lock_path = _claim(root)
            self._lock_files.append(os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o666))
        try:
            with self.locked("opening"):
                pass
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of all files and of the index."""
        _close_all(self._files, self._lock_files)
        self.index.clear()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return not self._lock_files

    # The lock, and what others did meanwhile.

    @contextlib.contextmanager
    def using(self, doing: str) -> Generator[None]:
        """Keep other threads out, and turn what the disk says into a StoreError."""
        with self._explained(doing):
            self._check_process()
            with self._mutex:
                self._open_lock()
                yield

    @contextlib.contextmanager
    def locked(self, doing: str) -> Generator[None]:
        """Keep other processes out too, knowing everything that they did before."""
        with self.using(doing):
            file = self._open_lock()
            try:
                lock(file)
                if os.fstat(file).st_nlink == 0:
                    wrong, accepted = (
                        f"the store {self.root} was deleted while it was in use",
                        "its directory",
                    )
                    raise StoreError(explain(wrong, found=NOTHING, accepted=accepted, do="open it again"))
                if self.changed():
                    self._refresh()
                yield
            finally:
                unlock(file)

    def look(self) -> None:
        """Learn what others did, if anything."""
        with self.using("reading"):
            if self.changed():
                with self.locked("reading"):
                    pass

    def changed(self) -> bool:
        """Say, without the lock and in two system calls, whether there can be anything new."""
        # The lock file is never written to: its length counts the segments made and removed. Lengthening
        # a sparse file needs no disk space, so a full disk can still be cleared.
        status = os.fstat(self._open_lock())
        if status.st_size != self._generation or status.st_nlink == 0:
            return True
        last = self.last
        if last is None:
            return False
        try:
            status = os.fstat(self._file(last))
        except FileNotFoundError:
            return True
        return status.st_size != last.end or status.st_nlink == 0

    @contextlib.contextmanager
    def _explained(self, doing: str) -> Generator[None]:
        try:
            yield
        except OSError as error:
            kept = "nothing was changed" if doing == "opening" else "what was stored earlier is kept"
            what = f"{doing} the store {self.root}"
            raise StoreError(disk_message(error, doing=what, kept=kept)) from error

    def _check_process(self) -> None:
        """After a fork take an own lock file: an inherited one is the parent's lock as well."""
        if os.getpid() != self._process:
            self._process = os.getpid()
            self._mutex = threading.RLock()
            if self._lock_files:
                os.close(self._lock_files.pop())
                self._lock_files.append(os.open(self._lock_path, os.O_RDWR))

    def _open_lock(self) -> int:
        if not self._lock_files:
            wrong, found = f"the store {self.root} is closed", Said("a closed store")
            raise StoreError(explain(wrong, found=found, accepted="an open one", do="open it again"))
        return self._lock_files[0]

    def _refresh(self) -> None:
        """Read what others appended, forget what they dropped, cut a torn tail."""
        names = {int(m[1]): m for m in map(_SEGMENT_NAME.fullmatch, os.listdir(self.root)) if m}
        known = self.by_number
        self._forget({n for n in known if n not in names or names[n][0] != known[n].name})
        self.by_number = {
            n: known.get(n) or Segment(n, names[n][0], int(names[n][2], 16)) for n in sorted(names)
        }
        for segment in self.by_number.values():
            self._scan(segment)
        self._generation = os.fstat(self._open_lock()).st_size

    def _scan(self, segment: Segment) -> None:
        file = self._file(segment)
        size = os.fstat(file).st_size
        if size == segment.end:
            return
        index, base = self.index, segment.number << _PLACE_BITS
        for at, length, _, key in _walk(file, segment.salt, segment.end, size):
            if key is not None:
                index[key] = base | at
            elif at + length == size and segment is self.last:
                _log.warning("%s: cut a torn tail of %d bytes", self.root / segment.name, length)
                os.ftruncate(file, at)
                size = at
            else:
                self._report(segment, at, length, None)
        segment.end = size

    def _forget(self, numbers: set[int]) -> None:
        for number in numbers:
            self.by_number.pop(number, None)
            if number in self._files:
                os.close(self._files.pop(number))
        if numbers:
            for key in [key for key, place in self.index.items() if place >> _PLACE_BITS in numbers]:
                del self.index[key]

    # Reading.

    @property
    def last(self) -> Segment | None:
        """The segment that is appended to."""
        return self.by_number[next(reversed(self.by_number))] if self.by_number else None

    @property
    def total(self) -> int:
        """The bytes of all segments."""
        return sum(segment.end for segment in self.by_number.values())

    def lookup(self, key: bytes) -> bytes | None:
        """Read the value of a key; a damaged or vanished one is forgotten, and None."""
        place = self.index.get(key)
        if place is None:
            return None
        segment, at = self.by_number[place >> _PLACE_BITS], place & ((1 << _PLACE_BITS) - 1)
        try:
            value = _value(self._file(segment), segment.salt, at, key)
        except FileNotFoundError:
            # Dropped by another process; the next refresh finds where the value went, if anywhere.
            del self.index[key]
            return None
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            value = None
        if value is None:
            del self.index[key]
            self._report(segment, at, 0, key.hex())
        return value

    def check(self, segment: Segment) -> Iterator[tuple[int, BadRecord | None]]:
        """Go through the records of a segment, each by its length, and with what is wrong with it."""
        try:
            file = self._file(segment)
        except FileNotFoundError:
            return
        for at, length, _, key in _walk(file, segment.salt, 0, segment.end):
            if key is None:
                yield length, _bad(segment, at, length, None)
            else:
                whole = _value(file, segment.salt, at, key) is not None
                yield length, None if whole else _bad(segment, at, length, key.hex())

    def live(self, segment: Segment) -> tuple[list[bytes], bool]:
        """List the keys whose values are in a segment, and say whether anything else is in it."""
        live: list[bytes] = []
        rest = False
        for at, _, _, key in _walk(self._file(segment), segment.salt, 0, segment.end):
            here = segment.number << _PLACE_BITS | at
            if key is not None and self.index.get(key) == here and self.lookup(key) is not None:
                live.append(key)
            else:
                rest = True
        return live, rest

    def _file(self, segment: Segment) -> int:
        file = self._files.get(segment.number)
        if file is None:
            if len(self._files) >= _MAX_OPEN:
                os.close(self._files.pop(next(iter(self._files))))
            file = self._files[segment.number] = os.open(self.root / segment.name, os.O_RDWR)
        return file

    def _report(self, segment: Segment, at: int, length: int, key: str | None) -> None:
        bad = _bad(segment, at, length, key)
        if self.damaged.setdefault((segment.name, at), bad) is bad:
            _log.warning("%s, byte %d: %s", self.root / segment.name, at, bad.why)

    # Writing.

    def append(self, group: Records) -> None:
        """Add records to the last segment, all of them or none."""
        segment = self.last
        assert segment is not None
        at = segment.end
        places: dict[bytes, int] = {}
        parts: list[bytes] = []
        for key, value in group:
            head = _HEADER.pack(_MARK, len(value), zlib.crc32(value), key, 0)[:_COVERED]
            parts += (head, _seal(head, segment.salt, at).to_bytes(4, "little"), value)
            places[key] = segment.number << _PLACE_BITS | at
            at += HEADER_BYTES + len(value)
        file = self._file(segment)
        try:
            write_all(file, b"".join(parts), offset=segment.end)
        except BaseException:
            # If even this fails, the tail is cut by whoever takes the lock next.
            with contextlib.suppress(OSError):
                os.ftruncate(file, segment.end)
            raise
        self.dirty = True
        segment.end = at
        self.index.update(places)

    def roll(self) -> None:
        """Sync the last segment and start a new one."""
        self.sync()
        self._bump()
        number, salt = max(self.by_number, default=0) + 1, secrets.token_hex(4)
        segment = Segment(number, f"segment-{number:08d}-{salt}.log", int(salt, 16))
        os.close(os.open(self.root / segment.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        self.by_number[number] = segment
        sync_directory(self.root)

    def remove(self, segments: Iterable[Segment]) -> None:
        """Delete segments with all that is in them."""
        self._bump()
        gone: set[int] = set()
        try:
            for segment in segments:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.root / segment.name)
                gone.add(segment.number)
        finally:
            self._forget(gone)

    def sync(self) -> None:
        """Wait until the last segment is on disk; those before it were synced when they were full."""
        if self.last is not None:
            with contextlib.suppress(FileNotFoundError):
                os.fsync(self._file(self.last))
        self.dirty, self.synced = False, time.monotonic()

    def _bump(self) -> None:
        """Tell others to list the directory anew; before the change, since they list under the lock."""
        file = self._open_lock()
        self._generation = os.fstat(file).st_size + 1
        os.ftruncate(file, self._generation)


def _close_all(files: dict[int, int], locks: list[int]) -> None:
    while files:
        os.close(files.popitem()[1])
    while locks:
        os.close(locks.pop())


def grouped(pairs: Iterable[tuple[bytes, bytes]], *, limit: int) -> Iterator[tuple[Records, int]]:
    """Cut into groups to be appended at once, with their size: at most `limit`, a longer record alone."""
    group: Records = []
    size, limit = 0, min(limit, _GROUP)
    for pair in pairs:
        added = HEADER_BYTES + len(pair[1])
        if group and size + added > limit:
            yield group, size
            group, size = [], 0
        group.append(pair)
        size += added
    if group:
        yield group, size


def _claim(root: Path) -> Path:
    """Check that a directory is a store of ours, or may become one; return its lock file's path."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / f"concord-store-{_VERSION}.lock"
    names = [name for name in os.listdir(root) if not name.startswith(".") and name != "lost+found"]
    versions = [int(match[1]) for match in map(_LOCK_NAME.fullmatch, names) if match]
    if versions and versions != [_VERSION]:
        wrong = f"the store {root} is in another format version than this Concord reads"
        accepted, do = f"version {_VERSION}", "use the Concord that wrote it, or name another directory"
        raise StoreError(explain(wrong, found=max(versions), accepted=accepted, do=do))
    # Another process may be creating the store at this moment; it makes the lock file first.
    if names and not versions and not path.exists():
        wrong = f"the directory {root} holds other files and is not a Concord store"
        do = "name another directory for the store"
        raise StoreError(explain(wrong, found=min(names), accepted="an empty or new one", do=do))
    return path


def _seal(head: bytes, salt: int, at: int) -> int:
    return zlib.crc32(head, (salt ^ at) & 0xFFFFFFFF)


def _header(data: bytes, start: int, salt: int, at: int) -> tuple[int, int, bytes] | None:
    """Read (length, checksum, key) of the header at `start` of `data`, if it is true for offset `at`."""
    if len(data) - start < HEADER_BYTES:
        return None
    _, length, check, key, seal = _HEADER.unpack_from(data, start)
    return (length, check, key) if _seal(data[start : start + _COVERED], salt, at) == seal else None


def _value(file: int, salt: int, at: int, key: bytes) -> bytes | None:
    """Read the value of the record at an offset; None when it is not whole, or not of this key."""
    data = os.pread(file, 4096, at)
    header = _header(data, 0, salt, at)
    if header is None or header[2] != key:
        return None
    length, check, _ = header
    parts, have = [data[HEADER_BYTES : HEADER_BYTES + length]], len(data) - HEADER_BYTES
    while have < length:
        part = os.pread(file, length - have, at + HEADER_BYTES + have)
        if not part:
            return None
        parts.append(part)
        have += len(part)
    value = b"".join(parts)
    return value if zlib.crc32(value) == check else None


def _walk(file: int, salt: int, start: int, size: int) -> Iterator[tuple[int, int, int, bytes | None]]:
    """Go through (offset, value length, value checksum, key); a bad stretch has its length and no key."""
    at = base = start
    window = b""
    while at < size:
        if at + HEADER_BYTES > base + len(window):
            base, window = at, os.pread(file, min(_WINDOW, size - at), at)
        header = _header(window, at - base, salt, at)
        if header is not None and at + HEADER_BYTES + header[0] <= size:
            yield at, *header
            at += HEADER_BYTES + header[0]
        else:
            following = _next_header(file, salt, at + 1, size)
            yield at, following - at, 0, None
            at = following


def _next_header(file: int, salt: int, start: int, size: int) -> int:
    """Find the next offset that holds a header true for its place, or the end."""
    while size - start >= HEADER_BYTES:
        window = os.pread(file, min(_WINDOW, size - start), start)
        found = window.find(_MARK)
        while found >= 0:
            header = _header(window, found, salt, start + found)
            if header is not None and start + found + HEADER_BYTES + header[0] <= size:
                return start + found
            found = window.find(_MARK, found + 1)
        if len(window) < HEADER_BYTES:
            break
        start += len(window) - HEADER_BYTES + 1  # a header may lie across two windows
    return size


def _bad(segment: Segment, at: int, length: int, key: str | None) -> BadRecord:
    why = "this stretch is damaged and skipped" if key is None else f"the value of {key} is damaged"
    return BadRecord(segment=segment.name, offset=at, length=length, key=key, why=why)
