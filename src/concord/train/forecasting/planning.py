"""Before the first step: what is trained, in micro-batches of which size, and what it will take."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from concord.data.shards import Lengths
from concord.engine import adapted
from concord.engine.guards import objections
from concord.engine.loading import explained
from concord.engine.logprobs import Kind
from concord.errors import CapabilityError
from concord.recipes import Recipe
from concord.train.forecasting.memory import Chosen, Costs, Memory, Spread, available, choose
from concord.train.forecasting.rehearsal import Way, skeleton
from concord.train.forecasting.work import Seconds, Stretch, Work, time_for, work_of
from concord.train.loop import UNTRAINED, Batch, Loop, Term, gradient, is_memory, plan_of
from concord.train.models import Precision, Sizes, lora_of
from concord.train.ranks import Ranks

__all__ = ["Decision", "Where", "all_work", "config_of", "decided", "layout_of", "probe"]

_PROBED = 4  # micro-batches that are timed
_LAID = 8  # steps that are laid out to see what companions, second passes and further terms add


@dataclass(frozen=True)
class Decision:
    """What is trained, how much goes through the model at a time, and what that will take."""

    train: Literal["full", "lora"]
    stretch: Stretch
    """The steps, with the size of their micro-batches."""
    sizes: Sizes
    """What a forward pass must take: the longest sequence, and the largest row with its companions."""
    work: Work
    memory: Memory
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Where:
    """Where a training runs, and in which precision."""

    device: torch.device
    ranks: Ranks
    precision: Precision
    sharded: bool
    others: Mapping[str, int]
    """Bytes of other models that stay."""


def decided(
    recipe: Recipe,
    path: str,
    lengths: Lengths,
    *,
    steps: int,
    positions: int,
    where: Where,
    layout: Kind,
    sizes: Sizes,
) -> Decision:
    """Decide between all weights and an adapter by predicted memory, and on the size of micro-batches.

    `positions` is how many rows the steps take in all, 0 where all steps are full. Of ranks with different
    memories the first decides, or they would not do the same.
    """
    config, least = config_of(path, recipe), sizes.tokens
    way = Way(layout, where.precision, recipe.gradient_checkpointing, recipe.quant)
    wanted = ("full", "lora") if recipe.train == "auto" else (recipe.train,)
    spread = Spread(where.device.type, where.ranks.count, where.sharded, where.others)
    ways = _Lazily({name: _costs(config, recipe, name, lengths, way) for name in wanted})
    found = _asked(recipe, ways, wanted, spread, least) or choose(
        ways, available(where.device), least=least, spread=spread
    )
    name, budget = where.ranks.told((found.name, found.budget))
    stretch = Stretch(
        steps=steps,
        batch_size=recipe.batch_size,
        budget=budget,
        positions=positions,
        layout=layout,
        ranks=where.ranks.count,
        seed=recipe.seed,
    )
    work = work_of(lengths, stretch)
    return Decision(name, stretch, sizes, work, found.memory, (*found.lines, *work.lines))


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
) -> Chosen | None:
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
    return Chosen(name, budget, memory, (said, *memory.lines))


def _costs(config: Any, recipe: Recipe, name: str, lengths: Lengths, way: Way) -> Callable[[], Costs]:
    lora = lora_of(recipe) if name == "lora" else None
    # Frozen weights stay as they are stored, where products are bfloat16; all else is taken up to float32.
    dtype = None if lora is not None and way.precision == "bf16" else torch.float32
    if way.precision == "pure-bf16":
        dtype = torch.bfloat16
    return lambda: Costs.of(skeleton(config, lora=lora, dtype=dtype), lengths, way)


def config_of(path: str, recipe: Recipe) -> Any:
    """The configuration of a model; of an adapter, of the model it is for."""
    home = adapted(path, offline=recipe.offline) or path
    here, code = recipe.offline or Path(home).is_dir(), recipe.trust_remote_code
    with explained("the configuration of a model could not be read", home):
        return AutoConfig.from_pretrained(home, local_files_only=here, trust_remote_code=code)


def layout_of(recipe: Recipe, path: str, longest: int) -> Kind:
    """Which layout a model will have, as far as can be told without a trial."""
    if recipe.layout != "auto":
        return recipe.layout
    config = config_of(path, recipe)
    with torch.device("meta"), explained("no causal language model can be made of its configuration", path):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=recipe.trust_remote_code)
    return "rows" if list(objections(model, longest=longest)) else "forest"


def all_work(work: Work, lengths: Lengths, stretch: Stretch, loop: Loop) -> Work:
    """The work with all that goes through the policy: companions, second passes, further terms.

    What they add is reckoned from the first steps, laid out as the loop will lay them out.
    """
    few = min(_LAID, stretch.steps)
    bound = min(stretch.positions, few * stretch.batch_size)
    known = work_of(lengths, replace(stretch, steps=few, positions=bound)).tokens
    laid = sum(_laid(loop, term, step) for term in loop.terms for step in range(few))
    return replace(work, tokens=round(work.tokens * laid / max(1, known)))


def _laid(loop: Loop, term: Term, step: int) -> int:
    """Tokens that one step of a term puts through the policy, on all ranks."""
    engine, task, batch = loop.policy.engine, term.task, term.source.batch(step)
    split = plan_of(batch, engine.layout, budget=loop.budget, ranks=loop.policy.ranks.count)
    tokens = 0
    for part in (batch.part(places) for rank in split.parts for places in rank if places):
        passes = [part]
        if task.coupled:
            trained = [name for name in part.companions if name not in UNTRAINED]
            passes.append(part.with_companions(trained))
        tokens += sum(engine.lay(one.lines(task.shape.marks)).tokens for one in passes)
    return tokens


def probe(loop: Loop, work: Work) -> Seconds | None:
    """Time some micro-batches of the first step, and say how long all this work will take.

    Nothing is changed: where a micro-batch does not fit, the first step will find that out once more.
    """
    timed: list[tuple[int, float]] = []
    budget, said = loop.budget, list(loop.said)
    for term in loop.terms:
        for rows in _parts(loop, term.source.batch(loop.step)):
            begun = _clock(loop)
            tokens = _tried(loop, term, rows)
            timed.append((tokens, _clock(loop) - begun))
    loop.budget, loop.said[:] = budget, said
    loop.optimizer.zero_grad(set_to_none=True)
    # The first pass pays for what is set up once.
    timed = timed[1:] if len(timed) > 2 else timed
    return time_for(timed, work.tokens) if timed else None


def _clock(loop: Loop) -> float:
    """The time, when all that a device was given to do is done."""
    if loop.policy.device.type == "cuda":
        torch.cuda.synchronize(loop.policy.device)
    return time.perf_counter()


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
        loop.shrink([rows], said, loop.step)
