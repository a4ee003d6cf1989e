"""What a feedback finds replies worth: by hand, and of a policy beside references and a base."""

from collections.abc import Sequence

import pytest

from concord.eval.order.reward import reward, reward_results
from concord.policies.scripted import Scripted
from concord.types import Item, Rate, Result, Score, Unanswered, Unscored, as_prompt
from concord.views import Comparison, Demonstration, Rating, Task


class ByLength:
    """A feedback that scores a reply by its number of words, and says nothing of one that says `odd`."""

    id = "words"

    def __init__(self) -> None:
        self.calls: list[Sequence[Rate]] = []

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        self.calls.append(rates)
        return [tuple(self.one(turns[0].text) for turns in rate.replies) for rate in rates]

    def one(self, text: str) -> Score | Unscored:
        return Unscored("odd") if "odd" in text else Score(float(len(text.split())))


def named(results: Sequence[Result]) -> dict[str, Result]:
    return {f"{one.name}{one.at.get('quantile', '')}": one for one in results}


def test_rewards_by_hand() -> None:
    found = named(
        reward_results(
            [1.0, 2.0, 3.0, None, 10.0],
            reference=[1.0, 5.0, None, 2.0, 3.0],
            before=[[0.0, 1.0, 2.0, None], [3.0], [None], [1.0], [4.0, 6.0]],
            judge="who",
        )
    )
    assert (found["reward"].value, found["reward"].failures) == (4, 1)
    assert found["reward_quantile0.5"].value == 2.5
    assert found["reward_quantile0.1"].value == pytest.approx(1.3)
    # A tie, a loss and a win; two that could not be compared.
    assert (found["reward_win_rate"].value, found["reward_win_rate"].failures) == (0.5, 2)
    # One below and one tie of three, none of one, both of two.
    assert found["reward_percentile"].value == pytest.approx((0.5 + 0 + 1) / 3)
    assert all("by who" in one.how for one in found.values())
    assert set(named(reward_results([1.0]))) == {
        *("reward", "reward_quantile0.1", "reward_quantile0.5", "reward_quantile0.9"),
    }


def test_percentiles_do_not_depend_on_the_scale_of_a_prompt() -> None:
    scores, before = [1.0, 2.0], [[0.0, 3.0], [1.0, 5.0, 1.5]]
    moved = [[10 * one - 7 for one in row] for row in before]
    one = named(reward_results(scores, before=before))
    two = named(reward_results([10 * score - 7 for score in scores], before=moved))
    assert (
        one["reward_percentile"].value == two["reward_percentile"].value == pytest.approx((1 / 2 + 2 / 3) / 2)
    )


def test_the_interval_of_a_percentile_stays_on_its_scale() -> None:
    before = [[0.0, 0.5, 0.95]] * 12
    for scores in ([1.0] * 11 + [0.2], [1.0] * 12, [0.6] + [-1.0] * 11):
        one = named(reward_results(scores, before=before))["reward_percentile"]
        assert one.interval is not None
        assert 0 <= one.interval.low <= (one.value or 0.0) <= one.interval.high <= 1
        assert one.interval.low < one.interval.high


def test_rewards_of_a_policy_beside_references_and_a_base() -> None:
    items = [
        Comparison.of("one", "three words here", "a").item(meta={"row": 1}),
        Demonstration.of("two", "word").item(),
        Rating.of("three", ["a b", "c"], [1.0, 0.0]).item(),
        Task.of("four").item(),
    ]
    script = {"one": "now four words here", "two": "word", "three": "odd", "four": Unanswered("busy")}
    base = Scripted({"one": ["a", "a b c d", "a b c d e"], "": "x"}, name="base")
    feedback = ByLength()
    found = named(reward(items, Scripted(script), feedback, base=base, draws=3))
    assert (found["reward"].value, found["reward"].failures) == (2.5, 2)
    assert (found["reward_win_rate"].value, found["reward_win_rate"].failures) == (0.75, 2)
    assert found["reward_percentile"].value == pytest.approx((0.5 + 0.5) / 2)
    assert len(feedback.calls) == 1
    assert [len(rate.replies) for rate in feedback.calls[0]] == [5, 5, 4, 3]
    assert feedback.calls[0][0].meta == {"row": 1}
    assert "reward_win_rate" not in named(reward(items[2:], Scripted(script), feedback))


def test_a_prompt_without_a_reply_is_not_rated() -> None:
    feedback = ByLength()
    items = [Item(as_prompt("four")), Item(as_prompt("five"))]
    found = named(reward(items, Scripted({"four": Unanswered("busy"), "five": "a b"}), feedback))
    assert (found["reward"].value, found["reward"].failures) == (2, 1)
    assert [len(rate.replies) for rate in feedback.calls[0]] == [1]
