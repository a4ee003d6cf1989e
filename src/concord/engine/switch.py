"""Which attention a model uses: the forest's, or its own.

transformers reads the choice from the configuration of the text part in every layer, also when gradient
checkpointing computes a layer again. So it is switched for good, and a model's own kernel is borrowed only
for the length of a `with`, in which nothing of the forest may be pending.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from concord.engine.attention import NAME, install
from concord.engine.model import causal

__all__ = ["kernel", "own_kernel", "switch"]


def switch(model: nn.Module, name: str) -> dict[int, str | None]:
    """Set the attention of every part of a model, and return what each had, by the identity of its configuration."""
    if name == NAME:
        install()
    before: dict[int, str | None] = {}
    for config in _configs(model):
        before.setdefault(id(config), getattr(config, "_attn_implementation", None))
        config._attn_implementation = name
    return before


def kernel(model: nn.Module) -> frozenset[str | None]:
    """The attention of the parts of a model; one name, where all is well."""
    return frozenset(getattr(config, "_attn_implementation", None) for config in _configs(model))


@contextmanager
def own_kernel(model: nn.Module, name: str | None) -> Generator[None]:
    """Let a model use an attention of its own inside the `with`, and put back what it had."""
    before = switch(model, name or "eager")
    try:
        yield
    finally:
        for config in _configs(model):
            config._attn_implementation = before[id(config)]


def _configs(model: nn.Module) -> Iterator[Any]:
    """The configurations that attention layers read: of the model, its text part, and each module that keeps one."""
    seen: set[int] = set()
    inner = causal(model)
    for module in inner.modules():
        config = getattr(module, "config", None)
        if config is not None and hasattr(config, "_attn_implementation") and id(config) not in seen:
            seen.add(id(config))
            yield config
