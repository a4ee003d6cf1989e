"""Rendering in this process, or in several beside it.

Workers are started afresh (a fork would copy the threads of tokenizers and of torch, which do not survive
it). A compiled template cannot be sent, so each builds the renderer from its parts, and checks that it is the
same.
"""

import multiprocessing
import os
import signal
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import Any, Protocol

from concord.data.packed import pack
from concord.errors import InputError, Said, UnavailableError, explain
from concord.render.loading import ModelFiles
from concord.render.records import RenderSettings, Unrendered
from concord.render.renderer import Renderer
from concord.types import Item

__all__ = ["Refused", "Rendering", "Work", "rendering"]


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that cannot be used: the whole message, and its first part alone, to count by."""

    message: str
    reason: str

    @classmethod
    def of(cls, error: InputError, item: Item) -> "Refused":
        """From the error; the message begins with the place of the item, where that is known."""
        place = f"{item.origin}: " if item.origin else ""
        said = str(error).removeprefix(place)
        return cls(place + said, said.partition("; found ")[0])


class Work(Protocol):
    """Rows that are being made."""

    def result(self) -> list[bytes | Refused]:
        """The rows, packed, or why there are none; waits for them."""
        ...


class Rendering(Protocol):
    """Something that renders; `ahead` is how many chunks may wait for it."""

    ahead: int

    def submit(self, items: Sequence[Item]) -> Work:
        """Begin to render."""
        ...


@dataclass(frozen=True)
class _Done:
    rows: list[bytes | Refused]

    def result(self) -> list[bytes | Refused]:
        return self.rows


class _Here:
    """Rendering in this process."""

    ahead = 0

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer

    def submit(self, items: Sequence[Item]) -> Work:
        """Render at once."""
        return _Done(_packed(self._renderer, items))


class _Pool:
    """Rendering in worker processes."""

    def __init__(self, renderer: Renderer, workers: int) -> None:
        self.ahead = 2 * workers
        self._pool = ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(renderer.tokenizer, renderer.settings, renderer.files, renderer.id),
        )

    def submit(self, items: Sequence[Item]) -> Work:
        """Send the items to a worker, if there are any."""
        if not items:
            return _Done([])
        try:
            return _Sent(self._pool.submit(_render, items))
        except BrokenProcessPool as error:
            raise _died() from error

    def close(self) -> None:
        """End the workers; what they have not begun is left."""
        self._pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class _Sent:
    future: "Future[list[bytes | Refused]]"

    def result(self) -> list[bytes | Refused]:
        try:
            return self.future.result()
        except BrokenProcessPool as error:
            raise _died() from error


@contextmanager
def rendering(renderer: Renderer, workers: int) -> Generator[Rendering]:
    """Render here, or with so many workers, which are ended on leaving."""
    if not workers:
        yield _Here(renderer)
        return
    pool = _Pool(renderer, workers)
    try:
        yield pool
    finally:
        pool.close()


def _packed(renderer: Renderer, items: Sequence[Item]) -> list[bytes | Refused]:
    return [
        Refused.of(row.error, item) if isinstance(row, Unrendered) else pack(row)
        for item, row in zip(items, renderer.render(items), strict=True)
    ]


def _died() -> UnavailableError:
    wrong, found = "a worker process ended before its work", Said("no rows from it")
    accepted = (
        "workers that can start and have memory; a program whose start is under `if __name__ == '__main__'`"
    )
    do = "give fewer workers, or 0; rows that were rendered so far are in the store, if one was given"
    return UnavailableError(explain(wrong, found=found, accepted=accepted, do=do))


# --- in a worker ------------------------------------------------------------------------------------------

_here: dict[str, Renderer] = {}


def _begin(tokenizer: Any, settings: RenderSettings, files: ModelFiles, name: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who is asked to stop ends the workers
    Thread(target=_end_with_parent, daemon=True).start()
    renderer = Renderer(tokenizer, settings=settings, files=files)
    assert renderer.id == name, "the renderer of a worker is another one"
    _here["renderer"] = renderer


def _end_with_parent() -> None:
    """End when the process that sends work was killed: its next message would be waited for for ever."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _render(items: Sequence[Item]) -> list[bytes | Refused]:
    return _packed(_here["renderer"], items)
