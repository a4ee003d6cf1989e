"""Whether the forest is right for a model: looked up where it can be, tried where it cannot.

Wrong layouts fail without a sign: the loss goes down all the same. So the forest is used only for what is
known to work, and everything else falls back to rows, with the reason. In order: what the configuration and
the modules say (`objections`), what every layer asks (`attention`), that each layer asked once
(`check_calls`), how long sequences may be (`Limits`), and the trial at the start (`probe`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import nn

from concord.engine.attention import NAME
from concord.engine.forest import Forest
from concord.engine.model import body, causal, text_config
from concord.engine.rows import Rows
from concord.engine.switch import kernel
from concord.errors import CapabilityError, InputError, Said, explain

__all__ = ["Limits", "check_calls", "impossible", "limits", "objections", "windows"]

Layout: TypeAlias = Forest | Rows

_LAYERS = frozenset({"full_attention", "sliding_attention"})
_NEIGHBOURS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.RNNBase, nn.RNNCellBase)


def impossible(model: nn.Module) -> Iterator[str]:
    """Why no layout can be right for this model."""
    if getattr(text_config(model), "is_encoder_decoder", False) or getattr(
        causal(model).config, "is_encoder_decoder", False
    ):
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
    reachable = [bound for bound in _thresholds(config) if not longest or longest > bound]
    if reachable:
        yield f"it changes its angles for sequences longer than {min(reachable)}, and there may be some"


def _text_modules(model: nn.Module) -> Iterator[nn.Module]:
    """The modules of the text part: of all of the body, where no part of it has the text's own
    configuration."""
    network, text = body(model), text_config(model)
    parts = [part for part in network.modules() if type(getattr(part, "config", None)) is type(text)]
    seen: set[int] = set()
    for part in parts or [network]:
        for module in part.modules():
            if id(module) not in seen:
                seen.add(id(module))
                yield module


def windows(model: nn.Module) -> int:
    """The longest window or chunk of any layer, 0 where there is none: a trial must be longer.

    Whatever the configuration calls so is taken for one; a trial that is longer than need be does no harm.
    """
    found = [0]
    for name, value in vars(text_config(model)).items():
        if ("window" in name or "chunk" in name) and not name.startswith("_"):
            sizes = value if isinstance(value, list | tuple) else [value]
            found += [size for size in sizes if isinstance(size, int) and not isinstance(size, bool)]
    return max(found)


def check_calls(forest: Forest, model: nn.Module, *, since: int = 0) -> None:
    """Refuse where not every layer, or some layer twice, asked our attention. `since`: the calls before
    this."""
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
    """How long the sequences of a forward pass may be; all zero or empty: nothing is known against any
    length."""

    positions: int = 0
    """The longest that the model has positions for."""
    thresholds: tuple[int, ...] = ()
    """Lengths beyond which the model turns all tokens of a forward pass by other angles."""
    tried: int = 0
    """The longest that the trial can speak for, where a window begins beyond it."""

    def check(self, layout: Layout) -> None:
        """Refuse a layout whose sequences would not be computed as each is alone."""
        shortest, longest = layout.reach
        if self.positions and longest > self.positions:
            wrong, found = "a sequence is longer than the model has positions for", longest
            accepted, do = f"{self.positions} tokens at most", "shorten it, or leave it out"
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
        if self.tried and longest > self.tried:
            wrong, found = "a sequence is longer than the engine was started for", longest
            accepted, do = f"{self.tried} tokens at most", "start the engine with the length of the longest"
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
        if isinstance(layout, Rows) and layout.bands:
            return
        for threshold in self.thresholds:
            if shortest <= threshold < longest:
                wrong = "sequences on both sides of the length at which this model changes its angles"
                found = Said(f"lengths from {shortest} to {longest} around {threshold}")
                accepted, do = "one side in one forward pass", "split the micro-batch there"
                raise InputError(explain(wrong, found=found, accepted=accepted, do=do))


def limits(model: nn.Module, *, longest: int = 0) -> Limits:
    """The limits of a model. `longest`: what the engine is started for, 0 if not known."""
    config = text_config(model)
    positions = int(getattr(config, "max_position_embeddings", None) or 0)
    # Dynamic angles depend on the longest sequence there has been so far: beyond their threshold nothing is
    # certain.
    positions = min([positions, *_thresholds(config, kinds=("dynamic",))])
    return Limits(positions, tuple(_thresholds(config)), longest if windows(model) >= longest else 0)


def _thresholds(config: Any, kinds: tuple[str, ...] = ("longrope",)) -> Iterator[int]:
    """The lengths at which angles change, of all layers, each once."""
    parameters = getattr(config, "rope_parameters", None) or {}
    parts = [parameters, *(part for part in parameters.values() if isinstance(part, dict))]
    found: set[int] = set()
    for part in parts:
        if str(part.get("rope_type", "")).replace("dynamic_ntk", "dynamic") in kinds:
            found.add(int(part.get("original_max_position_embeddings") or config.max_position_embeddings))
    yield from sorted(found)
