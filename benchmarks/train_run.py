"""One training run in a process of its own: what it took and what came of it, as a line of JSON.

Ours and TRL's have nothing in common but the rows and the weights they begin with.
"""

import gc
import json
import sys
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from benchmarks.logprobs import product_rate, status
from benchmarks.train_work import END, PADDING, WORKLOADS, Ran, Setting, Work, rows_of, steps_of

__all__ = ["gpu_rate", "main", "make_model", "run"]


def make_model(work: Work, folder: Path) -> None:
    """Write the model that both sides begin with."""
    torch.manual_seed(work.seed)
    tokens = {"bos_token_id": None, "eos_token_id": END, "pad_token_id": PADDING}
    scored = {"num_labels": 1} if work.kind == "rewards" else {}
    config = AutoConfig.for_model(work.family, **work.model, **tokens, **scored)
    kind = AutoModelForSequenceClassification if work.kind == "rewards" else AutoModelForCausalLM
    kind.from_config(config).save_pretrained(folder)


def run(work: Work, side: str, model: Path, *, setting: Setting | None = None, steps: int = 0) -> Ran:
    """Train once; `steps` is how many of the steps, 0 for all."""
    chosen = steps_of(work, rows_of(work))[: steps or None]
    # Each side loads its own libraries only, and all of them before memory is counted.
    if side == "peer":
        from benchmarks.train_peer import run_peer

        def train(folder: Path) -> Ran:
            return run_peer(work, chosen, model, folder, setting or Setting())
    else:
        from benchmarks.train_ours import run_ours

        def train(folder: Path) -> Ran:
            return run_ours(work, chosen, model, folder)

    before = _from_here()
    with TemporaryDirectory() as folder:
        found = train(Path(folder))
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated() >> 10
        return replace(found, peak=peak, whole=peak)
    whole = status("VmHWM")
    return replace(found, peak=whole - before, whole=whole)


def _from_here() -> int:
    """Resident memory with all libraries loaded, in KiB; the largest is counted from here."""
    gc.collect()
    # Linux takes the present size for the peak.
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def gpu_rate(size: int = 8192, repeats: int = 20) -> float:
    """Multiplications and additions a second of large products in bfloat16, in units of 10^9."""
    first, second = (torch.randn(size, size, device="cuda").bfloat16() for _ in range(2))
    torch.mm(first, second)
    torch.cuda.synchronize()
    begun = perf_counter()
    for _ in range(repeats):
        torch.mm(first, second)
    torch.cuda.synchronize()
    return 2 * size**3 * repeats / (perf_counter() - begun) / 1e9


def main() -> None:
    """What is asked for stands in the first argument."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    gpu = torch.cuda.is_available()
    work = WORKLOADS[asked["workload"]].scaled(quick=asked["quick"], gpu=gpu)
    torch.set_num_threads(asked["threads"])
    model = Path(asked["model"])
    match asked["side"]:
        case "model":
            make_model(work, model)
            told: dict[str, Any] = {"gpu": gpu and torch.cuda.get_device_name(0)}
        case "peak":
            told = {"peak": gpu_rate() if gpu else product_rate(work.precision)}
        case "exact":
            told = asdict(run(replace(work, precision="fp32"), "ours", model, steps=asked["steps"]))
        case side:
            setting = Setting(**asked["setting"]) if asked.get("setting") else None
            told = asdict(run(work, side, model, setting=setting, steps=asked["steps"]))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
