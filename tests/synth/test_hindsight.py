"""Hindsight: both replies of a pair, each behind words that say which it was."""

import pytest

from concord.messages import Message
from concord.synth import BAD, GOOD, hindsight
from concord.types import Item, Preference, Shown, as_prompt, as_turns


def pair(first: float) -> Item:
    meta = {"ref_chosen_logps": -1.0, "kept": 3}
    replies = (as_turns("Sure, here."), as_turns(" No."))
    return Item(as_prompt("How?"), replies, Preference(first), meta=meta)


@pytest.mark.parametrize(("first", "words"), [(1.0, (GOOD, BAD)), (0.0, (BAD, GOOD)), (0.7, (GOOD, BAD))])
def test_each_reply_goes_on_from_words_that_say_how_good_it_was(
    first: float, words: tuple[str, str]
) -> None:
    made = list(hindsight(pair(first)))
    assert [one.prompt.messages for one in made] == [
        (Message("user", "How?"), Message("assistant", word)) for word in words
    ]
    assert [one.replies[0][0].content for one in made] == [" Sure, here.", " No."]
    assert all(one.utilities == Shown() for one in made)
    # What the reference said of a reply by itself is not what it says of it behind other words.
    assert all(dict(one.meta) == {"kept": 3} for one in made)


def test_a_tie_tells_nothing() -> None:
    assert list(hindsight(pair(0.5))) == []


def test_other_words_may_be_used() -> None:
    good, bad = (one.prompt.messages[-1].content for one in hindsight(pair(1.0), good="+", bad="-"))
    assert (good, bad) == ("+", "-")
