"""What a training has cost, in what does not hang on the machine: labels, operations, models in memory.

    ledger_of(loop, model, loaded, others)    as it is kept beside the model, in `ledger.json`

Operations go by the usual rule, which leaves attention out: each token takes 2 for each weight on the way
there, 2 on the way back, and 2 more for each weight that is trained; 2 where it is only read. Evaluations,
samples and trials are left out. What a reference has said before is counted as if it were said now.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from concord.train.loop import Loop
from concord.train.rows import Loaded
from concord.types import Ledger

__all__ = ["LEDGER", "Beside", "ledger_of", "weights_of"]

LEDGER = "ledger.json"
"""The file of a finished run that says what it took."""


@dataclass(frozen=True)
class Beside:
    """A model that is asked beside the one that is trained: its weights, and how many tokens it reads.

    None stands for all that the trained one reads. `apart`: whether it takes memory of its own.
    """

    weights: int
    tokens: int | None = None
    apart: bool = True


def weights_of(model: Any) -> int:
    """How many weights a model has; packed ones are counted as what they stand for."""
    return int(model.num_parameters())


def ledger_of(loop: Loop, model: Any, loaded: Iterable[Loaded], others: Sequence[Beside]) -> Ledger:
    """What a loop has cost, with what was asked of other models beside it."""
    trained = sum(weight.numel() for weight in loop.weights.values())
    flops = (4.0 * weights_of(model) + 2.0 * trained) * loop.tokens
    flops += sum(2.0 * one.weights * (loop.tokens if one.tokens is None else one.tokens) for one in others)
    sides: list[Any] = [one.counts["train"] for one in loaded]
    return Ledger(
        labels=sum(side["judgements"] for side in sides),
        flops=flops,
        models_loaded=1 + sum(one.apart for one in others),
    )
