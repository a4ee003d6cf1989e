"""What hangs on the loop: metrics, evaluation, checkpoints, samples, a reference that moves."""

import copy
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from concord.engine import Line, LocalPolicy, LogProbs
from concord.errors import ConcordError, RunError
from concord.messages import Prompt
from concord.run import Run
from concord.seam import Ask, Reply, Sampling
from concord.tensors import PerToken
from concord.train.checkpoint import Checkpoints
from concord.train.fit import Hook, Loop, Stepped, means_of
from concord.train.saving import Saved, saved
from concord.train.source import plan_of
from concord.train.step import Done, evaluate
from concord.types import JSON

__all__ = ["Evaluator", "Moving", "Quiet", "Recorder", "Sampler", "Saver", "Told", "peak_memory"]

Told = Callable[[Mapping[str, float]], None]
"""Whoever wants to know of a row of metrics."""


class Quiet:
    """A hook that does nothing, to be made more of."""

    def begin(self, loop: Loop) -> None:
        """Before the first step."""

    def after(self, loop: Loop, done: Stepped) -> None:
        """After each step."""

    def end(self, loop: Loop) -> None:
        """When all is done."""


@dataclass
class Recorder(Quiet):
    """Means over the steps since the last row, every so many steps, and after the last."""

    every: int
    epoch: Callable[[int], float]
    """How often the rows have been gone through after so many steps."""
    tell: Told
    _sums: dict[str, float] = field(default_factory=dict[str, float])
    _counts: dict[str, int] = field(default_factory=dict[str, int])
    _seconds: float = 0.0
    _tokens: int = 0
    _rows: int = 0
    _steps: int = 0

    def after(self, loop: Loop, done: Stepped) -> None:
        """Add a step; write a row where one is due."""
        for name, value in {"loss": done.loss, "grad_norm": done.grad_norm, **done.metrics}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0) + 1
        self._seconds += done.seconds
        self._tokens, self._rows, self._steps = (
            self._tokens + done.tokens,
            self._rows + done.rows,
            self._steps + 1,
        )
        if done.step % self.every == 0 or done.step == loop.steps or loop.stopping:
            self._write(loop, done)

    def _write(self, loop: Loop, done: Stepped) -> None:
        means = {name: value / self._counts[name] for name, value in self._sums.items()}
        seconds = max(self._seconds, 1e-9)
        row = {"step": done.step, "epoch": self.epoch(done.step), "learning_rate": done.learning_rate}
        row |= means
        row |= {
            "num_tokens": loop.tokens,
            "tokens_per_second": self._tokens / seconds,
            "rows_per_second": self._rows / seconds,
            "step_time": seconds / self._steps,
            "memory_mb": peak_memory(loop.policy.device) / 2**20,
        }
        self._sums, self._counts = {}, {}
        self._seconds, self._tokens, self._rows, self._steps = 0.0, 0, 0, 0
        self.tell(row)

    def remember(self) -> Saved:
        """The sums of a row that is not written yet."""
        facts: dict[str, JSON] = {
            "sums": dict(self._sums),
            "counts": dict(self._counts),
            "seconds": self._seconds,
        }
        return {}, {**facts, "tokens": self._tokens, "rows": self._rows, "steps": self._steps}

    def recall(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Go on with the row that was begun."""
        self._sums, self._counts = dict(facts["sums"]), dict(facts["counts"])
        self._seconds, self._tokens = float(facts["seconds"]), int(facts["tokens"])
        self._rows, self._steps = int(facts["rows"]), int(facts["steps"])


def peak_memory(device: torch.device) -> int:
    """The most memory there was in use so far, in bytes: of the device, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@dataclass
class Evaluator(Quiet):
    """Loss and metrics on held-out rows: before the first step, every so many, and after the last."""

    every: int
    tell: Told
    _last: int = -1

    def begin(self, loop: Loop) -> None:
        """Where it starts."""
        if loop.step == 0:
            self._evaluate(loop)

    def after(self, loop: Loop, done: Stepped) -> None:
        """Where it has come."""
        if self.every and done.step % self.every == 0:
            self._evaluate(loop)

    def end(self, loop: Loop) -> None:
        """Where it ends."""
        if self._last != loop.step and loop.step == loop.steps:
            self._evaluate(loop)

    def _evaluate(self, loop: Loop) -> None:
        policy, ranks = loop.policy, loop.policy.ranks.count
        terms = [term for term in loop.terms if term.held_out is not None]
        found: list[Done] = []
        for term in terms:
            assert term.held_out is not None
            plan = plan_of(term.held_out, policy.engine.layout, budget=loop.budget, ranks=ranks)
            found.append(evaluate(policy, term.task, term.held_out, plan, state=term.state))
        row = {"step": loop.step, "eval_loss": sum(float(done.loss) for done in found)}
        row |= {f"eval_{name}": value for name, value in means_of(terms, found).items()}
        self._last = loop.step
        self.tell(row)

    def remember(self) -> Saved:
        """The step of the last evaluation."""
        return {}, {"last": self._last}

    def recall(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Do not evaluate twice."""
        self._last = int(facts["last"])


@dataclass
class Saver(Quiet):
    """A checkpoint every so many steps and at the end; one that cannot be written does not end the run."""

    checkpoints: Checkpoints
    every: int
    run: Run | None = None
    hooks: Sequence[Hook] = ()
    """All hooks of the loop: what they remember is kept."""
    _last: int = -1

    def after(self, loop: Loop, done: Stepped) -> None:
        """Every so many steps."""
        if self.every and done.step % self.every == 0:
            self._save(loop)

    def end(self, loop: Loop) -> None:
        """And at the end."""
        if self._last != loop.step:
            self._save(loop)

    def _save(self, loop: Loop) -> None:
        (tensors, facts), own = saved(loop, self.hooks)
        offset, trouble = 0, ""
        if self.run is not None:
            try:
                offset = self.run.metrics_offset()
            except RunError as error:
                trouble = str(error)
        # Ranks save together or not at all.
        trouble = loop.policy.ranks.told(trouble)
        if not trouble:
            try:
                self.checkpoints.save(loop.step, tensors, {**facts, "metrics_offset": offset}, own=own)
            except ConcordError as error:
                trouble = str(error)
        if trouble:
            loop.said.append(f"no checkpoint of step {loop.step}: {trouble}")
        else:
            self._last = loop.step


@dataclass
class Sampler(Quiet):
    """What the model says to a few prompts, likeliest token by likeliest token, before and after."""

    prompts: Mapping[str, Prompt]
    """By their texts."""
    policy: LocalPolicy
    keep: Callable[[int, Sequence[Mapping[str, JSON]]], None]
    """Takes the step and the samples."""
    longest: int = 256

    def begin(self, loop: Loop) -> None:
        """Before."""
        if loop.step == 0:
            self._sample(loop)

    def end(self, loop: Loop) -> None:
        """After."""
        if loop.step == loop.steps:
            self._sample(loop)

    def _sample(self, loop: Loop) -> None:
        how = Sampling(temperature=0.0, max_tokens=self.longest)
        try:
            answers = self.policy.answer([Ask(prompt, sampling=how) for prompt in self.prompts.values()])
        except ConcordError as error:
            # To look at a model must not end its training.
            loop.said.append(f"no samples at step {loop.step}: {error}")
            return
        finally:
            loop.policy.module.train()
        found: list[Mapping[str, JSON]] = []
        for text, (answer, *_) in zip(self.prompts, answers, strict=True):
            if isinstance(answer, Reply):
                tokens = len(answer.tokens or ())
                found.append(
                    {
                        "prompt": text,
                        "reply": answer.message.text,
                        "finish": answer.finish.value,
                        "tokens": tokens,
                    }
                )
            else:
                found.append({"prompt": text, "reply": "", "finish": "failed", "tokens": 0})
        self.keep(loop.step, found)


class Moving(Quiet):
    """A reference that follows the policy: every so many steps a share of the policy is mixed into it.

    It is a copy of the policy, and is asked anew in every step.
    """

    def __init__(self, engine: LogProbs, *, every: int, mixup: float, precision: Any = nullcontext) -> None:
        """Begin as the policy is."""
        model = copy.deepcopy(engine.model).requires_grad_(False)
        self.engine = LogProbs(model, layout=engine.layout, chunk=engine.chunk)
        self.engine.limits = engine.limits
        self.every, self.mixup, self._precision = every, mixup, precision

    def logps(self, lines: Sequence[Line]) -> PerToken:
        """The log-probability of each target."""
        with torch.no_grad(), self._precision():
            return self.engine(layout=self.engine.lay(lines)).logps

    def after(self, loop: Loop, done: Stepped) -> None:
        """Follow."""
        if done.step % self.every:
            return
        with torch.no_grad():
            for own, policy in self._pairs(loop.policy.engine.model):
                own.lerp_(policy.to(own), self.mixup)

    def _pairs(self, model: torch.nn.Module) -> list[tuple[Tensor, Tensor]]:
        """The weights that are trained, here and there."""
        trained = zip(self.engine.model.parameters(), model.parameters(), strict=True)
        return [(own.data, policy.data) for own, policy in trained if policy.requires_grad]

    def remember(self) -> Saved:
        """Where it stands."""
        return dict(self.engine.model.state_dict()), {}

    def recall(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Stand there again."""
        self.engine.model.load_state_dict(dict(tensors))
