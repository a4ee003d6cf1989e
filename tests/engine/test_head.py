"""The head: the fused path and the chunked module give the values and gradients of the whole matrix."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from concord.engine.head import Chunk, Tile, chunk_size, linear_logps, module_values, tile_for
from concord.engine.statistics import logps
from concord.errors import CapabilityError

N, SIZE, V = 23, 12, 61
TILES = (Tile(1, 7), Tile(5, 16), Tile(23, 61), Tile(100, 1000))


def made(
    dtype: torch.dtype = torch.float32, *, n: int = N, weight: bool = True, hidden: bool = True
) -> tuple[Tensor, ...]:
    torch.manual_seed(0)
    states = torch.randn(n, SIZE).to(dtype).requires_grad_(hidden)
    matrix = (torch.randn(V, SIZE) * 0.7).to(dtype).requires_grad_(weight)
    bias = torch.randn(V).to(dtype).requires_grad_(weight)
    return states, matrix, bias, torch.randint(0, V, (n,)), torch.randn(n)


def whole(states: Tensor, matrix: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
    logits = nn.functional.linear(states, matrix, bias)
    logits = logits.float() if logits.dtype != torch.float64 else logits
    return logits.log_softmax(-1).gather(-1, labels[:, None])[:, 0]


def close(found: Tensor, right: Tensor, tolerance: float) -> bool:
    return float((found.double() - right.double()).norm() / right.double().norm()) < tolerance


@pytest.mark.parametrize("tile", TILES, ids=str)
@pytest.mark.parametrize("biased", [False, True])
def test_values_and_gradients_are_those_of_the_whole_matrix(tile: Tile, biased: bool) -> None:
    states, matrix, bias, labels, above = made()
    given = bias if biased else None
    leaves = [states, matrix, *([bias] if biased else [])]
    right = whole(states, matrix, given, labels)
    slopes = torch.autograd.grad((right * above).sum(), leaves)
    found = linear_logps(states, matrix, labels, bias=given, tile=tile)
    assert close(found, right, 1e-6)
    for got, want in zip(torch.autograd.grad((found * above).sum(), leaves), slopes, strict=True):
        assert got.dtype == want.dtype
        assert close(got, want, 2e-6)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_finite_differences(frozen: bool, biased: bool) -> None:
    states, matrix, bias, labels, _ = made(torch.float64, n=5, weight=not frozen)
    inputs = (states, matrix, bias if biased else None)
    assert torch.autograd.gradcheck(
        lambda h, w, b: linear_logps(h, w, labels, bias=b, tile=Tile(2, 17)), inputs
    )


@pytest.mark.parametrize("tile", TILES, ids=str)
def test_a_frozen_head_asks_for_no_gradient_and_hands_the_right_one_on(tile: Tile) -> None:
    states, matrix, bias, labels, above = made(weight=False)
    (want,) = torch.autograd.grad((whole(states, matrix, bias, labels) * above).sum(), states)
    found = linear_logps(states, matrix, labels, bias=bias, tile=tile)
    held = [saved for saved in found.grad_fn.saved_tensors if saved is not None]  # type: ignore[union-attr]
    assert [list(saved.shape) for saved in held] == [[N, SIZE]]
    (got,) = torch.autograd.grad((found * above).sum(), states)
    assert close(got, want, 2e-6)
    assert matrix.grad is None


def test_only_the_bias_or_only_the_weight_may_be_trained() -> None:
    for trained in ("weight", "bias"):
        states, matrix, bias, labels, above = made(weight=False)
        leaf = {"weight": matrix, "bias": bias}[trained].requires_grad_()
        (want,) = torch.autograd.grad((whole(states, matrix, bias, labels) * above).sum(), leaf)
        found = linear_logps(states, matrix, labels, bias=bias, tile=Tile(5, 16))
        (got,) = torch.autograd.grad((found * above).sum(), leaf)
        assert close(got, want, 2e-6), trained


def test_without_gradients_nothing_is_kept() -> None:
    states, matrix, bias, labels, _ = made()
    with torch.no_grad():
        found = linear_logps(states, matrix, labels, bias=bias)
    assert found.grad_fn is None
    assert close(found, whole(states, matrix, bias, labels), 1e-6)


def test_no_targets_give_no_values_and_gradients_of_zero() -> None:
    for weight in (True, False):
        states, matrix, bias, labels, _ = made(n=0, weight=weight)
        found = linear_logps(states, matrix, labels, bias=bias)
        assert found.shape == (0,)
        found.sum().backward()
        assert states.grad is not None
        if weight:
            assert matrix.grad is not None and bias.grad is not None
            assert not matrix.grad.any() and not bias.grad.any()


def test_confident_tokens_keep_their_gradient_in_half_precision() -> None:
    # softmax - onehot must be taken before rounding: 0.999 and 1 are one number in bfloat16.
    matrix = torch.eye(4, 8).mul(7).bfloat16()
    labels = torch.tensor([0, 1])
    for frozen in (True, False):
        states = torch.eye(2, 8).bfloat16().requires_grad_()
        leaf = matrix.clone().requires_grad_(not frozen)
        exact = states.detach().double().requires_grad_()
        (want,) = torch.autograd.grad(whole(exact, matrix.double(), None, labels).sum(), exact)
        found = linear_logps(states, leaf, labels)
        (got,) = torch.autograd.grad(found.sum(), states)
        assert close(got, want, 1e-2), frozen


def test_the_gradient_of_half_precision_weights_is_summed_in_float32() -> None:
    # 4,000 like tokens in tiles of 8: summed in bfloat16 the later ones would be lost to rounding.
    torch.manual_seed(0)
    n = 4000
    states = (torch.ones(n, SIZE) + torch.randn(n, SIZE) / 16).bfloat16()
    matrix = torch.randn(V, SIZE).bfloat16().requires_grad_()
    labels = torch.zeros(n, dtype=torch.long)
    exact = matrix.detach().double().requires_grad_()
    (want,) = torch.autograd.grad(whole(states.double(), exact, None, labels).sum(), exact)
    found = linear_logps(states, matrix, labels, tile=Tile(8, 16))
    (got,) = torch.autograd.grad(found.sum(), matrix)
    assert found.dtype == torch.float32
    assert got.dtype == torch.bfloat16
    assert close(got, want, 6e-3)


@pytest.mark.parametrize("inside", [False, True], ids=["backward outside", "backward inside"])
def test_autocast_multiplies_in_bfloat16_and_answers_in_float32(inside: bool) -> None:
    states, matrix, bias, labels, above = made()
    right = whole(states, matrix, bias, labels)
    slopes = torch.autograd.grad((right * above).sum(), [states, matrix, bias])
    with torch.autocast("cpu", torch.bfloat16):
        rounded = whole(states, matrix, bias, labels)
        found = linear_logps(states, matrix, labels, bias=bias, tile=Tile(5, 16))
        if inside:
            got = torch.autograd.grad((found * above).sum(), [states, matrix, bias])
    if not inside:
        got = torch.autograd.grad((found * above).sum(), [states, matrix, bias])
    assert found.dtype == torch.float32
    assert 1e-5 < float((found - right).abs().max()) < 0.1, "products were not bfloat16"
    assert float((found - rounded).abs().max()) < 1e-5
    for one, want in zip(got, slopes, strict=True):
        assert one.dtype == torch.float32
        assert close(one, want, 2e-2)


def test_a_second_derivative_is_refused() -> None:
    states, matrix, bias, labels, _ = made()
    found = linear_logps(states, matrix, labels, bias=bias)
    with pytest.raises(CapabilityError, match="gradients of gradients"):
        torch.autograd.grad(found.sum(), states, create_graph=True)


def test_extreme_and_ruled_out_logits() -> None:
    states, matrix, _, labels, _ = made(weight=False, hidden=False)
    bias = torch.zeros(V)
    bias[:40] = -torch.inf
    labels = labels.clamp(40)
    for scale in (1.0, 1e4):
        found = linear_logps(states * scale, matrix, labels, bias=bias, tile=Tile(5, 16))
        assert torch.equal(found.isnan(), torch.zeros(N, dtype=torch.bool))
        assert close(found, whole(states * scale, matrix, bias, labels), 1e-5)
    # What is ruled out has no chance, and a broken state must be seen.
    assert linear_logps(states, matrix, labels * 0, bias=bias)[0] == -torch.inf
    broken = states.clone()
    broken[3] = torch.nan
    found = linear_logps(broken, matrix, labels, bias=bias, tile=Tile(5, 16))
    assert found.isnan().nonzero().flatten().tolist() == [3]


def test_compiled_it_is_a_break_in_the_graph_and_gives_the_same() -> None:
    states, matrix, bias, labels, above = made()

    def loss(h: Tensor) -> Tensor:
        return (linear_logps(h * 2, matrix, labels, bias=bias) * above).sum()

    (want,) = torch.autograd.grad(loss(states), states)
    (got,) = torch.autograd.grad(torch.compile(loss, backend="eager")(states), states)
    assert torch.equal(got, want)


@pytest.mark.parametrize("size", [1, 5, 23, 100])
def test_a_module_in_chunks_gives_the_values_and_gradients_of_the_whole(size: int) -> None:
    states, matrix, bias, labels, above = made()

    def head(hidden: Tensor) -> Tensor:
        return torch.tanh(nn.functional.linear(hidden, matrix, bias) / 3) * 3

    right = head(states).log_softmax(-1).gather(-1, labels[:, None])[:, 0]
    slopes = torch.autograd.grad((right * above).sum(), [states, matrix, bias])
    found = module_values(head, states, labels, {"": logps}, size=size)[""]
    assert close(found, right, 1e-6)
    for got, want in zip(torch.autograd.grad((found * above).sum(), [states, matrix, bias]), slopes, strict=True):
        assert close(got, want, 2e-6)


def test_chunks_of_nothing() -> None:
    states, matrix, _, labels, _ = made(n=0)
    found = module_values(lambda h: h @ matrix.T, states, labels, {"": logps}, size=7)[""]
    assert found.shape == (0,)
    found.sum().backward()
    assert matrix.grad is not None and not matrix.grad.any()


def test_functions_see_float32_logits_of_half_precision_heads() -> None:
    states, matrix, _, labels, _ = made(torch.bfloat16)
    seen: list[Any] = []

    def look(chunk: Chunk) -> Tensor:
        seen.append(chunk.logits.dtype)
        return chunk.logits[:, 0]

    module_values(lambda h: h @ matrix.T, states, labels, {"x": look}, size=10)
    assert set(seen) == {torch.float32}


def test_sizes_follow_vocabulary_and_device_and_nothing_else() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    for device, most in ((cpu, 1 << 20), (gpu, 1 << 26)):
        for vocabulary in (50, 32_000, 256_000):
            tile = tile_for(vocabulary, device)
            assert tile.rows * tile.columns <= most
            assert 1 <= tile.columns <= vocabulary
            assert chunk_size(vocabulary, device) >= 32
    assert tile_for(32_000, cpu, rows=64).rows == 64
    assert chunk_size(256_000, cpu) < chunk_size(32_000, cpu) < chunk_size(32_000, gpu)
