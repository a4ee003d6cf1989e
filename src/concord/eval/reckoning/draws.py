"""What several draws would bring, without bias, from all the draws there are: the best of n, a success in k.

    best_of_n_mean, best_of_n_weights        what the best of n earns on average
    best_of_n_law, best_of_n_kl, ..._bound   how probable it makes each reply; how far from the base
    success_in                               how often one of k tries succeeds

Whoever takes n draws of N and looks gets a noisy number; the mean over all subsets of n is as cheap.
"""

from collections.abc import Sequence
from math import comb, log

import numpy as np
from numpy.typing import NDArray

from concord.errors import InputError, Said, explain
from concord.eval.reckoning.rows import check_numbers
from concord.messages import is_count

__all__ = [
    "best_of_n_kl",
    "best_of_n_kl_bound",
    "best_of_n_law",
    "best_of_n_mean",
    "best_of_n_weights",
    "success_in",
]

_Floats = NDArray[np.float64]


def best_of_n_weights(count: int, n: int) -> _Floats:
    """How often each of `count` draws, the worst first, is the best of n of them.

    C(i-1, n-1) / C(count, n) for the i-th, over all subsets of n draws
    """
    if not 1 <= n <= count:
        wrong, accepted = (
            "the best of n is taken of n draws or more",
            f"n from 1 to {count}, the draws there are",
        )
        raise InputError(explain(wrong, found=n, accepted=accepted, do="draw more replies, or lower n"))
    # w_count = n / count, and w_(i-1) = w_i (i - n) / (i - 1).
    places = np.arange(count, 1, -1, dtype=np.float64)
    falling = np.cumprod(np.maximum(places - n, 0) / (places - 1))
    return (n / count * np.concatenate(([1.0], falling)))[::-1]


def best_of_n_mean(proxy: Sequence[float], value: Sequence[float], n: int) -> float:
    """What the best of n by proxy is worth on average, without bias, from all the draws that there are.

    sum_i C(i-1, n-1) / C(N, n) value_(i), the N draws in order of the proxy

    With the proxy as value it is the expected maximum. Of draws that the proxy finds equal the first is
    taken, which may be any of them: they count by their mean.
    """
    check_numbers("the draws", proxy, value)
    _, tied = np.unique(np.asarray(proxy, dtype=np.float64), return_inverse=True)
    sizes = np.bincount(tied)
    # From one value and one mean: what cannot depend on n is then the same at each n, to the last bit.
    moved = np.asarray(value, dtype=np.float64) - value[0]
    means = np.bincount(tied, weights=moved) / sizes
    more = np.repeat(means - means[0], sizes) @ best_of_n_weights(len(tied), n)
    return float(value[0] + (means[0] + more))


def best_of_n_law(probability: Sequence[float], reward: Sequence[float], n: int) -> tuple[float, ...]:
    """How probable each reply is as the best of n, where all replies and their probabilities are known.

    (F + m)^n - F^n for replies of equal reward and mass m, with mass F below; shared out in proportion
    """
    check_numbers("the replies", probability, reward)
    if min(probability) < 0 or abs(sum(probability) - 1) > 1e-9:
        wrong, accepted = "the probabilities of replies are no law", "numbers from 0 up that sum to 1"
        raise InputError(explain(wrong, found=tuple(probability), accepted=accepted, do="normalise them"))
    _check_n(n)
    base = np.asarray(probability, dtype=np.float64)
    _, group = np.unique(np.asarray(reward, dtype=np.float64), return_inverse=True)
    mass = np.bincount(group, weights=base)
    upto = np.cumsum(mass)
    upto /= upto[-1]
    won = np.diff(upto**n, prepend=0.0)
    share = np.divide(won, mass, out=np.zeros_like(won), where=mass > 0)
    return tuple((base * share[group]).tolist())


def best_of_n_kl(probability: Sequence[float], reward: Sequence[float], n: int) -> float:
    """KL(best of n || base), exactly, where all replies are known."""
    law = best_of_n_law(probability, reward, n)
    return sum(q * log(q / p) for q, p in zip(law, probability, strict=True) if q > 0)


def best_of_n_kl_bound(n: int) -> float:
    """log n - (n - 1) / n, which KL(best of n || base) is at most.

    Reached where no two replies are worth the same and each is improbable; far above it where few replies
    are likely at all.
    """
    _check_n(n)
    return log(n) - (n - 1) / n


def success_in(k: int, *, tries: int, successes: int) -> float:
    """The chance of at least one success in k tries, from some of more tries that succeeded.

    1 - C(n - s, k) / C(n, k), which is unbiased, where (1 - (1 - s/n)^k) is not
    """
    if not (is_count(successes) and is_count(k, 1) and successes <= tries and k <= tries):
        found = Said(f"{successes} successes in {tries} tries, k of {k}")
        accepted, do = "no more successes than tries, k from 1 to the tries", "try more often, or lower k"
        raise InputError(explain("success in k tries cannot be known", found=found, accepted=accepted, do=do))
    return 1 - comb(tries - successes, k) / comb(tries, k)


def _check_n(n: int) -> None:
    if not is_count(n, 1):
        wrong, accepted = "the best of n is taken of whole draws", "a whole number from 1"
        raise InputError(explain(wrong, found=n, accepted=accepted, do="give 1 for the base itself"))
