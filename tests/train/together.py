"""Two processes that carry a recipe out together: once with too little memory for its largest micro-batch,
once with enough. `python -m tests.train.together`."""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

from concord.errors import ConcordError
from concord.recipes import Recipe, read_recipe
from concord.run import Run
from concord.train import Batch, Loop, Policy, Task, train, training
from concord.train.leaving.trial import Checked
from concord.train.loop import source, step
from tests.train import homes
from tests.train.ranks import WORLD

STEPS, ROWS, LONG = 6, 12, 20

_PORTS: list[str] = []


def recipe(folder: Path, runs: str, **more: Any) -> Recipe:
    """Short pairs, and one that is long."""
    return read_recipe(
        {
            "method": "dpo",
            "model": str(folder / "model"),
            "data": str(folder / "uneven.jsonl"),
            "runs": str(folder / runs),
            "max_steps": STEPS,
            "batch_size": 2,
            "micro_tokens": 60,
            "logging_steps": 1,
            "samples": 0,
            "learning_rate": 1e-3,
            **more,
        }
    )


def prepare(folder: Path) -> None:
    """The model and the rows, for all."""
    homes.home(folder / "model")
    homes.pairs(folder, ROWS)
    rows = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    rows[5]["chosen"] = "and so on " * LONG
    homes.written(folder / "uneven.jsonl", rows)


def trained(recipe: Recipe, *, resume: bool = False) -> Path | None:
    """Train at a port of its own: at one of a run before, its other process might still listen."""
    os.environ["MASTER_PORT"] = _PORTS.pop()
    return train(recipe, resume=resume)


def told(folder: Path, runs: str) -> dict[str, Any]:
    """What became of it, on this rank."""
    steps, advance = list[int](), Loop.advance

    def counted(loop: Loop) -> Any:
        steps.append(loop.step)
        return advance(loop)

    Loop.advance = counted  # type: ignore[method-assign]
    try:
        home = trained(recipe(folder, runs))
    except (ConcordError, RuntimeError) as error:
        # Of a process that ends the others hear that it did.
        return {"steps": steps, "error": str(error)}
    finally:
        Loop.advance = advance  # type: ignore[method-assign]
    assert home is not None
    losses = [row["loss"] for row in Run(home).read_metrics()]
    return {"steps": steps, "losses": losses, "state": Run(home).status().state}


def resumed(folder: Path) -> dict[str, Any]:
    """Weights in shares, some of which do not divide evenly (those of a head do not): in one go, and with a
    stop after the third step."""
    given: dict[str, Any] = {"method": "bradley_terry", "sharding": "fsdp"}
    whole, advance = trained(recipe(folder, "sharded", **given)), Loop.advance

    def until_third(loop: Loop) -> Any:
        done = advance(loop)
        loop.asked = done.step == 3
        return done

    Loop.advance = until_third  # type: ignore[method-assign]
    half = trained(recipe(folder, "stopped", **given))
    Loop.advance = advance  # type: ignore[method-assign]
    assert half is not None
    stopped = Run(half).status().state
    again = trained(recipe(folder, "stopped", **given), resume=True)
    assert whole is not None
    assert again == half
    losses = [[row["loss"] for row in Run(home).read_metrics()] for home in (whole, half)]
    return {"stopped": stopped, "whole": losses[0], "resumed": losses[1]}


def main(rank: int, folder: Path, ports: str) -> None:
    """What one of the processes does."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "RANK": str(rank), "WORLD_SIZE": str(WORLD)}
    os.environ |= {"CONCORD_CACHE": str(folder / f"cache-{rank}")}
    _PORTS[:] = ports.split(",")
    training.check_export = lambda *given, **more: Checked(weights=0)
    found = {"enough": told(folder, "enough"), "sharded": resumed(folder)}
    ask = step.ask

    def small(policy: Policy, task: Task, batch: Batch, **given: Any) -> Any:
        if max(source.costs(batch)) > 5 * LONG:
            raise torch.OutOfMemoryError("nothing is left of 1 GiB")
        return ask(policy, task, batch, **given)

    step.ask = small
    found["little"] = told(folder, "little")
    (folder / f"{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
