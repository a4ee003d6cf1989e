"""Whether the forest is right for a model: looked up where it can be, tried where it cannot.

Wrong layouts fail without a sign: the loss goes down all the same. So the forest is used only for what is known
to work, and everything else falls back to rows, with the reason.
"""

from collections.abc import Iterator
from typing import Any

from torch import nn

from concord.engine.attention import NAME
from concord.engine.forest import Forest
from concord.engine.model import body, causal, text_config
from concord.errors import CapabilityError, Said, explain

__all__ = ["check_calls", "check_positions", "objections", "windows"]

_LAYERS = frozenset({"full_attention", "sliding_attention"})


def objections(model: nn.Module) -> Iterator[str]:
    """Why the forest cannot be right for this model, as far as its configuration tells."""
    inner, config = causal(model), text_config(model)
    odd = sorted(set(getattr(config, "layer_types", None) or ()) - _LAYERS)
    if odd:
        yield f"it has layers of the kind {', '.join(odd)}, which are no attention over single tokens"
    if getattr(config, "is_encoder_decoder", False):
        yield "it has an encoder"
    if not getattr(inner, "_supports_attention_backend", False):
        yield "its attention cannot be exchanged"
    if not isinstance(getattr(body(model), "layers", getattr(body(model), "h", None)), nn.ModuleList):
        yield "its layers cannot be counted"


def windows(model: nn.Module) -> int:
    """The longest window or chunk of any layer, 0 where there is none: probes must be longer."""
    config = text_config(model)
    names = ("sliding_window", "attention_chunk_size", "sliding_window_size", "local_attention_window")
    return max((int(size) for name in names if (size := getattr(config, name, None))), default=0)


def check_calls(forest: Forest, model: nn.Module, *, since: int = 0) -> None:
    """Refuse where not every layer, or some layer twice, asked our attention."""
    layers = text_config(model).num_hidden_layers
    calls = forest.calls[since:]
    if len(calls) != layers or len(set(calls)) != layers:
        wrong, found = "not every layer went through the forest once", Said(f"calls by the layers {calls}")
        accepted, do = f"{layers}, one a layer", "use the rows layout"
        raise CapabilityError(explain(wrong, found=found, accepted=accepted, do=do))


def check_positions(model: nn.Module, lengths: list[int]) -> None:
    """Refuse sequences that a model would turn by other angles alone than it does together.

    Long-RoPE takes its angles by the longest sequence of a forward pass; so all of them must lie on one side of
    the threshold.
    """
    for threshold in _thresholds(text_config(model)):
        if min(lengths, default=0) <= threshold < max(lengths, default=0):
            wrong = "sequences on both sides of the length at which this model changes its angles"
            found = Said(f"lengths from {min(lengths)} to {max(lengths)} around {threshold}")
            accepted, do = "one side in one forward pass", "split the micro-batch there"
            raise CapabilityError(explain(wrong, found=found, accepted=accepted, do=do))


def _thresholds(config: Any) -> Iterator[int]:
    parameters = getattr(config, "rope_parameters", None) or {}
    parts = [parameters, *(part for part in parameters.values() if isinstance(part, dict))]
    for part in parts:
        if part.get("rope_type") in ("longrope", "dynamic"):
            yield int(part.get("original_max_position_embeddings") or config.max_position_embeddings)


def switched(model: nn.Module) -> bool:
    """Whether the attention of the text part is the forest's."""
    return getattr(text_config(model), "_attn_implementation", None) == NAME
