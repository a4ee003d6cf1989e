"""How rows become items: a shape with its columns, found in the data or written by hand in one line.

    Plan           a shape and its fields; reads rows, says itself in one line
    parse_mapping  a plan from such a line: prompt=question reply=answer

The line: ROLE=COLUMN, several divided by blanks or commas. A column may be a path (reward_model.ground_truth,
completions.*.response), stands in quotation marks where its name has blanks, and may be followed by what
its values mean: label=grade(good:true,bad:false). `shape=NAME` names the shape.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from concord.errors import NOTHING, InputError, RowError, Said, explain, nearest
from concord.formats.cells import Cells, Field, Layout
from concord.formats.lines import choices_of, written
from concord.formats.matching import Sample, closest, lacks, matched
from concord.formats.parts import has_gap
from concord.formats.readers import Pieces
from concord.formats.roles import ROLE_ALIASES, ROLES
from concord.formats.rows import Row
from concord.formats.shapes import Shape, all_shapes
from concord.formats.strict import Unreadable, json_value
from concord.formats.troubles import Trouble, column, trouble
from concord.formats.values import settled
from concord.types import Item
from concord.views import Kind

__all__ = ["Plan", "parse_mapping"]

_GRAMMAR = "ROLE=COLUMN ..., such as prompt=question reply=answer, or label=grade(good:true,bad:false)"


@dataclass(frozen=True)
class Plan:
    """How rows become items. `columns` are those that were seen, for `shown`."""

    shape: Shape
    fields: Mapping[str, Field]
    kind: Kind
    columns: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def line(self) -> str:
        """The mapping in one line, which says the same to `parse_mapping`."""
        usual = _shape_for(self.fields)
        named = usual is None or usual.read is not self.shape.read or usual.kind != self.shape.kind
        return written(self.fields, self.shape if named else None)

    @property
    def shown(self) -> tuple[tuple[str, str], ...]:
        """For each column what becomes of it, in words."""
        becomes = [(one.name, _meaning(role, one)) for role, one in self.fields.items()]
        rest = [name for name in self.columns if name not in {one.column for one in self.fields.values()}]
        return (*becomes, *((name, "kept beside, in meta") for name in rest))

    @cached_property
    def layout(self) -> Layout:
        """The fields, with what the values of a choice mean by themselves."""
        layout = Layout(self.fields)
        if "first" not in self.fields:
            return layout
        usual = choices_of(self.fields["first"].name, self.fields["second"].name)
        choice = self.fields.get("choice")
        table = usual if choice is None or choice.table is None else choice.table
        decided = [role for role in self.fields if role in ("choice", "votes") or role.startswith("aspect.")]
        for role in decided:
            one = self.fields[role]
            if one.table is None:
                known = usual if role.startswith("aspect.") else table
                layout.fields[role] = Field(one.name, known, whole=one.whole)
                layout.direct.pop(role, None)
        return layout

    def read(self, row: Row) -> list[Item]:
        """The items of a row, with its origin, and with all other columns in `meta`."""
        layout = self.layout
        cells = Cells(row.columns, layout, row.textual)
        try:
            pieces = self.shape.read(cells)
            if cells.gaps:
                _without_gaps(pieces, self.fields)
        except Trouble as found:
            raise RowError(
                f"{row.origin}: column {found.where!r}: {found}{self._other(row, found)}"
            ) from None
        used = layout.used
        meta = {name: value for name, value in row.columns.items() if name not in used}
        if self.shape.looks == "item":
            meta = _own_meta(row.columns)
        elif cells.more:  # messages with fields of their own
            meta |= {
                name: row.columns[name] for name in used if isinstance(row.columns.get(name), list | dict)
            }
        try:
            return [Item(*piece, meta=meta, origin=row.origin) for piece in pieces]
        except InputError as error:
            names = ", ".join(repr(self.fields[role].name) for role in self._telling)
            raise RowError(
                f"{row.origin}: column {names}: {str(error).removeprefix(f'{row.origin}: ')}"
            ) from None

    @cached_property
    def _telling(self) -> list[str]:
        """The roles that say what replies there are and what they are worth."""
        roles = [*self.shape.needs, "strength", "score_chosen", "score_rejected", "votes", "scores"]
        told = [role for role in dict.fromkeys(roles) if role in self.fields and role != "prompt"]
        return told or list(self.fields)

    def _other(self, row: Row, found: Trouble) -> str:
        """What other shape a row looks like that lacks a column, if it is one that takes what is there."""
        if not found.missing:
            return ""
        there = {name: value for name, value in row.columns.items() if value is not None and value != ""}
        shape, fields, missing = closest(Sample([Row(there, row.origin, textual=row.textual)]))
        known = {one.column for one in self.fields.values()} & there.keys()
        if missing or shape.read is self.shape.read or not known <= {one.column for one in fields.values()}:
            return ""
        return f" This row looks like the shape {shape.name!r}: {shape.summary}."


def _meaning(role: str, one: Field) -> str:
    said = ROLES[role] if role in ROLES else f"{role.partition('.')[2]}: in this respect alone"
    table = one.table or {}
    return said + (f" ({', '.join(f'{key}: {value}' for key, value in table.items())})" if table else "")


def _own_meta(columns: Mapping[str, Any]) -> dict[str, Any]:
    """The meta of an item as Concord writes it, and whatever else its row has."""
    inner = columns.get("meta")
    own = {"type", "prompt", "replies", "utilities", "meta", "origin"}
    rest = {name: value for name, value in columns.items() if name not in own}
    return {**cast(dict[str, Any], inner), **rest} if isinstance(inner, dict) else rest


def _without_gaps(pieces: Pieces, fields: Mapping[str, Field]) -> None:
    for prompt, replies, _ in pieces:
        if any(has_gap(turns) for turns in (prompt.messages, *replies)):
            name = next(iter(fields.values())).name
            do = "name the column of the pictures (images=COLUMN), or put each into its part"
            wrong, accepted = (
                "a part of a message shows nothing",
                "a source for each part, or a column of them",
            )
            raise trouble(column(name), wrong, found=NOTHING, accepted=accepted, do=do)


# --- from one line ----------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""[\s,]*(?P<role>[^\s,=()'"]+)\s*=\s*"""
    r"""(?P<column>'[^']*'|"[^"]*"|[^\s,=()'"]+)"""
    r"""(?P<table>\((?:'[^']*'|"[^"]*"|[^()'"])*\))?"""
)
_PAIR = re.compile(r"""\s*('[^']*'|"[^"]*"|[^:,'"]+?)\s*:\s*('[^']*'|"[^"]*"|[^:,'"]*?)\s*(?:,|$)""")


def parse_mapping(line: str, sample: Sequence[Row] = ()) -> Plan:
    """A plan from one line. With a sample its columns are looked up; a shape named alone finds its own."""
    shape, fields = _parsed(line)
    seen = Sample(sample)
    if sample:
        for role, one in fields.items():
            if not seen.values(one.name):
                wrong, do = "the rows have no such column", f"correct it: {role}=COLUMN"
                raise InputError(
                    explain(wrong, found=one.name, accepted=nearest(one.name, seen.columns), do=do)
                )
    if shape is not None:
        fields = _filled(shape, fields, seen)
    made = shape or _shape_for(fields)
    if made is None:
        raise _no_shape(fields)
    if sample:
        fields = settled(made, fields, seen)
    ordered = {role: fields[role] for role in (*made.roles, *fields) if role in fields}
    return Plan(made, ordered, made.kind, columns=seen.columns)


def _parsed(line: str) -> tuple[Shape | None, dict[str, Field]]:
    """The shape and the fields that a line names."""
    shape: Shape | None = None
    fields: dict[str, Field] = {}
    at = 0
    while line[at:].strip(" \t\r\n,"):
        token = _TOKEN.match(line, at)
        if token is None or (token.end() < len(line) and line[token.end()] not in " \t\r\n,"):
            found, do = line[at:].strip(" ,"), "write it so; quote names with blanks"
            raise InputError(explain("this mapping cannot be read", found=found, accepted=_GRAMMAR, do=do))
        at = token.end()
        role, name = token["role"], token["column"]
        if role == "shape":
            shape = _named_shape(name)
            continue
        role = ROLE_ALIASES.get(role, role)
        if role not in ROLES and not re.fullmatch(r"aspect\.\S+", role):
            known, do = nearest(role, [*ROLES, "aspect.NAME", "shape"]), "name one of these roles"
            raise InputError(explain("a mapping has no such role", found=role, accepted=known, do=do))
        if role in fields:
            wrong, do = "a mapping names a role twice", "keep one of them"
            raise InputError(explain(wrong, found=role, accepted="each role once", do=do))
        whole = name[0] in "'\""
        table = _table(token["table"], role) if token["table"] else None
        fields[role] = Field(name[1:-1] if whole else name, table, whole=whole)
    if shape is None and not fields:
        raise InputError(
            explain("this mapping is empty", found=line, accepted=_GRAMMAR, do="name the columns")
        )
    return shape, fields


def _named_shape(name: str) -> Shape:
    """The shape of a name, or an error with the nearest one."""
    known = {shape.name: shape for shape in all_shapes()}
    if name not in known:
        do = "name one of these, or only roles"
        raise InputError(explain("there is no such shape", found=name, accepted=nearest(name, known), do=do))
    return known[name]


def _table(text: str, role: str) -> dict[str, Any]:
    """What values mean, from (good:true,bad:false)."""
    table: dict[str, Any] = {}
    at, inner = 0, text[1:-1]
    while inner[at:].strip():
        pair = _PAIR.match(inner, at)
        if pair is None:
            accepted, do = "(VALUE:MEANING,...)", "quote values with colons or commas"
            raise InputError(explain("these values cannot be read", found=text, accepted=accepted, do=do))
        key, meant = (one[1:-1] if one[:1] in ("'", '"') else one for one in pair.groups())
        if not key or key in table:
            do = "give each value once"
            raise InputError(explain("a value has two meanings", found=key, accepted="one each", do=do))
        table[key] = _meant(role, meant)
        at = pair.end()
    if not table:
        raise InputError(
            explain("there are no values", found=text, accepted="(VALUE:MEANING,...)", do="give them")
        )
    return table


def _meant(role: str, text: str) -> Any:
    """What a value means for a role: true or false, one of two, a number, or a text."""
    accepted = ""
    if role == "label":
        known: Mapping[str, Any] = {"true": True, "false": False}
        accepted = "true or false"
    elif role in ("choice", "votes") or (role.startswith("aspect.") and text in ("first", "second", "tie")):
        known, accepted = {one: one for one in ("first", "second", "tie")}, "first, second or tie"
    elif role in ("score", "scores", "preference", "labels", "ranks") or role.startswith("aspect."):
        known, accepted = _numeric(text), "a number"
    else:
        return text
    if text not in known:
        wrong, do = f"a value cannot mean this for the {role}", "say one of these"
        raise InputError(explain(wrong, found=text, accepted=accepted, do=do))
    return known[text]


def _numeric(text: str) -> Mapping[str, Any]:
    try:
        value: Any = json_value(text)
    except Unreadable:
        return {}
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return {text: value} if number else {}


def _shape_for(roles: Iterable[str]) -> Shape | None:
    """The shape that a set of roles makes; None where it makes none."""
    given = set(roles)
    fitting = [
        shape
        for shape in all_shapes()
        if not shape.looks
        and not shape.beside
        and shape.needs.keys() <= given
        and all(role in shape.roles or (shape.aspects and role.startswith("aspect.")) for role in given)
    ]
    return max(fitting, key=lambda shape: len(shape.needs), default=None)


def _filled(shape: Shape, fields: dict[str, Field], sample: Sample) -> dict[str, Field]:
    """The fields of a named shape: those given, and for the rest the columns that the sample has for them."""
    for role in fields:
        if role not in shape.roles and not (shape.aspects and role.startswith("aspect.")):
            wrong, do = f"the shape {shape.name} has no such role", "leave it out, or name another shape"
            raise InputError(explain(wrong, found=role, accepted=nearest(role, shape.roles), do=do))
    if not sample.rows:
        return {**{role: Field(names[0]) for role, names in shape.needs.items()}, **fields}
    filled = matched(shape, sample, fields)
    missing = [one for one in lacks(shape, filled, sample) if one in shape.needs]
    if missing:
        accepted = " or ".join(shape.needs[missing[0]][:6])
        wrong, do = f"the rows have no column for {missing[0]}", f"name it: {missing[0]}=COLUMN"
        found = Said(", ".join(map(repr, sample.columns)))
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    return filled


def _no_shape(fields: Mapping[str, Field]) -> InputError:
    """That roles make no shape, with the nearest one and what it lacks or has no use for."""

    def far(shape: Shape) -> tuple[int, int]:
        missing = sum(role not in fields for role in shape.needs)
        return missing + 2 * sum(role not in shape.roles for role in fields), len(shape.needs)

    shape = min((one for one in all_shapes() if not one.looks and not one.beside), key=far)
    missing = [role for role in shape.needs if role not in fields]
    odd = [role for role in fields if role not in shape.roles]
    wants = [f"add {', '.join(missing)}"] * bool(missing) + [f"drop {', '.join(odd)}"] * bool(odd)
    found, accepted = Said(", ".join(fields)), f"for {shape.summary}: {', '.join(shape.needs)}"
    return InputError(
        explain("these roles make no item", found=found, accepted=accepted, do=" and ".join(wants))
    )
