"""Similarity: values that the usual implementations give, by hand where it can be done."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import InputError
from concord.eval.order.reward import reward_results
from concord.eval.replies.similarity import bleu, chrf, exact_match, similarity, similarity_results, token_f1
from concord.policies.scripted import Scripted
from concord.types import Challenge, Item, Result, Unanswered
from concord.views import Comparison, Demonstration, Task

texts = st.lists(st.sampled_from(["the", "boat", "is", "red", "6.30", "fast,", "(at)"]), max_size=9).map(
    " ".join
)


def named(results: Sequence[Result]) -> dict[str, Result]:
    return {one.name: one for one in results}


# --- one text, one reference ------------------------------------------------------------------------------


def test_exact_match_and_token_f1_by_hand() -> None:
    assert exact_match("The Harbour!", "harbour") == 1
    assert exact_match("harbours", "harbour") == 0
    assert exact_match("the", "") == exact_match("", "") == 1  # of either nothing is left
    # Words in common: boat, red; of 3 (is, boat, red) and 4 (boat, was, red, today).
    assert token_f1("is the boat red?", "A boat was red today") == pytest.approx(2 * 2 / 7)
    assert token_f1("boat boat", "boat") == pytest.approx(2 / 3)
    assert token_f1("", "boat") == token_f1("boat", "") == token_f1("ship", "boat") == 0
    assert token_f1("an", "the") == 1


# As sacreBLEU 2.5.1 gives them, with its defaults.
@pytest.mark.parametrize(
    ("said", "references", "wanted"),
    [
        (["The harbour opens at six."], [["The harbour opens at seven."]], 53.7284965911771),
        (
            ["Boats leave at 6.30, weather permitting (3-4 times a day)."],
            [["Boats leave at 6.30 if the weather permits, 3-4 times a day."]],
            48.892302243490086,
        ),
        (["a b c d e", "x y z"], [["a b c d e"], ["x y w z"]], 78.46630356446553),
        (["the the the the the"], [["the cat is here now"]], 10.682175159905848),
        (
            ["the ship left the port"],
            [["the ship has left port", "a ship left the port today"]],
            71.86082239261687,
        ),
        (["one two three"], [["one two three"]], 0.0),
        (["p q r s"], [["a b c d"]], 0.0),
        (['Tom &amp; Ann said "yes"\nand went'], [['Tom & Ann said "yes" and went home']], 89.483931681437),
        (["", "the boat is red and fast"], [["a b"], ["the boat is red and slow"]], 54.44460596606694),
    ],
)
def test_bleu_is_that_of_the_usual_implementation(
    said: list[str], references: list[list[str]], wanted: float
) -> None:
    assert bleu(said, references) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(
    ("said", "reference", "wanted"),
    [
        ("The harbour opens at six.", "The harbour opens at seven.", 77.68555749121184),
        ("boat", "ship", 0.0),
        ("abc", "abcabc", 43.72623574144487),
        ("kitten", "sitting", 19.025078890549743),
        ("a", "a", 100.0),
        ("the red boat", "boat the red", 62.3941798941799),
        ("", "boat", 0.0),
        ("boat", "", 0.0),
    ],
)
def test_chrf_is_that_of_the_usual_implementation(said: str, reference: str, wanted: float) -> None:
    assert chrf(said, reference) == pytest.approx(wanted, abs=1e-9)


@given(texts)
def test_a_text_is_wholly_like_itself(text: str) -> None:
    assert exact_match(text, text) == token_f1(text, text) == 1
    assert chrf(text, text) == pytest.approx(100 if text else 0)
    long = len(text.split()) >= 4
    assert bleu([text], [[text]]) == pytest.approx(100) if long else True


@given(texts, texts)
def test_measures_stay_within_their_bounds(text: str, reference: str) -> None:
    assert 0 <= exact_match(text, reference) <= token_f1(text, reference) <= 1
    assert token_f1(text, reference) == token_f1(reference, text)
    assert 0 <= chrf(text, reference) <= 100 + 1e-9
    assert 0 <= bleu([text], [[reference]]) <= 100 + 1e-9


def test_bleu_is_of_the_set_and_not_of_its_texts() -> None:
    one, two = ["a b c d"], ["w x y z q"]
    whole = bleu([*one, *two], [["a b c d"], ["w x y k q"]])
    apart = (bleu(one, [["a b c d"]]) + bleu(two, [["w x y k q"]])) / 2
    assert whole != pytest.approx(apart)
    assert bleu([], []) == 0


# --- over replies -----------------------------------------------------------------------------------------

REPLIES = ["The boat is red and fast", "At noon the ferry goes", None, "No idea"]
WANTED = ["The boat is red and slow", "At noon the ferry goes", "Yes", "Ask the captain of the ship"]
WORSE = ["Nobody knows about the boat", "The ferry goes at noon", "No", "No idea"]


def test_means_over_replies_and_their_failures() -> None:
    found = named(similarity_results(REPLIES, [[one] for one in WANTED]))
    assert set(found) == {"exact_match", "token_f1", "rouge_l", "chrf", "bleu"}
    assert found["exact_match"].value == pytest.approx(1 / 3)
    assert found["token_f1"].value == pytest.approx((0.8 + 1 + 0) / 3)
    assert found["rouge_l"].value == pytest.approx((10 / 12 + 1 + 0) / 3)
    there = [(text, one) for text, one in zip(REPLIES, WANTED, strict=True) if text is not None]
    assert found["bleu"].value == pytest.approx(
        bleu([text for text, _ in there], [[one] for _, one in there])
    )
    for one in found.values():
        assert (one.n, one.failures, one.challenge) == (3, 1, Challenge.EFFICACY)
        assert one.interval is not None


def test_of_several_references_the_nearest_counts() -> None:
    found = named(similarity_results(["red boat"], [["blue ship", "a red boat", "boat"]]))
    assert found["exact_match"].value == found["token_f1"].value == 1
    assert found["chrf"].value == pytest.approx(chrf("red boat", "a red boat"))


def test_swapping_the_two_replies_of_pairs_negates_the_gain() -> None:
    one = named(similarity_results(REPLIES, [[text] for text in WANTED], worse=WORSE))
    two = named(similarity_results(REPLIES, [[text] for text in WORSE], worse=WANTED))
    gains = [name for name in one if name.endswith("_gain")]
    assert len(gains) == 5
    for name in gains:
        assert one[name].value == pytest.approx(-(two[name].value or 0.0))
    assert one["token_f1_gain"].value == pytest.approx(
        sum(
            token_f1(text, good) - token_f1(text, bad)
            for text, good, bad in zip(REPLIES, WANTED, WORSE, strict=True)
            if text
        )
        / 3
    )
    same = similarity_results(REPLIES, [[text] for text in WANTED], worse=WANTED)
    assert all(found.value == 0 for found in same if found.name.endswith("_gain"))


def test_replies_that_say_nothing_score_nothing() -> None:
    found = named(similarity_results(["", ""], [["the boat"], ["a ship"]]))
    assert all(one.value == 0 for one in found.values())


def test_no_reply_at_all() -> None:
    for one in similarity_results([None, None], [["a"], ["b"]]):
        assert (one.value, one.n, one.failures) == (None, 0, 2)
        assert one.why_none


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match=r"differ in number; found \(1, 2\)"):
        similarity_results(["a"], [["a"], ["b"]])
    with pytest.raises(InputError, match=r"one string; found 'a'.*put it in a list"):
        bleu(["a"], ["a"])
    with pytest.raises(InputError, match="a text has no reference; found nothing"):
        similarity_results(["a"], [[]])
    with pytest.raises(InputError, match=r"of a base differ in number; found \(2, 1\)"):
        reward_results([1.0, 2.0], before=[[1.0]])


def test_items_that_are_shown_or_compared() -> None:
    items = [
        Comparison.of("one", "the red boat", "a blue ship").item(),
        Comparison.of("two", "no", "yes it is", preference=0.0).item(),
    ]
    policy = Scripted({"one": "The red boat.", "two": "yes it is"}, name="policy")
    found = named(similarity(items, policy))
    assert found["exact_match"].value == 1
    assert found["token_f1_gain"].value == 1
    assert len(policy.asks) == 2
    shown = [items[0], Demonstration.of("three", "hello there").item()]
    found = named(similarity(shown, Scripted({"one": "the red boat", "three": Unanswered("busy")})))
    assert (found["exact_match"].value, found["exact_match"].failures) == (1, 1)
    assert "token_f1_gain" not in found


@pytest.mark.parametrize(
    "item", [Comparison.of("tied", "a", "b", preference=0.5).item(), Task.of("bare").item()]
)
def test_items_without_a_reply_to_hold_others_against(item: Item) -> None:
    with pytest.raises(
        InputError, match=r"no reply to hold others against; .*demonstrations and comparisons"
    ):
        similarity([item], Scripted("x"))
