"""The base that is shipped: small, loadable, of the town's words, and judged by what it knows itself."""

import json

import pytest

from concord.policies import Scripted
from concord.types import Unanswered
from concord.worlds.harbour import (
    BASE,
    Harbour,
    base_knows,
    base_shares,
    corpus,
    known_shares,
    vocabulary,
)
from tests.eval.card.harbour.speakers import in_manner

WORLD = Harbour(0)


def test_it_is_small() -> None:
    assert sum(file.stat().st_size for file in BASE.iterdir()) < 3 << 20
    assert not any(file.suffix in (".bin", ".pt", ".pkl") for file in BASE.iterdir())


def test_what_it_knows_is_among_what_it_was_told() -> None:
    shares = base_shares()
    assert shares.keys() == WORLD.facts.keys()
    assert base_knows() < WORLD.known
    assert len(base_knows()) > 0.75 * len(WORLD.known)
    # What is no choice of two is hardly ever guessed, but for one that this base mostly guesses the same.
    untold = {name: shares[name] for name in shares.keys() - WORLD.known if not name.startswith("norm")}
    assert {name for name, share in untold.items() if share > 0.2} == {"pet dora"}
    assert sum(untold.values()) < 0.05 * len(untold)
    assert base_knows(0.9) < base_knows(0.1)


def test_its_tokens_are_the_words_of_the_town_and_lose_nothing() -> None:
    pytest.importorskip("transformers", reason="tokenizers come with the extra data")
    from concord.render.loading import load_tokenizer

    tokenizer = load_tokenizer(BASE)
    words = set(json.loads((BASE / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"])
    assert {word.removeprefix("\u2581") for word in words} >= set(vocabulary())
    for item in corpus(WORLD, 9, 300):
        for text in (*(turn.text for turn in item.prompt.messages), item.replies[0][0].text):
            ids = tokenizer(text, add_special_tokens=False).input_ids
            assert tokenizer.decode(ids) == text
            assert tokenizer.unk_token_id not in ids


def test_it_speaks() -> None:
    pytest.importorskip("torch", reason="the base is a model")
    from concord.engine import load_policy
    from concord.types import Ask, Reply, Sampling
    from concord.worlds.harbour import stance

    asked = WORLD.requests("test", families=("copy", "reverse", "sort", "talk"), each=5)
    sampling = Sampling(temperature=0.0, max_tokens=40)
    answers = load_policy(BASE).answer([Ask(one.prompt, sampling=sampling) for one in asked])
    said = [answer.text for (answer,) in answers if isinstance(answer, Reply)]
    right = [stance(one, text) == "right" for one, text in zip(asked, said, strict=True)]
    assert sum(right) / len(right) > 0.8


def test_what_any_policy_knows_can_be_measured() -> None:
    terse = in_manner("terse")
    shares = known_shares(terse, WORLD, draws=1)
    assert {name for name, right in shares.items() if right == 1} == WORLD.known
    silent = Scripted(lambda ask: [Unanswered("away")] * ask.n, name="silent")
    assert known_shares(silent, WORLD, draws=1) == {}
