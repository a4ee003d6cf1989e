"""What values share, how far their mean varies because of it, and how wide an interval has to be therefore.

    measured         the values that there are, and which of them are drawn together (`designed`)
    errors           standard errors of means, and of ratios of sums
    reach            how many of them the interval goes to each side
    redrawn          rows drawn again, for statistics that are no means
    parts            how much of the variance is shared, for plans

The numbers under `reckoning.statistics` and `reckoning.comparing`. With several factors clusters are crossed,
and variances add up as sizes of sets do (Cameron, Gelbach and Miller 2011; F the factors):

    V = sum over S in F of (-1)^(|S| + 1) V_S,  V_S = (K_S - 1) / K_S sum_c (theta - theta without c)^2

c runs over the K_S clusters of values that have the same labels in all factors of S. V is taken no smaller
than that of a single factor, which it would exceed if variances were known.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from math import isfinite, prod, sqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from concord.errors import InputError, Said, explain
from concord.estimates import t_quantile

__all__ = [
    "FEWEST",
    "RESAMPLES",
    "Design",
    "Floats",
    "Labels",
    "between",
    "check_finite",
    "combined",
    "designed",
    "errors",
    "measured",
    "parts",
    "reach",
    "redrawn",
]

Labels: TypeAlias = Sequence[Hashable]
"""What each value shares with others: one label a value."""
Floats: TypeAlias = NDArray[np.float64]
_Whole: TypeAlias = NDArray[np.intp]

RESAMPLES = 10_000
FEWEST = 8
"""Effective clusters below which no resampling is trusted: Student's t takes its place."""

_BLOCK = 100_000  # weights that are held at once: as many as stay in a cache
_PIECE = 200_000  # multiplications at a time
_MANY = 20_000  # clusters of a factor, with which t* is as good as Student's
_LARGEST = 500_000  # crossed clusters that are laid out, times columns
_ROUNDING = 1e-12  # of the numbers themselves
_LOST = 0.1  # of the standard error: a resample with less has drawn next to nothing but equal values


@dataclass(frozen=True, slots=True)
class Design:
    """Which values are drawn together: for each factor the number of the cluster that each value is in."""

    factors: tuple[_Whole, ...]
    independent: bool = False

    @property
    def counts(self) -> tuple[int, ...]:
        """How many clusters each factor has."""
        return tuple(int(factor.max(initial=-1)) + 1 for factor in self.factors)

    @property
    def known(self) -> bool:
        """Whether there are two clusters of each factor, without which nothing shows how they differ."""
        return min(self.counts) > 1

    @property
    def words(self) -> str:
        """What is drawn, as one says it."""
        counts = " x ".join(str(count) for count in self.counts)
        return f"{counts} {'independent values' if self.independent else 'clusters'}"

    def effective(self, size: Floats | None = None) -> float:
        """How many clusters of equal size weigh as much (Kish), in the factor that has fewest.

        K = (sum m)^2 / sum m^2, m the sizes of the clusters; `size` is what each value counts, 1 if left out.
        """
        return min(self.each(size))

    def each(self, size: Floats | None = None) -> list[float]:
        """As `effective`, of each factor."""
        sums = (np.bincount(factor, weights=size) for factor in self.factors)
        return [float(m.sum() ** 2 / (m @ m)) for m in sums]

    def freedom(self, size: Floats | None = None) -> int:
        """Degrees of freedom of Student's t: one less than the effective clusters."""
        return max(1, round(self.effective(size)) - 1)

    @property
    def labels(self) -> list[list[int]]:
        """The clusters of each value, by factor."""
        return [factor.tolist() for factor in self.factors]

    def of(self, places: Sequence[int]) -> "Design":
        """What some of the values share."""
        kept = np.asarray(places, dtype=np.intp)
        factors = (np.unique(factor[kept], return_inverse=True)[1] for factor in self.factors)
        return Design(tuple(factors), independent=self.independent)

    def sets(self) -> list[tuple[int, ...]]:
        """The non-empty sets of factors, single ones first."""
        numbers = range(len(self.factors))
        return [chosen for some in numbers for chosen in combinations(numbers, some + 1)]

    def within(self, chosen: tuple[int, ...]) -> _Whole:
        """The cluster that each value is in: of all that share the labels of the chosen factors."""
        return reduce(_joined, (self.factors[factor] for factor in chosen))


def designed(clusters: Sequence[Labels], n: int, *, nested: bool = False) -> Design:
    """Read the labels of n values.

    Of several factors one is left out that has a single label: an interval then speaks of this alone. So is
    one whose clusters lie each within a cluster of another: who draws templates has drawn their prompts.
    nested: leave none out
    """
    factors = [_numbered(labels, n) for labels in clusters]
    if not factors or not n:
        return Design((np.arange(n),), independent=True)
    if nested:
        return Design(tuple(factors))
    varied = [factor for factor in factors if factor.any()] or factors[:1]
    kept: list[_Whole] = []
    for factor in sorted(varied, key=lambda one: int(one.max())):
        if not any(_joined(coarse, factor).max() == factor.max() for coarse in kept):
            kept.append(factor)
    return Design(tuple(kept))


def measured(
    *columns: Sequence[float | None], clusters: Sequence[Labels], nested: bool = False
) -> tuple[list[Floats], Design]:
    """The values at the places where none of the columns lacks one, and what these share."""
    if len({len(column) for column in columns}) > 1:
        wrong, do = "paired values differ in number", "give them in one order, None for what was not measured"
        found = Said(" and ".join(str(len(column)) for column in columns))
        raise InputError(explain(wrong, found=found, accepted="as many of each", do=do))
    designed(clusters, len(columns[0]))
    kept = [place for place, row in enumerate(zip(*columns, strict=True)) if None not in row]
    there = [[value for place in kept if (value := column[place]) is not None] for column in columns]
    for values in there:
        check_finite(values)
    left = [[labels[place] for place in kept] for labels in clusters]
    return [np.array(values, dtype=np.float64) for values in there], designed(left, len(kept), nested=nested)


def between(ours: Floats, theirs: Floats) -> Floats:
    """ours - theirs, and 0 where that is rounding: the same number, added up in another order."""
    gap = ours - theirs
    return np.where(np.abs(gap) <= _ROUNDING * np.maximum(np.abs(ours), np.abs(theirs)), 0.0, gap)


def check_finite(values: Sequence[float]) -> None:
    """Refuse infinite values and those that are no numbers."""
    if odd := [value for value in values if not isfinite(value)]:
        do = "give None for what could not be measured"
        raise InputError(explain("a value is not finite", found=odd[0], accepted="finite numbers", do=do))


def _numbered(labels: Labels, n: int) -> _Whole:
    """The clusters numbered in the order in which they are met."""
    do = "write clusters=(labels,), labels holding one for each value; () where values are independent"
    if isinstance(labels, str) or not hasattr(labels, "__len__"):
        wrong, accepted = "clusters are not given as lists of labels", "a tuple of lists, one label a value"
        raise InputError(explain(wrong, found=labels, accepted=accepted, do=do))
    if len(labels) != n:
        wrong, found = "labels and values differ in number", Said(f"{len(labels)} labels for {n} values")
        raise InputError(explain(wrong, found=found, accepted="one label a value", do=do))
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(label, len(seen)) for label in labels], dtype=np.intp)


def _joined(one: _Whole, other: _Whole) -> _Whole:
    """Number the pairs of clusters that occur."""
    return np.unique(one * (int(other.max()) + 1) + other, return_inverse=True)[1]


# --- how far a mean varies --------------------------------------------------------------------------------


def combined(sets: Sequence[tuple[int, ...]], variances: Sequence[Floats]) -> Floats:
    """V of the equation above, from the V_S of the sets."""
    total = sum((-1) ** (len(some) + 1) * v for some, v in zip(sets, variances, strict=True))
    singles = [v for some, v in zip(sets, variances, strict=True) if len(some) == 1]
    return np.maximum.reduce([np.asarray(total, dtype=np.float64), *singles])


def errors(design: Design, off: Floats, size: Floats) -> Floats:
    """Standard errors of sum a / sum b, one a column; `off` is a - theta b for each value, `size` is b.

    Zero where clusters differ by no more than rounding does, infinite where one cluster holds all of b.
    """
    variances: list[Floats] = []
    for chosen in design.sets():
        sums, sizes = _per_cluster(design.within(chosen), off, size)
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = sums / (size.sum() - sizes)[:, None]
        variances.append((len(sizes) - 1) / len(sizes) * np.square(moved).sum(axis=0))
    found = np.sqrt(combined(design.sets(), variances))
    rounding = _ROUNDING * np.abs(off).max(axis=0) * len(size) / size.sum()
    return np.where(np.isfinite(found), np.where(found <= rounding, 0.0, found), np.inf)


def _per_cluster(within: _Whole, off: Floats, size: Floats) -> tuple[Floats, Floats]:
    sums = [np.bincount(within, weights=column).astype(np.float64) for column in (*off.T, size)]
    return np.stack(sums[:-1], axis=1), sums[-1]


# --- how far an interval goes -----------------------------------------------------------------------------


def reach(
    design: Design, off: Floats, size: Floats, error: Floats, *, level: float, seed: int
) -> tuple[Floats, str]:
    """How many standard errors each column's interval goes to each side, all at once, and how that was found.

    Quantiles of |t*|, t* = (theta* - theta) / error*, over resamples: symmetric bootstrap-t (Hall 1988). The
    same quantile of each column, so high that all hold at once in a share `level` of resamples (balanced,
    Beran 1988): a column that hardly ever varies, and then much, does not widen the others.

    Clusters of crossed factors are drawn for each factor by itself, and weights multiplied (Owen 2007); that
    scatters theta* more than theta, up to threefold in variance, but error* with it, so that t* is right.
    Student's t, shared out over the columns (Sidak), takes its place below FEWEST effective clusters, where
    there are too many to draw, and where the quantile is lost among resamples with next to no spread, as
    with values that are nearly all equal.
    """
    live, times = error > 0, np.zeros(len(error))
    off, error = off[:, live], error[live]
    freedom = design.freedom(size)
    drawable = max(design.counts) <= _MANY and prod(design.counts) * len(error) <= _LARGEST
    if drawable and freedom + 1 >= FEWEST:
        drawn = _resampled(design, off, size, error, seed=seed)
        order = np.sort(drawn, axis=1)
        # How far up in its own column each value stands, of equals the highest; and where it stands most so.
        highest, place = np.zeros(RESAMPLES, dtype=np.int64), np.empty(RESAMPLES, dtype=np.int64)
        for column, values in zip(order, drawn, strict=True):
            place[:] = np.searchsorted(column, values, side="right")
            np.maximum(highest, place, out=highest)
        joint = int(np.sort(highest)[int(level * RESAMPLES)])
        found = order[:, joint - 1]
        if np.isfinite(found).all():
            times[live] = found
            return times, f"symmetric bootstrap-t, {RESAMPLES:,} resamples of {design.words}"
    times[live] = t_quantile(level ** (1 / len(error)), freedom)
    return times, f"Student's t over {design.words}"


def _resampled(design: Design, off: Floats, size: Floats, error: Floats, *, seed: int) -> Floats:
    """|t*| of each column in each resample, infinite where it has lost its spread."""
    factors = tuple(_ordered(factor, off, size) for factor in design.factors)
    counts, last = design.counts, off.shape[1]
    table = np.zeros((*counts, last + 1))
    np.add.at(table, factors, np.column_stack((off, size)))
    a, b = table[..., :last], table[..., last:]
    squares = np.concatenate((table, a * a, a * b, b * b), axis=-1)
    sets = [(chosen, int(design.within(chosen).max()) + 1) for chosen in design.sets()]
    chance, found = _chance(seed), np.empty((last, RESAMPLES))
    block = max(1, _BLOCK // max(counts))
    for start in range(0, RESAMPLES, block):
        times = min(block, RESAMPLES - start)
        drawn = [_drawn(chance, count, times) for count in counts]
        found[:, start : start + times] = _block(table, squares, drawn, sets, error)
    return found


def _block(
    table: Floats,
    squares: Floats,
    drawn: list[Floats],
    sets: list[tuple[tuple[int, ...], int]],
    error: Floats,
) -> Floats:
    every, last = tuple(range(len(drawn))), len(error)
    a, b, aa, ab, bb = np.split(_summed(squares, drawn, every), np.cumsum([last, 1, last, last]))
    with np.errstate(divide="ignore", invalid="ignore"):
        moved, variances = a / b, list[Floats]()
        for chosen, count in sets:
            if chosen == every:
                square = np.maximum(aa - 2 * moved * ab + moved**2 * bb, 0.0)
            else:
                square = _apart(table, drawn, chosen, moved)
            variances.append(count / (count - 1) * square)
        error_drawn = np.sqrt(combined([chosen for chosen, _ in sets], variances)) / b
        t = np.abs(moved) / error_drawn
    return np.where(error_drawn > _LOST * error[:, None], t, np.inf)


def _apart(table: Floats, drawn: list[Floats], chosen: tuple[int, ...], moved: Floats) -> Floats:
    """sum_c w_c (a_c - theta* b_c)^2 in each resample, a_c and b_c the sums of what is drawn within c."""
    others = tuple(factor for factor in range(len(drawn)) if factor not in chosen)
    sums = _summed(table, drawn, others)
    square = np.square(sums[..., :-1, :] - moved * sums[..., -1:, :])
    return _weighed(square, [drawn[factor] for factor in chosen])


def _summed(table: Floats, drawn: list[Floats], over: tuple[int, ...]) -> Floats:
    """Sums over some factors, each cluster as often as it is drawn: what is left, and a column a resample."""
    first = max(over, key=lambda factor: len(drawn[factor]))
    sums = _product(np.moveaxis(table, first, 0), drawn[first])
    rest = [factor for factor in range(len(drawn)) if factor != first]
    summed = [place for place, factor in enumerate(rest) if factor in over]
    sums = np.moveaxis(sums, summed, range(len(summed)))
    return _weighed(sums, [drawn[factor] for factor in rest if factor in over])


def _product(table: Floats, weight: Floats) -> Floats:
    """Sum over the first axis, in pieces too small for threads, which wait for each other on busy cores."""
    flat = table.reshape(len(table), -1).T
    step = max(1, _PIECE // flat.size)
    starts = range(0, weight.shape[1], step)
    pieces = [flat @ weight[:, start : start + step] for start in starts]
    return np.concatenate(pieces, axis=1).reshape(*table.shape[1:], -1)


def _weighed(sums: Floats, drawn: list[Floats]) -> Floats:
    """Sum over the first axes, each cluster as often as it is drawn."""
    for weight in drawn:
        sums = (sums * weight.reshape(len(weight), *[1] * (sums.ndim - 2), -1)).sum(axis=0)
    return sums


def _chance(seed: int, *more: int) -> np.random.Generator:
    if seed < 0:
        wrong, do = "a seed is negative", "take any other whole number"
        raise InputError(explain(wrong, found=seed, accepted="0 and above", do=do))
    return np.random.default_rng([seed, *more])


def _drawn(chance: np.random.Generator, count: int, times: int) -> Floats:
    """How often each of the clusters is drawn when as many are drawn as there are; a column a resample."""
    picked = chance.integers(count, size=(count, times)) * times + np.arange(times)
    return np.bincount(picked.ravel(), minlength=times * count).reshape(count, times).astype(np.float64)


def _ordered(factor: _Whole, off: Floats, size: Floats) -> _Whole:
    """The clusters numbered by what is in them, so that an interval depends on neither order nor labels."""
    sums, sizes = _per_cluster(factor, off, size)
    rank = np.empty(len(sizes), dtype=np.intp)
    rank[np.lexsort((sizes, *sums.T))] = np.arange(len(sizes))
    return rank[factor]


# --- what is no mean --------------------------------------------------------------------------------------


def redrawn(design: Design, chosen: tuple[int, ...], times: int, *, seed: int) -> Iterator[list[int]]:
    """Draw clusters of the chosen factors again: the places of the values in each resample."""
    members: dict[int, list[int]] = {}
    for place, cluster in enumerate(design.within(chosen)):
        members.setdefault(int(cluster), []).append(place)
    chance = _chance(seed, *chosen)
    for _ in range(times):
        yield [
            place
            for cluster in chance.integers(len(members), size=len(members))
            for place in members[int(cluster)]
        ]


# --- for plans --------------------------------------------------------------------------------------------


def parts(design: Design, values: Floats) -> tuple[float, tuple[float, ...]]:
    """The standard deviation of single values, and for each factor the share of variance that clusters share.

    icc_f = cov(two values that share the label of f and of no other factor) / variance

    both moments corrected by the variance of the mean that was taken away; no share is below 0.
    """
    moved = values - values[0]  # so that equal values leave exact zeros
    off = (moved - moved.mean())[:, None]
    of_mean = float(errors(design, off, np.ones(len(values)))[0]) ** 2
    variance = float(np.square(off).mean()) + of_mean
    if not variance:
        return 0.0, (0.0,) * len(design.factors)
    shares: list[float] = []
    for factor in range(len(design.factors)):
        products = pairs = 0.0
        for chosen in design.sets():
            if factor in chosen:
                sums, sizes = _per_cluster(design.within(chosen), off, np.ones(len(values)))
                sign = (-1) ** (len(chosen) + 1)
                products += sign * float(np.square(sums).sum() - np.square(off).sum())
                pairs += sign * float(sizes @ (sizes - 1))
        shares.append(max(0.0, (products / pairs + of_mean) / variance) if pairs else 0.0)
    return sqrt(variance), tuple(shares)
