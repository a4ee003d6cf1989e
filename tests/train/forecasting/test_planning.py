"""What is decided before the first step, and what a few micro-batches say of the time."""

from pathlib import Path
from typing import Any

import pytest
import torch

from concord.engine import LogProbs
from concord.recipes import read_recipe
from concord.train import Loop, Optimizing, Policy, Rows, Term, adamw
from concord.train.forecasting.planning import Where, decided, probe
from concord.train.forecasting.work import Work
from concord.train.models import Sizes, load_trainee, precision_of
from concord.train.ranks import ALONE
from tests.train.forecasting.sized import pairs, sizes
from tests.train.homes import home
from tests.train.made import engine_for, offline, rows_for, task_for


@pytest.mark.parametrize("precision", ["fp32", "pure-bf16"])
def test_weights_are_forecast_in_the_precision_they_are_trained_in(precision: Any, tmp_path: Path) -> None:
    home(tmp_path / "model")
    given = {"method": "sft", "model": str(tmp_path / "model"), "data": "x.jsonl", "train": "full"}
    recipe = read_recipe({**given, "precision": precision})
    device = torch.device("cpu")
    found = decided(
        recipe,
        recipe.model,  # type: ignore[arg-type]
        pairs(8),
        steps=2,
        positions=0,
        where=Where(device, ALONE, precision_of(recipe, device), sharded=False, others={}),
        layout="forest",
        sizes=Sizes(200, 300),
    )
    trained = load_trainee(str(tmp_path / "model"), recipe, device, Sizes(200, 300)).model
    weights = sum(one.nbytes for one in [*trained.parameters(), *trained.buffers()])
    assert sizes(found.memory)["weights"] == pytest.approx(weights, rel=0.01)
    assert sizes(found.memory)["gradients"] == sum(one.nbytes for one in trained.parameters())


def test_a_probe_that_finds_too_little_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    card = offline()["bco"]
    engine = engine_for(card)
    task, rows = task_for(card), Rows(rows_for(card, 8), batch_size=8)
    how = Optimizing(learning_rate=1e-3)
    loop = Loop(Policy(engine), [Term(task, rows)], adamw(engine, how), how, steps=3, budget=1000)
    forward, refused = LogProbs.forward, list[int]()

    def small(self: LogProbs, *, layout: Any, **given: Any) -> Any:
        if layout.ids.numel() > 120:
            refused.append(layout.ids.numel())
            raise torch.OutOfMemoryError("nothing is left of 1 GiB")
        return forward(self, layout=layout, **given)

    monkeypatch.setattr(LogProbs, "forward", small)
    before, state = [weight.detach().clone() for weight in engine.parameters()], loop.terms[0].state
    found = probe(loop, Work(3, 3, 1000, 500, 400, 0, 3))
    assert found is not None
    assert refused
    assert (loop.budget, loop.said, loop.step, loop.optimizer.state) == (1000, [], 0, {})
    assert loop.terms[0].state is state
    assert all(torch.equal(one, other) for one, other in zip(before, engine.parameters(), strict=True))
    assert all(weight.grad is None for weight in engine.parameters())
