"""Log-probabilities of replies: forest, rows and one by one, beside what matrix products reach here."""

import ctypes
import gc
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.record import Findings, Row, alternated
from concord.engine.forest import Forest
from concord.engine.logprobs import LogProbs
from concord.engine.targets import Line

__all__ = ["measure"]

MODEL: dict[str, Any] = {
    "vocab_size": 32_000,
    "hidden_size": 288,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "intermediate_size": 768,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}
PROMPTS = {"short": 32, "long": 384}
REPLIES, REPLY = (1, 2, 8), (64, 160)  # a prompt; tokens of a reply, from and to
SEQUENCES, REPEATS = 8, 3
SECONDS, MEMORY = 330, 12 << 30
"""Cases that would begin later are left out, and said; what asks for more memory than this fails."""


@dataclass(frozen=True)
class Case:
    """Replies to score, and how."""

    prompt: str
    replies: int
    precision: Literal["fp32", "bf16"]
    backward: bool

    @property
    def lines(self) -> list[Line]:
        """The sequences: always as many, to fewer prompts where each has more replies."""
        chance = np.random.default_rng(0)
        vocabulary, size = MODEL["vocab_size"], PROMPTS[self.prompt]
        prompts = [chance.integers(0, vocabulary, size) for _ in range(SEQUENCES // self.replies)]
        found: list[Line] = []
        for number in range(SEQUENCES):
            prompt = prompts[number // self.replies]
            reply = chance.integers(0, vocabulary, int(chance.integers(*REPLY)))
            spans = np.array([[size, size + len(reply)]])
            found.append(Line(np.concatenate([prompt, reply]), spans, number))
        return found

    def cast(self) -> AbstractContextManager[Any]:
        """What its products are computed in."""
        return torch.autocast("cpu", torch.bfloat16) if self.precision == "bf16" else nullcontext()


def cases() -> Iterator[Case]:
    """All of them."""
    for precision, prompt, replies, backward in product(("fp32", "bf16"), PROMPTS, REPLIES, (False, True)):
        yield Case(prompt, replies, precision, backward)


def measure(*, quick: bool = False) -> Findings:
    """All of it."""
    begun = perf_counter()
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, before[1]))
    try:
        peaks = {precision: [product_rate(precision)] for precision in ("fp32", "bf16")}
        engines = [LogProbs(model(), layout=layout) for layout in ("forest", "rows")]
        rows: dict[str, list[Row]] = {"forward": [], "forward and backward": []}
        late = 0
        seconds, repeats = (60, 1) if quick else (SECONDS, REPEATS)
        for case in list(cases())[:: 7 if quick else 1]:
            if perf_counter() - begun > seconds:
                late += 1
                continue
            # Measured beside each case: other work on the machine slows both.
            peaks[case.precision].append(product_rate(case.precision))
            found = one_case(case, engines, repeats, max(peaks[case.precision]))
            rows["forward and backward" if case.backward else "forward"] += found
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
    settings = {
        "model": MODEL,
        "tokens of a prompt": PROMPTS,
        "tokens of a reply, from and to": REPLY,
        "sequences": SEQUENCES,
        "repeats": repeats,
        "threads": torch.get_num_threads(),
        "GFLOP/s of a matrix product, largest and median": {
            name: [round(max(rates)), round(median(rates))] for name, rates in peaks.items()
        },
        "cases left out for time": late,
    }
    notes = (
        f"large matrix products: {max(peaks['fp32']):.0f} GFLOP/s in fp32, {max(peaks['bf16']):.0f} in bf16",
        "tokens/s counts predicted tokens, which are the same for all three",
        "% of peak: the products that a layout needs (its tokens through the layers, predicted ones through "
        "the head, three times as many with the backward; no padding, nothing twice), against that rate",
        "MiB is the peak above what was held before, weights and gradients not counted",
        "one by one: the model's own forward, all logits, one sequence held at a time",
        *([f"{late} cases were left out: they would have begun after {seconds} seconds"] if late else []),
    )
    tables = {name: table for name, table in rows.items() if table}
    return Findings("Log-probabilities of replies", tables, settings, notes)


def model() -> Any:
    """The model of the training benchmark, the same at each call."""
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**MODEL, bos_token_id=None, eos_token_id=None))


def product_rate(precision: str, size: int = 2048) -> float:
    """Multiplications and additions a second of a large matrix product, in units of 10^9."""
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    first, second = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    seconds = alternated({"product": lambda: first @ second}, 4)["product"]
    return 2 * size**3 / min(seconds) / 1e9


# --- a case -----------------------------------------------------------------------------------------------


def one_case(case: Case, engines: list[LogProbs], repeats: int, peak: float) -> list[Row]:
    """A row for each way."""
    lines = case.lines
    forest, rows = engines
    ways: dict[str, Callable[[], None]] = {
        "forest": lambda: through(forest, lines, case),
        "rows": lambda: through(rows, lines, case),
        "one by one": lambda: one_by_one(rows.model, lines, case),
    }
    memory = {name: grown(run) for name, run in ways.items()}  # which warms up as well
    seconds = {name: median(each) for name, each in alternated(ways, repeats).items()}
    predicted = sum(int(line.spans[0, 1] - line.spans[0, 0]) for line in lines)
    laid = forest.lay(lines)
    assert isinstance(laid, Forest)
    positions = {
        "forest": laid.positions.numpy(),
        "rows": np.concatenate([np.arange(len(line.ids)) for line in lines]),
    }
    positions["one by one"] = positions["rows"]
    return [
        {
            "what": name,
            "precision": case.precision,
            "prompt": PROMPTS[case.prompt],
            "replies": case.replies,
            "tokens/s": round(predicted / seconds[name]),
            "% of peak": round(
                100 * operations(positions[name], predicted, case.backward) / seconds[name] / peak / 1e9
            ),
            "MiB": memory[name],
            "times one by one": round(seconds["one by one"] / seconds[name], 1),
        }
        for name in ways
    ]


def operations(positions: Any, predicted: int, backward: bool) -> float:
    """Multiplications and additions that tokens at some positions need, and the head's for predicted ones."""
    size, inner, layers = MODEL["hidden_size"], MODEL["intermediate_size"], MODEL["num_hidden_layers"]
    weights = layers * (4 * size * size + 3 * size * inner)
    pairs = float((positions + 1).sum()) * layers * 2 * size
    once = 2.0 * (weights * len(positions) + pairs + size * MODEL["vocab_size"] * predicted)
    return once * (3 if backward else 1)


def through(engine: LogProbs, lines: list[Line], case: Case) -> None:
    """Once through the engine, the layout of the sequences counted."""
    with torch.set_grad_enabled(case.backward), case.cast():
        logps = engine(layout=engine.lay(lines)).logps
    finish(logps, case)


def one_by_one(model: Any, lines: list[Line], case: Case) -> None:
    """Each sequence by itself through the model's own forward."""
    for line in lines:
        ids, (start, stop) = torch.from_numpy(line.ids), line.spans[0].tolist()
        with torch.set_grad_enabled(case.backward), case.cast():
            logits = model(input_ids=ids[None], use_cache=False).logits[0].float()
            logps = logits[start - 1 : stop - 1].log_softmax(-1).gather(1, ids[start:stop, None])[:, 0]
        finish(logps, case)


def finish(logps: Tensor, case: Case) -> None:
    if case.backward:
        logps.mean().backward()


# --- memory -----------------------------------------------------------------------------------------------


def grown(run: Callable[[], None]) -> int:
    """The peak of resident memory above what was held before, in MiB; 0 where Linux does not say."""
    run()
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        # Linux takes the present size for the peak.
        Path("/proc/self/clear_refs").write_text("5")
        before = status("VmRSS")
        run()
        return max(0, status("VmHWM") - before) >> 10
    except (OSError, AttributeError):
        return 0


def status(name: str) -> int:
    """A line of what Linux says of this process, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
