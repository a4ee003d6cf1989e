"""From what was asked, as a file, a mapping or flags, to a checked recipe.

    recipe = read_recipe("recipe.yaml", {"learning_rate": 1e-6})
    recipe = read_recipe({"method": "dpo", "model": "path", "data": "prefs.jsonl", "beta": 0.05})

A later layer goes before an earlier one: the settings' own defaults, those of the method's recipe file, the
recipe, what overrides it. What is unknown, would be ignored or contradicts is an error, whoever said it.
"""

import os
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel, ValidationError

from concord.errors import NOTHING, NotFoundError, RecipeError, Said, explain, nearest
from concord.recipes.checks import check, check_rivals, over
from concord.recipes.elsewhere import ALIASES, INSTEAD, MEANINGLESS
from concord.recipes.knobs import bind, knob_of, read_knobs
from concord.recipes.loading import load_yaml
from concord.recipes.methods import Wants, alone, offline_methods, recipe_settings, wants_of
from concord.recipes.schema import Recipe, Settings, setting_names

__all__ = ["informed", "read_recipe"]

_OFF: tuple[object, ...] = (None, False, 0, "", (), {}, "none")
"""What a setting is that does nothing: to say so is no wish for more."""

_ACCEPTED = {
    "data": "a file or a list of files",
    "eval_data": "a file or a list of files",
    "learning_rate": "a number above 0, or both: {full: 5e-7, lora: 5e-6}",
    "lora_target_modules": "a name or a list of names",
    "model": "a path, a hub id, run:NAME or {run: NAME}",
    "name": "up to 100 letters, digits, dots, dashes and underscores, a letter or digit first",
    "pretrain_data": "a file or a list of files",
    "reference": "initial, columns, a path, run:NAME or {run: NAME}",
    "stop_token": "a token or a list of tokens",
    "target_data": "a file or a list of files",
    "teacher": "a path, a hub id, run:NAME or {run: NAME}",
    "teacher_ref": "a path, a hub id, run:NAME or {run: NAME}",
    "template_args": "names with values, as JSON has them",
    "weights": "names with numbers of 0 or more",
}


def read_recipe(
    source: str | Path | Mapping[str, Any] | None = None, overrides: Mapping[str, Any] | None = None
) -> Recipe:
    """Read a recipe from a file of YAML (or JSON) or a mapping; what overrides goes before what it says."""
    text, first = _read(source)
    upper = _layer(overrides or {})
    where = f" in {source}" if isinstance(source, str | Path) else ""
    asked = {**first, **upper}
    wants = wants_of(_method(asked))
    usual: Mapping[str, Any] = recipe_settings(wants.name) if wants.known else {}
    settings = dict(usual)
    for layer, place in ((first, where), (upper, "")):
        _check_names(layer, wants, place)
        check_rivals(layer, place)
        settings = over(settings, layer)
    names = {*_meant(first, usual), *_meant(upper, usual)}
    recipe = _checked(settings, names, wants)
    return recipe.model_copy(update={"text": text if text and not upper else _written(asked)})


def informed(recipe: Recipe, *, needs: str, inputs: Iterable[str], knobs: Mapping[str, object]) -> Recipe:
    """The recipe of a user's own function, once it is imported and has said what it needs.

    `needs`, `inputs` and `knobs` are those of its card. Knobs that it does not have, settings that it would
    ignore and those it lacks are errors, as they are for a method of the catalogue.
    """
    assert recipe.own, "of a method of the catalogue all is known"
    wants = Wants(
        name=recipe.method,
        needs=frozenset(part.strip() for part in needs.split(",")),
        inputs=dict.fromkeys(inputs, ""),
        knobs={name: knob_of(default) for name, default in knobs.items()},
    )
    if taken := sorted(set(wants.knobs) & setting_names().keys()):
        wrong, accepted = f"a knob of {recipe.method} has the name of a setting", "names of its own"
        raise RecipeError(explain(wrong, found=taken[0], accepted=accepted, do="call the keyword otherwise"))
    _check_names(recipe.objective_knobs, wants, "")
    settings = {name: getattr(recipe, name) for name in setting_names()} | dict(recipe.objective_knobs)
    return _checked(settings, recipe.given, alone(wants)).model_copy(update={"text": recipe.text})


def _meant(layer: Mapping[str, Any], usual: Mapping[str, Any]) -> Iterable[str]:
    """What a layer wants to say: of one that has every setting, as `resolved` has, only what is unusual."""
    names = setting_names()
    if not {name for name, field in names.items() if field.default is not None} <= layer.keys():
        return layer
    settings = Settings.model_construct(**{name: usual[name] for name in names if name in usual})
    plain = settings.model_dump(mode="json", warnings=False)
    return [name for name, value in layer.items() if value != plain.get(name)]


def _read(source: str | Path | Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
    """The text, where there is one, and what it says; null is as good as nothing."""
    if source is None or isinstance(source, Mapping):
        return "", _layer(source or {})
    try:
        text = Path(source).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError)
        wrong = f"there is no recipe {source}" if missing else f"the recipe {source} cannot be read"
        found = NOTHING if missing else Said(str(error))
        accepted, do = "a file of YAML or JSON, in UTF-8", "name another file"
        kind = NotFoundError if missing else RecipeError
        raise kind(explain(wrong, found=found, accepted=accepted, do=do)) from error
    return text, _layer(load_yaml(text, str(source)))


def _layer(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What is said; null says nothing, and a path is a text."""
    return {
        str(name): os.fspath(cast("os.PathLike[str]", value)) if isinstance(value, os.PathLike) else value
        for name, value in asked.items()
        if value is not None
    }


def _method(asked: Mapping[str, Any]) -> str:
    method = asked.get("method")
    if isinstance(method, str) and method.strip():
        return method.strip()
    other = next((name for name in ("loss_type", "trainer", "loss", "objective") if name in asked), "")
    found = Said(f"{other}: {asked[other]}") if other else NOTHING if method is None else method
    accepted, do = nearest("", offline_methods()), "write `method: dpo`, or `concord train dpo`"
    raise RecipeError(explain("no method is named", found=found, accepted=accepted, do=do))


def _written(asked: Mapping[str, Any]) -> str:
    """What was asked for as a recipe of its own."""

    def plain(value: object) -> object:
        match value:
            case BaseModel():
                return value.model_dump(mode="json")
            case os.PathLike():
                return os.fspath(cast("os.PathLike[str]", value))
            case list() | tuple():
                return [plain(one) for one in cast("list[object]", value)]
            case Mapping():
                return {key: plain(one) for key, one in cast("Mapping[str, object]", value).items()}
            case _:
                return value

    try:
        return yaml.safe_dump(plain(asked), sort_keys=False, allow_unicode=True)
    except yaml.YAMLError as error:
        wrong, do = "a setting has a value that is no plain data", "give text, numbers, lists or mappings"
        found, accepted = Said(str(error)), "what JSON and YAML can say"
        raise RecipeError(explain(wrong, found=found, accepted=accepted, do=do)) from error


# --- names ------------------------------------------------------------------------------------------------


def _check_names(layer: Mapping[str, Any], wants: Wants, place: str) -> None:
    """Refuse names that are no settings. Before a user's function is imported, any may be a knob of it."""
    strangers = [name for name in layer if name not in setting_names() and name not in wants.knobs]
    if not wants.known:
        strangers = [name for name in strangers if name in {**ALIASES, **INSTEAD, **MEANINGLESS}]
    if strangers:
        raise RecipeError("\n".join(_stranger(name, wants, place) for name in strangers))


def _stranger(name: str, wants: Wants, place: str) -> str:
    known = [*setting_names(), *wants.knobs]
    plain = name.strip().lower().replace("-", "_").lstrip("_")
    wrong = f"there is no setting {name}{place}"
    if plain in known:
        return explain(wrong, found=name, accepted=plain, do=f"write {plain}")
    if plain in ALIASES:
        return explain(wrong, found=name, accepted=ALIASES[plain], do=f"write {ALIASES[plain]}")
    if plain in INSTEAD:
        return explain(wrong, found=name, accepted=INSTEAD[plain], do="write that in its place")
    if plain in MEANINGLESS:
        return explain(wrong, found=name, accepted=f"nothing: {MEANINGLESS[plain]}", do="leave it out")
    close = get_close_matches(plain, known, n=3, cutoff=0.6)
    knobs = f"a setting, or a knob of {wants.name} ({', '.join(wants.knobs) or 'it has none'})"
    accepted = f"{' or '.join(close)}, perhaps, or else {knobs}" if close else knobs
    do = f"correct the name; `concord train {wants.name} --help` lists all settings"
    return explain(wrong, found=name, accepted=accepted, do=do)


# --- values -----------------------------------------------------------------------------------------------


def _checked(settings: Mapping[str, Any], asked: Collection[str], wants: Wants) -> Recipe:
    """The recipe, if every value is right, and right beside the others."""
    own = {name: value for name, value in settings.items() if name in setting_names()}
    try:
        read = Settings.model_validate({**own, "method": wants.name})
    except ValidationError as error:
        raise RecipeError(_said(error)) from error
    knobs = read_knobs(wants, {name: value for name, value in settings.items() if name not in own})
    given = frozenset(name for name in own if name in asked and getattr(read, name) not in _OFF)
    read = _derived(read, wants, given)
    check(read, wants, given)
    recipe = Recipe(
        **dict(read),
        objective_knobs=knobs,
        terms=bind(wants, knobs, read.weights, read.reduction),
        needs=wants.needs,
        inputs=wants.inputs,
        given=given,
    )
    return recipe if recipe.train == "auto" else recipe.settled(recipe.train)


def _derived(read: Settings, wants: Wants, given: frozenset[str]) -> Settings:
    """What follows from other settings: whoever speaks of an adapter wants one."""
    update: dict[str, Any] = {"name": read.name or wants.name.rpartition(":")[2]}
    if read.reference is None and "reference" in wants.needs:
        update["reference"] = "initial"
    if read.reduction is None and wants.free:
        update["reduction"] = "token_mean"
    if read.train == "auto" and any(name.startswith(("lora_", "quant")) for name in given):
        update["train"] = "lora"
    return read.model_copy(update=update)


def _said(error: ValidationError) -> str:
    """What pydantic found, in our words: one sentence a setting."""
    told: dict[str, str] = {}
    for one in error.errors(include_url=False):
        name = str(one["loc"][0])
        accepted = _ACCEPTED.get(name) or _sentence(one["msg"])
        inner = ".".join(str(part) for part in one["loc"][1:] if isinstance(part, int))
        wrong = f"the setting {name}{f'[{inner}]' if inner else ''} is not right"
        do = "correct it; `concord train METHOD --help` says what it means"
        told.setdefault(name, explain(wrong, found=one["input"], accepted=accepted, do=do))
    return "\n".join(told.values())


def _sentence(message: str) -> str:
    return message.removeprefix("Input should be ").removeprefix("String should ").removeprefix("a valid ")
