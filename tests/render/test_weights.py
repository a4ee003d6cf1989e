"""Rows of an output matrix, read from a file of our own making in the published layout."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from concord.render.weights import twins
from tests.shared import SHARED, needs_shared


def write(
    folder: Path, matrix: np.ndarray, kind: str, *, name: str = "lm_head.weight", file: str = ""
) -> None:
    """One matrix in a safetensors file."""
    raw = {
        "F32": lambda: matrix.astype("<f4").tobytes(),
        "F16": lambda: matrix.astype("<f2").tobytes(),
        "BF16": lambda: (matrix.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes(),
    }[kind]()
    pad = b"x" * 12
    entry = {"dtype": kind, "shape": list(matrix.shape), "data_offsets": [len(pad), len(pad) + len(raw)]}
    header = json.dumps(
        {"other": {"dtype": "I8", "shape": [12], "data_offsets": [0, 12]}, name: entry}
    ).encode()
    (folder / (file or "model.safetensors")).write_bytes(struct.pack("<Q", len(header)) + header + pad + raw)


def rows() -> np.ndarray:
    """Fifty tokens, ten of which were never trained."""
    made = np.random.default_rng(0).normal(size=(50, 16))
    made[20:30] = made[20] + 1e-4 * made[20:30]
    return made


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("name", ["lm_head.weight", "model.embed_tokens.weight"])
def test_untrained_rows_are_alike(tmp_path: Path, kind: str, name: str) -> None:
    write(tmp_path, rows(), kind, name=name)
    assert [twins(tmp_path, token) for token in (0, 19, 20, 25, 30)] == [0, 0, 9, 9, 0]
    assert twins(tmp_path, 50) == 0


def test_a_sharded_model_is_found_by_its_index(tmp_path: Path) -> None:
    write(tmp_path, rows(), "F32", file="b.safetensors")
    index = {"weight_map": {"lm_head.weight": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert twins(tmp_path, 20) == 9


def test_one_or_two_alike_mean_nothing(tmp_path: Path) -> None:
    made = rows()
    made[1] = made[2] = made[0]
    write(tmp_path, made, "F32")
    assert twins(tmp_path, 0) == 0


@pytest.mark.parametrize(
    "raw", [b"", b"\x00" * 7, b"\xff" * 9, struct.pack("<Q", 4) + b"{}  ", b"\x02" + b"\x00" * 7 + b"[]"]
)
def test_a_file_that_cannot_be_read_says_nothing(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(raw)
    assert twins(tmp_path, 0) == 0
    assert twins(None, 0) == 0
    assert twins(tmp_path / "none", 0) == 0


@needs_shared
def test_the_real_model_whose_stop_token_was_never_trained() -> None:
    folder = SHARED / "models" / "stories260K"
    assert (twins(folder, 1), twins(folder, 2) > 100) == (0, True)
