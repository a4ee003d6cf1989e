"""Files and directories that are whole or absent, whenever the disk fills up or the process dies."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord import durable
from concord.durable import publish_directory, read_json, recover_directory, write_bytes, write_json
from concord.errors import InputError, RunError
from tests.conftest import run_script

CALLS = ("open", "pwrite", "fsync", "rename", "replace")


class Failing:
    """Lets the first calls through, then fails as a full disk does."""

    def __init__(self, patched: pytest.MonkeyPatch, *, after: int, call: str) -> None:
        self.left = after
        real = getattr(os, call)

        def failing(*arguments: Any, **named: Any) -> Any:
            if self.left == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.left -= 1
            return real(*arguments, **named)

        patched.setattr(os, call, failing)


def tree(root: Path, content: str) -> Path:
    (root / "deep" / "er").mkdir(parents=True)
    for name in ("weights", "deep/state", "deep/er/rng"):
        (root / name).write_text(content)
    return root


def content(root: Path) -> set[str]:
    names = ("weights", "deep/state", "deep/er/rng")
    return {(root / name).read_text() for name in names}


# JSON.

SPELLED = st.sampled_from(["NaN", "Infinity", "-Infinity"])
LEAVES = st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.booleans() | st.none()
TREES = st.recursive(
    LEAVES | st.text() | SPELLED,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(TREES)
def test_json_is_legal_and_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "tree.json"
    write_json(path, value)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(path.read_text(), parse_constant=refuse)
    assert repr(read_json(path)) == repr(value)


def test_text_is_never_read_as_a_number(tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", {"text": "NaN", "more": ["Infinity", (1, "x")]})
    assert read_json(tmp_path / "file.json") == {"text": "NaN", "more": ["Infinity", [1, "x"]]}


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"a": [{1, 2}]}, r"^a\[0\]: JSON cannot hold this; found a Python set"),
        ({"a": [{1: 2}]}, r"^a\[0\]: .* a key to text"),
        (b"x", "^JSON cannot hold this; found a Python bytes"),
        ({"rate": float("nan")}, "^rate: .*; found nan; accepted: .* finite numbers"),
        ({"rate": float("-inf")}, "^rate: .*; found -inf;"),
    ],
)
def test_what_json_cannot_hold_is_named_and_nothing_is_written(
    tmp_path: Path, value: object, named: str
) -> None:
    with pytest.raises(InputError, match=named):
        write_json(tmp_path / "file.json", value)
    assert not list(tmp_path.iterdir())


def test_json_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="cannot be read"):
        read_json(tmp_path / "none.json")
    (tmp_path / "torn.json").write_text('{"a": ')
    with pytest.raises(RunError, match=r"torn\.json: not JSON: .*; to do: mend .* Or restore the file"):
        read_json(tmp_path / "torn.json")
    (tmp_path / "illegal.json").write_text('{"a": NaN}')
    with pytest.raises(RunError, match=r"illegal\.json: a: JSON cannot hold this; found nan"):
        read_json(tmp_path / "illegal.json")


# Files.


@pytest.mark.parametrize("call", CALLS)
def test_a_file_is_whole_whatever_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "file"
    write_bytes(path, b"old")
    failures: list[str] = []
    for after in range(10):
        with monkeypatch.context() as patched:
            Failing(patched, after=after, call=call)
            try:
                write_bytes(path, b"new" * 1000)
            except RunError as error:
                failures.append(str(error))
        assert path.read_bytes() in (b"old", b"new" * 1000)
        assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"new" * 1000
    assert failures or call == "rename"
    assert all("before is whole" in failure and "free space" in failure for failure in failures)


def test_a_missing_directory_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"none/file failed.*No such file"):
        write_bytes(tmp_path / "none" / "file", b"x")


# Directories.


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("call", ["open", "fsync", "rename"])
def test_a_directory_is_whole_whatever_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(durable, "_exchange", lambda *_: False)
    final = tmp_path / "final"
    publish_directory(tree(tmp_path / "first", "old"), final)
    assert content(final) == {"old"}
    failures: list[str] = []
    for after in range(14):
        filled = tree(tmp_path / f"aside-{after}", "new")
        with monkeypatch.context() as patched:
            Failing(patched, after=after, call=call)
            try:
                publish_directory(filled, final)
            except RunError as error:
                failures.append(str(error))
        recover_directory(final)  # where renames fail, the one that takes back the first may fail as well
        assert content(final) in ({"old"}, {"new"})
    assert len(failures) < 14
    assert all("before is whole" in failure for failure in failures)
    assert content(final) == {"new"}


def test_a_tree_is_synced_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled, final = tree(tmp_path / "aside", "new"), tmp_path / "final"
    inside = {path.stat().st_ino for path in (filled, *filled.rglob("*"))}
    synced: set[int] = set()
    real = os.fsync

    def fsync(file: int) -> None:
        if not final.exists():
            synced.add(os.fstat(file).st_ino)
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    publish_directory(filled, final)
    assert synced == inside


def test_where_names_can_be_exchanged_the_directory_is_never_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tree(tmp_path / "first", "1"), tree(tmp_path / "second", "2")
    if not durable._exchange(first, second):  # pyright: ignore[reportPrivateUsage]
        pytest.skip("this system or file system cannot exchange two names")
    assert (content(first), content(second)) == ({"2"}, {"1"})
    Failing(monkeypatch, after=0, call="rename")
    publish_directory(first, second)
    assert content(second) == {"2"}
    assert not first.exists()


def test_what_a_crash_between_two_renames_left_is_put_back(tmp_path: Path) -> None:
    final = tmp_path / "final"
    tree(tmp_path / ".final.previous", "old")
    recover_directory(final)
    assert content(final) == {"old"}
    tree(tmp_path / ".final.previous", "older")
    publish_directory(tree(tmp_path / "aside", "new"), final)
    assert content(final) == {"new"}
    assert [path.name for path in tmp_path.iterdir()] == ["final"]


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    program = """
import json, os, random, signal, sys, time
from pathlib import Path
from concord.durable import aside, publish_directory, write_json

root, chance = Path(sys.argv[1]), random.Random(0)
file, final = root / "file.json", root / "final"

def publish(version):
    filled = aside(final)
    (filled / "deep").mkdir(parents=True)
    for number in range(6):
        write_json(filled / ("deep" if number % 2 else "") / f"{number}.json", [version] * 500)
    publish_directory(filled, final)

def work(first):
    for version in range(first, first + 10_000):
        write_json(file, [version] * 2000)
        publish(version)

write_json(file, [0] * 2000)
publish(0)
seen = set()
for number in range(40):
    process = os.fork()
    if process == 0:
        work(number * 10_000)
        os._exit(1)
    time.sleep(chance.random() * 0.1)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    whole = json.loads(file.read_text())
    assert len(whole) == 2000 and len(set(whole)) == 1
    versions = [json.loads(path.read_text()) for path in final.rglob("[0-9].json")]
    assert len(versions) == 6, versions
    assert len({version for part in versions for version in part}) == 1
    seen |= {whole[0], versions[0][0]}
print(len(seen))
"""
    assert int(run_script(program, tmp_path)) > 1


@pytest.mark.parametrize(
    ("number", "text"),
    [(errno.ENOTDIR, "look at the path"), (errno.EMFILE, "ulimit -n"), (errno.ENOLCK, "system with locks")],
)
def test_each_trouble_has_its_sentence(number: int, text: str) -> None:
    said = durable.disk_message(OSError(number, os.strerror(number)), doing="writing", kept="all is kept")
    assert text in said
