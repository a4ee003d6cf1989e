"""How long an endpoint is waited for, and how often it is asked again."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields
from email.utils import parsedate_to_datetime

from concord.errors import InputError, explain
from concord.messages import is_count, is_number

__all__ = ["RETRIED", "Clock", "Patience", "retry_after"]

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
"""The statuses that pass: too many requests, overload, a server behind the server that does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds to wait for, and how often to try.

    `connect` until the server takes the call, `read` while it says nothing (which is as long as a reply takes
    to be written), `whole` from the first byte sent to the last received. `tries` counts the first one too.
    Before another try the wait is between half and all of first_wait * 2^k, at most `longest_wait`, so that
    many who failed together do not come back together. A server that asks for more than `longest_wait` is
    given up at once.
    """

    connect: float = 10.0
    read: float = 600.0
    whole: float = 900.0
    tries: int = 7
    first_wait: float = 0.5
    longest_wait: float = 60.0

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if not (is_count(value, 1) if one.name == "tries" else is_number(value) and value > 0):
                wrong = f"{one.name} of a patience is out of range"
                accepted = "1 or more" if one.name == "tries" else "seconds above 0"
                raise InputError(explain(wrong, found=value, accepted=accepted, do="leave it out"))

    def wait(self, number: int, *, chance: float, asked: float | None = None) -> float | None:
        """Seconds before retry `number`, from 0; None where the server asks for more than there is patience.

        What the server asks for is the least; the first wait's share of chance comes on top of it.
        """
        if asked is None:
            full = min(self.longest_wait, self.first_wait * 2 ** min(number, 64))
            return full * (1 + chance) / 2
        return None if asked > self.longest_wait else asked + self.first_wait * chance


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Time and chance as a caller of endpoints sees them, so that both can be had without waiting."""

    now: Callable[[], float] = time.monotonic
    today: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    chance: Callable[[], float] = random.random


def retry_after(headers: Mapping[str, str], today: float) -> float | None:
    """The seconds a server asks to wait, given as milliseconds, seconds or a date; None where it does not."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        said = headers.get(name, "")
        try:
            seconds = float(said) * unit
        except ValueError:
            continue
        if is_number(seconds):
            return max(0.0, seconds)
    try:
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - today)
    except (ValueError, OverflowError):
        return None
