"""How far long work has come that says so itself, with a forecast: a bar, or lines where nobody watches.

with Telling("my-model") as tell:
    tell(0.25, "drawing replies")
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from concord.cli.live import duration
from concord.report.words import one_line

__all__ = ["Telling"]

_BAR = 24
_EARLY = 0.02  # before this share is done, the pace tells nothing of the rest


class Telling:
    """Tells on stderr what is done and how long it will take still; called with a share and what is done."""

    def __init__(
        self,
        name: str,
        out: Console | None = None,
        *,
        every: float = 20.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write to a console, else to stderr; where it is no terminal, at most a line in `every` seconds."""
        self._name = one_line(name)
        self._out = out or Console(stderr=True, highlight=False, emoji=False, markup=False)
        self._every, self._clock = every, clock
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
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __call__(self, share: float, what: str) -> None:
        """So much is done of all, and this is under way."""
        parts = [f"{self._name}: {one_line(what)}", *self._left(share)]
        if self._out.is_terminal:
            self._draw("  ".join(parts), share)
        elif self._clock() - self._last >= self._every:
            self._last = self._clock()
            self._out.print(Text(f"{'  '.join(parts)}  {100 * share:.0f}%"), soft_wrap=True)

    def _left(self, share: float) -> list[str]:
        if not _EARLY <= share < 1:
            return []
        return [f"{duration((self._clock() - self._begun) * (1 - share) / share)} left"]

    def _draw(self, said: str, share: float) -> None:
        if self._bar is None:
            columns = (BarColumn(_BAR), TextColumn("{task.fields[said]}", markup=False))
            self._bar = Progress(*columns, console=self._out, transient=True, auto_refresh=False)
            self._task = self._bar.add_task("", total=1.0, said=said)
            self._bar.start()
        self._bar.update(self._task, completed=share, said=said, refresh=True)
