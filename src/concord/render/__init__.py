"""From items to tokens: chat templates, and the spans that are learned from.

Renderer.load(model)   renders items, verified or refused; gives inference the same prompts
RenderSettings         what decides the tokens beside the tokenizer
"""

from concord.render.records import (
    Facts,
    Leaf,
    MaskError,
    Rendered,
    RenderError,
    RenderSettings,
    StopToken,
    Unrendered,
)
from concord.render.renderer import Renderer
from concord.render.show import Piece, pieces

__all__ = [
    "Facts",
    "Leaf",
    "MaskError",
    "Piece",
    "RenderError",
    "RenderSettings",
    "Rendered",
    "Renderer",
    "StopToken",
    "Unrendered",
    "pieces",
]
