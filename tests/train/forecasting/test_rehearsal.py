"""A step on tensors that hold nothing counts what a real one keeps."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig

from concord.engine import LogProbs
from concord.errors import InputError
from concord.train.forecasting.rehearsal import Way, rehearse, skeleton
from concord.train.models import Lora
from tests.train.forecasting.sized import CONFIG, WEIGHTS, lines


@pytest.mark.parametrize("layout", ["forest", "rows"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_rehearsal_counts_what_autograd_really_keeps(layout: str, precision: str) -> None:
    way = Way(layout, precision)  # type: ignore[arg-type]
    found = rehearse(skeleton(CONFIG), lines(), way)
    assert (found.parameters, found.trained) == (WEIGHTS, WEIGHTS)
    assert found.gradients == 4 * WEIGHTS

    torch.manual_seed(0)
    engine = LogProbs(LlamaForCausalLM(CONFIG).train(), layout=way.layout)
    own = {weight.untyped_storage().data_ptr() for weight in engine.parameters()}
    kept: dict[int, int] = {}

    def pack(one: torch.Tensor) -> torch.Tensor:
        storage = one.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return one

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one), way.cast():
        values = engine(layout=engine.lay(lines())).logps
    assert len(values) == 4 * 2 * 20
    # Storages that were let go of on the way may have had the same place in memory: never more than all.
    assert sum(kept.values()) == pytest.approx(found.kept, rel=0.1)


def test_a_rehearsal_makes_no_weights_and_draws_no_chance() -> None:
    huge = LlamaConfig(
        vocab_size=32_000,
        hidden_size=8192,
        intermediate_size=28_672,
        num_hidden_layers=2,
        num_attention_heads=64,
        num_key_value_heads=8,
        bos_token_id=None,
        eos_token_id=None,
    )
    before = torch.get_rng_state()
    found = rehearse(skeleton(huge, dtype=torch.bfloat16), lines(1), Way(precision="bf16"))
    assert found.weights > 5 << 30
    assert torch.equal(before, torch.get_rng_state())


def test_an_adapter_on_layers_that_are_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="no layer of this name to adapt; found 'nosuch'"):
        skeleton(CONFIG, lora=Lora(target_modules=["nosuch"]))()


def test_checkpoints_keep_less_and_adapters_train_less() -> None:
    whole, again, lora = (
        rehearse(skeleton(CONFIG, lora=adapter), lines(3), Way(checkpointing=checkpointing))
        for checkpointing, adapter in ((False, None), (True, None), (False, Lora(r=2)))
    )
    assert again.kept < whole.kept / 3
    assert again.kept + again.passing < whole.kept + whole.passing
    assert 0 < lora.trained < WEIGHTS / 5
    assert lora.gradients == 4 * lora.trained
    assert lora.weights == whole.weights + lora.gradients
    small = rehearse(skeleton(CONFIG, lora=Lora(r=2)), lines(3), Way(quant="4bit"))
    inside = 2 * (4 * 32 * 32 + 3 * 32 * 64)
    assert lora.weights - small.weights == pytest.approx(inside * (4 - 0.5 - 1 / 64), rel=1e-3)


def test_a_rehearsal_runs_experts() -> None:
    config = MixtralConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
    )
    small, large = (rehearse(skeleton(config), lines(rows), Way()) for rows in (1, 3))
    assert large.kept > 2 * small.kept
