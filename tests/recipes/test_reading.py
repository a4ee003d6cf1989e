"""From what was asked to a checked recipe: layers, what is refused and how it is said, what follows."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from concord.errors import NotFoundError, RecipeError
from concord.recipes import Rates, Recipe, RunRef, informed, offline_methods, read_recipe
from concord.recipes.elsewhere import ALIASES, INSTEAD, MEANINGLESS
from concord.recipes.methods import wants_of
from concord.recipes.schema import setting_names

ASKED = {"model": "some/model", "data": "prefs.jsonl"}


def read(method: str = "dpo", /, **settings: Any) -> Recipe:
    """A recipe with a model and data."""
    return read_recipe({"method": method, **ASKED, **settings})


def refused(method: str = "dpo", /, **settings: Any) -> str:
    """What is said of settings that make no recipe."""
    with pytest.raises(RecipeError) as caught:
        read(method, **settings)
    return str(caught.value)


# --- layers -----------------------------------------------------------------------------------------------


def test_later_layers_go_before_earlier_ones(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("method: dpo\nmodel: m\ndata: [a, b]\nbeta: 0.3\nbatch_size: 8\n")
    recipe = read_recipe(file, {"batch_size": 16})
    assert (recipe.model, recipe.data, recipe.batch_size) == ("m", ("a", "b"), 16)
    assert recipe.objective_knobs == {"beta": 0.3}
    assert recipe.lr_scheduler_type == "cosine"  # dpo.yaml
    assert recipe.adam_beta2 == 0.999  # the schema
    assert recipe.given == {"method", "model", "data", "batch_size"}


def test_another_method_may_override_the_files(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("method: dpo\nmodel: m\ndata: a\n")
    assert read_recipe(file, {"method": "SimPO"}).objective_knobs == {"beta": 2.0, "gamma": 1.0}


def test_the_recipe_is_kept_as_it_was_given(tmp_path: Path) -> None:
    file, text = tmp_path / "recipe.yaml", "# mine\nmethod: dpo\nmodel: {run: sft}\ndata: a\n"
    file.write_text(text)
    assert read_recipe(file).text == text
    changed = read_recipe(file, {"beta": 1e-7, "data": ["b"]})
    file.write_text(changed.text)
    assert read_recipe(file).resolved == changed.resolved
    assert changed.objective_knobs["beta"] == 1e-7
    path = read_recipe({"method": "dpo", "model": Path("m"), "data": (Path("d"),)})
    assert read(runs=Path("r"), chat_template=Path("c")).runs == "r"
    assert (path.model, path.data, path.text) == ("m", ("d",), "method: dpo\nmodel: m\ndata:\n- d\n")


def test_null_is_as_good_as_nothing(tmp_path: Path) -> None:
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps({"method": "simpo", **ASKED, "reference": None, "max_steps": None}))
    assert read_recipe(file, {"seed": None}).seed == 0


@pytest.mark.parametrize("source", ["missing.yaml", ".", "binary"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, source: str) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(NotFoundError if source == "missing.yaml" else RecipeError, match=source):
        read_recipe(tmp_path / source)


# --- what follows -----------------------------------------------------------------------------------------


def test_what_is_derived_is_in_what_is_resolved() -> None:
    assert (read().name, read().reference, read().reduction) == ("dpo", "initial", None)
    assert (read("sft").reference, read("sft").reduction) == (None, "token_mean")
    assert read(name="mine", reference="run:sft").resolved["reference"] == {"run": "sft"}
    assert read(model={"run": "sft"}).model == read(model="run:sft").model == RunRef(run="sft")


def test_the_rate_goes_with_what_is_trained() -> None:
    recipe = read()
    assert (recipe.train, recipe.learning_rate) == ("auto", Rates(full=5e-7, lora=5e-6))
    assert (recipe.settled("full").rate, recipe.settled("lora").rate) == (5e-7, 5e-6)
    assert recipe.settled("lora").resolved["train"] == "lora"
    assert recipe.settled("lora").terms == recipe.terms
    assert read(train="full").rate == 5e-7
    assert read(learning_rate=1e-4).settled("lora").rate == 1e-4
    assert read(learning_rate={"full": 1, "lora": 2}, train="lora").rate == 2.0


def test_whoever_speaks_of_an_adapter_wants_one() -> None:
    assert read(lora_r=16).train == read(quant="4bit").train == read(lora_alpha=1).train == "lora"
    assert read(quant="none", lora_dropout=0).train == "auto"


def test_of_two_rivals_the_later_word_counts(tmp_path: Path) -> None:
    assert (read(max_steps=5).num_train_epochs, read(warmup_steps=5).warmup_ratio) == (0.0, 0.0)
    file = tmp_path / "recipe.yaml"
    file.write_text("method: dpo\nmodel: m\ndata: a\nmax_steps: 7\neval_share: 0.1\n")
    recipe = read_recipe(file, {"num_train_epochs": 2, "eval_data": "b"})
    assert (recipe.max_steps, recipe.num_train_epochs) == (0, 2.0)
    assert (recipe.eval_share, recipe.eval_data) == (0.0, ("b",))
    told = refused(max_steps=5, num_train_epochs=1)
    assert told.startswith("num_train_epochs and max_steps contradict each other; found num_train_epochs: 1")


def test_the_identity_leaves_out_what_changes_nothing() -> None:
    one, other = (
        read(),
        read(runs="elsewhere", name="x", save_steps=1, save_total_limit=9, offline=True, report_to="trackio"),
    )
    assert one.identity == other.identity != one.resolved
    assert read(seed=1).identity != one.identity != read(beta=0.2).identity


def test_what_is_resolved_is_json_even_where_a_knob_is_infinite() -> None:
    recipe = read("wpo", max_weight=math.inf)
    assert json.loads(json.dumps(recipe.resolved, allow_nan=False))["max_weight"] == "Infinity"
    assert read_recipe(recipe.resolved).objective_knobs["max_weight"] == math.inf
    assert read("wpo", max_weight="infinity").objective_knobs["max_weight"] == math.inf
    assert read("my.losses:mine", floor=-math.inf).resolved["floor"] == "-Infinity"


# --- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("betta", "there is no setting betta; found 'betta'; accepted: beta, perhaps"),
        ("learning-rate", "accepted: learning_rate; to do: write learning_rate."),
        ("Batch_Size", "accepted: batch_size; to do: write batch_size."),
        ("gamma", "a knob of dpo (beta)"),
        ("zzz", "accepted: a setting, or a knob of dpo (beta); to do: correct the name; `concord train dpo"),
        ("model_name_or_path", "accepted: model; to do: write model."),
        ("per_device_train_batch_size", "accepted: batch_size: the rows of a whole step"),
        ("gradient_accumulation_steps", "accepted: batch_size: the rows of a whole step"),
        ("loss_type", "accepted: method: the loss is the method"),
        ("bf16", "accepted: precision: auto, fp32, bf16 or pure-bf16"),
        ("output_dir", "accepted: runs: the folder of runs, and name"),
        ("dataset_name", "accepted: data; to do: write data."),
        ("packing", "accepted: nothing: layout: forest pads nothing, so nothing needs packing; to do: leave"),
    ],
)
def test_an_unknown_name_is_answered_with_what_to_write(name: str, told: str) -> None:
    assert told in refused(**{name: 1})


def test_all_that_is_wrong_is_said_at_once() -> None:
    assert len(refused(betta=1, lr=2, bf16=True).splitlines()) == 3
    assert len(refused(batch_size=0, seed=-1, train="qlora").splitlines()) == 3
    with pytest.raises(RecipeError, match=r"needs the setting model.*\n.*needs the setting data"):
        read_recipe({"method": "dpo"})


def test_a_file_is_named_where_it_is_the_file_that_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("method: dpo\nbetta: 1\n")
    with pytest.raises(RecipeError, match=rf"there is no setting betta in .*{file.name}"):
        read_recipe(file)


def test_what_is_told_of_others_names_is_true() -> None:
    names = setting_names()
    assert set(ALIASES.values()) <= names.keys()
    told = [ALIASES, INSTEAD, MEANINGLESS]
    assert sum(map(len, told)) == len({name for one in told for name in one})
    for foreign in (name for one in told for name in one):
        assert foreign not in names, foreign
    for method in offline_methods():
        knobs = wants_of(method).knobs.keys()
        assert not knobs & {*ALIASES, *MEANINGLESS}, method


@pytest.mark.parametrize(
    ("asked", "found"), [({}, "nothing"), ({"loss_type": "ipo"}, "loss_type: ipo"), ({"method": 3}, "3")]
)
def test_a_recipe_without_a_method_is_refused(asked: dict[str, Any], found: str) -> None:
    with pytest.raises(RecipeError, match=f"^no method is named; found {found};.*to do: write `method: dpo`"):
        read_recipe({**ASKED, **asked})


# --- values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("learning_rate", "5e-7", "found '5e-7'; accepted: a number above 0, or both: {full: 5e-7"),
        ("learning_rate", 0, "accepted: a number above 0"),
        ("learning_rate", {"full": 1e-6}, "accepted: a number above 0"),
        ("learning_rate", math.inf, "accepted: a number above 0"),
        ("batch_size", True, "found True; accepted: integer"),
        ("batch_size", 0, "accepted: greater than or equal to 1"),
        ("batch_size", 8.5, "found 8.5; accepted: integer"),
        ("max_length", 1, "accepted: greater than or equal to 2"),
        ("train", "qlora", "accepted: 'auto', 'full' or 'lora'"),
        ("eval_share", 1, "accepted: less than 1"),
        ("weight_decay", math.nan, "accepted: a finite number"),
        ("seed", 2**32, "accepted: less than 4294967296"),
        ("plain", "yes", "found 'yes'; accepted: boolean"),
        ("data", ["a", 3], "the setting data[1] is not right; found 3; accepted: a file or a list of files"),
        ("model", {"runs": "x"}, "the setting model is not right"),
        ("model", "run:", "accepted: a path, a hub id, run:NAME or {run: NAME}"),
        ("data", [""], "the setting data[0] is not right; found ''"),
        ("template_args", {"x": math.inf}, "accepted: names with values, as JSON has them"),
        ("template_args", {"x": object}, "accepted: names with values, as JSON has them"),
        ("name", "a/b", "accepted: up to 100 letters"),
        ("beta", "0.1", "the knob beta of dpo is not right; found '0.1'; accepted: a number"),
        ("beta", math.nan, "the knob beta of dpo is not right; found nan; accepted: a number"),
        ("beta", False, "the knob beta of dpo is not right; found False; accepted: a number"),
    ],
)
def test_a_wrong_value_is_said_with_what_is_right(name: str, value: object, told: str) -> None:
    assert told in refused(**{name: value})


def test_knobs_are_of_their_type() -> None:
    assert read("f_dpo", divergence="js").objective_knobs["divergence"] == "js"
    assert "accepted: reverse_kl, forward_kl, js, alpha" in refused("f_dpo", divergence="tv")
    assert "accepted: true or false" in refused("grao", include_shown=1)


def test_whole_numbers_may_have_an_exponent() -> None:
    assert (read(max_steps=1e3).max_steps, type(read(max_steps=1e3).max_steps)) == (1000, int)


# --- beside each other ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "settings", "told"),
    [
        ("simpo", {"reference": "initial"}, "reference would be ignored: simpo has no reference"),
        ("simpo", {"reference_sync_steps": 5}, "reference_sync_steps would be ignored: simpo has no ref"),
        ("dpo", {"reference_mixup": 0.5}, "reference_mixup would be ignored: the reference does not move"),
        ("dpo", {"teacher": "t"}, "teacher would be ignored: dpo has no teacher"),
        ("gkd", {"teacher": "t", "teacher_ref": "u"}, "gkd does not ask what the teacher was before"),
        ("dpo", {"target_data": "t"}, "target_data would be ignored: dpo takes no target replies"),
        ("sft", {"pretrain_data": "t"}, "pretrain_data would be ignored: sft mixes no text in"),
        ("dpo", {"reduction": "token_mean"}, "the losses of dpo are not those of tokens"),
        ("dpo", {"weights": {"data": 2}}, "weights would be ignored: dpo has one part only"),
        ("dpo", {"train": "full", "lora_r": 8}, "lora_r would be ignored: train: full has no adapter"),
        ("dpo", {"train": "full", "quant": "4bit"}, "quant would be ignored: train: full has no adapter"),
        ("dpo", {"eval_steps": 8}, "eval_steps would be ignored: there is nothing to evaluate on"),
        ("dpo", {"plain": True, "chat_template": "f"}, "chat_template would be ignored: plain: true"),
        ("dckd", {"teacher": "t", "weights": {"chosn": 2}}, "no part of this name to weigh; found 'chosn'"),
        ("gkd", {}, "gkd needs the setting teacher; found nothing"),
        ("slic_hf", {}, "slic_hf needs the setting target_data"),
        ("chain_of_hindsight", {}, "pretrain_data; found nothing; accepted: files of text; or weights"),
        ("dpo", {"num_train_epochs": 0}, "no step would be made"),
        ("dpo", {"max_steps": 10**400}, "the setting max_steps is not right"),
        (
            "dckd",
            {"teacher": "t", "weights": {"chosen": -1}},
            "found -1; accepted: names with numbers of 0 or more",
        ),
        (
            "dckd",
            {"teacher": "t", "weights": {"chosen": 0, "chosen_logits": 0, "rejected_logits": 0}},
            "no part of dckd counts; found chosen: 0, chosen_logits: 0, rejected_logits: 0",
        ),
        ("dpo", {"eval_share": 0.1, "eval_data": "x"}, "eval_data and eval_share contradict each other"),
    ],
)
def test_what_nothing_would_read_and_what_is_missing_is_refused(
    method: str, settings: dict[str, Any], told: str
) -> None:
    assert told in refused(method, **settings)


def test_what_says_no_more_than_silence_is_allowed() -> None:
    off = {"reference_sync_steps": 0, "teacher": None, "weights": {}, "quant": "none", "eval_steps": 0}
    assert read("simpo", train="full", **off).resolved == read("simpo", train="full").resolved


def test_pretraining_text_may_be_done_without() -> None:
    recipe = read("chain_of_hindsight", weights={"pretrain": 0})
    assert [term.on for term in recipe.terms] == ["hindsight"]
    told = refused("chain_of_hindsight", weights={"pretrain": 0}, pretrain_data="x")
    assert "pretrain_data would be ignored" in told


# --- functions of the user's ------------------------------------------------------------------------------


def test_of_a_users_function_all_is_checked_once_it_is_known() -> None:
    recipe = read("my.losses:square", beta=3, sharp=True, lora_r=4)
    assert (recipe.own, recipe.name, recipe.train, recipe.terms) == (True, "square", "lora", ())
    known = informed(
        recipe,
        needs="pairs, reference",
        inputs=("preference",),
        knobs={"beta": 0.1, "sharp": False, "x": "y"},
    )
    assert known.objective_knobs == {"beta": 3.0, "sharp": True, "x": "y"}
    assert (known.reference, known.inputs, known.text) == ("initial", {"preference": ""}, recipe.text)
    (term,) = known.terms
    assert (term.objective, term.reduction, term.on) == ("my.losses:square", "row_mean", "data")
    assert informed(read("my:loss"), needs="tokens", inputs=(), knobs={}).reduction == "token_mean"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"betta": 1}, "there is no setting betta; found 'betta'; accepted: beta, perhaps"),
        ({"beta": "high"}, "the knob beta of my:loss is not right; found 'high'; accepted: a number"),
        ({"reference": "initial"}, "reference would be ignored: my:loss has no reference"),
        ({"teacher": "t"}, "teacher would be ignored: my:loss has no teacher"),
    ],
)
def test_of_a_users_function_what_is_wrong_is_said_then(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        informed(read("my:loss", **settings), needs="pairs", inputs=(), knobs={"beta": 0.1})
    assert told in str(caught.value)
    assert "accepted: learning_rate" in refused("my:loss", lr=1)
    assert "accepted: a number, a text, true or false" in refused("my:loss", beta=[1])


def test_a_users_knob_is_not_called_as_a_setting_is() -> None:
    with pytest.raises(RecipeError, match="a knob of my:loss has the name of a setting; found 'seed'"):
        informed(read("my:loss"), needs="pairs", inputs=(), knobs={"seed": 0.1})


def test_a_users_knob_without_a_default_must_be_given() -> None:
    from inspect import Parameter

    knobs: dict[str, object] = {"beta": Parameter.empty}
    with pytest.raises(RecipeError, match="my:loss needs the knob beta"):
        informed(read("my:loss"), needs="pairs", inputs=(), knobs=knobs)
    assert informed(read("my:loss", beta=2), needs="pairs", inputs=(), knobs=knobs).objective_knobs == {
        "beta": 2
    }
