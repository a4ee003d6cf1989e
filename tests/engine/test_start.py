"""Starting an engine: the layout that is chosen, what is said of it, and what a refusal leaves behind."""

import inspect
from typing import Any

import pytest
import torch
from torch import nn

from concord.engine.attention import NAME
from concord.engine.logprobs import LogProbs
from concord.engine.start import start
from concord.engine.switch import kernel
from concord.errors import CapabilityError, InputError
from tests.engine.models import FAMILIES, alone, build, family_tree, llama, long_rope


def test_a_plain_model_has_the_forest_and_its_lines_say_what_was_tried() -> None:
    started = start(llama(attention_dropout=0.1), longest=120)
    layout, trial, dropout = started.lines
    assert layout == "layout: forest"
    assert trial.startswith("trial: log-probabilities within ")
    assert "sequences of up to 120 tokens" in trial
    assert dropout == "dropout: set to zero (it was up to 0.1)"
    assert kernel(started.engine.model) == NAME


def test_reasons_against_the_forest_are_said_and_the_model_keeps_its_kernel() -> None:
    model = llama(attn_implementation="eager")
    model.model.layers[0].mlp.more = nn.GRU(4, 4)
    started = start(model)
    assert [*started.lines][:2] == [
        "layout: rows",
        "not the forest: it has a GRU, which mixes tokens that stand side by side",
    ]
    assert kernel(model) == "eager"


def test_what_attention_is_asked_for_is_said_by_name_and_no_more() -> None:
    model = next(family for family in FAMILIES if family.name == "GptOss").make()
    (reason,) = start(model).refused
    assert reason == "GptOssAttention asks more of attention than the forest does; found s_aux"


def test_rows_may_be_asked_for() -> None:
    started = start(llama(), layout="rows")
    assert started.engine.layout == "rows"
    assert started.refused == ()
    assert kernel(started.engine.model) == "sdpa"


def test_a_model_may_start_again() -> None:
    model, lines = llama(), family_tree()
    with torch.no_grad():
        right = alone(model, lines)
        for layout in ("forest", "forest", "rows", "forest"):
            engine = start(model, layout=layout).engine
            torch.testing.assert_close(engine(layout=engine.lay(lines)).logps, right, rtol=0, atol=1e-4)


def test_the_engine_goes_as_far_as_it_was_started_for() -> None:
    engine = start(llama(), longest=50).engine
    with pytest.raises(InputError, match="started for; found 56; accepted: 50 tokens at most"):
        engine(layout=engine.lay(family_tree()))


@pytest.mark.parametrize(("longest", "layout"), [(40, "forest"), (41, "rows"), (0, "rows")])
def test_angles_that_may_change_decide_by_the_longest_sequence(longest: int, layout: str) -> None:
    started = start(long_rope(), longest=longest)
    assert started.engine.layout == layout
    # Rows are tried on both sides of the threshold.
    assert started.trial.longest == (longest or 256)


def test_a_forest_that_is_insisted_on_and_is_wrong_is_refused() -> None:
    with pytest.raises(
        CapabilityError, match=r"forest is not right for this model; found it changes its angles"
    ):
        start(long_rope(), layout="forest")


def raising(error: Exception) -> Any:
    model = llama()

    def forward(*_: Any, **__: Any) -> Any:
        raise error

    model.model.layers[0].mlp.forward = forward
    return model


def test_whatever_a_model_raises_is_its_reason() -> None:
    with pytest.raises(CapabilityError, match="its trial failed: ZeroDivisionError: odd"):
        start(raising(ZeroDivisionError("odd")))


def test_too_little_memory_is_no_reason_against_a_layout() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        start(raising(torch.OutOfMemoryError("full")))


def test_a_wrong_setting_is_no_reason_against_a_model() -> None:
    model = build("Mistral", num_hidden_layers=1, attention_dropout=0.5)
    with pytest.raises(InputError, match="chunk of the head"):
        start(model, chunk=-1)
    assert kernel(model) == "sdpa"
    assert model.config.attention_dropout == 0.5
    assert LogProbs(model).model is model


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"layout": "tree"}, "no such layout; found 'tree'; accepted: auto, forest or rows"),
        ({"longest": -1}, "nothing to predict; found -1"),
        ({"longest": 1}, "nothing to predict; found 1; accepted: 2 or more"),
        ({"tokens": -1}, "below zero; found -1"),
    ],
)
def test_what_no_engine_can_be_started_for_is_refused(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        # Past the checker of types, which only tests have.
        inspect.unwrap(start)(llama(), **asked)


def test_what_is_no_model_of_transformers_is_refused() -> None:
    with pytest.raises(CapabilityError, match="no model of transformers; found Linear"):
        start(nn.Linear(2, 2))


def test_a_model_that_is_refused_is_left_as_it_came() -> None:
    model, lines = llama(attention_dropout=0.5).eval(), family_tree()
    model.model.layers[0].train()
    engine = LogProbs(model)
    with pytest.raises(InputError, match="chunk of the head"):
        start(model, chunk=-1)
    assert model.config.attention_dropout == 0.5
    assert not model.training
    assert model.model.layers[0].training
    assert not model.model.layers[1].training
    # The engine that it was before still is one.
    assert kernel(model) == NAME
    model.eval()
    assert engine(layout=engine.lay(lines)).logps.isfinite().all()
