"""The kinds of item: exact views, sound constructors, and conversions that lose nothing unsaid."""

import re
from collections import UserDict
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, replace
from functools import partial
from itertools import combinations, product
from math import nan
from typing import Any, get_args
from weakref import WeakValueDictionary

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord import views
from concord.errors import ConversionError, InputError
from concord.types import (
    RESERVED_META,
    Image,
    Item,
    Message,
    Origin,
    Preference,
    Prompt,
    Shown,
    Text,
    ToolCall,
    as_prompt,
    as_turns,
)
from concord.views import (
    CONVERSIONS,
    Candidates,
    Comparison,
    Converted,
    Demonstration,
    Dialogue,
    Judgement,
    Kind,
    Ranking,
    Rating,
    SegmentComparison,
    Steps,
    Task,
    Trajectory,
    View,
    convert,
    split_shared_prefix,
    to_comparisons,
    to_demonstrations,
    to_judgements,
    to_rankings,
    to_ratings,
    view,
)
from tests import strategies as some

Q, A, B, C = as_prompt("2+2?"), as_turns("4"), as_turns("5"), as_turns("6")
USER, REPLY, AGAIN = Message("user", "2+2?"), Message("assistant", "4"), Message("user", "sure?")
KINDS: tuple[Kind, ...] = get_args(Kind)
CLASSES: dict[Kind, Any] = {one.kind: one for one in get_args(View)}

# Steps and ratings need a threshold to become labels, and nothing else minds it being given here.
TO: dict[Kind, Callable[[Item], Converted]] = {
    "task": views.to_tasks,
    "candidates": views.to_candidates,
    "demonstration": to_demonstrations,
    "comparison": to_comparisons,
    "ranking": to_rankings,
    "rating": to_ratings,
    "judgement": partial(to_judgements, threshold=1.0),
}


def four_parts(error: BaseException) -> bool:
    """Whether a message says what is wrong, what was found, what is accepted and what to do."""
    return bool(re.fullmatch(r"[^;]+; found .+; accepted: .+; to do: .+\.", str(error), re.DOTALL))


# --- views ------------------------------------------------------------------------------------------------


@given(some.items())
def test_every_item_is_seen_exactly(item: Item) -> None:
    seen = view(item)
    assert seen.item(meta=item.meta, origin=item.origin) == item
    assert view(seen.item()) == seen


def test_the_kinds_are_all_there() -> None:
    assert tuple(CLASSES) == KINDS
    assert all(one.__doc__ and one.of.__doc__ for one in CLASSES.values())
    assert all(one.__name__ in (views.__doc__ or "") for one in CLASSES.values())


EXAMPLES: list[View] = [
    Task.of("2+2?"),
    Candidates.of("2+2?", ["4", "5"]),
    Demonstration.of("2+2?", "4"),
    Dialogue.of("2+2?", [REPLY, AGAIN, REPLY]),
    Comparison.of("2+2?", "4", "5"),
    SegmentComparison.of("2+2?", [REPLY, AGAIN], "5", preference=0.75),
    Ranking.of("2+2?", ["4", "5", "6"]),
    Judgement.of("2+2?", "4", desirable=True),
    Rating.of("2+2?", ["4", "5"], [1.0, 0.0], aspects={"wit": [0.5, 0.5]}),
    Steps.of("2+2?", ["two and two\n", "make 4"], [1.0, None]),
    Trajectory.of("2+2?", [REPLY, AGAIN, REPLY], [0.5, None, 1.0]),
]


@pytest.mark.parametrize("made", EXAMPLES, ids=lambda made: made.kind)
def test_what_people_write_makes_each_kind(made: View) -> None:
    assert made.prompt == Q
    assert view(made.item()) == made
    stored = made.item(meta={"id": 7}, origin=Origin("f", 1))
    assert (stored.meta, stored.origin) == ({"id": 7}, Origin("f", 1))
    with pytest.raises(FrozenInstanceError):
        made.prompt = Q  # type: ignore[misc]


def test_the_examples_are_of_every_kind() -> None:
    assert tuple(made.kind for made in EXAMPLES) == KINDS


def test_a_comparison_knows_the_better_reply() -> None:
    sure, soft = Comparison.of("q", "a", "b"), Comparison.of("q", "a", "b", preference=0.25)
    assert (sure.chosen, sure.rejected, sure.preference, sure.tie) == (sure.first, sure.second, 1.0, False)
    assert (soft.chosen, soft.rejected) == (soft.second, soft.first)
    tie = Comparison.of("q", "a", "b", preference=0.5)
    assert tie.tie
    with pytest.raises(ConversionError) as caught:
        _ = tie.chosen
    assert four_parts(caught.value)
    assert Comparison.of("q", "a", "a", preference=0.5).tie


@pytest.mark.parametrize(
    ("votes", "share"), [((3, 1, 0), 0.875), ((0, 0, 2), 0.0), ((0, 4, 0), 0.5), ((1, 0, 3), 0.25)]
)
def test_votes_give_the_preference(votes: tuple[int, int, int], share: float) -> None:
    made = Comparison.of("q", "a", "b", votes=votes)
    assert (made.preference, made.votes) == (share, votes)
    assert made == Comparison.of("q", "a", "b", votes=votes, preference=share)


def test_a_ranking_is_ordered_best_first() -> None:
    assert Ranking.of("q", ["4", "5", "6"]).ranks == (1, 2, 3)
    assert Ranking.of("q", ["5", "4", "6"], ranks=[2, 1, 2]).ordered == (A, B, C)


def test_a_dialogue_says_which_turns_are_trained() -> None:
    marked = Message("user", "I mean 5", trained=True)
    silent = Message("assistant", "hm", trained=False)
    assert Dialogue.of("q", [REPLY, AGAIN, silent, marked]).trained == (True, False, False, True)


def test_steps_and_trajectories_read_their_turns() -> None:
    made = Steps.of("q", ["two\n", "four"], [True, 0])
    assert made.steps == (Text("two\n"), Text("four"))
    assert made.reply[0].text == "two\nfour"
    assert Trajectory.of("q", [REPLY, AGAIN], [0.5, None]).total == 0.5


def test_a_reply_may_say_something_without_words() -> None:
    call = Message("assistant", "", tool_calls=(ToolCall("add", {"a": 2}),))
    picture = Message("assistant", (Image("cat.png"),))
    assert Candidates.of("q", [call, picture, [REPLY, AGAIN]]).replies == (
        (call,),
        (picture,),
        (REPLY, AGAIN),
    )


CONTRADICTIONS: list[tuple[Callable[[], object], str]] = [
    (lambda: Candidates.of("q", []), "not a list of replies; found []"),
    (lambda: Candidates.of("q", "abc"), "not a list of replies; found 'abc'"),
    (lambda: Demonstration.of("q", ""), "a reply is empty; found ''"),
    (lambda: Demonstration.of("q", []), "a reply is empty; found []"),
    (lambda: Demonstration.of("q", [REPLY, AGAIN]), "a demonstration has one turn; found 2"),
    (lambda: Dialogue.of("q", [REPLY]), "a dialogue has several turns; found 1"),
    (lambda: Dialogue.of("q", [AGAIN, AGAIN]), "no turn of an example is trained; found ['user', 'user']"),
    (lambda: Comparison.of("q", "a", ""), "a reply is empty; found ''"),
    (lambda: Comparison.of("q", "a", "a"), "a reply is preferred to itself; found 1.0"),
    (lambda: SegmentComparison.of("q", "a", "a"), "a reply is preferred to itself; found 1.0"),
    (lambda: Demonstration.of("q", AGAIN), "no turn of an example is trained; found ['user']"),
    (lambda: Comparison.of("q", "a", "b", strength=-1), "the strength of a preference is a margin; found -1"),
    (lambda: Rating.of("q", ["a"], [None]), "a rating scores nothing; found nothing"),
    (lambda: Comparison.of("q", "a", "b", preference=1.5), "a preference is a probability; found 1.5"),
    (lambda: Comparison.of("q", "a", "b", preference=nan), "a preference is a probability; found nan"),
    (lambda: Comparison.of("q", "a", "b", votes=(0, 0, 0)), "the votes say nothing; found (0, 0, 0)"),
    (lambda: Comparison.of("q", "a", "b", votes=(2, -1, 0)), "the votes say nothing; found (2, -1, 0)"),
    (lambda: Comparison.of("q", "a", "b", votes=(2, 1)), "the votes say nothing; found (2, 1)"),  # type: ignore[arg-type]
    (
        lambda: Comparison.of("q", "a", "b", votes=(1, 0, 0), preference=0.9),
        "preference and votes differ; found (0.9, (1, 0, 0))",
    ),
    (lambda: SegmentComparison.of("q", "a", "b", preference=-1), "a preference is a probability; found -1"),
    (lambda: Ranking.of("q", ["a", "b"], ranks=[1, 1]), "the ranks order nothing; found (1, 1)"),
    (lambda: Ranking.of("q", ["a"]), "the ranks order nothing; found (1,)"),
    (lambda: Ranking.of("q", ["a", "b"], ranks=[0, 1]), "a rank is too small; found 0"),
    (lambda: Ranking.of("q", ["a", "b"], ranks=[1, 2, 3]), "Ranks speaks of another number of replies"),
    (lambda: Judgement.of("q", "a", desirable="false"), "not a label; found 'false'"),  # type: ignore[arg-type]
    (lambda: Rating.of("q", ["a", "b"], [1.0]), "Ratings speaks of another number of replies"),
    (lambda: Rating.of("q", ["a", "b"], [1.0, nan]), "a score is not a number"),
    (
        lambda: Rating.of("q", ["a"], [1.0], aspects={"wit": [1.0, 2.0]}),
        "an aspect has another number of scores; found {'wit': (1.0, 2.0)}",
    ),
    (lambda: Steps.of("q", "abc", [1, 0, 1]), "steps in one text; found 'abc'"),
    (lambda: Steps.of("q", [], []), "a reply is empty"),
    (lambda: Steps.of("q", ["a", "b"], [1]), "steps and labels differ in number; found 1 labels"),
    (lambda: Steps.of("q", ["a", "b"], [1, 7]), "a step label is out of range; found 7"),
    (lambda: Trajectory.of("q", [REPLY, AGAIN], [1.0]), "turns and rewards differ in number"),
    (lambda: Trajectory.of("q", "a", [nan]), "a reward is not a number; found nan"),
    (lambda: split_shared_prefix([REPLY], [REPLY]), "share no prompt; found ('assistant', 'assistant')"),
    (lambda: split_shared_prefix([USER, REPLY], [AGAIN, REPLY]), "share no prompt; found ('user', 'user')"),
    (lambda: split_shared_prefix([], [USER, REPLY]), "share no prompt; found ('user',)"),
]


@pytest.mark.parametrize(("make", "says"), CONTRADICTIONS, ids=[says[:40] for _, says in CONTRADICTIONS])
def test_contradictions_are_refused_in_four_parts(make: Callable[[], object], says: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert says in str(caught.value)
    assert four_parts(caught.value)


OTHER = Message("assistant", "5")


@pytest.mark.parametrize(
    ("first", "second", "turns"),
    [
        ([USER, REPLY], [USER, OTHER], 1),
        ([USER, REPLY, AGAIN, REPLY], [USER, REPLY, AGAIN, OTHER], 3),
        # The prompt never ends with an assistant turn, so the shared first answer goes to the replies.
        ([USER, REPLY, AGAIN, REPLY], [USER, REPLY, USER, OTHER], 1),
        # One side is the beginning of the other.
        ([USER, REPLY], [USER, REPLY, AGAIN, OTHER], 1),
        ([USER, REPLY], [USER, REPLY], 1),
    ],
)
def test_the_shared_beginning_is_the_prompt(first: list[Message], second: list[Message], turns: int) -> None:
    prompt, replies = split_shared_prefix(first, second)
    assert prompt == Prompt(tuple(first[:turns]))
    assert replies == (tuple(first[turns:]), tuple(second[turns:]))


# --- conversions: worked cases ----------------------------------------------------------------------------


def seen(converted: Converted) -> list[View]:
    """What a conversion made, as views."""
    return [view(item) for item in converted.items]


def test_a_ranking_makes_all_comparisons() -> None:
    made = to_comparisons(Ranking.of("2+2?", ["5", "4", "6"], ranks=[2, 1, 2]).item())
    assert seen(made) == [Comparison(Q, A, B), Comparison(Q, B, C, 0.5), Comparison(Q, A, C)]
    assert made.ignored == ()
    assert to_comparisons(Ranking.of("q", ["a", "b"], ranks=[1, 9]).item()).ignored == (
        "the gaps between the ranks",
    )


def test_a_rating_makes_comparisons_and_a_ranking() -> None:
    item = Rating.of("2+2?", ["5", "4", "6"], [0.5, 2, 0.5], aspects={"wit": [1, 2, 3]}).item()
    assert seen(to_comparisons(item)) == [
        Comparison(Q, A, B, strength=1.5, scores=(2, 0.5), aspects={"wit": 1.0}),
        Comparison(Q, B, C, 0.5, strength=0, scores=(0.5, 0.5), aspects={"wit": 0.0}),
        Comparison(Q, A, C, strength=1.5, scores=(2, 0.5), aspects={"wit": 0.0}),
    ]
    assert to_comparisons(item).ignored == ("1 aspect beyond the order",)
    assert seen(to_rankings(item)) == [Ranking(Q, (B, A, C), (2, 1, 2))]
    assert to_rankings(item).ignored == ("3 scores beyond their order", "1 aspect")


def test_replies_without_a_score_are_left_out_aloud() -> None:
    row = Rating.of("2+2?", ["4", "5", "6"], [1.0, None, 0.0], aspects={"wit": [None, 1, 2]}).item()
    pairs = to_comparisons(row)
    assert seen(pairs) == [Comparison(Q, A, C, strength=1.0, scores=(1.0, 0.0))]
    assert pairs.ignored == ("1 reply without a score", "1 aspect beyond the order")
    assert seen(to_rankings(row)) == [Ranking(Q, (A, C), (1, 2))]
    assert seen(to_judgements(row, threshold=0.5)) == [Judgement(Q, A, True), Judgement(Q, C, False)]
    best = to_demonstrations(row)
    assert seen(best) == [Demonstration(Q, A)]
    assert best.ignored == ("1 worse reply", "1 reply without a score", "2 scores", "1 aspect")
    alone = Rating.of("2+2?", ["4", "5"], [None, 1.0]).item()
    unscored = Rating.of("2+2?", ["4", "5"], [None, None], aspects={"wit": [1.0, None]}).item()
    for to in (to_comparisons, to_rankings, to_demonstrations):
        assert to(alone).items == to(unscored).items == ()
        assert "1 reply that nothing sets apart" in to(alone).ignored
        assert "2 replies without a score" in to(unscored).ignored
    assert to_demonstrations(unscored, threshold=0.0).items == ()


def test_a_reply_that_stands_twice_is_not_preferred_to_itself() -> None:
    twice = Rating.of("2+2?", ["4", "4", "5"], [1.0, 2.0, 1.0], aspects={"wit": [1, 2, 3]})
    made = to_comparisons(twice.item())
    assert len(made.items) == 2
    assert made.ignored == ("1 aspect beyond the order", "1 pair of a reply with itself")
    same = to_comparisons(Rating.of("2+2?", ["4", "4"], [1.0, 1.0], aspects={"wit": [1, 2]}).item())
    assert seen(same) == [Comparison(Q, A, A, 0.5, strength=0.0, scores=(1.0, 1.0))]
    ranked = to_comparisons(Ranking.of("2+2?", ["4", "4", "5"]).item())
    assert (len(ranked.items), ranked.ignored) == (2, ("1 pair of a reply with itself",))


def test_swapping_the_sides_swaps_all_that_speaks_of_them() -> None:
    row = Comparison(
        Q, A, B, 0.25, (1, 0, 3), strength=2.0, scores=(1.0, 3.0), aspects={"wit": 0.0, "care": 0.75}
    )
    swapped = Comparison(
        Q, B, A, 0.75, (3, 0, 1), strength=2.0, scores=(3.0, 1.0), aspects={"wit": 1.0, "care": 0.25}
    )
    assert (row.swapped, row.better_first, swapped.better_first) == (swapped, swapped, swapped)
    assert swapped.swapped == row
    assert Comparison(Q, A, B, 0.5).better_first == Comparison(Q, A, B, 0.5)
    made = Comparison.of("2+2?", "4", "5", strength=0.5, scores=(2, 1.5), aspects={"wit": 0.5})
    assert (made.strength, made.scores, made.aspects) == (0.5, (2, 1.5), {"wit": 0.5})
    assert to_judgements(made.item()).ignored == ("1 strength", "2 scores", "1 aspect")


RESERVED: dict[str, Any] = {"ref_chosen_logps": -1.0, "ref_rejected_logps": -2.0, "ref_logps": [-1.0, -2.0]}


@pytest.mark.parametrize(
    ("row", "to", "kept"),
    [
        (Comparison.of("q", "a", "b"), "comparison", True),
        (Comparison.of("q", "a", "b"), "ranking", True),
        (Comparison.of("q", "a", "b"), "candidates", True),
        (SegmentComparison.of("q", "a", "b"), "comparison", True),
        (Rating.of("q", ["a", "b"], [1, 0]), "comparison", True),
        (Rating.of("q", ["a", "b"], [0, 1]), "comparison", False),
        (Rating.of("q", ["a", "b", "c"], [2, 1, None]), "ranking", False),
        (Comparison.of("q", "a", "b"), "judgement", False),
        (Comparison.of("q", "a", "b"), "demonstration", False),
        (Comparison.of("q", "a", "b"), "task", False),
    ],
)
def test_columns_that_belong_to_the_replies_go_with_them(row: View, to: Kind, kept: bool) -> None:
    assert set(RESERVED) == set(RESERVED_META)
    made = TO[to](row.item(meta={"id": 7, "images": ["cat.png"], **RESERVED}))
    assert made.items
    for one in made.items:
        assert dict(one.meta) == {"id": 7, "images": ["cat.png"], **(RESERVED if kept else {})}
    said = [text for text in made.ignored if text.endswith(", which belongs to other replies")]
    named = [] if kept else [f"the column {key}, which belongs to other replies" for key in RESERVED_META]
    assert said == named


@given(st.integers(1, 6))
def test_k_replies_make_every_pair(count: int) -> None:
    item = Rating(Q, tuple(as_turns(str(at)) for at in range(count)), tuple(map(float, range(count)))).item()
    assert len(to_comparisons(item).items) == len(list(combinations(range(count), 2)))


def test_a_comparison_shows_the_chosen_reply() -> None:
    sure = to_demonstrations(Comparison.of("2+2?", "4", "5").item())
    assert (seen(sure), sure.ignored) == ([Demonstration(Q, A)], ("1 rejected reply",))
    soft = to_demonstrations(Comparison.of("2+2?", "5", "4", votes=(1, 0, 2)).item())
    assert seen(soft) == [Demonstration(Q, A)]
    assert soft.ignored == ("1 rejected reply", "how sure the preference is", "3 votes")
    tie = to_demonstrations(Comparison.of("2+2?", "5", "4", preference=0.5).item())
    assert (tie.items, tie.ignored) == ((), ("2 replies that nothing sets apart",))
    several = to_demonstrations(Comparison.of("2+2?", [REPLY, AGAIN, REPLY], "5").item())
    assert seen(several) == [Dialogue(Q, (REPLY, AGAIN, REPLY))]


def test_a_comparison_makes_two_judgements_and_a_ranking() -> None:
    made = to_judgements(Comparison.of("2+2?", "5", "4", preference=0.25).item())
    assert seen(made) == [Judgement(Q, A, True), Judgement(Q, B, False)]
    assert made.ignored == ("how sure the preference is",)
    assert seen(to_rankings(Comparison.of("2+2?", "5", "4", preference=0).item())) == [
        Ranking(Q, (B, A), (2, 1))
    ]
    for to in (to_judgements, to_rankings):
        tie = to(Comparison.of("2+2?", "5", "4", votes=(1, 1, 1)).item())
        assert (tie.items, tie.ignored) == ((), ("2 replies that nothing sets apart", "3 votes"))


def test_the_best_replies_are_shown() -> None:
    item = Rating.of("2+2?", ["4", "5", "6"], [1.0, 0.5, 1.0]).item()
    best = to_demonstrations(item)
    assert (seen(best), best.ignored) == (
        [Demonstration(Q, A), Demonstration(Q, C)],
        ("1 worse reply", "3 scores"),
    )
    assert len(to_demonstrations(item, threshold=0.0).items) == 3
    assert to_demonstrations(item, threshold=2.0).ignored == ("3 worse replies", "3 scores")
    alone = to_demonstrations(Rating.of("2+2?", ["4"], [1.0]).item())
    assert (alone.items, alone.ignored) == ((), ("1 reply that nothing sets apart", "1 score"))
    assert len(to_demonstrations(Rating.of("2+2?", ["4"], [1.0]).item(), threshold=1.0).items) == 1
    assert seen(to_demonstrations(Ranking.of("2+2?", ["4", "5"]).item())) == [Demonstration(Q, A)]


def test_scores_become_labels_by_a_threshold_only() -> None:
    item = Rating.of("2+2?", ["4", "5"], [0.5, 0.25]).item(origin=Origin("f", 2))
    made = to_judgements(item, threshold=0.5)
    assert seen(made) == [Judgement(Q, A, True), Judgement(Q, B, False)]
    assert made.ignored == ("2 scores beyond the threshold",)
    with pytest.raises(ConversionError, match=r"^f:2: scores become labels only by a threshold") as caught:
        to_judgements(item)
    assert four_parts(caught.value)


@pytest.mark.parametrize(
    ("labels", "desirable"),
    [([1, 1], True), ([1, 0], False), ([0, None], False), ([1, None], None), ([None, None], None)],
)
def test_steps_are_judged_by_their_worst(labels: list[float | None], desirable: bool | None) -> None:
    made = to_judgements(Steps.of("q", ["a", "b"], labels).item())
    found = [one.desirable for one in seen(made) if isinstance(one, Judgement)]
    assert found == ([] if desirable is None else [desirable])
    assert made.ignored[-1] == "2 step labels"


def test_soft_step_labels_need_a_threshold() -> None:
    item = Steps.of("q", ["a", "b"], [1, 0.6]).item()
    with pytest.raises(ConversionError, match="only by a threshold"):
        to_judgements(item)
    assert view(to_judgements(item, threshold=0.6).items[0]) == Judgement.of(
        "q", Message("assistant", (Text("a"), Text("b"))), desirable=True
    )


def test_a_trajectory_is_rated_by_its_total() -> None:
    made = to_ratings(Trajectory.of("q", [REPLY, AGAIN, REPLY], [0.5, None, 1]).item())
    assert seen(made) == [Rating.of("q", [[REPLY, AGAIN, REPLY]], [1.5])]
    assert made.ignored == ("how the total is split over 3 turns",)
    none = to_ratings(Trajectory.of("q", [REPLY], [None]).item())
    assert (none.items, none.ignored) == ((), ("1 reply without rewards",))


def test_judgements_cannot_be_compared() -> None:
    item = Judgement.of("q", "a", desirable=True).item(origin=Origin("prefs.jsonl", 3))
    with pytest.raises(ConversionError) as caught:
        to_comparisons(item)
    assert str(caught.value).startswith(
        "prefs.jsonl:3: this kind cannot be seen as comparison; found 'judgement'"
    )
    assert "accepted: comparison, segment_comparison, ranking, rating; " in str(caught.value)
    assert four_parts(caught.value)


def test_a_data_set_is_converted_with_a_tally() -> None:
    rows = [
        Comparison.of("q", "a", "b").item(meta={"id": 1}),
        Comparison.of("q", "a", "b", preference=0.5).item(meta={"id": 2}),
        Rating.of("q", ["a", "b"], [1, 0]).item(meta={"id": 3}),
        Comparison.of("q", "c", "d").item(meta={"id": 4}),
    ]
    made = convert(rows, to="demonstration")
    assert (made.ignored, made.read, made.made) == ({}, 0, 0)
    assert [item.meta["id"] for item in made] == [1, 3, 4]
    assert [item.meta["id"] for item in made] == [1, 3, 4], "and again, with a new tally"
    assert (made.read, made.made) == (4, 3)
    assert made.ignored == {
        "1 rejected reply": 2,
        "2 replies that nothing sets apart": 1,
        "1 worse reply": 1,
        "2 scores": 1,
    }
    assert len(list(convert(rows, to="judgement", threshold=0.5))) == 6
    assert len(list(convert(rows, to="demonstration", threshold=0))) == 4
    assert list(convert([], to="task")) == []


def test_a_conversion_holds_one_row_at_a_time() -> None:
    class Marked(UserDict[str, Any]):
        """A mapping that can be watched."""

    alive: WeakValueDictionary[int, Marked] = WeakValueDictionary()

    def rows() -> Iterator[Item]:
        for number in range(1000):
            alive[number] = meta = Marked(id=number)
            yield Item(Q, (A, B), Preference(), meta=meta)

    made = convert(rows(), to="ranking")
    most = 0
    for number, item in enumerate(made):
        assert item.meta["id"] == number
        assert made.read == number + 1
        most = max(most, len(alive))
    assert most <= 3


@pytest.mark.parametrize(
    ("to", "threshold", "says"),
    [
        ("comparisons", None, "nothing is converted to this kind; found 'comparisons'"),
        ("steps", None, "nothing is converted to this kind; found 'steps'"),
        ("ranking", 0.5, "a threshold plays no part in a conversion to ranking; found 0.5"),
    ],
)
def test_a_data_set_wants_a_target_that_can_be(to: Any, threshold: float | None, says: str) -> None:
    with pytest.raises(InputError) as caught:
        convert([], to=to, threshold=threshold)
    assert says in str(caught.value)
    assert four_parts(caught.value)


# --- conversions: what holds for all of them --------------------------------------------------------------


@pytest.mark.parametrize(("source", "to"), list(product(KINDS, TO)))
def test_the_table_is_what_the_functions_do(source: Kind, to: Kind) -> None:
    item = EXAMPLES[KINDS.index(source)].item()
    if source == to:
        assert TO[to](item) == Converted((item,))
    elif to in CONVERSIONS.get(source, {}):
        assert TO[to](item).items or source == "steps"
    else:
        with pytest.raises(ConversionError, match="cannot be seen as") as caught:
            TO[to](item)
        assert four_parts(caught.value)


def convertible(item: Item) -> list[tuple[Kind, Converted]]:
    """All that an item can become."""
    kind = view(item).kind
    return [(to, TO[to](item)) for to in TO if to == kind or to in CONVERSIONS.get(kind, {})]


@given(some.items())
def test_prompt_meta_and_origin_always_survive(item: Item) -> None:
    for to, made in convertible(item):
        kinds = {view(one).kind for one in made.items}
        assert kinds <= ({"demonstration", "dialogue"} if to == "demonstration" else {to})
        assert all(
            (one.prompt, one.meta, one.origin) == (item.prompt, item.meta, item.origin) for one in made.items
        )


REPLIES_LEFT_OUT = re.compile(r"(\d+) (?:\w+ )?repl(?:y|ies)\b")


@given(some.items())
def test_every_reply_is_kept_or_mentioned(item: Item) -> None:
    for _, made in convertible(item):
        kept = {str(reply) for one in made.items for reply in one.replies}
        counted = (REPLIES_LEFT_OUT.match(said) for said in made.ignored)
        mentioned = sum(int(count[1]) for count in counted if count)
        assert kept <= {str(reply) for reply in item.replies}
        assert len(kept) + mentioned == len(item.replies)


@pytest.mark.parametrize("kind", [kind for kind in some.UTILITIES if kind and kind is not Shown])
@given(st.data())
def test_every_utility_is_kept_or_mentioned(kind: type, data: st.DataObject) -> None:
    item = data.draw(some.items((kind,)))
    fresh: Any = data.draw(some.utilities(kind, item.replies))
    known: Any = item.utilities
    changes = {name: getattr(fresh, name) for name in known.__dataclass_fields__ if data.draw(st.booleans())}
    try:
        other = replace(item, utilities=replace(known, **changes))
    except InputError:  # what was changed contradicts what was not
        return
    if item.utilities == other.utilities:
        return
    for (_, made), (_, differently) in zip(convertible(item), convertible(other), strict=True):
        # Where different utilities make the same items, what told them apart is said to be left out.
        if made.items == differently.items:
            assert any(not REPLIES_LEFT_OUT.match(said) for said in (*made.ignored, *differently.ignored))


@given(some.items())
def test_converting_twice_changes_nothing_more(item: Item) -> None:
    for to, made in convertible(item):
        assert all(TO[to](one) == Converted((one,)) for one in made.items)


# --- wrong types ------------------------------------------------------------------------------------------

NONE: Any = None


def wrongly(value: Any) -> Any:
    """A value of whatever type, where another one is wanted."""
    return value


MISTYPED: list[tuple[Callable[[], object], str]] = [
    (lambda: Comparison.of("q", NONE, "b"), "not something that is said; found None"),
    (lambda: Comparison.of("q", "a", "b", votes=(1, 0, 0), preference=wrongly("1")), "votes differ"),
    (lambda: Candidates.of("q", NONE), "not a list of replies; found None"),
    (lambda: Candidates.of("q", ["a", NONE]), "not something that is said; found None"),
    (lambda: Ranking.of("q", ["a", "b"], ranks=wrongly(7)), "not a list of ranks; found 7"),
    (lambda: Ranking.of("q", ["a", "b"], ranks=wrongly([1, "2"])), "a rank is not a whole number; found '2'"),
    (lambda: Rating.of("q", ["a", "b"], NONE), "not a list of scores; found None"),
    (lambda: Rating.of("q", ["a", "b"], wrongly("12")), "not a list of scores; found '12'"),
    (lambda: Rating.of("q", ["a"], [1], aspects=wrongly({"wit": 3})), "not a list of scores; found 3"),
    (lambda: Steps.of("q", wrongly(["a", 5]), [1, 0]), "a step is not a text; found 5"),
    (lambda: Trajectory.of("q", [REPLY], NONE), "not a list of rewards; found None"),
]


@pytest.mark.parametrize(("make", "says"), MISTYPED, ids=[says for _, says in MISTYPED])
def test_wrong_types_are_refused_in_four_parts(make: Callable[[], object], says: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert says in str(caught.value)
    assert four_parts(caught.value)


@pytest.mark.parametrize("threshold", [nan, "0.5", True, [1]])
def test_a_threshold_is_a_number(threshold: Any) -> None:
    rated = Rating.of("q", ["a", "b"], [1.0, 0.0]).item()
    for make in (
        lambda: convert([], to="judgement", threshold=threshold),
        lambda: to_judgements(rated, threshold=threshold),
        lambda: to_demonstrations(rated, threshold=threshold),
    ):
        with pytest.raises(InputError, match="a threshold is not a number") as caught:
            make()
        assert four_parts(caught.value)
