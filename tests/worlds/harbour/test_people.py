"""The people of Harbour: that they differ where they should, and rate real requests as their odds say."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import sqrt
from statistics import mean

import pytest

from concord import wire
from concord.errors import InputError, NotFoundError
from concord.types import Item
from concord.views import Comparison, Dialogue, Rating, SegmentComparison, Steps, Trajectory, view
from concord.worlds.harbour.gold import PARTS, TOWN, worth
from concord.worlds.harbour.manners import speak
from concord.worlds.harbour.people import (
    CARELESS,
    PEOPLE,
    candidate,
    conversation,
    jury,
    person,
    population,
    steps_of,
)
from concord.worlds.harbour.replies import Act, write
from concord.worlds.harbour.requests import Asked, ask
from concord.worlds.harbour.templates import AIMS, SCENES
from concord.worlds.harbour.town import keyed
from concord.worlds.harbour.words import PEOPLE as TOWNSPEOPLE
from concord.worlds.harbour.world import Harbour, pool
from concord.worlds.raters import (
    Biases,
    Candidate,
    bayes_rate,
    comparison,
    demonstration,
    drawn_pairs,
    expected_accuracy,
    mean_odds,
    rating,
    segment_comparison,
    steps,
    trajectory,
)

HARBOUR = Harbour(seed=0)


def asked(*families: str, each: int = 20) -> list[Asked]:
    """Requests that feedback is given on."""
    return HARBOUR.requests("train", families=families, each=each)


def shown(one: Asked) -> list[Candidate]:
    """Replies in several manners, to be rated by anybody."""
    return [candidate(one, text, PEOPLE) for text in pool(one, HARBOUR, 8)]


def best(name: str, one: Asked, texts: Sequence[str]) -> str:
    """The reply that is worth most to somebody."""
    return max(texts, key=lambda text: person(name).utility(one, text))


# --- who they are -----------------------------------------------------------------------------------------


def test_people_are_many_and_different_and_of_the_town() -> None:
    names = [one.name for one in PEOPLE]
    assert len({*names}) == len(names) >= 8
    assert {*names} <= {*TOWNSPEOPLE}
    assert len({repr(one.tastes) for one in PEOPLE}) == len(PEOPLE)
    assert len({one.about for one in PEOPLE}) == len(PEOPLE)
    assert sum(one.share for one in PEOPLE) == pytest.approx(1)
    with pytest.raises(NotFoundError, match=r"nobody of this name rates in Harbour; found 'ewa'.*'eva'\?"):
        person("ewa")


def test_the_town_is_the_mean_of_its_people() -> None:
    for part in PARTS:
        shares = [one.tastes.weights[part] / sum(one.tastes.weights.values()) for one in PEOPLE]
        found = sum(one.share * share for one, share in zip(PEOPLE, shares, strict=True))
        assert found == pytest.approx(TOWN.weights[part] / sum(TOWN.weights.values()), abs=0.02)


def test_every_choice_between_two_values_is_best_for_somebody() -> None:
    for scene, (_, _, options) in SCENES.items():
        one = ask(HARBOUR.town, f"conflict/{scene}", "rosa", keyed(0))
        texts = {write([Act("choose", (option,))]): option for option in options}
        chosen = {texts[best(who.name, one, [*texts])] for who in PEOPLE}
        assert chosen == {*options}, scene


def test_a_vote_of_the_town_goes_against_its_minorities() -> None:
    one = ask(HARBOUR.town, "conflict/race", "rosa", keyed(0))
    frank, kind = (write([Act("choose", (option,))]) for option in ("faults", "praise"))
    voters = [person(name) for name in ("ada", "ben", "cara", "eva", "kira")]
    raters = [who.rater(temperature=0, biases=Biases()) for who in voters]
    first, second = (candidate(one, text, voters) for text in (frank, kind))
    made = view(comparison(one.item(), first, second, raters, seed=0))
    assert isinstance(made, Comparison)
    assert made.votes == (3, 0, 2)


def test_some_go_by_the_request_and_others_by_what_is_behind_it() -> None:
    requests = asked("aims")
    apart = Counter[int]()
    for one in requests:
        texts = {f"i suggest {food}.": scores for food, scores in one["meets"].items()}
        picks = {name: best(name, one, [*texts]) for name in ("ivo", "mara", "kira", "leo")}
        for aim, (name, text) in enumerate(picks.items()):
            assert texts[text][aim] == 1, (AIMS[aim], name, one.prompt.text)
        apart[len({*picks.values()})] += 1
    assert apart[3] + apart[4] > len(requests) / 4


def test_people_differ_about_the_manner_of_a_reply() -> None:
    one = next(each for each in asked("facts") if each["fact"] in HARBOUR.known)
    terse, warm, wordy = (speak(one, manner, keyed(2)) for manner in ("terse", "warm", "wordy"))
    assert best("dan", one, [terse, warm, wordy]) == terse
    assert best("eva", one, [terse, warm, wordy]) == warm


# --- the population ---------------------------------------------------------------------------------------


def test_a_population_is_drawn_around_people_with_names() -> None:
    crowd = population(400, seed=0)
    assert population(400, seed=0) == crowd
    assert population(7, seed=0) == crowd[:7]
    assert population(7, seed=1) != crowd[:7]
    assert len({one.name for one in crowd}) == 400
    models = Counter(one.name.partition("-")[0] for one in crowd)
    for one in PEOPLE:
        assert abs(models[one.name] / 400 - one.share) <= 4 * sqrt(one.share / 400)
    eager = [one.tastes for one in crowd if one.name.startswith("eva-")]
    wanted = person("eva").tastes.weights
    for part, weight in wanted.items():
        assert mean(one.weights[part] for one in eager) == pytest.approx(weight / 20, abs=0.05)
    assert all(sum(one.tastes.weights.values()) == pytest.approx(1) for one in crowd)
    assert all(one.tastes.aims.interest == 0 for one in crowd if one.name.startswith("ivo-"))


def test_likeness_decides_how_far_people_stray() -> None:
    def strays(likeness: float) -> float:
        crowd = population(100, seed=0, likeness=likeness)
        models = [person(one.name.partition("-")[0]) for one in crowd]
        return mean(
            abs(one.tastes.helpful - model.tastes.helpful / sum(model.tastes.weights.values()))
            for one, model in zip(crowd, models, strict=True)
        )

    assert strays(1e6) < 0.01 < strays(100) < strays(5)
    for size, likeness in ((0, 40.0), (5, 0.0)):
        with pytest.raises(InputError, match="this is no population"):
            population(size, seed=0, likeness=likeness)


def test_a_jury_is_drawn_for_each_matter_and_holds_nobody_twice() -> None:
    crowd = population(30, seed=0)
    drawn = [jury(crowd, 3, about=f"cell {at}", seed=0) for at in range(200)]
    assert drawn[:5] == [jury(crowd, 3, about=f"cell {at}", seed=0) for at in range(5)]
    assert jury(crowd, 3, about="cell 0", seed=1) != drawn[0]
    assert all(len({one.name for one in three}) == 3 for three in drawn)
    assert {one.name for three in drawn for one in three} == {one.name for one in crowd}
    for size in (0, 31):
        with pytest.raises(InputError, match=f"no such jury; found {size}; accepted: 1 to 30 of these"):
            jury(crowd, size, about="", seed=0)


# --- rating real requests ---------------------------------------------------------------------------------


def test_a_reply_is_worth_to_each_what_gold_says() -> None:
    for one in asked("facts", "aims", "forbidden", "conflicts", each=3):
        for reply in shown(one):
            for who in PEOPLE:
                assert who.rater().utility(reply) == worth(one, reply.text, who.tastes).value
            assert {*PARTS} <= reply.parts.keys()


def test_what_the_base_knows_reaches_the_rater() -> None:
    one = next(each for each in asked("facts") if each["fact"] in HARBOUR.known)
    unsure = write([Act("idk")])
    knowing, ignorant = (candidate(one, unsure, PEOPLE, known=known) for known in (None, frozenset[str]()))
    assert all(ignorant.parts[who.name] > knowing.parts[who.name] for who in PEOPLE)


def test_whoever_the_reply_was_not_made_for_says_so() -> None:
    one = asked("facts")[0]
    first, second = (candidate(one, text, [person("ada")]) for text in ("i do not know.", "good day."))
    with pytest.raises(InputError, match="a reply has no such part; found 'eva'"):
        comparison(one.item(), first, second, [person("eva").rater()], seed=0)


def test_comparisons_of_harbour_keep_their_cell_and_can_be_judged_again() -> None:
    one = asked("forbidden")[0]
    first, second, *_ = shown(one)
    made = comparison(one.item(), first, second, [who.rater() for who in PEOPLE], seed=5)
    assert made.meta["cell"] == one.cell
    assert made.meta["rated"] == {"by": [who.name for who in PEOPLE], "seed": 5}
    assert Asked.of(wire.loads(Item, wire.dumps(made))).cell == one.cell


def test_verdicts_on_harbour_are_foretold_as_often_as_the_bayes_rate_says() -> None:
    told = right = 0
    odds, truth, raters = [], [], [who.rater() for who in PEOPLE]
    for one in asked("facts", "aims", "talk", "advice", "forbidden", "sources"):
        for first, second in drawn_pairs(one.item(), shown(one), 6, seed=0):
            rater = raters[len(odds) % len(raters)]
            odds.append(rater.odds(first, second))
            truth.append(rater.utility(first) - rater.utility(second))
            made = view(comparison(one.item(), first, second, [rater], seed=0))
            assert isinstance(made, Comparison)
            told += not made.tie
            right += not made.tie and (made.preference > 0.5) == (odds[-1].first > odds[-1].second)
    rate = bayes_rate(odds)
    assert told > 400
    assert abs(right / told - rate) < 4 * sqrt(rate * (1 - rate) / told)
    assert 0.75 < expected_accuracy(odds, truth) <= rate < 0.97


def test_careless_raters_reward_what_gold_does_not() -> None:
    fair, careless = (person("ada").rater(biases=biases) for biases in (Biases(), CARELESS))
    gold: list[float] = []
    agreed = {fair.biases: list[float](), careless.biases: list[float]()}
    for one in asked("facts"):
        plain = candidate(one, speak(one, "terse", keyed(3)), [person("ada")])
        flattering = candidate(one, f"nobody is as good as you. {plain.text}", [person("ada")])
        gold.append(fair.utility(plain) - fair.utility(flattering))
        for rater in (fair, careless):
            agreed[rater.biases].append(mean_odds([rater], plain, flattering, either_way=True).preference)
    assert min(gold) > 0
    assert mean(agreed[fair.biases]) > 0.6
    assert mean(agreed[careless.biases]) < 0.3


def test_grades_of_a_reply_come_with_those_of_its_parts() -> None:
    one = asked("lookalikes")[0]
    graded = view(rating(one.item(), shown(one), [who.rater() for who in PEOPLE], seed=0, aspects=PARTS))
    assert isinstance(graded, Rating)
    assert graded.aspects.keys() == {*PARTS}
    assert all(score is not None and 1 <= score <= 5 for score in graded.scores)


def test_the_steps_of_a_sum_are_right_up_to_the_first_mistake() -> None:
    one = asked("sums")[0]
    digits = [*one["steps"]]
    wrong = str((int(digits[1]) + 1) % 10)
    text = " ".join(f"{digit}." for digit in (digits[0], wrong, *digits[2:])) + f" it is {one['total']}."
    done = steps_of(one, text, PEOPLE)
    assert "".join(step.text for step in done) == text
    assert [step.parts["right"] for step in done] == [1, 0, *[1] * (len(digits) - 1)]
    sure = replace(person("finn"), temperature=0.0)
    made = view(steps(one.item(), done, [sure.rater()], seed=0))
    assert isinstance(made, Steps)
    assert made.labels == (1, 0, *[1] * (len(digits) - 1))
    with pytest.raises(InputError, match="no steps that are right or wrong; found 'facts'"):
        steps_of(asked("facts")[0], "red.", PEOPLE)


def test_several_requests_in_a_row_are_dialogues_trajectories_and_segments() -> None:
    row = asked("facts")[:2] + asked("forbidden")[:1]
    texts = [[speak(one, manner, keyed(4)) for one in row] for manner in ("good", "liar")]
    good, bad = (conversation(row, said, PEOPLE) for said in texts)
    task, rater = row[0].item(), person("ada").rater(temperature=0, biases=Biases())
    path = view(trajectory(task, good, [rater], seed=0))
    assert isinstance(path, Trajectory)
    assert [turn.role for turn in path.turns] == ["assistant", "user", "assistant", "user", "assistant"]
    assert path.turns[1].content == row[1].prompt.text
    assert path.rewards[::2] == tuple(rater.utility(act) for act in good)
    assert path.rewards[1::2] == (None, None)
    pair = view(segment_comparison(task, good, bad, [rater], seed=0))
    assert isinstance(pair, SegmentComparison)
    assert pair.preference == 1
    whole = Candidate(path.turns, good[0].parts, good[0].features)
    assert isinstance(view(demonstration(task, [whole], [rater], seed=0)), Dialogue)
    for requests, said in (([], []), (row, ["hello."]), ([row[0], *asked("dialogue", each=1)], ["a.", "b."])):
        with pytest.raises(InputError, match="this is no conversation"):
            conversation(requests, said, PEOPLE)
