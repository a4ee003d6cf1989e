"""Training beside TRL: the same weights, rows, order, schedule and optimizer, in processes of their own.

TRL is tried with each of several settings first, and then measured with the one that is fastest, in turns
with ours. Every step's loss of both is compared: what computes something else is no faster.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.record import Findings, Row
from benchmarks.train_work import (
    WORKLOADS,
    Ran,
    Setting,
    Work,
    operations,
    rows_of,
    settings_of,
    steps_of,
)
from concord.errors import RunError, Said, explain

__all__ = ["measure"]

REPEATS, TRIED, TIMED, WARM = 3, 2, 6, 1
"""Runs of each side; steps in which a setting is tried, and that are timed; first ones that no rate counts.

The first run of each side goes through all steps, for their losses; rates are those of the same steps always.
"""


@dataclass(frozen=True)
class _Place:
    """Where runs of a workload take place."""

    name: str
    quick: bool
    model: Path
    threads: int

    def ask(self, side: str, *, setting: Setting | None = None, steps: int = 0) -> dict[str, Any]:
        """What a process of its own answers."""
        asked = {
            "workload": self.name,
            "quick": self.quick,
            "model": str(self.model),
            "threads": self.threads,
            "side": side,
            "setting": asdict(setting) if setting else None,
            "steps": steps,
        }
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.train_run", json.dumps(asked)]
        quiet = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TQDM_DISABLE": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | quiet)
        if done.returncode:
            wrong, do = f"a run of {self.name} failed", "run this command to see it alone"
            said = Said(" ".join(done.stderr.splitlines()[-3:]))
            raise RunError(explain(wrong, found=said, accepted="a run that ends", do=f"{do}: {command[1:]}"))
        return json.loads(done.stdout.splitlines()[-1])

    def run(self, side: str, *, setting: Setting | None = None, steps: int = 0) -> Ran:
        """A training run."""
        return Ran(**self.ask(side, setting=setting, steps=steps))


def measure(name: str, *, quick: bool = False) -> Findings:
    """One workload."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with TemporaryDirectory() as folder:
        place = _Place(name, quick, Path(folder), threads)
        gpu = place.ask("model")["gpu"]
        work = WORKLOADS[name].scaled(quick=quick, gpu=bool(gpu))
        tried = {setting: place.run("peer", setting=setting, steps=TRIED) for setting in settings_of(work)}
        best = max(tried, key=lambda setting: tried[setting].rate(WARM, TRIED))
        runs: dict[str, list[Ran]] = {"concord": [], "trl": []}
        peaks: list[float] = []
        for number in range(1 if quick else REPEATS):
            peaks.append(place.ask("peak")["peak"])
            steps = TIMED if number else 0
            runs["concord"].append(place.run("ours", steps=steps))
            runs["trl"].append(place.run("peer", setting=best, steps=steps))
        compared = runs["trl"][0]
        if not best.same_steps:
            same = max((one for one in tried if one.same_steps), key=lambda one: tried[one].rate(WARM, TRIED))
            compared = place.run("peer", setting=same)
        # Two runs in bfloat16 differ by what each rounds: both are held against one in float32.
        exact = place.run("exact") if work.precision == "bf16" else None
    summary = _summary(work, runs, compared, _least(tried), max(peaks))
    if exact is not None:
        ours, its = (_apart(one, exact) for one in (runs["concord"][0], compared))
        summary |= {"losses_equal": ours <= work.tolerance, "from_fp32": ours, "peer_from_fp32": its}
    tables = {"runs": [_line(side, each) for side, each in runs.items()], "settings of TRL": _settings(tried)}
    settings = {
        "workload": work.line,
        "model": work.model,
        "precision": work.precision,
        "learning rate": work.learning_rate,
        "steps": work.steps,
        "threads": threads,
        "device": gpu or "cpu",
        "setting of TRL": best.line,
        "GFLOP/s of a large matrix product": round(max(peaks)),
        "losses of concord": runs["concord"][0].losses,
        "losses of TRL": compared.losses,
    }
    return Findings(f"Training: {name}", tables, settings, _notes(best, summary), summary)


def _least(tried: Mapping[Setting, Ran]) -> int:
    return min(ran.peak for ran in tried.values())


def _apart(one: Ran, other: Ran) -> float:
    """The largest difference between the losses of a step."""
    return max(abs(mine - its) for mine, its in zip(one.losses, other.losses, strict=True))


def _summary(
    work: Work, runs: Mapping[str, Sequence[Ran]], compared: Ran, least: int, peak: float
) -> dict[str, Any]:
    ours, peer = (median(ran.rate(WARM, TIMED) for ran in runs[side]) for side in ("concord", "trl"))
    memory, whole = (
        median(getattr(ran, what) for ran in runs["concord"])
        / median(getattr(ran, what) for ran in runs["trl"])
        for what in ("peak", "whole")
    )
    losses, apart = runs["concord"][0].losses, _apart(runs["concord"][0], compared)
    needed = operations(work, steps_of(work, rows_of(work))) / work.count
    return {
        "workload": work.name,
        "losses_equal": apart <= work.tolerance,
        "largest_loss_difference": apart,
        "losses_moved": max(losses) - min(losses),
        "ours": round(ours, 3),
        "peer": round(peer, 3),
        "ratio": round(ours / peer, 2),
        "memory_ratio": round(memory, 3),
        "memory_ratio_whole_process": round(whole, 3),
        "memory_ratio_to_leanest_setting": round(median(ran.peak for ran in runs["concord"]) / least, 3),
        "peak_share": round(ours * needed / peak / 1e9, 3),
    }


def _line(side: str, runs: Sequence[Ran]) -> Row:
    rates = [ran.rate(WARM, TIMED) for ran in runs]
    return {
        "what": side,
        "prompts/s": round(median(rates), 2),
        "slowest": round(min(rates), 2),
        "fastest": round(max(rates), 2),
        "seconds a step": round(median(median(ran.seconds[WARM:TIMED]) for ran in runs), 3),
        "MiB above libraries": round(median(ran.peak for ran in runs) / 1024),
        "MiB of the process": round(median(ran.whole for ran in runs) / 1024),
    }


def _settings(tried: Mapping[Setting, Ran]) -> list[Row]:
    return [
        {
            "what": setting.line,
            "prompts/s": round(ran.rate(WARM, TRIED), 2),
            "MiB above libraries": round(ran.peak / 1024),
        }
        for setting, ran in tried.items()
    ]


def _notes(best: Setting, summary: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"TRL with {best.line}: the fastest of its settings, each tried for {TRIED} steps",
        f"losses of steps are at most {summary['largest_loss_difference']:.1e} apart, "
        f"while they range over {summary['losses_moved']:.1e}",
        *(
            [
                f"from those of a run in float32 they are at most {summary['from_fp32']:.1e} apart, "
                f"and those of TRL {summary['peer_from_fp32']:.1e}"
            ]
            if "from_fp32" in summary
            else []
        ),
        "rates count the reference pass, and not the start or the first steps",
        "peak_share: the products that the rows need with each token computed once, against a large product",
        *(
            []
            if best.same_steps
            else ["packing fills steps with other rows: losses are compared with the fastest of the others"]
        ),
    )
