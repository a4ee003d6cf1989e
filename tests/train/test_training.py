"""Every recipe is carried out, and leaves what it says it leaves."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from concord import run as run_module
from concord import wire
from concord.durable import read_object
from concord.engine import LocalPolicy
from concord.errors import CapabilityError, InputError, NotFoundError, RunError
from concord.recipes import offline_methods, read_recipe
from concord.run import Run
from concord.train import Loop, Ranks, Rows, assembling, building, train, training
from concord.train.following import hooks
from concord.train.forecasting import planning
from concord.train.leaving.export import Exported
from concord.train.leaving.trial import Checked
from concord.train.loop import costs
from concord.types import Ledger
from tests.conftest import ROOT
from tests.train import homes

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")


class Heard:
    """Keeps all that is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.rows: list[Mapping[str, float]] = []
        self.begun: list[tuple[int, int]] = []
        self.done: dict[str, int] = {}

    def say(self, text: str) -> None:
        self.lines.append(text)

    def progress(self, what: str, done: int, share: float | None) -> None:
        assert share is None or 0 <= share <= 1
        self.done[what] = done

    def begin(self, steps: int, *, done: int = 0) -> None:
        self.begun.append((steps, done))

    def row(self, row: Mapping[str, float]) -> None:
        self.rows.append(row)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and data that all tests share."""
    folder = tmp_path_factory.mktemp("training")
    homes.home(folder / "model")
    homes.home(folder / "teacher", seed=5)
    homes.home(folder / "older", seed=6)
    for make in (homes.pairs, homes.demonstrations, homes.labels, homes.ratings, homes.steps):
        make(folder)
    return folder


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of its own for each test, and no process beside it: the trial there has tests of its own."""
    monkeypatch.setenv("CONCORD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(training, "check_export", _looked_at)


def _looked_at(exported: Exported, *given: Any, **more: Any) -> Checked:
    assert (exported.folder / "tokenizer.json").is_file()
    return Checked(weights=len(exported.sums))


_DATA = {
    "demonstration": "demonstrations",
    "comparison": "pairs",
    "judgement": "labels",
    "rating": "ratings",
    "steps": "steps",
}


def asked(method: str, place: Path, tmp_path: Path, **settings: Any) -> Any:
    """A recipe of a few steps on the data that the method learns from."""
    from concord.train.methods import asked_of, rows_wanted

    given: dict[str, Any] = {"method": method, "model": str(place / "model"), "data": "?"}
    streams = {
        "teacher": str(place / "teacher"),
        "teacher_ref": str(place / "older"),
        "target_data": [str(place / "demonstrations.jsonl")],
        "pretrain_data": [str(place / "demonstrations.jsonl")],
    }
    for name in _needed(method):
        given[name] = streams[name]
    _, terms = asked_of(read_recipe(given))
    given["data"] = str(place / f"{_DATA[rows_wanted(terms).kinds[0]]}.jsonl")
    usual = {
        "runs": str(tmp_path / "runs"),
        "max_steps": 3,
        "batch_size": 3,
        "logging_steps": 1,
        "samples": 1,
    }
    return read_recipe({**given, **usual, "learning_rate": 1e-3, "warmup_ratio": 0.0, **settings})


def _needed(method: str) -> list[str]:
    from concord.recipes.methods import wants_of

    wants = wants_of(method)
    inputs = set(wants.inputs)
    needed = [name for name in ("teacher", "teacher_ref") if name in inputs]
    needed += ["target_data"] if "target" in inputs else []
    return needed + (["pretrain_data"] if "pretrain" in wants.streams else [])


@pytest.mark.parametrize("method", offline_methods())
def test_every_recipe_runs_and_leaves_a_model(method: str, place: Path, tmp_path: Path) -> None:
    heard = Heard()
    recipe = asked(method, place, tmp_path, eval_share=0.3)
    folder = train(recipe, watch=heard)
    assert folder is not None
    run = Run(folder)
    assert run.status().state == "finished"
    rows = [row for row in run.read_metrics() if "loss" in row]
    assert [row["step"] for row in rows] == [1, 2, 3]
    before, after = (load_file(home / "model.safetensors") for home in (place / "model", folder / "model"))
    shared = before.keys() & after.keys()
    assert shared
    assert any(not torch.equal(before[name], after[name]) for name in shared)
    assert {"prepared.json", "report.html", "resolved.json"} <= {path.name for path in folder.iterdir()}
    assert heard.begun == [(3, 0)]


def test_what_was_stopped_goes_on_to_the_same_end(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"max_steps": 6, "eval_share": 0.3}
    whole = train(asked("dpo", place, tmp_path / "whole", **given))
    advance = Loop.advance

    def until_third(loop: Loop) -> Any:
        done = advance(loop)
        loop.asked = done.step == 3
        return done

    monkeypatch.setattr(Loop, "advance", until_third)
    heard = Heard()
    half = train(asked("dpo", place, tmp_path / "half", **given), watch=heard)
    assert half is not None
    assert whole is not None
    assert Run(half).status().state == "stopped"
    assert "Stopped after step 3. The same command with --resume goes on." in heard.lines
    monkeypatch.setattr(Loop, "advance", advance)
    with pytest.raises(RunError, match=r"has begun already; found a checkpoint of step 3.*--resume"):
        train(asked("dpo", place, tmp_path / "half", **given))
    again = Heard()
    assert train(asked("dpo", place, tmp_path / "half", **given), resume=True, watch=again) == half
    assert again.begun == [(6, 3)]
    assert (half / "model" / "model.safetensors").read_bytes() == (
        whole / "model" / "model.safetensors"
    ).read_bytes()
    assert untimed(half) == untimed(whole)


def test_what_was_stopped_goes_on_in_smaller_parts_where_that_is_asked(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = Loop.advance

    def until_second(loop: Loop) -> Any:
        done = advance(loop)
        loop.asked = done.step == 2
        return done

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "advance", until_second)
        train(asked("dpo", place, tmp_path, max_steps=4))
    heard = Heard()
    folder = train(asked("dpo", place, tmp_path, max_steps=4, micro_tokens=90), resume=True, watch=heard)
    assert folder is not None
    assert "micro-batches of 90 tokens from here on, as asked for" in heard.text
    assert Run(folder).status().state == "finished"


def untimed(folder: Path) -> list[dict[str, float]]:
    """The rows of metrics of a run without what depends on the hour."""
    timed = ("tokens_per_second", "rows_per_second", "step_time", "memory_mb")
    return [{k: v for k, v in row.items() if k not in timed} for row in Run(folder).read_metrics()]


@pytest.mark.parametrize("at", [2, 6])
def test_what_fails_behind_a_checkpoint_costs_no_step(
    at: int, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"max_steps": 6, "eval_share": 0.3, "eval_steps": 2, "save_steps": 2, "logging_steps": 4}
    whole = train(asked("dpo", place, tmp_path / "whole", **given))
    evaluate, looked = hooks.evaluate, list[int]()

    def full(*given: Any, **more: Any) -> Any:
        looked.append(2 * len(looked))
        if looked[-1] == at:
            raise torch.OutOfMemoryError("nothing is left of 1 GiB")
        return evaluate(*given, **more)

    monkeypatch.setattr(hooks, "evaluate", full)
    with pytest.raises(torch.OutOfMemoryError):
        train(asked("dpo", place, tmp_path / "half", **given))
    monkeypatch.setattr(hooks, "evaluate", evaluate)
    again = Heard()
    half = train(asked("dpo", place, tmp_path / "half", **given), resume=True, watch=again)
    assert half is not None
    assert whole is not None
    assert again.begun == [(6, at)]
    assert untimed(half) == untimed(whole)
    assert Run(half).read_results() == Run(whole).read_results()
    model = "model/model.safetensors"
    assert (half / model).read_bytes() == (whole / model).read_bytes()


def test_held_out_figures_say_what_they_rest_on(place: Path, tmp_path: Path) -> None:
    folder = train(asked("sft", place, tmp_path, eval_share=0.3))
    assert folder is not None
    found = {one.name: one for one in Run(folder).read_results()}
    counts = json.loads((folder / "prepared.json").read_text())["counts"]["held_out"]
    assert found["eval_loss"].n == counts["rows"]
    assert found["eval_nll_loss"].n == counts["trained"]
    assert found["eval_loss"].interval is not None
    last = [row for row in Run(folder).read_metrics() if "eval_loss" in row][-1]
    assert {name: one.value for name, one in found.items()} == pytest.approx(
        {name: value for name, value in last.items() if name.startswith("eval_")}
    )


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("nothing is left"), OSError(28, "No space left")])
def test_samples_that_fail_do_not_end_a_run(
    error: Exception, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: Any) -> Any:
        raise error

    monkeypatch.setattr(LocalPolicy, "answer", fails)
    heard = Heard()
    folder = train(asked("sft", place, tmp_path), watch=heard)
    assert folder is not None
    assert Run(folder).status().state == "finished"
    for step in (0, 3):
        assert any(line.startswith(f"no samples at step {step}: ") for line in heard.lines)


def test_a_disk_that_is_full_for_a_while_costs_no_run_and_no_row(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, refused = run_module.write_all, list[int]()

    def full(file: int, content: bytes, **where: Any) -> None:
        if b"loss" in content and len(refused) < 2:
            refused.append(file)
            raise OSError(28, "No space left on device")
        write(file, content, **where)

    monkeypatch.setattr(run_module, "write_all", full)
    heard = Heard()
    folder = train(asked("sft", place, tmp_path), watch=heard)
    assert folder is not None
    assert Run(folder).status().state == "finished"
    (said,) = (line for line in heard.lines if line.startswith("no metrics of step 1 in the run as yet: "))
    assert "No space left on device" in said
    assert [row["step"] for row in Run(folder).read_metrics()] == [1, 2, 3]
    assert [row["step"] for row in heard.rows] == [1, 2, 3]


def test_what_was_settled_is_kept_and_holds_for_what_goes_on(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"max_steps": 4, "lora_r": 2, "learning_rate": {"full": 1e-3, "lora": 1e-2}, "train": "auto"}
    choose, advance = planning.choose, Loop.advance

    def small(ways: Any, *rest: Any, **more: Any) -> Any:
        return choose({"lora": ways["lora"]}, *rest, **more)

    def until_second(loop: Loop) -> Any:
        done = advance(loop)
        loop.asked = done.step == 2
        return done

    monkeypatch.setattr(planning, "choose", small)
    monkeypatch.setattr(Loop, "advance", until_second)
    folder = train(asked("dpo", place, tmp_path, **given))
    assert folder is not None
    file = folder / "settled.json"
    found = json.loads(file.read_text())
    assert (found["train"], found["learning_rate"]) == ("lora", 1e-2)
    assert (found["precision"], found["layout"]) == ("fp32", "forest")
    assert found["micro_tokens"] > 0
    # With memory for more, and another kernel.
    monkeypatch.setattr(planning, "choose", choose)
    monkeypatch.setattr(Loop, "advance", advance)
    file.write_text(json.dumps(found | {"kernel": "another"}))
    heard = Heard()
    train(asked("dpo", place, tmp_path, **given), resume=True, watch=heard)
    assert "trained: an adapter (LoRA), learning rate 0.01" in heard.lines
    assert f"Not as when the run began: kernel was 'another' and is now {found['kernel']!r}" in heard.lines
    assert (folder / "model" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("method", ["sft", "dpo", "kto", "slic_hf", "dckd", "chain_of_hindsight"])
def test_tokens_are_forecast_as_they_are_counted(method: str, place: Path, tmp_path: Path) -> None:
    heard = Heard()
    folder = train(asked(method, place, tmp_path), watch=heard)
    assert folder is not None
    forecast = json.loads((folder / "forecast.json").read_text())
    assert forecast["tokens"] == heard.rows[-1]["num_tokens"]


def test_what_a_run_took_is_counted(place: Path, tmp_path: Path) -> None:
    def took(method: str, where: str, **settings: Any) -> tuple[Ledger, Path]:
        folder = train(asked(method, place, tmp_path / where, **settings))
        assert folder is not None
        return wire.from_json(Ledger, read_object(folder / "ledger.json"), where=where), folder

    whole = sum(one.numel() for one in load_file(place / "model" / "model.safetensors").values())

    def tokens(folder: Path) -> float:
        return max(row["num_tokens"] for row in Run(folder).read_metrics() if "num_tokens" in row)

    sft, folder = took("sft", "a")
    assert (sft.models_loaded, sft.flops) == (1, 6 * whole * tokens(folder))
    dpo, folder = took("dpo", "b", num_train_epochs=1, max_steps=0)
    rows = json.loads((folder / "prepared.json").read_text())["counts"]["train"]
    # Each row is read once by the reference, which is the model itself, and once in training, where rows
    # that are laid out together may share more than their own prompts.
    assert (dpo.models_loaded, dpo.labels) == (1, rows["judgements"])
    assert dpo.flops == 6 * whole * tokens(folder) + 2 * whole * rows["tokens"]
    named, folder = took("dpo", "c", num_train_epochs=1, max_steps=0, reference=str(place / "older"))
    assert (named.models_loaded, named.flops) == (2, dpo.flops)
    moving, folder = took("dpo", "d", reference_sync_steps=1, reference_mixup=0.5)
    assert (moving.models_loaded, moving.flops) == (2, 8 * whole * tokens(folder))
    lora, folder = took("sft", "e", train="lora", lora_r=2)
    added = sum(one.numel() for one in load_file(folder / "model" / "adapter_model.safetensors").values())
    assert lora.flops == (4 * (whole + added) + 2 * added) * tokens(folder)


def test_progress_of_the_reference_counts_rows(place: Path, tmp_path: Path) -> None:
    heard = Heard()
    train(asked("dpo", place, tmp_path, max_steps=4), watch=heard)
    assert heard.done["reference values"] == 10


def test_the_largest_row_is_reckoned_with_its_companions_as_rows_are_padded(
    place: Path, tmp_path: Path
) -> None:
    rows = [
        {"prompt": f"{number} " + "and so on " * (30 * (number % 2)), "completion": words, "label": True}
        for number, words in enumerate(["so " * 60, "no.", "yes " * 50, "well."] * 2)
    ]
    file = homes.written(tmp_path / "uneven.jsonl", rows)
    recipe = asked("kto", place, tmp_path, data=str(file), layout="rows", batch_size=8)
    with ExitStack() as stack:
        job = building.job_of(recipe, Heard(), Ranks(), stack)
        material = building.prepare(job, tmp_path / "rows")
        _, decision = building.decide(job, material)
        source = Rows(material.main.shards, 8, companions=job.asked[0].companions)
        largest = max(costs(source.of(range(8)), "rows"))
        assert decision.sizes.tokens >= largest


@pytest.mark.parametrize("eval_share", [0.0, 0.3])
def test_samples_say_whether_their_prompts_are_held_out(
    eval_share: float, place: Path, tmp_path: Path
) -> None:
    folder = train(asked("sft", place, tmp_path, eval_share=eval_share))
    assert folder is not None
    kept = json.loads((folder / "samples" / "step-3.json").read_text())
    assert kept["held_out"] is bool(eval_share)


def test_a_run_that_was_never_begun_is_not_gone_on_with(place: Path, tmp_path: Path) -> None:
    train(asked("sft", place, tmp_path))
    with pytest.raises(NotFoundError, match=r"found sft-\w+, which differs in learning_rate, stop_token;"):
        train(asked("sft", place, tmp_path, learning_rate=1e-4, stop_token=["<|im_end|>"]), resume=True)


def test_a_run_whose_model_has_changed_is_not_gone_on_with(place: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(place / "model", model)
    train(asked("sft", place, tmp_path, model=str(model)))
    shutil.copy(place / "teacher" / "model.safetensors", model)
    with pytest.raises(NotFoundError, match=r"found sft-\w+, which differs in the content of model;"):
        train(asked("sft", place, tmp_path, model=str(model)), resume=True)


def test_a_finished_run_is_not_done_again(place: Path, tmp_path: Path) -> None:
    first = train(asked("sft", place, tmp_path))
    heard = Heard()
    assert train(asked("sft", place, tmp_path), watch=heard) == first
    assert heard.lines == [f"This run has finished before: {first}"]


def test_an_adapter_is_trained_and_its_reference_is_the_model_below(place: Path, tmp_path: Path) -> None:
    heard = Heard()
    folder = train(asked("dpo", place, tmp_path, train="lora", lora_r=2), watch=heard)
    assert folder is not None
    assert (folder / "model" / "adapter_model.safetensors").is_file()
    assert "reference: the model below the fresh adapter" in heard.text
    # A second stage stands on the first, and its reference is the adapter it came with.
    again = Heard()
    stage = asked("dpo", place, tmp_path, train="lora", model={"run": folder.name}, seed=2)
    train(stage, watch=again)
    assert "reference: the model with the adapter it came with" in again.text
    assert again.rows[0]["loss"] == pytest.approx(0.6931, abs=1e-3)


def test_a_run_stands_where_a_path_may_stand(place: Path, tmp_path: Path) -> None:
    first = train(asked("sft", place, tmp_path))
    assert first is not None
    heard = Heard()
    recipe = asked("dpo", place, tmp_path, model={"run": first.name}, reference=str(place / "model"))
    train(recipe, watch=heard)
    assert f"reference: {place / 'model'}" in heard.text
    assert heard.rows[0]["rewards/margins"] != 0


def told(place: Path, folder: Path) -> str:
    """Comparisons whose columns say what a reference makes of them."""
    rows = [json.loads(line) for line in (place / "pairs.jsonl").read_text().splitlines()]
    for row in rows:
        row |= {"ref_chosen_logps": -20.0, "ref_rejected_logps": -10.0}
    return str(homes.written(folder / "told.jsonl", rows))


def test_values_of_the_reference_that_the_data_bring_are_taken_where_that_is_asked(
    place: Path, tmp_path: Path
) -> None:
    file, heard = told(place, tmp_path), Heard()
    folder = train(asked("dpo", place, tmp_path, data=file, reference="columns"), watch=heard)
    assert "reference: columns of the data; the policy is apart from them at step 0 by up to" in heard.text
    assert heard.rows[0]["logps/ref_chosen"] == -20.0
    assert heard.rows[0]["logps/ref_rejected"] == -10.0
    assert folder is not None
    assert Run(folder).resolved["reference"] == "columns"


def test_columns_of_a_reference_that_nobody_asks_for_are_left_alone_aloud(
    place: Path, tmp_path: Path
) -> None:
    heard = Heard()
    train(asked("dpo", place, tmp_path, data=told(place, tmp_path)), watch=heard)
    assert (
        "reference: the data bring ref_chosen_logps and ref_rejected_logps, which are not used; "
        "`reference: columns` takes them in place of a model"
    ) in heard.lines
    assert heard.rows[0]["logps/ref_chosen"] == pytest.approx(heard.rows[0]["logps/chosen"], abs=1e-3)


def test_columns_of_a_reference_do_not_speak_of_replies_that_were_cut(place: Path, tmp_path: Path) -> None:
    cut = {"max_length": 40, "on_long": "reply-right"}
    with pytest.raises(InputError, match=r"do not fit replies that were cut; found \d+ rows cut"):
        train(asked("dpo", place, tmp_path, data=told(place, tmp_path), reference="columns", **cut))
    with pytest.raises(InputError, match="replies that this method adds to each row; found mismatched"):
        train(asked("kto", place, tmp_path, reference="columns"))


def test_a_named_reference_that_is_the_model_itself_equals_it(place: Path, tmp_path: Path) -> None:
    for number, how in enumerate(({"precision": "bf16"}, {"train": "lora", "lora_r": 2})):
        heard = Heard()
        same = asked("dpo", place, tmp_path / str(number), reference=str(place / "model"), **how)
        train(same, watch=heard)
        assert "reference: equal to the policy at step 0" in heard.text
    heard = Heard()
    train(asked("dpo", place, tmp_path, reference=str(place / "older")), watch=heard)
    assert "equal to the policy" not in heard.text


def test_a_teacher_of_several_terms_is_loaded_once(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    own = assembling.opened
    monkeypatch.setattr(assembling, "opened", lambda path, *more: loaded.append(path) or own(path, *more))
    train(asked("dckd", place, tmp_path))
    train(asked("adpa", place, tmp_path))
    assert loaded == [str(place / "teacher"), str(place / "teacher"), str(place / "older")]


def test_a_moving_reference_moves(place: Path, tmp_path: Path) -> None:
    heard = Heard()
    train(asked("dpo", place, tmp_path, reference_sync_steps=1, reference_mixup=1.0), watch=heard)
    # Where it is the policy itself at every step, the loss stays ln 2.
    assert [round(row["loss"], 4) for row in heard.rows] == [0.6931] * 3
    whole = {"train": "lora", "lora_r": 2, "reference_sync_steps": 1, "reference_mixup": 1.0}
    heard = Heard()
    folder = train(asked("dpo", place, tmp_path, **whole), watch=heard)
    assert [round(row["loss"], 4) for row in heard.rows] == [0.6931] * 3
    assert folder is not None
    learned = load_file(folder / "model" / "adapter_model.safetensors")
    assert any("lora_B" in name and bool(one.any()) for name, one in learned.items())


def test_bfloat16_comes_back_as_bfloat16(place: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    half = AutoModelForCausalLM.from_pretrained(place / "model", dtype=torch.bfloat16)
    half.save_pretrained(tmp_path / "half")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "half" / name).write_bytes((place / "model" / name).read_bytes())
    folder = train(asked("sft", place, tmp_path, model=str(tmp_path / "half")))
    assert folder is not None
    assert {one.dtype for one in load_file(folder / "model" / "model.safetensors").values()} == {
        torch.bfloat16
    }


@pytest.mark.parametrize("how", [{"gradient_checkpointing": True}, {"layout": "rows"}, {"micro_tokens": 90}])
def test_how_it_is_computed_changes_no_figure(how: dict[str, Any], place: Path, tmp_path: Path) -> None:
    plain, other = Heard(), Heard()
    train(asked("dpo", place, tmp_path / "plain"), watch=plain)
    train(asked("dpo", place, tmp_path / "other", **how), watch=other)
    for name in ("loss", "grad_norm", "rewards/margins"):
        assert [row[name] for row in other.rows] == pytest.approx(
            [row[name] for row in plain.rows], rel=1e-3, abs=1e-4
        )


def test_a_dry_run_says_what_would_be_done_and_leaves_nothing(place: Path, tmp_path: Path) -> None:
    heard = Heard()
    assert train(asked("dpo", place, tmp_path), dry_run=True, watch=heard) is None
    assert "rows: 10 to train on" in heard.text
    assert "columns: prompt=prompt chosen=chosen rejected=rejected" in heard.text
    assert "steps: 3 in " in heard.text
    assert "memory at the peak" in heard.text
    assert "time: " in heard.text
    assert not (tmp_path / "runs").exists()


def test_what_is_missing_is_said(place: Path, tmp_path: Path) -> None:
    first = asked("sft", place, tmp_path, data=str(place / "steps.jsonl"))
    with pytest.raises(InputError):
        train(first)
    with pytest.raises(CapabilityError, match="has no model yet"):
        train(asked("sft", place, tmp_path, model={"run": "sft"}))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"device": "abacus"}, "the device cannot be used; found 'abacus'"),
        ({"chat_template": "none.jinja"}, "the chat template none.jinja cannot be read"),
        ({"eval_share": 0.999}, "every row is held out, and none is left to train on"),
    ],
)
def test_what_cannot_be_is_said(settings: dict[str, Any], told: str, place: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        train(asked("dpo", place, tmp_path, **settings))
    assert told in str(caught.value)


@pytest.mark.parametrize("config", [{}, {"model_type": "nosuch"}])
def test_a_model_of_no_known_kind_is_refused(config: dict[str, str], place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "model", tmp_path / "odd")
    (tmp_path / "odd" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="the configuration of a model could not be read"):
        train(asked("dpo", place, tmp_path, model=str(tmp_path / "odd")))


def test_every_model_is_looked_for_before_rows_are_read(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "load_material", lambda *_: pytest.fail("rows were read"))
    with pytest.raises(NotFoundError, match=r"no such folder; found '.*taecher'; .*did you mean '.*teacher'"):
        train(asked("gkd", place, tmp_path, teacher=str(place / "taecher")))
    with pytest.raises(NotFoundError, match=r"no such folder; found '.*older/not'"):
        train(asked("dpo", place, tmp_path, reference=str(place / "older" / "not")))
    (tmp_path / "odd").mkdir()
    with pytest.raises(NotFoundError, match="the configuration of a model could not be read"):
        train(asked("dpo", place, tmp_path, reference=str(tmp_path / "odd")))


def test_rows_before_none_of_which_another_prompt_can_be_put_are_refused_when_they_are_read(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "load_trainee", lambda *_: pytest.fail("a model was loaded"))
    rows = [json.loads(line) for line in (place / "labels.jsonl").read_text().splitlines()]
    one = homes.written(tmp_path / "one.jsonl", rows[:1])
    with pytest.raises(
        InputError, match=r"no other prompt can be put before a reply, .*; found a single row"
    ):
        train(asked("kto", place, tmp_path, data=str(one)))
    same = homes.written(tmp_path / "same.jsonl", [row | {"prompt": "Same?"} for row in rows])
    with pytest.raises(InputError, match="; found 10 rows that ask the same"):
        train(asked("kto", place, tmp_path, data=str(same)))


def test_a_teacher_of_other_tokens_is_refused_before_rows_are_read(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = building.load_material
    monkeypatch.setattr(building, "load_material", lambda *_: pytest.fail("rows were read"))
    teacher = tmp_path / "teacher"
    homes.home(teacher, vocab_size=500)
    with pytest.raises(InputError, match=r"the teacher does not speak of the same tokens; found 500 of them"):
        train(asked("gkd", place, tmp_path, teacher=str(teacher)))
    shutil.copytree(place / "teacher", tmp_path / "odd")
    file = tmp_path / "odd" / "tokenizer.json"
    told = json.loads(file.read_text())
    numbers = sorted(told["model"]["vocab"].values())
    told["model"]["vocab"] = dict(zip(told["model"]["vocab"], numbers[5:] + numbers[:5], strict=True))
    file.write_text(json.dumps(told))
    with pytest.raises(InputError, match=r"the teacher_ref means other tokens by the same numbers"):
        train(asked("adpa", place, tmp_path, teacher_ref=str(tmp_path / "odd")))
    monkeypatch.setattr(building, "load_material", read)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "odd" / name).unlink()
    heard = Heard()
    train(asked("gkd", place, tmp_path, teacher=str(tmp_path / "odd")), watch=heard, dry_run=True)
    assert "teacher: without a tokenizer, so its tokens are taken for those of the student" in heard.lines


def test_weights_that_are_no_numbers_are_named(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "model", tmp_path / "odd")
    weights = load_file(tmp_path / "odd" / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, tmp_path / "odd" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"a weight that is no number; found model\.norm\.weight"):
        train(asked("dpo", place, tmp_path, model=str(tmp_path / "odd")))


OWN = """
from torch.nn.functional import logsigmoid
from concord.tensors import PerPair, ReferencedPairs


def mine(pairs: ReferencedPairs, *, beta: float = 0.2) -> PerPair:
    \\"\\"\\"One's own.

    loss = -log sigmoid(beta h)

    paper: none
    beta: steepness
    \\"\\"\\"
    return -logsigmoid(beta * pairs.margin)
"""


def test_a_function_of_ones_own_is_an_objective(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_losses.py").write_text(OWN.replace("\\", ""))
    monkeypatch.syspath_prepend(str(tmp_path))
    data = {"data": str(place / "pairs.jsonl"), "model": str(place / "model"), "runs": str(tmp_path / "runs")}
    short = {"max_steps": 2, "batch_size": 3, "logging_steps": 1, "samples": 0, "learning_rate": 1e-3}
    heard = Heard()
    train(read_recipe({"method": "own_losses:mine", "beta": 0.3, **data, **short}), watch=heard)
    assert heard.rows[0]["loss"] == pytest.approx(0.6931, abs=1e-3)


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("def mine(:", "cannot be imported (SyntaxError: "),
        ("raise SystemExit(3)", "cannot be imported (SystemExit: 3)"),
        ("def mine(pairs): return pairs", "the first parameter of mine is no record"),
        (OWN.replace("pairs.margin)", "pairs.margin).mean()"), "a tensor of shape () for 3"),
        (OWN.replace("return ", "return None and "), "found NoneType"),
        (OWN.replace("pairs.margin)", "pairs.margin.detach())"), "losses without a gradient"),
    ],
)
def test_a_function_of_ones_own_that_is_none_is_refused(
    module: str, told: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"wrong_{sha256(told.encode()).hexdigest()}"
    (tmp_path / f"{name}.py").write_text(module.replace("\\", ""))
    monkeypatch.syspath_prepend(str(tmp_path))
    data = {"data": str(place / "pairs.jsonl"), "model": str(place / "model"), "runs": str(tmp_path / "runs")}
    with pytest.raises(InputError) as caught:
        train(read_recipe({"method": f"{name}:mine", "max_steps": 2, "batch_size": 3, "samples": 0, **data}))
    assert told in str(caught.value)


def test_an_error_in_a_function_of_ones_own_is_told_with_its_place_before_a_model_is_asked(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = OWN.replace("\\", "").replace("    return", "    return pairs.margins")
    (tmp_path / "raising.py").write_text(text)
    line = next(number for number, one in enumerate(text.splitlines(), 1) if "pairs.margins" in one)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(assembling.Assembling, "reference", lambda *_: pytest.fail("a reference was asked"))
    with pytest.raises(InputError) as caught:
        train(asked_own("raising:mine", place, tmp_path))
    said = str(caught.value)
    assert said.startswith("the objective raising:mine fails on ReferencedPairs (AttributeError: ")
    assert f"{tmp_path / 'raising.py'}:{line};" in said


LOGITS = """
from concord.tensors import Logits, PerToken


def mine(logits: Logits, *, teacher: Logits) -> PerToken:
    \"\"\"One's own.

    loss = (policy - teacher)^2

    paper: none
    teacher: the teacher's logits
    \"\"\"
    raise KeyError("tail")
"""


def test_an_error_on_logits_is_told_before_a_teacher_is_loaded(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raising_on_logits.py").write_text(LOGITS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(assembling.Assembling, "teachers", lambda *_: pytest.fail("a teacher was loaded"))
    with pytest.raises(InputError, match=r"fails on Tensor \(KeyError: 'tail'\); found raise KeyError"):
        train(asked_own("raising_on_logits:mine", place, tmp_path, teacher=str(place / "teacher")))


def asked_own(method: str, place: Path, tmp_path: Path, **settings: Any) -> Any:
    """A recipe of two steps by a function of one's own."""
    data = {"data": str(place / "pairs.jsonl"), "model": str(place / "model"), "runs": str(tmp_path / "runs")}
    return read_recipe({"method": method, "max_steps": 2, "batch_size": 3, "samples": 0, **data, **settings})


HELD = """
from torch.nn.functional import logsigmoid
from concord.tensors import PerPair, ReferencedPairs, Replies


def held(pairs: ReferencedPairs, *, target: Replies, beta: float = 0.2) -> PerPair:
    \"\"\"Held by other demonstrations.

    loss = -log sigmoid(beta h) - log pi(target)

    paper: none
    target: a reply of the supervised data
    beta: steepness
    \"\"\"
    return -logsigmoid(beta * pairs.margin) - target.logp
"""


def test_rows_of_another_stream_change_from_epoch_to_epoch_and_the_reference_knows_them_all(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "held_losses.py").write_text(HELD.replace("\\", ""))
    monkeypatch.syspath_prepend(str(tmp_path))
    homes.written(
        tmp_path / "others.jsonl",
        ({"prompt": f"And number {number}?", "completion": f"It is {number}."} for number in range(7)),
    )
    given = {"target_data": [str(tmp_path / "others.jsonl")], "runs": str(tmp_path / "runs")}
    data = {"data": str(place / "pairs.jsonl"), "model": str(place / "model"), "eval_share": 0.3}
    short = {"max_steps": 8, "batch_size": 3, "logging_steps": 1, "samples": 0, "learning_rate": 1e-3}
    heard = Heard()
    train(read_recipe({"method": "held_losses:held", **data, **given, **short}), watch=heard)
    assert len([row for row in heard.rows if "loss" in row]) == 8


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_a_compiled_model_learns_the_same(method: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.train.compiled", str(tmp_path), method]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    plain, compiled = (np.array(rows) for rows in json.loads(done.stdout.splitlines()[-1]))
    assert len(plain) == 3
    assert compiled == pytest.approx(plain, rel=1e-3)


def test_an_adapter_on_weights_of_four_bits_is_trained(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="needs the extra quant")
    heard = Heard()
    folder = train(asked("dpo", place, tmp_path, train="lora", quant="4bit", max_steps=6), watch=heard)
    assert folder is not None
    assert (folder / "model" / "adapter_model.safetensors").is_file()
    losses = [row["loss"] for row in heard.rows]
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)
    assert losses[-1] < losses[0]
