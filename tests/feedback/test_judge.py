"""Judges on scripted policies: both orders, ties, what cannot be read, principles, and who they are."""

from collections.abc import Sequence

import pytest

from concord.errors import CapabilityError, InputError
from concord.feedback import (
    BothOrders,
    ByScore,
    Drawn,
    Judge,
    OrderedJudge,
    Pair,
    PairJudge,
    Template,
    Verdict,
    read_constitution,
    read_template,
)
from concord.policies import Scripted
from concord.types import (
    Ask,
    Capability,
    Feedback,
    Finish,
    Message,
    Rate,
    Reply,
    Sampling,
    Score,
    Unanswered,
    Unscored,
    Usage,
    as_prompt,
    as_turns,
)

PAIRS = [Pair.of("q", "good", "bad"), Pair.of("q", "bad", "good"), Pair.of("q", "same", "same")]


def shown(ask: Ask) -> tuple[str, str]:
    """The two replies that a judge is shown, in their order."""
    text = ask.prompt.text
    first = text.partition("reply A\n")[2].partition("\n----")[0]
    return first, text.partition("reply B\n")[2].partition("\n----")[0]


def by_content(ask: Ask) -> str:
    """A judge that reads: good beats bad, wherever it stands."""
    first, second = shown(ask)
    return f"So.\nVerdict: {'tie' if first == second else 'A' if first == 'good' else 'B'}"


def preferences(judge: PairJudge, pairs: list[Pair] = PAIRS) -> list[float | None]:
    """What a judge prefers, None for no verdict."""
    return [one.preference if isinstance(one, Verdict) else None for one in judge.compare(pairs)]


def judge_of(*, said: str = "", tops: dict[str, float] | None = None) -> OrderedJudge:
    """A judge that always says one thing, or whose next token is always distributed in one way."""
    if tops is None:
        return OrderedJudge(Scripted(said))
    reply = Reply(Message("assistant", max(tops, key=lambda label: tops[label])), top=(tuple(tops.items()),))
    return OrderedJudge(Scripted(reply, capabilities=Capability.API | Capability.LP), "pair_token")


# --- pairs ------------------------------------------------------------------------------------------------


def test_a_judge_that_reads_says_the_same_in_both_orders() -> None:
    judge = OrderedJudge(Scripted(by_content))
    assert isinstance(judge, PairJudge)
    assert not isinstance(judge, Feedback)
    assert preferences(judge) == [1.0, 0.0, 0.5]
    for rule in ("consistent", "averaged"):
        both = BothOrders(judge, rule=rule)
        assert preferences(both) == [1.0, 0.0, 0.5]
    (verdict,) = BothOrders(judge).compare(PAIRS[:1])
    assert isinstance(verdict, Verdict)
    assert verdict.parts == {"shown first": 1.0, "shown second": 1.0}
    assert verdict.why == "So.\nVerdict: A\n\nSo.\nVerdict: B"
    assert verdict.usage.calls == 2


@pytest.mark.parametrize("place", ["A", "B"])
def test_a_judge_of_places_has_no_say(place: str) -> None:
    judge = judge_of(said=f"Verdict: {place}")
    assert preferences(judge) == [float(place == "A")] * 3
    assert preferences(BothOrders(judge)) == preferences(BothOrders(judge, rule="averaged")) == [0.5] * 3


def test_the_two_rules_differ_where_one_verdict_is_a_tie() -> None:
    judge = OrderedJudge(Scripted({"reply A\ngood": "Verdict: A", "": "Verdict: tie"}))
    assert preferences(BothOrders(judge), PAIRS[:2]) == [0.5, 0.5]
    assert preferences(BothOrders(judge, rule="averaged"), PAIRS[:2]) == [0.75, 0.25]


def test_soft_verdicts_keep_their_strength() -> None:
    judge = judge_of(tops={"m": -0.2231435513, "M": -1.6094379124})  # P(m) = 0.8, P(M) = 0.2
    assert preferences(judge) == pytest.approx([0.8] * 3)
    assert preferences(BothOrders(judge)) == [0.5] * 3
    assert preferences(BothOrders(judge, rule="averaged")) == pytest.approx([0.5] * 3)


class Counting(Scripted):
    """Remembers how much it was asked at once."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.calls: list[int] = []

    def answer(self, asks: Sequence[Ask]) -> Sequence[tuple[Reply | Unanswered, ...]]:
        self.calls.append(len(asks))
        return super().answer(asks)


def test_everything_is_one_call_to_the_policy() -> None:
    policy = Counting("Verdict: A")
    BothOrders(OrderedJudge(policy)).compare(PAIRS)
    assert policy.calls == [6]
    OrderedJudge(policy).compare([])
    Judge(policy).rate([])
    assert policy.calls == [6], "nothing to ask is not asked"


def test_what_cannot_be_read_is_unscored_and_costs() -> None:
    one, other = judge_of(said="I like both").compare(PAIRS[:2])
    assert one == other
    assert isinstance(one, Unscored)
    assert one.reason == "no verdict in the judge's reply 'I like both'"
    assert one.usage.calls == 1
    lost = OrderedJudge(Scripted(Unanswered("it timed out", usage=Usage(calls=3))))
    assert lost.compare(PAIRS[:1]) == [
        Unscored("the judge did not answer: it timed out", usage=Usage(calls=3))
    ]
    half = OrderedJudge(Scripted({"reply A\ngood": "Verdict: A", "": "hm"}))
    (verdict,) = BothOrders(half).compare(PAIRS[:1])
    assert isinstance(verdict, Unscored)
    assert verdict.reason == "no verdict in the judge's reply 'hm'"
    assert verdict.usage.calls == 2


# --- scores -----------------------------------------------------------------------------------------------


def test_scores_of_every_reply() -> None:
    judge = Judge(Scripted({"reply\ngood": "Well.\nScore: 9", "reply\nbad": "Score: 2/10", "": "None."}))
    assert isinstance(judge, Feedback)
    rates = [Rate(as_prompt("q"), tuple(map(as_turns, ("good", "bad", "odd")))), Rate(as_prompt("r"), ())]
    (good, bad, odd), none = judge.rate(rates)
    assert isinstance(good, Score)
    assert (good.value, good.why, good.parts, good.usage.calls) == (9.0, "Well.\nScore: 9", {}, 1)
    assert isinstance(bad, Score)
    assert bad.value == 2.0
    assert isinstance(odd, Unscored)
    assert none == ()
    assert preferences(ByScore(judge), PAIRS[:2]) == [1.0, 0.0]


def test_expected_scores() -> None:
    reply = Reply(Message("assistant", "4"), top=((("4", -0.6931471806), ("2", -0.6931471806)),))
    policy = Scripted(reply, capabilities=Capability.API | Capability.LP)
    ((score,),) = Judge(policy, "score_token").rate([Rate(as_prompt("q"), (as_turns("a"),))])
    (ask,) = policy.asks
    assert (ask.sampling.max_tokens, ask.sampling.top_logps, ask.needs) == (
        1,
        20,
        Capability.API | Capability.LP,
    )
    assert isinstance(score, Score)
    assert score.value == pytest.approx(3.0)
    assert score.why == ""


def test_a_policy_without_probabilities_is_refused_before_it_is_asked() -> None:
    policy = Scripted("m")
    with pytest.raises(CapabilityError):
        OrderedJudge(policy, "pair_token").compare(PAIRS)
    assert policy.asks == []


# --- by what --------------------------------------------------------------------------------------------


def test_a_rubric_takes_the_place_of_the_criteria() -> None:
    policy = Scripted("Verdict: A")
    OrderedJudge(policy, rubric="The one with fewer words wins.").compare(PAIRS[:1])
    text = policy.asks[0].prompt.text
    assert "fewer words wins" in text
    assert read_template("pair").criteria.strip() not in text


def test_principles_are_drawn_by_seed_recorded_and_the_same_in_both_orders() -> None:
    constitution = read_constitution()
    policy = Scripted("Verdict: tie")
    pairs = [Pair.of(f"question {at}", "good", "bad") for at in range(60)]
    judge = BothOrders(OrderedJudge(policy, principles=Drawn(constitution, count=2, seed=5)))
    verdicts = judge.compare(pairs)
    drawn = [one.principles for one in verdicts if isinstance(one, Verdict)]
    assert len({*drawn}) > 20
    for at, names in enumerate(drawn):
        assert len(names) == 2
        for ask in (policy.asks[at], policy.asks[at + 60]):
            assert all(constitution[name].text in ask.prompt.text for name in names)
    fewer = OrderedJudge(
        Scripted("Verdict: tie"), principles=Drawn(constitution.without("truth"), count=2, seed=5)
    )
    after = [one.principles for one in fewer.compare(pairs) if isinstance(one, Verdict)]
    changed = [before != now for before, now in zip(drawn, after, strict=True)]
    assert changed == ["truth" in before for before in drawn]
    assert any(changed)


def test_scores_by_principles_say_so() -> None:
    policy = Scripted("Score: 4")
    judge = Judge(policy, principles=Drawn(read_constitution(), column="kind"))
    rate = Rate(as_prompt("q"), (as_turns("a"), as_turns("b")), meta={"kind": "honesty"})
    ((first, second),) = judge.rate([rate])
    assert isinstance(first, Score)
    assert isinstance(second, Score)
    assert first.parts == second.parts
    ((name, score),) = first.parts.items()
    assert score == 4.0
    assert "honesty" in read_constitution()[name].scope
    assert all(read_constitution()[name].text in ask.prompt.text for ask in policy.asks)


# --- who ------------------------------------------------------------------------------------------------


def test_ids_are_of_all_that_decides() -> None:
    policy = Scripted("Verdict: A", name="one")
    constitution = read_constitution()
    template = read_template("pair")
    changed = Template(kind="pair", ask=template.ask + "!", read=template.read, labels=template.labels)
    judges: list[PairJudge] = [
        OrderedJudge(policy),
        OrderedJudge(Scripted("Verdict: A", name="other")),
        OrderedJudge(policy, changed),
        OrderedJudge(policy, rubric="Shorter wins."),
        OrderedJudge(policy, principles=Drawn(constitution)),
        OrderedJudge(policy, principles=Drawn(constitution, seed=1)),
        OrderedJudge(policy, principles=Drawn(constitution.without("truth"))),
        OrderedJudge(policy, sampling=Sampling(temperature=0.5)),
        BothOrders(OrderedJudge(policy)),
        BothOrders(OrderedJudge(policy), rule="averaged"),
    ]
    assert len({one.id for one in judges}) == len(judges)
    assert OrderedJudge(policy).id == OrderedJudge(Scripted("Verdict: B", name="one"), template).id
    assert Judge(policy).id != OrderedJudge(policy).id


def test_what_does_not_go_together() -> None:
    policy = Scripted("Verdict: A")
    with pytest.raises(
        InputError, match="another kind of judge; found 'score'; accepted: a template of kind pair"
    ):
        OrderedJudge(policy, "score")
    with pytest.raises(InputError, match="both a rubric and principles"):
        Judge(policy, rubric="so", principles=Drawn(read_constitution()))
    with pytest.raises(InputError, match="accepted: top_logps of 1 or more"):
        OrderedJudge(policy, "pair_token", sampling=Sampling(max_tokens=1))
    with pytest.raises(InputError, match="not put together so; found 'mean'"):
        BothOrders(OrderedJudge(policy), rule="mean")  # pyright: ignore[reportArgumentType]


def test_a_cut_off_verdict_says_so() -> None:
    reply = Reply(Message("assistant", "First, "), finish=Finish.LENGTH)
    (verdict,) = OrderedJudge(Scripted(reply)).compare(PAIRS[:1])
    assert isinstance(verdict, Unscored)
    assert verdict.reason.endswith("'First,' (it was cut off)")
