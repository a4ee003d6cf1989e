"""Rows of words that the tokenizer of these tests knows, and files of them."""

import json
from pathlib import Path
from typing import Any

from tests.data.test_prepare import WORDS


def text(*numbers: int) -> str:
    return " ".join(WORDS[number % len(WORDS)] for number in numbers)


def pairs(count: int, **more: Any) -> list[dict[str, Any]]:
    """Comparisons of which two share each prompt."""
    return [
        {
            "prompt": f"{n // 2} {text(n // 2, n // 10)}",
            "chosen": text(n, n + 1),
            "rejected": text(n + 2),
            **more,
        }
        for n in range(count)
    ]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
