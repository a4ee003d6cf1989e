"""Models that stand for trained ones, and rows such as were trained on."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from concord.engine import Line, LogProbs
from concord.engine.heads import ScalarHead
from concord.render import Rendered, Renderer
from concord.types import Item, as_prompt, as_turns


def lines_for(renderer: Renderer, count: int = 3) -> list[Line]:
    """Rows of a conversation, as they are trained on."""
    items = [Item(as_prompt(f"What is {n}?"), (as_turns("It is so."), as_turns("No."))) for n in range(count)]
    rows = [row for row in renderer.render(items) if isinstance(row, Rendered)]
    leaves = [leaf for row in rows for reply in row.replies for leaf in reply]
    return [Line(leaf.ids, leaf.spans, number) for number, leaf in enumerate(leaves)]


def trained(model: Any) -> Any:
    """The same model after something that stands for training."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.02)
    return model


def read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


def headed(model: Any, made: Any) -> tuple[LogProbs, ScalarHead]:
    """An engine with a head that says something."""
    head = made(32)
    torch.manual_seed(1)
    nn.init.normal_(head.score.weight)
    return LogProbs(model, heads={"scores": head}), head
