"""Scales of drawings: from values to places, with ticks at round numbers."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, log10

from concord.report.numbers import spelled

__all__ = ["Scale", "nice_step", "scale_of", "step_ticks"]

_FEW_DECADES = 3
_SLACK = 1e-9
_MOST = 1e300  # beyond it, differences and steps would not be floats any more


@dataclass(frozen=True, slots=True)
class Scale:
    """A stretch of numbers, laid over a stretch of a drawing; ticks with what stands beside them."""

    low: float
    high: float
    start: float
    stop: float
    log: bool
    ticks: tuple[tuple[float, str], ...]

    def place(self, value: float) -> float:
        """Where a value stands in the drawing."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = log10(low), log10(high), log10(value)
        return self.start + (at - low) / (high - low) * (self.stop - self.start)

    def holds(self, value: float) -> bool:
        """Whether a value has a place on a scale of this kind at all."""
        return abs(value) <= _MOST and (value >= 1 / _MOST or not self.log)


def nice_step(span: float, most: int) -> float:
    """The least step of 1, 2 or 5 times a power of ten that cuts a span into no more than so many."""
    least = span / most
    power = 10.0 ** floor(log10(least))
    return next(one * power for one in (1, 2, 5, 10) if one * power >= least * (1 - _SLACK))


def step_ticks(low: float, high: float, step: float) -> list[float]:
    """The multiples of a step within a stretch."""
    first, last = ceil(low / step - _SLACK), floor(high / step + _SLACK)
    return [one * step for one in range(first, last + 1)]


def scale_of(
    values: Iterable[float],
    start: float,
    stop: float,
    *,
    most: int,
    log: bool = False,
    zero: bool = False,
    tight: bool = False,
) -> Scale:
    """A scale that holds the values, with at most so many steps; `zero` draws 0 in, `tight` adds no room."""
    plane = Scale(1, 2, start, stop, log, ())
    known = [value for value in values if plane.holds(value)]
    low, high = (min(known), max(known)) if known else (1.0 if log else 0.0, 10.0 if log else 1.0)
    if log:
        return _log_scale(low, high, start, stop, most, tight=tight)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if not high - low > max(abs(low), abs(high), 1 / _MOST) * 1e-12:  # one value: give it room on both sides
        room = abs(low) / 2 if abs(low) > 1 / _MOST else 1.0
        low, high = (0.0, high + room) if zero and high >= 0 else (low - room, high + room)
    step = nice_step(high - low, most)
    if not tight:
        low, high = floor(low / step + _SLACK) * step, ceil(high / step - _SLACK) * step
    return Scale(low, high, start, stop, False, _labelled(step_ticks(low, high, step), step))


def _labelled(ticks: Iterable[float], step: float) -> tuple[tuple[float, str], ...]:
    """Ticks with as many decimals as their step has."""
    return tuple((tick, spelled(tick, -floor(log10(step) + _SLACK))) for tick in ticks)


def _log_scale(low: float, high: float, start: float, stop: float, most: int, *, tight: bool) -> Scale:
    """Decades, or between few of them 1, 2 and 5 times a power of ten."""
    first, last = floor(log10(low) + _SLACK), ceil(log10(high) - _SLACK)
    last = max(last, first + 1)
    if not tight or low == high:
        low, high = min(10.0**first, low), max(10.0**last, high)
    every = ceil((last - first) / most)
    steps = (1, 2, 5) if last - first <= min(_FEW_DECADES, most // 3) else (1,)
    powers = range(first, last + 1, every)
    ticks = [one * 10.0**power for power in powers for one in steps]
    kept = [tick for tick in ticks if low * (1 - _SLACK) <= tick <= high * (1 + _SLACK)]
    return Scale(low, high, start, stop, True, tuple((tick, _decade(tick)) for tick in kept))


def _decade(tick: float) -> str:
    power = floor(log10(tick) + _SLACK)
    return spelled(tick, max(-power, 0)) if -4 <= power <= 6 else f"{tick:.0e}"
