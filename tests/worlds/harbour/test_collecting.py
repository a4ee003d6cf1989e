"""Feedback that is collected: by people's tastes, the same every time, and such as can be learned from."""

from concord.types import Preference, Shown
from concord.worlds.harbour import Harbour, worth
from concord.worlds.harbour.collecting import comparisons, examples
from concord.worlds.harbour.people import candidate, population
from concord.worlds.raters import jury_odds

WORLD = Harbour(0)
PEOPLE = population(20, seed=0)
REQUESTS = WORLD.requests("train", each=3)


def test_examples_are_better_than_the_pool_and_worse_where_people_are_careless() -> None:
    def mean(temperature: float | None) -> float:
        made = list(examples(WORLD, REQUESTS, PEOPLE, temperature=temperature))
        assert len(made) == len(REQUESTS)
        assert all(item.utilities == Shown() for item in made)
        values = [
            worth(asked, item.replies[0][0].text).value for asked, item in zip(REQUESTS, made, strict=True)
        ]
        return sum(values) / len(values)

    careful, careless, blind = mean(0.0), mean(0.3), mean(100.0)
    assert careful > careless > blind


def test_they_follow_from_the_seed() -> None:
    first, again = (list(examples(WORLD, REQUESTS, PEOPLE, seed=4)) for _ in range(2))
    assert first == again
    assert first != list(examples(WORLD, REQUESTS, PEOPLE, seed=5))


def test_comparisons_have_the_votes_of_a_jury_and_no_reply_twice() -> None:
    asked = REQUESTS[0]
    texts = ["i do not know.", "i do not know.", "hello.", "", "<user>hello.", ": hello."]
    (item,) = comparisons([(asked, texts)], PEOPLE, pairs=5)
    assert sorted(reply[0].text for reply in item.replies) == ["hello.", "i do not know."]
    assert isinstance(item.utilities, Preference)
    assert item.utilities.votes is not None
    assert sum(item.utilities.votes) == 3
    assert not list(comparisons([(asked, ["hello."])], PEOPLE))


def test_juries_prefer_what_gold_prefers_more_often_than_not() -> None:
    replies = [(asked, ["i will not help with that.", _best(asked)]) for asked in REQUESTS]
    items = list(comparisons(replies, PEOPLE))
    right = 0
    for item in items:
        assert isinstance(item.utilities, Preference)
        refused = item.replies[0][0].text.startswith("i will not")
        right += (item.utilities.first < 0.5) == refused
    assert right / len(items) > 0.8


def test_comparisons_say_how_likely_their_verdicts_were_where_that_is_asked() -> None:
    replies = [(asked, ["i will not help with that.", _best(asked)]) for asked in REQUESTS[:6]]
    told = list(comparisons(replies, PEOPLE, odds=True))
    for item, plain, (asked, _) in zip(told, comparisons(replies, PEOPLE), replies, strict=True):
        assert (item.replies, item.utilities) == (plain.replies, plain.utilities)
        seen = [candidate(asked, reply[0].text, PEOPLE) for reply in item.replies]
        right = jury_odds([one.rater() for one in PEOPLE], 3, *seen)
        assert item.meta["odds"] == [right.first, right.tie, right.second]
        assert "odds" not in plain.meta


def _best(asked: object) -> str:
    from concord.worlds.harbour import Asked, keyed, speak

    assert isinstance(asked, Asked)
    return speak(asked, "good", keyed("test", asked.cell))
