"""Memory as it is forecast, beside what processes of their own really reach, for many ways of training."""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config

from benchmarks.logprobs import MODEL, status
from benchmarks.record import Findings, Row
from concord.data.shards import Lengths
from concord.engine import Line, LogProbs
from concord.engine.logprobs import Kind
from concord.engine.precision import still
from concord.train.forecasting.memory import HOLES, SLACK, Costs
from concord.train.forecasting.rehearsal import Way, skeleton
from concord.train.forecasting.work import Stretch, row_costs, work_of
from concord.train.loop import plan_step
from concord.train.models import Lora, Precision
from concord.train.models.adapters import add_lora

__all__ = ["measure"]

_PLAIN: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None}
CONFIGS: dict[str, Any] = {
    "llama of 15M": LlamaConfig(**MODEL, **_PLAIN),
    "qwen2 of 5M": Qwen2Config(
        vocab_size=8000,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        **_PLAIN,
    ),
    "gpt2 of 3M": GPT2Config(vocab_size=8000, n_embd=192, n_layer=4, n_head=6, **_PLAIN),
}
BATCH, STEPS, ROWS = 8, 3, 24


@dataclass(frozen=True)
class Case:
    """A way of training a model."""

    model: str = "llama of 15M"
    budget: int = 2048
    lora: bool = False
    layout: Kind = "forest"
    precision: Precision = "fp32"
    checkpointing: bool = False

    @property
    def way(self) -> Way:
        """As a rehearsal takes it."""
        return Way(self.layout, self.precision, self.checkpointing)

    @property
    def adapter(self) -> Lora | None:
        """What is trained in the place of the weights."""
        return Lora() if self.lora else None


CASES = (
    *(Case(budget=budget, lora=lora) for lora in (False, True) for budget in (512, 1024, 2048, 4096)),
    *(
        Case(budget=budget, lora=lora, checkpointing=True)
        for lora in (False, True)
        for budget in (1024, 4096)
    ),
    *(Case(budget=budget, layout="rows") for budget in (1024, 4096)),
    *(Case(budget=budget, precision="bf16") for budget in (1024, 4096)),
    *(Case("qwen2 of 5M", budget=budget, lora=lora) for lora in (False, True) for budget in (1024, 4096)),
    *(Case("gpt2 of 3M", budget=budget, layout="rows") for budget in (1024, 4096)),
)


def lengths() -> Lengths:
    """Pairs with lengths like those of real data."""
    chance = np.random.default_rng(0)
    prompt = np.clip(chance.lognormal(5.0, 0.5, ROWS), 20, 400).astype(np.int64)
    replies = np.clip(chance.lognormal(4.6, 0.6, (ROWS, 2)), 10, 300).astype(np.int64)
    return Lengths(
        tokens=prompt + replies.sum(1),
        prompt=prompt,
        longest=prompt + replies.max(1),
        trained=replies.sum(1),
        row=np.repeat(np.arange(ROWS), 2),
        reply=np.tile(np.arange(2, dtype=np.int32), ROWS),
        length=(prompt[:, None] + replies).ravel().astype(np.int32),
        learned=replies.ravel().astype(np.int32),
    )


def measure(*, quick: bool = False) -> Findings:
    """All of it."""
    rows: list[Row] = []
    for case in CASES[::6] if quick else CASES:
        begun = perf_counter()
        forecast = predicted(case)
        seconds = perf_counter() - begun
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.forecast", json.dumps(asdict(case))]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
        )
        reached = int(done.stdout.split()[-1])
        rows.append(
            {
                "what": case.model,
                "trained": "LoRA" if case.lora else "all",
                "layout": case.layout,
                "precision": case.precision,
                "checkpoints": "yes" if case.checkpointing else "no",
                "budget": case.budget,
                "forecast MiB": round(forecast),
                "reached MiB": reached,
                "reached / forecast": round(reached / forecast, 2),
                "seconds to forecast": round(seconds, 1),
            }
        )
    ratios = [float(row["reached / forecast"]) for row in rows]
    notes = (
        f"reached / forecast: {min(ratios):.2f} to {max(ratios):.2f}, {np.median(ratios):.2f} at the median",
        f"within a quarter of the forecast: {sum(0.75 <= one <= 1.25 for one in ratios)} of {len(ratios)}",
        "reached: the peak of resident memory of a process that does nothing else",
    )
    settings = {"batch size": BATCH, "steps": STEPS, "rows": ROWS, "slack": dict(SLACK), "holes": dict(HOLES)}
    return Findings("Memory, forecast and reached", {"peak memory": rows}, settings, notes)


def predicted(case: Case) -> float:
    """The forecast, in MiB."""
    schedule = Stretch(steps=STEPS, batch_size=BATCH, budget=case.budget, layout=case.layout)
    costs = Costs.of(skeleton(CONFIGS[case.model], lora=case.adapter), lengths(), case.way)
    return costs.memory(work_of(lengths(), schedule).largest).total / (1 << 20)


def train(case: Case) -> None:
    """Train a model of random weights, all steps of the schedule."""
    torch.manual_seed(0)
    config = CONFIGS[case.model]
    made: Any = AutoModelForCausalLM.from_config(config)
    model: nn.Module = add_lora(made.train(), case.adapter) if case.adapter else made.train()
    if case.checkpointing:
        made.activation_checkpointing_enable()
    still(model)
    engine = LogProbs(model, layout=case.way.layout)
    trained = [weight for weight in engine.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6, fused=True)
    known = lengths()
    costs = row_costs(known, case.layout)
    for step in range(STEPS):
        rows = np.arange(step * BATCH, (step + 1) * BATCH) % ROWS
        for places in plan_step(costs[rows].tolist(), budget=case.budget).parts[0]:
            layout = engine.lay(lines(known, rows[list(places)], config.vocab_size))
            with case.way.cast():
                total = engine(layout=layout).logps.sum()
            total.backward()
            del total
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()


def lines(known: Lengths, rows: Any, vocabulary: int) -> list[Line]:
    """The pairs of some rows, of random tokens."""
    made: list[Line] = []
    for row in rows.tolist():
        chance = np.random.default_rng(row)
        size = int(known.prompt[row])
        prompt = chance.integers(0, vocabulary, size)
        for leaf in np.flatnonzero(known.row == row):
            length = int(known.length[leaf])
            ids = np.concatenate([prompt, chance.integers(0, vocabulary, length - size)])
            made.append(Line(ids, np.array([[size, length]]), len(made)))
    return made


if __name__ == "__main__":
    torch.set_num_threads(2)
    train(Case(**json.loads(sys.argv[1])))
    print(status("VmHWM") >> 10)
