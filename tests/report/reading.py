"""Reads a page as a browser does, and refuses what a browser would have to mend."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br", "hr", "link", "img", "input"}


@dataclass
class Element:
    """An element: name, attributes, children and texts in order."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict[str, str])
    inside: "list[Element | str]" = field(default_factory=list["Element | str"])

    def all(self, name: str = "", class_: str = "") -> "list[Element]":
        """The elements below, of this name and class."""
        return [one for one in self._below() if _fits(one, name, class_)]

    def _below(self) -> "Iterator[Element]":
        for one in self.inside:
            if isinstance(one, Element):
                yield one
                yield from one._below()

    @property
    def text(self) -> str:
        """All text within."""
        return "".join(one if isinstance(one, str) else one.text for one in self.inside)

    @property
    def classes(self) -> set[str]:
        """Its classes."""
        return set(self.attributes.get("class", "").split())


def _fits(one: Element, name: str, class_: str) -> bool:
    return (not name or one.name == name) and (not class_ or class_ in one.classes)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Element("")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"an attribute of {tag} stands twice"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].inside.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open[-1].name, f"</{tag}> where {self.open[-1].name} is open"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")


def read_page(html: str) -> Element:
    """The page as a tree of elements."""
    assert html.startswith("<!doctype html>\n")
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert len(reader.open) == 1, f"left open: {[one.name for one in reader.open]}"
    return reader.open[0]
