"""The base is built from the seed alone: the same talk, order and sums give the same bytes."""

import copy
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the base is a model")

import torch

from concord.train.loop import Optimizing
from scripts.muon import Muon, orthogonal

ROOT = Path(__file__).parents[3]
BUILD = """
import os
import sys
from pathlib import Path

import scripts.harbour as it
from concord.train.loop import Loop

# What a beginner knows takes longer to ask than to learn.
it.known_shares = lambda policy, world: {"asked": policy.id}
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


def test_matrices_turn_as_those_of_torch_do_and_all_else_goes_by_adam(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Torch turns matrices in half precision; in ours it does the same sums.
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    how = Optimizing(learning_rate=1e-2, weight_decay=0.1, beta2=0.98)
    torch.manual_seed(0)
    ours = torch.nn.Sequential(
        torch.nn.Embedding(10, 8), torch.nn.Linear(8, 12), torch.nn.Linear(12, 12), torch.nn.Linear(12, 4)
    )
    theirs = copy.deepcopy(ours)
    maps = [layer.weight for layer in theirs if isinstance(layer, torch.nn.Linear)]
    rest = [theirs[0].weight, *(weight for weight in theirs.parameters() if weight.ndim == 1)]
    adam = {"betas": (how.beta1, how.beta2), "eps": how.epsilon, "weight_decay": 0.0}
    moving = {
        ours: [Muon(ours, how)],
        theirs: [
            torch.optim.Muon(maps, lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr=1e-2, **adam),
        ],
    }
    for _ in range(5):
        for model, optimizers in moving.items():
            model.zero_grad()
            model(torch.arange(10)).square().sum().backward()
            for optimizer in optimizers:
                optimizer.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(mine, other, atol=1e-5)


def test_turned_matrices_have_singular_values_near_one() -> None:
    for shape in ((3, 96, 256), (2, 256, 96), (1, 5, 5)):
        found = torch.linalg.svdvals(
            orthogonal(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
        )
        assert 0.5 < float(found.min()) <= float(found.max()) < 1.3
