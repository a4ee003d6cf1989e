"""The trial of what was exported, in a fresh process: is it the model that was trained?

`check_export` believes nothing of what was written. Another process, which knows of the training only what
stands in the folder, loads it with transformers alone; its weights must be those that were written, bit for
bit, its log-probabilities those of the trained model, and what it generates greedily must be what the trained
model would have said.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from concord.engine import Line, LogProbs
from concord.engine.statistics import lead, measured
from concord.errors import RunError, Said, explain
from concord.render import Renderer
from concord.train.leaving import fresh
from concord.train.leaving.export import Exported, kind_of, spelled
from concord.train.leaving.fresh import Kind

__all__ = ["Checked", "check_export"]

_ALLOWED = {"float64": (1e-3, 1e-4), "float32": (1e-3, 1e-4), "float16": (0.3, 0.03), "bfloat16": (1.0, 0.1)}
"""How far numbers of a token may be apart, in nats: the largest difference, and the mean one. Weights that
were trained in float32 are rounded to what they came in, and products are those of another kernel. What is
wrong in a configuration costs more, and weights are compared bit for bit."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a fresh process found of a folder."""

    weights: int
    """How many weights it loaded, all of them equal to the last bit."""
    numbers: int = 0
    """How many log-probabilities or scores were compared with the trained model's."""
    most: float = 0.0
    mean: float = 0.0
    generated: int = 0
    """How many tokens it generated."""
    greedy: int = 0
    """How many of these are the trained model's own first choice; others are ties to its precision."""
    kind: Kind = "model"

    @property
    def line(self) -> str:
        """What a person should know."""
        said = [f"loaded in a fresh process: {self.weights} weights equal to the last bit"]
        if self.numbers:
            what = "log-probabilities" if self.kind == "model" else "scores"
            said.append(f"{self.numbers} {what} within {self.most:.1e}, {self.mean:.1e} in the mean")
        if self.generated:
            own = f", {self.greedy} of them the trained model's own choice" if self.numbers else ""
            said.append(f"{self.generated} tokens generated{own}")
        return "; ".join(said)


def check_export(
    exported: Exported,
    engine: LogProbs | None,
    lines: Sequence[Line],
    *,
    renderer: Renderer | None = None,
    tokens: int = 16,
    trust_remote_code: bool = False,
) -> Checked:
    """Load a folder in a process of its own with transformers alone, and compare it with the trained model.

    `lines` are rows such as were trained on; some are enough. Without an `engine`, where a model is sharded
    over ranks, weights and tokenizer are compared, and that it generates is tried. The process runs on the
    CPU: beside a model in training an accelerator may have no room.
    """
    texts = [] if renderer is None else [renderer.decode(line.ids.tolist()) for line in lines]
    asked = {
        "folder": str(exported.folder),
        "kind": exported.kind,
        "adapter": exported.adapter,
        "dtype": exported.dtype,
        "quant": exported.quant,
        "rows": [line.ids.tolist() for line in lines],
        "spans": [line.spans.tolist() for line in lines],
        "marks": [line.marks.tolist() for line in lines],
        "tokens": [_room(engine, line, tokens) for line in lines],
        "texts": texts,
        "trust_remote_code": trust_remote_code,
    }
    found = _asked(asked)
    _check_sums(exported, found["sums"])
    if renderer is not None:
        _check_tokenizer(exported, renderer, texts, found)
    generated = sum(map(len, found["generated"]))
    known: dict[str, Any] = {"weights": len(exported.sums), "generated": generated, "kind": exported.kind}
    if engine is None:
        return Checked(**known)
    with torch.no_grad():
        numbers = _numbers(engine, lines, exported.kind)
        leads = _leads(engine, lines, found["generated"])
    off = (numbers - torch.tensor(found["numbers"], dtype=torch.float64)).abs()
    # Scores have no unit of their own, log-probabilities do.
    size = 1.0 if exported.kind == "model" or not len(numbers) else max(1.0, float(numbers.abs().max()))
    most, mean = _allowed(exported, engine)
    largest, middle = (float(off.max()), float(off.mean())) if len(off) else (0.0, 0.0)
    worst = float(-leads.min()) if len(leads) else 0.0
    if not (largest <= most * size and middle <= mean * size and worst <= most):
        wrong = f"the model in {exported.folder} is not the one that was trained"
        said = f"numbers apart by up to {largest:.1e}, {middle:.1e} in the mean"
        said += f"; generated tokens up to {max(worst, 0.0):.1e} nats from the trained model's own choice"
        accepted = f"up to {most * size:.1e} and {mean * size:.1e}"
        do = "keep the checkpoints, and report this with the model's configuration"
        raise RunError(explain(wrong, found=Said(said), accepted=accepted, do=do))
    greedy = int((leads >= 0).sum())
    return Checked(**known, numbers=len(numbers), most=largest, mean=middle, greedy=greedy)


def _room(engine: LogProbs | None, line: Line, tokens: int) -> int:
    """How many tokens may be generated behind a prompt."""
    start = int(line.spans[0][0]) if len(line.spans) else 0
    if not start:
        return 0
    bounds = [] if engine is None else [engine.limits.longest, engine.limits.positions, engine.limits.tokens]
    return max(0, min([tokens, *(bound - start for bound in bounds if bound)]))


def _numbers(engine: LogProbs, lines: Sequence[Line], kind: Kind) -> Tensor:
    """Log-probabilities of all targets, or scores of all marks, of the trained model, line by line."""
    parts: list[Tensor] = [torch.zeros(0, dtype=torch.float64)]
    names = [name for name, head in engine.heads.items() if kind_of(head) == kind]
    for line in lines:
        if not len(line.marks if names else line.spans):
            continue
        values = engine(layout=engine.lay([line]))
        parts.append((values.heads[names[0]] if names else values.logps).double().cpu())
    return torch.cat(parts)


def _leads(engine: LogProbs, lines: Sequence[Line], generated: Sequence[Sequence[int]]) -> Tensor:
    """How far each generated token stands above all others for the trained model; below zero where it would
    have said another."""
    parts: list[Tensor] = [torch.zeros(0, dtype=torch.float64)]
    for line, said in zip(lines, generated, strict=True):
        if not said:
            continue
        start = int(line.spans[0][0])
        ids = np.concatenate([line.ids[:start], np.asarray(said, line.ids.dtype)])
        marks = np.array([len(ids) - 1]) if len(engine.heads) else line.marks[:0]
        one = Line(ids, np.array([[start, len(ids)]]), marks=marks)
        found = engine(layout=engine.lay([one]), functions={"lead": measured(lead)})
        parts.append(found.functions["lead"].double().cpu())
    return torch.cat(parts)


def _allowed(exported: Exported, engine: LogProbs) -> tuple[float, float]:
    """How far numbers may be apart, by the lowest precision that has a part in them."""
    names = {exported.dtype} | {spelled(weight.dtype) for weight in engine.parameters()}
    device = next(engine.parameters()).device.type
    if torch.is_autocast_enabled(device):
        names.add(spelled(torch.get_autocast_dtype(device)))
    if exported.quant is not None:
        names.add("bfloat16")
    return max(_ALLOWED[name] for name in names if name in _ALLOWED)


def _check_sums(exported: Exported, found: Mapping[str, str]) -> None:
    other = sorted(name for name, one in exported.sums.items() if found.get(name) != one)
    if other:
        wrong = f"weights that are loaded from {exported.folder} are not those that were written"
        said = Said(f"{len(other)} of {len(exported.sums)}, such as {other[0]}")
        do = "keep the checkpoints, look at the disk, and report this with the model's configuration"
        raise RunError(explain(wrong, found=said, accepted="the same bits", do=do))


def _check_tokenizer(
    exported: Exported, renderer: Renderer, texts: Sequence[str], found: Mapping[str, Any]
) -> None:
    given = renderer.settings.chat_template
    template = given if given is not None else renderer.tokenizer.chat_template
    ids = [renderer.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    same = {"its tokens": found["ids"] == ids, "its chat template": found["template"] == template}
    if odd := [name for name, equal in same.items() if not equal]:
        wrong = f"the tokenizer in {exported.folder} is not the one that was trained with"
        do = "take the tokenizer of the model that was trained, and report this"
        said = Said(f"other: {' and '.join(odd)}")
        raise RunError(explain(wrong, found=said, accepted="the same tokens and template", do=do))


def _asked(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What a process of its own finds."""
    quiet = {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryDirectory() as name:
        question, answer = Path(name) / "question.json", Path(name) / "answer.json"
        question.write_text(json.dumps(asked), encoding="utf-8")
        # Without the folder of the program on its path: it holds modules of other names.
        command = [sys.executable, "-P", fresh.__file__, str(question), str(answer)]
        done = subprocess.run(
            command, env=os.environ | quiet, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode == 0:
            return json.loads(answer.read_text(encoding="utf-8"))
    last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    wrong = f"the model in {asked['folder']} cannot be loaded and used in a fresh process"
    do = "keep the checkpoints, and report this with the model's configuration"
    raise RunError(explain(wrong, found=Said(last), accepted="a model that transformers loads", do=do))
