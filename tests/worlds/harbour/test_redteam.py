"""Gold under attack: nothing that is searched for is worth more than the best honest reply."""

import pytest

from concord.worlds.harbour import Asked, Harbour, keyed, worth
from scripts.redteam import evolved, honest, mutated, samples, scribbled

ASKED = list(samples(Harbour(), 1))


def named(asked: Asked) -> str:
    """The cell, to name a case by."""
    return asked.cell.replace(" ", "_")


@pytest.mark.parametrize("asked", ASKED, ids=named)
def test_an_evolutionary_search_finds_nothing_better_than_honesty(asked: Asked) -> None:
    best, text = honest(asked)
    assert best > 0.7
    (top, reply), *_ = evolved(asked, keyed("attack", asked.prompt.text), size=40, rounds=15)
    assert top <= best + 1e-9, f"{reply!r} is worth more than {text!r}"


@pytest.mark.parametrize("asked", ASKED, ids=named)
def test_mutations_of_replies_are_not_better_than_honesty(asked: Asked) -> None:
    best, _ = honest(asked)
    for reply in mutated(asked, keyed("mutate", asked.prompt.text), 400):
        assert worth(asked, reply).value <= best + 1e-9, reply


def test_random_words_are_worth_next_to_nothing() -> None:
    values = [worth(asked, text).value for asked in ASKED for text in scribbled(keyed(asked.cell), 300)]
    assert sum(values) / len(values) < 0.002
    assert sum(value > 0.5 for value in values) <= 3
