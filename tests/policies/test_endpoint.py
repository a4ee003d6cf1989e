"""An endpoint answers every ask, once; what it answered is kept, and what it cannot answer has a reason."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from concord.errors import InputError, UnavailableError
from concord.policies.endpoint import Endpoint
from concord.policies.ledger import Account, Prices
from concord.policies.patience import Patience
from concord.policies.service import Service
from concord.store import Store
from concord.types import (
    Ask,
    AsyncPolicy,
    Audio,
    Capability,
    Finish,
    Image,
    Message,
    Policy,
    Prompt,
    Reply,
    Sampling,
    Unanswered,
    Usage,
    as_prompt,
    as_turns,
)
from tests.conftest import ROOT, run_script
from tests.policies.serving import Answer, Asked, Server, asks, chat, chats, endpoint, failed, only, weighed


def texts(answers: Sequence[Sequence[Reply | Unanswered]]) -> list[list[str]]:
    """What all replies say, and the reasons of those that say nothing."""
    return [[one.text if isinstance(one, Reply) else one.reason for one in answer] for answer in answers]


def last(asked: Asked) -> str:
    """What was said last."""
    return asked.body["messages"][-1]["content"]


def echo(asked: Asked) -> Answer:
    """Every draw is what was said, with a number of its own."""
    draws = asked.body.get("n", 1)
    return chats(*(chat(f"{last(asked)}!{asked.number}.{draw}") for draw in range(draws)))


# --- what it is -------------------------------------------------------------------------------------------


def test_it_is_a_policy_for_both_kinds_of_callers() -> None:
    with Server(weighed) as server:
        policy = endpoint(server)
        assert isinstance(policy, Policy)
        assert isinstance(policy, AsyncPolicy)
        assert repr(policy) == f"Endpoint('m' at {server.url})"


def test_its_id_is_what_answers_and_nothing_else() -> None:
    def made(**service: Any) -> str:
        settings: dict[str, Any] = {"base_url": "http://h/v1", "model": "m", **service}
        return Endpoint(Service(**settings)).id

    same = [made(), made(base_url="HTTP://H/v1/"), made(base_url="http://h/v1/chat/completions")]
    assert len(set(same)) == 1
    others = [made(model="n"), made(base_url="http://h:1/v1"), made(version="2"), made(extra={"top_a": 1})]
    assert len({*same, *others}) == 5
    assert Endpoint(Service(base_url="http://h/v1", model="m"), concurrency=1, offline=True).id == same[0]
    known = run_script(
        "from concord.policies.service import Service\nprint(Service(base_url='http://h/v1', model='m').id)"
    )
    assert known.strip() == same[0]


def test_nothing_at_a_time_is_refused() -> None:
    with pytest.raises(InputError, match="1 or more"):
        Endpoint(Service(base_url="http://h/v1", model="m"), concurrency=0)


# --- asking -----------------------------------------------------------------------------------------------


def test_replies_come_in_the_order_of_the_asks_whatever_comes_first() -> None:
    chance = random.Random(0)
    with Server(lambda asked: chats(chat(last(asked)), delay=chance.random() / 50)) as server:
        answers = endpoint(server).answer(asks(30))
    assert texts(answers) == [[f"word {number}"] for number in range(30)]


def test_no_more_requests_are_under_way_than_are_allowed() -> None:
    with Server(lambda asked: chats(chat("x"), delay=0.05)) as server:
        endpoint(server, concurrency=3).answer(asks(12))
        assert 1 < server.peak <= 3
        assert len(server.asked) == 12

        async def many(policy: Endpoint) -> None:
            await asyncio.gather(*(policy.aanswer([ask]) for ask in asks(8)))

        server.peak = 0
        asyncio.run(many(endpoint(server, concurrency=2)))
        assert 1 <= server.peak <= 2
        assert server.settled() == 0


def test_draws_of_one_ask_are_bounded_too() -> None:
    def one_at_a_time(asked: Asked) -> Answer:
        return failed(400, "n must be 1") if "n" in asked.body else chats(chat("x"), delay=0.01)

    with Server(one_at_a_time) as server:
        (answer,) = endpoint(server, concurrency=2).answer(asks(1, n=7))
        assert len(answer) == 7
        assert 1 <= server.peak <= 2


def test_several_draws_are_asked_for_at_once() -> None:
    with Server(echo) as server:
        assert texts(endpoint(server).answer(asks(2, n=3)))[0] in (
            [f"word 0!{number}.{draw}" for draw in range(3)] for number in range(2)
        )
        assert [body["n"] for body in server.posts()] == [3, 3]


@pytest.mark.parametrize("refuses", [400, 422, 501, None])
def test_a_server_that_draws_one_reply_at_a_time_is_asked_singly(refuses: int | None) -> None:
    def one(asked: Asked) -> Answer:
        if refuses and asked.body.get("n", 1) > 1:
            return failed(refuses, "only one choice is allowed")
        return chats(chat(f"{last(asked)}!{asked.number}"))

    with Server(one) as server:
        policy = endpoint(server, concurrency=1)
        (first,) = policy.answer(asks(1, n=3))
        assert len({*texts([first])[0]}) == 3
        (second,) = policy.answer([Ask(as_prompt("other"), n=2)])
        assert len({*texts([second])[0]}) == 2
        # Learned once: only the first request wanted several.
        assert [body.get("n", 1) for body in server.posts()] == [3, *([1] * (5 if refuses else 4))]


def test_a_request_that_is_refused_for_itself_is_not_repeated_for_every_draw() -> None:
    with Server(lambda asked: failed(400, "context too long")) as server:
        (answer,) = endpoint(server).answer(asks(1, n=8))
        assert all(isinstance(one, Unanswered) and "context too long" in one.reason for one in answer)
        assert len(server.asked) == 2


def test_seeds_differ_from_draw_to_draw_and_are_the_same_ever_after() -> None:
    def one(asked: Asked) -> Answer:
        return chats(chat(str(asked.body["seed"])))

    def drawn(seed: int) -> list[str]:
        with Server(one) as server:
            return texts(endpoint(server).answer(asks(1, n=4, sampling=Sampling(seed=seed))))[0]

    assert drawn(1) == drawn(1)
    assert len({*drawn(1), *drawn(2)}) == 8


def test_in_a_notebook_it_waits_in_a_thread() -> None:
    async def cell(policy: Endpoint) -> list[list[str]]:
        return texts(policy.answer(asks(2)))

    with Server(echo) as server:
        assert len(asyncio.run(cell(endpoint(server)))) == 2
        assert server.settled() == 0


# --- the store --------------------------------------------------------------------------------------------


def test_what_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    with Server(echo) as server, Store(tmp_path) as store:
        policy = endpoint(server, store, concurrency=1)
        two = policy.answer(asks(1, n=2))
        four = policy.answer(asks(1, n=4))
        assert four[0][:2] == two[0]
        assert [body["n"] for body in server.posts()] == [2, 2]
        assert policy.answer(asks(1, n=3)) == [four[0][:3]]
        assert len(server.asked) == 2
        assert (policy.account.spent.calls, policy.account.reused) == (2, 5)
        assert policy.answer(asks(1, n=1, sampling=Sampling(temperature=0.5))) != [four[0][:1]]
        assert len(server.asked) == 3


def test_two_more_draws_have_other_seeds(tmp_path: Path) -> None:
    with Server(lambda asked: chats(chat(str(asked.body["seed"])))) as server, Store(tmp_path) as store:
        sampling = Sampling(seed=3)
        first = texts(endpoint(server, store).answer(asks(1, n=1, sampling=sampling)))[0]
        both = texts(endpoint(server, store).answer(asks(1, n=2, sampling=sampling)))[0]
    assert both[0] == first[0] != both[1]


def test_another_process_finds_what_was_answered(tmp_path: Path) -> None:
    script = """
import sys
from concord.policies.endpoint import Endpoint
from concord.policies.service import Service
from concord.store import Store
from concord.types import Ask, as_prompt
with Store(sys.argv[1]) as store:
    policy = Endpoint(Service(base_url=sys.argv[2], model="m"), store=store)
    print([one.text for one in policy.answer([Ask(as_prompt("word 0"), n=3)])[0]])
"""
    with Server(echo) as server:
        with Store(tmp_path) as store:
            assert texts(endpoint(server, store).answer(asks(1, n=2))) == [["word 0!0.0", "word 0!0.1"]]
        assert run_script(script, tmp_path, server.url) == "['word 0!0.0', 'word 0!0.1', 'word 0!1.0']\n"
        assert len(server.asked) == 2


def test_the_same_ask_twice_at_a_time_is_asked_once(tmp_path: Path) -> None:
    def slow(asked: Asked) -> Answer:
        return chats(*(chat(str(asked.number)) for _ in range(asked.body.get("n", 1))), delay=0.01)

    with Server(slow) as server, Store(tmp_path) as store:
        answers = endpoint(server, store).answer([*asks(1), *asks(1), *asks(1, n=2)])
        assert answers[0] == answers[1] == answers[2][:1]
        assert sum(body.get("n", 1) for body in server.posts()) == 2
        assert texts(endpoint(server).answer([*asks(1), *asks(1)])) in ([["2"], ["3"]], [["3"], ["2"]])


def test_failures_are_never_kept(tmp_path: Path) -> None:
    broken = (failed(400), Answer({}), chats({"finish_reason": "stop"}), chats(chat("at last")))
    with Server(only(*broken)) as server, Store(tmp_path) as store:
        policy = endpoint(server, store)
        for _ in range(3):
            ((entry,),) = policy.answer(asks(1))
            assert isinstance(entry, Unanswered)
        assert len(store) == 0
        assert texts(policy.answer(asks(1))) == [["at last"]]
        assert len(store) == 1


def test_a_draw_that_failed_is_drawn_again_and_its_neighbours_are_not(tmp_path: Path) -> None:
    def second_fails(asked: Asked) -> Answer:
        choices = [chat(f"{asked.number}.{draw}") for draw in range(asked.body.get("n", 1))]
        if asked.number == 0:
            choices[1]["finish_reason"] = "struck by lightning"
        return chats(*choices)

    with Server(second_fails) as server, Store(tmp_path) as store:
        policy = endpoint(server, store)
        ((first, failure, third),) = policy.answer(asks(1, n=3))
        assert isinstance(failure, Unanswered)
        assert "struck by lightning" in failure.reason
        ((*again, third_again),) = policy.answer(asks(1, n=3))
        assert (again[0], third_again) == (first, third)
        assert texts([again]) == [["0.0", "1.0"]]


def test_a_reply_of_another_version_of_ours_is_asked_for_again(tmp_path: Path) -> None:
    with Server(echo) as server, Store(tmp_path) as store:
        endpoint(server, store).answer(asks(1))
        (name,) = store.keys()
        store.put(name, b'{"message": 3}')
        endpoint(server, store).answer(asks(1))
        assert len(server.asked) == 2
        assert b"word 0" in (store.get(name) or b"")


def test_offline_it_answers_from_the_store_only(tmp_path: Path) -> None:
    with Server(echo) as server, Store(tmp_path) as store:
        said = endpoint(server, store).answer(asks(2))
        service = Service(base_url=server.url, model="m", key_env="CONCORD_NO_SUCH_KEY")
        policy = Endpoint(service, store=store, offline=True)
        assert policy.answer(asks(2)) == said
        ((known,), (unknown,)) = policy.answer([asks(1)[0], Ask(as_prompt("new"))])
        assert [known] == list(said[0])
        assert isinstance(unknown, Unanswered)
        assert "nothing may be sent" in unknown.reason
        with pytest.raises(UnavailableError, match="nothing may be sent"):
            policy.answer([Ask(as_prompt("new"))])
        assert policy.capabilities == Capability.API
        assert len(server.asked) == 2


def test_usage_of_what_was_kept_says_what_it_cost_then(tmp_path: Path) -> None:
    prices = Prices(prompt=2.0, new=8.0)
    with Server(echo) as server, Store(tmp_path) as store:
        first = endpoint(server, store, account=Account(prices)).answer(asks(1, n=2))
        policy = endpoint(server, store, account=Account(prices))
        assert policy.answer(asks(1, n=2)) == first
        assert policy.account.spent == Usage()
    total = sum((one.usage for one in first[0]), Usage())
    assert (total.calls, total.prompt_tokens, total.new_tokens) == (1, 10, 4)
    assert total.cost == pytest.approx((10 * 2 + 4 * 8) / 1e6, rel=1e-12)


# --- the ceiling ------------------------------------------------------------------------------------------


def test_the_ceiling_stops_before_it_is_passed_and_keeps_what_was_answered(tmp_path: Path) -> None:
    def priced(asked: Asked) -> Answer:
        return chats(chat(last(asked)), prompt=100, new=1000)

    account = Account(Prices(prompt=0, new=1e6), ceiling=4500)
    with Server(priced) as server, Store(tmp_path) as store:
        policy = endpoint(server, store, account=account)
        answers = policy.answer(asks(20, sampling=Sampling(max_tokens=1000)))
        replies = [one for (one,) in answers if isinstance(one, Reply)]
        others = [one for (one,) in answers if isinstance(one, Unanswered)]
        assert (len(replies), len(others)) == (4, 16)
        assert account.spent.cost == 4000
        assert all("the ceiling of 4500 leaves no room" in one.reason for one in others)
        assert len(server.asked) == 4
        assert len(store) == 4
        # What is there costs nothing, whatever the ceiling.
        assert policy.answer(asks(20, sampling=Sampling(max_tokens=1000))) == answers


def test_room_that_is_set_aside_comes_free() -> None:
    with Server(lambda asked: chats(chat("x"), prompt=1, new=1, delay=0.005)) as server:
        account = Account(Prices(prompt=0, new=1e6), ceiling=1005)
        answers = endpoint(server, account=account).answer(asks(5, sampling=Sampling(max_tokens=1000)))
        assert all(isinstance(one, Reply) for (one,) in answers)
        assert server.peak == 1
        assert account.spent.cost == 5


def test_a_ceiling_wants_to_know_how_long_replies_can_be() -> None:
    with Server(echo) as server:
        policy = endpoint(server, account=Account(Prices(prompt=1, new=1), ceiling=1))
        with pytest.raises(InputError, match="max_tokens in the sampling"):
            policy.answer(asks(1))
        assert not server.asked


def test_a_request_whose_answer_was_lost_counts_as_the_most_it_can_cost() -> None:
    with Server(lambda asked: chats(chat("x"), cut=20) if asked.number == 0 else chats(chat("x"))) as server:
        account = Account(Prices(prompt=0, new=1e6))
        ((entry,),) = endpoint(server, account=account).answer(asks(1, sampling=Sampling(max_tokens=50)))
        assert isinstance(entry, Reply)
        assert entry.usage.cost == account.spent.cost == 50 + 4
        assert (entry.usage.calls, account.lost) == (2, 1)


# --- being interrupted ------------------------------------------------------------------------------------


def test_cancelling_keeps_what_was_answered_and_hangs_up(tmp_path: Path) -> None:
    def slow_later(asked: Asked) -> Answer:
        # By what is asked: eight requests that are sent at once come in any order.
        return chats(chat(last(asked)), delay=0.0 if last(asked) in ("word 0", "word 1", "word 2") else 9.0)

    async def cancelled(policy: Endpoint, server: Server, store: Store) -> None:
        task = asyncio.create_task(policy.aanswer(asks(8)))
        while len(server.asked) < 8 or len(store) < 3:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with Server(slow_later) as server, Store(tmp_path) as store:
        account = Account()
        policy = endpoint(server, store, account=account, concurrency=8)
        asyncio.run(cancelled(policy, server, store))
        assert server.settled() == 0
        assert len(store) == 3
        assert (account.spent.calls, account.lost) == (8, 5)
        assert texts(Endpoint(policy.service, store=store, offline=True).answer(asks(3))) == [
            ["word 0"],
            ["word 1"],
            ["word 2"],
        ]


CTRL_C = """
import asyncio, os, signal, sys, threading
sys.path.insert(0, sys.argv[2])
from concord.policies.endpoint import Endpoint
from concord.policies.service import Service
from concord.store import Store
from concord.types import Ask, as_prompt
from tests.policies.serving import Server, chat, chats

def slow_later(asked):
    if asked.number == 3:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    return chats(chat("x"), delay=0.0 if asked.number < 3 else 9.0)

with Server(slow_later) as server, Store(sys.argv[1]) as store:
    policy = Endpoint(Service(base_url=server.url, model="m"), store=store, concurrency=1)
    asks = [Ask(as_prompt(str(number))) for number in range(9)]
    def ask():
        try:
            policy.answer(asks)
        except KeyboardInterrupt:
            print("interrupted", len(store), len(server.asked), server.settled())
    async def cell():
        ask()
    if sys.argv[3] == "notebook":
        asyncio.new_event_loop().run_until_complete(cell())
    else:
        ask()
"""


@pytest.mark.parametrize("place", ["script", "notebook"])
def test_ctrl_c_keeps_what_was_answered_and_hangs_up(tmp_path: Path, place: str) -> None:
    assert run_script(CTRL_C, tmp_path, ROOT, place) == "interrupted 3 4 0\n"


def test_between_calls_no_connection_stays_open() -> None:
    with Server(echo) as server:
        policy = endpoint(server)
        policy.answer(asks(3))
        assert server.settled() == 0


# --- what fails for all -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
def test_where_nothing_can_be_answered_nobody_goes_on_asking(status: int) -> None:
    with Server(lambda asked: failed(status, "who are you?")) as server:
        with pytest.raises(UnavailableError, match="wants a key"):
            endpoint(server, concurrency=1).answer(asks(50))
        assert len(server.asked) == 1


def test_what_was_answered_before_it_broke_is_returned() -> None:
    with Server(lambda asked: chats(chat("x")) if asked.number < 3 else failed(401, "revoked")) as server:
        answers = endpoint(server, concurrency=1).answer(asks(50))
        assert sum(isinstance(one, Reply) for (one,) in answers) == 3
        assert all("wants a key" in one.reason for (one,) in answers if isinstance(one, Unanswered))
        assert len(server.asked) == 4


def test_a_missing_way_does_not_stop_the_other() -> None:
    def chats_only(asked: Asked) -> Answer:
        if asked.path.endswith("/models"):
            return Answer({"data": [{"id": "m"}]})
        return failed(404) if asked.path.endswith("/v1/completions") else chats(chat("x"))

    plain = Ask(Prompt(as_turns("once"), plain=True))
    with Server(chats_only) as server:
        answers = endpoint(server, concurrency=1).answer([*asks(1), plain, *asks(1), plain])
        assert [isinstance(one, Reply) for (one,) in answers] == [True, False, True, False]
        assert "ask prompts of messages" in texts(answers)[1][0]
        assert len(server.posts()) == 3


def test_a_store_that_cannot_keep_is_an_error_of_its_own(tmp_path: Path) -> None:
    with Server(lambda asked: chats(chat("x" * 5000))) as server, Store(tmp_path, cap=2000) as store:
        with pytest.raises(Exception, match="does not fit in the store"):
            endpoint(server, store).answer(asks(4))
        assert server.settled() == 0


def test_a_prompt_that_cannot_be_sent_is_no_reason_against_the_others(tmp_path: Path) -> None:
    sound = Ask(as_prompt(Message("user", (Audio(b"x"),))), n=2)
    lost = Ask(as_prompt(Message("user", (Image(str(tmp_path / "none.png")),))))
    with Server(echo) as server:
        answers = endpoint(server).answer([sound, *asks(1), lost])
    assert [[isinstance(one, Reply) for one in answer] for answer in answers] == [
        [False] * 2,
        [True],
        [False],
    ]
    assert "Audio" in texts(answers)[0][0]
    assert "none.png" in texts(answers)[2][0]


def test_a_prompt_that_the_service_filters_has_a_filtered_reply() -> None:
    with Server(lambda asked: failed(400, "the prompt was filtered", code="content_filter")) as server:
        ((one, other),) = endpoint(server).answer(asks(1, n=2))
    assert isinstance(one, Reply)
    assert (one.finish, one.text, one.usage.calls) == (Finish.FILTERED, "", 1)
    assert isinstance(other, Reply)
    assert other.usage == Usage()


def test_a_server_that_is_down_is_not_tried_to_the_end_of_patience_by_every_ask() -> None:
    with Server(only(failed(500))) as server:
        policy = endpoint(server, patience=Patience(tries=2), concurrency=4)
        with pytest.raises(UnavailableError, match=r"overloaded or broken.*Tried 2 times"):
            policy.answer(asks(500))
    assert 64 <= len(server.posts()) <= 72


def test_a_server_that_answers_now_and_then_is_not_down() -> None:
    def script(asked: Asked) -> Answer:
        word = int(asked.body["messages"][-1]["content"].split()[-1])
        return chats(chat("yes")) if word % 20 == 0 else failed(500)

    with Server(script) as server:
        answers = endpoint(server, patience=Patience(tries=2), concurrency=1).answer(asks(60))
    assert sum(isinstance(one, Reply) for (one,) in answers) == 3
    assert len(server.posts()) == 3 + 2 * 57
