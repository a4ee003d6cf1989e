"""The program that tries an exported folder knows nothing of Concord, and its hashes tell weights apart."""

import ast
import json
from pathlib import Path

import pytest
import torch
import transformers as tf

from concord.train.leaving import fresh
from concord.train.leaving.fresh import hash_as, most_common, plain_name
from tests.engine.models import alone, family_tree, llama


def test_the_program_imports_nothing_of_ours() -> None:
    tree = ast.walk(ast.parse(Path(fresh.__file__).read_text()))
    named = [node for node in tree if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in named}
    assert {"torch", "transformers", "peft"} <= names
    assert not any(name is None or name.startswith("concord") for name in names)


def test_a_hash_is_that_of_the_weight_as_it_is_loaded() -> None:
    weight = torch.randn(3, 4)
    low = weight.bfloat16()
    assert hash_as(weight, torch.bfloat16) == hash_as(low, torch.bfloat16) == hash_as(low, torch.bfloat16)
    assert hash_as(weight, torch.float32) != hash_as(low, torch.float32)
    assert hash_as(weight.T, torch.float32) == hash_as(weight.T.contiguous(), torch.float32)
    assert hash_as(weight, torch.float32) != hash_as(weight.view(4, 3), torch.float32)
    counts = torch.tensor([1, 2])
    assert hash_as(counts, torch.bfloat16) == hash_as(counts, torch.float32), (
        "whole numbers stay what they are"
    )
    assert hash_as(torch.zeros(0), torch.float32) != hash_as(torch.zeros(()), torch.float32)


def test_the_precision_is_that_of_most_weights() -> None:
    many, few = torch.zeros(5, dtype=torch.bfloat16), torch.zeros(4)
    assert most_common([few, many, torch.zeros(99, dtype=torch.int8), "no weight"]) == torch.bfloat16


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.q_proj.lora_A.weight",
        "model.layers.0.q_proj.lora_A.default.weight",
        "base_model.model.model.layers.0.q_proj.lora_A.weight",
        "base_model.model.model.layers.0.q_proj.lora_A.default.weight",
    ],
)
def test_a_weight_of_an_adapter_has_one_name(name: str) -> None:
    assert plain_name(name) == "model.layers.0.q_proj.lora_A.weight"
    assert plain_name("base_model.model.score.modules_to_save.default.weight") == "score.weight"


def test_it_answers_what_transformers_says(tmp_path: Path) -> None:
    model, lines = llama(eos_token_id=5), family_tree()[:2]
    model.generation_config = tf.GenerationConfig(eos_token_id=5, repetition_penalty=50.0)
    model.save_pretrained(tmp_path / "model")
    question = {
        "folder": str(tmp_path / "model"),
        "kind": "model",
        "adapter": "",
        "quant": None,
        "rows": [line.ids.tolist() for line in lines],
        "spans": [line.spans.tolist() for line in lines],
        "marks": [[], []],
        "tokens": [6, 0],
        "texts": [],
        "trust_remote_code": False,
    }
    (tmp_path / "question.json").write_text(json.dumps(question))
    fresh.fresh(str(tmp_path / "question.json"), str(tmp_path / "answer.json"))
    answer = json.loads((tmp_path / "answer.json").read_text())
    with torch.no_grad():
        right = alone(model.eval(), lines)
        ids = torch.tensor([question["rows"][0][: question["spans"][0][0][0]]])
        for _ in range(6):
            ids = torch.cat([ids, model(input_ids=ids).logits[:, -1].argmax(-1)[None]], 1)
    assert answer["numbers"] == pytest.approx(right.tolist(), abs=1e-5)
    assert answer["generated"] == [ids[0, -6:].tolist(), []], "no penalty of the model's own"
    assert answer["sums"] == {
        name: hash_as(value, torch.float32) for name, value in model.state_dict().items()
    }
