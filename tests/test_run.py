"""A run: one identity, one directory, one writer; what it recorded is whole after any crash."""

import errno
import gc
import json
import logging
import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import concord
from concord.errors import InputError, NotFoundError, RunError
from concord.manifest import build_manifest, hash_file, hash_tree, manifest_differences
from concord.run import Run, all_runs, find_run, run_id
from concord.types import Challenge, Interval, Result
from tests.conftest import run_script

SETTINGS: dict[str, Any] = {"beta": 0.1, "steps": 100, "model": {"path": "tiny", "lora": None}}
INPUTS = {"data": "0" * 64, "model": "1" * 64}


def start(root: Path, *, name: str = "dpo", **changed: Any) -> Run:
    return Run.open(
        root, name=name, recipe="beta: 0.1  # as given\n", resolved=SETTINGS | changed, inputs=INPUTS
    )


# Identity.


def test_the_identity_is_of_settings_and_inputs_whatever_their_order() -> None:
    identity = run_id(SETTINGS, INPUTS)
    backwards = {name: SETTINGS[name] for name in reversed(SETTINGS)}
    assert run_id(backwards, dict(reversed(INPUTS.items()))) == identity
    changed = [
        run_id(SETTINGS | {"beta": 0.2}, INPUTS),
        run_id(SETTINGS | {"steps": 100.0}, INPUTS),
        run_id(SETTINGS | {"model": {"path": "tiny", "lora": 0}}, INPUTS),
        run_id(SETTINGS | {"new": None}, INPUTS),
        run_id(SETTINGS, INPUTS | {"data": "2" * 64}),
        run_id(SETTINGS, {"data": INPUTS["model"], "model": INPUTS["data"]}),
        run_id(SETTINGS, {}),
    ]
    assert len({identity, *changed}) == len(changed) + 1
    with pytest.raises(InputError):
        run_id({"beta": math.nan}, {})


def test_hashes_are_of_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a" / "sub").mkdir(parents=True)
    (tmp_path / "a" / "sub" / "x").write_bytes(b"1" * 3_000_000)
    (tmp_path / "a" / "y").write_bytes(b"")
    first = hash_tree(tmp_path / "a")
    assert hash_file(tmp_path / "a" / "y") == hash_tree(tmp_path / "a" / "y")
    assert hash_file(tmp_path / "a" / "y").startswith("e3b0c44298fc1c14")

    os.utime(tmp_path / "a" / "y", (0, 0))
    (tmp_path / "a" / "empty").mkdir()
    assert hash_tree(tmp_path / "a") == first
    (tmp_path / "elsewhere").write_bytes(b"")
    (tmp_path / "a" / "y").unlink()
    (tmp_path / "a" / "y").symlink_to("../elsewhere")  # as model caches do
    assert hash_tree(tmp_path / "a") == first

    (tmp_path / "elsewhere").write_bytes(b"2")
    second = hash_tree(tmp_path / "a")
    (tmp_path / "a" / "sub" / "x").rename(tmp_path / "a" / "sub" / "z")
    assert len({first, second, hash_tree(tmp_path / "a")}) == 3

    (tmp_path / "a" / "sub" / "loop").symlink_to("..")
    with pytest.raises(InputError, match="links back"):
        hash_tree(tmp_path / "a")
    with pytest.raises(NotFoundError, match="none cannot be read"):
        hash_tree(tmp_path / "none")


# The manifest.


def test_a_manifest_names_what_matters_and_survives_json() -> None:
    manifest = build_manifest(
        inputs=INPUTS, seeds={"seed": 7}, extra={"device": "cpu", "rate": 1e-5, "plan": (1, 2)}
    )
    assert manifest["versions"]["concord"] == concord.__version__
    assert manifest["hardware"]["cpus"] >= 1
    assert manifest["hardware"]["memory"] > 1 << 20
    assert manifest_differences(manifest, json.loads(json.dumps(manifest))) == []


def test_differences_are_said_in_words() -> None:
    old = build_manifest(inputs=INPUTS, seeds={"seed": 7}, extra={"kernel": "sdpa"})
    new = json.loads(json.dumps(old))
    new["host"] = "another"
    new["started"] = "later"
    new["hardware"] |= {"memory": 1, "cpus": 1000}
    assert manifest_differences(old, new) == []
    new["hardware"]["threads"] = "77"
    new["versions"] |= {"python": "9.9", "peft": "99"}
    del new["versions"]["concord"]
    new["inputs"]["data"] = "2" * 64
    new["seeds"]["seed"] = 8
    new["extra"] |= {"kernel": "flex", "ranks": 2}
    old["versions"].pop("peft", None)
    assert manifest_differences(old, new) == [
        "kernel was 'sdpa' and is now 'flex'",
        "ranks was absent and is now 2",
        f"the number of threads was {old['hardware']['threads']!r} and is now '77'",
        f"the content of the input 'data' (as a hash) was {'0' * 64!r} and is now {'2' * 64!r}",
        "the seed 'seed' was 7 and is now 8",
        f"the version of concord was {concord.__version__!r} and is now absent",
        "the version of peft was absent and is now '99'",
        f"the version of python was {old['versions']['python']!r} and is now '9.9'",
    ]


# The directory.


def test_a_new_run_has_its_directory(tmp_path: Path) -> None:
    with start(tmp_path / "runs") as run:
        identity = run_id(SETTINGS, INPUTS)
        assert run.path == tmp_path / "runs" / f"dpo-{identity[:12]}"
        names = {
            "recipe.yaml",
            "resolved.json",
            "manifest.json",
            "status.json",
            "checkpoints",
            "samples",
            "lock",
        }
        assert {path.name for path in run.path.iterdir()} == names
        assert (run.id, run.name, run.writable, run.status().state) == (identity, "dpo", True, "new")
        assert run.recipe == "beta: 0.1  # as given\n"
        assert run.resolved == SETTINGS
        assert run.manifest["inputs"] == INPUTS
        assert run.checkpoints.is_dir()
        assert run.samples.is_dir()
        assert [path.name for path in (tmp_path / "runs").iterdir()] == [run.path.name]
    assert not run.writable
    with start(tmp_path / "runs") as again:
        assert (again.path, again.manifest) == (run.path, run.manifest)
    with Run.open(tmp_path, name="data", recipe={"beta": 1}, resolved={}, inputs={}) as other:
        assert json.loads(other.recipe) == {"beta": 1}


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b", "x" * 101, "caf\xe9"])
def test_a_name_that_is_no_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be the name of a run"):
        start(tmp_path, name=name)
    assert not list(tmp_path.iterdir())


def test_a_directory_that_is_not_whole_or_not_ours_is_refused(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        path = run.path
    manifest = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(manifest.replace(run.id, "f" * 64))
    with pytest.raises(RunError, match="belongs to another run"):
        start(tmp_path)
    (path / "manifest.json").unlink()
    with pytest.raises(RunError, match=r"no manifest\.json"):
        start(tmp_path)
    (path / "manifest.json").write_text(manifest)
    start(tmp_path).close()  # and nobody was left holding the lock


def test_a_failed_creation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(RunError, match="free space"):
            start(tmp_path / "runs")
    assert not list((tmp_path / "runs").iterdir())
    unspeakable: Any = {"a": object()}
    with pytest.raises(InputError):
        Run.open(tmp_path, name="x", recipe=unspeakable, resolved={}, inputs={})
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="creating the run directory"):
        start(tmp_path / "file")


def test_what_dead_processes_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    for name, age in ((".creating-a", 7200), (".creating-b", 0)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age, time.time() - age))
    with start(tmp_path) as run:
        (run.path / ".results.json.1-ab.tmp").touch()
    with start(tmp_path) as run:
        assert not (run.path / ".results.json.1-ab.tmp").exists()
    assert {path.name for path in tmp_path.iterdir()} == {run.path.name, ".creating-b"}


# Status.


def test_a_status_is_recorded(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        run.mark("running")
        assert Run(run.path).status().state == "running"
        run.mark("finished", reason="all steps done")
    status = Run(run.path).status()
    assert (status.state, status.reason, status.pid) == ("finished", "all steps done", os.getpid())
    unknown: Any = "sleeping"
    with start(tmp_path) as run, pytest.raises(InputError, match="new, running, finished"):
        run.mark(unknown)
    assert Run(run.path).status().state == "finished"


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (None, "stopped", "closed before it was marked"),
        (ValueError("no loss"), "failed", "ValueError: no loss"),
        (KeyboardInterrupt(), "stopped", "KeyboardInterrupt"),
    ],
)
def test_leaving_a_running_run_says_why(
    tmp_path: Path, error: BaseException | None, state: str, reason: str
) -> None:
    def work() -> None:
        with start(tmp_path) as run:
            run.mark("running")
            if error is not None:
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(type(error)):
            work()
    status = find_run(tmp_path, "dpo").status()
    assert status.state == state
    assert reason in status.reason


# One writer.


def test_a_held_run_names_its_holder(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        with pytest.raises(
            RunError, match=rf"in use by process {os.getpid()} on .*; to do: this process already has it open"
        ):
            start(tmp_path)
        assert run.writable
        with start(tmp_path, beta=0.2) as other:
            assert other.path != run.path
        (run.path / "lock").write_bytes(b"")
        with pytest.raises(RunError, match="in use by another process"):
            start(tmp_path)


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        reader = Run(run.path)
    for use in (
        lambda: reader.mark("running"),
        lambda: reader.append_metrics({}),
        lambda: reader.write_results([]),
        lambda: reader.metrics_offset(),
        lambda: run.truncate_metrics(0),
    ):
        with pytest.raises(RunError, match="reading only"):
            use()


FORKING = """
import os, signal, sys
from concord.errors import RunError
from concord.run import Run, find_run

root = sys.argv[1]

def start(number):
    return Run.open(root, name="race", recipe={}, resolved={"number": number}, inputs={})
"""


def test_of_racing_processes_one_gets_the_run(tmp_path: Path) -> None:
    program = """
for number in range(12):
    said, say = os.pipe()
    wait, go = os.pipe()
    children = []
    for _ in range(4):
        process = os.fork()
        if process == 0:
            os.close(go)
            try:
                with start(number) as run:
                    os.write(say, f"{os.getpid()} {run.path}\\n".encode())
                    os.read(wait, 1)
            except RunError as error:
                os.write(say, f"refused {error}\\n".encode())
            os._exit(0)
        children.append(process)
    os.close(say)
    lines = []
    with os.fdopen(said) as answers:
        for _ in children:
            lines.append(answers.readline())
    os.close(go)
    os.close(wait)
    for process in children:
        os.waitpid(process, 0)
    (winner,) = [line for line in lines if not line.startswith("refused")]
    assert sum(f"in use by process {winner.split()[0]} on" in line for line in lines) == 3, lines
    assert len(os.listdir(root)) == number + 1, os.listdir(root)
"""
    run_script(FORKING + program, tmp_path)


def test_a_dead_holder_is_no_obstacle_even_when_its_children_live(tmp_path: Path) -> None:
    program = """
said, say = os.pipe()
process = os.fork()
if process == 0:
    run = start(0)
    run.mark("running")
    run.append_metrics({"step": 1})
    os.write(int(say), b"x")
    if os.fork() == 0:
        # The worker speaks for itself: by then it has let go of the lock that it was born with.
        os.write(say, f"{os.getpid()}\\n".encode())
    signal.pause()
line = b""
while not line.endswith(b"\\n"):
    line += os.read(said, 100)
assert find_run(root, "race").status().state == "running"
os.kill(process, signal.SIGKILL)
os.waitpid(process, 0)
status = find_run(root, "race").status()
assert (status.state, status.reason.split(" on ")[0]) == ("stopped", f"process {process}"), status
with start(0) as run:
    assert run.status().state == "stopped"
    assert f"process {process} on" in run.status().reason
    assert list(run.read_metrics()) == [{"step": 1}]
os.kill(int(line.strip(b"x\\n")), signal.SIGKILL)
"""
    run_script(FORKING + program, tmp_path)


# Metrics and results.


def test_metrics_are_rows(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"step": 1, "loss": 0.5, "rewards/margins": -1e-30},
        {"step": 2, "loss": math.inf},
    ]
    with start(tmp_path) as run:
        assert list(run.read_metrics()) == []
        assert run.metrics_offset() == 0
        for row in rows:
            run.append_metrics(row)
        assert list(run.read_metrics()) == rows
        offset = run.metrics_offset()
        run.append_metrics({"step": 3, "loss": math.nan})
        assert math.isnan(list(run.read_metrics())[-1]["loss"])
        run.truncate_metrics(offset)
        run.append_metrics({"step": 3})
        for nothing in (object(), "NaN", None, True, [1.0]):
            wrong: Any = {"step": 4, "loss": nothing}
            with pytest.raises(
                InputError, match=r"^loss: wrong type; .*; accepted: a whole number or a number"
            ):
                run.append_metrics(wrong)
    text = (run.path / "metrics.jsonl").read_text()
    assert [json.loads(line)["loss"] for line in text.splitlines()[:2]] == [0.5, "Infinity"]
    assert list(Run(run.path).read_metrics()) == [*rows, {"step": 3}]


def test_metrics_are_cut_only_between_rows(tmp_path: Path) -> None:
    with start(tmp_path) as run:
        run.append_metrics({"step": 1})
        end = run.metrics_offset()
        for offset in (-1, 1, end - 1, end + 1):
            with pytest.raises(RunError, match="no row ends at that byte"):
                run.truncate_metrics(offset)
        assert run.metrics_offset() == end
        run.truncate_metrics(0)
        assert list(run.read_metrics()) == []


def test_a_torn_last_row_is_left_out_aloud_at_every_byte(tmp_path: Path, caplog: Any) -> None:
    with start(tmp_path) as run:
        run.append_metrics({"step": 1})
        first = run.metrics_offset()
        run.append_metrics({"step": 2, "caf\xe9 \U0001f600": math.inf})
    path = run.path / "metrics.jsonl"
    whole = path.read_bytes()
    for length in range(first, len(whole)):
        path.write_bytes(whole[:length])
        caplog.clear()
        assert list(run.read_metrics()) == [{"step": 1}]
        assert ("line 2, the last, is torn" in caplog.text) == (length > first)
    with start(tmp_path) as run:
        run.append_metrics({"step": 2})
        assert list(run.read_metrics()) == [{"step": 1}, {"step": 2}]
    path.write_bytes(b'{"step": 1}\nrubbish\n{"step": 3}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl:2: not JSON"):
        list(run.read_metrics())
    path.write_text('{"step": 1, "note": "NaN?"}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl:1: note: wrong type; found 'NaN\?'.*Or restore"):
        list(run.read_metrics())


@given(st.binary(max_size=30))
def test_any_torn_tail_is_cut(tmp_path_factory: Any, tail: bytes) -> None:
    logging.getLogger("concord.run").setLevel(logging.CRITICAL)
    root = tmp_path_factory.getbasetemp() / "torn"
    with start(root) as run:
        run.truncate_metrics(0)
        run.append_metrics({"step": 1})
    with (run.path / "metrics.jsonl").open("ab") as file:
        file.write(tail.replace(b"\n", b"") or b"x" * 70_000)
    with start(root) as run:
        run.append_metrics({"step": 2})
        assert [row["step"] for row in run.read_metrics()] == [1, 2]
    logging.getLogger("concord.run").setLevel(logging.NOTSET)


def test_a_full_disk_keeps_the_rows_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    with start(tmp_path) as run:
        run.append_metrics({"step": 1})
        for room in range(12):
            left = [room]

            def short(file: int, data: bytes, offset: int, left: list[int] = left) -> int:
                taken = min(3, left[0])
                if taken == 0:
                    raise OSError(errno.ENOSPC, "No space left on device")
                left[0] -= taken
                return real(file, data[:taken], offset)

            with monkeypatch.context() as patched:
                patched.setattr(os, "pwrite", short)
                with pytest.raises(RunError, match="rows before are whole"):
                    run.append_metrics({"step": 2})
            assert (run.path / "metrics.jsonl").read_text() == '{"step": 1}\n'


def test_results_come_back(tmp_path: Path) -> None:
    results = (
        Result(name="L", value=0.5, n=9, interval=Interval(0.4, 0.6), at={"split": "test", "x": 2.0}),
        Result(name="tax", value=math.inf, n=3, challenge=Challenge.TAX, reading="log-probability"),
        Result(name="NaN", value=None, n=0, failures=3, how="Infinity"),
    )
    with start(tmp_path) as run:
        assert run.read_results() == ()
        run.write_results(list(results))
    found = find_run(tmp_path, "dpo").read_results()
    assert found == results
    assert json.loads((run.path / "results.json").read_text())[1]["value"] == "Infinity"
    wrong: Any = [{"name": "L"}]
    with start(tmp_path) as run, pytest.raises(InputError, match=r"^\[0\]: wrong type"):
        run.write_results(wrong)
    (run.path / "results.json").write_text('[{"name": "L", "n": 1}]')
    with pytest.raises(RunError, match=r"results\.json: \[0\]: result lacks 'value'.*Or restore the file"):
        run.read_results()


def test_settings_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^extra\.rate: JSON cannot hold this; found nan"):
        Run.open(tmp_path, name="x", recipe="", resolved={}, inputs={}, extra={"rate": math.nan})
    with pytest.raises(InputError, match=r"^beta: JSON cannot hold this; found inf"):
        Run.open(tmp_path, name="x", recipe={"beta": math.inf}, resolved={}, inputs={})
    with pytest.raises(InputError, match="a key cannot be made"):
        start(tmp_path, beta=math.inf)
    assert not list(tmp_path.glob("[!.]*"))


# Finding.


def test_a_run_is_found_by_directory_name_or_digits(tmp_path: Path) -> None:
    with start(tmp_path, name="sft") as sft, start(tmp_path) as dpo, start(tmp_path, beta=0.2) as stronger:
        assert {run.path for run in all_runs(tmp_path)} == {sft.path, dpo.path, stronger.path}
        for reference in ("sft", sft.path.name, sft.path, str(sft.path)):
            found = find_run(tmp_path, reference)
            assert (found.path, found.writable) == (sft.path, False)
        for reference in (stronger.id, stronger.id[:8], stronger.path):
            assert find_run(tmp_path, reference).path == stronger.path
        with pytest.raises(NotFoundError) as caught:
            find_run(tmp_path, "dpo")
        assert all(run.path.name in str(caught.value) for run in (dpo, stronger))
        with pytest.raises(NotFoundError, match="several"):
            find_run(tmp_path, sft.id[:6])  # two names, one identity
        with pytest.raises(NotFoundError, match="did you mean 'sft'"):
            find_run(tmp_path, "sfx")
        with pytest.raises(NotFoundError, match="no such run"):
            find_run(tmp_path, stronger.id[:3])
    with pytest.raises(NotFoundError, match="nothing yet"):
        find_run(tmp_path / "none", "sft")


# What a hostile tester found.


@pytest.mark.parametrize("replaced", [False, True])
def test_a_run_deleted_while_open_says_so(tmp_path: Path, replaced: bool, caplog: Any) -> None:
    def delete(run: Run) -> None:
        shutil.rmtree(run.path)
        if replaced:
            start(tmp_path).close()

    with pytest.raises(RunError, match="was deleted while it was in use"), start(tmp_path) as run:  # noqa: PT012
        run.mark("running")
        run.append_metrics({"step": 1})
        delete(run)
        for write in (
            lambda: run.append_metrics({"step": 2}),
            lambda: run.mark("finished"),
            lambda: run.write_results([]),
        ):
            with pytest.raises(RunError, match="was deleted while it was in use"):
                write()
    if replaced:
        assert Run(run.path).status().state == "new"
        assert list(Run(run.path).read_metrics()) == []
    with pytest.raises(ZeroDivisionError), start(tmp_path) as run:  # noqa: PT012
        run.mark("running")
        delete(run)
        raise ZeroDivisionError
    assert "was deleted while it was in use" in caplog.text


def test_a_dropped_run_lets_go_of_its_lock(tmp_path: Path) -> None:
    run = start(tmp_path)
    with pytest.raises(RunError, match="this process already has it open: close it, or use `with`"):
        start(tmp_path)
    del run
    gc.collect()
    start(tmp_path).close()


@pytest.mark.parametrize("file", ["manifest.json", "status.json"])
@pytest.mark.parametrize(
    "text", ["[]", "3", "null", '{"x":1}', '{"state":"zzz"}', '{"state":["new"]}', "", "{"]
)
def test_a_malformed_file_spoils_its_own_run_only(tmp_path: Path, file: str, text: str, caplog: Any) -> None:
    with start(tmp_path) as spoilt, start(tmp_path, name="other"):
        pass
    (spoilt.path / file).write_text(text)
    assert [run.name for run in all_runs(tmp_path)] == ["other"]
    assert file in caplog.text
    with pytest.raises(RunError, match=file):
        Run(spoilt.path).status()
    with pytest.raises(RunError, match=file):
        start(tmp_path)
