"""The nouns: what people write becomes messages, and what contradicts itself is refused."""

from collections.abc import Callable, Sequence
from dataclasses import FrozenInstanceError
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given

from concord.errors import InputError, UnansweredError
from concord.types import (
    Ask,
    AsyncPolicy,
    Capability,
    Challenge,
    Feedback,
    Flow,
    Image,
    Interval,
    Item,
    Label,
    Message,
    Origin,
    Policy,
    Preference,
    Prompt,
    Ranks,
    Rate,
    Ratings,
    Reply,
    Result,
    Role,
    Sampling,
    Score,
    Scorecard,
    SegmentPreference,
    Shown,
    StepLabels,
    Text,
    TurnRewards,
    Unscored,
    Usage,
    Utilities,
    as_prompt,
    as_turns,
)
from tests import strategies as some

Q = as_prompt("2+2?")
A, B = as_turns("4"), as_turns("5")
USER, UNTRAINED = as_turns("4", role="user"), (Message("assistant", "4", trained=False),)


def test_people_write_strings_messages_and_lists() -> None:
    user, reply = Message("user", "2+2?"), Message("assistant", "4")
    assert as_prompt("2+2?") == as_prompt(user) == as_prompt([user]) == Prompt((user,))
    assert as_prompt(Prompt((user,), plain=True)).plain
    assert as_turns("4") == as_turns(reply) == as_turns([reply]) == (reply,)
    assert as_turns("be kind", role="system")[0].role == "system"


def test_content_is_text_or_parts() -> None:
    message = Message("user", (Text("what "), Image("cat.png"), Text("is this?")))
    assert message.text == "what is this?"
    assert len(message.parts) == 3
    assert Message("user", "hi").parts == (Text("hi"),)
    assert Prompt((Message("system", "be kind"), message)).text == "be kind\nwhat is this?"


def test_records_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Q.messages = ()  # type: ignore[misc]


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(InputError, match=r"role of a message; found 'human'; accepted: system, .*, tool"):
        Message("human", "hi")  # type: ignore[arg-type]


@given(some.items())
def test_sound_items_are_accepted(item: Item) -> None:
    assert Item(item.prompt, item.replies, item.utilities) == Item(item.prompt, item.replies, item.utilities)


CONTRADICTIONS: list[tuple[tuple[tuple[Message, ...], ...], Utilities, str]] = [
    ((A,), Preference(), "another number of replies; found 1 replies; accepted: 2 here"),
    ((A, B), Shown(), "another number of replies; found 2 replies; accepted: 1 here"),
    ((A, B), Ranks((1, 2, 3)), "another number of replies"),
    ((A, B), Ratings((1.0,)), "another number of replies"),
    ((), Label(True), "another number of replies"),
    ((), Ranks(()), "Ranks speaks of another number of replies; found 0 replies"),
    (((),), Shown(), "a reply has no message"),
    ((A, B), Preference(1.5), "a preference is a probability; found 1.5"),
    ((A, B), Preference(nan), "a preference is a probability; found nan"),
    ((USER,), Shown(), "no turn of an example is trained; found ['user']"),
    ((UNTRAINED,), Shown(), "no turn of an example is trained; found ['assistant']"),
    ((A, A), Preference(), "a reply is preferred to itself; found 1.0"),
    ((A, A), SegmentPreference(0.25), "a reply is preferred to itself; found 0.25"),
    ((A, A), Preference(0.5, aspects={"wit": 0.75}), "a reply is preferred to itself; found 0.75"),
    ((A, B), Preference(aspects={"wit": nan}), "a preference is a probability; found nan"),
    ((A, B), Preference(strength=-1.0), "the strength of a preference is a margin; found -1.0"),
    ((A, B), Preference(strength=inf), "the strength of a preference is a margin; found inf"),
    ((A, B), Preference(0.5, strength=1.0), "a tie has a strength; found 1.0"),
    ((A, B), Preference(scores=(1.0, nan)), "a score is not a number; found nan"),
    ((A, B), Preference(0.5, (1, 1)), "the votes say nothing; found (1, 1)"),  # type: ignore[arg-type]
    ((A, B), Ratings((None, None), {"wit": (None, None)}), "a rating scores nothing; found nothing"),
    ((A, B), Preference(0.5, (0, 0, 0)), "the votes say nothing; found (0, 0, 0)"),
    ((A, B), Preference(0.5, (2, -1, 1)), "the votes say nothing"),
    ((A, B), Preference(0.5, (10**400, 0, 10**400)), "the votes say nothing"),
    ((A, B), Ranks((0, 1)), "a rank is too small; found 0"),
    ((A, B), Ratings((1.0, nan)), "a score is not a number"),
    ((A, B), Ratings((1.0, -inf)), "a score is not a number"),
    ((A, B), Ratings((1.0, 2.0), {"wit": (1.0,)}), "another number of scores; found {'wit': (1.0,)}"),
    ((A, B), Ratings((1.0, 2.0), {"wit": (1.0, nan)}), "a score is not a number"),
    ((A,), StepLabels((1.0, 0.0)), "steps and labels differ in number; found 2 labels; accepted: 1"),
    ((A,), StepLabels((2.0,)), "a step label is out of range; found 2.0"),
    ((A,), TurnRewards((1.0, 1.0)), "turns and rewards differ in number; found 2 rewards; accepted: 1"),
    ((A,), TurnRewards((nan,)), "a reward is not a number; found nan"),
]


@pytest.mark.parametrize(("replies", "utilities", "says"), CONTRADICTIONS)
def test_contradictions_are_refused_in_four_parts(
    replies: tuple[tuple[Message, ...], ...], utilities: Utilities, says: str
) -> None:
    with pytest.raises(InputError) as caught:
        Item(Q, replies, utilities, origin=Origin("prefs.jsonl", 7))
    message = str(caught.value)
    assert message.startswith("prefs.jsonl:7: ")
    assert says in message
    assert all(part in message for part in ("; found ", "; accepted: ", "; to do: "))


ODD: list[tuple[tuple[tuple[Message, ...], ...], Utilities]] = [
    ((as_turns(""),), Label(True)),
    ((A, B), Ranks((1, 1))),
    ((A, A), Ratings((1.0, 2.0))),
    ((A, A), Preference(0.5, strength=0.0)),
    ((A, B), Preference(1.0, (0, 0, 3), scores=(1.0, 2.0), aspects={"wit": 0.0})),
    ((A, B), Ratings((None, None), {"wit": (None, 1.0)})),
]


@pytest.mark.parametrize(("replies", "utilities"), ODD)
def test_what_is_merely_odd_is_kept(replies: tuple[tuple[Message, ...], ...], utilities: Utilities) -> None:
    assert Item(Q, replies, utilities).utilities == utilities


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Ask(Q, given=(A,), n=2), "an ask with given replies draws nothing; found (2, Sampling("),
        (lambda: Ask(Q, given=(A,), sampling=Sampling(max_tokens=9)), "given replies draws nothing"),
        (lambda: Ask(Q, given=(A,), sampling=Sampling(temperature=0.5)), "given replies draws nothing"),
        (lambda: Ask(Q, given=(A, ())), "a given reply has no message"),
        (lambda: Result(name="wins", value=0.5, n=1, at={"x": nan}), "wins stands at no x; found nan"),
        (lambda: Ask(Q, n=0), "at least one reply; found 0"),
        (lambda: Interval(2.0, 1.0), "from low to high; found (2.0, 1.0)"),
        (lambda: Interval(nan, 1.0), "from low to high"),
        (lambda: Result(name="wins", value=None, n=-1), "counts of wins are below zero; found (-1, 0)"),
        (lambda: Result(name="wins", value=0.5, n=0), "wins has a value but rests on nothing"),
    ],
)
def test_impossible_records_are_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert says in str(caught.value)
    assert all(part in str(caught.value) for part in ("; found ", "; accepted: ", "; to do: "))


def test_an_ask_needs_what_it_implies() -> None:
    assert Ask(Q).needs == Capability.API
    assert (Ask(Q, n=3).count, Ask(Q, given=(A, B, A)).count) == (3, 3)
    scored = Ask(Q, given=(A, B), sampling=Sampling(top_logps=2), needs=Capability(0))
    assert scored.needs == Capability.SCORE | Capability.LP
    assert Ask(Q, needs=Capability.GRAD, given=(A,)).needs == Capability.GRAD | Capability.SCORE


@pytest.mark.parametrize(
    ("role", "trained", "learned"),
    [("assistant", None, True), ("user", None, False), ("assistant", False, False), ("tool", True, True)],
)
def test_a_turn_says_whether_it_is_learned_from(role: Role, trained: bool | None, learned: bool) -> None:
    assert Message(role, "x", trained=trained).learned is learned


def test_a_flow_is_a_generator_of_requests() -> None:
    def best(prompt: Prompt) -> Flow[str]:
        replies: tuple[Reply, ...] = yield Ask(prompt, n=2)
        try:
            rated, second = yield Rate(prompt, tuple((reply.message,) for reply in replies)), Ask(prompt)
        except UnansweredError:
            return "nobody"
        scores: list[float] = [one.value for one in rated if isinstance(one, Score)]
        return max(zip(scores, replies, strict=True), key=lambda pair: pair[0])[1].text + second[0].text

    replies = (Reply(A[0]), Reply(B[0]))
    flow = best(Q)
    assert next(flow) == Ask(Q, n=2)
    assert flow.send(replies) == (Rate(Q, (A, B)), Ask(Q))
    with pytest.raises(StopIteration) as done:
        flow.send(((Score(0.0), Score(1.0)), replies[:1]))
    assert done.value.value == "54"
    flow = best(Q)
    next(flow)
    flow.send(replies)
    with pytest.raises(StopIteration, match="nobody"):
        flow.throw(UnansweredError("no reply came"))


def test_usage_adds_up() -> None:
    both = Usage(calls=1, new_tokens=3, cost=0.5) + Usage(calls=2, prompt_tokens=7, seconds=1.0)
    assert both == Usage(calls=3, prompt_tokens=7, new_tokens=3, cost=0.5, seconds=1.0)


def test_a_scorecard_has_sections() -> None:
    win = Result(name="wins", value=0.6, n=9, challenge=Challenge.EFFICACY)
    tax = Result(name="loss", value=0.1, n=9, challenge=Challenge.TAX)
    card = Scorecard(model="m", results=(win, tax))
    assert card.section(Challenge.TAX) == (tax,)
    assert card.section(Challenge.GAMING) == ()


class LengthFeedback:
    """A feedback of few lines: the shape is all that the protocol asks for."""

    id = "length"

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        return [tuple(Score(float(len(reply[0].text))) for reply in rate.replies) for rate in rates]


def test_the_protocols_tell_what_has_their_shape() -> None:
    feedback: Feedback = LengthFeedback()
    assert isinstance(feedback, Feedback)
    assert not isinstance(feedback, Policy | AsyncPolicy)
    assert feedback.rate([Rate(Q, (A, as_turns("four")))]) == [(Score(1.0), Score(4.0))]


def test_every_record_has_a_strategy() -> None:
    assert some.records_of_types() == set(some.RECORDS)


def refused(make: Callable[[], object], says: str) -> None:
    """Try what is to be refused in four parts."""
    with pytest.raises(InputError) as caught:
        make()
    assert says in str(caught.value)
    assert all(part in str(caught.value) for part in ("; found ", "; accepted: ", "; to do: "))


def test_a_mapping_with_the_fields_of_a_message_is_one() -> None:
    assert as_turns({"role": "user", "content": "hi"}) == (Message("user", "hi"),)
    assert as_prompt([{"role": "user", "content": "hi", "name": "Eve"}, A[0]]).messages == (
        Message("user", "hi", name="Eve"),
        A[0],
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (None, "not something that is said; found None"),
        (b"hi", "not something that is said; found b'hi'"),
        (7, "not something that is said; found 7"),
        (["hi"], "a turn of a list is not a message; found 'hi'"),
        ([A[0], None], "a turn of a list is not a message; found None"),
        ({"role": "user"}, "a message has no content; found 'role'"),
        ({}, "a message has no role; found no field"),
        ({"role": "user", "content": "hi", "text": "hi"}, "a message has no such field; found 'text'"),
        ({"role": "user", "content": None}, "the content of a message is not text; found None"),
        ({"role": "user", "content": (Text("a"), "b")}, "the content of a message is not text; found 'b'"),
    ],
)
def test_what_is_never_said_is_refused(given: Any, says: str) -> None:
    refused(lambda: as_turns(given), says)
    refused(lambda: as_prompt(given), says)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"temperature": -0.5}, "temperature of a sampling is out of range; found -0.5"),
        ({"temperature": nan}, "found nan"),
        ({"temperature": "1"}, "found '1'"),
        ({"temperature": True}, "found True"),
        ({"top_p": 0}, "top_p of a sampling is out of range; found 0"),
        ({"top_p": 1.5}, "found 1.5"),
        ({"top_k": 0}, "top_k of a sampling is out of range; found 0"),
        ({"max_tokens": 0}, "max_tokens of a sampling is out of range; found 0"),
        ({"max_tokens": 2.5}, "found 2.5"),
        ({"stop": "ab"}, "found 'ab'; accepted: a tuple of texts that are not empty; to do: write ('ab',)"),
        ({"stop": ("",)}, "stop of a sampling"),
        ({"top_logps": -1}, "top_logps of a sampling is out of range; found -1"),
    ],
)
def test_a_sampling_must_be_possible(settings: dict[str, Any], says: str) -> None:
    refused(lambda: Sampling(**settings), says)


def test_an_ask_is_of_the_right_types() -> None:
    wrong: Any
    refused(lambda: Ask("2+2?"), "is not a Prompt; found '2+2?'")  # type: ignore[arg-type]
    for wrong in (True, 1.5, "2", None):
        refused(lambda wrong=wrong: Ask(Q, n=wrong), f"at least one reply; found {wrong!r}")
    wrong = {"temperature": 1}
    refused(lambda: Ask(Q, sampling=wrong), "is not a Sampling")
    wrong = ("4",)
    refused(lambda: Ask(Q, given=wrong), "a given reply is not a tuple of messages; found '4'")


MISTYPED: list[tuple[Any, Any, Any, str]] = [
    ("2+2?", (), None, "the prompt of an item is not a Prompt; found '2+2?'"),
    (Q, None, None, "a reply is not a tuple of messages; found None"),
    (Q, ("4",), None, "a reply is not a tuple of messages; found '4'"),
    (Q, (A, ("5",)), None, "a reply is not a tuple of messages; found ('5',)"),
    (Q, (A,), "good", "utilities of no known kind; found 'good'"),
    (Q, (A,), Label, "utilities of no known kind"),
    (Q, (A,), Label("yes"), "a label is neither true nor false; found 'yes'"),  # type: ignore[arg-type]
    (Q, (A, B), Ranks((1, "2")), "a rank is not a whole number; found '2'"),  # type: ignore[arg-type]
    (Q, (A, B), Ranks(None), "a rank is not a whole number; found None"),  # type: ignore[arg-type]
    (Q, (A, B), Ratings(("1", 2)), "a score is not a number; found '1'"),  # type: ignore[arg-type]
    (Q, (A, B), Ratings((1.0, 10**400)), "a score is not a number"),
    (Q, (A, B), Ratings((1.0, 2.0), None), "the aspects have no names"),  # type: ignore[arg-type]
    (Q, (A, B), Preference("1"), "a preference is a probability; found '1'"),  # type: ignore[arg-type]
    (Q, (A, B), Preference(None), "a preference is a probability; found None"),  # type: ignore[arg-type]
    (Q, (A, B), Preference(1.0, 3), "the votes say nothing; found 3"),  # type: ignore[arg-type]
    (Q, (A, B), Preference(1.0, (1, "0", 0)), "the votes say nothing"),  # type: ignore[arg-type]
    (Q, (A, B), Preference(scores=(1.0,)), "not those of two replies"),  # type: ignore[arg-type]
    (Q, (A, B), Preference(scores=(1.0, 10**400)), "a score is not a number"),
    (Q, (A, B), Preference(strength="2"), "is a margin; found '2'"),  # type: ignore[arg-type]
    (Q, (A,), StepLabels(("1",)), "a step label is not a number; found '1'"),  # type: ignore[arg-type]
    (Q, (A,), TurnRewards(5), "a reward is not a number; found 5"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("prompt", "replies", "utilities", "says"), MISTYPED)
def test_an_item_is_of_the_right_types(prompt: Any, replies: Any, utilities: Any, says: str) -> None:
    refused(lambda: Item(prompt, replies, utilities, origin=Origin("prefs.jsonl", 7)), says)
    with pytest.raises(InputError, match=r"^prefs\.jsonl:7: "):
        Item(prompt, replies, utilities, origin=Origin("prefs.jsonl", 7))
