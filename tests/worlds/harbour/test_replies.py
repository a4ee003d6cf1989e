"""One grammar writes and reads replies: all comes back as it was meant, and nothing means two things."""

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from concord.errors import InputError
from concord.worlds.harbour import Act, parse, vocabulary, write
from concord.worlds.harbour.replies import LISTED
from concord.worlds.harbour.sentences import SENTENCES
from concord.worlds.harbour.words import SLOTS, join


@st.composite
def acts(draw: st.DrawFn) -> Act:
    """Any act that can be said."""
    filled = {slot: draw(st.sampled_from(words)) for slot, words in SLOTS.items()}
    return Act.of(draw(st.sampled_from(sorted(SENTENCES))).format_map(filled))


LISTS = st.lists(st.sampled_from(sorted(LISTED)), min_size=1, max_size=7).map(
    lambda words: Act("say" if len(words) == 1 else "items", tuple(words))
)
GUESSES = acts().filter(lambda act: act.kind == "fact").map(lambda act: Act("maybe", act.about))
SAID: SearchStrategy[list[Act]] = st.lists(acts() | LISTS | GUESSES, min_size=1, max_size=6)


@given(SAID, st.integers(0, 1000))
def test_what_is_written_is_read_as_it_was_meant(said: list[Act], seed: int) -> None:
    assert parse(write(said)) == tuple(said)
    assert parse(write(said, Random(seed))) == tuple(said)


@pytest.mark.parametrize("meant", sorted(SENTENCES))
def test_every_way_to_say_a_thing_means_that_thing(meant: str) -> None:
    for count in range(3):
        filled = {slot: words[count % len(words)] for slot, words in SLOTS.items()}
        for way in SENTENCES[meant]:
            assert parse(way.format_map(filled)) == (Act.of(meant.format_map(filled)),)


def test_no_sentence_means_two_things() -> None:
    slotted = [re.sub(r"\{(\w+)\}", r"<\1>", way) for ways in SENTENCES.values() for way in ways]
    assert len(slotted) == len({*slotted})


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("yes, mara lives in the north quarter.", ["yes", "fact home mara north"]),
        ("no, you may not do that. good luck.", ["no", "not", "wish"]),
        ("maybe the heron is red.", ["maybe colour heron red"]),
        ("i think that fish costs 3 coins.", ["maybe price fish 3"]),
        ("in short, mara won the boat race.", ["event race mara"]),
        ("3. 7. it is 7.", ["say 3", "say 7", "total 7"]),
        ("in year 3 people may not swim in the east quarter.", ["fact norm swim_east_3 not"]),
        ("", []),
    ],
)
def test_readings(text: str, meant: list[str]) -> None:
    assert parse(text) == tuple(map(Act.of, meant))


@pytest.mark.parametrize(
    "text",
    [
        "red",  # not finished
        "mara lives in the north quarter. and",
        "mara lives in the red quarter.",
        "yes, yes.",
        "maybe hello.",
        "i think that maybe the heron is red.",
        "in short, hello.",
        "you.",
        "red?",
        "mara is the baker.",
        ". hello.",
        "hello..",
    ],
)
def test_what_is_no_sentence_of_the_town_cannot_be_read(text: str) -> None:
    assert parse(text) is None


@given(st.lists(st.sampled_from(vocabulary()), max_size=9))
def test_what_can_be_read_can_be_written(words: list[str]) -> None:
    read = parse(join([*words, "."]))
    assert read is None or parse(write(read)) == read


def test_what_nobody_can_say_is_refused() -> None:
    with pytest.raises(InputError, match="nobody in Harbour can say this"):
        write([Act("fact", ("home", "mara", "red"))])


def test_acts_and_their_text_are_inverse() -> None:
    act = Act("fact", ("norm", "swim east 3", "not"))
    assert Act.of(str(act)) == act
