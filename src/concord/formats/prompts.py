"""What a row asks and what it answers: prompts with all that stands beside them, replies, conversations."""

from typing import Any, cast

from concord.formats.cells import Cells
from concord.formats.conversations import tools, turns
from concord.formats.parts import MEDIA_TAGS, media, placed
from concord.formats.troubles import mapping, parsed, trouble
from concord.places import Place
from concord.types import Message, Prompt, Turns

__all__ = [
    "conversation_of",
    "framed",
    "furnished",
    "left_open",
    "prompt_of",
    "replied",
    "reply_of",
    "saying",
    "told",
]


# --- prompts ----------------------------------------------------------------------------------------------


def prompt_of(cells: Cells) -> Prompt:
    """The prompt of a row: a text is said by the user, a conversation is as it stands."""
    value = cells.chat("prompt")
    if isinstance(value, str):
        if not value:
            do = "leave the row out; or map the text alone (text=COLUMN), where nothing is asked"
            raise trouble(cells.place("prompt"), "the prompt is empty", found="", accepted="a text", do=do)
        messages: Turns = (Message("user", value + _input(cells)),)
    else:
        messages = turns(value, cells.place("prompt"), cells)
    if cells.has("history"):
        messages = (*_history(cells), *messages)
    return framed(cells, left_open(messages, cells.place("prompt")))


def left_open(messages: Turns, place: Place) -> Turns:
    """Messages of a prompt, which the assistant has yet to answer."""
    if messages[-1].role == "assistant":
        wrong, do = "the prompt ends with a turn of the assistant", "map that turn as the reply, or drop it"
        where = ((place, len(messages) - 1), "role")
        raise trouble(where, wrong, found="assistant", accepted="a last turn of somebody else", do=do)
    return messages


def _input(cells: Cells) -> str:
    """What an instruction is applied to, on a line of its own; nothing where there is none."""
    value = cells.get("input")
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        raise trouble(cells.place("input"), "this is not text", found=value, accepted="text", do="write text")
    return "\n" + value


def _history(cells: Cells) -> Turns:
    """Earlier turns, as pairs of what the user and what the assistant said; or as a conversation."""
    value, place = cells.json("history"), cells.place("history")
    if not value:
        return ()
    several = cells.list("history")
    if isinstance(several[0], dict):
        return turns(several, place, cells)
    messages: list[Message] = []
    for at, pair in enumerate(several):
        match pair:
            case [str() as asked, str() as said]:
                messages += [Message("user", asked), Message("assistant", said)]
            case _:
                wrong, accepted = (
                    "this is not a pair of turns",
                    "[what the user said, what the assistant said]",
                )
                raise trouble((place, at), wrong, found=pair, accepted=accepted, do="give both")
    return tuple(messages)


def framed(cells: Cells, messages: Turns) -> Prompt:
    """A prompt with what stands beside its messages: system message, tools, template arguments, pictures."""
    return told(cells, furnished(cells, messages))


def furnished(cells: Cells, messages: Turns) -> Turns:
    """Messages with the system message, pictures, films and sounds that have columns of their own."""
    if not cells.layout.framed and not cells.gaps:
        return messages
    return _illustrated(cells, _introduced(cells, messages))


def _introduced(cells: Cells, messages: Turns) -> Turns:
    """Messages with the system message that has a column of its own."""
    system = cells.get("system")
    if system is None or system == "":
        return messages
    if not isinstance(system, str):
        do = "write it as text"
        raise trouble(cells.place("system"), "this is not text", found=system, accepted="text", do=do)
    given = Message("system", system)
    if messages and messages[0].role == "system":
        if messages[0] != given:
            wrong, do = "the conversation has another system message", "keep one of them"
            raise trouble(cells.place("system"), wrong, found=system, accepted="the same, or none", do=do)
        return messages
    return (given, *messages)


def _tools(cells: Cells) -> tuple[Any, ...]:
    value = cells.get("tools")
    return () if value is None else tools(value, cells.place("tools"))


def _template_args(cells: Cells) -> dict[str, Any]:
    value = cells.get("template_args")
    if value is None:
        return {}
    place = cells.place("template_args")
    found = parsed(value, place, "an object")
    if not isinstance(found, dict):
        wrong, do = "these are no named arguments", "name them"
        raise trouble(place, wrong, found=value, accepted="an object", do=do)
    return {key: one for key, one in mapping(cast(object, found)).items() if one is not None}


def _illustrated(cells: Cells, messages: Turns) -> Turns:
    """Messages with the pictures, films and sounds that have columns of their own, each where it belongs."""
    for family in MEDIA_TAGS:
        value = cells.get(family)
        if value is None:
            continue
        place = cells.place(family)
        if cells.textual and value[:1] in ("[", "{"):
            value = cells.json(family)
        several = cast("list[Any]", value) if isinstance(value, list) else [value]
        parts = [media(one, family, (place, at)) for at, one in enumerate(several)]
        messages = placed(messages, family, parts, place)
    return messages


# --- replies ----------------------------------------------------------------------------------------------


def reply_of(cells: Cells, role: str) -> Turns:
    """A reply: a text, or turns that begin and end with the assistant's."""
    return replied(cells, cells.chat(role), cells.place(role))


def replied(cells: Cells, value: Any, place: Place) -> Turns:
    """The turns of a reply: its text, or the conversation that stands there."""
    if isinstance(value, str):
        return (Message("assistant", value),)
    reply = turns(value, place, cells)
    for at in (0, -1):
        if reply[at].role != "assistant":
            wrong, do = "a reply begins and ends with the assistant", "take the other turns into the prompt"
            where = ((place, at % len(reply)), "role")
            raise trouble(where, wrong, found=reply[at].role, accepted="assistant", do=do)
    return reply


def saying(cells: Cells, role: str, reply: Turns) -> Turns:
    """A reply to be imitated, which must say something."""
    if not any(turn.content or turn.tool_calls or turn.reasoning for turn in reply):
        wrong, do = "the reply is empty", "leave the row out: there is nothing to imitate"
        raise trouble(cells.place(role), wrong, found="", accepted="a text, or a call of a tool", do=do)
    return reply


def conversation_of(cells: Cells) -> Turns:
    """The messages of a row, with system message and pictures in their places."""
    value = cells.json("messages")
    if value is None:
        raise cells.absent("messages")
    return furnished(cells, turns(value, cells.place("messages"), cells))


def told(cells: Cells, messages: Turns) -> Prompt:
    """A prompt of messages that are in their final form."""
    if not cells.layout.framed:
        return Prompt(messages)
    return Prompt(messages, tools=_tools(cells), template_args=_template_args(cells))
