"""Every error a user can meet, in one tree.

    ConcordError
    |-- InputError            something given to us is wrong (also a ValueError)
    |   |-- RowError          a row of data cannot be read, or says two things at once
    |   |-- ConversionError   an item cannot be seen as the kind that was asked for
    |   |-- RecipeError       a setting is unknown, missing, ignored or contradictory
    |   `-- NotFoundError     a method, run, file or model of that name does not exist
    |-- CapabilityError       a policy cannot do what a method needs of it
    |-- UnansweredError       a policy was asked and no reply came
    |-- UnavailableError      an optional part is not installed, or a service does not answer
    |-- StoreError            the content store cannot keep or give back a value
    `-- RunError              a run directory is in use, incomplete, or differs from what is asked

A message has four parts: what is wrong, the value that was found, what is accepted, what to do.
`explain` puts them together and wants all four, so that no message forgets one. Broken invariants of our
own are `assert`s, never one of these.
"""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "NOTHING",
    "CapabilityError",
    "ConcordError",
    "ConversionError",
    "InputError",
    "NotFoundError",
    "RecipeError",
    "RowError",
    "RunError",
    "Said",
    "StoreError",
    "UnansweredError",
    "UnavailableError",
    "explain",
    "nearest",
]


class ConcordError(Exception):
    """The root: catch this to catch everything Concord raises on purpose."""


class InputError(ConcordError, ValueError):
    """Something given to Concord is wrong, and the message says what to give instead."""


class RowError(InputError):
    """A row of data cannot be read; the message names file, line and column."""


class ConversionError(InputError):
    """An item cannot be seen as the kind that was asked for."""


class RecipeError(InputError):
    """A setting is unknown, missing, ignored or contradictory."""


class NotFoundError(InputError):
    """A method, run, file or model of that name does not exist."""


class CapabilityError(ConcordError):
    """A policy cannot do what a method needs of it."""


class UnansweredError(ConcordError):
    """A policy was asked and no reply came; the message holds its reasons. Drivers throw it into flows."""


class UnavailableError(ConcordError):
    """An optional part is not installed, or a service does not answer."""


class StoreError(ConcordError):
    """The content store cannot keep or give back a value."""


class RunError(ConcordError):
    """A run directory is in use, incomplete, or differs from what is asked."""


class Said(str):
    """A description of what was found, which `explain` does not quote as it would the thing itself."""

    __slots__ = ()
    __repr__ = str.__str__


_LONGEST = 200  # characters of what was found that a message shows
_MOST = 20  # names that a message lists

NOTHING = Said("nothing")
"""For `found`, where the trouble is that there is nothing."""


def explain(wrong: str, *, found: object, accepted: str, do: str) -> str:
    """Join the four parts of a message: what is wrong, what was found, what is accepted, what to do.

    A found string is quoted, so that stray blanks can be seen; a description in words of one's own is
    `Said`, and where there was nothing to be found, `found` is NOTHING. Something long is cut short.
    """
    what, accepted, do = (part.rstrip(".") for part in (wrong, accepted, do))
    return f"{what}; found {_shown(found)}; accepted: {accepted}; to do: {do}."


def _shown(found: object) -> str:
    try:
        text = repr(found)
    except ValueError:  # Python spells no whole number of more than some thousand digits
        text = f"{type(found).__name__} too long to show"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... of {len(text)} characters"


def nearest(name: str, names: Iterable[str]) -> str:
    """Say which known name was probably meant, and list them, the first 20 of many: text for `accepted`."""
    known = sorted(names)
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    listed = ", ".join(known[:_MOST]) if known else "nothing yet"
    if len(known) > _MOST:
        listed += f" and {len(known) - _MOST} more"
    return f"{listed} (did you mean {close[0]!r}?)" if close else listed
