"""Shares, means and percentiles, with intervals that stay honest where rows of one prompt are alike.

Rows of one prompt are not independent: whoever wrote the prompt, sampled its replies and judged them did so
once. So intervals count prompts, not rows, as far as the rows of a prompt agree.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from concord.results import Interval

__all__ = ["Estimate", "clustered_mean", "clustered_share", "percentile", "t_quantile", "wilson"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval, how many observations it rests on, and how many prompts these came from."""

    value: float | None
    n: int
    interval: Interval | None = None
    prompts: int = 0


def t_quantile(level: float, freedom: int) -> float:
    """How far from the middle the two-sided interval of this level goes, under Student's t.

    The expansion around the normal (Fisher and Cornish), good to 0.01 from three degrees of freedom up;
    one and two degrees are exact.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    if freedom < 1:
        return z
    if freedom == 1:
        return float(np.tan(np.pi * level / 2))
    if freedom == 2:
        return level * sqrt(2 / (1 - level**2))
    v = float(freedom)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    fourth = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + first / v + second / v**2 + third / v**3 + fourth / v**4


def wilson(share: float, n: float, *, level: float = 0.95, reach: float | None = None) -> tuple[float, float]:
    """Wilson's interval of a share of n independent observations; `reach` is another quantile."""
    z = t_quantile(level, 0) if reach is None else reach
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))


def clustered_share(holds: ArrayLike, prompts: ArrayLike, *, level: float = 0.95) -> Estimate:
    """The share of observations that hold, with an interval that allows for several from one prompt.

    Wilson's interval on n divided by the design effect, which is the variance of the share over whole prompts
    (linearised, n / (n - 1) of them) relative to that of independent observations, at least 1; with the
    quantile of Student's t for as many prompts. Where all agree, nothing shows how prompts differ, and each
    counts once. Where all are from one prompt, the interval speaks of that prompt alone.
    """
    values = np.asarray(holds, dtype=np.float64)
    n = len(values)
    if n == 0:
        return Estimate(None, 0)
    share = float(values.mean())
    off, sizes = _residues(values, share, prompts)
    count = len(sizes)
    effective, reach = float(n), t_quantile(level, 0)
    if count > 1:
        reach = t_quantile(level, count - 1)
        if 0 < share < 1:
            variance = count / (count - 1) * float(off @ off) / n**2
            effective = n / max(1.0, variance * n / (share * (1 - share)))
        else:
            effective = float(count)
    low, high = wilson(share, effective, reach=reach)
    how = f"Wilson's interval on {effective:.6g} effective of {n} observations, from {count} prompts"
    return Estimate(share, n, Interval(low, high, level=level, how=how), count)


def clustered_mean(numbers: ArrayLike, prompts: ArrayLike, *, level: float = 0.95) -> Estimate:
    """The mean of numbers, its interval allowing for several from one prompt; none below two prompts."""
    values = np.asarray(numbers, dtype=np.float64)
    n = len(values)
    if n == 0:
        return Estimate(None, 0)
    mean = float(values.mean())
    off, sizes = _residues(values, mean, prompts)
    count = len(sizes)
    if count < 2:
        return Estimate(mean, n, None, count)
    half = t_quantile(level, count - 1) * sqrt(count / (count - 1) * float(off @ off)) / n
    how = f"Student's t over {count} prompts, whose observations stay together"
    return Estimate(mean, n, Interval(mean - half, mean + half, level=level, how=how), count)


def percentile(counts: Mapping[int, int], share: float) -> int:
    """The smallest number that at least this share (0 to 1) of the counted ones reach or stay below."""
    total = sum(counts.values())
    wanted = max(1, ceil(share * total - 1e-9))
    passed = 0
    for number in sorted(counts):
        passed += counts[number]
        if passed >= wanted:
            return number
    raise AssertionError("a percentile of nothing")


def _residues(
    values: NDArray[np.float64], middle: float, prompts: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """For each prompt the sum of what its observations differ from the middle by, and their number."""
    _, which = np.unique(np.asarray(prompts), return_inverse=True)
    off = np.bincount(which, weights=values - middle).astype(np.float64, copy=False)
    return off, np.bincount(which).astype(np.int64, copy=False)
