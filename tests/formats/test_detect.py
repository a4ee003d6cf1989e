"""What is detected, what is refused, and that each refusal has mappings which work."""

import re
from typing import Any

import pytest

from concord.errors import InputError, RowError
from concord.formats.detect import detect
from concord.formats.mapping import parse_mapping
from concord.formats.rows import Row
from concord.types import Label, Preference, Ratings
from tests.formats.fixtures import as_text, rows_of, said, user

ASK, SUN, MOON = "What lights the day?", "The sun.", "The moon."


def lines_of(error: BaseException) -> list[str]:
    return re.findall(r'--map "(.*?)"', str(error))


def refused(rows: list[Row]) -> list[str]:
    """The mappings that a refusal offers, each of which reads all rows, as the kind it says."""
    with pytest.raises(InputError, match=r"^rows\.jsonl: .*; found .*; accepted: .*; to do: ") as caught:
        detect(rows)
    lines = lines_of(caught.value)
    assert lines
    for line in lines:
        plan = parse_mapping(line, rows)
        assert plan.line == line
        assert all(plan.read(row) for row in rows)
    return lines


def two(choice: Any, first: str = "response_1", second: str = "response_2") -> dict[str, Any]:
    return {"prompt": ASK, first: SUN, second: MOON, "label": choice}


# --- choices ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "choices", "shares"),
    [
        ("response_1", "response_2", [1, 2], [1, 0]),
        ("response_1", "response_2", [2, 0, 1], [0, 0.5, 1]),
        ("response_1", "response_2", ["response_2", "tie"], [0, 0.5]),
        ("response_0", "response_1", [0, 1], [1, 0]),
        ("output_1", "output_2", ["2", "1"], [0, 1]),
        ("answer_a", "answer_b", ["A", "b", "both"], [1, 0, 0.5]),
        ("completion_a", "completion_b", ["model_b", "Model_A", "tie (bothbad)"], [0, 1, 0.5]),
        ("answer1", "answer2", [2.0, 1.0], [0, 1]),
    ],
)
def test_choices_that_leave_no_doubt(
    first: str, second: str, choices: list[Any], shares: list[float]
) -> None:
    rows = rows_of(*(two(choice, first, second) for choice in choices))
    plan = detect(rows)
    items = [plan.read(row)[0] for row in rows]
    assert [item.utilities for item in items] == [Preference(share) for share in shares]
    assert {item.replies for item in items} == {(said(SUN), said(MOON))}
    again = parse_mapping(plan.line)
    assert [again.read(row)[0] for row in rows] == items


@pytest.mark.parametrize(
    ("first", "second", "choices", "number"),
    [
        ("response_1", "response_2", [0, 1], 3),
        ("response_1", "response_2", [0], 3),
        ("response_a", "response_b", [0, 1], 2),
        ("response_a", "response_b", [1, 2], 2),
        ("response_0", "response_1", [0, 1, 2], 2),
        ("response_1", "response_2", [-1, 0, 1], 2),
        ("response_1", "response_2", [True, False], 2),
        ("response_1", "response_2", ["left", "right"], 1),
        ("response_1", "response_2", [0.25, 0.75, 1.0], 1),
    ],
)
def test_choices_that_could_mean_two_things(first: str, second: str, choices: list[Any], number: int) -> None:
    rows = rows_of(*(two(choice, first, second) for choice in choices))
    lines = refused(rows)
    assert len(lines) == number
    read = [tuple(item.utilities for row in rows for item in parse_mapping(line).read(row)) for line in lines]
    assert len(set(map(str, read))) == number  # each line is another reading


def test_a_zero_after_a_sample_of_ones_and_twos_is_not_guessed() -> None:
    plan = detect(rows_of(two(1), two(2)))
    with pytest.raises(
        RowError, match=r"^rows.jsonl:1: column 'label': .*found 0.*label\(\.\.\.,0:MEANING\)"
    ):
        plan.read(rows_of(two(0))[0])


def test_soft_labels() -> None:
    rows = rows_of(two(0.25), two(1.0))
    plan = parse_mapping("prompt=prompt first=response_1 second=response_2 preference=label", rows)
    assert plan.read(rows[0])[0].utilities == Preference(0.25)


def test_votes_alone_give_the_preference() -> None:
    [row] = rows_of({"prompt": ASK, "answer_a": SUN, "answer_b": MOON, "votes": ["a", "b", "a", "tie"]})
    plan = parse_mapping("prompt=prompt first=answer_a second=answer_b votes=votes", [row])
    assert plan.read(row)[0].utilities == Preference(0.625, (2, 1, 1))


def test_votes_of_other_values_stay_in_meta() -> None:
    rows = rows_of({**two(1), "votes": [7, 9]}, {**two(2), "votes": [3]})
    assert detect(rows).read(rows[0])[0].meta == {"votes": [7, 9]}


# --- labels -----------------------------------------------------------------------------------------------


def judged(label: Any) -> dict[str, Any]:
    return {"prompt": ASK, "completion": SUN, "label": label}


def test_labels_with_names_are_refused_with_the_table() -> None:
    rows = rows_of(judged("1_whole"), judged("2_refused, rudely"), judged("3_part"))
    [line] = refused(rows)
    assert line == (
        "prompt=prompt reply=completion label=label(1_whole:true,'2_refused, rudely':false,3_part:false)"
    )
    plan = parse_mapping(line, rows)
    labels = [plan.read(row)[0].utilities for row in rows]
    assert labels == [Label(True), Label(False), Label(False)]
    # two names mean the same, so the column is kept beside
    assert [plan.read(row)[0].meta["label"] for row in rows] == ["1_whole", "2_refused, rudely", "3_part"]


@pytest.mark.parametrize(
    ("labels", "table"),
    [
        (["bad", "good"], "bad:false,good:true"),
        (["Bad", "fine"], "Bad:false,fine:true"),
        (["safe", "other"], "other:false,safe:true"),
        (["false", "true"], "false:false,true:true"),
        (["one", "two"], "one:true,two:false"),
        ([0.5, 2], "0.5:false,2:true"),
    ],
)
def test_what_sounds_good_is_proposed_as_good(labels: list[Any], table: str) -> None:
    lines = refused(rows_of(*map(judged, labels)))
    assert lines == [f"prompt=prompt reply=completion label=label({table})"]


def test_a_single_true_is_not_turned_round() -> None:
    assert "text=text label=label" in refused(rows_of({"text": SUN, "label": True}))


@pytest.mark.parametrize("label", [["a", "b"], {"a": 1}])
def test_labels_that_cannot_be_read_are_not_passed_over(label: Any) -> None:
    rows = rows_of(judged(label))
    assert refused(rows) == ["prompt=prompt reply=completion"]
    assert parse_mapping("prompt=prompt reply=completion").read(rows[0])[0].meta == {"label": label}


def test_labels_of_few_rows_are_not_passed_over() -> None:
    with pytest.raises(InputError, match="not all replies may be good ones") as caught:
        detect(rows_of(*[judged(None)] * 3, judged(False)))
    line = "prompt=prompt reply=completion"
    assert lines_of(caught.value) == [line, f"{line} label=label"]


def test_scores_in_words_are_not_passed_over() -> None:
    assert refused(rows_of({"prompt": ASK, "completion": SUN, "score": "high"})) == [
        "prompt=prompt reply=completion",
        "prompt=prompt reply=completion label=score(high:true)",
    ]


def test_grades_are_refused_as_label_or_score() -> None:
    rows = rows_of(*(judged(grade) for grade in (5, 1, 3, 2, 4)))
    assert refused(rows) == [
        "prompt=prompt reply=completion label=label(1:false,2:false,3:false,4:true,5:true)",
        "prompt=prompt reply=completion score=label",
    ]
    plan = parse_mapping("prompt=prompt reply=completion score=label", rows)
    assert plan.read(rows[0])[0].utilities == Ratings((5.0,))


def test_minus_one_is_not_guessed() -> None:
    assert refused(rows_of(judged(1), judged(-1))) == [
        "prompt=prompt reply=completion label=label(-1:false,1:true)"
    ]


def test_text_labels_are_truth_in_csv_only() -> None:
    rows = rows_of(judged("true"), judged("False"), textual=True)
    assert [detect(rows).read(row)[0].utilities for row in rows] == [Label(True), Label(False)]
    assert refused(rows_of(judged("true"), judged("false")))


def test_texts_with_classes_are_refused() -> None:
    rows = rows_of({"text": SUN, "label": 1}, {"text": MOON, "label": 0})
    lines = refused(rows)
    assert lines == [
        "text=text",
        "text=text label=label",
        "prompt=text reply=label(0:negative,1:positive)",
    ]
    kinds = [parse_mapping(line, rows).kind for line in lines]
    assert kinds == ["demonstration", "judgement", "demonstration"]
    [item] = parse_mapping(lines[2], rows).read(rows[0])
    assert (item.prompt, item.replies) == (user(SUN), (said("positive"),))


LONG = "x" * 50_000


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        # what is too long to be the name of anything is no label: the line is one without it
        ([judged(LONG)], ["prompt=prompt reply=completion"]),
        (
            [judged("good"), judged("bad"), judged(LONG)],
            ["prompt=prompt reply=completion label=label(bad:false,good:true)"],
        ),
        ([two(LONG)], ["prompt=prompt first=response_1 second=response_2"]),
        (
            [two(LONG), two("left")],
            ["prompt=prompt first=response_1 second=response_2 choice=label(left:first)"],
        ),
        ([{"text": SUN, "label": LONG}], ["text=text", "prompt=text reply=label"]),
        ([{"prompt": ASK, "reply to " + LONG: SUN}], ["prompt=prompt"]),
        ([{LONG: SUN, "my text": SUN}], ["text='my text'"]),
        ([{"n": {LONG: SUN + SUN, "a": SUN}}], ["text=n.a"]),
        ([judged(1), judged(10**400)], ["prompt=prompt reply=completion label=label"]),
    ],
)
@pytest.mark.parametrize("textual", [False, True])
def test_a_message_is_short_whatever_the_rows_hold(
    columns: list[dict[str, Any]], lines: list[str], textual: bool
) -> None:
    if textual:
        columns = [as_text(row) for row in columns]
    with pytest.raises(InputError) as refused:
        detect(rows_of(*columns, textual=textual))
    message = str(refused.value)
    assert len(message) < 2000
    assert [line for line in lines if f'--map "{line}"' in message] == lines


# --- which shape ------------------------------------------------------------------------------------------


def test_what_knows_more_comes_first() -> None:
    chat = [{"role": "user", "content": ASK}, {"role": "assistant", "content": SUN}]
    assert detect(rows_of({"prompt": ASK, "messages": chat})).line == "messages=messages"
    full = {"instruction": "a", "input": "b", "output": "c", "text": "### a b c"}
    plan = detect(rows_of(full))
    assert plan.line == "prompt=instruction input=input reply=output"
    assert ("text", "kept beside, in meta") in plan.shown
    both = {"prompt": ASK, "chosen": SUN, "rejected": MOON, "messages": chat}
    assert detect(rows_of(both)).kind == "comparison"


def test_two_readings_are_refused() -> None:
    assert set(refused(rows_of({"prompt": ASK, "text": SUN}))) == {"prompt=prompt", "text=text"}
    lines = refused(rows_of({"prompt": ASK, "response": SUN, "label": True, "score": 3}))
    assert set(lines) == {
        "prompt=prompt reply=response label=label",
        "prompt=prompt reply=response score=score",
    }


def test_a_possible_reply_beside_a_prompt_is_not_passed_over() -> None:
    lines = refused(rows_of({"prompt": ASK, "continuation": SUN, "continuation_toxicity": 0.1}))
    assert lines == ["prompt=prompt", "prompt=prompt reply=continuation"]


def test_mappings_are_proposed_only_where_they_can_be_read() -> None:
    for name in ("replies", "responses", "completions", "answers"):
        assert refused(rows_of({"prompt": ASK, name: [SUN, MOON]})) == [
            "prompt=prompt",
            f"prompt=prompt replies={name}",
        ]
    two = {"prompt": ASK, "response_1": SUN, "response_2": MOON}
    lines = [
        "prompt=prompt",
        "prompt=prompt chosen=response_1 rejected=response_2",
        "prompt=prompt chosen=response_2 rejected=response_1",
        "prompt=prompt first=response_1 second=response_2",
    ]
    assert refused(rows_of(two)) == lines
    votes = "prompt=prompt first=response_1 second=response_2 votes=votes"
    assert refused(rows_of({**two, "votes": [1, 2, 1]})) == [*lines, votes]
    assert refused(rows_of({"prompt": ASK, "chosen": [SUN], "rejected": [MOON]})) == ["prompt=prompt"]


def test_choices_of_a_question_are_not_passed_over() -> None:
    assert len(refused(rows_of({"question": ASK, "choices": [SUN, MOON], "answer": "A"}))) == 2


def test_a_conversation_without_reply_is_offered_as_a_prompt() -> None:
    rows = rows_of({"messages": [{"role": "user", "content": ASK}]})
    with pytest.raises(InputError, match="a reply at the end"):
        detect(rows)
    assert "prompt=messages" in refused(rows)
    assert parse_mapping("prompt=messages", rows).read(rows[0])[0].prompt == user(ASK)


def test_unknown_columns_name_the_nearest_shape() -> None:
    rows = rows_of({"question": ASK, "statement": "x y", "good_answer": SUN, "bad_answer": MOON})
    with pytest.raises(
        InputError, match=r"nearest shape is 'question-answer'.*it has 'question', and lacks reply"
    ):
        detect(rows)
    assert "prompt=question chosen=good_answer rejected=bad_answer" in refused(rows)
    assert "prompt=question chosen=bad_answer rejected=good_answer" in refused(rows)
    assert refused(rows_of({"turns": ["Tell me more.", "And more."]})) == ["prompt=turns.0", "text=turns.0"]
    with pytest.raises(
        InputError, match='"prompt=COLUMN chosen=COLUMN rejected=COLUMN" or --map "text=Frage"'
    ):
        detect(rows_of({"Frage": ASK, "Gut": SUN, "Schlecht": MOON}))
    for columns in ({"n": 1}, {"n": {"a.b": "some text"}}):
        with pytest.raises(InputError, match="prompt=COLUMN reply=COLUMN"):
            detect(rows_of(columns))


@pytest.mark.parametrize(
    "rows", [[], rows_of({}), rows_of({"text": None}), rows_of({"prompt": "", "x": 1})[:0]]
)
def test_nothing_to_look_at(rows: list[Row]) -> None:
    with pytest.raises(InputError):
        detect(rows)


def test_a_mixed_file_is_of_the_shape_of_most_rows() -> None:
    rows = rows_of(
        *[{"prompt": ASK, "chosen": SUN, "rejected": MOON}] * 3, {"prompt": ASK, "completion": SUN}
    )
    plan = detect(rows)
    assert plan.kind == "comparison"
    with pytest.raises(
        RowError, match=r"^rows.jsonl:4: column 'chosen': .*This row looks like the shape 'prompt-reply'"
    ):
        plan.read(rows[3])
    # As libraries write such rows: the columns are there, and empty.
    [empty] = rows_of({"prompt": ASK, "chosen": None, "rejected": None, "completion": SUN, "label": True})
    with pytest.raises(RowError, match="looks like the shape 'unpaired'"):
        plan.read(empty)
    # No other shape has a use for what is there of this one.
    [half] = rows_of({"prompt": ASK, "chosen": SUN, "rejected": None})
    with pytest.raises(RowError, match="there is no value here") as caught:
        plan.read(half)
    assert "looks like" not in str(caught.value)


def test_optional_columns_may_come_late() -> None:
    rows = rows_of(
        *[{"prompt": ASK, "completion": SUN}] * 9, {"prompt": ASK, "completion": SUN, "system": "Be kind."}
    )
    assert [len(detect(rows).read(row)[0].prompt.messages) for row in rows] == [1] * 9 + [2]


# --- files that hold text only ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "kind", "utilities"),
    [
        ({"prompt": ASK, "response": SUN, "score": "4.5"}, "rating", Ratings((4.5,))),
        ({"prompt": ASK, "completion": "7", "label": "0"}, "judgement", Label(False)),
        ({"prompt": ASK, "replies": '["a", "b"]', "scores": "[1, 2.5]"}, "rating", Ratings((1.0, 2.5))),
        (
            {"prompt": ASK, "chosen": "true", "rejected": "1", "margin": "2"},
            "comparison",
            Preference(strength=2.0),
        ),
        ({"prompt": ASK, "chosen": "[x", "rejected": "{", "margin": ""}, "comparison", Preference()),
    ],
)
def test_text_becomes_what_its_role_wants(columns: dict[str, Any], kind: str, utilities: object) -> None:
    [row] = rows_of(columns, textual=True)
    plan = detect([row])
    [item] = plan.read(row)
    assert (plan.kind, item.utilities) == (kind, utilities)
    texts = [turn.text for reply in item.replies for turn in reply]
    assert texts == [
        columns[key] for key in ("response", "completion", "chosen", "rejected") if key in columns
    ] or texts == ["a", "b"]


def test_conversations_in_text_are_parsed() -> None:
    chat = '[{"role": "user", "content": "%s"}, {"role": "assistant", "content": "%s"}]'
    [row] = rows_of({"chosen": chat % (ASK, SUN), "rejected": chat % (ASK, MOON)}, textual=True)
    [item] = detect([row]).read(row)
    assert (item.prompt, item.replies) == (user(ASK), (said(SUN), said(MOON)))
    [row] = rows_of({"messages": chat % (ASK, SUN)}, textual=True)
    assert detect([row]).read(row)[0].prompt == user(ASK)


PRINTED = str([{"role": "user", "content": ASK}, {"role": "assistant", "content": SUN}])


def test_conversations_as_python_prints_them_are_not_taken_for_texts() -> None:
    rows = rows_of({"chosen": PRINTED, "rejected": PRINTED.replace(SUN, MOON)}, textual=True)
    with pytest.raises(RowError, match=r"^rows.jsonl:1: column 'chosen': .*write JSON, not Python"):
        detect(rows).read(rows[0])
    with pytest.raises(InputError, match=r"column 'messages' holds Python, not JSON.*json\.dumps"):
        detect(rows_of({"messages": PRINTED}, textual=True))
    # but a text in brackets is a text
    [row] = rows_of({"prompt": ASK, "completion": "[{'a': 1}]"}, textual=True)
    assert detect([row]).read(row)[0].replies == (said("[{'a': 1}]"),)


def test_text_that_is_not_what_its_role_wants_is_named() -> None:
    rows = rows_of(
        {"prompt": ASK, "replies": '["a"]', "scores": "[1]"},
        {"prompt": ASK, "replies": '["a"', "scores": "[1]"},
        textual=True,
    )
    with pytest.raises(RowError, match=r"^rows.jsonl:2: column 'replies': the text is not whole"):
        detect(rows[:1]).read(rows[1])
