"""Win rates: how often a judge prefers our replies to those of a baseline.

    win_rate(items, policy, judge)    asks, judges each pair in both orders, and reckons
    judge_both, judge_once            pairs in, preferences for our reply out
    win_rate_results                  preferences of both orders in, results out
    one_order_results                 the same of one order, for half of the price

A judge that favours whatever stands first is told apart from one that favours a reply only by being asked
twice, so that is what is done: with s1 and s2 the verdicts for our reply when it stands first and second,

    consistent rule   win or loss where s1 = s2, a tie otherwise
    averaged rule     (s1 + s2) / 2
    win rate          (wins + ties / 2) / N;   net win rate (wins - losses) / N
    conflict rate     P(s1 != s2);   position bias  P(the first wins) - 1/2, ties counting one half

A verdict that cannot be read is a failure, never a loss.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypedDict

from concord.errors import NOTHING, InputError, explain
from concord.eval.reckoning import Labels, outcome_result
from concord.eval.replies import drawn
from concord.feedback.pairs import ByScore, Pair, PairJudge
from concord.types import Challenge, Feedback, Item, Policy, Result, Sampling, Turns, Unscored

__all__ = [
    "Judged",
    "judge_both",
    "judge_once",
    "one_order_results",
    "stands_second",
    "win_rate",
    "win_rate_results",
]


@dataclass(frozen=True, slots=True)
class Judged:
    """How far a judge prefers our reply to another, 0 to 1: with ours shown first, and shown second.

    None stands for a verdict that could not be had.
    """

    first: float | None
    second: float | None

    @property
    def mean(self) -> float | None:
        """The preference in the mean of both orders; None where a verdict is missing."""
        return None if self.first is None or self.second is None else (self.first + self.second) / 2

    @property
    def outcomes(self) -> tuple[float, float] | None:
        """Win, tie or loss (1, 0.5, 0) in either order; None where a verdict is missing."""
        if self.first is None or self.second is None:
            return None
        return _outcome(self.first), _outcome(self.second)


def _outcome(preference: float) -> float:
    return 0.5 + ((preference > 0.5) - (preference < 0.5)) / 2


# --- asking -----------------------------------------------------------------------------------------------


def win_rate(
    items: Sequence[Item],
    policy: Policy,
    judge: PairJudge | Feedback,
    *,
    baseline: Policy | None = None,
    sampling: Sampling | None = None,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
) -> list[Result]:
    """How often the policy's replies are preferred to a baseline's, each pair judged in both orders.

    baseline: whose replies ours are held against; without one, against the first reply of each item
    judge: a judge of pairs; a feedback prefers the reply that it scores higher
    """
    ours = drawn(policy, items, sampling=sampling)
    theirs = drawn(baseline, items, sampling=sampling) if baseline else _given(items)
    both = zip(items, ours, theirs, strict=True)
    pairs = [Pair(item.prompt, a[0], b[0], item.meta) if a and b else None for item, a, b in both]
    judged = iter(judge_both([pair for pair in pairs if pair], judge))
    rows = [next(judged) if pair else Judged(None, None) for pair in pairs]
    return win_rate_results(rows, judge=judge.id, clusters=clusters, seed=seed)


def judge_both(pairs: Sequence[Pair], judge: PairJudge | Feedback) -> list[Judged]:
    """Judge each pair as it stands and swapped; the preferences are those for `Pair.first`."""
    asked = [*pairs, *(pair.swapped for pair in pairs)]
    said = _preferences(asked, judge)
    swapped = [None if one is None else 1 - one for one in said[len(pairs) :]]
    return [Judged(*both) for both in zip(said[: len(pairs)], swapped, strict=True)]


def judge_once(pairs: Sequence[Pair], judge: PairJudge | Feedback, *, seed: int = 0) -> list[float | None]:
    """Judge each pair in one order only, which its texts decide (`stands_second`): preferences for the first.

    Half as dear. A position bias still costs precision, and only evens out over many pairs.
    """
    turned = [stands_second(pair, seed=seed) for pair in pairs]
    asked = [pair.swapped if turn else pair for pair, turn in zip(pairs, turned, strict=True)]
    said = zip(_preferences(asked, judge), turned, strict=True)
    return [1 - one if turn and one is not None else one for one, turn in said]


def stands_second(pair: Pair, *, seed: int = 0) -> bool:
    """Whether `judge_once` shows the first reply second, by a keyed hash of the two texts and the prompt.

    It does not depend on which of the two is called first: the same two replies are always shown in one
    order, whoever is compared with whom.
    """
    texts = [repr(pair.first), repr(pair.second)]
    digest = hashlib.sha256(repr((seed, repr(pair.prompt), sorted(texts))).encode()).digest()
    return bool(digest[0] & 1) == (texts[0] <= texts[1])


def _preferences(pairs: Sequence[Pair], judge: PairJudge | Feedback) -> list[float | None]:
    judge = judge if isinstance(judge, PairJudge) else ByScore(judge)
    said = judge.compare(pairs) if pairs else ()
    return [None if isinstance(one, Unscored) else one.preference for one in said]


def _given(items: Sequence[Item]) -> list[tuple[Turns, ...]]:
    """The first reply of each item."""
    if bare := [item for item in items if not item.replies]:
        where = f"{bare[0].origin}: " if bare[0].origin else ""
        accepted, do = "items with a reply, or a baseline", "give baseline=..., whose replies to win against"
        wrong = "an item has no reply that ours could be compared with"
        raise InputError(where + explain(wrong, found=NOTHING, accepted=accepted, do=do))
    return [item.replies[:1] for item in items]


# --- reckoning --------------------------------------------------------------------------------------------


class _About(TypedDict, total=False):
    challenge: Challenge
    higher_is_better: bool


_BETTER: _About = {"challenge": Challenge.EFFICACY, "higher_is_better": True}
_JUDGE: _About = {"challenge": Challenge.OVERSIGHT}
_MEAN = "mean preference for our reply"


def win_rate_results(
    judged: Sequence[Judged], *, judge: str = "", clusters: Sequence[Labels] = (), seed: int = 0
) -> list[Result]:
    """Win rates by both rules, ties, the net win rate, and how far the judge can be relied on.

    judge: its id, which each result tells in how it was got
    """
    by = f", judged in both orders{_by(judge)}"
    drawn = partial(outcome_result, clusters=clusters, seed=seed, unit="pairs")
    outcomes = [one.outcomes for one in judged]
    agreed = [both and (both[0] if both[0] == both[1] else 0.5) for both in outcomes]
    ties = [one if one is None else float(one == 0.5) for one in agreed]
    differ = [both and float(both[0] != both[1]) for both in outcomes]
    # Shown first ours scores s1; shown second, what stands first scores 1 - s2.
    first = [both and (1 + both[0] - both[1]) / 2 for both in outcomes]

    rule = "wins and half of the ties; verdicts that differ between the orders are ties"
    won = drawn("win_rate", agreed, how=rule + by, **_BETTER)
    conflict = drawn("swap_conflict", differ, how="verdicts that differ between the orders" + by, **_JUDGE)
    leading = drawn("first_wins", first, how="", **_JUDGE)
    lean = f"how much more often than half whatever stands first wins, ties counting one half{by}"
    return [
        won,
        _scaled(won, 2, -1, name="net_win_rate", how="wins less losses" + by),
        drawn("win_rate_averaged", [one.mean for one in judged], how=_MEAN + by, **_BETTER),
        drawn("tie_rate", ties, how="ties, and verdicts that differ between the orders" + by, **_JUDGE),
        conflict,
        _scaled(leading, 1, -0.5, name="position_bias", how=lean),
    ]


def _scaled(result: Result, times: float, plus: float, *, name: str, how: str) -> Result:
    """The same result on another scale."""
    if result.value is None:
        return replace(result, name=name, how=how)
    ends = result.interval
    if ends is not None:
        ends = replace(ends, low=times * ends.low + plus, high=times * ends.high + plus)
    return replace(result, name=name, how=how, value=times * result.value + plus, interval=ends)


def one_order_results(
    preferences: Sequence[float | None], *, judge: str = "", clusters: Sequence[Labels] = (), seed: int = 0
) -> list[Result]:
    """Win rates of pairs that were judged in one order (`judge_once`): by preference, and by verdict.

    The first is that of AlpacaEval 2, a mean of probabilities; its ties are only those that are 0.5 exactly.
    """
    by = f", judged in one order that their texts decide{_by(judge)}"
    verdicts = [None if one is None else _outcome(one) for one in preferences]
    drawn = partial(outcome_result, clusters=clusters, seed=seed, unit="pairs", **_BETTER)
    return [
        drawn("win_rate_averaged", preferences, how=_MEAN + by),
        drawn("win_rate", verdicts, how="wins and half of the ties" + by),
    ]


def _by(judge: str) -> str:
    return f" by {judge}" if judge else ""
