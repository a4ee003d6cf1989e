"""Rows come back as they were written; what is damaged, foreign or half written is refused."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import concord
from concord import durable
from concord.data.packed import measure, pack, unpack
from concord.data.shards import ROW, Prepared, Shards
from concord.data.writing import Writer
from concord.errors import StoreError
from concord.messages import Audio, Image, Message, Text
from concord.render.records import Leaf, Rendered
from concord.types import Item, Prompt, as_turns
from tests.conftest import ROOT, run_script
from tests.data.rows import item_of, rendered_row, rendered_rows, same


def written(folder: Path, count: int = 40, *, part_bytes: int = 4 << 30) -> Shards:
    with Writer(folder, renderer="r1") as writer:
        writer.part_bytes = part_bytes
        for number, row in enumerate(rendered_rows(count)):
            writer.append(pack(row), item_of(number))
        return writer.publish({"why": "a test"})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# --- packed rows ------------------------------------------------------------------------------------------


def test_a_row_survives_packing() -> None:
    empty = np.empty(0, np.int32)
    odd = [
        Rendered(empty, ()),
        Rendered(empty, ((Leaf(np.array([5], np.int32), empty.reshape(0, 2)),),)),
        Rendered(np.array([1, 2, 3], np.int32), ((Leaf(np.array([1, 2], np.int32), empty.reshape(0, 2)),),)),
    ]
    for row in [*odd, *rendered_rows(60)]:
        assert same(unpack(pack(row)), row)


def test_the_prompt_stands_once() -> None:
    row = rendered_row(4, replies=3)
    rests = sum(leaves[0].ids.size - row.prompt.size for leaves in row.replies)
    spans = sum(leaves[0].spans.size for leaves in row.replies)
    assert len(pack(row)) == 4 * (4 + 3 * 4 + row.prompt.size + rests + spans)
    assert measure(pack(row)).tokens == row.prompt.size + rests


def test_lengths_are_those_of_the_row() -> None:
    for row in rendered_rows(40):
        lengths = measure(pack(row))
        expected = [
            [number, leaf.ids.size, int((leaf.spans[:, 1] - leaf.spans[:, 0]).sum())]
            for number, leaves in enumerate(row.replies)
            for leaf in leaves
        ]
        assert lengths.leaves.tolist() == expected
        assert lengths.prompt == row.prompt.size


def test_a_damaged_row_is_refused_and_never_read_past() -> None:
    good = pack(rendered_row(5, replies=2, leaves=2))
    header = 4 * (4 + 4 * 4)
    for data in (b"", good[:8], good[:-4], good + b"\0\0\0\0"):
        with pytest.raises(StoreError, match="damaged"):
            unpack(data)
    for at in range(0, header, 4):
        for value in (-1, 2**31 - 1, 1000):
            data = good[:at] + value.to_bytes(4, "little", signed=True) + good[at + 4 :]
            with pytest.raises(StoreError, match="damaged"):
                unpack(data)


# --- a folder of rows -------------------------------------------------------------------------------------


@pytest.mark.parametrize("part_bytes", [4 << 30, 500, 1])
def test_rows_come_back(tmp_path: Path, part_bytes: int) -> None:
    shards = written(tmp_path / "s", part_bytes=part_bytes)
    assert len(shards) == 40
    assert (len(shards.header.parts) > 1) == (part_bytes < 1000)
    for number, (row, expected) in enumerate(zip(shards, rendered_rows(40), strict=True)):
        item = item_of(number)
        assert row.number == number
        assert same(row.rendered, expected)
        assert (row.utilities, row.meta, row.origin) == (item.utilities, item.meta, item.origin)
    assert shards[-1].number == 39
    assert [row.number for row in shards[35:100]] == [35, 36, 37, 38, 39]
    assert shards[np.int64(3)].number == 3
    assert shards.header.about == {"why": "a test"}
    for outside in (40, -41):
        with pytest.raises(IndexError):
            shards[outside]


@pytest.mark.parametrize("part_bytes", [4 << 30, 500])
def test_lengths_are_columns(tmp_path: Path, part_bytes: int) -> None:
    shards = written(tmp_path / "s", part_bytes=part_bytes)
    rows = list(rendered_rows(40))
    lengths = shards.lengths
    assert lengths.prompt.tolist() == [row.prompt.size for row in rows]
    assert lengths.tokens.tolist() == [measure(pack(row)).tokens for row in rows]
    assert lengths.tokens.sum() == shards.header.tokens
    leaves = [
        (at, number, leaf.ids.size, int((leaf.spans[:, 1] - leaf.spans[:, 0]).sum()))
        for at, row in enumerate(rows)
        for number, several in enumerate(row.replies)
        for leaf in several
    ]
    columns = (lengths.row, lengths.reply, lengths.length, lengths.learned)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == leaves
    longest = [
        max((one[2] for one in leaves if one[0] == at), default=row.prompt.size)
        for at, row in enumerate(rows)
    ]
    assert lengths.longest.tolist() == longest
    assert lengths.trained.tolist() == [sum(one[3] for one in leaves if one[0] == at) for at in range(40)]


def test_a_single_reply_is_a_view_and_cannot_be_written_to(tmp_path: Path) -> None:
    prompt = written(tmp_path / "s")[1].rendered.prompt
    assert prompt.base is not None
    with pytest.raises(ValueError, match="read-only"):
        prompt[0] = 1


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    written(tmp_path / "a")
    written(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_no_rows_at_all_can_be_kept(tmp_path: Path) -> None:
    shards = written(tmp_path / "s", 0)
    assert len(shards) == 0
    assert list(shards) == []
    assert shards.lengths.tokens.tolist() == []
    assert shards.verify() == ()


def test_closed_rows_say_so_and_those_taken_out_stay(tmp_path: Path) -> None:
    with written(tmp_path / "s") as shards:
        row = shards[2]
    assert same(row.rendered, list(rendered_rows(3))[2])
    for use in (lambda: shards[0], lambda: shards.lengths):
        with pytest.raises(StoreError, match="closed"):
            use()
    shards.close()


def test_pickled_rows_open_the_same_folder_again(tmp_path: Path) -> None:
    shards = written(tmp_path / "s")
    data = pickle.dumps(shards)
    assert len(data) < 5000
    assert same(pickle.loads(data)[7].rendered, shards[7].rendered)
    written(tmp_path / "s", 41)
    with pytest.raises(StoreError, match="other rows"):
        pickle.loads(data)
    # What was open stays what it was.
    assert len(shards) == 40
    assert same(shards[39].rendered, list(rendered_rows(40))[39])


def test_rows_can_be_read_after_a_fork(tmp_path: Path) -> None:
    written(tmp_path / "s")
    text = """
import os, sys
from concord.data.shards import ROW, Prepared, Shards
shards = Shards(sys.argv[1])
first = shards[5].rendered.prompt.tolist()
for _ in range(3):
    if (child := os.fork()) == 0:
        os._exit(0 if shards[5].rendered.prompt.tolist() == first else 1)
    assert os.waitpid(child, 0)[1] == 0
"""
    run_script(text, tmp_path / "s")


# --- what is refused --------------------------------------------------------------------------------------


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    shards = written(tmp_path / "s", 6)
    assert shards.verify() == ()
    for name, data in contents(tmp_path / "s").items():
        if name == "header.json":
            continue
        changed = bytearray(data)
        changed[len(data) // 2] ^= 1
        (tmp_path / "s" / name).write_bytes(changed)
        assert shards.verify() == (name,)
        (tmp_path / "s" / name).write_bytes(data)
    (tmp_path / "s" / "part-00000.facts").unlink()
    assert shards.verify() == ("part-00000.facts",)


def change_header(folder: Path, **values: object) -> None:
    path = folder / "header.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing there": (shutil.rmtree, "does not hold prepared rows"),
    "no header": (lambda s: (s / "header.json").unlink(), "does not hold prepared rows"),
    "not JSON": (lambda s: (s / "header.json").write_text("{"), "does not hold prepared rows"),
    "a list": (lambda s: (s / "header.json").write_text("[]"), "does not hold prepared rows"),
    "another format": (lambda s: change_header(s, format="parquet"), "another kind"),
    "a newer version": (lambda s: change_header(s, version=2), "another version"),
    "an unknown key": (lambda s: change_header(s, more=1), "cannot be used"),
    "no parts": (lambda s: change_header(s, parts=[]), "do not add up"),
    "another count": (lambda s: change_header(s, rows=39), "do not add up"),
    "a cut file": (lambda s: os.truncate(s / "part-00000.tokens", 400), "another size"),
    "an empty file": (lambda s: os.truncate(s / "part-00000.rows", 0), "another size"),
    "a missing file": (lambda s: (s / "part-00000.leaves").unlink(), "cannot be read"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_damaged_or_foreign_is_refused(tmp_path: Path, name: str) -> None:
    damage, said = DAMAGE[name]
    written(tmp_path / "s")
    damage(tmp_path / "s")
    with pytest.raises(StoreError, match=said):
        Shards(tmp_path / "s")
    # And can be prepared again, whatever was wrong with it.
    if name != "nothing there":
        assert len(written(tmp_path / "s", 3)) == 3


def test_a_row_whose_place_is_damaged_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "s")
    path = tmp_path / "s" / "part-00000.rows"
    table = np.frombuffer(path.read_bytes(), "<i8").reshape(-1, len(ROW)).copy()
    for column, value in ((0, -5), (0, 10**9), (1, 10**9)):
        changed = table.copy()
        changed[4, column] = value
        path.write_bytes(changed.tobytes())
        with pytest.raises(StoreError, match="row 4 of"):
            Shards(tmp_path / "s")[4]


def everything(shards: Shards) -> list[object]:
    """All that can be read of some rows."""
    lengths = shards.lengths
    rows = [(pack(row.rendered), row.utilities, row.meta, row.origin, row.media) for row in shards]
    return [*rows, *(column.tolist() for column in vars(lengths).values())]


def test_no_flipped_bit_is_read_in_silence(tmp_path: Path) -> None:
    before = everything(written(tmp_path / "s", 5))
    for name, data in contents(tmp_path / "s").items():
        if name == "header.json":
            continue
        for at in range(0, len(data), 5):
            changed = bytearray(data)
            changed[at] ^= 1 << at % 8
            (tmp_path / "s" / name).write_bytes(changed)
            with pytest.raises(StoreError):
                everything(Shards(tmp_path / "s"))
        (tmp_path / "s" / name).write_bytes(data)
    assert everything(Shards(tmp_path / "s")) == before


def test_facts_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(StoreError, match="row 3 cannot be read"):
        Prepared(3, rendered_row(0), b"?").meta.get("number")


def test_rows_are_found_wherever_the_program_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(Path("s"))
    shards = Shards("s")
    data = pickle.dumps(shards)
    monkeypatch.chdir("/")
    assert shards.verify() == ()
    assert len(pickle.loads(data)) == 40


def test_pictures_and_sounds_stay_with_their_row(tmp_path: Path) -> None:
    shown = Message("user", (Text("See"), Image(b"\x89\xff", media_type="image/png"), Image("a.png")))
    heard = (Message("assistant", (Audio("b.wav"),)),)
    item = Item(Prompt((shown,)), (heard, as_turns("Yes")))
    with Writer(tmp_path / "s", renderer="r1") as writer:
        writer.append(pack(rendered_row(0)), item)
        writer.append(pack(rendered_row(1)), item_of(1))
        first, second = writer.publish()
    assert first.media == (shown.parts[1:], heard[0].parts, ())
    assert second.media == ()


# --- writing ----------------------------------------------------------------------------------------------


def test_what_is_not_published_is_not_there(tmp_path: Path) -> None:
    def fail() -> None:
        with Writer(tmp_path / "s", renderer="r1") as writer:
            writer.append(pack(rendered_row(1)), item_of(1))
            raise KeyError("on the way")

    with pytest.raises(KeyError):
        fail()
    with Writer(tmp_path / "s", renderer="r1") as writer:
        writer.append(pack(rendered_row(1)), item_of(1))
    assert [path.name for path in tmp_path.iterdir()] == [".s.lock"]


def test_what_stands_there_is_whole_until_it_is_replaced(tmp_path: Path) -> None:
    written(tmp_path / "s", 5)
    before = contents(tmp_path / "s")
    with Writer(tmp_path / "s", renderer="r2") as writer:
        writer.append(pack(rendered_row(1)), item_of(1))
        assert contents(tmp_path / "s") == before
        shards = writer.publish()
    assert (len(shards), shards.header.renderer) == (1, "r2")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".s.lock", "s"]


def test_nothing_but_prepared_rows_is_ever_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("notes.txt", "header.json"):
        (mine / name).write_text("precious")
        with pytest.raises(StoreError, match="something else"):
            Writer(mine, renderer="r1")
        assert contents(mine) == {name: b"precious"}
        (mine / name).unlink()
    assert len(written(mine, 2)) == 2
    (tmp_path / "file").write_text("precious")
    with pytest.raises(StoreError, match="something else"):
        Writer(tmp_path / "file", renderer="r1")


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    with Writer(tmp_path / "s", renderer="r1") as writer:
        with pytest.raises(StoreError, match="is being written"):
            Writer(tmp_path / "s", renderer="r1")
        writer.append(pack(rendered_row(1)), item_of(1))
        assert len(writer.publish()) == 1
    assert len(written(tmp_path / "s", 2)) == 2


def test_a_killed_writer_leaves_nothing_that_is_taken_for_rows(tmp_path: Path) -> None:
    text = """
import os, signal, sys
from concord.data.packed import pack
from concord.data.writing import Writer
from tests.data.rows import item_of, rendered_rows
writer = Writer(sys.argv[1], renderer="r1")
for number, row in enumerate(rendered_rows(5000)):
    writer.append(pack(row), item_of(number))
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(concord.__file__).parents[1]), str(ROOT)])
    }
    command = [sys.executable, "-c", text, str(tmp_path / "s")]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    left = [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]
    assert len(left) == 1
    with pytest.raises(StoreError, match="does not hold prepared rows"):
        Shards(tmp_path / "s")
    with pytest.raises(StoreError):
        Shards(left[0])
    assert len(written(tmp_path / "s", 3)) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [".s.lock", "s"]


def test_writers_of_like_named_folders_leave_each_other_alone(tmp_path: Path) -> None:
    names = ["train", "train.v2", "train.1-00000000.tmp", "t*", "trai[n]"]
    writers = [Writer(tmp_path / name, renderer="r1") for name in names]
    for number, writer in enumerate(writers):
        with writer:
            writer.append(pack(rendered_row(number)), item_of(number))
            assert len(writer.publish()) == 1


def test_a_link_goes_on_being_one(tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    for name, place in (("there", "big"), ("not yet", "big/new")):
        (tmp_path / name).symlink_to(tmp_path / place)
        for count in (2, 3):
            assert len(written(tmp_path / name, count)) == count
        assert (tmp_path / name).is_symlink()
        assert len(Shards(tmp_path / place)) == 3
        shutil.rmtree(tmp_path / place)


def test_odd_places_are_right_or_refused(tmp_path: Path) -> None:
    assert len(written(tmp_path / os.fsdecode(b"caf\xe9"), 2)) == 2
    assert len(written(tmp_path / "a" / ".." / "b", 2)) == 2
    with pytest.raises(StoreError, match="whole disk"):
        Writer("/", renderer="r1")
    (tmp_path / "file").write_text("precious")
    with pytest.raises(StoreError, match="failed"):
        Writer(tmp_path / "file" / "s", renderer="r1")
    with pytest.raises(StoreError, match="too long"):
        Writer(tmp_path / ("n" * 250), renderer="r1")


def test_a_writer_that_could_not_begin_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "notes.txt").write_text("precious")
    for _ in range(2):
        with pytest.raises(StoreError, match="something else"):
            Writer(tmp_path / "s", renderer="r1")
    (tmp_path / "s" / "notes.txt").unlink()
    assert len(written(tmp_path / "s", 2)) == 2


def test_a_disk_that_is_full_on_the_way_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    text = """
import os, resource, signal, sys
from concord.data.packed import pack
from concord.data.writing import Writer
from concord.errors import StoreError
from concord.messages import Audio, Image, Message, Text
from tests.data.rows import item_of, rendered_rows
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
Writer.part_bytes = int(sys.argv[2])
try:
    with Writer(sys.argv[1], renderer="r1") as writer:
        for number, row in enumerate(rendered_rows(400)):
            writer.append(pack(row), item_of(number))
        writer.publish()
except StoreError as error:
    print(error)
"""
    for part_bytes in (4 << 30, 60_000):
        said = run_script(f"import sys; sys.path.insert(0, {str(ROOT)!r})" + text, tmp_path / "s", part_bytes)
        assert "failed, and what stood there before is whole; found 'File too large'" in said
        assert [path.name for path in tmp_path.iterdir()] == [".s.lock"]


def test_a_full_disk_is_said_and_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "s", 5)
    before = contents(tmp_path / "s")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "_sync_tree", full)
    with pytest.raises(StoreError, match="a disk with room"):
        written(tmp_path / "s", 6)
    assert contents(tmp_path / "s") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [".s.lock", "s"]
