"""Places of judged steps are kept beside their row, and hold when it is cut."""

from typing import Any

import numpy as np
import pytest

from concord.data import Limit
from concord.errors import ConversionError
from concord.render.fit import fit
from concord.render.records import Rendered
from concord.render.renderer import Renderer
from concord.render.step_ends import step_ends
from concord.train.rows.step_ends import STEP_ENDS, with_step_ends
from concord.types import Item, StepLabels, as_prompt, as_turns
from concord.views import Steps
from tests.data.test_prepare import make_renderer

STEPS = ["the moon is far\n", "it was \u00e9\U0001f600 bright.\n\n", "\nand round\n"]
LABELS = [1, None, 0.25]


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return make_renderer()


def rendered(renderer: Renderer, item: Item) -> Rendered:
    (row,) = renderer.render([item])
    assert isinstance(row, Rendered)
    return row


def written(renderer: Renderer, row: Rendered) -> tuple[list[int], int]:
    """The ids of the reply, and how many tokens stand before it."""
    leaf = row.replies[0][0]
    start = int(leaf.spans[0, 0])
    return leaf.ids[start:].tolist(), start


def test_judged_steps_are_kept_in_meta(renderer: Renderer) -> None:
    item = Item(as_prompt("is it"), Steps.of("q", STEPS, LABELS).item().replies, StepLabels((1, None, 0.25)))
    row = rendered(renderer, item)
    made = with_step_ends(item, row, renderer, None)
    ids, start = written(renderer, row)
    ends = step_ends(STEPS, ids, renderer.decode)
    assert made is not None
    assert made.meta == {STEP_ENDS: [ends[0] + start, ends[2] + start]}
    assert (made.replies, made.utilities) == (item.replies, item.utilities)


@pytest.mark.parametrize("how", ["prompt-left", "reply-right"])
def test_places_hold_after_every_cut(how: Any, renderer: Renderer) -> None:
    item = Steps.of("is it there? the moon was bright and near you see", STEPS, [1, 0.5, 0.25]).item()
    row = rendered(renderer, item)
    ids, start = written(renderer, row)
    ends = [start + end for end in step_ends(STEPS, ids, renderer.decode)]
    left = set[int]()
    for length in range(len(row.prompt) // 2, len(row.replies[0][0].ids) + 2):
        cut = fit(row, length, how, keep=renderer.prefix)
        made = with_step_ends(item, row, renderer, Limit(length, how))
        if cut.rendered is None:
            assert made is item
            continue
        leaf = cut.rendered.replies[0][0]
        there = [end for end in ends if end - cut.prompt_cut < len(leaf.ids)]
        left.add(len(there))
        if not there:
            assert made is None
            continue
        assert made is not None
        places = np.array(made.meta[STEP_ENDS], np.int64)
        assert leaf.ids[places].tolist() == row.replies[0][0].ids[there].tolist()
        labels = made.utilities.labels if isinstance(made.utilities, StepLabels) else ()
        assert labels == (1, 0.5, 0.25)[: len(there)] + (None,) * (3 - len(there))
    assert left == ({3} if how == "prompt-left" else {0, 1, 2, 3})


def test_steps_over_turns_are_refused(renderer: Renderer) -> None:
    reply = (*as_turns("the moon"), *as_turns("is far"))
    item = Item(as_prompt("is it"), (reply,), StepLabels((1, 0)))
    with pytest.raises(ConversionError, match="stand in several turns; found 2 turns"):
        with_step_ends(item, rendered(renderer, item), renderer, None)
