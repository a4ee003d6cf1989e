"""What a run came from and was made on: hashes of its inputs, versions, seeds, hardware.

Kept with a run and with each checkpoint, and compared before resuming, so that a difference that would
change a bit of the result is named before it does.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, cast

import concord
from concord import wire
from concord.errors import InputError, NotFoundError, explain

__all__ = ["build_manifest", "hash_file", "hash_tree", "manifest_differences"]

_PACKAGES = (
    "accelerate",
    "bitsandbytes",
    "datasets",
    "numpy",
    "peft",
    "pyarrow",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
)
# What differs between two processes without changing a single bit of what they compute.
_HARMLESS = ("id", "name", "started", "host", "hardware.cpus", "hardware.memory", "hardware.system")


def hash_file(path: str | Path) -> str:
    """Hash a file's content, reading it in pieces."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        _unreadable(path, error)


def hash_tree(path: str | Path) -> str:
    """Hash a directory: the names and contents of all files under it, links followed; a file as itself.

    Neither times, permissions nor empty directories count, so a copy has the hash of the original.
    """
    root = Path(path)
    if root.is_file():
        return hash_file(root)
    total = hashlib.sha256()
    try:
        files = sorted(_files(root, seen=frozenset()), key=os.fsencode)
    except OSError as error:
        _unreadable(path, error)
    for name in files:
        encoded = os.fsencode(name)
        total.update(b"%d:%b=%b\n" % (len(encoded), encoded, hash_file(root / name).encode()))
    return total.hexdigest()


def _files(folder: Path, *, seen: frozenset[str], prefix: str = "") -> Iterator[str]:
    real = os.path.realpath(folder)
    if real in seen:
        wrong, accepted = (
            f"{folder} links back to a directory that contains it",
            "links that lead out or down",
        )
        raise InputError(explain(wrong, found=real, accepted=accepted, do="remove the link"))
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files(Path(entry.path), seen=seen | {real}, prefix=f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name


def _unreadable(path: str | Path, error: OSError) -> NoReturn:
    wrong, accepted = f"the input {path} cannot be read", "a file or directory that is there and may be read"
    do = "mend the path, or give read permission"
    raise NotFoundError(explain(wrong, found=error.strerror, accepted=accepted, do=do)) from error


def build_manifest(
    *,
    inputs: Mapping[str, str],
    seeds: Mapping[str, int] | None = None,
    extra: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """Describe this process: versions, inputs, seeds, hardware, and what the caller adds.

    Whoever computes adds what this module cannot know without importing it: the device, the kernel, the
    number of threads really in use (as `threads`, in `extra`). Numbers in it must be finite.
    """
    versions = {"python": platform.python_version(), "concord": concord.__version__}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    # Not on every system, hence the questions.
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    names = getattr(os, "sysconf_names", {})
    memory = "SC_PHYS_PAGES" in names and os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "inputs": dict(inputs),
        "seeds": dict(seeds or {}),
        "versions": versions,
        "hardware": {
            "cpus": cpus,
            "threads": os.environ.get("OMP_NUM_THREADS") or str(cpus),
            "memory": memory or None,
            "machine": platform.machine(),
            "processor": _processor(),
            "system": platform.platform(),
        },
        "extra": dict(extra or {}),
    }


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def manifest_differences(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Name, in plain words, each difference that breaks resuming bit for bit; an empty list is a promise.

    Host name, memory, number of CPUs and the like differ harmlessly. Everything in `extra` counts.
    """
    before, after = dict(_flat(old)), dict(_flat(new))
    said: list[str] = []
    for place in sorted(before.keys() | after.keys()):
        if place in _HARMLESS or before.get(place) == after.get(place):
            continue
        words = _words(place)
        if place not in after:
            said.append(f"{words} was {before[place]!r} and is now absent")
        elif place not in before:
            said.append(f"{words} was absent and is now {after[place]!r}")
        else:
            said.append(f"{words} was {before[place]!r} and is now {after[place]!r}")
    return said


def _flat(value: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(cast("Mapping[str, object]", item), f"{prefix}{name}.")
        else:
            # Through JSON and back, since one of the two manifests has been there.
            yield prefix + name, wire.to_json(item, cls=Any)


def _words(place: str) -> str:
    group, _, name = place.partition(".")
    match group:
        case "versions":
            return f"the version of {name}"
        case "inputs":
            return f"the content of the input {name!r} (as a hash)"
        case "seeds":
            return f"the seed {name!r}"
        case "hardware":
            return "the number of threads" if name == "threads" else f"the hardware's {name}"
        case "extra":
            return name
        case _:
            return place
