"""The content store: what was kept comes back right, or not at all, whatever happens to disk and process."""

import errno
import gc
import hashlib
import json
import logging
import math
import os
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from concord import segments as disk
from concord.errors import InputError, StoreError, UnavailableError
from concord.store import Store, default_root, key
from tests.conftest import run_script


class Small(Store):
    """A store whose segments are full after a few records."""

    segment_limit = 300


def segments(root: Path) -> list[Path]:
    return sorted(root.glob("segment-*.log"))


def value_of(number: int) -> bytes:
    return b"value %d " % number * (1 + number % 5)


KEYS = [key("row", number) for number in range(64)]

# Keys.

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)


def typed(part: Any) -> Any:
    """Say a part so that Python's equality tells apart what a key must tell apart."""
    if isinstance(part, list):
        return ["list", *map(typed, part)]
    if isinstance(part, dict):
        return {name: typed(value) for name, value in part.items()}
    return (type(part).__name__, repr(part))


@given(JSON, JSON)
def test_keys_are_equal_for_equal_parts_only(first: Any, second: Any) -> None:
    assert (key(first) == key(second)) == (typed(first) == typed(second))


def test_keys_tell_apart_what_looks_alike() -> None:
    alike: list[tuple[object, ...]] = [
        (1,), (1.0,), (True,), ("1",), (b"1",), ([1],), (1, None), (), ("",), (b"",), (None,), ([],), ({},),
        (0.0,), (-0.0,), ("a", "b"), ("ab",), (["a", "b"],), ({"a": 1},), ({"a": 1.0},),
        ("\ud83d\ude00",), ("\U0001f600",),
        ({"\0bytes": hashlib.sha256(b"1").hexdigest()},),
    ]  # fmt: skip
    assert len({key(*parts) for parts in alike}) == len(alike)
    assert key({"a": 1, "b": [2, (3,)]}) == key({"b": (2, [3]), "a": 1})
    assert key(b"1") == key(bytearray(b"1")) == key(memoryview(b"1"))
    assert len(key("x")) == 64


@pytest.mark.parametrize(
    "part", [math.nan, [1.0, -math.inf], {"a": {"b": math.nan}}, {1: 2}, {1, 2}, object()]
)
def test_a_part_that_is_no_value_is_refused(part: object) -> None:
    with pytest.raises(InputError, match="key"):
        key(part)


# What a store does.


def test_a_value_comes_back(tmp_path: Path) -> None:
    with Store(tmp_path / "new" / "store") as store:
        assert store.get(KEYS[0]) is None
        store.put(KEYS[0], b"")
        store.put(KEYS[1], bytes(3 << 20))
        assert store.put_many({KEYS[0]: b"", KEYS[2]: b"two"}) == 1
        assert store.get_many(KEYS[:4]) == {KEYS[0]: b"", KEYS[1]: bytes(3 << 20), KEYS[2]: b"two"}
        assert KEYS[2] in store
        assert KEYS[3] not in store
        assert (len(store), list(store.keys())) == (3, KEYS[:3])
        stats = store.stats()
        assert (stats.entries, stats.segments, stats.damaged, stats.cap) == (3, 1, 0, None)
        assert stats.bytes == sum(path.stat().st_size for path in segments(stats.path))
    with Store(tmp_path / "new" / "store") as store:
        assert store.get(KEYS[2]) == b"two"
        assert store.verify().records == 3


def test_equal_bytes_are_not_written_again_and_the_last_value_wins(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put(KEYS[0], b"old")
        size = store.stats().bytes
        store.put(KEYS[0], b"old")
        assert store.stats().bytes == size
        assert store.put_many([(KEYS[0], b"x"), (KEYS[0], b"new")]) == 1
        assert (store.get(KEYS[0]), len(store)) == (b"new", 1)
        assert store.compact() == size
        assert store.compact() == 0
    with Store(tmp_path) as store:
        assert store.get(KEYS[0]) == b"new"


@pytest.mark.parametrize("name", ["", "x" * 64, KEYS[0][:-1], " " + KEYS[0][1:], 7])
def test_what_is_not_a_key_is_refused(tmp_path: Path, name: Any) -> None:
    with Store(tmp_path) as store, pytest.raises(InputError, match="not a key"):
        store.get(name)


def test_what_is_not_bytes_is_refused(tmp_path: Path) -> None:
    text: Any = "text"
    with Store(tmp_path) as store, pytest.raises(InputError, match="bytes"):
        store.put_many([(KEYS[0], b"good"), (KEYS[1], text)])
    with Store(tmp_path) as store:
        assert len(store) == 0


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(KEYS[0], b"x")
    store.close()
    store.close()
    for use in (lambda: store.get(KEYS[0]), lambda: store.put(KEYS[0], b"x"), lambda: KEYS[0] in store):
        with pytest.raises(StoreError, match="closed"):
            use()


def test_directories_of_others_and_of_the_future_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(StoreError, match=r"thesis\.tex.*new one.*another directory"):
        Store(tmp_path)
    with pytest.raises(StoreError, match="opening"):
        Store(tmp_path / "thesis.tex")
    future = tmp_path / "future"
    Store(future).close()
    (future / "concord-store-1.lock").rename(future / "concord-store-2.lock")
    with pytest.raises(
        StoreError, match=r"found 2; accepted: version 1; to do: use the Concord that wrote it"
    ):
        Store(future)
    assert [path.name for path in future.iterdir()] == ["concord-store-2.lock"]


def test_a_store_deleted_in_use_says_so(tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        (tmp_path / "store" / "concord-store-1.lock").unlink()
        with pytest.raises(StoreError, match="deleted"):
            store.put(KEYS[0], b"x")


def test_segments_deleted_by_hand_are_misses(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put(KEYS[0], b"x")
        segments(tmp_path)[0].unlink()
        store.put(KEYS[1], b"y")
        assert (store.get(KEYS[0]), store.get(KEYS[1])) == (None, b"y")
    with Store(tmp_path) as store:
        assert store.get(KEYS[1]) == b"y"


def test_without_file_locks_it_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(UnavailableError, match="file locks"):
        Store(tmp_path)


def test_more_segments_than_open_files(tmp_path: Path) -> None:
    class Tiny(Store):
        segment_limit = 1

    many = {key(number): b"%d" % number for number in range(250)}
    with Tiny(tmp_path) as store:
        store.put_many(many)
        assert store.stats().segments == 250
        assert store.get_many(many) == many


# Against a dictionary.

VALUES = st.binary(max_size=120)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 7), VALUES),
        st.tuples(st.just("put_many"), st.dictionaries(st.integers(0, 7), VALUES, max_size=6)),
        st.tuples(st.sampled_from(["reopen", "other", "compact", "clear", "check"])),
    ),
    max_size=25,
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_it_is_a_dictionary_for_two_handles(steps: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as root:
        one, two = Small(root), Small(root)
        model: dict[str, bytes] = {}
        for verb, *arguments in steps:
            match verb, arguments:
                case "put", [number, value]:
                    one.put(KEYS[number], value)
                    model[KEYS[number]] = value
                case "put_many", [pairs]:
                    named = {KEYS[number]: value for number, value in pairs.items()}
                    one.put_many(named)
                    model |= named
                case "reopen", _:
                    one.close()
                    one = Small(root)
                case "other", _:
                    one, two = two, one
                case "compact", _:
                    assert one.compact() >= 0
                case "clear", _:
                    one.clear()
                    model.clear()
                case _:
                    assert len(two) == len(model)  # which makes it look
                    assert two.get_many(KEYS) == model
        for store in (one, two):
            assert set(store.keys()) == model.keys()
            assert store.get_many(KEYS) == model
            assert not store.verify().bad
            store.close()
        with Small(root) as store:
            assert store.get_many(KEYS) == model


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 400)), max_size=40), st.integers(500, 3000))
def test_the_cap_holds_and_the_newest_stays(puts: list[tuple[int, int]], cap: int) -> None:
    with tempfile.TemporaryDirectory() as root, Store(root, cap=cap) as store:
        model: dict[str, bytes] = {}
        for step, (number, size) in enumerate(puts):
            model[KEYS[number]] = value = (b"%d " % step * size)[:size]
            store.put(KEYS[number], value)
            assert store.get(KEYS[number]) == value
            assert store.stats().bytes == sum(path.stat().st_size for path in segments(Path(root))) <= cap
        assert store.get_many(KEYS).items() <= model.items()


def test_a_value_larger_than_the_cap_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with Store(tmp_path, cap=1000) as store:
        store.put(KEYS[0], bytes(900))
        with pytest.raises(StoreError, match=r"953 bytes does not fit.*at most 952 bytes.*raise the cap"):
            store.put_many([(KEYS[1], b"small"), (KEYS[2], bytes(953))])
        assert list(store.keys()) == KEYS[:1]
        store.put(KEYS[2], bytes(952))
        assert list(store.keys()) == KEYS[2:3]
    with pytest.raises(InputError, match="cap"):
        Store(tmp_path, cap=0)


def test_a_smaller_cap_shrinks_a_store(tmp_path: Path) -> None:
    with Small(tmp_path) as store:
        store.put_many({name: bytes(100) for name in KEYS})
    with Store(tmp_path, cap=1000) as store:
        store.put(KEYS[0], b"new")
        assert store.stats().bytes <= 1000
        assert store.get(KEYS[0]) == b"new"
        assert 0 < len(store) < 10


# Damage.


def filled(root: Path, *, number: int, kind: type[Store] = Store) -> dict[str, bytes]:
    content = {KEYS[index]: value_of(index) for index in range(number)}
    with kind(root) as store:
        store.put_many(content)
    return content


def test_a_tail_cut_at_any_byte_costs_only_the_records_it_cuts(tmp_path: Path) -> None:
    content = filled(tmp_path, number=5)
    (path,) = segments(tmp_path)
    whole = path.read_bytes()
    ends = [0]
    for value in content.values():
        ends.append(ends[-1] + 48 + len(value))
    assert ends[-1] == len(whole)
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        kept = sum(end <= length for end in ends) - 1
        with Store(tmp_path) as store:
            assert store.get_many(KEYS) == dict(list(content.items())[:kept])
            assert path.stat().st_size == ends[kept]
            store.put(KEYS[9], b"next")
        with Store(tmp_path) as store:
            assert len(store) == kept + 1
            assert store.get(KEYS[9]) == b"next"


@pytest.mark.parametrize("kind", [Store, Small])
def test_a_flipped_bit_costs_only_its_record(tmp_path: Path, kind: type[Store], caplog: Any) -> None:
    caplog.set_level(logging.CRITICAL)
    content = filled(tmp_path, number=6, kind=kind)
    for path in segments(tmp_path):
        whole = path.read_bytes()
        for place in range(len(whole)):
            for bit in {0, 7, place % 8}:
                path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
                with kind(tmp_path) as store:
                    bad = store.verify().bad
                    found = store.get_many(KEYS)
                    assert found.items() <= content.items()
                    assert len(found) == len(content) - 1
                    # A damaged last header cannot be told from a torn tail, and is cut like one.
                    assert len(bad) == 1 or path.stat().st_size < len(whole)
                    assert store.stats().damaged == len(bad)
        path.write_bytes(whole)


def test_damage_is_reported_and_healed(tmp_path: Path, caplog: Any) -> None:
    content = filled(tmp_path, number=3)
    (path,) = segments(tmp_path)
    whole = bytearray(path.read_bytes())
    whole[48] ^= 1
    path.write_bytes(whole)
    with Store(tmp_path) as store:
        (bad,) = store.verify().bad
        assert (bad.segment, bad.offset, bad.key) == (path.name, 0, KEYS[0])
        assert store.get(KEYS[0]) is None
        assert "is damaged" in caplog.text
        store.put(KEYS[0], content[KEYS[0]])
        assert store.get_many(KEYS) == content
        assert store.compact() > 0
        assert not store.verify().bad
        assert store.get_many(KEYS) == content


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=30),
    st.binary(max_size=60),
)
@settings(max_examples=60)
def test_random_damage_never_gives_a_wrong_value(hits: list[tuple[int, int]], tail: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        content = filled(root, number=20, kind=Small)
        for index, path in enumerate(segments(root)):
            data = bytearray(path.read_bytes())
            for place, byte in hits:
                if place % 7 == index:
                    data[place % len(data)] = byte
            path.write_bytes(data + tail)
        with Small(root) as store:
            assert store.get_many(KEYS).items() <= content.items()
            store.put_many(content)
            assert store.get_many(KEYS) == content
            store.compact()
            assert not store.verify().bad
            assert store.get_many(KEYS) == content


def test_a_segment_stored_as_a_value_is_never_taken_for_records(tmp_path: Path) -> None:
    filled(tmp_path / "inner", number=5)
    inner = segments(tmp_path / "inner")[0].read_bytes()
    with Store(tmp_path / "outer") as store:
        store.put(KEYS[20], inner)
        store.put(KEYS[21], b"after")
    (path,) = segments(tmp_path / "outer")
    data = bytearray(path.read_bytes())
    data[5] ^= 1  # the header of the outer record
    path.write_bytes(data)
    with Store(tmp_path / "outer") as store:
        assert list(store.keys()) == [KEYS[21]]


def test_damage_wider_than_a_window_is_stepped_over(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.put_many([(KEYS[0], b"first"), (KEYS[1], b"CcR1" * 300_000), (KEYS[2], b"last")])
    (path,) = segments(tmp_path)
    with path.open("r+b") as file:
        file.seek(48 + 5)
        file.write(bytes(20))
    with Store(tmp_path) as store:
        assert store.get_many(KEYS) == {KEYS[0]: b"first", KEYS[2]: b"last"}


@pytest.mark.parametrize("before", [1, 3, 4, 20, 47, 48])
def test_a_header_across_two_windows_is_found(tmp_path: Path, before: int) -> None:
    first = bytes(disk._WINDOW + 1 - before - 48)  # pyright: ignore[reportPrivateUsage]
    with Store(tmp_path) as store:
        store.put_many([(KEYS[0], first), (KEYS[1], b"second")])
    (path,) = segments(tmp_path)
    with path.open("r+b") as file:
        file.write(b"x")
    with Store(tmp_path) as store:
        assert store.get_many(KEYS) == {KEYS[1]: b"second"}


# A full disk.


class Disk:
    """Stands in for os.pwrite: takes so many bytes, in pieces, and is then full."""

    def __init__(self, room: int, code: int) -> None:
        self.room, self.code, self.real = room, code, os.pwrite

    def __call__(self, file: int, data: Any, offset: int) -> int:
        taken = min(len(data), 7, self.room)
        if taken == 0 and len(data):
            raise OSError(self.code, os.strerror(self.code))
        self.room -= taken
        return self.real(file, bytes(data[:taken]), offset)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_loses_nothing_that_was_there(tmp_path: Path, monkeypatch: Any, code: int) -> None:
    content = filled(tmp_path, number=3)
    (path,) = segments(tmp_path)
    size = path.stat().st_size
    with Store(tmp_path) as store:
        for room in range(0, 120, 5):
            with monkeypatch.context() as patched:
                patched.setattr(os, "pwrite", Disk(room, code))
                with pytest.raises(StoreError, match="what was stored earlier is kept") as caught:
                    store.put_many([(KEYS[10], bytes(40)), (KEYS[11], bytes(40))])
            assert ("free space" in str(caught.value)) == (code != errno.EIO)
            assert path.stat().st_size == size
            assert store.get_many(KEYS) == content
        monkeypatch.setattr(os, "pwrite", Disk(1000, code))  # short writes, and room enough
        store.put_many([(KEYS[10], bytes(40)), (KEYS[11], bytes(40))])
    with Store(tmp_path) as store:
        assert store.get_many(KEYS) == content | {KEYS[10]: bytes(40), KEYS[11]: bytes(40)}


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a real file system of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_really_full_disk(tiny_disk: Path) -> None:
    with Store(tiny_disk / "store") as store:
        model: dict[str, bytes] = {}

        def fill() -> None:
            for number in range(10_000):
                batch = {key("batch", number, part): bytes([part]) * 777 for part in range(6)}
                store.put_many(batch)
                model.update(batch)

        with pytest.raises(StoreError, match="free space"):
            fill()
        assert len(model) > 100
        assert store.get_many(model) == model
        with Store(tiny_disk / "store") as other:
            assert other.get_many(model) == model
            assert not other.verify().bad
            assert other.clear() > 0
        store.put(KEYS[0], bytes(5000))
        assert store.get(KEYS[0]) == bytes(5000)


def test_compaction_on_a_full_disk_keeps_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = filled(tmp_path, number=20, kind=Small)
    with Small(tmp_path) as store:
        content[KEYS[3]] = b"replaced"
        store.put(KEYS[3], b"replaced")
        for room in range(0, 400, 40):
            with monkeypatch.context() as patched:
                patched.setattr(os, "pwrite", Disk(room, errno.ENOSPC))
                try:
                    store.compact()
                except StoreError:
                    assert store.get_many(KEYS) == content
        assert store.get_many(KEYS) == content
    with Small(tmp_path) as store:
        assert store.get_many(KEYS) == content


def test_compaction_deletes_only_after_the_copy_is_on_disk(tmp_path: Path, monkeypatch: Any) -> None:
    filled(tmp_path, number=20, kind=Small)
    with Small(tmp_path) as store:
        store.put_many(dict.fromkeys(KEYS[:20:3], b"replaced"))
        unsynced: set[tuple[int, int]] = set()
        calls = {name: getattr(os, name) for name in ("pwrite", "fsync", "unlink")}

        def identity(file: int) -> tuple[int, int]:
            return os.fstat(file).st_dev, os.fstat(file).st_ino

        def pwrite(file: int, *rest: Any) -> int:
            unsynced.add(identity(file))
            return calls["pwrite"](file, *rest)

        def fsync(file: int) -> None:
            unsynced.discard(identity(file))
            calls["fsync"](file)

        def unlink(path: Path) -> None:
            assert not unsynced
            calls["unlink"](path)

        for call in (pwrite, fsync, unlink):
            monkeypatch.setattr(os, call.__name__, call)
        assert store.compact() > 0
        monkeypatch.undo()


# Several processes.

COMMON = """
import os, random, signal, sys, time
from concord.store import Store, key

root, seed = sys.argv[1], int(sys.argv[2])

class Small(Store):
    segment_limit = 200_000

def content(*name):
    chance = random.Random(repr(name))
    sizes = [chance.choice([0, 10, 60, 3000]) for _ in range(chance.randrange(1, 60))]
    return {key(*name, part): chance.randbytes(size) for part, size in enumerate(sizes)}

def child(work):
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return process, os.fdopen(reading)
    code = 1
    try:
        work(lambda text: os.write(writing, (text + "\\n").encode()))
        code = 0
    finally:
        os._exit(code)
"""


@pytest.mark.slow
def test_killed_writers_cost_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    program = """
chance = random.Random(seed)
living = Small(root)
real = os.pwrite

def writer(round, cut):
    def torn(file, data, offset):
        if chance.random() < 0.1:
            real(file, bytes(data[:chance.randrange(len(data) + 1)]), offset)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(file, data, offset)
    def work(say):
        chance.seed(round)
        if cut:
            os.pwrite = torn
        store = living if round % 3 else Small(root)
        for batch in range(10_000):
            store.put_many(content(round, batch))
            say(str(batch))
            if batch % 20 == 19:
                store.compact()
    return work

known = {}
for round in range(120):
    cut = round % 2 == 0
    process, acknowledged = child(writer(round, cut))
    if not cut:
        acknowledged.readline()
        time.sleep(chance.random() * 0.02)
        known |= content(round, 0)
        os.kill(process, signal.SIGKILL)
    known |= content("living", round)
    living.put_many(content("living", round))
    for line in acknowledged:
        known |= content(round, int(line))
    os.waitpid(process, 0)
    if round % 10 == 9:
        assert living.get_many(known) == known, round
        bad = living.verify().bad
        assert not bad, bad
assert living.stats().damaged == 0
living.close()
with Small(root) as store:
    assert store.get_many(known) == known
print(len(known))
"""
    assert int(run_script(COMMON + program, tmp_path, 0)) > 1000


def test_four_writers_at_once(tmp_path: Path) -> None:
    program = """
def writer(number):
    def work(say):
        with Small(root) as store:
            for batch in range(60):
                mine, shared = content(number, batch), content("shared", batch)
                store.put_many(mine)
                store.put_many(shared)
                assert store.get_many(mine | shared) == mine | shared
    return work

children = [child(writer(number))[0] for number in range(4)]
assert [os.waitpid(process, 0)[1] for process in children] == [0] * 4
with Small(root) as store:
    names = ["shared", *range(4)]
    batches = [content(who, batch) for who in names for batch in range(60)]
    known = {name: value for batch in batches for name, value in batch.items()}
    assert store.get_many(known) == known
    assert len(store) == len(known)
    assert store.verify().records == len(known)
    assert not store.verify().bad
"""
    run_script(COMMON + program, tmp_path, 0)


@pytest.mark.slow
def test_reading_while_others_evict_compact_and_clear(tmp_path: Path) -> None:
    program = """
def writer(say):
    with Store(root, cap=300_000) as store:
        for batch in range(250):
            store.put_many(content(batch % 70))
            if batch % 10 == 9:
                store.put_many({name: b"" for name in content("junk", 0)})
                store.put_many(content("junk", 0))
                store.compact()
            if batch % 50 == 49:
                store.clear()
            say(str(batch))

known = {name: value for batch in range(70) for name, value in content(batch).items()}
process, said = child(writer)
hits = misses = 0
with Store(root) as store:
    for line in said:
        asked = {**content(int(line) % 70), **content((int(line) * 7 + 3) % 70)}
        found = store.get_many(asked)
        assert found.items() <= asked.items()
        assert store.stats().bytes <= 400_000
        hits, misses = hits + len(found), misses + len(asked) - len(found)
    assert os.waitpid(process, 0)[1] == 0
    assert not store.verify().bad
    assert store.stats().damaged == 0
    assert hits and misses, (hits, misses)
"""
    run_script(COMMON + program, tmp_path, 0)


def test_a_value_moved_by_another_process_is_found_where_it_went(tmp_path: Path) -> None:
    content = filled(tmp_path, number=20, kind=Small)
    with Small(tmp_path) as reader, Small(tmp_path) as other:
        other.put_many(dict.fromkeys(KEYS[30:60:3], b"passing"))
        other.put_many({name: value + b"!" for name, value in content.items()})
        other.put_many(content)
        other.compact()
        assert reader.get_many(content) == content  # no file was open yet, and those it knew are gone
        other.clear()
        assert len(reader) == 0


def test_threads_share_a_store(tmp_path: Path) -> None:
    with Small(tmp_path) as store:
        wrong: list[object] = []

        def work(number: int) -> None:
            try:
                for step in range(50):
                    name, value = key("thread", number, step), b"%d %d" % (number, step)
                    store.put(name, value)
                    assert store.get(name) == value
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert len(store) == 200


def test_values_survive_without_close(tmp_path: Path) -> None:
    program = "put = Store(root).put_many(content('x')); os._exit(0)"
    run_script(COMMON + program, tmp_path, 0)
    expected = run_script(
        COMMON + "import json; print(json.dumps({k: v.hex() for k, v in content('x').items()}))", tmp_path, 0
    )
    with Store(tmp_path) as store:
        assert {name: value.hex() for name, value in store.get_many(store.keys()).items()} == json.loads(
            expected
        )


@pytest.mark.parametrize("use", [lambda store: store.put(KEYS[1], b"x"), lambda store: store.sync()])
def test_values_are_synced_in_time(tmp_path: Path, monkeypatch: Any, use: Callable[[Store], None]) -> None:
    with Store(tmp_path) as store:
        store.put(KEYS[0], b"x")
        synced: list[int] = []
        real = os.fsync
        monkeypatch.setattr(os, "fsync", lambda file: (synced.append(file), real(file)))
        monkeypatch.setattr("concord.store._SYNC_SECONDS", 0.0)
        use(store)
        assert synced


def test_where_the_store_is_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CONCORD_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert default_root() == tmp_path / ".cache" / "concord"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_root() == tmp_path / "xdg" / "concord"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_root() == tmp_path / "Library" / "Caches" / "concord"
    monkeypatch.setenv("CONCORD_CACHE", "~/mine")
    assert default_root() == tmp_path / "mine"


def test_a_dropped_store_lets_go_of_its_files(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.put(KEYS[0], b"x")
    files = weakref.ref(store._segments)  # pyright: ignore[reportPrivateUsage]
    before = len(os.listdir("/dev/fd"))
    del store
    gc.collect()
    assert files() is None
    assert len(os.listdir("/dev/fd")) == before - 2


@pytest.mark.parametrize("cap", [0, 48, True, 1e6, math.nan, "9"])
def test_a_cap_below_one_record_is_refused(tmp_path: Path, cap: Any) -> None:
    with pytest.raises(InputError, match="holds one record"):
        Store(tmp_path / "store", cap=cap)
