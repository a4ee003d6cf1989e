"""Who the policy is compared with: a reference whose values are computed once, before the first step."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import numpy as np
import torch

from concord.data import Prepared
from concord.engine import Line, Reference, check_initial
from concord.engine.logprobs import LogProbs
from concord.errors import InputError, Said, explain
from concord.store import Store
from concord.tensors import PerToken
from concord.train.adapters import adds_nothing
from concord.train.batch import Batch
from concord.train.models import Trainee
from concord.train.ranks import Ranks

__all__ = ["Told", "check", "initial", "primed", "told_values"]

_CHUNK = 64  # rows whose values are asked for at a time

Told: TypeAlias = Callable[[int, int], None]
"""Told how many rows are done, of how many."""


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


def check(policy: LogProbs, batch: Batch, values: Callable[[Sequence[Line]], PerToken]) -> Iterator[str]:
    """Say how far policy and reference are apart where they must be one; refuse where they are not."""
    lines = batch.lines()
    apart, floor = check_initial(policy, lines, values(lines))
    yield f"reference: equal to the policy at step 0 ({apart.line}; noise floor {floor.line})"


def told_values(batches: Iterable[Batch]) -> Callable[[Sequence[Line]], PerToken] | None:
    """The reference's values as the data bring them, in the columns that people have for them; else None.

    Sums of whole replies are all that there is: each stands at the first token of its reply, with zeros
    behind it, and adds up.
    """
    sums: dict[bytes, float] = {}
    missing = 0
    for batch in batches:
        for row in batch.rows:
            told = _sums(row)
            if told is None:
                missing += 1
                continue
            for leaves, value in zip(row.rendered.replies, told, strict=True):
                for place, leaf in enumerate(leaves):
                    sums[_line_key(leaf)] = value if place == 0 else 0.0
    if missing and sums:
        wrong = "some rows bring what the reference says of their replies, and others do not"
        found, accepted = Said(f"{missing} rows without"), "all rows, or none"
        raise InputError(explain(wrong, found=found, accepted=accepted, do="fill the columns, or drop them"))
    if not sums:
        return None

    def values(lines: Sequence[Line]) -> PerToken:
        flat: list[float] = []
        for line in lines:
            count = int((line.spans[:, 1] - line.spans[:, 0]).sum())
            flat += [sums[_line_key(line)], *[0.0] * (count - 1)] if count else []
        return torch.tensor(flat, dtype=torch.float32)

    return values


def _line_key(line: Any) -> bytes:
    return np.ascontiguousarray(line.ids, "<i8").tobytes() + np.ascontiguousarray(line.spans, "<i8").tobytes()


def _sums(row: Prepared) -> list[float] | None:
    """One number for each reply, where the row brings them."""
    meta = row.meta
    if {"ref_chosen_logps", "ref_rejected_logps"} <= meta.keys():
        return [float(meta["ref_chosen_logps"]), float(meta["ref_rejected_logps"])]  # type: ignore[arg-type]
    return [float(one) for one in meta["ref_logps"]] if "ref_logps" in meta else None  # type: ignore[union-attr]
