"""Plain JSON values from what libraries put into rows: dates, decimals, arrays, pictures."""

import base64
import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from io import BytesIO
from math import isfinite
from typing import Any, cast

from concord.formats.strict import DEEPEST, nested

__all__ = ["as_json", "pictured", "raw_json", "shown"]

_LARGEST = 10**4300  # Python spells no whole number that is longer


def _is_picture(value: object) -> bool:
    """Whether a value is an opened picture of the imaging library, which this module does not import."""
    return type(value).__module__.startswith("PIL.") and hasattr(value, "save")


def pictured(value: Any, depth: int = DEEPEST) -> Any:
    """A value with arrays as lists and each picture as bytes: opened ones as PNG, {bytes, path} as either.

    What is nested deeper than a file may have it, or holds itself, is `Unreadable`.
    """
    if depth < 0:
        raise nested()
    if isinstance(value, Mapping):
        inside = cast("Mapping[Any, Any]", value)
        if set(inside) == {"bytes", "path"}:
            return inside["path"] if inside["bytes"] is None else inside["bytes"]
        return {key: pictured(one, depth - 1) for key, one in inside.items()}
    if isinstance(value, list | tuple):
        return [pictured(one, depth - 1) for one in cast("Iterable[Any]", value)]
    if callable(listed := getattr(value, "tolist", None)):  # arrays and their scalars, as NumPy has them
        return pictured(listed(), depth - 1)
    if _is_picture(value):
        value.save(kept := BytesIO(), format="PNG")
        return kept.getvalue()
    return value


def as_json(value: Any, lost: set[str]) -> Any:
    """A value as JSON has it; `lost` takes the names of what had no place there, for which None stands."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        if -_LARGEST < value < _LARGEST:
            return int(value)
        lost.add("numbers of thousands of digits")
        return None
    if isinstance(value, float):
        if isfinite(value):
            return float(value)
        lost.add("numbers that are not finite")
        return None
    if isinstance(value, Mapping):
        return {str(key): as_json(one, lost) for key, one in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json(one, lost) for one in cast("Iterable[Any]", value)]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return str(value)
    # Arrays and their scalars, of any library that follows NumPy.
    if callable(listed := getattr(value, "tolist", None)) and not isinstance(plain := listed(), type(value)):
        return as_json(plain, lost)
    lost.add("bytes" if isinstance(value, bytes | bytearray | memoryview) else type(value).__name__)
    return None


def raw_json(columns: Mapping[str, Any]) -> str:
    """A row as one line of JSON, bytes as base64 and the rest as JSON has it; for files of skipped rows."""
    try:
        return json.dumps(columns, default=_kept, allow_nan=False)
    except (TypeError, ValueError):  # keys that are no text, numbers that JSON has not
        return json.dumps(_kept(columns))


def _kept(value: Any) -> Any:
    """A value as JSON, with text for what JSON has not."""
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, Mapping):
        return {str(key): _kept(one) for key, one in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_kept(one) for one in cast("Iterable[Any]", value)]
    lost: set[str] = set()
    made = as_json(value, lost)
    return shown(value) if lost else made


def shown(value: object) -> str:
    """A value as Python shows it, of any length; its type alone where that cannot be."""
    try:
        return repr(value)
    except (ValueError, RecursionError):
        return f"{type(value).__name__} too long to show"
