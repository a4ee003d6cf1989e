"""Instructions that can be checked: each both ways, and those of the real set all have a check."""

import json
import time
from typing import Any

import pytest

from concord.feedback import Instructions
from concord.feedback.instructions import CHECKS
from concord.types import JSON, Score, Unscored
from tests.feedback.test_verifiers import rated, value
from tests.shared import SHARED, needs_shared

# Each with its settings, a reply that follows it, and one that does not.
CASES: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        "A BIG dog",
        "A dog",
    ),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "less than"},
        "A dog",
        "A BIG dog",
    ),
    ("change_case:english_capital", {}, "ALL LOUD 5", "Not ALL"),
    ("change_case:english_lowercase", {}, "all quiet 5", "Not quiet"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, "say it. It", "It. Say it."),
    ("combination:two_responses", {}, "one ****** two", "one ****** one"),
    ("combination:two_responses", {}, "******\none\n******\ntwo", "one"),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] and [b c]", "[a]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye\np. s. more", "Bye\nPS more"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "Bye P.P.S more", "Bye P.S. more"),
    ("detectable_format:constrained_response", {}, "My answer is maybe.", "My answer is perhaps."),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "a: 1"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Day", "num_sections": 2},
        "Day 1 x\nDay 2 y",
        "Day 1",
    ),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n- b\n**c**", "* a\n* b\n* c"),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        "*a* and **b c**",
        "*a* and ** **",
    ),
    ("detectable_format:title", {}, "<<Sea>>\nwaves", "<Sea>"),
    ("keywords:existence", {"keywords": ["Sea", "tide"]}, "sea and tides", "the sea"),
    ("keywords:forbidden_words", {"forbidden_words": ["sea"]}, "seas", "The Sea."),
    ("keywords:frequency", {"keyword": "sea", "frequency": 2, "relation": "at least"}, "Sea, sea", "sea"),
    ("keywords:frequency", {"keyword": "sea", "frequency": 2, "relation": "less than"}, "sea", "Sea, sea"),
    ("keywords:letter_frequency", {"letter": "z", "let_frequency": 2, "let_relation": "at least"}, "Zz", "z"),
    ("language:response_language", {"language": "ko"}, "\uc548\ub155\ud558 hi", "hello"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "sea"},
        'a\n\n"Sea" it is',
        "a\n\nThe sea",
    ),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\nb", "a\n***\n\n***\nb"),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": "less than"},
        "It is 3.5 m.",
        "One. Two.",
    ),
    ("length_constraints:number_words", {"num_words": 2, "relation": "at least"}, "one, two", "one"),
    ("punctuation:no_comma", {}, "a; b", "a, b"),
    ("startend:end_checker", {"end_phrase": "The end."}, 'So "the end."', "The end. Bye"),
    ("startend:quotation", {}, ' "so it is"\n', '"so" it is'),
]


def asked(name: str, settings: JSON) -> dict[str, JSON]:
    """The columns of a row with one instruction."""
    return {"instruction_id_list": [name], "kwargs": [settings]}


@pytest.mark.parametrize(("name", "settings", "good", "bad"), CASES)
def test_each_both_ways(name: str, settings: dict[str, Any], good: str, bad: str) -> None:
    assert rated(Instructions(), good, **asked(name, settings)) == Score(1.0, parts={"share": 1.0, name: 1.0})
    score = rated(Instructions(), bad, **asked(name, settings))
    assert score == Score(0.0, parts={"share": 0.0, name: 0.0}, why=f"does not follow {name}")
    assert value(Instructions(), " \n", **asked(name, settings)) == 0


def test_every_check_has_a_case() -> None:
    assert {name for name, *_ in CASES} == CHECKS.keys()


def test_all_are_to_be_followed_and_each_is_told() -> None:
    meta: dict[str, JSON] = {
        "instruction_id_list": ["punctuation:no_comma", "startend:quotation", "punctuation:no_comma"],
        "kwargs": [{}, {}, {"language": None}],
    }
    score = rated(Instructions(), "no comma", **meta)
    assert isinstance(score, Score)
    assert score.value == 0
    assert score.parts == {
        "share": pytest.approx(2 / 3),
        "punctuation:no_comma": 1.0,
        "startend:quotation": 0.0,
        "punctuation:no_comma (3)": 1.0,
    }
    assert value(Instructions(), '"no comma"', **meta) == 1


def test_loosely_forgives_an_opening_a_close_and_stars() -> None:
    meta = asked("startend:quotation", {})
    for reply in ('Sure:\n"so"', '"so"\nBye', 'Sure:\n"so"\nBye', '*"so"*'):
        assert value(Instructions(), reply, **meta) == 0
        assert value(Instructions(loosely=True), reply, **meta) == 1
    assert value(Instructions(loosely=True), "so", **meta) == 0


@pytest.mark.parametrize("name", CHECKS)
def test_long_replies_are_checked_in_no_time(name: str) -> None:
    settings = next(settings for case, settings, *_ in CASES if case == name)
    start = time.process_time()
    for reply in ("[" * 20_000, "\n" * 20_000 + "x", " \n" * 10_000 + "x", "*" * 20_000, "- " * 10_000):
        assert isinstance(rated(Instructions(), reply, **asked(name, settings)), Score)
    assert time.process_time() - start < 2


def test_a_language_is_told_by_its_script_or_not_at_all() -> None:
    def of(language: str, reply: str) -> float | str:
        score = rated(Instructions(), reply, **asked("language:response_language", {"language": language}))
        return score.value if isinstance(score, Score) else score.reason

    assert of("hi", "hello") == of("ta", "\u043f\u0440\u0438") == of("it", "\u043f\u0440\u0438") == 0
    for language, reply in (
        ("it", "ciao"),
        ("hi", "\u0928\u092e"),
        ("ru", "\u043f\u0440\u0438"),
        ("el", "hello"),
    ):
        assert str(of(language, reply)).startswith("'language:response_language' cannot be told")


@pytest.mark.parametrize(
    ("meta", "reason"),
    [
        ({}, "names no instructions"),
        ({"instruction_id_list": []}, "names no instructions"),
        ({"instruction_id_list": ["punctuation:no_comma"]}, "no settings in 'kwargs'"),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": []}, "no settings in 'kwargs'"),
        (asked("punctuation:no_coma", {}), "no check of 'punctuation:no_coma'"),
        (asked("keywords:existence", {}), "cannot be used"),
        (asked("keywords:existence", {"keywords": 5}), "cannot be used"),
        (
            asked("keywords:frequency", {"keyword": "a", "frequency": 1, "relation": "over"}),
            "'over' is neither",
        ),
    ],
)
def test_rows_that_cannot_be_checked_are_unscored(meta: dict[str, JSON], reason: str) -> None:
    score = rated(Instructions(), "so", **meta)
    assert isinstance(score, Unscored)
    assert reason in score.reason


@needs_shared
def test_the_real_set_has_no_instruction_without_a_check() -> None:
    lines = (SHARED / "eval" / "ifeval.jsonl").read_text(encoding="utf-8").splitlines()
    for row in map(json.loads, lines):
        assert {*row["instruction_id_list"]} <= CHECKS.keys()
        for reply in ("Well, so be it.", "\u0928\u092e"):
            score = rated(Instructions(), reply, **row)
            told = isinstance(score, Score) or "cannot be told" in score.reason
            assert told, score
