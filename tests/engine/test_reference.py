"""Reference values: those of the model, each computed once, under keys that nothing else shares."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import peft
import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.fsdp import fully_shard

from concord.engine.logprobs import LogProbs
from concord.engine.precision import bfloat16
from concord.engine.reference import Reference, batches, check_initial, without_adapter
from concord.engine.targets import Line
from concord.errors import CapabilityError, InputError, StoreError
from concord.store import Store
from tests.engine.models import VOCABULARY, alone, family_tree, line, llama, tokens, weighted

# peft asks transformers for something it has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as made:
        yield made


def adapted(**settings: Any) -> Any:
    given = {"r": 2, "target_modules": ["q_proj", "v_proj"], **settings}
    return peft.get_peft_model(llama(), peft.LoraConfig(**given))


def right(model: Any, lines: list[Line]) -> Tensor:
    return alone(model, lines).detach()


# --- computed once ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["forest", "rows"])
@pytest.mark.parametrize("budget", [1, 60, 10_000])
def test_values_are_the_models_own_and_are_computed_once(
    layout: Literal["forest", "rows"], budget: int, store: Store
) -> None:
    model, lines = llama(), family_tree()
    want = right(model, lines)
    reference = Reference(LogProbs(model, layout=layout), store, budget=budget)
    found = reference.logps(lines)
    assert (reference.read, reference.computed) == (0, 7)
    torch.testing.assert_close(found, want, rtol=0, atol=2e-5)
    assert found.dtype == torch.float32
    assert torch.equal(reference.logps(lines), found)
    assert (reference.read, reference.computed) == (7, 7)
    later = Reference(LogProbs(llama(), layout=layout), store)
    assert torch.equal(later.logps(lines[::-1]).flip(0).sort().values, found.sort().values)
    assert torch.equal(later.logps(lines), found)
    assert later.computed == 0


def test_only_what_is_missing_is_computed(store: Store) -> None:
    lines = family_tree()
    reference = Reference(LogProbs(llama()), store)
    reference.logps(lines[2:4])
    whole = reference.logps([*lines, lines[0], replace(lines[1], reply=99, marks=np.array([3]))])
    assert (reference.read, reference.computed) == (2, 7)
    assert torch.equal(whole[:106], reference.logps(lines))
    assert torch.equal(whole[106:], reference.logps(lines[:2]))


def test_lines_without_targets_and_no_lines_at_all(store: Store) -> None:
    reference, lines = Reference(LogProbs(llama()), store), family_tree()
    assert reference.logps([]).shape == (0,)
    assert reference.top([], 3).logp.shape == (0, 3)
    bare = Line(lines[0].ids)
    assert torch.equal(reference.logps([bare, lines[1], bare]), reference.logps([lines[1]]))
    assert reference.computed == 1


def other_tokens(lines: list[Line]) -> list[Line]:
    return [replace(one, ids=np.concatenate([(one.ids[:1] + 1) % VOCABULARY, one.ids[1:]])) for one in lines]


def other_spans(lines: list[Line]) -> list[Line]:
    return [replace(one, spans=one.spans + np.array([1, 0])) for one in lines]


def earlier_spans(lines: list[Line]) -> list[Line]:
    """As many targets, of the same tokens."""
    return [replace(one, spans=one.spans - 1) for one in lines]


@pytest.mark.parametrize("change", [other_tokens, other_spans, earlier_spans])
def test_other_rows_have_other_values(change: Callable[..., list[Line]], store: Store) -> None:
    model, lines = llama(), family_tree()
    changed = change(lines)
    want = right(model, changed)
    reference = Reference(LogProbs(model), store)
    reference.logps(lines)
    torch.testing.assert_close(reference.logps(changed), want, rtol=0, atol=2e-5)
    assert reference.computed == 14


def test_other_weights_layouts_and_precisions_have_other_values(store: Store) -> None:
    lines, model = family_tree(), llama()
    kinds = [
        Reference(LogProbs(model, layout="rows"), store),
        Reference(LogProbs(llama(seed=1)), store),
        Reference(LogProbs(llama().double()), store),
    ]
    for reference in kinds:
        reference.logps(lines)
        assert reference.computed == 7
    kinds[0].logps(lines)
    with bfloat16(model):
        rounded = kinds[0].logps(lines)
    assert kinds[0].computed == 14
    assert 1e-3 < float((rounded - kinds[0].logps(lines)).abs().max()) < 1.0


def test_the_likeliest_tokens_of_a_teacher(store: Store) -> None:
    model, lines = llama(), family_tree()
    dense: list[Tensor] = []
    with torch.no_grad():
        for one in lines:
            logits = model(input_ids=torch.from_numpy(one.ids)[None], use_cache=False).logits[0]
            dense += [logits[start - 1 : stop - 1] for start, stop in one.spans.tolist()]
    values, index = torch.cat(dense).log_softmax(-1).topk(5)
    reference = Reference(LogProbs(model), store, budget=60)
    for _ in range(2):
        found = reference.top(lines, 5)
        torch.testing.assert_close(found.logp, values, rtol=0, atol=2e-5)
        assert torch.equal(found.index, index)
    assert (reference.read, reference.computed) == (7, 7)
    assert reference.top(lines, 6).logp.shape == (106, 6)
    assert reference.top(lines[:1], 10 * VOCABULARY).logp.shape == (15, VOCABULARY)


# --- crashes and damage -----------------------------------------------------------------------------------


def test_what_was_computed_before_a_crash_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines, engine = family_tree(), LogProbs(llama())
    reference = Reference(engine, Store(tmp_path / "store"), budget=1)
    calls: list[int] = []
    forward = engine.forward

    def dying(**given: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return forward(**given)

    monkeypatch.setattr(engine, "forward", dying)
    with pytest.raises(KeyboardInterrupt):
        reference.logps(lines)
    monkeypatch.undo()
    with Store(tmp_path / "store") as store:  # opened anew: the other was never closed
        again = Reference(engine, store)
        found = again.logps(lines)
    assert (again.read, again.computed) == (3, 4)
    torch.testing.assert_close(found, right(llama(), lines), rtol=0, atol=2e-5)


def test_a_value_of_the_wrong_size_is_computed_again(store: Store) -> None:
    lines, reference = family_tree(), Reference(LogProbs(llama()), store)
    found = reference.logps(lines)
    for key in list(store.keys()):
        store.put(key, b"torn")
    assert torch.equal(reference.logps(lines), found)
    assert reference.computed == 14


def test_what_is_no_number_is_not_kept(store: Store) -> None:
    model = llama()
    with torch.no_grad():
        model.lm_head.weight[7] = torch.nan
    with pytest.raises(InputError, match="no log-probability"):
        Reference(LogProbs(model), store).logps(family_tree())
    assert len(store) == 0


# --- the policy as its own reference ----------------------------------------------------------------------


def test_a_policy_is_its_own_reference_until_it_moves(store: Store) -> None:
    model, lines = llama(), family_tree()
    engine = LogProbs(model)
    reference = Reference(engine, store)
    before = reference.logps(lines[:4])
    weighted(engine(layout=engine.lay(lines)).logps).backward()
    torch.optim.AdamW(model.parameters(), lr=1e-6).step()
    assert torch.equal(reference.logps(lines[:4]), before), "what is kept can be read for ever"
    with pytest.raises(InputError, match="weights have moved"):
        reference.logps(lines)
    moved = Reference(engine, store)
    moved.logps(lines)
    assert moved.computed == 7


def switched_off(model: Any) -> None:
    model.base_model.disable_adapter_layers()


def scaled(model: Any) -> None:
    next(one for one in model.modules() if hasattr(one, "lora_A")).scaling["default"] *= 2


@pytest.mark.parametrize("change", [switched_off, scaled])
def test_an_adapter_that_was_set_otherwise_is_not_taken_for_the_one_before(
    change: Callable[[Any], None], store: Store
) -> None:
    model, lines = adapted(init_lora_weights=False), family_tree()
    reference = Reference(LogProbs(model), store)
    before = reference.logps(lines[:4])
    change(model)
    assert torch.equal(reference.logps(lines[:4]), before), "what is kept can be read for ever"
    with pytest.raises(InputError, match="adapters were set otherwise"):
        reference.logps(lines)


def test_a_policy_below_its_adapter_is_its_own_reference_at_any_step(store: Store) -> None:
    model, lines = adapted(), family_tree()
    want = right(llama(), lines)
    below = Reference(LogProbs(model), store, adapter=False)
    asked = [one.requires_grad for one in model.parameters()]
    torch.testing.assert_close(below.logps(lines[:3]), want[:44], rtol=0, atol=2e-5)
    engine = below.engine
    weighted(engine(layout=engine.lay(lines)).logps).backward()
    trained = [one for one in model.parameters() if one.requires_grad]
    torch.optim.AdamW(trained, lr=1e-1).step()
    torch.testing.assert_close(below.logps(lines), want, rtol=0, atol=2e-5)
    assert (below.read, below.computed) == (3, 7)
    assert [one.requires_grad for one in model.parameters()] == asked
    policy = engine(layout=engine.lay(lines)).logps.detach()
    assert float((policy - want).abs().max()) > 1e-3
    # The model below has the same key as a model of its own.
    base = Reference(LogProbs(llama()), store)
    assert torch.equal(base.logps(lines), below.logps(lines))
    assert base.computed == 0


def test_below_an_adapter_must_be_what_was_there_before(store: Store) -> None:
    with pytest.raises(CapabilityError, match="no adapter to be switched off"):
        Reference(LogProbs(llama()), store, adapter=False)
    biased = peft.get_peft_model(
        llama(attention_bias=True), peft.LoraConfig(r=2, target_modules=["q_proj"], bias="all")
    )
    with pytest.raises(CapabilityError, match=r"weights of its own are trained.*bias"):
        Reference(LogProbs(biased), store, adapter=False)
    whole = adapted(modules_to_save=["lm_head"], target_modules=["q_proj"])
    with without_adapter(whole):
        pass


def test_neither_dropout_nor_mode_of_a_model_have_a_part(store: Store) -> None:
    model, lines = llama(attention_dropout=0.5), family_tree()
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    found = Reference(LogProbs(model), store).logps(lines)
    torch.testing.assert_close(found, right(llama(), lines), rtol=0, atol=2e-5)
    assert model.config.attention_dropout == 0.5
    assert [module.training for module in model.modules()] == modes


def test_a_sharded_engine_is_refused(store: Store, tmp_path: Path) -> None:
    engine = LogProbs(llama())
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        fully_shard(engine, mesh=dist.device_mesh.init_device_mesh("cpu", (1,)))
        with pytest.raises(CapabilityError, match="FSDP2"):
            Reference(engine, store)
    finally:
        dist.destroy_process_group()


# --- step 0 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["forest", "rows"])
def test_an_initial_reference_equals_the_policy_at_step_0(
    layout: Literal["forest", "rows"], store: Store
) -> None:
    model, lines = adapted(), family_tree()
    engine = LogProbs(model, layout=layout)
    reference = Reference(engine, store, adapter=False, budget=30).logps(lines)
    apart, floor = check_initial(engine, lines, reference)
    assert apart.most < 1e-4
    assert apart.tokens == floor.tokens == 106
    with bfloat16(model):
        rounded = Reference(engine, store, budget=30).logps(lines)
        check_initial(engine, lines, rounded)
    with pytest.raises(InputError, match="does not equal it at step 0"):
        check_initial(engine, lines, rounded)
    assert check_initial(engine, [], torch.zeros(0))[0].tokens == 0


def test_what_is_not_the_initial_policy_is_refused_with_numbers(store: Store) -> None:
    lines = family_tree()
    model = adapted(init_lora_weights=False)
    engine = LogProbs(model)
    below = Reference(engine, store, adapter=False).logps(lines)
    with pytest.raises(
        InputError, match=r"found .*up to \d\.\de[+-]\d\d nats.*accepted: up to 1\.0e-04 nats"
    ):
        check_initial(engine, lines, below)
    # A small step under autocast, far below what one token of bfloat16 is sure of, is seen in the mean.
    plain = llama()
    policy = LogProbs(plain)
    with bfloat16(plain):
        before = Reference(policy, store).logps(lines)
        check_initial(policy, lines, before)
        with pytest.raises(InputError, match="step 0"):
            check_initial(policy, lines, before + 0.04)


@pytest.mark.parametrize("count", [0, 1, 105, 107])
def test_reference_values_of_other_lines_are_refused(count: int) -> None:
    with pytest.raises(InputError, match=rf"found {count} values; accepted: 106 values"):
        check_initial(LogProbs(llama()), family_tree(), torch.zeros(count))


def test_dropout_does_not_pass_for_noise(store: Store) -> None:
    model, lines = llama(attention_dropout=0.5), family_tree()
    engine = LogProbs(model, layout="rows")
    reference = Reference(engine, store).logps(lines)
    with pytest.raises(InputError, match="step 0"):
        check_initial(engine, lines, reference)


# --- micro-batches ----------------------------------------------------------------------------------------


def test_micro_batches_keep_to_the_budget() -> None:
    rng = np.random.default_rng(0)
    lines = [line(tokens(rng, 3), tokens(rng, size)) for size in (4, 20, 1, 9, 4, 4)]
    sizes = [7, 23, 4, 12, 7, 7]
    assert list(batches(lines, 16, "forest")) == [[0], [1], [2, 3], [4, 5]]
    found = list(batches(lines, 16, "rows"))
    assert found == [[1], [3], [0, 4], [5, 2]]
    for budget in (1, 7, 14, 30, 100):
        for layout in ("forest", "rows"):
            parts = list(batches(lines, budget, layout))
            assert sorted(number for part in parts for number in part) == list(range(6))
            for part in parts:
                widths = [sizes[number] for number in part]
                cost = max(widths) * len(widths) if layout == "rows" else sum(widths)
                assert cost <= budget or len(part) == 1
    assert list(batches([], 16, "rows")) == []


def test_what_is_kept_is_read_without_the_model_and_missing_rows_are_said(store: Store) -> None:
    lines = family_tree()
    reference = Reference(LogProbs(llama()), store)
    said = reference.logps(lines[:2])
    kept = reference.kept()
    assert torch.equal(kept.logps(lines[:2]), said)
    assert len(kept.logps([])) == 0
    with pytest.raises(StoreError, match="found 5 missing"):
        kept.logps(lines)
