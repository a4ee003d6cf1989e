"""The loop: what k steps, a reload and k steps give is what 2k steps give, bit for bit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from concord import objectives
from concord.data import Prepared
from concord.engine import LogProbs
from concord.errors import InputError, RunError
from concord.estimates import clustered_mean
from concord.objectives import initial_state
from concord.tensors import PerReply, Replies, RunningMean
from concord.train import Loop, Optimizing, Policy, Rows, Stepped, Task, Term, adamw, fit, rate
from concord.train.following import Checkpoints, Evaluator, Recorder, Saver, restore
from concord.train.following.held_out import results_of
from concord.train.loop import chance
from concord.train.loop.fit import Quiet
from concord.train.loop.plan import plan_step
from concord.train.loop.step import evaluate, gradient
from concord.train.models import Moving
from tests.engine.models import llama
from tests.train.made import batch_for, costs, engine_for, offline, rows_for, task_for

CARDS = offline()
HOW = Optimizing(learning_rate=1e-2, warmup_steps=1)
FAMILIES = [
    "sft",
    "dpo",
    "simpo",
    "kto",
    "bco",
    "bco_pair",
    "plackett_luce",
    "bradley_terry",
    "step_bce",
    "aot",
]


def looped(name: str, steps: int = 6, **extra: Any) -> Loop:
    """A loop from scratch, as another process would make it."""
    card = CARDS[name]
    engine = LogProbs(llama(), heads=_heads(card))
    rows = Rows(rows_for(card, 11), batch_size=4, companions=task_for(card).companions, seed=3)
    return Loop(
        Policy(engine),
        [Term(task_for(card), rows)],
        adamw(engine, HOW),
        HOW,
        steps=steps,
        budget=120,
        **extra,
    )


def _heads(card: Any) -> Mapping[str, Any]:
    from concord.engine import RewardHead, StepHead
    from concord.train.loop.records import shape_of

    head = shape_of(card.record).head
    return {head: {"reward": RewardHead, "step": StepHead}[head](32)} if head else {}


def epoch(step: int) -> float:
    """How often the rows have been gone through."""
    return step * 4 / 11


def bits(loop: Loop) -> bytes:
    """All weights and what the optimizer remembers, as bytes."""
    weights = list(loop.policy.engine.parameters())
    kept = [loop.optimizer.state.get(weight, {}) for weight in weights]
    tensors = [*weights, *(state[key] for state in kept for key in sorted(state))]
    return b"".join(part.detach().numpy().tobytes() for part in tensors)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_run_that_was_cut_in_two_is_the_run_that_was_not(name: str, tmp_path: Path) -> None:
    whole: list[Mapping[str, float]] = []
    loop = looped(name)
    fit(loop, [recorder := Recorder(1, epoch, whole.append)])
    first: list[Mapping[str, float]] = []
    recorder = Recorder(1, epoch, first.append)
    begun = looped(name)
    hooks: list[Any] = [recorder]
    saver = Saver(Checkpoints(tmp_path), 3, hooks=hooks)
    hooks.append(saver)
    fit(_until(begun, 3), hooks)
    again = looped(name)
    other = Recorder(1, epoch, first.append)
    held = Checkpoints(tmp_path)
    assert held.latest() == 3
    assert restore(again, held.load(3), held.load_own(3), [other, saver]) == ()
    assert again.step == 3
    fit(again, [other])
    assert bits(again) == bits(loop)
    timeless = [{k: v for k, v in row.items() if k not in TIMED} for row in first]
    assert timeless == [{k: v for k, v in row.items() if k not in TIMED} for row in whole]


TIMED = ("tokens_per_second", "rows_per_second", "step_time", "memory_mb")


def _until(loop: Loop, last: int) -> Loop:
    """A loop that is asked to stop after a step, as an interrupt would."""

    class Watched(Rows):
        def batch(self, step: int) -> Any:
            loop.asked = step + 1 >= last
            return super().batch(step)

    rows = loop.terms[0].source
    assert isinstance(rows, Rows)
    loop.terms[0].source = Watched(rows.rows, rows.batch_size, rows.seed, companions=rows.companions)
    return loop


def test_a_row_of_metrics_that_was_begun_is_gone_on_with(tmp_path: Path) -> None:
    whole: list[Mapping[str, float]] = []
    fit(looped("dpo"), [Recorder(4, epoch, whole.append)])
    loop, parts = looped("dpo"), list[Mapping[str, float]]()
    recorder = Recorder(4, epoch, lambda row: None)
    hooks: list[Any] = [recorder]
    hooks.append(Saver(Checkpoints(tmp_path), 3, hooks=hooks))
    for _ in range(3):
        done = loop.advance()
        for hook in hooks:
            hook.after(loop, done)
    again, held = looped("dpo"), Checkpoints(tmp_path)
    other = Recorder(4, epoch, parts.append)
    restore(again, held.load(3), held.load_own(3), [other, hooks[1]])
    fit(again, [other])
    timeless = [{k: v for k, v in row.items() if k not in TIMED} for row in parts]
    assert timeless == [{k: v for k, v in row.items() if k not in TIMED} for row in whole]
    assert [row["step"] for row in parts] == [4, 6]


def test_a_metric_weighs_steps_by_what_they_count_and_a_loss_does_not() -> None:
    loop, told, steps = looped("kto", steps=5), list[Mapping[str, float]](), list[Stepped]()

    class Kept(Quiet):
        def after(self, loop: Loop, done: Stepped) -> None:
            steps.append(done)

    fit(loop, [Recorder(5, epoch, told.append), Kept()])
    for name in ("rewards/chosen", "rewards/rejected", "kl"):
        counted = [done.metrics[name] for done in steps if name in done.metrics]
        whole = sum(one.sum for one in counted) / sum(one.count for one in counted)
        assert told[0][name] == pytest.approx(whole, rel=1e-12)
    good = [done.metrics["rewards/chosen"] for done in steps]
    assert len({one.count for one in good}) > 1
    assert told[0]["rewards/chosen"] != pytest.approx(sum(one.mean for one in good) / 5, rel=1e-6)
    assert told[0]["loss"] == pytest.approx(sum(done.loss for done in steps) / 5, rel=1e-12)


@pytest.mark.parametrize("name", ["dpo", "bco"])
def test_a_step_that_is_tried_out_leaves_nothing_behind(name: str) -> None:
    loop, plain = looped(name), looped(name)
    before, drawn = bits(loop), chance.states()
    loop.try_out(4)
    assert bits(loop) == before
    assert all(weight.grad is None for weight in loop.weights.values())
    assert not loop.optimizer.state
    # Not Python's own, from which the checker of shapes draws.
    assert all(torch.equal(chance.states()[0][key], drawn[0][key]) for key in ("numpy", "torch"))
    fit(plain)
    fit(loop)
    assert bits(loop) == bits(plain)


def test_what_is_told_of_single_rows_adds_up_to_the_whole() -> None:
    for name, card in CARDS.items():
        task, batch = task_for(card), batch_for(card)
        engine = engine_for(card)
        plan = plan_step(costs(batch), budget=150)
        state = initial_state(task.objective, like=torch.zeros((), dtype=torch.float64))
        done = evaluate(Policy(engine), task, batch, plan, state=state, each=True)
        if task.coupled:
            assert not done.rows, name
            continue
        assert sorted(done.rows) == list(range(len(batch)))
        losses = [done.rows[place]["loss"] for place in range(len(batch))]
        assert sum(one.sum for one in losses) == pytest.approx(float(done.loss), rel=1e-5, abs=1e-6), name
        assert sum(one.count for one in losses) == pytest.approx(1), name
        for metric, whole in done.metrics.items():
            rows = [done.rows[place][metric] for place in range(len(batch))]
            assert sum(one.sum for one in rows) == pytest.approx(float(whole.sum), rel=1e-5, abs=1e-5), name
            assert sum(one.count for one in rows) == float(whole.count), name


def test_results_rest_on_what_they_count_with_intervals_over_prompts() -> None:
    card = CARDS["dpo"]
    term = Term(task_for(card), Rows(rows_for(card, 4), 4), held_out=batch_for(card, 30, seed=4))
    assert term.held_out is not None
    plan = plan_step(costs(term.held_out), budget=10**6)
    done = evaluate(Policy(engine_for(card)), term.task, term.held_out, plan, each=True)
    found = {one.name: one for one in results_of([term], [done])}
    rows = [done.rows[place]["loss"] for place in range(30)]
    plain = clustered_mean([30 * one.sum for one in rows], range(30))
    assert found["eval_loss"].n == 30
    assert found["eval_loss"].value == pytest.approx(plain.value, rel=1e-5)
    interval, wanted = found["eval_loss"].interval, plain.interval
    assert interval is not None
    assert wanted is not None
    assert (interval.low, interval.high) == pytest.approx((wanted.low, wanted.high), rel=1e-5)
    right = found["eval_rewards/accuracies"]
    assert right.interval is not None
    assert 0 <= right.interval.low < (right.value or 0) < right.interval.high <= 1
    tokens = found["eval_nll_loss"]
    assert tokens.n == int(done.metrics["nll_loss"].count) > 30
    assert tokens.interval is not None
    # A ratio estimate: a long reply adds to both sums, and scatters the quotient less than the sum above.
    sums = [done.rows[place]["nll_loss"] for place in range(30)]
    loose = clustered_mean([30 * one.sum / tokens.n for one in sums], range(30)).interval
    assert loose is not None
    assert tokens.interval.high - tokens.interval.low < (loose.high - loose.low) / 2


def test_rows_that_depend_on_each_other_give_results_without_intervals() -> None:
    card = CARDS["kto"]
    term = Term(task_for(card), Rows(rows_for(card, 4), 4), held_out=batch_for(card, 9))
    assert term.held_out is not None
    done = evaluate(
        Policy(engine_for(card)), term.task, term.held_out, plan_step(costs(term.held_out), budget=10**6)
    )
    found = {one.name: one for one in results_of([term], [done])}
    assert found["eval_loss"].interval is None
    assert "depend on each other" in found["eval_loss"].how
    assert (found["eval_rewards/chosen"].n, found["eval_rewards/rejected"].n) == (6, 3)


def test_every_row_is_seen_once_an_epoch_and_the_last_step_has_what_is_left() -> None:
    rows = Rows(rows_for(CARDS["sft"], 11), batch_size=4, positions=22)
    seen = [row.number for step in range(6) for row in rows.batch(step).rows]
    assert sorted(seen[:11]) == sorted(seen[11:]) == list(range(11))
    assert seen[:11] != seen[11:]
    assert len(rows.batch(5)) == 2


def test_loss_falls_and_the_schedule_is_followed() -> None:
    loop, told = looped("sft", steps=12), list[Mapping[str, float]]()
    fit(loop, [Recorder(1, epoch, told.append)])
    assert told[-1]["loss"] < told[0]["loss"] - 0.5
    assert [row["learning_rate"] for row in told] == [rate(HOW, step, 12) for step in range(12)]


def test_schedules_are_those_of_other_trainers() -> None:
    transformers = pytest.importorskip("transformers")
    for name in ("linear", "cosine", "constant_with_warmup"):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
        theirs = transformers.get_scheduler(name, optimizer, num_warmup_steps=3, num_training_steps=20)
        how = Optimizing(learning_rate=0.3, schedule=name.removesuffix("_with_warmup"), warmup_steps=3)  # type: ignore[arg-type]
        for step in range(20):
            assert math.isclose(optimizer.param_groups[0]["lr"], rate(how, step, 20), abs_tol=1e-12)
            optimizer.step()
            theirs.step()


def test_a_loss_that_is_no_number_stops_and_names_the_row() -> None:
    loop = looped("dpo")
    rows = list(loop.terms[0].source.rows)  # type: ignore[attr-defined]
    marked = int(rows[5].rendered.replies[0][0].ids[-1])
    with torch.no_grad():
        for weight in loop.policy.engine.parameters():
            if weight.shape[0] == 128:
                weight[marked] = torch.nan
    before = bits(loop)
    with pytest.raises(
        RunError, match=r"the loss of step 1 is not a finite number; found nan, from .*row \d"
    ):
        loop.advance()
    assert bits(loop) == before or all(
        np.array_equal(one, other, equal_nan=True)
        for one, other in zip(
            np.frombuffer(before, np.float32), np.frombuffer(bits(loop), np.float32), strict=True
        )
    )


def test_a_step_that_runs_out_of_memory_is_redone_in_smaller_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, tight = looped("dpo"), looped("dpo")
    tight.budget = 1000
    forward = LogProbs.forward

    def small(self: LogProbs, *, layout: Any, **given: Any) -> Any:
        if self is tight.policy.engine and layout.ids.numel() > 60:
            raise torch.OutOfMemoryError("nothing is left of 1 GiB")
        return forward(self, layout=layout, **given)

    monkeypatch.setattr(LogProbs, "forward", small)
    one, other = plain.advance(), tight.advance()
    assert math.isclose(one.loss, other.loss, rel_tol=1e-5)
    assert tight.budget < 1000
    assert "ran out of memory with micro-batches of 1,000 tokens" in tight.said[0]


def test_what_cannot_be_made_smaller_says_what_could(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = looped("dpo")

    def never(self: LogProbs, **given: Any) -> Any:
        raise torch.OutOfMemoryError("nothing is left")

    monkeypatch.setattr(LogProbs, "forward", never)
    with pytest.raises(RunError, match=r"the memory does not suffice for step 1.*micro_tokens"):
        loop.advance()


def test_a_moving_reference_follows_and_is_resumed(tmp_path: Path) -> None:
    def made() -> tuple[Loop, Moving]:
        loop = looped("dpo")
        moving = Moving(loop.policy.engine, every=2, mixup=0.6)
        loop.terms[0].task = Task(objectives.dpo, reference=moving.logps)
        return loop, moving

    loop, moving = made()
    told: list[Mapping[str, float]] = []
    fit(loop, [Recorder(1, epoch, told.append), moving])
    assert math.isclose(told[0]["loss"], math.log(2), rel_tol=1e-6)
    half, follows = made()
    hooks: list[Any] = [follows]
    hooks.append(Saver(Checkpoints(tmp_path), 3, hooks=hooks))
    for _ in range(3):
        done = half.advance()
        for hook in hooks:
            hook.after(half, done)
    again, other = made()
    held = Checkpoints(tmp_path)
    restore(again, held.load(3), held.load_own(3), [other, hooks[1]])
    fit(again, [other])
    assert bits(again) == bits(loop)
    ours, theirs = moving.engine.model.state_dict(), other.engine.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_held_out_rows_are_looked_at_before_and_after() -> None:
    loop, told = looped("dpo", steps=4), list[Mapping[str, float]]()
    loop.terms[0].held_out = Rows(rows_for(CARDS["dpo"], 5, seed=9), batch_size=5).of(range(5))
    fit(loop, [Evaluator(3, told.append)])
    assert [row["step"] for row in told] == [0, 3, 4]
    assert {"eval_loss", "eval_rewards/margins"} <= set(told[0])


def test_a_checkpoint_of_a_run_of_another_length_is_refused(tmp_path: Path) -> None:
    fit(looped("sft", steps=2), [Saver(Checkpoints(tmp_path), 0)])
    held = Checkpoints(tmp_path)
    with pytest.raises(RunError, match=r"another length.*found 6 steps"):
        restore(looped("sft", steps=6), held.load(2), held.load_own(2))


def test_a_disk_that_is_full_does_not_end_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: Any, **more: Any) -> Any:
        raise RunError("writing failed; found 'No space left on device'; accepted: room; to do: free space.")

    checkpoints = Checkpoints(tmp_path)
    monkeypatch.setattr(Checkpoints, "save", full)
    loop = looped("sft", steps=2)
    fit(loop, [Saver(checkpoints, 1)])
    assert loop.step == 2
    assert "no checkpoint of step 1: writing failed" in loop.said[0]


def test_mismatched_replies_stand_behind_the_prompt_of_another_row() -> None:
    given: Sequence[Prepared] = rows_for(CARDS["kto"], 7)
    rows = Rows(given, batch_size=7, companions=("mismatched",))
    batch = rows.of(range(7))
    for own, other in zip(batch.rows, batch.companions["mismatched"].rows, strict=True):
        (leaf,), (moved,) = own.rendered.replies[0], other.rendered.replies[0]
        assert other.rendered.prompt.tolist() != own.rendered.prompt.tolist()
        assert any(other.rendered.prompt is one.rendered.prompt for one in given)
        tail = leaf.ids[len(own.rendered.prompt) :]
        assert moved.ids[len(other.rendered.prompt) :].tolist() == tail.tolist()
        assert [moved.ids[a:b].tolist() for a, b in moved.spans] == [
            leaf.ids[a:b].tolist() for a, b in leaf.spans
        ]


def test_a_reply_is_never_put_behind_its_own_prompt_again() -> None:
    # As data are unpaired the usual way: all good replies, then all bad ones, to the same prompts.
    given = rows_for(CARDS["kto"], 8)
    twice = [*given, *(replace(row, number=row.number + 8) for row in given)]
    rows = Rows(twice, batch_size=4, companions=("mismatched",))
    batch = rows.of(range(16))
    for own, other in zip(batch.rows, batch.companions["mismatched"].rows, strict=True):
        assert own.rendered.prompt.tolist() != other.rendered.prompt.tolist()
    with pytest.raises(InputError, match="found 3 rows that ask the same"):
        Rows([given[0]] * 3, batch_size=1, companions=("mismatched",)).of([0])


def test_a_target_is_one_of_the_same_prompt_or_the_next_in_turn() -> None:
    given, targets = rows_for(CARDS["slic_hf"], 4), rows_for(CARDS["sft"], 6, seed=8)
    same = replace(targets[2], rendered=replace(targets[2].rendered, prompt=given[1].rendered.prompt))
    streams = {"target": [*targets[:2], same, *targets[3:]]}
    rows = Rows(given, batch_size=4, companions=("target",), streams=streams)
    found = [rows.batch(step) for step in range(6)]
    pairs = [
        (row, target)
        for batch in found
        for row, target in zip(batch.rows, batch.companions["target"].rows, strict=True)
    ]
    assert all(target is same for row, target in pairs if row is given[1])
    assert {target.number for row, target in pairs if row is not given[1]} == {row.number for row in targets}


def test_a_stateful_objective_is_seen_whole_though_nobody_marked_it() -> None:
    def running(replies: Replies, *, state: RunningMean) -> tuple[PerReply, RunningMean]:
        """One's own.

        loss = -(log pi - mean)

        paper: none
        state: the mean
        """
        after = state.updated(replies.logp)
        return after.mean - replies.logp, after

    batch, plain = batch_for(CARDS["sft"]), [task_for(CARDS["sft"], running)]
    losses: list[float] = []
    for budget in (10**6, 100, 1):
        engine = engine_for(CARDS["sft"])
        state = RunningMean.empty(torch.zeros((), dtype=torch.float64))
        plan = plan_step(costs(batch), budget=budget)
        losses.append(float(gradient(Policy(engine), plain[0], batch, plan, state=state).loss))
    assert losses[1:] == pytest.approx([losses[0]] * 2)
