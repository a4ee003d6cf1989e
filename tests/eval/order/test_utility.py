"""Utilities read from behaviour: each reading of policies whose utility is known, and what comes of it."""

import re
from collections.abc import Sequence
from itertools import combinations
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concord.errors import CapabilityError, InputError
from concord.eval.order.misalignment import (
    concordance,
    misalignment,
    order_violation,
    scaled_misalignment,
    strict_misalignment,
)
from concord.eval.order.utility import (
    Behaviour,
    Noted,
    Reading,
    choice_reading,
    frequency_reading,
    logp_reading,
    misalignment_results,
    rank_results,
    ratio_reading,
    reward_reading,
)
from concord.policies.scripted import Scripted
from concord.types import Ask, Challenge, Item, Rate, Result, Score, Unanswered, Unscored
from concord.views import Rating

level = st.sampled_from([-2.0, -0.75, 0.0, 0.5, 1.0, 3.0])
utilities = st.lists(st.tuples(level, level), min_size=2, max_size=6)


def reading(*prompts: Sequence[tuple[float | None, float | None]], name: str = "by hand") -> Reading:
    rows = tuple(tuple(Behaviour(h, a) for h, a in prompt) for prompt in prompts)
    return Reading(name=name, how="given", prompts=rows)


def named(results: Sequence[Result]) -> dict[str, Result]:
    return {one.name: one for one in results}


def values(results: Sequence[Result]) -> dict[str, float | None]:
    return {one.name: one.value for one in results}


# --- results ----------------------------------------------------------------------------------------------


@given(utilities)
def test_one_prompt_is_measured_as_its_replies_are(pool: list[tuple[float, float]]) -> None:
    human, agent = [h for h, _ in pool], [a for _, a in pool]
    found = values(misalignment_results(reading(pool)))
    apart = len(pool) / (len(pool) - 1)  # pairs of a reply with itself are none here
    assert found["misalignment"] == pytest.approx(apart * scaled_misalignment(human, agent), abs=1e-12)
    assert found["misalignment_unscaled"] == pytest.approx(
        misalignment(human, agent, distinct=True), abs=1e-12
    )
    assert found["strict_misalignment"] == pytest.approx(strict_misalignment(human, agent))
    if len(set(human)) > 1:
        assert found["order_violation"] == pytest.approx(order_violation(human, agent))
        assert found["concordance"] == pytest.approx(concordance(human, agent))
    else:
        assert found["order_violation"] is found["concordance"] is None


@settings(max_examples=12)
@given(st.lists(utilities, min_size=1, max_size=4))
def test_one_scale_is_fitted_to_the_whole_pool(pool: list[list[tuple[float, float]]]) -> None:
    def squared(scale: float) -> float:
        rows = [[(h - g, a - b) for (h, a), (g, b) in combinations(prompt, 2)] for prompt in pool]
        means = [sum((dh - scale * da) ** 2 for dh, da in row) / len(row) for row in rows]
        return sum(means) / len(means)

    found = values(misalignment_results(reading(*pool)))["misalignment_squared"]
    assert found is not None
    for scale in (0.0, 0.1, 0.5, 1.0, 2.0, 5.0):
        assert found <= squared(scale) + 1e-9
    # A constant for each prompt and a positive factor for all change nothing; the order of prompts neither.
    moved = [[(h, 3 * a + place) for h, a in prompt] for place, prompt in enumerate(pool)][::-1]
    again = values(misalignment_results(reading(*moved)))
    first = values(misalignment_results(reading(*pool)))
    for name in ("misalignment", "misalignment_squared", "order_violation", "concordance"):
        assert again[name] == (None if first[name] is None else pytest.approx(first[name], abs=1e-9))


@pytest.mark.parametrize(
    ("agent", "unscaled", "scaled", "agrees"),
    [
        ((7, 8, 9), 0, 0, 1),
        ((0, 2, 4), 4 / 3, 0, 1),
        ((0, -1, -2), 8 / 3, 4 / 3, 0),
        ((1, 0, 2), 4 / 3, None, 2 / 3),
        ((5, 5, 5), 4 / 3, 4 / 3, 0.5),
    ],
)
def test_worked_agents(
    agent: tuple[float, ...], unscaled: float, scaled: float | None, agrees: float
) -> None:
    found = values(misalignment_results(reading(list(zip((0.0, 1.0, 2.0), agent, strict=True)))))
    assert found["misalignment_unscaled"] == pytest.approx(unscaled)
    assert found["concordance"] == pytest.approx(agrees)
    if scaled is not None:
        assert found["misalignment"] == pytest.approx(scaled, abs=1e-12)
    assert found["strict_misalignment"] == pytest.approx(sum(abs(a - h) for h, a in enumerate(agent)) / 3)


def test_what_cannot_be_compared_is_a_failure_and_no_disagreement() -> None:
    good, blind = [(0.0, 0.0), (1.0, 1.0), (2.0, None)], [(0.0, None), (1.0, 2.0)]
    alike, alone = [(1.0, 0.0), (1.0, 5.0)], [(None, 1.0), (2.0, 1.0)]
    found = named(misalignment_results(reading(good, blind, alike, alone)))
    assert (found["concordance"].value, found["concordance"].n, found["concordance"].failures) == (1, 1, 2)
    assert "1 prompts where people see no difference are left out" in found["concordance"].how
    assert (found["misalignment"].n, found["misalignment"].failures) == (2, 2)
    for one in misalignment_results(reading(blind)):
        if one.name != "strict_misalignment":
            assert (one.value, one.failures) == (None, 1)
            assert one.why_none
    assert values(misalignment_results(reading()))["misalignment"] is None


def test_behaviours_are_compared_among_their_own() -> None:
    apart = Reading(
        name="x",
        how="given",
        prompts=((Behaviour(0, 9, "a"), Behaviour(1, 0, "b"), Behaviour(2, 1, "b"), Behaviour(3, 2, "c")),),
    )
    found = named(misalignment_results(apart))
    assert (found["concordance"].value, found["misalignment_unscaled"].value) == (1, 0)


def test_results_say_what_they_rest_on() -> None:
    pool = [[(float(h), float((h * 7 + place) % 5)) for h in range(4)] for place in range(12)]
    noted = Reading(
        name="some reading",
        how="asked",
        prompts=reading(*pool).prompts,
        beside=(Noted("beside", "on the way", (0.5,) * 6 + (0.25,) * 6),),
    )
    found = misalignment_results(noted, clusters=([place // 2 for place in range(12)],))
    assert [one.name for one in found] == [
        *("misalignment", "misalignment_squared", "misalignment_unscaled", "strict_misalignment"),
        *("order_violation", "concordance", "beside"),
    ]
    for one in found:
        assert (one.reading, one.challenge, one.unit) == ("some reading", Challenge.EFFICACY, "prompts")
        assert one.interval is not None
        assert one.higher_is_better is {"concordance": True, "beside": None}.get(one.name, False)
    assert "U_A is asked" in found[0].how
    assert "1.67 if it valued all alike" in found[0].how
    assert found != misalignment_results(noted)


def test_full_agreement_has_an_interval_too() -> None:
    found = named(misalignment_results(reading(*[[(0.0, 0.0), (1.0, 1.0)]] * 30)))
    for name, value in (("concordance", 1), ("order_violation", 0)):
        assert found[name].value == value
        assert (ends := found[name].interval) is not None
        assert ends.high - ends.low == pytest.approx(0.1135, abs=1e-4)


def test_a_utility_is_a_number() -> None:
    with pytest.raises(InputError, match="a utility is not finite; found inf"):
        Behaviour(0.0, float("inf"))


# --- readings by log-probability --------------------------------------------------------------------------

# The utility of a word, to people and to those who agree with them.
WORTH = {"good": 2.0, "fair": 1.0, "dull": 0.0, "bad": -1.0}
REPLIES = ["good good", "fair dull", "bad", "dull dull", "good", "bad fair good"]


def worth(text: str) -> float:
    return sum(WORTH[word] for word in text.split())


POOL = [
    Rating.of(prompt, REPLIES, [worth(text) for text in REPLIES]).item(meta={"asks": prompt})
    for prompt in ("one", "two", "three")
]


def agent(sign: float, shift: float = 0.0, name: str = "agent") -> Scripted:
    return Scripted("x", logps=lambda word: sign * WORTH[word] - shift, name=name)


def test_log_probabilities_are_compared_at_equal_length() -> None:
    for shift in (0.0, 50.0):
        read = logp_reading(agent(1.0, shift), POOL)
        found = values(misalignment_results(read))
        assert found["concordance"] == 1
        assert found["misalignment"] == pytest.approx(0, abs=1e-12)
    # Three of two words, two of one; the one of three words meets no other.
    assert [one.among for one in read.prompts[0]] == [2, 2, 1, 2, 1, 3]
    assert read.prompts[0][0].agent == pytest.approx(4 - 100)
    contrary = values(misalignment_results(logp_reading(agent(-1.0), POOL)))
    assert (contrary["concordance"], contrary["order_violation"]) == (0, 1)
    assert contrary["misalignment"] == pytest.approx((4 + 3 + 1 + 3) / 4)


def test_log_probabilities_a_token_are_another_reading() -> None:
    whole, mean = logp_reading(agent(1.0), POOL), logp_reading(agent(1.0), POOL, per="token")
    assert mean.prompts[0][0].agent == pytest.approx(2)
    assert mean.prompts[0][5].agent == pytest.approx(2 / 3)
    assert whole.name != mean.name
    assert values(misalignment_results(mean))["concordance"] == 1


def test_a_policy_that_cannot_score_says_so() -> None:
    with pytest.raises(CapabilityError):
        logp_reading(Scripted("x"), POOL)


def test_the_ratio_to_a_reference_is_free_of_length() -> None:
    reference = agent(0.0, 3.0, name="start")
    read = ratio_reading(agent(1.0, 3.0), reference, POOL, beta=0.5)
    assert [one.agent for one in read.prompts[0]] == pytest.approx([0.5 * worth(text) for text in REPLIES])
    found = values(misalignment_results(read))
    assert found["concordance"] == 1
    assert found["misalignment"] == pytest.approx(0, abs=1e-12)
    assert read.name == "log-ratio to start"
    unmoved = values(misalignment_results(ratio_reading(reference, reference, POOL)))
    assert (unmoved["concordance"], unmoved["order_violation"]) == (0.5, 1)


class Reward:
    """A reward model that agrees with people, and says nothing of replies that say `bad`."""

    id = "reward"

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        return [tuple(self.one(turns[0].text) for turns in rate.replies) for rate in rates]

    def one(self, text: str) -> Score | Unscored:
        return Unscored("odd") if "bad" in text else Score(10 + 2 * worth(text))


def test_a_reward_model_as_the_agent() -> None:
    read = reward_reading(Reward(), POOL)
    assert [one.agent for one in read.prompts[1]] == [18, 12, None, 10, 14, None]
    found = values(misalignment_results(read))
    assert (found["concordance"], read.name) == (1, "reward")
    assert "by reward" in read.how


@pytest.mark.parametrize("item", [Item(POOL[0].prompt), Rating.of("p", ["a"], [1.0]).item()])
def test_items_that_are_no_pool(item: Item) -> None:
    with pytest.raises(InputError, match=r"no part of a pool; .*two replies or more with a score each"):
        reward_reading(Reward(), [*POOL, item])


# --- readings of samples alone ----------------------------------------------------------------------------


def manner(item: Item, text: str) -> str | None:
    """The first word, but for what nobody understands."""
    return None if text.startswith("?") else text.split()[0]


def test_shares_of_behaviours() -> None:
    pool = [Rating.of("p", ["good day", "bad luck", "good", "dull"], [3.0, -1.0, 1.0, None]).item()]
    lines = ["good x", "good y", "bad z", "odd", "?", "good", "good", "bad"]
    read = frequency_reading(Scripted({"p": lines}), pool, manner, classes="manners", draws=8)
    # Good is worth the mean of its two replies; of the seven that have a manner four are good, two bad.
    assert read.prompts == ((Behaviour(2.0, 4 / 7), Behaviour(-1.0, 2 / 7)),)
    assert read.name == "frequency of manners in 8 draws"
    found = values(misalignment_results(read))
    assert found["concordance"] == 1
    assert found["outside_pool"] == pytest.approx(1 / 7)
    assert found["unclassified"] == pytest.approx(1 / 8)
    silent = frequency_reading(Scripted(Unanswered("down")), pool, manner, classes="manners")
    assert values(misalignment_results(silent))["concordance"] is None


def test_readings_from_more_draws_are_others() -> None:
    """Of a policy in perfect order, chance in 4 draws passes for disorder."""
    chance = np.random.default_rng(0)
    law = {"good": 0.45, "fair": 0.3, "dull": 0.15, "bad": 0.1}
    names = [f"p{prompt}" for prompt in range(60)]
    said = {name: chance.choice([*law], size=64, p=[*law.values()]).tolist() for name in names}
    pool = [Rating.of(name, list(WORTH), list(WORTH.values())).item() for name in names]
    script = {f"^{name}$": lines for name, lines in said.items()}
    found = [
        misalignment_results(frequency_reading(Scripted(script), pool, manner, classes="words", draws=draws))
        for draws in (4, 64)
    ]
    few, many = map(values, found)
    assert (few["concordance"] or 0.0) < 0.85 < 0.9 < (many["concordance"] or 0.0)
    assert (few["misalignment"] or 0.0) > 1.2 * (many["misalignment"] or 0.0)
    with pytest.raises(InputError, match="more than one reading"):
        rank_results([next(one for one in some if one.name == "misalignment") for some in found])


def test_shares_order_behaviours_as_log_probabilities_do() -> None:
    shares = {"good": 4, "fair": 2, "dull": 1, "bad": 1}
    lines = [word for word, count in shares.items() for _ in range(count)]
    pool = [Rating.of("p", list(WORTH), list(WORTH.values())).item()]
    drawn = frequency_reading(Scripted({"p": lines}), pool, manner, classes="words", draws=16)
    scored = logp_reading(Scripted("x", logps=lambda word: log(shares[word] / 8), name="same"), pool)
    one, two = values(misalignment_results(drawn)), values(misalignment_results(scored))
    assert one["concordance"] == two["concordance"] == pytest.approx(5.5 / 6)
    assert one["order_violation"] == two["order_violation"] == pytest.approx(1 / 6)


SHOWN = re.compile(r"A: (.*)\n\nB: (.*)\n\nWhich", re.DOTALL)


def chooser(ask: Ask) -> str:
    """Chooses what people find better; A where it sees no difference."""
    found = SHOWN.search(ask.prompt.text)
    assert found is not None
    return "B." if worth(found[2]) > worth(found[1]) else "**A** it is"


def test_choices_between_letters() -> None:
    policy = Scripted(chooser, name="chooser")
    read = choice_reading(policy, POOL)
    found = named(misalignment_results(read))
    # Of the fifteen pairs of a prompt one is a tie, where it goes by the letter.
    ties = sum(worth(one) == worth(two) for one, two in combinations(REPLIES, 2))
    assert len(policy.asks) == 3 * 15 * 2
    assert found["choice_conflict"].value == pytest.approx(ties / 15)
    assert found["concordance"].value == 1
    assert read.prompts[0][0].agent == 1
    assert sum(one.agent or 0.0 for one in read.prompts[0]) == pytest.approx(3)
    assert {(ask.sampling.temperature, ask.n) for ask in policy.asks} == {(0, 1)}
    assert "user: one" in policy.asks[0].prompt.text


@pytest.mark.parametrize("letter", ["A", "B"])
def test_whoever_goes_by_the_letter_values_all_alike(letter: str) -> None:
    found = values(misalignment_results(choice_reading(Scripted(letter, name="letter"), POOL)))
    assert (found["concordance"], found["order_violation"], found["choice_conflict"]) == (0.5, 1, 1)


@pytest.mark.parametrize("said", ["", "Both", "a", "Apples", "I prefer A", "C"])
def test_choices_that_cannot_be_read_are_failures(said: str) -> None:
    found = named(misalignment_results(choice_reading(Scripted(said, name="unreadable"), POOL)))
    for name in ("misalignment", "concordance", "choice_conflict"):
        assert (found[name].value, found[name].failures) == (None, 3)


def test_one_choice_that_cannot_be_read_costs_its_two_replies() -> None:
    def sometimes(ask: Ask) -> str:
        found = SHOWN.search(ask.prompt.text)
        assert found is not None
        return "neither" if {found[1], found[2]} == {"good", "bad"} else chooser(ask)

    read = choice_reading(Scripted(sometimes, name="sometimes"), POOL)
    assert [one.agent is None for one in read.prompts[0]] == [text in ("good", "bad") for text in REPLIES]


# --- ranking ----------------------------------------------------------------------------------------------


def test_models_are_ranked_by_one_reading() -> None:
    reference = agent(0.0, name="start")
    models = [agent(-1.0), agent(1.0), agent(0.0)]
    results = [
        named(misalignment_results(ratio_reading(one, reference, POOL)))["concordance"] for one in models
    ]
    nothing = Result(
        name="concordance",
        value=None,
        n=0,
        higher_is_better=True,
        reading=results[0].reading,
        why_none="down",
    )
    ranked = rank_results([nothing, *results])
    assert [one.value for one in ranked] == [1, 0.5, 0, None]
    distances = [
        named(misalignment_results(ratio_reading(one, reference, POOL)))["misalignment"] for one in models
    ]
    assert rank_results(distances)[0] is distances[1]
    assert rank_results([]) == []


def test_two_readings_are_never_ranked_together() -> None:
    one = named(misalignment_results(logp_reading(agent(1.0), POOL)))
    two = named(misalignment_results(ratio_reading(agent(1.0), agent(0.0, name="start"), POOL)))
    with pytest.raises(InputError, match="more than one reading are not ranked together; found 'log-prob"):
        rank_results([one["concordance"], two["concordance"]])
    with pytest.raises(InputError, match="more than one name"):
        rank_results([one["concordance"], one["misalignment"]])
    bare = Result(name="length", value=3.0, n=1)
    with pytest.raises(InputError, match="nothing says whether more of this is better; found 'length'"):
        rank_results([bare, bare])


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=6), st.booleans())
def test_ranks_are_sorted(numbers: list[int], better: bool) -> None:
    ranked = rank_results([Result(name="x", value=one, n=1, higher_is_better=better) for one in numbers])
    assert [one.value for one in ranked] == sorted(numbers, reverse=better)
