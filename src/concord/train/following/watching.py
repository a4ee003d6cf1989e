"""Whoever looks on while a run goes, and how it is asked to stop."""

import signal
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from concord.train.loop import Loop, Quiet, Stepped

__all__ = ["Nobody", "Teller", "Watch", "interruptible"]


@runtime_checkable
class Watch(Protocol):
    """Somebody who is told how a run goes."""

    def say(self, text: str) -> None:
        """Something one should know."""
        ...

    def progress(self, what: str, done: int, share: float | None) -> None:
        """How far the work before the first step has come; the share of it, where that is known."""
        ...

    def begin(self, steps: int, *, done: int = 0) -> None:
        """The first step is about to be taken: of so many, so many were done before."""
        ...

    def row(self, row: Mapping[str, float]) -> None:
        """A row of metrics."""
        ...


class Nobody:
    """Nobody looks on."""

    def say(self, text: str) -> None:
        """Nothing is said."""

    def progress(self, what: str, done: int, share: float | None) -> None:
        """Nothing is shown."""

    def begin(self, steps: int, *, done: int = 0) -> None:
        """Nothing is shown."""

    def row(self, row: Mapping[str, float]) -> None:
        """Nothing is shown."""


class Teller(Quiet):
    """Passes on what the loop has to say."""

    def __init__(self, watch: Watch, heard: int = 0) -> None:
        """To somebody, who has heard so much of it: what was said before a resume was heard then."""
        self._watch, self._told = watch, heard

    def begin(self, loop: Loop) -> None:
        """What hooks said before the first step."""
        self._tell(loop)

    def after(self, loop: Loop, done: Stepped) -> None:
        """What is new."""
        self._tell(loop)

    def end(self, loop: Loop) -> None:
        """What is left."""
        self._tell(loop)

    def _tell(self, loop: Loop) -> None:
        for text in loop.said[self._told :]:
            self._watch.say(text)
        self._told = len(loop.said)


@contextmanager
def interruptible(loop: Loop, watch: Watch) -> Generator[None]:
    """Let an interrupt (Ctrl-C) end the loop after the step it is in; a second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def asked(number: int, frame: Any) -> None:
        if loop.asked:
            raise KeyboardInterrupt
        loop.asked = True
        watch.say("Stopping after this step, with a checkpoint. Ctrl-C once more stops at once, without one.")

    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, asked) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
