"""The gradient of one optimizer step, the same however its rows are split over micro-batches and ranks.

What is divided by is counted over the whole step before the first forward pass. An objective whose rows do
not depend on each other is then summed part by part. One that is coupled is given two passes: values of all
rows without a graph, the gradient of the loss on those few numbers, and a second forward whose values are
weighted by it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from concord.engine import Line, LogProbs
from concord.objectives.contract import Card, check_objective
from concord.objectives.metrics import Metric, nll_metrics, pair_metrics, ranking_metrics, reward_metrics
from concord.objectives.reductions import row_mean, token_mean
from concord.tensors import Flat, Pairs, Ranked, Record, RewardPairs, Tokens
from concord.train.plan import Plan
from concord.train.rows import Rows, input_of, record_of, value_kind

__all__ = ["Done", "Task", "gradient"]


@dataclass(frozen=True)
class Task:
    """What is made small: an objective with its knobs bound, its reduction, and who the reference is."""

    objective: Callable[..., Any]
    reduction: Callable[..., Tensor]
    reference: Callable[[Sequence[Line]], Tensor] | None = None
    """Log-probabilities of the same targets under the reference, in their order."""
    card: Card = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "card", check_objective(self.objective))

    @property
    def kind(self) -> type[Record]:
        """The record that the objective speaks of."""
        return self.card.record

    @property
    def referenced(self) -> bool:
        """Whether it needs a reference."""
        return "reference" in self.card.needs


@dataclass(frozen=True)
class Done:
    """A step's loss and metrics; sums over all parts."""

    loss: Tensor
    metrics: Mapping[str, Metric]


def gradient(
    module: nn.Module, engine: LogProbs, task: Task, rows: Rows, plan: Plan, *, rank: int = 0
) -> Done:
    """Add the gradient of a step to the weights of a rank. `module` is the engine, wrapped or not."""
    parts = [rows.part(places) for places in plan.parts[rank]]
    total = _total(task, rows)
    weights = _weights(module, engine, task, rows, plan, total, rank) if task.card.coupled else None
    loss, metrics = torch.zeros(()), dict[str, Metric]()
    for number, part in enumerate(parts):
        values = _values(module, engine, task, part)
        if weights is None:
            share, measured = _loss(task, part, values, total)
            for name, metric in measured.items():
                metrics[name] = metrics[name].plus(metric) if name in metrics else metric
        else:
            share = (values * weights.shares[number]).sum()
        (share * len(plan.parts)).backward()  # wrappers take the mean over ranks
        loss = loss + share.detach()
    return Done(loss, metrics) if weights is None else Done(weights.loss, weights.metrics)


@dataclass(frozen=True)
class _Weights:
    shares: list[Tensor]
    """The gradient of the loss on each value, micro-batch by micro-batch."""
    loss: Tensor
    metrics: Mapping[str, Metric]


def _weights(
    module: nn.Module, engine: LogProbs, task: Task, rows: Rows, plan: Plan, total: Any, rank: int
) -> _Weights:
    """The gradient of the loss of all rows on their values."""
    offsets = _offsets(task, rows)
    whole = torch.zeros(int(offsets[-1]))
    with torch.no_grad():
        for places in plan.parts[rank]:
            values = _values(module, engine, task, rows.part(places))
            whole[_where(offsets, places)] = values
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(whole)  # each rank has its own rows there, and zeros elsewhere
    whole.requires_grad_()
    loss, metrics = _loss(task, rows, whole, total)
    (slopes,) = torch.autograd.grad(loss, whole)
    return _Weights([slopes[_where(offsets, places)] for places in plan.parts[rank]], loss.detach(), metrics)


def _offsets(task: Task, rows: Rows) -> Tensor:
    """Where the values of each row begin among those of the step, and where the last ends."""
    sizes = rows.lengths if value_kind(task.kind) == "logps" else torch.ones(rows.replies, dtype=torch.int64)
    ends = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
    return torch.cat([ends[rows.first], ends[-1:]])


def _where(offsets: Tensor, places: Sequence[int]) -> Tensor:
    return torch.cat(
        [torch.zeros(0, dtype=torch.int64), *(torch.arange(offsets[one], offsets[one + 1]) for one in places)]
    )


def _values(module: nn.Module, engine: LogProbs, task: Task, part: Rows) -> Tensor:
    device = next(engine.parameters()).device
    found = module(layout=engine.lay(part.lines).to(device))
    return found.logps if value_kind(task.kind) == "logps" else found.heads["reward"]


def _loss(task: Task, part: Rows, values: Tensor, total: Any) -> tuple[Tensor, Mapping[str, Metric]]:
    """The part's share of the loss, and its metrics."""
    if not len(part):
        return values.sum() * 0, {}
    ref = task.reference(part.lines).to(values) if task.referenced and task.reference else None
    record = record_of(task.kind, part, values, ref)
    inputs = {name: input_of(name, part) for name in task.card.inputs if name not in task.card.optional}
    losses = task.objective(record, **inputs)
    return _reduced(task, record, losses, inputs, total), _measured(record, task)


def _reduced(task: Task, record: Record, losses: Tensor, inputs: Mapping[str, Any], total: Any) -> Tensor:
    known: dict[str, Any] = {"tokens": record} if isinstance(record, Flat) else {}
    if task.reduction is row_mean:
        known = {}
    return task.reduction(losses, **known, total=total)


def _total(task: Task, rows: Rows) -> float:
    """What is divided by over the whole step."""
    return float(rows.lengths.sum()) if task.reduction is token_mean else float(_count(task, rows))


def _count(task: Task, rows: Rows) -> int:
    return rows.replies if issubclass(task.kind, Flat) or task.card.needs.startswith(("replies", "scored")) else len(rows)


def _measured(record: Record, task: Task) -> Mapping[str, Metric]:
    beta = {"beta": task.card.knobs["beta"]} if "beta" in task.card.knobs else {}
    match record:
        case Pairs():
            return pair_metrics(record, **beta)
        case Ranked():
            return ranking_metrics(record, **beta)
        case RewardPairs():
            return reward_metrics(record)
        case Tokens():
            return nll_metrics(record)
        case _:
            return {}
