"""Adapters that are trained in the place of a model's own weights, on a base that may be quantised.

A model as it came is the reference of its training, so what is laid over it begins by adding nothing: with
the adapter off, the model is what it was. A model that comes with an adapter is another matter. Its adapter
is trained on, and neither merged nor covered: merging into weights of half precision rounds away small
updates, so the policy would begin as another model than the one that was named, and an adapter that is saved
would stand on weights that are in no file. Below such an adapter is not the reference, which has to be
computed before the first step: `adds_nothing` tells the two cases apart.

A base is quantised after it was loaded, layer by layer, so that its files meet the checks all others meet.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from concord.engine.model import causal
from concord.engine.precision import adapter_weights
from concord.errors import NOTHING, CapabilityError, InputError, Said, UnavailableError, explain, nearest

__all__ = [
    "ALL_LINEAR",
    "Lora",
    "Quant",
    "add_lora",
    "adds_nothing",
    "check_targets",
    "describe",
    "merged",
    "quantise",
]

ALL_LINEAR = "all-linear"
"""Every linear layer but the head: what adapts best for its size."""

Quant: TypeAlias = Literal["8bit", "4bit"]
_LOW = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A low-rank adapter: W + (alpha / r) B A, of which A and B are trained."""

    r: int = 16
    """The rank: how many directions each layer may change in."""
    alpha: float | None = None
    """What the change is scaled by, over r; twice r where it is left out."""
    dropout: float = 0.0
    """Written down for other tools; the engine trains without dropout, for it would make a policy differ from
    its own reference."""
    target_modules: str | Sequence[str] = ALL_LINEAR
    """Names of the layers that are adapted. Embeddings and the head are only if they are named."""

    def __post_init__(self) -> None:
        if self.r < 1:
            _refuse("the rank of an adapter is too small", self.r, "1 or more", "leave lora_r out")
        if self.alpha is not None and not 0 < self.alpha < float("inf"):
            _refuse("an adapter would be scaled to nothing", self.alpha, "above 0", "leave lora_alpha out")
        if not 0 <= self.dropout < 1:
            _refuse("this is no share of dropout", self.dropout, "0 up to 1", "leave lora_dropout out")
        if not self.target_modules:
            do = f"name some, or leave lora_target_modules out for {ALL_LINEAR}"
            _refuse("an adapter has no layers to adapt", NOTHING, "names of layers", do)

    @property
    def scaled(self) -> float:
        """Alpha, as it is where none was given."""
        return 2.0 * self.r if self.alpha is None else float(self.alpha)

    @property
    def names(self) -> str | list[str]:
        """The targets as peft takes them: its word for all linear layers, or a list of names."""
        if isinstance(self.target_modules, str):
            return ALL_LINEAR if self.target_modules == ALL_LINEAR else [self.target_modules]
        return sorted(self.target_modules)


def add_lora(model: Any, settings: Lora | None = None, *, seed: int = 0) -> Any:
    """Lay a fresh adapter over a model, or go on with the one it came with.

    What is drawn is drawn from `seed`, so that every rank and every start has the same. A model that came
    with an adapter is returned as it is; `settings` that differ from its own are refused, None asks for
    nothing.
    """
    if hasattr(model, "peft_config"):
        _check_continued(model, settings)
        return model
    asked = settings or Lora()
    check_targets(model, asked)
    from peft import LoraConfig, get_peft_model

    alpha: Any = int(asked.scaled) if asked.scaled.is_integer() else asked.scaled
    config = LoraConfig(
        r=asked.r,
        lora_alpha=alpha,
        lora_dropout=asked.dropout,
        target_modules=asked.names,
        task_type="CAUSAL_LM",
    )
    device = next(model.parameters()).device
    with _quiet(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        made = get_peft_model(model, config)
    assert adds_nothing(made)
    return made


def adds_nothing(model: nn.Module) -> bool:
    """Whether a model with an adapter is, at this moment, the model below it.

    Then that is the reference, at any later step, without a copy: one factor of each product is zero.
    """
    own = adapter_weights(model)
    factors: dict[str, bool] = {}
    for name, weight in model.named_parameters():
        if id(weight) not in own:
            continue
        layer, found, factor = name.rpartition("lora_")
        if not found:
            return False
        nothing = not bool(weight.any())
        product = layer + factor.replace("A.", "").replace("B.", "")
        factors[product] = factors.get(product, False) or nothing
    return bool(factors) and all(factors.values())


def merged(model: Any) -> tuple[Any, dict[str, torch.dtype]]:
    """A model that came with an adapter, as one of weights alone, to be trained whole.

    Weights that change are taken up to float32 first, so that nothing of the adapter is rounded away. Returns
    their names with the precision they came in, to be joined to what `trainable_in_float32` returns.
    """
    if getattr(causal(model), "is_quantized", False):
        wrong, found = "an adapter cannot be merged into quantised weights", Said("a quantised base")
        accepted, do = "weights that are not quantised", "leave quant out, or train the adapter itself"
        raise CapabilityError(explain(wrong, found=found, accepted=accepted, do=do))
    came: dict[int, torch.dtype] = {}
    for module in model.modules():
        weight = getattr(getattr(module, "base_layer", None), "weight", None)
        if isinstance(weight, nn.Parameter) and weight.dtype in _LOW:
            came[id(weight)] = weight.dtype
            weight.data = weight.data.float()
    whole = model.merge_and_unload(safe_merge=True)
    return whole, {name: came[id(one)] for name, one in whole.named_parameters() if id(one) in came}


def describe(model: Any) -> Iterator[str]:
    """What a person should know of an adapter, a line each."""
    config = model.peft_config[model.active_adapter]
    # Of quantised weights two stand in one byte, which peft takes into account.
    trained, total = model.get_nb_trainable_parameters()
    kind = _kind(config)
    size = f" of rank {config.r}, alpha {config.lora_alpha:g}," if kind == "LORA" else ""
    places = ", ".join(sorted(_places(config))) or "places of its own"
    yield f"adapter: {kind}{size} on {places}; {trained:,} of {total:,} weights are trained"
    if not adds_nothing(model):
        yield "adapter: the model came with it, and it is trained on; below it is not the reference"
    if getattr(config, "lora_dropout", 0.0):
        yield f"adapter: its dropout of {config.lora_dropout:g} is 0 while it is trained"
    if left := _left_out(causal(model), _places(config)):
        yield f"adapter: not on {', '.join(left)}, which are no linear layers"


def _places(config: Any) -> set[str]:
    """The names of the layers and blocks that an adapter lies over, without where they stand."""
    layers, blocks = (getattr(config, name, None) or () for name in ("target_modules", "target_parameters"))
    named = [layers] if isinstance(layers, str) else layers
    return {name.rpartition(".")[2] for name in named} | {
        name.removesuffix(".weight").rpartition(".")[2] for name in blocks
    }


def _left_out(model: nn.Module, places: set[str]) -> list[str]:
    """Weights that stand in blocks, as those of experts do, and that no adapter lies over."""
    blocks = {name.rpartition(".")[2] for name, weight in model.named_parameters() if weight.ndim == 3}
    return sorted(blocks - places)


# --- what is refused --------------------------------------------------------------------------------------


def _refuse(wrong: str, found: object, accepted: str, do: str) -> None:
    raise InputError(explain(wrong, found=found, accepted=accepted, do=do))


def check_targets(model: nn.Module, asked: Lora) -> None:
    """Refuse names that are no layers of the model, which peft takes as long as one of them is."""
    if asked.names == ALL_LINEAR:
        return
    kinds = (nn.Linear, nn.Embedding, Conv1D, *_quantised_kinds())
    layers = [name for name, module in model.named_modules() if isinstance(module, kinds)]
    known = {name.rpartition(".")[2] for name in layers}
    for name in asked.names:
        if not any(layer == name or layer.endswith(f".{name}") for layer in layers):
            do = f"name layers of this model, or leave lora_target_modules out for {ALL_LINEAR}"
            _refuse("there is no layer of this name to adapt", name, nearest(name, known), do)


def _check_continued(model: Any, asked: Lora | None) -> None:
    """Refuse settings of an adapter that are not those of the adapter that is there."""
    if asked is None:
        return
    config = model.peft_config[model.active_adapter]
    kind, there = _kind(config), getattr(config, "target_modules", None)
    names = sorted(there) if isinstance(there, set | list | tuple) else there
    wanted = names if asked.names == ALL_LINEAR else asked.names
    if kind != "LORA" or (config.r, config.lora_alpha, names) != (asked.r, asked.scaled, wanted):
        wrong = "the model came with an adapter of its own, which is trained on, and other settings are asked"
        said = f"rank {asked.r}, alpha {asked.scaled:g} on {wanted}"
        own = f"rank {config.r}, alpha {config.lora_alpha:g} on {names}" if kind == "LORA" else kind
        do = "leave the lora settings out, or train the model whole, which merges its adapter"
        _refuse(wrong, Said(said), f"its own: {own}", do)


def _kind(config: Any) -> str:
    """What peft calls a kind of adapter."""
    return str(getattr(config.peft_type, "value", config.peft_type))


@contextmanager
def _quiet() -> Iterator[None]:
    """peft asks transformers for something by the older of two names, and of the experts it adapts it writes
    down ranks that it does not find again."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        warnings.filterwarnings("ignore", "The following .*_pattern keys did not match", RuntimeWarning)
        yield


# --- quantised bases --------------------------------------------------------------------------------------


def quantise(model: Any, quant: str, *, device: str | torch.device = "") -> Any:
    """Quantise the linear layers of a model in place, all but its head, and freeze it whole.

    4bit is NF4 with quantised scales, 8bit is LLM.int8; products are in the precision the weights came in.
    The codes are those that transformers makes with the same settings. An adapter that came is kept.
    LLM.int8 treats a channel apart where any token of a micro-batch is an outlier there, so its values depend
    a little on what is computed together; those of 4bit do not.
    """
    if quant not in get_args(Quant):
        _refuse("there is no such quantisation", quant, "8bit or 4bit", "name one of them, or leave it out")
    place = torch.device(device or next(model.parameters()).device)
    if hasattr(model, "peft_config"):
        return _below_adapter(model, quant, place)
    layers = _convertible(model)
    if not layers:
        wrong, accepted = "the model has no linear layers to quantise", "a model of linear layers"
        raise CapabilityError(explain(wrong, found=NOTHING, accepted=accepted, do="leave quant out"))
    dtype = next(iter(layers.values())).weight.dtype
    model.config.quantization_config = _settings(quant, dtype)
    for name in [*layers]:
        # Given away, so that there are never two of more than one layer.
        model.set_submodule(name, _quantised(layers.pop(name), quant, place))
    model.requires_grad_(False)
    # How peft, transformers and `merged` know; there is no quantiser, for what is saved is the adapter.
    setattr(model, f"is_loaded_in_{quant}", True)
    model.is_quantized = True
    return nn.Module.to(model, place)


def _below_adapter(model: Any, quant: str, place: torch.device) -> Any:
    """The same adapter over the quantised model: its layers are of other classes there."""
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

    name = model.active_adapter
    config, held = model.peft_config[name], get_peft_model_state_dict(model, save_embedding_layers=False)
    base = quantise(model.unload(), quant, device=place)
    with _quiet():
        again = get_peft_model(base, config, adapter_name=name)
    found = set_peft_model_state_dict(again, held, adapter_name=name)
    assert not found.unexpected_keys
    return again


def _bitsandbytes() -> Any:
    try:
        import bitsandbytes
    except ImportError as error:
        wrong, accepted = (
            "a base can be quantised only with bitsandbytes",
            "bitsandbytes, on Linux or Windows",
        )
        do = 'pip install "concord-align[quant]", or leave quant out'
        raise UnavailableError(explain(wrong, found=Said(str(error)), accepted=accepted, do=do)) from error
    return bitsandbytes


def _settings(quant: str, dtype: torch.dtype) -> Any:
    """The same in the words of transformers, which loads such a base by them."""
    from transformers import BitsAndBytesConfig

    if quant == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def _convertible(model: Any) -> dict[str, Any]:
    """The linear layers of a model, without its head."""
    head = model.get_output_embeddings()
    return {
        name: layer
        for name, layer in model.named_modules()
        if (type(layer) is nn.Linear or isinstance(layer, Conv1D)) and layer is not head
    }


def _quantised(layer: Any, quant: str, place: torch.device) -> nn.Module:
    """A layer of codes in the place of a linear one."""
    parts = _bitsandbytes().nn
    # A Conv1D has its matrix the other way round.
    weight = layer.weight.data.T.contiguous() if isinstance(layer, Conv1D) else layer.weight.data
    size = {"input_features": weight.shape[1], "output_features": weight.shape[0], "device": "meta"}
    if quant == "8bit":
        made = parts.Linear8bitLt(**size, bias=False, has_fp16_weights=False, threshold=6.0)
        made.weight = parts.Int8Params(weight.cpu(), requires_grad=False, has_fp16_weights=False)
    else:
        made = parts.Linear4bit(**size, bias=False, compute_dtype=weight.dtype, quant_type="nf4")
        made.weight = parts.Params4bit(weight, requires_grad=False, quant_type="nf4", module=made)
        # In `eval()` a CPU may pack the codes anew, for a kernel that rounds otherwise: policy and reference
        # would part once something was drawn.
        made.support_avx512bf16_for_cpu = False
    made.bias = None if layer.bias is None else nn.Parameter(layer.bias.data, requires_grad=False)
    return made.to(place)


def _quantised_kinds() -> tuple[type[nn.Module], ...]:
    """The classes of quantised layers, where there can be any."""
    import sys

    parts = getattr(sys.modules.get("bitsandbytes"), "nn", None)
    return () if parts is None else (parts.Linear4bit, parts.Linear8bitLt)
