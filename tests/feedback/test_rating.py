"""Rows that a feedback rated: with its scores, with its name, and with nothing lost."""

import pytest

from concord.errors import InputError
from concord.feedback import Weighted, rated_rows
from concord.types import RATED_BY, Item, Ratings, Shown, as_prompt, as_turns
from tests.feedback.test_combine import Table

SAYS = Table("says", {"a": 1.0, "b": 0.25})


def row(*texts: str, **meta: int) -> Item:
    return Item(as_prompt("q"), tuple(map(as_turns, texts)), meta=dict(meta))


def test_rows_keep_what_they_are_and_say_who_rated_them() -> None:
    (one,) = rated_rows(SAYS, [row("a", "b", number=7)])
    assert one.utilities == Ratings((1.0, 0.25))
    assert one.meta == {"number": 7, RATED_BY: "says"}
    assert one.replies == row("a", "b").replies


def test_parts_of_scores_become_aspects() -> None:
    both = Weighted({"u": SAYS, "v": Table("v", {"a": 0.5, "b": 0.5})})
    (one,) = rated_rows(both, [row("a", "b")])
    assert isinstance(one.utilities, Ratings)
    assert one.utilities.scores == pytest.approx((1.5, 0.75))
    assert one.utilities.aspects == {"u": (1.0, 0.25), "v": (0.5, 0.5)}


def test_what_could_not_be_scored_is_none_and_never_a_zero() -> None:
    some, none, empty = rated_rows(SAYS, [row("a", "x"), row("x", "y"), row()])
    assert some.utilities == Ratings((1.0, None))
    assert (none.utilities, none.meta["unscored"], len(none.replies)) == (None, "never seen", 2)
    assert (empty.utilities, empty.meta["unscored"]) == (None, "the row has no reply")


def test_rows_are_asked_about_some_at_a_time_and_come_in_order() -> None:
    asked: list[int] = []

    class Counting(Table):
        def rate(self, rates):  # type: ignore[no-untyped-def]
            asked.append(len(rates))
            return super().rate(rates)

    rows = [row("ab"[count % 2], number=count) for count in range(5)]
    rated = list(rated_rows(Counting("says", SAYS.table), rows, batch=2))
    assert asked == [2, 2, 1]
    assert [one.meta["number"] for one in rated] == [0, 1, 2, 3, 4]


def test_what_was_known_before_is_replaced() -> None:
    shown = Item(as_prompt("q"), (as_turns("b"),), Shown())
    (one,) = rated_rows(SAYS, [shown])
    assert one.utilities == Ratings((0.25,))


@pytest.mark.parametrize("batch", [0, -1, 1.5])
def test_a_batch_is_a_count(batch: int) -> None:
    with pytest.raises(InputError, match="accepted: 1 or more"):
        list(rated_rows(SAYS, [row("a")], batch=batch))
