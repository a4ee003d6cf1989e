"""Who the policy is compared with: a reference whose values are computed once, before the first step."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from concord.data import Prepared
from concord.engine import Line, Reference, check_initial
from concord.engine.logprobs import LogProbs
from concord.errors import InputError, Said, explain
from concord.messages import is_number
from concord.store import Store
from concord.tensors import PerToken, ReferencedPairs, ReferencedRanked, ReferencedReplies
from concord.train.loop import Batch, owners, plan_of
from concord.train.models.adapters import adds_nothing
from concord.train.models.loading import Trainee
from concord.train.ranks import Ranks
from concord.types import RESERVED_META

__all__ = ["Columns", "Told", "brought", "check", "check_columns", "fitting", "initial", "primed"]

_LOOKED_AT = 4  # rows on which policy and reference are compared at step 0

Told: TypeAlias = Callable[[int, int], None]
"""Told how many of the batches are done, of how many."""


def initial(trainee: Trainee, store: Store) -> tuple[Reference, str]:
    """The reference that is the policy before its first step, and which weights that is, in words."""
    if trainee.adapted and adds_nothing(trainee.model):
        return Reference(trainee.engine, store, adapter=False), "the model below the fresh adapter"
    what = "the model with the adapter it came with" if trainee.adapted else "the model before its first step"
    return Reference(trainee.engine, store), what


def primed(
    reference: Reference,
    batches: Iterable[Batch],
    precision: Callable[[], AbstractContextManager[Any]],
    *,
    ranks: Ranks,
    told: Told | None = None,
) -> Callable[[Sequence[Line]], PerToken]:
    """Have all values computed that will be needed, each rank its share, and return who reads them."""
    parts = list(batches)
    with precision():
        for number, batch in enumerate(parts[ranks.rank :: ranks.count]):
            reference.logps(batch.lines())
            if told is not None:
                told(min(len(parts), number * ranks.count + 1), len(parts))
        ranks.barrier()
        if ranks.count > 1:
            # Where ranks share no disk each has its own store, and computes what others did.
            for batch in parts:
                reference.logps(batch.lines())
        return reference.kept().logps


def fitting(batch: Batch, engine: LogProbs) -> Batch:
    """The first rows of some, a few at most: as many as may go through an engine at once, one at least."""
    most = engine.limits.tokens
    for count in range(min(_LOOKED_AT, len(batch)), 1, -1):
        part = batch.part(range(count))
        if not most or plan_of(part, engine.layout, budget=most).passes == 1:
            return part
    return batch.part([0])


def check(policy: LogProbs, batch: Batch, values: Callable[[Sequence[Line]], PerToken]) -> Iterator[str]:
    """Say how far policy and reference are apart where they must be one; refuse where they are not."""
    lines = fitting(batch, policy).lines()
    apart, floor = check_initial(policy, lines, values(lines))
    yield f"reference: equal to the policy at step 0 ({apart.line}; noise floor {floor.line})"


# --- what the data say of a reference ---------------------------------------------------------------------


def brought(row: Prepared) -> list[str]:
    """The columns of a row that say what a reference makes of its replies."""
    return [name for name in RESERVED_META if name in row.meta]


def check_columns(record: Any, companions: Sequence[str], cut: int) -> None:
    """Refuse columns where sums of whole replies are not what is asked for, or belong to other replies."""
    if record not in (ReferencedReplies, ReferencedPairs, ReferencedRanked):
        wrong, found = "columns hold sums over replies, and these are not enough for this method", "tokens"
    elif companions:
        wrong, found = "the data say nothing of the replies that this method adds to each row", companions[0]
    elif cut:
        wrong, found = "values of whole replies do not fit replies that were cut", f"{cut:,} rows cut"
    else:
        return
    do = "leave reference out, so that a model is asked; or, of rows that were cut, set on_long: drop"
    accepted = "a method over whole replies, on rows as they came"
    raise InputError(explain(wrong, found=Said(found), accepted=accepted, do=do))


@dataclass(frozen=True)
class Columns:
    """A reference of which the data bring the sum over each reply, in the columns that people have for it.

    The sum stands at one token of its reply, the first of its last sequence, among zeros, and so adds up.
    """

    sums: Mapping[bytes, float]

    @classmethod
    def read(cls, batches: Iterable[Batch]) -> "Columns":
        """Take the sums of all rows that there will be."""
        sums: dict[bytes, float] = {}
        for batch in batches:
            for row in batch.rows:
                for leaves, value in zip(row.rendered.replies, _told(row), strict=True):
                    last = max((place for place, leaf in enumerate(leaves) if len(leaf.spans)), default=0)
                    for place, leaf in enumerate(leaves):
                        own = value if place == last else 0.0
                        known = sums.setdefault(_key(leaf), own)
                        if not math.isclose(known, own, rel_tol=0.01, abs_tol=0.1):
                            found = f"{own:g}, and {known:g} before"
                            raise _wrong(row, found, "a reply has two values")
        return cls(sums)

    def logps(self, lines: Sequence[Line]) -> PerToken:
        """The value of each target."""
        flat: list[float] = []
        for line in lines:
            count = int((line.spans[:, 1] - line.spans[:, 0]).sum())
            flat += [self.sums[_key(line)], *[0.0] * (count - 1)] if count else []
        return torch.tensor(flat, dtype=torch.float32)

    def compared(self, policy: LogProbs, batch: Batch) -> str:
        """How far the policy before its first step is from these values, on some rows."""
        part = fitting(batch, policy)
        lines, owner = part.lines(), owners(part.lengths)

        def sums(flat: Tensor) -> Tensor:
            return torch.zeros(part.replies).index_add(0, owner, flat.float().cpu())

        with torch.no_grad():
            apart = sums(policy(layout=policy.lay(lines)).logps) - sums(self.logps(lines))
        a_token = float((apart / part.lengths.clamp(min=1)).abs().mean())
        return (
            f"reference: columns of the data; the policy is apart from them at step 0 by up to "
            f"{float(apart.abs().max()):.2f} nats a reply, {a_token:.3f} a token in the mean, over "
            f"{part.replies} replies (near 0 if they were computed with this model and template)"
        )


def _told(row: Prepared) -> list[float]:
    """One number for each reply."""
    meta: Mapping[str, Any] = row.meta
    values: Any = meta.get("ref_logps")
    if {"ref_chosen_logps", "ref_rejected_logps"} <= meta.keys():
        values = [meta["ref_chosen_logps"], meta["ref_rejected_logps"]]
    count = len(row.rendered.replies)
    if not isinstance(values, list | tuple) or len(values) != count:
        found = str(values) if brought(row) else "none"
        raise _wrong(row, found, "the columns of a row do not fit its replies")
    if not all(is_number(one) and one <= 0 for one in values):
        raise _wrong(row, str(values), "what stands in the columns is no log-probability of a reply")
    return [float(one) for one in values]


def _wrong(row: Prepared, found: str, wrong: str) -> InputError:
    wrong = f"{row.origin or f'row {row.number}'}: {wrong}, and reference: columns takes them from there"
    accepted = "ref_chosen_logps and ref_rejected_logps, or ref_logps: a number up to 0 for each reply"
    do = "correct the columns of all rows, or leave reference out, so that a model is asked"
    return InputError(explain(wrong, found=Said(found), accepted=accepted, do=do))


def _key(line: Any) -> bytes:
    """A digest of the tokens of a line and of those that are learned from."""
    ids, spans = np.ascontiguousarray(line.ids, "<i8"), np.ascontiguousarray(line.spans, "<i8")
    return hashlib.blake2b(ids.tobytes() + b"|" + spans.tobytes(), digest_size=16).digest()
