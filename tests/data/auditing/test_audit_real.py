"""Numbers of the audit on real data, counted again from the files by lines that share no code with it."""

import gzip
import json
from typing import Any

import pytest

from concord.data.auditing.audit import audit
from concord.data.auditing.records import Audit, AuditSettings
from concord.formats import open_items
from concord.results import Result
from tests.shared import SHARED, needs_shared

pytestmark = needs_shared


def rows_of(name: str) -> list[dict[str, Any]]:
    with gzip.open(SHARED / name, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def audited(name: str, **settings: Any) -> Audit:
    return audit({"train": open_items(SHARED / name)}, settings=AuditSettings(near=False, **settings))


def one(found: Audit, name: str, **at: str | float) -> Result:
    result = found.result(name, **at)
    assert result is not None
    return result


def test_oasst_longer_replies_win_as_often_as_counted() -> None:
    rows, found = rows_of("pref/oasst_ranked.jsonl.gz"), audited("pref/oasst_ranked.jsonl.gz")
    gaps = [len(row["chosen"]) - len(row["rejected"]) for row in rows]
    differ = [gap for gap in gaps if gap]
    result = one(found, "longer_wins")
    assert (result.n, result.failures) == (len(differ), len(gaps) - len(differ))
    assert result.value == pytest.approx(sum(gap > 0 for gap in differ) / len(differ))
    assert one(found, "length_gap").value == pytest.approx(sum(gaps) / len(gaps))
    prompts = [json.dumps(row["messages"]) for row in rows]
    assert one(found, "duplicates", of="prompts").value == pytest.approx(1 - len(set(prompts)) / len(rows))
    assert one(found, "length", side="chosen", percentile=100).value == max(
        len(row["chosen"]) for row in rows
    )


def test_pandalm_ties_and_longer_replies() -> None:
    rows, found = rows_of("pref/pandalm.jsonl.gz"), audited("pref/pandalm.jsonl.gz")
    ties = sum(str(row["label"]) == "0" for row in rows)
    assert ties > 0
    assert one(found, "share", of="ties").value == pytest.approx(ties / len(rows))
    longer, differ = 0, 0
    for row in rows:
        gap = len(row["response_1"]) - len(row["response_2"])
        if str(row["label"]) != "0" and gap:
            differ += 1
            longer += (gap > 0) == (str(row["label"]) == "1")
    result = one(found, "longer_wins")
    assert result.n == differ
    assert result.value == pytest.approx(longer / differ)
    first = sum(str(row["label"]) == "1" for row in rows)
    assert one(found, "first_wins").value == pytest.approx(first / (len(rows) - ties))
    assert any(finding.name == "ties" for finding in found.findings)


@pytest.mark.parametrize("name", ["unary/truthfulqa_truth.jsonl.gz", "unary/truthfulqa_info.jsonl.gz"])
def test_truthfulqa_labels_are_balanced_as_counted(name: str) -> None:
    rows, found = rows_of(name), audited(name)
    result = one(found, "desirable")
    assert result.n == len(rows)
    assert result.value == pytest.approx(sum(row["label"] for row in rows) / len(rows))
    labels: dict[tuple[str, str], set[bool]] = {}
    for row in rows:
        labels.setdefault((row["question"], row["answer"]), set()).add(row["label"])
    torn = sum(len(labels[row["question"], row["answer"]]) == 2 for row in rows)
    assert one(found, "labels_both_ways").value == pytest.approx(torn / len(rows))


def test_kto_demo_labels_are_balanced_as_counted() -> None:
    rows, found = rows_of("unary/kto_en_demo.jsonl.gz"), audited("unary/kto_en_demo.jsonl.gz")
    result = one(found, "desirable")
    assert result.n == len(rows)
    assert result.value == pytest.approx(sum(row["label"] for row in rows) / len(rows))


def test_two_halves_of_a_set_share_what_they_share() -> None:
    name = "unary/truthfulqa_info.jsonl.gz"
    rows, items = rows_of(name), list(open_items(SHARED / name))
    half = len(rows) // 2
    found = audit({"train": items[:half], "test": items[half:]}, settings=AuditSettings(near=False))
    known = {row["question"] for row in rows[:half]}
    shared = sum(row["question"] in known for row in rows[half:])
    assert one(found, "leak", of="prompts").value == pytest.approx(shared / (len(rows) - half))
    assert found.findings[0].name == "leak"
