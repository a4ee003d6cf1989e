"""The one-line mapping: what it says, what it refuses, and rows that do not hold what it names."""

import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.errors import InputError, RowError
from concord.formats.cells import Field
from concord.formats.lines import choices_of, flag, written
from concord.formats.mapping import parse_mapping
from concord.types import Label, Preference, Ranks, Ratings, Shown
from tests.formats.fixtures import rows_of, said, user


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("prompt=question reply=answer", {"prompt": "question", "reply": "answer"}),
        ("prompt=question,reply=answer", {"prompt": "question", "reply": "answer"}),
        (" prompt = question ,\n reply = answer ", {"prompt": "question", "reply": "answer"}),
        ("input_key=q output_key=a", {"prompt": "q", "reply": "a"}),
        ("prompt_key=q chosen_key=c rejected_key=r", {"prompt": "q", "chosen": "c", "rejected": "r"}),
        ("prompt=q completion=a label_key=l", {"prompt": "q", "reply": "a", "label": "l"}),
        (
            "prompt='my question' reply=\"the 'best' answer\"",
            {"prompt": "my question", "reply": "the 'best' answer"},
        ),
        ("prompt=a.b.c", {"prompt": "a.b.c"}),
    ],
)
def test_roles_and_columns(line: str, fields: dict[str, str]) -> None:
    plan = parse_mapping(line)
    assert {role: one.name for role, one in plan.fields.items()} == fields
    assert parse_mapping(plan.line).fields == plan.fields


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="'\""), min_size=1, max_size=12)


@given(NAMES, st.dictionaries(NAMES, st.booleans(), min_size=1, max_size=4))
def test_any_name_and_any_value_can_be_written(name: str, table: dict[str, bool]) -> None:
    fields = {"prompt": Field(name, whole=True), "reply": Field("r"), "label": Field("l", table)}
    read = parse_mapping(written(fields)).fields
    assert read["prompt"].name == name
    assert read["label"].table == table


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_a_shell_reads_a_mapping_as_it_was_meant(name: str) -> None:
    line = f"prompt='{name}'"
    assert shlex.split(flag(line)) == ["--map", line]


def test_names_that_a_shell_would_run_are_quoted() -> None:
    assert flag("prompt=question") == '--map "prompt=question"'
    assert flag("prompt='$(date)'") == """--map 'prompt='"'"'$(date)'"'"''"""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "this mapping is empty"),
        ("  ,", "this mapping is empty"),
        ("prompt", "this mapping cannot be read; found 'prompt'"),
        ("prompt=a reply", "cannot be read; found 'reply'"),
        ("prompt=a reply=b=c", "cannot be read; found 'reply=b=c'"),
        ("prompt='a", "cannot be read"),
        ("promt=a", r"no such role; found 'promt'; .*did you mean 'prompt'"),
        ("prompt=a prompt=b", "names a role twice"),
        ("prompt=a question=b", "names a role twice"),
        ("reply=a", "these roles make no item; .*add prompt"),
        ("prompt=a score=b", "these roles make no item"),
        ("prompt=a chosen=b", "add rejected"),
        ("shape=alpacca", "did you mean 'alpaca'"),
        ("shape=text chosen=a", "the shape text has no such role"),
        (
            "prompt=a reply=b label=l(x:good)",
            "cannot mean this for the label; found 'good'; accepted: true or false",
        ),
        ("prompt=a first=b second=c choice=l(x:third)", "first, second or tie"),
        ("prompt=a reply=b score=l(x:high)", "a number"),
        ("prompt=a reply=b label=l(x)", "these values cannot be read"),
        ("prompt=a reply=b label=l()", "there are no values"),
        ("prompt=a reply=b label=l(x:true,x:false)", "two meanings"),
    ],
)
def test_what_a_mapping_cannot_say(line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_mapping(line)


def test_columns_are_looked_up_in_a_sample() -> None:
    rows = rows_of({"question": "Why?", "answer": "So."})
    with pytest.raises(
        InputError, match=r"no such column; found 'quesion'; .*did you mean 'question'.*prompt=COLUMN"
    ):
        parse_mapping("prompt=quesion reply=answer", rows)
    with pytest.raises(InputError, match="no column for reply; found 'question', 'answer'"):
        parse_mapping("shape=alpaca prompt=question", rows)
    plan = parse_mapping("shape=alpaca prompt=question reply=answer", rows)
    assert plan.read(rows[0])[0].prompt == user("Why?")


def test_a_shape_alone_finds_its_columns() -> None:
    rows = rows_of(
        {"instruction": "Add.", "input": "1 1", "output": "2", "system": "Be exact.", "text": "..."}
    )
    plan = parse_mapping("shape=alpaca", rows)
    [item] = plan.read(rows[0])
    assert item.prompt.messages[1].text == "Add.\n1 1"
    assert item.meta == {"text": "..."}
    assert parse_mapping("shape=alpaca").fields.keys() == {"prompt", "reply"}


def test_values_mean_what_the_table_says() -> None:
    rows = rows_of(
        {"p": "Why?", "r": "So.", "g": "ok"},
        {"p": "Why?", "r": "So.", "g": "OK"},
        {"p": "Why?", "r": "So.", "g": "bad"},
    )
    plan = parse_mapping("prompt=p reply=r label=g(ok:true,bad:false)", rows)
    assert [plan.read(row)[0].utilities for row in rows] == [Label(True), Label(True), Label(False)]
    with pytest.raises(RowError, match=r"^rows.jsonl:1: column 'g': .*found 'odd'; accepted: bad, ok"):
        plan.read(rows_of({"p": "Why?", "r": "So.", "g": "odd"})[0])
    scored = parse_mapping("prompt=p reply=r score=g(ok:1,bad:-0.5)")
    assert scored.read(rows[2])[0].utilities == Ratings((-0.5,))


def test_paths() -> None:
    columns = {
        "task": {"q": "Why?", "a.b": "dotted"},
        "runs": [{"out": {"text": "So."}, "grade": 2}, {"out": {"text": "Thus."}, "grade": None}],
        "a.b": "literal",
    }
    rows = rows_of(columns)
    plan = parse_mapping("prompt=task.q replies=runs.*.out.text scores=runs.*.grade", rows)
    [item] = plan.read(rows[0])
    assert (item.prompt, item.replies) == (user("Why?"), (said("So."), said("Thus.")))
    assert item.utilities == Ratings((2.0, None))
    assert item.meta == columns  # what is read in part is kept whole
    assert parse_mapping("prompt=runs.1.out.text").read(rows[0])[0].prompt == user("Thus.")
    assert parse_mapping("prompt=a.b").read(rows[0])[0].prompt == user("literal")
    with pytest.raises(RowError, match=r"column 'runs\.7\.out': there is no value here"):
        parse_mapping("prompt=runs.7.out").read(rows[0])
    [row] = rows_of({"runs": '[{"out": "So."}]'}, textual=True)
    assert parse_mapping("prompt=runs.0.out", [row]).read(row)[0].prompt == user("So.")


def test_aspects() -> None:
    [row] = rows_of({"p": "Why?", "x_1": "So.", "x_2": "Thus.", "w": "2", "safe": 1, "kind": "x_2"})
    plan = parse_mapping("prompt=p first=x_1 second=x_2 choice=w aspect.safer=safe aspect.kinder=kind", [row])
    assert plan.read(row)[0].utilities == Preference(0.0, aspects={"safer": 1.0, "kinder": 0.0})
    [row] = rows_of({"p": "Why?", "r": ["So.", "Thus."], "s": [1, 2], "kind": ["3", "N/A"]})
    plan = parse_mapping("prompt=p replies=r scores=s aspect.kind=kind")
    assert plan.read(row)[0].utilities == Ratings((1.0, 2.0), {"kind": (3.0, None)})


def test_kinds_that_only_a_mapping_can_mean() -> None:
    [row] = rows_of({"p": "Why?", "a": "So.", "b": "Thus.", "c": ["So.", "Thus."]})
    for line in ("prompt=p first=a second=b", "prompt=p replies=c"):
        plan = parse_mapping(line)
        [item] = plan.read(row)
        assert (plan.kind, item.replies, item.utilities) == ("candidates", (said("So."), said("Thus.")), None)
    assert parse_mapping("prompt=p ranked=c").read(row)[0].utilities == Ranks((1, 2))
    assert parse_mapping("text=p").read(row)[0].utilities == Shown()


def test_names_that_set_two_columns_apart() -> None:
    table = choices_of("model_a_reply", "model_b_reply")
    assert (table["a"], table["model_b"], table["model_b_reply"], table["tie"]) == (
        "first",
        "second",
        "second",
        "tie",
    )
    assert "0" not in choices_of("x_1", "x_2")


# --- rows that do not hold what the mapping names ---------------------------------------------------------

CHAT = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]


@pytest.mark.parametrize(
    ("line", "columns", "message"),
    [
        ("prompt=p reply=r", {"p": "Why?"}, r"column 'r': the row has no such column; found 'p'"),
        ("prompt=p reply=r", {"p": "Why?", "r": None}, r"column 'r': there is no value here; found null"),
        ("prompt=p reply=r", {"p": "Why?", "r": ""}, r"column 'r': the reply is empty"),
        ("prompt=p reply=r", {"p": "", "r": "So."}, r"column 'p': the prompt is empty"),
        ("prompt=p reply=r", {"p": "Why?", "r": 5}, r"column 'r': this is not a conversation; found 5"),
        ("prompt=p reply=r", {"p": "Why?", "r": []}, r"column 'r': the conversation is empty"),
        ("prompt=p reply=r", {"p": CHAT, "r": "So."}, r"column 'p\[1\].role': the prompt ends with"),
        ("prompt=p reply=r", {"p": "Why?", "r": CHAT}, r"column 'r\[0\].role': a reply begins and ends"),
        (
            "prompt=p reply=r",
            {"p": "Why?", "r": CHAT[1:] + CHAT[:1]},
            r"column 'r\[1\].role': a reply begins",
        ),
        (
            "prompt=p chosen=c rejected=r",
            {"p": "W", "c": "a", "r": "a"},
            r"column 'c', 'r': a reply is preferred to",
        ),
        ("chosen=c rejected=r", {"c": CHAT, "r": CHAT}, r"column 'c', 'r': a reply is preferred to itself"),
        ("chosen=c rejected=r", {"c": "Yes.", "r": "No."}, r"column 'c': the two texts share no beginning"),
        ("chosen=c rejected=r", {"c": "", "r": ""}, r"column 'c': the two texts share no beginning"),
        (
            "prompt=p chosen=c rejected=r strength=m",
            {"p": "W", "c": "a", "r": "b", "m": -1},
            r"'m': the strength",
        ),
        (
            "prompt=p chosen=c rejected=r strength=m",
            {"p": "W", "c": "a", "r": "b", "m": "x"},
            r"column 'm': this is not a number",
        ),
        ("prompt=p reply=r score=s", {"p": "W", "r": "a", "s": "N/A"}, r"column 's': there is no value"),
        (
            "prompt=p reply=r score=s",
            {"p": "W", "r": "a", "s": float("nan")},
            r"column 's': this is not a number",
        ),
        (
            "prompt=p reply=r label=l",
            {"p": "W", "r": "a", "l": 2},
            r"column 'l': this says neither yes nor no; found 2",
        ),
        (
            "prompt=p replies=r ranks=k",
            {"p": "W", "r": ["a", "b"], "k": [1]},
            r"column 'k': .*differ in number; found 1 ranks",
        ),
        (
            "prompt=p replies=r ranks=k",
            {"p": "W", "r": ["a", "b"], "k": [1, 1.5]},
            r"column 'k': a rank is not a whole",
        ),
        (
            "prompt=p replies=r ranks=k",
            {"p": "W", "r": ["a", "b"], "k": [1, None]},
            r"column 'k': a rank is not a whole",
        ),
        (
            "prompt=p replies=r ranks=k",
            {"p": "W", "r": ["a", None], "k": [1, 2]},
            r"column 'r\[1\]': there is no reply",
        ),
        (
            "prompt=p replies=r scores=k",
            {"p": "W", "r": "ab", "k": [1, 2]},
            r"column 'r': this is not a list",
        ),
        (
            "prompt=p replies=r scores=k",
            {"p": "W", "r": ["a"], "k": [None]},
            r"'r', 'k': a rating scores nothing",
        ),
        (
            "prompt=p steps=s labels=l",
            {"p": "W", "s": ["a", 2], "l": [1, 1]},
            r"column 's\[1\]': a step is not text",
        ),
        (
            "prompt=p steps=s labels=l",
            {"p": "W", "s": ["a"], "l": [1, 1]},
            r"'s', 'l': steps and labels differ",
        ),
        (
            "prompt=p steps=s labels=l",
            {"p": "W", "s": ["a"], "l": [3]},
            r"'s', 'l': a step label is out of range",
        ),
        (
            "messages=m rewards=r",
            {"m": CHAT, "r": [1, 2, 3]},
            r"column 'r': turns and rewards differ in number",
        ),
        ("messages=m", {"m": CHAT[1:]}, r"column 'm\[0\]': the conversation has no prompt"),
        ("messages=m", {"m": CHAT[:1]}, r"column 'm\[0\].role': the conversation does not end with a reply"),
        (
            "messages=m",
            {"m": [*CHAT[:1], {**CHAT[1], "weight": 0}]},
            r"column 'm': no turn of an example is trained",
        ),
        (
            "prompt=p first=a second=b choice=c",
            {"p": "W", "a": "x", "b": "y", "c": None},
            r"column 'c': there is no value",
        ),
        (
            "prompt=p first=a second=b votes=v",
            {"p": "W", "a": "x", "b": "y", "v": ["a", 9]},
            r"column 'v\[1\]': the mapping does not say",
        ),
        ("prompt=p reply=r tools=t", {"p": "W", "r": "x", "t": "[{"}, r"column 't': the text is not whole"),
        (
            "prompt=p reply=r tools=t",
            {"p": "W", "r": "x", "t": '[{"name": "f", "name": "g"}]'},
            r"column 't': a key stands twice in one object; found 'name'",
        ),
        (
            "prompt=p reply=r tools=t",
            {"p": "W", "r": "x", "t": '[{"n": NaN}]'},
            r"column 't': a number is not finite; found 'NaN'",
        ),
        (
            "prompt=p reply=r tools=t",
            {"p": "W", "r": "x", "t": "[{'name': 'f'}]"},
            r"column 't': this is not JSON \(expecting",
        ),
        (
            "prompt=p reply=r template_args=t",
            {"p": "W", "r": "x", "t": "[" * 200},
            r"column 't': the text is not whole",
        ),
        (
            "prompt=p reply=r template_args=t",
            {"p": "W", "r": "x", "t": "[" * 101 + "]" * 101},
            r"column 't': lists or objects are nested too deep",
        ),
        ("prompt=p reply=r tools=t", {"p": "W", "r": "x", "t": 3}, r"column 't': these are no tools"),
        (
            "prompt=p reply=r template_args=t",
            {"p": "W", "r": "x", "t": [1]},
            r"column 't': these are no named arguments",
        ),
        ("prompt=p reply=r system=s", {"p": "W", "r": "x", "s": 3}, r"column 's': this is not text"),
        (
            "prompt=p reply=r history=h",
            {"p": "W", "r": "x", "h": [["a"]]},
            r"column 'h\[0\]': this is not a pair of turns",
        ),
        ("prompt=p reply=r input=i", {"p": "W", "r": "x", "i": 3}, r"column 'i': this is not text"),
        ("prompt=p outputs=o.*.y", {"p": "W", "o": []}, r"column 'o\.\*\.y': "),
        (
            "prompt=p outputs=o",
            {"p": "W", "o": ["x", 1]},
            r"column 'o\[1\]': an example is not given in text",
        ),
        ("text=t", {"t": 3}, r"column 't': this is not text"),
        ("text=t", {"t": ""}, r"column 't': the reply is empty"),
        (
            "shape=hh",
            {"prompt": "Hi", "chosen": "a", "rejected": "b"},
            r"column 'prompt': no turns can be seen",
        ),
        ("shape=concord", {"prompt": {"messages": [{"role": "usr"}]}}, r"column 'prompt': this is no item"),
    ],
)
def test_trouble_has_a_place(line: str, columns: dict[str, Any], message: str) -> None:
    plan = parse_mapping(line)
    with pytest.raises(RowError, match=rf"^rows\.jsonl:1: .*{message}.*; accepted: .*; to do: "):
        plan.read(rows_of(columns)[0])


def test_empty_replies_that_were_judged_are_kept() -> None:
    [row] = rows_of({"p": "Why?", "a": "", "b": "So.", "l": False})
    assert parse_mapping("prompt=p reply=a label=l").read(row)[0].replies == (said(""),)
    assert parse_mapping("prompt=p chosen=b rejected=a").read(row)[0].replies == (said("So."), said(""))
