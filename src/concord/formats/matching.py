"""Which columns of sampled rows could take which role of a shape, by name and by what the values look like.

Sample   some rows, with the values of each column
matched  the fields of a shape in a sample; `lacks` says what is missing of it
closest  the shape that a sample comes nearest to
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from concord.errors import InputError
from concord.formats.cells import Field
from concord.formats.conversations import ROLE_NAMES, hh_turns
from concord.formats.rows import Row
from concord.formats.shapes import SHAPES, Shape
from concord.formats.strict import Unreadable, json_value
from concord.formats.troubles import Trouble, column

__all__ = ["Sample", "closest", "is_chat", "is_replies", "is_said", "lacks", "matched"]

_MOST = 1000  # values of a column that are looked at


class Sample:
    """Some rows, and the values that a column or a path has in them."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = tuple(rows)
        self.textual = any(row.textual for row in rows)
        self.columns = tuple(dict.fromkeys(name for row in rows for name in row.columns))
        self._known = frozenset(self.columns)
        self._values: dict[str, tuple[Any, ...]] = {}

    def values(self, name: str) -> tuple[Any, ...]:
        """The values of a column or path that are there; lists and objects parsed where all is text."""
        if name not in self._values:
            one = Field(name)
            known = name in self._known or one.column in self._known
            found = [self._value(row, one) for row in self.rows[:_MOST]] if known else []
            self._values[name] = tuple(value for value in found if value is not None)
        return self._values[name]

    def _value(self, row: Row, one: Field) -> Any:
        value = row.columns.get(one.name)
        if value is None:
            columns = row.columns
            if row.textual and len(one.steps) > 1:
                columns = {**columns, one.column: _unpacked(columns.get(one.column))}
            value = one.reach(columns)
        if row.textual:
            value = None if value == "" else _unpacked(value)
        nothing = isinstance(value, list) and all(one is None for one in cast("list[Any]", value))
        return None if nothing else cast(Any, value)

    def has(self, name: str) -> bool:
        """Whether at least half of the rows have a value here."""
        return len(self.values(name)) * 2 >= min(len(self.rows), _MOST) > 0


def _unpacked(value: Any) -> Any:
    """A list or an object from its text; other text as it stands."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json_value(value)
        except Unreadable:
            return value
    return value


# --- what the values of a role look like ------------------------------------------------------------------


def _is_turn(value: Any) -> bool:
    return isinstance(value, Mapping) and ("role" in value or "from" in value)


def is_chat(value: Any) -> bool:
    """Whether a value is a list of messages."""
    return isinstance(value, list) and bool(several := cast("list[Any]", value)) and _is_turn(several[0])


def is_said(value: Any) -> bool:
    """Whether a value is something that is said: a text, a turn or a conversation."""
    return isinstance(value, str) or _is_turn(value) or is_chat(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and not is_chat(value)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | bool | int | float)


def _is_numeric(value: Any) -> bool:
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(
        one is None or isinstance(one, bool) or _is_numeric(one) or one == "N/A"
        for one in cast(list[Any], value)
    )


def _is_text_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in cast(list[Any], value))


def is_replies(value: Any) -> bool:
    """Whether a value is a list of things that are said; None stands for one that is missing."""
    return _is_list(value) and all(one is None or is_said(one) for one in value)


_LOOKS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("prompt", "reply", "chosen", "rejected", "first", "second"), is_said),
    **dict.fromkeys(("text", "input", "system"), _is_text),
    **dict.fromkeys(("label", "choice"), _is_scalar),
    **dict.fromkeys(("score", "strength", "score_chosen", "score_rejected", "preference"), _is_numeric),
    **dict.fromkeys(("replies", "ranked"), is_replies),
    **dict.fromkeys(("steps", "outputs", "inputs"), _is_text_list),
    **dict.fromkeys(("labels", "ranks", "scores", "rewards"), _is_numbers),
    **dict.fromkeys(("history", "votes"), lambda value: isinstance(value, list)),
    "messages": is_chat,
}


def _fits(role: str, value: Any, shape: Shape) -> bool:
    if shape.looks == "item":
        return isinstance(value, Mapping) and "messages" in value and "role" not in value
    if role.startswith("aspect."):
        return _is_scalar(value) if "choice" in shape.needs else _is_numbers(value) or _is_numeric(value)
    return _LOOKS[role](value) if role in _LOOKS else True


# --- shapes -----------------------------------------------------------------------------------------------


def matched(shape: Shape, sample: Sample, given: Mapping[str, Field] | None = None) -> dict[str, Field]:
    """The fields of a shape that a sample has. Columns of `given` are taken as they are, and once."""
    fields = dict(given or {})
    taken = {one.name for one in fields.values()}
    if together := [role for role in shape.together if role not in fields]:
        names = zip(*(shape.needs[role] for role in together), strict=True)
        for each in names:
            if all(_takes(shape, role, name, sample) for role, name in zip(together, each, strict=True)):
                fields |= {role: Field(name) for role, name in zip(together, each, strict=True)}
                taken |= set(each)
                break
    for role, names in shape.roles.items():
        if role in fields or role in shape.together:
            continue
        needed = role in shape.needs
        for name in names:
            if name not in taken and _takes(shape, role, name, sample, often=needed):
                fields[role] = Field(name)
                taken.add(name)
                break
    return fields


def _takes(shape: Shape, role: str, name: str, sample: Sample, *, often: bool = True) -> bool:
    if not (sample.has(name) if often else sample.values(name)):
        return False
    return _fits(role, sample.values(name)[0], shape)


def lacks(shape: Shape, fields: Mapping[str, Field], sample: Sample) -> list[str]:
    """What a sample lacks to be of a shape: roles, columns that mark it, or the looks of its values."""
    missing = [role for role in shape.needs if role not in fields]
    missing += [name for name in shape.beside if not sample.has(name)]
    if missing or shape.looks != "hh":
        return missing + _without_reply(shape, fields, sample)
    role = "prompt" if "prompt" in fields else "chosen"
    texts = sample.values(fields[role].name)[:20]
    return [] if all(_speaks(text) for text in texts) else ["the looks"]


def _without_reply(shape: Shape, fields: Mapping[str, Field], sample: Sample) -> list[str]:
    """Says that no conversation ends with a reply, where the shape takes one from there."""
    if "messages" not in shape.needs or "messages" not in fields:
        return []
    chats = sample.values(fields["messages"].name)
    last = [chat[-1] for chat in chats if is_chat(chat) and _is_turn(chat[-1])]
    speakers = [turn.get("role", turn.get("from")) for turn in last]
    answered = any(isinstance(one, str) and ROLE_NAMES.get(one) == "assistant" for one in speakers)
    return [] if answered else ["a reply at the end"]


def _speaks(text: object) -> bool:
    try:
        return bool(hh_turns(text, column("")))
    except (Trouble, InputError):
        return False


def closest(sample: Sample) -> tuple[Shape, dict[str, Field], list[str]]:
    """The shape that a sample comes nearest to, what it has of it, and what it lacks."""
    found = [(shape, matched(shape, sample)) for shape in SHAPES if shape.looks == ""]
    weighed = [(shape, fields, lacks(shape, fields, sample)) for shape, fields in found]

    def near(entry: tuple[Shape, dict[str, Field], list[str]]) -> tuple[float, int]:
        shape, fields, missing = entry
        have = sum(role in fields for role in shape.needs)
        return (have / (have + len(missing)), have) if have else (0.0, 0)

    return max(reversed(weighed), key=near)  # the last ones are the most general
