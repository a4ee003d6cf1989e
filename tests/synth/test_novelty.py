"""Novelty: the worked value, and a pool that says exactly what comparing with everything says."""

import json
from itertools import combinations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from concord.errors import InputError
from concord.synth.novelty import (
    NoveltyPool,
    RougeL,
    Similar,
    instruction_problems,
    is_novel,
    lcs_length,
    most_similar,
    rouge_l,
    rouge_tokens,
)
from tests.conftest import ROOT

VECTORS = json.loads((ROOT / "tests" / "objectives" / "vectors.json").read_text(encoding="utf-8"))["vectors"]
VECTOR = next(vector for vector in VECTORS if vector["name"] == "self_instruct_rouge_filter")
CANDIDATE, POOL = VECTOR["inputs"]["candidate"], VECTOR["inputs"]["pool"]
THRESHOLD, EXPECTED = VECTOR["params"]["threshold"], VECTOR["expected"]

lists = st.lists(st.sampled_from("abc"), max_size=8)
# Common and rare words, repetitions, and texts without a word.
words = st.sampled_from(["a"] * 6 + ["b"] * 4 + ["c", "c", "d", "e", "f", "!"])
sentences = st.lists(words, max_size=10).map(" ".join)
pools = st.lists(sentences, max_size=25)


def by_hand(first: list[str], second: list[str]) -> int:
    """The longest list that is a subsequence of both, by trying all."""

    def parts(of: list[str], size: int) -> set[tuple[str, ...]]:
        return set(combinations(of, size))

    sizes = range(min(len(first), len(second)), 0, -1)
    return next((size for size in sizes if parts(first, size) & parts(second, size)), 0)


def test_worked_value() -> None:
    found = [rouge_l(CANDIDATE, text).f for text in POOL]
    assert found == pytest.approx(EXPECTED["rougeL_f"], abs=1e-6)
    assert is_novel(CANDIDATE, POOL, threshold=THRESHOLD) is EXPECTED["keep"]
    assert NoveltyPool(POOL).is_novel(CANDIDATE, threshold=THRESHOLD) is EXPECTED["keep"]
    best = Similar(index=0, text=POOL[0], score=RougeL(precision=6 / 7, recall=6 / 9, f=0.75))
    assert most_similar(CANDIDATE, POOL) == NoveltyPool(POOL).most_similar(CANDIDATE) == best


def test_words_are_lower_case_ascii_letters_and_digits() -> None:
    assert rouge_tokens("Don't PANIC: 42_times, it's e-mail!") == (
        *("don", "t", "panic", "42", "times", "it", "s", "e", "mail"),
    )
    assert rouge_tokens("caf\u00e9s \u732b \u212a") == ("caf", "s", "k")
    assert rouge_tokens(" ?! ") == ()


@given(lists, lists)
def test_lcs_is_the_longest(first: list[str], second: list[str]) -> None:
    assert lcs_length(first, second) == lcs_length(second, first) == by_hand(first, second)


@given(sentences, sentences)
def test_rouge_is_symmetric_up_to_its_parts(first: str, second: str) -> None:
    one, other = rouge_l(first, second), rouge_l(second, first)
    assert (one.precision, one.recall, one.f) == (other.recall, other.precision, other.f)
    if one.f:
        joined = 2 * one.precision * one.recall / (one.precision + one.recall)
        assert one.f == pytest.approx(joined, rel=1e-12)


def test_nothing_in_common_is_zero() -> None:
    nothing = RougeL(precision=0, recall=0, f=0)
    assert rouge_l("", "") == rouge_l("a", "") == rouge_l("", "a") == rouge_l("a b", "c d") == nothing
    assert rouge_l("\u732b", "\u732b") == nothing
    assert rouge_l("a b", "A, b!") == RougeL(precision=1, recall=1, f=1)


def test_the_threshold_itself_is_kept() -> None:
    candidate, text = "a b c d e f g x y z", "a b c d e f g 1 2 3"
    assert rouge_l(candidate, text).f == 0.7
    assert is_novel(candidate, [text])
    assert NoveltyPool([text]).is_novel(candidate)
    assert not is_novel(candidate, [text], threshold=0.69)
    assert not NoveltyPool([text]).is_novel(candidate, threshold=0.69)


@given(pools, sentences, st.sampled_from([0.0, 0.3, 0.5, 2 / 3, 0.7, 0.8, 1.0]))
@example(["!"], "!", 0.0)
@example(["b a", "a b"], "a b b a", 0.5)
def test_the_pool_says_what_comparing_with_all_says(
    pool: list[str], candidate: str, threshold: float
) -> None:
    quick = NoveltyPool(pool)
    assert quick.most_similar(candidate) == most_similar(candidate, pool)
    novel = all(rouge_l(candidate, text).f <= threshold for text in pool)
    assert quick.is_novel(candidate, threshold=threshold) is novel
    assert is_novel(candidate, pool, threshold=threshold) is novel


@given(pools)
def test_the_pool_grows(texts: list[str]) -> None:
    pool, kept = NoveltyPool(), list[str]()
    for text in texts:
        novel = is_novel(text, kept)
        assert pool.is_novel(text) is novel
        if novel:
            pool.add(text)
            kept.append(text)
    assert pool.texts == tuple(kept)
    assert len(pool) == len(kept)


def test_an_empty_pool_knows_nothing_like_it() -> None:
    assert most_similar("a", []) is NoveltyPool().most_similar("a") is None
    assert is_novel("a", [])
    assert NoveltyPool().is_novel("a", threshold=0)


def test_the_first_of_equals_is_named() -> None:
    texts = ["x y", "a q", "b a", "b", "a b"]
    for candidate, index in [("a", 1), ("z", 0), ("a b c", 4), ("b", 3)]:
        found = NoveltyPool(texts).most_similar(candidate)
        assert found is not None
        assert found.index == index


@pytest.mark.parametrize("threshold", [-0.1, 1.1, 70, float("nan")])
def test_a_threshold_is_a_share(threshold: float) -> None:
    message = rf"threshold is a ROUGE-L f; found {threshold}; accepted: 0 to 1; to do: lower keeps fewer"
    with pytest.raises(InputError, match=message):
        is_novel("a", [], threshold=threshold)
    with pytest.raises(InputError, match=message):
        NoveltyPool().is_novel("a", threshold=threshold)


def test_a_string_is_not_a_pool() -> None:
    for ask in (NoveltyPool, lambda pool: is_novel("a", pool), lambda pool: most_similar("a", pool)):
        with pytest.raises(InputError, match=r"the pool is one string.*found 'a b'.*to do: put it in a list"):
            ask("a b")


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("Name three kinds of bread.", ()),
        ("Translate  this\nto French.", ()),
        ("word " * 150, ()),
        ("word " * 151, ("too long",)),
        ("Name three breads.", ("too short",)),
        ("", ("too short",)),
        (" \n", ("too short",)),
        ("Describe the image on this page.", ("keyword: image",)),
        ("Go  to the MAP and draw it.", ("keyword: map", "keyword: draw", "keyword: go to")),
        ("Describe imagery, filed mapping and plots.", ()),
        ("Summarise the plot of this novel.", ("keyword: plot",)),
        ("Write a program that sorts numbers.", ("starts with: write a program",)),
        ("write a Programme for the concert.", ("starts with: write a program",)),
        ("Please write a program that sorts.", ()),
        ("- name three kinds of bread", ("starts with punctuation",)),
        ("\u00c9num\u00e8re trois sortes de pain.", ("starts with a non-ASCII character",)),
        ("Say caf\u00e9 in three languages.", ()),
        ("(image)", ("too short", "keyword: image", "starts with punctuation")),
    ],
)
def test_plain_problems(text: str, problems: tuple[str, ...]) -> None:
    assert instruction_problems(text) == problems
