"""Metrics also shown where people already look: TensorBoard, Weights & Biases, trackio.

The run's own `metrics.jsonl` is what counts. A tracker that fails is let go of, with a word, and the training
goes on. Names are those that people's dashboards have: `train/loss`, `eval/rewards/margins`.
"""

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from concord.errors import Said, UnavailableError, explain
from concord.recipes import Recipe
from concord.recipes.schema import TrackerName

__all__ = ["Tracker", "Trackers", "check_tracker", "open_trackers"]

_NEEDED: Mapping[TrackerName, str] = {
    "tensorboard": "torch.utils.tensorboard",
    "wandb": "wandb",
    "trackio": "trackio",
}


@runtime_checkable
class Tracker(Protocol):
    """Whoever keeps numbers by step."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Keep them."""
        ...

    def close(self) -> None:
        """There are no more."""
        ...


class Trackers:
    """All that a run reports to."""

    def __init__(self, trackers: Mapping[str, Tracker], say: Callable[[str], None]) -> None:
        """By name; `say` is told what went wrong."""
        self._trackers, self._say = dict(trackers), say

    def row(self, row: Mapping[str, float]) -> None:
        """Pass a row of metrics on."""
        values = {_named(name): value for name, value in row.items() if name != "step"}
        self._each(lambda tracker: tracker.log(values, int(row["step"])))

    def close(self) -> None:
        """There are no more rows."""
        self._each(lambda tracker: tracker.close())
        self._trackers.clear()

    def _each(self, do: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                do(tracker)
            # Whatever a service or its library raises, the training is worth more than its picture.
            except Exception as error:
                del self._trackers[name]
                said = f"{name} is told no more: {type(error).__name__}: {error}"
                self._say(f"{said}. All metrics are in metrics.jsonl.")


def open_trackers(recipe: Recipe, home: Path, *, done: int, say: Callable[[str], None]) -> Trackers:
    """Open those that the recipe names, for the run in `home`, of which so many steps are done."""
    opened: dict[str, Tracker] = {}
    for name in recipe.report_to:
        check_tracker(name)
        try:
            opened[name] = _OPENERS[name](recipe, home, done)
        # A service that cannot be reached, a key that is not there.
        except Exception as error:
            Trackers(opened, say).close()
            wrong, do = f"{name} cannot be reported to", "set it up as its guide says, or leave it out"
            said = Said(f"{type(error).__name__}: {error}")
            raise UnavailableError(
                explain(wrong, found=said, accepted=f"a {name} that opens", do=do)
            ) from error
    return Trackers(opened, say)


def check_tracker(name: TrackerName) -> None:
    """Refuse what is not installed, before anything is computed."""
    try:
        import_module(_NEEDED[name])
    except ImportError as error:
        wrong, do = f"{name} is not installed", f"pip install {name}, or leave it out of report_to"
        raise UnavailableError(
            explain(wrong, found=Said(str(error)), accepted="what report_to names", do=do)
        ) from error


def _named(name: str) -> str:
    return f"eval/{name.removeprefix('eval_')}" if name.startswith("eval_") else f"train/{name}"


# --- each of them -----------------------------------------------------------------------------------------


class _Board:
    """TensorBoard's files, in the directory of the run."""

    def __init__(self, home: Path, done: int) -> None:
        writer: Any = import_module(_NEEDED["tensorboard"]).SummaryWriter
        # What was written after the checkpoint is computed again, and takes its place.
        self._writer = writer(log_dir=str(home / "tensorboard"), purge_step=done + 1 if done else None)

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _Logged:
    """A library with `log` and `finish`: W&B, and trackio, which is made like it."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._library.log(dict(values), step=step)

    def close(self) -> None:
        self._library.finish()


def _tensorboard(recipe: Recipe, home: Path, done: int) -> Tracker:
    return _Board(home, done)


def _wandb(recipe: Recipe, home: Path, done: int) -> Tracker:
    library: Any = import_module("wandb")
    # Project, entity and key come from where W&B itself looks for them.
    offline: dict[str, Any] = {"mode": "offline"} if recipe.offline else {}
    library.init(
        id=home.name, name=home.name, dir=str(home), config=recipe.resolved, resume="allow", **offline
    )
    return _Logged(library)


def _trackio(recipe: Recipe, home: Path, done: int) -> Tracker:
    library: Any = import_module("trackio")
    project = os.environ.get("TRACKIO_PROJECT", "concord")
    resume = "allow" if done else "never"
    library.init(project=project, name=home.name, config=recipe.resolved, resume=resume)
    return _Logged(library)


_OPENERS: Mapping[TrackerName, Callable[[Recipe, Path, int], Tracker]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "trackio": _trackio,
}
