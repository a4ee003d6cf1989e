"""Two processes that take steps together, and one that takes them alone: `python -m tests.train.ranks`."""

import copy
import json
import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor

from concord.engine import LogProbs
from concord.objectives import initial_state
from concord.train.loop import Done, Policy, evaluate, gradient, plan_step
from concord.train.ranks import ALONE, Ranks, Sharding, current, wrapped
from tests.conftest import ROOT
from tests.train.made import batch_for, costs, engine_for, offline, task_for

WORLD = 2
SHARDED = ("sft", "dpo", "kto", "bco", "aot", "plackett_luce", "bradley_terry", "step_bce", "slic_hf", "wpo")
"""Objectives that are tried with FSDP2 too, one of every way that a step goes."""
Found = dict[str, dict[str, Any]]


def taken(name: str, ranks: Ranks, sharding: Sharding) -> tuple[Done, Done, Tensor]:
    """One step and one evaluation of these ranks, and the whole gradient."""
    card = offline()[name]
    made = engine_for(card)
    engine = LogProbs(copy.deepcopy(made.model), heads=copy.deepcopy(dict(made.heads)))
    if made.heads:
        # The head that speaks has no part in what is learned.
        speaks: Any = engine.model
        speaks.lm_head.weight.requires_grad_(False)
    policy = Policy(engine, wrapped(engine, ranks, sharding), ranks=ranks)
    weights = [weight for weight in engine.parameters() if weight.requires_grad]
    batch, task = batch_for(card), task_for(card)
    # Of the nine rows each goes alone, so that one rank has nothing left in the last pass.
    plan = plan_step(costs(batch), budget=60, ranks=ranks.count)
    state = initial_state(task.objective, like=torch.zeros((), dtype=torch.float64))
    done = gradient(policy, task, batch, plan, state=state)
    grads = [weight.grad if weight.grad is not None else torch.zeros_like(weight) for weight in weights]
    whole = [grad.full_tensor() if isinstance(grad, DTensor) else grad for grad in grads]
    seen = evaluate(policy, task, batch, plan, state=state)
    return done, seen, torch.cat([grad.flatten() for grad in whole])


def compared(name: str, sharding: Sharding) -> dict[str, Any]:
    """How far two ranks are from one: in loss, gradient and metrics."""
    alone, looked, slope = taken(name, ALONE, "ddp")
    done, seen, other = taken(name, current(), sharding)
    metrics = [
        float((done.metrics[key].mean - one.mean).abs().nan_to_num()) for key, one in alone.metrics.items()
    ]
    return {
        "names": list(done.metrics) == list(alone.metrics),
        "loss": float((done.loss - alone.loss).abs()),
        "eval": float((seen.loss - looked.loss).abs()),
        "gradient": float((other - slope).norm() / slope.norm()),
        "metrics": max(metrics, default=0.0),
        "tokens": done.tokens,
    }


def main(rank: int, folder: Path, ports: str) -> None:
    """What one of the processes does."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": ports.split(",")[0]}
    dist.init_process_group("gloo", rank=rank, world_size=WORLD)
    found: Found = {}
    for name in offline():
        found[f"{name}; ddp"] = compared(name, "ddp")
        if name in SHARDED:
            found[f"{name}; fsdp"] = compared(name, "fsdp")
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


_PORTS = 5
"""As many as any of these modules begins."""


def _free() -> str:
    """A port that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def run(folder: Path, module: str = "tests.train.ranks") -> list[Any]:
    """Start two processes of a module, wait for them, and read what each found."""
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    environment = os.environ | {"GLOO_SOCKET_IFNAME": loopback, "OMP_NUM_THREADS": "1"}
    ports = ",".join(_free() for _ in range(_PORTS))
    command = [sys.executable, "-m", module]
    started: list[subprocess.Popen[str]] = []
    try:
        for rank in range(WORLD):
            arguments = [*command, str(rank), str(folder), ports]
            started.append(
                subprocess.Popen(arguments, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
            )
        said = [process.communicate(timeout=300)[1] for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert not any(process.returncode for process in started), "\n".join(said)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(WORLD)]


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
