"""What a training computes and how long that takes, and both as they are kept beside what happened.

    work = work_of(shards.lengths, stretch)          tokens, micro-batches, the largest of them
    time_for(probed, work.tokens)                    from some micro-batches that were timed

Steps are planned as the loop will plan them, from a table of lengths alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from concord.data import row_at
from concord.data.shards import Lengths
from concord.errors import NOTHING, InputError, explain
from concord.estimates import t_quantile
from concord.results import Interval
from concord.train.forecasting.memory import Memory
from concord.train.loop import Extent, Plan, plan_rows, plan_step, row_cost

__all__ = ["Seconds", "Stretch", "Work", "as_json", "compare", "row_costs", "time_for", "work_of"]

_MOST_STEPS = 5000  # steps that are planned ahead; of longer runs the rest is taken to be like them


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """The steps of a training: which rows go into which, and how each is split."""

    steps: int
    batch_size: int
    budget: int
    positions: int = 0
    """How many rows are taken in all, where the last step is not full; 0 for full steps."""
    layout: str = "forest"
    ranks: int = 1
    seed: int = 0


@dataclass(frozen=True)
class Work:
    """What a training computes, over all ranks."""

    steps: int
    passes: int
    """Micro-batches, of one rank."""
    tokens: int
    """Tokens through the layers, padding counted; prompts of a row once in a forest."""
    trained: int
    """Tokens that are learned from."""
    largest: int
    """Tokens of the largest micro-batch."""
    fullest: int
    """The step that it stands in, counted from 0."""
    planned: int
    """Steps that were planned; the rest is taken to be like them."""

    @property
    def lines(self) -> Iterator[str]:
        """What a person should know."""
        about = "" if self.planned == self.steps else f", reckoned from the first {self.planned:,}"
        yield f"steps: {self.steps:,} in {self.passes:,} micro-batches{about}"
        per_step = self.tokens // max(1, self.steps)
        yield f"tokens: {self.tokens:,}, {per_step:,} a step; {self.trained:,} are learned from"


def row_costs(lengths: Lengths, layout: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Tokens of each row for a plan: as it is laid out by itself, never fewer than are computed."""
    return row_cost([Extent.of_all(lengths)], layout)


def work_of(lengths: Lengths, stretch: Stretch) -> Work:
    """Count what the steps compute of these rows, by planning them as the loop will.

    In a forest rows may share more than their own prompts, a system prompt say: then there are fewer tokens.
    Companions, second passes and further terms are in no table of lengths: `planning.all_work` adds them.
    """
    size, leaves = len(lengths.tokens), Extent.of_all(lengths).leaves
    last = stretch.positions or stretch.steps * stretch.batch_size
    weights, planned = row_costs(lengths, stretch.layout), min(stretch.steps, _MOST_STEPS)
    edges = [min(step * stretch.batch_size, last) for step in range(planned + 1)]
    passes = tokens = trained = largest = fullest = 0
    for step, (first, stop) in enumerate(pairwise(edges)):
        rows = row_at(np.arange(first, stop), size, stretch.seed)
        plan = _planned(stretch, weights[rows], leaves[rows], lengths.longest[rows])
        passes, trained = passes + plan.passes, trained + int(lengths.trained[rows].sum())
        for part in (rows[list(places)] for parts in plan.parts for places in parts if places):
            if stretch.layout == "rows":
                laid = int(leaves[part].sum() * lengths.longest[part].max())
            else:
                laid = int(lengths.tokens[part].sum())
            tokens += laid
            largest, fullest = (laid, step) if laid > largest else (largest, fullest)
    scale = last / max(1, edges[-1])
    passes, tokens, trained = (round(scale * one) for one in (passes, tokens, trained))
    return Work(stretch.steps, passes, tokens, trained, largest, fullest, planned)


def _planned(stretch: Stretch, weights: Any, leaves: Any, longest: Any) -> Plan:
    """A step as the loop will split it."""
    given = {"budget": stretch.budget, "ranks": stretch.ranks}
    if stretch.layout == "rows":
        return plan_rows(list(zip(leaves.tolist(), longest.tolist(), strict=True)), **given)
    return plan_step(weights.tolist(), **given)


# --- how long ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seconds:
    """A time, and the interval that the timed micro-batches speak for; none where there was only one."""

    value: float
    interval: Interval | None = None

    @property
    def line(self) -> str:
        """What a person should know."""
        if self.interval is None:
            return f"time: about {_clock(self.value)}"
        low, high = _clock(self.interval.low), _clock(self.interval.high)
        return f"time: {_clock(self.value)}, between {low} and {high} if the machine stays as it is"


def time_for(
    probed: Sequence[tuple[int, float]], tokens: int, *, beside: float = 0.0, level: float = 0.95
) -> Seconds:
    """The time for so many tokens, from the tokens and seconds of some micro-batches.

    Seconds for each token are the ratio of both sums; its error is that of a ratio estimate. `beside` are
    seconds for all that is not in micro-batches: steps of the optimizer, evaluations.
    """
    counts, seconds = (
        (np.array(column, float) for column in zip(*probed, strict=True)) if probed else ([], [])
    )
    if not len(counts) or min(counts) <= 0 or min(seconds) < 0:
        wrong, do = "a time cannot be forecast from this", "time a micro-batch or more"
        accepted = "pairs of tokens and seconds, tokens above 0"
        raise InputError(explain(wrong, found=probed or NOTHING, accepted=accepted, do=do))
    rate = float(np.sum(seconds) / np.sum(counts))
    value, many = rate * tokens + beside, len(counts)
    if many < 2:
        return Seconds(value)
    residuals = np.asarray(seconds) - rate * np.asarray(counts)
    error = float(np.sqrt((residuals**2).sum() / (many * (many - 1))) / np.mean(counts))
    half = t_quantile(level, many - 1) * error * tokens
    how = f"ratio estimate over {many} micro-batches, Student's t"
    return Seconds(value, Interval(max(beside, value - half), value + half, level=level, how=how))


def _clock(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


# --- afterwards -------------------------------------------------------------------------------------------


def compare(forecast: Mapping[str, float], happened: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """What was predicted beside what happened, for each number that stands in both."""
    return {
        name: {"forecast": said, "happened": happened[name], "ratio": happened[name] / said}
        for name, said in forecast.items()
        if name in happened and said
    }


def as_json(work: Work, memory: Memory, seconds: Seconds | None) -> dict[str, Any]:
    """A forecast as it is kept: numbers that can be compared, and the sum of the memory term by term."""
    time = {} if seconds is None else {"seconds": seconds.value}
    return {
        "memory_mb": memory.seen / (1 << 20),
        "tokens": work.tokens,
        "steps": work.steps,
        **time,
        "memory": [asdict(part) for part in memory.parts],
    }
