"""Real data sets: each is read without a word as what it is, or refused with mappings that all work.

Rows are counted and looked at a second time here, by nothing but json.
"""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from concord.errors import InputError
from concord.formats.detect import detect
from concord.formats.mapping import parse_mapping
from concord.formats.rows import Row
from concord.types import Item, Label, Origin, Preference
from tests.shared import SHARED, needs_shared

pytestmark = needs_shared
Rows = list[dict[str, Any]]


def load(name: str) -> Rows:
    data = (SHARED / name).read_bytes()
    text = (gzip.decompress(data) if name.endswith(".gz") else data).decode("utf-8")
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def rows_in(name: str) -> tuple[Rows, list[Row]]:
    raw = load(name)
    return raw, [Row(one, Origin(Path(name).name, at)) for at, one in enumerate(raw, 1)]


def last(item: Item) -> str:
    return item.replies[0][-1].text


DETECTED: dict[str, tuple[str, str, Callable[[dict[str, Any], Item], bool]]] = {
    "corpora/tinystories_train.jsonl.gz": (
        "demonstration",
        "text=text",
        lambda row, item: item.prompt.plain and not item.prompt.messages and last(item) == row["text"],
    ),
    "eval/ifeval.jsonl": (
        "task",
        "prompt=prompt",
        lambda row, item: item.prompt.text == row["prompt"] and item.meta["kwargs"] == row["kwargs"],
    ),
    "eval/xstest_prompts.jsonl": (
        "task",
        "prompt=prompt",
        lambda row, item: item.prompt.text == row["prompt"] and item.meta["label"] == row["label"],
    ),
    "pref/dpo_en_demo.jsonl.gz": (
        "comparison",
        "prompt=conversations chosen=chosen rejected=rejected",
        lambda row, item: (
            [turn.text for turn in item.prompt.messages] == [turn["value"] for turn in row["conversations"]]
            and [one[0].text for one in item.replies] == [row["chosen"]["value"], row["rejected"]["value"]]
        ),
    ),
    "pref/hh_harmless.jsonl.gz": (
        "comparison",
        "shape=hh prompt=prompt chosen=chosen rejected=rejected",
        lambda row, item: (
            "".join(
                f"\n\n{'Human' if turn.role == 'user' else 'Assistant'}: {turn.text}"
                for turn in (*item.prompt.messages, *item.replies[1])
            )
            == row["prompt"] + row["rejected"]
            # in three rows the first speaker of a reply takes a second turn
            and " " + "\n\nAssistant: ".join(turn.text for turn in item.replies[0]) == row["chosen"]
        ),
    ),
    "pref/oasst_ranked.jsonl.gz": (
        "comparison",
        "prompt=messages chosen=chosen rejected=rejected",
        lambda row, item: (
            [turn.text for turn in item.prompt.messages] == [turn["content"] for turn in row["messages"]]
            and last(item) == row["chosen"]
            and item.meta["rank_gap"] == row["rank_gap"]
        ),
    ),
    "pref/pandalm.jsonl.gz": (
        "comparison",
        "prompt=prompt first=response_1 second=response_2 choice=label(1:first,2:second,0:tie) votes=votes",
        lambda row, item: (
            item.utilities
            == Preference(
                {1: 1.0, 2: 0.0, 0: 0.5}[row["label"]],
                (row["votes"].count(1), row["votes"].count(0), row["votes"].count(2)),
            )
            and [one[0].text for one in item.replies] == [row["response_1"], row["response_2"]]
            and item.meta == {"id": row["id"], "instruction": row["instruction"]}
        ),
    ),
    "sft/gsm8k_train.jsonl.gz": (
        "demonstration",
        "prompt=question reply=answer",
        lambda row, item: item.prompt.text == row["question"] and last(item) == row["answer"],
    ),
    "sft/self_instruct_seed.jsonl": (
        "demonstration",
        "prompt=instruction outputs=instances.*.output inputs=instances.*.input",
        lambda row, item: (
            last(item) == row["instances"][0]["output"]
            and item.prompt.text
            == "\n".join(filter(None, [row["instruction"], row["instances"][0]["input"]]))
        ),
    ),
    "unary/kto_en_demo.jsonl.gz": (
        "judgement",
        "messages=messages label=label",
        lambda row, item: (
            item.utilities == Label(row["label"])
            and last(item) == row["messages"][-1]["content"]
            and [turn.text for turn in item.prompt.messages]
            == [turn["content"] for turn in row["messages"][:-1]]
        ),
    ),
    **dict.fromkeys(
        ("unary/truthfulqa_info.jsonl.gz", "unary/truthfulqa_truth.jsonl.gz"),
        (
            "judgement",
            "prompt=question reply=answer label=label",
            lambda row, item: item.utilities == Label(row["label"]) and last(item) == row["answer"],
        ),
    ),
}


@pytest.mark.parametrize("name", DETECTED)
def test_detected(name: str) -> None:
    raw, rows = rows_in(name)
    kind, line, holds = DETECTED[name]
    plan = detect(rows[:1000])
    assert (plan.kind, plan.line) == (kind, line)
    read = [plan.read(row) for row in rows]
    assert all(len(items) == len(row.get("instances", [1])) for row, items in zip(raw, read, strict=True))
    assert all(holds(row, items[0]) for row, items in zip(raw, read, strict=True))
    assert [items[0].origin for items in read] == [row.origin for row in rows]


REFUSED: dict[str, tuple[str, ...]] = {
    "unary/uci_sentiment.jsonl": ("demonstration", "judgement", "demonstration"),
    "unary/xstest_completions.jsonl.gz": ("judgement",),
    "eval/rtp.jsonl.gz": ("task", "demonstration"),
    "eval/mmlu_dev_val.jsonl.gz": ("task", "demonstration"),
    "eval/winogender.jsonl": ("demonstration",),
    "eval/moralchoice_high.jsonl.gz": ("task", "demonstration"),
    "eval/moralchoice_low.jsonl.gz": ("task", "demonstration"),
    "eval/mt_bench/question.jsonl": ("task", "demonstration"),
    "eval/mt_bench/vicuna_question.jsonl": ("task", "demonstration"),
    "eval/mt_bench/reference_gpt4.jsonl": ("task", "demonstration"),
    "eval/mt_bench/judge_prompts.jsonl": ("task", "demonstration"),
    "eval/bbq/Religion.jsonl.gz": ("task", "demonstration"),
    "eval/bbq/Physical_appearance.jsonl.gz": ("task", "demonstration"),
}
OPINIONS = ("comparison", "comparison", "candidates", "task", "demonstration")


def others() -> list[str]:
    """All further sets: statements with an answer that shows a behaviour, and one that does not."""
    found = sorted(SHARED.glob("eval/**/*.jsonl*")) + sorted(SHARED.glob("*/*.jsonl*"))
    names = {path.relative_to(SHARED).as_posix() for path in found}
    return sorted(names - DETECTED.keys() - REFUSED.keys())


@pytest.mark.parametrize("name", [*REFUSED, *others()])
def test_refused_with_mappings_that_work(name: str) -> None:
    _, rows = rows_in(name)
    with pytest.raises(
        InputError, match=rf"^{re.escape(Path(name).name)}: .*; found .*; accepted: .*"
    ) as caught:
        detect(rows[:1000])
    lines = re.findall(r'--map "(.*?)"', str(caught.value))
    plans = [parse_mapping(line, rows[:1000]) for line in lines]
    assert tuple(plan.kind for plan in plans) == REFUSED.get(name, OPINIONS)
    for at, plan in enumerate(plans):
        given = rows if name in REFUSED or at == 0 else rows[:50]
        items = [item for row in given for item in plan.read(row)]
        assert [item.origin for item in items] == [row.origin for row in given]
