"""A training whose model is compiled beside one that is not, in a process of its own: the checker of shapes,
which tests load, cannot be compiled. `python -m tests.train.compiled FOLDER METHOD`."""

import json
import os
import sys
import warnings
from pathlib import Path

from concord.recipes import read_recipe
from concord.run import Run
from concord.train import train, training
from concord.train.leaving.trial import Checked
from tests.train import homes


def losses(folder: Path, method: str, *, compiled: bool) -> list[tuple[float, float]]:
    """The loss and the length of the gradient of each step."""
    data = {"dpo": homes.pairs, "sft": homes.demonstrations}[method](folder)
    found = train(
        read_recipe(
            {
                "method": method,
                "model": str(folder / "model"),
                "data": str(data),
                "runs": str(folder / "runs"),
                "max_steps": 3,
                "batch_size": 3,
                "logging_steps": 1,
                "samples": 0,
                "learning_rate": 1e-3,
                "compile": compiled,
            }
        )
    )
    assert found is not None
    return [(row["loss"], row["grad_norm"]) for row in Run(found).read_metrics()]


def main(folder: Path, method: str) -> None:
    """Print both."""
    warnings.simplefilter("ignore")
    os.environ["CONCORD_CACHE"] = str(folder / "cache")
    training.check_export = lambda *given, **more: Checked(weights=0)
    homes.home(folder / "model")
    print(json.dumps([losses(folder, method, compiled=one) for one in (False, True)]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
