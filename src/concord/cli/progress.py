"""How far long work has come, with a forecast: a bar where somebody watches, nothing in a pipe."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["progressing"]


@contextmanager
def progressing(what: str, share: Callable[[], float | None]) -> Generator[Callable[[int], None]]:
    """Show how far work has come, on stderr; gives what is to be called with the count of rows done.

    `share` says which part of all is done, None where that is not known.
    """
    console = Console(stderr=True, highlight=False, emoji=False, markup=False)
    watched = console.is_terminal and sys.stderr.isatty()
    shown = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[rows]:,} rows"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*shown, console=console, transient=True, disable=not watched) as bar:
        task = bar.add_task(what, total=None, rows=0)

        def done(rows: int) -> None:
            part = share()
            bar.update(task, rows=rows, total=None if part is None else 1.0, completed=part or 0.0)

        yield done
