"""Adapters begin by adding nothing, go on where a model came with one, and stand on quantised bases."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers as tf
from torch import Tensor, nn

from concord.engine import LogProbs, Reference, load_model, start
from concord.engine.precision import hashed, trainable_in_float32
from concord.engine.reference import without_adapter
from concord.engine.switch import own_kernel
from concord.errors import CapabilityError, InputError, UnavailableError
from concord.store import Store
from concord.train.models.adapters import Lora, Quant, add_lora, adds_nothing, describe, merged, quantise
from tests.engine.models import alone, apart, build, family_tree, gradients, llama, weighted

# peft asks transformers for something it has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")


def plain(model: Any) -> Tensor:
    """What a model itself says of some lines."""
    with torch.no_grad(), own_kernel(model):
        return alone(model, family_tree())


def moved(model: Any) -> Any:
    """The same model, whose adapter adds something."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.2)
    return model


def came(folder: Path, *, r: int = 2, base: Any = None) -> Any:
    """A model that is loaded with an adapter of an earlier run."""
    (base or llama()).save_pretrained(folder / "base")
    trained = moved(add_lora(load_model(folder / "base", device="cpu"), Lora(r=r, target_modules="q_proj")))
    trained.save_pretrained(folder / "adapter", save_embedding_layers=False)
    return load_model(folder / "adapter", device="cpu")


# --- fresh ones -------------------------------------------------------------------------------------------


def test_a_fresh_adapter_adds_nothing_and_is_all_that_is_trained() -> None:
    model = llama()
    before = plain(model)
    adapted = add_lora(model, Lora(r=4))
    assert adds_nothing(adapted)
    assert torch.equal(plain(adapted), before)
    trained = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    assert len(trained) == 2 * 7 * 2
    assert all("lora_" in name for name in trained)
    moved(adapted)
    assert not adds_nothing(adapted)
    assert not torch.equal(plain(adapted), before)
    with without_adapter(adapted):
        assert torch.equal(plain(adapted), before)


def test_what_is_drawn_depends_on_the_seed_alone() -> None:
    def drawn(seed: int) -> Tensor:
        torch.rand(seed + 1)
        return torch.cat(
            [w.flatten() for n, w in add_lora(llama(), seed=seed).named_parameters() if "lora_" in n]
        )

    before = torch.get_rng_state()
    first = drawn(0)
    torch.manual_seed(5)
    assert torch.equal(drawn(0), first)
    assert not torch.equal(drawn(1), first)
    torch.set_rng_state(before)
    add_lora(llama())
    llama()
    after = torch.get_rng_state()
    torch.set_rng_state(before)
    llama()
    llama()
    assert torch.equal(torch.get_rng_state(), after), "nothing else is drawn otherwise for it"


def test_adapters_over_weights_of_half_precision_are_float32() -> None:
    adapted = add_lora(llama().bfloat16())
    assert trainable_in_float32(adapted) == {}
    assert {w.dtype for w in adapted.parameters() if w.requires_grad} == {torch.float32}


@pytest.mark.parametrize("names", [("q_proj", "embed_tokens"), ("lm_head",), "v_proj", ("self_attn.k_proj",)])
def test_embeddings_and_the_head_are_adapted_where_they_are_named(names: str | tuple[str, ...]) -> None:
    adapted = add_lora(llama(), Lora(r=2, target_modules=names))
    found = {name.partition(".lora_")[0] for name, w in adapted.named_parameters() if w.requires_grad}
    wanted = [names] if isinstance(names, str) else names
    assert all(any(layer.endswith(name) for name in wanted) for layer in found)
    assert all(any(layer.endswith(name) for layer in found) for name in wanted)
    assert adds_nothing(adapted)
    assert not adds_nothing(moved(adapted))


def test_the_engine_trains_an_adapter_as_dense_products_would() -> None:
    adapted = moved(add_lora(llama(), Lora(r=2, alpha=3)))
    weighted(alone(adapted, family_tree())).backward()
    right = gradients(adapted)
    engine = start(adapted).engine
    weighted(engine(layout=engine.lay(family_tree())).logps).backward()
    assert apart(gradients(adapted), right) < 1e-4


def test_what_a_person_should_know() -> None:
    said = "\n".join(
        describe(add_lora(llama(), Lora(r=4, alpha=6, dropout=0.1, target_modules=("q_proj", "v_proj"))))
    )
    assert "LORA of rank 4, alpha 6, on q_proj, v_proj" in said
    # Two layers: 4 (32 + 32) weights for q and 4 (32 + 16) for v.
    assert f"; {2 * 4 * (64 + 48):,} of " in said
    assert "dropout of 0.1 is 0 while it is trained" in said
    assert "below it is not the reference" not in said


def test_experts_are_adapted_too_where_nobody_names_layers() -> None:
    def mixtral() -> Any:
        return build("Mixtral", num_hidden_layers=1, num_local_experts=4)

    before = plain(mixtral())
    adapted = add_lora(mixtral(), Lora(r=2))
    assert adds_nothing(adapted)
    assert torch.equal(plain(adapted), before)
    assert "on down_proj, gate, gate_up_proj, k_proj, o_proj, q_proj, v_proj;" in next(describe(adapted))
    engine = start(adapted).engine
    weighted(engine(layout=engine.lay(family_tree())).logps).backward()
    slopes = [w.grad for n, w in adapted.named_parameters() if "lora_B" in n]
    assert all(one is not None and bool(one.any()) for one in slopes)
    some = add_lora(mixtral(), Lora(r=2, target_modules="q_proj"))
    assert "not on down_proj, gate_up_proj, which" in list(describe(some))[-1]


@pytest.mark.parametrize(
    "settings",
    [
        {"r": 0},
        {"alpha": 0.0},
        {"alpha": float("nan")},
        {"alpha": float("inf")},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"target_modules": ()},
    ],
)
def test_settings_that_make_no_adapter(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"found.*accepted.*to do"):
        Lora(**settings)


def test_layers_that_are_not_there() -> None:
    with pytest.raises(InputError, match=r"found 'q_prj'.*did you mean 'q_proj'"):
        add_lora(llama(), Lora(target_modules=("v_proj", "q_prj")))


# --- models that come with one ----------------------------------------------------------------------------


def test_an_adapter_that_came_is_trained_on(tmp_path: Path) -> None:
    model = came(tmp_path)
    before, name = plain(model), hashed(model)
    again = add_lora(model, Lora(r=2, target_modules=("q_proj",)))
    assert again is model is add_lora(model)
    assert torch.equal(plain(again), before)
    assert hashed(again) == name
    assert not adds_nothing(again)
    assert [one for one, w in again.named_parameters() if w.requires_grad and "lora_" not in one] == []
    assert "below it is not the reference" in "\n".join(describe(again))


def test_the_reference_of_an_adapter_that_came_is_the_model_with_it(tmp_path: Path) -> None:
    model = add_lora(came(tmp_path))
    right = plain(model)
    engine: LogProbs = start(model).engine
    with Store(tmp_path / "store") as store:
        found = Reference(engine, store, adapter=not adds_nothing(model)).logps(family_tree())
        below = Reference(engine, store, adapter=False).logps(family_tree())
    assert float((found - right).abs().max()) < 1e-4
    assert float((below - right).abs().max()) > 1e-2


@pytest.mark.parametrize(
    "settings", [{"r": 3}, {"r": 2, "alpha": 5}, {"r": 2, "target_modules": ("v_proj",)}]
)
def test_an_adapter_that_came_keeps_its_shape(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"its own: rank 2, alpha 4 on .*q_proj"):
        add_lora(came(tmp_path), Lora(**settings))


def test_an_adapter_of_another_kind_is_trained_on_too() -> None:
    other = peft.IA3Config(target_modules=["q_proj", "down_proj"], feedforward_modules=["down_proj"])
    model = peft.get_peft_model(llama(), other)
    assert add_lora(model) is model
    assert "adapter: IA3 on down_proj, q_proj;" in next(describe(model))
    assert not adds_nothing(model), "of its kind nobody knows"
    with pytest.raises(InputError, match="its own: IA3"):
        add_lora(model, Lora())
    whole = peft.LoraConfig(target_modules=["q_proj"], modules_to_save=["lm_head"])
    assert not adds_nothing(peft.get_peft_model(llama(), whole)), (
        "a copy of a layer has no zeros to be seen by"
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_is_trained_whole_takes_its_adapter_in(dtype: torch.dtype, tmp_path: Path) -> None:
    model = came(tmp_path, base=llama(tie_word_embeddings=True).to(dtype))
    right = plain(load_model(tmp_path / "adapter", dtype="float32", device="cpu"))
    whole, held = merged(model)
    layers = {f"model.layers.{n}.self_attn.q_proj.weight" for n in (0, 1)}
    assert set(held) == (layers if dtype == torch.bfloat16 else set())
    assert not any("lora_" in name for name, _ in whole.named_parameters())
    held |= trainable_in_float32(whole.requires_grad_(True))
    assert set(held.values()) == ({dtype} if dtype == torch.bfloat16 else set())
    assert float((plain(whole) - right).abs().max()) < 1e-4


# --- quantised bases --------------------------------------------------------------------------------------


@pytest.fixture
def codes() -> None:
    pytest.importorskip("bitsandbytes", reason="quantised bases need the extra `quant`")


def wide(**settings: Any) -> Any:
    return llama(hidden_size=64, intermediate_size=128, **settings)


@pytest.mark.usefixtures("codes")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("quant", ["8bit", "4bit"])
def test_codes_are_those_of_transformers(quant: Quant, dtype: torch.dtype, tmp_path: Path) -> None:
    wide().to(dtype).save_pretrained(tmp_path)
    ours = quantise(load_model(tmp_path, device="cpu"), quant)
    settings = ours.config.quantization_config
    theirs: Any = tf.AutoModelForCausalLM.from_pretrained(
        tmp_path, quantization_config=settings, dtype="auto"
    )
    right = theirs.state_dict()
    found = ours.state_dict()
    assert found.keys() == right.keys()
    for name, value in found.items():
        assert not isinstance(value, Tensor) or torch.equal(value, right[name]), name
    assert type(ours.lm_head) is nn.Linear
    assert type(ours.model.layers[0].mlp.up_proj) is type(theirs.model.layers[0].mlp.up_proj)
    assert torch.equal(plain(ours.train()), plain(theirs.train()))


@pytest.mark.usefixtures("codes")
@pytest.mark.parametrize("quant", ["8bit", "4bit"])
def test_an_adapter_is_trained_on_a_quantised_base(quant: Quant) -> None:
    model = quantise(wide(), quant)
    assert not any(weight.requires_grad for weight in model.parameters())
    before = plain(model)
    adapted = add_lora(model, Lora(r=2))
    assert adds_nothing(adapted)
    engine = start(adapted).engine
    found = engine(layout=engine.lay(family_tree())).logps
    assert float((found - before).detach().abs().max()) < 1e-4
    weighted(found).backward()
    slopes = [w.grad for n, w in adapted.named_parameters() if "lora_B" in n]
    assert len(slopes) == 14
    assert all(one is not None and bool(one.any()) for one in slopes)
    with pytest.raises(CapabilityError, match="cannot be merged into quantised weights"):
        merged(adapted)


@pytest.mark.usefixtures("codes")
def test_what_is_drawn_in_between_does_not_move_a_quantised_base() -> None:
    """On some processors bitsandbytes would change the codes in `eval()`."""
    model = quantise(wide(), "4bit")
    before, name = plain(model.train()), hashed(model)
    plain(model.eval())
    assert torch.equal(plain(model.train()), before)
    assert hashed(model) == name


@pytest.mark.usefixtures("codes")
def test_an_adapter_that_came_stands_on_the_quantised_base(tmp_path: Path) -> None:
    model = came(tmp_path, base=wide())
    before = {name: w.clone() for name, w in model.named_parameters() if "lora_" in name}
    assert len(before) == 4
    again = add_lora(quantise(model, "4bit"))
    after = {name: w for name, w in again.named_parameters() if w.requires_grad}
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    right = plain(load_model(tmp_path / "adapter", device="cpu").train())
    bare = plain(load_model(tmp_path / "base", device="cpu").train())
    off = float((plain(again.train()) - right).abs().mean())
    assert 0 < off < 0.5 * float((bare - right).abs().mean()), "the codes cost less than the adapter gives"


@pytest.mark.usefixtures("codes")
def test_layers_of_gpt2_are_quantised_too() -> None:
    model = build(
        "GPT2",
        bare=True,
        vocab_size=128,
        n_embd=64,
        n_layer=1,
        n_head=4,
        n_positions=256,
        bos_token_id=None,
        eos_token_id=None,
        attn_pdrop=0.0,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
    )
    before = plain(model)
    assert 0 < float((plain(quantise(model, "8bit").train()) - before).abs().mean()) < 0.1


def test_a_quantisation_that_nobody_has() -> None:
    with pytest.raises(InputError, match="8bit or 4bit"):
        quantise(llama(), "3bit")


def test_without_bitsandbytes_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UnavailableError, match=r"concord-align\[quant\]"):
        quantise(llama(), "4bit")
