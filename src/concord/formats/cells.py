"""What a reader asks a row for: values by role, of the type that the role wants, or trouble with a place.

Field   where the values of a role stand: a column, or a path into one (completions.*.response)
Layout  the fields of all roles, looked at once for all rows
Cells   the values of one row, by role
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from concord.errors import NOTHING, Said, nearest
from concord.formats.roles import FRAME
from concord.formats.troubles import Notes, Trouble, column, mapping, parsed, trouble
from concord.messages import is_number
from concord.places import Place

__all__ = ["LONGEST_VALUE", "Cells", "Field", "Layout", "looks_printed", "quoted", "spelled"]

LONGEST_VALUE = 80
"""Characters of the longest name or value that a message proposes for a mapping: nobody would type more."""

_MISSING = object()
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_NOT_SCORED = {"", "n/a", "na", "none", "null", "nan"}
_PRINTED = re.compile(r"\s*\[\s*\{'(role|content|from|value)': ")
_SIMPLE = re.compile(r"[^\s,=()'\"]+")


def looks_printed(value: object) -> bool:
    """Whether a text is a conversation as Python prints one, which many tools write into tables."""
    return isinstance(value, str) and _PRINTED.match(value) is not None


def spelled(value: object) -> str:
    """How a value is written in a table of values: true, false, null, whole numbers without a point, text."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    try:
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    except ValueError:  # Python spells no whole number of more than some thousand digits
        return "a number of thousands of digits"


def quoted(name: str) -> str:
    """A name as it stands in a mapping: in quotation marks where it has blanks, commas or the like."""
    if _SIMPLE.fullmatch(name):
        return name
    mark = '"' if "'" in name else "'"
    return f"{mark}{name}{mark}"


@dataclass(frozen=True)
class Field:
    """Where the values of a role stand, and what they become.

    `name` is a column, or a path into one: `reward_model.ground_truth`, `turns.0`, `completions.*.response`
    (one value for each entry of a list). A column of just that name comes first. `table` says what
    values mean (`label(good:true,bad:false)`); what is not in it is trouble.
    """

    name: str
    table: Mapping[str, Any] | None = None
    whole: bool = field(default=False, kw_only=True)  # the name is a column's, whatever points it has

    @cached_property
    def steps(self) -> tuple[str, ...]:
        """The path, step by step; the first is the column."""
        return (self.name,) if self.whole else tuple(self.name.split("."))

    @property
    def column(self) -> str:
        """The column that the value stands in."""
        return self.steps[0]

    def reach(self, columns: Mapping[str, Any]) -> Any:
        """The value in a row; None where there is none."""
        value = columns.get(self.name, _MISSING)
        return value if value is not _MISSING else _reached(columns, self.steps)

    @property
    def faithful(self) -> bool:
        """Whether no two values become the same, so that nothing is lost of the column."""
        return self.table is None or len({spelled(one) for one in self.table.values()}) == len(self.table)

    @property
    def text(self) -> str:
        """The field as it stands in a mapping."""
        name = quoted(self.name)
        if self.whole and "." in self.name:
            name = f"'{self.name}'"
        if self.table is None:
            return name
        pairs = (f"{_key(key)}:{_key(spelled(value))}" for key, value in self.table.items())
        return f"{name}({','.join(pairs)})"


def _sample_key(value: object) -> str:
    """A value as it stands in a table, as far as a message has room for it."""
    text = spelled(value)
    return _key(text) if len(text) <= LONGEST_VALUE else "VALUE"


def _key(text: str) -> str:
    return quoted(text) if ":" not in text and text else f"'{text}'"


def _reached(outer: Any, steps: Sequence[str]) -> Any:
    value: Any = outer
    for at, step in enumerate(steps):
        if step == "*":
            if not isinstance(value, list | tuple):
                return None
            return [_reached(one, steps[at + 1 :]) for one in cast("Sequence[Any]", value)]
        if isinstance(value, Mapping):
            value = cast(Mapping[str, Any], value).get(step)
            continue
        several = cast("Sequence[Any]", value) if isinstance(value, list | tuple) else ()
        if not (step.isdecimal() and int(step) < len(several)):
            return None
        value = several[int(step)]
    return value


class Layout:
    """The fields by role, and what can be said of them once for all rows."""

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self.fields = dict(fields)
        self.direct = {
            role: one.name for role, one in fields.items() if len(one.steps) == 1 and one.table is None
        }
        self.framed = any(role in fields for role in FRAME)
        self.used = frozenset(one.name for one in fields.values() if len(one.steps) == 1 and one.faithful)
        self.aspects = {role: role.partition(".")[2] for role in fields if role.startswith("aspect.")}


class Cells(Notes):
    """The values of one row, by role."""

    __slots__ = ("columns", "layout", "textual")

    def __init__(self, columns: Mapping[str, Any], layout: Layout, textual: bool) -> None:
        super().__init__()
        self.columns, self.layout, self.textual = columns, layout, textual

    def has(self, role: str) -> bool:
        """Whether the mapping has this role."""
        return role in self.layout.fields

    def place(self, role: str) -> Place:
        """Where the values of a role stand."""
        return column(self.layout.fields[role].name)

    def get(self, role: str) -> Any:
        """The value of a role as it stands, or as its table translates it; None where there is none."""
        name = self.layout.direct.get(role)
        if name is not None:
            value = self.columns.get(name)
        elif (one := self.layout.fields.get(role)) is not None:
            value = self._translated(one)
        else:
            return None
        return None if self.textual and value == "" else value

    def _translated(self, one: Field) -> Any:
        value = one.reach(self._unpacked(one))
        if one.table is None or value is None:
            return value
        if self.textual and isinstance(value, str) and value[:1] == "[" and value not in one.table:
            value = parsed(value, column(one.name), "a list of values")
        if isinstance(value, list):
            several = cast(list[Any], value)
            return [_looked_up(one, each, (column(one.name), at)) for at, each in enumerate(several)]
        return _looked_up(one, value, column(one.name))

    def _unpacked(self, one: Field) -> Mapping[str, Any]:
        """The columns, with that of a path parsed where a file holds text only."""
        if not (self.textual and len(one.steps) > 1 and isinstance(self.columns.get(one.column), str)):
            return self.columns
        inner = parsed(self.columns[one.column], column(one.column), "a list or an object")
        return {**self.columns, one.column: inner}

    def need(self, role: str) -> Any:
        """The value of a role that must be there."""
        value = self.get(role)
        if value is None:
            raise self.absent(role)
        return value

    def absent(self, role: str) -> Trouble:
        """What is said where the value of a role is missing."""
        one = self.layout.fields[role]
        if one.column in self.columns or one.name in self.columns:
            empty = NOTHING if self.textual else self.columns.get(one.column)
            do = "leave the row out, or give it a value"
            where, wrong = column(one.name), "there is no value here"
            return trouble(where, wrong, found=empty, accepted="a value", do=do, missing=True)
        names = ", ".join(map(repr, self.columns)) or "no column"
        do = "name the column that holds it (ROLE=COLUMN), or leave the row out"
        where, wrong = column(one.name), "the row has no such column"
        return trouble(where, wrong, found=Said(names), accepted=repr(one.column), do=do, missing=True)

    def json(self, role: str) -> Any:
        """A list or an object, parsed where a file holds text only; None where there is none."""
        value = self.get(role)
        if value is None or not self.textual:
            return value
        return parsed(value, self.place(role), "a list or an object")

    def list(self, role: str) -> Sequence[Any]:
        """A value that must be a list with something in it."""
        value = self.json(role)
        if value is None:
            raise self.absent(role)
        several = cast("Sequence[Any]", value) if isinstance(value, list | tuple) else ()
        if not several:
            found: object = cast(object, value)
            wrong, do = "this is not a list of values", "put the values in a list, or leave the row out"
            raise trouble(self.place(role), wrong, found=found, accepted="a list", do=do)
        return several

    def chat(self, role: str) -> Any:
        """A text or a conversation, which in a file that holds text only is the JSON text of one."""
        value = self.need(role)
        if self.textual and isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
            try:
                inner = parsed(value, self.place(role), "a conversation")
            except Trouble:
                if looks_printed(value):
                    raise
                return value
            return inner if _is_chat(inner) else value
        return value

    def number(self, role: str) -> float | None:
        """A number, or None where there is none."""
        value = self.get(role)
        return None if value is None else _number(value, self.place(role))

    def numbers(self, role: str) -> tuple[float | None, ...]:
        """A list of numbers, None where one is not there; a single number is a list of one."""
        value = self.json(role)
        if value is None:
            raise self.absent(role)
        several = cast(Sequence[Any], value) if isinstance(value, list | tuple) else [value]
        place = self.place(role)
        return tuple([None if one is None else _number(one, (place, at)) for at, one in enumerate(several)])

    def truth(self, role: str) -> bool:
        """True or false; 1 and 0 will do."""
        value = self.need(role)
        return value if isinstance(value, bool) else _truth(value, self.place(role), textual=self.textual)


def _is_chat(value: Any) -> bool:
    """Whether the JSON of a text is a conversation, or one whole turn of one."""
    if isinstance(value, list):
        first = mapping(cast("list[Any]", value)[0] if value else None)
        return "role" in first or "from" in first
    return {"role", "content"} <= mapping(value).keys() or {"from", "value"} <= mapping(value).keys()


def _number(value: object, place: Place) -> float | None:
    """A finite number, also as text; None for text that says there is none."""
    if isinstance(value, str):
        if value.strip().casefold() in _NOT_SCORED:
            return None
        if _NUMBER.fullmatch(value):
            value = float(value)
    if not is_number(value):
        do = "write a number, null where there is none, or a table of values: COLUMN(good:1,bad:0)"
        raise trouble(place, "this is not a number", found=value, accepted="a finite number", do=do)
    return float(cast(float, value))


def _truth(value: object, place: Place, *, textual: bool) -> bool:
    if textual and isinstance(value, str):
        value = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}.get(
            value.strip().casefold(), value
        )
    if not isinstance(value, bool | int | float) or value not in (0, 1):
        do = f"say what the values mean in the mapping: label={place[1]}({_sample_key(value)}:true,...:false)"
        raise trouble(place, "this says neither yes nor no", found=value, accepted="true or false", do=do)
    return bool(value)


def _looked_up(one: Field, value: object, place: Place) -> Any:
    if value is None:
        return None
    table = one.table or {}
    key = spelled(value)
    if key in table:
        return table[key]
    if (folded := key.strip().casefold()) in table:
        return table[folded]
    wrong = "the mapping does not say what this value means"
    do = f"add it to the table of the mapping: {quoted(one.name)}(...,{_sample_key(value)}:MEANING)"
    raise trouble(place, wrong, found=value, accepted=nearest(key, table), do=do)
