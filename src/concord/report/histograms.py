"""Histograms from values: bins between round numbers, the same for all groups."""

from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from concord.report.blocks import Axis, Counts, Histogram, Mark
from concord.report.scales import nice_step

__all__ = ["histogram"]

_Floats: TypeAlias = npt.NDArray[np.float64]
_ROWS = Axis("rows")


def histogram(
    title: str,
    values: Mapping[str, Sequence[float] | _Floats],
    x: Axis,
    *,
    bins: int = 60,
    y: Axis = _ROWS,
    caption: str = "",
    marks: tuple[Mark, ...] = (),
) -> Histogram:
    """Count values of one or more groups in at most so many bins, whose edges are round numbers.

    Bins of whole numbers are never narrower than 1, so that none is empty for no reason. On a logarithmic
    axis they are of equal ratio, and values of 0 or below stand at the left end. Values that are no numbers
    are left out, and the caption says how many.
    """
    arrays: dict[str, _Floats] = {name: np.asarray(group, dtype=np.float64) for name, group in values.items()}
    whole = np.concatenate([np.zeros(0), *arrays.values()])
    known = whole[np.isfinite(whole)]
    edges = np.unique(_ratios(known, bins) if x.log else _steps(known, bins))
    groups = tuple(Counts(name, _counts(group, edges)) for name, group in arrays.items())
    if lost := len(whole) - len(known):
        caption = f"{caption} {lost:,} values that are no numbers are left out.".strip()
    return Histogram(title, x, tuple(map(float, edges)), groups, y=y, caption=caption, marks=marks)


def _counts(group: _Floats, edges: _Floats) -> tuple[int, ...]:
    within = np.clip(group[np.isfinite(group)], edges[0], edges[-1])
    return tuple(int(count) for count in np.histogram(within, edges)[0])


def _steps(known: _Floats, bins: int) -> _Floats:
    if not known.size:
        return np.array([0.0, 1.0])
    low, high = float(known.min()), float(known.max())
    whole = bool((known == np.floor(known)).all())
    step = nice_step(high - low or max(abs(low), 1.0), bins)
    if whole:
        step = max(1.0, step)
    first, last = floor(low / step), ceil(high / step)
    # The last bin takes its upper edge in; a whole number there would share the bin of the one below it.
    if last == first or (whole and last * step == high):
        last += 1
    return np.linspace(first * step, last * step, last - first + 1)


def _ratios(known: _Floats, bins: int) -> _Floats:
    positive = known[known > 0]
    if not positive.size:
        return np.array([1.0, 10.0])
    low, high = float(positive.min()), float(positive.max())
    return np.geomspace(low, high if high > low else low * 10, bins + 1)
