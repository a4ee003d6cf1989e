"""Items as rows: what is written can be read again, and what cannot be written is refused."""

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from concord.errors import InputError, RunError
from concord.formats.detect import detect
from concord.formats.rows import Row
from concord.formats.writing import to_row, write_items
from concord.types import (
    Audio,
    Image,
    Images,
    Item,
    Label,
    Message,
    Origin,
    Preference,
    Prompt,
    Ratings,
    SegmentPreference,
    Shown,
    StepLabels,
    Text,
    ToolCall,
    Video,
)
from tests.formats.fixtures import rows_of, said, user

ASK = user("Why?")
PAIR = (said("So."), said("No."))


def again(row: dict[str, Any]) -> Item:
    """An item from a row that went through JSON."""
    rows = rows_of(json.loads(json.dumps(row)))
    [made] = detect(rows).read(rows[0])
    return replace(made, origin=None)


RICH = Item(
    Prompt(
        (
            Message("system", "Be exact."),
            Message(
                "user",
                (
                    Text("See "),
                    Image(b"\x00\x01", media_type="image/png"),
                    Image("a.png"),
                    Video("a.mp4"),
                    Audio(b"x"),
                ),
            ),
        ),
        tools=({"type": "function", "function": {"name": "f"}},),
        template_args={"thinking": False},
    ),
    (
        (
            Message(
                "assistant",
                "",
                reasoning="hm",
                tool_calls=(ToolCall("f", {"a": [1]}, id="1"), ToolCall("f", "odd")),
            ),
            Message("tool", "ok", tool_call_id="1", name="f"),
            Message("assistant", "Done.", trained=True),
        ),
    ),
    Shown(),
    meta={"id": 7, "deep": {"a": [None, 1.5]}},
)


@pytest.mark.parametrize("shape", ["trl", "concord"])
@pytest.mark.parametrize(
    "item",
    [
        RICH,
        replace(RICH, utilities=Label(False)),
        Item(ASK, PAIR, Preference(1.0, strength=0.5, scores=(2.0, 1.0)), meta={"ref_chosen_logps": -1.0}),
        Item(ASK, (said("a b"),), Shown()),
        Item(Prompt((), plain=True), (said(" text"),), Shown()),
        Item(ASK, ((Message("assistant", (Text("a"), Text("b"))),),), StepLabels((1.0, 0.25))),
        Item(ASK),
    ],
    ids=lambda value: type(value.utilities).__name__,
)
def test_there_and_back(item: Item, shape: Any) -> None:
    assert again(to_row(item, shape=shape)) == item


def test_the_columns_are_those_of_trl() -> None:
    assert to_row(Item(ASK, PAIR, Preference(), meta={"id": 1})) == {
        "prompt": [{"role": "user", "content": "Why?"}],
        "chosen": [{"role": "assistant", "content": "So."}],
        "rejected": [{"role": "assistant", "content": "No."}],
        "id": 1,
    }
    labelled = to_row(Item(ASK, PAIR[:1], Label(True)))
    assert list(labelled) == ["prompt", "completion", "label"]
    assert to_row(Item(Prompt((), plain=True), PAIR[:1], Shown())) == {"text": "So."}


def test_the_better_reply_comes_first_and_its_numbers_with_it() -> None:
    meta = {"ref_chosen_logps": -1.0, "ref_rejected_logps": -2.0, "ref_logps": [-1.0, -2.0]}
    row = to_row(Item(ASK, PAIR, Preference(0.0, scores=(1.0, 2.0)), meta=meta))
    assert row["chosen"] == [{"role": "assistant", "content": "No."}]
    assert (row["score_chosen"], row["score_rejected"]) == (2.0, 1.0)
    assert (row["ref_chosen_logps"], row["ref_rejected_logps"], row["ref_logps"]) == (
        -2.0,
        -1.0,
        [-2.0, -1.0],
    )


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (Item(ASK, PAIR, Preference(0.5)), "a tie or a soft one"),
        (Item(ASK, PAIR, Preference(0.75)), "a tie or a soft one"),
        (Item(ASK, PAIR, Preference(1.0, (2, 0, 1))), "votes or aspects"),
        (Item(ASK, PAIR, Preference(1.0, aspects={"safer": 1.0})), "votes or aspects"),
        (Item(replace(ASK, plain=True), PAIR[:1], Shown()), "plain text"),
        (Item(replace(ASK, plain=True), PAIR, Preference()), "plain text that cannot be told"),
        (Item(Prompt(()), PAIR[:1], Shown()), "plain text, or nothing"),
        (Item(Prompt(()), PAIR, Preference()), "there is no prompt"),
        (Item(replace(ASK, tokens=(1, 2)), PAIR[:1], Shown()), "exact tokens"),
        (Item(ASK, PAIR[:1], Shown(), meta={"prompt": "x"}), "meta holds 'prompt'"),
        (Item(ASK, PAIR[:1], Shown(), meta={"images": ["a.png"]}), "meta holds 'images'"),
        (Item(ASK, ((Message("assistant", (Images((Image("a"),)),)),),), Shown()), "found Images"),
        (
            Item(ASK, ((Message("assistant", (Image("a", media_type="image/png"),)),),), Shown()),
            "a path with a media",
        ),
        (
            Item(ASK, ((Message("assistant", (Text("a"), Image("b"))),),), StepLabels((1, 1))),
            "a step is not text",
        ),
        (Item(ASK, ((*said("a"), *said("b")),), StepLabels((1, 1))), "spread over turns"),
    ],
)
def test_what_the_columns_of_trl_cannot_hold(item: Item, message: str) -> None:
    with pytest.raises(InputError, match=rf'^f:3: .*{message}.*write this item with shape="concord"'):
        to_row(replace(item, origin=Origin("f", 3)))
    assert again(to_row(item, shape="concord")) == item


@pytest.mark.parametrize("utilities", [None, Ratings((1.0, None)), SegmentPreference(0.25)])
def test_kinds_without_columns_are_our_own(utilities: Any) -> None:
    item = Item(ASK, PAIR, utilities)
    assert to_row(item) == to_row(item, shape="concord")
    assert again(to_row(item)) == item


def test_no_other_shape() -> None:
    with pytest.raises(InputError, match="trl or concord"):
        to_row(Item(ASK), shape="alpaca")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    items = [Item(user(f"Why {n}? \u2028 \ud83d"), PAIR, Preference(), meta={"id": n}) for n in range(100)]
    assert write_items(iter(items), path) == 100
    first = path.read_bytes()
    text = (gzip.decompress(first) if name.endswith("gz") else first).decode()
    lines = text.split("\n")
    assert lines.pop() == ""
    rows = [Row(json.loads(line), Origin(str(path), at)) for at, line in enumerate(lines, 1)]
    plan = detect(rows)
    assert [replace(item, origin=None) for row in rows for item in plan.read(row)] == items
    write_items(items, path)
    assert path.read_bytes() == first
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_what_stood_there_stays_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_items([Item(ASK)], path)

    def broken() -> Iterator[Item]:
        yield Item(user("Other?"))
        yield Item(ASK, PAIR, Preference(0.5), origin=Origin("f", 2))

    before = path.read_bytes()
    with pytest.raises(InputError, match=r"^f:2: "):
        write_items(broken(), path)
    odd: Any = {"a": b"bytes"}
    with pytest.raises(InputError, match=r"^f:9: .*JSON cannot hold this"):
        write_items([Item(ASK, meta=odd, origin=Origin("f", 9))], path)
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["rows.jsonl"]
    with pytest.raises(InputError, match=r"JSON lines; found 'rows\.csv'"):
        write_items([], tmp_path / "rows.csv")
    with pytest.raises(RunError, match="writing"):
        write_items([], tmp_path / "no" / "rows.jsonl")
