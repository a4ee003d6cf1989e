"""Precision, dropout, and the identity of what was computed.

Trainable weights are float32; bfloat16 means autocast, and frozen weights may be bfloat16. Training bfloat16
weights themselves is by request only, with the share of weights that moved: at small steps most of them round
back to where they were. Values that are to be compared (policy and reference, a stored value and a fresh
one) come from the same layout, kernel, precision and head: `Identity` is all of that, and the key under
which they are kept.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from concord.engine.model import causal, text_config
from concord.errors import CapabilityError, Said, explain

__all__ = [
    "Identity",
    "Noise",
    "Stilled",
    "bfloat16",
    "identify",
    "moved_share",
    "noise",
    "still",
    "stilled",
    "trainable_in_float32",
    "weights_of",
]

_LOW = (torch.bfloat16, torch.float16)


# --- weights ----------------------------------------------------------------------------------------------


def trainable_in_float32(model: nn.Module, *, upcast: bool = True, pure: bool = False) -> tuple[str, ...]:
    """Take trainable weights of half precision up to float32, or refuse them; returns their names.

    `pure` leaves them as they are: then say what share of them moves (`moved_share`).
    """
    named = model.named_parameters(remove_duplicate=True)
    low = {name: weight for name, weight in named if weight.requires_grad and weight.dtype in _LOW}
    if low and not (upcast or pure):
        wrong, found = "weights of half precision are to be trained", Said(f"{len(low)}, such as {min(low)}")
        accepted = "trainable weights in float32; frozen ones may be bfloat16"
        do = "let them be taken up, or ask for pure bfloat16 and watch the share of weights that moves"
        raise CapabilityError(explain(wrong, found=found, accepted=accepted, do=do))
    if not pure:
        for weight in low.values():
            # The same parameter, so that what is tied stays tied.
            weight.data = weight.data.float()
    return tuple(low)


def bfloat16(model: nn.Module) -> torch.autocast:
    """Autocast to bfloat16 on the device of a model: the whole of what mixed precision is here."""
    return torch.autocast(next(model.parameters()).device.type, torch.bfloat16)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all trainable weights, to say later what share of them moved."""
    return {
        name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad
    }


def moved_share(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float:
    """The share of single weights that differ, among those that both have; 0 where there are none."""
    pairs = [(before[name], after[name].to(before[name].device)) for name in before if name in after]
    count = sum(old.numel() for old, _ in pairs)
    return sum(int((old != new).sum()) for old, new in pairs) / count if count else 0.0


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
    """Set every dropout of a model to zero, adapters' and configurations' too, with the model in `train()`.

    Some layers read a number of their own, some their configuration's, some are modules: all are set, for
    what is left would make a policy differ from its own reference.
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
    return "dropout" in name or name.endswith(("pdrop", "layerdrop"))


# --- noise ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Noise:
    """How far log-probabilities of the same tokens are apart in two precisions, in nats a token."""

    most: float
    mean: float
    """The mean of absolute differences."""
    drift: float
    """The mean of differences: what does not average out over a reply."""
    tokens: int


def noise(first: Callable[[], Tensor], second: Callable[[], Tensor]) -> Noise:
    """The noise floor between two ways to compute the same log-probabilities, such as with and without
    autocast."""
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
# What a configuration says of where a model came from and how it is run, not of what it computes.
_IDLE = frozenset(
    {"_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures", "use_cache"}
)


def identify(model: nn.Module, *, layout: str, kernel: str, head: str) -> Identity:
    """The identity of a model's values under a layout, a kernel and a head; it reads every weight."""
    device = next(model.parameters()).device.type
    stored = "+".join(sorted({str(weight.dtype).removeprefix("torch.") for weight in model.parameters()}))
    if torch.is_autocast_enabled(device):
        stored += f" autocast {str(torch.get_autocast_dtype(device)).removeprefix('torch.')}"
    versions = tuple((name, version) for name in _VERSIONS if (version := _version(name)))
    return Identity(_hashed(model), layout, kernel, f"{stored} on {device}", head, versions)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _hashed(model: nn.Module) -> str:
    """A hash of every weight and buffer, of the configuration, and of the adapters with what is active of
    them."""
    digest = hashlib.sha256(json.dumps(_settings(model), sort_keys=True, default=str).encode())
    for name, value in sorted(model.state_dict().items()):
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.dtype} {list(value.shape)} ".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _settings(model: nn.Module) -> dict[str, Any]:
    """What decides a model's values beside its weights."""
    config = {
        name: value
        for name, value in causal(model).config.to_dict().items()
        if name not in _IDLE and not _is_chance(name)
    }
    adapters = {name: one.to_dict() for name, one in getattr(model, "peft_config", {}).items()}
    # Adapters scale what they add, and can be switched off, without a trace in any weight.
    active = [
        [
            name,
            str(getattr(module, "active_adapters", "")),
            bool(getattr(module, "disable_adapters", False)),
            str(scaling),
        ]
        for name, module in model.named_modules()
        if (scaling := getattr(module, "scaling", None)) is not None and hasattr(module, "active_adapters")
    ]
    return {"config": config, "adapters": adapters, "active": active}


@contextmanager
def stilled(model: nn.Module) -> Generator[Stilled]:
    """Dropout set to zero inside the `with`, and given back after it."""
    held = still(model)
    try:
        yield held
    finally:
        held.restore()
