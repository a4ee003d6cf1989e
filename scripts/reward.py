"""A reward model of Harbour, held against the best there can be: train it on comparisons, try it on others.

    python -m scripts.reward [FOLDER]          (make reward)

The base replies, juries of three compare what it said, and two reward models learn their verdicts: a head on
the base, and a policy whose likelihood says what a reply is worth. They are tried on requests of the test and
the validation split, whose verdicts nobody could foretell better than their odds allow.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import cast

from concord.eval.trust import judge_trust
from concord.feedback import Likelihood
from concord.formats import write_items
from concord.types import Ask, Feedback, Item, Policy, Reply, Result, Sampling
from concord.worlds.harbour import BASE, Asked, Harbour, base_knows
from concord.worlds.harbour.collecting import comparisons
from concord.worlds.harbour.people import population

__all__ = ["TIMES", "VOTES", "WAYS", "compared", "held", "known", "main", "trained"]

PEOPLE, VOTES = 60, 3
"""Of the town; of a jury."""

TIMES = 12
"""How many times as many requests are made where they can differ."""


@dataclass(frozen=True)
class Way:
    """How a reward model is made: what is said to `concord train` beside the method, and how it is read."""

    words: tuple[str, ...]
    read: Callable[[Path], Feedback]


def _headed(model: Path) -> Feedback:
    from concord.engine import load_reward  # torch, which takes seconds to come

    return cast("Feedback", load_reward(model))


def _likely(model: Path) -> Feedback:
    from concord.engine import load_policy

    return Likelihood(cast("Policy", load_policy(model)))


WAYS: Mapping[str, Way] = {
    "bradley_terry": Way(("--num-train-epochs", "2", "--learning-rate", "1e-3"), _headed),
    "simpo": Way(("--num-train-epochs", "1", "--learning-rate", "1e-3", "--gamma", "0"), _likely),
}
"""By method: with a head that learns a number, and as a policy whose likelihood is one."""

_TRAINING = ("--train", "full", "--batch-size", "32", "--eval-share", "0.02", "--logging-steps", "50")


def known(world: Harbour) -> tuple[list[Asked], list[Asked]]:
    """The requests to learn from, and more of the same cells, where chance leaves something open.

    Who sees a few lists often learns these; to learn how lists are copied takes many.
    """
    asked, many = (
        [one for split in ("pretrain", "train") for one in world.requests(split, times=times)]
        for times in (1, TIMES)
    )
    seen = {one.prompt.text for one in asked}
    return asked, [one for one in many if one.prompt.text not in seen]


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


def trained(rows: Path, runs: Path, way: str = "bradley_terry") -> Feedback:
    """A reward model that has learned these comparisons."""
    base = os.path.relpath(BASE)
    words = ["train", way, "--model", base, "--data", str(rows), "--runs", str(runs), *_TRAINING]
    words += WAYS[way].words
    done = subprocess.run([sys.executable, "-m", "concord", *words], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return WAYS[way].read(Path(done.stdout.splitlines()[-1]) / "model")


def held(judge: Feedback, tried: Sequence[Item]) -> list[Result]:
    """What a reward model is worth on comparisons that it has not seen."""
    labels = [str(item.meta["template"]) for item in tried]
    return judge_trust(judge, tried, clusters=[labels])


def main() -> None:
    """Collect, learn, try."""
    parser = argparse.ArgumentParser(prog="python -m scripts.reward", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs/reward"))
    home: Path = parser.parse_args().folder
    home.mkdir(parents=True, exist_ok=True)
    world, rows = Harbour(), home / "comparisons.jsonl"
    asked, more = known(world)
    collected = chain(compared(asked, draws=8, pairs=8, seed=0), compared(more, draws=4, pairs=3, seed=0))
    count = write_items(collected, rows, shape="concord")
    whole = len(asked) + len(more)
    print(f"{count:,} comparisons of what the base says to {whole:,} requests: {rows}", flush=True)
    judges = {way: trained(rows, home.parent, way) for way in WAYS}
    for split in ("test", "validation"):
        tried = list(compared(world.requests(split), draws=4, pairs=2, seed=1, odds=True))
        print(f"\nHeld against {len(tried):,} comparisons of the {split} split:\n")
        for number, (way, judge) in enumerate(judges.items()):
            _show(way, held(judge, tried), others=number == 0)


def _show(way: str, results: Sequence[Result], *, others: bool) -> None:
    """A line for each figure; `others`: with those of whoever else stands beside it."""
    for one in results:
        if one.value is None or not one.name.startswith(("judge_accuracy", "judge_below", "judge_beyond")):
            continue
        other = " " in str(one.at["by"])
        if others or not other:
            ends = f"[{one.interval.low:.3f}, {one.interval.high:.3f}]" if one.interval else ""
            who = one.at["by"] if other else way
            print(f"{one.name:24} {one.value:6.3f} {ends:16} n {one.n:5}  {who}")


if __name__ == "__main__":
    main()
