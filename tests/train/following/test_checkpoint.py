"""A checkpoint is whole or absent, comes back bit for bit, and no damage to it goes unnoticed."""

import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from concord import durable
from concord.errors import InputError, NotFoundError, RunError
from concord.train.following import checkpoint
from concord.train.following.checkpoint import Checkpoints, Facts
from concord.train.ranks import Ranks
from tests.conftest import run_script

FACTS: Facts = {
    "epoch": 0.1,
    "rows": 3,
    "text": "na\u00efve \u2028 \u2603",
    "nested": [{"a": None, "b": [True, -0.0]}],
}
DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32),
    *(torch.uint64, torch.bool, torch.complex64),
]


def filled(step: int) -> dict[str, Tensor]:
    """Tensors of which every number says the step."""
    return {
        "weight": torch.full((40, 3), float(step)),
        "moment": torch.full((5,), step, dtype=torch.bfloat16),
    }


def save(checkpoints: Checkpoints, *steps: int) -> None:
    for step in steps:
        checkpoints.save(step, filled(step), {"step": step}, own=(filled(-step), {"own": step}))


def check(checkpoints: Checkpoints, step: int) -> None:
    """Find in a checkpoint what `save` wrote."""
    for (tensors, facts), sign, name in [
        (checkpoints.load(step), 1, "step"),
        (checkpoints.load_own(step), -1, "own"),
    ]:
        assert facts == {name: step}
        assert tensors.keys() == filled(1).keys()
        assert all(torch.equal(tensors[key], wanted) for key, wanted in filled(sign * step).items())


def bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# What comes back.


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_comes_back_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(1)
    size = torch.empty((), dtype=dtype).element_size()
    raw = torch.randint(0, 2 if dtype is torch.bool else 256, (12 * size,), generator=generator)
    block = raw.to(torch.uint8).view(dtype).view(3, 4)
    given = {"block": block, "turned": block.t(), "every other": block[:, ::2], "inner": block[1:, 1:]}
    given |= {"number": block[1, 2], "empty": block[:0], "nothing": torch.empty(0, dtype=dtype)}
    Checkpoints(tmp_path).save(0, given, {}, own=({"own": block[2]}, {}))
    checkpoints = Checkpoints(tmp_path)
    found = checkpoints.load(0)[0] | checkpoints.load_own(0)[0]
    for name, wanted in {**given, "own": block[2]}.items():
        assert found[name].dtype == dtype
        assert found[name].shape == wanted.shape
        assert bits(found[name]) == bits(wanted)


def test_facts_come_back_as_they_were(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(7, {}, FACTS, own=({}, {"own": 1}))
    assert repr(checkpoints.load(7)) == repr(({}, dict(FACTS)))
    assert checkpoints.load_own(7) == ({}, {"own": 1})
    assert checkpoints.written_by(7) == 1


def test_names_of_one_tensor_are_one_tensor_again_and_are_written_once(tmp_path: Path) -> None:
    embed, head = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)
    head.weight = embed.weight
    state = nn.ModuleDict({"embed": embed, "head": head}).state_dict()
    state |= {"again": embed.weight, "flat": embed.weight.view(36)}
    Checkpoints(tmp_path).save(1, state, {})
    found, _ = Checkpoints(tmp_path).load(1)
    assert found["head.weight"] is found["embed.weight"] is found["again"]
    assert found["flat"].data_ptr() != found["again"].data_ptr()
    assert torch.equal(found["flat"].view(9, 4), found["again"])
    (file,) = (tmp_path / "checkpoint-1").glob("*.safetensors")
    assert sorted(load_file(file)) == ["embed.weight", "flat"]


def test_views_that_stand_for_other_numbers_are_kept_apart(tmp_path: Path) -> None:
    given = torch.tensor([1 + 2j, 3 - 4j])
    state = {"given": given, "conjugate": given.conj(), "imaginary": given.conj().imag, "real": given.real}
    Checkpoints(tmp_path).save(1, state, {})
    found, _ = Checkpoints(tmp_path).load(1)
    assert all(torch.equal(found[name], wanted.resolve_neg()) for name, wanted in state.items())


def test_what_is_loaded_is_memory_of_its_own(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(1, {f"{n}": torch.full((n,), n, dtype=torch.uint8) for n in range(1, 9)}, {})
    checkpoints = Checkpoints(tmp_path)
    found, _ = checkpoints.load(1)
    assert all(tensor.data_ptr() % 64 == 0 for tensor in found.values())
    shutil.rmtree(tmp_path / "checkpoint-1")
    for tensor in found.values():
        tensor += 1
    assert [int(tensor[-1]) for tensor in found.values()] == [n + 1 for n in map(int, found)]


def test_files_are_split_before_they_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "_FILE_BYTES", 100)
    sizes = [10, 15, 5, 20, 1, 60, 2, 0, 24]
    state = {f"{n}": torch.full((size,), float(n)) for n, size in enumerate(sizes)}
    Checkpoints(tmp_path).save(1, state, {})
    files = sorted((tmp_path / "checkpoint-1").glob("*.safetensors"))
    held = [sorted(load_file(file)) for file in files]
    assert held == [["0", "1"], ["2", "3"], ["4"], ["5"], ["6", "7"], ["8"]]
    found, _ = Checkpoints(tmp_path).load(1)
    assert all(torch.equal(found[name], wanted) for name, wanted in state.items())


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.eye(2).to_sparse(), "sparse_coo"),
        (torch.empty(2, device="meta"), "on meta"),
        (torch.empty(0, device="meta"), "on meta"),
        (torch.zeros(2, dtype=torch.complex128), "complex128"),
    ],
)
def test_what_cannot_be_kept_is_named(tmp_path: Path, tensor: Tensor, said: str) -> None:
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1)
    with pytest.raises(InputError, match=rf"'bad' cannot be kept.*{said}"):
        checkpoints.save(2, {"good": torch.ones(2), "bad": tensor}, {})
    with pytest.raises(InputError, match="finite"):
        checkpoints.save(2, {}, {"loss": float("nan")})
    assert names(tmp_path) == ["checkpoint-1"]
    check(checkpoints, 1)


# Which are kept.


def test_the_newest_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    save(checkpoints, 1, 2)
    save(checkpoints, 3, 4, 10)
    assert checkpoints.steps() == (4, 10)
    save(Checkpoints(tmp_path), 12, 13)
    assert checkpoints.steps() == (4, 10, 12, 13)


def test_what_comes_after_a_resumed_step_is_removed_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    save(Checkpoints(tmp_path), 10, 20, 30)
    with caplog.at_level(logging.WARNING):
        save(checkpoints, 15)
    assert checkpoints.steps() == (15,)
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"checkpoint {n} is removed: training went back before it, to 15" for n in (20, 30)]


def test_a_step_can_be_written_again(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(5, {"old": torch.zeros(3)}, {"old": 1})
    assert checkpoints.load(5)[1] == {"old": 1}
    save(checkpoints, 5)
    check(checkpoints, 5)
    assert names(tmp_path) == ["checkpoint-5"]


def test_what_dead_processes_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    ours = [".checkpoint-3.tmp", ".checkpoint-2.77-abcd.tmp"]
    others = ["checkpoint-x", "checkpoint-03", "notes"]
    for name in [*ours, *others]:
        (tmp_path / name / "deep").mkdir(parents=True)
    (tmp_path / "checkpoint-9").write_text("a file")
    checkpoints = Checkpoints(tmp_path, keep=1)
    assert checkpoints.latest() is None
    save(checkpoints, 1, 2)
    assert names(tmp_path) == sorted([*others, "checkpoint-2", "checkpoint-9"])


def test_a_crash_between_two_renames_is_put_right(tmp_path: Path) -> None:
    save(Checkpoints(tmp_path), 4)
    (tmp_path / "checkpoint-4").rename(tmp_path / ".checkpoint-4.previous")
    assert Checkpoints(tmp_path).latest() == 4
    check(Checkpoints(tmp_path), 4)


@pytest.mark.parametrize("keep", [0, -1])
def test_keeping_none_is_refused(tmp_path: Path, keep: int) -> None:
    with pytest.raises(InputError, match="no checkpoint would be kept"):
        Checkpoints(tmp_path, keep)


def test_what_cannot_be_removed_does_not_stop_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    save(checkpoints, 1)

    def refuse(path: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", lambda path, ignore_errors=False: ignore_errors or refuse(path))
        save(checkpoints, 2)
    assert checkpoints.steps() == (2,)
    assert "removing" in caplog.text
    save(checkpoints, 3)
    assert names(tmp_path) == ["checkpoint-3"]


# Damage.


def tampered(path: Path, every: int) -> list[Callable[[], Any]]:
    """Ways to damage a file; the last leaves it as it was."""
    raw = path.read_bytes()
    flips = [bytes([*raw[:n], raw[n] ^ 1, *raw[n + 1 :]]) for n in range(0, len(raw), every)]
    cut = [raw[:-2], raw[: len(raw) // 2], b"", raw + b"x"]
    return [
        *(lambda content=content: path.write_bytes(content) for content in [*flips, *cut]),
        path.unlink,
        lambda: path.write_bytes(raw),
    ]


def test_no_byte_can_change_unnoticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(Checkpoints(tmp_path), 1, 2)
    files = sorted((tmp_path / "checkpoint-2").iterdir())
    assert [file.name for file in files] == [
        *("rank-0-0.safetensors", "rank-0.json", "shared-0.safetensors", "shared.json", "state.json"),
    ]
    for file in files:
        *damages, mend = tampered(file, every=1 if file.name == "state.json" else 17)
        for damage in damages:
            damage()
            caplog.clear()
            checkpoints = Checkpoints(tmp_path)
            assert checkpoints.latest() == 1
            assert "checkpoint 2 is passed over" in caplog.text
            assert "checkpoint-2" in caplog.text.replace("checkpoint 2", "")
            with pytest.raises(RunError, match=r"checkpoint-2.* is damaged; .*another checkpoint"):
                checkpoints.load(2)
        mend()
        assert Checkpoints(tmp_path).latest() == 2
    check(Checkpoints(tmp_path), 1)


def test_the_damaged_file_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(Checkpoints(tmp_path), 1, 2, 3)
    (tmp_path / "checkpoint-3" / "shared-0.safetensors").write_bytes(b"other")
    shutil.copytree(tmp_path / "checkpoint-1", tmp_path / "checkpoint-2", dirs_exist_ok=True)
    assert Checkpoints(tmp_path).latest() == 1
    first, second = (record.getMessage() for record in caplog.records)
    assert "shared-0.safetensors is damaged; found other bytes" in first
    assert "checkpoint-2/state.json is damaged; found what belongs to another checkpoint" in second


def test_where_all_are_damaged_training_does_not_begin_anew(tmp_path: Path) -> None:
    save(Checkpoints(tmp_path), 1, 2)
    for step in (1, 2):
        (tmp_path / f"checkpoint-{step}" / "shared.json").unlink()
    with pytest.raises(
        RunError, match=r"none of the checkpoints .* is whole; .* steps 1, 2; .*start from the"
    ):
        Checkpoints(tmp_path).latest()


def test_a_step_without_a_checkpoint_is_named_with_those_that_have_one(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no checkpoint of step 4.*no checkpoint was written yet"):
        Checkpoints(tmp_path / "none").load(4)
    save(Checkpoints(tmp_path), 2, 3)
    with pytest.raises(NotFoundError, match="found 4; accepted: 2, 3"):
        Checkpoints(tmp_path).load_own(4)


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(RunError, match="looking for checkpoints"):
        Checkpoints(tmp_path / "checkpoints").latest()


# Full disks and killed processes.


@pytest.mark.parametrize("call", ["mkdir", "open", "pwrite", "fsync", "rename", "replace"])
def test_whatever_fails_the_checkpoint_before_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    real, left = getattr(os, call), [0]
    said: list[str] = []
    save(Checkpoints(tmp_path), 1)
    for after in range(40):
        left = [after]

        def failing(*arguments: Any, left: list[int] = left, **named: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, os.strerror(28))
            return real(*arguments, **named)

        with monkeypatch.context() as patched:
            patched.setattr(os, call, failing)
            try:
                save(Checkpoints(tmp_path, keep=1), 2)
            except RunError as error:
                said.append(str(error))
        if left[0] >= 0:
            break
        found = Checkpoints(tmp_path).latest()
        assert found in (1, 2)
        check(Checkpoints(tmp_path), found or 0)
        shutil.rmtree(tmp_path)
        save(Checkpoints(tmp_path), 1)
    assert left[0] >= 0
    assert said
    assert all("whole" in text and "free space" in text for text in said)
    assert names(tmp_path) == ["checkpoint-2"]


FULL = """
import sys
from pathlib import Path
import torch
from concord.errors import RunError
from concord.train.following.checkpoint import Checkpoints

folder, limited = Path(sys.argv[1]), sys.argv[2] == "limited"

def state(step):
    return {"weight": torch.full((50_000,), float(step)), "moment": torch.full((9,), step, dtype=torch.int8)}

def attempt(step):
    try:
        Checkpoints(folder, 1).save(step, state(step), {"step": step}, own=({"rng": torch.tensor(step)}, {}))
    except RunError as error:
        assert "whole" in str(error) and "to do:" in str(error), error
        return False
    return True

def check(step):
    checkpoints = Checkpoints(folder)
    assert checkpoints.latest() == step, checkpoints.steps()
    tensors, facts = checkpoints.load(step)
    assert facts == {"step": step}
    assert all(torch.equal(tensors[name], value) for name, value in state(step).items())
    assert [path.name for path in folder.iterdir() if "tmp" in path.name or "check" in path.name] == [
        f"checkpoint-{step}"
    ]

assert attempt(1)
step, failed, done = 1, 0, 0
if limited:
    import resource
    for size in (0, 20, 100, 300, 400, 1_000, 100_000, 200_000, 300_000, 200_001):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        went = attempt(step + 1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        step, failed, done = step + went, failed + (not went), done + went
        check(step)
else:
    import os
    blocks = 4096
    for free in range(0, 60):
        with open(folder / "ballast", "wb") as file:
            room = os.statvfs(folder)
            file.write(b"x" * max(0, (room.f_bavail - free) * room.f_frsize))
        went = attempt(step + 1)
        (folder / "ballast").unlink()
        step, failed, done = step + went, failed + (not went), done + went
        check(step)
assert failed and done, (failed, done)
assert attempt(step + 1)
check(step + 1)
print(failed, done)
"""


@pytest.mark.slow
def test_a_limit_on_files_leaves_the_checkpoint_before_and_training_can_go_on(tmp_path: Path) -> None:
    failed, done = map(int, run_script(FULL, tmp_path, "limited").split())
    assert failed >= 5
    assert done >= 1


@pytest.mark.slow
def test_a_full_disk_leaves_the_checkpoint_before_and_training_can_go_on(tmp_path: Path) -> None:
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=1m none '{tmp_path}'"
    if (
        not shutil.which("unshare")
        or subprocess.run([*inside, mount], capture_output=True, check=False).returncode
    ):
        pytest.skip("a small file system of one's own cannot be mounted here")
    command = f"{mount} && exec '{sys.executable}' -c '{FULL.replace(chr(39), chr(34))}' '{tmp_path}' full"
    environment = os.environ | {"PYTHONPATH": str(Path(checkpoint.__file__).parents[3])}
    done = subprocess.run([*inside, command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    failed, went = map(int, done.stdout.split())
    assert failed > 10
    assert went > 1


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from concord.train.following.checkpoint import Checkpoints

torch.set_num_threads(1)  # threads that were begun before a fork are missing after it
folder, chance = Path(sys.argv[1]), random.Random(3)

def state(step):
    return {f"{n}": torch.full((100_000,), float(step + n)) for n in range(3)}

def train(done):
    checkpoints = Checkpoints(folder, 2)
    step = checkpoints.latest() or 0
    while True:
        os.write(done, b".")
        step += 1
        checkpoints.save(step, state(step), {"step": step}, own=({"rng": torch.tensor(step)}, {}))

newest = died = 0
for turn in range(12):
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        train(writes)
    os.close(writes)
    assert os.read(reads, 1)
    began = time.monotonic()
    if turn > 3:
        assert os.read(reads, 1)
    took = max(0.005, time.monotonic() - began)
    time.sleep(chance.uniform(0, 1.5) * took)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reads)
    died += any(".tmp" in path.name for path in folder.glob(".check*"))
    checkpoints = Checkpoints(folder)
    step = checkpoints.latest()
    if step is None:
        assert not newest
        continue
    assert step >= newest
    assert len(checkpoints.steps()) <= 3
    newest = step
    for each in checkpoints.steps():
        tensors, facts = checkpoints.load(each)
        assert facts == {"step": each} and checkpoints.load_own(each)[0]["rng"] == each
        assert all(torch.equal(tensors[name], value) for name, value in state(each).items())
print(newest, died)
"""


@pytest.mark.slow
def test_killed_at_any_moment_the_latest_loads(tmp_path: Path) -> None:
    newest, died = map(int, run_script(KILLED, tmp_path / "checkpoints").split())
    assert newest > 8
    assert died


# Several ranks.


@dataclass
class Room:
    """Where threads that stand for ranks meet."""

    count: int
    barrier: threading.Barrier = field(init=False)
    said: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.count, timeout=20)
        self.said = [None] * self.count


@dataclass(frozen=True)
class Seat(Ranks):
    """A rank that is a thread of the test."""

    room: Room = field(default_factory=lambda: Room(1))

    def everybody(self, value: Any) -> Sequence[Any]:
        self.room.said[self.rank] = value
        self.room.barrier.wait()
        said = list(self.room.said)
        self.room.barrier.wait()
        return said

    def told(self, value: Any) -> Any:
        return self.everybody(value)[0]


def together(count: int, work: Callable[[Ranks], Any]) -> list[Any]:
    """Do the work on so many ranks; what each returns or raises."""

    def guarded(rank: int) -> Any:
        try:
            return work(Seat(rank, count, room))
        except (RunError, InputError) as error:
            return error

    room = Room(count)
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(guarded, range(count)))


def save_together(folder: Path, step: int, count: int = 3) -> list[Any]:
    def work(ranks: Ranks) -> Path:
        own = ({"rng": torch.tensor([step, ranks.rank])}, {"rank": ranks.rank})
        shared = filled(step) if ranks.first else {}
        return Checkpoints(folder, 1, ranks=ranks).save(step, shared, {"step": step}, own=own)

    return together(count, work)


def test_each_rank_finds_its_own_and_what_is_shared(tmp_path: Path) -> None:
    assert save_together(tmp_path, 4) == [tmp_path / "checkpoint-4"] * 3
    assert save_together(tmp_path, 5) == [tmp_path / "checkpoint-5"] * 3
    assert names(tmp_path) == ["checkpoint-5"]

    def work(ranks: Ranks) -> tuple[Any, ...]:
        checkpoints = Checkpoints(tmp_path, ranks=ranks)
        step = checkpoints.latest() or 0
        (tensors, facts), (own, own_facts) = checkpoints.load(step), checkpoints.load_own(step)
        assert torch.equal(tensors["weight"], filled(5)["weight"])
        return step, facts, own["rng"].tolist(), own_facts, checkpoints.written_by(step)

    assert together(3, work) == [(5, {"step": 5}, [5, rank], {"rank": rank}, 3) for rank in range(3)]
    with pytest.raises(RunError, match="another number of them; found 1 here; accepted: 3"):
        Checkpoints(tmp_path).load_own(5)
    assert Checkpoints(tmp_path).load(5)[1] == {"step": 5}


@pytest.mark.parametrize("name", ["rank-1.json", "rank-2-0.safetensors", "shared.json", "state.json"])
def test_where_one_rank_fails_all_do_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    save_together(tmp_path, 4)
    real = checkpoint.hash_file if name.endswith("safetensors") else durable.write_bytes
    module, function = (checkpoint, "hash_file") if name.endswith("safetensors") else (durable, "write_bytes")

    def failing(path: Path, *content: bytes) -> Any:
        if path.name == name:
            raise OSError(28, os.strerror(28))
        return real(path, *content)

    with monkeypatch.context() as patched:
        patched.setattr(module, function, failing)
        said = save_together(tmp_path, 5)
    rank = int(name[5]) if name.startswith("rank") else 0
    for place, error in enumerate(said):
        assert isinstance(error, RunError)
        assert "checkpoints before it are whole" in str(error)
        assert "No space left" in str(error)
        assert (f"rank {rank}:" in str(error)) == (place != rank)
    assert names(tmp_path) == ["checkpoint-4"]
    assert together(3, lambda ranks: Checkpoints(tmp_path, ranks=ranks).latest()) == [4, 4, 4]
    assert save_together(tmp_path, 5) == [tmp_path / "checkpoint-5"] * 3


def test_a_rank_on_another_disk_is_told(tmp_path: Path) -> None:
    def work(ranks: Ranks) -> Path:
        return Checkpoints(tmp_path / str(ranks.rank), ranks=ranks).save(1, {}, {})

    first, second = together(2, work)
    assert "another rank failed; found rank 1: this rank does not see the folder" in str(first)
    assert "put the folder of runs on such a disk" in str(second)


def test_every_rank_hears_that_all_are_damaged(tmp_path: Path) -> None:
    save_together(tmp_path, 4)
    (tmp_path / "checkpoint-4" / "rank-2.json").unlink()
    said = together(3, lambda ranks: Checkpoints(tmp_path, ranks=ranks).latest())
    assert all("none of the checkpoints" in str(error) for error in said)
