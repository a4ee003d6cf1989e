"""What is looked up: kinds of layers, kernels, modules, lengths; and the switch of kernels."""

from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from torch import nn

from concord.engine.attention import NAME
from concord.engine.forest import plant
from concord.engine.guards import Limits, check_calls, impossible, limits, objections, windows
from concord.engine.logprobs import LogProbs
from concord.engine.rows import stack
from concord.engine.switch import kernel, own_kernel, switch
from concord.engine.targets import Line
from concord.errors import CapabilityError, InputError
from tests.engine.models import FAMILIES, ROOM, alone, family_tree, line, llama, long_rope, stirred, tokens

ROPE = {"rope_theta": 10000.0, "factor": 2.0}


def dynamic() -> Any:
    return llama(rope_parameters={"rope_type": "dynamic", **ROPE}, max_position_embeddings=40)


def said(model: nn.Module, **known: int) -> str:
    return "; ".join(objections(model, **known))


def test_nothing_speaks_against_a_plain_model() -> None:
    assert said(llama()) == ""
    assert list(impossible(llama())) == []


def test_kinds_of_layers_that_are_not_known_are_named() -> None:
    model = llama()
    for kind in ("linear_attention", "chunked_attention", "conv", "hybrid"):
        model.config.layer_types = ["full_attention", kind]
        assert kind in said(model)
    model.config.layer_types = ["full_attention", "sliding_attention"]
    assert said(model) == ""


def test_a_model_whose_attention_cannot_be_exchanged_is_named() -> None:
    model = llama()
    type(model)._supports_attention_backend, before = False, type(model)._supports_attention_backend
    try:
        assert "exchanged" in said(model)
    finally:
        type(model)._supports_attention_backend = before


@pytest.mark.parametrize("part", [nn.Conv1d(32, 32, 3), nn.GRU(32, 32), nn.LSTMCell(32, 32)])
def test_a_module_that_mixes_neighbours_is_named(part: nn.Module) -> None:
    model = llama()
    model.model.layers[1].mlp.more = part
    assert type(part).__name__ in said(model)


def test_a_model_that_is_to_return_attention_is_named() -> None:
    model = llama(attn_implementation="eager", output_attentions=True)
    assert "weights of attention" in said(model)


def test_angles_that_may_change_are_named_unless_sequences_are_shorter() -> None:
    model = long_rope()
    assert "longer than 40" in said(model)
    assert "longer than 40" in said(model, longest=41)
    assert said(model, longest=40) == ""


def test_an_encoder_is_impossible() -> None:
    sizes: dict[str, Any] = {
        "d_model": 16,
        "d_kv": 4,
        "d_ff": 16,
        "num_layers": 1,
        "num_heads": 2,
        "vocab_size": 32,
    }
    config = tf.T5Config(**sizes)
    config.decoder_start_token_id = 0
    model = tf.T5ForConditionalGeneration(config)
    assert "encoder" in " ".join(impossible(model))


@pytest.mark.parametrize(
    ("settings", "lengths"),
    [
        ({}, ()),
        ({"sliding_window": 9}, (9,)),
        ({"attention_chunk_size": 31, "index_topk": 64, "_window": 3, "local": True}, (31, 64)),
        ({"window_sizes": [70, 5]}, (5, 70)),
    ],
)
def test_whatever_is_called_a_window_is_one(settings: dict[str, Any], lengths: tuple[int, ...]) -> None:
    model = llama()
    for name, value in settings.items():
        setattr(model.config, name, value)
    assert windows(model) == lengths


def test_attention_that_is_scaled_by_places_is_named() -> None:
    model = next(family for family in FAMILIES if family.name == "Llama4").make()
    model.config.layer_types = ["full_attention"] * 4
    assert "where a token stands" in said(model)
    model.config.attn_temperature_tuning = False
    assert said(model) == ""


def lay(*lengths: int) -> list[Line]:
    rng = np.random.default_rng(0)
    return [line(tokens(rng, 2), tokens(rng, size - 2), reply=n) for n, size in enumerate(lengths)]


def test_sequences_longer_than_the_model_are_refused_in_every_layout() -> None:
    assert limits(llama()) == Limits(positions=ROOM)
    for layout in ("forest", "rows"):
        engine = LogProbs(llama(), layout=layout)
        engine(layout=engine.lay(lay(ROOM)))
        with pytest.raises(InputError, match="longer than the model has positions for; found 257"):
            engine(layout=engine.lay(lay(ROOM + 1)))


def test_angles_never_change_within_a_forward_pass() -> None:
    model = long_rope()
    assert limits(model).thresholds == (40,)
    engine = LogProbs(model)
    for lengths in ((40, 39), (41, 90)):
        engine(layout=engine.lay(lay(*lengths)))
    with pytest.raises(InputError, match="lengths from 40 to 41 around 40"):
        engine(layout=engine.lay(lay(40, 41)))
    # Rows may have both, in bands; but not without.
    rows = LogProbs(model, layout="rows")
    rows(layout=rows.lay(lay(40, 41)))
    with pytest.raises(InputError, match="around 40"):
        rows(layout=stack(lay(40, 41)))


def test_the_values_of_a_forest_beyond_the_threshold_are_right() -> None:
    model, lines = long_rope(), [*lay(60, 41), *lay(90)]
    with torch.no_grad():
        right = alone(model, lines)
        engine = LogProbs(model)
        torch.testing.assert_close(engine(layout=engine.lay(lines)).logps, right, rtol=0, atol=1e-4)


def test_dynamic_angles_end_where_they_begin_to_depend_on_what_came_before() -> None:
    model = dynamic()
    assert limits(model) == Limits(positions=40)
    assert said(model) == ""
    model.config.rope_parameters["original_max_position_embeddings"] = 30
    assert limits(model) == Limits(positions=30)
    model = dynamic()
    engine = LogProbs(model, layout="rows")
    with pytest.raises(InputError, match="40 tokens at most"):
        engine(layout=engine.lay(lay(41)))


def test_nothing_goes_beyond_what_the_engine_was_started_for() -> None:
    model = llama()
    assert limits(model, longest=50, tokens=100) == Limits(ROOM, longest=50, tokens=128)
    bounds = limits(model, longest=50, tokens=100)
    bounds.check(plant(lay(50, 50)))
    bounds.check(stack(lay(50, 50, 50)))
    for layout in (plant(lay(51)), stack(lay(51))):
        with pytest.raises(InputError, match="longer than the engine was started for; found 51"):
            bounds.check(layout)
    with pytest.raises(InputError, match="larger than the engine was started for; found 150"):
        bounds.check(plant(lay(50, 50, 50)))


def test_every_layer_must_ask_once() -> None:
    model, forest = llama(layers=3), plant(family_tree())
    switch(model, NAME)
    for calls in ([], [0, 1], [0, 1, 1], [0, 1, 2, 2], [None, None, None]):
        forest.calls[:] = calls
        with pytest.raises(CapabilityError, match="not every layer went through the forest once"):
            check_calls(forest, model)
    forest.calls[:] = [0, 1, 2, 2, 0, 1]
    check_calls(forest, model, since=3)
    switch(model, "sdpa")
    with pytest.raises(CapabilityError, match="not the forest's; found sdpa"):
        check_calls(forest, model, since=3)


class Wrapped(nn.Module):
    """A module around another, as those that checkpoint or shard are."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *given: Any, **named: Any) -> Any:
        return self.module(*given, **named)


def test_layers_may_be_wrapped() -> None:
    model, lines = llama(), family_tree()
    with torch.no_grad():
        right = alone(model, lines)
        for number, layer in enumerate(model.model.layers):
            model.model.layers[number] = Wrapped(layer)
        engine = LogProbs(model)
        torch.testing.assert_close(engine(layout=engine.lay(lines)).logps, right, rtol=0, atol=1e-4)


def test_a_layer_that_is_used_twice_is_refused() -> None:
    model = llama()
    model.model.layers[1] = model.model.layers[0]
    engine = LogProbs(model)
    with pytest.raises(CapabilityError, match=r"calls by the layers \[0, 0\]"):
        engine(layout=engine.lay(family_tree()))


def test_the_kernel_is_borrowed_and_given_back_come_what_may() -> None:
    model = llama(attn_implementation="eager")
    assert switch(model, NAME) == "eager"
    assert kernel(model) == NAME
    with own_kernel(model):
        assert kernel(model) == "sdpa"
        with own_kernel(model, "eager"):
            assert kernel(model) == "eager"
        assert kernel(model) == "sdpa"
    assert kernel(model) == NAME

    def broken() -> None:
        with own_kernel(model):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert kernel(model) == NAME
    assert switch(model, None) == NAME
    assert kernel(model) == "sdpa"


def test_a_model_generates_with_its_own_kernel_between_two_forests() -> None:
    model, lines = llama().eval(), family_tree()
    engine = LogProbs(model)
    with torch.no_grad():
        before = engine(layout=engine.lay(lines)).logps
        with own_kernel(model):
            given = torch.from_numpy(lines[0].ids[:10])[None]
            made = model.generate(given, max_new_tokens=4, do_sample=False, pad_token_id=0)
        assert made.shape == (1, 14)
        assert torch.equal(engine(layout=engine.lay(lines)).logps, before)


def gemma() -> Any:
    """A model of text and pictures, of which the text part has the forest."""
    text = {
        "vocab_size": 128,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size": 48,
        "sliding_window": 9,
        "max_position_embeddings": 256,
        "layer_types": ["sliding_attention", "full_attention"],
    }
    picture = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
    }
    config = tf.Gemma3Config(
        text_config=text,
        vision_config=picture,
        mm_tokens_per_image=4,
        image_token_index=127,
        boi_token_index=126,
    )
    torch.manual_seed(0)
    return stirred(tf.Gemma3ForConditionalGeneration(config))


@pytest.mark.slow
def test_of_a_composite_model_only_the_text_part_is_switched() -> None:
    model = gemma().eval()
    lines = [Line(np.minimum(one.ids, 120), one.spans, one.reply) for one in family_tree()]
    assert said(model) == ""
    assert 9 in windows(model)
    with torch.no_grad():
        right = alone(model, lines)
        engine = LogProbs(model)
        assert model.config.text_config._attn_implementation == NAME
        assert model.config.vision_config._attn_implementation == "sdpa"
        assert model.model.vision_tower.config._attn_implementation == "sdpa"
        torch.testing.assert_close(engine(layout=engine.lay(lines)).logps, right, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*checkpointing:FutureWarning")
def test_an_adapter_does_not_hide_the_switch() -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    lines = family_tree()
    model = peft.get_peft_model(
        llama(), peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    )
    with torch.no_grad():
        right = alone(model, lines)
        engine = LogProbs(model)
        assert model.get_base_model().config._attn_implementation == NAME
        torch.testing.assert_close(engine(layout=engine.lay(lines)).logps, right, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*checkpointing:FutureWarning")
def test_learned_tokens_before_the_prompt_are_refused() -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    prompt = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    with pytest.raises(CapabilityError, match="learned tokens before the prompt"):
        LogProbs(peft.get_peft_model(llama(), prompt))
