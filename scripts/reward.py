"""A reward model of Harbour, held against the best there can be: train it on comparisons, try it on others.

    python -m scripts.reward [FOLDER]          (make reward)

The base replies, juries of three compare what it said, and a reward model learns their verdicts. It is tried
on requests of the test split, whose verdicts nobody could foretell better than their odds allow.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from concord.eval.trust import judge_trust
from concord.formats import write_items
from concord.types import Ask, Feedback, Item, Reply, Result, Sampling
from concord.worlds.harbour import BASE, Asked, Harbour, base_knows
from concord.worlds.harbour.collecting import comparisons
from concord.worlds.harbour.people import population

__all__ = ["compared", "held", "main", "trained"]

PEOPLE, VOTES = 60, 3
"""Of the town; of a jury."""

_TRAINING = [
    *("--train", "full", "--batch-size", "32", "--num-train-epochs", "2", "--learning-rate", "1e-3"),
    *("--eval-share", "0.02", "--logging-steps", "50"),
]


def compared(
    asked: Sequence[Asked], *, draws: int, pairs: int, seed: int, odds: bool = False
) -> Iterator[Item]:
    """Pairs of the base's draws to some requests, with the votes of juries, and their odds if asked for."""
    from concord.engine import load_policy  # torch, which takes seconds to come

    sampling = Sampling(max_tokens=64, seed=seed)
    answers = load_policy(BASE).answer([Ask(one.prompt, n=draws, sampling=sampling) for one in asked])
    texts = [[one.text for one in answer if isinstance(one, Reply)] for answer in answers]
    return comparisons(
        zip(asked, texts, strict=True),
        population(PEOPLE, seed=0),
        pairs=pairs,
        votes=VOTES,
        known=base_knows(),
        seed=seed,
        odds=odds,
    )


def trained(rows: Path, runs: Path) -> Path:
    """The directory of a reward model that has learned these comparisons."""
    base = os.path.relpath(BASE)
    words = ["train", "bradley_terry", "--model", base, "--data", str(rows), "--runs", str(runs), *_TRAINING]
    done = subprocess.run([sys.executable, "-m", "concord", *words], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return Path(done.stdout.splitlines()[-1]) / "model"


def held(model: Path, tried: Sequence[Item]) -> list[Result]:
    """What the reward model is worth on comparisons that it has not seen."""
    from concord.engine import load_reward

    labels = [str(item.meta["template"]) for item in tried]
    return judge_trust(cast("Feedback", load_reward(model)), tried, clusters=[labels])


def main() -> None:
    """Collect, learn, try."""
    parser = argparse.ArgumentParser(prog="python -m scripts.reward", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs/reward"))
    home: Path = parser.parse_args().folder
    home.mkdir(parents=True, exist_ok=True)
    world, rows = Harbour(), home / "comparisons.jsonl"
    asked = [*world.requests("pretrain"), *world.requests("train")]
    count = write_items(compared(asked, draws=8, pairs=8, seed=0), rows, shape="concord")
    print(f"{count:,} comparisons of what the base says to {len(asked):,} requests: {rows}", flush=True)
    model = trained(rows, home.parent)
    tried = list(compared(world.requests("test"), draws=4, pairs=2, seed=1, odds=True))
    print(f"\nHeld against {len(tried):,} comparisons of the test split:\n")
    for one in held(model, tried):
        if one.value is not None and one.name.startswith(("judge_accuracy", "judge_below", "judge_beyond")):
            ends = f"[{one.interval.low:.3f}, {one.interval.high:.3f}]" if one.interval else ""
            who = one.at["by"] if " " in str(one.at["by"]) else "the reward model"
            print(f"{one.name:24} {one.value:6.3f} {ends:16} n {one.n:5}  {who}")


if __name__ == "__main__":
    main()
