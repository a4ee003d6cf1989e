"""The inputs of objectives that rows and policies know: see `objectives.contract.INPUTS`.

What feedback gives offline (`margins`, `psi`, `log_target`, `old`) are columns of the data under these names,
with one number for each reply of the row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from concord.data import Prepared
from concord.engine.head import ChunkFunction
from concord.engine.statistics import measured, on_logits
from concord.errors import InputError, RecipeError, Said, explain
from concord.objectives import collision
from concord.tensors import PairValues, ReferencedReplies, Replies
from concord.train.loop.batch import Batch, known
from concord.train.loop.records import Shape, desirable, record_of
from concord.types import Preference, SegmentPreference

__all__ = ["COMPANIONS", "STATISTICS", "UNTRAINED", "Knowledge", "input_of"]

STATISTICS: Mapping[str, ChunkFunction] = {"collision": measured(on_logits(collision))}
"""Inputs that the policy's own logits give, a number a token, by the functions that do."""

COMPANIONS: Mapping[str, type[Replies]] = {"mismatched": ReferencedReplies, "target": Replies}
"""Inputs that are replies of further rows, one beside each row, by the record they are."""

UNTRAINED = frozenset({"mismatched"})
"""Companions that no gradient flows into."""


@dataclass(frozen=True)
class Knowledge:
    """Some rows, and what was computed of them beside the values of their record."""

    batch: Batch
    like: Tensor
    """Inputs lie where this does."""
    shape: Shape = field(default_factory=lambda: Shape("tokens"))
    statistics: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    """[N] Statistics of each token, by the name of their input."""
    companions: Mapping[str, tuple[Tensor, Tensor | None]] = field(
        default_factory=dict[str, tuple[Tensor, Tensor | None]]
    )
    """Values of companions, and the reference's."""


def input_of(name: str, what: Knowledge) -> Any:
    """An input by its name; None for one that may be left out and that these rows know nothing of."""
    if name in COMPANIONS:
        values, ref = what.companions[name]
        return record_of(COMPANIONS[name], what.batch.companions[name], values, ref=ref)
    if name in STATISTICS:
        return _sides(what, _token_means(what, what.statistics[name]))
    if name not in _KNOWN:
        wrong, do = f"rows do not give the input {name!r}", "use another method"
        accepted = ", ".join(sorted({*_KNOWN, *COMPANIONS, *STATISTICS}))
        raise RecipeError(explain(wrong, found=name, accepted=accepted, do=do))
    return _KNOWN[name](what)


def _token_means(what: Knowledge, values: Tensor) -> Tensor:
    """[R] The mean of a statistic over the tokens of each reply."""
    lengths = what.batch.lengths.to(values.device)
    owner = torch.arange(len(lengths), device=values.device).repeat_interleave(lengths)
    return values.new_zeros(len(lengths)).index_add(0, owner, values) / lengths.clamp(min=1)


def _sides(what: Knowledge, numbers: Tensor) -> PairValues:
    """One number for each reply, as those of both sides."""
    chosen, rejected = what.batch.chosen.to(numbers.device), what.batch.rejected.to(numbers.device)
    return PairValues(numbers[chosen], numbers[rejected])


def _listed(what: Knowledge, numbers: Sequence[float]) -> Tensor:
    return what.like.new_tensor(numbers, dtype=torch.float32)


# --- what the data say ------------------------------------------------------------------------------------


def _preference(what: Knowledge) -> Tensor:
    """How sure it is that the chosen side is the better one."""
    return torch.maximum(what.batch.preference, 1 - what.batch.preference).to(what.like.device)


def _strength(what: Knowledge) -> Tensor | None:
    found = [_told(row).strength for row in what.batch.rows]
    return None if all(one is None for one in found) else _listed(what, [one or 0.0 for one in found])


def _scores(what: Knowledge) -> PairValues:
    nothing = (float("nan"), float("nan"))
    found = [_told(row).scores or nothing for row in what.batch.rows]
    return _sides(what, _listed(what, [score for both in found for score in both]))


_UNTOLD = Preference()


def _told(row: Prepared) -> Preference:
    """What is known of a pair beside which reply is better."""
    found = known(row, Preference, SegmentPreference)
    return found if isinstance(found, Preference) else _UNTOLD


def _shown(what: Knowledge) -> Tensor:
    """[B, K] Which reply is the demonstration: the one whose place stands in the column `shown`."""
    places = [_column(row, "shown", 1)[0] for row in what.batch.rows]
    table, _ = what.batch.table
    flags = torch.arange(table.shape[1]) == torch.tensor(places)[:, None]
    return flags.to(what.like.device)


def _sided(name: str) -> Callable[[Knowledge], PairValues]:
    return lambda what: _sides(what, _per_reply(what, name))


def _per_reply(what: Knowledge, name: str) -> Tensor:
    rows = what.batch.rows
    return _listed(what, [one for row in rows for one in _column(row, name, len(row.rendered.replies))])


def _column(row: Prepared, name: str, count: int) -> list[float]:
    """Numbers of a column of the data, as many as there must be."""
    found: Any = row.meta.get(name)
    numbers: list[Any] = list(found) if isinstance(found, list | tuple) else [found]
    if len(numbers) != count or not all(isinstance(one, int | float) for one in numbers):
        wrong = f"the column {name!r} of {row.origin or f'row {row.number}'} is not what the objective needs"
        accepted = f"{count} numbers, one for each reply" if count > 1 else "a number"
        do = "give the column in every row, or use another method"
        said = Said("no such column") if found is None else found
        raise InputError(explain(wrong, found=said, accepted=accepted, do=do))
    return [float(one) for one in numbers]


_KNOWN: Mapping[str, Callable[[Knowledge], Any]] = {
    "desirable": lambda what: desirable(what.batch).to(what.like.device),
    "log_target": lambda what: _per_reply(what, "log_target"),
    "margins": _sided("margins"),
    "old": lambda what: _per_reply(what, "old"),
    "preference": _preference,
    "psi": _sided("psi"),
    "scores": _scores,
    "shown": _shown,
    "strength": _strength,
    "utility": lambda what: what.batch.worth.to(what.like.device),
}
