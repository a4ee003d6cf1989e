"""Text and words are inverse, so a tokenizer of whole words loses nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.worlds.harbour import vocabulary
from concord.worlds.harbour.words import MARKS, NEWCOMERS, SLOTS, join, split

SPOKEN = st.lists(st.sampled_from(vocabulary()), max_size=12)


@given(SPOKEN)
def test_words_come_back_from_their_text(words: list[str]) -> None:
    assert split(join(words)) == tuple(words)


@given(SPOKEN)
def test_a_text_in_the_normal_form_comes_back_from_its_words(words: list[str]) -> None:
    text = join(words)
    assert join(split(text)) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Yes,  mara IS\nhere .", ["yes", ",", "mara", "is", "here", "."]),
        ("3. 10.", ["3", ".", "1", "0", "."]),
        ("it's #1", ["it", "'", "s", "#", "1"]),
        ("", []),
    ],
)
def test_any_text_has_words(text: str, words: list[str]) -> None:
    assert list(split(text)) == words


def test_marks_stand_close() -> None:
    assert join(["hello", ",", "mara", "!", "3", ":", "4", "."]) == "hello, mara! 3: 4."


def test_the_vocabulary_is_small_and_has_every_word_once() -> None:
    words = vocabulary()
    assert len(words) == len({*words}) <= 320
    assert words[: len(MARKS)] == MARKS
    assert {word for slot in SLOTS.values() for word in slot} <= {*words}


def test_newcomers_are_people_and_ships() -> None:
    assert {*SLOTS["person"], *SLOTS["ship"]} >= NEWCOMERS
