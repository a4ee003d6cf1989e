"""The trial at the start: is what the engine computes what the model itself computes?

Synthetic sequences go through the layout and, one by one, through the model's own forward. `lines` are longer
than any window that can bite, and are compared in values and gradients; `far_lines` reach as far as the
sequences and forests to come, and are compared in values, which need little memory. Both must agree within
three times the model's own noise (the same sequences through two of its own kernels), and never need to agree
better than their precision allows. A model whose answer for a token changes with the tokens behind it fails
in every layout: what it gives for a reply is no probability of it.
"""

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from concord.engine.guards import limits, windows
from concord.engine.logprobs import Layout, LogProbs
from concord.engine.model import causal, check_head, text_config
from concord.engine.switch import own_kernel, usual
from concord.engine.targets import Ints, Line

__all__ = ["Apart", "Trial", "far_lines", "lines", "try_out"]


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

    def or_more(self, other: "Apart") -> "Apart":
        """The larger of each; not a number where either is none."""
        pairs = (self.values, other.values), (self.gradients, other.gradients)
        return Apart(*(math.nan if any(map(math.isnan, pair)) else max(pair) for pair in pairs))


# How far two right answers may always be apart. Log-probabilities of float64 weights are float32 too.
_FLOORS = {
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
    ahead: float
    """How far the model's own probabilities of a next token, all together, move with the tokens behind it."""
    longest: int
    """How long the longest sequence of the trial was."""
    tokens: int
    """How many tokens the largest layout of the trial had."""

    @property
    def passed(self) -> bool:
        """Whether values and gradients agree, and the model looks at no later token."""
        return self.found.within(self.allowed) and self.ahead <= self.allowed.values

    @property
    def line(self) -> str:
        """What a person should know."""
        found, noise, allowed = self.found, self.noise, self.allowed
        # Written so that what is not a number is named too.
        ahead = "" if self.ahead <= allowed.values else f"it looks at later tokens (by {self.ahead:.1e}); "
        return (
            f"{ahead}log-probabilities within {found.values:.1e} nats of the model's own "
            f"(allowed {allowed.values:.1e}, its noise {noise.values:.1e}), "
            f"gradients within {found.gradients:.1e} "
            f"(allowed {allowed.gradients:.1e}, noise {noise.gradients:.1e}), "
            f"on sequences of up to {self.longest} tokens, {self.tokens} at a time"
        )


_START, _REPLY, _FREE = 13, 16, 512
_ANY = 1 << 20  # longer than any sequence
# How far the trial reaches where nobody says how long sequences, and how large forests, will be.
_LONGEST, _TOKENS = 1024, 2048


class _Source:
    """Random tokens, and the special ones that text has, which a model may treat in a way of its own."""

    def __init__(self, model: nn.Module) -> None:
        self.rng = np.random.default_rng(0)
        self.texts = 0
        special: set[int] = set()
        barred: set[int] = set()
        for config in (causal(model).config, text_config(model)):
            for name, value in vars(config).items():
                ids = value if isinstance(value, list | tuple) else [value]
                if name.endswith(("token_id", "token_index")):
                    # Places of pictures and sounds, of which a trial has none, are left out.
                    kind = special if name.startswith(("bos", "eos", "pad", "sep")) else barred
                    kind |= {number for number in ids if isinstance(number, int)}
        every = np.arange(int(text_config(model).vocab_size))
        self.plain = np.setdiff1d(every, [*(barred - special)])
        self.special = np.intersect1d(self.plain, [*special])

    def __call__(self, count: int) -> Ints:
        """So many random tokens."""
        return self.plain[self.rng.integers(0, len(self.plain), count)]

    def text(self, count: int) -> Ints:
        """So many random tokens: the special ones stand behind the first, and each in its turn at the end."""
        found = self(count)
        within = self.special[: max(0, count - 2)]
        found[1 : 1 + len(within)] = within
        if len(within):
            found[-1] = within[self.texts % len(within)]
        self.texts += 1
        return found


def lines(model: nn.Module, *, longest: int = 0) -> list[Line]:
    """Synthetic sequences with every way of sharing: three trees, three levels, a line that begins another.

    They are longer than any window that bites. `longest` is the longest sequence there will be, where that is
    known: a window beyond it never bites, and needs no trial.
    """
    bounds, tokens = limits(model), _Source(model)
    most = min(bounds.positions or _ANY, *bounds.thresholds, longest or _ANY)
    window = max((size for size in windows(model) if size < most), default=0)
    start, turn, question, other = tokens(_START), tokens.text(window + 8), tokens.text(9), tokens(11)
    # What begins them all is given up first where there is room for little, and the long turn is shortened.
    room = most - _REPLY
    start = start[: max(0, room - 1)]
    turn = turn[: max(1, room - len(start))]
    reply = tokens.text(_REPLY)
    beginnings = [(start, turn, reply), (start, turn, reply[:7]), (start, turn, tokens.text(12))]
    # A reply longer than the window, where that costs little: then queries of one segment see no ancestor at
    # all.
    long = window + 10 if window <= _FREE else _REPLY
    beginnings += [
        (start, question, tokens.text(long)),
        (start, question, tokens.text(5)),
        (tokens(0), other, tokens.text(9)),
        # One token over and over goes to the same experts: what they drop when full is dropped here.
        (tokens(0), np.repeat(tokens(1), 2 * _REPLY), np.repeat(tokens(1), _REPLY)),
    ]
    found: list[Line] = []
    for number, (first, second, last) in enumerate(beginnings):
        ids = np.concatenate([first, second, last])[: max(2, most)]
        before = min(len(first) + len(second), len(ids) - 1)
        found.append(Line(ids, np.array([[before, len(ids)]]), number))
    return found


def far_lines(model: nn.Module, *, longest: int = 0, tokens: int = 0) -> list[Line]:
    """Synthetic sequences as long as those to come, behind as many tokens as there will be: 0 if not known.

    Two long ones share their first half, a short one stands beside them; their last tokens are predicted,
    those of what fills the forest before them are not.
    """
    draw = _Source(model)
    size = min(limits(model).positions or _ANY, longest or _LONGEST)
    long, short = draw.text(size), draw.text(min(size, _REPLY))
    other = np.concatenate([long[: size // 2], draw.text(size - size // 2)])
    # The tree is laid in the order of the tokens, and what fillers share, their first token, is laid once.
    long[0] = other[0] = draw.plain[-1]
    room = (tokens or _TOKENS) - (size + len(other[size // 2 :]) + len(short))
    filler = [draw.text(size) for _ in range(max(0, -(-room // max(1, size - 1))))]
    for ids in filler:
        ids[0] = draw.plain[0]
    return [*map(Line, filler), *(_tail(ids, number) for number, ids in enumerate((long, other, short)))]


def _tail(ids: Ints, reply: int) -> Line:
    """A line of which the last tokens are predicted."""
    return Line(ids, np.array([[max(1, len(ids) - _REPLY), len(ids)]]), reply)


def try_out(engine: LogProbs, *, longest: int = 0, tokens: int = 0, own: str | None = None) -> Trial:
    """Compare an engine with the model it was made of; a head that is not what is known of it is refused.

    `longest`, `tokens`: the longest sequence and the largest forest there will be, 0 if not known. `own`: the
    kernel that the model came with.
    """
    model = engine.model
    rows, far = lines(model, longest=longest), far_lines(model, longest=longest, tokens=tokens)
    if engine.layout == "rows":
        # Rows fill nothing: each is computed apart from the others.
        far = [line for line in far if len(line.spans)]
    near, remote = engine.lay(rows), engine.lay(far)
    truth = own or usual(model)
    second = next((name for name in (usual(model), "eager") if name != truth), truth)
    # A model that has one kernel only shows its noise when two copies of a row go through it together.
    copies = 2 if second == truth else 1
    size = max(len(line.ids) for line in far)
    with _awake(model):
        with _watched(model) as watched, torch.enable_grad():
            right = _one_by_one(model, rows, truth, watched)
            noise = _apart(_one_by_one(model, rows, second, watched, copies=copies), right)
            found = _apart(_through(engine, near, watched), right)
        with torch.no_grad():
            with own_kernel(model, truth):
                check_head(model, _ids(model, rows[-1].ids))
            ahead = _ahead(model, rows[0], truth)
            right = _one_by_one(model, far, truth, ())
            if size <= _LONGEST:
                # Beyond that a kernel that keeps all scores takes more memory than what is tried.
                noise = noise.or_more(_apart(_one_by_one(model, far, second, (), copies=copies), right))
            found = found.or_more(_apart(_through(engine, remote, ()), right))
    floor = _floor(model)
    allowed = Apart(_allowed(noise.values, floor.values), _allowed(noise.gradients, floor.gradients))
    longest = max(near.reach[1], remote.reach[1])
    return Trial(found, noise, allowed, ahead, longest, max(near.tokens, remote.tokens))


def _floor(model: nn.Module) -> Apart:
    """The floor of the lowest precision that has a part in what the model computes."""
    dtypes = {weight.dtype for weight in model.parameters()}
    kind = next(model.parameters()).device.type
    if torch.is_autocast_enabled(kind):
        dtypes.add(torch.get_autocast_dtype(kind))
    known = [_FLOORS[dtype] for dtype in dtypes if dtype in _FLOORS]
    return max(known, key=lambda floor: floor.values, default=_FLOORS[torch.float32])


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
    """Each sequence that is predicted alone through the model's own forward, logits and all."""
    total = [torch.zeros_like(weight, dtype=torch.float32) for weight in watched]
    logps: list[Tensor] = []
    with own_kernel(model, name):
        for row in rows:
            for start, stop in row.spans.tolist():
                scores = _scores(model, row.ids[:stop], stop - start + 1, copies)[:-1]
                labels = torch.from_numpy(row.ids[start:stop]).to(scores.device)
                found = scores.gather(-1, labels[:, None])[:, 0]
                for sum_, part in zip(total, _gradients(found * _weight(row.reply), watched), strict=True):
                    sum_ += part
                logps.append(found.detach())
    return torch.cat(logps), _flat(total)


def _scores(model: nn.Module, ids: Ints, last: int, copies: int = 1) -> Tensor:
    """[last, vocabulary] What a model thinks of each next token, at the last places of a sequence."""
    inner = causal(model)
    given: dict[str, Any] = {"input_ids": _ids(model, ids).repeat(copies, 1)}
    if "logits_to_keep" in signature(inner.forward).parameters:
        given["logits_to_keep"] = last
    return inner(**given, use_cache=False).logits[0, -last:].float().log_softmax(-1)


def _ids(model: nn.Module, ids: Ints) -> Tensor:
    """A sequence as a model takes it: a row, where the model is."""
    return torch.from_numpy(ids)[None].to(next(model.parameters()).device)


def _ahead(model: nn.Module, row: Line, name: str) -> float:
    """How far what a model thinks of a next token moves when that token, and more, are there to be seen."""
    cut = _REPLY // 2
    if len(row.ids) <= cut:
        return 0.0
    with own_kernel(model, name):
        whole, beginning = _scores(model, row.ids, cut + 1)[0], _scores(model, row.ids[:-cut], 1)[0]
    # Probabilities and not their logarithms, which are infinite for a token that the model rules out.
    return float((whole.exp() - beginning.exp()).abs().sum())


def _through(engine: LogProbs, layout: Layout, watched: Sequence[nn.Parameter]) -> _Found:
    """All sequences at once, as the engine laid them out."""
    found = engine(layout=layout.to(next(engine.model.parameters()).device))
    return found.logps.detach(), _flat(_gradients(found.logps * _weight(found.owner), watched))


def _weight(reply: Any) -> Any:
    """Weights that differ between replies, as those of losses do: 1 and -0.5 in turns."""
    return 1.0 - 1.5 * (reply % 2)


def _gradients(values: Tensor, watched: Sequence[nn.Parameter]) -> list[Tensor]:
    """The gradients of a sum, as float32, zero where it does not depend; none where nothing is watched."""
    if not watched:
        return []
    found = torch.autograd.grad(values.sum(), watched, allow_unused=True)
    given = zip(watched, found, strict=True)
    return [torch.zeros_like(w, dtype=torch.float32) if g is None else g.float() for w, g in given]


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts]) if parts else torch.zeros(0)


def _apart(first: _Found, second: _Found) -> Apart:
    """How far an answer is from another: values at most, gradients as a whole."""
    scale = float(second[1].norm()) or 1.0
    return Apart(float((first[0] - second[0]).abs().max()), float((first[1] - second[1]).norm()) / scale)
