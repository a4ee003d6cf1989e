"""What the sections of a card share: how results say where they belong, and what could not be measured."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from concord.types import Challenge, Result

__all__ = ["NO_BASE", "missing", "placed"]

NO_BASE = "no base was given to compare with; name the model that this one was made from"
"""Why nothing is said of what changed."""


def missing(
    name: str,
    challenge: Challenge,
    why: str,
    *,
    unit: str = "",
    how: str = "",
    higher: bool | None = None,
    at: Mapping[str, str | float] | None = None,
) -> Result:
    """A number that could not be measured, why, and what would give it."""
    return Result(
        name=name,
        value=None,
        n=0,
        unit=unit,
        how=how,
        challenge=challenge,
        higher_is_better=higher,
        at=at or {},
        why_none=why,
    )


def placed(
    results: Sequence[Result],
    challenge: Challenge,
    *,
    only: Sequence[str] = (),
    at: Mapping[str, str | float] | None = None,
) -> list[Result]:
    """Results under another challenge and with more coordinates; of some names only, where they are given."""
    return [
        replace(result, challenge=challenge, at={**result.at, **(at or {})})
        for result in results
        if not only or result.name in only
    ]
