"""Rows a second from conversations to tokens on disk, beside TRL's own preparation; memory; random access."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.record import Findings, Row, alternated, rates
from benchmarks.rows import as_item, load_renderer, preference_rows, tokenizer
from concord.data.order import permuted
from concord.data.prepare import prepare
from concord.data.shards import Shards
from concord.store import Store
from concord.types import Item

__all__ = ["held", "measure", "peak"]

ROWS, REPEATS = 5000, 3
MEMORY_ROWS = (10_000, 100_000, 1_000_000)
SHORT = (6, 8)  # words of prompt and reply where only memory is measured


class Rows(Iterable[Item]):
    """Rows that are made into items as they are read, so that this is measured too."""

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Item]:
        """Go through the items."""
        return (as_item(row, number) for number, row in enumerate(self._rows))


def measure(*, quick: bool = False) -> Findings:
    """All of it."""
    count, repeats = (600, 1) if quick else (ROWS, REPEATS)
    with TemporaryDirectory() as name:
        folder = Path(name)
        rows = list(preference_rows(count))
        renderer = load_renderer()
        speed = alternated(_candidates(rows, renderer, folder), repeats)
        with Shards(folder / "warm") as shards, Shards(folder / "cold") as others:
            lengths = shards.lengths
            assert all(
                a.tobytes() == b.tobytes() for a, b in zip(_columns(shards), _columns(others), strict=True)
            )
            access = _access(shards)
            settings = {
                "rows": count,
                "repeats": repeats,
                "vocabulary": len(renderer.tokenizer),
                "median tokens of a prompt": int(np.median(lengths.prompt)),
                "median tokens of a sequence": int(np.median(lengths.length)),
                "words of prompt and reply where memory is measured": SHORT,
            }
        memory = [_peak_of(rows, stored) for rows, stored in _memory_runs(quick)]
    notes = (
        "ours reads rows as mappings, makes items, renders, verifies every span and writes to disk; "
        "TRL's is DPOTrainer._prepare_dataset on a dataset that was loaded before, without verification",
        "the time of workers includes their start",
        "memory is measured in a process of its own: what its libraries take before, and what is added to it",
    )
    tables = {"preparing": rates(speed, count), "random access": access, "peak memory": memory}
    return Findings("Preparing preference rows", tables, settings, notes)


def _columns(shards: Shards) -> list[np.ndarray[Any, Any]]:
    lengths = shards.lengths
    return [lengths.tokens, lengths.prompt, lengths.length, lengths.learned]


def _candidates(rows: list[dict[str, Any]], renderer: Any, folder: Path) -> dict[str, Any]:
    """What is measured, by name; nothing but the warm store is kept from one repeat to the next."""

    def cold(workers: int) -> None:
        with TemporaryDirectory(dir=folder) as place, Store(place) as store:
            prepare(Rows(rows), renderer, folder / "cold", store=store, workers=workers)

    def warm() -> None:
        with Store(folder / "store") as store:
            prepare(Rows(rows), renderer, folder / "warm", store=store)

    warm()
    data, peer = _trl(rows, folder)
    return {
        "ours, new rows": partial(cold, 0),
        "TRL": partial(peer, data, None),
        "ours, rows in the store": warm,
        "ours, new rows, 2 workers": partial(cold, 2),
        "TRL, 2 processes": partial(peer, data, 2),
    }


def _trl(rows: list[dict[str, Any]], folder: Path) -> tuple[Any, Any]:
    """The same rows as a dataset on disk, and TRL's preparation of it, with nothing kept between calls."""
    import datasets
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    datasets.disable_progress_bars()
    datasets.disable_caching()
    data = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(folder / "cache"))
    made = tokenizer()

    def run(data: Any, processes: int | None) -> None:
        settings = DPOConfig(
            output_dir=str(folder / "out"),
            max_length=None,
            dataset_num_proc=processes,
            use_cpu=True,
            bf16=False,
            report_to="none",
        )
        # The method reads nothing of its trainer but the tokenizer.
        holder: Any = SimpleNamespace(_tokenizer=made)
        done: Any = DPOTrainer._prepare_dataset(holder, data, made, settings, "train")
        assert len(done) == len(rows)

    return data, run


def _access(shards: Shards) -> list[Row]:
    """Rows a second in a shuffled order: tokens alone, and with what is known of them."""
    count = len(shards)
    order = permuted(np.arange(count, dtype=np.int64), count, 1).tolist()

    def tokens() -> None:
        for number in order:
            _ = shards[number].rendered

    def facts() -> None:
        for number in order:
            _ = shards[number].facts

    return rates(alternated({"tokens": tokens, "tokens and facts": facts}, 3), count)


# --- memory, in a process of its own ----------------------------------------------------------------------


def _memory_runs(quick: bool) -> list[tuple[int, bool]]:
    sizes = (500, 2000) if quick else MEMORY_ROWS
    return [*((rows, False) for rows in sizes), (sizes[0], True), (sizes[1], True)]


def _peak_of(rows: int, stored: bool) -> Row:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.prepare", str(rows), str(int(stored))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def held(what: str) -> int:
    """How many KiB this process holds (VmRSS), or held at most (VmHWM), as Linux has it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{what}:")).split()[1])


def peak(rows: int, *, stored: bool) -> Row:
    """Prepare rows that are made on the way, and say what memory that took at most."""
    with TemporaryDirectory() as name:
        renderer = load_renderer()
        before = held("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
        begun = perf_counter()
        made = Rows(preference_rows(rows, words=SHORT))
        if stored:
            with Store(Path(name) / "store") as store:
                done = prepare(made, renderer, Path(name) / "rows", store=store)
        else:
            done = prepare(made, renderer, Path(name) / "rows")
        seconds = perf_counter() - begun
        after = held("VmHWM")
        size = sum(path.stat().st_size for path in done.shards.folder.iterdir())
    return {
        "what": "with a store" if stored else "without a store",
        "rows": rows,
        "MiB more at the peak": (after - before) >> 10,
        "MiB before": before >> 10,
        "MiB on disk": size >> 20,
        "rows/s": round(rows / seconds),
    }


if __name__ == "__main__":
    print(json.dumps(peak(int(sys.argv[1]), stored=sys.argv[2] == "1")))
