"""Templates that leave out, repeat, reorder or rewrite: each is right or refused in a sentence."""

import pytest

from concord.errors import InputError
from concord.messages import Message, Prompt, ToolCall
from concord.types import Item
from tests.render.helpers import item, only, refused, renderer, said, show
from tests.render.templates import CHATML

STOP = "<|im_end|>"
LOOP = "{%- for message in messages -%}"
GENERATED = '{%- if add_generation_prompt -%}{{- "<|im_start|>assistant\\n" -}}{%- endif -%}'

# As some published ones are, that know three roles.
THREE_ROLES = (
    """
{%- for message in messages -%}
    {%- if message.role in ["system", "user", "assistant"] -%}
        {{- "<|im_start|>" ~ message.role ~ "\\n" ~ message.content ~ "<|im_end|>\\n" -}}
    {%- endif -%}
{%- endfor -%}
"""
    + GENERATED
)

NAMES_ONLY = (
    """
{%- for message in messages -%}
    {{- "<|im_start|>" ~ message.role ~ "\\n" ~ message.content -}}
    {%- for call in message.tool_calls -%}{{- "<call>" ~ call.function.name -}}{%- endfor -%}
    {{- "<|im_end|>\\n" -}}
{%- endfor -%}
"""
    + GENERATED
)

# As Qwen 3's: a thought that stands in the content is taken out and put back, and dropped from history.
THOUGHTFUL = (
    """
{%- set asked = namespace(last=-1) -%}
{%- for message in messages -%}
    {%- if message.role == "user" -%}{%- set asked.last = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
    {%- set text, thought = message.content, message.reasoning_content or "" -%}
    {%- if "</think>" in text -%}
        {%- set thought = text.split("</think>")[0].split("<think>")[-1] -%}
        {%- set text = text.split("</think>")[-1].lstrip("\\n") -%}
    {%- endif -%}
    {{- "<|im_start|>" ~ message.role ~ "\\n" -}}
    {%- if message.role == "assistant" and loop.index0 > asked.last and thought -%}
        {{- "<think>\\n" ~ thought.strip("\\n") ~ "\\n</think>\\n\\n" -}}
    {%- endif -%}
    {{- text ~ "<|im_end|>\\n" -}}
{%- endfor -%}
"""
    + GENERATED
)

# As GLM 4's: a turn ends where the header of the next one begins.
NEXT_HEADER = (
    "{%- for message in messages -%}"
    '{{- ("<|im_start|>" if message.role == "user" else "<|im_end|>") ~ message.role ~ "\\n" -}}'
    "{{- message.content -}}"
    "{%- endfor -%}"
    '{%- if add_generation_prompt -%}{{- "<|im_end|>assistant\\n" -}}{%- endif -%}'
)


def written(content: str) -> str:
    """The template of ChatML with something else in the place of a content."""
    assert "message.content" in CHATML
    return CHATML.replace("message.content", content)


# --- what is left out ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", ["a", "Hi", "Be brief."])
def test_a_system_message_that_is_swallowed_is_missed_however_short_it_is(system: str) -> None:
    template = CHATML.replace("in messages", "in messages if message.role != 'system'")
    message = refused(renderer("chatml", template), item(said("Hi", system=system), "Yes"))
    assert f"leaves out or rewrites the text of the system; found '{system}'" in message


def test_results_of_tools_that_are_swallowed_are_missed() -> None:
    made = renderer("chatml", THREE_ROLES)
    reply = (Message("assistant", "a"), Message("tool", "b"), Message("assistant", "c"))
    assert "the text of the tool; found 'b'" in refused(made, item("Hi", reply))
    prompt = (Message("user", "Hi"), *reply[:2])
    assert "the text of the tool; found 'b'" in refused(made, item(prompt, "c"))
    assert show(renderer("chatml"), item("Hi", reply))[0].endswith(
        f"tool\nb{STOP}\n<|im_start|>assistant\n[[c{STOP}]]"
    )


def test_calls_of_tools_in_a_prompt_that_are_swallowed_are_missed() -> None:
    called = Message("assistant", "", tool_calls=(ToolCall("add", {"a": 1}, id="1"),))
    prompt = (Message("user", "Hi"), called, Message("tool", "three"))
    assert "the text of the assistant" in refused(renderer("chatml"), item(prompt, "c"))
    assert len(only(renderer("qwen25"), item(prompt, "c")).replies) == 1


@pytest.mark.parametrize("arguments", [{"first": "one"}, {"a": [{"b": 'say "\u00e9"\n'}]}, "{'broken"])
def test_arguments_of_a_tool_that_are_left_out_are_missed(arguments: dict[str, object] | str) -> None:
    given = item("Hi", [Message("assistant", "", tool_calls=(ToolCall("add", arguments),))])  # type: ignore[arg-type]
    assert "leaves out a tool call of the reply, or part of it" in refused(
        renderer("chatml", NAMES_ONLY), given
    )
    (leaf,) = show(renderer("qwen25"), given)
    assert leaf.endswith(f"</tool_call>{STOP}]]")


def test_tools_that_the_template_does_not_write_are_missed() -> None:
    given = Item(Prompt(said("Hi"), tools=({"name": "add"},)), ((Message("assistant", "Yes"),),))
    assert "has no place for the tools" in refused(renderer("chatml"), given)
    assert '{"name": "add"}' in show(renderer("qwen25"), given)[0]
    going_on = Item(Prompt((*said("Hi", "So"),), tools=({"name": "add"},)), ((Message("assistant", "."),),))
    assert "has no place for the tools" in refused(renderer("chatml"), going_on)
    demanding = "{%- if not tools -%}{{- raise_exception('no tools') -}}{%- endif -%}" + CHATML
    assert "refuses this conversation: no tools" in refused(renderer("chatml", demanding), item("Hi", "Yes"))


def test_a_reply_is_looked_for_even_where_added_text_is_learned() -> None:
    made = renderer(
        "chatml", written('(message.content if message.role == "user" else "no")'), train_added=True
    )
    assert "does not write the reply's content" in refused(made, item("Hi", "Yes"))


def test_many_shapes_of_conversation_are_each_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("concord.render.templates._MOST_SHAPES", 2)
    template = CHATML.replace("in messages", "in messages if message.role != 'system'")
    made = renderer("chatml", template)
    for number in (1, 3, 5, 7):
        assert show(made, item(said(*"abcdefg"[:number]), "Yes"))
        assert "text of the system" in refused(made, item(said(*"abcdefg"[:number], system="a"), "Yes"))


# --- what is written otherwise ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (written("message.content ~ message.content"), "adds text of its own"),
        (written('"<|im_end|>" ~ message.content'), "does not write the reply's content"),
        (written('message.content.split() | join(" ")'), "does not write the reply's content"),
        (CHATML.replace("in messages", "in messages | reverse"), "another beginning"),
        (CHATML.replace(LOOP, "{{ messages | length }}" + LOOP), "another beginning"),
    ],
)
def test_replies_that_are_repeated_rewritten_or_moved_are_refused(template: str, words: str) -> None:
    assert template != CHATML
    assert words in refused(renderer("chatml", template), item("Hi", "if a:\n    b"))


def test_a_template_cannot_draw_by_chance() -> None:
    with pytest.raises(InputError, match="not Jinja: No filter named 'random'"):
        renderer("chatml", "{{ range(9) | random }}" + CHATML)
    made = renderer("chatml", "{{ lipsum() }}" + CHATML)
    assert "'lipsum' is undefined" in refused(made, item("Hi", "Yes"))


def test_text_behind_the_stop_token_is_no_part_of_the_span() -> None:
    made = renderer("chatml", CHATML.replace("<|im_end|>\\n", "<|im_end|>bye\\n"))
    assert show(made, item("a", said("", "b", "c", "d")[1:])) == [
        f"<|im_start|>user\na{STOP}bye\n<|im_start|>assistant\n[[b{STOP}]]bye\n"
        f"<|im_start|>user\nc{STOP}bye\n<|im_start|>assistant\n[[d{STOP}]]"
    ]


@pytest.mark.parametrize("reply", ["<think>\nhm\n</think>\n\nYes", "<think>hm</think>Yes"])
def test_a_thought_in_the_content_is_learned_as_the_template_writes_it(reply: str) -> None:
    made = renderer("qwen3", THOUGHTFUL)
    again = (Message("assistant", reply), Message("user", "So?"), Message("assistant", "No"))
    assert show(made, item("Hi", again)) == [
        f"<|im_start|>user\nHi{STOP}\n<|im_start|>assistant\n[[<think>\nhm\n</think>\n\nYes{STOP}]]",
        f"<|im_start|>user\nHi{STOP}\n<|im_start|>assistant\nYes{STOP}\n"
        f"<|im_start|>user\nSo?{STOP}\n<|im_start|>assistant\n[[No{STOP}]]",
    ]


def test_a_second_thought_that_the_template_loses_is_missed() -> None:
    reply = "<think>hm</think>Yes <think>so</think> no"
    assert "does not write the reply's content" in refused(renderer("qwen3", THOUGHTFUL), item("Hi", reply))


def test_a_reply_ends_on_the_header_of_the_next_turn_where_that_is_the_stop() -> None:
    made = renderer("chatml", NEXT_HEADER, stop=("<|im_start|>",))
    assert show(made, item("a", said("", "b", "c", "d")[1:])) == [
        "<|im_start|>user\na<|im_end|>assistant\n[[b<|im_start|>]]user\nc<|im_end|>assistant\n[[d<|im_start|>]]"
    ]


# --- replies that look like something else ------------------------------------------------------------------


@pytest.mark.parametrize("family", ["chatml", "llama3", "gemma", "vicuna", "mistral", "phi3", "base"])
@pytest.mark.parametrize(
    "reply",
    [
        "USER: a ASSISTANT: b",
        "User: a\n\nAssistant: b",
        "@@concord-goes-on-here@@",
        "\u200f\u05e9\u05dc\u05d5\u05dd\u202c",
        "a\0b\r\nc\x85d\u2028e",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        "a",
        "word " * 20_000,
    ],
)
def test_odd_replies_are_learned_whole(family: str, reply: str) -> None:
    made = renderer(family)
    for prompt in ("Hi", (Message("user", "Hi"), Message("assistant", "caf\u0065 \U0001f468"))):
        (leaf,) = only(made, item(prompt, reply)).replies[0]
        ((start, stop),) = leaf.spans.tolist()
        learned = made.decode(leaf.ids[start:stop].tolist())
        assert learned.removesuffix(made.facts.stop[0].text).strip() == reply.strip()


def test_a_prompt_that_only_a_users_turn_follows_is_looked_through_as_well() -> None:
    template = CHATML.replace("in messages", "in messages if message.role != 'system'")
    reply = (Message("user", "b", trained=True),)
    given = item((Message("system", "a"), Message("assistant", "Hi")), reply)
    assert "text of the system; found 'a'" in refused(renderer("chatml", template, train_added=True), given)
    (leaf,) = show(renderer("chatml", train_added=True), given)
    assert leaf.endswith(f"Hi{STOP}\n[[<|im_start|>user\nb{STOP}]]")
