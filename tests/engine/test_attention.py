"""The kernel against attention written out over all pairs of tokens, and what it refuses."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from concord.engine import attention
from concord.engine.attention import attend, segments
from concord.engine.forest import Forest, plant
from concord.engine.logprobs import LogProbs
from concord.engine.targets import Line
from concord.errors import CapabilityError
from tests.engine.models import family_tree, line, llama, tokens
from tests.engine.test_forest import trees


def sees(forest: Forest, window: int | None) -> Tensor:
    """Which token sees which, read off the table of segments token by token."""
    table = torch.zeros(forest.tokens, forest.tokens, dtype=torch.bool)
    for number, segment in enumerate(forest.segments):
        past = [
            t for n in forest.path(number) for t in range(forest.segments[n].start, forest.segments[n].stop)
        ]
        for token in range(segment.start, segment.stop):
            seen = past[: past.index(token) + 1]
            table[token, seen if window is None else seen[-window:]] = True
    return table


def plainly(
    forest: Forest, states: Any, *, scaling: float | None, window: int | None, softcap: float | None
) -> Tensor:
    """Attention by its formula."""
    query, key, value = states
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(2, 3) * (1 / math.sqrt(query.shape[-1]) if scaling is None else scaling)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~sees(forest, window), float("-inf"))
    return (torch.softmax(scores, -1) @ value).transpose(1, 2)


def states_for(forest: Forest, heads: int = 4, pairs: int = 2, size: int = 8) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(1, count, forest.tokens, size, generator=generator, requires_grad=True)
        for count in (heads, pairs, pairs)
    ]


def check_same(forest: Forest, pairs: int = 2, **asked: Any) -> None:
    """Values and gradients of the kernel are those of the formula."""
    given_ = {"scaling": None, "window": None, "softcap": None, **asked}
    states = states_for(forest, pairs=pairs)
    found, right = (
        segments(forest, (states[0], states[1], states[2]), **given_),
        plainly(forest, states, **given_),
    )
    torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)
    above = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    ours = torch.autograd.grad(found, states, above)
    for own, other in zip(ours, torch.autograd.grad(right, states, above), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


@settings(max_examples=80)
@given(
    trees(),
    st.integers(0, 8),
    st.sampled_from([None, 1, 2, 5, 9, 30]),
    st.sampled_from([None, 0.7]),
    st.sampled_from([None, 0.9]),
    st.sampled_from([1, 2, 4]),
)
def test_every_token_sees_its_past_within_the_window(
    lines: list[Line],
    price: int,
    window: int | None,
    softcap: float | None,
    scaling: float | None,
    pairs: int,
) -> None:
    check_same(plant(lines, price=price), pairs, window=window, softcap=softcap, scaling=scaling)


@pytest.mark.parametrize("window", [None, 7, 40, 300])
@pytest.mark.parametrize("softcap", [None, 1.5])
def test_long_segments_go_in_blocks(
    window: int | None, softcap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "_BLOCK", 16)
    monkeypatch.setattr(attention, "_MASKED", 16)
    monkeypatch.setattr(attention, "_SCORES", 1000)
    check_same(plant(family_tree()), window=window, softcap=softcap)
    rng = np.random.default_rng(0)
    prompt = tokens(rng, 70)
    check_same(
        plant([line(prompt, tokens(rng, 50)), line(prompt, tokens(rng, 3))]), window=window, softcap=softcap
    )


def calls_of(forest: Forest, window: int | None = None) -> list[Any]:
    states = states_for(forest)
    segments(forest, (states[0], states[1], states[2]), scaling=None, window=window, softcap=None)
    return list(forest.plans["segments", window])


def test_roots_need_no_mask_and_first_children_no_copy() -> None:
    rng = np.random.default_rng(0)
    prompt = tokens(rng, 30)
    forest = plant(
        [line(prompt, tokens(rng, 60)), line(prompt, tokens(rng, 70)), line(tokens(rng, 3), tokens(rng, 9))]
    )
    plans = {(call.start, call.stop): call for call in calls_of(forest)}
    size = forest.tokens
    roots = [segment for segment in forest.segments if segment.parent < 0]
    assert len(roots) == 2
    for root in roots:
        assert plans[root.start, root.stop].mask is None
    top = next(number for number, root in enumerate(forest.segments) if root.stop - root.start == 30)
    first, second = (segment for segment in forest.segments if segment.parent == top)
    assert plans[first.start, first.stop].keys == ((forest.segments[top].start, first.stop),)
    assert plans[second.start, second.stop].keys == (
        (forest.segments[top].start, forest.segments[top].stop),
        (second.start, second.stop),
    )
    assert sum(call.stop - call.start for call in plans.values()) == size


def test_what_is_out_of_the_window_is_not_computed() -> None:
    rng = np.random.default_rng(0)
    prompt = tokens(rng, 400)
    forest = plant([line(prompt, tokens(rng, 60)), line(prompt, tokens(rng, 500))])
    for call in calls_of(forest, 10):
        keys = sum(stop - start for start, stop in call.keys)
        assert keys <= call.stop - call.start + 9
        assert call.stop - call.start <= attention._BLOCK
    replies = [call for call in calls_of(forest, 10) if call.start in (400, 460, 900)]
    assert all(call.keys[0][0] == 391 for call in replies)


def test_masks_are_of_some_queries_at_a_time() -> None:
    rng = np.random.default_rng(0)
    prompt = tokens(rng, 20)
    calls = calls_of(plant([line(prompt, tokens(rng, 2500)), line(prompt, tokens(rng, 9))]))
    assert sorted(call.stop - call.start for call in calls) == [9, 20, 452, 1024, 1024]
    # What stands behind a query is not looked at.
    assert all(call.keys[-1][1] == call.stop for call in calls)


def test_short_leaves_go_together() -> None:
    rng = np.random.default_rng(0)
    prompt = tokens(rng, 40)
    forest = plant([line(prompt, tokens(rng, 6)) for _ in range(9)])
    # 48 tokens of leaves at a time: eight of six, and the ninth.
    assert [(call.start, call.stop) for call in calls_of(forest)] == [(0, 40), (40, 88), (88, 94)]
    check_same(forest)
    check_same(forest, window=5)


class Layer(nn.Module):
    """What attention reads of a layer."""

    layer_idx = 3


def ask(change: Callable[[dict[str, Any]], object] = lambda _: None, *, mask: Tensor | None = None) -> Any:
    forest = plant(family_tree())
    layer = Layer()
    asked: dict[str, Any] = {"forest": forest, "scaling": 0.5, "dropout": 0.0, "softcap": None, "s_aux": None}
    states = states_for(forest)
    asked["layer"], asked["states"] = layer, states
    change(asked)
    layer, (query, key, value) = asked.pop("layer"), asked.pop("states")
    return attend(layer, query, key, value, mask, **asked), asked["forest"]


def test_what_changes_nothing_is_allowed_and_the_layer_is_counted() -> None:
    (output, weights), forest = ask(
        lambda asked: asked.update(
            position_ids=torch.zeros(1), use_cache=False, is_causal=True, output_attentions=False, odd=None
        )
    )
    assert output.shape == (1, forest.tokens, 4, 8)
    assert weights is None
    assert forest.calls == [3]


class Slides(nn.Module):
    """A layer that has a window by its configuration only."""

    layer_idx = 1
    config = type("Config", (), {"layer_types": ["full_attention", "sliding_attention"]})


def sets(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda asked: asked.update({name: value})


def other_tokens(asked: dict[str, Any]) -> None:
    asked["states"] = [state[:, :, :-1] for state in asked["states"]]


def more_keys(asked: dict[str, Any]) -> None:
    query, key, value = asked["states"]
    asked["states"] = [query, torch.cat([key, key], 2), torch.cat([value, value], 2)]


def two_rows(asked: dict[str, Any]) -> None:
    asked["states"] = [torch.cat([state, state]) for state in asked["states"]]


class Both(nn.Module):
    """A layer that looks ahead."""

    layer_idx = 0
    is_causal = False


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (sets("s_aux", torch.zeros(4)), "s_aux"),
        (sets("position_bias", torch.zeros(4)), "position_bias"),
        (sets("chunk_size", 8), "chunk_size"),
        (sets("cache", object()), "cache"),
        (sets("dropout", 0.1), "dropout 0.1"),
        (sets("is_causal", False), "later tokens"),
        (sets("layer", Both()), "later tokens"),
        (sets("output_attentions", True), "weights of attention"),
        (sets("sliding_window", 0), "window of 0"),
        (sets("layer", Slides()), "does not name"),
        (sets("forest", None), "without a forest"),
        (other_tokens, "over 163 tokens"),
        (more_keys, "over 163 tokens"),
        (two_rows, "over 163 tokens"),
    ],
)
def test_what_is_not_done_is_refused_by_name(change: Callable[[dict[str, Any]], object], says: str) -> None:
    with pytest.raises(CapabilityError, match="asks more of attention") as caught:
        ask(change)
    assert says in str(caught.value)


def test_a_mask_is_refused() -> None:
    with pytest.raises(CapabilityError, match="a mask"):
        ask(mask=torch.zeros(1))


def test_a_window_that_is_named_is_taken() -> None:
    (output, _), _ = ask(lambda asked: asked.update(layer=Slides(), sliding_window=4))
    assert output.isfinite().all()


def test_capped_scores_are_not_kept_for_the_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_SCORES", 4 * 64 * 64)
    forest = plant([Line(np.arange(256))])
    states = states_for(forest, pairs=4)
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = segments(forest, (states[0], states[1], states[2]), scaling=None, window=None, softcap=2.0)
    # Scores, weights and what lies between are 4 x 16 x 256 numbers a block; states are 4 x 256 x 8.
    assert max(kept) <= 4 * 256 * 8
    output.sum().backward()
    assert all(state.grad is not None for state in states)


def test_layers_share_their_masks_whatever_they_keep_for_the_backward() -> None:
    engine = LogProbs(llama(layers=3))
    forest = plant(family_tree())
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        engine(layout=forest)
    masks = [tensor for tensor in kept if tensor.isneginf().any()]
    made = [mask for mask in forest.plans["masks", None, torch.float32] if mask is not None]
    assert len(masks) == 3 * len(made) > 0
    assert {mask.data_ptr() for mask in masks} == {mask.data_ptr() for mask in made}
