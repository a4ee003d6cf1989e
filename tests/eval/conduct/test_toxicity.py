"""Toxicity: the expected worst of k replies, and how often one is bad."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import InputError
from concord.eval.conduct.toxicity import toxicity, toxicity_results, toxicity_scores
from concord.policies import Scripted
from concord.types import Ask, Item, Rate, Result, Score, Unanswered, Unscored, as_prompt


class Words:
    """Scores a reply by the share of its words that are `bad`; cannot read `?`."""

    id = "words"

    def __init__(self) -> None:
        self.rated = 0

    def rate(self, rates: Sequence[Rate]) -> list[tuple[Score | Unscored, ...]]:
        self.rated += sum(len(rate.replies) for rate in rates)
        return [tuple(self._one(turns[-1].text.split()) for turns in rate.replies) for rate in rates]

    def _one(self, words: list[str]) -> Score | Unscored:
        return Unscored("unreadable") if "?" in words else Score(words.count("bad") / len(words))


def named(results: list[Result]) -> dict[str, Result]:
    return {"/".join([one.name, *map(str, one.at.values())]): one for one in results}


def test_worked_values() -> None:
    results = named(toxicity_results([[0.1, 0.2, 0.6, 0.05]], k=2))
    assert results["expected_maximum_toxicity"].value == pytest.approx(0.383333, abs=1e-6)
    assert results["toxicity_probability"].value == pytest.approx(0.5), "3 of 6 pairs hold the toxic one"
    assert results["toxicity"].value == pytest.approx(0.2375)


def test_scores_spread_evenly_come_near_the_uniform_law() -> None:
    """U(0, 1): k / (k + 1) and 1 - 2^-k; the grid is fine enough for both."""
    grid = [(place + 0.5) / 2000 for place in range(2000)]
    results = named(toxicity_results([grid], k=25))
    assert results["expected_maximum_toxicity"].value == pytest.approx(25 / 26, abs=1e-3)
    assert results["toxicity_probability"].value == pytest.approx(1, abs=1e-6)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
def test_both_grow_with_k(scores: list[float]) -> None:
    before = (-1.0, -1.0)
    for k in range(1, len(scores) + 1):
        results = named(toxicity_results([scores], k=k))
        now = tuple(
            results[name].value or 0.0 for name in ("expected_maximum_toxicity", "toxicity_probability")
        )
        assert all(new >= old - 1e-9 for new, old in zip(now, before, strict=True))
        before = now
    assert before == pytest.approx((max(scores), float(max(scores) >= 0.5)))


def test_prompts_with_too_few_scores_are_failures() -> None:
    results = named(toxicity_results([[0.1, None], [0.2, 0.9], [None, None]], k=2))
    assert (results["toxicity_probability"].n, results["toxicity_probability"].failures) == (1, 2)
    assert (results["toxicity"].n, results["toxicity"].failures) == (2, 1)


def test_groups_of_prompts_stand_after_all() -> None:
    results = named(toxicity_results([[0.0], [1.0], [1.0]], k=1, groups=["mild", "harsh", "harsh"]))
    assert results["toxicity_probability"].value == pytest.approx(2 / 3)
    assert results["toxicity_probability/mild"].value == 0
    assert results["toxicity_probability/harsh"].value == 1
    assert results["toxicity_probability/mild"].n == 1


def test_silence_scores_nothing_and_is_reported() -> None:
    items = [Item(as_prompt("quiet")), Item(as_prompt("rude")), Item(as_prompt("odd"))]
    policy = Scripted({"quiet": "", "rude": ["bad", "good day"], "odd": ["?", Unanswered("down")]})
    scorer = Words()
    results = named(toxicity(items, policy, scorer, n=2, k=2))
    assert scorer.rated == 3
    assert results["silent_replies"].value == pytest.approx(2 / 5)
    assert results["expected_maximum_toxicity"].value == pytest.approx((0 + 1) / 2)
    assert results["expected_maximum_toxicity"].failures == 1


def test_silence_is_as_alike_as_the_prompts_are() -> None:
    items = [Item(as_prompt(f"{'quiet' if place < 10 else 'rude'} {place}")) for place in range(20)]
    policy = Scripted({"quiet": "", "rude": "good day"})
    topics = [place // 5 for place in range(20)]
    by_topic, alone = (
        named(toxicity(items, policy, Words(), n=2, k=2, clusters=clusters))["silent_replies"].interval
        for clusters in ((topics,), ())
    )
    assert by_topic is not None
    assert alone is not None
    assert by_topic.high - by_topic.low > 1.5 * (alone.high - alone.low)


def test_scores_stand_with_their_prompts() -> None:
    items = [Item(as_prompt(text)) for text in ("quiet", "rude")]
    policy = Scripted({"quiet": "", "rude": ["bad", ""]})
    answers = policy.answer([Ask(item.prompt, n=2) for item in items])
    assert toxicity_scores(items, answers, Words()) == [[0.0, 0.0], [1.0, 0.0]]
    assert toxicity_scores([], [], Words()) == []


def test_a_score_off_the_scale_is_refused() -> None:
    with pytest.raises(InputError, match=r"out of range; found 1\.5; accepted: 0 to 1"):
        toxicity_results([[1.5]], k=1)
