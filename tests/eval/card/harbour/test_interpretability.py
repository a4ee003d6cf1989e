"""The decomposition of a reward finds what was planted in it."""

from collections.abc import Mapping
from random import Random

import numpy as np
import pytest

from concord.eval.card.harbour.interpretability import Featured, decomposition_results
from concord.types import Result

NAMES = ("helpful", "words", "warm")


def planted(weights: Mapping[str, float], *, noise: float = 0.0, prompts: int = 60) -> list[Featured]:
    """Prompts with a level of their own, and replies whose reward is made of their features."""
    chance = Random(3)
    rows: list[Featured] = []
    for _ in range(prompts):
        level = chance.gauss(0, 10)
        features = [{name: chance.random() for name in NAMES} for _ in range(6)]
        values = [
            level + sum(weights.get(name, 0.0) * one[name] for name in NAMES) + noise * chance.gauss(0, 1)
            for one in features
        ]
        rows.append(Featured(values, features))
    return rows


def by_name(rows: list[Featured | None]) -> dict[str, Result]:
    found = decomposition_results(rows, names=NAMES)
    return {f"{one.name} {one.at.get('feature', '')}".strip(): one for one in found}


def test_what_was_planted_is_explained_whatever_the_level_of_a_prompt() -> None:
    found = by_name([*planted({"helpful": 2.0, "words": -1.0})])
    assert found["reward_explained"].value == pytest.approx(1.0)
    assert found["reward_weight helpful"].value == pytest.approx(2 / np.sqrt(5), abs=0.05)
    assert found["reward_weight words"].value == pytest.approx(-1 / np.sqrt(5), abs=0.05)
    assert found["reward_weight warm"].value == pytest.approx(0.0, abs=1e-9)


def test_the_share_of_length_is_what_is_lost_without_it() -> None:
    half = by_name([*planted({"helpful": 1.0, "words": 1.0})])["reward_length words"]
    assert half.value == pytest.approx(0.5, abs=0.08)
    none = by_name([*planted({"helpful": 1.0})])["reward_length words"]
    assert none.value == pytest.approx(0.0, abs=1e-9)
    whole = by_name([*planted({"words": 1.0})])["reward_length words"]
    assert whole.value is not None
    assert whole.value > 0.95


def test_noise_is_not_explained_and_intervals_hold_the_truth() -> None:
    # Var(f) is 1/12 each; 2^2/12 = 1/3 of signal against 1/3 of noise.
    found = by_name([*planted({"helpful": 2.0}, noise=3**-0.5, prompts=200)])["reward_explained"]
    assert found.interval is not None
    assert found.interval.low < 0.5 < found.interval.high


def test_prompts_of_which_nothing_is_known_are_failures() -> None:
    found = by_name([*planted({"helpful": 1.0}), None, None])["reward_explained"]
    assert (found.n, found.failures) == (60, 2)


def test_a_reward_that_never_varies_has_no_explanation() -> None:
    found = by_name([*planted({})])
    assert found["reward_explained"].value is None
    assert found["reward_explained"].why_none
    nobody = by_name([None])
    assert nobody["reward_explained"].value is None
    assert nobody["reward_explained"].n == 0
