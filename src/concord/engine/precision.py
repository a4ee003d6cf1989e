"""Precision, dropout, and the identity of what was computed.

Trainable weights are float32; bfloat16 means autocast, and frozen weights may be bfloat16. Training bfloat16
weights themselves is by request only, with the share of weights that moved: at small steps most of them round
back to where they were, and gradients of a head that is not fused meet in bfloat16 too. Values that are to be
compared (policy and reference, a stored value and a fresh one) come from the same layout, kernel, precision
and head: `Identity` is all of that, and the key under which they are kept.
"""

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from concord.engine.model import causal, text_config
from concord.errors import CapabilityError, Said, explain

__all__ = [
    "Identity",
    "Noise",
    "Stilled",
    "adapter_states",
    "adapter_weights",
    "bfloat16",
    "hashed",
    "identify",
    "noise",
    "still",
    "trainable_in_float32",
    "weights_of",
]

_LOW = (torch.bfloat16, torch.float16)


# --- weights ----------------------------------------------------------------------------------------------


def trainable_in_float32(
    model: nn.Module, *, upcast: bool = True, pure: bool = False
) -> dict[str, torch.dtype]:
    """Take trainable weights of half precision up to float32, or refuse them.

    Returns their names with the precision they came in, for whoever writes them. `pure` leaves them as they
    are: then say what share of them moves.
    """
    named = model.named_parameters()
    low = {name: weight for name, weight in named if weight.requires_grad and weight.dtype in _LOW}
    if low and not (upcast or pure):
        wrong, found = "weights of half precision are to be trained", Said(f"{len(low)}, such as {min(low)}")
        accepted = "trainable weights in float32; frozen ones may be bfloat16"
        do = "let them be taken up, or ask for pure bfloat16 and watch the share of weights that moves"
        raise CapabilityError(explain(wrong, found=found, accepted=accepted, do=do))
    came = {name: weight.dtype for name, weight in low.items()}
    if pure:
        return {}
    for weight in low.values():
        # The same parameter, so that what is tied stays tied.
        weight.data = weight.data.float()
    return came


def bfloat16(model: nn.Module) -> torch.autocast:
    """Autocast to bfloat16 on the device of a model: the whole of what mixed precision is here."""
    return torch.autocast(next(model.parameters()).device.type, torch.bfloat16)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all trainable weights, to say later what share of them moved."""
    return {
        name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad
    }


# --- dropout ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stilled:
    """The dropout that a model had, to be given back when it is exported."""

    held: tuple[tuple[Any, str, float], ...]

    @property
    def largest(self) -> float:
        """The largest probability that was set to zero, 0 if none was."""
        return max((value for _, _, value in self.held), default=0.0)

    def restore(self) -> None:
        """Give every module and configuration the dropout it had."""
        for owner, name, value in self.held:
            setattr(owner, name, value)


def still(model: nn.Module) -> Stilled:
    """Set all chance in a model to zero (dropout, jitter of routers), with the model in `train()`.

    Some layers read a number of their own, some their configuration's, some are modules, adapters' too: all
    are set, for what is left would make a policy differ from its own reference.
    """
    held: list[tuple[Any, str, float]] = []
    seen: set[int] = set()
    owners: list[Any] = list(model.modules())
    owners += [
        config for module in model.modules() if (config := getattr(module, "config", None)) is not None
    ]
    for owner in [*owners, text_config(model)]:
        if id(owner) in seen:
            continue
        seen.add(id(owner))
        is_dropout = isinstance(owner, nn.modules.dropout._DropoutNd)
        for name, value in list(vars(owner).items()):
            wanted = name == "p" if is_dropout else _is_chance(name)
            if wanted and isinstance(value, float) and value > 0:
                held.append((owner, name, value))
                setattr(owner, name, 0.0)
    model.train()
    return Stilled(tuple(held))


def _is_chance(name: str) -> bool:
    return "dropout" in name or "jitter" in name or name.endswith(("pdrop", "layerdrop"))


# --- noise ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Noise:
    """How far log-probabilities of the same tokens are apart when computed in two ways, in nats a token."""

    most: float
    mean: float
    """The mean of absolute differences."""
    drift: float
    """The mean of differences: what does not average out over a reply."""
    tokens: int

    @property
    def line(self) -> str:
        """What a person should know."""
        return (
            f"log-probabilities apart by up to {self.most:.1e} nats a token, {self.mean:.1e} in the mean, "
            f"drift {self.drift:+.1e}, over {self.tokens} tokens"
        )


def noise(first: Callable[[], Tensor], second: Callable[[], Tensor]) -> Noise:
    """The noise floor: two ways to compute the same log-probabilities, as with and without autocast."""
    with torch.no_grad():
        off = second().double() - first().double()
    if not off.numel():
        return Noise(0.0, 0.0, 0.0, 0)
    return Noise(float(off.abs().max()), float(off.abs().mean()), float(off.mean()), off.numel())


# --- identity ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Identity:
    """All that decides the values an engine gives for given tokens."""

    weights: str
    layout: str
    kernel: str
    dtype: str
    head: str
    versions: tuple[tuple[str, str], ...]

    @property
    def key(self) -> str:
        """A short name for it, equal only if everything is."""
        return hashlib.sha256(json.dumps(astuple(self)).encode()).hexdigest()


_VERSIONS = ("torch", "transformers", "peft")
# What configurations of models and adapters say of where these came from and how they are run, not of what
# they compute.
_IDLE = frozenset(
    {"_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures", "use_cache"}
    | {"base_model_name_or_path", "revision", "inference_mode", "init_lora_weights", "auto_mapping"}
    | {"peft_version", "task_type"}
)
_EXACT = ("none", "ieee")


def identify(model: nn.Module, *, layout: str, kernel: str, head: str, weights: str = "") -> Identity:
    """The identity of a model's values under a layout, a kernel and a head, at this moment.

    It reads every weight, unless their hash (`hashed`) is known.
    """
    device = next(model.parameters()).device.type
    stored = "+".join(sorted({str(weight.dtype).removeprefix("torch.") for weight in model.parameters()}))
    if torch.is_autocast_enabled(device):
        stored += f" autocast {str(torch.get_autocast_dtype(device)).removeprefix('torch.')}"
    if (products := _products(device)) not in _EXACT:
        stored += f" products {products}"
    versions = tuple((name, version) for name in _VERSIONS if (version := _version(name)))
    return Identity(weights or hashed(model), layout, kernel, f"{stored} on {device}", head, versions)


def _products(device: str) -> str:
    """How products of float32 are rounded. torch answers for all devices together only while nobody has set
    one of them apart."""
    backend: Any = torch.backends.cuda if device == "cuda" else torch.backends.mkldnn
    return str(backend.matmul.fp32_precision)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def hashed(model: nn.Module) -> str:
    """A hash of all that decides a model's values: weights, buffers, configuration, adapters and their state.

    With its adapters switched off a model has the hash of the model below them.
    """
    settings = _settings(causal(model).config)
    skipped: set[int] = set()
    if states := adapter_states(model):
        if all(not on and not merged for _, on, merged, *_ in states):
            skipped = adapter_weights(model)
        else:
            known = {name: _settings(one) for name, one in getattr(model, "peft_config", {}).items()}
            settings = {"config": settings, "adapters": known, "states": states}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=_spelled).encode())
    held = causal(model).state_dict(keep_vars=True) | dict(_unsaved(model))
    kept = {
        _BELOW.sub("", name): value
        for name, value in held.items()
        if isinstance(value, Tensor) and id(value) not in skipped
    }
    for name, value in sorted(kept.items()):
        # Of weights that are sharded over processes, all of them: every process has to come here.
        whole = value.full_tensor() if isinstance(value, DTensor) else value
        if whole.is_meta:
            wrong, found = "the model has no weights, only their shapes", Said(f"{name} on the meta device")
            do = "load its weights, on a CPU or an accelerator"
            raise CapabilityError(explain(wrong, found=found, accepted="weights that are there", do=do))
        digest.update(f"{name} {whole.dtype} {list(whole.shape)} ".encode())
        digest.update(whole.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _settings(config: Any) -> dict[str, Any]:
    """What a configuration says of the values."""
    every = config.to_dict().items()
    return {name: value for name, value in every if name not in _IDLE and not _is_chance(name)}


def _spelled(value: object) -> Any:
    """What JSON has no word for; a set in one order, for its own is another in each process."""
    return sorted(map(str, value)) if isinstance(value, set | frozenset) else str(value)


def _unsaved(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Numbers that no file has, such as the angles of positions: a cast of the whole model rounds them too.

    Some models exchange their angles as they go; the original ones, which stay, stand for these.
    """
    held = dict(causal(model).named_buffers())
    saved = causal(model).state_dict(keep_vars=True).keys()
    for name, value in held.items():
        original = name.replace("inv_freq", "original_inv_freq")
        exchanged = original in held and "original_" not in name
        if name not in saved and not exchanged and value.is_floating_point():
            yield name, value


# --- adapters, as peft lays them over the modules of a model ----------------------------------------------

_BELOW = re.compile(r"\.(base_layer|original_module|token_adapter)(?=\.)")
"""The names of what an adapter stands over, the last of which is an adapter of its own."""


def _adapters(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules that add something to another, which they hold."""
    yield from ((name, one) for name, one in model.named_modules() if hasattr(one, "_disable_adapters"))


def adapter_states(model: nn.Module) -> list[tuple[str, bool, bool, str, str]]:
    """What adapters do without a trace in any weight: the name of each, whether it is on, whether merged into
    the weights below, which is active, how it scales."""
    return [(name, *_state(adapter)) for name, adapter in _adapters(model)]


def _state(adapter: nn.Module) -> tuple[bool, bool, str, str]:
    on = not getattr(adapter, "_disable_adapters", False)
    merged = bool(vars(adapter).get("merged_adapters"))
    return on, merged, str(getattr(adapter, "active_adapters", "")), str(vars(adapter).get("scaling", ""))


def adapter_weights(model: nn.Module) -> set[int]:
    """The weights that belong to adapters and not to the model below them, by their `id`."""
    found: set[int] = set()
    for _, adapter in _adapters(model):
        for name, weight in adapter.state_dict(keep_vars=True).items():
            if not _BELOW.match(f".{name}"):
                found.add(id(weight))
    return found
