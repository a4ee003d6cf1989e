"""Data, opened: what is trained on, and what is held out where the data say so themselves."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from concord.errors import InputError
from concord.formats import DataLike, OnBadRow, Reading, Source, find_sources, open_items

__all__ = ["Opened", "open_data"]

_NAMED = 5  # sources that a note names


@dataclass(frozen=True)
class Opened:
    """What is trained on, and what is held out where the data say so themselves."""

    train: tuple[Reading, ...]
    held_out: tuple[Reading, ...] = ()
    notes: tuple[str, ...] = ()


def open_data(
    data: DataLike, eval_data: DataLike = (), *, mapping: str = "", on_bad_row: OnBadRow = "stop"
) -> Opened:
    """Open what is trained on and what is evaluated on.

    Where the data name a training split, no other split is trained on: validation (else eval, else test)
    is held out unless `eval_data` says what is, and the rest is left aside, aloud.
    """

    def opened(part: DataLike, name: str = "") -> Reading:
        return open_items(part, mapping=mapping, on_bad_row=on_bad_row, split=name)

    sources = find_sources(data)
    splits = {source.split for source in sources}
    given = _each(eval_data, find_sources(eval_data), opened) if _there(eval_data) else ()
    others = [name for name in ("validation", "eval", "test") if name in splits]
    if "train" not in splits or not others:
        return Opened(_each(data, sources, opened), given)
    train = _part(data, [source for source in sources if source.split not in others], opened)
    names = [source.name for reading in train for source in reading.sources]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    notes = [f"trained on: {', '.join(names[:_NAMED])}{more}"]
    if not given:
        given = _part(data, [source for source in sources if source.split == others[0]], opened)
        notes.append(f"the split {others.pop(0)} is held out")
    notes += [f"the split {name} is left aside" for name in others]
    return Opened(train, given, tuple(notes))


_Open: TypeAlias = Callable[..., Reading]


def _there(data: DataLike) -> bool:
    return not (isinstance(data, Sequence) and len(data) == 0)


def _part(data: DataLike, sources: Sequence[Source], opened: _Open) -> tuple[Reading, ...]:
    """Some of the sources of data."""
    if all(source.on_disk for source in sources):
        return _each([source.name for source in sources], sources, opened)
    return tuple(opened(data, name) for name in dict.fromkeys(source.split for source in sources))


def _each(data: DataLike, sources: Sequence[Source], opened: _Open) -> tuple[Reading, ...]:
    """One reading of all the sources, or, where files are of different shapes, one of each."""
    if len(sources) > 1 and all(source.on_disk for source in sources):
        # A file may be too small to tell its shape alone; then all are looked at together.
        with suppress(InputError):
            apart = tuple(opened([source.name]) for source in sources)
            if len({reading.plan.line for reading in apart}) > 1:
                return apart
    return (opened(data),)
