"""From a recipe to what is made small: functions of the menus, their knobs bound, and the rows of each."""

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial, wraps
from pathlib import Path
from traceback import extract_tb
from typing import Any, TypeAlias

import torch

from concord import objectives
from concord.data import Prepared
from concord.errors import ConcordError, NotFoundError, RecipeError, Said, explain
from concord.objectives.contract import Card, check_objective
from concord.recipes import Recipe
from concord.recipes.reading import informed
from concord.render import Rendered
from concord.synth import hindsight
from concord.train.loop import COMPANIONS
from concord.train.rows import Build, Wanted, wanted
from concord.types import Preference, Shown
from concord.views import Kind

__all__ = ["Asked", "View", "asked_of", "build_of", "imported", "rows_wanted", "stream_of"]

View: TypeAlias = Callable[[Prepared], Prepared]
"""Which part of a row a term of a loss learns from."""


@dataclass(frozen=True)
class Asked:
    """One term of a loss, as a recipe asks for it."""

    objective: Callable[..., Any]
    reduction: Callable[..., Any] | None
    weight: float
    stream: str
    batch_size: int = 0
    """How many rows a step has, where that is known."""

    @property
    def card(self) -> Card:
        """What the objective says of itself."""
        return check_objective(self.objective)

    @property
    def companions(self) -> tuple[str, ...]:
        """The further rows that belong to each of its rows."""
        return tuple(name for name in self.card.inputs if name in COMPANIONS)


def asked_of(recipe: Recipe) -> tuple[Recipe, list[Asked]]:
    """The terms of a recipe; and the recipe, which of a user's own function is checked only now."""
    if recipe.own:
        function = imported(recipe.method)
        card = check_objective(function)
        recipe = informed(recipe, needs=card.needs, inputs=card.inputs, knobs=card.knobs)
        function = _explained(recipe.method, function)
        bound = partial(function, **recipe.objective_knobs) if recipe.objective_knobs else function
        reduction = getattr(objectives, recipe.reduction) if recipe.reduction else None
        return recipe, [Asked(bound, reduction, 1.0, "data", recipe.batch_size)]
    found: list[Asked] = []
    for term in recipe.terms:
        objective, reduction = getattr(objectives, term.objective), getattr(objectives, term.reduction)
        for_reduction = inspect.signature(reduction).parameters
        own = {name: value for name, value in term.knobs.items() if name in for_reduction}
        rest = {name: value for name, value in term.knobs.items() if name not in own}
        found.append(
            Asked(
                partial(objective, **rest) if rest else objective,
                partial(reduction, **own) if own else reduction,
                term.weight,
                term.on,
                recipe.batch_size,
            )
        )
    return recipe, found


def imported(path: str) -> Callable[..., Any]:
    """A function of the user's own, by package.module:function; what stands in this folder can be named."""
    module, _, name = path.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:  # whatever the module does when it is run
        said = f"{type(error).__name__}: {error}"
        wrong, accepted = f"{path} cannot be imported ({said})", "package.module:function"
        do = "check the name, and that the module can be imported from where you are"
        raise NotFoundError(explain(wrong, found=path, accepted=accepted, do=do)) from error
    if not callable(found):
        wrong, do = f"{path} is no function", "name a function"
        raise RecipeError(explain(wrong, found=Said(type(found).__name__), accepted="a function", do=do))
    return found


def _explained(path: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of the user's own that says in a sentence what fails in it, and in which line."""

    @wraps(function)
    def told(record: Any, **given: Any) -> Any:
        try:
            return function(record, **given)
        except (ConcordError, torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:
            frames = extract_tb(error.__traceback__)[1:]
            own = inspect.getsourcefile(inspect.unwrap(function))
            at = next((one for one in reversed(frames) if one.filename == own), frames[-1])
            said = f"{type(error).__name__}: {error}".rstrip(": ")
            wrong = f"the objective {path} fails on {type(record).__name__} ({said})"
            found = Said(f"{at.line} in {at.filename}:{at.lineno}")
            accepted = "one loss for each pair, reply, row or token of the record"
            raise RecipeError(
                explain(wrong, found=found, accepted=accepted, do="correct it there")
            ) from error

    return told


# --- streams ----------------------------------------------------------------------------------------------


def _side(better: bool) -> View:
    """One side of a pair, as a demonstration."""

    def view(row: Prepared) -> Prepared:
        known = row.utilities
        assert isinstance(known, Preference)
        reply = row.rendered.replies[int((known.first >= 0.5) != better)]
        facts = replace(row.facts, utilities=Shown())
        made = Prepared(row.number, Rendered(row.rendered.prompt, (reply,)), row.text)
        made.__dict__["facts"] = facts
        return made

    return view


@dataclass(frozen=True)
class _Stream:
    """What a stream of a method is: rows as they are, a part of them, or rows of their own."""

    view: View | None = None
    kinds: tuple[Kind, ...] = ()
    """The rows that all of the data must be, where the stream shows a part of them."""
    build: Build | None = None
    """What is made of each item before it is rendered, where it is not learned from as it is."""
    setting: str = ""
    """The setting that names data of its own."""
    stretches: bool = False
    """Whether texts that are too long become several rows."""


_PAIR: tuple[Kind, ...] = ("comparison",)
_JUDGED: tuple[Kind, ...] = ("comparison", "judgement", "rating", "ranking")
_STREAMS: Mapping[str, _Stream] = {
    "chosen": _Stream(_side(better=True), _PAIR),
    "chosen_logits": _Stream(_side(better=True), _PAIR),
    "rejected_logits": _Stream(_side(better=False), _PAIR),
    # The rejected replies are those that the student sampled.
    "sampled_logits": _Stream(_side(better=False), _PAIR),
    "hindsight": _Stream(None, _JUDGED, hindsight),
    "pretrain": _Stream(setting="pretrain_data", stretches=True),
}


def stream_of(name: str) -> _Stream:
    """What a stream is; of a name that is not listed, the rows as they are."""
    return _STREAMS.get(name, _Stream())


def rows_wanted(asked: list[Asked]) -> Wanted:
    """The rows that the terms of a method learn from, those with data of their own left out."""
    main = [one for one in asked if not stream_of(one.stream).setting]
    for one in main:
        if kinds := stream_of(one.stream).kinds:
            return Wanted(kinds=kinds, by=one.card.name)
    return wanted(main[0].card, batch_size=main[0].batch_size)


def build_of(asked: list[Asked]) -> Build | None:
    """What is made of each item for a method, if anything is."""
    return next((made for one in asked if (made := stream_of(one.stream).build) is not None), None)
