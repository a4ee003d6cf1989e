"""Numbers and letters: how they are read, and every gold answer of real sets."""

import gzip
import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import InputError
from concord.feedback import Choice, Numeric, check, read_letter, read_number
from concord.feedback.answers import Place
from concord.types import JSON, Item, Score, Unscored, as_prompt
from tests.feedback.test_verifiers import rated, value
from tests.shared import SHARED, needs_shared


def load(name: str) -> list[dict[str, Any]]:
    """The rows of a real set."""
    with gzip.open(SHARED / name, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("72", 72),
        ("so it is 72.", 72),
        ("-5", -5),
        ("\u22125", -5),
        ("-$5", -5),
        ("$-5", -5),
        ("$1,234.50 in all", Fraction(2469, 2)),
        (".5", Fraction(1, 2)),
        ("3/4", Fraction(3, 4)),
        ("-3 / 4", Fraction(-3, 4)),
        ("1e3", 1000),
        ("2.5E-1", Fraction(1, 4)),
        ("50%", 50),
        ("72km", 72),
        ("10-5", 5),
        ("5 + 3 = 8", 8),
        ("1,2,3", 3),
        ("#### 1,000\nthat is 7", 1000),
        ("#### 3\n#### 4", 4),
        ("\\boxed{3} or \\boxed{4} of 9", 4),
        ("\\boxed{\\frac{3}{4}}", Fraction(3, 4)),
        ("\\boxed{\\dfrac{-3}{4}}", Fraction(-3, 4)),
        ("\\boxed{1{,}000}", 1000),
        ("\\boxed{x = \\$5}", 5),
        ("\\boxed{1\\,000\\,000}", 1000000),
        ("The answer is **1,234**. That took 3 steps.", 1234),
        ("Answer: 5 + 3 = 8 clips, as 2 were lost", 8),
        ("The answer was 7. The answer is 8.\nI had 9.", 8),
        ("The answer is clear.\nIt is 7", 7),
        ("\\boxed{x} but 7", 7),
        ("\\boxed{12", 12),
        ("3 1/2 hours", Fraction(7, 2)),
        ("-3 1/2", Fraction(-7, 2)),
        ("step 5 12/5", Fraction(12, 5)),
        ("\\boxed{3\\frac{1}{2}}", Fraction(7, 2)),
        ("\\boxed{-\\frac{1}{2}}", Fraction(-1, 2)),
        ("\u00bd", Fraction(1, 2)),
        ("3\u00be miles", Fraction(15, 4)),
        ("1\u20442", Fraction(1, 2)),
        ("1\u00a0000\u202f000", 1000000),
        ("nothing", None),
        ("", None),
        ("a1 v2", None),
        ("3/0", None),
        ("1e999999999", None),
        ("9" * 500, None),
    ],
)
def test_numbers(text: str, number: Fraction | int | None) -> None:
    assert read_number(text) == number


@pytest.mark.parametrize(
    ("place", "number"), [("boxed", 1), ("marked", 2), ("said", 3), ("last", 4), ("auto", 1)]
)
def test_places(place: Place, number: int) -> None:
    assert read_number("\\boxed{1}\n#### 2\nThe answer is 3.\nor 4", place) == number


@given(st.integers(-(10**12), 10**12), st.integers(0, 3))
def test_what_is_written_is_read(number: int, places: int) -> None:
    exact = Fraction(number, 10**places)
    for text in (f"{float(exact):,.{places}f}", f"{float(exact):.{places}f}"):
        assert read_number(text) == read_number(f"#### {text}") == exact
        assert read_number(f"The answer is ${text}.") == exact


def test_numeric() -> None:
    assert value(Numeric(), "72 clips", answer="48 + 24 = <<48+24=72>>72\n#### 72") == 1
    assert value(Numeric(), "0.3", answer=0.3) == 1
    assert value(Numeric(), "1/3", answer="0.333") == 0
    assert value(Numeric(tolerance=0.001), "1/3", answer="0.333") == 1
    assert value(Numeric(relative=0.01), "101", answer=100) == 1
    assert value(Numeric(relative=0.01), "101.5", answer=100) == 0
    assert value(Numeric(), "7", answer=[6, 7]) == 1
    assert value(Numeric(place="boxed"), "7", answer=7) == 0
    assert rated(Numeric(), "none", answer=7) == Score(
        0.0, parts={"answered": 0.0}, why="no number can be read"
    )


@pytest.mark.parametrize("gold", ["many", True, float("nan"), {"a": 1}])
def test_gold_that_is_no_number_is_unscored(gold: JSON) -> None:
    assert isinstance(rated(Numeric(), "7", answer=gold), Unscored)


def test_numeric_settings() -> None:
    with pytest.raises(InputError, match="tolerance of a number"):
        Numeric(tolerance=-1)
    with pytest.raises(InputError, match=r"did you mean 'boxed'\?"):
        Numeric(place="box")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        (" (b).\n", "B"),
        ("**C**", "C"),
        ("The answer is B.", "B"),
        ("The correct answer is (c)", "C"),
        ("Answer: **D**", "D"),
        ("The answer is option B because it is.", "B"),
        ("The answer is A because it is.", "A"),
        ("The answer is A. Wait: the answer is B.", "B"),
        ("\\boxed{D}", "D"),
        ("\\boxed{\\text{D}}", "D"),
        ("B. Paris", "B"),
        ("(B) Paris", "B"),
        ("B) Paris, not A", "B"),
        ("surely (C), yes (C)", "C"),
        ("Paris.", "B"),
        ("either (A) or (B)", None),
        ("A dog is nice", None),
        ("The answer is A dog", None),
        ("The answer is a dog", None),
        ("E", None),
        ("", None),
    ],
)
def test_letters(text: str, letter: str | None) -> None:
    assert read_letter(text, "ABCD", ["Rome", "Paris", "Oslo", "Bern"]) == letter


def test_choice() -> None:
    choices: dict[str, JSON] = {"choices": ["Rome", "Paris"]}
    for gold in ("B", "(b)", 1, "Paris"):
        assert value(Choice(), "B", answer=gold, **choices) == 1
        assert value(Choice(), "A", answer=gold, **choices) == 0
        assert rated(Choice(), "C", answer=gold, **choices) == Score(
            0.0, parts={"answered": 0.0}, why="no one letter of a choice can be read"
        )
    for gold in ("C", 2, -1, True, "Oslo"):
        assert isinstance(rated(Choice(), "B", answer=gold, **choices), Unscored)
    assert value(Choice(), "The answer is E.", answer="E") == 1
    with pytest.raises(InputError, match="letters of a choice"):
        Choice(letters="AA")


@needs_shared
def test_every_gold_answer_of_gsm8k_passes_and_another_number_does_not() -> None:
    rows = load("sft/gsm8k_train.jsonl.gz")
    items = [Item(as_prompt(row["question"]), meta={"answer": row["answer"]}) for row in rows]
    assert check(Numeric(), items, column="answer") == 7473
    for row in rows[:500]:
        gold = row["answer"].rpartition("#### ")[2]
        number = int(gold.replace(",", ""))
        assert read_number(row["answer"]) == number
        assert value(Numeric(), f"The answer is {gold}.", answer=row["answer"]) == 1
        assert value(Numeric(), f"\\boxed{{{number + 1}}}", answer=row["answer"]) == 0


@needs_shared
def test_every_letter_of_mmlu_passes_in_every_form() -> None:
    rows = load("eval/mmlu_dev_val.jsonl.gz")
    assert len(rows) == 1816
    for row in rows:
        meta = {"answer": row["answer"], "choices": row["choices"]}
        text = row["choices"]["ABCD".index(row["answer"])]
        for said in (row["answer"], f"The answer is {row['answer']}.", f"({row['answer']}) {text}"):
            assert value(Choice(), said, **meta) == 1
        other = "ABCD"[("ABCD".index(row["answer"]) + 1) % 4]
        assert value(Choice(), f"{other}. {text}", **meta) == 0
