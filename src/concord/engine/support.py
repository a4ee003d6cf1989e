"""What an engine may be wrapped in, and the refusal of what would go wrong without a sign.

DDP, FSDP2, autocast and compile take `LogProbs` whole. Wrapped further inside they miss what the engine does
between the parts of a model: where only layers are sharded, every rank has its own gradients of embeddings
and head. A head that is sharded by itself is gathered once a chunk, and ranks with different numbers of
tokens would wait for each other forever. What is supported stands in a table of the docs, made from tests.
"""

from collections.abc import Iterator

import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel
from torch.nn.parallel import DataParallel, DistributedDataParallel

from concord.engine.forest import Forest
from concord.engine.model import body, causal
from concord.engine.rows import Rows
from concord.errors import CapabilityError, Said, explain

__all__ = ["check_bare", "check_wrapped"]

_WRAPPERS = (DistributedDataParallel, FullyShardedDataParallel, DataParallel)


def check_bare(model: nn.Module) -> None:
    """Refuse to make an engine of a model that is wrapped already: the wrapper would never be called."""
    if isinstance(model, _WRAPPERS):
        wrapper = type(model).__name__
    elif hasattr(model, "_orig_mod"):
        wrapper = "torch.compile"
    elif hasattr(model, "_original_forward"):
        wrapper = "the autocast of accelerate"
    else:
        return
    wrong, found = "the model is wrapped already, and the engine calls its parts", Said(wrapper)
    accepted, do = (
        "a bare model, or one with adapters",
        "make the engine first, and wrap or prepare the engine",
    )
    raise CapabilityError(explain(wrong, found=found, accepted=accepted, do=do))


def check_wrapped(engine: nn.Module, model: nn.Module, head: nn.Module, layout: Forest | Rows) -> None:
    """Refuse a forward pass under a wrapper whose gradients would be wrong, or wait forever."""
    reason = next(_wrong(engine, model, head, layout), None)
    if reason is not None:
        accepted = "one process, DDP around the engine, or FSDP2 on its layers and then on the engine itself"
        do = "wrap the engine as docs/engine.md shows"
        wrong = "under this wrapper gradients would be wrong, or never come"
        raise CapabilityError(explain(wrong, found=Said(reason), accepted=accepted, do=do))


def _wrong(engine: nn.Module, model: nn.Module, head: nn.Module, layout: Forest | Rows) -> Iterator[str]:
    """Why what wraps an engine does not suit it."""
    if getattr(engine, "_is_replica", False):
        yield "DataParallel, which copies models in threads; use DDP"
    if not dist.is_available() or not dist.is_initialized():
        return
    sharded = any(isinstance(part, FSDPModule) for part in engine.modules())
    managed = getattr(engine, "_is_fsdp_managed_module", False)
    if sharded and not managed:
        yield "FSDP2 on parts of the engine, and not on the engine itself"
    if managed and not sharded:
        yield "FSDP of the first version"
    if sharded:
        parts = {"model": model, "language model": causal(model), "body": body(model), "head": head}
        for name, part in parts.items():
            if isinstance(part, FSDPModule):
                yield f"FSDP2 on the {name} by itself"
        if isinstance(layout, Rows) and layout.bands:
            # Each band is a forward pass that gathers every layer: all ranks would need as many.
            yield f"FSDP2, and rows that need {len(layout.bands)} forward passes; split them before"
