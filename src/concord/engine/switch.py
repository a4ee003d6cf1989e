"""Which attention a model uses: the forest's, or its own.

transformers reads the choice from the configuration of the text part in every layer, also when gradient
checkpointing computes a layer again. So it is switched for good, and a model's own kernel is borrowed only
for the length of a `with`, in which nothing of the forest may be pending: no backward of what was computed
outside.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from concord.engine.attention import NAME, install
from concord.engine.model import causal, text_config

__all__ = ["kernel", "own_kernel", "switch", "usual"]


def switch(model: nn.Module, name: str | None) -> str | None:
    """Set the attention of a model's text part, and return what it had. None: what transformers takes."""
    if name == NAME:
        install()
    before, name = kernel(model), name or usual(model)
    for config in _configs(model):
        # Written so, the parts of a configuration keep theirs: pictures have no forest.
        config._attn_implementation = {"": name}
    return before


def kernel(model: nn.Module) -> str | None:
    """The attention that the text part of a model uses."""
    return getattr(text_config(model), "_attn_implementation", None)


@contextmanager
def own_kernel(model: nn.Module, name: str | None = None) -> Generator[None]:
    """Let a model use an attention of its own inside the `with`, and put back what it had, come what may.

    Without a name: the one transformers would take.
    """
    name = name or usual(model)
    held = [(config, getattr(config, "_attn_implementation", None)) for config in _configs(model)]
    try:
        for config, _ in held:
            config._attn_implementation = {"": name}
        yield
    finally:
        for config, before in held:
            config._attn_implementation = {"": before}


def usual(model: nn.Module) -> str:
    """The attention that transformers takes for a model where nobody chooses."""
    return "sdpa" if getattr(causal(model), "_supports_sdpa", False) else "eager"


def _configs(model: nn.Module) -> Iterator[Any]:
    """The configurations that layers of the text part read: all of its class in any module, each once."""
    text = text_config(model)
    seen = {id(text)}
    yield text
    for module in causal(model).modules():
        config = getattr(module, "config", None)
        if type(config) is type(text) and id(config) not in seen:
            seen.add(id(config))
            yield config
