"""Where steps end among the tokens of their reply."""

from typing import Any

import pytest

from concord.errors import ConversionError
from concord.render.step_ends import step_ends
from concord.views import Steps
from tests.render.helpers import only, renderer

STEPS = ["the moon is far\n", "it was \u00e9\U0001f600 bright.\n\n", "\nand round\n"]


@pytest.fixture(scope="module")
def made() -> Any:
    return renderer("chatml")


def written(made: Any) -> list[int]:
    """The ids of the reply."""
    leaf = only(made, Steps.of("is it", STEPS, [1, None, 0.25]).item()).replies[0][0]
    return leaf.ids[int(leaf.spans[0, 0]) :].tolist()


def test_a_step_ends_with_its_last_token(made: Any) -> None:
    ids = written(made)
    texts = [made.decode(ids[: end + 1]) for end in step_ends(STEPS, ids, made.decode)]
    assert texts == [STEPS[0], "".join(STEPS[:2]), "".join(STEPS)]


PIECES = ["<think>", "one", ".", "\n\n\n", "two", "<s>"]


@pytest.mark.parametrize(
    ("steps", "ends"),
    [
        (["one.\n\n\n", "two"], [3, 4]),
        (["one.\n", "\n\ntwo"], [2, 4]),
        (["one", ".\n\n\ntwo"], [1, 4]),
        (["on", "e.\n\n\ntwo"], [1, 4]),
        (["  one.\n\n\n", "two\n"], [3, 4]),
    ],
)
def test_no_step_is_judged_by_the_next_one(steps: list[str], ends: list[int]) -> None:
    assert step_ends(steps, range(6), lambda ids: "".join(PIECES[at] for at in ids)) == ends


@pytest.mark.parametrize("steps", [["one", ".", "\n", "\n\ntwo"], ["t", "wo"], ["", "one"], ["one", ""]])
def test_a_step_needs_a_token_of_its_own(steps: list[str]) -> None:
    with pytest.raises(ConversionError, match="a step has no token of its own"):
        step_ends(steps, range(6), lambda ids: "".join(PIECES[at] for at in ids))


def test_steps_that_are_not_there_are_refused(made: Any) -> None:
    ids = written(made)
    for steps in (["far away"], ["  "]):
        with pytest.raises(ConversionError, match="cannot be found among its tokens"):
            step_ends(steps, ids, made.decode)
