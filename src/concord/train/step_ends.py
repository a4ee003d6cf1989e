"""Where the steps of a reply end among its tokens: the places that a step head looks at.

A step ends with the token whose text ends where the step does. Where that token reaches over into the next
step, it is the one by which all of the step but its trailing blanks is written: as far as tokens allow, no
step is judged by what was said after it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import TypeAlias

from concord.data import Limit
from concord.errors import ConversionError, Said, explain
from concord.render.fit import fit
from concord.render.records import Rendered
from concord.render.renderer import Renderer
from concord.types import Item, StepLabels, Text

__all__ = ["STEP_ENDS", "Decode", "step_ends", "with_step_ends"]

STEP_ENDS = "step_ends"
"""The key of `meta` that holds the place of the last token of each judged step, in the leaf of its reply."""

Decode: TypeAlias = Callable[[Sequence[int]], str]
"""What gives the text of token ids."""


def with_step_ends(item: Item, rendered: Rendered, renderer: Renderer, limit: Limit | None) -> Item | None:
    """The item with the places of its judged steps in `meta`.

    Steps that the limit cuts off lose their labels; None where no judged step is left. An item that the limit
    will leave out altogether comes back as it is.
    """
    assert isinstance(item.utilities, StepLabels)
    (reply,), (leaves,) = item.replies, rendered.replies
    if len(reply) != 1 or len(leaves) != 1:
        wrong, found = "the steps of a reply stand in several turns", Said(f"{len(reply)} turns")
        do = "give each turn a row of its own"
        raise ConversionError(explain(wrong, found=found, accepted="steps of one turn", do=do))
    kept, shift = leaves[0], 0
    if limit is not None and limit.on_long in ("prompt-left", "reply-right"):
        fitted = fit(rendered, limit.max_length, limit.on_long, keep=renderer.prefix)
        if fitted.rendered is None:
            return item
        kept, shift = fitted.rendered.replies[0][0], fitted.prompt_cut
    start = int(leaves[0].spans[0, 0])
    texts = [part.text for part in reply[0].parts if isinstance(part, Text)]
    ends = [start + end - shift for end in step_ends(texts, leaves[0].ids[start:].tolist(), renderer.decode)]
    pairs = zip(item.utilities.labels, ends, strict=True)
    labels = tuple(label if end < len(kept.ids) else None for label, end in pairs)
    places = [end for label, end in zip(labels, ends, strict=True) if label is not None]
    if not places:
        return None
    meta = {**item.meta, STEP_ENDS: places}
    return Item(item.prompt, item.replies, StepLabels(labels), meta=meta, origin=item.origin)


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
