"""Where the steps of a reply end among its tokens: the places that a step head looks at.

A step ends with the token whose text ends where the step does. Where that token reaches over into the next
step, it is the one by which all of the step but its trailing blanks is written: as far as tokens allow, no
step is judged by what was said after it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import TypeAlias

from concord.errors import ConversionError, Said, explain

__all__ = ["Decode", "step_ends"]

Decode: TypeAlias = Callable[[Sequence[int]], str]
"""What gives the text of token ids."""


def step_ends(steps: Sequence[str], ids: Sequence[int], decode: Decode) -> list[int]:
    """The place in `ids`, which begin with the reply, of the last token of each step."""
    whole, text = decode(ids), "".join(steps)
    first = whole.find(text.strip())
    if first < 0 or not text.strip():
        wrong, found = "the steps of a reply cannot be found among its tokens", whole[:40]
        accepted, do = "a reply that is written as it stands", "take another template, or leave the row out"
        raise ConversionError(explain(wrong, found=found, accepted=accepted, do=do))
    at = first - (len(text) - len(text.lstrip()))
    last = first + _alike(whole[first:], text.lstrip())
    written = _Written(ids, whole, decode)
    before = bisect_right(written, first) - 2  # the last token that says nothing of the reply
    places: list[int] = []
    for step in steps:
        bare, at = at + len(step.rstrip()), at + len(step)
        count = written.reaching(min(at, last))
        if written[count] > at:
            count = written.reaching(bare)
        places.append(count - 1)
    if any(later <= place for place, later in zip([before, *places], places, strict=False)):
        wrong, found = "a step has no token of its own", Said("no text, or text within another's token")
        do = "end steps with a line break, or leave the row out"
        raise ConversionError(explain(wrong, found=found, accepted="steps of one token or more", do=do))
    return places


class _Written(Sequence[int]):
    """How many characters of a text its first so many tokens have written."""

    def __init__(self, ids: Sequence[int], whole: str, decode: Decode) -> None:
        self._ids, self._whole, self._decode = ids, whole, decode
        self._known = {0: 0, len(ids): len(whole)}

    def __len__(self) -> int:
        return len(self._ids) + 1

    def __getitem__(self, count: int) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        if count not in self._known:
            # Half a character is decoded as a mark that is not in the whole.
            self._known[count] = _alike(self._decode(self._ids[:count]), self._whole)
        return self._known[count]

    def reaching(self, end: int) -> int:
        """The least number of tokens by which that many characters are written."""
        return bisect_left(self, end)


def _alike(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
