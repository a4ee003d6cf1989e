"""How a training run is going: a bar where somebody watches, single lines every so often where nobody does.

    with Live() as live:
        live.progress("train", 4096, 0.25)
        live.begin(300, done=100)
        live.row({"step": 110, "loss": 0.65, "tokens_per_second": 5200.0})
        live.say("step 111 ran out of memory and was redone smaller")

It is told rows as they stand in metrics.jsonl, where all of them can be read later: here only what decides
whether one waits is shown, as much as the terminal is wide.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from concord.report.numbers import number
from concord.report.words import visible

__all__ = ["Live", "duration"]

_Row = Mapping[str, float]

# What tells most of a run, the first of each line that was logged, under the name that is shown.
_KEY: Sequence[Mapping[str, str]] = (
    {"loss": "loss"},
    {"rewards/accuracies": "in order", "accuracy": "right"},
    {"rewards/margins": "margin", "margin": "margin"},
    {"objective/kl": "KL", "kl": "KL"},
    {"grad_norm": "gradient"},
)
_SHARES = frozenset({"rewards/accuracies", "accuracy"})
_BAR = 20
_GAP = "  "


class Live:
    """Tells of a run on its way; told nothing after it is closed."""

    def __init__(
        self,
        out: Console | None = None,
        *,
        every: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write to a console, else to stderr; where it is no terminal, at most a line in `every` seconds."""
        self._out = out or Console(stderr=True, highlight=False, emoji=False, markup=False)
        self._every, self._clock = every, clock
        self._steps = self._done = 0
        self._begun = self._last = clock()
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        """Use it in a `with` block, which takes the bar away at its end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self.close()

    def close(self) -> None:
        """Take the bar away, if there is one."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def progress(self, what: str, done: int, share: float | None) -> None:
        """Show how far the work before the first step has come: in rows, and as a share where it is known."""
        said = f"{what.replace('_', ' ')}: {done:,} rows"
        if self._out.is_terminal:
            total = None if share is None else 1.0
            self._draw(said, total=total, completed=share or 0.0)
        elif self._clock() - self._last >= self._every:
            self._last = self._clock()
            self._show(said if share is None else f"{said}{_GAP}{100 * share:.0f}%")

    def begin(self, steps: int, *, done: int = 0) -> None:
        """The first step is about to be taken: of so many, so many were done before."""
        self._steps, self._done = steps, done
        self._begun = self._clock()
        self._last = self._begun - self._every
        if self._out.is_terminal:
            self._draw(f"step {done:,}/{steps:,}", total=steps, completed=done)

    def row(self, row: _Row) -> None:
        """Show a row of metrics; one of an evaluation stays as a line of its own."""
        step = int(row.get("step", 0))
        if any(name.startswith("eval_") for name in row):
            held = {name.removeprefix("eval_"): value for name, value in row.items()}
            self._show(_GAP.join([f"step {step:,}", "held out", *_figures(held)]))
            return
        parts = [f"step {step:,}/{self._steps:,}", *self._left(step), *_figures(row), *_machine(row)]
        if self._out.is_terminal:
            said = _fitting(parts, self._out.width - _BAR - 2)
            self._draw(said, total=self._steps, completed=step)
        elif self._clock() - self._last >= self._every or step >= self._steps:
            self._last = self._clock()
            self._show(_GAP.join(parts))

    def say(self, text: str) -> None:
        """Print what a person should know, above the bar."""
        self._show(visible(text))

    def _draw(self, said: str, *, total: float | None, completed: float) -> None:
        """Draw the bar anew, the first time as well as ever after."""
        if self._bar is None:
            # Without a thread that draws: a step that hangs should look so.
            columns = (BarColumn(_BAR), TextColumn("{task.fields[said]}", markup=False))
            self._bar = Progress(*columns, console=self._out, transient=True, auto_refresh=False)
            self._task = self._bar.add_task("", total=total, said=said)
            self._bar.start()
        self._bar.update(self._task, total=total, completed=completed, said=said, refresh=True)

    def _show(self, text: str) -> None:
        # In a file or a pipe a line stays a line, however long.
        self._out.print(Text(text), soft_wrap=not self._out.is_terminal)

    def _left(self, step: int) -> list[str]:
        """How long it will take still, at the pace since it began."""
        taken = step - self._done
        if taken < 1 or step >= self._steps:
            return []
        return [f"{duration((self._clock() - self._begun) / taken * (self._steps - step))} left"]


def duration(seconds: float) -> str:
    """A length of time with the two largest units that tell something: 35 s, 4 min, 1 h 20 min, 2 d 3 h."""
    whole = max(round(seconds), 1)
    if whole < 60:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h"


def _figures(row: _Row) -> list[str]:
    """The figures that tell most of a run."""
    found: list[str] = []
    for names in _KEY:
        name = next((name for name in names if name in row), None)
        if name is not None:
            value = row[name]
            share = name in _SHARES and isfinite(value)
            found.append(f"{names[name]} {f'{100 * value:.0f}%' if share else number(value)}")
    return found


def _machine(row: _Row) -> list[str]:
    parts = {"tokens_per_second": "tokens/s", "memory_mb": "MB"}
    return [f"{row[name]:,.0f} {unit}" for name, unit in parts.items() if name in row]


def _fitting(parts: Sequence[str], width: int) -> str:
    """As many of the parts as there is room for, the first in any case."""
    shown, *rest = parts
    for part in rest:
        if len(shown) + len(_GAP) + len(part) > width:
            break
        shown += _GAP + part
    return shown
