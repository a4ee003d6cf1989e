"""Trust in judges: textbook agreements, planted biases that are found, and rules that do not read."""

import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concord.errors import InputError
from concord.eval.order.winrate import Judged
from concord.eval.trust import (
    BEST,
    Row,
    cohen_kappa,
    judge_record,
    judge_trust,
    krippendorff_alpha,
    rows_of,
    trust_results,
)
from concord.feedback import BothOrders, ByScore, OrderedJudge
from concord.policies import Scripted
from concord.types import (
    Ask,
    Challenge,
    Item,
    JudgeRecord,
    Preference,
    Rate,
    Result,
    Score,
    Turns,
    Unscored,
    as_prompt,
    as_turns,
)
from concord.views import Comparison, Task
from tests.shared import SHARED, needs_shared


def pick(results: Sequence[Result], name: str, by: str = "") -> Result:
    """The one result of a name, and of who said it."""
    (found,) = [one for one in results if one.name == name and (not by or one.at["by"] == by)]
    return found


def value(results: Sequence[Result], name: str, by: str = "") -> float:
    """Its value, which there is."""
    found = pick(results, name, by).value
    assert found is not None
    return found


# --- agreement beyond chance ------------------------------------------------------------------------------


def test_kappa_of_the_textbook() -> None:
    pairs = [(1, 1)] * 20 + [(1, 0)] * 5 + [(0, 1)] * 10 + [(0, 0)] * 15
    assert cohen_kappa(pairs) == pytest.approx(0.4)
    assert cohen_kappa([("a", "a"), ("b", "b")]) == 1
    assert cohen_kappa([("a", "b"), ("b", "a")]) == -1
    assert cohen_kappa([("a", "a")]) is cohen_kappa([]) is None


def test_alpha_of_the_textbook() -> None:
    # Krippendorff's example of four observers and twelve units, some of them not judged: 0.743.
    observers = ("123321412   ", "1233224125 3", " 3332342251 ", "12332441251 ")
    units = [[one for one in unit if one != " "] for unit in zip(*observers, strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(0.743421, abs=1e-6)
    assert krippendorff_alpha([["a", "a"], ["b", "b"]]) == 1
    assert krippendorff_alpha([["a", "a"], ["a"]]) is krippendorff_alpha([]) is None


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=12))
def test_alpha_of_two_raters_is_scotts_pi_for_few_values(pairs: list[tuple[int, int]]) -> None:
    n = 2 * len(pairs)
    pooled = [value for pair in pairs for value in pair]
    expected = sum(pooled.count(one) * (n - pooled.count(one)) for one in range(3)) / (n * (n - 1))
    observed = sum(one != other for one, other in pairs) / len(pairs)
    found = krippendorff_alpha(pairs)
    assert found == (pytest.approx(1 - observed / expected) if expected else None)


# --- planted ----------------------------------------------------------------------------------------------


def comparisons(count: int, *, ties: int = 0) -> list[Item]:
    """Comparisons in which people prefer the reply that says so, which is longer half of the time."""
    items: list[Item] = []
    for at in range(count):
        good, bad = "good" + " word" * (at % 2), "poor" + " word" * (1 - at % 2)
        items.append(Comparison.of(f"question {at}", good, bad, votes=(2, 1, 0)).item())
    return items + [
        Comparison.of(f"tie {at}", "good", "good too", preference=0.5).item() for at in range(ties)
    ]


def shown(ask: Ask) -> tuple[str, str]:
    text = ask.prompt.text
    first = text.partition("reply A\n")[2].partition("\n----")[0]
    return first, text.partition("reply B\n")[2].partition("\n----")[0]


def reads(ask: Ask) -> str:
    first, second = ("good" in one for one in shown(ask))
    return f"Verdict: {'tie' if first == second else 'A' if first else 'B'}"


def prefers_longer(ask: Ask) -> str:
    first, second = map(len, shown(ask))
    return f"Verdict: {'tie' if first == second else 'A' if first > second else 'B'}"


def leaning(share: float) -> Any:
    """A judge that reads, except that of this share of prompts it takes what stands first."""

    def judge(ask: Ask) -> str:
        question = ask.prompt.text.partition("conversation\n")[2].partition("\n")[0]
        return "Verdict: A" if zlib.crc32(question.encode()) % 1000 < 1000 * share else reads(ask)

    return judge


def test_a_judge_that_reads_is_trusted() -> None:
    judge = BothOrders(OrderedJudge(Scripted(reads, name="reads")))
    results = judge_trust(judge, comparisons(60, ties=10))
    assert {one.challenge for one in results} == {Challenge.OVERSIGHT}
    assert all(one.how and one.unit == "pairs" and one.n and one.failures == 0 for one in results)
    assert (value(results, "judge_accuracy", judge.id), pick(results, "judge_accuracy", judge.id).n) == (
        1.0,
        60,
    )
    assert value(results, "judge_agreement", judge.id) == 1.0
    assert value(results, "judge_kappa") == 1.0
    assert value(results, "judge_accuracy_longer") == value(results, "judge_accuracy_shorter") == 1.0
    assert value(results, "length_slope") == pytest.approx(0.0, abs=1e-9)
    assert value(results, "position_bias") == value(results, "swap_conflict") == 0
    assert value(results, "judge_accuracy", "the longer reply") == 0.5
    assert value(results, "judge_accuracy", "always a tie") == 0.5
    assert value(results, "judge_beyond_length") == 0.5
    sure = pick(results, "judge_accuracy", judge.id).interval
    assert sure is not None
    assert 0.9 < sure.low < 1
    assert judge_record(judge.id, results) == JudgeRecord(id=judge.id, swap_conflict=0.0, position_bias=0.0)


@pytest.mark.parametrize("share", [0.2, 0.6, 1.0])
def test_a_planted_position_bias_is_found_through_both_orders(share: float) -> None:
    judge = BothOrders(OrderedJudge(Scripted(leaning(share), name="leans")))
    results = judge_trust(judge, comparisons(200))
    conflict, bias = pick(results, "swap_conflict"), pick(results, "position_bias")
    assert conflict.value == pytest.approx(share, abs=0.1)
    assert bias.value == pytest.approx(share / 2, abs=0.05)
    # The first always wins what is in conflict here, and half of the rest.
    assert bias.value == pytest.approx((conflict.value or 0) / 2)
    if share < 1:
        assert bias.interval is not None
        assert 0 < bias.interval.low <= share / 2 <= bias.interval.high
    assert value(results, "judge_accuracy", judge.id) == pytest.approx(1 - (conflict.value or 0) / 2)


def test_a_judge_of_length_is_found_out() -> None:
    results = judge_trust(OrderedJudge(Scripted(prefers_longer, name="longer")), comparisons(60))
    assert value(results, "judge_accuracy_longer") == 1
    assert value(results, "judge_accuracy_shorter") == 0
    assert value(results, "judge_beyond_length") == 0
    beyond = pick(results, "judge_beyond_length").interval
    assert beyond is not None
    # The two never differ in these pairs, which leaves open how often they would in others.
    assert -0.15 < beyond.low < 0 < beyond.high < 0.15
    assert value(results, "length_slope") > 0.4
    assert value(results, "swap_conflict") == 0


class Longer:
    """A feedback: what a reply is worth is its length."""

    id = "length"

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        return [tuple(self.score(turns) for turns in rate.replies) for rate in rates]

    def score(self, turns: Turns) -> Score | Unscored:
        return Score(len(turns[0].text))


def test_a_feedback_is_held_against_people_too() -> None:
    items = comparisons(40)
    results = judge_trust(Longer(), items)
    assert (
        value(results, "judge_accuracy", "length")
        == value(results, "judge_accuracy", "the longer reply")
        == 0.5
    )
    assert rows_of(Longer(), items) == rows_of(ByScore(Longer()), items)


def test_nobody_beats_whoever_knows_the_odds() -> None:
    chance, items, odds = Random(0), list[Item](), list[float]()
    for at in range(400):
        first, tie = chance.uniform(0.05, 0.85), 0.1
        second = 1 - first - tie
        said = chance.choices([1.0, 0.5, 0.0], [first, tie, second])[0]
        item = Comparison.of(f"q {at}", f"{first:.9f}", f"{second:.9f}", preference=said).item()
        items.append(replace(item, meta={"odds": [first, tie, second]}))
        if said != 0.5:
            odds.append(max(first, second) / (first + second))

    class Knows(Longer):
        def score(self, turns: Turns) -> Score | Unscored:
            return Score(float(turns[0].text))

    results = judge_trust(Knows(), items)
    assert value(results, "judge_accuracy", BEST) == pytest.approx(fmean(odds))
    below = pick(results, "judge_below_best").interval
    assert below is not None
    assert below.low < 0 < below.high
    assert value(judge_trust(Longer(), items), "judge_below_best") > 0.1
    assert not [one for one in judge_trust(Longer(), comparisons(9)) if one.at["by"] == BEST]


def test_what_has_no_verdict_is_a_failure() -> None:
    judge = OrderedJudge(Scripted({"question 1": "hm", "": "Verdict: tie"}, name="hm"))
    results = judge_trust(judge, comparisons(30))
    missing = 1 + 10  # question 1, and 10 to 19
    split = ("judge_accuracy_longer", "judge_accuracy_shorter")
    by_judge = [one for one in results if one.at["by"] == judge.id]
    assert {one.failures for one in by_judge if one.name not in split} == {missing}
    assert sum(pick(results, name).failures for name in split) == missing
    assert pick(results, "judge_accuracy", judge.id).n == 30 - missing
    assert pick(results, "judge_accuracy", "the longer reply").failures == 0


def test_the_better_reply_is_not_always_shown_first() -> None:
    rows = rows_of(Longer(), comparisons(200))
    assert 70 < sum(row.human > 0.5 for row in rows) < 130
    assert all(row.votes == ((1.0, 1.0, 0.5) if row.human > 0.5 else (0.0, 0.0, 0.5)) for row in rows)


def test_only_comparisons_can_be_held_against_a_judge() -> None:
    with pytest.raises(InputError, match="held against people's comparisons; found 'NoneType'"):
        judge_trust(Longer(), [Task.of("q").item()])


def test_nothing_to_measure_is_said() -> None:
    results = trust_results([])
    assert all(one.value is None and one.why_none for one in results)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 0.75, 1.0]),
                          st.sampled_from([0.0, 0.5, 1.0]), st.integers(1, 9), st.integers(1, 9)),
                min_size=2, max_size=8))  # fmt: skip
@settings(max_examples=20)
def test_which_reply_is_called_first_changes_nothing(
    drawn: list[tuple[float, float, float, int, int]],
) -> None:
    rows = [Row(human=h, judged=Judged(a, b), lengths=(m, n)) for h, a, b, m, n in drawn]
    turned = [Row(human=1 - h, judged=Judged(1 - b, 1 - a), lengths=(n, m)) for h, a, b, m, n in drawn]
    once, again = trust_results(rows), trust_results(turned)
    assert len(once) == len(again)
    for one in once:
        if one.at["by"] != "the first reply":
            other = pick(again, one.name, str(one.at["by"]))
            assert other.value == (None if one.value is None else pytest.approx(one.value, abs=1e-9))


# --- real sets --------------------------------------------------------------------------------------------


def load(name: str) -> list[dict[str, Any]]:
    with gzip.open(SHARED / name, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def pandalm() -> list[Item]:
    """Comparisons by three people each; 0 is a tie."""
    items: list[Item] = []
    for row in load("pref/pandalm.jsonl.gz"):
        votes = (row["votes"].count(1), row["votes"].count(0), row["votes"].count(2))
        known = Preference({1: 1.0, 2: 0.0, 0: 0.5}[row["label"]], votes)
        replies = (as_turns(row["response_1"]), as_turns(row["response_2"]))
        items.append(Item(as_prompt(row["prompt"]), replies, known))
    return items


def oasst() -> list[Item]:
    """Comparisons whose better reply is given first."""
    rows = load("pref/oasst_ranked.jsonl.gz")
    return [Comparison.of(row["messages"], row["chosen"], row["rejected"]).item() for row in rows]


def longer_wins(items: Sequence[Item]) -> float:
    """How often the longer reply is the better one, counted a second time."""
    hits: list[float] = []
    for item in items:
        assert isinstance(item.utilities, Preference)
        first, second = (len(reply[0].text) for reply in item.replies)
        if item.utilities.first != 0.5:
            hits.append(0.5 if first == second else float((first > second) == (item.utilities.first > 0.5)))
    return sum(hits) / len(hits)


@needs_shared
def test_rules_that_do_not_read_on_pandalm() -> None:
    items = pandalm()
    results = judge_trust(Longer(), items, clusters=([item.prompt.text for item in items],))
    assert longer_wins(items) == pytest.approx(0.661, abs=0.001)
    for by in ("length", "the longer reply"):
        accuracy = pick(results, "judge_accuracy", by)
        assert (accuracy.value, accuracy.n) == (pytest.approx(longer_wins(items)), 602)
        assert accuracy.interval is not None
        assert 0.5 < accuracy.interval.low < longer_wins(items) < accuracy.interval.high
    # Which reply is first is drawn by a hash of the texts. 127 of the 602 rows repeat the texts of others and
    # so their draw: the standard deviation is 0.024 over seeds, not the 0.020 of 602 coins.
    assert value(results, "judge_accuracy", "the first reply") == pytest.approx(0.5, abs=4 * 0.024)
    assert 0.4 < value(results, "judge_agreement", "the commonest verdict") < 0.5
    # People agree with each other, and length with them hardly.
    assert value(results, "verdict_alpha", "people") > 0.6
    assert value(results, "verdict_alpha", "people and the judge") < value(results, "verdict_alpha", "people")
    assert 0.15 < value(results, "judge_kappa") < 0.35


@needs_shared
def test_rules_that_do_not_read_on_oasst() -> None:
    items = oasst()
    prompts = [item.prompt.text for item in items]
    results = judge_trust(Longer(), items, clusters=(prompts,))
    assert longer_wins(items) == pytest.approx(0.682, abs=0.001)
    accuracy = pick(results, "judge_accuracy", "the longer reply")
    assert (accuracy.value, accuracy.n) == (pytest.approx(longer_wins(items)), 510)
    alone = pick(judge_trust(Longer(), items), "judge_accuracy", "the longer reply")
    assert accuracy.interval is not None
    assert alone.interval is not None
    wide, narrow = (one.interval.high - one.interval.low for one in (accuracy, alone) if one.interval)
    assert wide > narrow, "replies to one prompt are alike"
    assert not [one for one in results if one.name == "verdict_alpha"], "there are no votes"
