"""The bytes of a file, whatever they are wrapped in: compression, UTF-16, a byte-order mark, any line ends.

All text leaves here as UTF-8 bytes with LF or CRLF at the end of a line. What does not decode stays as bytes
that are no UTF-8, so that the one row it spoils can be named and the rest be read.
"""

import bz2
import codecs
import gzip
import io
import lzma
import os
import stat
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from concord.errors import InputError, NotFoundError, Said, explain, nearest
from concord.places import brief

__all__ = [
    "DAMAGES",
    "HEAD",
    "LONGEST_LINE",
    "Lines",
    "Meter",
    "beginning",
    "binary_kind",
    "file_bytes",
    "regular_file",
]

LONGEST_LINE = 256 * 2**20
"""Bytes of the longest line that is read; a longer one is refused rather than held in memory."""

HEAD = 2**16
"""Bytes at the beginning of a file from which it is told what the file holds."""

DAMAGES = (EOFError, OSError, zlib.error, lzma.LZMAError)
"""What decompressing a damaged file raises."""

_CHUNK = 2**20
_BOMS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# JSON in UTF-16 without a mark shows itself by the zeros in its first characters.
_UNMARKED = {b"{\0": "utf-16-le", b"[\0": "utf-16-le", b"\0{": "utf-16-be", b"\0[": "utf-16-be"}
_EXPORT = "write the rows as JSON lines or Parquet, and name that file"
_UNPACK = "unpack it, and name the file or folder with the rows"
_BINARY: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"PK\x03\x04", "a zip archive or a spreadsheet", "unpack it, or export the spreadsheet to CSV"),
    (0, b"PK\x05\x06", "an empty zip archive", _UNPACK),
    (0, b"\xd0\xcf\x11\xe0", "an old spreadsheet or document", "export it to CSV"),
    (0, b"\x28\xb5\x2f\xfd", "a file compressed by zstd", "decompress it with `zstd -d`, or use gzip"),
    (0, b"\x04\x22\x4d\x18", "a file compressed by lz4", "decompress it with `lz4 -d`, or use gzip"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (0, b"Rar!", "a rar archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"%PDF", "a PDF", _EXPORT),
    (0, b"SQLite format 3", "an SQLite data base", "export the table to CSV"),
    (0, b"GGUF", "weights of a model", _EXPORT),
    (0, b"\x93NUMPY", "a NumPy array", _EXPORT),
    (0, b"\x89HDF", "an HDF5 file", _EXPORT),
    (0, b"\x89PNG", "a picture", "name the file of the rows that speak of it"),
    (0, b"\xff\xd8\xff", "a picture", "name the file of the rows that speak of it"),
    (0, b"\x7fELF", "a program", _EXPORT),
    (0, b"ORC", "an ORC file", _EXPORT),
    (0, b"Obj\x01", "an Avro file", _EXPORT),
)


class Meter:
    """How far reading has come: bytes of the file on disk, or rows of an object."""

    __slots__ = ("position",)

    def __init__(self) -> None:
        self.position = 0


def regular_file(path: Path) -> int:
    """The size of a file that can be read twice; anything else is refused."""
    try:
        known = path.stat()
        readable = os.access(path, os.R_OK)
    except FileNotFoundError:
        if path.is_symlink():
            found, do = Said("a link that leads nowhere"), "mend the link, or remove it"
            wrong, accepted = f"{path}: no such file or folder", "a file or a folder, or a link to one"
            raise NotFoundError(explain(wrong, found=found, accepted=accepted, do=do)) from None
        raise _missing(path) from None
    except (OSError, ValueError) as error:
        wrong, accepted = f"{brief(str(path))}: this path cannot be looked at", "the path of a file or folder"
        found = Said(getattr(error, "strerror", None) or str(error))
        raise InputError(explain(wrong, found=found, accepted=accepted, do="look at the path")) from None
    if not stat.S_ISREG(known.st_mode):
        do = "write it to a file first (`... > rows.jsonl`), and name that file"
        accepted = "a file or a folder, since data are read more than once"
        found = Said("a pipe, socket or device")
        raise InputError(
            explain(f"{path}: this can be read only once", found=found, accepted=accepted, do=do)
        )
    if not readable:
        wrong, found = f"{path}: this file may not be read", Said(f"mode {stat.filemode(known.st_mode)}")
        do = f"give yourself the right to read it (`chmod u+r {path}`)"
        raise InputError(explain(wrong, found=found, accepted="a file that you may read", do=do))
    return known.st_size


def _missing(path: Path) -> NotFoundError:
    """What to say of a path that leads nowhere: the nearest names, and how to read from the hub."""
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        names = [one.name for one in folder.iterdir() if not one.name.startswith(".")]
    except OSError:
        names = []
    step = path.relative_to(folder).parts[0] if path != folder else path.name
    accepted = f"a path that exists; in {folder}: {nearest(step, names)}"
    do = "correct the path; a data set of the hub is given as what `datasets.load_dataset(...)` returns"
    wrong = f"{path}: no such file or folder"
    return NotFoundError(explain(wrong, found=step, accepted=accepted, do=do))


def binary_kind(head: bytes) -> tuple[str, str] | None:
    """What a file that holds no rows is, by its first bytes, and what to do; None where it may hold some."""
    for at, mark, kind, do in _BINARY:
        if head[at : at + len(mark)] == mark:
            return kind, do
    if len(head) > 1 and head[0] == 0x80 and head[1] in range(2, 6):
        return "a pickle, which can run programs when it is read", _EXPORT
    if len(head) > 8 and head[8:9] == b"{" and 2 < int.from_bytes(head[:8], "little") < 2**32:
        return "safetensors, the weights of a model", _EXPORT
    return None


def _opened(path: Path) -> io.RawIOBase:
    return path.open("rb", buffering=0)


@contextmanager
def file_bytes(path: Path, meter: Meter | None = None) -> Generator[IO[bytes]]:
    """A file opened for reading, decompressed if it is compressed, whatever it is called."""
    try:
        raw = _opened(path)
    except OSError as error:
        wrong, found = f"{path}: this file cannot be opened", Said(error.strerror or type(error).__name__)
        do = "look at the path and your right to read it"
        raise InputError(explain(wrong, found=found, accepted="a file that can be read", do=do)) from None
    with raw:
        counted = io.BufferedReader(_Counted(raw, meter or Meter()), _CHUNK)
        head = counted.peek(6)[:6]
        if head[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=counted) as unzipped:
                yield _read_by(unzipped.read1)
        elif head[:3] == b"BZh":
            with bz2.BZ2File(counted) as unzipped:
                yield _read_by(unzipped.read1)
        elif head == b"\xfd7zXZ\0":
            with lzma.LZMAFile(counted) as unzipped:
                yield _read_by(unzipped.read1)
        else:
            yield counted


def beginning(stream: IO[bytes]) -> bytes:
    """The first bytes of a stream, up to `HEAD`; of a damaged one, those that can be read."""
    head = b""
    while len(head) < HEAD:
        try:
            chunk = cast(io.BufferedReader, stream).read1(HEAD - len(head))
        except DAMAGES:
            if not head:
                raise
            break
        if not chunk:
            break
        head += chunk
    return head


class _Counted(io.RawIOBase):
    """A raw file that says how far it has been read."""

    def __init__(self, raw: io.RawIOBase, meter: Meter) -> None:
        super().__init__()
        self._raw, self._meter = raw, meter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        count = self._raw.readinto(buffer) or 0
        self._meter.position += count
        return count


class _Recoded(io.RawIOBase):
    """A stream of text in another encoding, or with bare CR at the end of lines, as UTF-8 with LF."""

    def __init__(self, under: io.BufferedReader, encoding: str, *, bare: bool) -> None:
        super().__init__()
        # A lone surrogate passes through, and is found when the line it stands in is decoded.
        self._decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        self._under, self._bare, self._rest, self._over = under, bare, b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        while not self._rest and not self._over:
            chunk = self._under.read1(_CHUNK)
            self._over = not chunk
            try:
                text = self._decoder.decode(chunk, not chunk)
            except UnicodeDecodeError:
                # No way back into step: the line that stands here is spoiled, and is the last one.
                self._rest, self._over = b"\xff", True
                break
            self._rest = text.encode("utf-8", "surrogatepass")
            if self._bare:
                self._rest = self._rest.replace(b"\r", b"\n")
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


class _ReadBy(io.RawIOBase):
    """A stream of whatever a function gives that reads up to so many bytes.

    What came before the place where a damaged stream breaks off is given, and only then the error.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        super().__init__()
        self._given = read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        chunk = self._given(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)


def _read_by(read: Callable[[int], bytes]) -> io.BufferedReader:
    return io.BufferedReader(_ReadBy(read), _CHUNK)


class Lines:
    """The lines of an open file as UTF-8 bytes, with their ends: an iterator that goes on after an error.

    `number` is that of the line last given, from 1. A line that is too long is given cut to `LONGEST_LINE`
    + 1 bytes, and the rest of it is passed over.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.number = _plain(stream), 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        line = self.stream.readline(LONGEST_LINE + 1)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) > LONGEST_LINE:
            while (more := self.stream.readline(_CHUNK)) and not more.endswith(b"\n"):
                pass
        return line


def _plain(stream: IO[bytes]) -> IO[bytes]:
    """A stream of UTF-8 with LF, whatever it was; the byte-order mark is gone."""
    buffered = cast(io.BufferedReader, stream)
    head = buffered.peek(HEAD)[:HEAD]
    encoding = next((name for mark, name in _BOMS if head.startswith(mark)), _UNMARKED.get(head[:2]))
    if encoding:
        text = head[: len(head) // 4 * 4].decode(encoding, "replace")
        bare = "\r" in text[:-1] and "\n" not in text
        return io.BufferedReader(_Recoded(buffered, encoding, bare=bare), _CHUNK)
    while buffered.peek(3).startswith(codecs.BOM_UTF8):  # files that were put together may have several
        buffered.read(3)
    if b"\r" in head[:-1] and b"\n" not in head:
        return _read_by(lambda size: buffered.read1(size).replace(b"\r", b"\n"))
    return stream
