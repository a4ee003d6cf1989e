"""Pairs, verdicts, and a feedback as a judge of pairs."""

from collections.abc import Sequence

import pytest

from concord.errors import InputError
from concord.feedback import ByScore, Pair, PairJudge, Verdict
from concord.types import Feedback, Rate, Score, Unscored, Usage, as_turns


class Words:
    """Worth as many as there are words; nothing to say of an empty reply."""

    id = "words"

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        return [tuple(self.score(turns[0].text) for turns in rate.replies) for rate in rates]

    def score(self, text: str) -> Score | Unscored:
        cost = Usage(calls=1)
        return Score(len(text.split()), usage=cost) if text else Unscored("it is empty", usage=cost)


def test_a_feedback_compares() -> None:
    judge = ByScore(Words())
    assert isinstance(judge, PairJudge)
    assert isinstance(judge.feedback, Feedback)
    assert judge.id == "words"
    pairs = [Pair.of("q", "a b", "c"), Pair.of("q", "a", "b c"), Pair.of("q", "a b", "c d")]
    assert judge.compare(pairs) == [
        Verdict(1.0, "2 against 1", Usage(calls=2)),
        Verdict(0.0, "1 against 2", Usage(calls=2)),
        Verdict(0.5, "2 against 2", Usage(calls=2)),
    ]
    assert judge.compare([]) == []


def test_what_cannot_be_scored_is_not_compared() -> None:
    assert ByScore(Words()).compare([Pair.of("q", "", "a"), Pair.of("q", "", "")]) == [
        Unscored("it is empty", usage=Usage(calls=2)),
        Unscored("it is empty", usage=Usage(calls=2)),
    ]


def test_swapped_is_the_same_the_other_way_round() -> None:
    pair = Pair.of("q", "a", "b", meta={"x": 1})
    assert (pair.swapped.first, pair.swapped.second) == (as_turns("b"), as_turns("a"))
    assert pair.swapped.swapped == pair
    verdict = Verdict(0.75, "so", parts={"shown first": 1.0, "shown second": 0.5}, principles=("truth",))
    assert verdict.swapped == Verdict(
        0.25, "so", parts={"shown first": 0.0, "shown second": 0.5}, principles=("truth",)
    )
    assert verdict.swapped.swapped == verdict


@pytest.mark.parametrize("preference", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_preference_is_a_probability(preference: float) -> None:
    with pytest.raises(InputError, match=r"0 to 1; 0\.5 for a tie; to do: give Unscored"):
        Verdict(preference)
