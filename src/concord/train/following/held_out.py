"""What held-out rows say after the last step, as results: how many values each rests on, and how sure it is.

Rows of one prompt are alike, so intervals count prompts. A metric is a ratio of two sums over rows, and the
loss another, of its shares over the shares of its divisor. To first order such a ratio is the mean of
m + N (a - m b) / sum b, where a row adds a to the upper sum and b to the lower one, N rows there are and m
is the ratio itself; and of a mean the interval is known (`clustered_mean`). Shares have Wilson's.
"""

from collections.abc import Iterator, Sequence
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from concord.estimates import Estimate, clustered_mean, share_of_sums
from concord.results import Result
from concord.train.loop import Batch, Counted, Done, Term, metrics_of

__all__ = ["results_of"]

_SHARES = ("accuracy", "accuracies")
_HOW = "on held-out rows, after the last step"
_COUPLED = f"{_HOW}; without an interval, as its rows depend on each other"


def results_of(terms: Sequence[Term], found: Sequence[Done]) -> tuple[Result, ...]:
    """The loss and the metrics of an evaluation that told those of each row, by the names of its row."""
    value = sum(float(done.loss) for done in found)
    rows = max(len(batch) for batch in _batches(terms))
    made = [_result("eval_loss", Counted(value * rows, rows), _loss(terms, found))]
    sure = dict(_metrics(terms, found))
    made += [_result(f"eval_{name}", one, sure.get(name)) for name, one in metrics_of(terms, found).items()]
    return tuple(made)


def _result(name: str, one: Counted, sure: Estimate | None) -> Result:
    known = isfinite(one.mean)
    return Result(
        name=name,
        value=one.mean if known else None,
        interval=sure.interval if known and sure else None,
        n=round(one.count),
        how=_HOW if sure else _COUPLED,
        why_none="" if known else "It was no finite number.",
    )


def _batches(terms: Sequence[Term]) -> list[Batch]:
    return [term.held_out for term in terms if term.held_out is not None]


def _prompts(batch: Batch) -> NDArray[np.int64]:
    """A number for each row, alike where prompts are."""
    known: dict[bytes, int] = {}
    return np.array([known.setdefault(row.rendered.prompt.tobytes(), len(known)) for row in batch.rows])


def _loss(terms: Sequence[Term], found: Sequence[Done]) -> Estimate | None:
    """That of all terms together, which look at the same rows; None where a term does not tell rows apart."""
    if not all(done.rows for done in found):
        return None
    moved = sum(_linear(done, "loss", Counted(float(done.loss))) for done in found)
    return clustered_mean(np.asarray(moved), _prompts(_batches(terms)[0]))


def _metrics(terms: Sequence[Term], found: Sequence[Done]) -> Iterator[tuple[str, Estimate]]:
    for term, batch, done in zip(terms, _batches(terms), found, strict=True):
        prefix, prompts = f"{term.name}/" if term.name else "", _prompts(batch)
        counted = {name: Counted.of(one) for name, one in done.metrics.items()} if done.rows else {}
        for name, one in counted.items():
            if name.rpartition("/")[2] in _SHARES:
                held, sizes = (np.bincount(prompts, one).astype(float) for one in _columns(done, name))
                yield f"{prefix}{name}", share_of_sums(held[sizes > 0], sizes[sizes > 0])
            elif one.count > 0:
                yield f"{prefix}{name}", clustered_mean(_linear(done, name, one), prompts)
        if len(found) > 1 and done.rows:
            moved = _linear(done, "loss", Counted(float(done.loss)))
            yield f"{prefix}loss" if prefix else "main/loss", clustered_mean(moved, prompts)


def _linear(done: Done, name: str, whole: Counted) -> NDArray[np.float64]:
    """What each row says of a ratio: numbers whose mean it is, and that scatter as it does."""
    above, below = _columns(done, name)
    return whole.mean + len(above) * (above - whole.mean * below) / whole.count


def _columns(done: Done, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each row adds to both sums of a metric."""
    rows = [done.rows[place][name] for place in range(len(done.rows))]
    return np.array([one.sum for one in rows]), np.array([one.count for one in rows])
