"""Blocks: what does not fit together is refused; special tokens are found."""

from math import inf

import pytest

from concord.errors import InputError
from concord.report.blocks import Axis, Column, Counts, Histogram, Piece, Table
from concord.report.pieces import special_apart


def test_a_row_that_does_not_fit_its_columns_is_refused() -> None:
    with pytest.raises(InputError, match=r"row 1 of the table 'T' does not fit.*found 2 cells.*1 cells"):
        Table((Column("a"),), ((1,), (1, 2)), caption="T")


@pytest.mark.parametrize("edges", [(), (1.0,), (2.0, 1.0), (1.0, 1.0), (0.0, inf)])
def test_edges_that_bound_no_bins_are_refused(edges: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="bound no bins"):
        Histogram("H", Axis("x"), edges, ())


@pytest.mark.parametrize("counts", [(1,), (1, -1), (1, inf), (1, 2, 3)])
def test_counts_that_do_not_fit_the_bins_are_refused(counts: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="counts of 'g' in 'H'"):
        Histogram("H", Axis("x"), (0.0, 1.0, 2.0), (Counts("g", counts),))


def test_special_tokens_get_pieces_of_their_own() -> None:
    pieces = special_apart([("<s>hi<s2>", False), ("", True), ("yes<s>", True)], ("<s>", "<s2>", "<s>hi", ""))
    assert pieces == (
        Piece("<s>hi", special=True),
        Piece("<s2>", special=True),
        Piece("yes", True),
        Piece("<s>", True, True),
    )
    assert special_apart([("a.b", True)]) == (Piece("a.b", True),)
