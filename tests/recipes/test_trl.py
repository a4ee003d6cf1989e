"""Settings of TRL as recipes: nothing is lost, TRL's defaults are said, and they are TRL's."""

import dataclasses
import importlib
import math
import re
from typing import Any

import pytest

from concord.errors import RecipeError
from concord.recipes import from_trl, read_recipe
from concord.recipes.elsewhere import LOSSES

NEEDED = {"model": "m", "data": "d", "teacher": "t"}
CONFIGS = {
    "dpo": "trl.DPOConfig",
    "sft": "trl.SFTConfig",
    "kto": "trl.KTOConfig",
    "reward": "trl.RewardConfig",
    "cpo": "trl.experimental.cpo.CPOConfig",
    "orpo": "trl.experimental.orpo.ORPOConfig",
    "gkd": "trl.experimental.gkd.GKDConfig",
}


def checked(recipe: dict[str, Any]) -> dict[str, Any]:
    """What a converted recipe resolves to, with what it lacks to be one."""
    needed = {k: v for k, v in NEEDED.items() if k != "teacher" or recipe["method"] == "gkd"}
    return read_recipe({**needed, **recipe}).resolved


def test_a_usual_file() -> None:
    recipe, mapped, left = from_trl(
        {
            "model_name_or_path": "org/model",
            "dataset_name": "prefs.jsonl",
            "learning_rate": 5e-6,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 8,
            "num_train_epochs": 1,
            "lr_scheduler_type": "cosine",
            "warmup_ratio": 0.1,
            "beta": 0.05,
            "max_length": 2048,
            "bf16": True,
            "use_peft": True,
            "lora_r": 32,
            "load_in_4bit": True,
            "output_dir": "out/first",
            "eval_strategy": "steps",
            "eval_steps": 50,
            "report_to": ["wandb", "mlflow"],
            "hub_model_id": "org/other",
            "padding_free": None,
        }
    )
    assert recipe == {
        "method": "dpo",
        "learning_rate": 5e-6,
        "batch_size": 32,
        "num_train_epochs": 1.0,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.1,
        "seed": 42,
        "max_length": 2048,
        "on_long": "reply-right",
        "train": "lora",
        "quant": "4bit",
        "precision": "bf16",
        "runs": "out",
        "name": "first",
        "eval_steps": 50,
        "report_to": ["wandb"],
        "model": "org/model",
        "data": "prefs.jsonl",
        "beta": 0.05,
        "lora_r": 32,
    }
    assert (
        "per_device_train_batch_size 4 x gradient_accumulation_steps 8, on one device -> batch_size: 32"
        in mapped
    )
    assert [line.partition(":")[0] for line in left] == ["report_to", "hub_model_id"]
    assert read_recipe({**recipe, "eval_share": 0.1}).rate == 5e-6


@pytest.mark.parametrize(("trainer", "loss"), [(t, loss) for t, known in LOSSES.items() for loss in known])
def test_every_loss_becomes_a_recipe_that_reads(trainer: str, loss: str) -> None:
    given = {"loss_type": loss.split("+") if "+" in loss else loss} if loss else {}
    recipe, _, _ = from_trl(given, trainer)
    assert recipe["method"] == LOSSES[trainer][loss]
    assert checked(recipe)["train"] == "full"


@pytest.mark.parametrize(
    ("trainer", "given", "said"),
    [
        ("dpo", {"loss_type": "ipo", "beta": 0.2}, {"method": "ipo_token_mean", "tau": 0.2}),
        ("dpo", {"loss_type": "robust", "label_smoothing": 0.2}, {"method": "robust_dpo", "flip_rate": 0.2}),
        ("dpo", {"loss_type": "sppo_hard"}, {"beta": 0.1}),
        ("dpo", {"loss_type": "exo_pair", "label_smoothing": 0.01}, {"label_smoothing": 0.01}),
        (
            "dpo",
            {"loss_type": ["sigmoid", "sft"], "loss_weights": [2, 1]},
            {"method": "dpo_nll", "alpha": 0.5},
        ),
        ("dpo", {"use_weighting": True}, {"method": "wpo", "beta": 0.1}),
        (
            "dpo",
            {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.75},
            {"method": "f_dpo", "divergence": "alpha", "alpha": 0.25},
        ),
        ("dpo", {"sync_ref_model": True, "ref_model_mixup_alpha": 0.5}, {"reference_sync_steps": 512}),
        ("dpo", {"max_steps": 10, "warmup_steps": 3}, {"max_steps": 10, "warmup_steps": 3}),
        ("dpo", {"warmup_steps": 0.1}, {"warmup_ratio": 0.1}),
        ("dpo", {"truncation_mode": "keep_end"}, {"on_long": "prompt-left"}),
        ("dpo", {"dtype": "bfloat16"}, {"precision": "bf16"}),
        ("dpo", {"bf16": False}, {"precision": "fp32"}),
        ("cpo", {"loss_type": "simpo", "cpo_alpha": 0.0}, {"beta": 0.1, "gamma": 0.5}),
        ("cpo", {"cpo_alpha": 0.5}, {"method": "cpo", "alpha": 0.5}),
        ("orpo", {"beta": 0.2}, {"method": "orpo", "lam": 0.2}),
        ("kto", {"desirable_weight": 1.3}, {"method": "kto", "desirable_weight": 1.3}),
        ("gkd", {}, {"method": "gkd", "beta": 0.5, "learning_rate": 2e-5}),
    ],
)
def test_what_is_called_otherwise_is_said_so(
    trainer: str, given: dict[str, Any], said: dict[str, Any]
) -> None:
    resolved = checked(from_trl(given, trainer)[0])
    assert {name: resolved[name] for name in said} == said


@pytest.mark.parametrize(
    ("trainer", "given", "left"),
    [
        ("dpo", {"optim": "adafactor"}, "optim: AdamW is the optimiser"),
        ("dpo", {"fp16": True}, "fp16: there is no fp16 here"),
        ("dpo", {"lr_scheduler_type": "polynomial"}, "lr_scheduler_type: polynomial is not among"),
        ("dpo", {"lora_r": 8}, "lora_r: without use_peft there is no adapter"),
        ("dpo", {"label_smoothing": 0.1}, "label_smoothing: method: cdpo or robust_dpo"),
        ("dpo", {"eval_steps": 5}, "eval_steps: without eval_strategy nothing is evaluated"),
        ("dpo", {"save_strategy": "epoch"}, "save_strategy: epoch: here it is by number of steps"),
        ("cpo", {"loss_type": "simpo"}, "cpo_alpha: 1.0 adds imitation"),
        ("cpo", {"alpha": 0.5}, "alpha: cpo has nothing that says it"),
        ("gkd", {}, "lmbda: 0.5: replies are those of the data here"),
        ("orpo", {"loss_type": "x"}, "loss_type: TRL's orpo has one loss"),
        ("sft", {"packing": True}, "packing: layout: forest pads nothing"),
        ("dpo", {"max_length": 9, "max_prompt_length": 5}, "max_prompt_length: it says nothing beside"),
        ("dpo", {"ref_model_sync_steps": 5}, "ref_model_sync_steps: it says nothing beside the others"),
        ("sft", {"my_own": 1}, "my_own: sft has nothing that says it"),
    ],
)
def test_what_has_no_meaning_here_is_listed_with_the_reason(
    trainer: str, given: dict[str, Any], left: str
) -> None:
    assert any(line.startswith(left) for line in from_trl(given, trainer)[2])


def test_what_has_no_counterpart_is_refused() -> None:
    with pytest.raises(RecipeError, match="no counterpart to this loss of TRL's dpo; found 'bespoke'"):
        from_trl({"loss_type": "bespoke"})
    with pytest.raises(RecipeError, match="no such trainer of TRL; found 'ppo'"):
        from_trl({}, "ppo")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"per_device_train_batch_size": [1]}, "per_device_train_batch_size of TRL is not right; found [1]"),
        ({"gradient_accumulation_steps": 2.5}, "accepted: a whole number"),
        ({"max_steps": math.inf}, "max_steps of TRL is not right; found inf"),
        ({"learning_rate": "fast", "warmup_steps": "x"}, "warmup_steps of TRL is not right; found 'x'"),
        ({"use_peft": "maybe"}, "use_peft of TRL is not right; found 'maybe'; accepted: true or false"),
        ({"output_dir": ["x"]}, "output_dir of TRL is not right; found ['x']; accepted: a text"),
        ({"loss_type": [1, 2]}, "accepted: a text or a list of texts"),
        ({"report_to": 3}, "report_to of TRL is not right; found 3"),
        ({"loss_type": ["sigmoid", "sft"], "loss_weights": [0, 1]}, "the first above 0"),
        (
            {"loss_type": ["sigmoid", "sft"], "loss_weights": [1]},
            "each of two losses has its weight; found [1]",
        ),
        ({"f_divergence_type": "chi"}, "no counterpart to this f_divergence_type of TRL's; found 'chi'"),
        (
            {"loss_type": "hinge", "f_divergence_type": "js_divergence"},
            "no counterpart to TRL's hinge with f_divergence_type: js; found hinge, as dpo_hinge",
        ),
        ({"loss_type": "ipo", "use_weighting": True}, "no counterpart to TRL's ipo with use_weighting: true"),
    ],
)
def test_what_nothing_can_be_made_of_is_refused_in_a_sentence(given: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        from_trl(given)
    assert told in str(caught.value)


def test_words_for_true_and_false_are_what_trl_takes_them_for() -> None:
    assert from_trl({"use_peft": "no", "sync_ref_model": "Off"})[0]["train"] == "full"
    assert from_trl({"use_peft": "yes"})[0]["train"] == "lora"


@pytest.mark.slow
@pytest.mark.parametrize("trainer", CONFIGS)
def test_the_defaults_are_trls_and_no_setting_is_lost(trainer: str) -> None:
    pytest.importorskip("trl", minversion="1.16", reason="TRL is in the extra `bench`")
    module, _, name = CONFIGS[trainer].rpartition(".")
    fields = dataclasses.fields(getattr(importlib.import_module(module), name))
    theirs = {
        field.name: field.default_factory() if callable(field.default_factory) else field.default
        for field in fields
    }
    theirs = {name: value for name, value in theirs.items() if isinstance(value, str | int | float | list)}
    theirs.pop("bf16", None)  # follows from the device
    said, silent = from_trl(theirs, trainer)[0], from_trl({}, trainer)[0]
    assert checked({k: said[k] for k in silent}) == checked(silent)
    _, mapped, left = from_trl(theirs, trainer)
    told = {word for line in [*mapped, *left] for word in re.findall(r"\w+", line)}
    assert theirs.keys() <= told
