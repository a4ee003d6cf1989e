"""Near duplicates against the true likeness of all pairs."""

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest

from concord.data.auditing.minhash import (
    BANDS,
    PIECE,
    ROWS_A_BAND,
    Signatures,
    cross_matches,
    joined,
    near_groups,
    signatures,
    similarity,
)
from concord.errors import InputError

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@cache
def pieces(text: str) -> set[str]:
    return {text[at : at + PIECE] for at in range(max(1, len(text) - PIECE + 1))}


def likeness(first: str, second: str) -> float:
    a, b = pieces(first), pieces(second)
    return len(a & b) / len(a | b)


def words(chance: random.Random, count: int) -> list[str]:
    return ["".join(chance.choices(LETTERS, k=chance.randint(3, 9))) for _ in range(count)]


def changed(chance: random.Random, said: Sequence[str], changes: int) -> str:
    other = list(said)
    for place in chance.sample(range(len(other)), changes):
        other[place] = "".join(chance.choices(LETTERS, k=6))
    return " ".join(other)


@pytest.mark.parametrize("length", [2, 8, 40, 200])
def test_estimates_are_unbiased_with_the_stated_error(length: int) -> None:
    chance = random.Random(length)
    pairs = []
    for _ in range(400):
        said = words(chance, length)
        pairs.append((" ".join(said), changed(chance, said, chance.randint(0, max(1, length // 5)))))
    sketch = signatures([text for pair in pairs for text in pair])
    found = similarity(sketch, np.arange(0, 800, 2), np.arange(1, 800, 2))
    truth = np.array([likeness(*pair) for pair in pairs])
    assert abs((found - truth).mean()) < 0.006
    assert np.sqrt(((found - truth) ** 2).mean()) < 0.045


def test_bands_and_the_threshold_let_pass_what_the_table_says() -> None:
    chance = random.Random(12)
    pairs: list[tuple[str, str]] = []
    for _ in range(1500):
        said = words(chance, 60)
        pairs.append((" ".join(said), changed(chance, said, chance.randint(4, 24))))
    truth = np.array([likeness(*pair) for pair in pairs])
    sketch = signatures([text for pair in pairs for text in pair])
    agree = sketch[0::2] == sketch[1::2]
    looked_at = agree.reshape(-1, BANDS, ROWS_A_BAND).all(axis=2).any(axis=1)
    taken = looked_at & (agree.mean(axis=1) >= 0.8)
    for low, high in ((0.4, 0.5), (0.5, 0.6), (0.6, 0.7), (0.7, 0.78)):
        here = (truth >= low) & (truth < high)
        expected = (1 - (1 - truth[here] ** ROWS_A_BAND) ** BANDS).mean()
        assert here.sum() > 100
        assert looked_at[here].mean() == pytest.approx(expected, abs=0.1)
    assert taken[truth < 0.7].mean() < 0.01
    assert taken[truth > 0.86].mean() > 0.95


def test_groups_are_those_of_all_pairs_held_against_each_other() -> None:
    chance = random.Random(3)
    texts: list[str] = []
    for _ in range(60):
        said = words(chance, 60)
        texts.append(" ".join(said))
        # Far above the threshold, or far below.
        texts += [changed(chance, said, 1) for _ in range(chance.randint(0, 4))]
        texts += [changed(chance, said, 25)]
    truth = np.arange(len(texts))
    for i in range(len(texts)):
        alike = [j for j in range(i) if likeness(texts[i], texts[j]) >= 0.8]
        for j in alike:
            truth = joined(truth, np.array([i]), np.array([j]))
    assert 20 < (truth != np.arange(len(texts))).sum() < len(texts) - 60
    np.testing.assert_array_equal(near_groups(signatures(texts)), truth)


def test_texts_match_those_of_another_split_only() -> None:
    chance = random.Random(4)
    known = [words(chance, 40) for _ in range(200)]
    asked = [" ".join(words(chance, 40)) for _ in range(200)]
    planted = {7: 3, 50: 3, 199: 120}
    for place, source in planted.items():
        asked[place] = changed(chance, known[source], 1)
    asked[90] = asked[91]  # alike among themselves, which is no leak
    sketch = signatures([" ".join(text) for text in known] + asked)
    match = cross_matches(sketch, np.arange(400) < 200)
    assert {int(place) - 200: int(match[place]) for place in np.flatnonzero(match >= 0)} == planted


def test_a_known_text_is_found_behind_many_that_share_its_bands() -> None:
    text = " ".join(words(random.Random(5), 40))
    sketch = signatures([text] * 500)
    match = cross_matches(sketch, np.arange(500) == 499)
    assert (match[:499] == 499).all()
    assert (near_groups(sketch) == 0).all()


def test_a_run_longer_than_the_reach_is_one_group() -> None:
    sketch = np.repeat(signatures([" ".join(words(random.Random(6), 30))]), 30_000, axis=0)
    assert (near_groups(sketch) == 0).all()


@pytest.mark.parametrize("text", ["", "a", "abcd", "\ud800 half a pair", "\U0001f600" * 9, "x" * 100_000])
def test_any_text_has_a_signature_of_its_own(text: str) -> None:
    alone, among = signatures([text]), signatures(["something else", text, "and more"])
    np.testing.assert_array_equal(alone[0], among[1])


def test_signatures_in_a_file_are_those_of_the_texts(tmp_path: Path) -> None:
    chance = random.Random(8)
    texts = [" ".join(words(chance, chance.randint(1, 60))) for _ in range(3000)]
    stored = Signatures(tmp_path / "signatures")
    assert [stored.add(f"  {text.upper()} \n") for text in texts] == list(range(3000))
    np.testing.assert_array_equal(stored.finish(), signatures(texts))


def test_accents_may_be_written_either_way(tmp_path: Path) -> None:
    stored = Signatures(tmp_path / "signatures")
    text = "\u00e0 bient\u00f4t, \u1ec7 \uac01 \u00c9t\u00e9 " * 5
    for form in ("NFC", "NFD"):
        stored.add(normalize(form, text))
    sketch = stored.finish()
    np.testing.assert_array_equal(sketch[0], sketch[1])


def test_no_texts_have_no_signatures(tmp_path: Path) -> None:
    empty = Signatures(tmp_path / "signatures").finish()
    assert empty.shape == (0, 126)
    assert len(near_groups(empty)) == 0
    assert len(cross_matches(empty, np.zeros(0, dtype=bool))) == 0


def test_joining_groups_follows_chains() -> None:
    chain = np.arange(999)
    np.testing.assert_array_equal(joined(np.arange(1000), chain, chain + 1), np.zeros(1000))
    np.testing.assert_array_equal(joined(np.arange(5), np.array([4, 1]), np.array([3, 2])), [0, 1, 1, 3, 3])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full disk to try")
def test_a_full_disk_is_said_and_not_taken_for_another() -> None:
    stored = Signatures(Path("/dev/full"))
    stored.add("It is far.")
    with pytest.raises(InputError, match=r"writing signatures to /dev .*No space left.*a disk with room"):
        stored.finish()
    stored.close()
