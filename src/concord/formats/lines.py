"""Mappings as they are written, and what the values of a choice mean by the names of the columns."""

import re
import shlex
from collections.abc import Mapping

from concord.formats.cells import Field
from concord.formats.roles import ROLES
from concord.formats.shapes import Shape

__all__ = ["choices_of", "ends_of", "flag", "written"]

_OF_SHELLS = re.compile(r'["$`!\\]')  # what means something to a shell between double quotes
_SPEAKERS = (
    "model",
    "assistant",
    "response",
    "answer",
    "reply",
    "output",
    "completion",
    "conversation",
    "chat",
)
_TIES = (
    "tie",
    "ties",
    "tied",
    "draw",
    "equal",
    "same",
    "both",
    "neither",
    "tie (bothbad)",
    "both bad",
    "both good",
)


def flag(line: str) -> str:
    """A mapping as it stands on the command line, where no name from the data means anything to a shell."""
    return f"--map {shlex.quote(line)}" if _OF_SHELLS.search(line) else f'--map "{line}"'


def written(fields: Mapping[str, Field], shape: Shape | None = None) -> str:
    """A mapping as one line."""
    order = {role: at for at, role in enumerate(ROLES)}
    roles = sorted(fields, key=lambda role: order.get(role, len(order)))
    head = [f"shape={shape.name}"] if shape else []
    return " ".join([*head, *(f"{role}={fields[role].text}" for role in roles)])


def ends_of(first: str, second: str) -> tuple[str, str]:
    """What sets two names apart: 1 and 2 of response_1 and response_2."""
    head = _alike(first, second)
    tail = _alike(first[head:][::-1], second[head:][::-1])
    return first[head : len(first) - tail], second[head : len(second) - tail]


def _alike(first: str, second: str) -> int:
    """How many letters two names begin with alike."""
    pairs = zip(first, second, strict=False)
    return next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second)))


def choices_of(first: str, second: str) -> dict[str, str]:
    """What the values of a choice between two columns mean, where the names of these leave no doubt."""
    table = dict.fromkeys(_TIES, "tie")
    ends = ends_of(first, second)
    for name, end, meant in ((first, ends[0], "first"), (second, ends[1], "second")):
        keys = [name, end]
        if end.isalnum():
            keys += [f"{word}{mark}{end}" for word in _SPEAKERS for mark in ("_", " ", "-", "")]
        table |= {key.casefold(): meant for key in keys if key.strip("_- ")}
    return table
