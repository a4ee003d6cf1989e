"""Hindsight: good and bad replies, each behind words that say which it is."""

import pytest

from concord.messages import Message
from concord.synth import BAD, GOOD, MARK, hindsight
from concord.types import (
    Item,
    Label,
    Preference,
    Ranks,
    Ratings,
    Shown,
    Utilities,
    as_prompt,
    as_turns,
)


def pair(first: float) -> Item:
    meta = {"ref_chosen_logps": -1.0, "kept": 3}
    replies = (as_turns("Sure, here."), as_turns(" No."))
    return Item(as_prompt("How?"), replies, Preference(first), meta=meta)


@pytest.mark.parametrize(("first", "words"), [(1.0, (GOOD, BAD)), (0.0, (BAD, GOOD)), (0.7, (GOOD, BAD))])
def test_each_reply_goes_on_from_words_that_say_how_good_it_was(first: float, words: tuple[str, str]) -> None:
    made = list(hindsight(pair(first)))
    assert [one.prompt.messages for one in made] == [
        (Message("user", "How?"), Message("assistant", word)) for word in words
    ]
    assert [one.replies[0][0].content for one in made] == [" Sure, here.", " No."]
    assert all(one.utilities == Shown() for one in made)
    # What the reference said of a reply by itself is not what it says of it behind other words.
    marks = ["good" if word == GOOD else "bad" for word in words]
    assert [dict(one.meta) for one in made] == [{"kept": 3, MARK: mark} for mark in marks]


@pytest.mark.parametrize(("desirable", "words"), [(True, GOOD), (False, BAD)])
def test_a_judged_reply_goes_on_from_its_words(desirable: bool, words: str) -> None:
    (made,) = hindsight(Item(as_prompt("How?"), (as_turns("So."),), Label(desirable)))
    assert made.prompt.messages[-1] == Message("assistant", words)
    assert made.replies[0][0].content == " So."


@pytest.mark.parametrize(
    ("known", "texts"),
    [
        (Ranks((2, 1, 3, 1)), [" 1", " 2"]),
        (Ratings((None, -2.0, -5.0, -3.0)), [" 1", " 2"]),
        (Ranks((1, 1, 1, 1)), []),
        (Ratings((None, 2.0, None, None)), []),
        (None, []),
    ],
)
def test_of_many_replies_the_best_and_the_worst_tell(known: Utilities, texts: list[str]) -> None:
    item = Item(as_prompt("How?"), tuple(as_turns(str(place)) for place in range(4)), known)
    made = list(hindsight(item))
    assert [one.replies[0][0].content for one in made] == texts
    assert [one.meta[MARK] for one in made] == ["good", "bad"][: len(texts)]


def test_a_tie_tells_nothing() -> None:
    assert list(hindsight(pair(0.5))) == []


def test_other_words_may_be_used() -> None:
    good, bad = (one.prompt.messages[-1].content for one in hindsight(pair(1.0), good="+", bad="-"))
    assert (good, bad) == ("+", "-")
