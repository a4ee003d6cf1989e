"""What of a training survives when weights go back to the precision they came in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from concord.engine import load_model
from concord.engine.precision import trainable_in_float32, weights_of
from concord.engine.switch import own_kernel
from concord.recipes import read_recipe
from concord.train.leaving.export import export, weights
from concord.train.leaving.rounding import begun_from, surviving
from concord.train.models import Lora, merged
from concord.train.models.adapters import add_lora
from tests.engine.models import alone, family_tree, llama

_ULP = 2.0**-7
"""How far bfloat16 tells numbers apart just above 1."""


def nothing() -> Mapping[str, Tensor]:
    """For models of which nothing can be lost: nobody should want to know how they were."""
    raise AssertionError("the weights of the beginning were asked for")


def one_layer(values: list[float], dtype: torch.dtype = torch.bfloat16) -> tuple[nn.Module, Any, Any]:
    """A layer whose weights came in half precision, all of them 1 at first, and have these values since."""
    model = nn.Linear(len(values), 1, bias=False).to(dtype)
    nn.init.ones_(model.weight)
    first = {name: value.clone() for name, value in model.state_dict().items()}
    came = trainable_in_float32(model)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([values]))
    return model, came, lambda: first


def moved(model: Any, size: float) -> Any:
    """The same model after steps of such a size, to either side."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(size * torch.randn(weight.shape, generator=generator))
    return model


# --- the count --------------------------------------------------------------------------------------------


def test_what_survives_is_the_way_that_rounded_weights_went() -> None:
    # A quarter of what can be told apart is rounded away, and the last weight never moved.
    model, came, begun = one_layer([1 + _ULP / 4, 1 + _ULP / 4, 1 + _ULP, 1.0])
    found = surviving(model, came, begun, wanted="came")
    assert found.share == pytest.approx(1 / (1 + 2 / 16), rel=1e-6)
    assert found.moved == 3 / 4
    assert found.stayed == pytest.approx(1 / 3)
    assert found.came == came
    assert found.line == (
        "warning: weights are written in bfloat16, as they came, and go 88.9% of the way that training went; "
        "66.7% of the weights that moved are back where they began; export_dtype: fp32 keeps all of it"
    )


def test_steps_that_became_longer_are_lost_too() -> None:
    model, came, begun = one_layer([1 + 0.6 * _ULP] * 3)
    found = surviving(model, came, begun)
    assert found.share == pytest.approx(1 / 0.6, rel=1e-4)
    assert found.came == {}


def test_a_model_that_did_not_move_lost_nothing() -> None:
    found = surviving(*one_layer([1.0, 1.0]))
    assert (found.share, found.stayed, found.moved) == (1.0, 1.0, 0.0)


def test_numbers_that_half_precision_does_not_have_do_not_survive() -> None:
    model, came, begun = one_layer([1e5, 2.0], torch.float16)
    found = surviving(model, came, begun)
    assert found.share == 0.0
    assert found.came == {}


def test_what_survives_is_what_the_written_model_still_learned() -> None:
    model = llama().bfloat16()
    came = trainable_in_float32(model)
    begun = {name: value.clone() for name, value in model.state_dict().items()}
    said(model).backward()
    steps = {name: one.grad.sign() for name, one in model.named_parameters() if one.grad is not None}
    with torch.no_grad():
        before = float(said(model))
    written: list[tuple[float, float]] = []
    for size in (2e-5, 1e-4, 5e-4):
        # What the first step of Adam does.
        model.load_state_dict({name: value + size * steps.get(name, 0) for name, value in begun.items()})
        found = surviving(model, came, lambda: begun, wanted="came")
        with torch.no_grad():
            learned = float(said(model)) - before
            model.load_state_dict({name: value.bfloat16() for name, value in model.state_dict().items()})
            written.append((found.share, (float(said(model)) - before) / learned))
    assert all(abs(share - kept) < 0.05 for share, kept in written), written
    assert written[0][0] < 0.5 < 1 < written[-1][0]


def said(model: Any) -> Tensor:
    """The log-probability of some rows."""
    with own_kernel(model):
        return alone(model, family_tree()).double().sum()


# --- the decision -----------------------------------------------------------------------------------------


def test_what_rounding_would_undo_is_written_in_float32(tmp_path: Path) -> None:
    model = llama().bfloat16()
    begun = {name: value.clone() for name, value in model.state_dict().items()}
    came = trainable_in_float32(model)
    moved(model, 1e-6)
    found = surviving(model, came, lambda: begun)
    assert found.share < 0.1
    assert found.line.startswith("weights are written in float32: in bfloat16, as they came, they would go ")
    assert found.line.endswith("export_dtype: came writes them so nevertheless")
    done = export(model, tmp_path / "out", came=found.came)
    assert done.dtype == "float32"
    again = load_model(done.folder, device="cpu")
    assert all(torch.equal(again.get_parameter(name), one) for name, one in model.named_parameters())
    as_came = surviving(model, came, lambda: begun, wanted="came")
    assert (as_came.came, as_came.share, as_came.stayed) == (came, found.share, found.stayed)
    assert as_came.line.startswith("warning: weights are written in bfloat16")
    assert export(model, tmp_path / "out", came=as_came.came).dtype == "bfloat16"


def test_what_survives_is_written_as_it_came() -> None:
    model = llama(tie_word_embeddings=True).bfloat16()
    begun = {name: value.clone() for name, value in model.state_dict().items()}
    came = trainable_in_float32(model)
    moved(model, 0.02)
    found = surviving(model, came, lambda: begun)
    assert found.came == came
    assert abs(1 - found.share) < 1e-3
    assert found.line.startswith("weights are written in bfloat16, as they came, and go 100")
    # What ranks have gathered stands for the weights.
    held = {name: value.detach().clone() for name, value in model.state_dict().items()}
    model.load_state_dict(begun)
    assert surviving(model, came, lambda: begun, state=held) == found


def test_where_nothing_is_rounded_nothing_is_read() -> None:
    model = moved(llama(), 0.01)
    for wanted in ("auto", "came", "fp32"):
        assert surviving(model, {}, nothing, wanted=wanted).line == ""
    low = llama().bfloat16()
    found = surviving(low, trainable_in_float32(low), nothing, wanted="fp32")
    assert (found.came, found.share, found.line) == ({}, 1.0, "")


def test_float32_is_the_whole_model_with_what_was_not_trained(tmp_path: Path) -> None:
    model = llama(tie_word_embeddings=False).bfloat16()
    model.lm_head.weight.requires_grad_(False)
    came = trainable_in_float32(model)
    found = surviving(model, came, nothing, wanted="fp32")
    assert {value.dtype for value in weights(model, found.came).values()} == {torch.float32}
    assert export(model, tmp_path / "out", came=found.came).dtype == "float32"


def test_of_an_adapter_only_its_own_weights_are_written_so(tmp_path: Path) -> None:
    llama().bfloat16().save_pretrained(tmp_path / "base")
    model = add_lora(load_model(tmp_path / "base", device="cpu"), Lora(r=2))
    came = {name: one.dtype for name, one in model.named_parameters() if one.dtype == torch.bfloat16}
    for name, one in model.named_parameters():
        if name in came:
            one.data = one.data.float()
    found = surviving(moved(model, 1e-6), came, nothing, wanted="fp32")
    assert found.came == came, "the base below it is loaded as it came"
    assert export(model, tmp_path / "out", came=found.came).dtype == "bfloat16"


# --- weights of half precision that are trained themselves ------------------------------------------------


def test_of_weights_trained_in_half_precision_the_share_that_moved_is_said() -> None:
    model = llama().bfloat16()
    begun = weights_of(model)
    assert trainable_in_float32(model, pure=True) == {}
    moved(model, 1e-5)
    found = surviving(model, {}, lambda: begun)
    assert 0 < found.moved < 0.9
    after = weights_of(model)
    changed = sum(int((begun[name] != after[name]).sum()) for name in begun)
    assert found.moved == pytest.approx(changed / sum(one.numel() for one in begun.values()))
    assert found.share == 1.0, "what little there is is written whole"
    assert found.line == (
        f"training in half precision moved {found.moved:.1%} of the weights; "
        "precision: bf16 trains them in float32"
    )
    moved(model, 1.0)
    assert surviving(model, {}, lambda: begun).line.endswith("of the weights")


def test_weights_that_were_lowered_to_be_trained_count_from_where_they_were_lowered_to() -> None:
    model = llama()
    begun = weights_of(model)
    came = dict.fromkeys(begun, torch.float32)
    model.bfloat16()
    found = surviving(model, came, lambda: begun)
    assert (found.moved, found.came) == (0.0, came)


# --- the beginning ----------------------------------------------------------------------------------------


def test_a_whole_model_is_read_again_and_of_an_adapter_a_copy_is_kept(tmp_path: Path) -> None:
    llama().bfloat16().save_pretrained(tmp_path / "base")
    home = str(tmp_path / "base")
    recipe = read_recipe({"method": "sft", "model": home, "data": "rows.jsonl"})
    model = load_model(home, device="cpu")
    begun = begun_from(model, home, recipe)
    first = weights_of(model)
    came = trainable_in_float32(model)
    moved(model, 1e-6)
    assert all(torch.equal(value, first[name]) for name, value in begun().items() if name in first)
    assert first.keys() <= begun().keys()
    assert surviving(model, came, begun).share < 0.1

    adapted = add_lora(load_model(home, device="cpu"), Lora(r=2))
    copied, first = begun_from(adapted, home, recipe), weights_of(adapted)
    moved(adapted, 1.0)
    assert copied().keys() == first.keys()
    assert all(torch.equal(value, first[name]) for name, value in copied().items())


def test_an_adapter_that_was_merged_is_merged_again(tmp_path: Path) -> None:
    llama().bfloat16().save_pretrained(tmp_path / "base")
    model = moved(add_lora(load_model(tmp_path / "base", device="cpu"), Lora(r=2)), 0.1)
    home = str(export(model, tmp_path / "adapter", came={}).folder)
    recipe = read_recipe({"method": "sft", "model": home, "data": "rows.jsonl", "train": "full"})
    whole, came = merged(load_model(home, device="cpu"))
    came |= trainable_in_float32(whole.requires_grad_(True))
    found = surviving(whole, came, begun_from(whole, home, recipe))
    assert (found.moved, found.share) == (0.0, 1.0)
    assert surviving(moved(whole, 1e-4), came, begun_from(whole, home, recipe)).moved > 0.9
