"""Rows as they stand in what people have: read, but not yet understood.

    Row     the columns of one row, and where it stands
    BadRow  a row that could not be read, with the message that says why, and its text

Readers yield both, so that whoever reads decides whether a bad row stops the run or is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from concord.errors import RowError, explain
from concord.types import Origin

__all__ = ["BadRow", "Row", "bad_row"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands: JSON values by column, and bytes where a column holds pictures.

    `textual` says that each value is text because its file knows nothing else (CSV and TSV): whoever wants
    a number, a list or a truth value there parses it.

    `origin` counts lines where the file has one row a line (JSON lines, CSV), and rows elsewhere, from 1.
    """

    columns: Mapping[str, Any]
    origin: Origin
    textual: bool = field(default=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not be read: the whole message, and the row as it stood.

    `ends` says that nothing after it in its file can be read either.
    """

    origin: Origin
    error: RowError
    raw: str
    ends: bool = field(default=False, kw_only=True)


def bad_row(origin: Origin, wrong: str, *, found: object, accepted: str, do: str, raw: str = "") -> BadRow:
    """A row that could not be read, with a message in four parts that begins with its place."""
    message = f"{origin}: " + explain(wrong, found=found, accepted=accepted, do=do)
    return BadRow(origin, RowError(message), raw)
