"""KL to the start: exact by enumeration, estimated without bias, and only from tokens that were drawn."""

from collections.abc import Sequence
from itertools import product
from math import exp, inf, log

import numpy as np
import pytest

from concord.errors import CapabilityError, InputError
from concord.eval.costs.divergence import exact_kl, k1, k3, kl_by_enumeration, kl_results, kl_to_start
from concord.policies import Scripted
from concord.types import Ask, Capability, Finish, Message, Reply, Result, Unanswered, as_prompt, as_turns

P, Q = {"a": 0.7, "b": 0.2, "c": 0.1}, {"a": 0.4, "b": 0.3, "c": 0.3}
KL = sum(p * log(p / Q[word]) for word, p in P.items())
LENGTH = 3


def named(results: list[Result]) -> dict[str, Result]:
    return {"/".join([one.name, *map(str, one.at.values())]): one for one in results}


class Words:
    """Draws three words independently from a law, and scores replies by it; `down` is never answered."""

    def __init__(self, law: dict[str, float], *, end: bool = False) -> None:
        self.law, self.end = law, end
        self.id = f"words-{law}"
        self.capabilities = Capability.API | Capability.LP | Capability.SCORE

    def answer(self, asks: Sequence[Ask]) -> list[tuple[Reply | Unanswered, ...]]:
        return [self._one(ask, seed) for seed, ask in enumerate(asks)]

    def _one(self, ask: Ask, seed: int) -> tuple[Reply | Unanswered, ...]:
        if "down" in ask.prompt.text:
            return (Unanswered("down"),) * ask.count
        if ask.given:
            return tuple(self._reply(turns[-1].text.split(), closed=self.end) for turns in ask.given)
        chance = np.random.default_rng([ask.sampling.seed or 0, seed])
        drawn = chance.choice([*self.law], p=[*self.law.values()], size=(ask.n, LENGTH))
        return tuple(self._reply(words.tolist(), finish=Finish.LENGTH) for words in drawn)

    def _reply(self, words: list[str], *, closed: bool = False, finish: Finish = Finish.STOP) -> Reply:
        tokens = tuple(map(ord, words)) + ((0,) if closed else ())
        logps = tuple(log(self.law[word]) for word in words) + ((-5.0,) if closed else ())
        return Reply(Message("assistant", " ".join(words)), finish=finish, tokens=tokens, logps=logps)


# --- estimators -------------------------------------------------------------------------------------------


def test_worked_estimators() -> None:
    ours, theirs = [log(0.5), log(0.2)], [log(0.25), log(0.4)]
    assert k1(ours, theirs) == pytest.approx(0)
    assert k3(ours, theirs) == pytest.approx((0.5 - 1 + log(2)) + (2 - 1 - log(2)))
    assert k3([-3.0], [-3.0]) == 0
    assert k3([-1000.0], [0.0]) < inf


def test_k3_is_never_below_0_and_right_for_the_smallest_gaps() -> None:
    for gap in (1e-3, 1.3e-9, -1.3e-9, 1e-12, -1e-15):
        assert k3([-0.5], [-0.5 + gap]) >= 0
    assert k3([0.0], [2e-6]) == pytest.approx(2e-12, rel=1e-5, abs=0)
    assert k3([0.0], [-2e-8]) == pytest.approx(2e-16, rel=1e-4, abs=0)


def test_both_have_the_mean_of_the_kl() -> None:
    mean = {of: sum(p * of([log(p)], [log(Q[word])]) for word, p in P.items()) for of in (k1, k3)}
    assert mean[k1] == pytest.approx(KL)
    assert mean[k3] == pytest.approx(KL)


def test_results_per_reply_and_per_token() -> None:
    ours, theirs = [[-1.0, -1.0], [-1.0], None, [-2.0]], [[-2.0, -1.0], [-1.5], [-1.0], None]
    results = named(kl_results(ours, theirs))
    assert results["kl_per_reply/k1"].value == pytest.approx(1.5 / 2)
    assert results["kl_per_token/k1"].value == pytest.approx(1.5 / 3)
    assert {(one.n, one.failures) for one in results.values()} == {(2, 2)}
    same = named(kl_results([[-1.0]] * 3, [[-1.0]] * 3))
    assert [one.value for one in same.values()] == [0] * 4


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="other tokens under the start; found 2 and 1"):
        kl_results([[-1.0, -1.0]], [[-1.0]])
    with pytest.raises(InputError, match="no finite log-probability"):
        kl_results([[-1.0]], [[-inf]])
    with pytest.raises(InputError, match="not those of the same replies"):
        kl_results([[-1.0]], [])


# --- asking -----------------------------------------------------------------------------------------------


def test_estimates_from_draws_hold_the_exact_value() -> None:
    prompts = [as_prompt(f"say {number}") for number in range(300)]
    results = named(kl_to_start(prompts, Words(P), Words(Q), n=2, max_tokens=LENGTH))
    for name, wanted in (("kl_per_reply", LENGTH * KL), ("kl_per_token", KL)):
        for estimator in ("k1", "k3"):
            one = results[f"{name}/{estimator}"]
            assert one.n == 600
            assert one.interval is not None
            assert one.interval.low < wanted < one.interval.high
    widths = {name: one.interval.high - one.interval.low for name, one in results.items() if one.interval}
    assert widths["kl_per_reply/k3"] < widths["kl_per_reply/k1"]


def test_an_end_that_was_never_drawn_does_not_count() -> None:
    prompts = [as_prompt(f"say {number}") for number in range(20)]
    plain = kl_to_start(prompts, Words(P), Words(Q), max_tokens=LENGTH)
    closed = kl_to_start(prompts, Words(P, end=True), Words(Q, end=True), max_tokens=LENGTH)
    assert [one.value for one in plain] == [one.value for one in closed]


def test_replies_that_fail_or_have_other_tokens_are_failures() -> None:
    prompts = [as_prompt("say"), as_prompt("down")]
    assert named(kl_to_start(prompts, Words(P), Words(Q)))["kl_per_reply/k1"].failures == 1
    other = named(kl_to_start(prompts, Words(P), Words(Q, end=True)))["kl_per_reply/k1"]
    assert (other.value, other.failures) == (None, 2)


def test_a_policy_against_itself_is_at_no_distance() -> None:
    policy = Scripted({"": ["a b", "c"]}, logps=lambda word: log(P[word]))
    for one in kl_to_start([as_prompt("x"), as_prompt("y")], policy, policy, n=2):
        assert one.value == 0
        assert one.interval is not None
        assert (one.interval.low, one.interval.high) == (0, 0)
        assert "no interval" not in one.how
    with pytest.raises(CapabilityError):
        kl_to_start([as_prompt("x")], Scripted("a"), Scripted("a"))


# --- exactly ----------------------------------------------------------------------------------------------


def test_exact_values() -> None:
    assert exact_kl(P, Q) == pytest.approx(KL)
    assert exact_kl(P, P) == 0
    assert exact_kl({"a": 1.0, "b": 0.0}, {"a": 1.0}) == 0
    assert exact_kl({"a": 1.0}, {"b": 1.0}) == inf


def test_enumeration_is_exact() -> None:
    replies = [as_turns(" ".join(words)) for words in product("abc", repeat=LENGTH)]
    prompts = [as_prompt("x"), as_prompt("down")]
    (one,) = kl_by_enumeration(prompts, Words(P), Words(Q), replies=replies)
    assert one.value == pytest.approx(LENGTH * KL)
    assert (one.n, one.failures) == (1, 1)
    total = sum(exp(sum(log(P[word]) for word in turns[0].text.split())) for turns in replies)
    assert total == pytest.approx(1)


class Laws(Words):
    """A policy of one word, whose law is that of the prompt."""

    def __init__(self, laws: dict[str, dict[str, float]]) -> None:
        super().__init__(P)
        self.laws = laws

    def answer(self, asks: Sequence[Ask]) -> list[tuple[Reply | Unanswered, ...]]:
        return [tuple(self._of(turns[-1].text, ask.prompt.text) for turns in ask.given) for ask in asks]

    def _of(self, word: str, prompt: str) -> Reply:
        p = self.laws[prompt][word]
        logps = (-1200.0 if p == TINY else log(p) if p else -inf,)
        return Reply(Message("assistant", word), finish=Finish.STOP, tokens=(1,), logps=logps)


TINY = -1.0  # stands for a probability that is no number any more, though its logarithm is


def test_an_infinite_kl_is_that_prompts_failure_and_is_said() -> None:
    prompts, replies = [as_prompt("near"), as_prompt("never")], [as_turns("a"), as_turns("b")]
    policy = Laws({prompt: {"a": 0.5, "b": 0.5} for prompt in ("near", "never")})
    start = Laws({"near": {"a": 0.5, "b": TINY}, "never": {"a": 1.0, "b": 0.0}})
    (one,) = kl_by_enumeration(prompts, policy, start, replies=replies)
    assert one.value == pytest.approx(0.5 * (log(0.5) + 1200))
    assert (one.n, one.failures) == (1, 1)
    assert "infinite at 1 of 2 prompts" in one.how
    (none,) = kl_by_enumeration(prompts[1:], policy, start, replies=replies)
    assert (none.value, none.failures) == (None, 1)
    assert "infinite at 1 of 1 prompts" in none.why_none


def test_a_list_that_is_not_whole_gives_no_value() -> None:
    (one,) = kl_by_enumeration([as_prompt("x")], Words(P), Words(Q), replies=[as_turns("a a a")])
    assert (one.value, one.failures) == (None, 1)
