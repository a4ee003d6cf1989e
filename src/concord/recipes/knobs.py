"""The knobs of an objective: checked against their types, and bound to the parts of a loss."""

import inspect
import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from concord.catalogue import Knob, Part, Value
from concord.errors import NOTHING, RecipeError, explain
from concord.recipes.methods import Wants

__all__ = ["bind", "knob_of", "read_knobs"]

_INFINITIES = {"infinity": math.inf, "-infinity": -math.inf}
_ACCEPTED = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "text": "a text",
    "": "a number, a text, true or false",
}


def knob_of(default: object) -> Knob:
    """A knob of a user's own function, known by its default."""
    required = default is inspect.Parameter.empty
    kinds = {"bool": "bool", "int": "int", "float": "float", "str": "text"}
    kind = kinds.get(type(default).__name__, "")
    value = cast("Value", None if required else default)
    return Knob(default=value, type=kind, meaning="", required=required)


def read_knobs(wants: Wants, asked: Mapping[str, object]) -> dict[str, Value]:
    """Every knob with its value, or an error for each that has none or a wrong one."""
    wrong: list[str] = []
    read: dict[str, Value] = {}
    knobs = wants.knobs if wants.known else {name: knob_of(None) for name in asked}
    for name, knob in knobs.items():
        if name not in asked:
            read[name] = knob.default
            if knob.required:
                accepted, do = knob.meaning or "a value", f"write `{name}: ...`"
                title = f"{wants.name} needs the knob {name}"
                wrong.append(explain(title, found=NOTHING, accepted=accepted, do=do))
            continue
        value = _fitting(knob, asked[name])
        if value is None and asked[name] is not None:
            accepted = ", ".join(knob.choices) or f"{_ACCEPTED[knob.type]} {knob.allowed}".rstrip()
            title = f"the knob {name} of {wants.name} is not right"
            wrong.append(explain(title, found=asked[name], accepted=accepted, do="correct it"))
        read[name] = value
    if wrong:
        raise RecipeError("\n".join(wrong))
    return read


def _fitting(knob: Knob, value: object) -> Value:
    """The value as its knob takes it, None if it does not."""
    typed = _typed(knob, value)
    return None if isinstance(typed, int | float) and not knob.allows(typed) else typed


def _typed(knob: Knob, value: object) -> Value:
    """The value in the type of its knob, None if it has none in it."""
    if isinstance(value, str) and knob.type == "float":
        value = _INFINITIES.get(value.strip().lower(), value)
    match knob.type, value:
        case ("float", bool()) | ("int", bool()):
            return None
        case "float", float() if not math.isnan(value):
            return value
        case "float", int() if abs(value) <= sys.float_info.max:
            return float(value)
        case "int", int():
            return value
        case "int", float() if value.is_integer():
            return int(value)
        case "bool", bool():
            return value
        case "choice", str() if value in knob.choices:
            return value
        case "text", str():
            return value
        case "", str() | bool() | int() | float() if value == value:
            return value
        case _:
            return None


def bind(
    wants: Wants, knobs: Mapping[str, Value], weights: Mapping[str, float], reduction: str | None
) -> tuple[Part, ...]:
    """The parts of the loss that count, each with its weight and its knobs."""
    return tuple(
        replace(
            term,
            reduction=reduction or term.reduction,
            weight=weight,
            knobs={**term.knobs, **{name: knobs[name] for name in wants.of_part(term)}},
        )
        for term in wants.terms
        if (weight := weights.get(term.on, term.weight))
    )
