"""JSON as its standard has it, and not as Python's reader takes it: what would change on the way is refused.

Python keeps the last of two equal keys, reads NaN, makes an infinity of 1e999, and hands on half a character.
Each of these would put something else into an item than stands in the file.
"""

import json
import re
from math import isfinite
from typing import Any, NoReturn, cast

from concord.errors import Said
from concord.places import brief

__all__ = [
    "DECODER",
    "DEEPEST",
    "Unreadable",
    "decoded",
    "json_object",
    "json_value",
    "nested",
    "too_deep",
    "unreadable",
]

DEEPEST = 100
"""How deep lists and objects may be nested: deep enough for any row, and far from Python's own limit."""

_MEND = "mend the row, or leave it out"


class Unreadable(Exception):
    """Why a text is no row, in the four parts of a message; whoever knows its place makes the error."""

    def __init__(self, wrong: str, found: object, accepted: str, do: str = _MEND) -> None:
        super().__init__(wrong)
        self.wrong, self.found, self.accepted, self.do = wrong, found, accepted, do


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, whose keys must differ."""
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        do = "keep the one that is meant"
        raise Unreadable("a key stands twice in one object", twice, "each key once", do)
    return made


def _constant(name: str) -> NoReturn:
    do = "write null where there is none"
    raise Unreadable("a number is not finite", name, "finite numbers, or null", do)


def _float(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise Unreadable("a number is too large", text, "up to 1.8e308", "write null, or a number that fits")
    return number


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)
"""A decoder of the standard library, made strict; `unreadable` puts into words what it raises."""


def decoded(line: bytes) -> str:
    """The text of a line in UTF-8."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        found = Said(f"the byte 0x{line[error.start]:02x}, byte {error.start + 1} of the line")
        do = "save the file as UTF-8 (`iconv -f WINDOWS-1252 -t UTF-8`, if that is what it is in)"
        raise Unreadable("the text does not decode", found, "UTF-8, or UTF-16 with a mark", do) from None


def json_value(text: str) -> Any:
    """The value that a text spells; `Unreadable` says why it spells none."""
    try:
        value = DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise unreadable(error, text) from None
    if too_deep(text):
        raise nested()
    if "\\u" in text and (odd := _HALF.search(text)) is not None:
        _whole(value, odd.group())
    return value


def json_object(text: str) -> dict[str, Any]:
    """The columns of a row: the object that a text spells."""
    value = json_value(text)
    if type(value) is not dict:
        do = "write each row as an object with named columns"
        raise Unreadable("the row is not an object", brief(value), '{"column": value, ...}', do)
    return cast("dict[str, Any]", value)


# An escape of half a character, which another may or may not complete.
_HALF = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_OPENING = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


def too_deep(text: str) -> bool:
    """Whether lists and objects of a legal JSON text are nested deeper than `DEEPEST`."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return False
    depth = deepest = 0
    for found in _OPENING.finditer(text):
        sign = found.group()
        if len(sign) == 1:
            depth += 1 if sign in "[{" else -1
            deepest = max(deepest, depth)
    return deepest > DEEPEST


def _whole(value: Any, escape: str) -> None:
    """Refuse half a character, which no file could hold again."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        accepted, do = "both halves of a surrogate pair, or neither", "write the whole character"
        raise Unreadable("half a character is escaped", escape, accepted, do) from None


def nested() -> Unreadable:
    """Why a value that is nested deeper than `DEEPEST` is refused."""
    accepted, do = f"{DEEPEST} levels", "write the inner part as text"
    return Unreadable("lists or objects are nested too deep", Said("more levels"), accepted, do)


def unreadable(error: Exception, text: str) -> Unreadable:
    """Why a text is no JSON, from what the decoder raised."""
    if isinstance(error, Unreadable):
        return error
    if isinstance(error, RecursionError):
        return nested()
    if not isinstance(error, json.JSONDecodeError):
        found = Said("a number of thousands of digits")
        return Unreadable("a number is too long", found, "up to 4300 digits", "write it as text")
    at, accepted = error.pos, "a JSON object"
    if "\0" in text[at : at + 1]:
        do = "write the file again: zeros are what a disk leaves where writing was cut off"
        return Unreadable("a byte of zero stands in the text", Said("the byte 0x00"), accepted, do)
    rest = text[at : at + 40].strip()
    said = (error.msg[:1].lower() + error.msg[1:]).removesuffix(" starting at")
    if not rest or said.startswith("unterminated"):
        found = Said("the end of the text" + (f" ({said})" if rest else ""))
        do = "write the file again, or leave the row out"
        return Unreadable("the text is not whole: it seems cut", found, accepted, do)
    wrong = f"this is not JSON ({said}, at character {at + 1})"
    return Unreadable(wrong, rest, accepted, _hint(rest, said))


def _hint(rest: str, said: str) -> str:
    """What to do about the commonest ways of writing what is almost JSON."""
    if said.startswith("extra data"):
        return "write one object a line"
    if rest[0] == "'" or rest.startswith(("True", "False", "None")):
        return "write JSON, not Python: `json.dumps(row)` does"
    if said.startswith("invalid control"):
        return "escape line ends and control characters: `json.dumps(row)` does"
    return _MEND
