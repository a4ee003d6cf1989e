"""The gradient of one optimizer step, the same however its rows are split over micro-batches and ranks.

What is divided by is counted over the whole step before the first forward pass. An objective whose rows do
not depend on each other is then summed part by part. One that is coupled is given two passes: values of all
rows without a graph, the gradient of the loss on those few numbers, and a second forward whose values are
weighted by it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from concord.engine import LogProbs
from concord.engine.logprobs import Layout
from concord.objectives.metrics import Metric
from concord.train.loop.batch import Batch
from concord.train.loop.inputs import UNTRAINED, Knowledge
from concord.train.loop.plan import Plan
from concord.train.loop.records import record_of, sizes_of
from concord.train.loop.task import LOSSES, Task
from concord.train.ranks import ALONE, Ranks

__all__ = ["Answer", "Counted", "Done", "Policy", "ask", "evaluate", "gradient"]


@dataclass(frozen=True)
class Policy:
    """What is trained: an engine, what it is wrapped in, and the precision it computes in."""

    engine: LogProbs
    wrapped: nn.Module | None = None
    precision: Callable[[], AbstractContextManager[Any]] = nullcontext
    ranks: Ranks = ALONE

    @property
    def module(self) -> nn.Module:
        """What is called: the wrapper, where there is one."""
        return self.wrapped if self.wrapped is not None else self.engine

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.engine.parameters()).device

    def gathering(self, last: bool) -> AbstractContextManager[Any]:
        """Gradients of all ranks are added in the last micro-batch of a step, and not before."""
        if isinstance(self.wrapped, DistributedDataParallel) and not last:
            return self.wrapped.no_sync()
        if isinstance(self.wrapped, FSDPModule):
            self.wrapped.set_requires_gradient_sync(last)
        return nullcontext()


@dataclass(frozen=True)
class Counted:
    """A sum over so many values. Steps rest on different numbers of them, so the two are added apart."""

    sum: float
    count: float = 1.0

    @classmethod
    def of(cls, metric: Metric) -> "Counted":
        """A metric as plain numbers."""
        return cls(float(metric.sum), float(metric.count))

    @property
    def mean(self) -> float:
        """The mean over all values."""
        return self.sum / self.count

    def plus(self, other: "Counted") -> "Counted":
        """That over the values of both."""
        return Counted(self.sum + other.sum, self.count + other.count)


@dataclass(frozen=True)
class Done:
    """A step's loss and metrics over all parts and ranks, the state after it, and the tokens it computed."""

    loss: Tensor
    metrics: Mapping[str, Metric]
    state: Any = None
    tokens: int = 0
    rows: Mapping[int, Mapping[str, Counted]] = field(default_factory=dict[int, Mapping[str, Counted]])
    """Where it was asked for, by the place of each row its metrics, and its `loss`: its share of the loss,
    over its share of what that is divided by."""


@dataclass
class Answer:
    """What the engine and the reference say of some rows: flat, stream by stream."""

    values: dict[str, Tensor]
    """By stream: "" for the rows themselves, then their companions by name."""
    refs: dict[str, Tensor]
    statistics: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    losses: Tensor | None = None
    tokens: int = 0

    def knowledge(self, task: Task, batch: Batch) -> Knowledge:
        """All of it, for the inputs of the objective."""
        beside = {name: (self.values[name], self.refs.get(name)) for name in batch.companions}
        return Knowledge(batch, self.values[""], task.shape, self.statistics, beside)


def ask(policy: Policy, task: Task, batch: Batch, *, refs: bool = True) -> Answer:
    """Ask the policy, and the reference, for all that an objective needs of some rows."""
    lines = batch.lines(task.shape.marks)
    with policy.precision():
        layout: Layout = policy.engine.lay(lines)
        beside = {name: teacher(lines) for name, teacher in task.teachers.items()}
        given: dict[str, Any] = {"functions": task.functions} if task.functions else {}
        found = policy.module(layout=layout, **given, **({"beside": beside} if beside else {}))
    flat = found.heads[task.shape.head] if task.shape.head else found.logps
    streams = ["", *batch.companions]
    parts = [batch, *batch.companions.values()]
    sizes = [int(sizes_of(part, task.shape).sum()) for part in parts]
    values = dict(zip(streams, flat.split(sizes), strict=True))
    told: dict[str, Tensor] = {}
    if refs and task.referenced and task.reference is not None:
        told = dict(zip(streams, task.reference(lines).to(flat.device).split(sizes), strict=True))
    statistics = {name: found.functions[name][: sizes[0]] for name in task.statistics}
    return Answer(values, told, statistics, found.functions.get(LOSSES), layout.ids.numel())


def gradient(policy: Policy, task: Task, batch: Batch, plan: Plan, *, state: Any = None) -> Done:
    """Add the gradient of a step to the weights of this rank. `batch` holds the rows of all ranks."""
    total = task.total(batch)
    parts = _parts(batch, plan, policy.ranks)
    if task.coupled:
        return _coupled(policy, task, batch, parts, total, state)
    loss, metrics, tokens = torch.zeros((), device=policy.device), dict[str, Metric](), 0
    for number, part in enumerate(parts):
        with policy.gathering(number == len(parts) - 1):
            answer = ask(policy, task, part.batch)
            share, measured, state = _share(task, part.batch, answer, total, state)
            _backward(policy, share * part.weight)
        loss = loss + share.detach() * part.weight
        metrics = _added(metrics, measured, part.weight)
        tokens += answer.tokens * part.weight
    return _over_ranks(policy.ranks, Done(loss, metrics, state, tokens))


def evaluate(
    policy: Policy, task: Task, batch: Batch, plan: Plan, *, state: Any = None, each: bool = False
) -> Done:
    """Loss and metrics of some rows, without a gradient; what is carried from step to step stays as it is.

    each: tell those of each row too, where rows do not depend on each other
    """
    total = task.total(batch)
    with torch.no_grad():
        if task.coupled:
            whole = _gathered(policy, task, batch, _parts(batch, plan, policy.ranks))
            share, measured, _ = _share(task, batch, whole, total, state)
            return Done(share, measured, state, _all_tokens(policy, whole.tokens))
        loss, metrics, tokens = torch.zeros((), device=policy.device), dict[str, Metric](), 0
        rows: dict[int, Mapping[str, Counted]] = {}
        for part in _parts(batch, plan, policy.ranks):
            answer = ask(policy, task, part.batch)
            share, measured, _ = _share(task, part.batch, answer, total, state)
            loss, metrics = loss + share * part.weight, _added(metrics, measured, part.weight)
            tokens += answer.tokens * part.weight
            if each and part.weight:
                rows |= _each(task, part, answer, total, len(batch))
    done = _over_ranks(policy.ranks, Done(loss, metrics, state, tokens))
    if not each:
        return done
    every = {place: one for known in policy.ranks.everybody(rows) for place, one in known.items()}
    return replace(done, rows=every)


def _each(
    task: Task, part: "_Part", answer: Answer, total: Tensor, rows: int
) -> Iterator[tuple[int, Mapping[str, Counted]]]:
    """The loss and the metrics of each row of a micro-batch, reckoned from its own values alone."""
    ends = _ends(part.batch, task)
    for number, place in enumerate(part.places):
        own = {name: slice(int(one[number]), int(one[number + 1])) for name, one in ends.items()}
        alone = Answer(
            {name: flat[own[name]] for name, flat in answer.values.items()},
            {name: flat[own[name]] for name, flat in answer.refs.items()},
            {name: flat[own[""]] for name, flat in answer.statistics.items()},
            None if answer.losses is None else answer.losses[own[""]],
        )
        row = part.batch.part([number])
        share, measured, _ = _share(task, row, alone, total, None)
        # Where there are several divisors, rows count alike.
        weight = 1 / rows if total.ndim else float(task.total(row) / total)
        counted = {name: Counted.of(one) for name, one in measured.items()}
        yield place, {"loss": Counted(float(share), weight), **counted}


@dataclass(frozen=True)
class _Part:
    """A micro-batch: the places of its rows in the step, and whether they count."""

    places: tuple[int, ...]
    batch: Batch
    weight: int


def _parts(batch: Batch, plan: Plan, ranks: Ranks) -> list[_Part]:
    """The micro-batches of this rank; where it has none left, one row that counts nothing.

    Ranks wait for each other in every forward pass, so all of them make equally many.
    """
    mine = plan.parts[ranks.rank]
    return [_Part(places or (0,), batch.part(places or (0,)), int(bool(places))) for places in mine]


def _share(
    task: Task, part: Batch, answer: Answer, total: Tensor, state: Any
) -> tuple[Tensor, Mapping[str, Metric], Any]:
    ref = answer.refs.get("") if "reference" in task.card.needs else None
    record = record_of(task.kind, part, answer.values[""], ref=ref)
    return task.loss(record, answer.knowledge(task, part), total, losses=answer.losses, state=state)


def _backward(policy: Policy, share: Tensor) -> None:
    # Wrappers take the mean over ranks, and the loss is divided by the counts of all of them already.
    (share * policy.ranks.count).backward()


def _added(known: dict[str, Metric], found: Mapping[str, Metric], weight: int) -> dict[str, Metric]:
    """The metrics of one more part. Of one that does not count only the names matter, which ranks share."""
    nothing = Metric(torch.zeros(()), torch.zeros(()))
    counted = {name: one if weight else nothing for name, one in found.items()}
    return {name: known[name].plus(one) if name in known else one for name, one in counted.items()}


def _over_ranks(ranks: Ranks, done: Done) -> Done:
    """The sums over all ranks."""
    if ranks.count == 1:
        return done
    names = list(done.metrics)
    numbers = [done.loss.double()]
    for name in names:
        numbers += [part.to(numbers[0]) for part in (done.metrics[name].sum, done.metrics[name].count)]
    whole = ranks.add(torch.stack([*numbers, numbers[0].new_tensor(float(done.tokens))]))
    sums = dict(zip(names, whole[1:-1].view(-1, 2), strict=True))
    metrics = {name: Metric(one[0].to(done.loss), one[1].to(done.loss)) for name, one in sums.items()}
    return Done(whole[0].to(done.loss), metrics, done.state, int(whole[-1]))


# --- coupled objectives -----------------------------------------------------------------------------------


def _coupled(
    policy: Policy, task: Task, batch: Batch, parts: Sequence[_Part], total: Tensor, state: Any
) -> Done:
    """Two passes: the loss and its gradient on the values of all rows, then the gradient on the weights."""
    with torch.no_grad():
        whole = _gathered(policy, task, batch, parts)
    trained = ["", *(name for name in batch.companions if name not in UNTRAINED)]
    for name in trained:
        whole.values[name].requires_grad_()
    loss, metrics, state = _share(task, batch, whole, total, state)
    slopes = torch.autograd.grad(loss, [whole.values[name] for name in trained], allow_unused=True)
    ends, tokens = _ends(batch, task), whole.tokens
    for number, part in enumerate(parts):
        with policy.gathering(number == len(parts) - 1):
            answer = ask(policy, task, part.batch.with_companions(trained[1:]), refs=False)
            share = torch.zeros((), device=policy.device)
            for name, slope in zip(trained, slopes, strict=True):
                if slope is not None:
                    share = share + (answer.values[name] * slope[_places(ends[name], part)]).sum()
            _backward(policy, share * part.weight)
        tokens += answer.tokens * part.weight
    return Done(loss.detach(), metrics, state, _all_tokens(policy, tokens))


def _all_tokens(policy: Policy, tokens: int) -> int:
    """Those of all ranks."""
    if policy.ranks.count == 1:
        return tokens
    return int(policy.ranks.add(torch.tensor(tokens, device=policy.device)))


def _gathered(policy: Policy, task: Task, batch: Batch, parts: Sequence[_Part]) -> Answer:
    """What is known of all rows of a step, on every rank."""
    ends, device = _ends(batch, task), policy.device
    values = {name: torch.zeros(int(one[-1]), device=device) for name, one in ends.items()}
    refs = {name: torch.zeros_like(one) for name, one in values.items()} if task.referenced else {}
    statistics = {name: torch.zeros_like(values[""]) for name in task.statistics}
    tokens = 0
    for part in parts:
        answer = ask(policy, task, part.batch)
        tokens += answer.tokens * part.weight
        if not part.weight:
            continue
        for name in values:
            places = _places(ends[name], part)
            values[name][places] = answer.values[name].to(values[name])
            if refs:
                refs[name][places] = answer.refs[name].to(refs[name])
        for name in statistics:
            statistics[name][_places(ends[""], part)] = answer.statistics[name]
    for flat in (*values.values(), *refs.values(), *statistics.values()):
        policy.ranks.add(flat)  # each rank has its own rows there, and zeros elsewhere
    return Answer(values, refs, statistics, tokens=tokens)


def _ends(batch: Batch, task: Task) -> dict[str, Tensor]:
    """By stream, where the values of each row begin among those of the step, and where the last ends."""
    found: dict[str, Tensor] = {}
    for name, one in {"": batch, **batch.companions}.items():
        ends = torch.cat([torch.zeros(1, dtype=torch.int64), sizes_of(one, task.shape).cumsum(0)])
        found[name] = torch.cat([ends[one.first], ends[-1:]])
    return found


def _places(ends: Tensor, part: _Part) -> Tensor:
    """Where the values of a part stand among those of the step."""
    bounds = [(int(ends[place]), int(ends[place + 1])) for place in part.places]
    return torch.cat([torch.arange(start, stop) for start, stop in bounds])
