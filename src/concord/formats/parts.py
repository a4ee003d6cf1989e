"""What a message says: text, or typed parts, among them pictures, films and sounds.

content_of  the content of a message
media       a picture, film or sound from whatever holds it
placed      pictures, films and sounds put where a conversation has gaps or tags for them
has_gap     whether a part still waits for what it is to show
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from concord.errors import Said, nearest
from concord.formats.troubles import Notes, mapping, trouble
from concord.places import Place
from concord.types import Audio, Content, Image, Message, Part, Text, Turns, Video

__all__ = ["MEDIA_TAGS", "content_of", "has_gap", "media", "placed"]

MEDIA_TAGS: Mapping[str, str] = {"images": "<image>", "videos": "<video>", "audios": "<audio>"}
"""The tag in a text that stands for one entry of a column of pictures, films or sounds."""

_GAPS: Mapping[str, Part] = {"images": Image(""), "videos": Video(""), "audios": Audio("")}


def content_of(value: object, place: Place, notes: Notes, *, bare: bool) -> Content:
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
        accepted = nearest(kind if isinstance(kind, str) else "", _PARTS)
        do = "say in 'type' what the part is"
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


def placed(conversation: Turns, family: str, parts: Sequence[Part], place: Place) -> Turns:
    """Put pictures, films or sounds at the gaps and tags meant for them, in order.

    Where there is none, they open the first turn of the user. Their numbers must agree.
    """
    tag, gap = MEDIA_TAGS[family], _GAPS[family]
    spread = [_spread(turn, tag, gap) for turn in conversation]
    gaps = sum(part is gap for pieces in spread for part in pieces)
    if gaps == 0:
        return _opened(conversation, parts, place)
    if gaps != len(parts):
        accepted, do = f"{gaps}, one for each {tag}", "make both numbers equal"
        wrong, found = f"{family} and their places differ in number", Said(f"{len(parts)} {family}")
        raise trouble(place, wrong, found=found, accepted=accepted, do=do)
    rest = iter(parts)
    return tuple(
        replace(turn, content=tuple(next(rest) if part is gap else part for part in pieces))
        if any(part is gap for part in pieces)
        else turn
        for turn, pieces in zip(conversation, spread, strict=True)
    )


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
