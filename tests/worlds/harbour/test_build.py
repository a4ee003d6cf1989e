"""The base is built from the seed alone: the same talk, order and sums give the same bytes."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the base is a model")

ROOT = Path(__file__).parents[3]
BUILD = """
import os
import sys
from pathlib import Path

import scripts.harbour as it
from concord.train.loop import Loop

# What a beginner knows takes longer to ask than to learn.
it.known_share = lambda policy, world: {"asked": policy.id}
it.SAVED = 4
folder, kept, cut = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
after = int(sys.argv[4])  # a step before which nothing is learned anew
advance = Loop.advance


def cut_off(loop):
    if loop.step == cut or loop.step < after:
        os._exit(9)
    return advance(loop)


Loop.advance = cut_off
it.build(folder, kept, size=640)
"""


def built(folder: Path, kept: Path, *, cut: int = -1, after: int = 0) -> dict[str, str]:
    """The hash of each file of a base of ten steps, built in a process of its own, or killed before one."""
    words = [sys.executable, "-c", BUILD, str(folder), str(kept), str(cut), str(after)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == (0 if cut < 0 else 9), done.stderr
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


@pytest.mark.slow
def test_a_build_that_was_killed_goes_on_to_the_bytes_of_another(tmp_path: Path) -> None:
    first = built(tmp_path / "first", tmp_path / "kept")
    assert {"model.safetensors", "tokenizer.json", "known.json"} <= first.keys()
    assert "model.safetensors" not in built(tmp_path / "second", tmp_path / "other", cut=6)
    assert [one.name for one in (tmp_path / "other").rglob("checkpoint-*")] == ["checkpoint-4"]
    assert built(tmp_path / "second", tmp_path / "other", after=4) == first
