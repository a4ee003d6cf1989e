"""Weights in float32, products in bfloat16, no dropout, and keys that change with what changes a value."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor

from concord.engine.logprobs import LogProbs
from concord.engine.model import causal
from concord.engine.precision import (
    Noise,
    bfloat16,
    hashed,
    noise,
    still,
    trainable_in_float32,
    weights_of,
)
from concord.errors import CapabilityError
from tests.engine.models import alone, apart, build, family_tree, gradients, llama, weighted

# peft asks transformers for something it has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")


def adapted(model: Any = None, **settings: Any) -> Any:
    given = {"r": 2, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False, **settings}
    return peft.get_peft_model(model or llama(), peft.LoraConfig(**given))


def logps(engine: LogProbs) -> Tensor:
    return engine(layout=engine.lay(family_tree())).logps


# --- weights ----------------------------------------------------------------------------------------------


def test_trainable_weights_are_taken_up_and_frozen_ones_are_not() -> None:
    model = llama(tie_word_embeddings=True).bfloat16()
    frozen = model.model.layers[0].requires_grad_(False)
    came = trainable_in_float32(model)
    assert set(came.values()) == {torch.bfloat16}
    assert {weight.dtype for weight in frozen.parameters()} == {torch.bfloat16}
    assert {weight.dtype for weight in model.parameters() if weight.requires_grad} == {torch.float32}
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert trainable_in_float32(model) == {}


def test_weights_of_half_precision_are_trained_by_request_only() -> None:
    model = llama().bfloat16()
    with pytest.raises(CapabilityError, match="half precision are to be trained"):
        trainable_in_float32(model, upcast=False)
    assert trainable_in_float32(model, pure=True) == {}
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}


def test_autocast_multiplies_in_bfloat16_and_keeps_the_rest_in_float32() -> None:
    """Values are those of bfloat16 logits in a float32 softmax; gradients are float32 and near the exact."""
    model = llama()
    weighted(logps(LogProbs(model))).backward()
    exact = gradients(model)
    for make in (lambda: model, lambda: with_capped_head(model)):
        engine = LogProbs(make())
        laid = engine.lay(family_tree())
        with bfloat16(model):
            found = engine(layout=laid, states=True)
            logits = engine.head(found.states)
            assert logits.dtype == torch.bfloat16
        right = logits.float().log_softmax(-1).gather(1, laid.targets.labels[:, None])[:, 0]
        assert found.logps.dtype == torch.float32
        assert float((found.logps - right).detach().abs().max()) < 1e-5
        weighted(found.logps).backward()
        assert {weight.grad.dtype for weight in model.parameters()} == {torch.float32}
        assert apart(gradients(model), exact) < 0.1


def with_capped_head(model: Any) -> Any:
    """The same model, whose head goes through its module: its caps are far beyond any logit."""
    model.lm_head.register_forward_hook(lambda *_: None)
    return model


def test_a_frozen_base_in_bfloat16_with_adapters_in_float32() -> None:
    base = llama().bfloat16()
    model = adapted(base)
    assert trainable_in_float32(model) == {}, "peft takes its adapters up itself"
    engine = LogProbs(model)
    with bfloat16(model):
        found = logps(engine)
    weighted(found).backward()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    assert {weight.dtype for weight in trained} == {torch.float32}
    assert {weight.grad.dtype for weight in trained if weight.grad is not None} == {torch.float32}
    assert all(weight.grad is not None and weight.grad.any() for weight in trained)
    assert found.dtype == torch.float32


def test_the_gradient_of_the_head_does_not_depend_on_how_many_chunks_it_came_in() -> None:
    """Summed in bfloat16 over 106 chunks it would be off by percents."""
    for make in (llama, lambda: with_capped_head(llama())):
        model = make()
        found: list[Tensor] = []
        for chunk in (1, 512):
            engine = LogProbs(model, chunk=chunk)
            with bfloat16(model):
                values = logps(engine)
            (-values.sum()).backward()
            found.append(model.lm_head.weight.grad.clone())
            model.zero_grad()
        assert apart(found[0], found[1]) < 3e-3


@pytest.mark.parametrize(("pure", "least", "most"), [(True, 0.0, 0.01), (False, 0.9, 1.0)])
def test_at_a_small_step_weights_of_bfloat16_stay_where_they_are(
    pure: bool, least: float, most: float
) -> None:
    model = llama().bfloat16()
    trainable_in_float32(model, pure=pure)
    before = weights_of(model)
    engine = LogProbs(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-7, weight_decay=0.0)
    (-logps(engine).mean()).backward()
    optimizer.step()
    pairs = zip(before.values(), weights_of(model).values(), strict=True)
    share = sum(int((old != new).sum()) for old, new in pairs) / sum(one.numel() for one in before.values())
    assert least < share <= most


# --- dropout ----------------------------------------------------------------------------------------------


def gpt2() -> Any:
    chances: dict[str, Any] = {"attn_pdrop": 0.1, "resid_pdrop": 0.2, "embd_pdrop": 0.3}
    return build(
        "GPT2", bare=True, vocab_size=128, n_embd=32, n_layer=2, n_head=4, n_positions=256, **chances
    )


@pytest.mark.parametrize(
    "make",
    [
        gpt2,
        lambda: llama(attention_dropout=0.3),
        lambda: adapted(lora_dropout=0.4),
        lambda: build("Phi", num_key_value_heads=4, resid_pdrop=0.2, embd_pdrop=0.1, attention_dropout=0.1),
        lambda: build("Mixtral", num_local_experts=4, router_jitter_noise=0.1),
    ],
    ids=["modules", "a number of the configuration", "adapters", "both", "jitter"],
)
def test_a_model_in_training_gives_the_same_twice(make: Callable[[], Any]) -> None:
    model, lines = make(), family_tree()[:2]
    with torch.no_grad():
        assert not torch.equal(alone(model, lines), alone(model, lines))
        held = still(model)
        assert model.training
        assert held.largest > 0
        assert torch.equal(alone(model, lines), alone(model, lines))
        assert still(model).largest == 0.0
        held.restore()
        assert not torch.equal(alone(model, lines), alone(model, lines))


def test_a_configuration_gets_its_dropout_back_for_the_export(tmp_path: Path) -> None:
    model = gpt2()
    before = model.config.to_dict()
    held = still(model)
    assert model.config.attn_pdrop == model.config.resid_pdrop == 0.0
    held.restore()
    assert model.config.to_dict() == before
    assert held.largest == 0.3


# --- noise ------------------------------------------------------------------------------------------------


def test_the_noise_floor_is_measured_and_said() -> None:
    model, lines = llama(), family_tree()
    engine = LogProbs(model, layout="rows")

    def together() -> Tensor:
        return engine(layout=engine.lay(lines)).logps

    def rounded() -> Tensor:
        with bfloat16(model):
            return together()

    exact, low = noise(lambda: alone(model, lines), together), noise(together, rounded)
    assert exact.tokens == low.tokens == 106
    assert 0 < exact.mean <= exact.most < 1e-4
    assert 1e-3 < low.mean <= low.most < 1.0
    assert abs(low.drift) <= low.mean
    said = Noise(0.25, 0.125, -0.0625, 7).line
    assert "up to 2.5e-01 nats a token, 1.2e-01 in the mean, drift -6.2e-02, over 7 tokens" in said
    nothing = noise(lambda: torch.zeros(0), lambda: torch.zeros(0))
    assert nothing == Noise(0.0, 0.0, 0.0, 0)


# --- identity ---------------------------------------------------------------------------------------------


def one_weight(model: Any) -> None:
    with torch.no_grad():
        causal(model).lm_head.weight[3, 5] += 1e-6


def switched_off(model: Any) -> None:
    model.base_model.disable_adapter_layers()


def scaled(model: Any) -> None:
    next(one for one in model.modules() if hasattr(one, "lora_A")).scaling["default"] *= 2


CHANGES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "one weight": (llama, one_weight),
    "the base below an adapter": (adapted, lambda m: m.get_base_model().model.norm.weight.data.mul_(1.01)),
    "an adapter's weight": (
        adapted,
        lambda m: m.base_model.model.model.layers[0].self_attn.q_proj.lora_A["default"].weight.data.mul_(2),
    ),
    "an adapter switched off": (adapted, switched_off),
    "an adapter's scale": (adapted, scaled),
    "an adapter merged": (adapted, lambda m: m.merge_adapter()),
    "a setting": (llama, lambda m: setattr(m.config, "rms_norm_eps", 1e-3)),
    "the precision": (llama, lambda m: m.bfloat16()),
    "the way through the head": (llama, lambda m: m.lm_head.register_forward_hook(lambda *_: None)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_changes_a_value_changes_the_key(name: str) -> None:
    make, change = CHANGES[name]
    engine = LogProbs(make())
    before = engine.identity
    assert engine.identity == before
    change(engine.model)
    assert engine.identity.key != before.key


def test_layout_autocast_and_products_change_the_key() -> None:
    model = llama()
    keys = {LogProbs(model, layout="rows").identity.key}
    engine = LogProbs(model)
    keys.add(engine.identity.key)
    with bfloat16(model):
        keys.add(engine.identity.key)
    torch.set_float32_matmul_precision("high")
    try:
        keys.add(engine.identity.key)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert len(keys) == 4


def test_what_changes_no_value_leaves_the_key() -> None:
    model = gpt2()
    before = hashed(model)
    still(model)
    model.config._name_or_path = "elsewhere"
    model.eval().requires_grad_(False)
    assert hashed(model) == before
    assert hashed(gpt2()) == before


def test_products_that_were_set_for_one_backend_change_the_key() -> None:
    backend: Any = torch.backends.mkldnn
    before, key = backend.matmul.fp32_precision, LogProbs(llama()).identity.key
    backend.matmul.fp32_precision = "tf32"
    try:
        assert LogProbs(llama()).identity.key != key
    finally:
        backend.matmul.fp32_precision = before
    assert LogProbs(llama()).identity.key == key


def test_angles_that_were_rounded_change_the_key() -> None:
    rounded, right = llama().bfloat16().float(), llama()
    right.load_state_dict(rounded.state_dict())
    assert not torch.equal(rounded.model.rotary_emb.inv_freq, right.model.rotary_emb.inv_freq)
    assert hashed(rounded) != hashed(right)


def test_angles_that_the_model_exchanges_do_not_change_the_key() -> None:
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    model = llama(rope_parameters=rope, max_position_embeddings=16)
    before, angles = hashed(model), model.model.rotary_emb.inv_freq.clone()
    with torch.no_grad():
        model(input_ids=torch.arange(40)[None])
    assert not torch.equal(model.model.rotary_emb.inv_freq, angles)
    assert hashed(model) == before


class Backwards(set[str]):
    """A set in another order, as the same set is in another process."""

    def __iter__(self) -> Iterator[str]:
        return reversed(list(super().__iter__()))

    def __repr__(self) -> str:
        return f"{{{', '.join(map(repr, self))}}}"


def test_every_process_finds_the_same_hash_of_adapters() -> None:
    model = adapted()
    before, names = hashed(model), model.peft_config["default"].target_modules
    model.peft_config["default"].target_modules = Backwards(names)
    assert str(Backwards(names)) != str(names)
    assert hashed(model) == before


def test_weights_that_are_not_there_have_no_hash() -> None:
    with torch.device("meta"):
        model = llama()
    with pytest.raises(CapabilityError, match="meta device"):
        hashed(model)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"modules_to_save": ["lm_head"]},
        {"trainable_token_indices": [3, 5]},
        {"use_dora": True, "target_modules": ["q_proj", "lm_head"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
def test_a_model_without_its_adapter_has_the_key_of_the_model_below(
    settings: dict[str, Any], tied: bool
) -> None:
    base = llama(tie_word_embeddings=tied)
    before = hashed(base)
    if tied and settings.get("modules_to_save"):
        settings = {**settings, "ensure_weight_tying": True}
    model = adapted(base, **settings)
    assert hashed(model) != before
    with model.disable_adapter():
        assert hashed(model) == before
        engine = LogProbs(model)
        got = logps(engine).detach()
    torch.testing.assert_close(got, alone(llama(tie_word_embeddings=tied), family_tree()).detach())
