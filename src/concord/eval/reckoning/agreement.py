"""How far two rankings agree: what both have in the same order, and Kendall's tau."""

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from math import isnan, sqrt
from typing import TypeVar

from concord.errors import InputError, Said, explain

__all__ = ["agreement", "kendall_tau", "ranking_tau"]

Thing = TypeVar("Thing", bound=Hashable)


def agreement(first: Sequence[Thing], second: Sequence[Thing]) -> list[Thing]:
    """The longest list that both rankings, best first, hold in order (CycleAlign, arXiv 2310.16271).

    The longest common subsequence. Of several, the one without the latest items of the first ranking:
    going back from its end, an item is dropped wherever that makes the result no shorter. This choice is
    ours; the paper makes none. A thing that only one ranking holds is never in it.
    """
    _check_ranking(first, "first")
    _check_ranking(second, "second")
    place = {thing: index for index, thing in enumerate(second)}
    shared = [thing for thing in first if thing in place]
    # length[i] is that of the longest agreement that ends with shared[i].
    length: list[int] = []
    for thing in shared:
        before = zip(shared, length, strict=False)
        length.append(1 + max((size for other, size in before if place[other] < place[thing]), default=0))
    chosen: list[Thing] = []
    below = len(second)
    for wanted in range(max(length, default=0), 0, -1):
        ends = zip(shared, length, strict=True)
        chosen.append(next(thing for thing, size in ends if size == wanted and place[thing] < below))
        below = place[chosen[-1]]
    return chosen[::-1]


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall's tau-b of paired numbers: first[i] and second[i] are scores, or ranks, of the same thing.

    (C - D) / sqrt((P - T1) (P - T2)): of P pairs of things, C are in the same order in both, D in opposite
    order, and T1 and T2 tied (Kendall 1945). None where all of one side is tied, as then nothing is known.
    """
    if len(first) != len(second):
        wrong, found = "the two sides differ in length", (len(first), len(second))
        accepted, do = "one number each for the same things", "leave out what one side lacks"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    if odd := [score for score in (*first, *second) if isnan(score)]:
        wrong, do = "a score is not a number", "leave unscored things out"
        raise InputError(explain(wrong, found=odd[0], accepted="numbers", do=do))
    pairs = len(first) * (len(first) - 1) // 2
    tied_first, tied_second = _tied(first), _tied(second)
    if pairs in (tied_first, tied_second):
        return None
    discordant = 0
    lower: list[float] = []
    for _, score in sorted(zip(first, second, strict=True)):
        discordant += len(lower) - bisect_right(lower, score)
        insort(lower, score)
    ordered = pairs - tied_first - tied_second + _tied(zip(first, second, strict=True))
    return (ordered - 2 * discordant) / sqrt((pairs - tied_first) * (pairs - tied_second))


def ranking_tau(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Kendall's tau of two rankings of the same things, best first, without ties; None below two things."""
    _check_ranking(first, "first")
    _check_ranking(second, "second")
    if odd := {*first} ^ {*second}:
        wrong, found = "only one of the rankings holds some things", Said(", ".join(sorted(map(repr, odd))))
        do = "take `agreement` for rankings of unlike things"
        raise InputError(explain(wrong, found=found, accepted="the same things in both", do=do))
    place = {thing: index for index, thing in enumerate(second)}
    return kendall_tau(range(len(first)), [place[thing] for thing in first])


def _tied(values: Iterable[Hashable]) -> int:
    return sum(count * (count - 1) // 2 for count in Counter(values).values())


def _check_ranking(ranking: Sequence[Hashable], name: str) -> None:
    if repeated := [thing for thing, count in Counter(ranking).items() if count > 1]:
        wrong = f"the {name} ranking holds a thing more than once"
        accepted, do = "each thing once, best first", "remove the repetition"
        raise InputError(explain(wrong, found=repeated[0], accepted=accepted, do=do))
