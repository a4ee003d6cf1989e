"""Rules that settle a conflict of values: which reply, and which values lose by it.

    weighted_sum, lexicographic, constrained, maximin, nash_product     from what each value gains
    plurality, borda, copeland, kemeny                                  from how each value ranks
    parliament                                                          credences in theories of any scale

`utilities[y][j]` is what reply y is worth by value j (or to stakeholder j). No rule returns a reply that
another one dominates: among those that a rule finds equal, dominated ones are taken out. What is left and
still equal is a tie: the first is chosen, and all are named.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from math import frexp, fsum, isfinite, ldexp, prod, sqrt
from typing import TypeAlias

from concord.errors import InputError, Said, explain
from concord.eval.reckoning import check_alike

__all__ = [
    "Decision",
    "Utilities",
    "borda",
    "constrained",
    "copeland",
    "dominated",
    "kemeny",
    "kemeny_rankings",
    "lexicographic",
    "maximin",
    "multipliers",
    "nash_product",
    "parliament",
    "plurality",
    "weighted_sum",
]

Utilities: TypeAlias = Sequence[Sequence[float]]
"""A row for each reply, a column for each value."""

_CLOSE = 1e-12  # of what went into a score: scores that differ by less are equal but for rounding
_RANKED = 8  # replies of which all rankings are looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Which reply a rule chooses, None where it allows none; and what that costs.

    `tied` names all that the rule finds as good, `scores` what it makes of each reply (None of one that it
    does not allow). `lost` holds for each value that another reply would serve better, by its place, how
    much of it is given up: what an audit of discretion looks at.
    """

    chosen: int | None
    tied: tuple[int, ...]
    scores: tuple[float | None, ...]
    lost: Mapping[int, float]


def dominated(utilities: Utilities, reply: int) -> bool:
    """Whether some other reply is as good by every value, and better by one."""
    mine = utilities[reply]
    return any(
        all(a >= b for a, b in zip(other, mine, strict=True)) and tuple(other) != tuple(mine)
        for other in utilities
    )


def _decided(
    utilities: Utilities, scores: Sequence[float | None], sizes: Sequence[float] | None = None
) -> Decision:
    """The best by score; ties lose what is dominated.

    sizes: of the numbers that each score was reckoned from, which say how far rounding may move it; that of
        the score itself, if left out. No unit is looked at: scores may be as small as they like
    """
    known = {reply: score for reply, score in enumerate(scores) if score is not None}
    if not known:
        return Decision(chosen=None, tied=(), scores=tuple(scores), lost={})
    size = {reply: abs(score) if sizes is None else sizes[reply] for reply, score in known.items()}
    best = max(known, key=known.__getitem__)
    equal = [
        reply
        for reply, score in known.items()
        if known[best] - score <= _CLOSE * max(size[best], size[reply])
    ]
    tied = tuple(reply for reply in equal if not dominated(utilities, reply))
    highest = [max(column) for column in zip(*utilities, strict=True)]
    gaps = {value: top - utilities[tied[0]][value] for value, top in enumerate(highest)}
    lost = {value: gap for value, gap in gaps.items() if gap > 0}
    return Decision(chosen=tied[0], tied=tied, scores=tuple(scores), lost=lost)


# --- from what each value gains ---------------------------------------------------------------------------


def weighted_sum(utilities: Utilities, weights: Sequence[float] | None = None) -> Decision:
    """max_y sum_j w_j u_j(y). What it decides depends on the scale of each value."""
    shares = _weights(weights, _check(utilities))
    return _decided(utilities, _sums(utilities, shares), _sizes(utilities, shares))


def lexicographic(utilities: Utilities, priority: Sequence[int], *, tolerance: float = 0.0) -> Decision:
    """The best by the first value; among those within `tolerance` of it the best by the second, and so on.

    The last value is served in full, since nothing comes after it. The score of a reply is how many values it
    survives.
    """
    width = _check(utilities)
    if sorted(set(priority)) != sorted(priority) or not set(priority) <= set(range(width)) or tolerance < 0:
        wrong, accepted = "the priority is no order of the values", f"places from 0 to {width - 1}, each once"
        found, do = (
            Said(f"{list(priority)}, tolerance {tolerance}"),
            "name first what is served first",
        )
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    left = list(range(len(utilities)))
    survived = [0] * len(utilities)
    for value in priority:
        best = max(utilities[reply][value] for reply in left)
        slack = tolerance if value != priority[-1] else 0.0
        left = [reply for reply in left if utilities[reply][value] >= best - slack]
        for reply in left:
            survived[reply] += 1
    return _decided(utilities, [float(count) for count in survived])


def constrained(utilities: Utilities, *, objective: int, at_least: Mapping[int, float]) -> Decision:
    """max u_0 subject to u_j >= c_j. Where no reply meets every bound there is no decision."""
    width = _check(utilities)
    _check_values([objective, *at_least], width)
    return _decided(
        utilities,
        [
            row[objective] if all(row[value] >= bound for value, bound in at_least.items()) else None
            for row in utilities
        ],
    )


def multipliers(
    current: Sequence[float], values: Sequence[float], bounds: Sequence[float], *, rate: float
) -> tuple[float, ...]:
    """A step of the multipliers of a constrained problem: lambda_j <- max(0, lambda_j + eta (c_j - u_j))."""
    check_alike("multipliers, values and bounds differ in number", current, values, bounds)
    return tuple(
        max(0.0, one + rate * (bound - value))
        for one, value, bound in zip(current, values, bounds, strict=True)
    )


def maximin(utilities: Utilities) -> Decision:
    """max_y min_j u_j(y): the value that is served worst is served best."""
    _check(utilities)
    return _decided(utilities, [min(row) for row in utilities])


def nash_product(utilities: Utilities, *, disagreement: Sequence[float] | None = None) -> Decision:
    """max_y prod_j (u_j(y) - d_j), over replies that leave no value below its disagreement point d_j (0).

    Rescaling any u_j together with its d_j changes nothing.
    """
    width = _check(utilities)
    floor = [0.0] * width if disagreement is None else disagreement
    check_alike("there is not one disagreement point for each value", floor, utilities[0])
    gains = [[u - d for u, d in zip(row, floor, strict=True)] for row in utilities]
    scores = [prod(row) if min(row) >= 0 else None for row in gains]
    # Each value on a scale of its own, by powers of two: exact, and no product is lost for being small.
    tops = [frexp(max(abs(gain) for gain in column))[1] for column in zip(*gains, strict=True)]
    even = [[ldexp(gain, -top) for gain, top in zip(row, tops, strict=True)] for row in gains]
    scaled = [None if score is None else prod(row) for score, row in zip(scores, even, strict=True)]
    parts = [
        [ldexp(abs(u) + abs(d), -top) for u, d, top in zip(row, floor, tops, strict=True)]
        for row in utilities
    ]
    sizes = [
        fsum(part * prod(row[:j] + row[j + 1 :]) for j, part in enumerate(of))
        for row, of in zip(even, parts, strict=True)
    ]
    return replace(_decided(utilities, scaled, sizes), scores=tuple(scores))


def parliament(utilities: Utilities, credences: Sequence[float] | None = None) -> Decision:
    """Credence-weighted votes of theories, each brought to variance 1 over the replies.

    A theory that finds all replies equal has no say. No theory gains by speaking louder.
    """
    width = _check(utilities)
    columns = [_standard(column) for column in zip(*utilities, strict=True)]
    rows, shares = list(zip(*columns, strict=True)), _weights(credences, width)
    return _decided(utilities, _sums(rows, shares), _sizes(rows, shares))


def _standard(column: Sequence[float]) -> list[float]:
    mean = fsum(column) / len(column)
    spread = sqrt(fsum((one - mean) ** 2 for one in column) / len(column))
    flat = len(set(column)) == 1
    return [0.0 if flat else (one - mean) / spread for one in column]


def _sums(rows: Utilities, weights: Sequence[float]) -> list[float]:
    return [fsum(w * u for w, u in zip(weights, row, strict=True)) for row in rows]


def _sizes(rows: Utilities, weights: Sequence[float]) -> list[float]:
    """Of the terms of each sum, which may cancel."""
    return _sums([[abs(u) for u in row] for row in rows], weights)


# --- from how each value ranks ----------------------------------------------------------------------------


def plurality(utilities: Utilities, weights: Sequence[float] | None = None) -> Decision:
    """Each value has a vote for its best reply, shared out among equals."""

    def votes(column: Sequence[float]) -> list[float]:
        best = max(column)
        return [(one == best) / column.count(best) for one in column]

    return _voted(utilities, weights, votes)


def borda(utilities: Utilities, weights: Sequence[float] | None = None) -> Decision:
    """Each value gives a reply a point for each that it ranks lower, and half a point for each equal one."""

    def votes(column: Sequence[float]) -> list[float]:
        return [sum(one > other for other in column) + (column.count(one) - 1) / 2 for one in column]

    return _voted(utilities, weights, votes)


def _voted(
    utilities: Utilities,
    weights: Sequence[float] | None,
    votes: Callable[[list[float]], list[float]],
) -> Decision:
    shares = _weights(weights, _check(utilities))
    cast = [votes(list(column)) for column in zip(*utilities, strict=True)]
    return _decided(utilities, _sums(list(zip(*cast, strict=True)), shares))


def copeland(utilities: Utilities, weights: Sequence[float] | None = None) -> Decision:
    """How many replies each one beats in a vote of two, half counting for a draw."""
    margin = _margins(utilities, weights)
    count = len(utilities)
    return _decided(
        utilities,
        [sum((1 + _sign(margin[y][z])) / 2 for z in range(count) if z != y) for y in range(count)],
    )


def kemeny(utilities: Utilities, weights: Sequence[float] | None = None) -> Decision:
    """The reply that leads a ranking which contradicts the votes of two least; up to 8 replies.

    The score of a reply is the support of the best ranking that it leads.
    """
    support = _rankings(utilities, weights)
    scores = [max(one for ranking, one in support.items() if ranking[0] == y) for y in range(len(utilities))]
    return _decided(utilities, scores, [_votes(utilities, weights)] * len(scores))


def kemeny_rankings(
    utilities: Utilities, weights: Sequence[float] | None = None
) -> tuple[tuple[int, ...], ...]:
    """All rankings of the replies, best first, that contradict the votes of two least."""
    support = _rankings(utilities, weights)
    least = max(support.values()) - _CLOSE * _votes(utilities, weights)
    return tuple(ranking for ranking, one in support.items() if one >= least)


def _votes(utilities: Utilities, weights: Sequence[float] | None) -> float:
    """How much weight is cast in all votes of two together."""
    count = len(utilities)
    return fsum(_weights(weights, _check(utilities))) * max(1, count * (count - 1) // 2)


def _rankings(utilities: Utilities, weights: Sequence[float] | None) -> dict[tuple[int, ...], float]:
    """Every ranking, with the votes for it less those against it."""
    margin = _margins(utilities, weights)
    if len(utilities) > _RANKED:
        wrong, accepted = "there are too many replies to look at all their rankings", f"up to {_RANKED}"
        do = "take `copeland`, or leave out dominated replies"
        raise InputError(explain(wrong, found=len(utilities), accepted=accepted, do=do))
    return {
        ranking: fsum(margin[y][z] for place, y in enumerate(ranking) for z in ranking[place + 1 :])
        for ranking in permutations(range(len(utilities)))
    }


def _margins(utilities: Utilities, weights: Sequence[float] | None) -> list[list[float]]:
    """The weight of the values that put y above z, less that of those that put z above y."""
    shares = _weights(weights, _check(utilities))
    return [
        [fsum(w * _sign(a - b) for w, a, b in zip(shares, one, other, strict=True)) for other in utilities]
        for one in utilities
    ]


def _sign(gap: float) -> int:
    return (gap > 0) - (gap < 0)


# --- what is accepted -------------------------------------------------------------------------------------


def _check(utilities: Utilities) -> int:
    """How many values there are."""
    widths = {len(row) for row in utilities}
    if len(widths) != 1 or widths == {0}:
        wrong, accepted = "the utilities are no table", "a row a reply, with a number for each value"
        found, do = (
            Said(f"rows of {sorted(widths) or 'nothing'}"),
            "leave out what was not judged by all",
        )
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    if odd := [one for row in utilities for one in row if not isfinite(one)]:
        do = "leave replies out that were not judged by all values"
        raise InputError(explain("a utility is not finite", found=odd[0], accepted="finite numbers", do=do))
    return widths.pop()


def _check_values(values: Sequence[int], width: int) -> None:
    if odd := [value for value in values if value not in range(width)]:
        wrong, accepted = "there is no such value", f"places from 0 to {width - 1}"
        raise InputError(explain(wrong, found=odd[0], accepted=accepted, do="name values by their places"))


def _weights(weights: Sequence[float] | None, width: int) -> list[float]:
    given = [1.0] * width if weights is None else list(weights)
    if len(given) != width or not all(isfinite(one) and one >= 0 for one in given) or not any(given):
        wrong, accepted = (
            "the weights are not those of the values",
            f"{width} numbers of 0 or more, not all 0",
        )
        raise InputError(explain(wrong, found=given, accepted=accepted, do="give one weight for each value"))
    return given
