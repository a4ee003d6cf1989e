"""Our half of a benchmark of training: the loop of this package on given rows."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch.nn.functional import logsigmoid
from transformers import AutoModelForCausalLM

from benchmarks.train_work import Ran, Row, Work
from concord import wire
from concord.data import Prepared
from concord.data.shards import Facts
from concord.engine import Reference, start
from concord.engine.heads import RewardHead
from concord.engine.precision import bfloat16
from concord.objectives import bradley_terry, dpo, kto, sft
from concord.objectives.contract import describe
from concord.render.records import Leaf, Rendered
from concord.store import Store
from concord.tensors import PerPair, ReferencedRanked
from concord.train import Batch, Loop, Optimizing, Policy, Stepped, Task, Term, adamw, fit
from concord.train.forecasting.memory import BUDGETS
from concord.train.loop.source import longest_of
from concord.train.models.references import primed
from concord.types import Label, Preference, Ranks, Shown

__all__ = ["run_ours"]


def neighbours(ranked: ReferencedRanked, *, beta: float = 0.1) -> PerPair:
    """DPO on a ranking taken as pairs of neighbours, each reply once: what TRL can be given.

    loss = mean over k of -log sigmoid(beta (rho_2k - rho_2k+1))

    paper: Rafailov et al. 2023, arXiv 2305.18290, Eq. 7
    beta: weight of the KL to the reference
    """
    return -logsigmoid(beta * (ranked.ratio[:, ::2] - ranked.ratio[:, 1::2])).mean(-1)


def all_pairs(ranked: ReferencedRanked, *, beta: float = 0.1) -> PerPair:
    """DPO on all pairs of a ranking: what TRL can be given.

    loss = mean over i before j of -log sigmoid(beta (rho_i - rho_j))

    paper: Rafailov et al. 2023, arXiv 2305.18290, Eq. 7
    beta: weight of the KL to the reference
    """
    first, second = torch.triu_indices(ranked.ratio.shape[1], ranked.ratio.shape[1], 1)
    return -logsigmoid(beta * (ranked.ratio[:, first] - ranked.ratio[:, second])).mean(-1)


_OBJECTIVES: dict[str, Any] = {
    "pairs": dpo,
    "rankings": neighbours,
    "rankings-all": all_pairs,
    "judged": kto,
    "demonstrations": sft,
    "rewards": bradley_terry,
}


def run_ours(work: Work, steps: Sequence[Sequence[Row]], model: Path, folder: Path) -> Ran:
    """Train on these steps, and say what each took and what its loss was."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    loaded.to(device)
    batches = [_batch(work, step) for step in steps]
    engine = start(loaded, longest=max(map(longest_of, batches)), tokens=2 * BUDGETS[device]).engine
    if work.kind == "rewards":
        head = RewardHead(work.model["hidden_size"])
        head.load(model / "model.safetensors")
        engine.heads["reward"] = head.to(device)
    policy = Policy(engine, precision=partial(bfloat16, loaded) if work.precision == "bf16" else nullcontext)
    begun = perf_counter()
    objective, values = _OBJECTIVES[work.kind], None
    if "reference" in describe(objective).needs:
        reference = Reference(engine, Store(folder / "store"))
        values = primed(reference, batches, policy.precision, ranks=policy.ranks)
    before = perf_counter() - begun
    how = Optimizing(learning_rate=work.learning_rate)
    optimizer = adamw(engine, how)
    watch = _Watch()
    term = Term(Task(objective, reference=values), _Given(batches))
    loop = Loop(policy, [term], optimizer, how, steps=len(batches), budget=BUDGETS[device])
    fit(loop, [watch])
    return Ran(watch.losses, watch.seconds, before, rows=sum(map(len, steps)))


@dataclass
class _Given:
    """The rows of each step, as they were given."""

    batches: Sequence[Batch]

    def batch(self, step: int) -> Batch:
        return self.batches[step]


@dataclass
class _Watch:
    """Takes down losses, and the time between the ends of steps."""

    losses: list[float] = field(default_factory=list[float])
    seconds: list[float] = field(default_factory=list[float])
    last: float = 0.0

    def begin(self, loop: Loop) -> None:
        self.last = perf_counter()

    def after(self, loop: Loop, done: Stepped) -> None:
        ended = perf_counter()
        self.losses.append(done.loss)
        self.seconds.append(ended - self.last)
        self.last = ended

    def end(self, loop: Loop) -> None:
        pass


def _batch(work: Work, step: Sequence[Row]) -> Batch:
    rows = [_prepared(work, row) for row in step]
    if work.kind != "judged":
        return Batch.of_step(rows)
    # Each reply behind the prompt of the next row of its step: so TRL pairs them.
    beside = [_prepared(work, Row(row.prompt, step[number - 1].replies)) for number, row in enumerate(step)]
    return Batch.of_step(rows, {"mismatched": beside})


def _prepared(work: Work, row: Row) -> Prepared:
    prompt = np.array(row.prompt, np.int32)
    leaves = tuple((_leaf(row.prompt, reply),) for reply in row.replies)
    return Prepared(0, Rendered(prompt, leaves), wire.dumps(Facts(_utilities(work, row))).encode())


def _leaf(prompt: Sequence[int], reply: Sequence[int]) -> Leaf:
    span = [len(prompt), len(prompt) + len(reply)]
    return Leaf(np.array([*prompt, *reply], np.int32), np.array([span], np.int32))


def _utilities(work: Work, row: Row) -> Any:
    match work.kind:
        case "demonstrations":
            return Shown()
        case "judged":
            return Label(row.desirable)
        case "rankings" | "rankings-all":
            return Ranks(tuple(range(1, len(row.replies) + 1)))
        case _:
            return Preference(1.0)
