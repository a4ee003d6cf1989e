"""Attention over a forest, as a function that transformers calls in every layer of the model.

`segments` runs scaled-dot-product attention segment by segment, on any device; on a GPU `flex` takes its
place where it can. What a layer may ask beyond that is a closed list: a window (in position space) and a
softcap are done, anything else that is not None is refused, because ignoring it would be wrong without a
sign.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from concord.engine import flex
from concord.engine.forest import Forest
from concord.errors import CapabilityError, Said, explain

__all__ = ["NAME", "States", "attend", "install", "segments"]

NAME = "concord_forest"

_KNOWN = frozenset(
    {
        "forest",  # ours
        "scaling",  # done
        "sliding_window",  # done, in position space
        "softcap",  # done
        "dropout",  # looked at: must be zero
        "is_causal",  # looked at: must not be False
        "position_ids",  # ours, handed on: positions are in the queries and keys already
        "use_cache",  # False; a cache itself never comes this far, and would change the number of keys
        "output_attentions",  # looked at: must not be True
    }
)

# Leaves of one parent that are this short together are one call: computing their scores against each other,
# to mask them, costs less than a call and a copy of the parent's keys for each.
_TOGETHER = 48

# Queries under a window go in blocks, so that what is computed grows with the window and not with the
# segment. Those that need a mask for other reasons go in larger ones, so that it stays small.
_BLOCK, _MASKED = 256, 1024

_SCORES = 4 << 20  # how many scores a soft-capped layer holds at a time, all heads counted


def install() -> None:
    """Make the forest's attention known to transformers; once is enough, again does no harm."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **asked: Any,
) -> tuple[Tensor, None]:
    """Attention of one layer over a forest: [1, heads, T, size] in, [1, T, heads, size] out."""
    forest = asked.get("forest")
    if odd := list(_odd(module, query, key, attention_mask, asked)):
        wrong = f"{type(module).__name__} asks more of attention than the forest does"
        accepted = "causal attention over the tokens of a forest, with a window or a softcap"
        raise CapabilityError(
            explain(wrong, found=Said(", ".join(odd)), accepted=accepted, do="use the rows layout")
        )
    assert isinstance(forest, Forest), "looked at"
    forest.calls.append(getattr(module, "layer_idx", None))
    kernel = flex.attend if flex.suits(forest, query) else segments
    return kernel(
        forest,
        (query, key, value),
        scaling=asked.get("scaling"),
        window=asked.get("sliding_window"),
        softcap=asked.get("softcap"),
    ), None


def _odd(
    module: nn.Module, query: Tensor, key: Tensor, attention_mask: Tensor | None, asked: Mapping[str, Any]
) -> Iterator[str]:
    """What a layer asks that is not done here, in words."""
    forest, window = asked.get("forest"), asked.get("sliding_window")
    for name, value in asked.items():
        if value is not None and name not in _KNOWN:
            yield name
    if attention_mask is not None:
        yield "a mask"
    if asked.get("dropout"):
        yield f"dropout {asked['dropout']}"
    if asked.get("is_causal") is False or getattr(module, "is_causal", True) is False:
        yield "attention to later tokens"
    if asked.get("output_attentions"):
        yield "the weights of attention"
    if window is not None and window < 1:
        yield f"a window of {window}"
    if window is None and _slides(module):
        yield "a layer with a window that it does not name"
    if not isinstance(forest, Forest):
        yield "a call without a forest"
    elif query.shape[0] != 1 or not query.shape[2] == key.shape[2] == forest.tokens:
        yield f"queries {list(query.shape)} and keys {list(key.shape)} over {forest.tokens} tokens"


def _slides(module: nn.Module) -> bool:
    """Whether the configuration gives this layer a window."""
    kinds = getattr(getattr(module, "config", None), "layer_types", None) or ()
    number = getattr(module, "layer_idx", None)
    return isinstance(number, int) and number < len(kinds) and kinds[number] == "sliding_attention"


States: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""Queries, keys and values."""


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of attention: a range of queries, the ranges of keys they look at, and which each sees."""

    start: int
    stop: int
    keys: tuple[tuple[int, int], ...]
    mask: Tensor | None
    """None where the keys are the queries' own tokens: plainly causal."""


def segments(
    forest: Forest, states: States, *, scaling: float | None, window: int | None, softcap: float | None
) -> Tensor:
    """Attention over a forest, segment by segment: [1, T, heads, size]."""
    known = ("segments", window)
    if known not in forest.plans:
        forest.plans[known] = tuple(_planned(forest, window))
        forest.plans["pieces", window] = _cut(forest, forest.plans[known])
    sizes, calls = forest.plans["pieces", window]
    # Cut once: the gradient of a slice is as large as what it is cut from, and each segment has several.
    queries, keys, values = (part.split(sizes, 2) for part in states)
    masks = [call.mask for call, *_ in calls]
    if softcap is None:
        masks = _added(forest, ("masks", window, states[0].dtype), masks)
    outputs: list[Tensor] = []
    for (_, own, seen), mask in zip(calls, masks, strict=True):
        asks, sees, gives = _joint(queries[own]), _picked(keys, seen), _picked(values, seen)
        if softcap is None:
            outputs.append(_dot_product(asks, sees, gives, mask, scaling))
        else:
            outputs.append(_capped(asks, sees, gives, mask, scaling, softcap))
    return torch.cat(outputs, 2).transpose(1, 2)


def _added(
    forest: Forest, known: tuple[str, int | None, torch.dtype], masks: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """Masks as what is added to scores.

    Made once a forest: given flags, every layer would make these for itself, and keep them for its backward.
    """
    if known not in forest.plans:
        forest.plans[known] = [
            None
            if mask is None
            else mask.new_zeros(mask.shape, dtype=known[2]).masked_fill_(~mask, -torch.inf)
            for mask in masks
        ]
    return forest.plans[known]


_Cut: TypeAlias = tuple[list[int], list[tuple[_Call, slice, list[slice]]]]
"""Sizes of pieces, and for each call which of them are its queries, and which its keys."""


def _cut(forest: Forest, calls: Sequence[_Call]) -> _Cut:
    """Cut all tokens into pieces, so that the ranges of every call begin and stop where a piece does."""
    ranges = [part for call in calls for part in ((call.start, call.stop), *call.keys)]
    places = sorted({0, forest.tokens, *(place for part in ranges for place in part)})
    number = {place: count for count, place in enumerate(places)}
    sizes = [stop - start for start, stop in pairwise(places)]

    def pieces(start: int, stop: int) -> slice:
        return slice(number[start], number[stop])

    return sizes, [(one, pieces(one.start, one.stop), [pieces(*part) for part in one.keys]) for one in calls]


def _planned(forest: Forest, window: int | None) -> Iterator[_Call]:
    """The calls that make up the attention of a layer, in the order of their queries."""
    for number, stop in _joined(forest):
        segment = forest.segments[number]
        alone = stop == segment.stop
        if window is not None:
            step = max(window, _BLOCK)
        else:
            step = stop - segment.start if segment.parent < 0 else _MASKED
        path = forest.path(number)
        for begin in range(segment.start, stop, step):
            end = min(begin + step, stop)
            # Joined leaves all begin at one position; what is further back than the first of them sees is
            # left out.
            first = segment.depth + (begin - segment.start if alone else 0)
            reach = 0 if window is None else max(0, first - window + 1)
            keys = tuple(_ranges(forest, path, reach, end))
            bites = window is not None and end - begin > window
            plain = alone and not bites and keys == ((begin, end),)
            yield _Call(begin, end, keys, None if plain else _mask(forest, (begin, end), keys, window))


def _joined(forest: Forest) -> Iterator[tuple[int, int]]:
    """Each segment that begins a call, and where its queries stop: short leaves of one parent go together."""
    number = 0
    while number < len(forest.segments):
        begins = number
        first = last = forest.segments[number]
        number += 1
        while number < len(forest.segments):
            after = forest.segments[number]
            leaves = after.last == after.stop and last.last == last.stop
            if not leaves or after.parent != first.parent or first.parent < 0:
                break
            if after.stop - first.start > _TOGETHER:
                break
            last = after
            number += 1
        yield begins, last.stop


def _ranges(forest: Forest, path: tuple[int, ...], reach: int, end: int) -> Iterator[tuple[int, int]]:
    """The tokens of a path from a position on and before a place; ranges that touch are one, and no copy."""
    start = stop = -1
    for number in path:
        segment = forest.segments[number]
        low = segment.start + max(0, reach - segment.depth)
        high = end if number == path[-1] else segment.stop
        if low >= high:
            continue
        if low == stop:
            stop = high
            continue
        if stop > start:
            yield start, stop
        start, stop = low, high
    yield start, stop


def _mask(
    forest: Forest, queries: tuple[int, int], keys: tuple[tuple[int, int], ...], window: int | None
) -> Tensor:
    """Which of the keys each query sees: tokens of its past, and within the window, which counts itself."""
    device = forest.ids.device
    asks = torch.arange(*queries, device=device)[:, None]
    sees = torch.cat([torch.arange(*part, device=device) for part in keys])
    visible = (sees <= asks) & (asks < forest.ends()[sees])
    if window is not None:
        visible &= forest.positions[asks] - forest.positions[sees] < window
    return visible


def _picked(pieces: Sequence[Tensor], ranges: Sequence[slice]) -> Tensor:
    return _joint([piece for part in ranges for piece in pieces[part]])


def _joint(pieces: Sequence[Tensor]) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(list(pieces), 2)


def _dot_product(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None
) -> Tensor:
    groups = query.shape[1] // key.shape[1]
    if groups > 1 and mask is not None and query.device.type != "cpu":
        # There, no fast kernel takes a mask and fewer heads of keys than of queries.
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        groups = 1
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=groups > 1
    )


def _capped(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None, softcap: float
) -> Tensor:
    """Attention with scores capped to +-softcap: of some queries at a time, and not kept for later."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if mask is None:
        size = query.shape[2]
        mask = torch.ones(size, size, dtype=torch.bool, device=query.device).tril()
    size = max(1, _SCORES // (query.shape[1] * key.shape[2]))
    parts: list[Tensor] = []
    for asks, visible in zip(query.split(size, 2), mask.split(size), strict=True):
        given = (asks, key, value, visible, scale, softcap)
        if torch.is_grad_enabled():
            part = checkpoint(_soft, *given, use_reentrant=False, preserve_rng_state=False)
            assert isinstance(part, Tensor), "what it was given to compute"
            parts.append(part)
        else:
            parts.append(_soft(*given))
    return torch.cat(parts, 2)


def _soft(query: Tensor, key: Tensor, value: Tensor, visible: Tensor, scale: float, softcap: float) -> Tensor:
    """Attention by its formula. Heads that share keys stand one below the other: no key is repeated."""
    heads, size = query.shape[1:3]
    grouped = query.reshape(1, key.shape[1], -1, query.shape[-1])
    scores = torch.tanh(grouped @ key.transpose(2, 3) * (scale / softcap)) * softcap
    scores = scores.unflatten(2, (-1, size)).masked_fill(~visible, float("-inf")).flatten(2, 3)
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(query.dtype)
    return (weights @ value).reshape(1, heads, size, -1)
