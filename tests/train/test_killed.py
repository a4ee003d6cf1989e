"""A run that is killed at random moments, while it writes as well, ends as if it had been left alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from concord.run import Run, all_runs
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

_TIMED = ("tokens_per_second", "rows_per_second", "step_time", "memory_mb")


@pytest.mark.parametrize("method", ["dpo", "sft"])
def test_killed_and_resumed_is_as_never_killed(method: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.train.killed", str(tmp_path), method]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) >= 2
    whole, killed = (_only(tmp_path / name) for name in ("whole", "killed"))
    assert killed.status().state == "finished"
    for file in ("model/model.safetensors", "data/train/header.json"):
        assert (killed.path / file).read_bytes() == (whole.path / file).read_bytes()
    first, second = (
        [{name: value for name, value in row.items() if name not in _TIMED} for row in run.read_metrics()]
        for run in (whole, killed)
    )
    assert first == second
    assert not [name for name in os.listdir(killed.checkpoints) if name.startswith(".")]


def _only(folder: Path) -> Run:
    (run,) = all_runs(folder)
    return run
