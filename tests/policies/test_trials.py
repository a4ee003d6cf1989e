"""What a server is capable of is found out by trying it, and what it reports is exact."""

from pathlib import Path
from typing import Any

import pytest

from concord.errors import CapabilityError, UnavailableError
from concord.policies.endpoint import Endpoint
from concord.store import Store
from concord.types import Ask, Capability, Message, Prompt, Reply, Sampling, Unanswered, as_prompt, as_turns
from tests.policies.serving import (
    Answer,
    Asked,
    Server,
    asks,
    chat,
    chats,
    endpoint,
    failed,
    split,
    table,
    tiny,
    weighed,
)


def plain(text: str) -> Prompt:
    """A prompt that is continued as it stands."""
    return Prompt((Message("user", text),), plain=True)


def test_given_replies_are_scored_exactly() -> None:
    given = (as_turns(" yes no."), as_turns(" no"), as_turns("?"))
    ask = Ask(plain("Say it"), given=given, sampling=Sampling(top_logps=2))
    with Server(tiny) as server:
        policy = endpoint(server)
        assert policy.capabilities == Capability.API | Capability.LP | Capability.SCORE
        (answer,) = policy.answer([ask])
    for turns, reply in zip(given, answer, strict=True):
        assert isinstance(reply, Reply)
        words = split(turns[0].text)
        contexts = [" it", *words[:-1]]
        expected = [table(context)[word] for context, word in zip(contexts, words, strict=True)]
        assert reply.logps == tuple(expected)
        assert reply.message == turns[0]
        best = [tuple(sorted(table(one).items(), key=lambda pair: -pair[1])[:2]) for one in contexts]
        assert reply.top == tuple(best)
        assert (reply.usage.calls, reply.usage.new_tokens) == (1, 1)


def test_scores_are_kept_and_belong_to_their_place(tmp_path: Path) -> None:
    ask = Ask(plain("Say it"), given=(as_turns(" is it"),))
    other = Ask(plain("Say it is"), given=(as_turns(" it"),))
    with Server(tiny) as server, Store(tmp_path) as store:
        first = endpoint(server, store).answer([ask])
        asked = len(server.asked)
        assert endpoint(server, store).answer([ask]) == first
        assert len(server.asked) == asked
        # The text is the same, and what is scored of it is not.
        ((shorter,),) = endpoint(server, store).answer([other])
        assert isinstance(shorter, Reply)
        assert shorter.logps == (table(" is")[" it"],)


def test_a_reply_that_shares_a_token_with_its_prompt_is_not_scored() -> None:
    with Server(tiny) as server:
        ask = Ask(plain("Say it "), given=(as_turns("yes"), as_turns(".")))
        ((joined, apart),) = endpoint(server).answer([ask])
    assert isinstance(joined, Unanswered)
    assert "begin the reply with the blank" in joined.reason
    assert isinstance(apart, Reply)


def test_plain_prompts_are_continued() -> None:
    with Server(tiny) as server:
        ask = Ask(plain("Say it"), sampling=Sampling(top_logps=1, max_tokens=1))
        ((reply,),) = endpoint(server).answer([ask])
    best = max(table(" it").items(), key=lambda pair: pair[1])
    assert isinstance(reply, Reply)
    assert (reply.text, reply.logps, reply.top) == (best[0], (best[1],), ((best,),))


def test_a_trial_finds_out_what_is_reported(tmp_path: Path) -> None:
    lettered = Sampling(top_logps=1, max_tokens=1)
    with Server(weighed) as server, Store(tmp_path) as store:
        policy = endpoint(server, store)
        policy.answer(asks(1))
        assert len(server.asked) == 1, "sampling needs no trial"
        ((reply,),) = policy.answer(asks(1, sampling=lettered))
        assert isinstance(reply, Reply)
        assert (reply.logps, reply.top) == ((-0.25,), ((("yes", -0.25),),))
        assert policy.capabilities == Capability.API | Capability.LP
        tried = len(server.asked)
        again = endpoint(server, store)
        assert again.answer(asks(1, sampling=lettered)) == [(reply,)]
        assert len(server.asked) == tried, "what it is capable of is known from the store"
        with pytest.raises(CapabilityError, match="SCORE"):
            policy.answer([Ask(plain("a"), given=(as_turns(" b"),))])
        assert Endpoint(policy.service, store=store, offline=True).capabilities == policy.capabilities


def test_a_server_that_reports_nothing_is_capable_of_nothing_more() -> None:
    with Server(lambda asked: chats(chat("x")) if "messages" in asked.body else failed(500)) as server:
        policy = endpoint(server)
        assert policy.capabilities == Capability.API
        with pytest.raises(CapabilityError, match="cannot do what is asked; found LP"):
            policy.answer([*asks(1), Ask(as_prompt("a"), needs=Capability.LP)])
        with pytest.raises(CapabilityError, match="GRAD"):
            policy.answer([Ask(as_prompt("a"), needs=Capability.GRAD)])


def test_a_trial_that_reaches_nobody_says_so() -> None:
    with Server(lambda asked: failed(401, "no")) as server:
        policy = endpoint(server)
        with pytest.raises(UnavailableError, match="wants a key"):
            _ = policy.capabilities
    with pytest.raises(UnavailableError, match="nothing answers"):
        _ = policy.capabilities


def test_a_trial_with_a_model_that_is_not_there_names_those_that_are() -> None:
    def others(asked: Asked) -> Answer:
        return Answer({"data": [{"id": "mm"}]}) if asked.method == "GET" else failed(404, "no such model")

    with Server(others) as server, pytest.raises(UnavailableError, match="mm"):
        _ = endpoint(server).capabilities


@pytest.mark.parametrize(
    ("sampling", "own"),
    [
        (Sampling(), True),
        (Sampling(temperature=0), False),
        (Sampling(temperature=0.7), False),
        (Sampling(top_p=0.9), False),
        (Sampling(top_k=5), False),
    ],
)
def test_log_probabilities_are_those_that_were_sampled_or_none(sampling: Sampling, own: bool) -> None:
    with Server(weighed) as server:
        ((reply,),) = endpoint(server).answer([Ask(as_prompt("a"), sampling=sampling, needs=Capability.LP)])
    assert isinstance(reply, Reply)
    assert reply.logps == ((-0.25,) if own else None)
    assert reply.top is None


@pytest.mark.parametrize("sampling", [{"temperature": 0.7}, {"top_p": 0.5}, {"top_k": 3}])
def test_alternatives_are_refused_where_servers_differ(sampling: dict[str, Any]) -> None:
    with Server(weighed) as server:
        with pytest.raises(CapabilityError, match="temperature 0 or 1, top_p 1 and no top_k"):
            endpoint(server).answer([Ask(as_prompt("a"), sampling=Sampling(top_logps=2, **sampling))])
        assert not server.asked


def test_replies_to_messages_are_not_scored() -> None:
    with Server(tiny) as server, pytest.raises(CapabilityError, match="plain prompts only"):
        endpoint(server).answer([Ask(as_prompt("a"), given=(as_turns("b"),))])


def test_a_chat_that_stops_reporting_is_unanswered() -> None:
    def forgetful(asked: Asked) -> Answer:
        return weighed(asked) if asked.number < 2 else chats(chat("yes"))

    with Server(forgetful) as server:
        ((one,),) = endpoint(server).answer([Ask(as_prompt("a"), needs=Capability.LP)])
    assert isinstance(one, Unanswered)
    assert "no log-probabilities" in one.reason


def test_a_trial_that_came_too_soon_is_tried_with_all_patience() -> None:
    def script(asked: Asked) -> Answer:
        return failed(429, "slow down") if asked.number < 5 else weighed(asked)

    with Server(script) as server:
        assert Capability.LP in endpoint(server).capabilities
