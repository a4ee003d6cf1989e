"""How a measure grows with the amount of data, and how much data is enough."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, exp, expm1, fsum, inf, isfinite, log, log1p, sqrt

from concord.errors import InputError, explain

__all__ = ["Plateau", "exponential_plateau", "fit_plateau", "n_to_reach"]

# Two-sided 95% points of Student's t for 1 to 8 degrees of freedom.
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306)
# Squared residuals, relative to squared values, that are nothing but rounding.
_ROUNDING = 1e-26


@dataclass(frozen=True, slots=True, kw_only=True)
class Plateau:
    """An exponential plateau: its level, its value at n = 0, its rate, and how well the data fix them.

    `rmse` is the root of the mean squared residual, `k_interval` the rates that fit about as well (95%; with
    no more points than parameters, it is the rate itself). `problem` says why the data leave the rate open;
    it is empty if they do not.
    """

    y_max: float
    y0: float
    k: float
    rmse: float = 0.0
    k_interval: tuple[float, float] | None = None
    problem: str = ""

    @property
    def identifiable(self) -> bool:
        """Whether the data fix the rate, and with it level and value at 0."""
        return not self.problem

    def at(self, n: float) -> float:
        """The value of the curve at n."""
        return exponential_plateau(n, y_max=self.y_max, y0=self.y0, k=self.k)


@dataclass(frozen=True, slots=True)
class _Line:
    """For one rate, the best start and rise, y = start + rise (1 - exp(-k (n - first))), and its error."""

    start: float
    rise: float
    error: float


def exponential_plateau(n: float, *, y_max: float, y0: float, k: float) -> float:
    """y = y_max - (y_max - y0) exp(-k n): from y0 at n = 0 towards y_max (ISA, arXiv 2411.10545).

    A higher k gets there with less data: half of the way is done at n = ln 2 / k.
    """
    return y_max - (y_max - y0) * exp(-k * n)


def fit_plateau(ns: Sequence[float], ys: Sequence[float]) -> Plateau:
    """Fit an exponential plateau by least squares (ISA, arXiv 2411.10545, fits this curve to score and size).

    With the rate k held fixed the curve is a straight line in exp(-k n), so that only k is searched for: over
    a grid of its logarithm, from a curve that is still straight at the largest n to one that is over before
    the second, and then within the best cell. No start value, no local optimum. `identifiable` is false if
    rates up to an end of that range fit about as well; level and rate are then not to be relied on. A curve
    may fall as well as rise.
    """
    _check_points(ns, ys)
    sizes = sorted(set(ns))
    gap = min(later - earlier for earlier, later in pairwise(sizes))
    # Beyond k n = 600 for the first n, the value at n = 0 is too large for a number.
    over, far = 40 / gap, 600 / sizes[0] if sizes[0] else inf
    low, high = log(1e-3 / (sizes[-1] - sizes[0])), log(min(over, far))

    def error(log_k: float) -> float:
        return _line(ns, ys, exp(log_k)).error

    steps = ceil((high - low) / 0.1)
    grid = [low + (high - low) * step / steps for step in range(steps + 1)]
    errors = [error(log_k) for log_k in grid]
    best = errors.index(min(errors))
    log_k = _lowest(error, grid[max(best - 1, 0)], grid[min(best + 1, steps)])
    k = exp(log_k)
    line = _line(ns, ys, k)
    freedom = len(ns) - 3
    limit = line.error * (1 + _student(freedom) ** 2 / freedom) if freedom else line.error
    limit += _ROUNDING * fsum(y * y for y in ys)
    fits = [place for place, value in enumerate(errors) if value <= limit]
    first, last = min(fits, default=best), max(fits, default=best)
    left = grid[first] if first == 0 else _crossing(error, limit, log_k, grid[first - 1])
    right = grid[last] if last == steps else _crossing(error, limit, log_k, grid[last + 1])
    y_max = line.start + line.rise
    return Plateau(
        y_max=y_max,
        y0=y_max - line.rise * exp(k * sizes[0]),
        k=k,
        rmse=sqrt(line.error / len(ns)),
        k_interval=(exp(left), exp(right)),
        problem=_problem(straight=first == 0, over=last == steps, far=far < over),
    )


def n_to_reach(plateau: Plateau, fraction: float) -> float:
    """How much data covers a fraction of the way from y0 to y_max: n = -ln(1 - fraction) / k."""
    if not 0 <= fraction < 1:
        wrong, do = "no finite n reaches this fraction of the way", "0.95 is a usual choice"
        raise InputError(explain(wrong, found=fraction, accepted="0 up to, not including, 1", do=do))
    if plateau.problem or plateau.k <= 0:
        wrong = "the rate of this plateau is not known, so nor is the n that it needs"
        found = plateau.problem or f"k = {plateau.k!r}"
        do = "measure at more values of n, also between the ones there are"
        raise InputError(explain(wrong, found=found, accepted="an identifiable fit, with k above 0", do=do))
    return -log1p(-fraction) / plateau.k


def _line(ns: Sequence[float], ys: Sequence[float], k: float) -> _Line:
    """Linear regression of y on 1 - exp(-k (n - first)), which stays exact where k is small."""
    first = min(ns)
    way = [-expm1(-k * (n - first)) for n in ns]
    mean_way, mean = fsum(way) / len(way), fsum(ys) / len(ys)
    spread = fsum((w - mean_way) ** 2 for w in way)
    rise = fsum((w - mean_way) * (y - mean) for w, y in zip(way, ys, strict=True)) / spread
    start = mean - rise * mean_way
    return _Line(start, rise, fsum((start + rise * w - y) ** 2 for w, y in zip(way, ys, strict=True)))


def _lowest(error: Callable[[float], float], low: float, high: float) -> float:
    """Golden-section search for the lowest point between two."""
    golden = (sqrt(5) - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    error_left, error_right = error(left), error(right)
    while high - low > 1e-12:
        if error_left <= error_right:
            high, right, error_right = right, left, error_left
            left = high - golden * (high - low)
            error_left = error(left)
        else:
            low, left, error_left = left, right, error_right
            right = low + golden * (high - low)
            error_right = error(right)
    return (low + high) / 2


def _crossing(error: Callable[[float], float], limit: float, inside: float, outside: float) -> float:
    """Where the error passes the limit on the way from inside to outside."""
    while abs(outside - inside) > 1e-9:
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if error(middle) <= limit else (inside, middle)
    return inside


def _student(freedom: int) -> float:
    return _STUDENT[freedom - 1] if freedom <= len(_STUDENT) else 1.96 + 2.5 / freedom


def _problem(*, straight: bool, over: bool, far: bool) -> str:
    if over and far:
        return "the rate may be higher than can be followed back to n = 0: count n from the first one"
    match straight, over:
        case True, True:
            return "any rate fits: the values hardly change, or the noise hides how"
        case True, False:
            return "no plateau in sight: a straight line fits as well"
        case False, True:
            return "the rate may be any higher one: the plateau is reached within one step"
        case _:
            return ""


def _check_points(ns: Sequence[float], ys: Sequence[float]) -> None:
    if len(ns) != len(ys):
        wrong, found = "each n needs its y", (len(ns), len(ys))
        accepted, do = "as many of one as of the other", "leave out the points that lack one"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    if odd := [value for value in (*ns, *ys) if not isfinite(value)]:
        wrong, do = "a value is not finite", "leave that point out"
        raise InputError(explain(wrong, found=odd[0], accepted="finite n and y", do=do))
    if min(ns, default=0) < 0:
        wrong, do = "an amount of data is negative", "give n as a count of rows or labels"
        raise InputError(explain(wrong, found=min(ns), accepted="0 and above", do=do))
    if len(set(ns)) < 3:
        wrong, do = "three parameters need three different n", "measure at more sizes, 0 among them"
        raise InputError(explain(wrong, found=len(set(ns)), accepted="3 or more", do=do))
    if max(ns) - min(ns) < 1e-4 * max(ns):
        wrong, do = "the n lie too close together, so far from 0", "count n from where the measuring began"
        raise InputError(explain(wrong, found=(min(ns), max(ns)), accepted="a span of n / 10000", do=do))
