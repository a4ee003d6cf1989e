"""What is trained in a benchmark of training: a model by its shapes, and rows of tokens, so many a step.

Rows are lists of token ids and never text, so that both sides see the same tokens whatever they make of text.
The same seed gives the same rows in every process.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal, TypeAlias

import numpy as np

from benchmarks.record import Row as Line
from concord.data import row_at

__all__ = [
    "END",
    "FIRST",
    "PADDING",
    "WORKLOADS",
    "Kind",
    "Ran",
    "Row",
    "Setting",
    "Sizes",
    "Work",
    "operations",
    "pairs_of",
    "rows_of",
    "settings_of",
    "steps_of",
]

END, PADDING, FIRST = 2, 1, 3
"""The token that ends a reply, the one that pads, and the first of those that stand for words."""

Kind: TypeAlias = Literal["pairs", "rankings", "rankings-all", "judged", "demonstrations", "rewards"]
"""What a row is. Rankings are learned from as pairs of neighbours, or as all pairs there are."""

_LLAMA = {
    "vocab_size": 32_000,
    "hidden_size": 288,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "intermediate_size": 768,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}
_LARGE = _LLAMA | {
    "hidden_size": 2048,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "intermediate_size": 5504,
    "max_position_embeddings": 4096,
}


@dataclass(frozen=True)
class Sizes:
    """Tokens: the median, the spread of its logarithm, and the bounds."""

    median: float
    spread: float
    least: int
    most: int

    def draw(self, chance: np.random.Generator, count: int) -> list[int]:
        """So many of them."""
        drawn = chance.lognormal(np.log(self.median), self.spread, count)
        return [int(size) for size in drawn.clip(self.least, self.most)]


_PROMPT, _REPLY = Sizes(np.exp(5.0), 0.5, 20, 400), Sizes(np.exp(4.6), 0.6, 10, 300)


@dataclass(frozen=True)
class Work:
    """A workload: what is learned from, of which sizes, and the model that learns."""

    name: str
    kind: Kind = "pairs"
    count: int = 160
    """How many prompts."""
    batch: int = 8
    """Prompts a step."""
    prompt: Sizes = _PROMPT
    reply: Sizes = _REPLY
    replies: int = 2
    """Replies to each prompt."""
    family: Literal["llama", "stablelm"] = "llama"
    large: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"
    learning_rate: float = 1e-4
    """High enough that losses move: equal losses of a model that stands still would show nothing."""
    shape: tuple[tuple[str, Any], ...] = ()
    """What is other in the model."""
    seed: int = 0

    @property
    def model(self) -> dict[str, Any]:
        """The configuration of the model."""
        return (_LARGE if self.large else _LLAMA) | dict(self.shape)

    @property
    def steps(self) -> int:
        """How many optimizer steps there are."""
        return self.count // self.batch

    @property
    def tolerance(self) -> float:
        """How far two losses of a step may be apart and still be called equal."""
        return 1e-4 if self.precision == "fp32" else 1e-3

    def scaled(self, *, quick: bool = False, gpu: bool = False) -> "Work":
        """The same on a GPU (a model of 1.3 billion weights, in bf16), or small, to see that it runs."""
        found = self
        if gpu:
            found = replace(found, large=True, precision="bf16", learning_rate=1e-5)
        if quick:
            small = (
                ("hidden_size", 48),
                ("num_hidden_layers", 2),
                ("vocab_size", 512),
                ("intermediate_size", 96),
            )
            found = replace(found, count=4 * found.batch, shape=small, large=False)
        return found

    @property
    def line(self) -> Line:
        """What it is, for a table."""
        return {
            "what": self.name,
            "prompts": self.count,
            "prompts a step": self.batch,
            "replies": self.replies,
            "tokens of a prompt": round(self.prompt.median),
            "of a reply": round(self.reply.median),
            "model": self.family,
        }


WORKLOADS = {
    work.name: work
    for work in (
        Work("pairs"),
        Work("pairs-bf16", count=80, precision="bf16"),
        Work("pairs-rows", count=80, family="stablelm"),
        Work("long-prompts", count=32, prompt=Sizes(800, 0, 800, 800), reply=Sizes(60, 0, 60, 60)),
        Work("ranked", kind="rankings", count=20, batch=2, replies=8),
        Work("ranked-all-pairs", kind="rankings-all", count=6, batch=1, replies=8),
        Work("sft", kind="demonstrations", count=80, replies=1),
        Work("reward-model", kind="rewards", count=80),
        Work("kto", kind="judged", count=80, replies=1),
    )
}


@dataclass(frozen=True)
class Row:
    """A prompt, its replies (the better ones first), and whether a single one is good."""

    prompt: list[int]
    replies: tuple[list[int], ...]
    desirable: bool = True


def rows_of(work: Work) -> list[Row]:
    """Every row. Each reply ends with the token that ends replies."""
    chance = np.random.default_rng(work.seed)
    vocabulary = work.model["vocab_size"]

    def text(size: int) -> list[int]:
        return [int(token) for token in chance.integers(FIRST, vocabulary, size)]

    return [
        Row(
            text(size),
            tuple([*text(length - 1), END] for length in work.reply.draw(chance, work.replies)),
            bool(chance.random() < 0.5),
        )
        for size in work.prompt.draw(chance, work.count)
    ]


def steps_of(work: Work, rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each step, in the order in which the loop of Concord takes them."""
    ordered = [rows[row_at(position, len(rows), work.seed)] for position in range(work.steps * work.batch)]
    return [ordered[at : at + work.batch] for at in range(0, len(ordered), work.batch)]


def pairs_of(work: Work, row: Row) -> list[tuple[list[int], list[int]]]:
    """The better and the worse reply of each pair that is learned from."""
    if work.kind == "rankings-all":
        return list(combinations(row.replies, 2))
    return list(zip(row.replies[::2], row.replies[1::2], strict=True))


def operations(work: Work, steps: Sequence[Sequence[Row]]) -> float:
    """Multiplications and additions that these rows need, each token computed once, with all passes.

    Tokens through the layers, and those that are predicted through the head; three times as many with the
    backward pass, and once more for a reference. Padding, and what is computed twice, does not count.
    """
    model, once = work.model, 0.0
    size, inner, layers = model["hidden_size"], model["intermediate_size"], model["num_hidden_layers"]
    weights = layers * (4 * size * size + 3 * size * inner)
    for row in (row for step in steps for row in step):
        begun, sizes = len(row.prompt), [len(reply) for reply in row.replies]
        positions = begun * (begun + 1) / 2 + sum(begun * n + n * (n + 1) / 2 for n in sizes)
        predicted = 0 if work.kind == "rewards" else sum(sizes)
        once += 2 * (weights * (begun + sum(sizes)) + positions * layers * 2 * size)
        once += 2 * size * model["vocab_size"] * predicted
    # KTO also needs each reply behind another row's prompt, without gradient, under policy and reference.
    passes = {"judged": 6, "demonstrations": 3, "rewards": 3}.get(work.kind, 4)
    return once * passes


# --- how it is run ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """How TRL is told to do the same: what a person who tunes it would try."""

    micro: int = 8
    """Its rows a forward pass; as many passes as a step needs are accumulated."""
    by_length: bool = False
    """The rows of a step are sorted by length, so that a pass of few rows has little padding."""
    precomputed: bool = False
    """The reference is computed for all rows before the first step."""
    checkpointing: bool = False
    packing: Literal["", "padding-free", "bfd"] = ""
    """The rows of a pass behind each other, or best-fit packing into rows of 1024 tokens."""

    @property
    def line(self) -> str:
        """In words."""
        said = [f"{self.micro} row{'s' * (self.micro > 1)} a pass"]
        said += ["sorted by length"] if self.by_length else []
        said += ["precomputed reference"] if self.precomputed else []
        said += ["gradient checkpointing"] if self.checkpointing else []
        return ", ".join([*said, self.packing] if self.packing else said)

    @property
    def same_steps(self) -> bool:
        """Whether its steps have the rows that ours have: packing fills them with others."""
        return self.packing != "bfd"


@dataclass(frozen=True)
class Ran:
    """What a run came to."""

    losses: list[float]
    """Of each step."""
    seconds: list[float]
    """Of each step."""
    before: float = 0.0
    """Seconds of what is computed of the rows before the first step: a reference."""
    rows: int = 0
    """How many were trained on."""
    peak: int = 0
    """The largest resident memory, in KiB, above what the libraries take; on a GPU what was allocated."""
    whole: int = 0
    """The largest resident memory of the process, libraries included."""

    def rate(self, warm: int, until: int) -> float:
        """Rows a second of some steps; what comes before the first is shared out among all that there are."""
        steps = len(self.seconds)
        timed = self.seconds[min(warm, steps - 1) : until]
        spent = sum(timed) + self.before * len(timed) / steps
        return self.rows * len(timed) / steps / spent


def settings_of(work: Work) -> list[Setting]:
    """What is tried with TRL. KTO's estimate of the KL needs its batches whole."""
    if work.kind == "judged":
        return [Setting(work.batch), Setting(work.batch, precomputed=True)]
    each = len(pairs_of(work, Row([], ([],) * work.replies))) if work.kind.startswith("rankings") else 1
    most = work.batch * each
    sizes = [size for size in ((8, 1) if most > 32 else (8, 4, 2, 1)) if size <= most]
    found = [Setting(size, by_length=size < most) for size in sizes]
    if work.kind == "demonstrations":
        found += [Setting(most, packing="padding-free"), Setting(2, packing="bfd")]
    elif work.kind != "rewards":
        found += [Setting(size, by_length=size < most, precomputed=True) for size in sizes[:3:2]]
    return found
