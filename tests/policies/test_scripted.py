"""The scripted policy: it says what it is told to, within what it is asked, and counts it."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import CapabilityError, ConcordError, InputError
from concord.policies import Script, Scripted
from concord.types import (
    Ask,
    Capability,
    Feedback,
    Finish,
    Message,
    Policy,
    Reply,
    Sampling,
    Unanswered,
    Usage,
    as_prompt,
    as_turns,
)


def ask(
    text: str, *, n: int = 1, needs: Capability = Capability.API, sampling: Sampling | None = None
) -> Ask:
    """An ask of one user turn."""
    return Ask(as_prompt(text), n=n, needs=needs, sampling=sampling or Sampling())


def said(policy: Policy, *asks: Ask) -> list[list[str]]:
    """The texts of all replies, or why there are none."""
    answers = policy.answer(asks)
    return [[one.reason if isinstance(one, Unanswered) else one.text for one in answer] for answer in answers]


def replies(policy: Policy, one: Ask) -> list[Reply]:
    """The replies to one ask, all of which came."""
    (answer,) = policy.answer([one])
    assert len(answer) == one.count
    return [reply for reply in answer if isinstance(reply, Reply)]


def test_it_is_a_policy() -> None:
    assert isinstance(Scripted("yes"), Policy)
    assert not isinstance(Scripted("yes"), Feedback)
    assert Scripted("yes").capabilities == Capability.API


def test_one_line_is_said_always() -> None:
    assert said(Scripted("yes"), ask("a", n=2), ask("b")) == [["yes", "yes"], ["yes"]]


def test_patterns_are_tried_in_order() -> None:
    policy = Scripted({r"2\+2": "4", "(?i)capital": ["Paris", "Rome"], "": "hm"})
    assert said(policy, ask("2+2?"), ask("Capital?"), ask("else")) == [["4"], ["Paris"], ["hm"]]


def test_a_pattern_sees_every_message() -> None:
    prompt = as_prompt([Message("system", "be kind"), Message("user", "hi")])
    assert said(Scripted({"be kind\nhi": "hello"}), Ask(prompt)) == [["hello"]]


def test_each_prompt_walks_its_list_in_order() -> None:
    policy = Scripted({"": ["a", "b", "c"]})
    assert said(policy, ask("x", n=2), ask("y"), ask("x", n=2), ask("y")) == [
        ["a", "b"],
        ["a"],
        ["c", "a"],
        ["b"],
    ]


@given(st.integers(0, 99), st.integers(1, 5))
def test_a_seed_decides_the_replies(seed: int, n: int) -> None:
    policy = Scripted({"": ["a", "b", "c"]})
    one = ask("x", n=n, sampling=Sampling(seed=seed))
    first, second, fresh = said(policy, one), said(policy, one), said(Scripted({"": ["a", "b", "c"]}), one)
    assert first == second == fresh


def test_seeds_differ() -> None:
    policy = Scripted({"": ["a", "b", "c"]})
    assert len({str(said(policy, ask("x", sampling=Sampling(seed=seed)))) for seed in range(20)}) == 3


def test_a_list_is_used_up_over_all_asks() -> None:
    policy = Scripted(["a", "b", "c"])
    assert said(policy, ask("x", n=2), ask("y")) == [["a", "b"], ["c"]]
    with pytest.raises(InputError, match="the script has run out; found 'z'; accepted: 3 replies in all"):
        policy.answer([ask("z")])


def test_a_function_sees_the_ask() -> None:
    def echo(one: Ask) -> str | list[str]:
        return one.prompt.text if one.n == 1 else [f"{one.prompt.text}{at}" for at in range(one.n)]

    assert said(Scripted(echo), ask("x"), ask("y", n=2)) == [["x"], ["y0", "y1"]]
    assert said(Scripted(lambda one: "same"), ask("x", n=2)) == [["same", "same"]]


@pytest.mark.parametrize(
    ("sampling", "text", "finish"),
    [
        (Sampling(), "one two\nthree  four", Finish.STOP),
        (Sampling(stop=("four", "\n")), "one two", Finish.STOP),
        (Sampling(stop=("five",)), "one two\nthree  four", Finish.STOP),
        (Sampling(max_tokens=3), "one two\nthree", Finish.LENGTH),
        (Sampling(max_tokens=4), "one two\nthree  four", Finish.STOP),
        (Sampling(max_tokens=1), "one", Finish.LENGTH),
        (Sampling(max_tokens=2, stop=("three",)), "one two\n", Finish.STOP),
    ],
)
def test_stop_strings_and_length_are_kept(sampling: Sampling, text: str, finish: Finish) -> None:
    (reply,) = replies(Scripted("one two\nthree  four"), ask("x", sampling=sampling))
    assert (reply.text, reply.finish) == (text, finish)


def test_failures_and_whole_replies_are_scripted() -> None:
    filtered = Reply(Message("assistant", "no"), finish=Finish.FILTERED, usage=Usage(calls=1, cost=0.5))
    late = Unanswered("timed out", usage=Usage(calls=3))
    policy = Scripted(["yes", late, filtered])
    first, second, third = policy.answer([ask("x"), ask("x"), ask("x", sampling=Sampling(max_tokens=1))])
    assert isinstance(first[0], Reply)
    assert second == (late,)
    assert third == (filtered,)


def test_one_draw_may_fail_alone() -> None:
    policy = Scripted([Unanswered("late"), "yes", "no"])
    (first, _) = policy.answer([ask("x", n=2), ask("x")])
    assert first[0] == Unanswered("late", usage=Usage(calls=1, prompt_tokens=1))
    assert isinstance(first[1], Reply)
    assert policy.usage == Usage(calls=2, prompt_tokens=2, new_tokens=2)


def test_asks_and_usage_are_kept() -> None:
    policy = Scripted("a b c")
    asks = [ask("one two", n=2), ask("three")]
    answers = policy.answer(asks)
    assert policy.asks == asks
    assert policy.usage == Usage(calls=2, prompt_tokens=3, new_tokens=9)
    total = Usage()
    for answer in answers:
        for reply in answer:
            total += reply.usage
    assert total == policy.usage


def test_scripted_log_probabilities_bring_the_capability() -> None:
    policy = Scripted("a bb a", logps=lambda word: -float(len(word)))
    assert policy.capabilities == Capability.API | Capability.LP | Capability.SCORE
    (reply,) = replies(policy, ask("x", needs=Capability.LP, sampling=Sampling(max_tokens=2, top_logps=1)))
    assert (reply.text, reply.logps, reply.top) == ("a bb", (-1.0, -2.0), ((("a", -1.0),), (("bb", -2.0),)))
    assert reply.tokens is not None
    assert len(set(reply.tokens)) == 2


def test_given_replies_are_scored_and_nothing_is_drawn() -> None:
    policy = Scripted([], logps=lambda word: -float(len(word)))
    several = (Message("assistant", "a bb"), Message("user", "sure?"), Message("assistant", "yes"))
    scored = replies(policy, Ask(as_prompt("x y"), given=(as_turns("bb a"), several)))
    assert [reply.logps for reply in scored] == [(-2.0, -1.0), (-1.0, -2.0, -3.0)]
    assert [reply.message for reply in scored] == [Message("assistant", "bb a"), several[-1]]
    assert all(len(reply.tokens or ()) == len(reply.logps or ()) for reply in scored)
    assert policy.usage == Usage(calls=1, prompt_tokens=2)


def test_the_script_is_its_identity() -> None:
    scripts: list[Script] = [
        "yes",
        "no",
        ["yes"],
        ["yes", "no"],
        Reply(Message("assistant", "yes")),
        Unanswered("yes"),
        {"a": "yes", "b": ["no"]},
        {"b": ["no"], "a": "yes"},
        {"a": ["yes", Reply(Message("assistant", "no"), logps=(-1.0,))]},
    ]
    ids = [Scripted(script).id for script in scripts]
    assert len({*ids}) == len(scripts)
    assert [Scripted(script).id for script in scripts] == ids
    assert Scripted({"a": "yes"}).id == Scripted({"a": ["yes"]}).id, "one line, said again and again"


def test_a_function_has_the_identity_of_its_name() -> None:
    def echo(one: Ask) -> str:
        return one.prompt.text

    assert Scripted(echo).id != Scripted(echo).id
    assert Scripted("a", logps=len).id != Scripted("a", logps=len).id
    assert Scripted(echo, name="echo").id == Scripted("x", name="echo").id == "echo"


@pytest.mark.parametrize(
    ("policy", "one", "says"),
    [
        (Scripted("yes"), ask("x", needs=Capability.LP), "cannot do what is asked; found LP"),
        (Scripted("yes"), ask("x", sampling=Sampling(top_logps=2)), "cannot do what is asked; found LP"),
        (
            Scripted("yes", capabilities=Capability.API | Capability.ACT),
            ask("x", needs=Capability.GRAD | Capability.ACT),
            "found GRAD; accepted: capabilities within API, ACT",
        ),
        (Scripted("yes"), Ask(as_prompt("x"), given=(as_turns("y"),)), "found SCORE"),
        (
            Scripted("yes", capabilities=Capability.API | Capability.SCORE),
            Ask(as_prompt("x"), given=(as_turns("y"),)),
            "cannot do what is asked: it has nothing to score with",
        ),
        (Scripted({"a": "b", "c": "d"}), ask("x y"), "matches the prompt; found 'x y'; accepted: 'a', 'c'"),
        (Scripted({}), ask("x y"), "matches the prompt; found 'x y'; accepted: nothing"),
        (Scripted({"": []}), ask("x"), "a pattern has no lines; found ''"),
        (Scripted(lambda one: ["a", "b"]), ask("x", n=3), "another number of replies; found 2; accepted: 3"),
        (Scripted([]), ask("x"), "the script has run out; found 'x'"),
    ],
)
def test_what_it_cannot_do_it_refuses(policy: Scripted, one: Ask, says: str) -> None:
    with pytest.raises(ConcordError) as caught:
        policy.answer([one])
    assert says in str(caught.value)
    assert all(part in str(caught.value) for part in ("; found ", "; accepted: ", "; to do: "))
    assert isinstance(caught.value, CapabilityError) == ("cannot do" in str(caught.value))


def test_a_refused_batch_leaves_no_trace() -> None:
    policy = Scripted("yes")
    with pytest.raises(CapabilityError):
        policy.answer([ask("x"), ask("x", needs=Capability.GRAD)])
    assert policy.asks == []
    assert policy.usage == Usage()


@pytest.mark.parametrize("make", [lambda: Scripted({"": ["a", "b"]}), lambda: Scripted(["a", "b", "c", "d"])])
def test_two_of_a_kind_answer_alike(make: Callable[[], Scripted]) -> None:
    asks = [ask("x", n=2), ask("y"), ask("x")]
    assert said(make(), *asks) == said(make(), *asks)


def test_a_refused_ask_uses_nothing_up() -> None:
    policy = Scripted(["a", "b", "c"])
    with pytest.raises(InputError, match="the script has run out"):
        policy.answer([ask("x"), ask("y", n=5)])
    assert policy.asks == []
    assert policy.usage == Usage()
    assert said(policy, ask("x", n=3)) == [["a", "b", "c"]]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (None, "the script has no lines; found None"),
        ({"a"}, "the script has no lines; found {'a'}"),
        ((line for line in "ab"), "the script has no lines; found <generator"),
        (["a", None], "the script has a line of no use; found None"),
        ({"(": "a"}, "a pattern of the script cannot be read"),
        ({1: "a"}, "a pattern of the script cannot be read"),
        ({"a": None}, "the entry of 'a' has no lines; found None"),
    ],
)
def test_what_is_no_script_is_refused(script: Any, says: str) -> None:
    with pytest.raises(InputError) as caught:
        Scripted(script)
    assert says in str(caught.value)


@pytest.mark.parametrize("given", [None, 7, [None], {"a"}])
def test_a_function_must_give_lines(given: Any) -> None:
    policy = Scripted(lambda one: given)
    with pytest.raises(InputError, match="what the script gave has"):
        policy.answer([ask("x")])
    assert policy.asks == []
