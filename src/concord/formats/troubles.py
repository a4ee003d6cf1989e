"""What readers of a row share: places in it, what is wrong there, JSON in its texts.

Trouble  what is wrong with one place; `trouble` makes it of the four parts of a message
Notes    what was noticed on the way
column   the place of a column
parsed   the JSON of a text, strictly
"""

from collections.abc import Mapping
from typing import Any, cast

from concord.errors import Said, explain
from concord.formats.strict import Unreadable, json_value
from concord.places import Place, brief, opening

__all__ = ["Notes", "Trouble", "column", "mapping", "parsed", "trouble"]

_ROOT: Place = (None, "")


class Trouble(Exception):
    """What is wrong with one place in a row; whoever knows its file and line makes a RowError of it.

    `missing` marks that a column was looked for in vain: perhaps the row is of another shape.
    """

    def __init__(self, place: Place, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.where, self.missing = opening(place).removesuffix(": "), missing


class Notes:
    """What was noticed on the way through a row: messages that say more than is read, gaps for pictures."""

    __slots__ = ("gaps", "more")

    def __init__(self) -> None:
        self.more = False
        self.gaps = 0


def mapping(value: object) -> Mapping[str, Any]:
    """A mapping as it stands; an empty one for anything else."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def column(name: str) -> Place:
    """The place of a column."""
    return (_ROOT, name)


def trouble(
    place: Place, wrong: str, *, found: object, accepted: str, do: str, missing: bool = False
) -> Trouble:
    """What is wrong with one place in a row, in four parts."""
    shown = found if isinstance(found, Said) else brief(found)
    return Trouble(place, explain(wrong, found=shown, accepted=accepted, do=do), missing=missing)


def parsed(value: object, place: Place, accepted: str) -> Any:
    """JSON from text; what is not text is as it stands."""
    if not isinstance(value, str):
        return value
    try:
        return json_value(value)
    except Unreadable as error:
        raise trouble(place, error.wrong, found=error.found, accepted=accepted, do=error.do) from None
