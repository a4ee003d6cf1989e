"""What the engine needs of a model: its body, its head with all that follows it, and its own account of both.

The body gives hidden states, the head their logits. Some architectures scale, divide or softcap what the head's
module gives; what is done here is checked against the model's own logits when the engine starts (`probe`).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from concord.errors import NOTHING, CapabilityError, Said, explain

__all__ = ["Head", "body", "causal", "head", "text_config"]


def causal(model: nn.Module) -> Any:
    """The causal language model itself, out of the adapters it may be wrapped in."""
    unwrapped = getattr(model, "get_base_model", None)
    if unwrapped is None:
        return model
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        wrong, accepted = "an adapter that puts learned tokens before the prompt", "adapters of weights, LoRA say"
        found, do = Said(type(model).__name__), "use another kind of adapter"
        raise CapabilityError(explain(wrong, found=found, accepted=accepted, do=do))
    return unwrapped()


def text_config(model: nn.Module) -> Any:
    """The configuration of the text part, which is the whole where there is nothing but text."""
    config = causal(model).config
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def body(model: nn.Module) -> nn.Module:
    """The part of a causal language model that gives hidden states."""
    inner = causal(model)
    found = getattr(inner, getattr(inner, "base_model_prefix", "") or "model", None)
    if not isinstance(found, nn.Module) or found is inner:
        wrong, accepted = "no body that gives hidden states was found in the model", "a causal language model"
        do = "load it with AutoModelForCausalLM"
        raise CapabilityError(explain(wrong, found=Said(type(inner).__name__), accepted=accepted, do=do))
    return found


@dataclass(frozen=True)
class Head:
    """The module that gives logits, and what its architecture does with them: scale, then softcap."""

    module: nn.Module
    scale: float = 1.0
    softcap: float | None = None

    @property
    def plain(self) -> bool:
        """Whether nothing but one linear map of full precision stands between hidden states and logits."""
        hooked = any(
            getattr(self.module, name, None) for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
        )
        return type(self.module) is nn.Linear and self.scale == 1.0 and self.softcap is None and not hooked

    def __call__(self, hidden: Tensor) -> Tensor:
        """Logits of hidden states, as the model itself would give them."""
        logits: Tensor = self.module(hidden)
        if self.scale != 1.0:
            logits = logits * self.scale
        return logits if self.softcap is None else torch.tanh(logits / self.softcap) * self.softcap


def head(model: nn.Module) -> Head:
    """The head of a model, with the scale and the softcap that its configuration names."""
    inner, config = causal(model), text_config(model)
    module = inner.get_output_embeddings()
    if not isinstance(module, nn.Module):
        wrong, accepted = "the model has no head that gives logits", "a causal language model"
        do = "load it with AutoModelForCausalLM"
        raise CapabilityError(explain(wrong, found=NOTHING, accepted=accepted, do=do))
    scale = float(getattr(config, "logit_scale", None) or 1.0)
    if divisor := getattr(config, "logits_scaling", None):
        scale /= float(divisor)
    return Head(module, scale, getattr(config, "final_logit_softcapping", None))
