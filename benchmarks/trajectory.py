"""Twenty steps of TRL and of Concord from the same weights, on the same rows: how far apart losses come.

One step shows that both compute the same loss. Twenty show that gradients, clipping, schedule and optimizer
are the same too, for each loss is that of weights which all of these have moved.
"""

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.record import Findings
from benchmarks.record import Row as Line
from benchmarks.train_work import END, FIRST, Kind, Ran, Row, Setting, Sizes, Work, rows_of, steps_of

__all__ = ["STORIES", "Way", "compare", "measure", "spoken", "ways"]

DATA = Path(__file__).parents[2] / "shared" / "data"
STORIES = DATA / "models" / "stories260K"
"""A small model that was really trained, where it is beside the project."""

STEPS, BATCH = 20, 4
TINY = {
    "vocab_size": 256,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
}
SMALL = {"vocab_size": 512, "hidden_size": 64, "max_position_embeddings": 512}


@dataclass(frozen=True)
class Way:
    """What is trained on what."""

    kind: Kind
    stories: bool = False
    """stories260K, on text that its tokenizer reads; else a tiny model drawn by chance, on random tokens."""

    @property
    def work(self) -> Work:
        """The same as a workload."""
        shape = SMALL if self.stories else TINY
        return Work(
            self.kind,
            kind=self.kind,
            count=STEPS * BATCH,
            batch=BATCH,
            prompt=Sizes(24, 0.5, 4, 60),
            reply=Sizes(24, 0.5, 4, 60),
            replies=2 if self.kind in ("pairs", "rewards") else 1,
            learning_rate=1e-3,
            shape=tuple(shape.items()),
        )


def ways() -> list[Way]:
    """Every kind of row on the tiny model; pairs and demonstrations on stories260K too, where it is."""
    kinds: tuple[Kind, ...] = ("demonstrations", "pairs", "judged", "rewards")
    found = [Way(kind) for kind in kinds]
    return found + [Way(kind, stories=True) for kind in kinds[:2]] if STORIES.is_dir() else found


def spoken(work: Work) -> list[Row]:
    """Rows of real text, as the tokenizer of stories260K reads it."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(STORIES)

    def ids(text: str, most: int) -> list[int]:
        found = tokenizer(text, add_special_tokens=False)["input_ids"]
        return [token for token in found if token >= FIRST][:most]

    def row(line: bytes) -> Row:
        both = json.loads(line)
        replies = [[*ids(both[side], work.reply.most), END] for side in ("chosen", "rejected")]
        return Row(ids(both["prompt"], work.prompt.most), tuple(replies[: work.replies]))

    with gzip.open(DATA / "pref" / "hh_harmless.jsonl.gz") as lines:
        return [row(line) for line in islice(lines, work.count)]


def compare(way: Way, folder: Path) -> tuple[Ran, Ran]:
    """TRL's run and ours."""
    from benchmarks.train_ours import run_ours
    from benchmarks.train_peer import run_peer
    from benchmarks.train_run import make_model

    work, model = way.work, STORIES if way.stories else folder / "model"
    if not way.stories:
        make_model(work, model)
    steps = steps_of(work, spoken(work) if way.stories else rows_of(work))
    peer = run_peer(work, steps, model, folder / "trl", Setting(work.batch))
    return peer, run_ours(work, steps, model, folder)


def measure(*, quick: bool = False) -> Findings:
    """All of them."""
    lines: list[Line] = []
    losses: dict[str, Any] = {}
    for way in ways()[:: 3 if quick else 1]:
        with TemporaryDirectory() as folder:
            peer, ours = compare(way, Path(folder))
        name = f"{way.kind}, {'stories260K' if way.stories else 'a tiny Llama'}"
        lines.append(_line(name, peer.losses, ours.losses))
        losses[name] = {"TRL": peer.losses, "concord": ours.losses}
    settings = {"steps": STEPS, "rows a step": BATCH, "learning rate": 1e-3, "losses": losses}
    notes = (
        "the same weights, rows, order, linear schedule, AdamW and clipping at 1, in fp32",
        "the largest difference of a step's losses, and the mean with its sign, in which a drift would show",
    )
    return Findings("Twenty steps beside TRL", {"losses": lines}, settings, notes)


def _line(name: str, peer: Sequence[float], ours: Sequence[float]) -> Line:
    apart = [mine - its for mine, its in zip(ours, peer, strict=True)]
    return {
        "what": name,
        "first loss": round(peer[0], 4),
        "last loss": round(peer[-1], 4),
        "largest difference": f"{max(map(abs, apart)):.1e}",
        "mean difference": f"{sum(apart) / len(apart):+.1e}",
    }
