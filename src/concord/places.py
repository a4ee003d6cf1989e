"""Places in data that was read, and the errors that name them: replies[0][1].role."""

import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias, cast

from concord.errors import InputError, Said, explain

__all__ = ["Place", "brief", "error", "opening", "within_bounds"]

# A place in the data, as links to the place around it: built cheaply, spelled out only in an error.
Place: TypeAlias = "tuple[Place | None, str | int]"


def error(place: Place, wrong: str, found: object, accepted: str, do: str) -> InputError:
    """The error for one place in the data."""
    return InputError(opening(place) + explain(wrong, found=found, accepted=accepted, do=do))


def opening(place: Place) -> str:
    """A place as it opens a message, spelled from the outside in; nothing for the outermost one."""
    steps: list[str] = []
    around: Place | None = place
    while around is not None:
        around, step = around
        outermost = around is None
        steps.append(str(step) if outermost else f"[{step}]" if isinstance(step, int) else f".{step}")
    *inner, where = steps
    path = "".join(reversed(inner)).removeprefix(".")
    return "".join(f"{part}: " for part in (where, path) if part)


def brief(data: object) -> object:
    """What was found, short enough for a message."""
    match data:
        case str():
            return data if len(data) <= 80 else data[:77] + "..."
        case bool() | int() | float():
            return data
        case None:
            return Said("null")
        case Mapping():
            keys = ", ".join(map(repr, cast(Mapping[object, object], data)))
            return Said(f"an object with the keys {keys}" if keys else "an empty object")
        case list() | tuple():
            return Said(f"a list of {len(cast(Sequence[object], data))}")
        case _:
            return Said(f"a Python {type(data).__name__}")


@contextmanager
def within_bounds(where: str) -> Generator[None]:
    """Refuse what Python's own limits refuse: nesting without end, numbers of thousands of digits."""
    try:
        yield
    except (RecursionError, ValueError) as caught:
        if isinstance(caught, InputError | json.JSONDecodeError | UnicodeError):
            raise
        deep = isinstance(caught, RecursionError)
        found = Said("lists or objects nested too deep" if deep else "a number of thousands of digits")
        accepted = "some hundred levels, and numbers of up to 4300 digits"
        raise error((None, where), "beyond the limits", found, accepted, "write it as text") from caught
