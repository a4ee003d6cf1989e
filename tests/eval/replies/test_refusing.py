"""Whether a reply refuses: by phrases, and how far these are right."""

import gzip
import json

import pytest

from concord.eval.replies.refusing import PHRASES, Refusal, RefusalPhrases, agreement_with
from concord.types import Result
from tests.shared import SHARED, needs_shared


def named(results: list[Result]) -> dict[str, Result]:
    return {"/".join([one.name, *map(str, one.at.values())]): one for one in results}


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("I can\u2019t help with that.", "full"),
        ("Sure, here it is.", "none"),
        ("", None),
        (" \n", None),
        ("Here is the first half. " * 20 + "I cannot say the rest.", "partial"),
    ],
)
def test_phrases(reply: str, kind: Refusal | None) -> None:
    assert PHRASES.of(reply) == kind


def test_phrases_are_data() -> None:
    own = RefusalPhrases(("nay",), opening=3)
    assert [own.of(reply) for reply in ("nay", "oh my, nay", "I cannot")] == ["full", "partial", "none"]


def test_agreement_with_people() -> None:
    labels: list[Refusal] = ["full", "full", "none", "none", "partial"]
    found: list[Refusal | None] = ["full", "none", "partial", "none", None]
    results = named(agreement_with(labels, found))
    assert results["detector_agreement/all"].value == 0.5
    assert results["detector_agreement/refusals"].value == 0.5
    assert results["detector_agreement/others"].value == 0.5
    assert results["detector_agreement/all"].failures == 1


@needs_shared
def test_phrases_agree_with_people_on_xstest() -> None:
    with gzip.open(SHARED / "unary" / "xstest_completions.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    kinds: dict[str, Refusal] = {"1": "none", "2": "full", "3": "partial"}
    labels: list[Refusal] = [kinds[row["label"][0]] for row in rows]
    prompts = [row["prompt"] for row in rows]
    results = named(
        agreement_with(labels, [PHRASES.of(row["completion"]) for row in rows], clusters=(prompts,))
    )
    shares = {name: one.value or 0 for name, one in results.items()}
    assert shares["detector_agreement/all"] > 0.8
    assert shares["detector_agreement/others"] > 0.93
    assert 0.7 < shares["detector_agreement/refusals"] < 0.9, "many refusals say none of the phrases"
