"""Whether a reply is JSON of a given shape, by the part of JSON Schema (2020-12) that shapes are written in.

    Schema(schema={"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}})

What a schema says is checked, or the schema is refused: a keyword that is not known here (`format`, remote
references, ...) is an error when the verifier is made, never one that is passed over.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, ClassVar, TypeAlias, cast

from concord.errors import InputError, Said, explain, nearest
from concord.feedback.verifiers import Verifier
from concord.messages import is_count, is_number
from concord.types import JSON, Rate, Score

__all__ = ["Schema", "mismatches", "read_json"]

_Trouble: TypeAlias = Iterator[str]
_Rules: TypeAlias = Mapping[str, Any]
_DEPTH = 64  # levels of a schema that refers to itself; JSON that people want has a few


# --- reading ----------------------------------------------------------------------------------------------


def read_json(text: str) -> JSON:
    """The JSON that a text is, bare or as one fenced block of code, which is how models like to write it.

    Raises ValueError. Stricter than Python's reader: no NaN or Infinity, and no key twice.
    """

    def refused(name: str) -> None:
        raise ValueError(f"{name} is no number of JSON")

    def once(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
        if twice := len(pairs) - len(dict(pairs)):
            raise ValueError(f"{twice} keys are given twice")
        return dict(pairs)

    fenced = re.fullmatch(r"\s*```(?:json)?[ \t]*\n(.*)\n[ \t]*```\s*", text, re.DOTALL | re.IGNORECASE)
    try:
        return json.loads(fenced[1] if fenced else text, parse_constant=refused, object_pairs_hook=once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


@dataclass(frozen=True, kw_only=True)
class Schema(Verifier):
    """Whether a reply is JSON that a JSON Schema allows; any JSON will do for an empty one."""

    schema: Mapping[str, Any]
    kind: ClassVar[str] = "schema"

    def __post_init__(self) -> None:
        _check_schema(self.schema, "the schema", self.schema)

    def score(self, said: str, rate: Rate) -> Score:
        """1 for JSON of the shape, else 0; `answered` says whether it was JSON at all."""
        try:
            value = read_json(said)
        except ValueError as error:
            return Score(0.0, parts={"answered": 0.0}, why=f"not JSON: {error}")
        trouble = next(mismatches(value, self.schema), "")
        return Score(float(not trouble), parts={"answered": 1.0}, why=trouble)


def mismatches(value: JSON, schema: Mapping[str, Any] | bool, root: _Rules | None = None) -> Iterator[str]:
    """How a value differs from a schema, place by place; nothing where it does not."""
    rules: _Rules = {} if schema is True else {"not": {}} if schema is False else schema
    yield from _mismatches(value, rules, (rules if root is None else root, "reply", 0))


# --- checking ---------------------------------------------------------------------------------------------

_At: TypeAlias = tuple[_Rules, str, int]
"""The whole schema, where in the value we are, and how deep."""


def _mismatches(value: JSON, schema: _Rules | bool, at: _At) -> _Trouble:
    root, place, depth = at
    if depth > _DEPTH:
        yield f"{place} is nested too deeply to be checked"
        return
    if isinstance(schema, bool):
        if not schema:
            yield f"{place} may not be there"
        return
    for name, wanted in schema.items():
        if name in _CHECKS:
            yield from _CHECKS[name](value, wanted, schema, (root, place, depth + 1))


def _fits(value: JSON, schema: _Rules | bool, at: _At) -> bool:
    return next(_mismatches(value, schema, at), None) is None


def _is_type(value: JSON, name: str) -> bool:
    match name:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return _number(value) is not None and Fraction(str(value)).denominator == 1
        case "number":
            return _number(value) is not None
        case "string":
            return isinstance(value, str)
        case "array":
            return isinstance(value, list)
        case _:
            return isinstance(value, dict)


_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")


def _number(value: object) -> int | float | None:
    return (
        value if isinstance(value, int | float) and not isinstance(value, bool) and is_number(value) else None
    )


def _plain(value: object) -> object:
    """A value to be compared by: true is not 1, but 1.0 is, and keys have no order."""
    match value:
        case bool() | None | str():
            return type(value).__name__, value
        case int() | float():
            return "number", value
        case Mapping():
            held = cast("Mapping[str, object]", value)
            return "object", frozenset((name, _plain(one)) for name, one in held.items())
        case _:
            return "array", tuple(map(_plain, cast("Sequence[object]", value)))


def _object(value: JSON) -> Mapping[str, JSON] | None:
    return value if isinstance(value, dict) else None


def _type(value: JSON, wanted: str | Sequence[str], _: _Rules, at: _At) -> _Trouble:
    names = [wanted] if isinstance(wanted, str) else wanted
    if not any(_is_type(value, name) for name in names):
        yield f"{at[1]} is no {' or '.join(names)}"


def _enum(value: JSON, wanted: Sequence[JSON], _: _Rules, at: _At) -> _Trouble:
    if _plain(value) not in map(_plain, wanted):
        yield f"{at[1]} is none of {', '.join(json.dumps(one) for one in wanted)}"


def _const(value: JSON, wanted: JSON, _: _Rules, at: _At) -> _Trouble:
    yield from _enum(value, [wanted], _, at)


def _bound(holds: Callable[[Fraction, Fraction], bool], words: str) -> "_Check":
    def check(value: JSON, wanted: float, _: _Rules, at: _At) -> _Trouble:
        if _number(value) is not None and not holds(Fraction(str(value)), Fraction(str(wanted))):
            yield f"{at[1]} is {words} {wanted}"

    return check


def _size(kind: type, holds: Callable[[int, int], bool], words: str) -> "_Check":
    def check(value: JSON, wanted: int, _: _Rules, at: _At) -> _Trouble:
        if isinstance(value, kind) and not holds(len(cast("Sequence[JSON]", value)), wanted):
            yield f"{at[1]} has {words} {wanted}"

    return check


def _pattern(value: JSON, wanted: str, _: _Rules, at: _At) -> _Trouble:
    if isinstance(value, str) and not re.search(wanted, value):
        yield f"{at[1]} does not match {wanted!r}"


def _properties(value: JSON, wanted: Mapping[str, _Rules], _: _Rules, at: _At) -> _Trouble:
    root, place, depth = at
    held = _object(value)
    for name, rules in wanted.items():
        if held is not None and name in held:
            yield from _mismatches(held[name], rules, (root, f"{place}.{name}", depth))


def _required(value: JSON, wanted: Sequence[str], _: _Rules, at: _At) -> _Trouble:
    held = _object(value)
    for name in wanted:
        if held is not None and name not in held:
            yield f"{at[1]} has no {name!r}"


def _additional(value: JSON, wanted: _Rules | bool, schema: _Rules, at: _At) -> _Trouble:
    root, place, depth = at
    known: Mapping[str, object] = schema.get("properties", {})
    for name, one in (_object(value) or {}).items():
        if name not in known:
            yield from _mismatches(one, wanted, (root, f"{place}.{name}", depth))


def _prefix(value: JSON, wanted: Sequence[_Rules], _: _Rules, at: _At) -> _Trouble:
    root, place, depth = at
    for number, (one, rules) in enumerate(
        zip(value, wanted, strict=False) if isinstance(value, list) else ()
    ):
        yield from _mismatches(one, rules, (root, f"{place}[{number}]", depth))


def _items(value: JSON, wanted: _Rules | bool, schema: _Rules, at: _At) -> _Trouble:
    root, place, depth = at
    listed = value if isinstance(value, list) else []
    for number in range(len(schema.get("prefixItems", ())), len(listed)):
        yield from _mismatches(listed[number], wanted, (root, f"{place}[{number}]", depth))


def _unique(value: JSON, wanted: bool, _: _Rules, at: _At) -> _Trouble:
    if wanted and isinstance(value, list) and len({*map(_plain, value)}) < len(value):
        yield f"{at[1]} holds a thing twice"


def _all_of(value: JSON, wanted: Sequence[_Rules], _: _Rules, at: _At) -> _Trouble:
    for rules in wanted:
        yield from _mismatches(value, rules, at)


def _count_of(holds: Callable[[int], bool], words: str) -> "_Check":
    def check(value: JSON, wanted: Sequence[_Rules], _: _Rules, at: _At) -> _Trouble:
        if not holds(count := sum(_fits(value, rules, at) for rules in wanted)):
            yield f"{at[1]} fits {count} of the choices, not {words}"

    return check


def _not(value: JSON, wanted: _Rules | bool, _: _Rules, at: _At) -> _Trouble:
    if _fits(value, wanted, at):
        yield f"{at[1]} is what it may not be"


def _ref(value: JSON, wanted: str, _: _Rules, at: _At) -> _Trouble:
    target = _found(at[0], wanted)
    assert target is not None, "references are followed when the verifier is made"
    yield from _mismatches(value, target, at)


def _found(root: _Rules, reference: str) -> _Rules | bool | None:
    """What a reference within the schema points at."""
    if reference == "#":
        return root
    name = reference.removeprefix("#/$defs/")
    return (
        None if name == reference else root.get("$defs", {}).get(name.replace("~1", "/").replace("~0", "~"))
    )


_Check: TypeAlias = Callable[[JSON, Any, _Rules, _At], _Trouble]
_CHECKS: Mapping[str, _Check] = {
    "$ref": _ref,
    "additionalProperties": _additional,
    "allOf": _all_of,
    "anyOf": _count_of(lambda count: count >= 1, "one or more"),
    "const": _const,
    "enum": _enum,
    "exclusiveMaximum": _bound(lambda value, most: value < most, "not below"),
    "exclusiveMinimum": _bound(lambda value, least: value > least, "not above"),
    "items": _items,
    "maxItems": _size(list, lambda size, most: size <= most, "more entries than"),
    "maxLength": _size(str, lambda size, most: size <= most, "more characters than"),
    "maxProperties": _size(dict, lambda size, most: size <= most, "more keys than"),
    "maximum": _bound(lambda value, most: value <= most, "above"),
    "minItems": _size(list, lambda size, least: size >= least, "fewer entries than"),
    "minLength": _size(str, lambda size, least: size >= least, "fewer characters than"),
    "minProperties": _size(dict, lambda size, least: size >= least, "fewer keys than"),
    "minimum": _bound(lambda value, least: value >= least, "below"),
    "multipleOf": _bound(lambda value, step: value % step == 0, "no multiple of"),
    "not": _not,
    "oneOf": _count_of(lambda count: count == 1, "one"),
    "pattern": _pattern,
    "prefixItems": _prefix,
    "properties": _properties,
    "required": _required,
    "type": _type,
    "uniqueItems": _unique,
}
_WORDS = ("$comment", "$defs", "$schema", "default", "description", "examples", "title")
"""Keywords that say something to people and nothing about a value."""


# --- whether a schema can be checked by --------------------------------------------------------------------


def _is_list(holds: Callable[[Any], bool], value: object) -> bool:
    return isinstance(value, list | tuple) and all(map(holds, cast("Sequence[object]", value)))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_step(value: object) -> bool:
    return _number(value) is not None and cast(float, value) > 0


def _is_pattern(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(re.compile(value))
    except re.error:
        return False


def _is_types(value: object) -> bool:
    return value in _TYPES if isinstance(value, str) else bool(value) and _is_list(_TYPES.__contains__, value)


_SHAPES: Mapping[str, tuple[tuple[str, ...], Callable[[Any], bool], str]] = {
    "a type": (("type",), _is_types, f"one or more of {', '.join(_TYPES)}"),
    "a list": (("enum",), partial(_is_list, lambda _: True), "a list of values"),
    "names": (("required",), partial(_is_list, _is_text), "a list of names"),
    "a pattern": (("pattern",), _is_pattern, "a regular expression"),
    "a flag": (("uniqueItems",), _is_flag, "true or false"),
    "a step": (("multipleOf",), _is_step, "a number above 0"),
    "a number": (
        ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
        lambda value: _number(value) is not None,
        "a number",
    ),
    "a count": (
        tuple(f"{end}{what}" for end in ("min", "max") for what in ("Items", "Length", "Properties")),
        is_count,
        "a whole number, 0 or above",
    ),
}
_WITHIN = ("additionalProperties", "items", "not")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_TABLES = ("$defs", "properties")


def _check_schema(schema: object, place: str, root: _Rules) -> None:
    """Refuse a schema that could not be checked by, at any depth."""
    if isinstance(schema, bool):
        return
    if not isinstance(schema, Mapping):
        raise _odd(place, schema, "a mapping of keywords, true or false", "write a schema there")
    for name, value in cast("Mapping[str, Any]", schema).items():
        inner = f"{place}.{name}"
        if name in _WITHIN:
            _check_schema(value, inner, root)
        elif name in _LISTS:
            if not _is_list(lambda _: True, value) or not value:
                raise _odd(inner, value, "a list of schemas", "put them in a list")
            for number, one in enumerate(value):
                _check_schema(one, f"{inner}[{number}]", root)
        elif name in _TABLES:
            if not isinstance(value, Mapping):
                raise _odd(inner, value, "a mapping from names to schemas", "name each schema")
            for key, one in cast("Mapping[str, object]", value).items():
                _check_schema(one, f"{inner}.{key}", root)
        elif name == "$ref":
            if not isinstance(value, str) or _found(root, value) is None:
                raise _odd(inner, value, "#, or #/$defs/NAME of this schema", "move what it names to $defs")
        elif name in _CHECKS and name != "const":
            _, holds, accepted = next(shape for shape in _SHAPES.values() if name in shape[0])
            if not holds(value):
                raise _odd(inner, value, accepted, "mend the schema")
        elif name not in _CHECKS and name not in _WORDS:
            wrong, do = (
                f"{place} has a keyword that is not checked here",
                "leave it out, or check it by a function",
            )
            known = nearest(str(name), [*_CHECKS])
            raise InputError(explain(wrong, found=Said(repr(name)), accepted=known, do=do))


def _odd(place: str, found: object, accepted: str, do: str) -> InputError:
    return InputError(explain(f"{place} cannot be checked by", found=found, accepted=accepted, do=do))
