"""ROUGE-L and longest common subsequences; `tests.synth.test_novelty` holds them against trying all."""

from itertools import product

import pytest

from concord.rouge import RougeL, lcs_length, lcs_with, rouge_l, rouge_tokens


def test_a_sequence_held_fixed_is_compared_with_many() -> None:
    first = "abcab"
    length = lcs_with(first)
    for others in product("abc", repeat=3):
        assert length(others) == lcs_length(first, others) == lcs_length(others, first)
    assert length("") == lcs_with("")(first) == 0
    assert length(first) == len(first)


def test_the_score_of_counts() -> None:
    assert RougeL.of(0, 0, 0) == RougeL.of(0, 5, 7) == RougeL(precision=0.0, recall=0.0, f=0.0)
    assert RougeL.of(6, 7, 9) == RougeL(precision=6 / 7, recall=6 / 9, f=0.75)
    assert rouge_l("The cat sat.", "a cat has sat") == RougeL.of(2, 3, 4)


@pytest.mark.parametrize("text", ["Boats leave at 6.30", "x", "one two one"])
def test_a_text_is_wholly_like_itself(text: str) -> None:
    assert rouge_l(text, text).f == 1
    assert rouge_l(text, text.upper() + "!") == rouge_l(text, text)
    assert lcs_length(rouge_tokens(text), rouge_tokens(text)) == len(rouge_tokens(text))
