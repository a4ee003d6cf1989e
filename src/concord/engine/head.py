"""From hidden states to log-probabilities, piece by piece: a [tokens, vocabulary] matrix never exists.

Only states that predict a reply's token come here. A plain linear head is fused with its softmax: the walk
goes over tiles of the logits, some tokens by some of the vocabulary, small enough to stay in the caches, and
keeps for each token the running maximum and sum. Every other head runs as its own module, some tokens at a
time, each chunk computed again for its gradients. How large tiles and chunks are depends on the kind of
device and the size of the vocabulary, never on free memory: the same step gives the same bits tomorrow.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeAlias, TypeVar, runtime_checkable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from concord.errors import CapabilityError, InputError, Said, explain
from concord.tensors import Owner, PerToken, Record, TopK

__all__ = [
    "CPU_CHUNK",
    "CPU_ROWS",
    "CPU_TILE",
    "DEVICE_CHUNK",
    "DEVICE_ROWS",
    "DEVICE_TILE",
    "Beside",
    "Chunk",
    "ChunkFunction",
    "Tile",
    "chunk_size",
    "linear_logps",
    "module_values",
    "tile_for",
    "untraced",
]

_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")

CPU_TILE, DEVICE_TILE = 1 << 20, 1 << 26
"""Logits of one tile: 4 MB in float32 stay in a processor's caches; 256 MB keep an accelerator busy."""
CPU_ROWS, DEVICE_ROWS = 512, 4096
"""Tokens of one tile, at most."""
CPU_CHUNK, DEVICE_CHUNK = 12 << 20, 1 << 27
"""Logits of one chunk of a head's module, which needs a few times as much again for its gradients."""


class Tile(NamedTuple):
    """How many tokens, by how many of the vocabulary, are in memory at a time."""

    rows: int
    columns: int


def tile_for(vocabulary: int, device: torch.device, *, rows: int = 0) -> Tile:
    """The tile for a vocabulary on a device; `rows` tokens at most, where that is asked."""
    on_cpu = device.type == "cpu"
    rows = rows or (CPU_ROWS if on_cpu else DEVICE_ROWS)
    columns = (CPU_TILE if on_cpu else DEVICE_TILE) // rows
    return Tile(rows, max(1, min(columns, vocabulary)))


def chunk_size(vocabulary: int, device: torch.device) -> int:
    """How many tokens meet the module of a head at a time."""
    return max(32, (CPU_CHUNK if device.type == "cpu" else DEVICE_CHUNK) // max(vocabulary, 1))


def untraced(function: Callable[_Given, _Made]) -> Callable[_Given, _Made]:
    """A break in the graph under torch.compile: for what tracing would break, or not make faster."""
    return torch.compiler.disable(function)  # pyright: ignore[reportReturnType]


# --- a plain linear head ----------------------------------------------------------------------------------


class _How(NamedTuple):
    """How a pass is computed."""

    tile: Tile
    low: torch.dtype
    """The precision of products."""
    full: torch.dtype
    """The precision of everything else: maxima, exponentials, sums."""
    grows: bool
    """Whether a backward pass may follow."""


class _Linear:
    """The logits of a linear head, tile by tile, in memory that is used again."""

    def __init__(
        self, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, how: _How
    ) -> None:
        self.hidden, self.weight, self.bias = hidden.to(how.low), weight, bias
        self.labels, self.how = labels, how
        rows = min(how.tile.rows, len(labels))
        self.memory = hidden.new_empty(rows * min(how.tile.columns, len(weight)), dtype=how.full)

    def blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Stretches of the vocabulary, with their weights in the precision of products."""
        for columns in _stretches(len(self.weight), self.how.tile.columns):
            yield columns, self.weight[columns].to(self.how.low)

    def tiles(self, columns: slice, block: Tensor) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """For some of the vocabulary and each stretch of tokens: logits, places of labels, which are in."""
        width = len(block)
        for rows in _stretches(len(self.labels), self.how.tile.rows):
            states = self.hidden[rows]
            tile = self.memory[: len(states) * width].view(len(states), width)
            if tile.dtype == block.dtype:
                torch.mm(states, block.T, out=tile)
                if self.bias is not None:
                    tile += self.bias[columns].to(tile.dtype)
            elif self.bias is not None:
                tile.copy_(torch.addmm(self.bias[columns].to(self.how.low), states, block.T))
            else:
                tile.copy_(states @ block.T)
            place = self.labels[rows] - columns.start
            inside = (place >= 0) & (place < width)
            yield rows, tile, place.clamp(0, width - 1)[:, None], inside


def _stretches(total: int, size: int) -> Iterator[slice]:
    """Cut a length into stretches of about the same size, none above `size`."""
    count = -(-total // max(size, 1))
    step = -(-total // max(count, 1))
    for start in range(0, total, max(step, 1)):
        yield slice(start, min(start + step, total))


def _add_product(into: Tensor, first: Tensor, second: Tensor) -> None:
    """Add a product of matrices to a sum in full precision."""
    if into.dtype == first.dtype:
        into.addmm_(first, second)
    else:
        into += first @ second


class _LinearLogps(torch.autograd.Function):
    """log softmax(h W^T + b)[label]: each tile computed once forward and, where W is trained, once more."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, how: _How
    ) -> Tensor:
        """Compute the log-probability of each label.

        Where only hidden states have gradients, these are W[label] - softmax W but for a factor a token:
        they are summed here along with the softmax, and the backward is a product.
        """
        wants_hidden, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        ahead = how.grows and wants_hidden and not (wants_weight or wants_bias)
        with torch.autocast(hidden.device.type, enabled=False):
            walk = _Linear(hidden, weight, bias, labels, how)
            top = hidden.new_full((len(labels),), torch.finfo(how.full).min, dtype=how.full)
            # A label that no tile holds, being outside the vocabulary, has no log-probability: it stays NaN.
            total, picked = torch.zeros_like(top), torch.full_like(top, torch.nan)
            slope = hidden.new_zeros(hidden.shape if ahead else (0, 0), dtype=how.full)
            for columns, block in walk.blocks():
                for rows, tile, place, inside in walk.tiles(columns, block):
                    mine = tile.gather(1, place)[:, 0]
                    picked[rows] = torch.where(inside, mine, picked[rows])
                    peak = torch.maximum(top[rows], tile.amax(-1))
                    fade = (top[rows] - peak).exp_()
                    tile.sub_(peak[:, None]).exp_()
                    total[rows] = total[rows] * fade + tile.sum(-1)
                    top[rows] = peak
                    if ahead:
                        # A label's own part would drown the rest in rounding; it is added below.
                        tile.scatter_(1, place, tile.gather(1, place) * ~inside[:, None])
                        slope[rows] *= fade[:, None]
                        _add_product(slope[rows], tile.to(how.low), block)
            logps = (picked - top) - total.log()
            if ahead:
                others = (total - (picked - top).exp()) / total
                own = weight[labels.clamp(0, len(weight) - 1)].to(how.full)
                slope = torch.addcmul(-slope / total[:, None], others[:, None], own)
        ctx.how, ctx.hidden_dtype = how, hidden.dtype
        if ahead:
            ctx.save_for_backward(slope)
        elif how.grows:
            ctx.save_for_backward(hidden, weight, bias, labels, top + total.log())
        return logps

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        """d logp = onehot - softmax; sums over tokens are kept in float32, whatever the weights are."""
        if torch.is_grad_enabled():
            wrong, found = "gradients of gradients through the head", Said("create_graph=True")
            accepted = "first derivatives"
            do = "pass the log-probabilities on detached, or use a head with a hook"
            raise CapabilityError(explain(wrong, found=found, accepted=accepted, do=do))
        (grad,) = above
        if len(ctx.saved_tensors) == 1:
            (slope,) = ctx.saved_tensors
            return (slope * grad[:, None]).to(ctx.hidden_dtype), None, None, None, None
        hidden, weight, bias, labels, norms = ctx.saved_tensors
        how: _How = ctx.how
        wants_hidden, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        with torch.autocast(hidden.device.type, enabled=False):
            walk = _Linear(hidden, weight, bias, labels, how)
            weighed = (hidden.to(how.full) * -grad[:, None]).to(how.low) if wants_weight else None
            d_hidden = hidden.new_zeros(hidden.shape, dtype=how.full) if wants_hidden else None
            d_weight = torch.zeros_like(weight) if wants_weight else None
            d_bias = torch.zeros_like(bias, dtype=how.full) if bias is not None and wants_bias else None
            for columns, block in walk.blocks():
                wide = None
                if d_weight is not None:
                    at = d_weight[columns]
                    wide = at if at.dtype == how.full else torch.zeros_like(at, dtype=how.full)
                for rows, tile, place, inside in walk.tiles(columns, block):
                    tile.sub_(norms[rows, None]).exp_()
                    tile.scatter_add_(1, place, -inside[:, None].to(tile.dtype))
                    low = tile.to(how.low)
                    if d_hidden is not None:
                        _add_product(d_hidden[rows], low, block)
                    if wide is not None and weighed is not None:
                        _add_product(wide, low.T, weighed[rows])
                    if d_bias is not None:
                        d_bias[columns] -= grad[rows] @ tile
                if d_weight is not None and wide is not None and d_weight.dtype != how.full:
                    d_weight[columns] = wide
            if d_hidden is not None:
                d_hidden = d_hidden.mul_(-grad[:, None]).to(hidden.dtype)
            if bias is not None and d_bias is not None:
                d_bias = d_bias.to(bias.dtype)
        return d_hidden, d_weight, d_bias, None, None


@untraced
def linear_logps(
    hidden: Tensor, weight: Tensor, labels: Tensor, *, bias: Tensor | None = None, tile: Tile | None = None
) -> PerToken:
    """The log-probability of each label under a linear head, float32 or better; NaN for what is no label.

    Products are computed as autocast would, if it is on. First derivatives only.
    """
    device = hidden.device.type
    low = torch.promote_types(hidden.dtype, weight.dtype)
    if torch.is_autocast_enabled(device) and low != torch.float64:
        low = torch.get_autocast_dtype(device)
    full = torch.float64 if low == torch.float64 else torch.float32
    how = _How(tile or tile_for(len(weight), hidden.device), low, full, torch.is_grad_enabled())
    return _LinearLogps.apply(hidden, weight, bias, labels, how)  # pyright: ignore[reportReturnType]


# --- any head, through its module -------------------------------------------------------------------------


@dataclass(frozen=True)
class Chunk:
    """Some of the predicted tokens: their logits in float32, their labels, and what else is known of each."""

    logits: Tensor
    labels: Owner
    beside: Mapping[str, Any] = field(default_factory=dict[str, Any])


ChunkFunction: TypeAlias = Callable[[Chunk], Tensor | TopK]
"""From a chunk to one number (or one row) a token."""


@runtime_checkable
class Beside(Protocol):
    """What goes through the chunk loop beside the logits, such as a teacher's."""

    def at(self, part: slice) -> Any:
        """What belongs to some of the tokens."""
        ...

    def __len__(self) -> int:
        """How many tokens it knows of."""
        ...


def module_values(
    head: Callable[[Tensor], Tensor],
    hidden: Tensor,
    labels: Tensor,
    functions: Mapping[str, ChunkFunction],
    *,
    beside: Mapping[str, Beside] | None = None,
    size: int = 256,
) -> dict[str, Any]:
    """What chunk functions make of the head's logits, `size` tokens at a time, each chunk checkpointed."""
    others = dict(beside or {})
    if wrong := {name: len(other) for name, other in others.items() if len(other) != len(labels)}:
        what, accepted = "what goes beside the logits is not of the same tokens", f"{len(labels)} of each"
        do = "give one row for each predicted token, in the order of the targets"
        raise InputError(explain(what, found=Said(f"rows {wrong}"), accepted=accepted, do=do))
    device = hidden.device.type

    def one(states: Tensor, wanted: Tensor, start: int) -> dict[str, Any]:
        # Without autocast's cache each chunk has a low-precision copy of the weights to itself, so that their
        # gradients meet in the precision of the weights: a shared copy would sum all chunks in bfloat16.
        with torch.autocast(device, enabled=torch.is_autocast_enabled(device), cache_enabled=False):
            logits = head(states)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        part = slice(start, start + len(wanted))
        chunk = Chunk(logits, wanted, {name: other.at(part) for name, other in others.items()})
        return {name: function(chunk) for name, function in functions.items()}

    parts: list[dict[str, Any]] = []
    start = 0
    for states, wanted in zip(hidden.split(size), labels.split(size), strict=True):
        given = states, wanted, start
        # Whatever a head draws by chance, it draws again: checkpoint keeps the generators' states.
        again = torch.is_grad_enabled()
        parts.append(checkpoint(one, *given, use_reentrant=False) if again else one(*given))  # type: ignore[arg-type]
        start += len(wanted)
    return {name: _joined([part[name] for part in parts]) for name in functions}


def _joined(parts: list[Any]) -> Any:
    """The parts of a value one after the other; of a record, field by field."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    if isinstance(first, Record):
        return replace(first, **{f.name: _joined([getattr(p, f.name) for p in parts]) for f in fields(first)})
    return torch.cat(parts)
