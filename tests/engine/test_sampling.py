"""Tokens are drawn from the tempered and truncated distribution, and their log-probabilities are its own."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from concord.engine.sampling import chance, pick, shaped
from concord.seam import Sampling

LOGITS = torch.tensor([[2.0, -1.0, 0.5, 2.0, 0.0, -3.0]])
CHANCES = [0.3, 0.25, 0.2, 0.15, 0.1]


def distribution(logits: Tensor, **settings: float) -> list[float]:
    """The probabilities of the only row."""
    (row,) = shaped(logits, [Sampling(**settings)]).exp().tolist()  # type: ignore[arg-type]
    return row


def draws(logits: Tensor, sampling: Sampling, uniforms: Sequence[float]) -> list[int]:
    """One token for each uniform number."""
    count = len(uniforms)
    return pick(logits.expand(count, -1), [sampling] * count, uniforms).tokens.tolist()


def test_temperature_divides_the_logits() -> None:
    right = (LOGITS[0] / 0.7).softmax(-1).tolist()
    assert distribution(LOGITS, temperature=0.7) == pytest.approx(right, abs=1e-6)


@pytest.mark.parametrize("temperature", [1e-3, 1e-20, 1e-300])
def test_a_temperature_near_zero_leaves_the_likeliest_tokens(temperature: float) -> None:
    assert distribution(LOGITS, temperature=temperature) == [0.5, 0, 0, 0.5, 0, 0]


def test_greedy_draws_are_the_first_likeliest_token_for_certain() -> None:
    found = pick(LOGITS, [Sampling(temperature=0)], [0.9999])
    assert (found.tokens.tolist(), found.logps.tolist()) == ([0], [0.0])


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"top_k": 2}, 2),
        ({"top_k": 99}, 5),
        ({"top_p": 0.54}, 2),
        ({"top_p": 0.56}, 3),
        ({"top_p": 0.01}, 1),
        ({"top_p": 1.0}, 5),
        ({"top_k": 4, "top_p": 0.6}, 2),  # 0.55 of 0.9 is above 0.6, 0.3 of 0.9 is not
        ({"top_k": 3, "top_p": 0.7}, 2),
    ],
)
def test_truncation_keeps_the_fewest_likeliest_tokens(settings: dict[str, float], kept: int) -> None:
    order = [3, 0, 4, 1, 2]
    logits = torch.tensor([[np.log(CHANCES[order.index(token)]) for token in range(5)]])
    left = {token: CHANCES[place] for place, token in enumerate(order[:kept])}
    right = [left.get(token, 0.0) / sum(left.values()) for token in range(5)]
    assert distribution(logits, **settings) == pytest.approx(right, abs=1e-6)


def test_of_equals_the_lower_id_is_kept() -> None:
    assert distribution(torch.zeros(1, 5), top_k=2) == pytest.approx([0.5, 0.5, 0, 0, 0])


def test_each_row_has_a_sampling_of_its_own() -> None:
    samplings = [Sampling(), Sampling(temperature=0.5, top_k=3), Sampling(temperature=0), Sampling(top_p=0.4)]
    together = shaped(LOGITS.expand(4, -1), samplings)
    for row, sampling in zip(together, samplings, strict=True):
        assert torch.equal(row, shaped(LOGITS, [sampling])[0])


def test_what_is_not_truncated_keeps_its_tail_beside_what_is() -> None:
    logits = torch.tensor([[0.0, -45.0, -50.0]])
    whole, cut = shaped(logits.expand(2, -1), [Sampling(), Sampling(top_p=0.9)]).tolist()
    assert whole == [0.0, -45.0, -50.0]
    assert cut == [0.0, -torch.inf, -torch.inf]


def test_uniform_numbers_fall_into_the_cumulative_distribution() -> None:
    logits = torch.tensor(CHANCES).log()[None]
    edges = np.cumsum([0, *CHANCES])
    inside = [(low + high) / 2 for low, high in pairwise(edges)]
    assert draws(logits, Sampling(), inside) == [0, 1, 2, 3, 4]
    assert draws(logits, Sampling(), [low + 1e-6 for low in edges[:-1]]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_what_is_ruled_out_is_never_drawn(uniform: float) -> None:
    logits = torch.full((1, 7), -torch.inf)
    logits[0, 3] = 0.3
    found = pick(logits, [Sampling(temperature=1.3)], [uniform])
    assert (found.tokens.tolist(), found.logps.tolist()) == ([3], [0.0])


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 0.6}, {"top_k": 4}, {"temperature": 1.7, "top_p": 0.8}]
)
def test_frequencies_follow_the_distribution(settings: dict[str, float]) -> None:
    sampling, count = Sampling(**settings), 20_000  # type: ignore[arg-type]
    uniforms = np.random.default_rng(0).random(count).tolist()
    expected = np.array(distribution(LOGITS, **settings))
    found = np.bincount(draws(LOGITS, sampling, uniforms), minlength=6)
    assert not found[expected == 0].any()
    open_ = expected > 0
    statistic = ((found - count * expected)[open_] ** 2 / (count * expected[open_])).sum()
    assert statistic < 20.5  # the 0.1% quantile of 5 degrees of freedom


def test_log_probabilities_are_of_what_was_drawn() -> None:
    sampling = Sampling(temperature=0.8, top_k=4)
    found = pick(LOGITS.expand(3, -1), [sampling] * 3, [0.1, 0.5, 0.95])
    right = torch.tensor(distribution(LOGITS, temperature=0.8, top_k=4)).log()
    assert found.logps.tolist() == pytest.approx(right[found.tokens].tolist(), abs=1e-6)


@pytest.mark.parametrize("odd", [torch.nan, torch.inf])
def test_logits_that_are_no_numbers_are_said_to_be_and_harm_no_other_row(odd: float) -> None:
    logits = LOGITS.repeat(2, 1)
    logits[0, 2] = odd
    found = pick(logits, [Sampling()] * 2, [0.3, 0.3])
    assert found.broken.tolist() == [True, False]
    assert found.tokens.tolist()[1:] == draws(LOGITS, Sampling(), [0.3])


def test_half_precision_is_taken_up_before_anything_is_computed() -> None:
    low = LOGITS.bfloat16()
    assert torch.equal(
        shaped(low, [Sampling(temperature=0.3)]), shaped(low.float(), [Sampling(temperature=0.3)])
    )


def test_a_seed_decides_with_the_prompt_and_the_number_of_the_draw() -> None:
    def first(seed: int | None, prompt: Sequence[int], number: int) -> float:
        return chance(Sampling(seed=seed), prompt, number).random()

    assert first(7, (1, 2), 0) == first(7, [1, 2], 0)
    assert len({first(7, (1, 2), 0), first(8, (1, 2), 0), first(7, (1, 3), 0), first(7, (1, 2), 1)}) == 4


def test_without_a_seed_torch_decides() -> None:
    torch.manual_seed(3)
    before = [chance(Sampling(), (1,), 0).random() for _ in range(2)]
    torch.manual_seed(3)
    assert [chance(Sampling(), (1,), 0).random() for _ in range(2)] == before
    assert before[0] != before[1]
