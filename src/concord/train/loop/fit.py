"""The loop: rows of a step, its gradient, a step of the optimizer; everything else hangs on as a hook.

    fit(Loop(policy, [Term(task, rows)], optimizer, how, steps=100), hooks=[...])

A step is undone where it runs out of memory, and redone in smaller parts. A loss that is no number stops the
run before it can touch a weight, and the rows that did it are named.
"""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from concord.errors import RunError, Said, explain
from concord.objectives import initial_state
from concord.train.loop import chance
from concord.train.loop.batch import Batch
from concord.train.loop.optimizers import Optimizing, clip, rate
from concord.train.loop.source import Source, costs, plan_of
from concord.train.loop.step import Counted, Done, Policy, ask, gradient
from concord.train.loop.task import Task
from concord.types import JSON

__all__ = [
    "Hook",
    "Loop",
    "Quiet",
    "Remembering",
    "Saved",
    "Stepped",
    "Term",
    "bare",
    "fit",
    "is_memory",
    "metrics_of",
]

Saved: TypeAlias = tuple[Mapping[str, Tensor], Mapping[str, JSON]]
"""Tensors, and what else there is to know."""


@dataclass
class Term:
    """One part of a loss: a task, where its rows come from, and what it carries from step to step."""

    task: Task
    source: Source
    state: Any = None
    name: str = ""
    """What its metrics are called by; empty for the first, whose metrics have their plain names."""
    held_out: Batch | None = None
    """Rows that are looked at, and not learned from."""


@dataclass(frozen=True)
class Stepped:
    """What became of one step."""

    step: int
    """Counted from 1: how many there were."""
    loss: float
    metrics: Mapping[str, Counted]
    grad_norm: float
    learning_rate: float
    rows: int
    tokens: int
    """Tokens that were computed, on all ranks."""
    seconds: float


@dataclass
class Loop:
    """A run in progress: what is trained, on what, and how far it has come."""

    policy: Policy
    terms: Sequence[Term]
    optimizer: torch.optim.Optimizer
    how: Optimizing
    steps: int
    """How many steps there will be."""
    budget: int
    """Tokens of a micro-batch."""
    step: int = 0
    tokens: int = 0
    rows: int = 0
    asked: bool = False
    """Set by whoever wants the loop to end after the step it is in."""
    stopping: bool = False
    """Whether it will: all ranks have agreed."""
    said: list[str] = field(default_factory=list[str])
    """What a person should know of what happened on the way."""

    weights: Mapping[str, torch.nn.Parameter] = field(init=False)
    """What is trained, by name. FSDP2 shows others in their place while it has them gathered."""

    def __post_init__(self) -> None:
        named = self.policy.engine.named_parameters()
        self.weights = {bare(name): weight for name, weight in named if weight.requires_grad}
        for term in self.terms:
            if term.task.stateful and term.state is None:
                like = torch.zeros((), device=self.policy.device)
                term.state = initial_state(term.task.objective, like=like)

    def advance(self) -> Stepped:
        """Take one step."""
        begun = time.perf_counter()
        learning_rate = rate(self.how, self.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        batches = [term.source.batch(self.step) for term in self.terms]
        found = self._gradients(batches, self.step)
        norm = clip(self.weights.values(), self.how.max_grad_norm)
        if not math.isfinite(norm):
            raise self._not_finite("gradient", norm, batches, self.step)
        self._move()
        self.optimizer.zero_grad(set_to_none=True)
        for term, done in zip(self.terms, found, strict=True):
            term.state = done.state
        self.step += 1
        rows, tokens = len(batches[0]), sum(done.tokens for done in found)
        self.rows, self.tokens = self.rows + rows, self.tokens + tokens
        return Stepped(
            step=self.step,
            loss=sum(float(done.loss) for done in found),
            metrics=metrics_of(self.terms, found),
            grad_norm=norm,
            learning_rate=learning_rate,
            rows=rows,
            tokens=tokens,
            seconds=time.perf_counter() - begun,
        )

    def try_out(self, step: int) -> None:
        """Take the gradient of a step, with the memory held that the optimizer will take, and let go of it.

        Ranks cannot redo a step in smaller parts: where the largest does not fit, that is to be known at once
        and not after hours. Weights, states and chance stay as they are.
        """
        drawn = chance.states()
        twice = [] if self.optimizer.state else [*self.weights.values()] * 2
        moments = [torch.empty_like(weight) for weight in twice]
        self._gradients([term.source.batch(step) for term in self.terms], step)
        moments.clear()
        self.optimizer.zero_grad(set_to_none=True)
        chance.restore(*drawn)

    def _move(self) -> None:
        """The optimizer's step; in the first it takes memory for what it remembers."""
        try:
            self.optimizer.step()
        except (RuntimeError, MemoryError) as error:
            if not is_memory(error):
                raise
            wrong = f"the memory does not suffice for the optimizer in step {self.step + 1}"
            accepted = "memory for two more numbers a weight that is trained"
            do = "train an adapter, or share the model out over devices (sharding: fsdp)"
            raise RunError(explain(wrong, found=Said(_memory(error)), accepted=accepted, do=do)) from error

    def _gradients(self, batches: Sequence[Batch], step: int) -> list[Done]:
        """The gradient of a step, in smaller parts where it does not fit."""
        while True:
            try:
                return self._tried(batches, step)
            except (RuntimeError, MemoryError) as error:
                if not is_memory(error):
                    raise
                found = _memory(error)
            # Outside of the handler, whose traceback would hold on to what has to be freed.
            self.optimizer.zero_grad(set_to_none=True)
            self.shrink(batches, found, step)

    def _tried(self, batches: Sequence[Batch], step: int) -> list[Done]:
        found: list[Done] = []
        for term, batch in zip(self.terms, batches, strict=True):
            layout, ranks = self.policy.engine.layout, self.policy.ranks.count
            plan = plan_of(batch, layout, budget=self.budget, ranks=ranks)
            done = gradient(self.policy, term.task, batch, plan, state=term.state)
            if not bool(torch.isfinite(done.loss)):
                raise self._not_finite("loss", float(done.loss), batches, step)
            found.append(done)
        return found

    def shrink(self, batches: Sequence[Batch], found: str, step: int) -> None:
        """Halve what goes through the model at a time; where that cannot help, say what could."""
        largest = max(size for batch in batches for size in costs(batch, self.policy.engine.layout))
        if self.policy.ranks.count > 1 or self.budget <= largest:
            wrong = f"the memory does not suffice for step {step + 1}"
            if self.policy.ranks.count > 1:
                wrong += ", and processes that wait for each other cannot redo it"
            accepted = f"micro-batches of fewer than {self.budget:,} tokens; the longest row has {largest:,}"
            do = "set micro_tokens lower, max_length lower, gradient_checkpointing, or train an adapter"
            raise RunError(explain(wrong, found=Said(found), accepted=accepted, do=do))
        before, self.budget = self.budget, max(largest, self.budget // 2)
        if self.policy.device.type == "cuda":
            torch.cuda.empty_cache()
        self.said.append(
            f"step {step + 1} ran out of memory with micro-batches of {before:,} tokens and was redone "
            f"with {self.budget:,}, which stay from here on"
        )

    def _not_finite(self, what: str, value: float, batches: Sequence[Batch], step: int) -> RunError:
        """Say which rows gave something that is no number; no weight has moved by them."""
        self.optimizer.zero_grad(set_to_none=True)
        both = zip(self.terms, batches, strict=True)
        named = [name for term, batch in both for name in self._bad(term, batch)]
        shown = ", ".join(named[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "")
        wrong = f"the {what} of step {step + 1} is not a finite number"
        found = Said(f"{value}, from {shown}" if named else f"{value}, though every row alone is finite")
        do = "look at these rows or leave them out, lower the learning rate, or resume from a checkpoint"
        accepted = "finite numbers; no weight was changed by it"
        return RunError(explain(wrong, found=found, accepted=accepted, do=do))

    def _bad(self, term: Term, batch: Batch) -> Iterable[str]:
        """The rows whose own values are not finite; ranks, which wait for each other, cannot look."""
        if self.policy.ranks.count > 1:
            return
        with torch.no_grad():
            for place, row in enumerate(batch.rows):
                answer = ask(self.policy, term.task, batch.part([place]))
                flats = [*answer.values.values(), *answer.refs.values(), *answer.statistics.values()]
                flats += [] if answer.losses is None else [answer.losses]
                if not all(bool(flat.isfinite().all()) for flat in flats):
                    yield str(row.origin or f"row {row.number}")


@runtime_checkable
class Hook(Protocol):
    """Something that is told of a run on its way. A hook that remembers something gives it to checkpoints."""

    def begin(self, loop: Loop) -> None:
        """Before the first step, or the first after a resume."""
        ...

    def after(self, loop: Loop, done: Stepped) -> None:
        """After each step."""
        ...

    def end(self, loop: Loop) -> None:
        """When all is done, or the loop was asked to stop."""
        ...


class Quiet:
    """A hook that does nothing, to be made more of."""

    def begin(self, loop: Loop) -> None:
        """Before the first step."""

    def after(self, loop: Loop, done: Stepped) -> None:
        """After each step."""

    def end(self, loop: Loop) -> None:
        """When all is done."""


@runtime_checkable
class Remembering(Protocol):
    """A hook with something to remember from step to step."""

    def remember(self) -> Saved:
        """What there is to remember."""
        ...

    def recall(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Take it back."""
        ...


def fit(loop: Loop, hooks: Sequence[Hook] = ()) -> Loop:
    """Go through the steps that are left."""
    loop.policy.module.train()
    for hook in hooks:
        hook.begin(loop)
    while loop.step < loop.steps and not loop.stopping:
        done = loop.advance()
        # Whoever is asked to stop says so to all, or the others would wait for it.
        loop.stopping = loop.policy.ranks.any(loop.asked)
        for hook in hooks:
            hook.after(loop, done)
    for hook in hooks:
        hook.end(loop)
    return loop


def metrics_of(terms: Sequence[Term], found: Sequence[Done]) -> dict[str, Counted]:
    """The metrics of a step; those of further terms, and their losses, under the names of the terms."""
    every: dict[str, Counted] = {}
    for term, done in zip(terms, found, strict=True):
        prefix = f"{term.name}/" if term.name else ""
        counted = {name: Counted.of(one) for name, one in done.metrics.items()}
        every |= {f"{prefix}{name}": one for name, one in counted.items() if one.count > 0}
        if len(terms) > 1:
            every[f"{prefix}loss" if prefix else "main/loss"] = Counted(float(done.loss))
    return every


def bare(name: str) -> str:
    """The name of a weight without what gradient checkpointing and compilers put into it."""
    return name.replace("_checkpoint_wrapped_module.", "").replace("_orig_mod.", "")


def is_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left."""
    said = str(error)
    known = "can't allocate memory" in said or "CUBLAS_STATUS_ALLOC_FAILED" in said
    return known or isinstance(error, torch.OutOfMemoryError | MemoryError)


def _memory(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no memory left"])[0][:200]
