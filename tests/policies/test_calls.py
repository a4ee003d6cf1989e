"""A request is tried again where that can help, given up aloud where it cannot, and never tells the key."""

import asyncio
import json
import logging
import pickle
import socket
from collections.abc import Callable
from typing import Any

import pytest

from concord.errors import InputError, UnavailableError
from concord.policies.endpoint import Endpoint
from concord.policies.ledger import Account, Prices
from concord.policies.patience import RETRIED, Clock, Patience
from concord.policies.service import Service
from concord.types import Ask, Finish, Reply, Sampling, Unanswered, as_prompt, as_turns
from tests.policies.serving import Answer, Asked, Server, asks, chat, chats, endpoint, failed, only

FINE = chats(chat("fine"))


class Recorded:
    """A clock that notes how long it was asked to sleep, and does not."""

    def __init__(self, chance: float = 0.0) -> None:
        self.slept: list[float] = []
        self.clock = Clock(sleep=self.sleep, chance=lambda: chance, today=lambda: 1_700_000_000.0)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


def entry(server: Server, ask: Ask | None = None, **settings: Any) -> Reply | Unanswered:
    """What comes of one ask."""
    policy = endpoint(server, **settings)
    try:
        ((one,),) = policy.answer([ask or asks(1)[0]])
    except UnavailableError as error:
        return Unanswered(str(error))
    return one


def reason(script: Callable[[Asked], Answer], **settings: Any) -> str:
    """Why one ask brought no reply."""
    with Server(script) as server:
        one = entry(server, **settings)
    assert isinstance(one, Unanswered)
    return one.reason


# --- tries ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", sorted(RETRIED))
def test_what_passes_is_tried_again(status: int) -> None:
    with Server(only(failed(status), failed(status), FINE)) as server:
        one = entry(server)
        assert isinstance(one, Reply)
        assert (one.text, one.usage.calls) == ("fine", 3)
        assert [post == server.posts()[0] for post in server.posts()] == [True] * 3


@pytest.mark.parametrize("status", [400, 403, 410, 413, 422, 501])
def test_what_stays_is_not_tried_again(status: int) -> None:
    with Server(only(failed(status, "the prompt is too long"), FINE)) as server:
        one = entry(server)
        assert isinstance(one, Unanswered)
        assert "the prompt is too long" in one.reason
        assert len(server.asked) == 1


def test_waits_grow_up_to_the_longest_and_there_are_only_so_many_tries() -> None:
    patience = Patience(tries=6, first_wait=1, longest_wait=5)
    for chance, waits in ((0.0, [0.5, 1, 2, 2.5, 2.5]), (1.0, [1, 2, 4, 5, 5])):
        noted = Recorded(chance)
        with Server(lambda asked: failed(503, "busy")) as server:
            one = entry(server, patience=patience, clock=noted.clock)
            assert isinstance(one, Unanswered)
            assert "busy" in one.reason
            assert "Tried 6 times" in one.reason
            assert one.usage.calls == len(server.asked) == 6
        assert noted.slept == waits


@pytest.mark.parametrize(
    ("headers", "waited"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:30 GMT"}, 10.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, 0.25),
        ({}, 0.25),
    ],
)
def test_what_the_server_asks_to_wait_is_waited(headers: dict[str, str], waited: float) -> None:
    noted = Recorded()
    with Server(only(failed(429, "slow down", headers=headers), FINE)) as server:
        assert isinstance(entry(server, clock=noted.clock), Reply)
    assert noted.slept == [waited]


def test_a_server_that_asks_for_hours_is_given_up_at_once() -> None:
    noted = Recorded()
    why = reason(lambda asked: failed(429, headers={"retry-after": "7200"}), clock=noted.clock)
    assert "found 7200 s; accepted: Patience.longest_wait" in why
    assert not noted.slept


def test_no_quota_is_not_a_matter_of_patience() -> None:
    with Server(lambda asked: failed(429, "pay first", code="insufficient_quota")) as server:
        with pytest.raises(UnavailableError, match="no quota left"):
            endpoint(server, concurrency=1).answer(asks(5))
        assert len(server.asked) == 1


@pytest.mark.parametrize("cut", [0, 1, 60])
def test_an_answer_that_breaks_off_is_asked_for_again(cut: int) -> None:
    with Server(only(chats(chat("half"), cut=cut), FINE)) as server:
        one = entry(server)
        assert isinstance(one, Reply)
        assert one.text == "fine"
        assert server.settled() == 0
    why = reason(lambda asked: chats(chat("half"), cut=cut), patience=Patience(tries=2))
    assert "broke off" in why


def test_an_object_that_breaks_off_may_come_whole_another_time() -> None:
    whole = FINE.data
    with Server(only(Answer(whole[: len(whole) // 2]), FINE)) as server:
        assert isinstance(entry(server), Reply)
        assert len(server.asked) == 2


def test_what_is_no_object_is_not_asked_for_again_and_says_so() -> None:
    answers = only(FINE, Answer(b"[1, 2"), FINE)
    with Server(answers) as server:
        policy = endpoint(server, concurrency=1)
        ((first,), (second,), (third,)) = policy.answer(asks(3))
    assert isinstance(first, Reply)
    assert isinstance(second, Unanswered)
    assert "no JSON object: '[1, 2'" in second.reason
    assert isinstance(third, Reply)


def test_silence_is_waited_for_only_so_long() -> None:
    slow = chats(chat("late"), delay=5.0)
    with Server(only(slow, FINE)) as server:
        assert isinstance(entry(server, patience=Patience(read=0.05)), Reply)
        assert server.settled() == 0
    why = reason(lambda asked: slow, patience=Patience(read=0.02, tries=2))
    assert "ReadTimeout" in why
    assert "give Patience more seconds" in why
    assert "TimeoutError" in reason(lambda asked: slow, patience=Patience(whole=0.02, tries=1))


def test_nobody_there_is_said_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    noted = Recorded()
    policy = Endpoint(Service(base_url=f"http://127.0.0.1:{port}/v1", model="m"), clock=noted.clock)
    with pytest.raises(UnavailableError, match=r"nothing answers at .*look whether the server runs"):
        policy.answer(asks(3))
    assert not noted.slept


def test_a_server_that_was_there_may_come_back() -> None:
    noted = Recorded()
    with Server(lambda asked: FINE) as server:
        policy = endpoint(server, clock=noted.clock, patience=Patience(tries=3))
        policy.answer(asks(1))
    with pytest.raises(UnavailableError, match="nothing answers"):
        policy.answer(asks(1))
    assert len(noted.slept) == 2


def test_an_error_inside_an_answer_counts_as_what_it_says() -> None:
    inside = Answer({"error": {"code": 502, "message": "the one behind me failed"}})
    with Server(only(inside, FINE)) as server:
        assert isinstance(entry(server), Reply)
        assert len(server.asked) == 2
    assert "nonsense" in reason(lambda asked: Answer({"error": "nonsense"}))


# --- what it may be called elsewhere ----------------------------------------------------------------------


def test_a_server_that_wants_another_word_for_max_tokens_gets_it() -> None:
    def newer(asked: Asked) -> Answer:
        if "max_tokens" in asked.body:
            return failed(400, "'max_tokens' is not supported, use 'max_completion_tokens' instead")
        return FINE

    with Server(newer) as server:
        policy = endpoint(server, concurrency=2)
        answers = policy.answer(asks(4, sampling=Sampling(max_tokens=5)))
        assert all(isinstance(one, Reply) for (one,) in answers)
        assert [post.get("max_completion_tokens") for post in server.posts()].count(5) == 4
        assert len(server.asked) <= 6


def test_what_says_nothing_is_left_out_where_it_is_refused() -> None:
    def stubborn(asked: Asked) -> Answer:
        for name in ("temperature", "top_p"):
            if name in asked.body:
                return failed(400, f"Unsupported parameter: '{name}'")
        return FINE

    with Server(stubborn) as server:
        assert isinstance(entry(server), Reply)
        assert isinstance(entry(server, Ask(as_prompt("a"), sampling=Sampling(temperature=0.5))), Unanswered)


# --- what went wrong, and what to do ----------------------------------------------------------------------


def listing(*models: str, under: str = "/v1/models") -> Callable[[Asked], Answer]:
    """A server that lists models and knows nothing else."""
    listed = Answer({"object": "list", "data": [{"id": one} for one in models]})
    return lambda asked: listed if asked.path == under else failed(404, "Not Found")


def test_a_model_of_another_name_is_named() -> None:
    why = reason(listing("mm", "other"))
    assert "no model of this name" in why
    assert "found 'm'" in why
    assert "mm, other" in why


def test_half_an_address_is_made_whole() -> None:
    with Server(listing("m")) as server:
        policy = Endpoint(Service(base_url=server.root, model="m"))
        with pytest.raises(UnavailableError, match=f"write {server.root}/v1"):
            policy.answer(asks(1))


def test_an_address_of_something_else_is_said_to_be_one() -> None:
    page = Answer(b"<html><body>Welcome</body></html>", headers={"content-type": "text/html"})
    assert "does not speak the OpenAI protocol" in reason(lambda asked: page)
    assert "does not speak the OpenAI protocol" in reason(lambda asked: failed(404))
    assert "does not speak the OpenAI protocol" in reason(lambda asked: Answer(b"", status=405))


def test_a_redirection_is_not_followed() -> None:
    moved = Answer(b"", status=308, headers={"location": "https://elsewhere.example/v1"})
    assert "has moved; found 'https://elsewhere.example/v1'" in reason(lambda asked: moved)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, {"error": {"message": "who?"}}, "wants a key"),
        (402, {"error": {"message": "empty"}}, "wants to be paid"),
        (400, {"detail": "max_tokens too large"}, "max_tokens too large"),
        (400, [{"error": {"message": "bad key", "status": "INVALID"}}], "bad key"),
        (400, {"object": "error", "message": "too long"}, "too long"),
        (400, {"error": "plain words"}, "plain words"),
        (400, "words", "words"),
        (500, None, "overloaded or broken"),
    ],
)
def test_errors_of_every_shape_are_explained(status: int, body: object, said: str) -> None:
    why = reason(lambda asked: Answer(body, status=status), patience=Patience(tries=1))
    assert said in why
    assert "accepted:" in why
    assert "to do:" in why


# --- the key ----------------------------------------------------------------------------------------------

KEY = "sk-very-secret-0123456789"


def test_the_key_is_sent_and_stands_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CONCORD_TEST_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []

    def tells(asked: Asked) -> Answer:
        if asked.headers.get("authorization") != f"Bearer {KEY}":
            return failed(401, "no key")
        told = (
            FINE,
            failed(400, f"the key {KEY} may not do this"),
            chats(chat("x", finish=f"because of {KEY}")),
            Answer(f"not JSON, but {KEY}".encode()),
            chats(chat("fine again")),
            failed(401, f"Incorrect key {KEY}"),
        )
        return told[min(asked.number, len(told) - 1)]

    with Server(tells) as server:
        service = Service(base_url=server.url, model="m", key_env="CONCORD_TEST_KEY")
        policy = Endpoint(service, concurrency=1)
        answers = policy.answer(asks(6))
        assert [isinstance(one, Reply) for (one,) in answers] == [True, False, False, False, True, False]
        assert len(server.asked) == 6
        seen += [repr(answers), repr(policy), repr(service), policy.id, repr(policy.account.spent)]
        try:
            policy.answer(asks(1))
        except UnavailableError as error:
            seen += [str(error), repr(error), repr(error.__cause__), repr(error.__context__)]
    seen += [record.getMessage() for record in caplog.records]
    seen += [repr(vars(policy)), pickle.dumps(service).decode("latin-1")]
    assert len(caplog.records) > 10, "the client's own logging was not looked at"
    assert not [text for text in seen if KEY in text or "very-secret" in text]
    assert seen[0].count("[the key]") == 4


def test_what_a_model_says_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCORD_TEST_KEY", "x")
    with Server(lambda asked: chats(chat("six boxes"))) as server:
        policy = Endpoint(Service(base_url=server.url, model="m", key_env="CONCORD_TEST_KEY"))
        ((one,),) = policy.answer(asks(1))
    assert isinstance(one, Reply)
    assert one.text == "six boxes"


def test_without_a_key_none_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with Server(lambda asked: FINE) as server:
        assert isinstance(entry(server), Reply)
        assert "authorization" not in server.asked[0].headers


def test_a_key_that_is_taken_away_is_missed_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCORD_TEST_KEY", KEY)
    with Server(lambda asked: FINE) as server:
        policy = Endpoint(Service(base_url=server.url, model="m", key_env="CONCORD_TEST_KEY"))
        monkeypatch.delenv("CONCORD_TEST_KEY")
        with pytest.raises(InputError, match="CONCORD_TEST_KEY holds no key"):
            policy.answer(asks(1))


def test_a_refused_key_is_looked_for_in_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCORD_TEST_KEY", KEY)
    with Server(lambda asked: failed(401, f"Incorrect key {KEY}")) as server:
        policy = Endpoint(Service(base_url=server.url, model="m", key_env="CONCORD_TEST_KEY"))
        with pytest.raises(UnavailableError, match=r"refuses the key.*look at \$CONCORD_TEST_KEY"):
            policy.answer(asks(1))


def test_a_redirection_that_repeats_the_key_does_not_get_it_into_a_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONCORD_TEST_KEY", KEY)
    moved = Answer(b"", status=307, headers={"location": f"http://elsewhere.example/?key={KEY}"})
    with Server(lambda asked: moved) as server:
        policy = Endpoint(Service(base_url=server.url, model="m", key_env="CONCORD_TEST_KEY"))
        with pytest.raises(UnavailableError, match=r"example/\?key=\[the key\]"):
            policy.answer(asks(1))


# --- what is sent and what it costs -----------------------------------------------------------------------


def test_extra_settings_go_with_every_request() -> None:
    with Server(lambda asked: FINE) as server:
        service = Service(base_url=server.url, model="m", extra={"reasoning_effort": "low"})
        Endpoint(service).answer(asks(1))
        assert server.posts() == [
            {
                "model": "m",
                "temperature": 1.0,
                "top_p": 1.0,
                "messages": [{"role": "user", "content": "word 0"}],
                "reasoning_effort": "low",
            }
        ]


def test_an_answer_that_does_not_count_its_tokens_costs_the_most_it_can() -> None:
    silent = Answer({"choices": [chat("x")]})
    with Server(lambda asked: silent) as server:
        account = Account(Prices(prompt=0, new=1e6))
        one = entry(server, Ask(as_prompt("a"), sampling=Sampling(max_tokens=7)), account=account)
        assert one.usage.cost == account.spent.cost == 7
        assert (one.usage.new_tokens, account.lost) == (0, 1)


def test_a_refused_request_costs_a_call_and_no_money() -> None:
    with Server(lambda asked: failed(400)) as server:
        account = Account(Prices(prompt=1, new=1))
        one = entry(server, account=account)
        assert (one.usage.calls, one.usage.cost, account.lost) == (1, 0.0, 0)


def test_odd_letters_travel() -> None:
    odd = 'line\u2028end \U0001f600 \x00 "quoted" \\ back'

    def back(asked: Asked) -> Answer:
        return Answer(json.loads(json.dumps(chats(chat(asked.body["messages"][0]["content"])).body)))

    with Server(back) as server:
        one = entry(server, Ask(as_prompt(odd)))
        assert isinstance(one, Reply)
        assert one.text == odd
        assert one.finish is Finish.STOP
        assert isinstance(entry(server, Ask(as_prompt("half \ud83d"))), Reply)
        assert as_turns(one.text)[0].text == odd
