"""JSON of a given shape: every keyword both ways, and what is not checked is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord import wire
from concord.errors import InputError
from concord.feedback import Schema, read_json
from concord.feedback.schemas import mismatches
from concord.types import JSON, Interval, Score
from tests.feedback.test_verifiers import rated, value

TREE: dict[str, Any] = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string"}, "below": {"items": {"$ref": "#/$defs/node"}}},
            "additionalProperties": False,
        }
    },
}
# A schema, what it allows, and what it does not.
CASES: list[tuple[dict[str, Any], list[JSON], list[JSON]]] = [
    ({}, [None, 1, "a", [], {}], []),
    ({"type": "integer"}, [1, 1.0, -3], [1.5, True, "1", None]),
    ({"type": "number"}, [1, 1.5], [True, "1"]),
    ({"type": "boolean"}, [True], [1, "true"]),
    ({"type": "null"}, [None], [0, False, ""]),
    ({"type": ["string", "array"]}, ["", []], [{}, 1]),
    ({"enum": [1, "a", None, [True]]}, [1, 1.0, "a", None, [True]], [True, "b", [1], 0]),
    ({"const": {"a": 1, "b": 2}}, [{"b": 2, "a": 1.0}], [{"a": 1}, {"a": True, "b": 2}]),
    ({"const": False}, [False], [0, None]),
    ({"minimum": 1, "maximum": 2}, [1, 2, 1.5, "9"], [0.9, 2.1]),
    ({"exclusiveMinimum": 1, "exclusiveMaximum": 2}, [1.5, None], [1, 2]),
    ({"multipleOf": 0.1}, [0.3, 1, "a"], [0.25]),
    ({"minLength": 1, "maxLength": 2}, ["a", "\u00e9\u00e9", 5], ["", "abc"]),
    ({"pattern": "b+"}, ["abbc", 5], ["ac"]),
    ({"minItems": 1, "maxItems": 2}, [[1], [1, 2], "abc"], [[], [1, 2, 3]]),
    ({"uniqueItems": True}, [[1, 2], [1, True], [], "aa"], [[1, 1.0], [{"a": 1}, {"a": 1}]]),
    ({"uniqueItems": False}, [[1, 1]], []),
    ({"minProperties": 1, "maxProperties": 1}, [{"a": 1}, []], [{}, {"a": 1, "b": 2}]),
    ({"required": ["a"]}, [{"a": None}, []], [{}, {"b": 1}]),
    ({"properties": {"a": {"type": "string"}}}, [{"a": ""}, {"b": 1}, 5], [{"a": 1}]),
    ({"properties": {"a": False}}, [{}, {"b": 1}], [{"a": 1}]),
    ({"properties": {"a": {}}, "additionalProperties": False}, [{"a": 1}, {}], [{"b": 1}]),
    ({"properties": {"a": {}}, "additionalProperties": {"type": "null"}}, [{"a": 1, "b": None}], [{"b": 1}]),
    ({"items": {"type": "string"}}, [["a"], [], 5], [["a", 1]]),
    ({"prefixItems": [{"type": "string"}], "items": False}, [["a"], []], [[1], ["a", "b"]]),
    ({"allOf": [{"type": "number"}, {"minimum": 3}]}, [3], [2, "a"]),
    ({"anyOf": [{"type": "string"}, {"minimum": 3, "type": "number"}]}, ["a", 3], [2, None]),
    ({"oneOf": [{"type": "number"}, {"minimum": 3}]}, [2, "a"], [3]),
    ({"not": {"type": "string"}}, [1], ["a"]),
    (TREE, [{"name": "a", "below": [{"name": "b", "below": []}]}], [{"name": "a", "below": [{}]}, {"c": 1}]),
    ({"title": "t", "description": "d", "default": 1, "examples": [1], "$comment": "c"}, [None], []),
]


@pytest.mark.parametrize(("schema", "allowed", "refused"), CASES, ids=lambda case: json.dumps(case)[:40])
def test_keywords(schema: dict[str, Any], allowed: list[JSON], refused: list[JSON]) -> None:
    verifier = Schema(schema=schema)
    for one in allowed:
        assert rated(verifier, json.dumps(one)) == Score(1.0, parts={"answered": 1.0})
    for one in refused:
        score = rated(verifier, json.dumps(one))
        assert isinstance(score, Score)
        assert (score.value, score.parts) == (0.0, {"answered": 1.0})
        assert score.why.startswith("reply")


def test_every_keyword_has_a_case() -> None:
    from concord.feedback.schemas import _CHECKS  # pyright: ignore[reportPrivateUsage]

    seen = json.dumps([schema for schema, _, _ in CASES])
    assert [name for name in _CHECKS if f'"{name}"' not in seen] == []


def test_where_a_reply_differs_is_said() -> None:
    said = list(mismatches({"name": "a", "below": [{"name": 1}, {"x": 1}]}, TREE))
    assert said == [
        "reply.below[0].name is no string",
        "reply.below[1] has no 'name'",
        "reply.below[1].x may not be there",
    ]


def test_our_own_schemas_can_be_checked_by() -> None:
    schema = wire.schema(Interval)
    held = Schema(schema=schema)
    assert value(held, wire.dumps(Interval(0, 1))) == 1
    assert value(held, '{"low": 0}') == 0


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"format": "email"}, "the schema has a keyword that is not checked here; found 'format'"),
        ({"items": {"require": ["a"]}}, r"the schema.items has a keyword .*did you mean 'required'\?"),
        ({"type": "text"}, "the schema.type cannot be checked by; found 'text'"),
        ({"type": []}, "the schema.type cannot"),
        ({"anyOf": []}, "the schema.anyOf cannot"),
        ({"anyOf": {"type": "string"}}, "the schema.anyOf cannot"),
        ({"properties": ["a"]}, "the schema.properties cannot"),
        ({"properties": {"a": 5}}, "the schema.properties.a cannot"),
        ({"required": "a"}, "the schema.required cannot"),
        ({"pattern": "("}, "the schema.pattern cannot"),
        ({"minLength": -1}, "the schema.minLength cannot"),
        ({"minimum": "1"}, "the schema.minimum cannot"),
        ({"multipleOf": 0}, "the schema.multipleOf cannot"),
        ({"uniqueItems": 1}, "the schema.uniqueItems cannot"),
        ({"enum": 5}, "the schema.enum cannot"),
        ({"$ref": "http://example.com/a.json"}, "the schema.\\$ref cannot"),
        ({"$ref": "#/$defs/none"}, "the schema.\\$ref cannot"),
        ({"$defs": {"a": {"format": "x"}}}, "the schema.\\$defs.a has a keyword"),
    ],
)
def test_what_cannot_be_checked_is_refused(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Schema(schema=schema)


def test_a_schema_that_goes_in_circles_ends() -> None:
    assert value(Schema(schema={"$ref": "#"}), "1") == 0


# --- JSON in a reply --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply", ['{"a": 1}', ' {"a": 1}\n', '```json\n{"a": 1}\n```', '```\n{"a": 1}\n```\n']
)
def test_json_may_be_fenced(reply: str) -> None:
    assert read_json(reply) == {"a": 1}


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Sure: {}",
        "{} bye",
        "NaN",
        "[Infinity]",
        '{"a": 1, "a": 2}',
        "{'a': 1}",
        "[" * 100_000,
        "```json\n{}",
    ],
)
def test_what_is_not_json(reply: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_json(reply)
    score = rated(Schema(schema={}), reply)
    assert isinstance(score, Score)
    assert (score.value, score.parts) == (0.0, {"answered": 0.0})


leaves = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.text(max_size=3)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
)


@given(values)
def test_a_value_is_the_constant_it_is(one: JSON) -> None:
    assert value(Schema(schema={"const": one}), json.dumps(one)) == 1
    assert value(Schema(schema={"not": {"enum": [one]}}), json.dumps(one)) == 0
