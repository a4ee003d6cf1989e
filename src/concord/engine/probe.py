"""The trial at the start: is what the engine computes what the model itself computes?

Synthetic sequences, longer than any window that can bite, go through the layout and, one by one, through the
model's own forward; values and gradients must agree within three times the model's own noise floor (the same
sequences through two of its own kernels), and never need to agree better than their precision allows.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from concord.engine.guards import windows
from concord.engine.logprobs import LogProbs
from concord.engine.model import causal, text_config
from concord.engine.switch import own_kernel
from concord.engine.targets import Line

__all__ = ["Trial", "floor", "lines", "try_out"]

_FLOORS = {torch.float32: 1e-4, torch.float64: 1e-8, torch.bfloat16: 5e-2, torch.float16: 1e-2}
_TIMES = 3


@dataclass(frozen=True)
class Trial:
    """What a trial found: the noise of the model itself, and how far the layout is from it."""

    noise: float
    tolerance: float
    values: float
    """The largest difference of a token's log-probability, in nats."""
    gradients: float
    """The norm of the difference of gradients, relative to theirs."""
    tokens: int
    """How long the longest sequence of the trial was."""

    @property
    def passed(self) -> bool:
        """Whether values and gradients agree."""
        return self.values <= self.tolerance and self.gradients <= self.tolerance


def floor(dtype: torch.dtype) -> float:
    """How far two right answers may be apart in this precision."""
    return _FLOORS.get(dtype, _FLOORS[torch.float32])


def lines(model: nn.Module, *, longest: int = 0) -> list[Line]:
    """Synthetic sequences: a prompt with three replies, one of another tree, longer than any window that bites.

    `longest` is the longest sequence there will be, where that is known: a window beyond it never bites.
    """
    config = text_config(model)
    limit = int(getattr(config, "max_position_embeddings", 0) or 4096)
    limit = min(limit, longest) if longest else limit
    reach = min(windows(model) + 24, limit)
    rng = np.random.default_rng(0)

    def tokens(count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        return rng.integers(0, int(config.vocab_size), max(count, 1))

    size = max(reach - 16, 16)
    prompt, other = tokens(size), tokens(11)
    starts = [(prompt, 16), (prompt, 7), (prompt, 12), (other, 9)]
    found: list[Line] = []
    for number, (start, count) in enumerate(starts):
        ids = np.concatenate([start, tokens(count)])[:limit] if limit > 2 else tokens(2)
        found.append(Line(ids, np.array([[min(len(start), len(ids) - 1), len(ids)]]), number))
    return found


def try_out(engine: LogProbs, *, longest: int = 0) -> Trial:
    """Compare an engine with the model it was made of."""
    rows = lines(engine.model, longest=longest)
    kernels = [name for name in ("sdpa", "eager") if _takes(engine.model, name)]
    apart = [_one_by_one(engine.model, rows, name) for name in kernels]
    noise = _apart(*apart[0], *apart[-1])
    ours = _through(engine, rows)
    values, gradients = _apart(*ours, *apart[0])
    dtype = next(engine.model.parameters()).dtype
    tolerance = max(_TIMES * max(noise), floor(dtype))
    return Trial(max(noise), tolerance, values, gradients, max(len(row.ids) for row in rows))


def _takes(model: nn.Module, name: str) -> bool:
    """Whether a model has a kernel of this name."""
    return name == "eager" or bool(getattr(causal(model), "_supports_sdpa", False))


_Found: TypeAlias = tuple[Tensor, Tensor]
"""Log-probabilities of all targets; gradients of the model's vectors (norms and biases), end to end."""


@contextmanager
def _vectors(model: nn.Module) -> Generator[list[nn.Parameter]]:
    """Let gradients flow into the vectors of every layer alone: a few numbers, which all tokens have a part in."""
    asked = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    chosen = [one for one, _ in asked if one.ndim == 1 and one.is_floating_point()]
    chosen = chosen or [one for one, _ in asked if one.is_floating_point()]
    wanted = {id(one) for one in chosen}
    try:
        for parameter, _ in asked:
            parameter.requires_grad_(id(parameter) in wanted)
        yield chosen
    finally:
        for parameter, before in asked:
            parameter.requires_grad_(before)


def _one_by_one(model: nn.Module, rows: Sequence[Line], name: str) -> _Found:
    """Each sequence alone through the model's own forward, logits and all."""
    inner = causal(model)
    device = next(inner.parameters()).device
    with own_kernel(model, name), _vectors(inner) as vectors, torch.enable_grad():
        logps: list[Tensor] = []
        total = [torch.zeros_like(vector, dtype=torch.float32) for vector in vectors]
        for number, row in enumerate(rows):
            ids = torch.from_numpy(row.ids)[None].to(device)
            logits = inner(input_ids=ids, use_cache=False).logits[0].float()
            start, stop = row.spans[0]
            found = logits[start - 1 : stop - 1].log_softmax(-1).gather(-1, ids[0, start:stop, None])[:, 0]
            for sum_, part in zip(total, _gradients(found * _sign(number), vectors), strict=True):
                sum_ += part
            logps.append(found.detach())
    return torch.cat(logps), torch.cat(total)


def _through(engine: LogProbs, rows: Sequence[Line]) -> _Found:
    """All sequences at once, as the engine lays them out."""
    device = next(engine.model.parameters()).device
    with _vectors(engine.model) as vectors, torch.enable_grad():
        found = engine(layout=engine.lay(rows).to(device))
        gradients = _gradients(found.logps * _sign(found.owner), vectors)
    return found.logps.detach(), torch.cat(gradients)


def _sign(reply: Any) -> Any:
    """Weights that differ between replies, as those of losses do: 1 and -0.5 in turns."""
    return 1.0 - 1.5 * (reply % 2)


def _gradients(values: Tensor, vectors: Sequence[nn.Parameter]) -> list[Tensor]:
    """The gradients of a sum, as float32, zero where it does not depend."""
    found = torch.autograd.grad(values.sum(), vectors, allow_unused=True)
    given = zip(vectors, found, strict=True)
    return [torch.zeros_like(v, dtype=torch.float32) if g is None else g.float() for v, g in given]


def _apart(first: Tensor, first_gradient: Tensor, second: Tensor, second_gradient: Tensor) -> tuple[float, float]:
    """How far apart two answers are: values at most, gradients as a whole."""
    values = float((first.float() - second.float()).abs().max())
    scale = float(second_gradient.norm()) or 1.0
    return values, float((first_gradient - second_gradient).norm()) / scale
