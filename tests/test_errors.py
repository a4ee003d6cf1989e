"""The tree of errors, and the four parts of a message."""

import pytest

from concord import errors
from concord.errors import ConcordError, InputError, explain, nearest


def test_everything_is_a_concord_error() -> None:
    raised = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]
    assert len(raised) == 10
    assert all(issubclass(error, ConcordError) and error.__doc__ for error in raised)


@pytest.mark.parametrize("name", ["RowError", "ConversionError", "RecipeError", "NotFoundError"])
def test_wrong_input_is_a_value_error(name: str) -> None:
    error = getattr(errors, name)
    assert issubclass(error, InputError)
    assert issubclass(error, ValueError)


@pytest.mark.parametrize("name", ["CapabilityError", "UnavailableError", "StoreError", "RunError"])
def test_what_is_not_wrong_input_is_no_value_error(name: str) -> None:
    assert not issubclass(getattr(errors, name), ValueError)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = errors.__doc__ or ""
    assert all(name in drawn for name in errors.__all__ if name.endswith("Error"))


def test_explain_joins_four_parts() -> None:
    text = explain("unknown colour.", found=" red", accepted="green, blue.", do="choose one.")
    assert text == "unknown colour; found ' red'; accepted: green, blue; to do: choose one."


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({}, "wrong."),
        ({"found": 0}, "wrong; found 0."),
        ({"found": ""}, "wrong; found ''."),
        ({"accepted": "1"}, "wrong; accepted: 1."),
        ({"do": "mend it"}, "wrong; to do: mend it."),
    ],
)
def test_explain_leaves_out_what_says_nothing(parts: dict[str, str], text: str) -> None:
    assert explain("wrong", **parts) == text


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
