"""A tiny model in a folder, and data of every kind beside it: what `train` is given."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.engine.models import llama
from tests.render.templates import tokenizer

TOPICS = (
    "the sea",
    "a lamp",
    "bread",
    "the old town",
    "rain",
    "a bridge",
    "tea",
    "the moon",
    "salt",
    "a hat",
)


def home(folder: Path, *, seed: int = 0, **settings: Any) -> Path:
    """A folder with a model and its tokenizer."""
    made = llama(**{"vocab_size": len(tokenizer("chatml")), **settings}, seed=seed)
    made.save_pretrained(folder)
    tokenizer("chatml").save_pretrained(folder)
    return folder


def written(file: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Rows as lines of JSON."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def _ask(topic: str, number: int) -> str:
    return f"What is {topic} like, number {number}?"


def pairs(folder: Path, count: int = 10) -> Path:
    """Comparisons, with all that any objective on pairs may ask for."""
    return written(
        folder / "pairs.jsonl",
        (
            {
                "prompt": _ask(TOPICS[number % 10], number),
                "chosen": f"It is like {TOPICS[(number + 1) % 10]}, as people say.",
                "rejected": f"No {TOPICS[(number + 3) % 10]}.",
                "score_chosen": 0.5,
                "score_rejected": -0.5,
                "margins": [0.1, 0.3],
                "psi": [0.7, 0.2],
            }
            for number in range(count)
        ),
    )


def demonstrations(folder: Path, count: int = 10) -> Path:
    """Replies to imitate."""
    rows = (
        {"prompt": _ask(TOPICS[number % 10], number), "completion": f"Like {TOPICS[(number + 1) % 10]}."}
        for number in range(count)
    )
    return written(folder / "demonstrations.jsonl", rows)


def labels(folder: Path, count: int = 10) -> Path:
    """Replies that are good or bad."""
    return written(
        folder / "labels.jsonl",
        (
            {
                "prompt": _ask(TOPICS[number % 10], number),
                "completion": f"Like {TOPICS[(number + 1) % 10]}.",
                "label": bool(number % 2),
            }
            for number in range(count)
        ),
    )


def ratings(folder: Path, count: int = 8) -> Path:
    """Scored lists, one reply of which is a demonstration."""
    return written(
        folder / "ratings.jsonl",
        (
            {
                "prompt": _ask(TOPICS[number % 10], number),
                "completions": [f"Like {TOPICS[(number + k) % 10]}." for k in range(3)],
                "scores": [0.1, 0.9, 0.4],
                "shown": number % 3,
            }
            for number in range(count)
        ),
    )


def steps(folder: Path, count: int = 8) -> Path:
    """Solutions in steps, each right or wrong."""
    return written(
        folder / "steps.jsonl",
        (
            {
                "prompt": _ask(TOPICS[number % 10], number),
                "completions": ["First this.", f"Then {TOPICS[number % 10]}.", "So it is."],
                "labels": [True, True, bool(number % 2)],
            }
            for number in range(count)
        ),
    )
