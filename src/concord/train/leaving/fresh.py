"""The fresh process in which an exported folder is tried; it is run as a file and imports nothing of Concord.

It is given a question and writes an answer, both JSON: what the folder is, rows of tokens with what is
predicted in them, and texts; then hashes of the weights as they were loaded, numbers of the rows, what was
generated greedily behind their prompts, and the tokens of the texts.
"""

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
import transformers
from torch import Tensor

__all__ = ["AUTO", "Kind", "fresh", "hash_as", "most_common", "plain_name"]

Kind: TypeAlias = Literal["model", "rewards", "steps"]

AUTO: Mapping[str, str] = {
    "model": "AutoModelForCausalLM",
    "rewards": "AutoModelForSequenceClassification",
    "steps": "AutoModelForTokenClassification",
}
"""The class of transformers that loads each kind of folder."""


def most_common(values: Iterable[Any]) -> torch.dtype:
    """The precision of most single weights."""
    counted: Counter[torch.dtype] = Counter()
    for value in values:
        if isinstance(value, Tensor) and value.is_floating_point():
            counted[value.dtype] += value.numel()
    return counted.most_common(1)[0][0]


def hash_as(value: Tensor, dtype: torch.dtype) -> str:
    """A hash of a weight as it is when it is loaded in a precision."""
    held = value.detach().to(dtype) if value.is_floating_point() else value.detach()
    digest = hashlib.sha256(f"{list(value.shape)} ".encode())
    digest.update(held.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]


def plain_name(name: str) -> str:
    """The name of an adapter's weight, whoever wrote it: in a file of peft, in a model of transformers."""
    name = name.removeprefix("base_model.model.").replace(".modules_to_save", "")
    return name.replace(".default", "")


def fresh(question: str, answer: str) -> None:
    """Load the folder that the question names, and write the answer."""
    asked = json.loads(Path(question).read_text())
    model = _load(asked)
    most = most_common(weight for name, weight in model.named_parameters() if "lora_" not in name)
    found: dict[str, Any] = {
        "sums": {
            plain_name(name) if asked["adapter"] else name: hash_as(value, most)
            for name, value in model.state_dict().items()
            if isinstance(value, Tensor)
        },
        "numbers": [],
        "generated": [[] for _ in asked["rows"]],
    }
    with torch.no_grad():
        for row, spans, marks in zip(asked["rows"], asked["spans"], asked["marks"], strict=True):
            found["numbers"] += _by_transformers(model, asked["kind"], row, spans, marks)
        if asked["kind"] == "model":
            prompts = zip(asked["rows"], asked["spans"], asked["tokens"], strict=True)
            found["generated"] = [_generated(model, row, spans, count) for row, spans, count in prompts]
    if asked["texts"]:
        trust = {"trust_remote_code": asked["trust_remote_code"]}
        tokenizer = transformers.AutoTokenizer.from_pretrained(asked["folder"], **trust)
        found["template"] = tokenizer.chat_template
        found["ids"] = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in asked["texts"]]
    Path(answer).write_text(json.dumps(found))


def _load(asked: Mapping[str, Any]) -> Any:
    """The model of a folder. A base is loaded in the precision that it was trained under."""
    auto = getattr(transformers, AUTO[asked["kind"]])
    given: dict[str, Any] = {"dtype": "auto", "trust_remote_code": asked["trust_remote_code"]}
    if asked["kind"] != "model":
        given["num_labels"] = 1
    if asked["adapter"]:
        given["dtype"] = getattr(torch, asked["dtype"])
    if asked["quant"] is not None:
        given["quantization_config"] = transformers.BitsAndBytesConfig.from_dict(asked["quant"])
    if not asked["adapter"] or asked["kind"] == "model":
        model = auto.from_pretrained(asked["folder"], **given)
    else:
        from peft import PeftModel

        model = PeftModel.from_pretrained(auto.from_pretrained(asked["adapter"], **given), asked["folder"])
    module: Any
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # A kernel of some processors that rounds otherwise, and takes layers of some sizes only.
            module.support_avx512bf16_for_cpu = False
    return model.eval()


def _by_transformers(
    model: Any, kind: Kind, row: list[int], spans: list[list[int]], marks: list[int]
) -> list[float]:
    """Log-probabilities of predicted tokens, or scores of marked ones."""
    ids = torch.tensor([row])
    if kind == "rewards":
        return [float(model(input_ids=ids[:, : mark + 1]).logits[0, 0]) for mark in marks]
    logits = model(input_ids=ids).logits[0].float()
    if kind == "steps":
        return logits[marks, 0].tolist()
    logps = logits.log_softmax(-1)
    return [float(logps[at - 1, row[at]]) for start, stop in spans for at in range(start, stop)]


def _generated(model: Any, row: list[int], spans: list[list[int]], count: int) -> list[int]:
    """What is generated greedily behind a prompt, by `generate` itself, without penalties of the model."""
    if not count:
        return []
    ids = torch.tensor([row[: spans[0][0]]])
    own = model.generation_config
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id, do_sample=False, max_new_tokens=count
    )
    try:
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids))
    finally:
        model.generation_config = own
    return out[0, ids.shape[1] :].tolist()


if __name__ == "__main__":
    fresh(*sys.argv[1:])
