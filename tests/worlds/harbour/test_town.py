"""The town is a function of its seed, and keeps some things to itself."""

from collections import Counter
from itertools import pairwise

from concord.worlds.harbour.town import LAST_TOLD, RELATIONS, YEARS, Fact, drawn, keyed, town_of
from concord.worlds.harbour.words import PRACTICES, QUARTERS, SLOTS


def test_it_is_a_function_of_its_seed() -> None:
    again = town_of.__wrapped__(3)
    assert town_of(3).facts == again.facts
    assert town_of(3).told == again.told
    assert town_of(3).facts != town_of(4).facts


def test_every_relation_has_a_value_of_its_kind_for_every_subject() -> None:
    town = town_of(0)
    for relation, (subjects, values) in RELATIONS.items():
        for subject in SLOTS[subjects]:
            assert town.value(relation, subject) in SLOTS[values]


def test_some_facts_are_told_often_some_rarely_and_some_never() -> None:
    town = town_of(0)
    told = Counter(town.told[name] for name, fact in town.facts.items() if fact.relation != "norm")
    shares = {name: count / told.total() for name, count in told.items()}
    assert 0.5 < shares["often"] < 0.7
    assert 0.1 < shares["rarely"] < 0.25
    assert 0.15 < shares["never"] < 0.35
    assert town.known == {name for name, often in town.told.items() if often != "never"}


def test_a_ship_has_a_captain_of_its_own() -> None:
    captains = [town_of(0).value("captain", ship) for ship in SLOTS["ship"]]
    assert len({*captains}) == len(captains)


def test_customs_change_once_and_differ_by_quarter() -> None:
    town = town_of(0)
    courses = {
        (practice, quarter): [town.value("norm", f"{practice} {quarter} {year}") for year in YEARS]
        for practice in PRACTICES
        for quarter in QUARTERS
    }
    changes = {
        place: sum(one != other for one, other in pairwise(course)) for place, course in courses.items()
    }
    assert max(changes.values()) == 1
    assert sum(changes.values()) > len(courses) / 2
    for practice in PRACTICES:
        assert len({tuple(courses[practice, quarter]) for quarter in QUARTERS}) > 1


def test_late_years_are_told_by_nobody() -> None:
    town = town_of(0)
    for name, fact in town.facts.items():
        if fact.relation == "norm" and int(fact.subject[-1]) > LAST_TOLD:
            assert town.told[name] == "never"


def test_all_about_somebody() -> None:
    assert [fact.relation for fact in town_of(0).about("mara")] == ["home", "work", "pet"]
    assert Fact("home", "mara", "north").name == "home mara"


def test_each_purpose_has_its_own_chance() -> None:
    assert keyed("a", 1).random() == keyed("a", 1).random() != keyed("a", 2).random()
    assert 0 <= drawn("a") < 1
    numbers = [drawn("spread", count) for count in range(1000)]
    assert abs(sum(numbers) / 1000 - 0.5) < 0.05
