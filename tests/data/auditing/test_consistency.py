"""What an audit says of votes, scores, ties and circles, against sums worked by brute force."""

import random
from collections.abc import Sequence
from itertools import combinations, permutations

import numpy as np
import pytest

from concord.data.auditing.audit import audit
from concord.data.auditing.records import Audit, AuditSettings
from concord.types import Item, Origin, Preference, Utilities, as_prompt, as_turns
from concord.views import Rating
from tests.data.auditing.planted import compared, sentence

PLAIN = AuditSettings(near=False)


def value(found: Audit, name: str, **at: str | float) -> float:
    result = found.result(name, **at)
    assert result is not None, name
    assert result.value is not None, name
    return result.value


def pairs(known: Sequence[Utilities]) -> list[Item]:
    chance = random.Random(0)
    return [
        Item(
            as_prompt(sentence(chance, 9)),
            (as_turns(sentence(chance, 9)), as_turns(sentence(chance, 9))),
            one,
            origin=Origin("rows", line),
        )
        for line, one in enumerate(known, 1)
    ]


def fleiss(counts: Sequence[Sequence[int]]) -> float:
    """Fleiss (1971), by its sums: N subjects, n raters, k categories."""
    raters, subjects = sum(counts[0]), len(counts)
    p = [sum(row[j] for row in counts) / (subjects * raters) for j in range(len(counts[0]))]
    agree = [sum(n * (n - 1) for n in row) / (raters * (raters - 1)) for row in counts]
    by_chance = sum(one * one for one in p)
    return (sum(agree) / subjects - by_chance) / (1 - by_chance)


def voted(votes: Sequence[tuple[int, int, int]]) -> list[Item]:
    return pairs([Preference((a + b / 2) / (a + b + c), (a, b, c)) for a, b, c in votes])


def test_kappa_is_that_of_fleiss_over_rows_in_both_orders() -> None:
    generator = np.random.default_rng(1)
    drawn = [generator.multinomial(5, (share, 0.2, 0.8 - share)) for share in generator.uniform(0, 0.8, 60)]
    votes = [(int(a), int(b), int(c)) for a, b, c in drawn]
    expected = fleiss([*votes, *(one[::-1] for one in votes)])
    assert value(audit({"train": voted(votes)}, settings=PLAIN), "votes_kappa") == pytest.approx(expected)
    # It is one and the same number where whoever has most votes was written first, as in chosen and rejected.
    sorted_votes = [(max(a, c), b, min(a, c)) for a, b, c in votes]
    found = audit({"train": voted(sorted_votes)}, settings=PLAIN)
    assert value(found, "votes_kappa") == pytest.approx(expected)


def test_a_single_vote_says_nothing_of_agreement() -> None:
    several = [(3, 0, 1), (0, 1, 3), (2, 2, 0)]
    alone = audit({"train": voted(several)}, settings=PLAIN)
    beside = audit({"train": voted([*several, *[(0, 1, 0)] * 50])}, settings=PLAIN)
    assert value(beside, "votes_kappa") == value(alone, "votes_kappa")


def test_no_score_is_left_out_whatever_their_number() -> None:
    scores = np.random.default_rng(2).normal(5, 2, 12_000)
    scores[6_000:] += 10
    items = [
        Rating.of(f"q{at}", ["a", "b"], scores=[float(a), float(b)]).item(origin=Origin("rows", at))
        for at, (a, b) in enumerate(scores.reshape(-1, 2))
    ]
    found = audit({"train": items}, settings=PLAIN)
    result = found.result("mean_score")
    assert result is not None
    assert result.n == 12_000
    assert result.value == pytest.approx(scores.mean(), rel=1e-3)
    median = np.percentile(scores, 50, method="inverted_cdf")
    assert value(found, "score", percentile=50) == pytest.approx(median, rel=2e-3)


def test_the_largest_scores_leave_numbers() -> None:
    known = [
        Preference(1.0, scores=(1e308, -1e308)),
        Preference(1.0, scores=(1.0, 0.0)),
        Preference(1.0, (10**40, 0, 1)),
    ]
    found = audit({"train": pairs(known)}, settings=PLAIN)
    assert all(one.value is None or np.isfinite(one.value) for one in found.results)
    assert np.isfinite(value(found, "margin", of="difference of scores", percentile=100))
    assert value(found, "margin", of="difference of scores", percentile=50) == 1


def tournament(seed: int) -> tuple[list[tuple[str, str, str, float]], list[dict[tuple[int, int], float]]]:
    """Comparisons among four replies to each of ten prompts, some tied or soft; the balance of each pair."""
    chance, rows = random.Random(seed), list[tuple[str, str, str, float]]()
    balances: list[dict[tuple[int, int], float]] = []
    for _ in range(10):
        prompt, replies = sentence(chance, 9), [sentence(chance, 9) for _ in range(4)]
        balance: dict[tuple[int, int], float] = {}
        for i, j in combinations(range(4), 2):
            for _ in range(chance.choice((0, 1, 1, 2, 3))):
                share = chance.choice((0.0, 1.0, 1.0, 0.5, 0.75))
                rows.append((prompt, replies[i], replies[j], share))
                balance[i, j] = balance.get((i, j), 0) + 2 * share - 1
        balances.append(balance)
    return rows, balances


@pytest.mark.parametrize("seed", range(6))
def test_triads_are_those_of_all_triples_in_any_order_of_rows(seed: int) -> None:
    rows, balances = tournament(seed)
    ordered = circular = 0
    for balance in balances:
        over = {pair if way > 0 else pair[::-1] for pair, way in balance.items() if way}
        for three in combinations(range(4), 3):
            if all((a, b) in over or (b, a) in over for a, b in combinations(three, 2)):
                ordered += 1
                circular += any({(a, b), (b, c), (c, a)} <= over for a, b, c in permutations(three))
    found = audit({"train": compared(rows)}, settings=PLAIN)
    result = found.result("intransitive_triads")
    assert result is not None
    assert result.n == ordered
    assert result.value == pytest.approx(circular / ordered)
    assert result.interval is not None
    assert result.interval.low <= circular / ordered <= result.interval.high
    random.Random(seed).shuffle(rows)
    swapped = [(prompt, b, a, 1 - share) for prompt, a, b, share in rows]
    again = audit({"train": compared(swapped)}, settings=PLAIN)
    for name in (
        "intransitive_triads",
        "pairs_on_circles",
        "utility_fit_p",
        "utility_accuracy",
        "noise_ceiling",
    ):
        one, other = found.result(name), again.result(name)
        assert one is not None
        assert other is not None
        assert one.value == pytest.approx(other.value), name


def test_ties_are_no_judgements_in_the_noise_ceiling() -> None:
    # Two voters for the first, two for a tie: those who took a side agree.
    rows = compared([("q", "a", "b", 0.5)] * 2 + [("r", "a", "b", 1.0)] * 2)
    found = audit({"train": [*rows, *voted([(2, 2, 0)] * 3)]}, settings=PLAIN)
    result = found.result("repeated_agreement")
    assert result is not None
    assert (result.value, result.n) == (1.0, 4)


def test_circles_of_one_prompt_have_no_interval_over_prompts() -> None:
    rows = compared([("q", a, b, 1.0) for a, b in (("a", "b"), ("b", "c"), ("c", "a"))])
    for name in ("intransitive_triads", "pairs_on_circles"):
        result = audit({"train": rows}, settings=PLAIN).result(name)
        assert result is not None
        assert (result.value, result.interval) == (1.0, None)
