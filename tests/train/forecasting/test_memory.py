"""What is held at the fullest moment: sums that add up, and what fits."""

from dataclasses import replace
from pathlib import Path

import pytest

from concord.errors import CapabilityError, InputError
from concord.train.forecasting.memory import (
    BUDGETS,
    LEAST_BUDGET,
    PROCESS,
    SHARE,
    Available,
    Costs,
    Spread,
    available,
    choose,
    memory_class,
)
from concord.train.forecasting.rehearsal import Rehearsed, Way, rehearse, skeleton
from concord.train.forecasting.work import Stretch, as_json, work_of
from tests.train.forecasting.sized import CONFIG, COSTS, lines, pairs, sizes

# --- the sum ----------------------------------------------------------------------------------------------


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


def test_shards_divide_what_stays_and_copies_add_to_it() -> None:
    alone, sharded = sizes(COSTS.memory(100)), sizes(COSTS.memory(100, Spread(ranks=4, sharded=True)))
    for name in ("weights", "gradients", "moments of AdamW"):
        assert sharded[name] == alone[name] // 4
    assert sharded["gathered weights"] == 1400
    assert sizes(COSTS.memory(100, Spread(ranks=2)))["buckets"] == 4000
    assert sizes(COSTS.memory(100, Spread(others={"teacher": 77})))["teacher"] == 77


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
