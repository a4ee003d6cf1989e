"""A run: the hash of what was asked, and the directory of what came of it.

    with Run.open("runs", name="dpo", recipe=text, resolved=settings, inputs=hashes) as run:
        run.mark("running")
        run.append_metrics({"step": 1, "loss": 0.69})
        run.write_results([Result(name="wins", value=0.6, n=100)])
        run.mark("finished")

The directory `<root>/<name>-<first 12 digits of the id>/` is all that train, eval, decide, report and
serve know of each other:

    recipe.yaml      the recipe as given (recipe.json when it was given as data)
    resolved.json    every setting after defaults
    manifest.json    id, input hashes, seeds, versions, hardware of the process that began the run
    status.json      new, running, finished, failed or stopped, and why
    metrics.jsonl    one row a line
    results.json     what was measured
    checkpoints/     samples/     lock

One process at a time may write, the holder of the lock; anybody may read. JSON is legal JSON. Settings and
manifest hold finite numbers only; in metrics and results, which are numbers by their types, NaN and the
infinities are the texts "NaN", "Infinity" and "-Infinity", and readers here give the numbers back.
"""

import contextlib
import json
import logging
import os
import re
import secrets
import shutil
import socket
import time
import weakref
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, get_args

from concord import wire
from concord.durable import (
    disk_message,
    lock,
    read_json,
    read_object,
    sync_directory,
    write_all,
    write_bytes,
    write_json,
)
from concord.errors import NOTHING, InputError, NotFoundError, RunError, Said, explain, nearest
from concord.manifest import build_manifest
from concord.store import key
from concord.types import Result

__all__ = ["Run", "State", "Status", "all_runs", "find_run", "run_id"]

State = Literal["new", "running", "finished", "failed", "stopped"]

_log = logging.getLogger(__name__)
_Row = Mapping[str, int | float]
_Results = tuple[Result, ...]
_DIGITS = 12
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ABANDONED_SECONDS = 3600
_LOCK_TRIES = 20

# A fork inherits open files and with them the lock, which would outlive a killed parent in its workers.
_open_runs: "weakref.WeakSet[Run]" = weakref.WeakSet()


def run_id(resolved: Mapping[str, object], inputs: Mapping[str, str]) -> str:
    """Hash the resolved settings and the hashes of the inputs: the identity of a run, in hex."""
    return key("run", resolved, inputs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """Where a run stands, why, since when, and which process said so."""

    state: State
    reason: str = ""
    time: str = ""
    pid: int | None = None
    host: str = ""


class Run:
    """A run's identity and directory: `Run.open` to write (takes the lock), `Run(path)` to read."""

    def __init__(self, path: str | Path) -> None:
        """Look at the run in an existing directory, without the right to write."""
        self.path = Path(path)
        self._place = self.path.absolute()  # as `path`, whatever directory the process goes to
        missing = [name for name in ("manifest.json", "resolved.json") if not (self.path / name).is_file()]
        if missing:
            wrong = f"{path} is not a whole run directory: it has no {' and no '.join(missing)}"
            found = Said(", ".join(sorted(os.listdir(self.path)))) if self.path.is_dir() else NOTHING
            accepted = "a directory with manifest.json and resolved.json"
            do = "name another directory, or delete this one and start again"
            raise RunError(explain(wrong, found=found or NOTHING, accepted=accepted, do=do))
        self.manifest: dict[str, Any] = read_object(self.path / "manifest.json", ("id", "name"))
        self.id, self.name = str(self.manifest["id"]), str(self.manifest["name"])
        self._files: dict[str, int] = {}
        # A run that is dropped without `close` must not keep its lock.
        weakref.finalize(self, _close_all, self._files)

    @classmethod
    def open(
        cls,
        root: str | Path,
        *,
        name: str,
        recipe: str | Mapping[str, object],
        resolved: Mapping[str, object],
        inputs: Mapping[str, str],
        seeds: Mapping[str, int] | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> Self:
        """Create the run's directory, or open the one that is there, and hold its lock.

        `resolved` and `inputs` (name -> content hash) make the identity; `recipe` is kept as given;
        `seeds` and `extra` go into the manifest of a new run. A run that another process holds gives a
        RunError that names it; one left by a dead process opens, and then says `stopped`.
        """
        if not _NAME.fullmatch(name):
            accepted = "up to 100 letters, digits, dots, dashes and underscores, a letter or digit first"
            do = "give it a name that can be one of a directory"
            raise InputError(
                explain("this cannot be the name of a run", found=name, accepted=accepted, do=do)
            )
        identity = run_id(resolved, inputs)
        path = Path(root) / f"{name}-{identity[:_DIGITS]}"
        held = None
        if not path.exists():
            manifest = {"id": identity, "name": name}
            manifest |= build_manifest(inputs=inputs, seeds=seeds, extra=extra)
            held = _create(path, recipe=recipe, resolved=resolved, manifest=manifest)
        if held is None:
            held = _hold(path)
        try:
            run = cls(path)
            if run.id != identity:
                wrong = f"the directory {path} belongs to another run"
                raise RunError(explain(wrong, found=run.id, accepted=identity, do="rename or delete it"))
        except BaseException:
            os.close(held)
            raise
        run._files["lock"] = held
        _open_runs.add(run)
        run._recover()
        return run

    def __enter__(self) -> Self:
        """Use the run in a `with` block, which closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; a run still `running` becomes `failed`, or `stopped` when nothing went wrong."""
        try:
            if self.writable:
                self._check_writable()
            if self.writable and self.status().state == "running":
                if error is None:
                    self.mark("stopped", reason="closed before it was marked as finished")
                else:
                    interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
                    reason = f"{type(error).__name__}: {error}"
                    self.mark("stopped" if interrupted else "failed", reason=reason)
        except RunError as trouble:
            if error is None:
                raise
            _log.warning("%s", trouble)  # what is on its way out matters more
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the lock; what was recorded stays as it is."""
        _close_all(self._files)

    @property
    def writable(self) -> bool:
        """Whether this object holds the run's lock."""
        return "lock" in self._files

    @property
    def checkpoints(self) -> Path:
        """The directory for checkpoints."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """The directory for samples."""
        return self.path / "samples"

    @property
    def resolved(self) -> dict[str, Any]:
        """The resolved settings, read from disk."""
        return read_object(self.path / "resolved.json")

    @property
    def recipe(self) -> str:
        """The recipe as given, as text."""
        for name in ("recipe.yaml", "recipe.json"):
            if (self.path / name).is_file():
                return (self.path / name).read_text(encoding="utf-8")
        wrong, accepted = f"the run {self.path} has no recipe", "recipe.yaml or recipe.json"
        raise RunError(explain(wrong, found=NOTHING, accepted=accepted, do="restore it from a copy"))

    def status(self) -> Status:
        """Say where the run stands; `running` means that a living process holds it."""
        recorded = self._recorded()
        if recorded.state == "running" and not self.writable and not _is_held(self.path):
            return Status(state="stopped", reason=_died(recorded), time=recorded.time)
        return recorded

    def mark(self, state: State, *, reason: str = "") -> None:
        """Record durably where the run stands, and why."""
        self._check_writable()
        if state not in get_args(State):
            accepted = ", ".join(get_args(State))
            wrong = "a run has no such state"
            raise InputError(explain(wrong, found=state, accepted=accepted, do="give one of these"))
        write_json(self.path / "status.json", _status(state, reason))

    def append_metrics(self, row: Mapping[str, int | float]) -> None:
        """Append a row of numbers to metrics.jsonl: whole or not at all, and safe if the process dies."""
        line = (wire.dumps(row, cls=_Row) + "\n").encode()
        file = self._metrics_file()
        size = os.fstat(file).st_size
        with self._explained("appending to"):
            try:
                write_all(file, line, offset=size)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.ftruncate(file, size)
                raise

    def metrics_offset(self) -> int:
        """Return the length of metrics.jsonl for a checkpoint to keep, synced so that it stays true."""
        file = self._metrics_file()
        with self._explained("syncing"):
            os.fsync(file)
            return os.fstat(file).st_size

    def truncate_metrics(self, offset: int) -> None:
        """Cut metrics.jsonl back to where it was at a checkpoint, to resume from there."""
        file = self._metrics_file()
        size = os.fstat(file).st_size
        whole = offset == 0 or (0 < offset <= size and os.pread(file, 1, offset - 1) == b"\n")
        if not whole:
            wrong = f"{self.path / 'metrics.jsonl'} cannot be cut back: no row ends at that byte"
            do = "resume from an earlier checkpoint"
            raise RunError(explain(wrong, found=offset, accepted=f"the end of a row, at most {size}", do=do))
        with self._explained("cutting"):
            os.ftruncate(file, offset)
            os.fsync(file)

    def read_metrics(self) -> Iterator[Mapping[str, int | float]]:
        """Go through the rows of metrics.jsonl; a torn last line is left out, and a warning logged."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    _log.warning("%s: line %d, the last, is torn and left out", path, number)
                    return
                with _on_reading():
                    row = wire.loads(_Row, line, where=f"{path}:{number}")
                yield row

    def write_results(self, results: Sequence[Result]) -> None:
        """Replace results.json, durably."""
        self._check_writable()
        write_json(self.path / "results.json", wire.to_json(tuple(results), cls=_Results))

    def read_results(self) -> tuple[Result, ...]:
        """Read results.json; a run that has none yet gives none."""
        path = self.path / "results.json"
        if not path.exists():
            return ()
        with _on_reading():
            return wire.from_json(_Results, read_json(path), where=str(path))

    def _check_writable(self) -> None:
        if not self.writable:
            wrong, found = f"the run {self.path} is open for reading only", Said("no lock")
            do = "open it with Run.open, which takes its lock"
            raise RunError(explain(wrong, found=found, accepted="a run whose lock one holds", do=do))
        ours = os.fstat(self._files["lock"])
        try:
            there = os.stat(self._place / "lock")
            found = NOTHING if ours.st_nlink == 0 else Said("another run, or another lock file")
        except OSError as error:
            there, found = None, Said(error.strerror or "nothing")
        if there is None or (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino):
            wrong, accepted = f"the run {self.path}: the run was deleted while it was in use", "its directory"
            raise RunError(explain(wrong, found=found, accepted=accepted, do="open it again with Run.open"))

    @contextlib.contextmanager
    def _explained(self, doing: str) -> Generator[None]:
        try:
            yield
        except OSError as error:
            what, kept = f"{doing} {self.path / 'metrics.jsonl'}", "the rows before are whole"
            raise RunError(disk_message(error, doing=what, kept=kept)) from error

    def _recorded(self) -> Status:
        path = self.path / "status.json"
        if not path.exists():
            return Status(state="new")
        with _on_reading():
            return wire.from_json(Status, read_json(path), where=str(path))

    def _recover(self) -> None:
        """Put right what a dead process left; called with the lock."""
        try:
            for left in self.path.glob(".*.tmp"):
                if left.is_file():
                    left.unlink()
            recorded = self._recorded()
            if recorded.state == "running":
                self.mark("stopped", reason=_died(recorded))
        except BaseException:
            self.close()
            raise

    def _metrics_file(self) -> int:
        self._check_writable()
        if "metrics" not in self._files:
            path = self.path / "metrics.jsonl"
            with self._explained("opening"):
                file = self._files["metrics"] = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
                end = _last_line_end(file)
                if end < os.fstat(file).st_size:
                    _log.warning("%s: cut a torn last line", path)
                    os.ftruncate(file, end)
                sync_directory(self.path)
        return self._files["metrics"]


def _close_all(files: dict[str, int]) -> None:
    while files:
        os.close(files.popitem()[1])


@contextlib.contextmanager
def _on_reading() -> Generator[None]:
    """Say that it is the run's own file that cannot be read."""
    try:
        yield
    except InputError as error:
        raise RunError(f"{error} Or restore the file from a copy.") from error


def _close_in_child() -> None:
    for run in list(_open_runs):
        run.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


def _status(state: State, reason: str) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return asdict(Status(state=state, reason=reason, time=now, pid=os.getpid(), host=socket.gethostname()))


def _died(recorded: Status) -> str:
    return f"process {recorded.pid} on {recorded.host} ended without saying why"


def _last_line_end(file: int) -> int:
    end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - 65536)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _create(
    path: Path,
    *,
    recipe: str | Mapping[str, object],
    resolved: Mapping[str, object],
    manifest: Mapping[str, object],
) -> int | None:
    """Fill the directory aside and rename it; return the lock, or None when another process was first."""
    made = path.with_name(f".creating-{path.name}-{secrets.token_hex(4)}")
    held: int | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        made.mkdir()
        if isinstance(recipe, str):
            write_bytes(made / "recipe.yaml", recipe.encode())
        else:
            write_json(made / "recipe.json", recipe)
        write_json(made / "resolved.json", resolved)
        write_json(made / "manifest.json", manifest)
        write_json(made / "status.json", _status("new", ""))
        for name in ("checkpoints", "samples"):
            (made / name).mkdir()
        # Locked before it has its name, so nobody can slip in between.
        held = _hold(made)
        sync_directory(made)
        os.rename(made, path)
        sync_directory(path.parent)
    except BaseException as error:
        if held is not None:
            os.close(held)
        shutil.rmtree(made, ignore_errors=True)
        if isinstance(error, OSError):
            if path.exists():
                return None
            doing = f"creating the run directory {path}"
            raise RunError(disk_message(error, doing=doing, kept="nothing was created")) from error
        raise
    return held


def _sweep(root: Path) -> None:
    """Remove what processes killed while creating a directory left behind."""
    for left in root.glob(".creating-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                shutil.rmtree(left)


def _hold(path: Path) -> int:
    """Take the run's lock and sign it; a RunError says who has it."""
    try:
        file = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        doing = f"locking the run {path}"
        raise RunError(disk_message(error, doing=doing, kept="nothing was changed")) from error
    try:
        # A reader asking whether the run is held has the lock for an instant; that is no holder.
        for _ in range(_LOCK_TRIES):
            if lock(file, wait=False):
                signature = json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode()
                write_all(file, signature, offset=0)
                os.ftruncate(file, len(signature))
                return file
            time.sleep(0.01)
        try:
            holder = json.loads(os.pread(file, 4096, 0))
            who = Said(f"process {holder['pid']} on {holder['host']}")
            ours = (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname())
        except (ValueError, KeyError, TypeError):
            who, ours = Said("another process"), False
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    do = "wait until it has ended, or stop it; to do something else, change a setting or the name"
    if ours:
        do = "this process already has it open: close it, or use `with`"
    wrong, accepted = f"the run {path} is in use by {who}", "one writer at a time"
    raise RunError(explain(wrong, found=who, accepted=accepted, do=do))


def _is_held(path: Path) -> bool:
    try:
        file = os.open(path / "lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        return not lock(file, wait=False, shared=True)
    finally:
        os.close(file)


def all_runs(root: str | Path) -> list[Run]:
    """List the runs of a directory by name, open for reading; what is not a run is left out."""
    runs: list[Run] = []
    for path in sorted(Path(root).glob("*/manifest.json")):
        if not path.parent.name.startswith("."):
            try:
                run = Run(path.parent)
                run.status()  # so that whoever lists them can ask for it
                runs.append(run)
            except RunError as error:
                _log.warning("left out of the list of runs: %s", error)
    return runs


def find_run(root: str | Path, reference: str | Path) -> Run:
    """Find a run by its directory, its name, or the first digits (four or more) of its id."""
    text = str(reference)
    for path in (Path(root) / text, Path(text)):
        if (path / "manifest.json").is_file():
            return Run(path)
    runs = all_runs(root)
    found = [run for run in runs if run.name == text or (len(text) >= 4 and run.id.startswith(text))]
    if len(found) == 1:
        return found[0]
    if found:
        candidates = ", ".join(run.path.name for run in found)
        do = "give the name of the directory"
        wrong = f"several runs in {root} answer to this reference"
        raise NotFoundError(explain(wrong, found=text, accepted=candidates, do=do))
    accepted = nearest(text, {run.path.name for run in runs} | {run.name for run in runs})
    wrong, do = f"there is no such run in {root}", "name one of these, or the directory that holds the runs"
    raise NotFoundError(explain(wrong, found=text, accepted=accepted, do=do))
