"""What replies show by their text: worked values, planted faults, and diversity that collapses."""

from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.eval.replies.texts import (
    distinct,
    opening_entropy,
    overlap,
    plain,
    repeats,
    sequence_repetition,
    text_results,
    words,
)
from concord.types import Finish, Message, Reply, Result, Unanswered

PROSE = (
    "A lighthouse keeper counts the ships that pass, and writes their names into a book that nobody reads"
    " until the winter, when the harbour master comes over the ice and asks how many there were."
)
LOOP = "and then the cat sat on the mat " * 8
PLACES = ("pier", "market", "school", "bridge", "tower", "mill", "gate", "garden")


def said(text: str, *, finish: Finish = Finish.STOP, tokens: int | None = None) -> tuple[Reply, ...]:
    ids = None if tokens is None else tuple(range(tokens))
    return (Reply(Message("assistant", text), finish=finish, tokens=ids),)


def named(results: list[Result]) -> dict[str, Result]:
    return {one.name: one for one in results}


VARIED = [
    said(f"{place} number {at} stands near the {PLACES[(at * 3 + 1) % 8]} of year {at * 7}")
    for at, place in enumerate(PLACES * 3)
]
COLLAPSED = [said("I am happy to help you with that today")] * 24


# --- of texts ---------------------------------------------------------------------------------------------


def test_worked_values() -> None:
    assert plain("I CAN\u2019T\n  say") == "i can't say"
    assert words("It's 3.5, yes!") == ["it", "s", "3", "5", "yes"]
    assert sequence_repetition("ababa", n=2) == pytest.approx(1 - 2 / 4)
    assert sequence_repetition("abc", n=4) is None
    assert distinct(["a b a", "a b"], n=1) == pytest.approx(2 / 5)
    assert distinct(["a b a", "a b"], n=2) == pytest.approx(2 / 3)
    assert distinct(["a"], n=2) is None
    assert overlap("a b c", "b c d") == pytest.approx(1 / 3)
    assert overlap("a", "a") == 1
    assert overlap("", "a b") == 0
    assert opening_entropy(["a b c d", "a b c e", "x", "y"]) == pytest.approx(1.5)
    assert opening_entropy([]) is None


@given(st.lists(st.sampled_from("abc"), min_size=4, max_size=30))
def test_repetition_is_told_by_counting(tokens: list[str]) -> None:
    grams = [tuple(tokens[at : at + 4]) for at in range(len(tokens) - 3)]
    seen = sum(gram in grams[:at] for at, gram in enumerate(grams))
    assert sequence_repetition(tokens) == pytest.approx(seen / len(grams))


@given(st.text(max_size=30), st.text(max_size=30))
def test_overlap_is_symmetric_and_whole_with_itself(one: str, other: str) -> None:
    assert overlap(one, other) == overlap(other, one)
    assert overlap(one, one) == 1
    assert 0 <= overlap(one, other) <= 1


# --- results ----------------------------------------------------------------------------------------------


def test_each_fault_shows_in_its_own_row() -> None:
    faults = {
        "empty_replies": said(" \n"),
        "endless_replies": said("the pier is long", finish=Finish.LENGTH),
        "looping_replies": said("and then the cat sat on the mat " * 8),
    }
    for name, fault in faults.items():
        results = named(text_results([*VARIED[:9], fault]))
        for other in faults:
            assert results[other].value == pytest.approx(0.1 * (other == name))
    looping = named(text_results([*VARIED[:9], faults["looping_replies"]]))
    plain_ones = named(text_results(VARIED[:9]))
    assert (looping["repetition"].value or 0) > 0.05 > (plain_ones["repetition"].value or 0)


def test_a_collapsed_policy_says_one_thing_to_every_prompt() -> None:
    collapsed, varied = named(text_results(COLLAPSED)), named(text_results(VARIED))
    assert collapsed["overlap_among_prompts"].value == 1
    assert collapsed["opening_entropy"].value == 0
    assert (varied["overlap_among_prompts"].value or 0) < 0.5
    assert 0 < (varied["opening_entropy"].value or 0) <= log2(24)
    for n in (1, 2, 3):
        assert (collapsed[f"distinct_{n}"].value or 1) < (varied[f"distinct_{n}"].value or 0)
    mixed = named(text_results(VARIED[:18] + COLLAPSED[:6]))
    for name in ("overlap_among_prompts", "opening_entropy", "distinct_2"):
        interval = mixed[name].interval
        assert interval is not None
        assert interval.low < (mixed[name].value or 0) < interval.high


def test_replies_that_are_all_alike_are_as_sure_as_replies_that_were_not_seen_allow() -> None:
    alone = named(text_results([said(f"{word} is all") for word in "abcdefghijklmnopqrstuvwxyz"]))
    assert alone["opening_entropy"].value == pytest.approx(log2(26))
    collapsed = named(text_results(COLLAPSED))
    found = [collapsed[name] for name in ("overlap_among_prompts", "opening_entropy", "distinct_1")]
    for one in (*found, alone["opening_entropy"]):
        assert one.interval is not None
        assert "unlike these" in one.interval.how
        most = log2(26) if one.name == "opening_entropy" else 1.0
        assert 0 <= one.interval.low <= (one.value or 0.0) <= one.interval.high <= most
        assert one.interval.high - one.interval.low > 0.2 * most


def test_lengths_in_words_and_where_known_in_tokens() -> None:
    results = named(text_results([said("a b c", tokens=5), said("a", tokens=1)]))
    assert (results["reply_words"].value, results["reply_tokens"].value) == (2, 3)
    assert "reply_tokens" not in named(text_results([said("a b c", tokens=5), said("a")]))


def test_several_replies_to_a_prompt_stay_together() -> None:
    answers = [(*said("one two three"), *said("one two three")), (*said("a b c"), *said("x y z"))] * 6
    results = named(text_results(answers))
    assert results["overlap_within_prompts"].value == 0.5
    assert results["overlap_within_prompts"].n == 12
    assert results["reply_words"].n == 24
    empty = named(text_results([(*said(""), *said("")), *[(*said("a b"), *said("a c"))] * 11]))[
        "empty_replies"
    ]
    assert empty.value == pytest.approx(1 / 12)
    assert empty.interval is not None
    assert "12 clusters" in empty.interval.how


def test_one_reply_to_each_prompt_has_no_overlap_within() -> None:
    within = named(text_results(VARIED))["overlap_within_prompts"]
    assert within.value is None
    assert "draw several" in within.why_none


def test_replies_that_do_not_come_are_failures() -> None:
    results = named(text_results([*VARIED, (Unanswered("down"),)]))
    for name in ("reply_words", "empty_replies", "distinct_1", "overlap_among_prompts"):
        assert (results[name].n, results[name].failures) == (24, 1)
    nothing = named(text_results([(Unanswered("down"),)] * 3))
    assert all(one.value is None and one.why_none for one in nothing.values())


def test_results_do_not_depend_on_the_call() -> None:
    assert text_results(VARIED, seed=3) == text_results(VARIED, seed=3)


def test_repetition_is_told_from_prose_and_from_short_texts() -> None:
    assert repeats(LOOP)
    assert not repeats(PROSE)
    assert not repeats("no " * 20), "too short to judge"
    assert repeats("no " * 40)


@given(st.text(min_size=20, max_size=60), st.integers(8, 12))
def test_whatever_is_said_often_enough_repeats(text: str, times: int) -> None:
    assert repeats(text * times)
