"""What the engine needs of a model: its body, its head with all that follows it, and its own account of both.

The body gives hidden states, the head their logits. Some architectures scale, divide or softcap what the
head's module gives; what is done here is checked against the model's own logits when the engine starts
(`probe`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from concord.errors import NOTHING, CapabilityError, Said, explain

__all__ = ["Head", "HeadTrial", "body", "causal", "check_head", "head", "text_config", "try_head"]


def causal(model: nn.Module) -> Any:
    """The causal language model itself, out of the adapters it may be wrapped in."""
    unwrapped = getattr(model, "get_base_model", None)
    if unwrapped is None:
        return model
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        wrong, accepted = (
            "an adapter that puts learned tokens before the prompt",
            "adapters of weights, LoRA say",
        )
        found, do = Said(type(model).__name__), "use another kind of adapter"
        raise CapabilityError(explain(wrong, found=found, accepted=accepted, do=do))
    return unwrapped()


def text_config(model: nn.Module) -> Any:
    """The configuration of the text part, which is the whole where there is nothing but text."""
    config = getattr(causal(model), "config", None)
    if config is None:
        wrong, found = "this is no model of transformers", Said(type(model).__name__)
        accepted, do = "a causal language model", "load it with AutoModelForCausalLM"
        raise CapabilityError(explain(wrong, found=found, accepted=accepted, do=do))
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def body(model: nn.Module) -> nn.Module:
    """The part of a causal language model that gives hidden states."""
    inner = causal(model)
    # The text half of a composite model may keep the name of the whole and its body under another.
    names = (getattr(inner, "base_model_prefix", ""), "model", "language_model")
    parts = (getattr(inner, name, None) for name in names if name)
    found = next((part for part in parts if isinstance(part, nn.Module) and part is not inner), None)
    if found is None:
        wrong, accepted = "no body that gives hidden states was found in the model", "a causal language model"
        do = "load it with AutoModelForCausalLM"
        raise CapabilityError(explain(wrong, found=Said(type(inner).__name__), accepted=accepted, do=do))
    # What looks like the body of a composite model may be a causal model itself, head and all.
    owns_head = getattr(found, "get_output_embeddings", lambda: None)() is not None
    return body(found) if owns_head else found


@dataclass(frozen=True)
class Head:
    """The module that gives logits, and what its architecture does with them: scale, then softcap."""

    module: nn.Module
    multiplier: float = 1.0
    divisor: float = 1.0
    softcap: float | None = None

    @property
    def objections(self) -> tuple[str, ...]:
        """Why more than one linear map of plain weights stands between hidden states and logits, if so."""
        return tuple(_objections(self))

    @property
    def plain(self) -> bool:
        """Whether nothing but one linear map of plain weights stands between hidden states and logits."""
        return not self.objections

    def __call__(self, hidden: Tensor) -> Tensor:
        """Logits of hidden states, as the model itself would give them."""
        logits: Tensor = self.module(hidden)
        if self.multiplier != 1.0:
            logits = logits * self.multiplier
        if self.divisor != 1.0:
            logits = logits / self.divisor
        return logits if self.softcap is None else torch.tanh(logits / self.softcap) * self.softcap


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _objections(head: Head) -> Iterator[str]:
    module = head.module
    if head.multiplier != 1.0 or head.divisor != 1.0:
        yield "its logits are scaled"
    if head.softcap is not None:
        yield "its logits are capped"
    # Exact types: adapters, quantised layers and tensors of quantised or sharded weights are subclasses.
    if type(module) is not nn.Linear:
        yield f"its head is a {type(module).__name__}"
    elif type(module.weight) not in (nn.Parameter, Tensor) or not module.weight.is_floating_point():
        yield f"the weight of its head is a {type(module.weight).__name__} of {module.weight.dtype}"
    if any(getattr(module, name, None) for name in _HOOKS):
        yield "its head has a hook"
    if "forward" in vars(module):
        yield "the forward of its head was replaced"


# What architectures call the scale of their logits. Most divide by `logits_scaling`; one multiplies.
_MULTIPLIERS = ("logit_scale", "lm_head_multiplier")
_MULTIPLIES_BY_SCALING = frozenset({"hyperclovax"})
_SOFTCAPS = ("final_logit_softcapping", "logits_soft_cap")


def head(model: nn.Module) -> Head:
    """The head of a model, with the scale and the softcap that its configuration names."""
    inner, config = causal(model), text_config(model)
    module = inner.get_output_embeddings()
    if not isinstance(module, nn.Module):
        wrong, accepted = "the model has no head that gives logits", "a causal language model"
        do = "load it with AutoModelForCausalLM"
        raise CapabilityError(explain(wrong, found=NOTHING, accepted=accepted, do=do))
    multiplier = math.prod(float(getattr(config, name, None) or 1.0) for name in _MULTIPLIERS)
    scaling = float(getattr(config, "logits_scaling", None) or 1.0)
    if getattr(config, "model_type", "") in _MULTIPLIES_BY_SCALING:
        multiplier, scaling = multiplier * scaling, 1.0
    softcap = next((float(cap) for name in _SOFTCAPS if (cap := getattr(config, name, None))), None)
    return Head(module, multiplier, scaling, softcap)


@dataclass(frozen=True)
class HeadTrial:
    """How far the logits of `Head` are from the model's own on the same hidden states."""

    apart: float
    """The norm of the difference, relative to theirs."""
    most: float
    """The largest difference of one logit, relative to the largest logit."""
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether they agree; what is not a number does not."""
        return self.apart <= self.allowed and self.most <= _MOST * self.allowed


_MOST = 16  # how many times further apart one logit may be than all are together


def try_head(model: nn.Module, ids: Tensor) -> HeadTrial:
    """Compare the head's logits with the model's own: the same hidden states, caught on their way."""
    inner = causal(model)
    caught: list[Tensor] = []
    handle = body(model).register_forward_hook(lambda _module, _given, out: caught.append(_last(out)))
    try:
        with torch.no_grad():
            theirs: Tensor = inner(input_ids=ids, use_cache=False).logits
            if len(caught) != 1:
                return HeadTrial(math.inf, math.inf, 0.0)
            ours = head(model)(caught[0].flatten(0, 1)).view(*ids.shape, -1)
    finally:
        handle.remove()
    # The same products in another order: their own rounding is all that may differ.
    allowed = 64 * torch.finfo(theirs.dtype).eps if theirs.dtype in (torch.float32, torch.float64) else 1e-2
    if ours.shape != theirs.shape:
        return HeadTrial(math.inf, math.inf, allowed)
    theirs, ours = theirs.double(), ours.double()
    # Tokens that both rule out agree, though the difference of two infinities is no number.
    off = torch.where(ours == theirs, 0.0, ours - theirs)
    kept = theirs.masked_fill(theirs.isinf(), 0.0)
    return HeadTrial(_ratio(off.norm(), kept.norm()), _ratio(off.abs().max(), kept.abs().max()), allowed)


def check_head(model: nn.Module, ids: Tensor) -> HeadTrial:
    """Refuse a model whose logits are not what `Head` makes of its hidden states. `ids`: [rows, tokens]."""
    trial = try_head(model, ids)
    if not trial.passed:
        wrong = "the model does more to its logits than is known of its architecture"
        found = Said(
            f"logits apart by {trial.apart:.1e} of their norm, one by {trial.most:.1e} of the largest"
        )
        accepted = "a head whose bias, scale and softcap are named in the configuration"
        do = "report this with the model's configuration"
        raise CapabilityError(explain(wrong, found=found, accepted=accepted, do=do))
    return trial


def _last(out: Any) -> Tensor:
    return out.last_hidden_state if hasattr(out, "last_hidden_state") else out[0]


def _ratio(first: Tensor, second: Tensor) -> float:
    return float(first) / (float(second) or 1.0)
