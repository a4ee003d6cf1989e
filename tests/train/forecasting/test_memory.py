"""What a training is forecast to take: sums that add up, tokens of real plans, honest times."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig

from concord.data import row_at
from concord.data.shards import Lengths
from concord.engine import Line, LogProbs
from concord.errors import CapabilityError, InputError
from concord.recipes import read_recipe
from concord.train import Loop, Optimizing, Policy, Rows, Term, adamw
from concord.train.forecasting.memory import (
    BUDGETS,
    LEAST_BUDGET,
    PROCESS,
    SHARE,
    Available,
    Costs,
    Memory,
    Spread,
    Stretch,
    Work,
    as_json,
    available,
    choose,
    compare,
    memory_class,
    row_costs,
    time_for,
    work_of,
)
from concord.train.forecasting.planning import Where, decided, probe
from concord.train.forecasting.rehearsal import Rehearsed, Way, rehearse, skeleton
from concord.train.loop import plan_rows, plan_step
from concord.train.models import Lora, Sizes, load_trainee, precision_of
from concord.train.ranks import ALONE
from tests.train.homes import home
from tests.train.made import engine_for, offline, rows_for, task_for

CONFIG = LlamaConfig(
    vocab_size=300,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=4,
    bos_token_id=None,
    eos_token_id=None,
)
WEIGHTS = sum(weight.numel() for weight in LlamaForCausalLM(CONFIG).parameters())


def pairs(count: int, *, seed: int = 0) -> Lengths:
    """Lengths of pairs."""
    chance = np.random.default_rng(seed)
    prompt, replies = chance.integers(20, 60, count), chance.integers(5, 40, (count, 2))
    return Lengths(
        tokens=prompt + replies.sum(1),
        prompt=prompt,
        longest=prompt + replies.max(1),
        trained=replies.sum(1),
        row=np.repeat(np.arange(count), 2),
        reply=np.tile(np.arange(2, dtype=np.int32), count),
        length=(prompt[:, None] + replies).ravel().astype(np.int32),
        learned=replies.ravel().astype(np.int32),
    )


def lines(rows: int = 4, prompt: int = 40, reply: int = 20) -> list[Line]:
    """Pairs of random tokens."""
    chance = np.random.default_rng(0)
    made: list[Line] = []
    for _ in range(rows):
        begin = chance.integers(0, 300, prompt)
        for _ in range(2):
            ids = np.concatenate([begin, chance.integers(0, 300, reply)])
            made.append(Line(ids, np.array([[prompt, prompt + reply]]), len(made)))
    return made


# --- rehearsals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["forest", "rows"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_rehearsal_counts_what_autograd_really_keeps(layout: str, precision: str) -> None:
    way = Way(layout, precision)  # type: ignore[arg-type]
    found = rehearse(skeleton(CONFIG), lines(), way)
    assert (found.parameters, found.trained) == (WEIGHTS, WEIGHTS)
    assert found.gradients == 4 * WEIGHTS

    torch.manual_seed(0)
    engine = LogProbs(LlamaForCausalLM(CONFIG).train(), layout=way.layout)
    own = {weight.untyped_storage().data_ptr() for weight in engine.parameters()}
    kept: dict[int, int] = {}

    def pack(one: torch.Tensor) -> torch.Tensor:
        storage = one.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return one

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one), way.cast():
        values = engine(layout=engine.lay(lines())).logps
    assert len(values) == 4 * 2 * 20
    # Storages that were let go of on the way may have had the same place in memory: never more than all.
    assert sum(kept.values()) == pytest.approx(found.kept, rel=0.1)


def test_a_rehearsal_makes_no_weights_and_draws_no_chance() -> None:
    huge = LlamaConfig(
        vocab_size=32_000,
        hidden_size=8192,
        intermediate_size=28_672,
        num_hidden_layers=2,
        num_attention_heads=64,
        num_key_value_heads=8,
        bos_token_id=None,
        eos_token_id=None,
    )
    before = torch.get_rng_state()
    found = rehearse(skeleton(huge, dtype=torch.bfloat16), lines(1), Way(precision="bf16"))
    assert found.weights > 5 << 30
    assert torch.equal(before, torch.get_rng_state())


def test_an_adapter_on_layers_that_are_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="no layer of this name to adapt; found 'nosuch'"):
        skeleton(CONFIG, lora=Lora(target_modules=["nosuch"]))()


def test_checkpoints_keep_less_and_adapters_train_less() -> None:
    whole, again, lora = (
        rehearse(skeleton(CONFIG, lora=adapter), lines(3), Way(checkpointing=checkpointing))
        for checkpointing, adapter in ((False, None), (True, None), (False, Lora(r=2)))
    )
    assert again.kept < whole.kept / 3
    assert again.kept + again.passing < whole.kept + whole.passing
    assert 0 < lora.trained < WEIGHTS / 5
    assert lora.gradients == 4 * lora.trained
    assert lora.weights == whole.weights + lora.gradients
    small = rehearse(skeleton(CONFIG, lora=Lora(r=2)), lines(3), Way(quant="4bit"))
    inside = 2 * (4 * 32 * 32 + 3 * 32 * 64)
    assert lora.weights - small.weights == pytest.approx(inside * (4 - 0.5 - 1 / 64), rel=1e-3)


def test_a_rehearsal_runs_experts() -> None:
    config = MixtralConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
    )
    small, large = (rehearse(skeleton(config), lines(rows), Way()) for rows in (1, 3))
    assert large.kept > 2 * small.kept


# --- the sum ----------------------------------------------------------------------------------------------


COSTS = Costs(
    Way(),
    Rehearsed(1000, 1000, 4000, 4000, tokens=100, kept=50_000, passing=9000, largest=700),
    Rehearsed(1000, 1000, 4000, 4000, tokens=300, kept=150_000, passing=11_000, largest=700),
)


def sizes(memory: Memory) -> dict[str, int]:
    """The terms by name."""
    return {part.name: part.bytes for part in memory.parts}


def test_the_sum_is_that_of_its_terms_and_they_grow_along_a_line() -> None:
    memory = COSTS.memory(1000)
    found = sizes(memory)
    assert memory.total == sum(found.values())
    assert (found["weights"], found["gradients"], found["moments of AdamW"]) == (4000, 4000, 8000)
    assert (found["kept for the backward"], found["passing by"]) == (500_000, 18_000)
    assert len([*memory.lines]) == len(found) + 1
    assert COSTS.micro(1)[0] == 500


def test_what_a_gpu_counts_leaves_its_context_out() -> None:
    machine, gpu = COSTS.memory(1000), COSTS.memory(1000, Spread(device="cuda:0"))
    assert machine.seen == machine.total
    assert gpu.seen == gpu.total - PROCESS["cuda"]
    work = work_of(pairs(8), Stretch(steps=2, batch_size=4, budget=300))
    assert as_json(work, gpu, None)["memory_mb"] == gpu.seen / 2**20


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


def test_shards_divide_what_stays_and_copies_add_to_it() -> None:
    alone, sharded = sizes(COSTS.memory(100)), sizes(COSTS.memory(100, Spread(ranks=4, sharded=True)))
    for name in ("weights", "gradients", "moments of AdamW"):
        assert sharded[name] == alone[name] // 4
    assert sharded["gathered weights"] == 1400
    assert sizes(COSTS.memory(100, Spread(ranks=2)))["buckets"] == 4000
    assert sizes(COSTS.memory(100, Spread(others={"teacher": 77})))["teacher"] == 77


# --- what fits --------------------------------------------------------------------------------------------


def heavy(stays: int, a_token: int) -> Costs:
    """A way that holds so many bytes, and so many for each token."""
    small, large = (
        Rehearsed(1, 1, stays, 0, tokens=size, kept=a_token * size, passing=0, largest=0)
        for size in (100, 300)
    )
    return Costs(Way(), small, large)


def machine(total: int, free: int = 1 << 50) -> Available:
    return Available("cpu", total, free, "said")


def test_the_first_way_that_fits_is_taken_in_micro_batches_that_fit() -> None:
    total = 8 << 30
    chosen = choose(
        {"full": heavy(9 << 30, 1 << 20), "lora": heavy(1 << 30, 1 << 20)}, machine(total), least=10
    )
    assert chosen.name == "lora"
    assert chosen.budget >= LEAST_BUDGET
    assert chosen.memory.total <= SHARE * total
    assert any("full does not fit" in line for line in chosen.lines)
    assert chosen.budget == BUDGETS["cpu"], "no larger one is of use"
    tight = choose({"lora": heavy(1 << 30, 5 << 20)}, machine(total), least=10)
    more = heavy(1 << 30, 5 << 20).memory(tight.budget + 256)
    assert tight.budget < BUDGETS["cpu"]
    assert more.total > SHARE * total, "a larger one would not have fitted"


def test_what_fits_does_not_hang_on_what_is_free_or_on_some_megabytes() -> None:
    ways = {"full": heavy(1 << 30, 1 << 20)}
    calm, busy = choose(ways, machine(8 << 30), least=10), choose(ways, machine((8 << 30) + 999, 5), least=10)
    assert calm.budget == busy.budget
    assert any("at this moment only" in line for line in busy.lines)
    assert not any("at this moment only" in line for line in calm.lines)


def test_a_row_that_is_larger_than_a_budget_is_what_must_fit() -> None:
    chosen = choose({"full": heavy(0, 1 << 10)}, machine(8 << 30), least=10_000)
    assert chosen.budget == 10_000
    with pytest.raises(CapabilityError, match=r"does not fit into memory.*full: .*gradient_checkpointing"):
        choose({"full": heavy(0, 1 << 20)}, machine(8 << 30), least=10_000)


@pytest.mark.parametrize(
    ("total", "found"), [(24 << 30, 24 << 30), ((24 << 30) - 1, 22 << 30), (7, 7), (0, 0)]
)
def test_a_class_of_memory_is_an_eighth_of_a_power_of_two(total: int, found: int) -> None:
    assert memory_class(total) == found


def files(root: Path, texts: dict[str, str]) -> Path:
    """Files below a folder."""
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = "MemTotal:  1000 kB\nMemFree:  1 kB\nMemAvailable:  800 kB\n"


def test_memory_is_what_the_machine_has_or_what_a_container_gives(tmp_path: Path) -> None:
    plain = available("cpu", root=files(tmp_path / "a", {"proc/meminfo": MEMINFO}))
    assert (plain.total, plain.free) == (1000 << 10, 800 << 10)
    second = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "0::/one/two\n",
        "sys/fs/cgroup/one/two/memory.max": "max\n",
        "sys/fs/cgroup/one/two/memory.current": "7\n",
        "sys/fs/cgroup/one/memory.max": "409600\n",
        "sys/fs/cgroup/one/memory.current": "9600\n",
    }
    found = available("cpu", root=files(tmp_path / "b", second))
    assert (found.total, found.free) == (409_600, 400_000)
    assert found.how.endswith("one/memory.max")
    first = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "4:cpu,memory:/x\n3:pids:/\n",
        "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/x/memory.usage_in_bytes": "5\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "204800\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "204801\n",
    }
    found = available("cpu", root=files(tmp_path / "c", first))
    assert (found.total, found.free) == (204_800, 0)


def test_memory_of_this_machine_is_known() -> None:
    found = available()
    assert 0 < found.free <= found.total
    assert "memory of cpu" in next(found.lines)


# --- tokens -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["forest", "rows"])
def test_tokens_are_those_that_the_engine_lays_out(layout: str) -> None:
    lengths, stretch = (
        pairs(12),
        Stretch(steps=4, batch_size=5, budget=250, positions=18, layout=layout, seed=3),
    )
    engine = LogProbs(LlamaForCausalLM(CONFIG), layout=layout)  # type: ignore[arg-type]
    tokens, passes, largest = 0, 0, 0
    for first in range(0, 18, 5):
        rows = [row_at(place, 12, 3) for place in range(first, min(first + 5, 18))]
        leaves = [int((lengths.row == number).sum()) for number in rows]
        shapes = list(zip(leaves, lengths.longest[rows].tolist(), strict=True))
        plan = (
            plan_rows(shapes, budget=250)
            if layout == "rows"
            else plan_step(row_costs(lengths, layout)[rows].tolist(), budget=250)
        )
        passes += plan.passes
        for places in plan.parts[0]:
            made: list[Line] = []
            for number in (rows[place] for place in places):
                for leaf in np.flatnonzero(lengths.row == number):
                    ids = np.full(lengths.length[leaf], len(made))
                    ids[: lengths.prompt[number]] = 100 + number
                    made.append(Line(ids))
            laid = engine.lay(made).tokens
            tokens, largest = tokens + laid, max(largest, laid)
    found = work_of(lengths, stretch)
    assert (found.tokens, found.passes, found.largest, found.planned) == (tokens, passes, largest, 4)
    assert found.trained == sum(int(lengths.trained[row_at(place, 12, 3)]) for place in range(18))


def test_the_fullest_step_is_that_of_the_largest_micro_batch() -> None:
    lengths = pairs(12)
    long = int(row_at(np.arange(12), 12, 3)[7])
    lengths.tokens[long] += 1000
    found = work_of(lengths, Stretch(steps=6, batch_size=2, budget=5000, seed=3))
    assert (found.fullest, found.largest > 1000) == (3, True)


def test_an_epoch_counts_every_row_once_and_ranks_share_passes() -> None:
    lengths = pairs(40)
    alone = work_of(lengths, Stretch(steps=5, batch_size=8, budget=300))
    shared = work_of(lengths, Stretch(steps=5, batch_size=8, budget=300, ranks=2))
    assert alone.tokens == shared.tokens == int(lengths.tokens.sum())
    assert alone.passes > shared.passes
    assert len([*alone.lines]) == 2


def test_long_runs_are_reckoned_from_their_first_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths, stretch = pairs(10), Stretch(steps=40, batch_size=5, budget=1000)
    whole = work_of(lengths, stretch)
    monkeypatch.setattr("concord.train.forecasting.memory._MOST_STEPS", 2)
    part = work_of(lengths, stretch)
    assert (part.tokens, part.trained, part.steps) == (whole.tokens, whole.trained, 40)
    assert part.planned == 2
    assert "from the first 2" in next(part.lines)


# --- time -------------------------------------------------------------------------------------------------


def test_a_time_is_a_ratio_with_an_interval_that_narrows() -> None:
    exact = time_for([(100, 1.0), (200, 2.0), (50, 0.5)], 10_000, beside=7)
    assert exact.value == pytest.approx(107)
    assert exact.interval is not None
    assert exact.interval.high - exact.interval.low == pytest.approx(0, abs=1e-9)
    chance = np.random.default_rng(0)

    def probed(count: int) -> list[tuple[int, float]]:
        counts = chance.integers(100, 300, count)
        return [(int(one), float(one * 0.01 * chance.uniform(0.8, 1.2))) for one in counts]

    held = 0
    for _ in range(200):
        found = time_for(probed(6), 50_000)
        assert found.interval is not None
        held += found.interval.low <= 500 <= found.interval.high
    assert 180 <= held <= 199, "an interval of 95% holds the truth about that often"


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


def test_one_micro_batch_gives_no_interval_and_none_is_refused() -> None:
    assert time_for([(100, 1.0)], 720_000).line == "time: about 2 h 00 min"
    assert time_for([(100, 1.0)], 7200).line == "time: about 72 s"
    assert "between" in time_for([(100, 1.0), (100, 1.2)], 5000).line
    for bad in ([], [(0, 1.0)]):
        with pytest.raises(InputError, match="cannot be forecast"):
            time_for(bad, 10)


# --- afterwards -------------------------------------------------------------------------------------------


def test_a_forecast_is_kept_as_numbers_and_compared_with_what_happened() -> None:
    work = work_of(pairs(8), Stretch(steps=2, batch_size=4, budget=300))
    kept = json.loads(
        json.dumps(as_json(work, COSTS.memory(work.largest), time_for([(10, 1.0)], work.tokens)))
    )
    found = compare(kept, {"tokens": 2.0 * work.tokens, "seconds": 1.0, "unheard": 3.0})
    assert set(found) == {"tokens", "seconds"}
    assert found["tokens"]["ratio"] == 2


def test_nothing_cannot_be_rehearsed() -> None:
    lengths = pairs(3)
    none = replace(lengths, tokens=lengths.tokens[:0])
    with pytest.raises(InputError, match="nothing to forecast"):
        Costs.of(skeleton(CONFIG), none, Way())


def test_costs_of_data_follow_a_rehearsal_of_a_larger_micro_batch() -> None:
    lengths = pairs(30)
    costs = Costs.of(skeleton(CONFIG), lengths, Way())
    found = rehearse(skeleton(CONFIG), lines(8, 45, 20), Way())
    assert costs.micro(found.tokens)[0] == pytest.approx(found.kept, rel=0.1)
