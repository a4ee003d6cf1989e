"""A run that is killed again and again, and one that is left alone, by one of some methods, in a folder."""

import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from concord.recipes import read_recipe
from concord.train import train, training
from concord.train.leaving.trial import Checked
from tests.train import homes

STEPS = 24


def recipe(folder: Path, method: str, runs: str) -> Any:
    """Many short steps, each with a checkpoint: so most kills come while one is written."""
    data = {"dpo": "pairs.jsonl", "sft": "demonstrations.jsonl", "kto": "labels.jsonl"}[method]
    return read_recipe(
        {
            "method": method,
            "model": str(folder / "model"),
            "data": str(folder / data),
            "runs": str(folder / runs),
            "max_steps": STEPS,
            "batch_size": 3,
            "logging_steps": 2,
            "save_steps": 1,
            "eval_share": 0.3,
            "eval_steps": 5,
            "samples": 0,
            "learning_rate": 1e-3,
        }
    )


def child(folder: Path, method: str, runs: str) -> int:
    """Train, or go on, in a process of its own."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        training.check_export = lambda *given, **more: Checked(weights=0)
        begun = (folder / runs).is_dir() and any((folder / runs).glob("*/manifest.json"))
        train(recipe(folder, method, runs), resume=begun)
        status = 0
    finally:
        os._exit(status)


def main(folder: Path, method: str) -> None:
    """Print how often a run was killed before it got to its end."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    os.environ["CONCORD_CACHE"] = str(folder / "cache")
    homes.home(folder / "model")
    for make in (homes.pairs, homes.demonstrations, homes.labels):
        make(folder)
    begun = time.perf_counter()
    assert os.waitpid(child(folder, method, "whole"), 0)[1] == 0, "the run that is left alone"
    whole = time.perf_counter() - begun
    chance, killed = random.Random(method), 0
    while True:
        pid = child(folder, method, "killed")
        # Longer and longer, so that it gets to the end.
        time.sleep(whole * chance.uniform(0.1, 0.4) * (1 + killed / 8))
        os.kill(pid, signal.SIGKILL)
        if os.WIFEXITED(os.waitpid(pid, 0)[1]):
            break
        killed += 1
    assert os.waitpid(child(folder, method, "killed"), 0)[1] == 0, "the run that was killed"
    print(killed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
