"""Files that are whole or absent, whatever happens: the few disk habits that store and run share.

A file is written aside, synced, renamed over the old one, and its directory is synced; a directory is
filled aside, synced file by file, and renamed. So a killed process or a full disk leaves the old or
the new, never a mix. What a kill does leave behind are files and directories named `.*.tmp`.

JSON written here is legal JSON, by the codec of `wire`: what it cannot hold, numbers that are not finite
among it, is refused, and what is read is what stands there.
"""

import contextlib
import ctypes
import errno
import os
import secrets
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from concord import wire
from concord.errors import InputError, RunError, UnavailableError, explain

__all__ = [
    "aside",
    "disk_message",
    "lock",
    "publish_directory",
    "read_json",
    "read_object",
    "recover_directory",
    "sync_directory",
    "unlock",
    "write_all",
    "write_bytes",
    "write_json",
]

_EXCHANGE = 2  # RENAME_EXCHANGE of Linux: two names change places in one step
_AT_FDCWD = -100


def lock(descriptor: int, *, wait: bool = True, shared: bool = False) -> bool:
    """Take the advisory lock of an open file; without `wait`, return False when another holds it.

    The kernel drops the lock when its holder closes the file or dies, so it can never be stale.
    """
    try:
        import fcntl  # absent on Windows, where importing concord must still work
    except ImportError as error:
        wrong = "this system has no file locks of the POSIX kind, which the store and runs rely on"
        accepted = "Linux, macOS, or the Windows Subsystem for Linux"
        do = "run Concord on one of these"
        raise UnavailableError(explain(wrong, found=sys.platform, accepted=accepted, do=do)) from error
    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, mode if wait else mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(descriptor: int) -> None:
    """Give back what `lock` took, if anything, keeping the file open."""
    with contextlib.suppress(ImportError):
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_UN)


def write_all(descriptor: int, data: bytes | memoryview, *, offset: int) -> None:
    """Write all of `data` at `offset`, going on after short writes; raises OSError when it cannot."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        if written == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        offset += written
        rest = rest[written:]


def disk_message(error: OSError, *, doing: str, kept: str) -> str:
    """Say in one sentence what the disk refused, what is still whole, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        accepted = "a disk with room"
        do = "free space or raise the quota on that disk, then run the same command again"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        accepted = "a place that may be written to"
        do = "give write permission there, or name another directory"
    elif error.errno in (errno.EEXIST, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
        accepted = "a path that can be a directory or file here"
        do = "look at the path: something else stands there, or it is too long or leads in a circle"
    elif error.errno in (errno.EMFILE, errno.ENFILE):
        accepted = "fewer open files"
        do = "close files, or raise the limit with `ulimit -n`"
    elif error.errno in (errno.ENOLCK, errno.EOPNOTSUPP):
        accepted = "a file system with locks"
        do = "name a directory on another file system, a local disk for instance"
    else:
        accepted = "a disk that reads and writes"
        do = "look at the path and the disk (its log, its mount), then run the same command again"
    found = error.strerror or type(error).__name__
    return explain(f"{doing} failed, and {kept}", found=found, accepted=accepted, do=do)


def sync_directory(path: str | Path) -> None:
    """Make the names in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network and FUSE file systems cannot sync a directory; they keep names in order themselves.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def aside(path: str | Path) -> Path:
    """Name a sibling of `path`, not yet used by anybody, for filling before a rename."""
    path = Path(path)
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def write_bytes(path: str | Path, data: bytes) -> None:
    """Replace the file's content durably: after a crash at any moment it holds the old or the new."""
    path = Path(path)
    temporary = aside(path)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            write_all(descriptor, data, offset=0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
        sync_directory(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            kept = "what stood there before is whole"
            raise RunError(disk_message(error, doing=f"writing {path}", kept=kept)) from error
        raise


def write_json(path: str | Path, value: object) -> None:
    """Write a value as readable JSON, durably; order of keys is kept."""
    write_bytes(path, (wire.dumps(value, cls=Any, indent=2) + "\n").encode())


def read_json(path: str | Path) -> Any:
    """Read what `write_json` wrote; a file that is absent or is not JSON gives a RunError."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        wrong, accepted = f"{path} cannot be read", "a file that is there and may be read"
        do = "give read permission, name another path, or restore the file from a copy"
        raise RunError(explain(wrong, found=error.strerror, accepted=accepted, do=do)) from error
    try:
        return wire.loads(Any, data, where=str(path))
    except InputError as error:
        raise RunError(f"{error} Or restore the file from a copy, or start the run anew.") from error


def read_object(path: Path, texts: Sequence[str] = ()) -> dict[str, Any]:
    """Read a file that holds a JSON object in which these keys are texts."""
    data: Any = read_json(path)
    found: object = data
    if not isinstance(data, dict) or not all(isinstance(data.get(key), str) for key in texts):  # pyright: ignore
        wrong, do = (
            f"{path} is not what Concord wrote there",
            "restore the file from a copy, or delete the run",
        )
        accepted = " and ".join(["an object", *map(repr, texts)])
        raise RunError(explain(wrong, found=found, accepted=accepted, do=do))
    return cast("dict[str, Any]", data)


def publish_directory(filled: str | Path, final: str | Path) -> None:
    """Make the directory `filled` appear as `final`, synced to disk; an existing `final` is replaced.

    Every file and directory inside is synced first, so the name never stands for half a tree. When
    anything fails, `final` is as it was and `filled` is left for the caller to remove. Where the
    system can exchange two names in one step (Linux, on its usual file systems), `final` is never
    absent; elsewhere a kill in the wrong instant leaves the old tree under a name that
    `recover_directory`, or the next `publish_directory`, puts back.
    """
    filled, final = Path(filled), Path(final)
    recover_directory(final)
    try:
        _sync_tree(filled)
        old = _put_in_place(filled, final)
        sync_directory(final.parent)
        if filled.parent != final.parent:
            sync_directory(filled.parent)
    except OSError as error:
        kept = "what stood there before is whole"
        raise RunError(disk_message(error, doing=f"publishing {final}", kept=kept)) from error
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def recover_directory(final: str | Path) -> None:
    """Put back the old tree if a crash struck between the two renames of a `publish_directory`."""
    previous = _previous(Path(final))
    if previous.is_dir():
        if Path(final).exists():
            shutil.rmtree(previous, ignore_errors=True)
        else:
            os.rename(previous, final)


def _previous(final: Path) -> Path:
    return final.with_name(f".{final.name}.previous")


def _sync_tree(root: Path) -> None:
    for folder, _, names in os.walk(root, topdown=False, onerror=_raise):
        for name in names:
            descriptor = os.open(os.path.join(folder, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_directory(folder)


def _raise(error: OSError) -> None:
    raise error


def _put_in_place(filled: Path, final: Path) -> Path | None:
    """Rename, and say where the replaced tree went."""
    if not final.exists():
        os.rename(filled, final)
        return None
    if _exchange(filled, final):
        return filled
    previous = _previous(final)
    os.rename(final, previous)
    try:
        os.rename(filled, final)
    except OSError:
        os.rename(previous, final)
        raise
    return previous


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step; False where the system or the file system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    names = os.fsencode(first), os.fsencode(second)
    return rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_EXCHANGE)) == 0
