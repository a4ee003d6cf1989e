"""The demonstration: a small model with mixed manners, tuned twice on feedback of people, and measured.

    python -m scripts.demo [FOLDER]          (make demo)
    python -m scripts.demo --limit 4         in a hurry: a few requests of each family, which say little
    python -m scripts.demo --record          the whole of it, and then what the README says of it, kept anew

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
from typing import Any, TypeVar

from benchmarks.record import write
from concord.cli.telling import Telling
from concord.errors import InputError, Said, explain
from concord.eval.card import Tell
from concord.formats import write_items
from concord.store import key
from concord.types import Item
from concord.worlds.harbour import BASE, Asked, Harbour, base_knows
from concord.worlds.harbour.collecting import comparisons, examples
from concord.worlds.harbour.people import population
from scripts.figures import RECORD, gathered, kept, proxied, told

__all__ = ["SETTINGS", "collected", "examples_of_town", "main", "requests", "watched"]

T = TypeVar("T")

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
_HANDFUL = 64  # requests that are drawn for at a time, between which it is told how far that is

_SFT = ["--num-train-epochs", "3", "--learning-rate", "1e-3", *_TUNING]
_DPO = ["--num-train-epochs", "1", "--learning-rate", "2e-4", "--beta", "0.1", *_TUNING]


def main() -> None:
    """Collect, tune, collect, tune, measure."""
    parser = argparse.ArgumentParser(prog="python -m scripts.demo", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("runs/demo"))
    parser.add_argument("--limit", type=int, default=0, help="at most so many requests of each family")
    parser.add_argument("--record", action="store_true", help="keep and print what the README says of it")
    given: Any = parser.parse_args()
    home: Path = given.folder
    if given.record and given.limit:
        wrong, do = "a demonstration in a hurry is none to be kept", "leave --limit out"
        said = explain(wrong, found=Said(f"--limit {given.limit}"), accepted="the whole of it", do=do)
        raise SystemExit(str(InputError(said)))
    if given.limit:
        SETTINGS["requests of a family"] = given.limit
    runs, begun = home.parent, time.perf_counter()
    home.mkdir(parents=True, exist_ok=True)
    base = os.path.relpath(BASE)

    _say(1, "Townspeople of Harbour pick examples out of replies in mixed manners.")
    identity = key("demo", SETTINGS, sorted(base_knows()))
    first = collected(home / "examples.jsonl", identity, examples_of_town)
    _say(2, "The base learns to imitate them.")
    sft = _trained(["sft", "--model", base, "--data", str(first), "--name", "demo-sft", *_SFT], runs)
    _say(3, "It replies, and juries of three compare what it says.")
    second = collected(home / "comparisons.jsonl", key(identity, sft.name), lambda tell: _compared(sft, tell))
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
    if given.record:
        write(RECORD, gathered(home), command="python -m scripts.demo --record")
        print(f"\n{told(kept())}\n\nKept in {RECORD}: let the README say so, and docs/harbour.md this:")
        print(f"\n{proxied(kept())}")


def _say(number: int, what: str) -> None:
    print(f"\n{number} of 5. {what}", flush=True)


def collected(file: Path, identity: str, make: Callable[[Tell], Iterator[Item]]) -> Path:
    """A file of feedback: what is there, if it was made in the same way, or made now and told of."""
    mark = file.with_suffix(".made.json")
    made = json.loads(mark.read_text(encoding="utf-8")) if mark.is_file() and file.is_file() else {}
    if made.get("identity") != identity:
        with Telling(file.stem) as tell:
            rows = write_items(make(tell), file, shape="concord")
        made = {"identity": identity, "rows": rows}
        mark.write_text(json.dumps(made) + "\n", encoding="utf-8")
    print(f"   {made['rows']:,} rows in {file}", flush=True)
    return file


def watched(work: Sequence[T], tell: Tell, what: str) -> Iterator[T]:
    """One part of the work after the other; `tell` hears which share of them is done."""
    for done, one in enumerate(work):
        tell(done / len(work), what)
        yield one
    tell(1.0, what)


def requests() -> list[Asked]:
    """What the feedback is about: everyday requests of the training split, and of no other."""
    return Harbour(SETTINGS["seed"]).requests("train", each=SETTINGS["requests of a family"])


def examples_of_town(tell: Tell) -> Iterator[Item]:
    """Replies that townspeople picked out of mixed ones."""
    people = population(SETTINGS["people"], seed=SETTINGS["seed"])
    careless = SETTINGS["how carelessly examples are picked"]
    world, known = Harbour(SETTINGS["seed"]), base_knows()
    work = [(seed, one) for seed in range(SETTINGS["examples of a request"]) for one in requests()]
    for seed, one in watched(work, tell, "picking examples"):
        yield from examples(world, [one], people, temperature=careless, known=known, seed=seed)


def _compared(run: Path, tell: Tell) -> Iterator[Item]:
    """What the model of a run says, compared."""
    from concord.engine import load_policy  # torch, which takes seconds to come
    from concord.types import Ask, Reply, Sampling

    asked = requests()
    people = population(SETTINGS["people"], seed=SETTINGS["seed"])
    sampling = Sampling(max_tokens=64, seed=SETTINGS["seed"])
    policy = load_policy(run / "model")
    handfuls = [asked[at : at + _HANDFUL] for at in range(0, len(asked), _HANDFUL)]
    for few in watched(handfuls, tell, "drawing and comparing replies"):
        answers = policy.answer(
            [Ask(one.prompt, n=SETTINGS["replies to a request"], sampling=sampling) for one in few]
        )
        texts = [[one.text for one in answer if isinstance(one, Reply)] for answer in answers]
        yield from comparisons(
            zip(few, texts, strict=True),
            people,
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
