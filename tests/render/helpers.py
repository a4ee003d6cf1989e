"""What the tests of rendering share: renderers by family, leaves as text with marks."""

from functools import cache
from typing import Any

from concord.messages import Message, TurnsLike, as_turns
from concord.render.records import Leaf, Rendered, RenderSettings, Unrendered
from concord.render.renderer import Renderer
from concord.types import Item, Prompt
from tests.render.templates import FAMILIES, tokenizer

__all__ = ["item", "only", "refused", "renderer", "said", "show", "shown"]


@cache
def _kept(name: str, first: bool) -> Renderer:
    settings = RenderSettings(template_args=FAMILIES[name].args)
    return Renderer(tokenizer(name, first=first), settings=settings)


def renderer(name: str, template: str | None = None, *, first: bool = False, **settings: Any) -> Renderer:
    """The renderer of a family, or of its tokenizer with another template or other settings."""
    if template is None and not settings:
        return _kept(name, first)
    merged: dict[str, Any] = {"template_args": FAMILIES[name].args} | settings
    given = RenderSettings(**merged)
    return Renderer(tokenizer(name, template, first=first), settings=given)


def said(*texts: str, system: str | None = None) -> tuple[Message, ...]:
    """A conversation that the user begins."""
    roles = ("user", "assistant")
    told = () if system is None else (Message("system", system),)
    return (*told, *(Message(roles[at % 2], text) for at, text in enumerate(texts)))  # type: ignore[arg-type]


def item(prompt: Any, *replies: TurnsLike, **args: Any) -> Item:
    """A prompt and its replies, of which nothing is known."""
    asked = prompt if isinstance(prompt, Prompt) else Prompt(as_turns(prompt, role="user"), **args)
    return Item(asked, tuple(as_turns(reply) for reply in replies))


def only(made: Renderer, given: Item) -> Rendered:
    """An item rendered, which has to work."""
    (row,) = made.render([given])
    if isinstance(row, Unrendered):
        raise row.error
    return row


def refused(made: Renderer, given: Item) -> str:
    """The message of an item that is refused."""
    (row,) = made.render([given])
    assert isinstance(row, Unrendered), row
    return str(row.error)


def shown(made: Renderer, leaf: Leaf) -> str:
    """The text of a leaf with [[what is trained]] marked."""
    return "".join(f"[[{piece.text}]]" if piece.trained else piece.text for piece in made.pieces(leaf))


def show(made: Renderer, given: Item) -> list[str]:
    """The leaves of the only reply of an item."""
    row = only(made, given)
    (reply,) = row.replies
    return [shown(made, leaf) for leaf in reply]
