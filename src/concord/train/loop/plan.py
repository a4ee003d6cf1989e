"""Which rows go together: an optimizer step, split into equally many micro-batches for every rank.

A plan depends on how many tokens the rows have, the budget and the number of ranks, and on nothing else, so
every rank makes the same one and takes its own part of it.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from concord.errors import InputError, explain

__all__ = ["Plan", "plan_rows", "plan_step"]


@dataclass(frozen=True)
class Plan:
    """`parts[rank][n]`: the places in the step of the rows of micro-batch n of a rank; some may be empty."""

    parts: tuple[tuple[tuple[int, ...], ...], ...]
    over: tuple[int, ...]
    """Rows that are more than a budget by themselves, and go alone."""

    @property
    def passes(self) -> int:
        """How many micro-batches each rank has."""
        return len(self.parts[0])


def plan_step(tokens: Sequence[int], *, budget: int, ranks: int = 1) -> Plan:
    """Split rows of so many tokens into as few micro-batches a rank as the budget allows.

    Rows are taken longest first, each into the micro-batch that has the fewest tokens so far: the loads come
    out nearly equal. Rows of equal length keep their order.
    """
    _check(budget, ranks)
    order = sorted(range(len(tokens)), key=lambda place: -tokens[place])
    over = tuple(place for place in order if tokens[place] > budget)
    passes = max(1, -(-sum(min(size, budget) for size in tokens) // (budget * ranks)))
    while (bins := _packed(tokens, order, passes * ranks, budget)) is None:
        passes += 1
    return _dealt(bins, lambda rows: sum(tokens[place] for place in rows), ranks, over)


def plan_rows(shapes: Sequence[tuple[int, int]], *, budget: int, ranks: int = 1) -> Plan:
    """Split rows that are padded to the longest beside them: each is so many sequences, and its longest.

    Rows go together by length, the longest first, as long as what they are padded to stays in the budget.
    """
    _check(budget, ranks)
    order = sorted(range(len(shapes)), key=lambda place: -shapes[place][1])
    bins: list[list[int]] = []
    width = leaves = 0
    for place in order:
        count, longest = shapes[place]
        if not bins or (leaves + count) * width > budget:
            bins.append([])
            width, leaves = longest, 0
        bins[-1].append(place)
        leaves += count
    bins += [[] for _ in range(-len(bins) % ranks or (ranks if not bins else 0))]
    sizes = [count * longest for count, longest in shapes]
    over = tuple(place for place in order if sizes[place] > budget)

    def padded(rows: Sequence[int]) -> int:
        return sum(shapes[place][0] for place in rows) * max((shapes[place][1] for place in rows), default=0)

    return _dealt(bins, padded, ranks, over)


def _dealt(
    bins: list[list[int]], cost: Callable[[Sequence[int]], int], ranks: int, over: tuple[int, ...]
) -> Plan:
    """Micro-batches dealt to ranks, the heaviest of all of them first and side by side.

    So waiting is shortest, and what does not fit into memory shows at once.
    """
    bins.sort(key=lambda rows: -cost(rows))
    shares = [[tuple(sorted(one)) for one in bins[rank::ranks]] for rank in range(ranks)]
    return Plan(tuple(map(tuple, shares)), over)


def _check(budget: int, ranks: int) -> None:
    if budget < 1 or ranks < 1:
        wrong, do = "a plan needs a budget and a rank", "give at least one token and one rank"
        raise InputError(explain(wrong, found=(budget, ranks), accepted="1 or more of both", do=do))


def _packed(tokens: Sequence[int], order: list[int], count: int, budget: int) -> list[list[int]] | None:
    """Rows in so many bins, or None where one would hold more than the budget."""
    bins: list[list[int]] = [[] for _ in range(count)]
    loads = [(0, number) for number in range(count)]
    for place in order:
        load, number = heapq.heappop(loads)
        if load and load + tokens[place] > budget:
            return None
        bins[number].append(place)
        heapq.heappush(loads, (load + tokens[place], number))
    return bins
