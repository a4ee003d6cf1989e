"""An exact test of Bradley-Terry: is what the data hold beyond each reply's number of wins mere chance?

Given how often each pair was compared and how often each reply won in all, the law of who won against whom
holds no utilities any more: every table of wins has a weight of the product of binomial coefficients. A chain
whose steps carry one win around a circle of pairs keeps to these tables and to this law. The data are walked
back to a hub, and many chains walk from the hub by the same circles; the data are then one among equals,
whatever the length of the walk (Besag and Clifford 1989), so that their rank by deviance is a p-value.
Utilities fitted to all of them are the same, so none is fitted again.
"""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from concord.data.auditing.utility import Edges, informative

__all__ = ["decided", "exact_p_value"]

_Round = tuple[NDArray[np.int64], NDArray[np.int64]]
_MOST_ROUNDS = 20_000
_MOST_WINS = 1_000_000  # of one pair; of larger numbers there is no table


def decided(edges: Edges) -> Edges:
    """What the test can look at: pairs with judgements, not soft preferences, in parts with circles.

    Pairs with more than a million judgements are left out.
    """
    whole = edges.taken(edges.whole & (edges.count <= _MOST_WINS))
    return whole.taken(informative(whole))


def exact_p_value(edges: Edges, *, draws: int = 199, sweeps: int = 40, seed: int = 0) -> float | None:
    """How often chance alone would give a deviance as large; None where the deviance is fixed by the wins.

    It is fixed where pairs were compared once: noise then explains any circle. Takes what `decided` gives.
    """
    count = edges.count.astype(np.int64)
    if int(count.max(initial=0)) < 2:
        return None
    generator = np.random.default_rng(seed)
    logs = np.append(0.0, np.cumsum(np.log(np.arange(1, int(count.max()) + 1))))  # of factorials
    walk = _walk(edges, generator, sweeps)
    # One more pair stands for none, to fill short circles up.
    counts = np.append(count, 0)
    data = np.append(edges.left_wins.astype(np.int64), 0)[None, :]
    hub = _walked(data, counts, logs, walk[::-1], generator)
    ends = _walked(np.repeat(hub, draws, axis=0), counts, logs, walk, generator)
    of_data, of_draws = (_fixed_apart(wins) + _fixed_apart(counts - wins) for wins in (data, ends))
    rounding = 1e-12 * float(of_data[0]) + 1e-9
    if np.ptp(np.append(of_draws, of_data)) < rounding:
        return None
    return (1 + int((of_draws >= of_data[0] - rounding).sum())) / (draws + 1)


def _fixed_apart(wins: NDArray[np.int64]) -> NDArray[np.float64]:
    """Half of the deviance of each table of wins, but for what is the same in all: the sum of w log w."""
    return (wins * np.log(np.maximum(wins, 1))).sum(axis=1)


def _walk(edges: Edges, generator: np.random.Generator, sweeps: int) -> list[_Round]:
    """The circles to go through, those of one round in parts that have nothing in common."""
    beside: dict[int, list[tuple[int, int]]] = {}
    for number, (left, right) in enumerate(zip(edges.left.tolist(), edges.right.tolist(), strict=True)):
        beside.setdefault(left, []).append((right, number))
        beside.setdefault(right, []).append((left, number))
    parts: dict[int, list[int]] = {}
    for reply, part in zip(edges.left.tolist(), edges.component.tolist(), strict=True):
        parts.setdefault(part, []).append(reply)
    rounds: list[_Round] = []
    for _ in range(sweeps):
        circles = [_circles(beside, own[int(generator.integers(len(own)))], edges) for own in parts.values()]
        for own in circles:
            generator.shuffle(own)  # pyright: ignore[reportArgumentType]
        for turn in range(max(map(len, circles))):
            rounds.append(_padded([own[turn] for own in circles if turn < len(own)], len(edges.left)))
            if len(rounds) == _MOST_ROUNDS:
                return rounds
    return rounds


def _circles(
    beside: dict[int, list[tuple[int, int]]], root: int, edges: Edges
) -> list[list[tuple[int, int]]]:
    """The circles that pairs outside a tree of shortest ways close, with 1 where gone from left to right."""
    above: dict[int, tuple[int, int]] = {root: (root, -1)}
    depth = {root: 0}
    waiting, closing = deque([root]), dict[int, None]()
    while waiting:
        reply = waiting.popleft()
        for other, pair in beside[reply]:
            if other not in above:
                above[other], depth[other] = (reply, pair), depth[reply] + 1
                waiting.append(other)
            elif above[reply][1] != pair and above[other][1] != pair:
                closing[pair] = None
    circles: list[list[tuple[int, int]]] = []
    for pair in closing:
        a, b = int(edges.left[pair]), int(edges.right[pair])
        circle = [(pair, 1)]
        # From b up to where both ways meet, and down again to a.
        while a != b:
            if depth[a] >= depth[b]:
                higher, over = above[a]
                circle.append((over, 1 if edges.left[over] == higher else -1))
                a = higher
            else:
                higher, over = above[b]
                circle.append((over, 1 if edges.left[over] == b else -1))
                b = higher
        circles.append(circle)
    return circles


def _padded(circles: list[list[tuple[int, int]]], nothing: int) -> _Round:
    longest = max(map(len, circles))
    pairs = np.full((len(circles), longest), nothing, dtype=np.int64)
    signs = np.zeros((len(circles), longest), dtype=np.int64)
    for number, circle in enumerate(circles):
        pairs[number, : len(circle)] = [pair for pair, _ in circle]
        signs[number, : len(circle)] = [sign for _, sign in circle]
    return pairs, signs


def _walked(
    start: NDArray[np.int64],
    count: NDArray[np.int64],
    logs: NDArray[np.float64],
    walk: list[_Round],
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Where chains end that try each circle of the walk in either direction, by the rule of Metropolis.

    Steps are as long as the wins of the pair compared least often vary, so that chains get about.
    """
    wins = start.copy()
    for pairs, signs in walk:
        now, most = wins[:, pairs], count[pairs]
        shape = (len(wins), len(pairs), 1)
        spread = np.sqrt(np.where(signs == 0, most.max(), most).min(axis=1))[:, None] / 4
        length = 1 + (generator.standard_exponential(shape) * spread).astype(np.int64)
        then = now + length * (generator.integers(0, 2, shape) * 2 - 1) * signs
        possible = ((then >= 0) & (then <= most)).all(axis=2, keepdims=True)
        then = np.where(possible, then, now)
        gain = logs[now] + logs[most - now] - logs[then] - logs[most - then]
        taken = -generator.standard_exponential(shape) < gain.sum(axis=2, keepdims=True)
        wins[:, pairs] = np.where(taken, then, now)
    return wins
