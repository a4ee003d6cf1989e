"""Copies and contradictions, against counts of the rows one by one."""

import random
from collections import Counter, defaultdict

import pytest

from concord.data.auditing.audit import audit
from concord.data.auditing.records import AuditSettings
from tests.data.auditing.planted import compared, judged, sentence

PLAIN = AuditSettings(near=False)


@pytest.mark.parametrize("seed", range(20))
def test_copies_and_contradictions_are_those_of_the_rows_one_by_one(seed: int) -> None:
    chance = random.Random(seed)
    rows: list[tuple[str, str, str, float]] = []
    for _ in range(3 + 2 * seed):
        prompt, (one, other) = chance.choice("pqr"), chance.sample("abcd", 2)
        rows.append((prompt, one, other, chance.choice((0.0, 1.0, 0.5, 0.7, 0.2))))
    sure = [(q, *((a, b) if share > 0.5 else (b, a))) for q, a, b, share in rows if share != 0.5]
    ways = defaultdict[tuple[str, frozenset[str]], set[str]](set)
    repeated = 0
    for q, winner, loser in sure:
        repeated += bool(ways[q, frozenset((winner, loser))])
        ways[q, frozenset((winner, loser))].add(winner)
    chosen, rejected = {(q, winner) for q, winner, _ in sure}, {(q, loser) for q, _, loser in sure}
    expected = {
        "contradictions": sum(len(ways[q, frozenset((a, b))]) == 2 for q, a, b in sure) / len(sure),
        "repeated_pairs": repeated / len(sure),
        "chosen_and_rejected": sum((q, a) in rejected or (q, b) in chosen for q, a, b in sure) / len(sure),
    }
    found = audit({"train": compared(rows)}, settings=PLAIN)
    for name, share in expected.items():
        result = found.result(name)
        assert result is not None
        assert result.value == pytest.approx(share), name
    counts = {
        "rows": Counter(rows),
        "prompts": Counter(row[0] for row in rows),
        "replies": Counter(reply for row in rows for reply in row[1:3]),
    }
    for name, counted in counts.items():
        result = found.result("duplicates", of=name)
        assert result is not None
        assert result.value == pytest.approx(1 - len(counted) / counted.total())


@pytest.mark.parametrize("seed", range(8))
def test_labels_both_ways_are_those_of_the_rows_one_by_one(seed: int) -> None:
    chance = random.Random(seed)
    rows = [(chance.choice("pq"), chance.choice("abcdefg"), chance.random() < 0.8) for _ in range(30)]
    labels = defaultdict[tuple[str, str], set[bool]](set)
    for prompt, reply, good in rows:
        labels[prompt, reply].add(good)
    result = audit({"train": judged(rows)}, settings=PLAIN).result("labels_both_ways")
    assert result is not None
    assert result.value == pytest.approx(sum(len(labels[row[:2]]) == 2 for row in rows) / len(rows))


def test_one_row_and_equal_rows_are_audited() -> None:
    one = ("what is asked", "first reply", "second reply", 1.0)
    alone, many = audit({"train": compared([one])}), audit({"train": compared([one] * 50)})
    for found, share in ((alone, 0.0), (many, 49 / 50)):
        result = found.result("duplicates", of="rows")
        assert result is not None
        assert result.value == pytest.approx(share)
        near = found.result("near_duplicates", of="replies")
        assert near is not None
        assert (near.value, near.n) == (0, 2)


def _numbers(rows: list[tuple[str, str, str, float]]) -> dict[str, list[float | None]]:
    """The numbers of each result of an audit."""
    results = audit({"train": compared(rows)}).results
    return {
        f"{one.name} {sorted(one.at.items())}": [
            one.value,
            one.n,
            *((one.interval.low, one.interval.high) if one.interval else ()),
        ]
        for one in results
    }


def test_the_same_rows_in_another_order_have_the_same_results() -> None:
    chance = random.Random(4)
    base = [(sentence(chance, 20), [sentence(chance, 30) for _ in range(3)]) for _ in range(60)]
    rows: list[tuple[str, str, str, float]] = []
    for _ in range(300):
        prompt, replies = chance.choice(base)
        first, second = chance.sample(replies, 2)
        ending = chance.choice(("", " And so on."))
        rows.append((prompt, first + ending, second, chance.choice((0.0, 1.0, 0.5, 0.8))))
    results = [_numbers(rows)]
    chance.shuffle(rows)
    results.append(_numbers(rows))
    assert results[0].keys() == results[1].keys()
    for name, numbers in results[0].items():
        assert numbers == pytest.approx(results[1][name]), name
