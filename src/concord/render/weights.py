"""A look at some rows of a model's output matrix, straight from its safetensors file, in milliseconds."""

import json
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["twins"]

_HEADS = ("lm_head.weight", "model.embed_tokens.weight", "transformer.wte.weight", "wte.weight")
_KINDS = {"F32": ("<f4", 4), "F16": ("<f2", 2), "BF16": ("<u2", 2)}
_COMPARED = 2048  # rows that are looked at
_LONGEST_HEADER = 100_000_000
_SAME = 0.9995  # cosine; tokens that were trained stay far below


def twins(folder: Path | None, token: int) -> int:
    """How many other tokens have the same output row as this one, among the first two thousand.

    Training pushes the rows of all tokens that never occur in the same direction, so that they become alike;
    a token that does occur has a row of its own. One or two of them mean nothing and count as 0, which is
    also returned where there are no weights to look at.
    """
    if folder is None:
        return 0
    try:
        return _twins(folder, token)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return 0


def _twins(folder: Path, token: int) -> int:
    for name in _HEADS:
        path = _file_of(folder, name)
        if path is None:
            continue
        with path.open("rb") as file:
            if (found := _place(file, name)) is None:
                continue
            kind, start, (rows, width) = found
            if not 0 <= token < rows:
                return 0
            one = _read(file, kind, start, token, 1, width)[0]
            others = _read(file, kind, start, 0, min(rows, _COMPARED), width)
        length = np.linalg.norm(others, axis=1) * np.linalg.norm(one)
        alike = others @ one > _SAME * np.maximum(length, 1e-12)
        count = int(alike.sum()) - int(token < len(others))
        return count if count > 2 else 0
    return 0


def _file_of(folder: Path, name: str) -> Path | None:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"].get(name)
        return None if listed is None else folder / str(listed)
    single = folder / "model.safetensors"
    return single if single.is_file() else None


def _place(file: BinaryIO, name: str) -> tuple[str, int, tuple[int, int]] | None:
    """The kind of number, first byte and shape of a matrix in an open file."""
    (size,) = struct.unpack("<Q", file.read(8))
    if size > _LONGEST_HEADER:
        return None
    entry: Any = json.loads(file.read(size)).get(name)
    if entry is None or entry["dtype"] not in _KINDS or len(entry["shape"]) != 2:
        return None
    rows, width = entry["shape"]
    return str(entry["dtype"]), 8 + size + int(entry["data_offsets"][0]), (int(rows), int(width))


def _read(file: BinaryIO, kind: str, start: int, row: int, rows: int, width: int) -> NDArray[np.float32]:
    form, size = _KINDS[kind]
    file.seek(start + row * width * size)
    raw = np.frombuffer(file.read(rows * width * size), dtype=form).reshape(rows, width)
    if kind == "BF16":
        return (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.astype(np.float32)
