"""The head: the fused path and the chunked module give the values and gradients of the whole matrix."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import peft
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from concord.engine import logprobs
from concord.engine.head import Chunk, Tile, chunk_size, linear_logps, module_values, tile_for
from concord.engine.logprobs import LogProbs
from concord.engine.statistics import Given, logps
from concord.errors import CapabilityError, InputError
from tests.engine.models import (
    FAMILIES,
    VOCABULARY,
    alone,
    apart,
    build,
    family_tree,
    gradients,
    llama,
    weighted,
)

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
    found, right = found.detach().double(), right.detach().double()
    return float((found - right).norm() / right.norm()) < tolerance


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

    def found(h: Tensor, w: Tensor, *b: Tensor) -> Tensor:
        return linear_logps(h, w, labels, bias=b[0] if b else None, tile=Tile(2, 17))

    assert torch.autograd.gradcheck(found, (states, matrix, *([bias] if biased else [])))


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
            for leaf in (matrix, bias):
                assert leaf.grad is not None
                assert not leaf.grad.any()


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
    with torch.autocast("cpu", torch.bfloat16, enabled=inside):
        got = torch.autograd.grad((found * above).sum(), [states, matrix, bias])
    assert found.dtype == torch.float32
    assert 1e-5 < float((found - right).detach().abs().max()) < 0.1, "products were not bfloat16"
    assert float((found - rounded).detach().abs().max()) < 1e-5
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
    # What is ruled out has no chance, and a broken state or label must be seen.
    assert linear_logps(states, matrix, labels * 0, bias=bias)[0] == -torch.inf
    broken = states.clone()
    broken[3] = torch.nan
    found = linear_logps(broken, matrix, labels, bias=bias, tile=Tile(5, 16))
    assert found.isnan().nonzero().flatten().tolist() == [3]
    for stray, trained in ((V, True), (-100, True), (V, False), (-100, False)):
        labels[7] = stray
        states.requires_grad_(trained)
        found = linear_logps(states, matrix, labels, bias=bias, tile=Tile(5, 16))
        assert found.isnan().nonzero().flatten().tolist() == [7]


# torch looks at this attribute itself, and would hide the warning if it were no error.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
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
    slopes_found = torch.autograd.grad((found * above).sum(), [states, matrix, bias])
    for got, want in zip(slopes_found, slopes, strict=True):
        assert close(got, want, 2e-6)


def test_chunks_of_nothing() -> None:
    states, matrix, _, labels, _ = made(n=0)
    found = module_values(lambda h: h @ matrix.T, states, labels, {"": logps}, size=7)[""]
    assert found.shape == (0,)
    found.sum().backward()
    assert matrix.grad is not None
    assert not matrix.grad.any()


def test_functions_see_float32_logits_of_half_precision_heads() -> None:
    states, matrix, _, labels, _ = made(torch.bfloat16)
    seen: list[Any] = []

    def look(chunk: Chunk) -> Tensor:
        seen.append(chunk.logits.dtype)
        return chunk.logits[:, 0]

    module_values(lambda h: h @ matrix.T, states, labels, {"x": look}, size=10)
    assert set(seen) == {torch.float32}


def test_chunks_of_a_module_under_autocast_sum_their_gradients_in_float32() -> None:
    # 4,000 like tokens in chunks of 8: summed in bfloat16 the later ones would be lost to rounding.
    torch.manual_seed(0)
    states = torch.ones(4000, SIZE) + torch.randn(4000, SIZE) / 16
    linear = nn.Linear(SIZE, V)
    labels = torch.zeros(4000, dtype=torch.long)
    (want,) = torch.autograd.grad(whole(states, linear.weight, linear.bias, labels).sum(), linear.weight)
    with torch.autocast("cpu", torch.bfloat16):
        found = module_values(linear, states, labels, {"": logps}, size=8)[""]
    (got,) = torch.autograd.grad(found.sum(), linear.weight)
    assert got.dtype == torch.float32
    assert close(got, want, 6e-3)


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


def test_what_goes_beside_the_logits_must_be_of_the_same_tokens() -> None:
    states, matrix, _, labels, _ = made()
    given = {"teacher": Given(torch.zeros(N + 1, V))}
    with pytest.raises(InputError, match="not of the same tokens"):
        module_values(lambda h: h @ matrix.T, states, labels, {"": logps}, beside=given)


# --- the heads of models ----------------------------------------------------------------------------------


class Int8(nn.Module):
    """A linear map of weights that are kept as bytes, with a scale a row."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        scale = linear.weight.detach().abs().amax(1, keepdim=True) / 127
        self.register_buffer("scale", scale)
        self.register_buffer("bytes", (linear.weight.detach() / scale).round().to(torch.int8))

    def forward(self, states: Tensor) -> Tensor:
        return nn.functional.linear(states, self.get_buffer("bytes") * self.get_buffer("scale"))


class Marked(nn.Parameter):
    """Weights that are not plain: those of quantising and sharding libraries are such a subclass."""


def adapted(*, tied: bool = False, **settings: Any) -> Any:
    given = {"r": 2, "target_modules": ["q_proj"], "init_lora_weights": False, **settings}
    return peft.get_peft_model(llama(tie_word_embeddings=tied), peft.LoraConfig(**given))


def resized(*, tied: bool) -> Any:
    model = llama(tie_word_embeddings=tied)
    model.resize_token_embeddings(VOCABULARY + 9, mean_resizing=False)
    return model


def with_head(change: Callable[[Any], Any]) -> Callable[[], Any]:
    """A model whose head was changed in place, or exchanged for what the change returns."""

    def make() -> Any:
        model = llama()
        model.lm_head = change(model.lm_head) or model.lm_head
        return model

    return make


def quantised(*, head: bool, kind: str = "") -> Any:
    model = llama()
    for name, linear in list(model.named_modules()):
        if isinstance(linear, nn.Linear) and (head or name != "lm_head"):
            owner, _, last = name.rpartition(".")
            setattr(model.get_submodule(owner), last, Int8(linear) if not kind else bits(linear, kind))
    return model


def bits(linear: nn.Linear, kind: str) -> nn.Module:
    bnb = pytest.importorskip("bitsandbytes", reason="needs the extra `quant`")
    size = linear.in_features, linear.out_features
    if kind == "int8":
        made = bnb.nn.Linear8bitLt(*size, bias=False, has_fp16_weights=False)
        made.weight = bnb.nn.Int8Params(linear.weight.data, requires_grad=False, has_fp16_weights=False)
    else:
        made = bnb.nn.Linear4bit(*size, bias=False, compute_dtype=torch.float32, quant_type="nf4")
        made.weight = bnb.nn.Params4bit(
            linear.weight.data, requires_grad=False, quant_type="nf4", blocksize=32
        )
    return made.to("cpu")


def replaced_forward(head: nn.Linear) -> None:
    before = head.forward
    head.forward = lambda states: before(states) * 1.5  # type: ignore[method-assign]


def hooked(head: nn.Linear) -> None:
    head.register_forward_hook(lambda _module, _given, out: out.roll(1, -1))


def hooked_before(head: nn.Linear) -> None:
    head.register_forward_pre_hook(lambda _module, given: (given[0].tanh(),))


def hooked_behind(head: nn.Linear) -> None:
    head.register_full_backward_hook(lambda _module, into, _out: (into[0] * 0.5,))


def marked(head: nn.Linear) -> None:
    head.weight = Marked(head.weight.data)


def family(name: str) -> Callable[[], Any]:
    return next(one.make for one in FAMILIES if one.name == name)


@dataclass(frozen=True)
class Case:
    """A model, and the reason why its head is not fused with its softmax, if it is not."""

    name: str
    make: Callable[[], Any]
    why: str = ""


_ON_HEAD = ["q_proj", "lm_head"]
CASES = (
    Case("plain", llama),
    Case("tied", lambda: llama(tie_word_embeddings=True)),
    Case("biased", lambda: build("Phi", num_key_value_heads=4)),
    Case("resized", lambda: resized(tied=False)),
    Case("resized, tied", lambda: resized(tied=True)),
    Case("LoRA elsewhere", adapted),
    Case("LoRA elsewhere, tied", lambda: adapted(tied=True)),
    Case("LoRA on the embeddings, tied", lambda: adapted(tied=True, target_modules=["embed_tokens"])),
    Case("quantised base", lambda: quantised(head=False)),
    Case("quantised base, 8 bits", lambda: quantised(head=False, kind="int8")),
    Case("quantised base, 4 bits", lambda: quantised(head=False, kind="nf4")),
    Case("divided", family("Granite"), "scaled"),
    Case("multiplied", family("Cohere"), "scaled"),
    Case("soft-capped", family("Gemma2"), "capped"),
    Case("LoRA on the head", lambda: adapted(target_modules=_ON_HEAD), "Linear"),
    Case("DoRA on the head", lambda: adapted(target_modules=_ON_HEAD, use_dora=True), "Linear"),
    Case(
        "trained whole beside adapters", lambda: adapted(modules_to_save=["lm_head"]), "ModulesToSaveWrapper"
    ),
    Case(
        "trained tokens, tied",
        lambda: adapted(tied=True, trainable_token_indices={"embed_tokens": [3, 5]}),
        "TrainableTokensWrapper",
    ),
    Case("quantised head", lambda: quantised(head=True), "Int8"),
    Case("quantised head, 8 bits", lambda: quantised(head=True, kind="int8"), "Linear8bitLt"),
    Case("quantised head, 4 bits", lambda: quantised(head=True, kind="nf4"), "Linear4bit"),
    Case("weights of a subclass", with_head(marked), "Marked"),
    Case("reparametrised", with_head(weight_norm), "ParametrizedLinear"),
    Case("hook", with_head(hooked), "hook"),
    Case("hook before", with_head(hooked_before), "hook"),
    Case("hook behind", with_head(hooked_behind), "hook"),
    Case("replaced forward", with_head(replaced_forward), "replaced"),
)


def refuse(*_given: Any, **_named: Any) -> Any:
    raise AssertionError("the head went the other way")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft asks transformers
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")  # peft: that is what is tried here
@pytest.mark.parametrize("layout", ["forest", "rows"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_head_gives_the_models_own_values_and_gradients(
    case: Case, layout: Literal["forest", "rows"], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, lines = case.make(), family_tree()
    right = alone(model, lines)
    weighted(right).backward()
    slopes = gradients(model)
    engine = LogProbs(model, layout=layout, chunk=16)
    # Only what is plain may be fused: the way that is not taken raises.
    monkeypatch.setattr(logprobs, "linear_logps" if case.why else "module_values", refuse)
    found = engine(layout=engine.lay(lines)).logps
    weighted(found).backward()
    assert float((found - right).detach().abs().max()) < 2e-5
    assert apart(gradients(model), slopes) < 1e-4
    assert engine.head.plain == (not case.why)
    assert not case.why or case.why in "; ".join(engine.head.objections)


def test_an_adapter_that_comes_later_is_seen() -> None:
    engine = LogProbs(llama())
    assert engine.head.plain
    engine.head.module.register_forward_hook(lambda *_: None)
    assert not engine.head.plain
