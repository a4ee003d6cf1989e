"""The settings of a run: one flat list of names, the same in a recipe, as flags and in Python.

`Settings` holds what is the same for every method, with bounds, defaults and a line of help each; its fields
are the flags of `concord train`. `Recipe` adds the knobs of the objective, and is what a run is made of.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo

from concord.catalogue import Part, Value

__all__ = [
    "SECTIONS",
    "Rates",
    "Recipe",
    "RunRef",
    "Settings",
    "Source",
    "TrackerName",
    "finite",
    "section_of",
    "setting_names",
]

SECTIONS = (
    "What decides a run",
    "Models",
    "Data",
    "How rows become tokens",
    "Optimiser",
    "What is trained, and how",
    "What is kept and shown",
)
"""The headings under which settings stand in help."""

_DECIDES, _MODELS, _DATA, _TOKENS, _OPTIMISER, _HOW, _KEPT = SECTIONS


class RunRef(BaseModel):
    """A run by name or directory, where a path to a model may stand: `{run: sft}`, or `run:sft`."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    run: str = Field(min_length=1)


class Rates(BaseModel):
    """Learning rates by what is trained: all weights, or an adapter, which takes a larger one."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    full: float = Field(gt=0, allow_inf_nan=False)
    lora: float = Field(gt=0, allow_inf_nan=False)


Source: TypeAlias = str | RunRef
"""A model: a path, a hub id, or another run."""

TrackerName: TypeAlias = Literal["tensorboard", "wandb", "trackio"]
"""Where metrics can be shown beside the run's own report."""


def _source(given: object) -> object:
    if isinstance(given, os.PathLike):
        return os.fspath(cast("os.PathLike[str]", given))
    if isinstance(given, str) and given.startswith("run:"):
        return RunRef(run=given.removeprefix("run:"))
    return given


def _names(given: object) -> object:
    """Names in a row: one alone is a row of one."""
    if isinstance(given, str | os.PathLike):
        return (_source(cast("str | os.PathLike[str]", given)),)
    if isinstance(given, Sequence):
        return tuple(_source(one) for one in cast("Sequence[object]", given))
    return given


def _json(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Arguments of a template are part of what a run is, and so must have one spelling."""
    try:
        json.dumps(given, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return given


def _whole(given: object) -> object:
    """A whole number may be written as 1e3."""
    return int(given) if isinstance(given, float) and given.is_integer() else given


_MOST = 2**53  # beyond it a float, in which much is reckoned, skips whole numbers
_Count: TypeAlias = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=_MOST)]
_Positive: TypeAlias = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=_MOST)]
_Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
_Rate: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Names: TypeAlias = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_names)]
_Source: TypeAlias = Annotated[Source, BeforeValidator(_source)]


def _set(section: str, default: Any, meaning: str, **bounds: Any) -> Any:
    return Field(default=default, description=meaning, json_schema_extra={"section": section}, **bounds)


class Settings(BaseModel):
    """Every setting that is not a knob of the objective, in the order in which help lists them."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", protected_namespaces=(), validate_default=True
    )

    method: str = _set(_DECIDES, "", "A method of the catalogue, or package.module:function of your own.")
    model: _Source = _set(_DECIDES, "", "The model to train: a path, a hub id, or run:NAME of another run.")
    data: _Names = _set(_DECIDES, (), "Files or folders of rows to train on.")
    learning_rate: _Rate | Rates = _set(
        _DECIDES, Rates(full=1e-6, lora=1e-5), "The largest step size; adapters take a larger one."
    )
    batch_size: _Positive = _set(_DECIDES, 64, "Rows of each optimizer step, over all devices.")
    num_train_epochs: _Number = _set(
        _DECIDES, 1.0, "How often the rows are gone through; 0 where max_steps says it.", ge=0
    )
    max_steps: _Count = _set(_DECIDES, 0, "Optimizer steps in all; 0: as many as the epochs make.")
    max_length: _Positive = _set(_DECIDES, 1024, "Tokens of the longest sequence.", ge=2)
    train: Literal["auto", "full", "lora"] = _set(
        _DECIDES, "auto", "All weights or an adapter; auto: all, where the predicted memory allows."
    )
    eval_share: _Number = _set(
        _DECIDES, 0.0, "The share of prompts held out to evaluate on, where no files are.", ge=0, lt=1
    )
    seed: Annotated[int, BeforeValidator(_whole)] = _set(
        _DECIDES, 0, "The order of the rows, and all else that is drawn.", ge=0, lt=2**32
    )

    reference: _Source | None = _set(
        _MODELS, None, "The policy that is stayed near to: initial, a path, run:NAME, or columns of the data."
    )
    reference_sync_steps: _Count = _set(
        _MODELS, 0, "Move the reference towards the policy every so many steps; 0: never."
    )
    reference_mixup: _Number = _set(
        _MODELS, 0.6, "The policy's share in the reference whenever it moves.", gt=0, le=1
    )
    teacher: _Source | None = _set(_MODELS, None, "The model that is imitated, with the same vocabulary.")
    teacher_ref: _Source | None = _set(_MODELS, None, "The teacher as it was before its own tuning.")
    device: str = _set(_MODELS, "auto", "Where to compute: auto, cpu, cuda, cuda:1, mps.", min_length=1)
    offline: bool = _set(_MODELS, False, "Fetch nothing, whatever is named.")
    trust_remote_code: bool = _set(_MODELS, False, "Run code that comes with the model.")

    eval_data: _Names = _set(_DATA, (), "Files or folders of rows to evaluate on.")
    target_data: _Names = _set(_DATA, (), "Demonstrations whose replies hold each pair near to them.")
    pretrain_data: _Names = _set(_DATA, (), "Pretraining text that is mixed in.")
    map: str = _set(_DATA, "", 'Which column is what: "prompt=question chosen=better rejected=worse".')
    on_bad_row: Literal["stop", "skip"] = _set(
        _DATA, "stop", "What a row that cannot be read does: stop all, or be left out and counted."
    )

    dataset_num_proc: _Count = _set(
        _DATA, 0, "Processes that make tokens of rows; they pay from some ten thousand new rows on."
    )
    label_threshold: _Number | None = _set(
        _DATA, None, "The score from which a reply counts as good, where scores become labels."
    )

    on_long: Literal["error", "drop", "prompt-left", "reply-right"] = _set(
        _TOKENS, "error", "What becomes of longer rows: an error, left out, or cut at one end."
    )
    chat_template: str = _set(_TOKENS, "", "A file with a chat template (Jinja) in place of the tokenizer's.")
    plain: bool = _set(_TOKENS, False, "Continue prompts as they stand, without a chat template.")
    stop_token: _Names = _set(
        _TOKENS, (), "The tokens that end a reply, where the detected one is not right."
    )
    train_added: bool = _set(_TOKENS, False, "Learn also from text that the template adds to a reply.")
    template_args: Annotated[Mapping[str, Any], AfterValidator(_json)] = _set(
        _TOKENS, {}, "Arguments of the chat template, by name."
    )

    lr_scheduler_type: Literal["linear", "cosine", "constant"] = _set(
        _OPTIMISER, "linear", "How the learning rate falls after the warm-up."
    )
    warmup_steps: _Count = _set(_OPTIMISER, 0, "Steps over which the learning rate rises.")
    warmup_ratio: _Number = _set(_OPTIMISER, 0.0, "The same as a share of all steps.", ge=0, le=1)
    weight_decay: _Number = _set(_OPTIMISER, 0.0, "AdamW's pull of the weights towards zero.", ge=0)
    max_grad_norm: _Number = _set(
        _OPTIMISER, 1.0, "Gradients of a larger norm are scaled down; 0: never.", ge=0
    )
    adam_beta1: _Number = _set(_OPTIMISER, 0.9, "AdamW's memory of gradients.", ge=0, lt=1)
    adam_beta2: _Number = _set(_OPTIMISER, 0.999, "AdamW's memory of their squares.", ge=0, lt=1)
    adam_epsilon: _Number = _set(_OPTIMISER, 1e-8, "Added to AdamW's divisor.", gt=0)
    reduction: Literal["token_mean", "sequence_mean", "sequence_sum"] | None = _set(
        _OPTIMISER, None, "How losses of tokens become one number, for objectives over tokens."
    )
    weights: Mapping[str, Annotated[_Number, Field(ge=0)]] = _set(
        _OPTIMISER, {}, "What each part of a method with several counts, by its stream."
    )

    precision: Literal["auto", "fp32", "bf16", "pure-bf16"] = _set(
        _HOW, "auto", "What is computed in; auto: bf16 autocast on a GPU that has it, else fp32."
    )
    lora_r: _Positive = _set(_HOW, 16, "The adapter's rank.")
    lora_alpha: _Number = _set(_HOW, 32.0, "The adapter's scale, divided by its rank.", gt=0)
    lora_dropout: _Number = _set(_HOW, 0.0, "The adapter's dropout.", ge=0, lt=1)
    lora_target_modules: _Names = _set(_HOW, ("all-linear",), "The modules that the adapter changes.")
    quant: Literal["none", "8bit", "4bit"] = _set(
        _HOW, "none", "Bits of the frozen weights under an adapter."
    )
    gradient_checkpointing: bool = _set(_HOW, False, "Compute activations twice, to keep fewer of them.")
    sharding: Literal["ddp", "fsdp"] = _set(
        _HOW, "ddp", "On several devices: a copy of the model on each (ddp), or a share of it (fsdp)."
    )
    compile: bool = _set(_HOW, False, "Compile the model where the attention kernel allows it.")
    layout: Literal["auto", "forest", "rows"] = _set(
        _HOW, "auto", "Shared prefixes once (forest), or rows as they are; auto: what the model allows."
    )
    micro_tokens: _Count = _set(_HOW, 0, "Tokens of a forward pass; 0: derived from model and memory.")

    eval_steps: _Count = _set(
        _KEPT, 0, "Evaluate every so many steps; 0: before the first and after the last."
    )
    save_steps: _Count = _set(_KEPT, 500, "Keep a checkpoint every so many steps; 0: after the last.")
    save_total_limit: _Positive = _set(_KEPT, 2, "How many checkpoints are kept, the newest.")
    logging_steps: _Positive = _set(_KEPT, 10, "Write metrics every so many steps.")
    report_to: Annotated[tuple[TrackerName, ...], BeforeValidator(_names)] = _set(
        _KEPT, (), "Where metrics are also shown: tensorboard, wandb, trackio. None is needed."
    )
    export_dtype: Literal["auto", "came", "fp32"] = _set(
        _KEPT,
        "auto",
        "What the model is written in: as it came, or fp32; auto: fp32 where rounding would undo much.",
    )
    samples: _Count = _set(
        _KEPT, 4, "Prompts whose replies are shown before and after, held-out ones if there are any."
    )
    runs: str = _set(_KEPT, "runs", "The folder of runs.", min_length=1)
    name: str = _set(
        _KEPT,
        "",
        "The run's name; the method's, where none is given.",
        pattern=r"^([A-Za-z0-9][\w.-]{0,99})?$",
    )


class Recipe(Settings):
    """Everything that decides a run, checked: `read_recipe` makes it, and `concord.train` does what it says.

    Settings are attributes of their name. `resolved` is all of it as JSON.
    """

    objective_knobs: Mapping[str, Value] = Field(default={}, exclude=True)
    """Every knob of the objective with its value, defaults included: `{"beta": 0.1}`."""

    terms: tuple[Part, ...] = Field(default=(), exclude=True)
    """The loss: weight times reduction of an objective on a stream, each with its knobs, those of its
    reduction among them. An objective alone is one term on the stream `data`. Empty for a function of
    your own."""

    needs: frozenset[str] = Field(default=frozenset(), exclude=True)
    """What the method asks of data and models, in the catalogue's words: `pairs`, `reference`."""

    inputs: Mapping[str, str] = Field(default={}, exclude=True)
    """What the objective takes beside its record, with its meaning."""

    given: frozenset[str] = Field(default=frozenset(), exclude=True)
    """What was set by whoever asked, and not by a default."""

    text: str = Field(default="", exclude=True)
    """The recipe as given: the text of a file that stood alone, else what was asked for as YAML."""

    @property
    def own(self) -> bool:
        """Whether the method is a function of the user's, known only once it is imported."""
        return ":" in self.method

    @property
    def rate(self) -> float:
        """The learning rate, once it is settled what is trained."""
        assert not isinstance(self.learning_rate, Rates), "`settled` says what is trained, and at which rate"
        return self.learning_rate

    @property
    def resolved(self) -> dict[str, Any]:
        """Every setting and knob after defaults, as legal JSON."""
        return {**self.model_dump(mode="json"), **{k: finite(v) for k, v in self.objective_knobs.items()}}

    @property
    def identity(self) -> dict[str, Any]:
        """What of `resolved` changes what is computed: a run is this and its inputs.

        Where it lies, how it is called, how often it is saved and what may be fetched do not.
        """
        return {k: v for k, v in self.resolved.items() if k not in _APART}

    def settled(self, train: Literal["full", "lora"]) -> "Recipe":
        """The same recipe with what is trained decided, and the learning rate that goes with it."""
        rate = self.learning_rate
        if isinstance(rate, Rates):
            rate = rate.full if train == "full" else rate.lora
        return self.model_copy(update={"train": train, "learning_rate": rate})


_APART = (
    "name",
    "runs",
    "offline",
    "save_steps",
    "save_total_limit",
    "report_to",
    "micro_tokens",
    "dataset_num_proc",
)


def setting_names() -> dict[str, FieldInfo]:
    """Every setting by name, with its type, default and help."""
    return Settings.model_fields


def section_of(name: str) -> str:
    """The heading under which a setting stands."""
    extra = cast("Mapping[str, str]", setting_names()[name].json_schema_extra)
    return extra["section"]


def finite(value: Value) -> Value:
    """A knob as JSON has it: an infinity is a text."""
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return value
