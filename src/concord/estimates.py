"""Shares, means and percentiles, with intervals that stay honest where rows of one prompt are alike.

Rows of one prompt are not independent: whoever wrote the prompt, sampled its replies and judged them did so
once. So intervals count prompts, not rows, as far as the rows of a prompt agree.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, cos, pi, sin, sqrt, tan
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from concord.results import Interval, Result

__all__ = [
    "Estimate",
    "clustered_mean",
    "clustered_share",
    "percentile",
    "share_of_sums",
    "t_quantile",
    "wilson_ends",
]

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval, how many observations it rests on, and how many prompts these came from."""

    value: float | None
    n: int
    interval: Interval | None = None
    prompts: int = 0

    def result(
        self,
        name: str,
        *,
        unit: str,
        how: str,
        at: Mapping[str, str | float] | None = None,
        failures: int = 0,
        why_none: str = "",
    ) -> Result:
        """The estimate as a result of this name; `why_none` is said where it has no value."""
        return Result(
            name=name,
            value=self.value,
            interval=self.interval,
            n=self.n,
            unit=unit,
            how=how,
            at=at or {},
            failures=failures,
            why_none=why_none if self.value is None else "",
        )


def t_quantile(level: float, freedom: int) -> float:
    """How far from the middle the two-sided interval of this level goes, under Student's t.

    By halving up to 30 degrees of freedom; beyond, by the expansion around the normal (Fisher and Cornish),
    which is good to 0.001 from there. No degree stands for the normal itself.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    if freedom < 1:
        return z
    if freedom <= 30:
        low, high = 0.0, pi / 2
        for _ in range(60):
            angle = (low + high) / 2
            low, high = (angle, high) if _within(angle, freedom) < level else (low, angle)
        return sqrt(freedom) * tan(low)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def _within(angle: float, freedom: int) -> float:
    """P(|T| <= sqrt(freedom) tan(angle)) by its finite sum (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    odd = freedom % 2
    term, total = cos(angle) if odd else 1.0, 0.0
    for k in range(odd, freedom - 1, 2):
        total += term
        term *= cos(angle) ** 2 * (k + 1) / (k + 2)
    return 2 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total


def wilson_ends(
    share: float, n: float, *, level: float = 0.95, reach: float | None = None
) -> tuple[float, float]:
    """The ends of Wilson's interval of a share of n independent observations; `reach` is another quantile."""
    z = t_quantile(level, 0) if reach is None else reach
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))


def clustered_share(holds: ArrayLike, prompts: ArrayLike, *, level: float = 0.95) -> Estimate:
    """The share of observations that hold, with an interval that allows for several from one prompt."""
    return share_of_sums(*_by_prompt(np.asarray(holds, dtype=np.float64), prompts), level=level)


def share_of_sums(held: _Floats, sizes: _Floats, *, level: float = 0.95) -> Estimate:
    """The share of observations that hold, from how many hold for each prompt and how many there are.

    Wilson's interval on n divided by the design effect, at least 1: the variance of the share when each
    prompt is left out in turn (the jackknife), relative to that of independent observations. The quantile is
    Student's t for the number of prompts, of equal size, that weigh as much (Kish): a prompt that holds most
    of the observations says little about others. Where all agree, nothing shows how prompts differ, and each
    of that number counts once. Where all are from one prompt, the interval speaks of that prompt alone.
    """
    n, count = round(float(sizes.sum())), len(sizes)
    if n == 0:
        return Estimate(None, 0)
    share = float(held.sum()) / n
    effective, reach, of = float(n), t_quantile(level, 0), f"{count} prompts"
    if count > 1:
        reach = t_quantile(level, _freedom(sizes))
        if 0 < share < 1:
            variance = _jackknife(held - share * sizes, sizes)
            effective = n / max(1.0, variance * n / (share * (1 - share)))
        else:
            effective = _weighty(sizes)
    elif n > 1:
        of = "one prompt, of which alone it speaks"
    low, high = wilson_ends(share, effective, reach=reach)
    how = f"Wilson's interval on {effective:.6g} effective of {n} observations, from {of}"
    return Estimate(share, n, Interval(low, high, level=level, how=how), count)


def clustered_mean(numbers: ArrayLike, prompts: ArrayLike, *, level: float = 0.95) -> Estimate:
    """The mean of numbers, its interval allowing for several from one prompt; none below two prompts.

    Its variance and its quantile are those of `share_of_sums`.
    """
    values = np.asarray(numbers, dtype=np.float64)
    if not len(values):
        return Estimate(None, 0)
    mean = float(values.mean())
    off, sizes = _by_prompt(values - mean, prompts)
    if len(sizes) < 2:
        return Estimate(mean, len(values), None, len(sizes))
    half = t_quantile(level, _freedom(sizes)) * sqrt(_jackknife(off, sizes))
    how = f"Student's t over {len(sizes)} prompts, whose observations stay together"
    return Estimate(mean, len(values), Interval(mean - half, mean + half, level=level, how=how), len(sizes))


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


def _by_prompt(values: _Floats, prompts: ArrayLike) -> tuple[_Floats, _Floats]:
    """For each prompt the sum of its values, and how many it has."""
    _, which = np.unique(np.asarray(prompts), return_inverse=True)
    sums = np.bincount(which, weights=values).astype(np.float64, copy=False)
    return sums, np.bincount(which).astype(np.float64)


def _jackknife(off: _Floats, sizes: _Floats) -> float:
    """The variance of a mean over prompts left out in turn; `off` sums how theirs differ from it."""
    moved = off / (sizes.sum() - sizes)
    return (len(sizes) - 1) / len(sizes) * float(moved @ moved)


def _weighty(sizes: _Floats) -> float:
    """How many prompts of equal size weigh as much as these."""
    return float(sizes.sum()) ** 2 / float(sizes @ sizes)


def _freedom(sizes: _Floats) -> int:
    return max(1, round(_weighty(sizes)) - 1)
