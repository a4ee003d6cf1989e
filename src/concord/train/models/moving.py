"""A reference that moves: it follows the policy, some way behind."""

import copy
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from concord.engine import Line, LogProbs
from concord.tensors import PerToken
from concord.train.loop import Loop, Quiet, Saved, Stepped

__all__ = ["Moving"]


class Moving(Quiet):
    """A reference that follows the policy: every so many steps a share of the policy is mixed into it.

    It is a copy of the policy, and is asked anew in every step.
    """

    def __init__(self, engine: LogProbs, *, every: int, mixup: float, precision: Any = nullcontext) -> None:
        """Begin as the policy is."""
        named = engine.model.named_parameters()
        self._trained = [name for name, weight in named if weight.requires_grad]
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
            for name, own in self._own():
                own.lerp_(loop.policy.engine.model.get_parameter(name).to(own), self.mixup)

    def _own(self) -> list[tuple[str, Tensor]]:
        """Its weights that move, by name: those that are trained in the policy."""
        return [(name, self.engine.model.get_parameter(name).data) for name in self._trained]

    def remember(self) -> Saved:
        """Where it stands; what is frozen comes from the model that the run names."""
        return dict(self._own()), {}

    def recall(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Stand there again."""
        for name, own in self._own():
            own.copy_(tensors[name])
