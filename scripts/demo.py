"""The demonstration: a small model with mixed manners, tuned twice on feedback of people, and measured.

    python -m scripts.demo [FOLDER]          (make demo)
    python -m scripts.demo --limit 4         in a hurry: a few requests of each family, which say little

Each step prints the command that does the same. What is there from before is used again.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from concord.formats import write_items
from concord.store import key
from concord.types import Item
from concord.worlds.harbour import BASE, Asked, Harbour, base_knows
from concord.worlds.harbour.collecting import comparisons, examples
from concord.worlds.harbour.people import population

__all__ = ["SETTINGS", "main"]

SETTINGS: dict[str, Any] = {
    "seed": 0,
    "people": 60,
    "requests of a family": 80,
    "examples of a request": 2,
    "how carelessly examples are picked": 0.1,
    "replies to a request": 6,
    "pairs of a request": 6,
    "votes on a pair": 3,
}
"""Of the feedback that is collected. These, and those of training, were chosen on the validation split."""

_TUNING = [
    "--train",
    "full",
    "--layout",
    "rows",
    "--batch-size",
    "32",
    "--eval-share",
    "0.05",
    "--logging-steps",
    "10",
]
_SFT = ["--num-train-epochs", "3", "--learning-rate", "1e-3", *_TUNING]
_DPO = ["--num-train-epochs", "1", "--learning-rate", "2e-4", "--beta", "0.1", *_TUNING]


def main() -> None:
    """Collect, tune, collect, tune, measure."""
    parser = argparse.ArgumentParser(prog="python -m scripts.demo", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs/demo"))
    parser.add_argument("--limit", type=int, default=0, help="at most so many requests of each family")
    given: Any = parser.parse_args()
    home: Path = given.folder
    if given.limit:
        SETTINGS["requests of a family"] = given.limit
    runs, begun = home.parent, time.perf_counter()
    home.mkdir(parents=True, exist_ok=True)
    base = os.path.relpath(BASE)

    _say(1, "Townspeople of Harbour pick examples out of replies in mixed manners.")
    identity = key("demo", SETTINGS, sorted(base_knows()))
    first = _collected(home / "examples.jsonl", identity, _examples)
    _say(2, "The base learns to imitate them.")
    sft = _trained(["sft", "--model", base, "--data", str(first), "--name", "demo-sft", *_SFT], runs)
    _say(3, "It replies, and juries of three compare what it says.")
    second = _collected(home / "comparisons.jsonl", key(identity, sft.name), lambda: _compared(sft))
    _say(4, "It learns which replies they prefer.")
    dpo = ["dpo", "--model", str(sft / "model"), "--data", str(second), "--name", "demo-dpo", *_DPO]
    last = _trained(dpo, runs)
    _say(5, "Scorecards before, between and after, on requests that none of this has seen.")
    models = [base, str(sft / "model"), str(last / "model")]
    names = [word for name in ("base", "sft", "dpo") for word in ("--name", name)]
    (home / "scorecard.json").unlink(missing_ok=True)  # of settings there were before; the runs keep theirs
    few = ["--limit", str(given.limit)] if given.limit else []
    _run(["score", *models, *names, "--base", base, "--runs", str(runs), "--output", str(home), *few])
    print(f"\nDone in {time.perf_counter() - begun:.0f} s. Open {home / 'report.html'}.")


def _say(number: int, what: str) -> None:
    print(f"\n{number} of 5. {what}", flush=True)


def _collected(file: Path, identity: str, make: Callable[[], Iterator[Item]]) -> Path:
    """A file of feedback: what is there, if it was made in the same way, or made now."""
    mark = file.with_suffix(".made.json")
    made = json.loads(mark.read_text(encoding="utf-8")) if mark.is_file() and file.is_file() else {}
    if made.get("identity") != identity:
        rows = write_items(make(), file, shape="concord")
        made = {"identity": identity, "rows": rows}
        mark.write_text(json.dumps(made) + "\n", encoding="utf-8")
    print(f"   {made['rows']:,} rows in {file}", flush=True)
    return file


def _requests() -> list[Asked]:
    return Harbour(SETTINGS["seed"]).requests("train", each=SETTINGS["requests of a family"])


def _examples() -> Iterator[Item]:
    people = population(SETTINGS["people"], seed=SETTINGS["seed"])
    careless = SETTINGS["how carelessly examples are picked"]
    world, known = Harbour(SETTINGS["seed"]), base_knows()
    for seed in range(SETTINGS["examples of a request"]):
        yield from examples(world, _requests(), people, temperature=careless, known=known, seed=seed)


def _compared(run: Path) -> Iterator[Item]:
    """What the model of a run says, compared."""
    from concord.engine import load_policy  # torch, which takes seconds to come
    from concord.types import Ask, Reply, Sampling

    asked = _requests()
    sampling = Sampling(max_tokens=64, seed=SETTINGS["seed"])
    policy = load_policy(run / "model")
    answers = policy.answer(
        [Ask(one.prompt, n=SETTINGS["replies to a request"], sampling=sampling) for one in asked]
    )
    texts = [[one.text for one in answer if isinstance(one, Reply)] for answer in answers]
    return comparisons(
        zip(asked, texts, strict=True),
        population(SETTINGS["people"], seed=SETTINGS["seed"]),
        pairs=SETTINGS["pairs of a request"],
        votes=SETTINGS["votes on a pair"],
        known=base_knows(),
    )


def _trained(words: Sequence[str], runs: Path) -> Path:
    """The directory of the run that a training leaves."""
    said = _run(["train", *words, "--runs", str(runs)], keep=True)
    return Path(said.splitlines()[-1])


def _run(words: Sequence[str], *, keep: bool = False) -> str:
    """Run a verb of concord, as one would type it; its stdout, where it is kept."""
    print(f"   $ concord {shlex.join(words)}", flush=True)
    out = subprocess.PIPE if keep else None
    done = subprocess.run([sys.executable, "-m", "concord", *words], stdout=out, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout or ""


if __name__ == "__main__":
    main()
