"""Rows from objects: data sets of the hub's `datasets` library, and sequences of mappings in memory."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from concord.errors import InputError, Said, explain
from concord.formats.files import Meter
from concord.formats.jsons import refused
from concord.formats.plain import pictured, raw_json, shown
from concord.formats.rows import BadRow, Row
from concord.formats.strict import Unreadable
from concord.formats.tables import batch_rows, made_row
from concord.places import brief
from concord.types import Origin

__all__ = ["digest_of", "hub_kind", "hub_rows", "memory_rows", "refuse_object"]

_BATCH = 256
_ACCEPTED = (
    "a path, a list of paths, a Dataset, IterableDataset or DatasetDict of `datasets`, a list of mappings, "
    "or a mapping from splits to these"
)


def hub_kind(data: object) -> str:
    """Which class of the hub's library an object is of: "Dataset", "IterableDataset"; else nothing."""
    for base in type(data).__mro__:
        if base.__module__.partition(".")[0] == "datasets" and base.__name__ in (
            "Dataset",
            "IterableDataset",
        ):
            return base.__name__
    return ""


def hub_rows(data: Any, name: str, meter: Meter) -> Iterator[Row | BadRow]:
    """The rows of a data set of the hub's library, with pictures as their bytes."""
    made = _tables(data, meter) if hub_kind(data) == "Dataset" else _streamed(data)
    for count, columns in enumerate(made, 1):
        yield made_row(columns, Origin(name, count))


def _tables(data: Any, meter: Meter) -> Iterator[dict[str, Any] | Unreadable]:
    """Rows from the columns as they are stored: nothing is decoded, and no format is applied."""
    for batch in data.with_format("arrow").iter(batch_size=_BATCH):
        yield from batch_rows(batch)
        meter.position += batch.num_rows


def _streamed(data: Any) -> Iterator[dict[str, Any] | Unreadable]:
    """Rows that are made as they are asked for."""
    raw = data.with_format(None)
    if raw.features is not None:
        raw = raw.decode(False)
    for columns in raw:
        try:
            yield pictured(columns)
        except Unreadable as error:
            yield error


def memory_rows(rows: Sequence[Any], name: str, meter: Meter) -> Iterator[Row | BadRow]:
    """The rows of a sequence of mappings."""
    for count, row in enumerate(rows, 1):
        meter.position = count
        origin = Origin(name, count)
        columns = cast("Mapping[object, Any]", row) if isinstance(row, Mapping) else None
        try:
            if columns is None or not all(isinstance(key, str) for key in columns):
                wrong, do = "the row is not a mapping with named columns", "give each row as a dict"
                accepted = "a mapping from the names of columns to values"
                raise Unreadable(wrong, brief(cast(object, row)), accepted, do)
            yield Row(pictured(columns), origin)
        except Unreadable as error:
            yield refused(origin, error, shown(cast(object, row)))


def digest_of(rows: Callable[[], Iterable[Row | BadRow]]) -> bytes:
    """A digest of the rows of an object, which has no bytes of its own."""
    known = hashlib.sha256()
    for row in rows():
        text = raw_json(dict(sorted(row.columns.items()))) if isinstance(row, Row) else row.raw
        known.update(text.encode() + b"\n")
    return known.digest()


def refuse_object(data: Any) -> InputError:
    """What to say of an object that holds no rows, or holds them only once."""
    kind = cast("type[Any]", type(data))
    if isinstance(data, Iterator):
        wrong, do = "these rows can be read only once", "put them in a list: list(rows)"
    elif hasattr(data, "to_dict") and hasattr(data, "columns"):
        wrong, do = "a data frame is not read as it stands", 'give `frame.to_dict("records")`'
    else:
        wrong, do = "not something that holds rows", "give one of these"
    found = Said(f"an object of type {kind.__module__}.{kind.__name__}".replace("builtins.", ""))
    return InputError(explain(wrong, found=found, accepted=_ACCEPTED, do=do))
