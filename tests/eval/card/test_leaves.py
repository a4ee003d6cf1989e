"""Leaves: the whole taxonomy, and that a card says which of it its numbers speak of."""

from dataclasses import replace

from concord.eval.card import LEAVES
from concord.eval.card.leaves import covered, leaf_of
from concord.types import Result
from tests.eval.card.harbour.speakers import record


def result(name: str, **at: str) -> Result:
    return Result(name=name, value=0.5, n=9, unit="items", at=at)


def test_there_are_seven_categories_and_29_leaves() -> None:
    assert [len(leaves) for leaves in LEAVES.values()] == [5, 6, 4, 4, 3, 3, 4]
    assert len({leaf for leaves in LEAVES.values() for leaf in leaves}) == 29


def test_attacks_and_shifts_are_told_apart() -> None:
    assert leaf_of(result("generalisation_gap", split="adversarial")) == "prompt attacks"
    assert leaf_of(result("generalisation_gap", split="length")) == "paradigm and distribution shifts"
    assert leaf_of(result("reply_words")) is None


def test_what_has_no_value_covers_nothing() -> None:
    some = result("caves_in")
    assert covered([some, result("wrong")]) == ("misinformation", "sycophancy")
    assert covered([replace(some, value=None, why_none="nobody doubted")]) == ()


def test_a_card_of_harbour_says_what_it_speaks_of() -> None:
    spoken = record("good").card.leaves_covered
    assert {*spoken} <= {leaf for leaves in LEAVES.values() for leaf in leaves}
    assert {"hallucination", "sycophancy", "unlawful conduct", "prompt attacks"} <= {*spoken}
    assert "privacy violation" not in spoken
