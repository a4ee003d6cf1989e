"""The run that a recipe is: what identifies it, opened to be begun or gone on with."""

import hashlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from concord.errors import NotFoundError, RecipeError, Said, explain
from concord.manifest import build_manifest, hash_file, hash_tree, manifest_differences
from concord.recipes import Recipe
from concord.run import Run, all_runs, run_id
from concord.train.methods import Asked
from concord.train.models import model_path

__all__ = ["differences", "name_of", "open_run"]


def name_of(recipe: Recipe) -> str:
    """The name of a run: the method's, where none is given."""
    return recipe.name or recipe.method.rpartition(":")[2]


def open_run(recipe: Recipe, asked: Sequence[Asked], *, here: Mapping[str, Any], resume: bool) -> Run:
    """Open the run of a recipe and of all that it reads; to be resumed, it must have been begun."""
    inputs = dict(_inputs(recipe, asked))
    if resume:
        _check_begun(recipe, inputs)
    return Run.open(
        recipe.runs,
        name=name_of(recipe),
        recipe=recipe.text,
        resolved=recipe.identity,
        inputs=inputs,
        seeds={"seed": recipe.seed},
        extra=here,
    )


def differences(run: Run, here: Mapping[str, Any]) -> Iterator[str]:
    """What differs from where the run began, and may make it another one in its last bits."""
    manifest = build_manifest(inputs=run.manifest["inputs"], seeds=run.manifest["seeds"], extra=here)
    for line in manifest_differences(run.manifest, manifest):
        yield f"Not as when the run began: {line}"


def _inputs(recipe: Recipe, asked: Sequence[Asked]) -> Iterator[tuple[str, str]]:
    """The content of all that decides what is computed and is not in the recipe itself."""
    yield "model", _hash(model_path(recipe.model, recipe.runs))
    files = (*recipe.data, *recipe.eval_data, *recipe.target_data, *recipe.pretrain_data)
    yield from ((f"data/{number}", _hash(file)) for number, file in enumerate(files))
    for name in ("reference", "teacher", "teacher_ref"):
        source = getattr(recipe, name)
        if source not in (None, "initial", "columns"):
            yield name, _hash(model_path(source, recipe.runs))
    if recipe.chat_template:
        yield "chat_template", _hash(recipe.chat_template)
    if recipe.own:
        function = getattr(asked[0].objective, "func", asked[0].objective)
        yield "objective", hashlib.sha256(_written(recipe.method, function).encode()).hexdigest()


def _written(name: str, function: Any) -> str:
    """The text of the module of a function: what stands beside it may be what it calls."""
    try:
        return inspect.getsource(inspect.getmodule(function) or function)
    except (OSError, TypeError) as error:
        wrong, found = f"the text of {name} cannot be read, and so not be known again", Said(str(error))
        do = "define it with def, in a file that Python can import"
        raise RecipeError(
            explain(wrong, found=found, accepted="a function in a file of its own", do=do)
        ) from error


def _hash(path: str) -> str:
    """The hash of a file or folder; of a hub id, the id."""
    place = Path(path)
    if place.is_dir():
        return hash_tree(place)
    return hash_file(place) if place.is_file() else f"hub:{path}"


def _check_begun(recipe: Recipe, inputs: Mapping[str, str]) -> None:
    """Refuse to resume what was never begun: with another setting or file it is another run."""
    identity = run_id(recipe.identity, inputs)
    runs = [run for run in all_runs(recipe.runs) if run.name == name_of(recipe)]
    if any(run.id == identity for run in runs):
        return
    here = recipe.identity
    near = [(sorted(key for key in here if run.resolved.get(key) != here[key]), run) for run in runs]
    differing, run = min(near, key=lambda one: len(one[0]), default=([], None))
    if run is not None and not differing:
        read = run.manifest["inputs"]
        differing = [f"the content of {one}" for one in inputs if read.get(one) != inputs[one]]
    what = ", ".join(differing) or "the files it reads"
    found = Said(f"{run.path.name}, which differs in {what}" if run else f"no run {name_of(recipe)}")
    wrong = "there is no run of these settings to go on with"
    accepted, do = "the settings of a run that was begun", "give the same settings, or leave --resume out"
    raise NotFoundError(explain(wrong, found=found, accepted=accepted, do=do))
