"""How the tokens of a reply read behind their prompt, and where stop strings end it."""

from collections.abc import Sequence
from dataclasses import dataclass

from concord.render import Rendered, Renderer
from concord.types import Item, Message, Prompt

__all__ = ["Voice", "opening_blanks", "piece"]

_BEHIND = 8  # tokens of the prompt that are enough to see how a reply reads behind it


@dataclass(frozen=True, slots=True)
class Voice:
    """The text of replies to one prompt, and what ends them.

    Some tokenizers drop a blank at the beginning of a text; so tokens are read behind the last ones of the
    prompt, whose own text is then taken off.
    """

    renderer: Renderer
    before: tuple[int, ...]
    opened: str
    strings: tuple[str, ...] = ()
    blanks: int = 0
    """How many blanks before a reply are the template's, which a model that learned it writes too."""

    @classmethod
    def behind(
        cls, renderer: Renderer, ids: Sequence[int], strings: tuple[str, ...] = (), *, blanks: int = 0
    ) -> "Voice":
        """The voice of what follows these ids."""
        prefix = renderer.prefix
        said = ids[len(prefix) :] if tuple(ids[: len(prefix)]) == prefix else ids
        before = tuple(said[-_BEHIND:])
        return cls(renderer, before, renderer.decode(before) if before else "", strings, blanks)

    def text(self, tokens: Sequence[int]) -> str:
        """How these tokens read."""
        text = self.renderer.decode([*self.before, *tokens])
        # Where the prompt ends inside a character, what follows is read by itself.
        text = text[len(self.opened) :] if text.startswith(self.opened) else self.renderer.decode(tokens)
        return text[min(self.blanks, len(text) - len(text.lstrip(" "))) :]

    def ends(self, tokens: Sequence[int]) -> bool:
        """Whether the last of these tokens ends the reply: it is a stop token, or completes a stop string."""
        return tokens[-1] in self.renderer.stop_ids or (
            bool(self.strings) and self._stop(self.text(tokens)) is not None
        )

    def cut(self, tokens: Sequence[int]) -> tuple[str, int]:
        """The text of a reply without what ended it, and how many of its tokens belong to it.

        A stop token does, though it is not in the text; of a stop string nothing does, but for a token that
        has some of the text as well.
        """
        count = len(tokens)
        if tokens and tokens[-1] in self.renderer.stop_ids:
            return self.text(tokens[:-1]), count
        text = self.text(tokens)
        if self.strings and (at := self._stop(text)) is not None:
            text = text[:at]
            while count and self.text(tokens[: count - 1]).startswith(text):
                count -= 1
        return text, count

    def _stop(self, text: str) -> int | None:
        """Where the first stop string begins."""
        return min((at for one in self.strings if (at := text.find(one)) >= 0), default=None)


def opening_blanks(renderer: Renderer) -> int:
    """How many blanks the template writes between the prompt and a reply: found out by trying."""
    asked, said = Message("user", "a"), Message("assistant", "a")
    (row,) = renderer.render([Item(Prompt((asked,)), ((said,),))])
    if not isinstance(row, Rendered):
        return 0
    leaf = row.replies[0][0]
    start, stop = leaf.spans[0].tolist()
    text = Voice.behind(renderer, leaf.ids[:start].tolist()).text(leaf.ids[start : stop - 1].tolist())
    return len(text) - len(text.lstrip(" "))


def piece(renderer: Renderer, token: int) -> str:
    """How a token reads inside a text, where none drops its blank: behind itself."""
    alone, twice = renderer.decode([token]), renderer.decode([token, token])
    return twice[len(alone) :] if twice.startswith(alone) else alone
