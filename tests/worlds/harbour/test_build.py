"""The base is built from the seed alone: the same talk, order and sums give the same bytes."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the base is a model")

ROOT = Path(__file__).parents[3]
BUILD = """
import sys
from pathlib import Path

import scripts.harbour as it

# What a beginner knows takes longer to ask than to learn.
it.known_share = lambda policy, world: {"asked": policy.id}
it.build(Path(sys.argv[1]), size=640)
"""


def built(folder: Path) -> dict[str, str]:
    """The hash of each file of a base of ten steps, built in a process of its own."""
    subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=ROOT, check=True, capture_output=True)
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


@pytest.mark.slow
def test_two_builds_write_the_same_bytes(tmp_path: Path) -> None:
    first = built(tmp_path / "first")
    assert {"model.safetensors", "tokenizer.json", "known.json"} <= first.keys()
    assert built(tmp_path / "second") == first
