"""Models load whole from their files, adapters on top, or a sentence says what is wrong with these."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from concord.engine.loading import adapted, load_model, load_policy
from concord.engine.precision import hashed
from concord.errors import InputError, NotFoundError
from concord.types import Ask, Reply, Sampling, as_prompt, as_turns
from tests.engine.models import build
from tests.render.templates import tokenizer

ASK = Ask(as_prompt("What is it?"), sampling=Sampling(max_tokens=8, seed=0))


def tiny(**settings: Any) -> Any:
    return build("Llama", num_hidden_layers=2, vocab_size=len(tokenizer("chatml")), **settings)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a model and its tokenizer."""
    folder = tmp_path / "model"
    tiny().save_pretrained(folder)
    tokenizer("chatml").save_pretrained(folder)
    return folder


def adapters(model: Any, folder: Path, *, base: str) -> nn.Module:
    """Adapters that change something, in a folder; returns the model with them."""
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", lora_dropout=0.2)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        made: Any = get_peft_model(model, settings)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator))
    made.peft_config["default"].base_model_name_or_path = base
    made.save_pretrained(folder, save_embedding_layers=False)
    return made


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(9)[None]).logits


def test_a_folder_is_a_policy(home: Path) -> None:
    first, second = load_policy(home, device="cpu"), load_policy(str(home), layout="rows", device="cpu")
    assert first.id == second.id
    assert (first.engine.layout, second.engine.layout) == ("forest", "rows")
    ((one,),) = first.answer([ASK])
    ((other,),) = second.answer([ASK])
    assert isinstance(one, Reply)
    assert isinstance(other, Reply)
    assert one.tokens == other.tokens


def test_weights_come_in_the_precision_that_is_asked_for(home: Path) -> None:
    half = load_model(home, dtype="bfloat16", device="cpu")
    assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}
    half.save_pretrained(home)  # type: ignore[operator]
    assert next(load_model(home, device="cpu").parameters()).dtype == torch.bfloat16
    assert next(load_model(home, dtype="float32", device="cpu").parameters()).dtype == torch.float32
    policy = load_policy(home, device="cpu")
    ((drawn,), (given,)) = policy.answer([ASK, Ask(ASK.prompt, given=(as_turns("It is."),))])
    assert isinstance(drawn, Reply)
    assert isinstance(given, Reply)


@pytest.mark.parametrize("named", ["absolute", "beside"])
def test_a_folder_of_adapters_is_the_model_with_them(home: Path, tmp_path: Path, named: str) -> None:
    folder = tmp_path / "adapters"
    right = adapters(tiny(), folder, base=str(home) if named == "absolute" else "../model")
    assert Path(adapted(folder) or "").resolve() == home
    assert torch.equal(logits(load_model(folder, device="cpu")), logits(right))
    policy, bare = load_policy(folder, device="cpu"), load_policy(home, device="cpu")
    assert policy.id != bare.id
    assert any(weight.requires_grad for weight in policy.model.parameters())
    ((one,),) = policy.answer([ASK])
    ((other,),) = bare.answer([ASK])
    assert isinstance(one, Reply)
    assert one.tokens is not None
    assert one.prompt_tokens is not None
    assert one.tokens != getattr(other, "tokens", None)
    ids = torch.tensor([one.prompt_tokens + one.tokens])
    with torch.no_grad():
        logps = right(input_ids=ids).logits[0, len(one.prompt_tokens) - 1 : -1].log_softmax(-1)
    assert one.logps == pytest.approx(
        logps.gather(-1, torch.tensor(one.tokens)[:, None])[:, 0].tolist(), abs=1e-4
    )


def said(folder: str | Path, **settings: Any) -> str:
    """The sentence that a folder is refused with."""
    with pytest.raises(NotFoundError) as caught:
        load_model(folder, device="cpu", **settings)
    assert all(part in str(caught.value) for part in ("found", "accepted", "to do"))
    return str(caught.value)


def test_a_model_that_is_not_there(home: Path, tmp_path: Path) -> None:
    assert "there is no such folder" in said(tmp_path / "nowhere")
    assert "there is no folder of this name, and no hub model that was fetched before" in said(
        "nowhere/at-all"
    )
    assert "no causal language model could be loaded" in said(tmp_path)
    for odd in (tmp_path / "nowhere", "nowhere/at-all", tmp_path):
        with pytest.raises(NotFoundError):
            load_policy(odd)
    (home / "model.safetensors").unlink()
    assert "no causal language model" in said(home)


def test_weights_that_are_cut_off(home: Path) -> None:
    file = home / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    assert "no causal language model" in said(home)


def test_weights_that_would_be_random(home: Path) -> None:
    file = home / "model.safetensors"
    weights = load_file(file)
    del weights["lm_head.weight"]
    save_file(weights, file, {"format": "pt"})
    assert "1 missing, such as lm_head.weight" in said(home)


def test_weights_of_other_shapes(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = json.loads((home / "config.json").read_text())
    config["intermediate_size"] *= 2
    (home / "config.json").write_text(json.dumps(config))
    capfd.readouterr()
    with pytest.raises(InputError, match=r"other shapes than its configuration says; .* and 5 more; "):
        load_model(home)
    assert "MISMATCH" not in capfd.readouterr().err


def test_a_model_that_does_not_continue_texts(tmp_path: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=50, d_model=8, d_ff=8, d_kv=4, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    assert "T5" in said(tmp_path)


def test_code_of_strangers_is_not_run(home: Path) -> None:
    file = home / "config.json"
    config = json.loads(file.read_text()) | {
        "model_type": "strange",
        "auto_map": {"AutoConfig": "code.Strange", "AutoModelForCausalLM": "code.StrangeModel"},
    }
    file.write_text(json.dumps(config))
    (home / "code.py").write_text("raise SystemExit('it ran')")
    assert "custom code" in said(home)


def test_adapters_without_their_model(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapters"
    adapters(tiny(), folder, base=str(tmp_path / "gone"))
    assert "gone" in said(folder)
    (folder / "adapter_config.json").write_text("{}")
    assert "do not name their model" in said(folder)


def test_adapters_of_another_model(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapters"
    adapters(tiny(hidden_size=16), folder, base=str(home))
    assert "could not be put on their model" in said(folder)
    fewer = tmp_path / "fewer"
    adapters(tiny(), fewer, base=str(home))
    file = fewer / "adapter_model.safetensors"
    weights = load_file(file)
    del weights[min(weights)]
    save_file(weights, file)
    assert "missing adapter keys" in said(fewer)


@pytest.mark.parametrize(
    "settings", [{"dtype": "float31"}, {"device": "nowhere"}, {"device": "meta:x"}, {"device": "meta"}]
)
def test_precisions_and_devices_that_are_not_there(home: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="to do"):
        load_model(home, **settings)


BROKEN = {
    "a setting of another type": ("config.json", {"hidden_size": "64"}),
    "no heads": ("config.json", {"num_attention_heads": 0}),
    "padding outside the vocabulary": ("config.json", {"pad_token_id": 10**6}),
    "a precision nobody has": ("config.json", {"dtype": "float13"}),
    "a list": ("config.json", []),
    "nothing": ("config.json", None),
    "a list of what to generate": ("generation_config.json", []),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_in_a_sentence(name: str, home: Path) -> None:
    file, change = BROKEN[name]
    config = json.loads((home / file).read_text()) | change if isinstance(change, dict) else change
    (home / file).write_text(json.dumps(config))
    assert "no causal language model could be loaded" in said(home)
    with pytest.raises((NotFoundError, InputError)):
        load_policy(home, device="cpu")


def test_files_of_a_tokenizer_that_are_broken(home: Path) -> None:
    (home / "tokenizer.json").write_text("[]")
    with pytest.raises(NotFoundError, match=r"no tokenizer could be loaded.*to do"):
        load_policy(home, device="cpu")


@pytest.mark.parametrize("content", [b"", b"abc"])
def test_pickles_that_are_broken(home: Path, content: bytes) -> None:
    (home / "model.safetensors").unlink()
    (home / "pytorch_model.bin").write_bytes(content)
    assert "no causal language model" in said(home)


@pytest.mark.parametrize("layers", [1, 0])
def test_layers_are_not_left_out(home: Path, layers: int) -> None:
    file = home / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_hidden_layers": layers}))
    with pytest.raises(InputError, match=r"no place for; found \d+, such as model\.layers\."):
        load_model(home, device="cpu")


def test_a_bias_is_not_left_out_and_another_head_is_with_a_warning(home: Path) -> None:
    file = home / "model.safetensors"
    weights = load_file(file)
    save_file(weights | {"v_head.summary.weight": torch.zeros(1, 4)}, file, {"format": "pt"})
    with pytest.warns(UserWarning, match=r"are left out: 1, such as v_head\.summary\.weight"):
        load_model(home, device="cpu")
    save_file(weights | {"model.layers.0.self_attn.q_proj.bias": torch.ones(4)}, file, {"format": "pt"})
    with pytest.raises(InputError, match=r"found 1, such as .*q_proj\.bias"):
        load_model(home, device="cpu")


def test_adapters_that_do_not_fit_whole(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapters"
    deeper = build("Llama", num_hidden_layers=3, vocab_size=len(tokenizer("chatml")))
    adapters(deeper, folder, base=str(home))
    assert "4 of their weights have no place in it" in said(folder)


def test_adapters_name_a_whole_model(home: Path, tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    adapters(tiny(), lower, base=str(home))
    adapters(tiny(), upper, base=str(lower))
    with pytest.raises(InputError, match="adapters that stand on other adapters"):
        load_model(upper, device="cpu")
    file = lower / "adapter_config.json"
    for base in (None, 3, ""):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": base}))
        assert "do not name their model" in said(lower)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": "/no/where"}))
    told = said(lower)
    assert told.startswith(f"the model that the adapters of {lower} stand on is not there; found '/no/where'")


def test_adapters_have_the_same_hash_wherever_their_model_stands(home: Path, tmp_path: Path) -> None:
    folder, moved = tmp_path / "adapters", tmp_path / "moved"
    trained = adapters(tiny(), folder, base=str(home))
    home.rename(moved)
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": str(moved)}))
    assert hashed(load_model(folder, device="cpu")) == hashed(trained)
