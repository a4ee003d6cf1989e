"""What a training leaves is loaded by transformers alone, and is the model that was trained."""

import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from safetensors.torch import load_file
from torch import Tensor, nn

from concord.engine import Line, LogProbs, RewardHead, StepHead, ValueHead, load_model, load_policy, start
from concord.engine.heads import mark_last
from concord.engine.precision import trainable_in_float32
from concord.engine.switch import own_kernel
from concord.errors import InputError, RunError
from concord.render import Renderer, RenderSettings
from concord.render.loading import read_files
from concord.train.leaving.export import Exported, export, weights
from concord.train.models import Lora
from concord.train.models.adapters import add_lora
from tests.engine.models import FAMILIES, Family, alone, family_tree, llama
from tests.train.leaving.exporting import headed, lines_for, read, trained

# transformers and peft speak of their own older names.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")


def plain(model: Any, lines: list[Line]) -> Tensor:
    """What a model itself says of some lines."""
    with torch.no_grad(), own_kernel(model):
        return alone(model, lines)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def loaded(done: Exported) -> Any:
    """The model that the two lines give which are said to load it."""
    space: dict[str, Any] = {}
    exec("\n".join(done.loading), space)
    return space["model"]


# --- models -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_is_written_as_it_came(dtype: torch.dtype, tied: bool, tmp_path: Path) -> None:
    model = llama(tie_word_embeddings=tied).to(dtype)
    came = trainable_in_float32(model)
    start(trained(model))
    done = export(model, tmp_path / "runs" / "out", came=came)
    assert files(done.folder.parent) == {"out"}
    assert files(done.folder) == {"config.json", "generation_config.json", "model.safetensors"}
    assert (done.kind, done.adapter, done.notes) == ("model", "", ())
    assert done.dtype == str(dtype).removeprefix("torch.")
    again = loaded(done)
    assert again.dtype == dtype
    assert (again.lm_head.weight is again.model.embed_tokens.weight) == tied
    for name, weight in again.named_parameters():
        assert torch.equal(weight, model.get_parameter(name).to(dtype)), name
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}, "the model trains on"
    assert "concord" not in (done.folder / "config.json").read_text()
    assert read(done.folder / "config.json")["use_cache"] is True


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_architecture_comes_back(family: Family, tmp_path: Path) -> None:
    model = trained(family.make())
    right = plain(model.eval(), family_tree()[:2])
    export(model, tmp_path / "out", came={})
    again = type(model).from_pretrained(tmp_path / "out", dtype="auto")
    assert torch.equal(plain(again, family_tree()[:2]), right)


def test_dropout_that_was_stilled_is_given_back_to_the_file_and_not_to_the_model(tmp_path: Path) -> None:
    model = llama(attention_dropout=0.3)
    started = start(model)
    done = export(model, tmp_path / "out", came={}, stilled=started.stilled)
    assert read(done.folder / "config.json")["attention_dropout"] == 0.3
    assert model.config.attention_dropout == 0.0
    assert {layer.self_attn.attention_dropout for layer in model.model.layers} == {0.0}


def test_weights_that_were_gathered_are_written_in_the_place_of_the_models_own(tmp_path: Path) -> None:
    model = llama(tie_word_embeddings=True).bfloat16()
    came = trainable_in_float32(model)
    # What ranks gather is one tensor for each name, tied or not.
    state = {name: value.detach().clone() + 1 for name, value in model.state_dict().items()}
    done = export(model, tmp_path / "out", came=came, state=state)
    again = loaded(done)
    for name, value in again.state_dict().items():
        assert torch.equal(value, state[name].bfloat16()), name
    assert "lm_head.weight" not in load_file(done.folder / "model.safetensors")
    del state["model.norm.weight"]
    with pytest.raises(InputError, match=r"no model\.norm\.weight"):
        export(model, tmp_path / "out", came=came, state=state)
    assert torch.equal(loaded(done).model.norm.weight, again.model.norm.weight)


def test_weights_that_are_sharded_are_refused(tmp_path: Path) -> None:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import Shard, distribute_tensor

    model = llama()
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1
    )
    try:
        mesh = DeviceMesh("cpu", [0])
        norm = model.model.norm
        norm.weight = nn.Parameter(distribute_tensor(norm.weight.detach(), mesh, [Shard(0)]))
        with pytest.raises(InputError, match=r"found model\.norm\.weight.*give `state`"):
            export(model, tmp_path / "out", came={})
        head = RewardHead(32)
        head.score.weight = nn.Parameter(distribute_tensor(head.score.weight.detach(), mesh, [Shard(0)]))
        with pytest.raises(InputError, match=r"found score\.weight.*give `state`"):
            export(llama(), tmp_path / "out", came={}, head=head)
        gathered = {"head.score.weight": torch.ones(1, 32)} | model.state_dict()
        gathered["model.norm.weight"] = gathered["model.norm.weight"].full_tensor()
        done = export(model, tmp_path / "out", came={}, head=head, state=gathered)
        assert torch.equal(loaded(done).score.weight, torch.ones(1, 32))
    finally:
        torch.distributed.destroy_process_group()


def test_a_full_disk_leaves_what_stood_there(tmp_path: Path) -> None:
    model = llama()
    done = export(model, tmp_path / "out", came={})
    before = {path.name: path.read_bytes() for path in done.folder.iterdir()}
    trained(model)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for most in (100, 10_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
        try:
            with pytest.raises(RunError, match=r"writing the model to .*what stood there before is whole"):
                export(model, tmp_path / "out", came={})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert {path.name: path.read_bytes() for path in done.folder.iterdir()} == before
        assert files(tmp_path) == {"out"}
    export(model, tmp_path / "out", came={})
    assert torch.equal(loaded(done).lm_head.weight, model.lm_head.weight)


def test_weights_are_taken_in_the_precision_they_came_in_and_the_model_trains_on() -> None:
    model = llama(tie_word_embeddings=True).bfloat16()
    came = trainable_in_float32(model)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1e-3)
    found, held = weights(model, came), model.state_dict()
    assert found.keys() == held.keys()
    assert all(torch.equal(found[name], held[name].bfloat16()) for name in held)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert found["lm_head.weight"] is found["model.embed_tokens.weight"]


# --- what stands beside weights ---------------------------------------------------------------------------


def test_the_tokenizer_and_what_generation_stops_at(home: Path, tmp_path: Path) -> None:
    given = {"eos_token_id": 7, "temperature": 0.5, "do_sample": False}
    (home / "generation_config.json").write_text(json.dumps(given))
    model: Any = load_model(home, device="cpu")
    renderer = Renderer.load(home, RenderSettings(stop=("<|im_end|>",)))
    (stop,) = renderer.stop_ids
    done = export(model, tmp_path / "out", came={}, renderer=renderer)
    assert read(done.folder / "generation_config.json")["eos_token_id"] == [stop, 7]
    assert read(done.folder / "generation_config.json")["temperature"] == 0.5
    assert model.generation_config.eos_token_id == 7, "the model in use stays as it is"
    again = tf.AutoTokenizer.from_pretrained(done.folder)
    talk = [{"role": "user", "content": "What?"}]
    assert again.apply_chat_template(talk) == renderer.tokenizer.apply_chat_template(talk)
    policy = load_policy(done.folder, device="cpu")
    assert stop in policy.renderer.stop_ids
    assert done.notes == ()


def test_a_template_that_was_given_goes_with_the_model(home: Path, tmp_path: Path) -> None:
    given = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}"
    settings = RenderSettings(chat_template=given, stop=("<|im_end|>",), template_args={"thinking": False})
    renderer = Renderer.load(home, settings)
    before = renderer.tokenizer.chat_template
    done = export(load_model(home, device="cpu"), tmp_path / "out", came={}, renderer=renderer)
    assert tf.AutoTokenizer.from_pretrained(done.folder).chat_template == given
    assert renderer.tokenizer.chat_template == before != given
    assert [note for note in done.notes if '{"thinking": false}' in note]


# --- adapters ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", ["all-linear", ("q_proj", "embed_tokens"), "lm_head"])
def test_an_adapter_is_written_alone(
    names: str | tuple[str, ...], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = add_lora(load_model("home", device="cpu"), Lora(r=2, target_modules=names))
    done = export(trained(model), tmp_path / "out", came={}, renderer=Renderer.load(home))
    assert {"adapter_model.safetensors", "adapter_config.json", "chat_template.jinja"} <= files(done.folder)
    assert not files(done.folder) & {"config.json", "README.md", "model.safetensors"}
    held = load_file(done.folder / "adapter_model.safetensors")
    assert all("lora_" in name for name in held)
    assert {value.dtype for value in held.values()} == {torch.float32}
    config = read(done.folder / "adapter_config.json")
    assert config["target_modules"] == sorted(config["target_modules"])
    assert config["base_model_name_or_path"] == done.adapter == str(home.resolve())
    monkeypatch.chdir("/")
    right = plain(model, family_tree())
    assert torch.equal(plain(loaded(done), family_tree()), right)
    assert torch.equal(plain(load_model(done.folder, device="cpu"), family_tree()), right)
    assert [weight for weight in model.parameters() if weight.requires_grad], "the model trains on"


def test_an_adapter_over_half_precision_is_float32_and_its_base_is_not_written(
    home: Path, tmp_path: Path
) -> None:
    model = add_lora(load_model(home, dtype="bfloat16", device="cpu"), Lora(r=2))
    done = export(trained(model), tmp_path / "out", came=trainable_in_float32(model))
    assert done.dtype == "bfloat16"
    assert {value.dtype for value in load_file(done.folder / "adapter_model.safetensors").values()} == {
        torch.float32
    }
    (stop,) = Renderer.load(home).stop_ids
    again = export(model, tmp_path / "out", came={}, renderer=Renderer.load(home))
    assert again.notes == (f"generate with eos_token_id=[{stop}]: its base stops at nothing",)


def test_an_adapter_that_is_trained_on_is_written_like_the_one_that_came(home: Path, tmp_path: Path) -> None:
    first = export(trained(add_lora(load_model(home, device="cpu"), Lora(r=2))), tmp_path / "first", came={})
    model = add_lora(load_model(first.folder, device="cpu"))
    same = export(model, tmp_path / "same", came={})
    assert same.sums == first.sums
    assert same.adapter == first.adapter
    done = export(trained(model), tmp_path / "second", came={})
    assert all(done.sums[name] != first.sums[name] for name in first.sums)
    assert torch.equal(plain(loaded(done), family_tree()), plain(model, family_tree()))


# --- heads ------------------------------------------------------------------------------------------------


def scores(engine: LogProbs, lines: list[Line]) -> Tensor:
    with torch.no_grad():
        return engine(layout=engine.lay(lines)).heads["scores"]


@pytest.mark.parametrize(
    "family", [one for one in FAMILIES if one.layout == "forest"], ids=lambda one: one.name
)
def test_a_head_of_rewards_is_the_head_of_a_classifier(family: Family, tmp_path: Path) -> None:
    model, lines = family.make(), mark_last(family_tree())
    engine, head = headed(model, RewardHead)
    right = scores(engine, lines)
    done = export(model, tmp_path / "out", came={}, head=head)
    if done.kind == "model":
        assert family.name in {"Granite", "Cohere"}
        assert done.notes == ("its head stands in head.safetensors: transformers has no class for it here",)
        again = RewardHead(32)
        again.load(done.folder / "head.safetensors")
        assert torch.equal(again.score.weight, head.score.weight)
        return
    classifier = loaded(done).eval()
    assert classifier.config.num_labels == 1
    with torch.no_grad():
        found = [classifier(input_ids=torch.from_numpy(line.ids)[None]).logits[0, 0] for line in lines]
    assert float((torch.stack(found) - right).abs().max()) < 1e-4 * float(right.abs().max())
    assert type(model).__name__.endswith("ForCausalLM") or "GPT2" in type(model).__name__, "it stays as it is"


@pytest.mark.parametrize("name", ["Llama", "GPT2"])
def test_a_head_of_steps_is_the_head_of_a_token_classifier(name: str, tmp_path: Path) -> None:
    (family,) = [one for one in FAMILIES if one.name == name]
    model, lines = family.make(), family_tree()
    lines = [
        Line(one.ids, one.spans, one.reply, np.array([len(one.ids) - 3, len(one.ids) - 1])) for one in lines
    ]
    engine, head = headed(model, StepHead)
    nn.init.constant_(head.score.bias, 0.5)
    right = scores(engine, lines)
    done = export(model, tmp_path / "out", came={}, head=head)
    assert done.kind == "steps"
    classifier = loaded(done).eval()
    with torch.no_grad():
        found = [
            classifier(input_ids=torch.from_numpy(line.ids)[None]).logits[0, line.marks, 0] for line in lines
        ]
    assert float((torch.cat(found) - right).abs().max()) < 1e-4 * float(right.abs().max())


@pytest.mark.parametrize(("made", "kind"), [(RewardHead, "rewards"), (StepHead, "steps")])
@pytest.mark.parametrize("names", ["all-linear", ("q_proj", "lm_head")])
def test_a_head_goes_with_its_adapter(
    made: Any, kind: str, names: str | tuple[str, ...], home: Path, tmp_path: Path
) -> None:
    model = trained(add_lora(load_model(home, device="cpu"), Lora(r=2, target_modules=names)))
    engine, head = headed(model, made)
    lines = mark_last(family_tree())
    right = scores(engine, lines)
    done = export(model, tmp_path / "out", came={}, head=head, renderer=Renderer.load(home))
    assert done.kind == kind
    assert [note for note in done.notes if "pad" in note or "one at a time" in note] == (
        ["its tokenizer has no token to pad with that ends no reply: score replies one at a time"]
        if kind == "rewards"
        else []
    )
    held = load_file(done.folder / "adapter_model.safetensors")
    assert torch.equal(held["base_model.model.score.weight"], head.score.weight)
    assert not any("lm_head" in key for key in held), "rewards do not come through it"
    classifier = loaded(done).eval()
    with torch.no_grad():
        rows = [classifier(input_ids=torch.from_numpy(line.ids)[None]).logits for line in lines]
    found = torch.stack([row[0, 0] if kind == "rewards" else row[0, -1, 0] for row in rows])
    assert float((found - right).abs().max()) < 1e-4 * float(right.abs().max())


def test_a_head_of_values_stands_beside_its_model(tmp_path: Path) -> None:
    model = llama()
    _, head = headed(model, ValueHead)
    done = export(model, tmp_path / "out", came={}, head=head)
    assert done.kind == "model"
    again = ValueHead(32)
    again.load(done.folder / "head.safetensors")
    assert torch.equal(again.score.weight, head.score.weight)
    assert torch.equal(loaded(done).lm_head.weight, model.lm_head.weight)


@pytest.mark.parametrize("padding", ["<|im_end|>", None])
def test_scores_of_padded_replies_are_those_that_were_trained(
    padding: str | None, home: Path, tmp_path: Path
) -> None:
    spoken: Any = tf.AutoTokenizer.from_pretrained(home)
    spoken.pad_token, spoken.unk_token = padding, "<|im_start|>"
    renderer = Renderer(spoken, files=read_files(home))
    model = load_model(home, device="cpu")
    engine, head = headed(model, RewardHead)
    lines = mark_last(lines_for(renderer))
    right = scores(engine, lines)
    done = export(model, tmp_path / "out", came={}, head=head, renderer=renderer)
    again = tf.AutoTokenizer.from_pretrained(done.folder)
    classifier = loaded(done).eval()
    assert classifier.config.pad_token_id == again.pad_token_id
    assert again.pad_token_id not in renderer.stop_ids
    batch = again.pad({"input_ids": [line.ids.tolist() for line in lines]}, return_tensors="pt")
    with torch.no_grad():
        found = classifier(**batch).logits[:, 0]
    assert float((found - right).abs().max()) < 1e-4 * float(right.abs().max())
    assert spoken.pad_token == padding


def test_without_a_token_to_pad_with_replies_are_scored_one_at_a_time(home: Path, tmp_path: Path) -> None:
    spoken: Any = tf.AutoTokenizer.from_pretrained(home)
    spoken.pad_token, spoken.unk_token, spoken.bos_token = "<|im_end|>", None, None
    renderer = Renderer(spoken, files=read_files(home))
    model = load_model(home, device="cpu")
    _, head = headed(model, RewardHead)
    done = export(model, tmp_path / "out", came={}, head=head, renderer=renderer)
    (note,) = done.notes
    assert note == "its tokenizer has no token to pad with that ends no reply: score replies one at a time"
    assert loaded(done).config.pad_token_id is None
    adapted = add_lora(load_model(home, device="cpu"), Lora(r=2))
    spoken.pad_token = "<|im_start|>"
    done = export(adapted, tmp_path / "out", came={}, head=head, renderer=Renderer(spoken))
    assert done.notes[0].endswith(f"set pad_token_id={spoken.pad_token_id} in its base's configuration")
