"""Attention over a forest, as a function that transformers calls in every layer of the model.

`segments` runs one scaled-dot-product attention for each segment: its queries against the keys of its
ancestors and its own. What a layer may ask beyond that is a closed list: a window (in position space) and a
softcap are done, anything else that is not None is refused, because ignoring it would be wrong without a sign.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from concord.engine.forest import Forest
from concord.errors import CapabilityError, explain

__all__ = ["NAME", "attend", "install"]

NAME = "concord_forest"

# What models pass that changes nothing here: positions are applied already, no cache is kept, and dropout
# and masks are looked at below.
_HARMLESS = frozenset(
    {
        "position_ids",
        "position_embeddings",
        "use_cache",
        "output_attentions",
        "output_hidden_states",
        "cache_position",
        "is_causal",
        "past_key_values",
        "sliding_window",
        "softcap",
        "scaling",
        "dropout",
        "forest",
        "return_dict",
    }
)


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
    _check(module, attention_mask, asked)
    assert isinstance(forest, Forest), "checked"
    forest.calls.append(getattr(module, "layer_idx", None))
    scaling = asked.get("scaling")
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    window, softcap = asked.get("sliding_window"), asked.get("softcap")
    outputs: list[Tensor] = []
    for number, segment in enumerate(forest.segments):
        own = query[:, :, segment.start : segment.stop]
        seen_k, seen_v = (_seen(forest, number, states) for states in (key, value))
        outputs.append(_one(own, seen_k, seen_v, scaling=scaling, window=window, softcap=softcap))
    return torch.cat(outputs, 2).transpose(1, 2), None


def _seen(forest: Forest, number: int, states: Tensor) -> Tensor:
    """The states of a segment and those it descends from, in the order of positions."""
    path = forest.path(number)
    if len(path) == 1:
        segment = forest.segments[number]
        return states[:, :, segment.start : segment.stop]
    return torch.cat([states[:, :, forest.segments[n].start : forest.segments[n].stop] for n in path], 2)


def _one(
    query: Tensor, key: Tensor, value: Tensor, *, scaling: float | None, window: int | None, softcap: float | None
) -> Tensor:
    """Attention of the last tokens of a sequence to all of it, causal and within the window."""
    size, seen = query.shape[2], key.shape[2]
    bites = window is not None and seen > window
    if softcap is not None:
        return _softcapped(query, key, value, _visible(size, seen, window, query.device), scaling, softcap)
    if size == seen and not bites:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
    mask = _visible(size, seen, window, query.device)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)


def _visible(size: int, seen: int, window: int | None, device: torch.device) -> Tensor:
    """Which of the tokens before it each of the last tokens may see; a window counts positions, itself one."""
    ago = torch.arange(seen - size, seen, device=device)[:, None] - torch.arange(seen, device=device)[None]
    visible = ago >= 0
    return visible if window is None else visible & (ago < window)


def _softcapped(
    query: Tensor, key: Tensor, value: Tensor, visible: Tensor, scaling: float | None, softcap: float
) -> Tensor:
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.tanh(query @ key.transpose(2, 3) * scale / softcap) * softcap
    scores = scores.masked_fill(~visible, float("-inf"))
    return torch.softmax(scores, -1, dtype=torch.float32).to(query.dtype) @ value


def _check(module: nn.Module, attention_mask: Tensor | None, asked: Mapping[str, Any]) -> None:
    odd = [name for name, value in asked.items() if value is not None and name not in _HARMLESS]
    if attention_mask is not None:
        odd.append("attention_mask")
    if asked.get("dropout"):
        odd.append("dropout")
    if asked.get("is_causal") is False or getattr(module, "is_causal", True) is False:
        odd.append("is_causal=False")
    if asked.get("past_key_values") is not None:
        odd.append("past_key_values")
    if "forest" not in asked:
        odd.append("a call without a forest")
    if odd:
        wrong = f"{type(module).__name__} asks more of attention than the forest does"
        accepted = "causal attention with a window or a softcap"
        raise CapabilityError(explain(wrong, found=", ".join(odd), accepted=accepted, do="use the rows layout"))
