"""The nouns: what people write becomes messages, and what contradicts itself is refused."""

from collections.abc import Callable, Sequence
from dataclasses import FrozenInstanceError
from math import inf, nan

import pytest
from hypothesis import given

from concord.errors import InputError
from concord.types import (
    Ask,
    Challenge,
    Feedback,
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
    Result,
    Score,
    Scorecard,
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
    ((A,), Preference(), "another number of replies; found '1 replies'; accepted: 2 here"),
    ((A, B), Shown(), "another number of replies; found '2 replies'; accepted: 1 here"),
    ((A, B), Ranks((1, 2, 3)), "another number of replies"),
    ((A, B), Ratings((1.0,)), "another number of replies"),
    ((), Label(True), "another number of replies"),
    ((), Ranks(()), "Ranks speaks of another number of replies; found '0 replies'"),
    (((),), Shown(), "a reply has no message"),
    ((A, B), Preference(1.5), "a preference is a probability; found 1.5"),
    ((A, B), Preference(nan), "a preference is a probability; found nan"),
    ((A, B), Preference(0.5, (0, 0, 0)), "the votes say nothing; found (0, 0, 0)"),
    ((A, B), Preference(0.5, (2, -1, 1)), "the votes say nothing"),
    ((A, B), Ranks((0, 1)), "a rank is too small; found 0"),
    ((A, B), Ratings((1.0, nan)), "a score is not a number"),
    ((A, B), Ratings((1.0, -inf)), "a score is not a number"),
    ((A, B), Ratings((1.0, 2.0), {"wit": (1.0,)}), "another number of scores; found {'wit': (1.0,)}"),
    ((A, B), Ratings((1.0, 2.0), {"wit": (1.0, nan)}), "a score is not a number"),
    ((A,), StepLabels((1.0, 0.0)), "steps and labels differ in number; found '2 labels'; accepted: 1"),
    ((A,), StepLabels((2.0,)), "a step label is out of range; found (2.0,)"),
    ((A,), TurnRewards((1.0, 1.0)), "turns and rewards differ in number; found '2 rewards'; accepted: 1"),
    ((A,), TurnRewards((nan,)), "a reward is not a number; found (nan,)"),
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


@pytest.mark.parametrize(
    ("make", "says"),
    [
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
    """A feedback of two lines: the shape is all that the protocol asks for."""

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        return [tuple(Score(float(len(reply[0].text))) for reply in rate.replies) for rate in rates]


def test_the_protocols_tell_what_has_their_shape() -> None:
    feedback: Feedback = LengthFeedback()
    assert isinstance(feedback, Feedback)
    assert not isinstance(feedback, Policy)
    assert feedback.rate([Rate(Q, (A, as_turns("four")))]) == [(Score(1.0), Score(4.0))]


def test_every_record_has_a_strategy() -> None:
    assert some.records_of_types() == set(some.RECORDS)
