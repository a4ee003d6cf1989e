"""What hangs on the loop: metrics, evaluation, checkpoints, samples."""

import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from concord.engine import LocalPolicy
from concord.errors import ConcordError, RunError
from concord.messages import Prompt
from concord.results import Result
from concord.run import Run
from concord.seam import Ask, Reply, Sampling
from concord.train.following.checkpoint import Checkpoints
from concord.train.following.held_out import results_of
from concord.train.following.saving import saved
from concord.train.loop import (
    Counted,
    Done,
    Hook,
    Loop,
    Quiet,
    Saved,
    Stepped,
    evaluate,
    is_memory,
    metrics_of,
    plan_of,
)
from concord.types import JSON

__all__ = ["Evaluator", "Recorder", "Sampler", "Saver", "Tell", "peak_memory"]

Tell: TypeAlias = Callable[[Mapping[str, float]], None]
"""How a row of metrics is passed on."""


@dataclass
class Recorder(Quiet):
    """What became of the steps since the last row, every so many steps, and after the last.

    A metric is the mean over all that it counts in these steps: tokens, replies, pairs. The loss, whose
    divisor is the method's own, is the mean of the losses of the steps, and so is the length of the gradient.
    """

    every: int
    epoch: Callable[[int], float]
    """How often the rows have been gone through after so many steps."""
    tell: Tell
    _known: dict[str, Counted] = field(default_factory=dict[str, Counted])
    _seconds: float = 0.0
    _tokens: int = 0
    _rows: int = 0
    _steps: int = 0

    def after(self, loop: Loop, done: Stepped) -> None:
        """Add a step; write a row where one is due."""
        numbers = {"loss": Counted(done.loss), "grad_norm": Counted(done.grad_norm), **done.metrics}
        for name, one in numbers.items():
            self._known[name] = self._known[name].plus(one) if name in self._known else one
        self._seconds += done.seconds
        self._tokens, self._rows, self._steps = (
            self._tokens + done.tokens,
            self._rows + done.rows,
            self._steps + 1,
        )
        if done.step % self.every == 0 or done.step == loop.steps or loop.stopping:
            self._write(loop, done)

    def _write(self, loop: Loop, done: Stepped) -> None:
        seconds = max(self._seconds, 1e-9)
        row = {"step": done.step, "epoch": self.epoch(done.step), "learning_rate": done.learning_rate}
        row |= {name: one.mean for name, one in self._known.items()}
        row |= {
            "num_tokens": loop.tokens,
            "tokens_per_second": self._tokens / seconds,
            "rows_per_second": self._rows / seconds,
            "step_time": seconds / self._steps,
            "memory_mb": peak_memory(loop.policy.device) / 2**20,
        }
        self._known = {}
        self._seconds, self._tokens, self._rows, self._steps = 0.0, 0, 0, 0
        self.tell(row)

    def remember(self) -> Saved:
        """The sums of a row that is not written yet."""
        facts: dict[str, JSON] = {
            "sums": {name: one.sum for name, one in self._known.items()},
            "counts": {name: one.count for name, one in self._known.items()},
            "seconds": self._seconds,
        }
        return {}, {**facts, "tokens": self._tokens, "rows": self._rows, "steps": self._steps}

    def recall(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Go on with the row that was begun."""
        sums, counts = facts["sums"], facts["counts"]
        self._known = {name: Counted(float(one), float(counts[name])) for name, one in sums.items()}
        self._seconds, self._tokens = float(facts["seconds"]), int(facts["tokens"])
        self._rows, self._steps = int(facts["rows"]), int(facts["steps"])


def peak_memory(device: torch.device) -> int:
    """The most memory that was held so far, in bytes: for tensors of a GPU, or by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@dataclass
class Evaluator(Quiet):
    """Loss and metrics on held-out rows: before the first step, every so many, and after the last.

    A checkpoint may stand before the evaluation of its step, whose row is then cut off at a resume: so what
    is due and was not done when it was written is done when it begins.
    """

    every: int
    tell: Tell
    results: tuple[Result, ...] = ()
    """What was found after the last step, with intervals."""
    _last: int = -1

    def begin(self, loop: Loop) -> None:
        """Where it starts, or starts again."""
        self._evaluate(loop, due=loop.step == 0 or self._due(loop))

    def after(self, loop: Loop, done: Stepped) -> None:
        """Where it has come."""
        self._evaluate(loop, due=self._due(loop))

    def end(self, loop: Loop) -> None:
        """Where it ends."""
        ended = loop.step == loop.steps
        self._evaluate(loop, due=ended)
        if ended and not self.results:
            # It was told of before a resume, but results are in no checkpoint.
            self._look(loop)

    def _due(self, loop: Loop) -> bool:
        return self.every > 0 and loop.step % self.every == 0

    def _evaluate(self, loop: Loop, *, due: bool) -> None:
        if due and self._last != loop.step:
            row = self._look(loop)
            self._last = loop.step
            self.tell(row)

    def _look(self, loop: Loop) -> Mapping[str, float]:
        """What is found; after the last step for each row too."""
        policy, ranks = loop.policy, loop.policy.ranks.count
        terms = [term for term in loop.terms if term.held_out is not None]
        last, found = loop.step == loop.steps, list[Done]()
        for term in terms:
            assert term.held_out is not None
            plan = plan_of(term.held_out, policy.engine.layout, budget=loop.budget, ranks=ranks)
            found.append(evaluate(policy, term.task, term.held_out, plan, state=term.state, each=last))
        if last:
            self.results = results_of(terms, found)
        row = {"step": loop.step, "eval_loss": sum(float(done.loss) for done in found)}
        return row | {f"eval_{name}": one.mean for name, one in metrics_of(terms, found).items()}

    def remember(self) -> Saved:
        """The step of the last evaluation."""
        return {}, {"last": self._last}

    def recall(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Do not evaluate twice."""
        self._last = int(facts["last"])


@dataclass
class Saver(Quiet):
    """A checkpoint every so many steps and at the end; one that cannot be written does not end the run.

    It belongs behind hooks that only count or follow, and before those that use the model: what goes wrong
    there then costs no step.
    """

    checkpoints: Checkpoints
    every: int
    run: Run | None = None
    hooks: Sequence[Hook] = ()
    """All hooks of the loop: what they remember is kept."""
    _last: int = -1

    def begin(self, loop: Loop) -> None:
        """The step that is gone on from has one."""
        self._last = loop.step or -1

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
        try:
            self.keep(loop.step, self._drawn())
        except (ConcordError, OSError, RuntimeError, MemoryError) as error:
            if isinstance(error, RuntimeError | MemoryError) and not is_memory(error):
                raise
            # To look at a model must not end its training.
            loop.said.append(f"no samples at step {loop.step}: {error}")
        finally:
            loop.policy.module.train()
        if loop.policy.device.type == "cuda":
            torch.cuda.empty_cache()

    def _drawn(self) -> Sequence[Mapping[str, JSON]]:
        how = Sampling(temperature=0.0, max_tokens=self.longest)
        answers = self.policy.answer([Ask(prompt, sampling=how) for prompt in self.prompts.values()])
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
        return found
