"""What a training holds in memory at its fullest moment, and the largest micro-batches that fit.

    costs = Costs.of(build, shards.lengths, way)               what stays, and what grows with a micro-batch
    choose({"full": costs, ...}, available("cpu"), least=900)  what fits, and in which micro-batches
    costs.memory(work.largest).lines                           the sum, term by term

Memory is a sum of things that can be named. Weights, gradients and moments are arithmetic; what a micro-batch
holds is rehearsed (`rehearsal`) on rows of the data's own lengths, once and three times as large, and a line
is drawn through both. The size of micro-batches follows from the class of memory a device has, never from
what is free at the moment: the same step gives the same bits tomorrow.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from concord.data.shards import Lengths
from concord.engine import Line
from concord.engine.head import CPU_TILE, DEVICE_TILE
from concord.errors import NOTHING, CapabilityError, InputError, Said, explain
from concord.train.forecasting.rehearsal import Rehearsed, Way, rehearse

__all__ = [
    "BUDGETS",
    "HOLES",
    "LEAST_BUDGET",
    "PROCESS",
    "SHARE",
    "SLACK",
    "Available",
    "Chosen",
    "Costs",
    "Memory",
    "Part",
    "Spread",
    "available",
    "choose",
    "memory_class",
]

PROCESS = {"cpu": 430 << 20, "cuda": 900 << 20}
"""What is held before any weight: Python and the libraries, as measured; on a GPU its context and handles."""

SLACK = {"cpu": 0.4, "cuda": 0.15}
"""The share of what lives a short while that an allocator takes beside it. On a processor it gives little
back: freed blocks between others stay. Measured by `benchmarks/forecast.py`."""

HOLES = {"cpu": 150 << 20, "cuda": 0}
"""What such holes come to beyond that, at most: blocks of all sizes leave them, of small models fewer."""

SHARE = 0.85
"""Of a device's class of memory, what a training may be planned to take."""

BUDGETS = {"cpu": 1024, "cuda": 16_384}
"""Tokens of a micro-batch, at most: more makes products no faster, and takes memory."""

LEAST_BUDGET = 512
"""Tokens of a micro-batch below which a smaller way of training is taken: products become slow."""

_STEP = 256  # budgets are multiples of it, so that small differences of libraries do not move them
_HEAVY = 0.9  # the row that is rehearsed: longer than this share of all


@dataclass(frozen=True)
class Part:
    """A term of a sum: its name, its bytes, and how they were reckoned."""

    name: str
    bytes: int
    how: str
    seen: bool = True
    """Whether a run that measures its memory sees it: of a GPU only what tensors take is counted."""


@dataclass(frozen=True)
class Memory:
    """What is held at the fullest moment, as a sum."""

    parts: tuple[Part, ...]

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(part.bytes for part in self.parts)

    @property
    def seen(self) -> int:
        """Bytes of what a run will measure of itself, to be held against them."""
        return sum(part.bytes for part in self.parts if part.seen)

    @property
    def lines(self) -> Iterator[str]:
        """The arithmetic, a line each."""
        for part in self.parts:
            yield f"{part.name:<22}{_told(part.bytes):>12}  {part.how}"
        yield f"{'memory at the peak':<22}{_told(self.total):>12}"


@dataclass(frozen=True)
class Spread:
    """Where a training runs, and what stands in memory beside it."""

    device: str = "cpu"
    """The kind of device."""
    ranks: int = 1
    sharded: bool = False
    """FSDP2, each rank a share of the weights; otherwise each has all of them."""
    others: Mapping[str, int] = field(default_factory=dict[str, int])
    """Bytes of other models that stay: a teacher, a moving reference."""


@dataclass(frozen=True)
class Costs:
    """What a way of training holds: what stays, and a line through two sizes of a micro-batch."""

    way: Way
    small: Rehearsed
    large: Rehearsed

    @classmethod
    def of(cls, build: Callable[[], nn.Module], lengths: Lengths, way: Way) -> "Costs":
        """Rehearse a long row of the data, once and three times over. `build`: as for `rehearse`."""
        row = _heavy_row(lengths)
        small, large = (rehearse(build, _lines(lengths, row, count), way) for count in (1, 3))
        return cls(way, small, large)

    def micro(self, tokens: int) -> tuple[int, int]:
        """What a micro-batch of so many tokens keeps for its backward, and what passes by in it."""
        reach = (tokens - self.small.tokens) / max(1, self.large.tokens - self.small.tokens)
        return tuple(  # pyright: ignore[reportReturnType]
            max(0, round(low + reach * (high - low)))
            for low, high in ((self.small.kept, self.large.kept), (self.small.passing, self.large.passing))
        )

    def memory(self, tokens: int, spread: Spread | None = None) -> Memory:
        """The sum for micro-batches of so many tokens."""
        spread = spread or Spread()
        return Memory((*self._staying(spread), *self._growing(tokens, spread)))

    def _staying(self, spread: Spread) -> Iterator[Part]:
        made, kind = self.small, _kind(spread.device)
        share, said = (spread.ranks, f" / {spread.ranks} ranks") if spread.sharded else (1, "")
        seen = kind == "cpu"
        what = "Python and libraries, before any weight" if seen else "context and handles of the GPU"
        yield Part("process", PROCESS[kind], what, seen)
        each = made.weights / max(1, made.parameters)
        count = f"{made.parameters:,} of {each:.3g} bytes"
        yield Part("weights", made.weights // share, f"{count}{said}")
        trained = f"{made.trained:,} trained"
        size = made.gradients / max(1, made.trained)
        yield Part("gradients", made.gradients // share, f"{trained}, of {size:.3g} bytes{said}")
        moments = 2 * made.gradients // share
        yield Part("moments of AdamW", moments, f"2 for each of {trained}, of {size:.3g} bytes{said}")
        if spread.sharded:
            yield Part("gathered weights", 2 * made.largest, "2 of the largest layer or embeddings, whole")
        elif spread.ranks > 1:
            yield Part("buckets", made.gradients, "a copy of all gradients, on its way between ranks")
        for name, size in spread.others.items():
            yield Part(name, size, "stays beside the model")

    def _growing(self, tokens: int, spread: Spread) -> Iterator[Part]:
        kind, way = _kind(spread.device), self.way
        kept, passing = self.micro(tokens)
        if kind != "cpu":
            # Rehearsed with the tile of a processor.
            passing += 4 * (DEVICE_TILE - CPU_TILE)
        each = f"about {kept // max(1, tokens):,} a token"
        spared = ", inputs of layers only" if way.checkpointing else ""
        yield Part(
            "kept for the backward", kept, f"{tokens:,} tokens, {way.layout}, {way.precision}: {each}{spared}"
        )
        what = "one layer again, " if way.checkpointing else ""
        yield Part("passing by", passing, f"{what}gradients on their way, tiles of the head")
        beside = round(SLACK[kind] * (kept + passing)) + min(HOLES[kind], 3 * (kept + passing) // 2)
        yield Part("slack", beside, "what the allocator does not use again of the two above")

    def budget(self, room: int, spread: Spread | None = None) -> int:
        """The most tokens of a micro-batch that fit into so many bytes, as a multiple of 256; 0 for none."""
        low, high = 0, BUDGETS[_kind((spread or Spread()).device)] // _STEP
        while low < high:
            middle = (low + high + 1) // 2
            fits = self.memory(middle * _STEP, spread).total <= room
            low, high = (middle, high) if fits else (low, middle - 1)
        return low * _STEP


def _kind(device: str) -> str:
    return "cpu" if device.partition(":")[0] in ("cpu", "mps") else "cuda"


def _heavy_row(lengths: Lengths) -> int:
    if not len(lengths.tokens):
        wrong, do = "there is nothing to forecast from", "give some rows"
        raise InputError(explain(wrong, found=NOTHING, accepted="lengths of one row or more", do=do))
    order = np.argsort(lengths.tokens, kind="stable")
    return int(order[int(_HEAVY * (len(order) - 1))])


def _lines(lengths: Lengths, row: int, count: int) -> list[Line]:
    """A row's leaves, several times over: tokens of the same lengths, shared in the same places."""
    leaves = np.flatnonzero(lengths.row == row)
    prompt, made = int(lengths.prompt[row]), list[Line]()
    for copy in range(count):
        for leaf in leaves:
            size, learned = int(lengths.length[leaf]), int(lengths.learned[leaf])
            ids = np.full(size, count + len(made))
            ids[:prompt] = copy
            made.append(Line(ids, np.array([[max(1, size - learned), size]]), len(made)))
    return made


def _told(size: float) -> str:
    return f"{size / (1 << 20):,.0f} MiB" if size < 10 << 30 else f"{size / (1 << 30):,.1f} GiB"


# --- what a device has ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Available:
    """The memory of a device: what it has, what is free now, and where that is written."""

    device: str
    total: int
    free: int
    how: str

    @property
    def lines(self) -> Iterator[str]:
        """What a person should know."""
        yield f"memory of {self.device}: {_told(self.total)} ({self.how}), {_told(self.free)} free"


def available(device: str | torch.device = "cpu", *, root: Path = Path("/")) -> Available:
    """What a device has. Of a processor's memory a container may give less than the machine has."""
    where = torch.device(device)
    if where.type == "cuda":
        free, total = torch.cuda.mem_get_info(where)
        return Available(str(where), total, free, "as the device says")
    total, free, how = *_machine(root), "the machine"
    for limit, used, path in _limits(root):
        if limit < total:
            total, how = limit, str(path)
        free = min(free, max(0, limit - used))
    return Available(str(where), total, min(free, total), how)


def _machine(root: Path) -> tuple[int, int]:
    try:
        said = dict(line.split(":", 1) for line in (root / "proc/meminfo").read_text().splitlines())
        return int(said["MemTotal"].split()[0]) << 10, int(said["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return total, total


def _limits(root: Path) -> Iterator[tuple[int, int, Path]]:
    """The limits that stand over this process, from its own group up: both versions of control groups."""
    try:
        groups = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in groups:
        if controllers == "":
            base, names = root / "sys/fs/cgroup", ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            base, names = root / "sys/fs/cgroup/memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        own = base / path.lstrip("/")
        for folder in (own, *own.parents):
            if not folder.is_relative_to(base):
                break
            try:
                yield (
                    int((folder / names[0]).read_text()),
                    int((folder / names[1]).read_text()),
                    folder / names[0],
                )
            except (OSError, ValueError):
                continue  # no limit of this group: the file says "max", or a container hides it


def memory_class(total: int) -> int:
    """Memory rounded down to an eighth of a power of two: what machines of one kind have in common."""
    if total < 8:
        return total
    step = 1 << (total.bit_length() - 4)
    return total // step * step


# --- what fits --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chosen:
    """The way that was chosen, the most tokens of its micro-batches, and why, in words."""

    name: str
    budget: int
    memory: Memory
    lines: tuple[str, ...]


def choose(
    ways: Mapping[str, Costs], memory: Available, *, least: int, spread: Spread | None = None
) -> Chosen:
    """Take the first of the ways that fits: `{"full": ..., "lora": ...}`.

    `least` is the largest row, which no plan can split. What fits is decided by the class of memory; that
    less is free at the moment is only said.
    """
    spread = spread or Spread(memory.device)
    rung = memory_class(memory.total)
    room, said = int(SHARE * rung), list(memory.lines)
    said.append(f"to be planned with: {_told(room)}, {SHARE:.0%} of {_told(rung)}, its class")
    needs: dict[str, int] = {}
    for name, costs in ways.items():
        needed = costs.memory(max(least, LEAST_BUDGET), spread)
        needs[name] = needed.total
        if needed.total > room:
            said.append(f"{name} does not fit: {_told(needed.total)} at {max(least, LEAST_BUDGET):,} tokens")
            continue
        budget = max(least, costs.budget(room, spread))
        found = costs.memory(budget, spread)
        said.append(f"{name} fits: micro-batches of up to {budget:,} tokens")
        if found.total > memory.free:
            said.append(f"at this moment only {_told(memory.free)} are free: other programs hold the rest")
        return Chosen(name, budget, found, (*said, *found.lines))
    wrong = "this model does not fit into memory to be trained"
    found = Said(", ".join(f"{name}: {_told(size)}" for name, size in needs.items()) or "no way to train it")
    do = "use gradient_checkpointing, a LoRA adapter, quant, a smaller max_length, or more devices"
    raise CapabilityError(explain(wrong, found=found, accepted=f"{_told(room)} or less", do=do))
