"""The processes of a run: which of them this is, and what they tell each other."""

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from concord.engine import LogProbs
from concord.engine.model import causal

__all__ = ["ALONE", "Ranks", "Sharding", "begun", "current", "device_for", "whole_state", "wrapped"]

Sharding: TypeAlias = Literal["ddp", "fsdp"]
"""How several devices train one model: each a copy of it, or each a share of its weights."""


@dataclass(frozen=True)
class Ranks:
    """One process of so many."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    def add(self, values: Tensor) -> Tensor:
        """The sum of everybody's values, in place."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether anybody says so."""
        return flag if self.count == 1 else any(self.everybody(flag))

    def barrier(self) -> None:
        """Wait for everybody."""
        if self.count > 1:
            dist.barrier()

    def told(self, value: Any) -> Any:
        """What the first process says, on all of them."""
        if self.count == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def everybody(self, value: Any) -> Sequence[Any]:
        """What each process says, in the order of the processes."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, value)
        return found


_PATIENCE = timedelta(days=1)
"""While the first rank prepares data or writes the model, the others wait. One that dies is seen at once."""

ALONE = Ranks()
"""One process that trains alone."""


def current() -> Ranks:
    """The processes as torch.distributed has them; one, where it was not begun."""
    if dist.is_available() and dist.is_initialized():
        return Ranks(dist.get_rank(), dist.get_world_size())
    return ALONE


@contextmanager
def begun() -> Generator[Ranks]:
    """The processes that `torchrun` or `accelerate launch` started, connected for the length of a `with`."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        yield current()
        return
    backend = "cuda:nccl,cpu:gloo" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=_PATIENCE)
    if torch.cuda.is_available():
        torch.cuda.set_device(device_for(current()))
    try:
        yield current()
    finally:
        dist.destroy_process_group()


def device_for(ranks: Ranks) -> torch.device:
    """The device of this process: the GPU of its number, where there are GPUs."""
    if torch.cuda.is_available():
        number = int(os.environ.get("LOCAL_RANK", ranks.rank))
        return torch.device("cuda", number % torch.cuda.device_count())
    return torch.device("cpu")


def wrapped(engine: LogProbs, ranks: Ranks, sharding: Sharding) -> nn.Module | None:
    """The engine as all ranks train it together: copied, or sharded; None where there is one alone."""
    if ranks.count == 1:
        return None
    if sharding == "ddp":
        return DistributedDataParallel(engine)
    kinds = set(getattr(causal(engine.model), "_no_split_modules", None) or ())
    for module in engine.model.modules():
        if type(module).__name__ in kinds:
            fully_shard(module)
    fully_shard(engine)
    return engine


def whole_state(model: nn.Module, heads: Mapping[str, nn.Module]) -> dict[str, Tensor] | None:
    """All weights of a sharded model and its head, on the CPU of the first rank; None where it is whole."""
    if not any(isinstance(weight, DTensor) for weight in model.parameters()):
        return None
    # Gathered one after the other, by all ranks; only the first keeps them.
    kept: dict[str, Tensor] = {}
    first = current().first
    every = dict(model.state_dict())
    for head in heads.values():
        every |= {f"head.{name}": value for name, value in head.state_dict().items()}
    for name, value in every.items():
        full = value.full_tensor() if isinstance(value, DTensor) else value
        if first:
            kept[name] = full.detach().cpu()
    return kept
