"""A fresh process finds the model that was trained, or says what is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from concord.engine import Line, RewardHead, StepHead, load_model, start
from concord.engine.heads import mark_last
from concord.engine.precision import trainable_in_float32
from concord.errors import RunError
from concord.render import Renderer
from concord.train.leaving.export import export
from concord.train.leaving.trial import check_export
from concord.train.models import Lora
from concord.train.models.adapters import add_lora, quantise
from tests.train.leaving.exporting import headed, lines_for, read, trained

# transformers and peft speak of their own older names.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")


@pytest.mark.slow
def test_a_fresh_process_finds_the_model_that_was_trained(home: Path, tmp_path: Path) -> None:
    model = trained(load_model(home, dtype="bfloat16", device="cpu"))
    came = trainable_in_float32(model)
    engine = start(trained(model), longest=64).engine
    renderer = Renderer.load(home)
    done = export(model, tmp_path / "out", came=came, renderer=renderer)
    lines = lines_for(renderer)
    found = check_export(done, engine, lines, renderer=renderer, tokens=5)
    assert (found.weights, found.numbers, found.generated) == (21, sum(map(targets, lines)), 5 * len(lines))
    assert 0 < found.mean < found.most < 0.3
    assert found.greedy >= 0.8 * found.generated
    assert found.line.startswith("loaded in a fresh process: 21 weights equal to the last bit; ")


def targets(line: Line) -> int:
    return int((line.spans[:, 1] - line.spans[:, 0]).sum())


@pytest.mark.slow
def test_a_fresh_process_finds_an_adapter_on_its_base(home: Path, tmp_path: Path) -> None:
    model = trained(add_lora(load_model(home, device="cpu"), Lora(r=2)))
    engine, renderer = start(model).engine, Renderer.load(home)
    done = export(model, tmp_path / "out", came={}, renderer=renderer)
    found = check_export(done, engine, lines_for(renderer), renderer=renderer, tokens=5)
    assert found.weights == 28
    assert found.most < 1e-4
    assert found.greedy == found.generated == 30


@pytest.mark.slow
def test_a_fresh_process_finds_an_adapter_on_a_quantised_base(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="quantised bases need the extra `quant`")
    model = trained(add_lora(quantise(load_model(home, device="cpu"), "4bit"), Lora(r=2)))
    engine, renderer = start(model).engine, Renderer.load(home)
    done = export(model, tmp_path / "out", came={}, renderer=renderer)
    found = check_export(done, engine, lines_for(renderer), renderer=renderer, tokens=5)
    assert found.most < 1e-4
    assert found.greedy == found.generated == 30


@pytest.mark.slow
@pytest.mark.parametrize("made", [RewardHead, StepHead])
def test_a_fresh_process_finds_scores(made: Any, home: Path, tmp_path: Path) -> None:
    model = load_model(home, device="cpu")
    if made is StepHead:
        model = trained(add_lora(model, Lora(r=2)))
    engine, head = headed(model, made)
    renderer = Renderer.load(home)
    done = export(model, tmp_path / "out", came={}, renderer=renderer, head=head)
    lines = mark_last(lines_for(renderer))
    found = check_export(done, engine, lines, renderer=renderer)
    assert (found.numbers, found.generated) == (len(lines), 0)
    assert found.most < 1e-4
    assert "6 scores within" in found.line


@pytest.mark.slow
def test_a_fresh_process_finds_what_is_wrong(home: Path, tmp_path: Path) -> None:
    model = trained(load_model(home, device="cpu"))
    engine, renderer = start(model).engine, Renderer.load(home)
    lines = lines_for(renderer, 1)
    done = export(model, tmp_path / "out", came={}, renderer=renderer)
    config, file = done.folder / "config.json", done.folder / "model.safetensors"
    was, held = config.read_text(), load_file(file)
    config.write_text(json.dumps(read(config) | {"rms_norm_eps": 1.0}))
    with pytest.raises(RunError, match=r"is not the one that was trained; found numbers apart by up to"):
        check_export(done, engine, lines)
    config.write_text(was)
    (done.folder / "chat_template.jinja").write_text("other")
    with pytest.raises(RunError, match="found other: its chat template"):
        check_export(done, engine, lines, renderer=renderer)
    least = held["model.norm.weight"].view(torch.int32)
    least[3] += 1
    save_file(held, file, {"format": "pt"})
    with pytest.raises(RunError, match=r"not those that were written; found 1 of 21, such as model\.norm"):
        check_export(done, None, lines)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(RunError, match=r"cannot be loaded and used in a fresh process; found .*Error"):
        check_export(done, engine, lines)
