"""The optimizer that the base of Harbour is pretrained with: Muon for matrices, AdamW for all else.

A matrix steps by its momentum with all singular values brought near one (Newton-Schulz, of degree five), so
that what is rare in the gradient is learned as fast as what is frequent. `torch.optim.Muon` does the same in
half precision, one matrix after another, which takes a processor longer than all the rest of a step.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from concord.train.loop import Optimizing

__all__ = ["Muon", "orthogonal"]

_MOMENTUM, _STEPS = 0.95, 5
_COEFFICIENTS = (3.4445, -4.775, 2.0315)
_LIKE_ADAM = 0.2  # so much of sqrt(the longer side) makes a step as long as one of AdamW


def orthogonal(matrices: Tensor) -> Tensor:
    """Each of a stack of matrices with its singular values brought between about 0.7 and 1.2."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    found = matrices.mT if tall else matrices
    found = found / found.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    first, third, fifth = _COEFFICIENTS
    for _ in range(_STEPS):
        gram = found @ found.mT
        found = torch.baddbmm(
            found, torch.baddbmm(gram, gram, gram, beta=third, alpha=fifth), found, beta=first
        )
    return found.mT if tall else found


class Muon(torch.optim.Optimizer):
    """Steps of the weights of a model's linear maps by Muon, and of all its other weights by AdamW."""

    def __init__(self, model: nn.Module, how: Optimizing) -> None:
        tables = {module.weight for module in model.modules() if isinstance(module, nn.Embedding)}
        maps = {module.weight for module in model.modules() if isinstance(module, nn.Linear)} - tables
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [weight for weight in weights if weight in maps], "turns": True},
            {"params": [weight for weight in weights if weight not in maps], "turns": False},
        ]
        super().__init__(groups, {"lr": how.learning_rate})
        self.how = how

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of all weights that have a gradient."""
        for group in self.param_groups:
            given = [weight for weight in group["params"] if weight.grad is not None]
            for alike in _alike(given) if group["turns"] else ():
                self._turn(alike, group["lr"])
            for weight in () if group["turns"] else given:
                self._walk(weight, group["lr"])

    def _turn(self, weights: Sequence[Tensor], rate: float) -> None:
        """Muon, for matrices of one shape."""
        ahead = list[Tensor]()
        for weight in weights:
            state, grad = self.state[weight], _gradient(weight)
            if not state:
                state["momentum"] = torch.zeros_like(weight)
            ahead.append(grad.lerp(state["momentum"].lerp_(grad, 1 - _MOMENTUM), _MOMENTUM))
        length = _LIKE_ADAM * max(weights[0].shape) ** 0.5
        for weight, turned in zip(weights, orthogonal(torch.stack(ahead)), strict=True):
            weight.mul_(1 - rate * self.how.weight_decay).sub_(turned, alpha=rate * length)

    def _walk(self, weight: Tensor, rate: float) -> None:
        """Adam, without decay."""
        state, grad, how = self.state[weight], _gradient(weight), self.how
        if not state:
            state |= {"step": torch.zeros(()), "mean": torch.zeros_like(weight)}
            state["square"] = torch.zeros_like(weight)
        state["step"] += 1
        count = float(state["step"])
        state["mean"].lerp_(grad, 1 - how.beta1)
        state["square"].lerp_(grad.square(), 1 - how.beta2)
        spread = (state["square"] / (1 - how.beta2**count)).sqrt_().add_(how.epsilon)
        weight.addcdiv_(state["mean"], spread, value=-rate / (1 - how.beta1**count))


def _gradient(weight: Tensor) -> Tensor:
    assert weight.grad is not None, "only weights with a gradient are moved"
    return weight.grad


def _alike(weights: Sequence[Tensor]) -> list[list[Tensor]]:
    """Matrices by their shape, to be turned together."""
    shapes: dict[torch.Size, list[Tensor]] = {}
    for weight in weights:
        shapes.setdefault(weight.shape, []).append(weight)
    return [*shapes.values()]
