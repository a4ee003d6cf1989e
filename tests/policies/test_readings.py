"""Answers are read as what they say, or not at all."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.policies.readings import Malformed, replies_of, scored, shared, usage_of
from concord.types import (
    Ask,
    Capability,
    Finish,
    Message,
    Prompt,
    Reply,
    Sampling,
    ToolCall,
    Unanswered,
    Usage,
    as_prompt,
    as_turns,
)

WITH_LP = Ask(as_prompt("a"), needs=Capability.LP)


def read(*choices: Any, ask: Ask | None = None, wanted: int = 9) -> list[Reply | Unanswered]:
    """What comes of these choices."""
    return replies_of({"choices": list(choices)}, ask or Ask(as_prompt("a")), wanted=wanted)


def choice(finish: str | None = "stop", /, **message: Any) -> dict[str, Any]:
    """A choice with such a message."""
    return {"finish_reason": finish, "message": {"role": "assistant", "content": "yes", **message}}


def one(*choices: Any, ask: Ask | None = None) -> Reply:
    """The one reply."""
    (reply,) = read(*choices, ask=ask)
    assert isinstance(reply, Reply), reply
    return reply


def why(*choices: Any, ask: Ask | None = None) -> str:
    """Why there is none."""
    (entry,) = read(*choices, ask=ask)
    assert isinstance(entry, Unanswered), entry
    return entry.reason


# --- what was said ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "finish"),
    [
        ("stop", Finish.STOP),
        ("eos_token", Finish.STOP),
        ("end_turn", Finish.STOP),
        ("length", Finish.LENGTH),
        ("max_tokens", Finish.LENGTH),
        ("tool_calls", Finish.TOOL),
        ("content_filter", Finish.FILTERED),
        ("refusal", Finish.FILTERED),
    ],
)
def test_why_a_reply_ended_is_told(said: str, finish: Finish) -> None:
    assert one(choice(said)).finish is finish
    assert one({"finish_reason": said, "text": "yes"}) == Reply(Message("assistant", "yes"), finish=finish)


def test_an_end_that_nobody_knows_is_no_reply() -> None:
    assert "the reason 'abort' for the end" in why(choice("abort"))
    assert "the reason None for the end" in why(choice(None))


def test_a_refusal_is_filtered() -> None:
    reply = one(choice("stop", content=None, refusal="I will not."))
    assert (reply.text, reply.finish) == ("I will not.", Finish.FILTERED)


def test_thinking_is_kept_apart() -> None:
    assert one(choice(reasoning_content="hm")).message.reasoning == "hm"
    assert one(choice(reasoning="hm")).message.reasoning == "hm"
    assert one(choice(reasoning="")).message.reasoning is None
    assert one(choice(reasoning={"effort": "low"})).message.reasoning is None


def test_parts_of_text_are_one_text() -> None:
    assert one(choice(content=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])).text == "ab"
    assert one(choice(content=None)).text == ""


def test_calls_of_tools_are_parsed_where_they_can_be() -> None:
    def called(arguments: Any) -> Reply:
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
        return one(choice("tool_calls", content=None, tool_calls=[call]))

    assert called('{"a": [1, null]}').message.tool_calls == (ToolCall("f", {"a": [1, None]}, id="c"),)
    assert called("").message.tool_calls[0].arguments == {}
    assert called({"a": 1}).message.tool_calls[0].arguments == {"a": 1}
    for odd in ('{"a": ', "[1]", "3", "not JSON"):
        assert called(odd).message.tool_calls[0].arguments == odd
    call = {"function": {"name": "f", "arguments": "{}"}}
    assert one(choice("stop", content=None, tool_calls=[call])).finish is Finish.TOOL
    older = one(choice("function_call", content=None, function_call={"name": "f", "arguments": "{}"}))
    assert older.message.tool_calls == (ToolCall("f", {}),)


def test_choices_are_in_the_order_of_their_indices_and_no_more_than_wanted() -> None:
    placed = [{**choice(content=text), "index": index} for text, index in (("b", 1), ("c", 2), ("yes", 0))]
    replies = read(*placed, wanted=2)
    assert [reply.text for reply in replies if isinstance(reply, Reply)] == ["yes", "b"]


@pytest.mark.parametrize(
    "data",
    [{}, {"choices": None}, {"choices": {}}, {"choices": []}, {"object": "error"}],
)
def test_an_answer_without_choices_is_none(data: dict[str, Any]) -> None:
    with pytest.raises(Malformed, match="cannot be read"):
        replies_of(data, Ask(as_prompt("a")), wanted=1)


@pytest.mark.parametrize(
    "odd",
    [
        None,
        3,
        {},
        {"finish_reason": "stop"},
        {"finish_reason": "stop", "message": "yes"},
        {"finish_reason": "stop", "message": {"content": 3}},
        {"finish_reason": "stop", "message": {"content": [{"type": "image"}]}},
        {"finish_reason": "stop", "message": {"content": "a", "tool_calls": [{"function": {}}]}},
        {"finish_reason": 3, "message": {"content": "a"}},
    ],
)
def test_a_choice_that_is_none_spoils_no_other(odd: Any) -> None:
    first, second, third = read(choice(), odd, choice())
    assert isinstance(first, Reply)
    assert isinstance(third, Reply)
    assert isinstance(second, Unanswered)
    assert "cannot be read" in second.reason


NAMES = st.sampled_from(["message", "content", "finish_reason", "logprobs", "tool_calls", "index", "text"])
LEAVES = st.none() | st.booleans() | st.floats() | st.sampled_from(["stop", "a"])


@given(st.recursive(LEAVES, lambda one: st.lists(one) | st.dictionaries(NAMES, one), max_leaves=12))
def test_nothing_at_all_is_read_by_accident(data: Any) -> None:
    try:
        entries = replies_of({"choices": data}, WITH_LP, wanted=3)
    except Malformed:
        return
    for entry in entries:
        assert isinstance(entry, Unanswered) or entry.finish is Finish.STOP


# --- log-probabilities ------------------------------------------------------------------------------------

TOKENS = [
    {
        "token": "y",
        "logprob": -0.5,
        "top_logprobs": [{"token": "n", "logprob": -2.0}, {"token": "y", "logprob": -0.5}],
    },
    {"token": "es", "logprob": -0.25, "top_logprobs": [{"token": "es", "logprob": -0.25}]},
]
LISTS = {
    "tokens": ["y", "es"],
    "token_logprobs": [-0.5, -0.25],
    "top_logprobs": [{"n": -2.0, "y": -0.5}, {"es": -0.25}],
}


@pytest.mark.parametrize("logprobs", [{"content": TOKENS}, LISTS])
def test_both_forms_say_the_same(logprobs: Any) -> None:
    reply = one({**choice(), "logprobs": logprobs}, ask=WITH_LP)
    assert (reply.logps, reply.top, reply.tokens) == ((-0.5, -0.25), None, None)
    reply = one({**choice(), "logprobs": logprobs}, ask=Ask(as_prompt("a"), sampling=Sampling(top_logps=1)))
    assert reply.top == ((("y", -0.5),), (("es", -0.25),))
    reply = one({**choice(), "logprobs": logprobs}, ask=Ask(as_prompt("a"), sampling=Sampling(top_logps=5)))
    assert reply.top == ((("y", -0.5), ("n", -2.0)), (("es", -0.25),))
    assert one({**choice(), "logprobs": logprobs}).logps is None, "nobody asked"


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        {},
        {"content": None},
        {"tokens": ["y"]},
        {"content": [{"token": "y"}]},
        {"content": [{"token": "y", "logprob": math.nan}]},
        {"content": [{"token": "y", "logprob": 0.5}]},
        {"tokens": ["y"], "token_logprobs": [None]},
        {"tokens": ["y"], "token_logprobs": [-1.0, -1.0]},
        {"tokens": ["y"], "token_logprobs": [-1.0], "top_logprobs": [{}, {}]},
    ],
)
def test_log_probabilities_that_are_none_are_no_reply(logprobs: Any) -> None:
    assert "cannot be read" in why({**choice(), "logprobs": logprobs}, ask=WITH_LP)


def test_alternatives_that_were_asked_for_have_to_be_there() -> None:
    bare = {"content": [{"token": "y", "logprob": -1.0, "top_logprobs": []}]}
    assert "no alternatives" in why(
        {**choice(), "logprobs": bare}, ask=Ask(as_prompt("a"), sampling=Sampling(top_logps=1))
    )


def test_a_hair_above_certainty_is_certainty_and_the_impossible_is_allowed() -> None:
    tokens = [{"token": "y", "logprob": 1e-7}, {"token": "n", "logprob": -math.inf}]
    assert one({**choice(), "logprobs": {"content": tokens}}, ask=WITH_LP).logps == (0.0, -math.inf)


def test_a_call_or_a_filtered_reply_needs_none() -> None:
    call = {"function": {"name": "f", "arguments": "{}"}}
    assert one(choice("tool_calls", tool_calls=[call]), ask=WITH_LP).logps is None
    assert one(choice("content_filter"), ask=WITH_LP).finish is Finish.FILTERED


# --- echoes -----------------------------------------------------------------------------------------------

BEFORE, GIVEN = "The sky", as_turns(" is blue")
ECHO = Ask(Prompt(as_turns(BEFORE), plain=True), given=(GIVEN,))


def echoed(tokens: list[str], *, usage: tuple[int, int] | None = None, **logprobs: Any) -> dict[str, Any]:
    """An echo of these tokens, whose log-probabilities are their places."""
    values = [None, *(-float(place) for place in range(1, len(tokens)))]
    lists = {"tokens": tokens, "token_logprobs": values, **logprobs}
    counts = {} if usage is None else {"usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1]}}
    return {"choices": [{"text": "", "finish_reason": "length", "logprobs": lists}], **counts}


def weigh(data: dict[str, Any]) -> tuple[float, ...] | None:
    """What the tokens of the reply come to."""
    return scored(data, ECHO, GIVEN, before=BEFORE, reply=" is blue").logps


@pytest.mark.parametrize("usage", [None, (5, 1)])
@pytest.mark.parametrize(
    ("tokens", "logps"),
    [
        (["The", " sky", " is", " blue", "."], (-2.0, -3.0)),
        (["<s>", "The", " sky", " is", " blue", "."], (-3.0, -4.0)),
        (["", "The", " sky", " is", " blue", "."], (-3.0, -4.0)),
        (["The sky", " is blue", ""], (-1.0,)),
    ],
)
def test_the_tokens_of_a_given_reply_are_found(
    tokens: list[str], logps: tuple[float, ...], usage: tuple[int, int] | None
) -> None:
    assert weigh(echoed(tokens, usage=usage)) == logps


def test_a_server_that_draws_nothing_beyond_is_understood() -> None:
    assert weigh(echoed(["The", " sky", " is", " blue"], usage=(4, 0))) == (-2.0, -3.0)
    assert weigh(echoed(["The", " sky", " is", " blue"])) == (-2.0, -3.0)


def test_letters_of_several_tokens_are_counted() -> None:
    tokens = ["The", " sky", " is", " bl\ufffd", "\ufffd", "."]
    assert weigh(echoed(tokens, usage=(5, 1))) == (-2.0, -3.0, -4.0)
    with pytest.raises(Malformed, match="as it was sent"):
        weigh(echoed(tokens))


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (["The", " sky is", " blue", "."], "does not end where a token"),
        (["A", " sea", " is", " blue", "."], "does not end where a token"),
        (["The", " sky", " is", " red", "."], "as it was sent"),
        (["The"], "does not end where a token"),
        ([], "does not end where a token"),
    ],
)
def test_what_is_not_the_text_that_was_sent_is_not_scored(tokens: list[str], said: str) -> None:
    with pytest.raises(Malformed, match=said):
        weigh(echoed(tokens))


def test_an_echo_without_log_probabilities_is_none() -> None:
    with pytest.raises(Malformed, match="a server that echoes"):
        weigh({"choices": [{"text": "The sky is blue", "finish_reason": "stop"}]})
    with pytest.raises(Malformed, match="lists of other lengths"):
        weigh(echoed(["The", " sky", " is", " blue", "."], token_logprobs=[-1.0]))
    with pytest.raises(Malformed, match="are none"):
        weigh(echoed(["The sky", " is", " blue", "."], token_logprobs=[None, None, -1.0, -1.0]))


# --- what it cost -----------------------------------------------------------------------------------------


def test_tokens_are_counted_as_the_server_does() -> None:
    assert usage_of({"usage": {"prompt_tokens": 3, "completion_tokens": 4}}) == (3, 4)
    assert usage_of({"usage": {"prompt_tokens": 3}}) == (3, 0)
    for odd in (None, {}, {"prompt_tokens": -1}, {"prompt_tokens": "3"}, {"completion_tokens": 3}):
        assert usage_of({"usage": odd}) is None
    assert usage_of({}) is None


@given(st.lists(st.text(max_size=20), min_size=1, max_size=6), st.integers(0, 500))
def test_what_replies_cost_adds_up_to_what_was_paid(texts: list[str], new: int) -> None:
    paid = Usage(calls=2, prompt_tokens=7, new_tokens=new, cost=0.3, seconds=1.5)
    said = [Reply(Message("assistant", text)) if text else Unanswered("no") for text in texts]
    entries = shared(said, paid)
    assert sum((entry.usage for entry in entries), Usage()) == paid
    assert all(entry.usage.new_tokens >= 0 for entry in entries)
