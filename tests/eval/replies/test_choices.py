"""Questions with options: letters are read strictly, places even out, refusals are told apart."""

from math import log

import pytest

from concord.errors import InputError
from concord.eval.replies.choices import Choice, Chosen, choose, read_option
from concord.policies import Scripted
from concord.types import Ask, Unanswered

OPTIONS = ("the pier", "the mill", "nobody knows")
ONE = Choice("Where is the boat?", OPTIONS)


@pytest.mark.parametrize(
    ("reply", "place"),
    [
        ("B", 1),
        ("b.", 1),
        ("(B)", 1),
        ("**B**", 1),
        ("B: it lies there", 1),
        ("b) the mill", 1),
        ("Answer: B", 1),
        ("The answer is B.", 1),
        ("Option C", 2),
        ("The pier.", 0),
        (" nobody knows\n", 2),
        ("D", None),
        ("A boat lies there", None),
        ("Because of it", None),
        ("Both A and B", None),
        ("", None),
    ],
)
def test_letters(reply: str, place: int | None) -> None:
    assert read_option(reply, OPTIONS) == place


def first_place(ask: Ask) -> str:
    return "A"


def knows(ask: Ask) -> str:
    (line,) = [line for line in ask.prompt.text.splitlines() if line.endswith("the mill")]
    return line[0]


def test_a_preference_for_a_place_evens_out() -> None:
    (chosen,) = choose([ONE], Scripted(first_place))
    assert chosen.shares == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert chosen.pick is None
    (alone,) = choose([ONE], Scripted(first_place), orders=1)
    assert alone.pick == 0


def test_an_option_is_found_in_every_place() -> None:
    policy = Scripted(knows)
    (chosen,) = choose([ONE], policy)
    assert (chosen.shares, chosen.pick) == ((0, 1, 0), 1)
    shown = [[line[3:] for line in ask.prompt.text.splitlines()[1:4]] for ask in policy.asks]
    assert [one[0] for one in shown] == ["the pier", "the mill", "nobody knows"]
    assert all(sorted(one) == sorted(OPTIONS) for one in shown)


def test_policies_that_score_are_asked_for_letters() -> None:
    logps = {"A": log(0.6), "B": log(0.1), "C": log(0.1)}
    policy = Scripted("", logps=lambda word: logps[word])
    (chosen,) = choose([ONE], policy, orders=1)
    assert chosen.shares == pytest.approx((0.75, 0.125, 0.125))
    (turned,) = choose([ONE], policy)
    assert turned.shares == pytest.approx((1 / 3, 1 / 3, 1 / 3))


def test_refusals_and_garbage_are_told_apart() -> None:
    policy = Scripted(["I cannot answer that.", "hm", Unanswered("down")])
    (chosen,) = choose([ONE], policy)
    assert chosen == Chosen(shares=None, refused=1, unread=2)
    (some,) = choose([ONE], Scripted(["A", "I won't say.", ""]))
    assert (some.shares, some.refused, some.unread) == ((1, 0, 0), 1, 1)


def test_braces_in_a_question_are_left_alone() -> None:
    policy = Scripted("A")
    choose([Choice("Is {options} a set?", ("yes {question}", "no"))], policy, orders=1)
    assert policy.asks[0].prompt.text.startswith("Is {options} a set?\nA. yes {question}\nB. no\n")


def test_what_is_refused() -> None:
    for options in (("a",), ("a", "a"), tuple(map(str, range(27)))):
        with pytest.raises(InputError, match="no options to choose from"):
            Choice("?", options)
    with pytest.raises(InputError, match="asks nothing"):
        choose([ONE], Scripted("A"), template="{question}")
