"""Before the first step: what is trained, in micro-batches of which size, and what it will take."""

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from concord.data.shards import Lengths
from concord.engine import adapted
from concord.engine.guards import objections
from concord.errors import CapabilityError
from concord.recipes import Recipe
from concord.train.batch import Batch
from concord.train.fit import Loop, Term, is_memory
from concord.train.forecast import (
    Choice,
    Costs,
    Memory,
    Schedule,
    Seconds,
    Spread,
    Work,
    available,
    choose,
    time_for,
    work_of,
)
from concord.train.models import lora_of
from concord.train.ranks import Ranks
from concord.train.rehearsal import Precision, Way, skeleton
from concord.train.source import plan_of, row_tokens
from concord.train.step import gradient

__all__ = ["Plan", "Where", "planned", "probe"]

_PROBED = 4  # micro-batches that are timed


@dataclass(frozen=True)
class Plan:
    """What is trained, how much goes through the model at a time, and what that will take."""

    train: Literal["full", "lora"]
    budget: int
    work: Work
    memory: Memory
    lines: tuple[str, ...]


def planned(
    recipe: Recipe, path: str, lengths: Lengths, *, schedule: Schedule, where: "Where", least: int
) -> Plan:
    """Decide between all weights and an adapter by predicted memory, and on the size of micro-batches.

    `schedule` is taken for its steps; `least` is the largest row with its companions.
    """
    config = _config(path, recipe)
    layout = _layout(config, recipe, int(lengths.longest.max()))
    way = Way(layout, where.precision, recipe.gradient_checkpointing, recipe.quant)
    wanted = ("full", "lora") if recipe.train == "auto" else (recipe.train,)
    spread = Spread(where.device.type, where.ranks.count, where.sharded, where.others)
    ways = _Lazily({name: _costs(config, recipe, name, lengths, way) for name in wanted})
    found = _asked(recipe, ways, wanted, spread, least) or choose(
        ways, available(where.device), least=least, spread=spread
    )
    steps = Schedule(
        steps=schedule.steps,
        batch_size=schedule.batch_size,
        budget=found.budget,
        positions=schedule.positions,
        layout=layout,
        ranks=where.ranks.count,
        seed=schedule.seed,
    )
    work = work_of(lengths, steps)
    train: Literal["full", "lora"] = "lora" if found.name == "lora" else "full"
    return Plan(train, found.budget, work, found.memory, (*found.lines, *work.lines))


@dataclass(frozen=True)
class Where:
    """Where a training runs, and in which precision."""

    device: torch.device
    ranks: Ranks
    precision: Precision
    sharded: bool
    others: Mapping[str, int]
    """Bytes of other models that stay."""


class _Lazily(Mapping[str, Costs]):
    """Ways whose costs are reckoned when they are asked for: where the first fits no other is."""

    def __init__(self, made: Mapping[str, Callable[[], Costs]]) -> None:
        self._made = made
        self._known: dict[str, Costs] = {}

    def __getitem__(self, name: str) -> Costs:
        if name not in self._known:
            self._known[name] = self._made[name]()
        return self._known[name]

    def __iter__(self) -> Any:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


def _asked(
    recipe: Recipe, ways: Mapping[str, Costs], wanted: tuple[str, ...], spread: Spread, least: int
) -> Choice | None:
    """Micro-batches of the size that is asked for, if one is."""
    if not recipe.micro_tokens:
        return None
    budget = max(recipe.micro_tokens, 1)
    name = wanted[0]
    if len(wanted) > 1:
        try:
            name = choose(ways, available(spread.device), least=least, spread=spread).name
        except CapabilityError:
            name = wanted[-1]
    memory = ways[name].memory(max(budget, least), spread)
    said = f"{name}: micro-batches of up to {budget:,} tokens, as asked for"
    return Choice(name, budget, memory, (said, *memory.lines))


def _costs(config: Any, recipe: Recipe, name: str, lengths: Lengths, way: Way) -> Callable[[], Costs]:
    lora = lora_of(recipe) if name == "lora" else None
    # Frozen weights stay as they are stored, where products are bfloat16; all else is taken up to float32.
    low = lora is not None and way.precision != "fp32"
    return lambda: Costs.of(skeleton(config, lora=lora, dtype=None if low else torch.float32), lengths, way)


def _config(path: str, recipe: Recipe) -> Any:
    """The configuration of a model; of an adapter, of the model it is for."""
    home = adapted(path, offline=recipe.offline) or path
    here = recipe.offline or Path(home).is_dir()
    return AutoConfig.from_pretrained(home, local_files_only=here, trust_remote_code=recipe.trust_remote_code)


def _layout(config: Any, recipe: Recipe, longest: int) -> Any:
    """Which layout the model will have, as far as can be told without a trial."""
    if recipe.layout != "auto":
        return recipe.layout
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            copy.deepcopy(config), trust_remote_code=recipe.trust_remote_code
        )
        return "rows" if list(objections(model, longest=longest)) else "forest"


def probe(loop: Loop, plan: Plan) -> Seconds | None:
    """Time some micro-batches of the first step, and say how long all steps will take. Nothing is changed.

    How many tokens a row costs is measured too: companions, second passes, further terms are in no plan.
    """
    timed: list[tuple[int, float]] = []
    computed = counted = 0.0
    for number, term in enumerate(loop.terms):
        batch = term.source.batch(loop.step)
        seen: list[tuple[int, int]] = []
        for rows in _parts(loop, batch):
            begun = time.perf_counter()
            tokens = _tried(loop, term, rows)
            timed.append((tokens, time.perf_counter() - begun))
            seen.append((tokens, len(rows)))
        computed += sum(tokens for tokens, _ in seen) * len(batch) / max(1, sum(rows for _, rows in seen))
        counted += 0 if number else sum(row_tokens(row.rendered) for row in batch.rows)
    loop.optimizer.zero_grad(set_to_none=True)
    # The first pass pays for what is set up once.
    timed = timed[1:] if len(timed) > 2 else timed
    return time_for(timed, round(plan.work.tokens * computed / max(1.0, counted))) if timed else None


def _parts(loop: Loop, batch: Batch) -> list[Batch]:
    """Some of the micro-batches of a step."""
    split = plan_of(batch, loop.policy.engine.layout, budget=loop.budget)
    return [batch.part(places) for places in split.parts[0][:_PROBED]]


def _tried(loop: Loop, term: Term, rows: Batch) -> int:
    """Tokens of one micro-batch, forward and backward; in smaller ones where it does not fit."""
    while True:
        try:
            split = plan_of(rows, loop.policy.engine.layout, budget=loop.budget)
            return gradient(loop.policy, term.task, rows, split, state=term.state).tokens
        except (RuntimeError, MemoryError) as error:
            if not is_memory(error):
                raise
            said = (str(error).splitlines() or [""])[0]
        loop.optimizer.zero_grad(set_to_none=True)
        loop.shrink([rows], said)
