"""Asks become requests that say all of them, or are refused."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import CapabilityError, InputError
from concord.policies.wires import (
    IMAGE_TOKENS,
    check_possible,
    echo_of,
    longest,
    request_of,
    route_of,
    seed_of,
)
from concord.types import (
    Ask,
    Audio,
    Capability,
    Image,
    Images,
    Message,
    Prompt,
    Sampling,
    Text,
    ToolCall,
    Video,
    as_prompt,
    as_turns,
)

PNG = b"\x89PNG\r\n\x1a\n rest"
DATA = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


def sent(*messages: Message, **prompt: Any) -> Any:
    """The messages of a request."""
    return request_of(Ask(Prompt(messages, **prompt)))["messages"]


def plain(*texts: str, **prompt: Any) -> Prompt:
    """A prompt that is continued as it stands."""
    return Prompt(tuple(Message("user", text) for text in texts), plain=True, **prompt)


# --- sampling ---------------------------------------------------------------------------------------------


def test_defaults_are_named_since_servers_have_others() -> None:
    assert request_of(Ask(as_prompt("a"))) == {
        "temperature": 1.0,
        "top_p": 1.0,
        "messages": [{"role": "user", "content": "a"}],
    }


def test_every_setting_is_sent() -> None:
    sampling = Sampling(temperature=0, top_p=0.5, top_k=3, max_tokens=7, stop=("\n", "END"), seed=1)
    body = request_of(Ask(as_prompt("a"), sampling=sampling))
    assert {name: value for name, value in body.items() if name != "messages"} == {
        "temperature": 0.0,
        "top_p": 0.5,
        "top_k": 3,
        "max_tokens": 7,
        "stop": ["\n", "END"],
    }


@pytest.mark.parametrize(
    ("prompt", "top", "asked"),
    [
        (as_prompt("a"), 0, {"logprobs": True}),
        (as_prompt("a"), 5, {"logprobs": True, "top_logprobs": 5}),
        (plain("a"), 0, {"logprobs": 1}),
        (plain("a"), 5, {"logprobs": 5}),
    ],
)
def test_log_probabilities_are_asked_for_in_the_words_of_each_route(
    prompt: Prompt, top: int, asked: dict[str, object]
) -> None:
    body = request_of(Ask(prompt, sampling=Sampling(top_logps=top), needs=Capability.LP))
    assert {name: body[name] for name in body if "logprobs" in name} == asked


@given(st.integers(), st.integers(0, 99))
def test_seeds_are_spread_and_fit_everywhere(seed: int, number: int) -> None:
    assert 0 <= seed_of(seed, number) < 2**31
    assert seed_of(seed, number) == seed_of(seed, number)
    assert len({seed_of(seed + add, number + more) for add in range(3) for more in range(3)}) == 9


# --- routes -----------------------------------------------------------------------------------------------


def test_messages_go_to_the_chat_and_texts_are_continued() -> None:
    assert route_of(as_prompt("a")) == "chat/completions"
    assert route_of(plain("a")) == route_of(Prompt((), tokens=(1, 2))) == "completions"
    assert request_of(Ask(plain("Once upon")))["prompt"] == "Once upon"
    assert request_of(Ask(Prompt((), tokens=(1, 2))))["prompt"] == [1, 2]


def test_a_turn_that_was_begun_is_continued() -> None:
    prompt = as_prompt([Message("user", "a"), Message("assistant", "I think")])
    body = request_of(Ask(prompt))
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert "continue_final_message" not in request_of(Ask(as_prompt("a")))


def test_a_plain_prompt_with_what_it_has_no_place_for_is_refused() -> None:
    called = Message("assistant", "", tool_calls=(ToolCall("f", {}),))
    pictured = Prompt((Message("user", (Image(PNG),)),), plain=True)
    for prompt in (
        plain("a", tools=({},)),
        plain("a", template_args={"b": 1}),
        Prompt((called,), plain=True),
    ):
        with pytest.raises(InputError, match="no place for tools or template arguments"):
            request_of(Ask(prompt))
    with pytest.raises(InputError, match="found Image"):
        request_of(Ask(pictured))
    with pytest.raises(InputError, match="found user, user; accepted: one text"):
        request_of(Ask(plain("Once", " upon")))


# --- messages ---------------------------------------------------------------------------------------------


def test_text_parts_are_one_text() -> None:
    assert sent(Message("user", (Text("a"), Text("b")))) == [{"role": "user", "content": "ab"}]


def test_pictures_are_data_urls_and_addresses(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    pictures = (Image(PNG), Image(str(tmp_path / "a.png")), Image("https://h/a.png"), Image(DATA))
    (message,) = sent(Message("user", (Text("see"), *pictures[:2], Images(pictures[2:]))))
    assert message["content"] == [
        {"type": "text", "text": "see"},
        *({"type": "image_url", "image_url": {"url": url}} for url in (DATA, DATA, "https://h/a.png", DATA)),
    ]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBP", "image/webp"),
        (b"BM123", "image/bmp"),
    ],
)
def test_a_picture_is_known_by_its_first_bytes(data: bytes, kind: str) -> None:
    (message,) = sent(Message("user", (Image(data),)))
    assert message["content"][0]["image_url"]["url"].startswith(f"data:{kind};base64,")
    (message,) = sent(Message("user", (Image(data, media_type="image/avif"),)))
    assert message["content"][0]["image_url"]["url"].startswith("data:image/avif;")


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (Audio(b"x"), "found Audio"),
        (Video(b"x"), "found Video"),
        (Image(b"what is this"), "first bytes"),
        (Image("/no/such/file.png"), "cannot be read"),
        (Image("a\0b"), "cannot be read"),
    ],
)
def test_what_cannot_be_sent_is_refused(part: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        sent(Message("user", (part,)))


def test_tools_and_calls_travel() -> None:
    call = ToolCall("weather", {"place": "north", "days": [1, 2]}, id="c1")
    broken = ToolCall("weather", '{"place": ')
    messages = sent(
        Message("user", "rain?", name="eva"),
        Message("assistant", "", tool_calls=(call, broken), reasoning="hm"),
        Message("tool", "yes", tool_call_id="c1"),
        Message("tool", "no idea"),
        tools=({"name": "weather", "parameters": {}}, {"type": "function", "function": {"name": "f"}}),
    )
    assert messages[0] == {"role": "user", "content": "rain?", "name": "eva"}
    assert messages[1]["content"] is None
    first, second = messages[1]["tool_calls"]
    assert first["id"] == messages[2]["tool_call_id"] == "c1"
    assert json.loads(first["function"]["arguments"]) == {"place": "north", "days": [1, 2]}
    assert second["function"] == {"name": "weather", "arguments": '{"place": '}
    assert second["id"] == messages[3]["tool_call_id"]
    assert "reasoning" not in str(messages)
    tools = request_of(Ask(Prompt((), tools=({"name": "f"}, {"type": "function", "function": {}}))))["tools"]
    assert tools == [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {}}]


def test_calls_without_ids_are_answered_in_their_order() -> None:
    calls = (ToolCall("f", {}), ToolCall("g", {}))
    messages = sent(
        Message("assistant", "", tool_calls=calls),
        Message("tool", "of f"),
        Message("tool", "of g"),
        Message("assistant", "", tool_calls=calls),
        Message("tool", "of f again"),
    )
    ids = [call["id"] for message in messages for call in message.get("tool_calls", ())]
    assert len({*ids}) == 4
    assert [one["tool_call_id"] for one in messages if one["role"] == "tool"] == ids[:3]
    with pytest.raises(InputError, match="a call that nobody made"):
        sent(Message("tool", "out of the blue"))


def test_template_arguments_are_sent() -> None:
    body = request_of(Ask(Prompt(as_turns("a", role="user"), template_args={"enable_thinking": False})))
    assert body["chat_template_kwargs"] == {"enable_thinking": False}


# --- given replies ----------------------------------------------------------------------------------------


def test_a_given_reply_is_echoed_behind_its_prompt() -> None:
    ask = Ask(plain("Once"), given=(as_turns(" upon"),), sampling=Sampling(top_logps=3))
    body, before, reply = echo_of(ask, ask.given[0])
    assert (before, reply) == ("Once", " upon")
    assert body == {
        "prompt": "Once upon",
        "echo": True,
        "logprobs": 3,
        "max_tokens": 1,
        "temperature": 1.0,
        "top_p": 1.0,
    }


@pytest.mark.parametrize(
    "turns",
    [
        (Message("assistant", "a"), Message("assistant", "b")),
        (Message("user", "a"),),
        (Message("assistant", "", tool_calls=(ToolCall("f", {}),)),),
        (Message("assistant", ""),),
        (Message("assistant", "a", reasoning="hm"),),
        (Message("assistant", (Image(PNG),)),),
    ],
)
def test_a_given_reply_that_is_no_text_is_refused(turns: tuple[Message, ...]) -> None:
    with pytest.raises(InputError, match="accepted:"):
        echo_of(Ask(plain("Once"), given=(turns,)), turns)


def test_given_replies_want_a_plain_prompt() -> None:
    for prompt in (as_prompt("a"), Prompt((), tokens=(1,)), Prompt((), tokens=(1,), plain=True)):
        with pytest.raises(CapabilityError, match="plain prompts only"):
            check_possible(Ask(prompt, given=(as_turns("b"),)))
    check_possible(Ask(plain("a"), given=(as_turns("b"),), sampling=Sampling(top_logps=2)))


# --- the bound --------------------------------------------------------------------------------------------


@given(st.text(max_size=50))
def test_a_text_has_no_more_tokens_than_bytes(text: str) -> None:
    prompt, new = longest(request_of(Ask(as_prompt(text), sampling=Sampling(max_tokens=9))))
    assert prompt >= len(text.encode("utf-8", "surrogatepass"))
    assert new == 9


def test_draws_pictures_and_tools_count() -> None:
    body = request_of(Ask(as_prompt("a"), sampling=Sampling(max_tokens=9)))
    assert longest({**body, "n": 4})[1] == 36
    assert longest(request_of(Ask(as_prompt("a"))))[1] is None
    seen = longest(request_of(Ask(Prompt((Message("user", (Image(PNG), Image(DATA * 99))),)))))[0]
    assert 2 * IMAGE_TOKENS < seen < 2 * IMAGE_TOKENS + 300
    tool = {"name": "f" * 500}
    assert longest(request_of(Ask(Prompt(as_turns("a", role="user"), tools=(tool,)))))[0] > 500
