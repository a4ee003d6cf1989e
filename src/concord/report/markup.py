"""Elements of a page. Whatever is not made here is text, and is escaped."""

from html import escape
from typing import TypeAlias

from concord.report.words import code_pieces, one_line, visible

__all__ = ["Child", "Markup", "el", "join", "prose", "void"]


class Markup(str):
    """Text that is markup already: made by `el`, never from data."""

    __slots__ = ()


Child: TypeAlias = str | None


def el(name: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """An element with its children; text among them is escaped, and None is left out."""
    inside = "".join(map(_child, children))
    return Markup(f"<{name}{_attributes(attributes)}>{inside}</{name}>")


def void(name: str, /, **attributes: str | float | None) -> Markup:
    """An element that holds nothing and has no end."""
    return Markup(f"<{name}{_attributes(attributes)}>")


def join(*children: Child) -> Markup:
    """Children one after the other, text among them escaped."""
    return Markup("".join(map(_child, children)))


def prose(text: str) -> Markup:
    """Text with its `code` set as code."""
    return join(*(el("code", piece) if code else piece for piece, code in code_pieces(text)))


def _child(child: Child) -> str:
    if child is None:
        return ""
    return child if isinstance(child, Markup) else escape(visible(child))


def _attributes(attributes: dict[str, str | float | None]) -> str:
    """Attributes as given, without those that are None; `class_` is class, `data_v` is data-v."""
    given = ((name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items())
    return "".join(f' {name}="{_value(value)}"' for name, value in given if value is not None)


def _value(value: str | float) -> str:
    # Two decimals: a hundredth of a unit of a drawing is less than anybody sees.
    return escape(one_line(value)) if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")
