"""The kernel for GPUs: its rule and its blocks against the definition; its values where a CPU can."""

import shutil
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention.flex_attention import create_mask, flex_attention

from concord.engine import flex
from concord.engine.attention import segments
from concord.engine.forest import Forest, plant
from concord.engine.targets import Line
from tests.engine.models import family_tree, line, tokens
from tests.engine.test_attention import plainly, sees, states_for
from tests.engine.test_forest import trees

SIZE = 8


def blocks_of(table: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """For all pairs of blocks: whether any token sees any, and whether all see all."""
    count = table.shape[0] // size
    tiles = table.view(count, size, count, size).transpose(1, 2).flatten(2)
    return tiles.any(-1), tiles.all(-1)


@settings(max_examples=80)
@given(trees(), st.integers(0, 8), st.sampled_from([None, 1, 3, 9, 20]))
def test_blocks_and_rule_are_those_of_the_definition(
    lines: list[Line], price: int, window: int | None
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flex, "BLOCK", SIZE)
        forest = plant(lines, price=price, multiple=SIZE)
        found = flex.block_mask(forest, window)
    table = sees(forest, window)
    rule = create_mask(found.mask_mod, 1, 1, forest.tokens, forest.tokens, device="cpu")
    assert torch.equal(rule[0, 0], table)
    some, whole = blocks_of(table, SIZE)
    assert torch.equal(listed(found.kv_num_blocks, found.kv_indices), some & ~whole)
    assert found.full_kv_num_blocks is not None
    assert found.full_kv_indices is not None
    assert torch.equal(listed(found.full_kv_num_blocks, found.full_kv_indices), whole)
    assert torch.equal(found.to_dense()[0, 0].bool(), some)
    # The backward pass reads the table the other way round.
    assert found.q_num_blocks is not None
    assert found.q_indices is not None
    assert torch.equal(listed(found.q_num_blocks, found.q_indices), (some & ~whole).T)


def listed(counts: Tensor, indices: Tensor) -> Tensor:
    """A table of blocks from its counts and indices."""
    count = counts.shape[-1]
    table = torch.zeros(count, count, dtype=torch.bool)
    for row in range(count):
        table[row, indices[0, 0, row, : int(counts[0, 0, row])].long()] = True
    return table


def test_a_long_window_leaves_out_whole_blocks() -> None:
    rng = np.random.default_rng(0)
    prompt = tokens(rng, 1000)
    forest = plant([line(prompt, tokens(rng, 300)) for _ in range(3)], multiple=flex.BLOCK)
    assert flex.block_mask(forest, 64).sparsity() > flex.block_mask(forest, None).sparsity() > 50


def uncompiled(query: Tensor, key: Tensor, value: Tensor, training: bool = False, **asked: Any) -> Any:
    """The same function as the library calls, without its compiler."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return flex_attention(query, key, value, **asked)


def check_values(forest: Forest, **asked: Any) -> None:
    given_ = {"scaling": None, "window": None, "softcap": None, **asked}
    query, key, value = (state.detach() for state in states_for(forest, size=16))
    found = flex.attend(forest, (query, key, value), **given_)
    for right in (plainly, segments):
        torch.testing.assert_close(found, right(forest, (query, key, value), **given_), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [None, 9])
@pytest.mark.parametrize("softcap", [None, 1.5])
def test_values_are_those_of_the_formula(
    window: int | None, softcap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "transformers.integrations.flex_attention.compile_friendly_flex_attention", uncompiled
    )
    forest = plant(family_tree(), multiple=flex.BLOCK)
    check_values(forest, window=window, softcap=softcap, scaling=0.4)
    check_values(forest, window=window, softcap=softcap)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="the compiled kernel of a CPU needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("window", "softcap"), [(None, None), (9, 1.5)])
def test_values_of_the_compiled_kernel_are_those_of_the_formula(
    window: int | None, softcap: float | None
) -> None:
    """This one reads the table of blocks, which the uncompiled function does not."""
    rng = np.random.default_rng(0)
    prompt = tokens(rng, 200)
    forest = plant([*family_tree(), *(line(prompt, tokens(rng, 90)) for _ in range(3))], multiple=flex.BLOCK)
    with torch.no_grad():
        check_values(forest, window=window, softcap=softcap, scaling=0.4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the kernel has gradients on a GPU only")
@pytest.mark.parametrize(("window", "softcap"), [(None, None), (9, 1.5)])
def test_values_and_gradients_on_a_gpu_are_those_of_the_formula(
    window: int | None, softcap: float | None
) -> None:
    forest = plant(family_tree(), multiple=flex.BLOCK)
    asked: dict[str, Any] = {"scaling": None, "window": window, "softcap": softcap}
    here = states_for(forest, size=32)
    there = [state.detach().cuda().requires_grad_() for state in here]
    right = plainly(forest, here, **asked)
    found = flex.attend(forest.to("cuda"), (there[0], there[1], there[2]), **asked)
    torch.testing.assert_close(found.cpu(), right, rtol=1e-3, atol=1e-3)
    above = torch.randn(right.shape, generator=torch.Generator().manual_seed(1))
    slopes = torch.autograd.grad(found, there, above.cuda())
    for own, other in zip(slopes, torch.autograd.grad(right, here, above), strict=True):
        torch.testing.assert_close(own.cpu(), other, rtol=1e-3, atol=1e-3)


def test_it_is_chosen_on_a_gpu_with_whole_blocks_only() -> None:
    forest, ragged = plant(family_tree(), multiple=flex.BLOCK), plant(family_tree())

    class OnGpu:
        device = torch.device("cuda")
        shape = (1, 4, forest.tokens, 64)

    class SmallHeads(OnGpu):
        shape = (1, 4, forest.tokens, 8)

    suits: Any = getattr(flex.suits, "__wrapped__", flex.suits)
    assert suits(forest, OnGpu())
    assert not suits(ragged, OnGpu())
    assert not suits(forest, SmallHeads())
    assert not flex.suits(forest, torch.zeros(1, 4, forest.tokens, 64))
