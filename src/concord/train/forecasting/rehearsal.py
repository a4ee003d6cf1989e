"""A training step on tensors that hold nothing: what would be in memory at one time, added up.

Formulas for activations know one architecture each, and forget what its code keeps by the way. So the very
code that trains is run, the engine with its layout, attention, head and checkpoints, on tensors that have
shapes and no storage. Every tensor that it makes is counted while it lives. That takes no memory, a second or
so for a model of any size, and no weights: a configuration is enough.
"""

import copy
import warnings
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM

from concord.engine import Line, LogProbs
from concord.engine.forest import plant
from concord.engine.logprobs import Kind, Layout
from concord.engine.model import Head, causal
from concord.engine.precision import still, trainable_in_float32
from concord.engine.rows import stack
from concord.train.models import Lora, Precision, check_targets

__all__ = ["Rehearsed", "Way", "adapter_over", "rehearse", "skeleton"]


@dataclass(frozen=True)
class Way:
    """How a model is trained, as far as that decides what is held."""

    layout: Kind = "forest"
    precision: Precision = "fp32"
    checkpointing: bool = False
    quant: str = "none"
    """Of the frozen layers: 8bit, 4bit, or none."""

    def cast(self) -> AbstractContextManager[Any]:
        """What products are computed in."""
        return torch.autocast("cpu", torch.bfloat16) if self.precision == "bf16" else nullcontext()


@dataclass(frozen=True)
class Rehearsed:
    """Bytes, and the numbers of weights they come from."""

    parameters: int
    """How many weights there are, tied ones once."""
    trained: int
    """How many of them are trained."""
    weights: int
    gradients: int
    tokens: int
    """Tokens of the micro-batch, padding counted."""
    kept: int
    """What a forward pass leaves for its backward."""
    passing: int
    """What else is held at the fullest moment: gradients on their way, tiles of the head."""
    largest: int
    """The weights of the largest part that FSDP2 gathers at a time: a layer, or what is around them."""


def rehearse(build: Callable[[], nn.Module], lines: Sequence[Line], way: Way) -> Rehearsed:
    """Run a micro-batch forward and backward, where gradients of an earlier one are there already.

    `build` makes the model as it is to be trained, adapters and all: on the meta device, without storage.
    """
    with torch.device("meta"):
        model = build()
    still(model)
    trainable_in_float32(model, pure=way.precision == "pure-bf16")
    if way.checkpointing:
        causal(model).activation_checkpointing_enable()
    with torch.random.fork_rng(devices=()), FakeTensorMode(allow_non_fake_inputs=True):
        _place(model)
        engine = _Engine(model, layout=way.layout)
        trained = [weight for weight in engine.parameters() if weight.requires_grad]
        for weight in trained:
            # Those of an earlier micro-batch, to which this one adds.
            weight.grad = torch.empty_like(weight)
        gradients = [weight.grad for weight in trained if weight.grad is not None]
        layout = _laid(lines, way.layout)
        with _Held([*engine.parameters(), *engine.buffers(), *gradients]) as held:
            with way.cast():
                total = engine(layout=layout).logps.sum()
            kept = held.now
            total.backward()
    return Rehearsed(
        parameters=sum(weight.numel() for weight in engine.parameters()),
        trained=sum(weight.numel() for weight in trained),
        weights=_held(model, way.quant),
        gradients=sum(part.nbytes for part in gradients),
        tokens=layout.tokens,
        kept=kept,
        passing=max(0, held.peak - kept),
        largest=_largest(model),
    )


def skeleton(
    model: Any, *, lora: Lora | None = None, dtype: torch.dtype | None = None
) -> Callable[[], nn.Module]:
    """What makes a model of the same shapes, whole or with a fresh adapter: see `rehearse`.

    `model` is a causal language model of transformers, or only its configuration. Adapters that a model came
    with are not part of it.
    """
    loaded = isinstance(model, nn.Module)
    config = causal(model).config if loaded else model
    wanted = dtype or (next(model.parameters()).dtype if loaded else config.dtype) or torch.float32

    def build() -> nn.Module:
        given = copy.deepcopy(config)
        made: Any = type(causal(model))(given) if loaded else AutoModelForCausalLM.from_config(given)
        made = made.to(wanted).train()
        return made if lora is None else adapter_over(made, lora)

    return build


def adapter_over(model: Any, lora: Lora) -> nn.Module:
    """A model with an adapter of these shapes, for a rehearsal.

    `adapters.add_lora` looks at the weights it has made, which is not possible where they hold nothing.
    """
    from peft import LoraConfig, get_peft_model

    check_targets(model, lora)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_peft_model(model, LoraConfig(r=lora.r, target_modules=lora.names, task_type="CAUSAL_LM"))


def _place(model: nn.Module) -> None:
    """Put weights that are nowhere on a processor, still without storage; what is tied stays tied."""
    made: dict[Tensor, Any] = {}
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for name, one in table.items():
                if one is None:
                    continue
                if one not in made:
                    made[one] = torch.empty(one.shape, dtype=one.dtype)
                    if isinstance(one, nn.Parameter):
                        made[one] = nn.Parameter(made[one], one.requires_grad)
                table[name] = made[one]


def _laid(lines: Sequence[Line], layout: Kind) -> Layout:
    """The layout itself: ids need not be in the vocabulary, since nothing looks them up."""
    return plant(lines) if layout == "forest" else stack(lines)


_QUANTISED = {"8bit": 1.0, "4bit": 0.5 + 1 / 64}
"""Bytes of a quantised weight; NF4 has a scale of one byte for 64 of them."""


def _held(model: nn.Module, quant: str) -> int:
    """Bytes of all weights and buffers; those of frozen linear layers but the head as they are quantised."""
    head = causal(model).get_output_embeddings()
    small = {
        layer.weight
        for layer in model.modules()
        if isinstance(layer, nn.Linear) and layer is not head and not layer.weight.requires_grad
    }
    share = _QUANTISED.get(quant)
    return sum(
        part.nbytes if share is None or part not in small else int(part.numel() * share)
        for part in [*model.parameters(), *model.buffers()]
    )


def _largest(model: nn.Module) -> int:
    """Bytes of the largest of the layers, or of all that is outside of them."""
    layers = next((one for one in model.modules() if isinstance(one, nn.ModuleList)), nn.ModuleList())
    inside = [sum(weight.nbytes for weight in layer.parameters()) for layer in layers]
    return max([*inside, sum(weight.nbytes for weight in model.parameters()) - sum(inside)])


class _Plain(Head):
    """A head whose weights may hold nothing: that alone does not make it another head."""

    @property
    def objections(self) -> tuple[str, ...]:
        return tuple(reason for reason in super().objections if "FakeTensor" not in reason)


class _Engine(LogProbs):
    """The engine, with the head that the weights themselves would have."""

    @property
    def head(self) -> Head:
        found = super().head
        return _Plain(found.module, found.multiplier, found.divisor, found.softcap)


class _Held(TorchDispatchMode):
    """Adds up the storages that live, from when an operation makes them to when nobody holds them."""

    def __init__(self, own: Sequence[Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen = {part.untyped_storage()._cdata for part in own}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._grouped_mm.default:
            # Its shapes are known for bfloat16 alone; a processor computes it in others too.
            made = func(*(_low(one) for one in args)).to(args[0].dtype)
        else:
            made = func(*args, **(kwargs or {}))
        for part in tree_leaves(made):
            if isinstance(part, Tensor):
                self._note(part.untyped_storage())
        return made

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._seen:
            self._seen.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self.now -= size
        self._seen.discard(key)


def _low(one: Any) -> Any:
    return one.bfloat16() if isinstance(one, Tensor) and one.is_floating_point() else one
