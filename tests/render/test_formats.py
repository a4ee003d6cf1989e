"""Each published chat format, letter by letter: what is written, and what of it is trained."""

from typing import Any

import pytest

from concord.messages import Message, Prompt, ToolCall
from concord.render.templates import as_data
from tests.render.helpers import item, only, refused, renderer, said, show
from tests.render.templates import FAMILIES, tokenizer

LLAMA = "<|begin_of_text|>"
TOLD = "<|start_header_id|>system<|end_header_id|>\n\n"
ASKS = "<|start_header_id|>user<|end_header_id|>\n\n"
SAYS = "<|start_header_id|>assistant<|end_header_id|>\n\n"
DATES = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
QWEN = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
VICUNA = "A chat between a user and an assistant. "

# family, system message or none, what is said in turn, what is written
GOLDEN: list[tuple[str, str | None, tuple[str, ...], str]] = [
    ("llama3", None, ("Hi", "Yes"), f"{LLAMA}{ASKS}Hi<|eot_id|>{SAYS}[[Yes<|eot_id|>]]"),
    (
        "llama3",
        "Be brief.",
        (" Hi ", " Yes\n", "And?", "No"),
        f"{LLAMA}{TOLD}Be brief.<|eot_id|>{ASKS}Hi<|eot_id|>{SAYS}[[Yes<|eot_id|>]]"
        f"{ASKS}And?<|eot_id|>{SAYS}[[No<|eot_id|>]]",
    ),
    (
        "llama31",
        None,
        ("Hi", "Yes"),
        f"{LLAMA}{TOLD}{DATES}<|eot_id|>{ASKS}Hi<|eot_id|>{SAYS}[[Yes<|eot_id|>]]",
    ),
    (
        "llama31",
        "Be brief.",
        ("Hi", "Yes", "And?", "No"),
        f"{LLAMA}{TOLD}{DATES}Be brief.<|eot_id|>{ASKS}Hi<|eot_id|>{SAYS}[[Yes<|eot_id|>]]"
        f"{ASKS}And?<|eot_id|>{SAYS}[[No<|eot_id|>]]",
    ),
    (
        "chatml",
        "Be brief.",
        (" Hi ", " Yes\n", "And?", "No"),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Hi <|im_end|>\n<|im_start|>assistant\n"
        "[[ Yes\n<|im_end|>]]\n<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n[[No<|im_end|>]]",
    ),
    (
        "marked",
        None,
        ("Hi", "Yes"),
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[[Yes<|im_end|>]]",
    ),
    (
        "qwen25",
        None,
        ("Hi", "Yes", "And?", "No"),
        f"{QWEN}<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[[Yes<|im_end|>]]\n"
        "<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n[[No<|im_end|>]]",
    ),
    (
        "qwen25",
        "Be brief.",
        ("Hi", "Yes"),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        "[[Yes<|im_end|>]]",
    ),
    (
        "qwen3 not thinking",
        None,
        ("Hi", "Yes"),
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n[[Yes<|im_end|>]]",
    ),
    (
        "gemma",
        None,
        (" Hi", " Yes ", "And?", "No"),
        "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n[[Yes<end_of_turn>]]\n"
        "<start_of_turn>user\nAnd?<end_of_turn>\n<start_of_turn>model\n[[No<end_of_turn>]]",
    ),
    ("base", None, ("Hi", " Yes "), "<|begin|>User: Hi\n\nAssistant:[[ Yes<|end|>]]"),
    (
        "base",
        "Be brief.",
        ("Hi", "Yes", "And?", "No"),
        "<|begin|>Be brief.\n\nUser: Hi\n\nAssistant:[[ Yes<|end|>]]\n\n"
        "User: And?\n\nAssistant:[[ No<|end|>]]",
    ),
    ("base without bos", None, ("Hi", "Yes"), "User: Hi\n\nAssistant:[[ Yes<|endoftext|>]]"),
]

# The newer SentencePiece manner decodes to the letters that were written, so these can be held to them too.
PIECES: list[tuple[str, str | None, tuple[str, ...], str]] = [
    ("mistral", None, ("Hi", "Yes"), "<s>[INST] Hi[/INST][[ Yes</s>]]"),
    (
        "mistral",
        "Be brief.",
        ("Hi", " Yes ", "And?", "No"),
        "<s>[INST] Be brief.\n\nHi[/INST][[ Yes</s>]][INST] And?[/INST][[ No</s>]]",
    ),
    # The blanks behind these tokens belong to them, and are not seen again.
    ("phi3", None, ("Hi", "Yes"), "<|user|>Hi<|end|><|assistant|>[[Yes<|end|>]]"),
    (
        "phi3",
        "Be brief.",
        ("Hi", "Yes", "And?", "No"),
        "<|system|>Be brief.<|end|><|user|>Hi<|end|><|assistant|>[[Yes<|end|>]]"
        "<|user|>And?<|end|><|assistant|>[[No<|end|>]]",
    ),
    ("zephyr", None, ("Hi", "Yes"), "<|user|>\nHi</s>\n<|assistant|>\n[[Yes</s>]]"),
    (
        "zephyr",
        "Be brief.",
        ("Hi", "Yes", "And?", "No"),
        "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\n[[Yes</s>]]\n"
        "<|user|>\nAnd?</s>\n<|assistant|>\n[[No</s>]]",
    ),
    ("vicuna", None, ("Hi", "Yes"), f"{VICUNA}USER: Hi ASSISTANT:[[ Yes</s>]]"),
    (
        "vicuna",
        "Be brief.",
        ("Hi", "Yes", "And?", "No"),
        "Be brief. USER: Hi ASSISTANT:[[ Yes</s>]]USER: And? ASSISTANT:[[ No</s>]]",
    ),
    ("base in pieces", None, ("Hi", "Yes"), "<s> User: Hi\n\nAssistant:[[ Yes</s>]]"),
]


@pytest.mark.parametrize(("family", "system", "texts", "written"), [*GOLDEN, *PIECES])
def test_the_format_is_written_and_masked_letter_by_letter(
    family: str, system: str | None, texts: tuple[str, ...], written: str
) -> None:
    made = renderer(family, first=FAMILIES[family].pieces)
    talk = said(*texts, system=system)
    asked = 1 if system is None else 2
    leaves = show(made, item(talk[:asked], talk[asked:]))
    assert leaves == [written]


def test_earlier_turns_that_are_rewritten_have_leaves_of_their_own() -> None:
    talk = said("Hi", "Yes", "And?", "No")
    assert show(renderer("qwen3 not thinking"), item(talk[:1], talk[1:])) == [
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n[[Yes<|im_end|>]]",
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes<|im_end|>\n"
        "<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n[[No<|im_end|>]]",
    ]


def test_reasoning_is_learned_where_it_is_given_and_dropped_where_it_is_history() -> None:
    reply = (
        Message("assistant", "Yes", reasoning="Hm."),
        Message("user", "And?"),
        Message("assistant", "No", reasoning="Ah."),
    )
    opened = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert show(renderer("qwen3"), item("Hi", reply)) == [
        f"{opened}[[<think>\nHm.\n</think>\n\nYes<|im_end|>]]",
        f"{opened}Yes<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\n"
        "[[<think>\nAh.\n</think>\n\nNo<|im_end|>]]",
    ]


def test_leaves_are_as_few_as_there_can_be() -> None:
    # Reasoning between a question and the last tool result stays; so one leaf holds both turns.
    reply = (
        Message("assistant", "Yes", reasoning="Hm."),
        Message("tool", "3"),
        Message("assistant", "No", reasoning="Ah."),
    )
    assert show(renderer("qwen3"), item("Hi", reply)) == [
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[[<think>\nHm.\n</think>\n\nYes<|im_end|>]]\n"
        "<|im_start|>tool\n3<|im_end|>\n<|im_start|>assistant\n[[<think>\nAh.\n</think>\n\nNo<|im_end|>]]"
    ]


def test_tool_calls_are_learned_and_tool_results_are_not() -> None:
    call = Message("assistant", "", tool_calls=(ToolCall("add", {"a": 1, "b": [2]}),))
    reply = (call, Message("tool", "3"), Message("assistant", "It is 3."))
    tools = ({"type": "function", "function": {"name": "add"}},)
    (leaf,) = show(renderer("qwen25"), item("1+2?", reply, tools=tools))
    assert leaf == (
        f"{QWEN[:-11]}\n\n# Tools\n"
        '[{"type": "function", "function": {"name": "add"}}]<|im_end|>\n'
        "<|im_start|>user\n1+2?<|im_end|>\n<|im_start|>assistant\n"
        '[[<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": [2]}}\n</tool_call><|im_end|>]]\n'
        "<|im_start|>user\n<tool_response>\n3\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
        "[[It is 3.<|im_end|>]]"
    )


def test_untrained_turns_and_turns_in_a_row() -> None:
    reply = (
        Message("assistant", "one", trained=False),
        Message("assistant", "two"),
        Message("user", "b"),
        Message("assistant", "three", trained=False),
    )
    assert show(renderer("chatml"), item("a", reply)) == [
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\none<|im_end|>\n"
        "<|im_start|>assistant\n[[two<|im_end|>]]"
    ]


def test_a_reply_that_begins_with_the_users_turn() -> None:
    talk = said("a", "b", "c", "d", system="S")
    row = only(renderer("chatml"), item(talk[:1], talk[1:]))
    assert show(renderer("chatml"), item(talk[:1], talk[1:])) == [
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\na<|im_end|>\n"
        "<|im_start|>assistant\n[[b<|im_end|>]]\n"
        "<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n[[d<|im_end|>]]"
    ]
    assert renderer("chatml").decode(row.prompt.tolist()).endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize("family", ["llama3", "chatml", "gemma", "mistral", "zephyr", "vicuna", "base"])
def test_a_reply_continues_a_prompt_that_ends_with_the_assistant(family: str) -> None:
    made = renderer(family, first=FAMILIES[family].pieces)
    prompt = (Message("user", "Hi"), Message("assistant", "Sure, here"))
    whole = show(made, item("Hi", "Sure, here it is"))[0]
    opened = only(made, item(prompt, " it is"))
    assert show(made, item(prompt, " it is"))[0].replace("[[", "") == whole.replace("[[", "")
    assert made.decode(opened.prompt.tolist()).endswith("Sure, here")


def test_a_dialogue_after_a_prompt_that_ends_with_the_assistant_continues_nothing() -> None:
    made, talk = renderer("chatml"), said("Hi", "Hello", "a", "b")
    assert show(made, item(talk[:2], talk[2:])) == [
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[[b<|im_end|>]]"
    ]


def test_blanks_before_what_continues_are_kept_as_the_template_keeps_them() -> None:
    prompt = (Message("user", "Hi"), Message("assistant", "Sure, "))
    assert show(renderer("chatml"), item(prompt, "here"))[0].endswith("\nSure, [[here<|im_end|>]]")
    assert show(renderer("llama3"), item(prompt, "here"))[0].endswith("Sure,[[ here<|eot_id|>]]")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("first", [False, True])
def test_a_prompt_is_what_transformers_gives(family: str, first: bool) -> None:
    kind = FAMILIES[family]
    if kind.template is None:
        pytest.skip("there is no template to hold it against")
    made, own = renderer(family, first=first), tokenizer(family, first=first)
    system = "Be brief." if kind.system else None
    given: dict[str, Any] = {"date_string": "26 Jul 2024", **kind.args}
    for texts in (("Hi \U0001f600",), ("Hi", "Yes\n", " And? \n\n"), ("Hi", "Sure, ")):
        talk = said(*texts, system=system)
        ends = talk[-1].role == "assistant"
        data = [as_data(message) for message in talk]
        expected = own.apply_chat_template(
            data, add_generation_prompt=not ends, continue_final_message=ends, return_dict=True, **given
        )["input_ids"]
        assert made.prompt(Prompt(talk)).tolist() == list(expected)


def test_tools_reach_the_template_that_is_for_them() -> None:
    own = tokenizer("chatml")
    made = type(own)(tokenizer_object=own.backend_tokenizer, eos_token="<|im_end|>")
    kind = FAMILIES["chatml"].template
    made.chat_template = {"default": kind, "tool_use": f"{{{{- (tools | length) ~ ' tools\\n' -}}}}{kind}"}
    from concord.render.renderer import Renderer

    rendering = Renderer(made)
    plain, tooled = Prompt(said("Hi")), Prompt(said("Hi"), tools=({"name": "add"},))
    assert rendering.decode(rendering.prompt(tooled).tolist()) == "1 tools\n" + rendering.decode(
        rendering.prompt(plain).tolist()
    )


def test_template_arguments_of_a_prompt_go_before_those_of_the_settings() -> None:
    made = renderer("llama31", template_args={"date_string": "1 Jan 2025"})
    assert "Today Date: 1 Jan 2025\n" in show(made, item("Hi", "Yes"))[0]
    asked = Prompt(said("Hi"), template_args={"date_string": "2 Jan 2025"})
    assert "Today Date: 2 Jan 2025\n" in show(made, item(asked, "Yes"))[0]


def test_a_template_refuses_in_its_own_words() -> None:
    assert "System role not supported" in refused(renderer("gemma"), item(said("a", system="S"), "b"))
    talk = (*said("a"), *said("b"))
    assert "Conversation roles must alternate" in refused(renderer("gemma"), item(talk, "b"))
