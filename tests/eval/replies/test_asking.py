"""Asking: one call each, and what did not come stays apart from what is worth nothing."""

from collections.abc import Sequence

import pytest

from concord.errors import InputError
from concord.eval.replies.asking import drawn, joined_labels, preferred, scored, scored_by_name
from concord.policies.scripted import Scripted
from concord.types import Item, Rate, Sampling, Score, Unanswered, Unscored, as_prompt, as_turns
from concord.views import Comparison, Demonstration, Rating

ITEMS = [Item(as_prompt(text), meta={"of": text}) for text in ("one", "two", "three")]


class Letters:
    """A feedback that counts letters, and says nothing of replies with a `?`."""

    def __init__(self, name: str = "letters") -> None:
        self.id = name
        self.calls: list[Sequence[Rate]] = []

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        self.calls.append(rates)
        return [tuple(self.one(turns[0].text) for turns in rate.replies) for rate in rates]

    def one(self, text: str) -> Score | Unscored:
        return Unscored("a question") if "?" in text else Score(float(len(text)))


def test_replies_that_did_not_come_are_not_there() -> None:
    policy = Scripted({"one": ["a", Unanswered("busy"), "b"], "two": Unanswered("down"), "three": "c"})
    assert drawn(policy, ITEMS, n=3, sampling=Sampling(max_tokens=5)) == [
        (as_turns("a"), as_turns("b")),
        (),
        (as_turns("c"),) * 3,
    ]
    assert [ask.n for ask in policy.asks] == [3, 3, 3]
    assert policy.asks[0].sampling.max_tokens == 5


def test_scores_stand_where_their_replies_stand() -> None:
    feedback = Letters()
    replies = [(as_turns("ab"), as_turns("a?")), (), (as_turns(""),)]
    assert scored(feedback, ITEMS, replies) == [(2.0, None), (), (0.0,)]
    assert [rate.meta["of"] for rate in feedback.calls[0]] == ["one", "three"]
    assert scored(feedback, ITEMS, [(), (), ()]) == [(), (), ()]
    assert len(feedback.calls) == 1


def test_named_sets_have_their_own_feedback() -> None:
    named = {"easy": ITEMS[:2], "hard": ITEMS[2:]}
    policy = Scripted({"one": "abc", "two": Unanswered("busy"), "three": "why?"})
    letters, other = Letters(), Letters("other")
    assert scored_by_name(named, policy, letters) == {"easy": [3.0, None], "hard": [None]}
    assert {ask.sampling.temperature for ask in policy.asks} == {0}
    scored_by_name(named, policy, {"easy": letters, "hard": other})
    assert [len(calls) for calls in other.calls] == [1]
    with pytest.raises(InputError, match=r"nothing scores the replies to some items; found hard; .*by name"):
        scored_by_name(named, policy, {"easy": letters})


def test_labels_of_several_sets_are_one_list() -> None:
    sizes = {"a": 2, "b": 1, "c": 2}
    clusters = {"a": (["x", "y"], ["p", "p"]), "c": (["x", "z"],)}
    assert joined_labels(sizes, clusters) == [
        ["x", "y", ("b", 0), "x", "z"],
        ["p", "p", ("b", 0), ("c", 0), ("c", 1)],
    ]
    assert joined_labels(sizes, {}) == []
    with pytest.raises(InputError, match="for a set that is not there; found 'd'; accepted: a, b, c"):
        joined_labels(sizes, {"d": ()})


def test_the_reply_that_people_prefer() -> None:
    one, other = as_turns("one"), as_turns("other")
    assert preferred(Demonstration.of("?", "one").item()) == (one, None)
    assert preferred(Comparison.of("?", "one", "other").item()) == (one, other)
    assert preferred(Comparison.of("?", "one", "other", preference=0.2).item()) == (other, one)
    assert preferred(Comparison.of("?", "one", "other", preference=0.5).item()) is None
    assert preferred(Rating.of("?", ["one", "other"], [1.0, 0.0]).item()) is None
