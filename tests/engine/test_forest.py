"""The forest against the definition: what each line reads along its path, and what the tree may share."""

import time
from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from concord.engine.attention import NAME
from concord.engine.forest import Forest, plant
from concord.engine.logprobs import LogProbs
from concord.engine.switch import switch
from concord.engine.targets import Line
from concord.errors import InputError
from tests.engine.models import alone, build, gradients, line, llama, tokens, weighted

FEW = st.lists(st.integers(3, 5), max_size=12)
"""Tokens from three: sequences that share much, begin each other, or are the same."""


@st.composite
def trees(draw: st.DrawFn) -> list[Line]:
    """Sequences of prompts, turns and replies, some of them from a common stock, with random spans."""
    stock = draw(st.lists(FEW, min_size=1, max_size=4))
    parts = st.one_of(FEW, st.sampled_from(stock))
    found: list[Line] = []
    for number in range(draw(st.integers(0, 7))):
        pieces = draw(st.lists(parts, max_size=4))
        ids = np.array([token for piece in pieces for token in piece], np.int32)
        cuts = sorted(draw(st.sets(st.integers(1, max(1, len(ids))), max_size=4)))
        spans = [] if len(ids) < 2 else list(zip(cuts[::2], cuts[1::2], strict=False))
        found.append(Line(ids, np.array(spans, np.int32).reshape(-1, 2), number % 3))
    return found


def places_of(forest: Forest, ids: Sequence[int]) -> list[int]:
    """Where a sequence lies, found by walking down the tree as a reader would."""
    found: list[int] = []
    at = -1
    while len(found) < len(ids):
        for number, segment in enumerate(forest.segments):
            own = forest.ids[segment.start : segment.stop].tolist()
            rest = list(ids[len(found) :])
            if segment.parent == at and own == rest[: len(own)]:
                found += range(segment.start, segment.stop)
                at = number
                break
        else:
            raise AssertionError("no path of the forest spells the sequence")
    return found


@settings(max_examples=150)
@given(trees(), st.integers(0, 12), st.sampled_from([1, 8]))
def test_every_line_is_spelled_by_a_path_with_its_positions_and_targets(
    lines: list[Line], price: int, multiple: int
) -> None:
    forest = plant(lines, price=price, multiple=multiple)
    where, labels, owner = [], [], []
    for one in lines:
        # Where sharing did not pay, a walk may go down another copy of the same tokens.
        walk = places_of(forest, one.ids.tolist()) if price == 0 else None
        for start, stop in one.spans.tolist():
            labels += one.ids[start:stop].tolist()
            owner += [one.reply] * (stop - start)
            where += walk[start - 1 : stop - 1] if walk else []
        if walk:
            assert forest.positions[walk].tolist() == list(range(len(one.ids)))
    assert forest.targets.labels.tolist() == labels
    assert forest.targets.owner.tolist() == owner
    if price == 0:
        assert forest.targets.where.tolist() == where
    check_past(forest, lines)
    assert forest.tokens % multiple == 0
    assert forest.tokens >= 1


def check_past(forest: Forest, lines: Sequence[Line]) -> None:
    """Read each target's past up the tree: it must be the line up to there."""
    number_of = np.repeat(range(len(forest.segments)), [s.stop - s.start for s in forest.segments])
    targets = iter(zip(forest.targets.where.tolist(), forest.targets.labels.tolist(), strict=True))
    for one in lines:
        for start, stop in one.spans.tolist():
            for place in range(start, stop):
                where, label = next(targets)
                own = int(number_of[where])
                past: list[int] = []
                for number in forest.path(own):
                    segment = forest.segments[number]
                    last = where + 1 if number == own else segment.stop
                    past += forest.ids[segment.start : last].tolist()
                assert past == one.ids[:place].tolist()
                assert int(forest.positions[where]) == place - 1
                assert label == one.ids[place]
    assert next(targets, None) is None


@settings(max_examples=150)
@given(trees(), st.integers(0, 12))
def test_segments_tile_the_forest_parents_first_and_descendants_right_behind(
    lines: list[Line], price: int
) -> None:
    forest = plant(lines, price=price)
    laid = 0
    for number, segment in enumerate(forest.segments):
        assert segment.start == laid < segment.stop
        laid = segment.stop
        assert segment.parent < number
        above = forest.segments[segment.parent] if segment.parent >= 0 else None
        assert segment.depth == (above.depth + above.stop - above.start if above else 0)
        below = [one.stop for n, one in enumerate(forest.segments) if number in forest.path(n)]
        assert segment.last == max(below)
        between = [n for n, one in enumerate(forest.segments) if segment.start <= one.start < segment.last]
        assert all(number in forest.path(n) for n in between)
    assert laid == forest.tokens
    ends = [segment.last for segment in forest.segments for _ in range(segment.start, segment.stop)]
    assert forest.ends().tolist() == ends


@settings(max_examples=150)
@given(trees())
def test_with_free_segments_each_distinct_beginning_is_laid_once(lines: list[Line]) -> None:
    beginnings = {tuple(one.ids[:stop].tolist()) for one in lines for stop in range(1, len(one.ids) + 1)}
    assert plant(lines, price=0).tokens == max(1, len(beginnings))


@settings(max_examples=150)
@given(trees(), st.integers(0, 40))
def test_what_is_laid_twice_costs_less_than_the_segments_it_saves(lines: list[Line], price: int) -> None:
    shared, chosen = plant(lines, price=0), plant(lines, price=price)
    assert chosen.tokens + price * len(chosen.segments) <= shared.tokens + price * len(shared.segments)


@settings(max_examples=50)
@given(trees(), st.randoms(use_true_random=False))
def test_the_order_of_the_lines_does_not_change_what_is_laid(lines: list[Line], chance: object) -> None:
    forest = plant(lines)
    for order in list(permutations(lines))[:6]:
        again = plant(order)
        assert again.ids.tolist() == forest.ids.tolist()
        assert again.segments == forest.segments


def test_the_price_decides_what_is_worth_sharing() -> None:
    rng = np.random.default_rng(0)
    prompt = tokens(rng, 7)
    pair = [line(prompt, tokens(rng, 20)) for _ in range(2)]
    assert plant(pair, price=8).tokens == 54
    assert plant(pair, price=7).tokens == 47
    # Seven more replies save the prompt's tokens seven times more.
    group = pair + [line(prompt, tokens(rng, 20)) for _ in range(7)]
    assert plant(group, price=8).tokens == 7 + 9 * 20
    # A line that stops where others go on is laid anyway.
    assert plant([*pair, Line(prompt)], price=1000).tokens == 47


def test_a_system_prompt_is_shared_by_items_and_a_prompt_by_its_replies() -> None:
    rng = np.random.default_rng(0)
    system = tokens(rng, 50)
    lines: list[Line] = []
    for _ in range(4):
        prompt = tokens(rng, 30)
        lines += [line(system, prompt, tokens(rng, 20)) for _ in range(3)]
    forest = plant(lines)
    assert forest.tokens == 50 + 4 * 30 + 12 * 20
    assert [segment.parent for segment in forest.segments[:6]] == [-1, 0, 1, 1, 1, 0]
    assert forest.reach == (100, 100)


def test_nothing_to_lay_still_is_a_token_and_a_multiple_is_kept() -> None:
    empty = Line(np.zeros(0, np.int64))
    for lines in ([], [empty], [empty, empty]):
        forest = plant(lines)
        assert forest.tokens == 1
        assert forest.targets.labels.tolist() == []
        assert forest.reach == (0, 0)
        assert plant(lines, multiple=128).tokens == 128
    filled = plant([Line(np.arange(130))], multiple=128)
    assert filled.tokens == 256
    assert filled.segments[-1].parent == -1
    assert filled.reach == (130, 130)


@pytest.mark.parametrize(
    "spans", [[(0, 2)], [(1, 9)], [(3, 2)], [(1, 4), (3, 5)], [(4, 5), (1, 2)], [(-1, 2)]]
)
def test_spans_that_cannot_be_are_refused(spans: list[tuple[int, int]]) -> None:
    with pytest.raises(InputError, match="a span of predicted tokens"):
        plant([Line(np.arange(3, 11), np.array(spans))])


def test_a_forest_moves_whole() -> None:
    forest = plant([line(np.arange(3, 9), np.arange(9, 20), reply=4)])
    moved = forest.to("meta")
    assert {t.device.type for t in (moved.ids, moved.positions, moved.targets.where, moved.ends())} == {
        "meta"
    }
    assert moved.segments == forest.segments
    assert moved.reach == forest.reach


def test_a_hundred_long_sequences_are_laid_in_milliseconds() -> None:
    rng = np.random.default_rng(0)
    system = tokens(rng, 50)
    lines: list[Line] = []
    for _ in range(50):
        prompt = tokens(rng, 250)
        lines += [line(system, prompt, tokens(rng, 200)) for _ in range(2)]
    took: list[float] = []
    for _ in range(5):
        begun = time.process_time()
        plant(lines)
        took.append(time.process_time() - begun)
    # It takes one or two; ten times that would be another way of doing it.
    assert min(took) < 0.02


def test_no_filler_is_longer_than_the_longest_sequence() -> None:
    forest = plant([Line(np.arange(30)), Line(np.arange(40, 45))], multiple=128)
    assert forest.tokens == 128
    assert [segment.stop - segment.start for segment in forest.segments] == [30, 5, 30, 30, 30, 3]
    assert int(forest.positions.max()) == 29


@pytest.mark.slow
@settings(max_examples=40)
@given(trees(), st.sampled_from([0, 3, 8]), st.sampled_from([1, 16]))
def test_values_and_gradients_of_a_random_tree_are_those_of_each_line_alone(
    lines: list[Line], price: int, multiple: int
) -> None:
    predicted = [one for one in lines if len(one.spans)]
    for model in MODELS:
        forest, rows = LogProbs(model), LogProbs(model, layout="rows")
        switch(model, None)
        if not predicted:
            assert rows(layout=rows.lay(lines)).logps.numel() == 0
            continue
        right = alone(model, predicted)
        weighted(right).backward()
        slopes = gradients(model)
        # Rows first: an engine over forests keeps the model's attention for itself.
        for engine in (rows, forest):
            laid = rows.lay(lines) if engine is rows else plant(lines, price=price, multiple=multiple)
            switch(model, None if engine is rows else NAME)
            found = engine(layout=laid).logps
            torch.testing.assert_close(found, right, rtol=0, atol=5e-5)
            weighted(found).backward()
            assert float((gradients(model) - slopes).norm()) <= 1e-4 * float(slopes.norm()) + 1e-6


MODELS = (llama(), build("Gemma2", num_hidden_layers=2, head_dim=8, sliding_window=3))
"""A plain one, and one with a short window, soft-capped scores, and soft-capped logits."""
