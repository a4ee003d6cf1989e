"""Rows of every shape, in our own words, with what they become."""

import json
from dataclasses import dataclass
from typing import Any

from concord.formats.rows import Row
from concord.types import (
    Image,
    Item,
    Label,
    Message,
    Origin,
    Preference,
    Prompt,
    Ranks,
    Ratings,
    Shown,
    StepLabels,
    Text,
    ToolCall,
    TurnRewards,
    Turns,
    Utilities,
)

__all__ = ["CASES", "Case", "as_text", "first_item", "rows_of", "said", "user"]


@dataclass(frozen=True)
class Case:
    """Rows of one shape, the line that says how they are read, and the first item they give."""

    shape: str
    kind: str
    line: str
    rows: tuple[dict[str, Any], ...]
    prompt: Prompt
    replies: tuple[Turns, ...]
    utilities: Utilities
    meta: dict[str, Any]


def rows_of(*columns: dict[str, Any], textual: bool = False) -> list[Row]:
    """Rows as a reader gives them."""
    return [Row(one, Origin("rows.jsonl", at), textual=textual) for at, one in enumerate(columns, 1)]


def as_text(columns: dict[str, Any]) -> dict[str, str]:
    """A row as a table of text has it: nothing for null, JSON for whatever is no text."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in columns.items()}
    return {name: "" if columns[name] is None else text for name, text in texts.items()}


def user(*texts: str) -> Prompt:
    """What a user asks; several texts are turns of user and assistant in turn."""
    return Prompt(tuple(Message("assistant" if at % 2 else "user", text) for at, text in enumerate(texts)))


def said(*texts: str) -> Turns:
    """What the assistant says."""
    return tuple(Message("assistant", text) for text in texts)


def _chat(*texts: str) -> list[dict[str, str]]:
    return [{"role": "assistant" if at % 2 else "user", "content": text} for at, text in enumerate(texts)]


def _share(*texts: str) -> list[dict[str, str]]:
    return [{"from": "gpt" if at % 2 else "human", "value": text} for at, text in enumerate(texts)]


def _case(
    shape: str, kind: str, line: str, *rows: dict[str, Any], item: tuple[Prompt, tuple[Turns, ...], Utilities]
) -> Case:
    """A case whose first row keeps nothing in meta but the columns that begin with an x."""
    meta = {name: value for name, value in rows[0].items() if name.startswith("x")}
    return Case(shape, kind, line, rows, *item, meta)


_ASK, _SUN, _MOON = "What lights the day?", "The sun.", "The moon."
_PAIR = (said(_SUN), said(_MOON))
_TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {}}}

CASES: dict[str, Case] = {
    "text": _case(
        "text",
        "demonstration",
        "text=text",
        {"text": " Day breaks.\n", "xid": 1},
        item=(Prompt((), plain=True), (said(" Day breaks.\n"),), Shown()),
    ),
    "messages": _case(
        "messages",
        "demonstration",
        "messages=messages",
        {"messages": [{"role": "system", "content": "Be brief."}, *_chat(_ASK, _SUN)]},
        item=(Prompt((Message("system", "Be brief."), Message("user", _ASK))), (said(_SUN),), Shown()),
    ),
    "messages, several turns": _case(
        "messages",
        "demonstration",
        "messages=messages",
        {"messages": _chat(_ASK, _SUN, "And the night?", _MOON)},
        item=(user(_ASK), ((*said(_SUN), Message("user", "And the night?"), *said(_MOON)),), Shown()),
    ),
    "messages, with tools": _case(
        "messages",
        "demonstration",
        "messages=messages tools=tools template_args=chat_template_kwargs",
        {
            "messages": [
                {"role": "user", "content": _ASK},
                {
                    "role": "assistant",
                    "content": None,
                    "reasoning_content": "Ask the almanac.",
                    "tool_calls": [
                        {
                            "id": "c1",
                            "type": "function",
                            "function": {"name": "look_up", "arguments": '{"n": 1}'},
                        }
                    ],
                },
                {"role": "tool", "content": "sun", "tool_call_id": "c1", "name": "look_up"},
                {"role": "assistant", "content": _SUN, "weight": 0},
            ],
            "tools": '[{"type": "function", "function": {"name": "look_up", "parameters": {}}}]',
            "chat_template_kwargs": {"thinking": True},
        },
        item=(
            Prompt((Message("user", _ASK),), tools=(_TOOL,), template_args={"thinking": True}),
            (
                (
                    Message(
                        "assistant",
                        "",
                        reasoning="Ask the almanac.",
                        tool_calls=(ToolCall("look_up", {"n": 1}, id="c1"),),
                    ),
                    Message("tool", "sun", name="look_up", tool_call_id="c1"),
                    Message("assistant", _SUN, trained=False),
                ),
            ),
            Shown(),
        ),
    ),
    "messages, with pictures": _case(
        "messages",
        "demonstration",
        "messages=messages images=images",
        {"messages": _chat("<image>Which of them<image>shines?", "The first."), "images": ["a.png", "b.png"]},
        item=(
            Prompt(
                (Message("user", (Image("a.png"), Text("Which of them"), Image("b.png"), Text("shines?"))),)
            ),
            (said("The first."),),
            Shown(),
        ),
    ),
    "preference, with the bytes of a picture": _case(
        "preference",
        "comparison",
        "prompt=prompt chosen=chosen rejected=rejected images=image",
        {"prompt": _ASK, "chosen": _SUN, "rejected": _MOON, "image": b"\x89PNG"},
        item=(Prompt((Message("user", (Image(b"\x89PNG"), Text(_ASK))),)), _PAIR, Preference()),
    ),
    "parts, with a picture that has its place": _case(
        "prompt-reply",
        "demonstration",
        "prompt=prompt reply=completion images=images",
        {
            "prompt": [
                {"role": "user", "content": [{"type": "text", "text": "See?"}, {"type": "image"}]},
            ],
            "completion": [{"role": "assistant", "content": [{"type": "text", "text": _SUN}]}],
            "images": [{"bytes": None, "path": "a.png"}],
        },
        item=(
            Prompt((Message("user", (Text("See?"), Image("a.png"))),)),
            ((Message("assistant", (Text(_SUN),)),),),
            Shown(),
        ),
    ),
    "preference, with the log-probabilities of a reference": Case(
        "preference",
        "comparison",
        "prompt=prompt chosen=chosen rejected=rejected",
        (
            {
                "prompt": _ASK,
                "chosen": _SUN,
                "rejected": _MOON,
                "ref_chosen_logps": -4.5,
                "ref_rejected_logps": -3.25,
            },
        ),
        user(_ASK),
        _PAIR,
        Preference(),
        {"ref_chosen_logps": -4.5, "ref_rejected_logps": -3.25},
    ),
    "prompt and completion": _case(
        "prompt-reply",
        "demonstration",
        "prompt=prompt reply=completion",
        {"prompt": _ASK, "completion": _SUN, "xid": {"deep": [1]}},
        item=(user(_ASK), (said(_SUN),), Shown()),
    ),
    "prompt and completion, as chats": _case(
        "prompt-reply",
        "demonstration",
        "prompt=prompt reply=completion",
        {"prompt": _chat("Hi", "Hello.", _ASK), "completion": _chat("", _SUN)[1:]},
        item=(user("Hi", "Hello.", _ASK), (said(_SUN),), Shown()),
    ),
    "prompt alone": _case(
        "prompt", "task", "prompt=prompt", {"prompt": _ASK, "xsolution": "sun"}, item=(user(_ASK), (), None)
    ),
    "verl": Case(
        "verl",
        "task",
        "prompt=prompt",
        (
            {
                "data_source": "almanac",
                "prompt": _chat(_ASK),
                "ability": "sky",
                "reward_model": {"style": "rule", "ground_truth": "sun"},
                "extra_info": {"index": 0},
            },
        ),
        user(_ASK),
        (),
        None,
        {
            "data_source": "almanac",
            "ability": "sky",
            "reward_model": {"style": "rule", "ground_truth": "sun"},
            "extra_info": {"index": 0},
        },
    ),
    "preference": _case(
        "preference",
        "comparison",
        "prompt=prompt chosen=chosen rejected=rejected strength=margin",
        {"prompt": _ASK, "chosen": _SUN, "rejected": _MOON, "margin": 1.5},
        item=(user(_ASK), _PAIR, Preference(strength=1.5)),
    ),
    "preference, as chats": _case(
        "preference",
        "comparison",
        "prompt=prompt chosen=chosen rejected=rejected",
        {"prompt": _chat(_ASK), "chosen": _chat("", _SUN)[1:], "rejected": _chat("", _MOON)[1:]},
        item=(user(_ASK), _PAIR, Preference()),
    ),
    "implicit, as chats": _case(
        "implicit-preference",
        "comparison",
        "chosen=chosen rejected=rejected",
        {"chosen": _chat("Hi", "Hello.", _ASK, _SUN), "rejected": _chat("Hi", "Hello.", _ASK, _MOON)},
        item=(user("Hi", "Hello.", _ASK), _PAIR, Preference()),
    ),
    "implicit, as text": _case(
        "implicit-preference",
        "comparison",
        "chosen=chosen rejected=rejected",
        {"chosen": f"Q: {_ASK}\nA: Sunlight", "rejected": f"Q: {_ASK}\nA: Sunset"},
        item=(
            Prompt((Message("user", f"Q: {_ASK}\nA:"),), plain=True),
            (said(" Sunlight"), said(" Sunset")),
            Preference(),
        ),
    ),
    "binarised, whole chats and scores": _case(
        "preference",
        "comparison",
        "prompt=prompt chosen=chosen rejected=rejected"
        " score_chosen=score_chosen score_rejected=score_rejected",
        {
            "prompt": _ASK,
            "chosen": _chat(_ASK, _SUN),
            "rejected": _chat(_ASK, _MOON),
            "xmessages": _chat(_ASK, _SUN),
            "score_chosen": 8.5,
            "score_rejected": 8.5,
        },
        item=(user(_ASK), _PAIR, Preference(scores=(8.5, 8.5))),
    ),
    "hh": _case(
        "hh",
        "comparison",
        "shape=hh prompt=prompt chosen=chosen rejected=rejected",
        {
            "prompt": f"\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: {_ASK}\n\nAssistant:",
            "chosen": f" {_SUN}",
            "rejected": f"  {_MOON}",
        },
        item=(user("Hi", "Hello.", _ASK), (said(_SUN), said(f" {_MOON}")), Preference()),
    ),
    "hh, whole dialogues": _case(
        "hh-pair",
        "comparison",
        "shape=hh-pair chosen=chosen rejected=rejected",
        {
            "chosen": f"\n\nHuman: {_ASK}\n\nAssistant: {_SUN}",
            "rejected": f"\n\nHuman: {_ASK}\n\nAssistant: {_MOON}",
        },
        item=(user(_ASK), _PAIR, Preference()),
    ),
    "unpaired": _case(
        "unpaired",
        "judgement",
        "prompt=prompt reply=completion label=label",
        {"prompt": _ASK, "completion": _MOON, "label": False},
        item=(user(_ASK), (said(_MOON),), Label(False)),
    ),
    "unpaired, 1 and 0": _case(
        "unpaired",
        "judgement",
        "prompt=question reply=answer label=label",
        {"question": _ASK, "answer": "", "label": 0},
        {"question": _ASK, "answer": _SUN, "label": 1},
        item=(user(_ASK), (said(""),), Label(False)),
    ),
    "unpaired conversation": _case(
        "unpaired-chat",
        "judgement",
        "messages=messages label=kto_tag",
        {"messages": _chat("Hi", "Hello.", _ASK, _SUN), "kto_tag": True},
        item=(user("Hi", "Hello.", _ASK), (said(_SUN),), Label(True)),
    ),
    "stepwise": _case(
        "stepwise",
        "steps",
        "prompt=prompt steps=completions labels=labels",
        {"prompt": _ASK, "completions": ["It is hot.", " So: the sun."], "labels": [True, None]},
        item=(
            user(_ASK),
            ((Message("assistant", (Text("It is hot."), Text(" So: the sun."))),),),
            StepLabels((1.0, None)),
        ),
    ),
    "alpaca": _case(
        "alpaca",
        "demonstration",
        "prompt=instruction input=input history=history reply=output system=system",
        {
            "instruction": "Name it.",
            "input": _ASK,
            "output": _SUN,
            "system": "Be brief.",
            "history": [["Hi", "Hello."]],
        },
        {"instruction": _ASK, "input": "", "output": _SUN, "system": "", "history": []},
        item=(
            Prompt((Message("system", "Be brief."), *user("Hi", "Hello.", f"Name it.\n{_ASK}").messages)),
            (said(_SUN),),
            Shown(),
        ),
    ),
    "alpaca, preference": _case(
        "preference",
        "comparison",
        "prompt=instruction input=input chosen=chosen rejected=rejected",
        {"instruction": "Name it.", "input": _ASK, "chosen": _SUN, "rejected": _MOON},
        item=(user(f"Name it.\n{_ASK}"), _PAIR, Preference()),
    ),
    "sharegpt": _case(
        "messages",
        "demonstration",
        "messages=conversations system=system tools=tools",
        {
            "conversations": [
                *_share(_ASK),
                {"from": "function_call", "value": '{"name": "look_up", "arguments": {"n": 1}}'},
                {"from": "observation", "value": "sun"},
                {"from": "gpt", "value": _SUN},
            ],
            "system": "Be brief.",
            "tools": "[]",
        },
        item=(
            Prompt((Message("system", "Be brief."), Message("user", _ASK))),
            (
                (
                    Message("assistant", "", tool_calls=(ToolCall("look_up", {"n": 1}),)),
                    Message("tool", "sun"),
                    *said(_SUN),
                ),
            ),
            Shown(),
        ),
    ),
    "sharegpt, preference": _case(
        "preference",
        "comparison",
        "prompt=conversations chosen=chosen rejected=rejected",
        {
            "conversations": _share(_ASK),
            "chosen": {"from": "gpt", "value": _SUN},
            "rejected": {"from": "gpt", "value": _MOON},
        },
        item=(user(_ASK), _PAIR, Preference()),
    ),
    "ultrafeedback": Case(
        "ultrafeedback",
        "rating",
        "prompt=instruction replies=completions.*.response scores=completions.*.overall_score"
        " aspect.instruction_following=completions.*.annotations.instruction_following.Rating"
        " aspect.honesty=completions.*.annotations.honesty.Rating"
        " aspect.truthfulness=completions.*.annotations.truthfulness.Rating"
        " aspect.helpfulness=completions.*.annotations.helpfulness.Rating",
        (
            {
                "instruction": _ASK,
                "completions": [
                    {
                        "response": text,
                        "overall_score": score,
                        "annotations": {
                            "instruction_following": {"Rating": "5"},
                            "honesty": {"Rating": rating},
                            "truthfulness": {"Rating": "4"},
                            "helpfulness": {"Rating": "3"},
                        },
                    }
                    for text, score, rating in ((_SUN, 9.0, "5"), (_MOON, None, "N/A"))
                ],
            },
        ),
        user(_ASK),
        _PAIR,
        Ratings(
            (9.0, None),
            {
                "instruction_following": (5.0, 5.0),
                "honesty": (5.0, None),
                "truthfulness": (4.0, 4.0),
                "helpfulness": (3.0, 3.0),
            },
        ),
        {"completions": ...},
    ),
    "saferlhf": _case(
        "saferlhf",
        "comparison",
        "prompt=prompt first=response_0 second=response_1 choice=better_response_id"
        " aspect.safer=safer_response_id",
        {
            "prompt": _ASK,
            "response_0": _SUN,
            "response_1": _MOON,
            "xis_response_0_safe": True,
            "better_response_id": 1,
            "safer_response_id": 0,
        },
        item=(user(_ASK), _PAIR, Preference(0.0, aspects={"safer": 1.0})),
    ),
    "ranked": _case(
        "ranked",
        "ranking",
        "prompt=prompt replies=responses ranks=ranks",
        {"prompt": _ASK, "responses": [_MOON, _SUN, "A lamp."], "ranks": [2, 1, 2]},
        item=(user(_ASK), (*_PAIR[::-1], said("A lamp.")), Ranks((2, 1, 2))),
    ),
    "ranked objects": Case(
        "ranked-objects",
        "ranking",
        "prompt=question replies=answers.*.answer ranks=answers.*.rank",
        ({"question": _ASK, "answers": [{"answer": _SUN, "rank": 0}, {"answer": _MOON, "rank": 1}]},),
        user(_ASK),
        _PAIR,
        Ranks((1, 2)),
        {"answers": ...},
    ),
    "best first": _case(
        "best-first",
        "ranking",
        "prompt=prompt ranked=best_first",
        {"prompt": _ASK, "best_first": [_SUN, _MOON]},
        item=(user(_ASK), _PAIR, Ranks((1, 2))),
    ),
    "scored": _case(
        "scored",
        "rating",
        "prompt=prompt replies=completions scores=rewards",
        {
            "prompt": _chat(_ASK),
            "completions": [_chat("", _SUN)[1:], _chat("", _MOON)[1:]],
            "rewards": [1, -2.5],
        },
        item=(user(_ASK), _PAIR, Ratings((1.0, -2.5))),
    ),
    "scored objects": Case(
        "scored-objects",
        "rating",
        "prompt=prompt replies=responses.*.text scores=responses.*.score",
        ({"prompt": _ASK, "responses": [{"text": _SUN, "score": 3}, {"text": _MOON, "score": None}]},),
        user(_ASK),
        _PAIR,
        Ratings((3.0, None)),
        {"responses": ...},
    ),
    "two replies, by number": _case(
        "two-replies",
        "comparison",
        "prompt=prompt first=response_1 second=response_2 choice=label(1:first,2:second,0:tie) votes=votes",
        {"prompt": _ASK, "response_1": _SUN, "response_2": _MOON, "label": 2, "votes": [2, 2, 0]},
        {"prompt": _ASK, "response_1": _SUN, "response_2": _SUN, "label": 0, "votes": [0, 0, 0]},
        item=(user(_ASK), _PAIR, Preference(0.0, (0, 1, 2))),
    ),
    "two replies, by letter": _case(
        "two-replies",
        "comparison",
        "prompt=question first=answer_a second=answer_b choice=winner",
        {"question": _ASK, "answer_a": _SUN, "answer_b": _MOON, "winner": "model_a"},
        {"question": _ASK, "answer_a": _SUN, "answer_b": _MOON, "winner": "tie"},
        {"question": _ASK, "answer_a": _SUN, "answer_b": _MOON, "winner": "B"},
        item=(user(_ASK), _PAIR, Preference()),
    ),
    "two chats": _case(
        "two-chats",
        "comparison",
        "first=conversation_a second=conversation_b choice=winner",
        {
            "conversation_a": _chat(_ASK, _SUN, "Why?", "It is hot."),
            "conversation_b": _chat(_ASK, _MOON, "Why?", "It is round."),
            "winner": "model_b",
        },
        item=(
            user(_ASK),
            (
                (*said(_SUN), Message("user", "Why?"), *said("It is hot.")),
                (*said(_MOON), Message("user", "Why?"), *said("It is round.")),
            ),
            Preference(0.0),
        ),
    ),
    "rated": _case(
        "rated",
        "rating",
        "prompt=prompt reply=response score=score",
        {"prompt": _ASK, "response": _SUN, "score": 4},
        item=(user(_ASK), (said(_SUN),), Ratings((4.0,))),
    ),
    "rated conversation": _case(
        "rated-chat",
        "rating",
        "messages=messages score=reward",
        {"messages": _chat(_ASK, _SUN), "reward": 0.25},
        item=(user(_ASK), (said(_SUN),), Ratings((0.25,))),
    ),
    "trajectory": _case(
        "trajectory",
        "trajectory",
        "messages=messages rewards=rewards",
        {"messages": _chat(_ASK, _MOON, "Look again.", _SUN), "rewards": [0, 1]},
        item=(
            user(_ASK),
            ((*said(_MOON), Message("user", "Look again."), *said(_SUN)),),
            TurnRewards((0.0, None, 1.0)),
        ),
    ),
    "self-instruct": Case(
        "self-instruct",
        "demonstration",
        "prompt=instruction outputs=instances.*.output inputs=instances.*.input",
        (
            {
                "instruction": "Name it.",
                "instances": [{"input": _ASK, "output": _SUN}, {"input": "", "output": _MOON}],
                "xname": "sky",
            },
        ),
        user(f"Name it.\n{_ASK}"),
        (said(_SUN),),
        Shown(),
        {"instances": ..., "xname": "sky"},
    ),
    "question and answer": _case(
        "question-answer",
        "demonstration",
        "prompt=question reply=answer",
        {"question": _ASK, "answer": _SUN},
        item=(user(_ASK), (said(_SUN),), Shown()),
    ),
}


def first_item(case: Case) -> Item:
    """The item that the first row of a case is meant to become; `...` in meta stands for the column."""
    meta = {name: case.rows[0][name] if value is ... else value for name, value in case.meta.items()}
    return Item(case.prompt, case.replies, case.utilities, meta=meta, origin=Origin("rows.jsonl", 1))
