"""Long texts as several rows: every token is learned once, in rows of nearly equal length."""

from collections.abc import Sequence

import numpy as np
import pytest

from concord.render.records import Leaf, Rendered
from concord.train.rows.stretches import stretches


def text(count: int, *, prompt: Sequence[int] = (1,), spans: Sequence[Sequence[int]] = ()) -> Rendered:
    """So many tokens behind a prompt: 100, 101, ..."""
    ids = np.array([*prompt, *range(100, 100 + count)], np.int32)
    where = np.array(spans or [[len(prompt), len(ids)]], np.int32)
    return Rendered(np.array(prompt, np.int32), ((Leaf(ids, where),),))


def leaf(row: Rendered) -> Leaf:
    ((found,),) = row.replies
    return found


@pytest.mark.parametrize("length", [2, 3, 7, 10, 11])
@pytest.mark.parametrize("opening", [(1,), ()])
def test_every_token_is_learned_once(length: int, opening: tuple[int, ...]) -> None:
    rows = stretches(text(10), length, opening=opening)
    learned = [leaf(row).ids[slice(*leaf(row).spans[0])].tolist() for row in rows]
    assert [one for part in learned for one in part] == list(range(100, 110))
    assert all(leaf(row).ids[: len(row.prompt)].tolist() == row.prompt.tolist() for row in rows)
    assert all(len(leaf(row).ids) <= length for row in rows)
    sizes = [len(part) for part in learned]
    assert max(sizes) - min(sizes) <= 1
    assert len(rows) == -(-10 // (length - 1))


def test_a_stretch_follows_what_opens_a_text_or_the_token_before_it() -> None:
    opened = stretches(text(6, prompt=(1, 2)), 4, opening=(1, 2))
    assert [leaf(row).ids.tolist() for row in opened] == [
        [1, 2, 100, 101],
        [1, 2, 102, 103],
        [1, 2, 104, 105],
    ]
    bare = stretches(text(6, prompt=(50,)), 4)
    assert [leaf(row).ids.tolist() for row in bare] == [[50, 100, 101, 102], [102, 103, 104, 105]]
    assert [leaf(row).spans.tolist() for row in bare] == [[[1, 4]]] * 2


def test_what_has_room_or_is_no_text_stays_as_it_is() -> None:
    assert len(stretches(text(5), 6, opening=(1,))) == 1
    two = text(9)
    two = Rendered(two.prompt, (two.replies[0], two.replies[0]))
    for row in (two, text(9, spans=[[1, 4], [6, 10]]), text(9, prompt=(1, 2)), text(9, prompt=(1, 2, 3))):
        assert stretches(row, 5, opening=(1,)) == [row]
    assert len(stretches(text(9, prompt=(1, 2)), 2, opening=(1, 2))) == 1
