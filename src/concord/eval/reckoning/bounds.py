"""Means whose ends hold even where no value differs, and what is reckoned from two of them.

    level           a mean and its ends; on a scale that is known, Wilson's where its values are its ends
    difference      of two, each with ends of its own
    ratio           of two, of which the lower is certainly not 0
    together        how far two means move together, where clusters hold values of both

Ends of a difference are put together from those of its two sides (Zou and Donner 2008, "MOVER"), so that a
small side keeps its own degrees of freedom, and one whose values are all alike its own doubt:

    d - sqrt(a^2 + b^2 - 2 r a b),  a and b how far each side may be off that way, r how they move together

Those of a ratio are the ratios q for which first - q second may be 0.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import inf, isfinite, sqrt

import numpy as np

from concord.eval.reckoning.resampling import Design, Floats, designed, errors, reach
from concord.eval.reckoning.statistics import ALIKE, LEVEL, Scale, share_ends, unseen

__all__ = ["Level", "difference", "level", "ratio", "together"]

_HALVINGS = 100  # of the range in which an end of a ratio lies
_FARTHEST = 1e9  # from a ratio, beyond which it has no end


@dataclass(frozen=True, slots=True)
class Level:
    """A mean and its ends, infinite where nothing shows them."""

    value: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether it has ends."""
        return isfinite(self.low) and isfinite(self.high)


def level(
    values: Floats,
    design: Design,
    *,
    scale: Scale | None = None,
    at_once: int = 1,
    seed: int = 0,
) -> Level:
    """The mean of values, and ends of which so many hold at once (Sidak).

    Values that are all alike say nothing of those that are not there. On a known scale as many of the
    clusters as Wilson's interval allows may lie at either end of it; without one, ALIKE clusters or more are
    taken at their word, and fewer show nothing.

    scale: ends that no value can pass
    """
    mean, share = float(values.mean()), LEVEL ** (1 / at_once)
    if not design.known and not (design.independent and scale):
        return Level(mean, -inf, inf)
    if scale and np.isin(values, (scale.low, scale.high)).all():
        first, width = scale.low, scale.high - scale.low
        low, high, _ = share_ends((values - first) / width, design, level=share)
        return Level(mean, first + width * low, first + width * high)
    off, size = (values - mean)[:, None], np.ones(len(values))
    error = errors(design, off, size) if design.known else np.zeros(1)
    if error[0]:
        times, _ = reach(design, off, size, error, level=share, seed=seed)
        half, ends = float(times[0] * error[0]), scale or Scale()
        return Level(mean, max(ends.low, mean - half), min(ends.high, mean + half))
    if scale:
        most = unseen(design, level=share)
        return Level(mean, mean - most * (mean - scale.low), mean + most * (scale.high - mean))
    return Level(mean, mean, mean) if design.effective() >= ALIKE else Level(mean, -inf, inf)


def difference(one: Level, other: Level, *, together: float = 0.0) -> Level:
    """one - other, by the equation above; `together` is its r."""
    value = one.value - other.value
    down = _apart(one.value - one.low, other.high - other.value, together)
    up = _apart(one.high - one.value, other.value - other.low, together)
    return Level(value, value - down, value + up)


def _apart(first: float, second: float, together: float) -> float:
    if not (isfinite(first) and isfinite(second)):
        return inf
    return sqrt(max(0.0, first**2 + second**2 - 2 * together * first * second))


def ratio(one: Level, other: Level, *, together: float = 0.0) -> Level | None:
    """one / other: all q for which one - q other may be 0. None where other may be 0: there are no ends."""
    if not (one.known and other.known) or other.low <= 0 <= other.high:
        return None
    value = one.value / other.value

    def may_be(q: float) -> bool:
        times = sorted((q * other.low, q * other.high))
        moved = difference(one, Level(q * other.value, *times), together=together if q >= 0 else -together)
        return moved.low <= 0 <= moved.high

    return Level(value, _last(may_be, value, -1.0), _last(may_be, value, 1.0))


def _last(holds: Callable[[float], bool], start: float, way: float) -> float:
    """The farthest from the start, this way, at which it still holds."""
    step = 1e-9 * max(1.0, abs(start))
    while holds(start + way * step):
        step *= 2
        if step > _FARTHEST * max(1.0, abs(start)):
            return way * inf
    inside, outside = 0.0, step
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if holds(start + way * middle) else (inside, middle)
    return start + way * inside


def together(first: Floats, second: Floats, labels: Sequence[Sequence[Hashable]]) -> float:
    """The correlation of two means over clusters that may hold values of both; 0 where none does.

    labels: for each reason a label for each value of the first, and then of the second
    """
    count = len(first)
    if not any({*one[:count]} & {*one[count:]} for one in labels):
        return 0.0
    design = designed(labels, count + len(second))
    if not design.known:
        return 0.0
    values = np.concatenate((first - first.mean(), second - second.mean()))
    side = np.arange(len(values)) < count
    sides = [np.where(side, values, 0) / count, np.where(side, 0, values) / len(second)]
    off = np.column_stack((*sides, sides[0] - sides[1]))
    one, other, both = errors(design, off, np.ones(len(values)))
    if not one * other:
        return 0.0
    return float(np.clip((one**2 + other**2 - both**2) / (2 * one * other), -1.0, 1.0))
