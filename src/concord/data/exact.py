"""An exact test of Bradley-Terry: is what the data hold beyond each reply's number of wins mere chance?

Given how often each pair was compared and how often each reply won in all, the law of who won against whom
holds no utilities any more: every table of wins has a weight of the product of binomial coefficients. A chain
whose steps carry one win around a circle of pairs keeps to these tables and to this law. The data are walked
back to a hub, and many chains walk from the hub by the same circles; the data are then one among equals,
whatever the length of the walk (Besag and Clifford 1989), so that their rank by deviance is a p-value.
Utilities fitted to all of them are the same, so none is fitted again.
"""

from collections import deque
from math import lgamma

import numpy as np
from numpy.typing import NDArray

from concord.data.utility import Edges, informative

__all__ = ["decided", "exact_p_value"]

_Round = tuple[NDArray[np.int64], NDArray[np.int64]]
_MOST_ROUNDS = 20_000


def decided(edges: Edges) -> Edges:
    """What the test can look at: whole wins (of two ties one goes to each), in parts with circles."""
    wins, losses = np.floor(edges.left_wins), np.floor(edges.right_wins)
    whole = Edges(edges.left, edges.right, wins, losses, edges.component, edges.replies, edges.prompt).taken(
        wins + losses > 0
    )
    return whole.taken(informative(whole)) if len(whole.left) else whole


def exact_p_value(edges: Edges, *, draws: int = 199, sweeps: int = 40, seed: int = 0) -> float | None:
    """How often chance alone would give a deviance as large; None where the deviance is fixed by the wins.

    It is fixed where pairs were compared once: noise then explains any circle. Takes what `decided` gives.
    """
    count = edges.count.astype(np.int64)
    if not len(count) or int(count.max()) < 2:
        return None
    generator = np.random.default_rng(seed)
    logs = np.array([lgamma(number + 1) for number in range(int(count.max()) + 1)])
    walk = _walk(edges, generator, sweeps)
    # One more pair stands for none, to fill short circles up.
    counts = np.append(count, 0)
    data = np.append(edges.left_wins.astype(np.int64), 0)[None, :]
    hub = _walked(data, counts, logs, walk[::-1], generator)
    ends = _walked(np.repeat(hub, draws, axis=0), counts, logs, walk, generator)
    weight = np.append(0.0, np.arange(1, len(logs)) * np.log(np.arange(1, len(logs))))
    of_data, of_draws = ((weight[wins] + weight[counts - wins]).sum(axis=1) for wins in (data, ends))
    if np.ptp(np.append(of_draws, of_data)) < 1e-9:
        return None
    return (1 + int((of_draws >= of_data[0] - 1e-9).sum())) / (draws + 1)


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
        if len(rounds) > _MOST_ROUNDS:
            break
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
    """Where chains end that try each circle of the walk in either direction, by the rule of Metropolis."""
    wins = start.copy()
    for pairs, signs in walk:
        now, most = wins[:, pairs], count[pairs]
        direction = generator.integers(0, 2, (len(wins), len(pairs), 1)) * 2 - 1
        then = now + direction * signs
        possible = ((then >= 0) & (then <= most)).all(axis=2, keepdims=True)
        then = np.where(possible, then, now)
        gain = logs[now] + logs[most - now] - logs[then] - logs[most - then]
        taken = np.log(generator.random((len(wins), len(pairs), 1))) < gain.sum(axis=2, keepdims=True)
        wins[:, pairs] = np.where(taken, then, now)
    return wins
