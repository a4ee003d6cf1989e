"""The tree of errors, and the four parts of a message."""

import ast
from collections.abc import Iterator

import pytest

from concord import errors
from concord.errors import NOTHING, ConcordError, InputError, Said, explain, nearest
from tests.conftest import SOURCE


def test_everything_is_a_concord_error() -> None:
    raised = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
    assert len(raised) == 11
    assert all(issubclass(error, ConcordError) and error.__doc__ for error in raised)


@pytest.mark.parametrize("name", ["RowError", "ConversionError", "RecipeError", "NotFoundError"])
def test_wrong_input_is_a_value_error(name: str) -> None:
    error = getattr(errors, name)
    assert issubclass(error, InputError)
    assert issubclass(error, ValueError)


@pytest.mark.parametrize(
    "name", ["CapabilityError", "UnansweredError", "UnavailableError", "StoreError", "RunError"]
)
def test_what_is_not_wrong_input_is_no_value_error(name: str) -> None:
    assert not issubclass(getattr(errors, name), ValueError)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = errors.__doc__ or ""
    assert all(name in drawn for name in errors.__all__ if name.endswith("Error"))


def test_explain_joins_four_parts() -> None:
    text = explain("unknown colour.", found=" red", accepted="green, blue.", do="choose one.")
    assert text == "unknown colour; found ' red'; accepted: green, blue; to do: choose one."


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (0, "0"),
        ("", "''"),
        (None, "None"),
        (NOTHING, "nothing"),
        (Said("3 of them"), "3 of them"),
    ],
)
def test_what_was_found_is_shown_as_it_is(found: object, text: str) -> None:
    assert explain("wrong", found=found, accepted="1", do="mend") == (
        f"wrong; found {text}; accepted: 1; to do: mend."
    )


@pytest.mark.parametrize(
    "found",
    ["x" * 100_000, ["y"] * 9999, Said("z" * 9999), 10**5000],
    ids=["text", "list", "said", "number"],
)
def test_what_is_long_is_cut_short(found: object) -> None:
    text = explain("wrong", found=found, accepted="1", do="mend")
    assert len(text) < 300
    assert "... of " in text or "too long to show" in text
    assert text.endswith("; accepted: 1; to do: mend.")


def explanations() -> Iterator[tuple[str, ast.Call]]:
    """Every call of `explain` in the source, and where it stands."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "explain":
                yield f"{path.relative_to(SOURCE).as_posix()}:{node.lineno}", node


def test_every_message_has_its_four_parts() -> None:
    calls = list(explanations())
    assert len(calls) > 50
    for where, call in calls:
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        assert given.keys() == {"found", "accepted", "do"}, f"{where}: explain wants found, accepted and do"
        assert len(call.args) == 1, where
        for part in (call.args[0], *given.values()):
            empty = isinstance(part, ast.Constant) and part.value in ("", None)
            assert not empty, f"{where}: a part says nothing; where nothing was found, say NOTHING"


@pytest.mark.parametrize(
    ("name", "names", "text"),
    [
        ("chosn", ["rejected", "chosen"], "chosen, rejected (did you mean 'chosen'?)"),
        ("xyzzy", ["rejected", "chosen"], "chosen, rejected"),
        ("any", [], "nothing yet"),
    ],
)
def test_nearest_lists_all_and_guesses_one(name: str, names: list[str], text: str) -> None:
    assert nearest(name, names) == text


def test_of_many_names_the_first_are_listed() -> None:
    names = [f"name{number:03}" for number in range(500)]
    text = nearest("nam499", names)
    assert text.startswith("name000, name001, ")
    assert text.endswith("name019 and 480 more (did you mean 'name499'?)")
