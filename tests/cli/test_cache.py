"""`concord cache`: where, what, verify, compact, clear; and nothing made by merely looking."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from concord.cli import main
from concord.store import Store, key


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the store of this test is to be; it is not there yet."""
    monkeypatch.setenv("CONCORD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "cache"


@pytest.fixture
def full(place: Path) -> Path:
    """A store with three entries, one of them written twice."""
    with Store(place) as store:
        for number in (1, 2, 3):
            store.put(key("value", number), b"x" * 1000)
        store.put(key("value", 1), b"y" * 1000)
    return place


def cache(*arguments: str, answer: str = "") -> Result:
    return CliRunner().invoke(main, ["cache", *arguments], input=answer)


def damage(place: Path) -> None:
    """Spoil the last byte of the last value."""
    segment = max((path for path in place.iterdir() if path.stat().st_size > 2000), key=lambda p: p.name)
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)


@pytest.mark.parametrize("arguments", [[], ["verify"], ["compact"], ["clear", "--yes"], ["--json"]])
def test_looking_makes_nothing(place: Path, arguments: list[str]) -> None:
    told = cache(*arguments)
    assert told.exit_code == 0, told.output
    assert not place.exists()
    if arguments in ([], ["verify"], ["--json"]):
        assert str(place) in told.stdout


def test_what_is_there(full: Path) -> None:
    shown = cache().stdout
    assert str(full) in shown
    assert "entries  3" in shown
    assert "KiB in 1 segment" in shown
    told = json.loads(cache("--json").stdout)
    assert (told["path"], told["exists"], told["entries"], told["damaged"]) == (str(full), True, 3, 0)
    assert told["bytes"] > 4000


def test_verify(full: Path) -> None:
    told = cache("verify")
    assert told.exit_code == 0
    assert "4 records good" in told.stdout
    damage(full)
    told = cache("verify")
    assert told.exit_code == 1
    assert "1 damaged" in told.stdout
    assert "at byte" in told.stdout
    told = cache("verify", "--json")
    assert told.exit_code == 1
    assert [bad["key"] for bad in json.loads(told.stdout)["bad"]] == [key("value", 1)]


def test_compact_removes_what_nobody_can_read(full: Path) -> None:
    told = json.loads(cache("--json", "compact").stdout)
    assert told["freed"] > 1000
    assert cache("compact").stdout == "0 bytes freed.\n"
    with Store(full) as store:
        assert store.get(key("value", 1)) == b"y" * 1000
        assert len(store) == 3


def test_clear_asks(full: Path) -> None:
    told = cache("clear", answer="n\n")
    assert told.exit_code == 1
    assert "Drop 3 entries" in told.stderr
    assert cache("clear", answer="").exit_code == 1, "nobody there to answer is a no"
    assert json.loads(cache("--json").stdout)["entries"] == 3
    assert cache("clear", answer="y\n").exit_code == 0
    assert json.loads(cache("--json").stdout)["entries"] == 0


def test_clear_without_asking(full: Path) -> None:
    told = cache("clear", "--yes", "--json")
    assert json.loads(told.stdout)["freed"] > 4000
    assert json.loads(cache("--json").stdout)["entries"] == 0


def test_a_directory_that_is_not_a_store_is_left_alone(place: Path) -> None:
    place.mkdir()
    (place / "thesis.tex").write_text("all of it")
    for arguments in ([], ["verify"], ["compact"], ["clear", "--yes"]):
        told = cache(*arguments)
        assert told.exit_code == 2
        assert told.stderr.startswith("concord: ")
    assert [path.name for path in place.iterdir()] == ["thesis.tex"]


def test_a_file_in_its_place_is_said_so(place: Path) -> None:
    place.write_text("")
    told = cache()
    assert told.exit_code == 2
    assert "is a file" in told.stderr


def test_its_help_says_each_verb_whole() -> None:
    shown = CliRunner().invoke(main, ["cache", "--help"]).output
    assert "verify   Read everything and check it.\n" in shown
    assert "..." not in shown
