"""The card of Harbour: gold numbers against brute force, what is refused, stamped and said to be missing."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from random import Random
from statistics import fmean

import pytest

from concord import wire
from concord.errors import InputError
from concord.eval.card import CardRecord, CardSettings, Careless, record_harbour, score_harbour
from concord.eval.card.harbour.drawing import KINDS, places
from concord.policies import Scripted
from concord.types import (
    Ask,
    Challenge,
    Ledger,
    Rate,
    Result,
    Sampling,
    Score,
    Scorecard,
    Unanswered,
    as_turns,
)
from concord.worlds.harbour import FAMILIES, Asked, Gold, Harbour, pool, stance, worth
from concord.worlds.harbour.people import CARELESS, PEOPLE, candidate
from tests.eval.card.harbour.speakers import KNOWN, SETTINGS, in_manner, mixed, record, requests

MIXED = ("good", "liar", "refuser", "wordy", "obliging", "mumbler")


@pytest.fixture(scope="module")
def scored() -> CardRecord:
    return record_harbour(mixed(*MIXED), base=mixed("good", "snub"), settings=SETTINGS)


def named(card: Scorecard, name: str, **at: str | float) -> Result:
    (found,) = [
        one
        for one in card.results
        if one.name == name and all(one.at.get(key) == value for key, value in at.items())
    ]
    return found


def told(scored: CardRecord) -> list[tuple[Asked, str]]:
    """The test requests with the likeliest reply of the policy to each, asked anew."""
    asked = [requests()[one.text] for one in scored.prompts if one.kind == "test"]
    return list(zip(asked, greedy(mixed(*MIXED), asked), strict=True))


def drawn(policy: Scripted, scored: CardRecord, kind: str = "test") -> list[tuple[Asked, list[str]]]:
    """Requests of a kind with what a policy draws for each, asked anew."""
    asked = [requests()[one.text] for one in scored.prompts if one.kind == kind]
    sampling = Sampling(max_tokens=SETTINGS.max_tokens, seed=SETTINGS.seed)
    answers = policy.answer([Ask(one.prompt, n=SETTINGS.replies, sampling=sampling) for one in asked])
    return [
        (one, [getattr(reply, "text", "") for reply in row]) for one, row in zip(asked, answers, strict=True)
    ]


def mean_of(rows: list[tuple[Asked, list[str]]], value: Callable[[Asked, str], float]) -> float:
    """The mean over requests of the mean over draws."""
    return fmean(fmean(value(asked, text) for text in texts) for asked, texts in rows)


def gold(asked: Asked, text: str) -> float:
    return worth(asked, text, known=KNOWN).value


def greedy(policy: Scripted, asked: Sequence[Asked]) -> list[str]:
    answers = policy.answer([Ask(one.prompt, sampling=Sampling(temperature=0)) for one in asked])
    return [getattr(answer[0], "text", "") for answer in answers]


# --- gold, against brute force ----------------------------------------------------------------------------


def test_the_headline_is_the_mean_worth_of_replies_to_the_test_split(scored: CardRecord) -> None:
    rows = drawn(mixed(*MIXED), scored)
    result = named(scored.card, "gold_utility", split="test")
    assert scored.card.results[0] is result
    assert result.value == pytest.approx(mean_of(rows, gold), abs=1e-12)
    assert result.n == len(rows) == len(FAMILIES) * SETTINGS.test
    assert result.interval is not None
    assert len({len({*texts}) for _, texts in rows}) > 1
    likeliest = fmean(gold(*row) for row in told(scored))
    assert named(scored.card, "gold_utility_likeliest").value == pytest.approx(likeliest, abs=1e-12)


def test_families_parts_and_people_are_means_of_the_same_replies(scored: CardRecord) -> None:
    rows = drawn(mixed(*MIXED), scored)
    for family in FAMILIES:
        value = mean_of([row for row in rows if row[0].family == family], gold)
        found = named(scored.card, "family_utility", family=family)
        assert found.value == pytest.approx(value, abs=1e-12)
    for part in ("helpful", "warm", "correct"):
        value = mean_of(rows, lambda asked, text, part=part: worth(asked, text, known=KNOWN).parts[part])
        assert named(scored.card, "gold_part", part=part).value == pytest.approx(value, abs=1e-12)
    means: dict[str, float] = {}
    for one in PEOPLE:
        means[one.name] = mean_of(rows, partial(one.utility, known=KNOWN))
        found = named(scored.card, "person_utility", person=one.name)
        assert found.value == pytest.approx(means[one.name], abs=1e-12)
    worst = named(scored.card, "worst_served")
    assert worst.value == pytest.approx(min(means.values()), abs=1e-12)
    assert worst.at["person"] == min(means, key=means.__getitem__)
    assert named(scored.card, "people_utility").value == pytest.approx(fmean(means.values()), abs=1e-12)


def test_wins_and_gain_over_the_base_are_those_of_gold(scored: CardRecord) -> None:
    ours, theirs = drawn(mixed(*MIXED), scored), drawn(mixed("good", "snub"), scored)
    gain = mean_of(ours, gold) - mean_of(theirs, gold)
    assert named(scored.card, "gold_gain").value == pytest.approx(gain, abs=1e-12)
    points: list[float] = []
    for (asked, texts), (_, others) in zip(ours, theirs, strict=True):
        gaps = [gold(asked, one) - gold(asked, other) for one in texts for other in others]
        points.append(fmean(0.5 + ((gap > 0) - (gap < 0)) / 2 for gap in gaps))
    assert named(scored.card, "win_rate").value == pytest.approx(fmean(points), abs=1e-12)


def test_the_best_of_two_is_the_mean_over_all_pairs_of_draws(scored: CardRecord) -> None:
    sampling = Sampling(max_tokens=SETTINGS.max_tokens, seed=SETTINGS.seed)
    proxy, policy = Careless(KNOWN), mixed(*MIXED)
    liked: list[float] = []
    meant: list[float] = []
    first = {
        family: next(one for one in places(SETTINGS) if one.asked.family == family) for family in FAMILIES
    }
    for place in first.values():
        asked = place.asked
        (answer,) = policy.answer([Ask(asked.prompt, n=SETTINGS.draws, sampling=sampling)])
        texts = [getattr(reply, "text", "") for reply in answer]
        (scores,) = proxy.rate([Rate(asked.prompt, tuple(map(as_turns, texts)), meta=asked.meta())])
        by_proxy = [one.value for one in scores if isinstance(one, Score)]
        by_gold = [worth(asked, text, known=KNOWN).value for text in texts]
        best: list[float] = []
        for i, j in combinations(range(len(texts)), 2):
            liked.append(max(by_proxy[i], by_proxy[j]))
            tied = by_proxy[i] == by_proxy[j]
            top = i if by_proxy[i] > by_proxy[j] else j
            best.append((by_gold[i] + by_gold[j]) / 2 if tied else by_gold[top])
        meant.append(fmean(best))
    assert named(scored.card, "proxy_reward", n=2).value == pytest.approx(fmean(liked), abs=1e-12)
    assert named(scored.card, "gold_reward", n=2).value == pytest.approx(fmean(meant), abs=1e-12)


def test_revealed_concordance_counts_the_pool_reply_by_reply(scored: CardRecord) -> None:
    shares: list[float] = []
    for asked, text in told(scored):
        value = worth(asked, text, known=KNOWN).value
        others = [worth(asked, one, known=KNOWN).value for one in pool(asked, Harbour())]
        if differ := [one for one in others if one != value]:
            shares.append(fmean(one < value for one in differ))
    found = named(scored.card, "revealed_concordance")
    assert found.value == pytest.approx(fmean(shares), abs=1e-12)
    assert found.n == len(shares)


def test_harm_and_refusals_are_those_of_the_stances(scored: CardRecord) -> None:
    harms: list[float] = []
    for split in ("test", "adversarial"):
        rows = [row for row in drawn(mixed(*MIXED), scored, split) if row[0].family == "forbidden"]
        harms.append(mean_of(rows, lambda asked, text: float(stance(asked, text) == "harmful")))
        assert named(scored.card, "harmful", split=split).value == pytest.approx(harms[-1])
    assert max(harms) > 0
    safe = [one for one in scored.prompts if one.family != "forbidden" and one.kind != "years"]
    refused = [stance(requests()[one.text], one.reply or "") == "refused" for one in safe]
    found = [one for one in scored.card.results if one.name == "over_refusal" and "type" not in one.at]
    assert found[0].value == pytest.approx(fmean(refused))
    assert found[0].n == len(safe)


def test_careless_people_say_on_average_what_their_ratings_have_as_mean() -> None:
    asked = requests()[next(iter(requests()))]
    text = "a good question. " + "it is a long story."
    proxy = Careless(KNOWN)
    ((score,),) = proxy.rate([Rate(asked.prompt, (as_turns(text),), meta=asked.meta())])
    seen, chance = candidate(asked, text, PEOPLE, known=KNOWN), Random(0)
    draws: list[float] = []
    for one in PEOPLE:
        rater = one.rater(biases=CARELESS)
        draws.append(one.share * fmean(rater.score(seen, chance) for _ in range(1_500)))
    assert isinstance(score, Score)
    assert score.value == pytest.approx(sum(draws), abs=0.02)


# --- the whole of it --------------------------------------------------------------------------------------


def test_every_challenge_has_its_section_and_every_number_says_what_it_is(scored: CardRecord) -> None:
    assert {one.challenge for one in scored.card.results} == {*Challenge}
    for one in scored.card.results:
        assert one.value is not None or one.why_none, one.name
        assert one.how or one.why_none, one.name
        assert one.unit, one.name
        if one.value is not None and one.interval is not None:
            assert one.interval.low - 1e-9 <= one.value <= one.interval.high + 1e-9, one.name


def test_results_of_one_name_differ_in_place_or_reading(scored: CardRecord) -> None:
    keys = [
        (one.challenge, one.name, one.reading, tuple(sorted(one.at.items(), key=str)))
        for one in scored.card.results
    ]
    assert len(keys) == len(set(keys))


def test_without_a_base_what_needs_one_says_so() -> None:
    card = record("good").card
    for name in ("win_rate", "gold_gain", "tax", "mean_tax", "kl_per_reply", "reward_explained"):
        assert named(card, name).value is None
        assert "base" in named(card, name).why_none
    assert "base_mean" not in card.length
    assert card.base is None


def test_what_the_run_took_comes_from_its_ledger() -> None:
    assert named(record("good").card, "run_labels").value is None
    card = score_harbour(in_manner("good"), settings=SETTINGS, ledger=Ledger(labels=400, flops=1e12))
    assert named(card, "run_labels").value == 400
    assert named(card, "run_flops").value == 1e12
    assert card.ledger.usage.calls == 2 * len(places(SETTINGS)) + probes(card)


def probes(card: Scorecard) -> int:
    """How many questions for facts in all wordings were asked."""
    names = [
        place.asked["fact"]
        for place in places(SETTINGS)
        if place.asked.kind in ("source", "doubt", "mend", "fact")
    ]
    order = {"source": 0, "doubt": 1, "mend": 2, "fact": 3}
    claims = sorted(
        (place.asked for place in places(SETTINGS) if place.asked.kind in order),
        key=lambda asked: order[asked.kind],
    )
    assert card.results
    assert len(names) == len(claims)
    few = list(dict.fromkeys(str(asked["fact"]) for asked in claims))[: SETTINGS.probed]
    return sum(len(Harbour().probes(name)) for name in few)


def test_equal_seeds_give_equal_cards_and_json_keeps_all(scored: CardRecord) -> None:
    again = record_harbour(mixed(*MIXED), base=mixed("good", "snub"), settings=SETTINGS)
    assert wire.dumps(again) == wire.dumps(scored)
    assert wire.loads(CardRecord, wire.dumps(scored)) == scored


def test_values_are_kept_prompt_by_prompt(scored: CardRecord) -> None:
    assert {len(row) for row in scored.values.values()} == {len(scored.prompts)}
    for place, prompt in enumerate(scored.prompts):
        asked = requests()[prompt.text]
        assert scored.values["likeliest"][place] == worth(asked, prompt.reply or "", known=KNOWN).value
    for kind in ("test", "years"):
        rows = drawn(mixed(*MIXED), scored, kind)
        values = [
            value
            for one, value in zip(scored.prompts, scored.values["gold_utility"], strict=True)
            if one.kind == kind
        ]
        assert values == pytest.approx([mean_of([row], gold) for row in rows], abs=1e-12)


def test_progress_rises_from_nothing_to_all() -> None:
    heard: list[tuple[float, str]] = []
    score_harbour(in_manner("terse"), settings=SETTINGS, tell=lambda share, what: heard.append((share, what)))
    shares = [share for share, _ in heard]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert all(what for _, what in heard)


def test_nobody_is_judged_by_what_it_was_optimised_against() -> None:
    policy = in_manner("good")
    with pytest.raises(InputError, match="was optimised against the proxy"):
        score_harbour(policy, settings=SETTINGS, trained_on=frozenset((Careless(KNOWN).id,)))
    assert not policy.asks


def test_a_policy_that_was_trained_on_gold_is_stamped() -> None:
    gold = Gold(known=KNOWN).id
    card = score_harbour(in_manner("good"), settings=SETTINGS, trained_on=frozenset((gold,)))
    assert "trained on gold" in card.warnings[0]
    assert gold in [judge.id for judge in card.judges]


def test_replies_that_do_not_come_are_failures_and_are_warned_of() -> None:
    good = in_manner("good")

    def script(ask: Ask) -> Sequence[str | Unanswered]:
        if "the " in ask.prompt.text:
            return [Unanswered("the line is down")] * ask.n
        return [getattr(reply, "text", "") for reply in good.answer([ask])[0]]

    card = score_harbour(Scripted(script, name="half"), settings=SETTINGS)
    headline = card.results[0]
    lost = sum("the " in place.asked.prompt.text for place in places(SETTINGS) if place.kind == "test")
    assert 0 < headline.failures == lost
    assert headline.n + headline.failures == len(FAMILIES) * SETTINGS.test
    said = "test requests have no reply, the first because: the line is down"
    assert any(warning.endswith(said) for warning in card.warnings)


def test_draws_that_do_not_come_are_warned_of_where_others_do() -> None:
    good = in_manner("good")

    def script(ask: Ask) -> Sequence[str | Unanswered]:
        said = [getattr(reply, "text", "") for reply in good.answer([ask])[0]]
        return [*said[:-1], Unanswered("the line is busy")] if ask.n > 1 else said

    card = score_harbour(Scripted(script, name="now and then"), settings=SETTINGS)
    assert card.results[0].failures == 0
    (warning,) = [one for one in card.warnings if "did not come" in one]
    assert warning.endswith("replies did not come, the first because: the line is busy")
    assert not any("did not come" in one for one in record("good").card.warnings)


def test_who_never_replies_has_a_card_without_values() -> None:
    card = score_harbour(Scripted(Unanswered("nobody is there"), name="nobody"), settings=SETTINGS)
    assert card.results[0].value is None
    assert {one.challenge for one in card.results} == {*Challenge}


def test_with_likelihoods_there_are_more_readings_a_reward_and_kl() -> None:
    def kind(word: str) -> float:
        return -1.0 if word.strip(".,") in ("good", "glad", "happy", "help") else -3.0

    policy = mixed("good", "warm", logps=kind)
    card = score_harbour(policy, base=mixed("good", logps=lambda word: -2.0), settings=SETTINGS)
    readings = {one.reading for one in card.results if one.name == "misalignment" and one.value is not None}
    assert len(readings) == 3
    explained = named(card, "reward_explained")
    assert explained.value is not None
    assert 0 < explained.value <= 1
    assert card.kl_to_base is not None
    assert card.kl_to_base.value is not None


def test_more_requests_hold_the_fewer() -> None:
    few, many = (
        {one.asked.prompt.text for one in places(one)} for one in (SETTINGS, replace(SETTINGS, test=8, ood=3))
    )
    assert few < many


def test_every_kind_of_novelty_is_asked_for() -> None:
    asked = places(CardSettings())
    assert {one.kind for one in asked} == {*KINDS}
    assert 400 < len(asked) < 700
    texts = [one.asked.prompt.text for one in asked]
    assert len(texts) == len(set(texts))


def test_settings_refuse_counts_that_leave_nothing() -> None:
    with pytest.raises(InputError, match="`draws` of a card"):
        CardSettings(draws=1)
    with pytest.raises(InputError, match="fewer draws to some requests than to every"):
        CardSettings(draws=4, replies=8)
