"""Conversations as people write them: role and content, or from and value; texts, typed parts, tool calls.

    turns        messages from a list of mappings, or from one mapping
    hh_turns     messages from text with "Human:" and "Assistant:" in it
    shown_turns  what comes before the first turn of the assistant, and the rest
    judged_turns what comes before the last turn of the assistant, and the rest
    shared_text  the beginning that two texts share, cut between words
    placed       pictures, sounds and films put where a conversation has gaps for them

Content is kept as it stands, blanks and line ends included. Trouble names the place: messages[2].role.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, cast

from concord.errors import NOTHING, Said, explain, nearest
from concord.places import Place, brief, opening
from concord.types import JSON, Audio, Content, Image, Message, Part, Role, Text, ToolCall, Turns, Video

__all__ = [
    "MEDIA_TAGS",
    "ROLE_NAMES",
    "Notes",
    "Trouble",
    "column",
    "has_gap",
    "hh_turns",
    "judged_turns",
    "mapping",
    "media",
    "parsed",
    "placed",
    "shared_text",
    "shown_turns",
    "tools",
    "trouble",
    "turns",
]

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

MEDIA_TAGS: Mapping[str, str] = {"images": "<image>", "videos": "<video>", "audios": "<audio>"}
"""The tag in a text that stands for one entry of a column of pictures, films or sounds."""

_Media: TypeAlias = Mapping[str, Sequence[Part]]  # by the keys of MEDIA_TAGS
_ROOT: Place = (None, "")
_REASONING = ("reasoning_content", "reasoning", "thinking")
_TRAINED = ("trained", "train", "weight")
_KNOWN = {
    *("role", "from", "content", "value", "name", "tool_calls", "tool_call_id", "function_call"),
    *_REASONING,
    *_TRAINED,
}
_GAPS: Mapping[str, Part] = {"images": Image(""), "videos": Video(""), "audios": Audio("")}


class Trouble(Exception):
    """What is wrong with one place in a row; whoever knows its file and line makes a RowError of it.

    `missing` marks that a column was looked for in vain: perhaps the row is of another shape.
    """

    def __init__(self, place: Place, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.where, self.missing = opening(place).removesuffix(": "), missing


class Notes:
    """What was noticed on the way through a row: messages that say more than is read, gaps for pictures."""

    __slots__ = ("gaps", "more")

    def __init__(self) -> None:
        self.more = False
        self.gaps = 0


def mapping(value: object) -> Mapping[str, Any]:
    """A mapping as it stands; an empty one for anything else."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def column(name: str) -> Place:
    """The place of a column."""
    return (_ROOT, name)


def trouble(
    place: Place, wrong: str, *, found: object, accepted: str, do: str, missing: bool = False
) -> Trouble:
    """What is wrong with one place in a row, in four parts."""
    return Trouble(place, explain(wrong, found=brief(found), accepted=accepted, do=do), missing=missing)


def parsed(value: object, place: Place, accepted: str) -> Any:
    """JSON from text; what is not text is as it stands."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        do = "mend it, or leave the column out of the mapping"
        raise trouble(place, "this text is not JSON", found=value, accepted=accepted, do=do) from None


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
        accepted, do = nearest(str(name), ROLE_NAMES), "rename the role"
        raise trouble((place, key), "unknown role", found=name, accepted=accepted, do=do)
    calls = _tool_calls(turn, place)
    value = turn.get(said)
    if name == "function_call" and not calls:
        calls, value = _calls(value, (place, said)), ""
    content = _content(value, (place, said), notes, bare=bool(calls) or role == "tool")
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
        try:
            loaded: Any = json.loads(arguments)
        except (ValueError, RecursionError):
            loaded = None
        arguments = cast(Any, loaded) if isinstance(loaded, dict) else arguments
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


# --- content ----------------------------------------------------------------------------------------------


def _content(value: object, place: Place, notes: Notes, *, bare: bool) -> Content:
    """The content of a message. With `bare` it may be nothing at all, as beside a tool call."""
    if isinstance(value, str):
        return value
    if value is None and bare:
        return ""
    if not isinstance(value, list | tuple):
        accepted, do = "text, or a list of typed parts", "give '' where nothing is said"
        raise trouble(place, "a message has no content", found=value, accepted=accepted, do=do)
    parts = cast(Sequence[Any], value)
    return tuple(_part(part, (place, at), notes) for at, part in enumerate(parts))


_PARTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "text": ("text", ("text", "content")),
    "input_text": ("text", ("text",)),
    "output_text": ("text", ("text",)),
    "image": ("images", ("image", "url", "path", "source", "bytes")),
    "image_url": ("images", ("image_url", "url")),
    "input_image": ("images", ("image_url", "image", "url")),
    "video": ("videos", ("video", "url", "path", "source", "bytes")),
    "video_url": ("videos", ("video_url", "url")),
    "audio": ("audios", ("audio", "url", "path", "source", "bytes")),
    "audio_url": ("audios", ("audio_url", "url")),
    "input_audio": ("audios", ("input_audio",)),
}


def _part(part: Any, place: Place, notes: Notes) -> Part:
    if isinstance(part, str):
        return Text(part)
    given = mapping(part)
    kind: Any = given.get("type")
    if not isinstance(kind, str) or kind not in _PARTS:
        accepted, do = nearest(str(kind), _PARTS), "say in 'type' what the part is"
        raise trouble((place, "type"), "unknown part of a message", found=kind, accepted=accepted, do=do)
    family, keys = _PARTS[kind]
    key = next((key for key in keys if given.get(key) is not None), "")
    if family == "text":
        if not isinstance(given.get(key), str):
            raise trouble(place, "a part has no text", found=given, accepted="text", do="give its text")
        return Text(given[key])
    if not key:
        notes.gaps += 1
        return _GAPS[family]
    return media(given[key], family, (place, key))


def media(value: object, family: str, place: Place) -> Part:
    """A picture, film or sound: an address, a path, bytes, a data address, or a mapping that holds one."""
    if family == "videos" and isinstance(value, list | tuple) and value:
        frames = [media(one, "images", (place, at)) for at, one in enumerate(cast(list[Any], value))]
        return Video(tuple(one for one in frames if isinstance(one, Image)))
    source, kind = _source(value, place)
    if isinstance(source, str) and source.startswith("data:"):
        source, kind = _from_data_address(source, place)
    make: Callable[..., Part] = {"images": Image, "videos": Video, "audios": Audio}[family]
    return make(source, media_type=kind)


def _source(value: Any, place: Place) -> tuple[str | bytes, str | None]:
    if isinstance(value, str | bytes) and value:
        return value, None
    if given := mapping(value):
        kind = given.get("media_type") or given.get("mime_type")
        if isinstance(given.get("format"), str) and kind is None:
            kind = f"audio/{given['format']}"
        for key in ("bytes", "path", "url", "image", "video", "audio"):
            if given.get(key):
                return _source(given[key], (place, key))[0], kind
        for key in ("data", "base64"):
            if isinstance(given.get(key), str):
                return _decoded(given[key], (place, key)), kind
    accepted = "a path, an address, a data address, bytes, or a mapping with bytes, path or url"
    do = "give one of these"
    raise trouble(
        place, "nothing that can be shown or heard", found=cast(object, value), accepted=accepted, do=do
    )


def _from_data_address(address: str, place: Place) -> tuple[bytes, str | None]:
    head, _, body = address.partition(",")
    if not head.endswith(";base64"):
        accepted, do = "data:TYPE;base64,...", "encode it so"
        raise trouble(place, "a data address without base64", found=address, accepted=accepted, do=do)
    return _decoded(body, place), head.removeprefix("data:").removesuffix(";base64") or None


def _decoded(text: str, place: Place) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise trouble(
            place, "this is not base64", found=text, accepted="base64", do="encode the bytes again"
        ) from None


def has_gap(conversation: Turns) -> bool:
    """Whether a part of a conversation still waits for its picture, film or sound."""
    return any(part is gap for turn in conversation for part in turn.parts for gap in _GAPS.values())


def placed(conversation: Turns, given: _Media, place: Place) -> Turns:
    """Put pictures, films and sounds at the gaps and tags meant for them, in order.

    Where there is none, they open the first turn of the user. Their numbers must agree.
    """
    for family, parts in given.items():
        tag, gap = MEDIA_TAGS[family], _GAPS[family]
        spread = [_spread(turn, tag, gap) for turn in conversation]
        gaps = sum(part is gap for turn in spread for part in turn)
        if gaps == 0:
            conversation = _opened(conversation, parts, place)
            continue
        if gaps != len(parts):
            accepted, do = f"{gaps}, one for each {tag}", "make both numbers equal"
            found = Said(f"{len(parts)} {family}")
            raise trouble(
                place, f"{family} and their places differ in number", found=found, accepted=accepted, do=do
            )
        rest = iter(parts)
        conversation = tuple(
            replace(turn, content=tuple(next(rest) if part is gap else part for part in pieces))
            if any(part is gap for part in pieces)
            else turn
            for turn, pieces in zip(conversation, spread, strict=True)
        )
    return conversation


def _spread(turn: Message, tag: str, gap: Part) -> list[Part]:
    """The parts of a turn, with a gap for each tag."""
    pieces: list[Part] = []
    for part in turn.parts:
        if not isinstance(part, Text) or tag not in part.text:
            pieces.append(part)
            continue
        for at, text in enumerate(part.text.split(tag)):
            pieces += ([gap] if at else []) + ([Text(text)] if text else [])
    return pieces


def _opened(conversation: Turns, parts: Sequence[Part], place: Place) -> Turns:
    """The conversation with parts at the head of its first turn of the user."""
    if not parts:
        return conversation
    at = next((at for at, turn in enumerate(conversation) if turn.role == "user"), None)
    if at is None:
        do = "add a turn of the user, or leave the column out"
        found = Said(f"{len(parts)}")
        raise trouble(
            place, "no turn of the user shows them", found=found, accepted="a turn of the user", do=do
        )
    turn = conversation[at]
    content = (*parts, *(part for part in turn.parts if part != Text("")))
    return (*conversation[:at], replace(turn, content=content), *conversation[at + 1 :])


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
