"""What objectives are given: converted or left out, each time aloud and counted."""

from typing import Any

import pytest

from concord.errors import ConversionError, InputError
from concord.train.rows.usable import Usable
from concord.train.rows.wanted import Wanted
from concord.types import (
    Item,
    Label,
    Origin,
    Preference,
    Ranks,
    Ratings,
    SegmentPreference,
    Shown,
    StepLabels,
    TurnRewards,
    as_prompt,
    as_turns,
)
from concord.views import Steps, view

PAIRS = Wanted(kinds=("comparison",), by="one")
SOFT = Wanted(kinds=("comparison",), soft=True, by="one")
RANKED = Wanted(kinds=("rating", "ranking"), by="one")
SHOWN = Wanted(kinds=("demonstration", "dialogue"), by="one")
JUDGED = Wanted(kinds=("judgement",), by="one")


def item(utilities: Any, count: int = 2, **meta: Any) -> Item:
    replies = tuple(as_turns(f"reply {number}") for number in range(count))
    return Item(as_prompt("hello"), replies, utilities, meta=meta, origin=Origin("rows.jsonl", 3))


def through(wanted: Wanted, *items: Item, **how: Any) -> tuple[list[Item], Usable]:
    usable = Usable(items, wanted, **how)
    return list(usable), usable


def test_what_is_wanted_goes_through_as_it_is() -> None:
    rows = [item(Preference(1.0)), item(Preference(0.0), note="kept")]
    made, usable = through(PAIRS, *rows)
    assert made == rows
    assert (usable.read, usable.used, usable.notes, dict(usable.dropped)) == (2, 2, (), {})


def test_going_through_again_counts_afresh() -> None:
    usable = Usable([item(Preference(0.5)), item(Preference(1.0))], PAIRS)
    assert list(usable) == list(usable)
    assert (usable.read, usable.used, usable.dropped.total(), len(usable.notes)) == (2, 1, 1, 1)


def test_ties_and_doubt_are_for_those_who_take_them() -> None:
    rows = [item(Preference(share)) for share in (0.0, 0.2, 0.5, 0.8, 1.0)]
    assert through(SOFT, *rows)[0] == rows
    made, usable = through(PAIRS, *rows)
    assert made == [rows[0], rows[1], rows[3], rows[4]]
    assert usable.notes == (
        "1 row not used: a tie, from which one cannot learn",
        "2 rows with a preference that is not certain, taken for the likelier side",
    )


def test_segments_are_seen_as_pairs_unless_they_are_wanted() -> None:
    row = item(SegmentPreference(1.0))
    assert through(Wanted(kinds=("comparison", "segment_comparison"), soft=True), row)[0] == [row]
    (made,), usable = through(PAIRS, row)
    assert made.utilities == Preference(1.0)
    assert "which leaves out: that each step is an action of its own" in usable.notes[0]
    tie = through(Wanted(kinds=("segment_comparison",)), item(SegmentPreference(0.5)))
    assert tie[0] == []


@pytest.mark.parametrize(
    ("wanted", "row", "count"),
    [
        (PAIRS, item(Ranks((2, 1, 3)), 3), 3),
        (PAIRS, item(Ratings((1.0, 2.0, None)), 3), 1),
        (SHOWN, item(Preference(0.0)), 1),
        (SHOWN, item(Ratings((1.0, 3.0, 3.0)), 3), 2),
        (JUDGED, item(Preference(0.9)), 2),
        (RANKED, item(Preference(0.0)), 1),
        (RANKED, item(TurnRewards((1.0,)), 1), 0),
        (SHOWN, item(Label(True), 1), 1),
    ],
)
def test_other_kinds_are_converted_aloud(wanted: Wanted, row: Item, count: int) -> None:
    made, usable = through(wanted, row)
    assert len(made) == usable.used == count
    assert all(view(one).kind in wanted.kinds and one.origin == row.origin for one in made)
    kind, to = view(row).kind, usable.notes[0].split(" of kind ")[-1].split(",")[0]
    assert to in wanted.kinds
    assert usable.notes[0].startswith(f"1 row of kind {kind} read as ")


def test_what_cannot_be_converted_is_counted_by_its_kind() -> None:
    rows = [item(Label(True), 1), item(None, 2), item(Shown(), 1), item(Preference(1.0))]
    made, usable = through(PAIRS, *rows)
    assert made == rows[3:]
    assert dict(usable.dropped) == {
        f"of kind {kind}, which cannot be seen as comparison": 1
        for kind in ("judgement", "candidates", "demonstration")
    }


def test_rows_whose_replies_nothing_sets_apart_are_counted() -> None:
    made, usable = through(JUDGED, item(Preference(0.5)), item(Preference(1.0)))
    assert len(made) == 2
    assert usable.dropped.total() == 1


def test_scores_become_labels_by_a_threshold() -> None:
    row = item(Ratings((1.0, 4.0)))
    assert [one.utilities for one in through(JUDGED, row, threshold=3)[0]] == [Label(False), Label(True)]
    assert len(through(SHOWN, row, threshold=0.5)[0]) == 2
    assert len(through(PAIRS, row, threshold=0.5)[0]) == 1
    with pytest.raises(ConversionError, match="only by a threshold"):
        through(JUDGED, row)


def test_columns_follow_the_replies_they_speak_of() -> None:
    wanted = Wanted(kinds=("comparison",), required=("margins",))
    made, usable = through(wanted, item(Ranks((3, 1, 2)), 3, margins=[0.3, 0.1, 0.2], other=[1, 2, 3]))
    said = [([reply[0].text for reply in one.replies], one.meta["margins"]) for one in made]
    assert said == [
        (["reply 1", "reply 0"], [0.1, 0.3]),
        (["reply 2", "reply 0"], [0.2, 0.3]),
        (["reply 1", "reply 2"], [0.1, 0.2]),
    ]
    assert all(one.meta["other"] == [1, 2, 3] for one in made)
    assert usable.used == 3


def test_replies_without_a_score_are_left_out_of_ranked_rows() -> None:
    known = Ratings((None, 2.0, 1.0), {"clear": (1.0, None, 0.0)})
    row = item(known, 3, shown=2, psi=[1, 2, 3], ref_logps=[1, 2, 3])
    (made,), usable = through(RANKED, row)
    assert made.replies == row.replies[1:]
    assert made.utilities == Ratings((2.0, 1.0), {"clear": (None, 0.0)})
    assert made.meta == {"shown": 1, "psi": [2, 3]}
    assert usable.notes == (
        "1 row without those of their replies that have no score",
        "1 row without the column ref_logps, which belongs to other replies",
    )


@pytest.mark.parametrize(
    ("known", "count", "reason"),
    [
        (Ranks((1, 1)), 2, "all replies tie"),
        (Ratings((2.0, None, 2.0)), 3, "all replies tie"),
        (Ratings((2.0, None)), 2, "a single reply has nothing to be ranked against"),
        (Ratings((2.0,)), 1, "a single reply has nothing to be ranked against"),
    ],
)
def test_rankings_that_order_nothing_are_left_out(known: Any, count: int, reason: str) -> None:
    made, usable = through(RANKED, item(known, count))
    assert not made
    assert dict(usable.dropped) == {reason: 1}


def test_a_single_score_is_enough_for_regression() -> None:
    made, _ = through(Wanted(kinds=("rating",)), item(Ratings((2.0, None))), item(Ratings((2.0, 2.0))))
    assert [one.utilities for one in made] == [Ratings((2.0,)), Ratings((2.0, 2.0))]


@pytest.mark.parametrize(
    ("required", "good", "bad"),
    [
        ("strength", item(Preference(1.0, strength=0.0)), [item(Preference(1.0))]),
        ("shown", item(Preference(1.0), shown=1), [
            item(Preference(1.0), shown=given) for given in (2, -1, 0.5, True, "1", None, [0])
        ]),
        ("margins", item(Preference(1.0), margins=[1, 0.5]), [
            item(Preference(1.0), margins=given) for given in ([1], 1.0, [1, None], ["1", "2"], None)
        ]),
    ],
)  # fmt: skip
def test_rows_must_say_what_is_required(required: str, good: Item, bad: list[Item]) -> None:
    wanted = Wanted(kinds=("comparison",), required=(required,))
    made, usable = through(wanted, good, *bad)
    assert made == [good]
    ((reason, count),) = usable.dropped.items()
    assert count == len(bad)
    assert reason.startswith("without")
    assert required in reason


def test_a_number_will_do_where_there_is_one_reply() -> None:
    wanted = Wanted(kinds=("demonstration",), required=("log_target",))
    assert (
        len(through(wanted, item(Shown(), 1, log_target=-3.5), item(Shown(), 1, log_target=[-3.5]))[0]) == 2
    )


def test_only_strengths_that_people_gave_are_margins() -> None:
    wanted = Wanted(kinds=("comparison",), soft=True, optional=("strength",), by="one")
    given = item(Preference(1.0, strength=2.0))
    made, usable = through(wanted, given, item(Ratings((8.0, 1.0))))
    assert made[0] == given
    assert made[1].utilities == Preference(1.0, scores=(8.0, 1.0))
    assert usable.notes[1:] == (
        "1 row with a strength of the preference, taken for its margin",
        "1 row made of scores, whose difference is not taken for a margin",
    )
    (needed,), _ = through(Wanted(kinds=("comparison",), required=("strength",)), item(Ratings((8.0, 1.0))))
    assert needed.utilities == Preference(1.0, scores=(8.0, 1.0), strength=7.0)


def test_some_rows_may_be_silent_but_not_all() -> None:
    wanted = Wanted(kinds=("comparison",), partly=("scores",), by="one")
    rows = [item(Preference(1.0, scores=(2.0, 1.0))), item(Preference(1.0)), item(Preference(0.0))]
    made, usable = through(wanted, *rows)
    assert made == rows
    assert usable.notes == ("2 rows without scores, of which the rest is learned",)
    usable.require_some("the data")
    made, usable = through(wanted, *rows[1:])
    with pytest.raises(InputError) as caught:
        usable.require_some("the data")
    assert str(caught.value).startswith(
        "the data say nothing of scores, from which one learns; found 2 rows without; accepted: scores in"
    )


def test_what_ranks_are_taken_for_is_said_where_it_may_matter() -> None:
    wanted = Wanted(kinds=("rating", "ranking"), gaps=True)
    rows = [item(Ranks((1, 2))), item(Ratings((1.0, 2.0))), item(Ranks((3, 1)))]
    assert through(wanted, *rows)[1].notes == (
        "2 rows of ranks and no scores: where gaps matter, a reply is worth minus its rank",
    )
    assert through(RANKED, *rows)[1].notes == ()


def test_other_kinds_than_rankings_need_not_be_ranked() -> None:
    wanted = Wanted(kinds=("comparison", "judgement", "rating", "ranking"))
    rows = [item(Label(True), 1), item(Preference(1.0)), item(Ratings((1.0, 2.0))), item(Ranks((1, 2)))]
    made, usable = through(wanted, *rows, item(Ranks((1, 1))))
    assert made == rows
    assert dict(usable.dropped) == {"all replies tie": 1}


@pytest.mark.parametrize(("label", "kind", "other"), [(True, "good", "bad"), (False, "bad", "good")])
def test_labels_that_are_all_the_same_tell_nothing_apart(label: bool, kind: str, other: str) -> None:
    _, usable = through(JUDGED, *[item(Label(label), 1)] * 3)
    assert list(usable.advice) == [
        f"every reply is a {kind} one, and there is none to tell it from: give {other} ones too"
    ]
    _, both = through(JUDGED, item(Label(label), 1), item(Label(not label), 1))
    assert not list(both.advice)
    _, mixed = through(Wanted(kinds=("comparison", "judgement")), item(Label(label), 1), item(Preference(1)))
    assert not list(mixed.advice)


@pytest.mark.parametrize(
    ("good", "bad", "weights", "said"),
    [
        (3, 3, (1.0, 1.0), None),
        (4, 3, (1.0, 1.0), None),
        (8, 2, (1.0, 4.0), None),
        (8, 2, (1.0, 0.0), None),
        (2, 8, None, None),
        (
            2,
            8,
            (1.0, 1.0),
            "which weigh 2 to 8: together good ones should weigh 1 to 1.33 times as much as bad ones. Take a"
            " desirable_weight of 4 to 5.33, or an undesirable_weight of 0.188 to 0.25",
        ),
        (
            6,
            2,
            (1.0, 1.0),
            "which weigh 6 to 2: together good ones should weigh 1 to 1.33 times as much as bad ones. Take a"
            " desirable_weight of 0.333 to 0.444, or an undesirable_weight of 2.25 to 3",
        ),
    ],
)
def test_labels_far_from_balanced_are_to_be_weighed(
    good: int, bad: int, weights: tuple[float, float] | None, said: str | None
) -> None:
    wanted = Wanted(kinds=("judgement",), weights=weights)
    _, usable = through(wanted, *[item(Label(True), 1)] * good, *[item(Label(False), 1)] * bad)
    found = list(usable.advice)
    assert found == ([f"{good} good and {bad} bad replies, {said}"] if said else [])


def test_steps_of_which_none_is_judged_are_left_out() -> None:
    rows = [Steps.of("q", ["a", "b"], labels).item() for labels in ([None, None], [None, 1])]
    made, usable = through(Wanted(kinds=("steps",)), *rows)
    assert [one.utilities for one in made] == [StepLabels((None, 1))]
    assert dict(usable.dropped) == {"no step is judged": 1}


def test_nothing_of_use_is_an_error_that_counts() -> None:
    wanted = Wanted(kinds=("comparison",), required=("margins",), by="modpo")
    _, usable = through(
        wanted, item(Preference(0.5)), item(Preference(1.0)), item(Preference(0.0)), item(None)
    )
    with pytest.raises(InputError) as caught:
        usable.require("the data")
    said = str(caught.value)
    assert said.startswith(
        "the data hold no row that modpo can learn from; found 4 rows (1: a tie, from which"
    )
    assert "2: without a column 'margins' that holds a number for each reply" in said
    assert "1: of kind candidates, which cannot be seen as comparison" in said
    assert "or converted: segment_comparison, ranking, rating; with margins; to do: " in said


def test_something_of_use_is_no_error() -> None:
    _, usable = through(PAIRS, item(Preference(0.5)), item(Preference(1.0)))
    usable.require("the data")
    usable.drop("of no use after all")
    with pytest.raises(InputError, match="1: of no use after all"):
        usable.require("the data")


def test_no_data_at_all_are_said_to_be_none() -> None:
    _, usable = through(PAIRS)
    with pytest.raises(InputError, match="found nothing"):
        usable.require("the data")
