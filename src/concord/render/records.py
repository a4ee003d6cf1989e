"""What rendering is told and what it gives: settings, facts, token ids with their trained spans, errors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from concord.errors import InputError
from concord.types import JSON, Origin

__all__ = [
    "Facts",
    "Ids",
    "Leaf",
    "MaskError",
    "RenderError",
    "RenderSettings",
    "Rendered",
    "Spans",
    "StopToken",
    "Unrendered",
]

Ids: TypeAlias = NDArray[np.int32]
"""Token ids in order, one dimension."""

Spans: TypeAlias = NDArray[np.int32]
"""Rows (start, stop) of positions, ascending, that do not overlap."""


class RenderError(InputError):
    """An item cannot be written as this template and tokenizer want it."""


class MaskError(RenderError):
    """What is learned from cannot be told apart from the rest beyond doubt."""


@dataclass(frozen=True, slots=True)
class RenderSettings:
    """What decides the tokens beside the tokenizer.

    `template_args` go to the chat template, below those of a prompt. `stop` are the tokens that end a reply,
    in the place of those found. `chat_template` is a Jinja template in the place of the tokenizer's. `plain`
    continues every prompt as it stands, without a template. `train_added` learns from text that the template
    adds inside a reply, which is refused otherwise.
    """

    template_args: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    stop: tuple[str, ...] = ()
    chat_template: str | None = None
    plain: bool = False
    train_added: bool = False


@dataclass(frozen=True, slots=True)
class StopToken:
    """A token that ends a reply, and why it is held to be one."""

    text: str
    id: int
    why: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found out about a tokenizer and its model.

    `template` says where the chat template is from. The first of the `stop` tokens is the one that is written
    where no template writes one. `longest` is the number of positions, as `longest_from` has it. `date` is
    what a template that asks for today is told, so that the same data give the same tokens tomorrow.
    """

    template: Literal["tokenizer", "plain fallback", "given"]
    stop: tuple[StopToken, ...]
    longest: int | None
    longest_from: str
    bos: str
    date: str | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """One sequence of tokens, and the stretches of it that are learned from; nothing follows the last one."""

    ids: Ids
    spans: Spans


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """The tokens of an item.

    `prompt` is what inference is given, and each reply's first leaf begins with it. A reply has several
    leaves only where its template writes earlier turns differently once later ones follow; each trained turn
    stands in exactly one of them. Where a reply begins with turns that are not learned from, the prompt is
    what all first leaves begin with.
    """

    prompt: Ids
    replies: tuple[tuple[Leaf, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Unrendered:
    """An item that cannot be rendered, and why."""

    origin: Origin | None
    error: RenderError
