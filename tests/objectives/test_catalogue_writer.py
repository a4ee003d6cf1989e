"""The catalogue is fresh, and every objective says of itself what the contract asks for."""

import ast
import inspect
import io
import json
import math
import re
import statistics
import tokenize
from collections.abc import Callable
from typing import Any

import pytest

import concord.objectives as ob
from concord.catalogue import Knob
from concord.objectives import INPUTS, RANGES, check_objective, describe, range_of
from concord.objectives.contract import NEEDS
from concord.tensors import Pairs, PerPair
from scripts import catalogue as cards

ENTRIES = cards.catalogue()
OBJECTIVES = {e["name"]: getattr(ob, e["name"]) for e in ENTRIES if e["kind"] == "objective"}
FIXED = ("minimises", "optimum", "departs", "peers")
WIDEST = 110


def test_the_file_is_fresh() -> None:
    assert cards.FILE.read_text(encoding="utf-8") == cards.text(), (
        "methods.json is not what the objectives say; `make methods` writes it afresh"
    )


def test_the_catalogue_can_be_read_by_any_json_reader() -> None:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    json.loads(cards.text(), parse_constant=refuse)


def test_every_public_function_has_its_entry() -> None:
    public = {name for name in ob.__all__ if inspect.isfunction(getattr(ob, name))}
    beside = {name for name in public if getattr(ob, name).__module__.rpartition(".")[2] in cards.NO_MENU}
    expected = public - beside - {"find_method", "method_advantage", "method_loss"} | set(ob.METHODS)
    assert {entry["name"] for entry in ENTRIES} == expected


def test_exceptions_name_what_is_there() -> None:
    assert set(cards.KINDS) <= {entry["name"] for entry in ENTRIES}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_says_what_it_must(name: str) -> None:
    objective = OBJECTIVES[name]
    card = check_objective(objective)
    assert card.summary.endswith("."), "the first line is a sentence"
    assert card.equation, "the equation stands below the first line"
    assert card.needs in NEEDS.values(), "the first parameter is a record, or logits"
    labels = ["paper", *card.inputs, *card.knobs, *FIXED]
    assert not set(card.notes) - set(labels), "a label for nothing there is"
    assert not set(labels) - set(card.notes) - set(FIXED[1:]), "a label is missing"
    assert list(card.notes) == [label for label in labels if label in card.notes], "labels out of order"
    assert all(text.strip() for text in card.notes.values()), "a label without text"
    assert set(card.inputs) <= set(INPUTS), "inputs have names from the closed list"


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_is_written_as_agreed(name: str) -> None:
    entry = next(e for e in ENTRIES if e["name"] == name and e["kind"] == "objective")
    assert not entry["about"], "what is neither equation nor label"
    lines = inspect.getsource(inspect.unwrap(OBJECTIVES[name])).splitlines()
    assert all(line.isascii() and len(line) <= WIDEST for line in lines)
    _, _, notes = inspect.getdoc(OBJECTIVES[name]).partition("\n\npaper: ")  # type: ignore[union-attr]
    for line in notes.splitlines()[1:]:
        assert line.startswith("    ") or ": " in line, f"neither a label nor its continuation: {line!r}"


def test_every_number_of_an_objective_has_a_range_and_no_range_is_listed_in_vain() -> None:
    listed: set[str] = set()
    for entry in ENTRIES:
        for name, knob in entry["knobs"].items() if entry["kind"] == "objective" else ():
            if knob["type"] not in ("float", "int"):
                continue
            named = f"{entry['name']}.{name}"
            listed.add(named if named in RANGES else name)
            assert knob["range"] == range_of(entry["name"], name), named
            assert re.fullmatch(r"[(\[](-inf|[0-9.]+), ([0-9.]+|inf)[)\]]", knob["range"]), named
            assert Knob(**{**knob, "choices": ()}).allows(float(knob["default"])), named
    assert listed == set(RANGES)


def test_no_input_is_listed_in_vain() -> None:
    used = {name for objective in OBJECTIVES.values() for name in describe(objective).inputs}
    assert not set(INPUTS) - used


@pytest.mark.parametrize(
    "entry", [e for e in ENTRIES if e["kind"] != "objective"], ids=lambda e: f"{e['name']}-{e['kind']}"
)
def test_everything_else_says_enough(entry: dict[str, Any]) -> None:
    assert entry["summary"].endswith(".")
    if entry["kind"] in ("advantage", "selection", "shaping", "divergence", "aggregation") or entry["terms"]:
        assert entry["paper"], "a paper, or `standard`"
    if entry["terms"]:
        assert entry["minimises"]
        assert entry["needs"]
    else:
        function = getattr(ob, entry["name"])
        known = {"paper", *FIXED, *inspect.signature(function).parameters}
        assert set(describe(function).notes) <= known, "a label for nothing there is"


def test_bodies_are_short(record_testsuite_property: Callable[[str, object], None]) -> None:
    lengths = {name: body_lines(objective) for name, objective in OBJECTIVES.items()}
    median, longest = statistics.median(lengths.values()), max(lengths, key=lengths.__getitem__)
    record_testsuite_property("median_body_lines", median)
    print(f"{len(lengths)} objectives: median body {median:g} lines, longest {longest} ({lengths[longest]})")
    assert median <= 3


def body_lines(function: Callable[..., Any]) -> int:
    """Count the lines of code below the docstring."""
    source = inspect.getsource(inspect.unwrap(function))
    node = ast.parse(source).body[0]
    assert isinstance(node, ast.FunctionDef)
    first = node.body[1].lineno
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return len({t.start[0] for t in tokens if t.start[0] >= first and t.type not in silent and t.string})


def test_a_method_is_read_off_its_parts() -> None:
    ppo = next(e for e in ENTRIES if e["name"] == "ppo")
    assert ppo["needs"] == ["samples", "value head", "reference"]
    assert ppo["knobs"]["gae.lam"]["default"] == 0.95
    assert ppo["equation"] == "loss = token_mean(ppo_clip) + 0.1 token_mean(clipped_value on values)"
    dapo = next(e for e in ENTRIES if e["name"] == "dapo")
    assert dapo["knobs"]["ppo_clip.high"]["default"] == 0.28, "what the method sets, not what the part does"


def own_loss(pairs: Pairs, *, cap: float = math.inf, size: int) -> PerPair:
    """A loss of one's own.

    loss = 0

    paper: none
    cap: the most it may be
    """
    raise NotImplementedError


def test_a_users_own_objective_can_be_read() -> None:
    entry = cards.entry(own_loss, family="mine")
    assert entry["signature"] == "own_loss(pairs: Pairs, *, cap: float = math.inf, size: int) -> PerPair"
    assert entry["needs"] == ["pairs"]
    assert entry["knobs"]["cap"] == {
        "default": "Infinity",
        "type": "float",
        "meaning": "the most it may be",
        "choices": [],
        "required": False,
        "range": "",
    }
    assert entry["knobs"]["size"]["required"]
