"""From hidden states to log-probabilities, chunk by chunk: a [tokens, vocabulary] matrix never exists.

Only states that predict a reply's token come here. A plain linear head has a path with a backward of its own,
which computes the logits of a chunk again; every other head runs as its module under checkpointing.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

__all__ = ["ChunkFunction", "linear_logps", "module_values"]

ChunkFunction: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""From the float32 logits of a chunk and its labels to one number (or one row) a token."""


class _LinearLogps(torch.autograd.Function):
    """log softmax(h W^T + b)[label], a chunk at a time, forward and backward."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, size: int
    ) -> Tensor:
        """Compute the log-probability of each label; keeps one number a token for the backward."""
        logps, norms = torch.empty_like(labels, dtype=torch.float32), torch.empty_like(labels, dtype=torch.float32)
        for part in torch.arange(len(labels)).split(size):
            at = slice(int(part[0]), int(part[-1]) + 1)
            logits = _logits(hidden[at], weight, bias)
            norms[at] = torch.logsumexp(logits, -1)
            logps[at] = logits.gather(-1, labels[at, None])[:, 0] - norms[at]
        ctx.save_for_backward(hidden, weight, bias, labels, norms)
        ctx.size = size
        return logps

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        """d logp = onehot - softmax; sums over tokens are kept in float32."""
        hidden, weight, bias, labels, norms = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        d_hidden = torch.empty_like(hidden) if wants_hidden else None
        d_weight = torch.zeros_like(weight, dtype=torch.float32) if wants_weight else None
        d_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and wants_bias else None
        (grad,) = above
        for part in torch.arange(len(labels)).split(ctx.size):
            at = slice(int(part[0]), int(part[-1]) + 1)
            scores = _logits(hidden[at], weight, bias).sub_(norms[at, None]).exp_().mul_(-grad[at, None])
            scores.scatter_add_(-1, labels[at, None], grad[at, None])
            low = scores.to(weight.dtype)
            if d_hidden is not None:
                d_hidden[at] = low @ weight
            if d_weight is not None:
                d_weight.addmm_(low.T, hidden[at]) if low.dtype == torch.float32 else d_weight.add_(low.T @ hidden[at])
            if d_bias is not None:
                d_bias += scores.sum(0)
        return (
            d_hidden,
            None if d_weight is None else d_weight.to(weight.dtype),
            None if d_bias is None else d_bias.to(bias.dtype),
            None,
            None,
        )


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Float32 logits of a chunk, in memory of their own."""
    logits = hidden @ weight.T if bias is None else torch.addmm(bias, hidden, weight.T)
    return logits.float()


def linear_logps(
    hidden: Tensor, weight: Tensor, labels: Tensor, *, bias: Tensor | None = None, size: int = 256
) -> Tensor:
    """The log-probability of each label under a linear head, `size` tokens at a time."""
    logps: Tensor = _LinearLogps.apply(hidden, weight, bias, labels, size)  # type: ignore[assignment]
    return logps


def module_values(
    head: nn.Module | Callable[[Tensor], Tensor],
    hidden: Tensor,
    labels: Tensor,
    functions: Mapping[str, ChunkFunction],
    *,
    size: int = 256,
) -> dict[str, Tensor]:
    """What chunk functions make of the head's logits, `size` tokens at a time, each chunk checkpointed."""
    names = list(functions)

    def one(states: Tensor, wanted: Tensor) -> tuple[Tensor, ...]:
        logits = head(states).float()
        return tuple(functions[name](logits, wanted) for name in names)

    parts: list[tuple[Tensor, ...]] = []
    for states, wanted in zip(hidden.split(size), labels.split(size), strict=True):
        grows = torch.is_grad_enabled()
        parts.append(checkpoint(one, states, wanted, use_reentrant=False) if grows else one(states, wanted))  # type: ignore[arg-type]
    return {name: torch.cat([part[i] for part in parts]) for i, name in enumerate(names)}
