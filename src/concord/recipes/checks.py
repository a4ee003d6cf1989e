"""What settings say to each other: those that nothing would read, contradict another, or are missing."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from concord.errors import NOTHING, RecipeError, Said, explain
from concord.recipes.methods import Wants
from concord.recipes.schema import Settings, setting_names

__all__ = ["check", "check_moving", "check_rivals", "is_off", "over", "unread"]

_RIVALS = (("num_train_epochs", "max_steps"), ("warmup_steps", "warmup_ratio"), ("eval_data", "eval_share"))
"""Of these one may be given: each says what the other says."""

_LORA = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")


@dataclass(frozen=True)
class _Rule:
    """Settings that are read only where `used`; else they would be ignored, which is an error."""

    names: tuple[str, ...]
    used: Callable[[Settings, Wants], bool]
    why: str
    do: str
    of_method: bool = False
    """Whether it depends on the method, which is not known before a user's function is imported."""


def _needs(need: str) -> Callable[[Settings, Wants], bool]:
    return lambda _, wants: need in wants.needs


def _takes(name: str) -> Callable[[Settings, Wants], bool]:
    return lambda _, wants: name in wants.inputs


def _weighs(stream: str) -> Callable[[Settings, Wants], bool]:
    return lambda settings, wants: stream in wants.streams and settings.weights.get(stream, 1.0) != 0


def _always(_: Settings, __: Wants) -> bool:
    return True


_RULES = (
    _Rule(
        ("reference", "reference_sync_steps"),
        _needs("reference"),
        "{method} has no reference",
        "leave it out, or take a method with a reference",
        of_method=True,
    ),
    _Rule(
        ("reference_mixup",),
        lambda settings, _: settings.reference_sync_steps > 0,
        "the reference does not move",
        "set reference_sync_steps as well, or leave it out",
    ),
    _Rule(
        ("reference_sync_steps",),
        lambda settings, _: settings.reference in (None, "initial"),
        "a reference that is named stays as it is",
        "leave one of the two out: a reference that moves begins as the policy",
    ),
    _Rule(("teacher",), _takes("teacher"), "{method} has no teacher", "leave it out", of_method=True),
    _Rule(
        ("teacher_ref",),
        _takes("teacher_ref"),
        "{method} does not ask what the teacher was before",
        "leave it out",
        of_method=True,
    ),
    _Rule(
        ("target_data",), _takes("target"), "{method} takes no target replies", "leave it out", of_method=True
    ),
    _Rule(
        ("pretrain_data",), _weighs("pretrain"), "{method} mixes no text in", "leave it out", of_method=True
    ),
    _Rule(
        ("reduction",),
        lambda _, wants: wants.free,
        "the losses of {method} are not those of tokens",
        "leave it out",
        of_method=True,
    ),
    _Rule(
        ("weights",),
        lambda _, wants: len(wants.streams) > 1,
        "{method} has one part only",
        "leave it out",
        of_method=True,
    ),
    _Rule(
        (*_LORA, "quant"),
        lambda settings, _: settings.train != "full",
        "train: full has no adapter",
        "set train: lora, or leave it out",
    ),
    _Rule(
        ("eval_steps",),
        lambda settings, _: bool(settings.eval_data or settings.eval_share),
        "there is nothing to evaluate on",
        "give eval_data or eval_share, or leave it out",
    ),
    _Rule(
        ("chat_template", "template_args", "train_added"),
        lambda settings, _: not settings.plain,
        "plain: true takes no chat template",
        "leave one of the two out",
    ),
)

_MISSING: tuple[tuple[str, Callable[[Settings, Wants], bool], str], ...] = (
    ("model", _always, "a path, a hub id, or run:NAME"),
    ("data", _always, "files or folders of rows"),
    ("teacher", _takes("teacher"), "the model to imitate: a path, a hub id, or run:NAME"),
    ("teacher_ref", _takes("teacher_ref"), "the teacher as it was before its own tuning"),
    ("target_data", _takes("target"), "files of demonstrations"),
    ("pretrain_data", _weighs("pretrain"), "files of text; or weights: {pretrain: 0}, to do without"),
)


def check(settings: Settings, wants: Wants, given: Iterable[str]) -> None:
    """Refuse what was given and nothing would read, and name what is missing."""
    names = set(given)
    wrong = [
        _explain_ignored(name, settings, rule, wants)
        for rule in _RULES
        if (wants.known or not rule.of_method) and not rule.used(settings, wants)
        for name in rule.names
        if name in names
    ]
    wrong += [
        explain(
            f"{wants.name} needs the setting {name}",
            found=NOTHING,
            accepted=accepted,
            do=f"write `{name}: ...`, or --{name.replace('_', '-')} on the command line",
        )
        for name, needed, accepted in _MISSING
        if not getattr(settings, name) and needed(settings, wants)
    ]
    if unknown := sorted(set(settings.weights) - set(wants.streams)) if wants.known else []:
        wrong.append(
            explain(
                f"{wants.name} has no part of this name to weigh",
                found=unknown[0],
                accepted=", ".join(wants.streams),
                do="correct the name under weights",
            )
        )
    if wants.terms and not any(settings.weights.get(term.on, term.weight) for term in wants.terms):
        accepted, do = "a weight above 0 for one part at least", "correct them, or leave weights out"
        found = Said(", ".join(f"{name}: {weight:g}" for name, weight in settings.weights.items()))
        wrong.append(explain(f"no part of {wants.name} counts", found=found, accepted=accepted, do=do))
    if not settings.num_train_epochs and not settings.max_steps:
        accepted, do = "num_train_epochs or max_steps above 0", "say how long to train"
        wrong.append(explain("no step would be made", found=NOTHING, accepted=accepted, do=do))
    if wrong:
        raise RecipeError("\n".join(wrong))
    check_moving(settings)


def check_moving(settings: Settings) -> None:
    """Refuse to mix adapters: a mixture of their factors is not the factors of a mixture.

    Where `train` is auto this is known only once it is settled.
    """
    if settings.reference_sync_steps and settings.reference_mixup < 1 and settings.train == "lora":
        wrong = "a reference cannot move a part of the way to a policy that is an adapter"
        do = "set reference_mixup: 1, so that it becomes the policy each time; or train: full"
        found = Said(f"reference_mixup: {settings.reference_mixup:g}")
        raise RecipeError(explain(wrong, found=found, accepted="reference_mixup: 1", do=do))


def unread(wants: Wants) -> frozenset[str]:
    """Settings that the method reads under no circumstances."""
    usual = Settings(reference_sync_steps=1) if "reference" in wants.needs else Settings()
    by_method = [rule for rule in _RULES if rule.of_method or rule.names == ("reference_mixup",)]
    return frozenset(name for rule in by_method if not rule.used(usual, wants) for name in rule.names)


def _explain_ignored(name: str, settings: Settings, rule: _Rule, wants: Wants) -> str:
    why = rule.why.format(method=wants.name)
    found = Said(f"{name}: {settings.model_dump(mode='json')[name]}")
    return explain(f"{name} would be ignored: {why}", found=found, accepted=f"no {name} here", do=rule.do)


def check_rivals(layer: Mapping[str, Any], where: str) -> None:
    """Refuse two settings, given in one place, that say the same thing in two ways."""
    for pair in _RIVALS:
        both = [name for name in pair if name in layer and not is_off(name, layer[name])]
        if len(both) > 1:
            found = Said(", ".join(f"{name}: {layer[name]}" for name in both))
            wrong = f"{' and '.join(both)} contradict each other{where}"
            raise RecipeError(explain(wrong, found=found, accepted="one of the two", do="leave one out"))


def over(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Lay settings over others. Whoever gives one of two rivals has spoken of the other as well."""
    silenced = {
        name: _off(name)
        for pair in _RIVALS
        for name, rival in (pair, pair[::-1])
        if rival in upper and not is_off(rival, upper[rival]) and is_off(name, upper.get(name, _off(name)))
    }
    return {**lower, **upper, **silenced}


def is_off(name: str, value: object) -> bool:
    """Whether a value says no more than leaving the setting out."""
    off = _off(name)
    return value is None or value == off or (value == [] and off == ())


def _off(name: str) -> Any:
    # One epoch is a default, and not the absence of epochs.
    return 0.0 if name == "num_train_epochs" else setting_names()[name].default
