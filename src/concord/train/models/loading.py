"""Models of a run: the one that is trained, those it is compared with, and the precision of each."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from concord.engine import LogProbs, Started, load_model, start
from concord.engine.heads import RewardHead, ScalarHead, StepHead, hidden_size
from concord.engine.model import causal
from concord.engine.precision import bfloat16, trainable_in_float32
from concord.errors import CapabilityError, InputError, Said, explain
from concord.recipes import Recipe, RunRef
from concord.run import find_run
from concord.train.models.adapters import Lora, add_lora, describe, merged, quantise

__all__ = [
    "Precision",
    "Sizes",
    "Trainee",
    "alike",
    "load_trainee",
    "lora_of",
    "model_path",
    "opened",
    "precision_of",
    "weighed",
]

Precision: TypeAlias = Literal["fp32", "bf16", "pure-bf16"]
"""What weights are trained in, and products computed in: see `Recipe.precision`."""

_HEADS: Mapping[str, type[ScalarHead]] = {"reward": RewardHead, "step": StepHead}


@dataclass(frozen=True)
class Sizes:
    """What an engine is started for: the longest sequence and the most tokens of a forward pass."""

    longest: int
    tokens: int


@dataclass
class Trainee:
    """A model to be trained, with what has to be known to export it as it came."""

    started: Started
    came: Mapping[str, torch.dtype]
    precision: Callable[[], AbstractContextManager[Any]]
    heads: Mapping[str, ScalarHead] = field(default_factory=dict[str, ScalarHead])
    said: tuple[str, ...] = ()

    @property
    def engine(self) -> LogProbs:
        """What computes."""
        return self.started.engine

    @property
    def model(self) -> Any:
        """What is trained."""
        return self.engine.model

    @property
    def adapted(self) -> bool:
        """Whether an adapter is trained."""
        return hasattr(self.model, "peft_config")


def model_path(source: str | RunRef, runs: str) -> str:
    """Where a model lies: a path, a hub id, or what a run made."""
    if not isinstance(source, RunRef):
        return source
    run = find_run(runs, source.run)
    folder = run.path / "model"
    if not folder.is_dir():
        wrong, state = f"the run {run.path.name} has no model yet", run.status()
        found = Said(f"it is {state.state}" + (f": {state.reason}" if state.reason else ""))
        do = "let it finish first"
        raise CapabilityError(explain(wrong, found=found, accepted="a run that has finished", do=do))
    return str(folder)


def precision_of(recipe: Recipe, device: torch.device) -> Precision:
    """fp32, bf16 or pure-bf16: what `auto` means here."""
    if recipe.precision != "auto":
        return recipe.precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def weighed(path: str) -> int:
    """Bytes of the weights in a folder; 0 where it is not on this disk."""
    return sum(file.stat().st_size for file in Path(path).glob("*.safetensors"))


def opened(path: str, recipe: Recipe, device: torch.device) -> nn.Module:
    """A model in the precision it is stored in, on a device."""
    model = load_model(
        path, device=str(device), offline=recipe.offline, trust_remote_code=recipe.trust_remote_code
    )
    for name, weight in model.named_parameters():
        if not bool(weight.isfinite().all()):
            wrong, do = f"the model {path} has a weight that is no number", "take a model that is whole"
            raise InputError(explain(wrong, found=Said(name), accepted="finite weights", do=do))
    return model


def load_trainee(path: str, recipe: Recipe, device: torch.device, sizes: Sizes, *, head: str = "") -> Trainee:
    """Load a model and make it ready to be trained as the recipe says; `head` names one to be put on it."""
    # What is quantised goes to its device layer by layer, and never lies there whole.
    model: Any = opened(path, recipe, torch.device("cpu") if recipe.quant != "none" else device)
    said: list[str] = []
    came: dict[str, torch.dtype] = {}
    if recipe.train == "full" and hasattr(model, "peft_config"):
        model, came = merged(model)
        # peft froze it, below its adapter.
        model.requires_grad_(True)
        said.append("adapter: the model came with one, which was merged into its weights")
    if recipe.train == "lora":
        model = _adapted(model, recipe, device)
        said += describe(model)
    how = precision_of(recipe, device)
    came |= _precise(model, how)
    _freeze_head(model, head)
    if recipe.gradient_checkpointing:
        causal(model).activation_checkpointing_enable()
    started = start(model, layout=recipe.layout, longest=sizes.longest, tokens=sizes.tokens)
    heads = {head: _HEADS[head](hidden_size(model)).to(device)} if head else {}
    for name, one in heads.items():
        started.engine.heads[name] = one

    def precision() -> AbstractContextManager[Any]:
        return bfloat16(model) if how == "bf16" else nullcontext()

    said.append(f"precision: {_PRECISIONS[how]}")
    return Trainee(started, came, precision, heads, (*said, *started.lines))


def alike(path: str, recipe: Recipe, trainee: Trainee) -> nn.Module:
    """A model that the trained one is compared with, made as that one was: each weight in the same precision.

    In another, what separates the two at the first step would be rounding.
    """
    device = next(trainee.engine.parameters()).device
    model: Any = opened(path, recipe, torch.device("cpu") if recipe.quant != "none" else device)
    if recipe.train == "full" and hasattr(model, "peft_config"):
        model, _ = merged(model)
    if recipe.quant != "none":
        model = quantise(model, recipe.quant, device=device)
    theirs = dict(_held(trainee.model))
    usual = next(trainee.model.parameters())
    for name, own in _held(model):
        like = theirs.get(name, usual if isinstance(own, nn.Parameter) else own)
        if own.is_floating_point() and like.is_floating_point():
            own.data = own.data.to(like.dtype)
    return model


def _held(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Weights and buffers, those below an adapter by the names they have without one."""
    for name, one in (*causal(model).named_parameters(), *causal(model).named_buffers()):
        yield name.replace(".base_layer", "").replace("_checkpoint_wrapped_module.", ""), one


_PRECISIONS = {
    "fp32": "fp32, weights and products",
    "bf16": "bf16 products (autocast), fp32 trained weights and optimiser",
    "pure-bf16": "bf16 weights and optimiser, as was asked: small steps may be rounded away",
}


def lora_of(recipe: Recipe) -> Lora:
    """The adapter that a recipe asks for."""
    names = recipe.lora_target_modules
    return Lora(
        r=recipe.lora_r,
        alpha=recipe.lora_alpha,
        dropout=recipe.lora_dropout,
        target_modules=names[0] if names == ("all-linear",) else names,
    )


def _adapted(model: Any, recipe: Recipe, device: torch.device) -> Any:
    settings = lora_of(recipe)
    asked = any(name.startswith("lora_") for name in recipe.given)
    if recipe.quant != "none":
        model = quantise(model, recipe.quant, device=device)
    # Of a model that came with an adapter, its own settings hold unless others are asked for.
    return add_lora(model, settings if asked or not hasattr(model, "peft_config") else None, seed=recipe.seed)


def _precise(model: nn.Module, how: str) -> Mapping[str, torch.dtype]:
    """Bring weights to the precision they are trained in; the names of the others, with what they had."""
    if how == "pure-bf16":
        found = {name: one.dtype for name, one in model.named_parameters() if one.dtype != torch.bfloat16}
        # Not the buffers: angles of positions must stay exact.
        for weight in model.parameters():
            weight.data = weight.data.to(torch.bfloat16)
        return found
    if how == "bf16":
        return trainable_in_float32(model)
    low = {
        n: one.dtype for n, one in model.named_parameters() if one.dtype in (torch.bfloat16, torch.float16)
    }
    for name, weight in model.named_parameters():
        if name in low:
            weight.data = weight.data.float()
    return low


def _freeze_head(model: Any, head: str) -> None:
    """A model that scores has no use for the head that speaks, unless it is one with its embeddings."""
    if not head:
        return
    speaks, reads = model.get_output_embeddings(), model.get_input_embeddings()
    shared = {id(weight) for weight in reads.parameters()}
    for weight in speaks.parameters():
        if id(weight) not in shared:
            weight.requires_grad_(False)
