"""Conversations as people write them, with typed parts, tools and pictures, and where they go wrong."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import RowError
from concord.formats.conversations import ROLE_NAMES, hh_turns, shared_text, turns
from concord.formats.mapping import parse_mapping
from concord.formats.troubles import Notes, Trouble, column
from concord.types import Audio, Image, Item, Message, Prompt, Text, ToolCall, Turns, Video
from tests.formats.fixtures import rows_of

HERE = column("m")
PIXEL = b"\x89PNG not really"
DATA = "data:image/png;base64," + base64.b64encode(PIXEL).decode()


def read(*messages: dict[str, Any]) -> Turns:
    return turns(list(messages), HERE, Notes())


def item(line: str, **columns: Any) -> Item:
    [made] = parse_mapping(line).read(rows_of(columns)[0])
    return made


def test_roles_of_all_houses() -> None:
    for name, role in ROLE_NAMES.items():
        value = '{"name": "f"}' if name == "function_call" else "x"
        assert read({"from": name, "value": value})[0].role == role
    assert turns({"role": "user", "content": "Hi"}, HERE, Notes()) == (Message("user", "Hi"),)


def test_content_is_kept_as_it_stands() -> None:
    for text in (" \n a\r\n", "", "\t", "\u2028", "<image>"):
        assert read({"role": "user", "content": text}) == (Message("user", text),)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("bare", Text("bare")),
        ({"type": "text", "text": "a"}, Text("a")),
        ({"type": "text", "text": "a", "image": None}, Text("a")),
        ({"type": "image", "image": "a.png"}, Image("a.png")),
        ({"type": "image", "url": "http://x/a.png"}, Image("http://x/a.png")),
        ({"type": "image", "image": {"bytes": PIXEL, "path": None}}, Image(PIXEL)),
        ({"type": "image", "image": {"bytes": None, "path": "a.png"}}, Image("a.png")),
        ({"type": "image_url", "image_url": {"url": DATA}}, Image(PIXEL, media_type="image/png")),
        ({"type": "image_url", "image_url": "a.png"}, Image("a.png")),
        (
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": DATA.split(",")[1]},
            },
            Image(PIXEL, media_type="image/png"),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": DATA.split(",")[1], "format": "wav"}},
            Audio(PIXEL, media_type="audio/wav"),
        ),
        ({"type": "audio", "audio": "a.wav"}, Audio("a.wav")),
        ({"type": "video", "video": "a.mp4"}, Video("a.mp4")),
        ({"type": "video", "video": ["1.png", PIXEL]}, Video((Image("1.png"), Image(PIXEL)))),
    ],
)
def test_parts(part: Any, expected: object) -> None:
    assert read({"role": "user", "content": [part]})[0].content == (expected,)


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        (
            [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
            ToolCall("f", {"a": 1}, id="1"),
        ),
        ([{"function": {"name": "f", "arguments": {"a": [1]}}}], ToolCall("f", {"a": [1]})),
        ([{"name": "f", "arguments": "not json"}], ToolCall("f", "not json")),
        ([{"name": "f", "arguments": "[1]"}], ToolCall("f", "[1]")),
        ([{"name": "f", "arguments": ""}], ToolCall("f", {})),
        ([{"name": "f"}], ToolCall("f", {})),
        ('[{"name": "f", "arguments": {}}]', ToolCall("f", {})),
        ({"name": "f", "parameters": {"a": 1}}, ToolCall("f", {"a": 1})),
        # what would change on its way through JSON stays the text that it is
        ({"name": "f", "arguments": '{"a": 1, "a": 2}'}, ToolCall("f", '{"a": 1, "a": 2}')),
        ({"name": "f", "arguments": '{"a": NaN}'}, ToolCall("f", '{"a": NaN}')),
    ],
)
def test_tool_calls(calls: Any, expected: ToolCall) -> None:
    assert read({"role": "assistant", "content": None, "tool_calls": calls}) == (
        Message("assistant", "", tool_calls=(expected,)),
    )


def test_fields_of_a_message() -> None:
    given_fields = {"role": "assistant", "content": "x", "name": "Ada", "thinking": "hm", "tool_calls": None}
    assert read(given_fields) == (Message("assistant", "x", name="Ada", reasoning="hm"),)
    for mark in ("weight", "train", "trained"):
        assert read({"role": "assistant", "content": "x", mark: 0})[0].trained is False
        assert read({"role": "user", "content": "x", mark: True})[0].trained is True
        assert read({"role": "user", "content": "x", mark: None})[0].trained is None


def test_fields_of_their_own_are_kept_in_meta() -> None:
    chat = [{"role": "user", "content": "a", "stars": 3}, {"role": "assistant", "content": "b"}]
    assert item("messages=m", m=chat).meta == {"m": chat}
    chat[0]["stars"] = None
    assert item("messages=m", m=chat).meta == {}


@pytest.mark.parametrize(
    ("chat", "message"),
    [
        ("Hi", r"column 'm': this is not a conversation"),
        ([], r"column 'm': the conversation is empty; found nothing"),
        (["Hi"], r"column 'm\[0\]': this is not a message; found 'Hi'"),
        ([None], r"column 'm\[0\]': this is not a message"),
        ([{"content": "a"}], r"column 'm\[0\]': a message does not say who speaks"),
        (
            [{"role": "user", "content": "a"}, {"role": "asistant", "content": "b"}],
            r"column 'm\[1\]\.role': unknown role; found 'asistant'",
        ),
        ([{"from": "gtp", "value": "a"}], r"column 'm\[0\]\.from': unknown role"),
        ([{"role": 3, "content": "a"}], r"column 'm\[0\]\.role': unknown role"),
        ([{"role": "user"}], r"column 'm\[0\]\.value': a message has no content|column 'm\[0\]\.content'"),
        (
            [{"role": "user", "content": None}],
            r"column 'm\[0\]\.content': a message has no content; found null",
        ),
        ([{"role": "user", "content": 5}], r"column 'm\[0\]\.content': a message has no content; found 5"),
        (
            [{"role": "user", "content": [{"type": "smell"}]}],
            r"column 'm\[0\]\.content\[0\]\.type': unknown part",
        ),
        (
            [{"role": "user", "content": [{"text": "a"}]}],
            r"column 'm\[0\]\.content\[0\]\.type': unknown part",
        ),
        (
            [{"role": "user", "content": [{"type": "text"}]}],
            r"column 'm\[0\]\.content\[0\]': a part has no text",
        ),
        (
            [{"role": "user", "content": [{"type": "image", "image": 5}]}],
            r"content\[0\]\.image': nothing that can be shown",
        ),
        (
            [{"role": "user", "content": [{"type": "image", "url": "data:image/png,abc"}]}],
            r"a data address without base64",
        ),
        (
            [{"role": "user", "content": [{"type": "image", "url": "data:image/png;base64,@@"}]}],
            r"this is not base64",
        ),
        (
            [{"role": "user", "content": "a", "weight": 0.5}],
            r"column 'm\[0\]\.weight': a turn is trained or not",
        ),
        ([{"role": "user", "content": "a", "name": 5}], r"column 'm\[0\]\.name': this is not text"),
        (
            [{"role": "assistant", "content": "", "tool_calls": [{"id": 1}]}],
            r"tool_calls\[0\]': this is not a tool call",
        ),
        ([{"role": "assistant", "content": "", "tool_calls": "{"}], r"tool_calls': the text is not whole"),
        (
            [{"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": 3}]}],
            r"arguments': these are no arg",
        ),
        ([{"from": "function_call", "value": "call f"}], r"column 'm\[0\]\.value': this is not JSON"),
        ([{"from": "function_call", "value": "[]"}], r"column 'm\[0\]\.value': no tool is called"),
    ],
)
def test_trouble_names_the_place(chat: Any, message: str) -> None:
    with pytest.raises(RowError, match=rf"^rows\.jsonl:1: .*(?:{message}).*; accepted: .*; to do: "):
        item("messages=m", m=chat)


# --- pictures ---------------------------------------------------------------------------------------------


def asked(content: Any, *rest: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [content, *rest] if rest else content}]


GAP = {"type": "image"}


@pytest.mark.parametrize(
    ("prompt", "images", "content"),
    [
        ("See?", ["a.png"], (Image("a.png"), Text("See?"))),
        ("See?", "a.png", (Image("a.png"), Text("See?"))),
        ("See?", {"bytes": PIXEL, "path": "a.png"}, (Image(PIXEL), Text("See?"))),
        (
            "<image>See <image>?",
            [PIXEL, DATA],
            (Image(PIXEL), Text("See "), Image(PIXEL, media_type="image/png"), Text("?")),
        ),
        (asked(GAP, "and", GAP), ["a.png", "b.png"], (Image("a.png"), Text("and"), Image("b.png"))),
        ("See?", [], "See?"),
        ("See?", None, "See?"),
        ("A <video>", None, "A <video>"),
    ],
)
def test_pictures_go_where_they_belong(prompt: Any, images: Any, content: object) -> None:
    made = item("prompt=p reply=r images=i", p=prompt, r="Yes.", i=images)
    assert made.prompt.messages[0].content == content


def test_pictures_of_later_turns() -> None:
    chat = [
        *asked("One <image>"),
        {"role": "assistant", "content": "1"},
        *asked(GAP, "two"),
        {"role": "assistant", "content": "2"},
    ]
    made = item("messages=m images=i", m=chat, i=["a.png", "b.png"])
    assert made.prompt == Prompt((Message("user", (Text("One "), Image("a.png"))),))
    assert made.replies[0][1:2] == (Message("user", (Image("b.png"), Text("two"))),)


def test_both_sides_of_a_preference_show_the_same_pictures() -> None:
    sides = [[*asked("<image>See?"), {"role": "assistant", "content": text}] for text in ("Yes.", "No.")]
    made = item("chosen=c rejected=r images=i", c=sides[0], r=sides[1], i=["a.png"])
    assert made.prompt.messages == (Message("user", (Image("a.png"), Text("See?"))),)
    assert made.replies == ((Message("assistant", "Yes."),), (Message("assistant", "No."),))


def test_films_and_sounds() -> None:
    made = item(
        "prompt=p reply=r videos=v audios=a", p="<audio>Listen, <video>", r="Yes.", v="a.mp4", a=["a.wav"]
    )
    assert made.prompt.messages[0].content == (Audio("a.wav"), Text("Listen, "), Video("a.mp4"))


@pytest.mark.parametrize(
    ("prompt", "images", "message"),
    [
        (
            "<image> <image>",
            ["a.png"],
            r"column 'i': images and their places differ in number; found 1 images; accepted: 2",
        ),
        ("<image>", ["a.png", "b.png"], r"column 'i': images and their places differ in number"),
        (asked(GAP, "x"), [], r"column 'i': images and their places differ"),
        (asked(GAP, "x"), None, r"a part of a message shows nothing"),
        ([{"role": "system", "content": "x"}], ["a.png"], r"column 'i': no turn of the user"),
        ("See?", [None], r"column 'i\[0\]': nothing that can be shown"),
        ("See?", [""], r"column 'i\[0\]': nothing that can be shown"),
    ],
)
def test_pictures_without_a_place(prompt: Any, images: Any, message: str) -> None:
    with pytest.raises(RowError, match=message):
        item("prompt=p reply=r images=i", p=prompt, r="Yes.", i=images)


@pytest.mark.parametrize("line", ["prompt=p reply=r", "prompt=p chosen=r rejected=p"])
def test_a_gap_in_a_reply_is_trouble_too(line: str) -> None:
    with pytest.raises(RowError, match="shows nothing"):
        item(line, p="See?", r=[{"role": "assistant", "content": [GAP]}])


# --- texts ------------------------------------------------------------------------------------------------


def test_dialogue_text() -> None:
    text = "\n\nHuman: Hi\n\nthere\n\nAssistant:  Hello. Human: no\n\nHuman:\n\nAssistant:"
    assert hh_turns(text, HERE) == (
        Message("user", "Hi\n\nthere"),
        Message("assistant", " Hello. Human: no"),
        Message("user", ""),
        Message("assistant", ""),
    )
    assert hh_turns("Human: Hi", HERE) == (Message("user", "Hi"),)
    for odd in ("", "Hi", "Hi\n\nHuman: a", None, 5):
        with pytest.raises(Trouble, match="no turns can be seen"):
            hh_turns(odd, HERE)


def test_a_reply_of_several_turns_in_dialogue_text() -> None:
    made = item(
        "shape=hh",
        prompt="\n\nHuman: a\n\nAssistant:",
        chosen=" b\n\nHuman: c\n\nAssistant: d",
        rejected=" e",
    )
    assert [turn.text for turn in made.replies[0]] == ["b", "c", "d"]
    with pytest.raises(
        RowError, match=r"column 'chosen\[1\].role': a reply begins and ends with the assistant"
    ):
        item("shape=hh", prompt="\n\nHuman: a\n\nAssistant:", chosen=" b\n\nHuman: c", rejected=" e")
    with pytest.raises(
        RowError, match=r"column 'prompt\[1\].role': the prompt ends with a turn of the assistant"
    ):
        item("shape=hh", prompt="\n\nHuman: a\n\nAssistant: b", chosen=" b", rejected=" e")


@pytest.mark.parametrize(
    ("first", "second", "cut"),
    [
        ("Q: why? A: so", "Q: why? A: no", "Q: why? A:"),
        ("Q\nA\nyes", "Q\nA\nno", "Q\nA\n"),
        ("Why? Sunlight", "Why? Sunset", "Why?"),
        ("Why? a", "Why? a b", "Why?"),
        ("abc", "abd", ""),
        ("abc", "xbc", ""),
        ("", "", ""),
        ("a b", "a b", "a"),
        ("a b", "a", ""),
    ],
)
def test_what_two_texts_share(first: str, second: str, cut: str) -> None:
    assert first[: shared_text(first, second)] == second[: shared_text(second, first)] == cut


@given(st.text("ab \n"), st.text("ab \n"), st.text("ab \n"))
def test_what_two_texts_share_is_shared_and_leaves_something(start: str, one: str, other: str) -> None:
    first, second = start + one, start + other
    cut = shared_text(first, second)
    assert first[:cut] == second[:cut]
    assert cut == 0 or (len(first) > cut < len(second))
    # putting the parts together again and cutting once more gives the same place
    assert shared_text(first[:cut] + first[cut:], second) == cut
