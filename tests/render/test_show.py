"""Stretches of text: together they are all of it, even where a character is cut."""

from hypothesis import given
from hypothesis import strategies as st

from concord.render.show import Piece, pieces


def decode(ids: object) -> str:
    """Ids that are bytes."""
    return bytes(ids).decode("utf-8", "replace")  # type: ignore[call-overload]


def test_trained_and_untrained_stretches_alternate() -> None:
    ids = list(b"<s>ab</s>cd</s>")
    assert pieces(ids, [(4, 9), (10, 15)], decode) == [
        Piece("<s>a", False),
        Piece("b</s>", True),
        Piece("c", False),
        Piece("d</s>", True),
    ]
    assert pieces(ids, [(0, len(ids))], decode) == [Piece("<s>ab</s>cd</s>", True)]
    assert pieces([], [], decode) == []
    assert pieces(ids, [(3, 4), (4, 5)], decode)[1:3] == [Piece("a", True), Piece("b", True)]


def test_a_character_belongs_to_the_stretch_it_ends_in() -> None:
    ids = list("a\U0001f600b".encode())
    assert pieces(ids, [(3, len(ids))], decode) == [Piece("a", False), Piece("\U0001f600b", True)]
    assert pieces(ids, [(0, 3)], decode) == [Piece("a", True), Piece("\U0001f600b", False)]


@given(st.text(max_size=12), st.lists(st.integers(0, 40), max_size=6), st.integers(0, 3))
def test_together_they_are_the_whole_text(text: str, cuts: list[int], lost: int) -> None:
    ids = list(text.encode("utf-8", "replace"))
    ids = ids[: len(ids) - lost] if lost else ids
    edges = sorted({min(cut, len(ids)) for cut in cuts})
    spans = list(zip(edges[::2], edges[1::2], strict=False))
    assert "".join(piece.text for piece in pieces(ids, spans, decode)) == decode(ids)
