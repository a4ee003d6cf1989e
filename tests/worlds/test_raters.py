"""Raters: odds in closed form, what is drawn against them, biases one by one, and every kind of item."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import astuple, replace
from itertools import combinations, permutations, product
from math import exp, nan, sqrt
from random import Random
from statistics import fmean, mean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord import wire
from concord.errors import InputError
from concord.types import Item, Label, Message, Origin, Prompt, StepLabels, as_prompt
from concord.views import (
    Comparison,
    Demonstration,
    Dialogue,
    Judgement,
    Ranking,
    Rating,
    SegmentComparison,
    Steps,
    Task,
    Trajectory,
    to_comparisons,
    view,
)
from concord.worlds.raters import (
    CUTS,
    Biases,
    Candidate,
    Odds,
    Rater,
    bayes_rate,
    comparison,
    demonstration,
    drawn_pairs,
    expected_accuracy,
    judgement,
    jury_odds,
    mean_odds,
    ranking,
    rating,
    segment_comparison,
    steps,
    trajectory,
    vote_odds,
)

DRAWS = 2000
TURNS = (
    Message("assistant", "which ferry?"),
    Message("user", "the red one"),
    Message("assistant", "at sea."),
)
TASK = Task.of("where is the ferry?").item(meta={"cell": "where/ferry"}, origin=Origin("asked.jsonl", 3))

gaps = st.floats(-3, 3)
widths = st.floats(0, 1)
temperatures = st.floats(0.05, 2)


def worth(value: float, text: str = "at the pier.", **features: float) -> Candidate:
    """A reply of one part."""
    return Candidate.of(text, {"worth": value}, features)


def rater(name: str = "ada", **knobs: Any) -> Rater:
    """One to whom replies are worth just that."""
    return Rater(name, {"worth": 1.0}, **knobs)


def near(share: float, chance: float, draws: int = DRAWS) -> bool:
    """Whether a share of draws is within four standard errors of its chance."""
    return abs(share - chance) <= 4 * sqrt(chance * (1 - chance) / draws) + 1e-12


def dense(count: int) -> Iterator[tuple[int, ...]]:
    """All ways to rank so many replies, ties included."""
    for ranks in product(range(1, count + 1), repeat=count):
        if {*ranks} == {*range(1, max(ranks) + 1)}:
            yield ranks


def verdicts(who: Rater, first: Candidate, second: Candidate) -> Counter[float]:
    """Preferences under many seeds."""
    made = (view(comparison(TASK, first, second, [who], seed=seed)) for seed in range(DRAWS))
    return Counter(one.preference for one in made if isinstance(one, Comparison))


# --- odds -------------------------------------------------------------------------------------------------


def test_odds_without_ties_are_those_of_bradley_and_terry() -> None:
    found = rater(temperature=0.5).odds(worth(0.9), worth(0.4))
    assert found.first == pytest.approx(1 / (1 + exp(-1)))
    assert found.tie == 0
    assert found.first + found.second == pytest.approx(1)
    assert found.preference == found.first


@given(gaps, widths, temperatures)
def test_ties_are_those_of_rao_and_kupper(gap: float, width: float, temperature: float) -> None:
    found = rater(temperature=temperature, indifference=width).odds(worth(gap), worth(0))
    p1, p2, theta = exp(gap / temperature), 1.0, exp(width / temperature)
    assert found.first == pytest.approx(p1 / (p1 + theta * p2))
    assert found.second == pytest.approx(p2 / (p2 + theta * p1))
    tie = p1 * p2 * (theta**2 - 1) / ((p1 + theta * p2) * (p2 + theta * p1))
    assert found.tie == pytest.approx(tie, abs=1e-12)


@given(gaps, widths, temperatures, st.floats(0, 1), st.floats(-1, 1))
def test_odds_are_probabilities(
    gap: float, width: float, temperature: float, laziness: float, position: float
) -> None:
    who = rater(
        temperature=temperature,
        indifference=width,
        biases=Biases(laziness=laziness, position=position),
    )
    found = who.odds(worth(gap), worth(0))
    assert min(found.first, found.tie, found.second) >= 0
    assert found.first + found.tie + found.second == pytest.approx(1)
    unmoved = replace(who, biases=replace(who.biases, position=0))
    turned = unmoved.odds(worth(0), worth(gap)).swapped
    assert turned == unmoved.odds(worth(gap), worth(0))


def test_without_noise_the_better_wins_and_small_differences_tie() -> None:
    sure = rater(temperature=0, indifference=0.1)
    assert sure.odds(worth(0.7), worth(0.5)) == Odds(1, 0, 0)
    assert sure.odds(worth(0.5), worth(0.55)) == Odds(0, 1, 0)
    assert rater(temperature=0).odds(worth(0.5), worth(0.5)) == Odds(0, 1, 0)
    assert rater(temperature=0).odds(worth(1), worth(0)) == Odds(1, 0, 0)


def test_odds_stay_finite_far_out() -> None:
    who = rater(temperature=1e-4, indifference=1e-3)
    assert who.odds(worth(50), worth(-50)) == Odds(1, 0, 0)
    assert who.odds(worth(-50), worth(50)) == Odds(0, 0, 1)
    assert who.ranking_probability([worth(50), worth(0), worth(-50)], (1, 2, 3)) == pytest.approx(1)


def test_a_taste_is_weights_or_a_function() -> None:
    reply = Candidate.of("at the pier.", {"honest": 0.5, "brief": 1.0})
    assert Rater("a", {"honest": 2.0, "brief": -1.0}).utility(reply) == 0.0
    assert Rater("b", lambda parts: max(parts.values())).utility(reply) == 1.0


# --- what is drawn, against the odds ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "who",
    [
        rater(temperature=0.3),
        rater(temperature=0.2, indifference=0.15),
        rater(temperature=0.2, indifference=0.1, biases=Biases(position=0.2, laziness=0.3)),
    ],
)
def test_verdicts_come_as_often_as_their_odds_say(who: Rater) -> None:
    first, second = worth(0.6, "at the pier."), worth(0.5, "at sea.")
    odds, found = who.odds(first, second), verdicts(who, first, second)
    for preference, chance in ((1.0, odds.first), (0.5, odds.tie), (0.0, odds.second)):
        assert near(found[preference] / DRAWS, chance)


@pytest.mark.parametrize("biases", [Biases(), Biases(position=0.1, laziness=0.4)])
def test_ranks_come_as_often_as_their_probability_says(biases: Biases) -> None:
    who = rater(temperature=0.3, indifference=0.12, biases=biases)
    shown = [worth(0.6), worth(0.5), worth(0.2)]
    chances = {ranks: who.ranking_probability(shown, ranks) for ranks in dense(3)}
    assert sum(chances.values()) == pytest.approx(1)
    drawn = Random(0)
    found = Counter(tuple(who.ranks(shown, drawn)) for _ in range(DRAWS))
    for ranks, chance in chances.items():
        assert near(found[ranks] / DRAWS, chance), ranks


@given(gaps, gaps, st.floats(0, 0.5), temperatures)
def test_of_two_replies_ranks_and_verdicts_are_one(
    first: float, second: float, width: float, temperature: float
) -> None:
    who = rater(temperature=temperature, indifference=width, biases=Biases(position=0.1, laziness=0.2))
    odds = who.odds(worth(first), worth(second))
    for ranks, chance in (((1, 2), odds.first), ((1, 1), odds.tie), ((2, 1), odds.second)):
        found = who.ranking_probability([worth(first), worth(second)], ranks)
        assert found == pytest.approx(chance, abs=1e-9)


def test_orders_without_ties_are_those_of_plackett_and_luce() -> None:
    who, values = rater(temperature=0.5), [0.9, 0.1, 0.4, 0.6]
    for order in permutations(range(4)):
        rates = [exp(values[place] / 0.5) for place in order]
        expected = 1.0
        for start in range(4):
            expected *= rates[start] / sum(rates[start:])
        ranks = [order.index(place) + 1 for place in range(4)]
        assert who.ranking_probability([*map(worth, values)], ranks) == pytest.approx(expected)


def test_four_replies_with_ties_are_ranked_somehow() -> None:
    who = rater(temperature=0.2, indifference=0.3)
    shown = [worth(0.9), worth(0.1), worth(0.4), worth(0.6)]
    assert sum(who.ranking_probability(shown, ranks) for ranks in dense(4)) == pytest.approx(1)


def test_without_noise_there_is_one_ranking() -> None:
    shown = [worth(0.2), worth(0.9), worth(0.25)]
    sure = rater(temperature=0, indifference=0.1)
    assert sure.ranks(shown, Random(0)) == [2, 1, 2]
    assert [sure.ranking_probability(shown, ranks) for ranks in ((2, 1, 2), (3, 1, 2))] == [1, 0]


def test_the_best_is_picked_by_softmax() -> None:
    shown = [worth(0.9), worth(0.5)]
    assert rater(temperature=0.4).choices(shown)[0] == pytest.approx(1 / (1 + exp(-1)))
    assert rater(temperature=0).choices([*shown, worth(0.9)]) == [0.5, 0, 0.5]
    who, drawn = rater(temperature=0.4, biases=Biases(laziness=0.5)), Random(1)
    chance = who.choices(shown)[0]
    assert chance == pytest.approx(0.25 + 0.5 / (1 + exp(-1)))
    assert near(mean(who.pick(shown, drawn) == 0 for _ in range(DRAWS)), chance)


def test_grades_come_as_often_as_their_probability_says() -> None:
    who = rater(temperature=0.1, biases=Biases(laziness=0.4))
    chances = who.grades(worth(0.55))
    assert len(chances) == len(CUTS) + 1
    assert sum(chances) == pytest.approx(1)
    drawn = Random(2)
    found = Counter(who.score(worth(0.55), drawn, CUTS) for _ in range(DRAWS))
    for grade, chance in enumerate(chances, 1):
        assert near(found[grade] / DRAWS, chance)
    assert rater(temperature=0).grades(worth(0.6)) == [0, 0, 1, 0, 0]
    assert rater(temperature=0).score(worth(0.6), Random(0), CUTS) == 3


def test_a_score_without_cuts_is_the_utility_and_noise() -> None:
    assert rater(temperature=0).score(worth(0.37), Random(0)) == 0.37
    who, drawn = rater(temperature=0.1), Random(3)
    scores = [who.score(worth(0.37), drawn) for _ in range(DRAWS)]
    assert mean(scores) == pytest.approx(0.37, abs=0.02)
    assert near(mean(score > 0.5 for score in scores), who.likes(worth(0.37)))


def test_a_reply_alone_is_held_against_the_bar() -> None:
    who = rater(temperature=0.1, bar=0.4)
    assert who.likes(worth(0.5)) == pytest.approx(1 / (1 + exp(-1)))
    labels = [view(judgement(TASK, worth(0.5), [who], seed=seed)) for seed in range(DRAWS)]
    assert near(mean(isinstance(one, Judgement) and one.desirable for one in labels), who.likes(worth(0.5)))


# --- biases, one by one -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("biases", "swayed", "by"),
    [
        (Biases(length=0.01), worth(0.5, "it is at the old pier, my friend."), 0.05),
        (Biases(flattery=0.2), worth(0.5, flatters=1.0), 0.2),
        (Biases(confidence=0.3), worth(0.5, sure=0.5), 0.15),
        (Biases(keyword="Pier", repetition=0.1), worth(0.5, "the pier, the pier!"), 0.1),
        (Biases(keyword="pier", repetition=0.1), worth(0.5, "the piers"), -0.1),
    ],
)
def test_a_bias_adds_what_it_says(biases: Biases, swayed: Candidate, by: float) -> None:
    who, plain = rater(biases=biases), worth(0.5)
    assert who.utility(swayed) == who.utility(plain)
    assert who.seen(swayed) - who.seen(plain) == pytest.approx(by)
    moved = rater().odds_at(by).first
    assert who.odds(swayed, plain).first == pytest.approx(moved)


def test_the_first_place_helps_whoever_has_it() -> None:
    who = rater(biases=Biases(position=0.1))
    assert who.odds(worth(0.5), worth(0.5)).first == pytest.approx(1 / (1 + exp(-1)))
    assert who.choices([worth(0.5)] * 3)[0] > who.choices([worth(0.5)] * 3)[1]
    assert who.likes(worth(0.5)) == 0.5


def test_one_who_does_not_look_tosses_a_coin() -> None:
    blind = rater(temperature=0, indifference=1, biases=Biases(laziness=1))
    assert blind.odds(worth(1), worth(0)) == Odds(0.5, 0, 0.5)
    assert blind.likes(worth(1)) == 0.5
    assert blind.grades(worth(1)) == [0.2] * 5
    assert blind.choices([worth(1), worth(0)]) == [0.5, 0.5]
    assert blind.ranking_probability([worth(1), worth(0), worth(0)], (3, 1, 2)) == 1 / 6


def test_words_are_what_the_assistant_says() -> None:
    turns = [
        Message("assistant", "which one?"),
        Message("user", "the red one"),
        Message("assistant", "here."),
    ]
    assert Candidate.of(turns, {}).text == "which one?\nhere."
    assert Biases(length=1).sway(Candidate.of(turns, {})) == 3


# --- items ------------------------------------------------------------------------------------------------

LINES = ("at the pier.", "at sea.", "i do not know.", "ask the keeper.")
POOL = [worth(value, text) for value, text in zip((0.9, 0.2, 0.5, 0.6), LINES, strict=True)]
PANEL = [
    rater("ada", temperature=0.5),
    rater("bo", temperature=0.5, indifference=0.1),
    rater("cy", temperature=0.5, biases=Biases(position=0.1)),
]
TURNS = [
    Message("assistant", "which ferry?"),
    Message("user", "the red one"),
    Message("assistant", "at sea."),
]
MADE: list[tuple[type, Callable[[int], Item]]] = [
    (Demonstration, lambda seed: demonstration(TASK, POOL, PANEL, seed=seed)),
    (Dialogue, lambda seed: demonstration(TASK, [Candidate.of(TURNS, {"worth": 1})], PANEL, seed=seed)),
    (Comparison, lambda seed: comparison(TASK, POOL[2], POOL[3], PANEL, seed=seed)),
    (SegmentComparison, lambda seed: segment_comparison(TASK, POOL[:2], POOL[2:], PANEL, seed=seed)),
    (Ranking, lambda seed: ranking(TASK, POOL, PANEL, seed=seed)),
    (Judgement, lambda seed: judgement(TASK, POOL[2], PANEL, seed=seed)),
    (Rating, lambda seed: rating(TASK, POOL, PANEL, seed=seed)),
    (Steps, lambda seed: steps(TASK, POOL, PANEL, seed=seed)),
    (Trajectory, lambda seed: trajectory(TASK, POOL, PANEL, seed=seed)),
]


@pytest.mark.parametrize(("kind", "made"), MADE, ids=lambda one: getattr(one, "__name__", ""))
def test_every_kind_of_item_is_made(kind: type, made: Callable[[int], Item]) -> None:
    item = made(7)
    assert isinstance(view(item), kind)
    assert item.prompt == TASK.prompt
    assert item.origin == TASK.origin
    assert item.meta["cell"] == "where/ferry"
    rated = item.meta["rated"]
    assert isinstance(rated, dict)
    assert rated["seed"] == 7
    by = rated["by"]
    assert isinstance(by, list)
    assert all(name in [one.name for one in PANEL] for name in by)
    assert wire.loads(Item, wire.dumps(item)) == item


@pytest.mark.parametrize(("kind", "made"), MADE, ids=lambda one: getattr(one, "__name__", ""))
def test_what_is_said_depends_on_the_seed_and_on_nothing_else(
    kind: type, made: Callable[[int], Item]
) -> None:
    once = [made(seed) for seed in range(12)]
    again = [made(seed) for seed in reversed(range(12))][::-1]
    assert once == again
    assert len({repr(item.utilities) + repr(item.replies) for item in once}) > (kind is not Dialogue)


def test_what_one_says_does_not_depend_on_who_else_is_asked() -> None:
    alone = [view(comparison(TASK, POOL[2], POOL[3], [one], seed=0)) for one in PANEL]
    together = view(comparison(TASK, POOL[2], POOL[3], PANEL, seed=0))
    assert isinstance(together, Comparison)
    assert together.votes == tuple(
        sum(isinstance(one, Comparison) and one.preference == share for one in alone) for share in (1, 0.5, 0)
    )


def test_other_prompts_replies_orders_and_names_are_other_draws() -> None:
    even = rater(temperature=0.1)
    a, b, c = worth(0.5, "a"), worth(0.5, "b"), worth(0.5, "c")

    def said(who: Rater, first: Candidate, second: Candidate, task: Item = TASK) -> list[float]:
        made = [view(comparison(task, first, second, [who], seed=seed)) for seed in range(64)]
        return [one.preference for one in made if isinstance(one, Comparison)]

    other = Task.of("where is the tug?").item()
    rows = [said(even, a, b), said(even, a, c), said(even, b, a), said(rater("bo"), a, b)]
    rows.append(said(even, a, b, other))
    for at, row in enumerate(rows):
        assert 16 < sum(row) < 48
        assert row not in rows[:at]


def test_votes_and_soft_preferences() -> None:
    first, second = POOL[0], POOL[2]
    voted = view(comparison(TASK, first, second, PANEL, seed=1))
    assert isinstance(voted, Comparison)
    assert voted.votes is not None
    assert sum(voted.votes) == 3
    assert voted.preference == (voted.votes[0] + voted.votes[1] / 2) / 3
    soft = view(comparison(TASK, first, second, PANEL, seed=1, soft=True))
    assert isinstance(soft, Comparison)
    assert soft.votes is None
    assert soft.preference == pytest.approx(mean(who.odds(first, second).preference for who in PANEL))


def test_ranks_of_a_panel_are_by_mean_rank() -> None:
    sure = Rater("ada", {"worth": 1.0}, temperature=0)
    contrary = Rater("bo", {"worth": -1.0}, temperature=0)
    one = view(ranking(TASK, POOL, [sure], seed=0))
    assert isinstance(one, Ranking)
    assert one.ranks == (1, 4, 3, 2)
    both = ranking(TASK, POOL, [sure, contrary], seed=0)
    assert both.utilities == replace(one, ranks=(1, 1, 1, 1)).item().utilities
    pairs = to_comparisons(one.item()).items
    assert len(pairs) == 6


def test_ratings_are_mean_grades_with_aspects() -> None:
    shown = [Candidate.of(text, {"warm": warm, "brief": 1.0}) for text, warm in (("a", 0.1), ("b", 0.9))]
    warm, brief = (Rater(name, {name: 1.0}, temperature=0) for name in ("warm", "brief"))
    graded = view(rating(TASK, shown, [warm, brief], seed=0, aspects=["warm"]))
    assert isinstance(graded, Rating)
    assert graded.scores == (3.0, 5.0)
    assert graded.aspects == {"warm": (1.0, 5.0)}
    numbers = view(rating(TASK, shown, [warm], seed=0, cuts=()))
    assert isinstance(numbers, Rating)
    assert numbers.scores == (0.1, 0.9)


def test_steps_are_labelled_by_the_share_that_likes_them() -> None:
    lenient = rater("ada", temperature=0, bar=0.3)
    strict = rater("bo", temperature=0, bar=0.8)
    seen = view(steps(TASK, POOL, [lenient, strict], seed=0))
    assert isinstance(seen, Steps)
    assert seen.labels == (1.0, 0.0, 0.5, 0.5)
    assert "".join(turn.text for turn in seen.reply) == "".join(LINES)


def test_a_step_is_judged_after_those_before_it() -> None:
    even, last = rater(temperature=0.5), worth(0.5, " so it is 4.")

    def labels(before: str) -> list[float | None]:
        made = [steps(TASK, [worth(0.5, before), last], [even], seed=seed).utilities for seed in range(64)]
        return [one.labels[1] for one in made if isinstance(one, StepLabels)]

    assert 16 < sum(label == 1 for label in labels("2.")) < 48
    assert labels("2.") != labels("3.")


def test_half_of_the_votes_make_nothing_desirable() -> None:
    sides = [rater("ada", temperature=0, bar=0.3), rater("bo", temperature=0, bar=0.8)]
    split = judgement(TASK, worth(0.5), sides, seed=0)
    assert split.utilities == Label(desirable=False)
    assert split.meta["rated"] == {"by": ["ada", "bo"], "seed": 0, "votes": [1, 1]}
    assert judgement(TASK, worth(0.5), sides[:1], seed=0).utilities == Label(desirable=True)


def test_an_act_earns_at_its_last_word() -> None:
    acts = [Candidate.of([*TURNS, Message("user", "thanks")], {"worth": 0.7}), worth(0.2)]
    found = view(trajectory(TASK, acts, [rater(temperature=0)], seed=0))
    assert isinstance(found, Trajectory)
    assert found.rewards == (None, None, 0.7, None, 0.2)
    assert found.total == pytest.approx(0.9)


def test_segments_are_worth_their_sum() -> None:
    who = rater(temperature=0.5)
    shares = [view(segment_comparison(TASK, POOL[:2], POOL[2:], [who], seed=seed)) for seed in range(DRAWS)]
    chance = who.odds_at(1.1 - 1.1).preference
    share = mean(one.preference for one in shares if isinstance(one, SegmentComparison))
    assert near(share, chance)
    sure = view(segment_comparison(TASK, POOL[:1], POOL[1:3], [rater(temperature=0)], seed=0))
    assert isinstance(sure, SegmentComparison)
    assert sure.preference == 1
    assert sure.second == (*POOL[1].reply, *POOL[2].reply)


def test_pairs_are_different_and_in_no_order() -> None:
    pool = [*POOL, worth(0.1, LINES[0])]
    every = drawn_pairs(TASK, pool, 99, seed=0)
    assert len(every) == 9
    assert len({frozenset((a.text, b.text)) for a, b in every}) == 6
    assert drawn_pairs(TASK, pool, 4, seed=0) == every[:4]
    firsts = Counter(a.text for seed in range(400) for a, _ in drawn_pairs(TASK, POOL[:2], 1, seed=seed))
    assert near(firsts[LINES[0]] / 400, 0.5, 400)


# --- what can be known beforehand -------------------------------------------------------------------------


def test_bayes_rate_in_closed_form() -> None:
    assert bayes_rate([Odds(0.8, 0, 0.2)]) == 0.8
    assert bayes_rate([Odds(0.1, 0, 0.9), Odds(0.6, 0, 0.4)]) == pytest.approx(0.75)
    # Ties are left out: of 1.5 verdicts, .5 + .6 are foretold.
    assert bayes_rate([Odds(0.5, 0.5, 0), Odds(0.6, 0, 0.4)]) == pytest.approx(1.1 / 1.5)
    assert bayes_rate([Odds(0.5, 0, 0.5)]) == 0.5


def test_nobody_foretells_more_than_the_bayes_rate() -> None:
    who = rater(temperature=0.2, indifference=0.05, biases=Biases(length=0.02, laziness=0.1))
    pairs = [drawn_pairs(TASK, POOL, 9, seed=seed)[0] for seed in range(400)]
    odds = [who.odds(*pair) for pair in pairs]
    truth = [who.utility(a) - who.utility(b) for a, b in pairs]
    best = bayes_rate(odds)
    assert expected_accuracy(odds, truth) <= best
    assert expected_accuracy(odds, [-gap for gap in truth]) == pytest.approx(
        1 - expected_accuracy(odds, truth)
    )
    assert expected_accuracy(odds, [0] * len(odds)) == pytest.approx(0.5)
    # In draws: the share of verdicts foretold by who is the likelier.
    told = right = 0
    for seed, ((a, b), one) in enumerate(zip(pairs, odds, strict=True)):
        made = view(comparison(TASK, a, b, [who], seed=seed))
        assert isinstance(made, Comparison)
        told += not made.tie
        right += not made.tie and (made.preference > 0.5) == (one.first > one.second)
    assert near(right / told, best, told)


def test_odds_of_a_panel() -> None:
    a, b = POOL[0], POOL[2]
    given = [who.odds(a, b) for who in PANEL]
    blind = mean_odds(PANEL, a, b)
    assert blind.first == pytest.approx(mean(one.first for one in given))
    assert mean_odds(PANEL[:1], a, b) == given[0]
    either = mean_odds(PANEL, a, b, either_way=True)
    back = mean_odds(PANEL, b, a, either_way=True)
    assert (either.first, either.second) == pytest.approx((back.second, back.first))
    assert either.first < blind.first


def test_odds_of_a_vote_are_those_of_all_ways_to_vote() -> None:
    a, b = POOL[0], POOL[2]
    sums = {1: 0.0, 0: 0.0, -1: 0.0}
    for way in product((1, 0, -1), repeat=3):
        chance = 1.0
        for who, said in zip(PANEL, way, strict=True):
            odds = who.odds(a, b)
            chance *= {1: odds.first, 0: odds.tie, -1: odds.second}[said]
        sums[(sum(way) > 0) - (sum(way) < 0)] += chance
    found = vote_odds(PANEL, a, b)
    assert (found.first, found.tie, found.second) == pytest.approx((sums[1], sums[0], sums[-1]))


def test_the_odds_of_an_unknown_jury_are_the_mean_over_all_juries_and_both_orders() -> None:
    panel = [
        rater("ada", temperature=0.2),
        rater("ben", temperature=0.5, indifference=0.1, biases=Biases(position=0.3)),
        rater("cara", temperature=0.1, biases=Biases(length=0.05, laziness=0.2)),
        rater("dan", temperature=1.0, indifference=0.4),
    ]
    a, b = worth(0.4, "by the pier, i think."), worth(0.6)
    for size in (1, 2, 3, 4):
        juries = [*combinations(panel, size)]
        shown = [astuple(vote_odds(jury, a, b)) for jury in juries]
        turned = [astuple(vote_odds(jury, b, a).swapped) for jury in juries]
        right = [fmean(values) for values in zip(*shown, *turned, strict=True)]
        assert astuple(jury_odds(panel, size, a, b)) == pytest.approx(right, abs=1e-12)
    assert astuple(jury_odds(panel, 1, a, b)) == pytest.approx(
        astuple(mean_odds(panel, a, b, either_way=True)), abs=1e-12
    )


# --- what is refused --------------------------------------------------------------------------------------


def test_what_cannot_be_rated_is_refused() -> None:
    a, b = POOL[:2]
    rated = comparison(TASK, a, b, PANEL, seed=0)
    refusals: list[tuple[str, Callable[[], object]]] = [
        ("has replies already", lambda: ranking(rated, POOL, PANEL, seed=0)),
        ("was rated before", lambda: ranking(Item(TASK.prompt, meta=rated.meta), POOL, PANEL, seed=0)),
        ("nobody rates", lambda: ranking(TASK, POOL, [], seed=0)),
        ("nobody rates", lambda: mean_odds([], a, b)),
        ("no such jury; found 9", lambda: jury_odds(PANEL, 9, a, b)),
        ("no such jury; found 0", lambda: jury_odds(PANEL, 0, a, b)),
        ("two raters have one name; found 'ada'", lambda: vote_odds([rater(), rater()], a, b)),
        ("held against itself", lambda: comparison(TASK, a, worth(0.1, a.text), PANEL, seed=0)),
        ("nothing to rate", lambda: demonstration(TASK, [], PANEL, seed=0)),
        ("has no steps", lambda: steps(TASK, [], PANEL, seed=0)),
        ("nobody acts", lambda: trajectory(TASK, [Candidate.of(TURNS[1], {"worth": 1})], PANEL, seed=0)),
        ("no such part; found 'worht'.* 'worth'", lambda: Rater("x", {"worht": 1}).utility(a)),
        ("no such part; found 'kind'", lambda: rating(TASK, POOL, PANEL, seed=0, aspects=["kind"])),
        ("grades do not follow one another", lambda: rater().grades(a, (0.4, 0.2))),
        ("grades do not follow one another", lambda: rating(TASK, POOL, PANEL, seed=0, cuts=(0.4, 0.4))),
        ("is no number", lambda: Rater("x", lambda _: nan).utility(a)),
        ("temperature of rater x is out of range; found -1", lambda: Rater("x", {}, temperature=-1)),
        ("indifference of rater x is out of range", lambda: Rater("x", {}, indifference=nan)),
        ("bar of rater x is no number", lambda: Rater("x", {}, bar=nan)),
        ("bias length is not a number", lambda: Biases(length=nan)),
        ("laziness is a share", lambda: Biases(laziness=1.5)),
        ("a word is wanted, but not which", lambda: Biases(repetition=0.1)),
        ("these are no ranks", lambda: rater().ranking_probability(POOL, (1, 2, 4, 4))),
        ("these are no ranks", lambda: rater().ranking_probability(POOL, (1, 2))),
        ("none but ties", lambda: bayes_rate([Odds(0, 1, 0)])),
        ("none but ties", lambda: bayes_rate([])),
        ("margins differ in number", lambda: expected_accuracy([Odds(1, 0, 0)], [])),
    ]
    for message, refused in refusals:
        with pytest.raises(InputError, match=message):
            refused()


def test_prompts_are_told_apart_by_all_that_is_in_them() -> None:
    even, pair = rater(temperature=1), (worth(0.5, "a"), worth(0.5, "b"))
    prompts = [as_prompt("hi"), Prompt((Message("system", "be brief."), *as_prompt("hi").messages))]
    said = [
        [comparison(Item(prompt), *pair, [even], seed=seed).utilities for seed in range(64)]
        for prompt in prompts
    ]
    assert said[0] != said[1]
