"""Text fit to be shown: the unseen is named, what languages need is kept."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concord.report.words import code_pieces, cut, one_line, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext", "plain\n\ttext"),
        ("a\r\nb\rc", "a\nb[U+000D]c"),
        ("\x1b[31m", "[U+001B][31m"),
        ("\u202eevil", "[U+202E]evil"),
        ("\ud800", "[U+D800]"),
        ("\U000e0041", "[U+E0041]"),
        ("\u200b", "[U+200B]"),
        ("\U0001f469\u200d\U0001f680\ufe0f", "\U0001f469\u200d\U0001f680\ufe0f"),
        ("\u0645\u0631\u062d\u0628\u0627", "\u0645\u0631\u062d\u0628\u0627"),
    ],
)
def test_what_would_be_unseen_is_named(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(alphabet=st.characters(codec=None)))
def test_nothing_that_steers_is_left(text: str) -> None:
    shown = visible(text)
    kinds = {unicodedata.category(letter) for letter in shown if letter not in "\n\t"}
    assert not kinds & {"Cc", "Cs", "Zl", "Zp"}
    assert visible(shown) == shown
    shown.encode()
    assert "\n" not in one_line(text)


def test_code_stands_between_backticks() -> None:
    assert list(code_pieces("use `a b` or `c`")) == [
        ("use ", False),
        ("a b", True),
        (" or ", False),
        ("c", True),
    ]
    for plain in ("a ` alone", "`` empty", "`over\nlines`"):
        assert list(code_pieces(plain)) == [(plain, False)]


def test_long_text_is_cut_and_says_so() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("ab cd" * 1000, 3) == "ab ... (5,000 characters)"
