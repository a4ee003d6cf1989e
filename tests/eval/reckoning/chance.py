"""Values drawn with a known truth, for tests that count how often an interval holds it."""

from collections.abc import Callable, Iterator
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Drawn = tuple[NDArray[np.float64], tuple[list[int], ...]]
Draw = Callable[[np.random.Generator], Drawn]


def alone(values: Callable[[np.random.Generator, int], NDArray[np.float64]], n: int) -> Draw:
    """Independent values."""
    return lambda chance: (values(chance, n), ())


def clustered(count: int, size: int, icc: float, *, uneven: bool = False) -> Draw:
    """Values with mean 0 and variance 1, of which those of a cluster share a part."""

    def draw(chance: np.random.Generator) -> Drawn:
        labels = np.repeat(np.arange(count), chance.integers(1, 2 * size, count) if uneven else size)
        shared = sqrt(icc) * chance.normal(size=count)
        return shared[labels] + sqrt(1 - icc) * chance.normal(size=len(labels)), (labels.tolist(),)

    return draw


def crossed(templates: int, people: int, icc: tuple[float, float]) -> Draw:
    """One value for each template and person, with mean 0 and variance 1, of which both share a part."""

    def draw(chance: np.random.Generator) -> Drawn:
        table = sqrt(1 - sum(icc)) * chance.normal(size=(templates, people))
        table += sqrt(icc[0]) * chance.normal(size=(templates, 1))
        table += sqrt(icc[1]) * chance.normal(size=(1, people))
        template, person = np.indices(table.shape)
        return table.ravel(), (template.ravel().tolist(), person.ravel().tolist())

    return draw


def hits(count: int, size: int, share: float, icc: float) -> Draw:
    """Yes and no, the probability differing from cluster to cluster (Beta)."""

    def draw(chance: np.random.Generator) -> Drawn:
        odds = (1 - icc) / icc
        probability = chance.beta(share * odds, (1 - share) * odds, count)
        labels = np.repeat(np.arange(count), size)
        return (chance.random(len(labels)) < probability[labels]).astype(float), (labels.tolist(),)

    return draw


def draws(draw: Draw, trials: int, seed: int = 0) -> Iterator[Drawn]:
    """As many experiments, always the same ones."""
    chance = np.random.default_rng(seed)
    for _ in range(trials):
        yield draw(chance)


def bound(level: float, trials: int) -> float:
    """How far a share of so many trials strays from its probability: once in 700 times."""
    return 3.2 * sqrt(level * (1 - level) / trials)
