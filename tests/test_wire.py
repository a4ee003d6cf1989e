"""The codec: exact both ways, strict in reading, and its schema says the same as it does."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord import wire
from concord.errors import InputError
from concord.types import (
    JSON,
    Capability,
    Finish,
    Image,
    Item,
    Label,
    Message,
    Origin,
    Preference,
    Prompt,
    Reply,
    Result,
    Score,
    Scorecard,
    Unanswered,
    Unscored,
    as_prompt,
    as_turns,
)
from tests import strategies as some

any_record = st.sampled_from(sorted(some.RECORDS, key=str)).flatmap(lambda cls: some.RECORDS[cls])
ITEM = Item(as_prompt("2+2?"), (as_turns("4"), as_turns("5")), Preference(0.75), meta={"id": 1})


@given(any_record)
def test_every_type_comes_back_exactly(value: Any) -> None:
    line = wire.dumps(value)
    assert len(line.splitlines()) == 1
    line.encode()
    assert wire.loads(type(value), line) == value
    assert wire.dumps(wire.loads(type(value), line)) == line


@given(some.all_views)
def test_views_come_back_too(value: Any) -> None:
    assert wire.loads(type(value), wire.dumps(value)) == value


def test_what_is_written_is_plain_to_read() -> None:
    assert wire.to_json(ITEM) == {
        "prompt": {"messages": [{"role": "user", "content": "2+2?"}]},
        "replies": [[{"role": "assistant", "content": "4"}], [{"role": "assistant", "content": "5"}]],
        "utilities": {"type": "preference", "first": 0.75},
        "meta": {"id": 1},
    }
    assert wire.to_json(Reply(Message("assistant", "x"), finish=Finish.LENGTH, tokens=(1,))) == {
        "message": {"role": "assistant", "content": "x"},
        "finish": "length",
        "tokens": [1],
    }
    assert wire.to_json(Image(b"\x00\x01")) == {"source": {"base64": "AAE="}}
    assert wire.to_json(Capability.API | Capability.GRAD, cls=Capability) == ["api", "grad"]


@pytest.mark.parametrize(
    ("number", "written"),
    [(math.nan, '"NaN"'), (math.inf, '"Infinity"'), (-math.inf, '"-Infinity"'), (3, "3.0")],
)
def test_numbers_that_json_lacks_are_named(number: float, written: str) -> None:
    line = wire.dumps(Score(number))
    assert line == f'{{"value": {written}}}'
    back = wire.loads(Score, line).value
    assert back == number or (math.isnan(back) and math.isnan(number))


def test_whole_numbers_and_floats_stay_what_they_are() -> None:
    assert isinstance(wire.from_json(Score, {"value": 1}).value, float)
    assert isinstance(wire.loads(Origin, '{"file": "f", "line": 3}').line, int)
    with pytest.raises(InputError, match=r"line: wrong type; found 3\.0; accepted: a whole number or null"):
        wire.loads(Origin, '{"file": "f", "line": 3.0}')
    with pytest.raises(InputError, match="line: wrong type; found True"):
        wire.loads(Origin, '{"file": "f", "line": true}')


def test_a_default_is_left_out_only_if_it_is_the_same() -> None:
    @dataclass(frozen=True)
    class Switch:
        level: int | bool = 0

    assert wire.to_json(Switch()) == {}
    assert wire.to_json(Switch(False)) == {"level": False}
    assert wire.from_json(Switch, {"level": False}).level is False


def test_beside_text_a_text_stays_a_text() -> None:
    result = Result(name="x", value=math.inf, n=1, at={"split": "NaN", "x": 3, "y": 0.5})
    written: Any = wire.to_json(result)
    assert (written["value"], written["at"]) == ("Infinity", {"split": "NaN", "x": 3.0, "y": 0.5})
    assert wire.from_json(Result, written) == result
    mixed = Mapping[str, str | float]
    with pytest.raises(InputError, match="x: wrong type; found nan; accepted: text or a finite number"):
        wire.to_json({"x": math.nan}, cls=mixed)
    with pytest.raises(InputError, match=r"^at\.x: wrong type; found True"):
        wire.from_json(Result, {"name": "x", "value": None, "n": 0, "at": {"x": True}})


def test_free_json_at_the_top() -> None:
    data = {"a": ["NaN", 1, 1.5, None, True]}
    assert wire.loads(Any, wire.dumps(data, cls=Any)) == data
    assert wire.dumps(data, cls=Any, indent=2).startswith('{\n  "a": [\n')


def test_unions_at_the_top_need_their_type_said() -> None:
    either = Score | Unscored
    written = wire.to_json(Unscored("no verdict"), cls=either)
    assert written == {"type": "unscored", "reason": "no verdict"}
    assert wire.from_json(either, written) == Unscored("no verdict")
    answers = (Reply(Message("assistant", "x")),)
    stored = tuple[Reply, ...] | Unanswered
    assert wire.from_json(stored, wire.to_json(answers, cls=stored)) == answers
    assert wire.from_json(stored, {"reason": "late"}) == Unanswered("late")


def test_a_type_may_be_said_where_it_need_not_be() -> None:
    assert wire.from_json(Label, {"type": "label", "desirable": True}) == Label(True)


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass(frozen=True, slots=True)
class Tree:
    """A dataclass of one's own, that leads back to itself."""

    name: Literal["leaf", "branch"]
    colour: Colour = Colour.RED
    pair: tuple[int, str] | None = None
    setting: Literal["auto"] | int = "auto"
    children: "tuple[Tree, ...]" = ()
    extra: JSON = None
    meta: Mapping[str, JSON] | None = None


def test_dataclasses_of_ones_own_are_welcome() -> None:
    tree = Tree(
        "branch", Colour.BLUE, (1, "x"), 7, (Tree("leaf", extra=[1, {"a": None}]),), meta={"k": [1.5]}
    )
    assert wire.loads(Tree, wire.dumps(tree)) == tree
    assert conforms(wire.to_json(tree), wire.schema(Tree))


@pytest.mark.parametrize(
    ("data", "place", "wrong", "found", "accepted"),
    [
        ([], "", "wrong type", "a list of 0", "an object (item)"),
        ({}, "", "item lacks 'prompt'", "an empty object", "'prompt' given"),
        ({"promt": {}}, "", "unknown key of item", "'promt'", "(did you mean 'prompt'?)"),
        ({"prompt": {"messages": {}}}, "prompt.messages", "wrong type", "an empty object", "a list"),
        (
            {"prompt": {"messages": [{"role": "usr", "content": "x"}]}},
            "prompt.messages[0].role",
            "not one of the choices",
            "'usr'",
            "(did you mean 'user'?)",
        ),
        (
            {"prompt": {"messages": []}, "replies": [[], [{"role": "user", "content": 3}]]},
            "replies[1][0].content",
            "wrong type",
            "3",
            "text or a list",
        ),
        (
            {"prompt": {"messages": []}, "replies": [[{"role": "user", "content": [{"text": "x"}]}]]},
            "replies[0][0].content[0]",
            "the key 'type' is missing",
            "an object with the keys 'text'",
            "audio, image",
        ),
        (
            {"prompt": {"messages": []}, "utilities": {"type": "preferance"}},
            "utilities",
            "unknown type",
            "'preferance'",
            "(did you mean 'preference'?)",
        ),
        (
            {"prompt": {"messages": []}, "utilities": {"type": "preference", "votes": [1, 2]}},
            "utilities.votes",
            "wrong type",
            "a list of 2",
            "a list of 3 or null",
        ),
        (
            {"prompt": {"messages": []}, "meta": {"x": [0.0, math.nan]}},
            "meta.x[1]",
            "JSON cannot hold this",
            "nan",
            "null, true, false, finite numbers",
        ),
        (
            {"prompt": {"messages": []}, "origin": "x" * 99},
            "origin",
            "wrong type",
            "x...'",
            "an object (origin)",
        ),
        ({"prompt": {"messages": []}, "replies": [[]]}, "", "a reply has no message", "()", "one message"),
    ],
)
def test_errors_name_the_place_and_have_four_parts(
    data: object, place: str, wrong: str, found: str, accepted: str
) -> None:
    with pytest.raises(InputError) as caught:
        wire.from_json(Item, data, where="rows.jsonl:3")
    opening, *rest = str(caught.value).split("; ", 3)
    assert opening == f"rows.jsonl:3: {place}: {wrong}".replace(": : ", ": ")
    assert rest[0].startswith("found ")
    assert rest[0].endswith(found)
    assert rest[1].startswith("accepted: ")
    assert accepted in rest[1]
    assert rest[2].startswith("to do: ")


def test_without_a_file_the_place_opens_the_message() -> None:
    with pytest.raises(InputError, match=r"^messages\[0\]: message lacks 'content'"):
        wire.from_json(Prompt, {"messages": [{"role": "user"}]})


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "f:1: not JSON: Expecting property name"),
        ('{"file": "a", "file": "b"}', "f:1: a key is given twice; found 'file'"),
        (b"\xff", "f:1: not JSON: 'utf-8' codec"),
        ('{"file": NaN}', "f:1: file: wrong type; found nan"),
    ],
)
def test_bad_lines_are_refused(line: str | bytes, says: str) -> None:
    with pytest.raises(InputError) as caught:
        wire.loads(Origin, line, where="f:1")
    assert says in str(caught.value)
    assert all(part in str(caught.value) for part in ("; found ", "; accepted: ", "; to do: "))


@pytest.mark.parametrize("text", ["!", "AAE", 3, None])
def test_bad_base64_is_refused(text: object) -> None:
    with pytest.raises(InputError, match="source: not base64; found"):
        wire.from_json(Image, {"source": {"base64": text}})


def test_a_number_too_large_for_a_float_is_refused() -> None:
    with pytest.raises(InputError, match="value: too large; found 401 digits"):
        wire.from_json(Score, {"value": 10**400})


@pytest.mark.parametrize("meta", [{"x": {1, 2}}, {"x": math.inf}, {"x": {3: "y"}}, {"x": object()}])
def test_what_json_cannot_hold_is_not_written(meta: Any) -> None:
    with pytest.raises(InputError, match=r"meta\.x: JSON cannot hold this; found .*; accepted: null"):
        wire.to_json(Item(as_prompt("x"), meta=meta))


def test_a_value_of_another_type_is_not_written() -> None:
    with pytest.raises(InputError, match="line: wrong type; found 'three'"):
        wire.to_json(Origin("f", "three"))  # type: ignore[arg-type]


def test_half_characters_and_odd_line_ends_survive() -> None:
    text = "a\u2028b\u2029c\u0085d\ud800"
    line = wire.dumps(Unscored(text))
    line.encode()
    assert wire.loads(Unscored, line).reason == text
    assert "\u00e9" in wire.dumps(Unscored("\u00e9"))


# --- the schema -------------------------------------------------------------------------------------------


def conforms(data: Any, schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> bool:
    """Check data against as much of JSON Schema as the codec writes; an unknown keyword is a failure."""
    if not schema:
        return True
    root = root or schema
    known = {"$schema", "$defs", "$ref", "anyOf", "allOf", "enum", "const", "type", "properties", "required"}
    known |= {"additionalProperties", "items", "prefixItems", "minItems", "maxItems", "contentEncoding"}
    assert schema.keys() <= known, schema.keys() - known
    names = {
        "null": type(None),
        "boolean": bool,
        "integer": int,
        "string": str,
        "array": list,
        "object": dict,
    }
    named = schema.get("type")
    if named == "number":
        typed = isinstance(data, int | float) and not isinstance(data, bool)
    else:
        typed = named is None or (
            isinstance(data, names[named]) and (named != "integer" or not isinstance(data, bool))
        )
    deeper = typed and all(
        [
            "$ref" not in schema
            or conforms(data, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root),
            any(conforms(data, each, root) for each in schema.get("anyOf", [{}])),
            all(conforms(data, each, root) for each in schema.get("allOf", [])),
            data in schema.get("enum", [data]),
            data == schema.get("const", data),
        ]
    )
    if not deeper:
        return False
    if isinstance(data, dict):
        inner, rest = schema.get("properties", {}), schema.get("additionalProperties", {})
        others = all(
            rest is not False and conforms(data[key], rest, root) for key in data.keys() - inner.keys()
        )
        there = all(key in data for key in schema.get("required", []))
        return (
            there
            and others
            and all(conforms(data[key], inner[key], root) for key in data.keys() & inner.keys())
        )
    if isinstance(data, list):
        each = schema.get("prefixItems") or [schema.get("items", {})] * len(data)
        fits = schema.get("minItems", 0) <= len(data) <= schema.get("maxItems", len(data))
        return fits and all(conforms(one, of, root) for one, of in zip(data, each, strict=False))
    return True


@given(any_record)
def test_what_is_written_conforms_to_the_schema(value: Any) -> None:
    assert conforms(wire.to_json(value), wire.schema(type(value)))


def spoiled(data: Any, draw: Any) -> Any:
    """The same data with one thing changed somewhere in it."""
    if isinstance(data, dict) and data and draw(st.booleans()):
        key = draw(st.sampled_from(sorted(data)))
        return {**data, key: spoiled(data[key], draw)}
    if isinstance(data, list) and data and draw(st.booleans()):
        at = draw(st.integers(0, len(data) - 1))
        return [*data[:at], spoiled(data[at], draw), *data[at + 1 :]]
    if isinstance(data, dict) and draw(st.booleans()):
        gone = draw(st.sampled_from(["type", *sorted(data)]))
        return {key: value for key, value in data.items() if key != gone} | draw(
            st.sampled_from([{}, {"typo": 1}, {"type": "text"}])
        )
    return draw(some.jsons)


def refusal(cls: type, data: object) -> str:
    """What reading says against data; nothing if it takes it."""
    try:
        wire.from_json(cls, data)
    except InputError as error:
        return str(error)
    return ""


@given(any_record, st.data())
def test_reading_and_schema_agree(value: Any, data: st.DataObject) -> None:
    changed = spoiled(wire.to_json(value), data.draw)
    said = refusal(type(value), changed)
    if conforms(changed, wire.schema(type(value))):
        # Reading is the stricter one: the schema knows nothing of what contradicts itself.
        assert not re.search("wrong type|unknown|lacks|missing|choices", said)
    else:
        assert said


def test_the_scorecard_has_a_schema() -> None:
    schema: Any = wire.scorecard_schema()
    json.dumps(schema)
    assert schema["$defs"]["Scorecard"]["required"] == ["model", "results"]
    assert schema["$defs"]["Scorecard"]["additionalProperties"] is False
    assert set(schema["$defs"]) == {"Scorecard", "Result", "Interval", "Ledger", "Usage", "JudgeRecord"}
    card = Scorecard(model="m", results=(Result(name="wins", value=0.5, n=3),))
    assert conforms(wire.to_json(card), schema)
    assert wire.from_json(Scorecard, json.loads(json.dumps(wire.to_json(card)))) == card


@given(some.scorecards)
def test_a_written_scorecard_validates(card: Scorecard) -> None:
    assert wire.from_json(Scorecard, json.loads(wire.dumps(card))) == card


def test_sequences_in_free_json_come_back_as_lists() -> None:
    free: Sequence[JSON] = (1, (2, 3))
    assert wire.to_json(Item(as_prompt("x"), meta={"x": free}))["meta"] == {"x": [1, [2, 3]]}  # type: ignore[index,call-overload]


# What a hostile tester found.

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize("line", [DEEP, '{"a": %s}' % ("9" * 5000), None, 3, ["{}"]])
def test_what_python_will_not_read_is_refused_in_words(line: Any) -> None:
    for cls in (Any, Item):
        with pytest.raises(InputError, match=r"^file:1: .*; accepted: "):
            wire.loads(cls, line, where="file:1")


def test_what_python_will_not_write_is_refused_in_words() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, 10**5000):
        with pytest.raises(InputError, match="beyond the limits"):
            wire.dumps(value, cls=Any)
    with pytest.raises(InputError, match="too large"):
        wire.dumps(10**5000, cls=float)


def test_a_type_that_is_no_text_is_refused() -> None:
    with pytest.raises(InputError, match="unknown type"):
        wire.from_json(Preference | Label, {"type": ["a"]})


def test_a_byte_order_mark_is_no_matter() -> None:
    line = "\ufeff" + wire.dumps(ITEM)
    assert wire.loads(Item, line) == wire.loads(Item, line.encode()) == ITEM


@pytest.mark.parametrize(
    "hint", [list, list[int], set, dict[str, int], object, ITEM, 3, [], {}, None.__class__.mro]
)
def test_a_type_without_json_form_is_refused(hint: Any) -> None:
    with pytest.raises(InputError, match="no JSON form is laid down"):
        wire.from_json(hint, {})
    with pytest.raises(InputError, match="no JSON form is laid down"):
        wire.dumps([ITEM])
