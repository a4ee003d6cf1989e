"""What the values of labels and choices mean; where that is open, an error with the mappings there are."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NoReturn, cast

from concord.errors import InputError, Said, explain
from concord.formats.cells import LONGEST_VALUE, Field, spelled
from concord.formats.lines import choices_of, ends_of, flag, written
from concord.formats.matching import Sample
from concord.formats.shapes import Shape
from concord.places import brief

__all__ = ["label_line", "needed", "refuse", "settled", "words_of"]

_FEW = 8  # values of a column that a mapping lists
_GOOD = {
    *("true", "yes", "good", "desirable", "positive", "accepted", "correct", "right", "helpful", "safe"),
    *("like", "up", "thumbs_up", "pass", "chosen"),
}
_BAD = {
    *("false", "no", "bad", "undesirable", "negative", "rejected", "incorrect", "wrong", "unhelpful"),
    *("unsafe", "dislike", "down", "thumbs_down", "fail"),
}
_LONGEST_LINE = 400  # characters of a mapping that a message proposes


def needed(shape: Shape, fields: Mapping[str, Field]) -> dict[str, Field]:
    """The fields of the roles that a shape cannot do without."""
    return {role: one for role, one in fields.items() if role in shape.needs}


def refuse(seen: Sample, wrong: str, accepted: str, lines: Sequence[str]) -> NoReturn:
    """Refuse to guess, with the mappings to choose from; those too long for a message are left out."""
    found = Said(f"the columns {', '.join(repr(brief(name)) for name in seen.columns)}")
    short = [line for line in dict.fromkeys(lines) if len(line) <= _LONGEST_LINE] or ["ROLE=COLUMN ..."]
    do = f"say what they are: {' or '.join(map(flag, short))}"
    raise InputError(f"{seen.rows[0].origin.file}: " + explain(wrong, found=found, accepted=accepted, do=do))


def settled(shape: Shape, fields: dict[str, Field], seen: Sample) -> dict[str, Field]:
    """The fields, once it is sure what the values of labels and choices mean."""
    if "label" in fields and fields["label"].table is None:
        _check_label(fields, seen)
    if "choice" in fields and fields["choice"].table is None:
        return _chosen(shape, fields, seen)
    return fields


def _listed(values: Iterable[str]) -> str:
    """The first of some values, as far as a message has room for them."""
    return ", ".join(str(brief(value)) for value in islice(values, _FEW))


def _distinct(name: str, seen: Sample) -> list[Any]:
    """The different values of a column; those of a list one by one."""
    values: dict[str, Any] = {}
    for value in seen.values(name):
        for one in cast(list[Any], value) if isinstance(value, list) else [value]:
            if isinstance(one, str | bool | int | float):
                values.setdefault(spelled(one), one)
    return list(values.values())


def _named(name: str, seen: Sample) -> list[Any]:
    """The different values of a column that are short enough to be the names of something."""
    return [value for value in _distinct(name, seen) if len(spelled(value)) <= LONGEST_VALUE]


def _are_truths(values: Sequence[Any], seen: Sample) -> bool:
    """Whether values are true, false, 1 or 0 by themselves; text is so in tables of text alone."""
    if not seen.textual and any(isinstance(value, str) for value in values):
        return False
    return {spelled(value).casefold() for value in values} <= {"true", "false", "0", "1", "0.0", "1.0"}


def _check_label(fields: Mapping[str, Field], seen: Sample) -> None:
    """Refuse labels that are not true or false, with what they could mean."""
    name = fields["label"].name
    values = _distinct(name, seen)
    if _are_truths(values, seen):
        return
    others = {role: one for role, one in fields.items() if role != "label"}
    lines = [f"{written(others)} {label_line(name, seen)}".rstrip()]
    if len(values) > 2 and _numbers(values, seen):
        lines.append(written({**others, "score": Field(name)}))
    shown = _listed(map(spelled, values))
    wrong = f"the values of {name!r} are neither true nor false ({shown}): say which are desirable"
    refuse(seen, wrong, "true, false, 1 and 0, or a table of values", lines)


def _numbers(values: Sequence[Any], seen: Sample) -> list[float]:
    """The values as numbers; nothing where one is no number."""
    try:
        given = [value for value in values if seen.textual or not isinstance(value, str)]
        return sorted(float(value) for value in given) if len(given) == len(values) else []
    except (ValueError, OverflowError):
        return []


def label_line(name: str, seen: Sample) -> str:
    """A proposal for what the values of a label mean: high numbers are good, and names that sound so.

    Where no name does, the first; nothing, where all values are too long to be names.
    """
    values = _named(name, seen)[:_FEW]
    if not values:
        return ""
    if _are_truths(values, seen):
        return f"label={Field(name).text}"
    numbers = _numbers(values, seen)
    if numbers:
        middle = (numbers[0] + numbers[-1]) / 2
        table = {spelled(value): float(value) > middle for value in sorted(values, key=float)}
    else:
        names = sorted(map(spelled, values))
        bad = {text for text in names if text.casefold() in _BAD}
        good = {text for text in names if text.casefold() in _GOOD} or (bad and {*names} - bad) or {names[0]}
        table = {text: text in good for text in names}
    return f"label={Field(name, table).text}"


def words_of(name: str, seen: Sample) -> dict[str, str] | None:
    """A table that makes texts of the values of a class, where they are not texts already."""
    values = _named(name, seen)[:_FEW]
    if all(isinstance(value, str) for value in values):
        return None
    names = {"0": "negative", "1": "positive"}
    return {text: names.get(text, f"class {text}") for text in sorted(map(spelled, values))}


def _chosen(shape: Shape, fields: dict[str, Field], seen: Sample) -> dict[str, Field]:
    """The fields, with what the values of a choice mean, where the names of the columns leave no doubt."""
    first, second, name = fields["first"].name, fields["second"].name, fields["choice"].name
    known = choices_of(first, second)
    values = {spelled(value) for value in _distinct(name, seen)}
    odd = {value for value in values if value.strip().casefold() not in known}
    if not odd:
        return _voted(fields, known, seen)
    ends = ends_of(first, second)
    if odd == {"0"} and set(ends) == {"1", "2"} and "2" in values:
        table = {"1": "first", "2": "second", "0": "tie"}
        return _voted({**fields, "choice": Field(name, table)}, table, seen)
    others = {role: one for role, one in needed(shape, fields).items() if role != "choice"}
    numbers = _numbers(_distinct(name, seen), seen)
    if any("." in value for value in odd) and numbers and numbers[0] >= 0 and numbers[-1] <= 1:
        lines = [written({**others, "preference": Field(name)})]
    else:
        short = {spelled(value) for value in _named(name, seen)}
        tables = _readings(short, ends) if short else []
        lines = [written({**others, "choice": Field(name, table)}) for table in tables] or [written(others)]
    shown = _listed(sorted(values))
    wrong = f"the values of {name!r} ({shown}) do not say which of {first!r} and {second!r} is meant"
    refuse(
        seen, wrong, f"{ends[0]} and {ends[1]}, the names of the columns, tie; or a table of values", lines
    )


def _readings(values: set[str], ends: tuple[str, str]) -> list[dict[str, str]]:
    """The tables that could be meant by the values of a choice."""
    ordered = sorted(values)
    if values <= {"0", "1"}:
        named = [{"1": "first", "2": "second", "0": "tie"}] if set(ends) == {"1", "2"} else []
        return [{"0": "first", "1": "second"}, {"1": "first", "0": "second"}, *named]
    if values <= {"1", "2"}:
        return [{"1": "first", "2": "second"}, {"2": "first", "1": "second"}]
    if values <= {"true", "false"}:
        return [{"true": "first", "false": "second"}, {"false": "first", "true": "second"}]
    if values <= {"-1", "0", "1"}:
        return [{"1": "first", "-1": "second", "0": "tie"}, {"-1": "first", "1": "second", "0": "tie"}]
    if values <= {"0", "1", "2"}:
        return [{"0": "first", "1": "second", "2": "tie"}, {"1": "first", "2": "second", "0": "tie"}]
    meanings = ("first", "second", *("tie" for _ in ordered[2:_FEW]))
    return [dict(zip(ordered[:_FEW], meanings, strict=False))]


def _voted(fields: dict[str, Field], table: Mapping[str, str], seen: Sample) -> dict[str, Field]:
    """The fields without votes whose values are not those of the choice: they stay in meta."""
    if "votes" in fields:
        values = {spelled(value).casefold() for value in _distinct(fields["votes"].name, seen)}
        if not values <= table.keys():
            return {role: one for role, one in fields.items() if role != "votes"}
    return fields
