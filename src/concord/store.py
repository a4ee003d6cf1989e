"""One crash-safe content store, from keys to bytes: reference values, rendered tokens, scores, answers.

    with Store(folder, cap=10 << 30) as store:
        name = key("reference", weights, token_ids)
        value = store.get(name)
        if value is None:
            store.put(name, value := compute())

**Sharing.** Threads, forks and other processes may use one directory at once. Writers hold a lock, so
appends never interleave; readers take it only to learn what changed, which they do on a miss. So a value
that another process replaced or dropped may still be answered, as it was, until then.

**Crashes.** What `put` has returned from survives the death of the process. It survives a power cut once
synced: at `sync` and `close`, when a segment is full, and at the first `put` a second after the last
sync. A writer killed at any byte costs the records it was writing, and nothing else.

**Damage.** Every record has its checksums (`segments.py` has the format). What is damaged is logged,
counted by `stats`, listed by `verify`, and missing; it is never returned as data.

**Room.** The last value put under a key wins; one equal to what is there is not written again. With a
`cap`, the oldest segments are dropped whole, whether or not they are still read: what is wanted again is
computed and put again. Each process enforces, when it writes, the cap it was opened with. An overwritten
value whose successor's header is damaged can come back, until `compact` has removed it.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from concord.errors import InputError, Said, StoreError, explain
from concord.segments import HEADER_BYTES, LONGEST_VALUE, BadRecord, Segments, grouped

__all__ = ["Stats", "Store", "Verification", "default_root", "key"]

_SYNC_SECONDS = 1.0
_SCALARS = frozenset({str, int, bool, float, type(None)})


def default_root() -> Path:
    """Where the store is: $CONCORD_CACHE, or `concord` in the place this system has for caches."""
    if given := os.environ.get("CONCORD_CACHE"):
        return Path(given).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "concord"


def key(*parts: object) -> str:
    """Hash parts to a key: the sha256, in hex, of their JSON with sorted keys and no spaces.

    Parts are None, bool, int, float, str, bytes, and lists, tuples and mappings of these. 1, 1.0, True
    and "1" give four keys; a list and a tuple of the same things give one. NaN and infinity are refused,
    because a setting that is not a number is never the same as itself.
    """
    try:
        text = json.dumps(
            [_canonical(part) for part in parts],
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
            allow_nan=False,
        )
    except InputError:
        raise
    except (TypeError, ValueError, RecursionError) as error:
        accepted = "finite numbers, None, bool, str, bytes, and lists and mappings of these"
        found, do = Said(", ".join(type(part).__name__ for part in parts)), "convert what is none of these"
        wrong = f"a key cannot be made: {error}"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do)) from error
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _canonical(part: object) -> object:
    """Turn into what JSON can spell without two different things becoming the same text."""
    if isinstance(part, list | tuple):
        items = cast("list[object]", part)
        if _SCALARS.issuperset(map(type, items)):  # token ids by the thousand: stay out of Python loops
            return items
        return [_canonical(item) for item in items]
    if isinstance(part, Mapping):
        pairs = cast("Mapping[object, object]", part).items()
        return {_canonical_name(name): _canonical(value) for name, value in pairs}
    if isinstance(part, bytes | bytearray | memoryview):
        return {"\0bytes": hashlib.sha256(cast("bytes", part)).hexdigest()}
    return part


def _canonical_name(name: object) -> str:
    if not isinstance(name, str):
        wrong = "a mapping inside a key has a name that is not text, so 1 and '1' would be one key"
        raise InputError(explain(wrong, found=name, accepted="text", do="write the name as text"))
    return "\0" + name if name.startswith("\0") else name


@dataclass(frozen=True, kw_only=True, slots=True)
class Stats:
    """What a store holds now; `bytes` is its size on disk, `damaged` what this object met and skipped."""

    entries: int
    bytes: int
    segments: int
    path: Path
    cap: int | None
    damaged: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What `Store.verify` read: how many good records, bytes of values in them, and what is bad."""

    records: int
    bytes: int
    bad: tuple[BadRecord, ...]


class Store:
    """A content store in a directory. `cap` is the greatest size on disk, in bytes.

    Memory: about 150 bytes an entry. Reopening: about a second for a million entries.
    """

    segment_limit: int = 64 << 20

    def __init__(self, root: str | Path, *, cap: int | None = None) -> None:
        """Open the store at `root`, creating it where there is nothing or an empty directory."""
        if cap is not None and (type(cast(object, cap)) is not int or cap <= HEADER_BYTES):
            wrong = "the cap of a store is not a number of bytes that holds one record"
            accepted = f"a whole number above {HEADER_BYTES}, or None"
            do = "give a size in bytes, or None for no cap"
            raise InputError(explain(wrong, found=cap, accepted=accepted, do=do))
        self._cap = cap
        # Eight segments or more, so that making room drops an eighth of what is there and not all of it.
        self._limit = self.segment_limit if cap is None else max(1, min(self.segment_limit, cap // 8))
        self._segments = Segments(Path(root))

    def __enter__(self) -> Self:
        """Use the store in a `with` block, which closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Sync and close."""
        self.close()

    def get(self, key: str) -> bytes | None:
        """Return the value of a key, or None where there is none, or only a damaged one."""
        return self.get_many((key,)).get(key)

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the values there are, by key; a missing key is absent from the answer."""
        wanted = {name: _raw(name) for name in keys}
        found: dict[str, bytes] = {}
        with self._segments.using("reading"):
            missing = self._collect(wanted, found)
            if missing and self._segments.changed():
                with self._segments.locked("reading"):
                    self._collect(missing, found)
        return found

    def put(self, key: str, value: bytes) -> None:
        """Keep a value. For many, `put_many` is several times faster."""
        self.put_many(((key, value),))

    def put_many(self, pairs: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> int:
        """Keep many values under one lock and return how many were written (equal ones are not).

        `pairs` is read to its end before the lock is taken. When the disk fills up midway a StoreError
        says so: each group of some megabytes is kept or not as a whole, and nothing earlier is lost.
        """
        given = cast("Mapping[str, bytes]", pairs).items() if isinstance(pairs, Mapping) else pairs
        wanted = {_raw(name): self._acceptable(value) for name, value in given}
        segments = self._segments
        with segments.locked("writing"):
            fresh = [(k, v) for k, v in wanted.items() if k not in segments.index or segments.lookup(k) != v]
            for group, size in grouped(fresh, limit=self._limit):
                self._make_room(size)
                segments.append(group)
        # Not under the lock: others need not wait for the disk.
        if segments.dirty and time.monotonic() - segments.synced >= _SYNC_SECONDS:
            self.sync()
        return len(fresh)

    def __contains__(self, key: object) -> bool:
        """Say whether a key is known; another process may still drop it before `get`."""
        raw = _raw(key)
        if raw not in self._segments.index:
            self._segments.look()
        return raw in self._segments.index

    def __len__(self) -> int:
        """Count the keys."""
        self._segments.look()
        return len(self._segments.index)

    def keys(self) -> Iterator[str]:
        """Go through the keys there are at this moment."""
        self._segments.look()
        return (raw.hex() for raw in tuple(self._segments.index))

    def stats(self) -> Stats:
        """Count what is there."""
        segments = self._segments
        segments.look()
        return Stats(
            entries=len(segments.index),
            bytes=segments.total,
            segments=len(segments.by_number),
            path=segments.root,
            cap=self._cap,
            damaged=len(segments.damaged),
        )

    def verify(self) -> Verification:
        """Read everything, check every checksum, list what is bad. Other processes can write meanwhile."""
        self._segments.look()
        records = size = 0
        bad: list[BadRecord] = []
        with self._segments.using("verifying"):
            for segment in tuple(self._segments.by_number.values()):
                for length, trouble in self._segments.check(segment):
                    if trouble is None:
                        records, size = records + 1, size + length
                    else:
                        bad.append(trouble)
        return Verification(records=records, bytes=size, bad=tuple(bad))

    def compact(self) -> int:
        """Rewrite the segments that hold overwritten or damaged records; return the bytes freed.

        Needs free space for one segment at a time, and keeps the old one until the new is on disk.
        """
        segments = self._segments
        with segments.locked("compacting"):
            before, rolled = segments.total, False
            for segment in tuple(segments.by_number.values()):
                live, rest = segments.live(segment)
                if not rest:
                    continue
                if not rolled:
                    segments.roll()
                    rolled = True
                for group, size in grouped(self._values(live), limit=self._limit):
                    self._roll_if_full(size)
                    segments.append(group)
                segments.sync()
                segments.remove([segment])
            return before - segments.total

    def clear(self) -> int:
        """Drop everything and return the bytes freed."""
        with self._segments.locked("clearing"):
            before = self._segments.total
            self._segments.remove(tuple(self._segments.by_number.values()))
            return before

    def sync(self) -> None:
        """Wait until what was put is safe from a power cut."""
        with self._segments.using("syncing"):
            self._segments.sync()

    def close(self) -> None:
        """Sync and let go of the files; closing twice is harmless."""
        if self._segments.closed:
            return
        with self._segments.using("closing"):
            try:
                if self._segments.dirty:
                    self._segments.sync()
            finally:
                self._segments.close()

    def _collect(self, wanted: Mapping[str, bytes], found: dict[str, bytes]) -> dict[str, bytes]:
        missing: dict[str, bytes] = {}
        for name, raw in wanted.items():
            value = self._segments.lookup(raw)
            if value is None:
                missing[name] = raw
            else:
                found[name] = value
        return missing

    def _values(self, keys: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        for raw in keys:
            value = self._segments.lookup(raw)
            if value is not None:
                yield raw, value

    def _acceptable(self, value: object) -> bytes:
        if not isinstance(value, bytes | bytearray | memoryview):
            wrong, found = "a store keeps bytes", Said(type(value).__name__)
            accepted = "bytes, bytearray, memoryview"
            raise InputError(explain(wrong, found=found, accepted=accepted, do="encode it"))
        data = bytes(cast("bytes", value))
        most = LONGEST_VALUE if self._cap is None else min(LONGEST_VALUE, self._cap - HEADER_BYTES)
        if len(data) > most:
            wrong = f"a value of {len(data)} bytes does not fit in the store {self._segments.root}"
            why = "the format's limit" if most == LONGEST_VALUE else f"its cap is {self._cap} bytes"
            do = "raise the cap, or keep the value in a file of its own"
            found, accepted = Said(f"{len(data)} bytes"), f"at most {most} bytes ({why})"
            raise StoreError(explain(wrong, found=found, accepted=accepted, do=do))
        return data

    def _roll_if_full(self, size: int) -> None:
        last = self._segments.last
        if last is None or (last.end and last.end + size > self._limit):
            self._segments.roll()

    def _make_room(self, size: int) -> None:
        segments = self._segments
        self._roll_if_full(size)
        while self._cap is not None and segments.total + size > self._cap:
            oldest = next(iter(segments.by_number.values()))
            if oldest is segments.last:
                segments.roll()
            segments.remove([oldest])


def _raw(name: object) -> bytes:
    try:
        if isinstance(name, str) and len(name) == 64:
            raw = bytes.fromhex(name)
            if len(raw) == 32:
                return raw
    except ValueError:
        pass
    wrong, accepted = "this is not a key of the store", "64 hexadecimal digits"
    raise InputError(explain(wrong, found=name, accepted=accepted, do="make one with store.key(...)"))
