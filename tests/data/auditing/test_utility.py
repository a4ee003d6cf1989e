"""Circles, the fit of Bradley-Terry and the noise ceiling, against worked and brute-force answers."""

from itertools import combinations, permutations

import numpy as np
import pytest

from concord.data.auditing.exact import decided, exact_p_value
from concord.data.auditing.utility import (
    Edges,
    aggregate,
    ceiling_of,
    cycles,
    fit,
    goodness,
    informative,
    repeated_agreement,
    triads,
)

Judgement = tuple[int, int, int, float]  # prompt, first reply, second reply, the first's share


def edges_of(judged: list[Judgement]) -> Edges:
    columns = [np.array(column) for column in zip(*judged, strict=True)]
    prompt, first, second = (column.astype(np.uint64) for column in columns[:3])
    share = columns[3].astype(np.float64)
    told = share != 0.5
    return aggregate(prompt, first, second, (share * told, (1 - share) * told))


def drawn(
    utilities: np.ndarray, times: int, generator: np.random.Generator, prompt: int = 1
) -> list[Judgement]:
    """Every pair judged so often, as Bradley and Terry have it."""
    judged: list[Judgement] = []
    for i, j in combinations(range(len(utilities)), 2):
        share = 1 / (1 + np.exp(utilities[j] - utilities[i]))
        judged += [(prompt, i, j, float(won)) for won in generator.random(times) < share]
    return judged


def test_comparisons_of_one_pair_add_up_whichever_way_they_stand() -> None:
    edges = edges_of([(1, 7, 8, 1.0), (1, 8, 7, 1.0), (1, 8, 7, 1.0), (2, 7, 8, 1.0), (1, 9, 9, 1.0)])
    assert sorted(zip(edges.count, np.abs(edges.left_wins - edges.right_wins), strict=True)) == [
        (1, 1),
        (3, 1),
    ]
    assert edges.replies == 4, "a reply under another prompt is another reply, and one against itself is none"


def test_only_parts_with_circles_can_tell() -> None:
    ring = [(1, 0, 1, 1.0), (1, 1, 2, 1.0), (1, 2, 0, 1.0)]
    tree = [(2, 0, 1, 1.0), (2, 1, 2, 1.0), (2, 1, 3, 0.0), (3, 0, 1, 1.0), (3, 0, 1, 0.0)]
    edges = edges_of(ring + tree)
    assert informative(edges).sum() == 3
    assert set(edges.prompt[informative(edges)].tolist()) == {1}
    kept = edges.taken(informative(edges))
    assert (kept.replies, len(kept.left)) == (3, 3)


def test_the_fit_of_two_replies_is_the_log_odds() -> None:
    utility = fit(edges_of([(1, 0, 1, 1.0)] * 30 + [(1, 0, 1, 0.0)] * 10), prior=1e-9)
    assert abs(utility[0] - utility[1]) == pytest.approx(np.log(3), abs=1e-6)


def test_the_fit_is_where_the_slope_is_zero() -> None:
    generator = np.random.default_rng(0)
    edges = edges_of(drawn(generator.normal(0, 1, 12), 3, generator))
    utility, prior = fit(edges), 0.01
    for reply in range(edges.replies):
        slope = -prior * utility[reply]
        for left, right, a, b in zip(edges.left, edges.right, edges.left_wins, edges.right_wins, strict=True):
            win = 1 / (1 + np.exp(utility[right] - utility[left]))
            slope += (a - (a + b) * win) * (int(left == reply) - int(right == reply))
        assert abs(slope) < 1e-6


def test_the_fit_recovers_utilities() -> None:
    generator = np.random.default_rng(1)
    truth = np.linspace(-1.5, 1.5, 8)
    edges = edges_of(drawn(truth, 400, generator))
    found = np.sort(fit(edges))
    assert np.abs(found - truth).max() < 0.15
    assert found.sum() == pytest.approx(0, abs=1e-6)


def test_a_reply_that_always_wins_has_a_finite_utility() -> None:
    utility = fit(edges_of([(1, 0, 1, 1.0)] * 1000 + [(1, 1, 2, 1.0)] * 5 + [(1, 0, 2, 1.0)]))
    assert np.isfinite(utility).all()
    assert np.abs(utility).max() < 20


def test_a_long_chain_is_fitted() -> None:
    judged = [(1, at, at + 1, 1.0) for at in range(400)] + [(1, at + 1, at, 1.0) for at in range(0, 400, 2)]
    utility = fit(edges_of(judged), prior=1e-4)
    assert np.isfinite(utility).all()


def test_parts_are_fitted_as_if_alone() -> None:
    generator = np.random.default_rng(2)
    several = [drawn(generator.normal(0, 1.5, 5), 4, generator, prompt) for prompt in (1, 2, 3)]
    together = edges_of([one for part in several for one in part])
    fitted = fit(together)
    for prompt, part in enumerate(several, 1):
        alone = fit(edges_of(part))
        of_part = np.unique(
            together.left[together.prompt == prompt].tolist()
            + together.right[together.prompt == prompt].tolist()
        )
        assert np.sort(fitted[of_part]) == pytest.approx(np.sort(alone), abs=1e-6)


@pytest.mark.parametrize(("times", "replies", "spread"), [(4, 4, 1.0), (2, 6, 1.0), (12, 4, 2.0)])
def test_the_p_value_is_no_smaller_than_uniform_where_a_utility_is_the_truth(
    times: int, replies: int, spread: float
) -> None:
    generator = np.random.default_rng(3)
    values: list[float] = []
    for trial in range(150):
        judged = [
            one
            for prompt in range(4)
            for one in drawn(generator.normal(0, spread, replies), times, generator, prompt + 1)
        ]
        p_value = exact_p_value(decided(edges_of(judged)), draws=39, sweeps=10, seed=trial)
        values.append(1.0 if p_value is None else p_value)
    found = np.array(values)
    # Deviations of a share of 150: three of them.
    for share in (0.05, 0.2, 0.5, 0.8):
        assert (found <= share).mean() <= share + 3 * np.sqrt(share * (1 - share) / 150)
    assert 0.4 < found.mean() < 0.65, "nor much larger"


def test_the_chain_visits_tables_as_often_as_they_weigh() -> None:
    # Three replies, each pair compared twice: given two wins each, tables are w, w, w with w in 0, 1, 2, and
    # weigh 1, 8, 1. The deviance of the data, at w = 0, is reached by two tables in ten.
    edges = edges_of([(1, a, b, 1.0) for a, b in ((0, 1), (1, 2), (2, 0)) for _ in range(2)])
    p_value = exact_p_value(edges, draws=9999, seed=1)
    assert p_value == pytest.approx(0.2, abs=0.015)


def test_pairs_judged_once_cannot_tell() -> None:
    edges = edges_of([(1, 0, 1, 1.0), (1, 1, 2, 1.0), (1, 2, 0, 1.0)])
    assert exact_p_value(decided(edges)) is None
    assert exact_p_value(decided(edges_of([(1, 0, 1, 0.5), (1, 1, 2, 0.5), (1, 2, 0, 0.5)]))) is None


def test_what_no_utility_explains_is_found() -> None:
    # Stone beats scissors, scissors beat paper, paper beats stone, each nine times of ten.
    judged = [(1, a, b, float(k < 9)) for a, b in ((0, 1), (1, 2), (2, 0)) for k in range(10)]
    edges = edges_of(judged)
    p_value = exact_p_value(decided(edges))
    assert p_value is not None
    assert p_value < 0.01
    found = goodness(edges)
    assert found.freedom == 1
    # The fit is flat, so that the deviance is 3 x 2 x 10 x (0.9 log 1.8 + 0.1 log 0.2).
    assert found.deviance == pytest.approx(60 * (0.9 * np.log(1.8) + 0.1 * np.log(0.2)))
    assert found.expected_accuracy == pytest.approx(0.5, abs=1e-6)


def test_circles_longer_than_triangles_are_walked() -> None:
    # A ring of six, each beating the next nine times of ten, with no triangle in it.
    judged = [(1, at, (at + 1) % 6, float(k < 9)) for at in range(6) for k in range(10)]
    p_value = exact_p_value(decided(edges_of(judged)))
    assert p_value is not None
    assert p_value < 0.01


def test_the_same_seed_gives_the_same_p_value() -> None:
    generator = np.random.default_rng(5)
    edges = edges_of(drawn(np.array([0.0, 0.3, 0.9, 1.0]), 3, generator))
    assert exact_p_value(edges, seed=1) == exact_p_value(edges, seed=1)


def test_triads_and_circles_are_those_found_by_hand() -> None:
    ring = [(1, 0, 1, 1.0), (1, 1, 2, 1.0), (1, 2, 0, 1.0), (1, 0, 3, 1.0), (1, 1, 3, 1.0), (1, 2, 3, 1.0)]
    line = [(2, 0, 1, 1.0), (2, 1, 2, 1.0), (2, 0, 2, 1.0)]
    tied = [(3, 0, 1, 1.0), (3, 1, 2, 1.0), (3, 2, 0, 0.5)]
    edges = edges_of(ring + line + tied)
    found = triads(edges)
    counts = {
        prompt: (ordered, circular)
        for prompt, ordered, circular in zip(found.prompt, found.ordered, found.circular, strict=True)
    }
    assert counts == {1: (4, 1), 2: (1, 0)}
    assert found.left_out == 0
    on = cycles(edges)
    assert on.sum() == 3
    assert set(edges.prompt[on].tolist()) == {1}


@pytest.mark.parametrize("seed", range(20))
def test_triads_and_circles_are_those_found_by_trying_all(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n = 7
    beats = {
        (i, j): bool(generator.random() < 0.5)
        for i, j in combinations(range(n), 2)
        if generator.random() < 0.5
    }
    if len(beats) < 3:
        pytest.skip("nothing to look at")
    edges = edges_of([(1, i, j, float(won)) for (i, j), won in beats.items()])
    over = {(i, j) if won else (j, i) for (i, j), won in beats.items()}
    whole = [
        three for three in combinations(range(n), 3) if all(pair in beats for pair in combinations(three, 2))
    ]
    circular = sum(
        any({(a, b), (b, c), (c, a)} <= over for a, b, c in permutations(three)) for three in whole
    )
    found = triads(edges)
    assert (found.ordered.sum(), found.circular.sum()) == (len(whole), circular)
    reach = over.copy()
    for k in range(n):
        reach |= {(i, j) for i in range(n) for j in range(n) if (i, k) in reach and (k, j) in reach}
    assert cycles(edges).sum() == sum((b, a) in reach for a, b in over)


def test_a_circle_of_thousands_needs_no_recursion() -> None:
    edges = edges_of([(1, at, (at + 1) % 5000, 1.0) for at in range(5000)])
    assert cycles(edges).all()


def test_the_ceiling_is_that_of_a_known_noise() -> None:
    # Judges take the better reply with probability 0.8, so that two agree at 0.68 and no model passes 0.8.
    generator = np.random.default_rng(9)
    judged = [(prompt, 0, 1, float(generator.random() < 0.8)) for prompt in range(1, 4001) for _ in range(2)]
    agreement, prompts = repeated_agreement(edges_of(judged))
    assert len(prompts) == 4000
    assert agreement.mean() == pytest.approx(0.68, abs=0.03)
    assert ceiling_of(0.68) == pytest.approx(0.8)
    assert ceiling_of(0.4) == 0.5


def test_agreement_of_votes_is_that_of_all_pairs_of_them() -> None:
    votes = [1.0, 1.0, 1.0, 0.0, 0.0]
    agreement, _ = repeated_agreement(edges_of([(1, 0, 1, vote) for vote in votes]))
    expected = np.mean([a == b for a, b in combinations(votes, 2)])
    assert agreement.tolist() == [pytest.approx(expected)]


def test_ties_and_soft_preferences_are_no_judgements_that_disagree() -> None:
    ties, mirrored = [(1, 0, 1, 0.5)] * 2, [(2, 0, 1, 0.75), (2, 0, 1, 0.25)]
    edges = edges_of([*ties, *mirrored, (3, 0, 1, 1.0), (3, 0, 1, 0.5), (4, 0, 1, 1.0), (4, 0, 1, 1.0)])
    assert sorted(edges.count) == [1, 2, 2]
    agreement, prompts = repeated_agreement(edges)
    assert (agreement.tolist(), prompts.tolist()) == ([1.0], [4])


def test_ties_and_soft_preferences_do_not_enter_the_exact_test() -> None:
    # Davidson: given that it is no tie, a wins over b as under Bradley-Terry.
    judged = [(1, a, b, float(k < 7)) for a, b in ((0, 1), (1, 2), (2, 0)) for k in range(10)]
    tied = [(1, a, b, 0.5) for a, b in ((0, 1), (1, 2)) for _ in range(8)]
    soft = [(2, a, b, 0.9) for a, b in ((0, 1), (1, 2), (2, 0)) for _ in range(10)]
    alone = exact_p_value(decided(edges_of(judged)))
    assert alone is not None
    assert exact_p_value(decided(edges_of(judged + tied + soft))) == alone
    assert exact_p_value(decided(edges_of(soft))) is None


def test_a_part_too_large_for_a_table_is_said() -> None:
    edges = edges_of([(1, at, at + 1, 1.0) for at in range(2_001)] + [(1, 0, 2, 1.0)])
    assert (triads(edges).ordered.sum(), triads(edges).left_out) == (0, 1)


def test_votes_of_any_number_are_taken() -> None:
    prompt, first, second = (np.array(one, dtype=np.uint64) for one in ([1, 1, 1], [0, 1, 2], [1, 2, 0]))
    for scale, expected in ((1e5, 0.05), (1e9, None), (1e30, None)):
        edges = aggregate(prompt, first, second, (np.full(3, 9 * scale), np.full(3, scale)))
        assert exact_p_value(decided(edges), draws=19) == expected
        assert np.abs(fit(edges)).max() < 1e-6
