"""Rows: what stands where, bands of lengths, and that padding reaches nothing."""

import numpy as np
import pytest
import torch

from concord.engine.logprobs import LogProbs
from concord.engine.rows import stack
from concord.engine.targets import Line
from tests.engine.models import alone, apart, family_tree, gradients, line, llama, long_rope, tokens, weighted


def test_a_table_of_lines() -> None:
    lines = [
        Line(np.array([5, 6, 7]), np.array([[1, 3]]), 1),
        Line(np.array([8])),
        Line(np.zeros(0, np.int64)),
    ]
    rows = stack(lines, pad=9)
    assert rows.ids.tolist() == [[5, 6, 7], [8, 9, 9], [9, 9, 9]]
    # A row of nothing but padding looks at its first token: attention to nothing at all is no number.
    assert rows.mask.tolist() == [[1, 1, 1], [1, 0, 0], [1, 0, 0]]
    assert rows.positions.tolist() == [[0, 1, 2]] * 3
    assert rows.targets.where.tolist() == [0, 1]
    assert rows.targets.labels.tolist() == [6, 7]
    assert rows.targets.owner.tolist() == [1, 1]
    assert (rows.reach, rows.bands, rows.tokens) == ((1, 3), (), 9)


def test_no_lines_are_one_row_of_one_token() -> None:
    rows = stack([])
    assert rows.ids.shape == (1, 1)
    assert rows.targets.where.numel() == 0
    with torch.no_grad():
        assert LogProbs(llama(), layout="rows")(layout=rows).logps.numel() == 0


def test_bands_keep_lengths_on_both_sides_of_a_threshold_apart() -> None:
    rng = np.random.default_rng(0)
    lines = [
        line(tokens(rng, 5), tokens(rng, size), reply=number) for number, size in enumerate((9, 2, 6, 1))
    ]
    rows = stack(lines, thresholds=(8,))
    # The lengths are 14, 7, 11 and 6.
    assert rows.bands == ((0, 2, 7), (2, 4, 14))
    assert rows.tokens == 2 * 7 + 2 * 14
    assert rows.ids[0, :7].tolist() == lines[1].ids.tolist()
    assert rows.ids[2].tolist() == lines[0].ids.tolist()
    # The targets keep the order of the lines, wherever their rows are.
    assert rows.targets.owner.tolist() == [0] * 9 + [1] * 2 + [2] * 6 + [3]
    assert rows.targets.where[:2].tolist() == [2 * 14 + 4, 2 * 14 + 5]
    assert stack(lines, thresholds=(20,)).bands == ()
    assert stack(lines, thresholds=(6, 12)).bands == ((0, 1, 6), (1, 3, 11), (3, 4, 14))
    assert rows.to("meta").bands == rows.bands


def test_padding_reaches_nothing() -> None:
    lines, model = family_tree(), llama()
    engine = LogProbs(model, layout="rows")
    with torch.no_grad():
        first, second = (engine(layout=stack(lines, pad=pad)).logps for pad in (0, 77))
    assert torch.equal(first, second)


@pytest.mark.slow
def test_rows_of_a_model_whose_angles_change_with_the_length_are_each_as_alone() -> None:
    rng = np.random.default_rng(0)
    model = long_rope()
    # Lengths 41, 30, 40 and 60; the angles change after 40.
    lines = [line(tokens(rng, 20), tokens(rng, size), reply=n) for n, size in enumerate((21, 10, 20, 40))]
    right = alone(model, lines)
    weighted(right).backward()
    slopes = gradients(model)
    engine = LogProbs(model, layout="rows")
    found = engine(layout=engine.lay(lines)).logps
    torch.testing.assert_close(found, right, rtol=0, atol=1e-4)
    weighted(found).backward()
    assert apart(gradients(model), slopes) < 1e-4
    # The angles matter: what is short is another thing among what is long.
    with torch.no_grad():
        mixed = model.model(input_ids=stack(lines).ids, use_cache=False).last_hidden_state
        apart_ = model.model(
            input_ids=torch.from_numpy(lines[1].ids)[None], use_cache=False
        ).last_hidden_state
    assert float((mixed[1, :30] - apart_[0]).abs().max()) > 0.1
