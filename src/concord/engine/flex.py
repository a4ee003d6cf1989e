"""The forest's attention on a GPU: one call of FlexAttention a layer, which skips blocks that no token sees.

The blocks are worked out from the table of segments, not from a mask of all tokens by all tokens. Tokens come
filled up to whole blocks (`forest.plant(multiple=BLOCK)`), which keeps the kernel's shapes few.
"""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from concord.engine.forest import Forest

__all__ = ["BLOCK", "attend", "block_mask", "suits"]

BLOCK = 128
_SMALLEST_HEAD = 16  # of what the kernel's matrix units take

_Bools = npt.NDArray[np.bool_]


def suits(forest: Forest, query: Tensor) -> bool:
    """Whether this kernel is the one to take: on a GPU, with whole blocks."""
    return query.device.type == "cuda" and forest.tokens % BLOCK == 0 and query.shape[-1] >= _SMALLEST_HEAD


def attend(
    forest: Forest,
    states: tuple[Tensor, Tensor, Tensor],
    *,
    scaling: float | None,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """Attention over a forest, all segments at once: [1, T, heads, size]."""
    from transformers.integrations.flex_attention import flex_attention_forward

    known = ("flex", window)
    if known not in forest.plans:
        forest.plans[known] = block_mask(forest, window)
    # All that the library's function reads of the layer is whether it trains, to choose a compiled kernel.
    layer: Any = SimpleNamespace(training=torch.is_grad_enabled())
    given = forest.plans[known]
    output, _ = flex_attention_forward(layer, *states, given, scaling=scaling, softcap=softcap)
    return output


def block_mask(forest: Forest, window: int | None) -> BlockMask:
    """Which blocks of tokens see which, in part or whole, and the rule for those in part."""
    some, whole = _blocks(forest, window)
    device, size = forest.ids.device, (forest.tokens, forest.tokens)
    part = [_listed(some & ~whole, device), _listed(whole, device)]
    return BlockMask.from_kv_blocks(
        *part[0], *part[1], BLOCK_SIZE=BLOCK, mask_mod=_rule(forest, window), seq_lengths=size
    )


def _rule(forest: Forest, window: int | None) -> Callable[[Any, Any, Any, Any], Any]:
    """Whether a query sees a key, by their places: it descends from it, and stands within the window."""
    ends, positions = forest.ends(), forest.positions
    # Expressions and not functions: these are traced, and what tests wrap around functions cannot be.
    if window is None:
        return lambda batch, head, query, key: (key <= query) & (query < ends[key])
    return lambda batch, head, query, key: (
        (key <= query) & (query < ends[key]) & (positions[query] - positions[key] < window)
    )


def _blocks(forest: Forest, window: int | None) -> tuple[_Bools, _Bools]:
    """[queries, keys] For all pairs of blocks whether any token sees any, and whether all see all."""
    count = -(-forest.tokens // BLOCK)
    some = np.zeros((count, count), bool)
    seen = np.zeros((count, count), np.int64)
    for number, segment in enumerate(forest.segments):
        asks = _pieces(segment.start, segment.stop, segment.depth)
        for ancestor in forest.path(number):
            other = forest.segments[ancestor]
            keys = _pieces(other.start, other.stop, other.depth)
            # Least and greatest distance of a query's position from a key's, for all pairs of pieces.
            least = asks[:, None, 1] - (keys[None, :, 1] + keys[None, :, 2] - 1)
            greatest = asks[:, None, 1] + asks[:, None, 2] - 1 - keys[None, :, 1]
            any_, all_ = greatest >= 0, least >= 0
            if window is not None:
                any_, all_ = any_ & (least < window), all_ & (greatest < window)
            at = np.ix_(asks[:, 0], keys[:, 0])
            some[at] |= any_
            seen[at] += all_ * asks[:, None, 2] * keys[None, :, 2]
    return some, seen == BLOCK * BLOCK


def _pieces(start: int, stop: int, depth: int) -> npt.NDArray[np.int64]:
    """The parts of a range in one block each: the block, the position of the first token, how many."""
    edges = np.array([start, *range((start // BLOCK + 1) * BLOCK, stop, BLOCK), stop])
    return np.stack([edges[:-1] // BLOCK, depth + edges[:-1] - start, np.diff(edges)], 1)


def _listed(table: _Bools, device: torch.device) -> Iterator[Tensor]:
    """A table of blocks as counts and indices, those that are set first."""
    order = np.argsort(~table, axis=1, kind="stable")
    for part in (table.sum(1), order):
        yield torch.from_numpy(part.astype(np.int32))[None, None].to(device)
