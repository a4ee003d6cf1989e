"""The methods written out flat: what they read, learn and save is what the package does."""

import ast
import copy
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="the examples train")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from concord import objectives
from concord.data import Prepared, Shards
from concord.engine import LogProbs
from concord.objectives import describe
from concord.recipes import read_recipe
from concord.render import Rendered, Renderer, RenderSettings
from concord.tensors import PerToken
from concord.train import Batch, Loop, Optimizing, Policy, Task, Term, adamw, fit
from concord.train.following import Recorder
from concord.train.rows import load_rows, open_data, wanted
from concord.types import Item, as_prompt, as_turns
from examples import dpo_from_scratch, sft_from_scratch
from tests.conftest import ROOT
from tests.render.templates import tokenizer
from tests.train import homes

TWINS: dict[str, Any] = {"sft": sft_from_scratch, "dpo": dpo_from_scratch}
DATA = {"sft": homes.demonstrations, "dpo": homes.pairs}
both = pytest.mark.parametrize("name", TWINS)

ROWS = 11
ASKED = {
    "learning-rate": 5e-4,
    "num-train-epochs": 2,
    "batch-size": 4,
    "micro-batch": 3,
    "warmup-ratio": 0.2,
    "weight-decay": 0.1,
    "max-grad-norm": 0.5,
}
HOW = Optimizing(learning_rate=5e-4, schedule="cosine", warmup_steps=2, weight_decay=0.1, max_grad_norm=0.5)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in a folder, with data of both kinds beside it."""
    folder = tmp_path_factory.mktemp("examples")
    homes.home(folder / "model")
    for make in DATA.values():
        make(folder, ROWS)
    return folder


def command(name: str, place: Path, output: Path, **asked: object) -> list[str]:
    """Flags of a script."""
    data = place / ("pairs.jsonl" if name == "dpo" else "demonstrations.jsonl")
    given = {"model": place / "model", "data": data, "output": output, **asked}
    return [part for flag, value in given.items() for part in (f"--{flag}", str(value))]


# --- equal to the loop of the package ---------------------------------------------------------------------


@dataclass(frozen=True)
class InOrder:
    """A source of the rows that a script takes at each step, as the package has read them."""

    rows: Shards
    order: Sequence[Sequence[int]]

    def batch(self, step: int) -> Batch:
        rows: list[Prepared] = [self.rows[place] for place in self.order[step]]
        return Batch.of_step(rows)


def fitted(name: str, place: Path, folder: Path, order: Sequence[Sequence[int]]) -> Any:
    """What `fit` makes of the same folder and file: its rows of metrics, and the model."""
    model: Any = AutoModelForCausalLM.from_pretrained(place / "model")
    frozen = LogProbs(copy.deepcopy(model))

    def reference(lines: Any) -> PerToken:
        with torch.no_grad():
            return frozen(layout=frozen.lay(lines)).logps

    objective = getattr(objectives, name)
    file = place / ("pairs.jsonl" if name == "dpo" else "demonstrations.jsonl")
    read = wanted(describe(objective))
    rows = load_rows(open_data(str(file)), read, Renderer.load(place / "model"), folder).shards
    assert len(rows) == ROWS
    engine = LogProbs(model)
    term = Term(Task(objective, reference=reference), InOrder(rows, order))
    told: list[Mapping[str, float]] = []
    loop = Loop(Policy(engine), [term], adamw(engine, HOW), HOW, steps=len(order), budget=200)
    fit(loop, [Recorder(1, lambda step: step / 3, told.append)])
    return told, model


def weights(folder: Path) -> Mapping[str, Any]:
    """The weights that lie in a folder."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    return model.state_dict()


@both
def test_losses_and_weights_are_those_of_fit(name: str, place: Path, tmp_path: Path) -> None:
    twin = TWINS[name]
    args = twin.flags(command(name, place, tmp_path / "tuned", **ASKED))
    losses = twin.main(args)
    order = twin.batches(range(ROWS), args)
    assert [len(step) for step in order] == [4, 4, 4, 4, 4, 2]
    told, theirs = fitted(name, place, tmp_path / "rows", order)
    assert losses == pytest.approx([row["loss"] for row in told], abs=1e-5, rel=0)
    before, ours = (weights(folder) for folder in (place / "model", tmp_path / "tuned"))
    assert ours.keys() == theirs.state_dict().keys()
    for key, weight in theirs.state_dict().items():
        assert float((ours[key] - weight).abs().max()) < 1e-5, key
        # Weights that stand still would be equal whatever the gradients are.
        assert float((before[key] - weight).abs().max()) > 1e-4, key
    assert min(row["grad_norm"] for row in told) > HOW.max_grad_norm
    assert max(losses) - min(losses) > 0.1


@both
def test_the_parts_of_a_step_change_nothing(name: str, place: Path, tmp_path: Path) -> None:
    twin = TWINS[name]
    asked = ASKED | {"num-train-epochs": 1}
    losses = [
        twin.main(twin.flags(command(name, place, tmp_path / str(size), **asked | {"micro-batch": size})))
        for size in (1, 4)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5, rel=0)


@both
def test_every_epoch_goes_through_all_rows_in_an_order_of_its_own(name: str) -> None:
    twin = TWINS[name]
    args = twin.flags(["--model", "m", "--data", __file__, "--output", "o", "--num-train-epochs", "2"])
    args.batch_size = ROWS
    first, second = twin.batches(range(ROWS), args)
    assert sorted(first) == sorted(second) == list(range(ROWS))
    assert first != second
    assert twin.batches(range(ROWS), args) == [first, second]


# --- what is learned from ---------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    "family", ["chatml", "llama3", "zephyr", "vicuna", "qwen25", "base", "base in pieces", "base without bos"]
)
def test_tokens_and_spans_are_those_of_the_renderer(name: str, family: str) -> None:
    chosen = tokenizer(family)
    prompt, reply = "What is the capital of France?", "Paris, I think.\n\nOr not."
    renderer = Renderer(chosen, settings=RenderSettings(plain=chosen.chat_template is None))
    item = Item(as_prompt(prompt), (as_turns(reply),))
    (rendered,) = renderer.render([item])
    assert isinstance(rendered, Rendered)
    ((leaf,),) = rendered.replies
    found = TWINS[name].tokenised(chosen, prompt, reply)
    assert found.ids == leaf.ids.tolist()
    assert [[found.start, len(found.ids)]] == leaf.spans.tolist()


@both
@pytest.mark.parametrize(
    ("family", "reply"),
    [
        ("qwen3", "Paris."),  # writes an empty thought before it
        ("phi3", "Paris."),  # ends a turn on another token
        ("llama3", "<|eot_id|>"),  # says the stop token
    ],
)
def test_what_a_template_makes_something_else_of_is_refused(name: str, family: str, reply: str) -> None:
    with pytest.raises(ValueError, match="does not stand the reply"):
        TWINS[name].tokenised(tokenizer(family), "Where is it?", reply)


@both
def test_a_prompt_that_runs_into_its_reply_is_refused(name: str) -> None:
    bare = tokenizer("base without bos")
    for prompt in ("", "The quick bro"):
        with pytest.raises(ValueError, match="first token"):
            TWINS[name].tokenised(bare, prompt, "wn fox")


@both
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": None}, "something else than text"),
        ({"prompt": [{"role": "user", "content": "Why?"}]}, "something else than text"),
        ({"prompt": "Why? " * 200}, "tokens, more than --max-length"),
        ({}, "Expecting value"),
    ],
)
def test_a_row_that_cannot_be_learned_from_is_named(
    name: str, change: Mapping[str, Any], said: str, place: Path, tmp_path: Path
) -> None:
    file = DATA[name](tmp_path, 3)
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    homes.written(file, [*rows[:2], rows[2] | change] if change else rows)
    if not change:
        with file.open("a", encoding="utf-8") as broken:
            broken.write("not json\n")
    args = TWINS[name].flags(command(name, place, tmp_path / "o", data=file, **{"max-length": 100}))
    with pytest.raises(SystemExit) as ended:
        TWINS[name].main(args)
    assert f"{file}:{3 if change else 4}: " in str(ended.value)
    assert said in str(ended.value)


@both
def test_a_missing_column_and_an_empty_file_are_said(name: str, place: Path, tmp_path: Path) -> None:
    for rows, said in (([{"prompt": "Why?"}], ":1: '"), ([], "there are no rows")):
        file = homes.written(tmp_path / "rows.jsonl", rows)
        args = TWINS[name].flags(command(name, place, tmp_path / "o", data=file))
        with pytest.raises(SystemExit, match=said):
            TWINS[name].main(args)


@both
def test_a_model_that_is_not_there_is_said(name: str, place: Path, tmp_path: Path) -> None:
    args = TWINS[name].flags(command(name, place, tmp_path / "o", model=tmp_path / "nowhere"))
    with pytest.raises(SystemExit, match=r"^--model: .*nowhere"):
        TWINS[name].main(args)


@both
def test_a_tokenizer_without_a_stop_token_is_refused(name: str, place: Path, tmp_path: Path) -> None:
    endless = copy.deepcopy(tokenizer("chatml"))
    endless.eos_token = None
    endless.save_pretrained(tmp_path / "model")
    args = TWINS[name].flags(command(name, place, tmp_path / "o", model=tmp_path / "model"))
    with pytest.raises(SystemExit, match="no stop token"):
        TWINS[name].main(args)


@both
def test_counts_are_counts(
    name: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        TWINS[name].flags(command(name, place, tmp_path / "o", **{"micro-batch": 0}))
    assert "counts of 1 or more" in capsys.readouterr().err


@both
def test_nothing_that_is_there_is_written_over(
    name: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        TWINS[name].flags(command(name, place, tmp_path))
    assert "is there already" in capsys.readouterr().err


@both
def test_a_gradient_that_is_no_number_ends_it(name: str, place: Path, tmp_path: Path) -> None:
    broken: Any = AutoModelForCausalLM.from_pretrained(place / "model")
    with torch.no_grad():
        broken.lm_head.weight[0, 0] = float("nan")
    broken.save_pretrained(tmp_path / "broken")
    tokenizer("chatml").save_pretrained(tmp_path / "broken")
    args = TWINS[name].flags(command(name, place, tmp_path / "o", model=tmp_path / "broken"))
    with pytest.raises(SystemExit, match="step 1: the norm of the gradient is nan"):
        TWINS[name].main(args)
    assert not args.output.exists()


# --- as people meet them ----------------------------------------------------------------------------------


@both
def test_flags_and_defaults_are_those_of_the_recipe(name: str, place: Path, tmp_path: Path) -> None:
    args = vars(TWINS[name].flags(command(name, place, tmp_path / "o")))
    recipe = read_recipe({"method": name, "model": "m", "data": ["d"]}).settled("full")
    for own in ("model", "data", "output", "micro_batch"):
        del args[own]
    assert args == {key: recipe.resolved[key] for key in args}
    assert recipe.lr_scheduler_type == "cosine"
    assert (recipe.adam_beta1, recipe.adam_beta2, recipe.adam_epsilon) == (0.9, 0.999, 1e-8)


def test_the_commands_that_the_page_shows_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("demonstrations.jsonl", "pairs.jsonl"):
        Path(file).touch()
    page = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"^python examples/(\w+)_from_scratch.py (.*)$", page, re.MULTILINE)
    assert {name for name, _ in shown} == TWINS.keys()
    for name, asked in shown:
        TWINS[name].flags(shlex.split(asked))


@both
def test_of_ours_only_the_mathematics_is_imported(name: str) -> None:
    tree = ast.parse(Path(TWINS[name].__file__).read_text(encoding="utf-8"))
    assert {
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("concord")
    } == {"concord.objectives", "concord.tensors"}
    plain = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert not [module for module in plain if module.startswith("concord")]


@pytest.mark.slow
@both
def test_the_script_makes_a_folder_that_transformers_loads(name: str, place: Path, tmp_path: Path) -> None:
    came: Any = AutoModelForCausalLM.from_pretrained(place / "model", dtype=torch.bfloat16)
    came.save_pretrained(tmp_path / "model")
    tokenizer("chatml").save_pretrained(tmp_path / "model")
    asked = {"model": tmp_path / "model", "batch-size": 8, "learning-rate": 1e-3, "num-train-epochs": 1}
    script = [sys.executable, f"examples/{name}_from_scratch.py"]
    done = subprocess.run(
        [*script, *command(name, place, tmp_path / "tuned", **asked)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == ["step 1/2", "step 2/2"]
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "tuned")
    assert model.dtype == torch.bfloat16
    speaker: Any = AutoTokenizer.from_pretrained(tmp_path / "tuned")
    ids = speaker.apply_chat_template(
        [{"role": "user", "content": "Why?"}], add_generation_prompt=True, return_tensors="pt"
    )["input_ids"]
    assert model.generate(ids, max_new_tokens=3, do_sample=False).shape[1] > ids.shape[1]
    moved = [
        bool((one != other).any()) for one, other in zip(model.parameters(), came.parameters(), strict=True)
    ]
    assert any(moved)
