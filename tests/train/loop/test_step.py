"""A step has one loss, one gradient and one set of metrics, however its rows are split."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from concord.engine.switch import own_kernel
from concord.objectives import initial_state
from concord.objectives.contract import Card
from concord.train.loop.plan import Plan, plan_step
from concord.train.loop.step import Done, Policy, evaluate, gradient
from concord.train.loop.task import Task
from tests.train.made import batch_for, costs, engine_for, offline, small, task_for

CARDS = offline()


def slopes(engine: Any) -> Tensor:
    """The gradient on all weights, flat."""
    return torch.cat([(w.grad if w.grad is not None else w * 0).flatten() for w in engine.parameters()])


def taken(card: Card, task: Task, plan: Plan, **given: Any) -> tuple[Done, Tensor]:
    """One step by a plan: what is said of it, and its gradient."""
    engine, batch = engine_for(card), batch_for(card)
    state = initial_state(task.objective, like=torch.zeros((), dtype=torch.float64))
    done = gradient(Policy(engine), task, batch, plan, state=state, **given)
    return done, slopes(engine)


def test_every_offline_objective_is_here() -> None:
    assert len(CARDS) > 60
    assert {"dpo", "kto", "sft", "slic_hf", "wpo", "step_bce", "generalised_jsd", "grao"} <= set(CARDS)


@pytest.mark.parametrize("name", sorted(CARDS))
def test_a_step_is_the_same_for_every_split(name: str) -> None:
    card = CARDS[name]
    task, batch = task_for(card), batch_for(card)
    plans = [plan_step(costs(batch), budget=budget) for budget in (10**6, 150, 1)]
    assert plans[0].passes == 1 < plans[1].passes < len(batch)
    found = [taken(card, task, plan) for plan in plans]
    (first, slope), *others = found
    # Further heads are float32 whatever the model is.
    tight = 1e-6 if task.shape.head else 1e-7
    assert slope.abs().max() > 0
    for done, other in others:
        assert torch.allclose(done.loss, first.loss, rtol=tight)
        assert (other - slope).norm() <= tight * slope.norm()
        assert set(done.metrics) == set(first.metrics)
        for metric in first.metrics:
            assert torch.allclose(done.metrics[metric].mean, first.metrics[metric].mean, equal_nan=True)
        assert torch.allclose(_numbers(done.state), _numbers(first.state))


def _numbers(state: Any) -> Tensor:
    means = state if isinstance(state, tuple) else () if state is None else (state,)
    return torch.tensor([0.0, *(float(part) for mean in means for part in (mean.mean, mean.count))])


@pytest.mark.parametrize("name", ["dpo", "kto", "sft", "step_bce"])
def test_evaluation_says_what_training_says_and_leaves_no_gradient(name: str) -> None:
    card = CARDS[name]
    task, batch, engine = task_for(card), batch_for(card), engine_for(card)
    plan = plan_step(costs(batch), budget=150)
    done, _ = taken(card, task, plan)
    engine = engine_for(card)
    seen = evaluate(Policy(engine), task, batch, plan)
    assert torch.allclose(seen.loss, done.loss)
    assert all(weight.grad is None for weight in engine.parameters())


def test_dpo_is_what_a_plain_loop_computes() -> None:
    card = CARDS["dpo"]
    done, slope = taken(card, task_for(card), plan_step(costs(batch_for(card)), budget=150))
    model, batch = small(), batch_for(card)
    model.zero_grad()
    losses: list[Tensor] = []
    with own_kernel(model):
        for number, row in enumerate(batch.rows):
            first = float(batch.preference[number])
            ratio = [torch.stack([*_ratios(model, leaf)]).sum() for (leaf,) in row.rendered.replies]
            margin = 0.1 * (ratio[0] - ratio[1])
            # The loss with a soft label, on both sides of it.
            losses.append(-first * logsigmoid(margin) - (1 - first) * logsigmoid(-margin))
    torch.stack(losses).mean().backward()
    plain = torch.cat([weight.grad.flatten() for weight in model.parameters()])
    assert torch.allclose(done.loss, torch.stack(losses).mean().detach(), rtol=1e-6)
    assert (plain - slope).norm() <= 1e-6 * plain.norm()


def _ratios(model: Any, leaf: Any) -> Iterator[Tensor]:
    """The log-ratio of each token that is learned from, by the model's own logits."""
    ids = torch.from_numpy(leaf.ids).long()
    logps = model(input_ids=ids[None]).logits[0].log_softmax(-1)
    for start, stop in leaf.spans.tolist():
        for place in range(start, stop):
            yield logps[place - 1, ids[place]] - (math.sin(int(ids[place])) - 4)


def test_a_token_mean_divides_by_the_tokens_of_the_whole_step() -> None:
    card = CARDS["sft"]
    batch = batch_for(card)
    done, _ = taken(card, task_for(card), plan_step(costs(batch), budget=100))
    assert torch.allclose(done.loss, done.metrics["nll_loss"].mean)
    assert int(done.metrics["nll_loss"].count) == int(batch.lengths.sum())
