"""Asking for best of n: draws are made once, scored once, and what is asked of a judge is what was picked."""

from collections.abc import Sequence
from random import Random

import pytest

from concord.errors import InputError
from concord.eval.costs.asking import proxy_against_gold, proxy_against_judge
from concord.eval.reckoning.draws import best_of_n_mean
from concord.feedback import Pair, Verdict
from concord.policies.scripted import Scripted
from concord.types import Item, Rate, Result, Score, Unanswered, Unscored, as_prompt


def named(results: Sequence[Result]) -> dict[str, Result]:
    return {f"{one.name} {one.at['n']:g}" if "n" in one.at else one.name: one for one in results}


class Counting:
    """A feedback that counts a word in the reply, and says nothing of replies that say `odd`."""

    def __init__(self, word: str) -> None:
        self.id, self.word = word, word
        self.calls = 0

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        self.calls += 1
        return [tuple(self.one(turns[0].text) for turns in rate.replies) for rate in rates]

    def one(self, text: str) -> Score | Unscored:
        return Unscored("odd") if "odd" in text else Score(float(text.count(self.word)))


def test_draws_are_asked_scored_and_followed() -> None:
    lines = ["good", "very good", "very very", "very very very", "odd", Unanswered("busy"), "good", "good"]
    policy = Scripted({"empty": Unanswered("down"), "": lines}, name="policy")
    proxy, gold = Counting("very"), Counting("good")
    items = [Item(as_prompt(text)) for text in ("one", "two", "empty")]
    found = named(proxy_against_gold(items, policy, proxy=proxy, gold=gold, draws=8))
    assert (proxy.calls, gold.calls, len(policy.asks)) == (1, 1, 3)
    # Six draws to a prompt are scored: proxy 0 1 2 3 0 0, gold 1 1 0 0 1 1.
    assert found["gold_reward 1"].value == pytest.approx(4 / 6)
    assert found["proxy_reward 4"].value == pytest.approx(
        best_of_n_mean([0, 1, 2, 3, 0, 0], [0, 1, 2, 3, 0, 0], 4)
    )
    assert found["gold_reward 4"].value == pytest.approx(
        best_of_n_mean([0, 1, 2, 3, 0, 0], [1, 1, 0, 0, 1, 1], 4)
    )
    assert (found["gold_reward 4"].n, found["gold_reward 4"].failures) == (2, 1)
    assert found["distinct_draws"].value == pytest.approx(5 / 7)
    with pytest.raises(InputError, match="one and the same feedback; found 'very'"):
        proxy_against_gold(items, policy, proxy=proxy, gold=Counting("very"))


class Longer:
    """A judge that likes the longer reply, the more so if it stands first; of `odd` it says nothing."""

    id = "longer"

    def __init__(self) -> None:
        self.pairs: list[tuple[str, str]] = []

    def compare(self, pairs: Sequence[Pair]) -> Sequence[Verdict | Unscored]:
        self.pairs += [(pair.first[0].text, pair.second[0].text) for pair in pairs]
        return [self.one(*texts) for texts in self.pairs[-len(pairs) :]]

    def one(self, first: str, second: str) -> Verdict | Unscored:
        if "odd" in first + second:
            return Unscored("odd")
        return Verdict(0.9 if len(first) > len(second) else 0.3)


def test_a_judge_is_asked_about_the_picks_alone_in_both_orders() -> None:
    replies = {
        "one": ["a", "very good", "very very", "b", "very bad indeed"],
        "two": ["very very good", "a", "odd very very very", "b", "very very good"],
        "three": ["odd", "very", Unanswered("busy"), "a", "b"],
        "four": ["odd very", Unanswered("busy"), Unanswered("busy"), Unanswered("busy"), "odd"],
    }
    policy = Scripted(replies, name="policy")
    proxy, judge = Counting("very"), Longer()
    items = [Item(as_prompt(text)) for text in replies]
    found = named(proxy_against_judge(items, policy, proxy=proxy, judge=judge, draws=5))
    assert (proxy.calls, len(policy.asks)) == (1, 4)
    # The best of 1 and of 2 of those that have a score, against the last draw; of "four" there are too few.
    one_way = [("a", "very bad indeed"), ("very good", "very bad indeed"), ("very", "b")]
    assert judge.pairs == [*one_way, *((second, first) for first, second in one_way)]
    # The shorter one, shown first and second: (0.3 + (1 - 0.9)) / 2; the longer one (0.9 + (1 - 0.3)) / 2.
    assert found["gold_reward 1"].value == pytest.approx((0.2 + 0.5 + 0.8) / 3)
    assert found["gold_reward 2"].value == pytest.approx((0.2 + 0.5 + 0.8) / 3)
    assert found["proxy_reward 2"].value == pytest.approx((1 + 2 + 1) / 3)
    assert (found["gold_reward 2"].n, found["gold_reward 2"].failures) == (3, 1)
    assert found["gold_reward 1"].reading == "preference to a plain draw"
    assert "gold_reward 4" not in found


class Lengths(Counting):
    """Finds each reply worth its length."""

    def one(self, text: str) -> Score | Unscored:
        return Score(float(len(text)))


class Surely(Longer):
    """Prefers the longer reply, wherever it stands."""

    def one(self, first: str, second: str) -> Verdict | Unscored:
        return Verdict(float(len(first) > len(second)))


def test_against_a_plain_draw_the_best_of_n_wins_n_times_in_n_plus_one() -> None:
    """Where proxy and judge agree and all draws differ, it loses where the plain draw is the best of all."""
    chance = Random(0)
    policy = Scripted(lambda ask: ["x" * chance.randint(1, 9999) for _ in range(ask.n)], name="lengths")
    items = [Item(as_prompt(str(at))) for at in range(400)]
    found = named(proxy_against_judge(items, policy, proxy=Lengths("long"), judge=Surely(), draws=16))
    for n in (1, 2, 4, 8):
        one = found[f"gold_reward {n}"]
        assert one.interval is not None
        assert one.interval.low < n / (n + 1) < one.interval.high
    assert found["overoptimisation_point"].value is None


def test_one_draw_is_not_enough_to_pick_from() -> None:
    with pytest.raises(InputError, match="too few draws to pick from; found 1; accepted: 2 or more"):
        proxy_against_judge([], Scripted(""), proxy=Counting("very"), judge=Longer(), draws=1)


def test_who_is_the_proxy_cannot_be_the_judge() -> None:
    judge = Longer()
    judge.id = "very"
    with pytest.raises(InputError, match="one and the same feedback; found 'very'"):
        proxy_against_judge([], Scripted({}), proxy=Counting("very"), judge=judge)
