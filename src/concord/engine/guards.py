"""Whether the forest is right for a model: looked up where it can be, tried where it cannot.

Wrong layouts fail without a sign: the loss goes down all the same. So the forest is used only for what is
known to work, and everything else falls back to rows, with the reason. In order: what the configuration and
the modules say (`objections`), what every layer asks (`attention`), that each layer asked once
(`check_calls`), how long sequences and how large forests may be (`Limits`), and the trial at the start
(`probe`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from concord.engine.attention import NAME
from concord.engine.flex import BLOCK
from concord.engine.forest import Forest
from concord.engine.model import body, causal, text_config
from concord.engine.rows import Rows
from concord.engine.switch import kernel
from concord.errors import CapabilityError, InputError, Said, explain

__all__ = ["Limits", "check_calls", "impossible", "limits", "objections", "windows"]

_LAYERS = frozenset({"full_attention", "sliding_attention"})
# Words in the names of settings that bound what a layer looks at.
_LEAVES_OUT = ("window", "chunk", "local", "block_size", "topk", "top_k")
_NEIGHBOURS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.RNNBase, nn.RNNCellBase)


def impossible(model: nn.Module) -> Iterator[str]:
    """Why no layout can be right for this model."""
    configs = text_config(model), causal(model).config
    if any(getattr(config, "is_encoder_decoder", False) for config in configs):
        yield "it has an encoder, and its replies are no continuation of their prompt"


def objections(model: nn.Module, *, longest: int = 0) -> Iterator[str]:
    """Why the forest cannot be right for this model, as far as its configuration and its modules tell.

    `longest` is the longest sequence there will be, 0 if not known.
    """
    inner, config = causal(model), text_config(model)
    odd = sorted(set(getattr(config, "layer_types", None) or ()) - _LAYERS)
    if odd:
        yield f"it has layers of the kind {', '.join(odd)}, which are not attention to all earlier tokens"
    exchangeable = getattr(inner, "_can_set_attn_implementation", lambda: True)()
    if not getattr(inner, "_supports_attention_backend", False) or not exchangeable:
        yield "its attention cannot be exchanged"
    mixing = sorted({type(part).__name__ for part in _text_modules(model) if isinstance(part, _NEIGHBOURS)})
    if mixing:
        yield f"it has a {', '.join(mixing)}, which mixes tokens that stand side by side"
    if getattr(config, "output_attentions", False):
        yield "it was loaded to return the weights of attention, which the forest never has"
    if getattr(config, "attn_temperature_tuning", False):
        yield "it scales attention by where a token stands among all it is given, and not by its position"
    reachable = [bound for bound in _thresholds(config) if not longest or longest > bound]
    if reachable:
        yield f"it changes its angles for sequences longer than {min(reachable)}, and there may be some"


def _text_modules(model: nn.Module) -> Iterator[nn.Module]:
    """The modules of the text part: all of the body, where no part of it has the text's configuration."""
    network, text = body(model), text_config(model)
    parts = [part for part in network.modules() if type(getattr(part, "config", None)) is type(text)]
    seen: set[int] = set()
    for part in parts or [network]:
        for module in part.modules():
            if id(module) not in seen:
                seen.add(id(module))
                yield module


def windows(model: nn.Module) -> tuple[int, ...]:
    """The lengths at which some layer may begin to leave tokens out, shortest first: a trial must be longer.

    Whatever the configuration calls so is taken for one; a trial that is longer than need be does no harm.
    """
    found: set[int] = set()
    for name, value in vars(text_config(model)).items():
        if any(word in name for word in _LEAVES_OUT) and not name.startswith("_"):
            sizes = value if isinstance(value, list | tuple) else [value]
            # No flag, which is a whole number too.
            found.update(size for size in sizes if type(size) is int)
    return tuple(sorted(size for size in found if size > 0))


def check_calls(forest: Forest, model: nn.Module, *, since: int = 0) -> None:
    """Refuse where not every layer, or some layer twice, asked our attention since so many calls."""
    layers = int(text_config(model).num_hidden_layers)
    calls = forest.calls[since:]
    if kernel(model) != NAME:
        wrong, found = "the attention of the model is not the forest's", Said(str(kernel(model)))
    elif len(calls) != layers or len(set(calls)) != layers:
        wrong, found = "not every layer went through the forest once", Said(f"calls by the layers {calls}")
    else:
        return
    accepted, do = f"{layers} calls, one a layer", "use the rows layout"
    raise CapabilityError(explain(wrong, found=found, accepted=accepted, do=do))


@dataclass(frozen=True)
class Limits:
    """How much may go through the model in one forward pass; what is zero or empty is not limited."""

    positions: int = 0
    """The longest sequence that the model has positions for."""
    thresholds: tuple[int, ...] = ()
    """Lengths beyond which the model turns all tokens of a forward pass by other angles."""
    longest: int = 0
    """The longest sequence that the engine was started for: the trial speaks for no longer one."""
    tokens: int = 0
    """The largest forest that the engine was started for."""

    def check(self, layout: Forest | Rows) -> None:
        """Refuse a layout whose sequences would not be computed as each is alone."""
        shortest, longest = layout.reach
        if self.positions and longest > self.positions:
            wrong, found = "a sequence is longer than the model has positions for", longest
            accepted, do = f"{self.positions} tokens at most", "shorten it, or leave it out"
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
        if self.longest and longest > self.longest:
            wrong, found = "a sequence is longer than the engine was started for", longest
            accepted, do = f"{self.longest} tokens at most", "start the engine with the length of the longest"
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
        if isinstance(layout, Forest) and self.tokens and layout.tokens > self.tokens:
            wrong, found = "a forest is larger than the engine was started for", layout.tokens
            accepted, do = f"{self.tokens} tokens at most", "start the engine with the size of the largest"
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
        if isinstance(layout, Rows) and layout.bands:
            return
        for threshold in self.thresholds:
            if shortest <= threshold < longest:
                wrong = "sequences on both sides of the length at which this model changes its angles"
                found = Said(f"lengths from {shortest} to {longest} around {threshold}")
                accepted, do = "one side in one forward pass", "split the micro-batch there"
                raise InputError(explain(wrong, found=found, accepted=accepted, do=do))


def limits(model: nn.Module, *, longest: int = 0, tokens: int = 0) -> Limits:
    """The limits of a model. `longest`, `tokens`: what the engine is started for, 0 if not known."""
    config = text_config(model)
    positions = int(getattr(config, "max_position_embeddings", None) or 0)
    # Dynamic angles depend on the longest sequence there has been so far: beyond their threshold nothing is
    # certain.
    positions = min((bound for bound in (positions, *_thresholds(config, "dynamic")) if bound), default=0)
    # A forest may be filled up to whole blocks, with what nothing looks at.
    return Limits(positions, tuple(_thresholds(config)), longest, -(-tokens // BLOCK) * BLOCK)


def _thresholds(config: Any, kind: str = "longrope") -> Iterator[int]:
    """The lengths at which angles change, of all layers, each once."""
    parameters = getattr(config, "rope_parameters", None) or {}
    parts = [parameters, *(part for part in parameters.values() if isinstance(part, dict))]
    found: set[int] = set()
    for part in parts:
        if kind in str(part.get("rope_type", "")):
            found.add(int(part.get("original_max_position_embeddings") or config.max_position_embeddings))
    yield from sorted(found)
