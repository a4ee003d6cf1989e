"""Win rates: every pair of verdicts by hand, judges with planted faults, and what asks for them."""

from collections.abc import Callable, Sequence
from itertools import product

import pytest

from concord.errors import InputError
from concord.eval.order.winrate import (
    Judged,
    judge_both,
    judge_once,
    one_order_results,
    stands_second,
    win_rate,
    win_rate_results,
)
from concord.feedback.pairs import Pair, Verdict
from concord.policies.scripted import Scripted
from concord.types import Challenge, Item, Rate, Result, Score, Unanswered, Unscored, as_prompt, as_turns

PAIRS = [Pair.of(f"prompt {number}", f"one {number}", f"another {number}") for number in range(40)]


class Judge:
    """A judge whose preference is a function of the pair as it is shown; it keeps what it was shown."""

    id = "judge"

    def __init__(self, prefer: Callable[[Pair], float | None]) -> None:
        self.prefer = prefer
        self.calls: list[Sequence[Pair]] = []

    def compare(self, pairs: Sequence[Pair]) -> Sequence[Verdict | Unscored]:
        self.calls.append(pairs)
        said = [self.prefer(pair) for pair in pairs]
        return [Unscored("unreadable") if one is None else Verdict(one) for one in said]


class ByLength:
    """A feedback that scores a reply by its length, and says nothing of empty ones."""

    id = "length"

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        lengths = [[len(turns[0].text) for turns in rate.replies] for rate in rates]
        return [tuple(Score(one) if one else Unscored("empty") for one in row) for row in lengths]


def named(results: Sequence[Result]) -> dict[str, Result]:
    return {one.name: one for one in results}


def values(results: Sequence[Result]) -> dict[str, float | None]:
    return {one.name: one.value for one in results}


# --- the rules --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), list(product((0.0, 0.5, 1.0), repeat=2)))
def test_both_rules_of_each_pair_of_verdicts(first: float, second: float) -> None:
    found = values(win_rate_results([Judged(first, second)]))
    agreed = first if first == second else 0.5
    assert found == {
        "win_rate": agreed,
        "net_win_rate": 2 * agreed - 1,
        "win_rate_averaged": (first + second) / 2,
        "tie_rate": agreed == 0.5,
        "swap_conflict": first != second,
        # The first wins where ours is first and wins, and where ours is second and loses.
        "position_bias": (first + 1 - second) / 2 - 0.5,
    }


def test_soft_preferences_are_verdicts_by_their_side_of_one_half() -> None:
    judged = [Judged(0.9, 0.6), Judged(0.51, 0.49), Judged(0.2, 0.1), Judged(0.5, 0.5)]
    found = values(win_rate_results(judged))
    assert found["win_rate"] == pytest.approx((1 + 0.5 + 0 + 0.5) / 4)
    assert found["win_rate_averaged"] == pytest.approx((0.75 + 0.5 + 0.15 + 0.5) / 4)
    assert found["swap_conflict"] == 0.25
    assert found["tie_rate"] == 0.5


def test_verdicts_that_are_missing_are_failures_and_no_losses() -> None:
    judged = [Judged(1.0, 1.0), Judged(None, 1.0), Judged(1.0, None), Judged(None, None)]
    for one in win_rate_results(judged, judge="who"):
        assert (one.n, one.failures, one.unit) == (1, 3, "pairs")
        assert "by who" in one.how
    assert values(win_rate_results(judged))["win_rate"] == 1
    for one in win_rate_results([Judged(None, None)] * 3):
        assert (one.value, one.n, one.failures) == (None, 0, 3)
        assert one.why_none


def test_what_each_result_speaks_of() -> None:
    found = named(win_rate_results([Judged(1.0, 0.0), Judged(1.0, 1.0)] * 10))
    assert {name for name, one in found.items() if one.higher_is_better} == {
        *("win_rate", "net_win_rate", "win_rate_averaged"),
    }
    assert all((one.challenge is Challenge.EFFICACY) == bool(one.higher_is_better) for one in found.values())
    assert all(one.interval is not None for one in found.values())


def test_the_net_win_rate_has_the_interval_of_the_win_rate() -> None:
    found = named(win_rate_results([Judged(1.0, 1.0), Judged(0.0, 0.0), Judged(1.0, 0.0)] * 9))
    won, net = found["win_rate"].interval, found["net_win_rate"].interval
    assert won is not None
    assert net is not None
    assert (net.low, net.high) == pytest.approx((2 * won.low - 1, 2 * won.high - 1))


def test_clusters_widen_the_interval() -> None:
    judged = [Judged(won, won) for won in (1.0, 0.0) for _ in range(40)]
    alone = named(win_rate_results(judged))["win_rate"].interval
    shared = named(win_rate_results(judged, clusters=([place // 10 for place in range(80)],)))
    assert alone is not None
    assert (ends := shared["win_rate"].interval) is not None
    assert ends.high - ends.low > 2 * (alone.high - alone.low)


# --- judges with planted faults ---------------------------------------------------------------------------


@pytest.mark.parametrize(("shown_first", "bias"), [(1.0, 0.5), (0.0, -0.5)])
def test_a_judge_of_position_alone(shown_first: float, bias: float) -> None:
    found = values(win_rate_results(judge_both(PAIRS, Judge(lambda pair: shown_first))))
    assert (found["win_rate"], found["win_rate_averaged"]) == (0.5, 0.5)
    assert (found["swap_conflict"], found["position_bias"]) == (1, bias)


def test_a_judge_of_content_alone() -> None:
    judge = Judge(lambda pair: float(len(pair.first[0].text) > len(pair.second[0].text)))
    found = values(win_rate_results(judge_both(PAIRS, judge)))
    assert (found["win_rate"], found["swap_conflict"], found["position_bias"]) == (0, 0, 0)


@pytest.mark.parametrize("shown_first", [0.0, 0.3, 0.5, 0.8, 1.0])
def test_the_same_reply_wins_half_whatever_the_position_bias(shown_first: float) -> None:
    pairs = [Pair.of("prompt", "same", "same")] * 7
    found = values(win_rate_results(judge_both(pairs, Judge(lambda pair: shown_first))))
    assert found["win_rate"] == 0.5
    assert found["win_rate_averaged"] == pytest.approx(0.5)


def test_a_partial_position_bias_is_found() -> None:
    # Content decides, but where the prompt ends with 0 or 5 whatever stands first wins.
    def prefer(pair: Pair) -> float:
        leans = pair.prompt.text[-1] in "05"
        return 1.0 if leans else float(pair.first[0].text.startswith("one"))

    found = named(win_rate_results(judge_both(PAIRS, Judge(prefer))))
    assert found["position_bias"].value == pytest.approx(0.1)
    assert found["swap_conflict"].value == pytest.approx(0.2)
    assert found["win_rate"].value == pytest.approx(0.9)
    assert (ends := found["position_bias"].interval) is not None
    assert ends.low > 0


def test_both_orders_are_asked_in_one_call() -> None:
    judge = Judge(lambda pair: 1.0)
    judge_both(PAIRS, judge)
    assert len(judge.calls) == 1
    assert judge.calls[0] == [*PAIRS, *(pair.swapped for pair in PAIRS)]


def test_a_feedback_prefers_what_it_scores_higher() -> None:
    pairs = [Pair.of("p", "long one", "short"), Pair.of("p", "same", "size"), Pair.of("p", "x", "")]
    assert judge_both(pairs, ByLength()) == [Judged(1.0, 1.0), Judged(0.5, 0.5), Judged(None, None)]


# --- one order --------------------------------------------------------------------------------------------


def test_the_order_follows_from_the_two_replies_and_not_from_who_is_first() -> None:
    def shown(pair: Pair, seed: int = 0) -> tuple[str, str]:
        turned = pair.swapped if stands_second(pair, seed=seed) else pair
        return turned.first[0].text, turned.second[0].text

    assert [shown(pair) for pair in PAIRS] == [shown(pair.swapped) for pair in PAIRS]
    turned = sum(stands_second(pair) for pair in PAIRS)
    # Of 40 fair coins, fewer than 5 or more than 35 heads have a chance below 1e-6.
    assert 5 <= turned <= 35
    assert [shown(pair, seed=1) for pair in PAIRS] != [shown(pair) for pair in PAIRS]


def test_switching_is_undone() -> None:
    share = {pair.prompt.text: place / 40 for place, pair in enumerate(PAIRS)}

    def prefer(pair: Pair) -> float | None:
        ours = share[pair.prompt.text]
        if pair.prompt.text == "prompt 3":
            return None
        return ours if pair.first[0].text.startswith("one") else 1 - ours

    wanted = [None if place == 3 else place / 40 for place in range(40)]
    for seed in range(3):
        assert judge_once(PAIRS, Judge(prefer), seed=seed) == pytest.approx(wanted)


def test_one_order_by_preference_and_by_verdict() -> None:
    found = values(one_order_results([0.9, 0.4, 0.5, None]))
    assert found == {"win_rate_averaged": pytest.approx(0.6), "win_rate": pytest.approx(0.5)}
    judge = Judge(lambda pair: 1.0)
    biased = one_order_results(judge_once(PAIRS, judge), judge=judge.id)
    # A judge of position alone has no preference between models, but is as unsure as a coin.
    assert biased[0].interval is not None
    assert biased[0].interval.low < 0.5 < biased[0].interval.high


# --- asking -----------------------------------------------------------------------------------------------

ITEMS = [
    Item(as_prompt("first"), (as_turns("given here"),), meta={"row": 1}),
    Item(as_prompt("second"), (as_turns("given"),), meta={"row": 2}),
    Item(as_prompt("third"), (as_turns("given"),), meta={"row": 3}),
]


def test_a_policy_against_a_baseline() -> None:
    ours = Scripted({"first": "the longer one", "second": Unanswered("busy"), "third": "x"}, name="ours")
    theirs = Scripted("medium", name="theirs")
    judge = Judge(lambda pair: float(len(pair.first[0].text) > len(pair.second[0].text)))
    found = named(win_rate(ITEMS, ours, judge, baseline=theirs))
    assert (found["win_rate"].value, found["win_rate"].n, found["win_rate"].failures) == (0.5, 2, 1)
    assert len(ours.asks) == len(theirs.asks) == 3
    assert len(judge.calls[0]) == 4
    assert [pair.meta["row"] for pair in judge.calls[0][:2]] == [1, 3]


def test_a_policy_against_the_given_replies() -> None:
    found = named(win_rate(ITEMS, Scripted("seven letters", name="ours"), ByLength()))
    assert found["win_rate"].value == 1
    assert "by length" in found["win_rate"].how


def test_no_reply_to_compare_with_is_an_error() -> None:
    with pytest.raises(
        InputError, match=r"no reply that ours could be compared with; found nothing; .*baseline"
    ):
        win_rate([Item(as_prompt("bare"))], Scripted("x"), ByLength())


def test_a_policy_that_answers_nothing() -> None:
    found = win_rate(ITEMS, Scripted(Unanswered("down"), name="ours"), Judge(lambda pair: 1.0))
    assert all((one.value, one.failures) == (None, 3) for one in found)
