"""Every error a user can meet, in one tree.

    ConcordError
    |-- InputError            something given to us is wrong (also a ValueError)
    |   |-- RowError          a row of data cannot be read, or says two things at once
    |   |-- ConversionError   an item cannot be seen as the kind that was asked for
    |   |-- RecipeError       a setting is unknown, missing, ignored or contradictory
    |   `-- NotFoundError     a method, run, file or model of that name does not exist
    |-- CapabilityError       a policy cannot do what a method needs of it
    |-- UnavailableError      an optional part is not installed, or a service does not answer
    |-- StoreError            the content store cannot keep or give back a value
    `-- RunError              a run directory is in use, incomplete, or differs from what is asked

A message has four parts: what is wrong, the value that was found, what is accepted, what to do.
`explain` puts them together, so that no message forgets one. Broken invariants of our own are
`assert`s, never one of these.
"""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "CapabilityError",
    "ConcordError",
    "ConversionError",
    "InputError",
    "NotFoundError",
    "RecipeError",
    "RowError",
    "RunError",
    "StoreError",
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


class UnavailableError(ConcordError):
    """An optional part is not installed, or a service does not answer."""


class StoreError(ConcordError):
    """The content store cannot keep or give back a value."""


class RunError(ConcordError):
    """A run directory is in use, incomplete, or differs from what is asked."""


def explain(wrong: str, *, found: object = None, accepted: str = "", do: str = "") -> str:
    """Join the four parts of a message: what is wrong, what was found, what is accepted, what to do.

    Parts that say nothing are left out; a found string is quoted, so that stray blanks can be seen.
    """
    parts = [wrong.rstrip(".")]
    if found is not None:
        parts.append(f"found {found!r}")
    if accepted:
        parts.append(f"accepted: {accepted.rstrip('.')}")
    if do:
        parts.append(f"to do: {do.rstrip('.')}")
    return "; ".join(parts) + "."


def nearest(name: str, names: Iterable[str]) -> str:
    """Say which known name was probably meant, and list them all: text for `accepted`."""
    known = sorted(names)
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    listed = ", ".join(known) if known else "nothing yet"
    return f"{listed} (did you mean {close[0]!r}?)" if close else listed
