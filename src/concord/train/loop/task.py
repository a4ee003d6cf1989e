"""What is made small: an objective with its knobs, how it is reduced, and whom it asks beside the policy."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from concord.engine import Line
from concord.engine.head import Beside, ChunkFunction
from concord.engine.statistics import on_logits
from concord.errors import RecipeError, Said, explain
from concord.objectives import metrics
from concord.objectives.contract import Card, check_objective, initial_state
from concord.objectives.metrics import Metric
from concord.objectives.reductions import row_mean, token_mean
from concord.tensors import (
    Flat,
    Logits,
    Pairs,
    PerToken,
    Ranked,
    RankedRewards,
    Record,
    Replies,
    RewardPairs,
    StepLogits,
    Tokens,
)
from concord.train.loop.batch import Batch
from concord.train.loop.inputs import COMPANIONS, STATISTICS, Knowledge, input_of
from concord.train.loop.records import Shape, record_of, shape_of, sizes_of

__all__ = ["LOSSES", "RefOf", "Task", "TeacherOf"]

RefOf = Callable[[Sequence[Line]], PerToken]
"""The reference's log-probability of each target of some lines, in their order."""

TeacherOf = Callable[[Sequence[Line]], Beside]
"""What goes through the chunk loop beside the policy's own logits, for the targets of some lines."""

LOSSES = "losses"
"""The name under which an objective on logits goes into the chunk loop."""

_TRIED = 8
"""How many tokens the vocabulary of a trial has."""


@dataclass(frozen=True)
class Task:
    """An objective and its reduction; a reference and teachers where it needs them."""

    objective: Callable[..., Any]
    reduction: Callable[..., Tensor] | None = None
    reference: RefOf | None = None
    teachers: Mapping[str, TeacherOf] = field(default_factory=dict[str, TeacherOf])
    weight: float = 1.0
    card: Card = field(init=False)
    shape: Shape = field(init=False)

    def __post_init__(self) -> None:
        card = check_objective(self.objective)
        object.__setattr__(self, "card", card)
        object.__setattr__(self, "shape", shape_of(card.record))
        if self.reduction is None:
            object.__setattr__(self, "reduction", token_mean if self._by_token else row_mean)
        self._check()

    def _check(self) -> None:
        if self.referenced and self.reference is None:
            wrong, found = f"{self.card.name} compares the policy with a reference", Said("no reference")
            accepted, do = "a reference", "name one: initial, a path, or another run"
            raise RecipeError(explain(wrong, found=found, accepted=accepted, do=do))
        if missing := [name for name in self.taught if name not in self.teachers]:
            wrong, found = f"{self.card.name} learns from a teacher", Said("no " + ", ".join(missing))
            do = "name the model that teaches"
            raise RecipeError(explain(wrong, found=found, accepted=", ".join(self.taught), do=do))
        if not callable(getattr(self.reduction, "counts", None)):
            wrong = "a reduction does not say what it divides by"
            found = getattr(self.reduction, "__name__", str(self.reduction))
            do = "mark it with `concord.objectives.counts`, so that parts of a step add up"
            raise RecipeError(explain(wrong, found=found, accepted="a reduction with counts", do=do))

    @property
    def _by_token(self) -> bool:
        return self.card.record is Logits or issubclass(self.card.record, Flat)

    @property
    def kind(self) -> Any:
        """The record that losses are reckoned from; of an objective on logits, the tokens it was asked of."""
        return Tokens if self.card.record is Logits else self.card.record

    @property
    def coupled(self) -> bool:
        """Whether all rows of a step must be seen at once, as what carries something on must see them."""
        return self.card.coupled or self.stateful

    @property
    def referenced(self) -> bool:
        """Whether it needs a reference."""
        return "reference" in self.card.needs

    @property
    def companions(self) -> tuple[str, ...]:
        """The further rows that belong to each."""
        return tuple(name for name in self.card.inputs if name in COMPANIONS)

    @property
    def statistics(self) -> tuple[str, ...]:
        """The inputs that the policy's logits give."""
        return tuple(name for name in self.card.inputs if name in STATISTICS)

    @property
    def taught(self) -> tuple[str, ...]:
        """The inputs that teachers give."""
        return tuple(name for name in self.card.inputs if name in ("teacher", "teacher_ref"))

    @property
    def stateful(self) -> bool:
        """Whether it carries something from step to step."""
        return "state" in self.card.inputs

    @cached_property
    def functions(self) -> Mapping[str, ChunkFunction]:
        """What is asked of the logits."""
        asked = {name: STATISTICS[name] for name in self.statistics}
        if self.card.record is Logits:
            function, knobs = self.objective, {}
            if isinstance(function, partial):
                function, knobs = function.func, dict(function.keywords)
            asked[LOSSES] = on_logits(function, **knobs)
        return asked

    # --- one number ---------------------------------------------------------------------------------------

    def total(self, batch: Batch) -> Tensor:
        """What is divided by, counted over all rows of a step."""
        zeros = torch.zeros(int(sizes_of(batch, self.shape).sum()))
        record = record_of(self.kind, batch, zeros, ref=zeros if self.referenced else None)
        count = len(zeros) if isinstance(record, Flat) else len(record)
        return self._count(torch.zeros(count), **self._for_reduction(record, Knowledge(batch, zeros)))

    @property
    def _count(self) -> Callable[..., Tensor]:
        return self.reduction.counts  # type: ignore[union-attr]

    def _for_reduction(self, record: Record, what: Knowledge) -> dict[str, Any]:
        """What the reduction takes beside losses and total."""
        assert self.reduction is not None
        names = [*inspect.signature(self.reduction).parameters][1:]
        bound = self.reduction.keywords if isinstance(self.reduction, partial) else {}
        taken = [name for name in names if name not in ("total", "tokens", *bound)]
        known: dict[str, Any] = {name: input_of(name, what) for name in taken}
        return known | ({"tokens": record} if "tokens" in names else {})

    def loss(
        self,
        record: Record,
        what: Knowledge,
        total: Tensor,
        *,
        losses: Tensor | None = None,
        state: Any = None,
    ) -> tuple[Tensor, Mapping[str, Metric], Any]:
        """The share of some rows in the loss of their step, their metrics, and the state after them.

        `losses` are those of an objective on logits, which the chunk loop has computed.
        """
        assert self.reduction is not None
        inputs = self._inputs(what)
        found: Any = losses
        if found is None:
            found = self.objective(record, **inputs, **({"state": state} if self.stateful else {}))
        if isinstance(found, tuple):
            found, state = found
        self._check_losses(found, len(record.owner) if isinstance(record, Flat) else len(record))
        given = self._for_reduction(record, what)
        share = self.weight * self.reduction(found, **given, total=total.to(found.device))
        return share, self._measured(record, inputs), state

    def _check_losses(self, found: Any, rows: int) -> None:
        """Refuse what is no loss of each row: a reduction would take a mean for a single one."""
        if not isinstance(found, Tensor):
            said = type(found).__name__
        elif found.shape != (rows,):
            said = f"a tensor of shape {tuple(found.shape)} for {rows:,}"
        elif torch.is_grad_enabled() and not found.requires_grad:
            said = "losses without a gradient"
        else:
            return
        wrong = f"{self.card.name} does not return a loss for each pair, reply, row or token"
        accepted, do = (
            "losses of its record, not reduced",
            "return them before any mean, and do not detach them",
        )
        raise RecipeError(explain(wrong, found=Said(said), accepted=accepted, do=do))

    def try_out(self, batch: Batch) -> None:
        """Reckon the loss of some rows from values that stand for a model's: what fails, fails at once.

        A model is asked only later, for the values of a reference often many times before the first loss.
        """
        streams = {"": batch, **batch.companions}
        sizes = {name: int(sizes_of(one, self.shape).sum()) for name, one in streams.items()}
        made = {name: torch.full((size,), -1.0, requires_grad=True) for name, size in sizes.items()}
        values, refs = made[""], {name: one.detach() for name, one in made.items()}
        beside = {name: (made[name], refs[name]) for name in batch.companions}
        what = Knowledge(batch, values, self.shape, dict.fromkeys(self.statistics, refs[""]), beside)
        record = record_of(self.kind, batch, values, ref=refs[""] if self.referenced else None)
        losses = None
        if self.card.record is Logits:
            logits = torch.zeros(len(values), _TRIED, requires_grad=True)
            losses = self.objective(logits, **dict.fromkeys(self.taught, logits.detach()))
        state = initial_state(self.objective, like=values)
        self.loss(record, what, self.total(batch), losses=losses, state=state)

    def _inputs(self, what: Knowledge) -> dict[str, Any]:
        """The inputs of the objective, those left out of which nothing is known."""
        skipped = {"state", *self.taught}
        found = {name: input_of(name, what) for name in self.card.inputs if name not in skipped}
        return {name: value for name, value in found.items() if value is not None}

    def _measured(self, record: Record, inputs: Mapping[str, Any]) -> Mapping[str, Metric]:
        beta: dict[str, Any] = {"per_token": self.card.per_token}
        if "beta" in self.card.knobs:
            beta["beta"] = self.card.knobs["beta"]
        found = self._of_family(record, inputs, beta)
        if "mismatched" in inputs:
            ratio = inputs["mismatched"].ratio.detach()
            found = {**found, "kl": Metric(ratio.sum(), ratio.new_tensor(float(len(ratio))))}
        return found

    def _of_family(
        self, record: Record, inputs: Mapping[str, Any], beta: Mapping[str, Any]
    ) -> Mapping[str, Metric]:
        match record:
            case Pairs():
                return metrics.pair_metrics(record, **beta)
            case Ranked():
                return metrics.ranking_metrics(record, **beta)
            case RewardPairs():
                return metrics.reward_metrics(record)
            case RankedRewards():
                return metrics.ranked_reward_metrics(record)
            case StepLogits():
                return metrics.step_metrics(record)
            case Tokens():
                return metrics.nll_metrics(record)
            case Replies() if "desirable" in inputs:
                return metrics.reply_metrics(record, desirable=inputs["desirable"], **beta)
            case _:
                return {}
