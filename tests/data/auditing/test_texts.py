"""What the surface of a text shows, and what it does not."""

import pytest

from concord.data.auditing.texts import looks_cut, looks_refused, oddities, surface


@pytest.mark.parametrize(
    "text",
    ["", "plain", "tab\tand\nlines\r\nhere", "na\u00efve caf\u00e9", "\u00c9t\u00e9 \u00e2ge \u00c3o",
     "R&D; a & b;", "x &co; y", "\u4f60\u597d", "\U0001f600", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35"],
)  # fmt: skip
def test_sound_texts_show_nothing(text: str) -> None:
    assert oddities(text) == ()


@pytest.mark.parametrize("letter", "\u00e9\u00fc\u00df\u00f1\u2019\u201c\u2013\u2026\u20ac")
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_utf_8_read_as_another_encoding_is_seen(letter: str, encoding: str) -> None:
    damaged = letter.encode().decode(encoding, "replace")
    assert "mojibake" in oddities(f"some {damaged} text") or "replacement" in oddities(f"some {damaged} text")


@pytest.mark.parametrize(
    ("text", "sign"),
    [("a\x00b", "control"), ("a\x1bb", "control"), ("it&#39;s", "entities"), ("a&nbsp;b", "entities"),
     ("a\ufffd", "replacement"), ("\udc80", "surrogate"), ("a ", "edges"), ("\n a", "edges")],
)  # fmt: skip
def test_damage_is_named(text: str, sign: str) -> None:
    assert sign in oddities(text)


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I\u2019m really sorry, no.", True),
        ("  I cannot do this", True),
        ("As an AI language model, I have no view.", True),
        ("Unfortunately, I am not able to.", True),
        ("Sorry, no.", True),
        ("I can help: sorry states are ...", False),
        ("Ice is cold. I'm sorry.", False),
        ("As an aid to memory", False),
        ("", False),
    ],
)
def test_refusals_are_told_by_how_they_begin(text: str, refused: bool) -> None:
    assert looks_refused(text) is refused


@pytest.mark.parametrize(
    ("end", "cut"),
    [("and then", True), ("one,", True), ("open (", True), ("done.", False), ("done!\"", False),
     ("```", False), ("done.  \n", False), ("\u0e04\u0e23\u0e31\u0e1a", False), ("\u3002", False)],
)  # fmt: skip
def test_a_longer_text_that_ends_within_a_sentence(end: str, cut: bool) -> None:
    assert looks_cut("word " * 30 + end) is cut
    assert not looks_cut(end), "a phrase may end so"


def test_what_a_reply_wears_is_counted() -> None:
    text = "# Title\n- one\n* two\n  3. three\n\n**bold** and `code`\n```\nx\n```\nGreat! Yes!"
    worn = surface(text)
    assert (worn.formatting, worn.lists, worn.code, worn.exclamations, worn.refusal) == (2, 3, 2, 2, False)
    plain = surface("2 - 1 = 1. C# is a language*")
    assert (plain.formatting, plain.lists, plain.code, plain.exclamations) == (0, 0, 0, 0)
    assert surface("!" * 100_000).exclamations == 65_535
