"""Data, opened: every row of every source as items, with a row that cannot be read named or counted.

open_items(data)  looks at a sample, finds out the shape, and gives a Reading
Reading           items, as often as one likes; what was skipped, how far reading has come, a fingerprint
"""

import hashlib
import json
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias, cast, get_args

from concord.durable import aside, disk_message
from concord.errors import NOTHING, InputError, RowError, Said, explain, nearest
from concord.formats.detect import detect
from concord.formats.mapping import Plan, parse_mapping
from concord.formats.plain import as_json, raw_json
from concord.formats.rows import BadRow, Row
from concord.formats.sources import DataLike, Source, search, split_named
from concord.types import JSON, Item
from concord.views import Kind

__all__ = ["OnBadRow", "Reading", "open_items"]

OnBadRow: TypeAlias = Literal["stop", "skip"]
"""What a row that cannot be read does: stop with its error, or be left out and counted."""

_SAMPLE, _SAMPLE_ALL = 1000, 20_000  # rows of one source, and of all, from which the shape is told
_SAMPLE_LEAST, _SAMPLE_BYTES = 20, 64 * 2**20  # of large rows fewer
_SHOWN = 10  # messages of skipped rows that are kept
_SKIPPED = {"file", "line", "error", "row"}
_LEAVES = {str, int, bool, type(None)}
_SKIP = " (`--on-bad-row skip` leaves such rows out.)"


@dataclass
class _Pass:
    """What one reading of all rows has come to."""

    at: int = -1  # which source is being read
    rows: int = 0
    items: int = 0
    skipped: int = 0
    errors: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])


class Reading:
    """The items of data, in order; each iteration reads the data afresh, and counts afresh.

    `plan` says how rows become items, `sources` where the rows are. `rows`, `skipped`, `errors` and `notes`
    are those of the latest iteration, while it goes on and after it.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        plan: Plan,
        *,
        on_bad_row: OnBadRow = "stop",
        skipped_to: Path | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.sources, self.plan = tuple(sources), plan
        self.on_bad_row: OnBadRow = on_bad_row
        self.skipped_to = skipped_to
        self._notes, self._pass, self._published = tuple(notes), _Pass(), False

    @property
    def kind(self) -> Kind:
        """The kind of item that the rows are."""
        return self.plan.kind

    @property
    def rows(self) -> int:
        """How many rows the latest iteration has read, those it skipped not counted."""
        return self._pass.rows

    @property
    def skipped(self) -> int:
        """How many rows the latest iteration has left out."""
        return self._pass.skipped

    @property
    def errors(self) -> tuple[str, ...]:
        """The messages of the first rows that the latest iteration left out."""
        return tuple(self._pass.errors)

    @property
    def notes(self) -> tuple[str, ...]:
        """What else is to be known of the data: files left aside, columns that did not go into `meta`."""
        return (*self._notes, *self._pass.notes)

    @property
    def size(self) -> int:
        """Bytes on disk of all sources; 0 for objects in memory."""
        return sum(source.size for source in self.sources if source.on_disk)

    @property
    def progress(self) -> float | None:
        """The share of the data that the latest iteration has read; None where their size is not known."""
        sizes = [source.size for source in self.sources]
        if not all(sizes):
            return None
        at = self._pass.at
        done = sum(sizes[: max(at, 0)])
        if 0 <= at < len(sizes):
            done += min(self.sources[at].position, sizes[at])
        return done / sum(sizes)

    def fingerprint(self) -> str:
        """A digest of all that the data hold, in order, and of their splits; not of the names of files."""
        known = hashlib.sha256()
        for source in self.sources:
            known.update(source.split.encode() + b"\0" + source.digest())
        return known.hexdigest()

    def check(self, rows: Sequence[Row]) -> None:
        """Try rows before the reading: under "stop" the first that cannot be read raises its error.

        Under "skip" it does so only if none can be read.
        """
        first: RowError | None = None
        for row in rows:
            try:
                self._items(row, _Pass(), plain=True)
            except RowError as error:
                if self.on_bad_row == "stop":
                    raise _stopped(BadRow(row.origin, error, "")) from None
                first = first or error
            else:
                if self.on_bad_row == "skip":
                    return
        if first:
            raise first

    def __iter__(self) -> Iterator[Item]:
        return self._read(_Pass())

    def _read(self, now: _Pass) -> Generator[Item]:
        self._pass = now
        with self._skips(now) as skip:
            for now.at, source in enumerate(self.sources):
                for row in source.rows():
                    if isinstance(row, BadRow):
                        skip(row, None)
                        continue
                    try:
                        items = self._items(row, now, plain=source.plain)
                    except RowError as error:
                        skip(BadRow(row.origin, error, ""), row)
                        continue
                    now.rows += 1
                    now.items += len(items)
                    yield from items
            now.at = len(self.sources)
        if now.skipped and not now.items:
            raise _none_read(self.sources, now.skipped, now.errors[0])

    def _items(self, row: Row, now: _Pass, *, plain: bool) -> list[Item]:
        """The items of a row, with `meta` as JSON; `RowError` where the row is not of the plan's shape."""
        items = self.plan.read(row)
        return items if plain else [_plain(item, now) for item in items]

    @contextmanager
    def _skips(self, now: _Pass) -> Generator[Callable[[BadRow, Row | None], None]]:
        """What a bad row is given to: it stops the reading, or is counted and written aside."""
        if self.skipped_to is None or self.on_bad_row == "stop":

            def count(bad: BadRow, row: Row | None) -> None:
                self._bad(now, bad)

            yield count
            return
        with _beside(self.skipped_to, keep=self._published) as file:

            def skip(bad: BadRow, row: Row | None) -> None:
                self._bad(now, bad)
                raw = raw_json(row.columns) if row is not None else json.dumps(bad.raw)
                place = json.dumps(
                    {"file": bad.origin.file, "line": bad.origin.line, "error": str(bad.error)}
                )
                file.write(f'{place[:-1]}, "row": {raw}}}\n')

            yield skip
        self._published = True

    def _bad(self, now: _Pass, bad: BadRow) -> None:
        if self.on_bad_row == "stop":
            raise _stopped(bad)
        now.skipped += 1
        if len(now.errors) < _SHOWN:
            now.errors.append(str(bad.error))
        if bad.ends:
            now.notes.append(f"{bad.origin}: what follows here cannot be read, and is left out")


def open_items(
    data: DataLike,
    *,
    mapping: str = "",
    on_bad_row: OnBadRow = "stop",
    skipped_to: Path | None = None,
    split: str = "",
) -> Reading:
    """Open data for reading as items: the shape is found out from a sample, or said by `mapping`.

    Under "stop" a row that cannot be read raises its `RowError`, here or while iterating; under "skip" it is
    counted, and written to `skipped_to` with file, line and error, where that is given. `split` reads that
    split alone.
    """
    if on_bad_row not in get_args(OnBadRow):
        do, accepted = "choose one of the two", " or ".join(get_args(OnBadRow))
        raise InputError(explain("no such way with bad rows", found=on_bad_row, accepted=accepted, do=do))
    found, notes = search(data)
    sources = _of_split(found, split)
    if skipped_to is not None:
        skipped_to = Path(skipped_to)
        _refuse_to_overwrite(skipped_to, sources)
    sample, bad = _sampled(sources)
    if bad and on_bad_row == "stop":
        raise _stopped(bad[0])
    rows = [row for part in sample for row in part]
    if not any(row.columns for row in rows):
        raise _no_rows(sources, rows, bad)
    plan = parse_mapping(mapping, rows) if mapping else _detected(sources, sample, rows)
    reading = Reading(sources, plan, on_bad_row=on_bad_row, skipped_to=skipped_to, notes=notes)
    reading.check(rows)
    return reading


# --- the sample -------------------------------------------------------------------------------------------


def _of_split(sources: tuple[Source, ...], split: str) -> tuple[Source, ...]:
    """The sources of one split, by its own name first and then by the usual one; all where none is named."""
    if not split:
        return sources
    usual = split_named(split) or split
    for name, known in ((split, str), (usual, str), (usual, split_named)):
        if chosen := tuple(source for source in sources if known(source.split) == name):
            return chosen
    there = sorted({source.split for source in sources if source.split})
    if not there:
        accepted, do = "files with a split in their names (train.jsonl)", "leave the split out"
        raise InputError(explain("these data have no splits", found=split, accepted=accepted, do=do))
    do = "name one of these, or leave the split out to read everything"
    raise InputError(explain("there is no such split", found=split, accepted=nearest(split, there), do=do))


def _sampled(sources: Sequence[Source]) -> tuple[list[list[Row]], list[BadRow]]:
    """The first rows of each source, and those among them that cannot be read."""
    most = min(_SAMPLE, max(_SAMPLE_LEAST, _SAMPLE_ALL // len(sources)))
    sample: list[list[Row]] = []
    bad: list[BadRow] = []
    for source in sources:
        rows: list[Row] = []
        sample.append(rows)
        with closing(cast("Generator[Row | BadRow]", source.rows())) as read:
            for seen, row in enumerate(read, 1):
                if isinstance(row, BadRow):
                    bad.append(row)
                else:
                    rows.append(row)
                heavy = source.on_disk and source.position > _SAMPLE_BYTES
                if seen >= most or (heavy and seen >= _SAMPLE_LEAST):
                    break
    return sample, bad


def _no_rows(sources: Sequence[Source], rows: list[Row], bad: list[BadRow]) -> InputError:
    """What to say of data without a row that can be read."""
    name, accepted = sources[0].name, "at least one row"
    if rows:
        wrong, found, do = f"{name}: no row has a column", Said("empty objects"), "write the rows again"
        return InputError(explain(wrong, found=found, accepted="rows with columns", do=do))
    if bad:
        return _none_read(sources, len(bad), bad[0].error)
    do = "look at the data: there is nothing, or a header alone"
    return InputError(explain(f"{name}: there are no rows", found=NOTHING, accepted=accepted, do=do))


def _none_read(sources: Sequence[Source], number: int, first: RowError | str) -> InputError:
    """What to say where every row is bad."""
    wrong, found = f"{sources[0].name}: no row can be read", Said(f"{number:,} rows, all of them bad")
    accepted, do = "at least one row that can be read", "mend the rows, or say what they are with --map"
    return InputError(f"{explain(wrong, found=found, accepted=accepted, do=do)} The first one: {first}")


def _detected(sources: Sequence[Source], sample: list[list[Row]], rows: list[Row]) -> Plan:
    """The plan for all rows; where files are of different shapes, the message says which is what."""
    try:
        return detect(rows)
    except InputError:
        if sum(map(bool, sample)) < 2:
            raise
        said: dict[str, list[str]] = {}
        for source, part in zip(sources, sample, strict=True):
            if part:
                said.setdefault(detect(part).line, []).append(source.name)
        if len(said) < 2:
            raise
    shown = "; ".join(f"{names[0]} reads as {line!r}" for line, names in list(said.items())[:3])
    wrong, found = f"the files are of different shapes ({shown})", Said(f"{len(said)} shapes")
    accepted, do = "rows of one shape", "read them one by one, or name the file or split that is meant"
    raise InputError(explain(wrong, found=found, accepted=accepted, do=do))


def _stopped(bad: BadRow) -> RowError:
    """The error of a row that stops the reading, with the way round it."""
    return RowError(str(bad.error) + _SKIP)


# --- what is kept of a row --------------------------------------------------------------------------------


def _plain(item: Item, now: _Pass) -> Item:
    """An item whose meta holds nothing but JSON: what tables and rows in memory have is made so."""
    if all(type(value) in _LEAVES for value in item.meta.values()):
        return item
    meta: dict[str, JSON] = {}
    for name, value in item.meta.items():
        lost: set[str] = set()
        plain = as_json(value, lost)
        if lost:
            said = f"column {name!r}: {', '.join(sorted(lost))} cannot be kept beside the items; left out"
            if said not in now.notes:
                now.notes.append(said)
        if plain is not None or value is None or not lost:
            meta[name] = plain
    return replace(item, meta=meta)


# --- the file of skipped rows -----------------------------------------------------------------------------


def _refuse_to_overwrite(path: Path, sources: Sequence[Source]) -> None:
    """See to it that nothing is lost by writing skipped rows to a path: only such a file is written over."""
    wrong, accepted = f"{path}: skipped rows are not written over this", "a new file, or one of skipped rows"
    do = "name another file for the skipped rows"
    real = os.path.realpath(path)
    if any(source.on_disk and os.path.realpath(source.name) == real for source in sources):
        found = Said("the data themselves")
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    if not path.parent.is_dir() or path.is_dir():
        found = Said("a folder" if path.is_dir() else f"no folder {path.parent}")
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    try:
        with path.open("rb") as file:
            first = file.readline(2**20)
            first = first if first.endswith(b"\n") or len(first) < 2**20 else b'{"file": '
    except FileNotFoundError:
        return
    except OSError as error:
        found = Said(error.strerror or type(error).__name__)
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do)) from None
    if first and not _of_skipped(first):
        found = Said(f"a file that begins with {first[:40].decode('utf-8', 'replace')!r}")
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))


def _of_skipped(line: bytes) -> bool:
    """Whether a line is one that skipped rows are written as."""
    try:
        kept = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(kept, dict) and cast("dict[str, Any]", kept).keys() == _SKIPPED


@contextmanager
def _beside(path: Path, *, keep: bool) -> Generator[IO[str]]:
    """A file written aside that takes the place of `path` at the end.

    Where a reading is broken off, what it has written so far does so too; but not if `keep` says that a
    complete one stands there already.
    """
    draft, whole = aside(path), False
    try:
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            try:
                yield file
                whole = True
            finally:
                file.flush()
                if whole or not keep:
                    draft.replace(path)
    except OSError as error:
        message = disk_message(error, doing=f"{path}: writing skipped rows", kept="what was there is whole")
        raise InputError(message) from error
    finally:
        draft.unlink(missing_ok=True)
