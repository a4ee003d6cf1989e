"""Checkpoints: all that training needs to go on from a step, whole or absent, and checked when it is read.

    checkpoints = Checkpoints(run.checkpoints, keep=3)
    checkpoints.save(100, weights_and_moments, {"epoch": 0.5}, own=states())
    step = checkpoints.latest()
    tensors, facts = checkpoints.load(step)

A checkpoint is a directory of safetensors and JSON, which run no code when they are read:

    checkpoint-100/
        state.json                            the step, how many ranks wrote it, the hash of each .json
        shared.json, shared-0.safetensors     what all ranks have in common, written by rank 0
        rank-0.json, rank-0-0.safetensors     what belongs to one rank: its chance, its part of the optimizer

Each .json holds facts, the hashes of the tensor files that belong to it, and which names stand for the same
tensor. A file of tensors has at most 2 GB, or one tensor that is larger.

A checkpoint is filled under another name, synced and renamed, so a killed process or a full disk leaves those
before it as they were. Only then are older ones removed, so the disk needs room for one more than are kept.
"""

import logging
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from concord import durable, wire
from concord.errors import ConcordError, InputError, NotFoundError, RunError, Said, explain
from concord.manifest import hash_file
from concord.train.ranks import ALONE, Ranks
from concord.types import JSON

__all__ = ["Checkpoints", "Facts", "Tensors"]

Tensors: TypeAlias = Mapping[str, Tensor]
"""What is kept bit for bit, by name."""

Facts: TypeAlias = Mapping[str, JSON]
"""What is kept as JSON: numbers must be finite."""

T = TypeVar("T")

_log = logging.getLogger(__name__)
_NAME = re.compile(r"checkpoint-(0|[1-9][0-9]*)")
_FILE_BYTES = 2 * 10**9
_SYSTEM = re.compile(r"\(os error ([0-9]+)\)")


@dataclass(frozen=True, kw_only=True)
class _State:
    """state.json; with the hashes of those it names, the hashes in them cover every file."""

    step: int
    ranks: int
    sha256: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class _Head:
    """What stands beside files of tensors."""

    facts: Mapping[str, JSON]
    tied: Mapping[str, str]
    sha256: Mapping[str, str]


class Checkpoints:
    """The checkpoints of a run, for the processes that hold its lock.

    `keep` is how many are kept, the newest ones; None keeps all. On several ranks each has an object with its
    `ranks`, all see the same folder, and all call `latest` and `save` together.
    """

    def __init__(self, folder: str | Path, keep: int | None = None, *, ranks: Ranks = ALONE) -> None:
        if keep is not None and keep < 1:
            wrong, do = "no checkpoint would be kept", "give how many to keep, or none to keep all"
            raise InputError(explain(wrong, found=keep, accepted="1 or more", do=do))
        self.folder = Path(folder)
        self._keep = keep
        self._ranks = ranks
        self._whole: set[int] = set()

    def steps(self) -> tuple[int, ...]:
        """The steps that have a checkpoint, damaged ones among them, in order."""
        try:
            with os.scandir(self.folder) as entries:
                names = [entry.name for entry in entries if entry.is_dir()]
        except FileNotFoundError:
            return ()
        except OSError as error:
            doing, kept = f"looking for checkpoints in {self.folder}", "nothing was changed"
            raise RunError(durable.disk_message(error, doing=doing, kept=kept)) from error
        return tuple(sorted(int(found[1]) for found in map(_NAME.fullmatch, names) if found))

    def latest(self) -> int | None:
        """The newest step whose checkpoint is whole, or None where there is no checkpoint.

        Every file of it is read and compared with its hash, by rank 0 for all. A damaged one is passed over
        with a warning that says what is damaged; where all are, that is an error: to begin anew would
        replace them.
        """
        step: int | None = None
        trouble = ""
        if self._ranks.first:
            try:
                step = self._newest()
            except RunError as error:
                trouble = str(error)
        step, trouble = self._ranks.told((step, trouble))
        if trouble:
            raise RunError(trouble)
        if step is not None:
            self._whole.add(step)
        return step

    def load(self, step: int) -> tuple[dict[str, Tensor], Facts]:
        """What all ranks have in common, on the CPU; names that were one tensor are one again."""
        self._verify(step)
        return _read_group(self._place(step), "shared")

    def load_own(self, step: int) -> tuple[dict[str, Tensor], Facts]:
        """What belongs to this rank; an error where another number of ranks wrote it."""
        written, here = self.written_by(step), self._ranks.count
        if written != here:
            wrong = f"the checkpoint of step {step} has what belongs to each rank for another number of them"
            do = "start as many processes as before"
            raise RunError(explain(wrong, found=Said(f"{here} here"), accepted=f"{written}", do=do))
        return _read_group(self._place(step), f"rank-{self._ranks.rank}")

    def written_by(self, step: int) -> int:
        """How many ranks wrote a checkpoint."""
        self._verify(step)
        return _read(_State, self._place(step) / "state.json").ranks

    def save(
        self,
        step: int,
        tensors: Tensors,
        facts: Facts,
        *,
        own: tuple[Tensors, Facts] = ({}, {}),
    ) -> Path:
        """Write the checkpoint of a step, then remove those that need not be kept; return where it is.

        `tensors` and `facts` are what all ranks have in common (only those of rank 0 are written), `own` is
        what belongs to this rank. Those of later steps are removed: training was taken up again before them,
        and will write them anew.

        When it cannot be written, what there was is whole, every rank gets an error, most often a RunError,
        and training may go on without it.
        """
        final, temporary = self._place(step), self.folder / f".checkpoint-{step}.tmp"
        groups = {f"rank-{self._ranks.rank}": own}
        stages: list[Callable[[], None]] = [_nothing, partial(_fill, temporary, groups), _nothing]
        if self._ranks.first:
            groups["shared"] = (tensors, facts)
            stages[0] = partial(self._begin, temporary)
            stages[2] = partial(self._publish, step, temporary, final)
        try:
            for stage in stages:
                self._together(stage, final)
        finally:
            if self._ranks.first:
                shutil.rmtree(temporary, ignore_errors=True)
        self._whole.discard(step)
        if self._ranks.first:
            self._prune(step)
        return final

    def _together(self, stage: Callable[[], None], final: Path) -> None:
        """Do this rank's share, and fail where any rank does: nobody waits for one that gave up."""
        trouble: Exception | None = None
        try:
            stage()
        except Exception as error:
            trouble = _explained(error, final)
        said = self._ranks.everybody("" if trouble is None else str(trouble) or type(trouble).__name__)
        if trouble is not None:
            raise trouble
        failed = {rank: text for rank, text in enumerate(said) if text}
        if failed:
            wrong = f"{final} is not written, and the checkpoints before it are whole: another rank failed"
            found = Said("; ".join(f"rank {rank}: {text}" for rank, text in failed.items()))
            do = "do what is said there"
            raise RunError(explain(wrong, found=found, accepted="the files of every rank", do=do))

    def _place(self, step: int) -> Path:
        return self.folder / f"checkpoint-{step}"

    def _begin(self, temporary: Path) -> None:
        """Make the directory to fill, after what dead processes left: theirs is the lock no more."""
        self.folder.mkdir(parents=True, exist_ok=True)
        durable.sync_directory(self.folder.parent)
        self._recover()
        for left in self.folder.glob(".checkpoint-*.tmp"):
            shutil.rmtree(left)
        temporary.mkdir()

    def _publish(self, step: int, temporary: Path, final: Path) -> None:
        count = self._ranks.count
        hashes = {f"{name}.json": hash_file(temporary / f"{name}.json") for name in _groups(count)}
        _write(temporary / "state.json", _State(step=step, ranks=count, sha256=hashes))
        durable.publish_directory(temporary, final)

    def _prune(self, step: int) -> None:
        steps = self.steps()
        past = [number for number in steps if number <= step]
        kept = past if self._keep is None else past[-self._keep :]
        for number in steps:
            if number not in kept:
                if number > step:
                    _log.warning(
                        "checkpoint %d is removed: training went back before it, to %d", number, step
                    )
                _remove(self._place(number))

    def _newest(self) -> int | None:
        self._recover()
        steps = self.steps()
        for step in reversed(steps):
            try:
                self._verify(step)
            except RunError as error:
                _log.warning("checkpoint %d is passed over: %s", step, error)
            else:
                return step
        if not steps:
            return None
        wrong = f"none of the checkpoints in {self.folder} is whole"
        found = Said("damaged ones of the steps " + ", ".join(map(str, steps)))
        do = "restore one from a copy, or delete them to start from the beginning"
        raise RunError(explain(wrong, found=found, accepted="one that is whole", do=do))

    def _recover(self) -> None:
        """Put back what a crash left between two renames, where a system has no exchange of names."""
        for left in self.folder.glob(".checkpoint-*.previous"):
            final = left.with_name(left.name[1:].removesuffix(".previous"))
            try:
                durable.recover_directory(final)
            except OSError as error:
                doing, kept = f"putting back {final}", f"it is whole at {left}"
                raise RunError(durable.disk_message(error, doing=doing, kept=kept)) from error

    def _verify(self, step: int) -> None:
        """Compare every file with its hash, once."""
        if step in self._whole:
            return
        folder = self._place(step)
        if not folder.is_dir():
            wrong, do = f"there is no checkpoint of step {step} in {self.folder}", "name a step that has one"
            accepted = ", ".join(map(str, self.steps())) or "none: no checkpoint was written yet"
            raise NotFoundError(explain(wrong, found=step, accepted=accepted, do=do))
        state = _read(_State, folder / "state.json")
        if state.step != step or set(state.sha256) != {f"{name}.json" for name in _groups(state.ranks)}:
            raise _damaged(folder / "state.json", "what belongs to another checkpoint")
        for head, digest in state.sha256.items():
            _check(folder / head, digest)
            for part, part_digest in _read(_Head, folder / head).sha256.items():
                _check(folder / part, part_digest)
        self._whole.add(step)


def _groups(ranks: int) -> list[str]:
    return ["shared", *(f"rank-{rank}" for rank in range(ranks))]


def _nothing() -> None:
    """What the other ranks do while rank 0 works."""


def _fill(folder: Path, groups: Mapping[str, tuple[Tensors, Facts]]) -> None:
    if not folder.is_dir():
        wrong, accepted = "this rank does not see the folder that rank 0 made", "a disk that all ranks share"
        do = "on several machines, put the folder of runs on such a disk"
        raise RunError(explain(wrong, found=Said(f"no {folder}"), accepted=accepted, do=do))
    for name, (tensors, facts) in groups.items():
        distinct, tied = _distinct(tensors)
        hashes: dict[str, str] = {}
        for number, part in enumerate(_parts(distinct)):
            path = folder / f"{name}-{number}.safetensors"
            save_file(part, path)
            hashes[path.name] = hash_file(path)
        _write(folder / f"{name}.json", _Head(facts=facts, tied=tied, sha256=hashes))


def _distinct(tensors: Tensors) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors that differ by where they lie, and for each other name the one it is the same tensor as."""
    first: dict[object, str] = {}
    distinct: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    for name, tensor in tensors.items():
        address = _address(name, tensor)
        place = tensor.device, address, tensor.dtype, tensor.shape, tensor.stride()
        # Empty tensors all lie nowhere, and conjugates where their originals lie.
        alone = not tensor.numel() or tensor.is_conj() or tensor.is_neg()
        same = name if alone else first.setdefault(place, name)
        if same == name:
            distinct[name] = tensor.detach()
        else:
            tied[name] = same
    return distinct, tied


def _address(name: str, tensor: Tensor) -> int:
    """Where a tensor's values lie; an error for one whose values are not plain numbers in one place."""
    plain = tensor.layout is torch.strided and not tensor.is_quantized and not hasattr(tensor, "full_tensor")
    try:
        address = tensor.data_ptr() if plain else 0
    except RuntimeError:  # said of tensors that are made of other tensors
        address = 0
    known = tensor.dtype not in (torch.complex32, torch.complex128)
    if known and (address or (plain and not tensor.numel() and not tensor.is_meta)):
        return address
    wrong = f"the tensor {name!r} cannot be kept in a checkpoint"
    found = Said(f"{type(tensor).__name__}, {tensor.dtype}, {tensor.layout}, on {tensor.device}")
    accepted = "a dense tensor with its values, of a type that safetensors has"
    do = "give the values that this process holds, as a plain tensor"
    raise InputError(explain(wrong, found=found, accepted=accepted, do=do))


def _parts(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Tensors by the file, ready to be written; one file's copies exist at a time, and only where needed."""
    lie = Counter(_storage(tensor) for tensor in tensors.values())
    part: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors.items():
        if part and size + tensor.nbytes > _FILE_BYTES:
            yield part
            part, size = {}, 0
        ready = tensor.cpu().resolve_conj().resolve_neg().contiguous()
        # Others that lie in the same memory would be refused.
        part[name] = ready.clone() if lie[_storage(ready)] > 1 else ready
        size += tensor.nbytes
    if part:
        yield part


def _storage(tensor: Tensor) -> tuple[torch.device, int]:
    return tensor.device, tensor.untyped_storage().data_ptr()


def _read_group(folder: Path, name: str) -> tuple[dict[str, Tensor], Facts]:
    head = _read(_Head, folder / f"{name}.json")
    tensors: dict[str, Tensor] = {}
    for part in head.sha256:
        # Copied out of the mapped file: at the odd addresses there, some kernels give other last bits.
        tensors |= {name: tensor.clone() for name, tensor in load_file(folder / part).items()}
    return tensors | {name: tensors[same] for name, same in head.tied.items()}, head.facts


def _write(path: Path, value: _State | _Head) -> None:
    durable.write_bytes(path, (wire.dumps(value, indent=2) + "\n").encode())


def _read(kind: type[T], path: Path) -> T:
    try:
        return wire.loads(kind, path.read_bytes(), where=str(path))
    except OSError as error:
        raise _damaged(path, error.strerror or type(error).__name__) from error
    except InputError as error:
        raise _damaged(path, "text that does not say what it should") from error


def _check(path: Path, digest: str) -> None:
    try:
        found = hash_file(path)
    except ConcordError as error:
        raise _damaged(path, "no file that can be read") from error
    if found != digest:
        raise _damaged(path, "other bytes than were written")


def _damaged(path: Path, found: str) -> RunError:
    wrong, do = f"{path} is damaged", "go on from another checkpoint, or restore the file from a copy"
    return RunError(explain(wrong, found=Said(found), accepted="the file as it was written", do=do))


def _explained(error: Exception, final: Path) -> Exception:
    """The same trouble as an error for people, where it is the disk's."""
    reason = error
    if isinstance(error, SafetensorError) and (number := _SYSTEM.search(str(error))):
        reason = OSError(int(number[1]), str(error))
    if not isinstance(reason, OSError):
        return error
    kept = "the checkpoints before it are whole"
    told = RunError(durable.disk_message(reason, doing=f"writing {final}", kept=kept))
    told.__cause__ = error
    return told


def _remove(folder: Path) -> None:
    """Under another name first: what is half removed must not look like a damaged checkpoint."""
    doomed = durable.aside(folder)
    try:
        folder.rename(doomed)
        shutil.rmtree(doomed)
    except OSError as error:
        _log.warning(
            "%s", durable.disk_message(error, doing=f"removing {folder}", kept="the others are whole")
        )
