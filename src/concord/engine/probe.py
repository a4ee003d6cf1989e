"""The trial at the start: is what the engine computes what the model itself computes?

Synthetic sequences, longer than any window that can bite, go through the layout and, one by one, through the
model's own forward; values and gradients must agree within three times the model's own noise (the same
sequences through two of its own kernels), and never need to agree better than their precision allows.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from concord.engine.guards import limits, windows
from concord.engine.logprobs import LogProbs
from concord.engine.model import causal, text_config
from concord.engine.switch import own_kernel
from concord.engine.targets import Ints, Line

__all__ = ["Apart", "Trial", "lines", "try_out"]


@dataclass(frozen=True)
class Apart:
    """How far two answers are from each other."""

    values: float
    """The largest difference of a token's log-probability, in nats."""
    gradients: float
    """The norm of the difference of gradients, relative to theirs."""

    def within(self, other: "Apart") -> bool:
        """Whether these are no further apart than others; what is not a number is."""
        return self.values <= other.values and self.gradients <= other.gradients


# How far two right answers may always be apart.
_FLOORS = {
    torch.float64: Apart(1e-8, 1e-8),
    torch.float32: Apart(1e-4, 1e-4),
    torch.float16: Apart(1e-2, 1e-2),
    torch.bfloat16: Apart(5e-2, 5e-2),
}
_TIMES = 3
_MOST = 10  # times the floor: a model that is noisier than this has kernels that differ, not noise


@dataclass(frozen=True)
class Trial:
    """What a trial found: how far the layout is from the model, and the model from itself."""

    found: Apart
    noise: Apart
    allowed: Apart
    tokens: int
    """How long the longest sequence of the trial was."""

    @property
    def passed(self) -> bool:
        """Whether values and gradients agree."""
        return self.found.within(self.allowed)

    @property
    def line(self) -> str:
        """What a person should know."""
        found, noise, allowed = self.found, self.noise, self.allowed
        return (
            f"log-probabilities within {found.values:.1e} nats of the model's own (allowed {allowed.values:.1e}, its "
            f"noise {noise.values:.1e}), gradients within {found.gradients:.1e} (allowed {allowed.gradients:.1e}, "
            f"noise {noise.gradients:.1e}), on sequences of up to {self.tokens} tokens"
        )


_START, _REPLY, _FREE = 13, 16, 512


def lines(model: nn.Module, *, longest: int = 0) -> list[Line]:
    """Synthetic sequences with every way of sharing: two trees, three levels, a line that begins another.

    They are longer than any window that bites. `longest` is the longest sequence there will be, where that is
    known: a window beyond it never bites, and needs no trial.
    """
    config, bounds = text_config(model), limits(model)
    most = min(size for size in (bounds.positions or 1 << 20, *bounds.thresholds, longest or 1 << 20))
    window = windows(model)
    rng = np.random.default_rng(0)

    def tokens(count: int) -> Ints:
        return rng.integers(0, int(config.vocab_size), count)

    start, turn, question, other = tokens(_START), tokens(window + 8), tokens(9), tokens(11)
    # What begins them all is given up first where there is room for little, and the long turn is shortened.
    room = most - _REPLY
    start = start[: max(0, room - 1)]
    turn = turn[: max(1, room - len(start))]
    reply = tokens(_REPLY)
    beginnings = [(start, turn, reply), (start, turn, reply[:7]), (start, turn, tokens(12))]
    # A reply longer than the window, where that costs little: then queries of one segment see no ancestor at
    # all.
    long = window + 10 if window <= _FREE else _REPLY
    beginnings += [
        (start, question, tokens(long)),
        (start, question, tokens(5)),
        (tokens(0), other, tokens(9)),
    ]
    found: list[Line] = []
    for number, (first, second, last) in enumerate(beginnings):
        ids = np.concatenate([first, second, last])[: max(2, most)]
        before = min(len(first) + len(second), len(ids) - 1)
        found.append(Line(ids, np.array([[before, len(ids)]]), number))
    return found


def try_out(engine: LogProbs, *, longest: int = 0, own: str | None = None) -> Trial:
    """Compare an engine with the model it was made of. `own`: the kernel that the model came with."""
    model = engine.model
    rows = lines(model, longest=longest)
    usual = "sdpa" if getattr(causal(model), "_supports_sdpa", False) else "eager"
    truth = own or usual
    second = next((name for name in (usual, "eager") if name != truth), truth)
    with _awake(model), _watched(model) as watched:
        right = _one_by_one(model, rows, truth, watched)
        # A model that has one kernel only shows its noise when two copies of a row go through it together.
        noise = _apart(_one_by_one(model, rows, second, watched, copies=2 if second == truth else 1), right)
        found = _apart(_through(engine, rows, watched), right)
    floor = _FLOORS.get(next(model.parameters()).dtype, _FLOORS[torch.float32])
    allowed = Apart(_allowed(noise.values, floor.values), _allowed(noise.gradients, floor.gradients))
    return Trial(found, noise, allowed, max(len(row.ids) for row in rows))


def _allowed(noise: float, floor: float) -> float:
    return min(max(_TIMES * noise, floor), _MOST * floor)


_Found: TypeAlias = tuple[Tensor, Tensor]
"""Log-probabilities of all targets; gradients of the weights that are watched, end to end."""
_MANY = 1 << 20


@contextmanager
def _awake(model: nn.Module) -> Generator[None]:
    """Give weights that are all zero some value, for the time of the trial: zeros hide what they multiply.

    A gate that has not opened yet passes any trial, and is wrong after the first step.
    """
    asleep = [weight for weight in model.parameters() if weight.is_floating_point() and not weight.any()]
    held = [weight.detach().clone() for weight in asleep]
    try:
        with torch.no_grad():
            for number, weight in enumerate(asleep):
                drawn = np.random.default_rng(number).normal(0, 0.05, weight.shape)
                weight.copy_(torch.from_numpy(drawn))
        yield
    finally:
        with torch.no_grad():
            for weight, before in zip(asleep, held, strict=True):
                weight.copy_(before)


@contextmanager
def _watched(model: nn.Module) -> Generator[list[nn.Parameter]]:
    """Let gradients flow into some weights of every layer alone: few numbers, which all tokens have a part
    in.

    They are all vectors, and all weights of moderate size that are no plain linear map and no table: whatever
    could treat tokens by where they stand.
    """
    asked = [(weight, weight.requires_grad) for weight in model.parameters()]
    plain = {
        id(weight)
        for module in model.modules()
        if isinstance(module, nn.Linear | nn.Embedding) or type(module).__name__ == "Conv1D"
        for weight in module.parameters(recurse=False)
        if weight.ndim > 1
    }
    real = [weight for weight, _ in asked if weight.is_floating_point()]
    chosen = [
        weight for weight in real if weight.ndim < 2 or (id(weight) not in plain and weight.numel() <= _MANY)
    ]
    chosen = chosen or real
    wanted = {id(weight) for weight in chosen}
    try:
        for weight, _ in asked:
            weight.requires_grad_(id(weight) in wanted)
        yield chosen
    finally:
        for weight, before in asked:
            weight.requires_grad_(before)


def _one_by_one(
    model: nn.Module, rows: Sequence[Line], name: str, watched: Sequence[nn.Parameter], *, copies: int = 1
) -> _Found:
    """Each sequence alone through the model's own forward, logits and all."""
    inner = causal(model)
    device = next(inner.parameters()).device
    keeps = "logits_to_keep" in signature(inner.forward).parameters
    total = [torch.zeros_like(weight, dtype=torch.float32) for weight in watched]
    logps: list[Tensor] = []
    with own_kernel(model, name), torch.enable_grad():
        for number, row in enumerate(rows):
            ids = torch.from_numpy(row.ids)[None].to(device)
            start, stop = row.spans[0].tolist()
            given: dict[str, Any] = {"logits_to_keep": len(row.ids) - start + 1} if keeps else {}
            logits = inner(input_ids=ids.repeat(copies, 1), use_cache=False, **given).logits[0].float()
            scores = logits[:-1] if keeps else logits[start - 1 : stop - 1]
            found = scores.log_softmax(-1).gather(-1, ids[0, start:stop, None])[:, 0]
            for sum_, part in zip(total, _gradients(found * _weight(number), watched), strict=True):
                sum_ += part
            logps.append(found.detach())
    return torch.cat(logps), torch.cat([part.flatten() for part in total])


def _through(engine: LogProbs, rows: Sequence[Line], watched: Sequence[nn.Parameter]) -> _Found:
    """All sequences at once, as the engine lays them out."""
    device = next(engine.model.parameters()).device
    with torch.enable_grad():
        found = engine(layout=engine.lay(rows).to(device))
        gradients = _gradients(found.logps * _weight(found.owner), watched)
    return found.logps.detach(), torch.cat([part.flatten() for part in gradients])


def _weight(reply: Any) -> Any:
    """Weights that differ between replies, as those of losses do: 1 and -0.5 in turns."""
    return 1.0 - 1.5 * (reply % 2)


def _gradients(values: Tensor, watched: Sequence[nn.Parameter]) -> list[Tensor]:
    """The gradients of a sum, as float32, zero where it does not depend."""
    found = torch.autograd.grad(values.sum(), watched, allow_unused=True)
    given = zip(watched, found, strict=True)
    return [torch.zeros_like(w, dtype=torch.float32) if g is None else g.float() for w, g in given]


def _apart(first: _Found, second: _Found) -> Apart:
    """How far an answer is from another: values at most, gradients as a whole."""
    scale = float(second[1].norm()) or 1.0
    return Apart(float((first[0] - second[0]).abs().max()), float((first[1] - second[1]).norm()) / scale)
