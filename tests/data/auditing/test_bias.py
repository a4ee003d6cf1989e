"""What goes with winning, against shares worked row by row, and how often their intervals hold the truth."""

import random
from collections.abc import Sequence

import numpy as np
import pytest

from concord.data.auditing.audit import audit
from concord.data.auditing.bias import Pairs, longer_wins
from concord.data.auditing.records import Audit, AuditSettings
from concord.results import Result
from tests.data.auditing.planted import compared

PLAIN = AuditSettings(near=False)
Row = tuple[str, str, str, float]


def drawn(chance: random.Random, count: int) -> list[Row]:
    """Short replies to few prompts, so that copies, ties, equal lengths and contradictions are common."""
    replies = ["a", "bb!", "c!!", "**dd**", "ee ee ee ee!"]
    rows: list[Row] = []
    for _ in range(count):
        prompt, (first, second) = chance.choice("pqr"), chance.sample(replies, 2)
        rows.append((prompt, first, second, chance.choice((0.0, 1.0, 0.5, 0.7, 0.2))))
    return rows


def said(found: Audit, name: str, **at: str | float) -> Result:
    result = found.result(name, **at)
    assert result is not None, name
    return result


def share(holds: Sequence[bool]) -> float | None:
    return sum(holds) / len(holds) if holds else None


@pytest.mark.parametrize("seed", range(20))
def test_shares_are_those_of_the_rows_one_by_one(seed: int) -> None:
    rows = drawn(random.Random(seed), 3 + 2 * seed)
    sure = [(first, second) if won > 0.5 else (second, first) for _, first, second, won in rows if won != 0.5]
    found = audit({"train": compared(rows)}, settings=PLAIN)
    gaps = [len(winner) - len(loser) for winner, loser in sure]
    longer = said(found, "longer_wins", length="characters")
    assert longer.value == pytest.approx(share([gap > 0 for gap in gaps if gap]))
    assert (longer.n, longer.failures) == (sum(gap != 0 for gap in gaps), gaps.count(0))
    assert said(found, "length_gap").value == pytest.approx(sum(gaps) / len(gaps))
    marks = [winner.count("!") - loser.count("!") for winner, loser in sure]
    assert said(found, "more_wins", trait="exclamations").value == share([mark > 0 for mark in marks if mark])
    firsts = [won > 0.5 for *_, won in rows if won != 0.5]
    assert said(found, "first_wins").value == pytest.approx(share(firsts))


def test_buckets_of_length_hold_each_comparison_once() -> None:
    chance = random.Random(1)
    rows = [
        (f"q{at}", "x" * chance.randint(1, 90), "x" * chance.randint(1, 90), float(chance.random() < 0.5))
        for at in range(4000)
    ]
    found = audit({"train": compared([row for row in rows if row[1] != row[2]])}, settings=PLAIN)
    buckets = [one for one in found.results if one.name == "longer_wins" and "bucket" in one.at]
    assert sum(one.n for one in buckets) == said(found, "longer_wins").n
    for one, top in zip(buckets, (1.1, 1.25, 1.5, 2, 4, 100), strict=True):
        inside = [
            (len(a) > len(b)) == (won > 0.5)
            for _, a, b, won in rows
            if a != b and float(one.at["ratio"]) <= max(len(a), len(b)) / min(len(a), len(b)) < top
        ]
        assert one.value == pytest.approx(share(inside))


def test_where_there_is_nothing_to_compare_no_number_is_given() -> None:
    tied = audit({"train": compared([("q", "a", "bb", 0.5)])}, settings=PLAIN)
    assert tied.result("longer_wins") is None
    equal = said(audit({"train": compared([("q", "aa", "bb", 1.0)])}, settings=PLAIN), "longer_wins")
    assert (equal.value, equal.interval, equal.n, equal.failures) == (None, None, 0, 1)
    gap = said(audit({"train": compared([("q", "a", "bb", 1.0)] * 9)}, settings=PLAIN), "length_gap")
    assert (gap.value, gap.interval) == (-1, None)


def test_intervals_hold_the_truth_where_prompts_differ() -> None:
    # In half of the prompts the longer reply always wins, in the other half with 0.4: the truth is 0.7.
    generator = np.random.default_rng(2)
    covered, trials = 0, 500
    for _ in range(trials):
        sizes = generator.integers(1, 15, 30)
        longer = generator.random(sizes.sum()) < np.repeat(generator.choice((1.0, 0.4), 30), sizes)
        at = np.zeros(len(longer), dtype=np.int64)
        winner = np.where(longer, 0, 1)
        prompts = np.repeat(np.arange(30), sizes).astype(np.uint64)
        pairs = Pairs(winner, 1 - winner, longer, at.astype(np.bool_), at, prompts, at, at)
        interval = longer_wins(pairs, np.array([90, 20]), "characters", level=0.95).interval
        assert interval is not None
        covered += interval.low <= 0.7 <= interval.high
    assert 0.93 <= covered / trials <= 0.99
