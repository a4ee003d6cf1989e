"""What is a line, and what is refused as none, whichever layout it was for."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from concord.engine.forest import plant
from concord.engine.rows import stack
from concord.engine.targets import Line
from concord.errors import InputError

_IDS, _SPANS = np.array([5, 6, 7, 8]), np.array([[1, 4]])


def odd(**parts: Any) -> Line:
    """A line with parts that its own signature would not take."""
    line = Line(_IDS, _SPANS)
    for name, part in parts.items():
        object.__setattr__(line, name, part)
    return line


@pytest.mark.parametrize("lay", [plant, stack])
@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"ids": np.array([5, -1, 7, 8])}, "the ids of line 1 .* found the token -1"),
        ({"ids": _IDS * 1.5}, "the ids of line 1 .* found an array of float64"),
        ({"ids": _IDS > 5}, "the ids of line 1 .* found an array of bool"),
        ({"ids": [5, 6, 7, 8]}, "the ids of line 1 .* found list"),
        ({"ids": _IDS[None]}, r"the ids of line 1 .* found an array of the shape \[1, 4\]"),
        ({"spans": np.array([1, 3])}, r"the spans of line 1 .* the shape \[2\]; accepted: .* \[k, 2\]"),
        ({"spans": np.array([[1, 2, 3]])}, r"the spans of line 1 .* the shape \[1, 3\]"),
        ({"spans": [(1, 3)]}, "the spans of line 1 .* found list"),
        ({"spans": _SPANS * 1.0}, "the spans of line 1 .* float64"),
        ({"marks": np.array([1.0])}, "the marks of line 1 .* float64"),
        ({"reply": -1}, "the reply of line 1 .* found -1"),
        ({"reply": 1.5}, "the reply of line 1 .* found 1.5"),
    ],
)
def test_what_is_no_line_is_refused_by_part_and_number(
    lay: Callable[..., Any], parts: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        lay([Line(_IDS, _SPANS), odd(**parts)])


@pytest.mark.parametrize("lay", [plant, stack])
@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.uint32, np.int64])
def test_all_whole_numbers_are_the_same(lay: Callable[..., Any], kind: Any) -> None:
    laid = lay([Line(_IDS.astype(kind), _SPANS.astype(kind), 2, np.array([3], kind))])
    assert laid.ids.flatten().tolist() == [5, 6, 7, 8]
    targets = laid.targets
    assert (targets.where.tolist(), targets.labels.tolist()) == ([0, 1, 2], [6, 7, 8])
    assert (targets.owner.tolist(), targets.marks.tolist()) == ([2, 2, 2], [3])
