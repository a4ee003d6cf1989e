"""Conversations as people write them: role and content, or from and value; tool calls; dialogues in one text.

    turns        messages from a list of mappings, or from one mapping
    hh_turns     messages from text with "Human:" and "Assistant:" in it
    shown_turns  what comes before the first turn of the assistant, and the rest
    judged_turns what comes before the last turn of the assistant, and the rest
    shared_text  the beginning that two texts share, cut between words

Content is kept as it stands, blanks and line ends included. Trouble names the place: messages[2].role.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from concord.errors import NOTHING, nearest
from concord.formats.parts import content_of
from concord.formats.strict import Unreadable, json_object
from concord.formats.troubles import Notes, mapping, parsed, trouble
from concord.places import Place
from concord.types import JSON, Message, Role, ToolCall, Turns

__all__ = ["ROLE_NAMES", "hh_turns", "judged_turns", "shared_text", "shown_turns", "tools", "turns"]

ROLE_NAMES: Mapping[str, Role] = {
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "system": "system",
    "developer": "developer",
    "tool": "tool",
    "tool_response": "tool",
    "function": "tool",
    "observation": "tool",
    "ipython": "tool",
}
"""Who speaks, by the names that data sets have for it."""

_REASONING = ("reasoning_content", "reasoning", "thinking")
_TRAINED = ("trained", "train", "weight")
_KNOWN = {
    *("role", "from", "content", "value", "name", "tool_calls", "tool_call_id", "function_call"),
    *_REASONING,
    *_TRAINED,
}


# --- messages ---------------------------------------------------------------------------------------------


def turns(value: object, place: Place, notes: Notes) -> Turns:
    """Messages from a list of mappings (or from a single one), which may not be empty."""
    if isinstance(value, Mapping):
        return (_message(cast(Mapping[str, Any], value), place, notes),)
    accepted = "a list of messages, each with role and content (or from and value)"
    if not isinstance(value, list | tuple):
        do = "write the conversation as a list"
        raise trouble(place, "this is not a conversation", found=value, accepted=accepted, do=do)
    several = cast(Sequence[Any], value)
    if not several:
        do = "leave the row out, or give its messages"
        raise trouble(place, "the conversation is empty", found=NOTHING, accepted=accepted, do=do)
    return tuple([_turn(turn, place, at, notes) for at, turn in enumerate(several)])


def _turn(turn: Any, place: Place, at: int, notes: Notes) -> Message:
    """One message of a list; most have a known role, a text and nothing else."""
    if type(turn) is dict and len(said := cast("dict[str, Any]", turn)) == 2:
        content, role = said.get("content"), said.get("role")
        if type(content) is str and (role == "user" or role == "assistant" or role == "system"):
            return Message(role, content)
    return _message(cast("Mapping[str, Any]", turn), (place, at), notes)


def _message(turn: Mapping[str, Any], place: Place, notes: Notes) -> Message:
    """One message, whatever it carries."""
    if not isinstance(cast(object, turn), Mapping):
        accepted, do = "a mapping with role and content (or from and value)", "say who speaks"
        raise trouble(place, "this is not a message", found=turn, accepted=accepted, do=do)
    key = "role" if turn.get("role") is not None else "from"
    said = "content" if "content" in turn else "value"
    name = turn.get(key)
    if name is None:
        accepted, do = "role (or from)", "say who speaks"
        raise trouble(place, "a message does not say who speaks", found=turn, accepted=accepted, do=do)
    role = ROLE_NAMES.get(name) if isinstance(name, str) else None
    if role is None:
        accepted, do = nearest(name if isinstance(name, str) else "", ROLE_NAMES), "rename the role"
        raise trouble((place, key), "unknown role", found=name, accepted=accepted, do=do)
    calls = _tool_calls(turn, place)
    value = turn.get(said)
    if name == "function_call" and not calls:
        calls, value = _calls(value, (place, said)), ""
    content = content_of(value, (place, said), notes, bare=bool(calls) or role == "tool")
    reasons = [one for one in _REASONING if turn.get(one) is not None]
    marks = [one for one in _TRAINED if turn.get(one) is not None]
    if len(reasons) > 1 or len(marks) > 1 or any(one not in _KNOWN for one in turn if turn[one] is not None):
        notes.more = True
    return Message(
        role,
        content,
        name=_optional_text(turn, "name", place),
        reasoning=_optional_text(turn, reasons[0], place) if reasons else None,
        tool_calls=calls,
        tool_call_id=_optional_text(turn, "tool_call_id", place),
        trained=_mark(turn[marks[0]], (place, marks[0])) if marks else None,
    )


def _optional_text(turn: Mapping[str, Any], key: str, place: Place) -> str | None:
    value = turn.get(key)
    if value is not None and not isinstance(value, str):
        raise trouble(
            (place, key), "this is not text", found=value, accepted="text, or null", do="write text"
        )
    return value


def _mark(value: object, place: Place) -> bool:
    if not isinstance(value, bool | int | float) or value not in (0, 1):
        accepted, do = "true or false, 1 or 0", "say whether this turn is learned from"
        raise trouble(place, "a turn is trained or not", found=value, accepted=accepted, do=do)
    return bool(value)


def _tool_calls(turn: Mapping[str, Any], place: Place) -> tuple[ToolCall, ...]:
    for key in ("tool_calls", "function_call"):
        if turn.get(key):
            return _calls(turn[key], (place, key))
    return ()


def _calls(value: object, place: Place) -> tuple[ToolCall, ...]:
    """Tool calls: one or several, as objects or as JSON text."""
    accepted = "a call, or a list of calls, each with name and arguments"
    found = parsed(value, place, accepted)
    several = cast(list[Any], found) if isinstance(found, list) else [found]
    if not several:
        raise trouble(place, "no tool is called", found=NOTHING, accepted=accepted, do="name the call")
    return tuple(_call(one, (place, at), accepted) for at, one in enumerate(several))


def _call(value: Any, place: Place, accepted: str) -> ToolCall:
    outer = mapping(value)
    inner = mapping(outer.get("function", outer))
    if not isinstance(inner.get("name"), str):
        do = "give the name of the tool"
        raise trouble(place, "this is not a tool call", found=value, accepted=accepted, do=do)
    given: Any = inner.get("arguments", inner.get("parameters"))
    arguments: Any = {} if given is None or given == "" else given
    if isinstance(arguments, str):
        with suppress(Unreadable):  # what is no object stays the text that the model wrote
            arguments = json_object(arguments)
    elif not isinstance(arguments, Mapping):
        do = "write the arguments as an object"
        raise trouble(
            (place, "arguments"), "these are no arguments", found=given, accepted="an object", do=do
        )
    label = outer.get("id")
    return ToolCall(inner["name"], cast(Any, arguments), id=label if isinstance(label, str) else None)


def tools(value: object, place: Place) -> tuple[JSON, ...]:
    """What a prompt offers as tools: a list, or its JSON text."""
    accepted = "a list of tools, or its JSON text"
    found: Any = parsed(value, place, accepted) if value != "" else ()
    if isinstance(found, Mapping):
        return (cast(JSON, found),)
    if not isinstance(found, list | tuple):
        raise trouble(place, "these are no tools", found=value, accepted=accepted, do="put them in a list")
    return tuple(cast(Sequence[JSON], found))


# --- where a prompt ends ----------------------------------------------------------------------------------


def shown_turns(conversation: Turns, place: Place) -> tuple[Turns, Turns]:
    """What comes before the first turn of the assistant, and the rest, which must end with one."""
    _ends_with_reply(conversation, place)
    cut = next(at for at, turn in enumerate(conversation) if turn.role == "assistant")
    return _cut(conversation, cut, place)


def judged_turns(conversation: Turns, place: Place) -> tuple[Turns, Turns]:
    """What comes before the last turn of the assistant (or several, one after the other), and the rest."""
    _ends_with_reply(conversation, place)
    cut = len(conversation) - 1
    while cut > 0 and conversation[cut - 1].role == "assistant":
        cut -= 1
    return _cut(conversation, cut, place)


def _cut(conversation: Turns, cut: int, place: Place) -> tuple[Turns, Turns]:
    if cut == 0:
        do = "begin with what the assistant was asked, or leave the row out"
        wrong, accepted = "the conversation has no prompt", "a turn of the user or the system first"
        raise trouble((place, 0), wrong, found=conversation[0].role, accepted=accepted, do=do)
    return conversation[:cut], conversation[cut:]


def _ends_with_reply(conversation: Turns, place: Place) -> None:
    if (last := conversation[-1]).role != "assistant":
        wrong, accepted = "the conversation does not end with a reply", "assistant as the last role"
        do = "drop the last turns, or map it as a prompt alone (prompt=COLUMN)"
        where = ((place, len(conversation) - 1), "role")
        raise trouble(where, wrong, found=last.role, accepted=accepted, do=do)


# --- conversations in one text ----------------------------------------------------------------------------

_SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
_HH_ROLES: Mapping[str, Role] = {"Human": "user", "Assistant": "assistant"}


def hh_turns(text: object, place: Place) -> Turns:
    """Messages from text in which "Human:" and "Assistant:" open the turns, each after an empty line.

    The blank after the colon is dropped; all else is kept as it stands.
    """
    accepted = "text with 'Human:' and 'Assistant:' before the turns, each after an empty line"
    pieces = _SPEAKER.split(text) if isinstance(text, str) else [""]
    if len(pieces) < 3 or pieces[0].strip():
        do = "write the turns so, or as a list of messages"
        raise trouble(place, "no turns can be seen in this text", found=text, accepted=accepted, do=do)
    pairs = zip(pieces[1::2], pieces[2::2], strict=True)
    return tuple([Message(_HH_ROLES[name], said.removeprefix(" ")) for name, said in pairs])


def shared_text(first: str, second: str) -> int:
    """How much of the beginning of two texts is shared, cut between words; each keeps something after it.

    The blank between two words goes with the second of them; a line end goes with what it ends.
    """
    shortest = min(len(first), len(second)) - 1
    low, high = 0, max(shortest, 0)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if first[:middle] == second[:middle] else (low, middle - 1)
    cut = low
    while cut > 0 and first[cut - 1] != "\n" and not (first[cut] == second[cut] == " "):
        cut -= 1
    return cut
