"""Likelihoods as rewards: by hand, and by the identities of the objectives that train them."""

import math
from collections.abc import Sequence
from typing import Any, cast

import pytest

from concord.errors import CapabilityError, InputError
from concord.feedback import Likelihood
from concord.policies import Scripted
from concord.types import Ask, Message, Policy, Rate, Reply, Score, Unanswered, Unscored, as_prompt, as_turns


def speaker(name: str, **logps: float) -> Scripted:
    """A policy that finds words as likely as this, and others less."""
    return Scripted("", logps=lambda word: logps.get(word, -4.0), name=name)


def asked(*replies: str) -> Rate:
    return Rate(as_prompt("Where is it?"), tuple(map(as_turns, replies)))


def values(feedback: Likelihood, *replies: str) -> list[float]:
    ((*found,),) = feedback.rate([asked(*replies)])
    assert all(isinstance(one, Score) for one in found)
    return [one.value for one in found if isinstance(one, Score)]


def test_a_likelihood_is_taken_for_each_token_or_of_the_reply() -> None:
    policy = speaker("one", north=-1.0, south=-2.0)
    assert values(Likelihood(policy), "north", "north south", "north north west") == [-1.0, -1.5, -2.0]
    whole = Likelihood(policy, per="reply", scale=0.5)
    assert values(whole, "north", "north south", "north north west") == [-0.5, -1.5, -3.0]


def test_beside_a_reference_it_is_the_reward_that_dpo_trains() -> None:
    policy, reference = speaker("dpo", north=-1.0, south=-3.0), speaker("base", north=-2.0, south=-2.5)
    beta = 0.1
    good, bad = values(Likelihood(policy, reference, per="reply", scale=beta), "north north", "south")
    assert good == pytest.approx(beta * (-2.0 + 4.0))
    assert bad == pytest.approx(beta * (-3.0 + 2.5))
    # The loss of DPO on this pair, from these rewards and from its definition.
    loss = -math.log(1 / (1 + math.exp(-(beta * (-2.0 + 4.0) - beta * (-3.0 + 2.5)))))
    assert -math.log(1 / (1 + math.exp(bad - good))) == pytest.approx(loss)
    same = values(Likelihood(policy, policy), "north", "south north")
    assert same == [0.0, 0.0]


def test_the_likelihood_of_a_model_is_that_of_transformers() -> None:
    torch = pytest.importorskip("torch", reason="a model is asked")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from concord.engine import load_policy
    from concord.worlds.harbour import BASE, Harbour

    tokenizer, model = AutoTokenizer.from_pretrained(BASE), AutoModelForCausalLM.from_pretrained(BASE)
    (one,) = Harbour().requests("test", families=["copy"], each=1)
    texts = ["mara ben.", "i do not know that."]
    found = Likelihood(cast("Policy", load_policy(BASE))).rate(
        [Rate(one.prompt, tuple(map(as_turns, texts)))]
    )
    for text, score in zip(texts, found[0], strict=True):
        said: list[Any] = [{"role": turn.role, "content": turn.text} for turn in one.prompt.messages]
        shown: str = tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
        whole: str = tokenizer.apply_chat_template(
            [*said, {"role": "assistant", "content": text}], tokenize=False
        )
        start, ids = (tokenizer(each, add_special_tokens=False).input_ids for each in (shown, whole))
        assert ids[: len(start)] == start
        with torch.no_grad():
            logps = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        each = [float(logps[at - 1, ids[at]]) for at in range(len(start), len(ids))]
        assert isinstance(score, Score)
        assert score.value == pytest.approx(sum(each) / len(each), abs=1e-5)


class Calls:
    """A policy that counts how often it is called."""

    def __init__(self, name: str) -> None:
        self.policy, self.calls, self.id = speaker(name), 0, name
        self.capabilities = self.policy.capabilities

    def answer(self, asks: Sequence[Ask]) -> Sequence[tuple[Reply | Unanswered, ...]]:
        self.calls += 1
        return self.policy.answer(asks)


def test_all_rows_are_asked_in_one_call_to_each() -> None:
    policy, reference = Calls("one"), Calls("two")
    feedback = Likelihood(policy, reference)
    found = feedback.rate([asked("a", "b b"), asked("c")])
    assert [len(row) for row in found] == [2, 1]
    assert policy.calls == reference.calls == 1
    assert feedback.rate([]) == []
    assert policy.calls == 1


@pytest.mark.parametrize("logp", [-math.inf, math.nan])
def test_what_is_no_number_is_no_score(logp: float) -> None:
    odd = speaker("odd", north=logp)
    for feedback in (Likelihood(odd), Likelihood(speaker("one"), odd)):
        ((first, second),) = feedback.rate([asked("north", "south")])
        assert isinstance(first, Unscored)
        assert "not a finite number" in first.reason
        assert isinstance(second, Score)


def test_what_it_is_known_by_says_how_it_reads() -> None:
    one, two = speaker("one"), speaker("two")
    ways: list[Any] = [
        Likelihood(one),
        Likelihood(two),
        Likelihood(one, two),
        Likelihood(one, per="reply"),
        Likelihood(one, scale=2.0),
    ]
    assert len({way.id for way in ways}) == len(ways)
    assert Likelihood(one).id == Likelihood(speaker("one")).id


class Bare:
    """Can say how likely replies are, and does not."""

    def __init__(self, answer: Reply | Unanswered) -> None:
        self.answered, self.id, self.capabilities = answer, "bare", speaker("one").capabilities

    def answer(self, asks: Sequence[Ask]) -> Sequence[tuple[Reply | Unanswered, ...]]:
        return [tuple(self.answered for _ in ask.given) for ask in asks]


@pytest.mark.parametrize(
    ("answer", "why"),
    [(Unanswered("no room"), "no room"), (Reply(Message("assistant", "north")), "no log-probabilities")],
)
def test_what_has_no_likelihood_has_no_score(answer: Reply | Unanswered, why: str) -> None:
    ((first,),) = Likelihood(Bare(answer)).rate([asked("north")])
    assert isinstance(first, Unscored)
    assert why in first.reason
    ((second,),) = Likelihood(speaker("one"), Bare(answer)).rate([asked("north")])
    assert isinstance(second, Unscored)
    assert why in second.reason


def test_who_cannot_say_is_refused_and_so_are_odd_settings() -> None:
    with pytest.raises(CapabilityError, match=r"does not say how likely.*'?mute'?"):
        Likelihood(Scripted("hm", name="mute"))
    wrong: Any = "word"
    with pytest.raises(InputError, match="accepted: token, reply"):
        Likelihood(speaker("one"), per=wrong)
    for scale in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(InputError, match="cannot be scaled so"):
            Likelihood(speaker("one"), scale=scale)
