"""Splits do not leak, samples are fair, and caps are kept."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from concord.data.select import capped, prompt_key, sample, split, take, where
from concord.errors import InputError
from concord.types import (
    Image,
    Images,
    Item,
    Message,
    Origin,
    Prompt,
    Text,
    ToolCall,
    Video,
    as_prompt,
    as_turns,
)

SHARES = {"train": 0.9, "validation": 0.05, "test": 0.05}


def item(prompt: str, reply: str = "yes", *, file: str = "a.jsonl", line: int = 1) -> Item:
    return Item(as_prompt(prompt), (as_turns(reply),), origin=Origin(file, line))


def test_replies_to_one_prompt_are_on_one_side() -> None:
    for number in range(50):
        keys = {
            prompt_key(item(f"question {number}", reply, line=len(reply))) for reply in ("a", "bb", "ccc")
        }
        assert len(keys) == 1
        assert len({split(key, SHARES) for key in keys}) == 1


def test_shares_are_met_as_far_as_chance_goes() -> None:
    keys = [prompt_key(as_prompt(f"question {number}")) for number in range(20_000)]
    counts = Counter(split(key, SHARES, seed=1) for key in keys)
    for name, share in SHARES.items():
        assert abs(counts[name] - share * 20_000) < 4 * (20_000 * share * (1 - share)) ** 0.5
    other = [split(key, SHARES, seed=2) for key in keys]
    assert other != [split(key, SHARES, seed=1) for key in keys]


def test_a_split_depends_on_nothing_but_key_seed_and_shares() -> None:
    # Written down once: a change here would move prompts between the splits of everybody's data.
    keys = [f"{number:064x}" for number in range(12)]
    turned = dict(reversed(SHARES.items()))
    even = {"a": 1, "b": 1}
    assert [split(key, SHARES) for key in keys] == [split(key, turned) for key in keys]
    assert "".join(split(key, even) for key in keys) == "baabbabaaabb"


def test_no_share_means_never() -> None:
    keys = [str(number) for number in range(500)]
    assert {split(key, {"train": 1, "test": 0}) for key in keys} == {"train"}


@pytest.mark.parametrize("shares", [{}, {"a": 0}, {"a": -1, "b": 2}, {"a": float("inf")}])
def test_shares_that_share_nothing_out_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(InputError, match="share"):
        split("key", shares)


def test_a_prompt_is_known_by_what_it_asks() -> None:
    plain = as_prompt("How far is the moon?")
    same = [
        replace(plain, tools=({"name": "look_up"},)),
        replace(plain, template_args={"date": "today"}),
        Prompt((Message("user", (Text("How far is "), Text("the moon?"))),)),
        Prompt((Message("user", "How far is the moon?", trained=False),)),
    ]
    assert {prompt_key(one) for one in same} == {prompt_key(plain)}
    picture = Image(b"1")
    others = [
        as_prompt("How far is the moon? "),
        Prompt((Message("system", "How far is the moon?"),)),
        Prompt((Message("system", "Be brief."), *plain.messages)),
        Prompt((Message("user", "How far is"), Message("user", " the moon?"))),
        Prompt((Message("user", "How far is the moon?", reasoning="far"),)),
        Prompt((Message("user", "How far is the moon?", tool_calls=(ToolCall("look", {"at": 1}),)),)),
        Prompt((Message("user", (Text("How far is the moon?"), picture)),)),
        Prompt((Message("user", (picture, Text("How far is the moon?"))),)),
        Prompt((Message("user", (Text("How far is the moon?"), Image(b"2"))),)),
        Prompt((), tokens=(1, 2)),
        Prompt((), tokens=(1, 3)),
    ]
    keys = [prompt_key(one) for one in (plain, *others)]
    assert len(set(keys)) == len(keys)


def test_how_text_and_pictures_are_parted_does_not_count() -> None:
    one, two = Image(b"1"), Image("2.png")
    same = [
        (Text("How far "), Text("is it?"), one, two),
        (Text("How far is it?"), Images((one, two))),
        (Text("How far is it?"), Images((one,)), Text(""), two),
    ]
    assert len({prompt_key(Prompt((Message("user", parts),))) for parts in same}) == 1
    others = [
        (Text("How far is it?"), two, one),
        (one, Text("How far is it?"), two),
        (Text("How far "), one, Text("is it?"), two),
        (Text("How far is it?"), Video((one, two))),
        (Text("How far is it?"), one, Image(b"2.png")),
    ]
    keys = {prompt_key(Prompt((Message("user", parts),))) for parts in (same[0], *others)}
    assert len(keys) == 1 + len(others)


def test_equal_prompts_stay_together_whatever_the_order_and_the_files() -> None:
    one_file = [item(f"question {number % 40}", f"reply {number}", line=number) for number in range(200)]
    several = [replace(one, origin=Origin(f"{number % 7}.jsonl", 1)) for number, one in enumerate(one_file)]
    sides = [
        {(one.prompt.text, split(prompt_key(one), SHARES)) for one in items}
        for items in (one_file, several, one_file[::-1], several[100:])
    ]
    assert sides[0] == sides[1] == sides[2] == sides[3]
    assert len(sides[0]) == 40


def test_a_sample_is_fair_ascending_and_nested() -> None:
    small, large = sample(1000, 50, seed=3), sample(1000, 200, seed=3)
    assert np.array_equal(small, np.unique(small))
    assert len(small) == 50
    assert set(small.tolist()) < set(large.tolist())
    assert sample(7, 7).tolist() == list(range(7))
    assert sample(7, 0).tolist() == []
    hits = Counter(number for seed in range(2000) for number in sample(20, 5, seed).tolist())
    assert all(abs(hits[number] - 500) < 4 * (2000 * 0.25 * 0.75) ** 0.5 for number in range(20))
    with pytest.raises(InputError, match="larger"):
        sample(5, 6)


def test_taking_reads_no_further() -> None:
    rows = iter(range(10))
    assert list(take(rows, 3)) == [0, 1, 2]
    assert next(rows) == 3
    assert list(where(range(10), lambda one: one % 4 == 1)) == [1, 5, 9]
    with pytest.raises(InputError, match="to take"):
        take(rows, -1)


def test_caps_keep_the_first_of_each_source() -> None:
    items = [item("q", file=name, line=line) for line in range(1, 5) for name in ("a", "b")]
    assert [str(one.origin) for one in capped(items, 2)] == ["a:1", "b:1", "a:2", "b:2"]
    assert [str(one.origin) for one in capped(items, {"a": 1, "b": 0})] == ["a:1"]
    by_line = capped(items, 1, by=lambda one: str(one.origin and one.origin.line))
    assert [str(one.origin) for one in by_line] == ["a:1", "a:2", "a:3", "a:4"]
    with pytest.raises(InputError, match="without a cap"):
        list(capped(items, {"a": 1}))
    with pytest.raises(InputError, match="cap of a source"):
        list(capped(items, {"a": -1}))
