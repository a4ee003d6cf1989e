"""AdamW, learning-rate schedules as functions of the step, and clipping.

A schedule has no state: what the rate is follows from the number of the step, so there is nothing to resume.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from concord.errors import InputError, explain

__all__ = ["Optimizing", "Schedule", "adamw", "clip", "optimizer_tensors", "rate", "restore_optimizer"]

Schedule: TypeAlias = Literal["linear", "cosine", "constant"]


@dataclass(frozen=True, kw_only=True)
class Optimizing:
    """How weights are moved. Names and defaults are those of most trainers."""

    learning_rate: float
    schedule: Schedule = "linear"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    """Gradients of a larger norm are shortened to it; 0 leaves them."""
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8


def rate(how: Optimizing, step: int, steps: int) -> float:
    """The learning rate of a step, counted from 0, of so many: a warm-up from 0, then down to 0.

    linear: in a straight line; cosine: by half a wave; constant: not at all.
    """
    if how.schedule not in get_args(Schedule):
        wrong, accepted = "there is no such schedule", ", ".join(get_args(Schedule))
        raise InputError(explain(wrong, found=how.schedule, accepted=accepted, do="give one of these"))
    if step < how.warmup_steps:
        return how.learning_rate * step / how.warmup_steps
    if how.schedule == "constant":
        return how.learning_rate
    left = max(0.0, (steps - step) / max(1, steps - how.warmup_steps))
    share = left if how.schedule == "linear" else (1 + math.cos(math.pi * (1 - left))) / 2
    return how.learning_rate * share


def adamw(module: nn.Module, how: Optimizing) -> torch.optim.AdamW:
    """AdamW on the weights that are trained; matrices decay, biases and norms do not."""
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    if not weights:
        wrong, accepted = (
            "there is nothing to train: all weights are frozen",
            "weights that ask for gradients",
        )
        do = "train the whole model, or add an adapter"
        raise InputError(explain(wrong, found="0 weights", accepted=accepted, do=do))
    groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": how.weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    betas = (how.beta1, how.beta2)
    fused = {weight.device.type for weight in weights} <= {"cpu", "cuda"}
    given: dict[str, Any] = {"lr": how.learning_rate, "betas": betas, "eps": how.epsilon, "fused": fused}
    return torch.optim.AdamW([group for group in groups if group["params"]], **given)


def clip(weights: Iterable[Tensor], largest: float) -> float:
    """Shorten gradients to a norm, and return the norm they had; 0 leaves them as they are."""
    given = [weight for weight in weights if weight.grad is not None]
    norm = torch.nn.utils.get_total_norm([weight.grad for weight in given if weight.grad is not None])
    whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
    if largest > 0:
        torch.nn.utils.clip_grads_with_norm_(given, largest, norm)
    return float(whole)


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str]) -> dict[str, Tensor]:
    """What an optimizer remembers, by the names of its weights."""
    return {
        f"{names[weight]}/{key}": value
        for weight, state in optimizer.state.items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str], held: Mapping[str, Tensor]
) -> None:
    """Give an optimizer what it remembered."""
    weights = {name: weight for weight, name in names.items()}
    optimizer.state.clear()
    for place, value in held.items():
        name, _, key = place.rpartition("/")
        weight = weights[name]
        # The count of steps is a number of its own; all else has the weight's device and layout.
        optimizer.state[weight][key] = value.clone().to(weight.device)
