"""What of a training survives when weights go back to the precision they came in.

Weights of bfloat16 are trained in float32, in steps far below what bfloat16 can tell apart: written back in
it, most of them may be where they began, and the model says what it said before. How much that is can be
counted, and no default should lose it unsaid.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from concord.engine.precision import weights_of
from concord.recipes import Recipe
from concord.train.models import merged, opened

__all__ = ["Beginning", "Survived", "begun_from", "surviving"]

_LOW = (torch.bfloat16, torch.float16)
_LOST = 0.1
"""How much of a training may be lost, or added, where nobody asked for its weights to be rounded."""
_CHUNK = 1 << 24
"""How many single weights are compared at a time: beside a model there may be little room."""

Beginning: TypeAlias = Callable[[], Mapping[str, Tensor]]
"""The weights that a training began with, by their names; asked for only where something may be lost."""


@dataclass(frozen=True, kw_only=True)
class Survived:
    """What rounding leaves of a training, and the precision that the weights are to be written in."""

    came: Mapping[str, torch.dtype]
    """What `export` is to be given."""
    share: float = 1.0
    """How far rounded weights went along the way that training went, as a share of it.

    With d what training added to the weights, and r what the rounded ones have of it, it is <r, d> / <d, d>:
    to first order, the share of what was learned that the written model still does. The length of r - d would
    blame rounding for scatter to all sides, which does little. 1 where nothing is rounded; more, where steps
    of just over half of what can be told apart became whole ones.
    """
    stayed: float = 1.0
    """The share of single weights that moved and that are elsewhere than at the beginning once rounded."""
    moved: float = 1.0
    """The share of single trained weights that moved at all."""
    line: str = ""
    """What a person should know; empty where nothing can have been lost."""


def begun_from(model: Any, path: str, recipe: Recipe) -> Beginning:
    """A way to have the weights again that a training begins with, to be asked for before its first step.

    An adapter's are few, and a copy is kept. A whole model's are read again from `path` when they are wanted:
    a second copy through all of training is a high price for a line at its end.
    """
    if hasattr(model, "peft_config"):
        kept = weights_of(model)
        return lambda: kept
    return lambda: _read(path, recipe)


def _read(path: str, recipe: Recipe) -> Mapping[str, Tensor]:
    model: Any = opened(path, recipe, torch.device("cpu"))
    return (merged(model)[0] if hasattr(model, "peft_config") else model).state_dict()


def surviving(
    model: Any,
    came: Mapping[str, torch.dtype],
    begun: Beginning,
    *,
    wanted: Literal["auto", "came", "fp32"] = "auto",
    state: Mapping[str, Tensor] | None = None,
) -> Survived:
    """Find what rounding leaves of a training, and decide in which precision its weights are written.

    `came` has the precision that weights had before they were taken up to be trained, `state` all weights of
    a model whose own are sharded over ranks. `auto` is `came`, and fp32 where rounded weights would
    miss the way of training by a tenth or more: a folder of twice the size is a lesser evil than a training
    that was undone.
    """
    if wanted == "fp32":
        came = _unrounded(model, came)
    trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
    coarse = {dtype for name, one in trained.items() if (dtype := came.get(name, one.dtype)) in _LOW}
    pure = any(one.dtype in _LOW for one in trained.values())
    if not coarse and not pure:
        return Survived(came=came)
    found = _Count()
    before = begun()
    for name in trained.keys() & before.keys():
        value = trained[name] if state is None else state[name]
        found.add(value.detach(), before[name], came.get(name, value.dtype))
    raised = wanted == "auto" and found.lost
    line = found.pure_line if pure and not raised else found.line(_names(coarse), raised=raised)
    return Survived(
        came=_unrounded(model, came) if raised else came,
        share=found.share,
        stayed=found.stayed,
        moved=found.moved,
        line=line,
    )


def _unrounded(model: Any, came: Mapping[str, torch.dtype]) -> dict[str, torch.dtype]:
    """The same where nothing is to be rounded: a whole model in float32, and of an adapter its own weights,
    for the base it stands on is not written."""
    named = dict(model.named_parameters())
    if hasattr(model, "peft_config"):
        return {name: dtype for name, dtype in came.items() if not named[name].requires_grad}
    return {name: torch.float32 for name, one in named.items() if one.dtype in _LOW}


def _names(dtypes: set[torch.dtype]) -> str:
    return " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))


@dataclass
class _Count:
    """Sums over single weights, from tensor to tensor."""

    every: int = 0
    changed: int = 0
    told: int = 0
    along: float = 0.0
    way: float = 0.0

    def add(self, value: Tensor, before: Tensor, dtype: torch.dtype) -> None:
        """Count the weights of one tensor, which are to be written in some precision."""
        for now, old in zip(value.flatten().split(_CHUNK), before.flatten().split(_CHUNK), strict=True):
            # In the precision it was trained in, what was there at the first step.
            first = old.to(now.device, now.dtype)
            added = now.float() - first.float()
            rest = now.to(dtype).float() - first.to(dtype).float()
            self.every += now.numel()
            self.changed += int((added != 0).sum())
            self.told += int(((added != 0) & (rest != 0)).sum())
            self.along += float((rest * added).sum())
            self.way += float((added * added).sum())

    @property
    def share(self) -> float:
        """What survives: none, where rounding makes of a weight what is no number."""
        if not self.way:
            return 1.0
        return self.along / self.way if math.isfinite(self.along) else 0.0

    @property
    def lost(self) -> bool:
        """Whether rounded weights are not what was trained."""
        return abs(1 - self.share) > _LOST

    @property
    def stayed(self) -> float:
        """The weights that moved and are elsewhere once rounded, among those that moved."""
        return self.told / self.changed if self.changed else 1.0

    @property
    def moved(self) -> float:
        """The weights that moved, among all."""
        return self.changed / self.every if self.every else 1.0

    @property
    def pure_line(self) -> str:
        """For weights that were trained in half precision themselves: what has not moved then was lost in
        every step."""
        advice = "; precision: bf16 trains them in float32" if self.moved < 1 - _LOST else ""
        return f"training in half precision moved {self.moved:.1%} of the weights{advice}"

    def line(self, dtypes: str, *, raised: bool) -> str:
        """What rounding to some precision leaves, and what is done about it or can be."""
        went = f"{self.share:.1%} of the way that training went"
        back = f"{1 - self.stayed:.1%} of the weights that moved"
        if raised:
            return (
                f"weights are written in float32: in {dtypes}, as they came, they would go {went}, and "
                f"{back} be back where they began; export_dtype: came writes them so nevertheless"
            )
        said = f"weights are written in {dtypes}, as they came, and go {went}"
        if not self.lost:
            return said
        return f"warning: {said}; {back} are back where they began; export_dtype: fp32 keeps all of it"
