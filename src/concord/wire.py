"""One strict JSON codec for frozen dataclasses, driven by their type hints.

    to_json(value)        -> plain JSON: dicts, lists, text, numbers, true, false, null
    from_json(cls, data)  -> the value again, or an InputError that names the place: replies[0][1].role
    dumps, loads          the same for one line of JSONL
    schema(cls)           the JSON Schema of what is written, for readers that are not Python

How things are written: fields that hold their default are left out; tuples are lists; enums are their
names in small letters, flags lists of them; bytes are {"base64": ...}. Numbers that JSON lacks are the
texts "NaN", "Infinity" and "-Infinity", in number fields only: where text may stand too, and in free JSON
(such as `Item.meta`, or `cls=Any`), they are refused, so that text is never read as a number. Where a field
may hold one of several dataclasses, "type" says which (`SegmentPreference` is "segment_preference").
Sequences inside free JSON come back as lists.
"""

import base64
import binascii
import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum, Flag
from functools import cache, cached_property
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from concord.errors import InputError, Said, nearest
from concord.places import Place as _Place
from concord.places import brief as _brief
from concord.places import error as _error
from concord.places import opening as _opening
from concord.places import within_bounds as _within_bounds
from concord.types import JSON, Scorecard

__all__ = ["dumps", "from_json", "loads", "schema", "scorecard_schema", "to_json"]

T = TypeVar("T")
_Defs: TypeAlias = dict[str, JSON]

_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_ANY_JSON: Any = Union[bool, int, float, str, Sequence[Any], Mapping[str, Any], None]  # noqa: UP007
# Line ends that JSON leaves bare, which some readers split lines at, and halves of surrogate pairs,
# which no file can hold.
_UNSAFE = re.compile("[\u0085\u2028\u2029\ud800-\udfff]")


def to_json(value: object, *, cls: object = None) -> JSON:
    """Write a value as plain JSON. `cls` is its declared type, where that is wider than its own."""
    with _within_bounds(""):
        return _outermost(type(value) if cls is None else cls).write(value, (None, ""))


@overload
def from_json(cls: type[T], data: object, *, where: str = "") -> T: ...
@overload
def from_json(cls: object, data: object, *, where: str = "") -> Any: ...
def from_json(cls: Any, data: object, *, where: str = "") -> Any:
    """Read a value of type `cls`, a dataclass or a union of them; `where` (a file and line) opens errors."""
    with _within_bounds(where):
        return _outermost(cls).read(data, (None, where))


def dumps(value: object, *, cls: object = None, indent: int | None = None) -> str:
    """Write a value as one line of JSONL, without the line end; with `indent` on many, for people."""
    with _within_bounds(""):
        text = json.dumps(to_json(value, cls=cls), ensure_ascii=False, allow_nan=False, indent=indent)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


@overload
def loads(cls: type[T], line: str | bytes, *, where: str = "") -> T: ...
@overload
def loads(cls: object, line: str | bytes, *, where: str = "") -> Any: ...
def loads(cls: Any, line: str | bytes, *, where: str = "") -> Any:
    """Read a value from one line of JSONL; a key given twice is an error, not the last one's victory."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        seen = dict(pairs)
        if len(seen) != len(pairs):
            twice = next(key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1)
            raise _error((None, where), "a key is given twice", twice, "each key once", "remove one of them")
        return seen

    if not isinstance(cast(object, line), str | bytes | bytearray):
        raise _error((None, where), "not a line", _brief(line), "text or bytes", "give a line of JSONL")
    try:
        with _within_bounds(where):
            text = line.removeprefix("\ufeff") if isinstance(line, str) else line
            data: object = json.loads(text, object_pairs_hook=once)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        place = (None, where)
        found = _brief(line if isinstance(line, str) else line.decode(errors="replace"))
        raise _error(place, f"not JSON: {error}", found, "one JSON value a line", "mend the line") from error
    return from_json(cls, data, where=where)


def schema(cls: type) -> dict[str, JSON]:
    """The JSON Schema (2020-12) of what `to_json` writes for a dataclass."""
    defs: _Defs = {}
    top = _codec(cls).schema(defs)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **top, "$defs": defs}


def scorecard_schema() -> dict[str, JSON]:
    """The JSON Schema of a scorecard file."""
    return schema(Scorecard)


# --- one codec for each kind of hint ----------------------------------------------------------------------


class _Codec(ABC):
    """How values of one type hint are written, recognised and read."""

    accepts: str

    @abstractmethod
    def holds(self, value: object) -> bool:
        """Whether a Python value is of this type, looking no deeper than a union needs."""

    def fits(self, data: object) -> bool:
        """Whether JSON could be of this type, looking no deeper than a union needs."""
        return self.holds(data)

    @abstractmethod
    def schema(self, defs: _Defs) -> dict[str, JSON]:
        """The JSON Schema of what is written; named types go to `defs`."""

    def encode(self, value: Any, place: _Place) -> JSON:
        """Write a value that this type holds."""
        return value

    def decode(self, data: Any, place: _Place) -> object:
        """Read data that fits."""
        return data

    def write(self, value: object, place: _Place) -> JSON:
        """Write a value, or say that it is not of this type."""
        if not self.holds(value):
            raise self.mismatch(value, place)
        return self.encode(value, place)

    def read(self, data: object, place: _Place) -> object:
        """Read a value, or say that the data is not of this type."""
        if not self.fits(data):
            raise self.mismatch(data, place)
        return self.decode(data, place)

    def mismatch(self, found: object, place: _Place) -> InputError:
        """The error for something of another type."""
        return _error(place, "wrong type", _brief(found), self.accepts, "give a value of that type")


class _Plain(_Codec):
    """Null, booleans, whole numbers, text: the same in Python and in JSON."""

    def __init__(self, cls: type, name: str, accepts: str) -> None:
        self.cls, self.name, self.accepts = cls, name, accepts

    def holds(self, value: object) -> bool:
        return isinstance(value, self.cls) and (self.cls is bool or not isinstance(value, bool))

    def schema(self, defs: _Defs) -> dict[str, JSON]:
        return {"type": self.name}


class _Number(_Codec):
    """A float; a whole number will do, and stands for the float it equals."""

    def __init__(self, *, beside_text: bool = False) -> None:
        # Where text may stand as well, no text can stand for a number.
        self.names = {} if beside_text else _NUMBERS
        self.accepts = "a finite number" if beside_text else "a number"

    def holds(self, value: object) -> bool:
        if isinstance(value, float):
            return bool(self.names) or math.isfinite(value)
        return isinstance(value, int) and not isinstance(value, bool)

    def fits(self, data: object) -> bool:
        return self.holds(data) or (isinstance(data, str) and data in self.names)

    def schema(self, defs: _Defs) -> dict[str, JSON]:
        number: dict[str, JSON] = {"type": "number"}
        return {"anyOf": [number, {"enum": list(self.names)}]} if self.names else number

    def encode(self, value: Any, place: _Place) -> JSON:
        number = self.decode(value, place)
        if math.isfinite(number):
            return number
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"

    def decode(self, data: Any, place: _Place) -> float:
        if isinstance(data, str):
            return _NUMBERS[data]
        try:
            return float(data)
        except OverflowError as error:
            do = "give a smaller number"
            raise _error(
                place, "too large", Said(f"{int(math.log10(abs(data))) + 1} digits"), self.accepts, do
            ) from error


class _Bytes(_Codec):
    """Bytes, as {"base64": text}."""

    accepts = 'bytes, as {"base64": text}'

    def holds(self, value: object) -> bool:
        return isinstance(value, bytes)

    def fits(self, data: object) -> bool:
        return isinstance(data, dict) and set(cast(dict[str, object], data)) == {"base64"}

    def schema(self, defs: _Defs) -> dict[str, JSON]:
        properties: dict[str, JSON] = {"base64": {"type": "string", "contentEncoding": "base64"}}
        return _object(properties, ["base64"])

    def encode(self, value: Any, place: _Place) -> JSON:
        return {"base64": base64.b64encode(value).decode("ascii")}

    def decode(self, data: Any, place: _Place) -> object:
        try:
            return base64.b64decode(data["base64"], validate=True)
        except (binascii.Error, ValueError, TypeError) as error:
            found = _brief(data["base64"])
            raise _error(place, "not base64", found, self.accepts, "encode the bytes again") from error


class _Names(_Codec):
    """A closed choice: the members of an enum, or the values of a `Literal`."""

    def __init__(self, choices: Mapping[Any, object]) -> None:
        self.choices = choices
        self.names = {value: name for name, value in choices.items()}
        self.accepts = ", ".join(map(str, choices))

    def holds(self, value: object) -> bool:
        return isinstance(value, Hashable) and value in self.names

    def fits(self, data: object) -> bool:
        return isinstance(data, Hashable) and data in self.choices

    def mismatch(self, found: object, place: _Place) -> InputError:
        accepted = nearest(str(found), map(str, self.choices))
        return _error(place, "not one of the choices", _brief(found), accepted, "give one of them")

    def schema(self, defs: _Defs) -> dict[str, JSON]:
        return {"enum": list(self.choices)}

    def encode(self, value: Any, place: _Place) -> JSON:
        return self.names[value]

    def decode(self, data: Any, place: _Place) -> object:
        return self.choices[data]


class _Flags(_Codec):
    """Flags, as the list of the names that are set."""

    def __init__(self, cls: type[Flag]) -> None:
        self.cls, self.names = cls, _Names({member.name.lower(): member for member in cls if member.name})
        self.accepts = f"a list of {self.names.accepts}"

    def holds(self, value: object) -> bool:
        return isinstance(value, self.cls)

    def fits(self, data: object) -> bool:
        return isinstance(data, list)

    def schema(self, defs: _Defs) -> dict[str, JSON]:
        return {"type": "array", "items": self.names.schema(defs)}

    def encode(self, value: Any, place: _Place) -> JSON:
        return [self.names.encode(member, place) for member in value]

    def decode(self, data: Any, place: _Place) -> object:
        flags = self.cls(0)
        for index, name in enumerate(data):
            flags |= cast(Flag, self.names.read(name, (place, index)))
        return flags


class _Tuple(_Codec):
    """A tuple, as a list; of one type throughout, or of one type for each place."""

    def __init__(self, hints: tuple[Any, ...]) -> None:
        self.open = len(hints) == 2 and hints[1] is Ellipsis
        self.hints = [hint for hint in hints if hint is not Ellipsis]
        self.accepts = "a list" if self.open else f"a list of {len(self.hints)}"

    @cached_property
    def each(self) -> list[_Codec]:
        """One codec, or one for each place; looked up late, so that types may recur."""
        return [_codec(hint) for hint in self.hints]

    def holds(self, value: object) -> bool:
        return isinstance(value, tuple) and self._long_enough(cast(tuple[object, ...], value))

    def fits(self, data: object) -> bool:
        return isinstance(data, list) and self._long_enough(cast(list[object], data))

    def schema(self, defs: _Defs) -> dict[str, JSON]:
        each: list[JSON] = [codec.schema(defs) for codec in self.each]
        if self.open:
            return {"type": "array", "items": each[0]}
        return {"type": "array", "prefixItems": each, "minItems": len(each), "maxItems": len(each)}

    def encode(self, value: Any, place: _Place) -> JSON:
        pairs = enumerate(zip(value, self._codecs(value), strict=True))
        return [codec.write(element, (place, index)) for index, (element, codec) in pairs]

    def decode(self, data: Any, place: _Place) -> object:
        pairs = enumerate(zip(data, self._codecs(data), strict=True))
        return tuple(codec.read(element, (place, index)) for index, (element, codec) in pairs)

    def _long_enough(self, values: Sequence[object]) -> bool:
        return self.open or len(values) == len(self.hints)

    def _codecs(self, values: Sequence[object]) -> list[_Codec]:
        return self.each * len(values) if self.open else self.each


class _Mapping(_Codec):
    """A mapping with text for keys, as an object."""

    accepts = "an object with text for keys"

    def __init__(self, hint: Any) -> None:
        self.hint = hint

    @cached_property
    def each(self) -> _Codec:
        """The codec of every value; looked up late, so that types may recur."""
        return _codec(self.hint)

    def holds(self, value: object) -> bool:
        return isinstance(value, Mapping) and _keyed_by_text(cast(Mapping[object, object], value))

    def schema(self, defs: _Defs) -> dict[str, JSON]:
        return {"type": "object", "additionalProperties": self.each.schema(defs)}

    def encode(self, value: Any, place: _Place) -> JSON:
        return {key: self.each.write(element, (place, key)) for key, element in value.items()}

    def decode(self, data: Any, place: _Place) -> object:
        return {key: self.each.read(element, (place, key)) for key, element in data.items()}


class _Free(_Codec):
    """Free JSON: whatever JSON can say, and nothing it cannot."""

    accepts = "null, true, false, finite numbers, text, lists, and objects with text for keys"

    def holds(self, value: object) -> bool:
        match value:
            case float():
                return math.isfinite(value)
            case Mapping():
                return _keyed_by_text(cast(Mapping[object, object], value))
            case _:
                return value is None or isinstance(value, bool | int | str | list | tuple)

    def schema(self, defs: _Defs) -> dict[str, JSON]:
        return {}

    def mismatch(self, found: object, place: _Place) -> InputError:
        do = "leave it out, or convert it: an array scalar with .item(), a key to text"
        return _error(place, "JSON cannot hold this", _brief(found), self.accepts, do)

    def encode(self, value: Any, place: _Place) -> JSON:
        match value:
            case Mapping():
                entries = cast(Mapping[str, object], value).items()
                return {key: self.write(element, (place, key)) for key, element in entries}
            case list() | tuple():
                elements = enumerate(cast(Iterable[object], value))
                return [self.write(element, (place, index)) for index, element in elements]
            case _:
                return value

    def decode(self, data: Any, place: _Place) -> object:
        return self.encode(data, place)


class _Union(_Codec):
    """One of several types. Dataclasses are told apart by "type" where there is more than one."""

    def __init__(self, codecs: Sequence[_Codec]) -> None:
        self.codecs = codecs
        self.accepts = " or ".join(codec.accepts for codec in self.codecs)
        self.records = {codec.tag: codec for codec in self.codecs if isinstance(codec, _Record)}
        self.tagged = len(self.records) > 1

    def holds(self, value: object) -> bool:
        return any(codec.holds(value) for codec in self.codecs)

    def fits(self, data: object) -> bool:
        return any(codec.fits(data) for codec in self.codecs)

    def schema(self, defs: _Defs) -> dict[str, JSON]:
        choices: list[JSON] = []
        for codec in self.codecs:
            each = codec.schema(defs)
            tagged = self.tagged and isinstance(codec, _Record)
            choices.append({"allOf": [each, {"required": ["type"]}]} if tagged else each)
        return {"anyOf": choices}

    def encode(self, value: Any, place: _Place) -> JSON:
        codec = next(codec for codec in self.codecs if codec.holds(value))
        written = codec.encode(value, place)
        if self.tagged and isinstance(codec, _Record):
            return {"type": codec.tag, **cast(dict[str, JSON], written)}
        return written

    def decode(self, data: Any, place: _Place) -> object:
        codec = next(codec for codec in self.codecs if codec.fits(data))
        if not (self.tagged and isinstance(codec, _Record)):
            return codec.decode(data, place)
        tag = data.get("type")
        if not isinstance(tag, str) or tag not in self.records:
            wrong = "unknown type" if "type" in data else "the key 'type' is missing"
            found = _brief(data.get("type", data))
            accepted = nearest(str(tag), self.records)
            raise _error(place, wrong, found, accepted, "say which of these types it is")
        return self.records[tag].decode(data, place)


class _Record(_Codec):
    """A dataclass, as an object of its fields."""

    def __init__(self, cls: type[Any]) -> None:
        self.cls = cls
        self.tag = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
        self.accepts = f"an object ({self.tag})"

    @cached_property
    def fields(self) -> dict[str, tuple[_Codec, Callable[[], object] | None]]:
        """The codec of each field and what makes its default; looked up late, so that types may recur."""
        # A union of all of JSON refers to itself; one turn of it is enough to know it by.
        names = {"JSON": Any, "Mapping": Mapping, "Sequence": Sequence}
        hints = get_type_hints(self.cls, localns=names)
        assert "type" not in hints, f"{self.cls}: 'type' is taken for telling dataclasses apart"
        return {field.name: (_codec(hints[field.name]), _default(field)) for field in fields(self.cls)}

    def holds(self, value: object) -> bool:
        return type(value) is self.cls

    def fits(self, data: object) -> bool:
        return isinstance(data, dict) and not _Bytes().fits(cast(object, data))

    def schema(self, defs: _Defs) -> dict[str, JSON]:
        name = self.cls.__name__
        if name not in defs:
            defs[name] = {}  # holds the place, in case a field leads back here
            properties: dict[str, JSON] = {"type": {"const": self.tag}}
            properties |= {key: codec.schema(defs) for key, (codec, _) in self.fields.items()}
            defs[name] = _object(properties, [key for key, (_, make) in self.fields.items() if make is None])
        return {"$ref": f"#/$defs/{name}"}

    def encode(self, value: Any, place: _Place) -> JSON:
        written: dict[str, JSON] = {}
        for key, (codec, make) in self.fields.items():
            element = getattr(value, key)
            if make is None or not _same(element, make()):
                written[key] = codec.write(element, (place, key))
        return written

    def decode(self, data: Any, place: _Place) -> object:
        found: dict[str, object] = dict(data)
        if found.get("type") == self.tag:
            del found["type"]
        for key in found:
            if key not in self.fields:
                known = nearest(key, self.fields)
                raise _error(place, f"unknown key of {self.tag}", key, known, "rename or remove it")
        for key, (_, make) in self.fields.items():
            if make is None and key not in found:
                raise _error(place, f"{self.tag} lacks {key!r}", _brief(found), f"{key!r} given", "add it")
        values = {key: self.fields[key][0].read(element, (place, key)) for key, element in found.items()}
        try:
            return self.cls(**values)
        except InputError as error:
            raise InputError(_opening(place) + str(error)) from error


def _object(properties: Mapping[str, JSON], required: Sequence[str]) -> dict[str, JSON]:
    """The schema of an object with these keys and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _keyed_by_text(mapping: Mapping[object, object]) -> bool:
    return all(isinstance(key, str) for key in mapping)


def _same(value: object, default: object) -> bool:
    """Whether a value is the default; 0, False and 0.0 are equal in Python and yet not the same."""
    return type(value) is type(default) and value == default


def _default(field: "Field[Any]") -> Callable[[], object] | None:
    """What makes the default of a field; None where it has none."""
    if field.default is not MISSING:
        return lambda: field.default
    return None if field.default_factory is MISSING else field.default_factory


def _outermost(hint: object) -> _Codec:
    """The codec of the type that a caller gave, which may be anything."""
    try:
        hash(hint)
    except TypeError:
        return _class_codec(cast(Any, Said(repr(hint))))
    return _codec(hint)


@cache
def _codec(hint: Any) -> _Codec:
    """The codec of a type hint."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint == _ANY_JSON or hint is Any:
        return _Free()
    if origin in (Union, UnionType):
        # A float also takes some texts and whole numbers, so text and whole numbers are tried before it.
        ordered = sorted(arguments, key=lambda argument: argument is float)
        beside_text = str in arguments
        return _Union(
            [_Number(beside_text=True) if one is float and beside_text else _codec(one) for one in ordered]
        )
    if origin is tuple:
        return _Tuple(arguments)
    if origin is Mapping:
        return _Mapping(arguments[1])
    if origin is Literal:
        return _Names({argument: argument for argument in arguments})
    return _class_codec(hint)


def _class_codec(cls: type[Any]) -> _Codec:
    """The codec of a class that takes no parameters."""
    plain = {
        NoneType: ("null", "null"),
        bool: ("boolean", "true or false"),
        int: ("integer", "a whole number"),
        str: ("string", "text"),
    }
    if cls in plain:
        return _Plain(cls, *plain[cls])
    if cls is float:
        return _Number()
    if cls is bytes:
        return _Bytes()
    if not isinstance(cast(object, cls), type) or not (issubclass(cls, Enum) or is_dataclass(cls)):
        do = "give a dataclass, or say the type of what is written with `cls`"
        raise _error((None, ""), "no JSON form is laid down", Said(str(cls)), "dataclasses", do)
    if issubclass(cls, Flag):
        return _Flags(cls)
    if issubclass(cls, Enum):
        return _Names({member.name.lower(): member for member in cls})
    return _Record(cls)
