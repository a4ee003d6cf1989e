"""Texts that are longer than a row may be, as several rows of nearly equal length: nothing of them is lost.

A stretch is predicted from what opens a text (the bos token) or, where nothing does, from the token before
it. Only the last one ends on a stop token, so a model does not learn to stop where a text was cut.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise

import numpy as np

from concord.render.fit import measure
from concord.render.records import Leaf, Rendered, Unrendered
from concord.render.renderer import Renderer
from concord.types import Item

__all__ = ["Stretching", "stretches"]

_CHUNK = 256


def stretches(row: Rendered, length: int, *, opening: Sequence[int] = ()) -> list[Rendered]:
    """A text as rows of at most `length` tokens; what has a prompt of its own, or has room, as it is.

    `opening` are the ids that open a text, if it begins with them: `Renderer.prefix`.
    """
    leaves = [leaf for reply in row.replies for leaf in reply]
    if measure(row)[1] <= length or len(leaves) != 1 or len(leaves[0].spans) != 1:
        return [row]
    ids, start = leaves[0].ids, int(leaves[0].spans[0, 0])
    opens = ids[:start].tolist() == list(opening)
    room = length - start
    if not (opens or start == 1) or room < 1:
        return [row]
    count = -(-(len(ids) - start) // room)
    ends = np.linspace(start, len(ids), count + 1).astype(int).tolist()
    made: list[Rendered] = []
    for first, last in pairwise(ends):
        before = ids[:start] if opens else ids[first - 1 : first]
        span = np.array([[start, start + last - first]], np.int32)
        made.append(Rendered(before, ((Leaf(np.concatenate([before, ids[first:last]]), span),),)))
    return made


class Stretching:
    """Items of which long texts are there several times, and the renderer that has a stretch for each.

    `prepare(stretching.items(texts), stretching, ...)`, without a store and in one process: rows are given in
    the order of the items. `cut` counts the texts that became `rows`.
    """

    def __init__(self, renderer: Renderer, length: int) -> None:
        self._renderer, self._length = renderer, length
        self._waiting: deque[Rendered | Unrendered] = deque()
        self.id, self.prefix = renderer.id, renderer.prefix
        self.cut = self.rows = 0

    def items(self, texts: Iterable[Item]) -> Iterator[Item]:
        """Each item as often as it has rows."""
        waiting = iter(texts)
        while group := list(islice(waiting, _CHUNK)):
            for item, row in zip(group, self._renderer.render(group), strict=True):
                made: Sequence[Rendered | Unrendered] = [row]
                if isinstance(row, Rendered):
                    made = stretches(row, self._length, opening=self.prefix)
                if len(made) > 1:
                    self.cut, self.rows = self.cut + 1, self.rows + len(made)
                for one in made:
                    self._waiting.append(one)
                    yield item

    def render(self, items: Iterable[Item]) -> Iterator[Rendered | Unrendered]:
        """The rows of items that were given out."""
        return (self._waiting.popleft() for _ in items)
