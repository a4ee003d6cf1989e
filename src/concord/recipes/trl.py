"""Settings of TRL, said as a recipe: what is the same, and what has no meaning here.

TRL's defaults are written out where they differ from ours, so that the recipe says what TRL would have done.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, cast, get_args

from concord.errors import RecipeError, Said, explain, nearest
from concord.recipes.elsewhere import ALIASES, INSTEAD, LOSSES, MEANINGLESS
from concord.recipes.methods import wants_of
from concord.recipes.schema import TrackerName, setting_names

__all__ = ["from_trl"]

_RATES = {"sft": 2e-5, "reward": 1e-4, "gkd": 2e-5}  # the others: 1e-6
_DEFAULTS: Mapping[str, Any] = {
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "num_train_epochs": 3.0,
    "lr_scheduler_type": "linear",
    "seed": 42,
}
_KNOBS = {
    "discopop": {"discopop_tau": "tau"},
    "ipo_token_mean": {"beta": "tau"},
    "orpo": {"beta": "lam"},
    "robust_dpo": {"label_smoothing": "flip_rate"},
    "simpo": {"simpo_gamma": "gamma"},
    "cpo": {"cpo_alpha": "alpha"},
}
"""TRL's names of knobs, where they are others."""

_KNOB_DEFAULTS: Mapping[str, float] = {
    "beta": 0.1,
    "cpo_alpha": 1.0,
    "label_smoothing": 0.0,
    "simpo_gamma": 0.5,
}
"""TRL's defaults of knobs; its GKD has a beta of its own, which is ours."""

_DIVERGENCES = {
    "reverse_kl": "",
    "forward_kl": "forward_kl",
    "js_divergence": "js",
    "alpha_divergence": "alpha",
}
_SCHEDULES = ("linear", "cosine", "constant")


_WORDS = {"yes": True, "on": True, "no": False, "off": False}
"""What the YAML that TRL reads takes these words for."""


def _number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max


def _whole(value: object) -> bool:
    return _number(value) and float(cast("float", value)).is_integer()


def _flag(value: object) -> bool:
    return isinstance(value, bool)


def _text(value: object) -> bool:
    return isinstance(value, str)


def _texts(value: object) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and all(map(_text, cast("list[object]", value)))
    )


def _weights(value: object) -> bool:
    given = cast("list[object]", value) if isinstance(value, list) else []
    return bool(given) and all(map(_number, given)) and cast("float", given[0]) > 0


_FORMS: Mapping[str, tuple[Callable[[object], bool], tuple[str, ...]]] = {
    "a whole number": (
        _whole,
        (
            "eval_steps",
            "gradient_accumulation_steps",
            "logging_steps",
            "max_completion_length",
            "max_length",
            "max_prompt_length",
            "max_steps",
            "per_device_train_batch_size",
        ),
    ),
    "a number": (
        _number,
        (
            "f_alpha_divergence_coef",
            "learning_rate",
            "lmbda",
            "num_train_epochs",
            "warmup_ratio",
            "warmup_steps",
        ),
    ),
    "true or false": (
        _flag,
        (
            "bf16",
            "fp16",
            "load_in_4bit",
            "load_in_8bit",
            "precompute_ref_log_probs",
            "sync_ref_model",
            "use_peft",
            "use_weighting",
        ),
    ),
    "a text": (
        _text,
        (
            "eval_strategy",
            "f_divergence_type",
            "logging_strategy",
            "lr_scheduler_type",
            "output_dir",
            "save_strategy",
            "truncation_mode",
        ),
    ),
    "a text or a list of texts": (_texts, ("loss_type", "report_to")),
    "a list of numbers, the first above 0": (_weights, ("loss_weights",)),
}
"""What settings must be for anything to be made of them; all others are taken over as they are."""


@dataclass
class _Conversion:
    given: dict[str, Any]
    recipe: dict[str, Any] = field(default_factory=dict[str, Any])
    mapped: list[str] = field(default_factory=list[str])
    left: list[str] = field(default_factory=list[str])

    def take(self, name: str, default: Any = None) -> Any:
        value = self.given.pop(name, None)
        return default if value is None else value

    def put(self, name: str, value: Any, *, of: str) -> None:
        self.recipe[name] = value
        self.mapped.append(f"{of} -> {name}: {value}")

    def leave(self, name: str, why: str) -> None:
        self.left.append(f"{name}: {why}")


def from_trl(
    settings: Mapping[str, Any], trainer: str = "dpo"
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Say in a recipe what `trl TRAINER --config FILE` does with these settings.

    Returned are the recipe, how each setting was said, and those that have no meaning here, with the reason.
    The recipe is not checked: a model or data may be missing, as they may in what it was made from.
    """
    if trainer not in LOSSES:
        accepted, do = nearest(trainer, LOSSES), "name the trainer that the settings are for"
        raise RecipeError(explain("no such trainer of TRL", found=trainer, accepted=accepted, do=do))
    made = _Conversion(_read(settings))
    _method(made, trainer)
    for part in (_steps, _reference, _adapter, _places):
        part(made)
    wants = wants_of(made.recipe["method"])
    own = _KNOBS.get(wants.name, {})
    # What TRL calls by the name that a knob has here is another thing.
    renamed = {**dict.fromkeys(own.values(), ""), **ALIASES, **own}
    for name, default in _KNOB_DEFAULTS.items() if trainer != "gkd" else ():
        ours = renamed.get(name, name)
        known = name in made.given or ours in made.recipe or ours not in wants.knobs
        # Of EXO its default is none: there it has to be given.
        if not known and wants.knobs[ours].allows(default):
            made.given[name] = default
    for name, value in list(made.given.items()):
        ours = renamed.get(name, name)
        if ours in setting_names() or ours in wants.knobs:
            made.put(ours, value, of=name)
        elif name in MEANINGLESS or name in INSTEAD:
            made.leave(name, MEANINGLESS.get(name) or INSTEAD[name])
        else:
            made.leave(name, f"{wants.name} has nothing that says it")
    told = set(re.findall(r"\w+", "\n".join([*made.mapped, *made.left])))
    for name in [name for name, value in settings.items() if value is not None and name not in told]:
        made.leave(name, "it says nothing beside the others")
    return made.recipe, made.mapped, made.left


def _read(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that say something, each in a form that something can be made of."""
    given = {name: value for name, value in settings.items() if value is not None}
    for name in _FORMS["true or false"][1]:
        if isinstance(word := given.get(name), str):
            given[name] = _WORDS.get(word.lower(), word)
    if wrong := list(_misread(given)):
        raise RecipeError("\n".join(wrong))
    return given


def _misread(given: Mapping[str, Any]) -> Iterator[str]:
    for accepted, (fits, names) in _FORMS.items():
        for name in names:
            if name in given and not fits(given[name]):
                wrong, do = f"the setting {name} of TRL is not right", "correct it in the file"
                yield explain(wrong, found=given[name], accepted=accepted, do=do)


def _method(made: _Conversion, trainer: str) -> None:
    losses = LOSSES[trainer]
    if "" in losses and made.take("loss_type"):
        made.leave("loss_type", f"TRL's {trainer} has one loss")
    given = made.take("loss_type", next(iter(losses)))
    named = "+".join(cast("Sequence[str]", given)) if isinstance(given, list | tuple) else str(given)
    if named not in losses:
        accepted, do = ", ".join(losses), "write the recipe by hand: `concord methods` lists what there is"
        raise RecipeError(
            explain(f"no counterpart to this loss of TRL's {trainer}", found=named, accepted=accepted, do=do)
        )
    method = losses[named]
    if made.take("use_weighting", False):
        _check_sigmoid(method, named, "use_weighting: true")
        method = "wpo"
    divergence = _divergence(made.take("f_divergence_type", "reverse_kl"))
    alpha = made.take("f_alpha_divergence_coef", 0.5)
    if divergence:
        _check_sigmoid(method, named, f"f_divergence_type: {divergence}")
        method = "f_dpo"
    made.put("method", method, of=f"{trainer}, loss_type {named}" if named else trainer)
    if divergence:
        made.put("divergence", divergence, of="f_divergence_type")
    if divergence == "alpha":
        made.put("alpha", 1 - float(alpha), of="f_alpha_divergence_coef")
    if method == "gkd" and (share := made.take("lmbda", 0.5)):
        made.leave(
            "lmbda", f"{share}: replies are those of the data here; sample the student's own beforehand"
        )
    weights = made.take("loss_weights", [1.0, 1.0])
    if method == "dpo_nll":
        if len(weights) != 2:
            wrong, accepted = "each of two losses has its weight", "two numbers, the first above 0"
            raise RecipeError(explain(wrong, found=weights, accepted=accepted, do="correct loss_weights"))
        made.put("alpha", float(weights[1]) / float(weights[0]), of="loss_weights")
    if method == "simpo" and (alpha := made.take("cpo_alpha", _KNOB_DEFAULTS["cpo_alpha"])):
        made.leave("cpo_alpha", f"{alpha} adds imitation to TRL's simpo, which simpo does not have")
    made.put(
        "learning_rate", float(made.take("learning_rate", _RATES.get(trainer, 1e-6))), of="learning_rate"
    )


def _divergence(given: str) -> str:
    """Our name of a divergence; empty for the usual one."""
    if given not in _DIVERGENCES:
        wrong, accepted = "no counterpart to this f_divergence_type of TRL's", nearest(given, _DIVERGENCES)
        raise RecipeError(explain(wrong, found=given, accepted=accepted, do="name one of these"))
    return _DIVERGENCES[given]


def _check_sigmoid(method: str, loss: str, setting: str) -> None:
    """Refuse what TRL does to any loss where we have it of one only."""
    if method != "dpo":
        wrong = f"no counterpart to TRL's {loss} with {setting}"
        accepted, do = "the loss sigmoid", "write the recipe by hand: `concord methods` lists what there is"
        raise RecipeError(explain(wrong, found=Said(f"{loss}, as {method}"), accepted=accepted, do=do))


def _steps(made: _Conversion) -> None:
    """Batch, length of the run and of its rows, and the schedule."""
    rows, times = (
        int(made.take(name, _DEFAULTS[name]))
        for name in ("per_device_train_batch_size", "gradient_accumulation_steps")
    )
    made.put(
        "batch_size",
        rows * times,
        of=f"per_device_train_batch_size {rows} x gradient_accumulation_steps {times}, on one device",
    )
    steps, epochs = made.take("max_steps", -1), made.take("num_train_epochs", _DEFAULTS["num_train_epochs"])
    if steps > 0:
        made.put("max_steps", steps, of="max_steps")
    else:
        made.put("num_train_epochs", float(epochs), of="num_train_epochs")
    schedule = made.take("lr_scheduler_type", _DEFAULTS["lr_scheduler_type"])
    if schedule not in _SCHEDULES:
        made.leave("lr_scheduler_type", f"{schedule} is not among {', '.join(_SCHEDULES)}; linear is taken")
        schedule = "linear"
    made.put("lr_scheduler_type", schedule, of="lr_scheduler_type")
    ratio, warmup = made.take("warmup_ratio", 0.0), made.take("warmup_steps", 0)
    if warmup >= 1:
        made.put("warmup_steps", int(warmup), of="warmup_steps")
    else:
        made.put("warmup_ratio", float(warmup or ratio), of="warmup_steps" if warmup else "warmup_ratio")
    made.put("seed", made.take("seed", _DEFAULTS["seed"]), of="seed")
    lengths = [made.take(name, 0) for name in ("max_length", "max_prompt_length", "max_completion_length")]
    made.put("max_length", lengths[0] or sum(lengths[1:]) or 1024, of="max_length")
    kept_start = made.take("truncation_mode", "keep_start") == "keep_start"
    made.put("on_long", "reply-right" if kept_start else "prompt-left", of="truncation_mode")


def _reference(made: _Conversion) -> None:
    steps = made.take("ref_model_sync_steps", 512)
    if made.take("sync_ref_model", False):
        made.put("reference_sync_steps", steps, of="sync_ref_model")
    elif made.take("ref_model_mixup_alpha"):
        made.leave("ref_model_mixup_alpha", "the reference does not move without sync_ref_model")
    if made.take("precompute_ref_log_probs", False):
        made.leave("precompute_ref_log_probs", "values of a reference are always computed once and kept")


def _adapter(made: _Conversion) -> None:
    """What is trained, in how many bits."""
    lora = bool(made.take("use_peft", False))
    made.put("train", "lora" if lora else "full", of="use_peft")
    if not lora:
        for name in [name for name in made.given if name.startswith("lora_")]:
            made.take(name)
            made.leave(name, "without use_peft there is no adapter")
    for name, bits in (("load_in_4bit", "4bit"), ("load_in_8bit", "8bit")):
        if made.take(name, False):
            made.put("quant", bits, of=name)
    dtypes = {"bfloat16": "bf16", "float32": "fp32"}
    bf16, fp16 = made.take("bf16"), made.take("fp16", False)
    dtype = made.take("dtype", made.take("torch_dtype", "auto"))
    if fp16:
        made.leave("fp16", "there is no fp16 here; precision: auto takes bf16 where the device has it")
    elif bf16:
        made.put("precision", "bf16", of="bf16")
    elif bf16 is False or dtype in dtypes:
        made.put("precision", dtypes.get(str(dtype), "fp32"), of="bf16" if bf16 is False else "dtype")


def _places(made: _Conversion) -> None:
    """Where things lie, and how often they are written."""
    if output := made.take("output_dir", ""):
        path = PurePath(str(output))
        made.put("runs", str(path.parent), of="output_dir")
        made.put("name", path.name, of="output_dir")
    strategy, steps = made.take("eval_strategy", "no"), made.take("eval_steps")
    if strategy == "steps":
        made.put(
            "eval_steps",
            int(steps or made.given.get("logging_steps", 10)),
            of="eval_strategy steps, eval_steps",
        )
    elif strategy != "no":
        made.leave("eval_strategy", f"{strategy}: here it is by number of steps, and at both ends")
    elif steps:
        made.leave("eval_steps", "without eval_strategy nothing is evaluated")
    named = made.take("report_to", "none")
    given: list[str] = [named] if isinstance(named, str) else list(named)
    known = [one for one in given if one in get_args(TrackerName)]
    if known:
        made.put("report_to", known, of="report_to")
    if odd := [one for one in given if one not in (*known, "none")]:
        made.leave("report_to", f"{', '.join(odd)}: metrics are in metrics.jsonl and report.html")
    for name in ("save_strategy", "logging_strategy"):
        if (value := made.take(name, "steps")) != "steps":
            made.leave(name, f"{value}: here it is by number of steps")
