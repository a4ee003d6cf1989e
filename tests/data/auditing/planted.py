"""Data in which the truth about it is known, because it was put there."""

import random
from collections.abc import Sequence

from concord.types import JSON, Item, Message, Origin
from concord.views import Comparison, Judgement

__all__ = ["WORDS", "compared", "judged", "sentence"]

_chance = random.Random(0)
WORDS = ["".join(_chance.choices("abcdefghijklmnopqrstuvwxyz", k=_chance.randint(3, 9))) for _ in range(3000)]


def sentence(chance: random.Random, length: int) -> str:
    return " ".join(chance.choices(WORDS, k=length)) + "."


def compared(
    rows: Sequence[tuple[str, str, str, float]], *, file: str = "rows.jsonl", source: str = ""
) -> list[Item]:
    """Comparisons: prompt, first, second, and how likely the first is the better one."""
    meta: dict[str, JSON] = {"source": source} if source else {}
    return [
        Comparison.of(prompt, first, second, preference=share).item(meta=meta, origin=Origin(file, line))
        for line, (prompt, first, second, share) in enumerate(rows, 1)
    ]


def judged(rows: Sequence[tuple[str, str, bool]], *, source: str = "") -> list[Item]:
    """Judgements: prompt, reply, and whether it is desirable."""
    meta: dict[str, JSON] = {"source": source} if source else {}
    return [
        Judgement.of(prompt, [Message("assistant", reply)], desirable=label).item(
            meta=meta, origin=Origin("rows.jsonl", line)
        )
        for line, (prompt, reply, label) in enumerate(rows, 1)
    ]
