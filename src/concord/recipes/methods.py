"""The methods that can be trained on data: what each needs, its knobs, and the settings its recipe file has.

A method can be trained on data if a file of its name stands beside this one. The file is a whole recipe but
for the model and the data, and holds the method's own defaults.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from concord.catalogue import Entry, Knob, Part, named
from concord.errors import NotFoundError, RecipeError, explain, nearest
from concord.recipes.loading import load_yaml

__all__ = ["Wants", "alone", "offline_methods", "recipe_file", "recipe_settings", "wants_of"]

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Wants:
    """What a method asks for: of data and models, beside its record, and which knobs it has.

    `owners` says which function of a method each knob belongs to. `free`: losses are of tokens, and nothing
    fixes how they become one number. `known` is False for a function of the user's until it is imported:
    until then any knob may be one of its own.
    """

    name: str
    needs: frozenset[str] = frozenset()
    inputs: Mapping[str, str] = field(default_factory=dict[str, str])
    knobs: Mapping[str, Knob] = field(default_factory=dict[str, Knob])
    owners: Mapping[str, str] = field(default_factory=dict[str, str])
    terms: tuple[Part, ...] = ()
    free: bool = False
    known: bool = True

    @property
    def streams(self) -> tuple[str, ...]:
        """The parts of the loss by name."""
        return tuple(dict.fromkeys(term.on for term in self.terms))

    def of_part(self, term: Part) -> tuple[str, ...]:
        """The knobs of one part of the loss: of its objective and of its reduction."""
        owners = ("", term.objective, term.reduction)
        return tuple(name for name in self.knobs if self.owners.get(name, "") in owners)


def offline_methods() -> tuple[str, ...]:
    """Name every method that can be trained on data."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def recipe_file(method: str) -> Path:
    """The recipe file of a method: a whole recipe but for the model and the data."""
    return _FOLDER / f"{_entry(method).name}.yaml"


@functools.cache
def recipe_settings(method: str) -> Mapping[str, Any]:
    """A method's own defaults, its knobs among them."""
    file = recipe_file(method)
    return load_yaml(file.read_text(encoding="utf-8"), file.name)


def wants_of(method: str) -> Wants:
    """What a method asks for; of a function of the user's nothing is known before it is imported."""
    if ":" in method:
        _check_path(method)
        return Wants(name=method, known=False)
    entry = _entry(method)
    pieces = {name.rpartition(".")[2]: (name.rpartition(".")[0], knob) for name, knob in entry.knobs.items()}
    made = Wants(
        name=entry.name,
        needs=frozenset(entry.needs),
        inputs=entry.inputs,
        knobs={name: knob for name, (_, knob) in pieces.items()},
        owners={name: owner for name, (owner, _) in pieces.items()},
        terms=entry.terms,
    )
    return made if entry.terms else alone(made)


def alone(wants: Wants) -> Wants:
    """An objective by itself: its loss has one part, reduced as losses of its kind are."""
    free = "tokens" in wants.needs
    reduction = "token_mean" if free else "row_mean"
    term = Part(objective=wants.name, reduction=reduction, weight=1.0, on="data", knobs={})
    return replace(wants, terms=(term,), free=free)


def _entry(method: str) -> Entry:
    known = offline_methods()
    try:
        entry = named(method)[0]
    except NotFoundError:
        entry = None
    if entry is not None and entry.name in known:
        return entry
    if entry is None:
        wrong, accepted = "there is no method of this name", nearest(method, known)
    elif entry.kind in ("method", "objective"):
        wrong = f"{entry.name} learns from samples of its own, and not from data alone"
        accepted = nearest("", known)
    else:
        wrong, accepted = f"{entry.name} is no method by itself but a {entry.kind}", nearest("", known)
    do = "`concord methods NAME` says what each is; package.module:function names one of your own"
    raise RecipeError(explain(wrong, found=method, accepted=accepted, do=do))


def _check_path(method: str) -> None:
    module, _, function = method.partition(":")
    if not (function.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        wrong, do = "this names no function", "write it so, with a module that Python can import"
        accepted = "package.module:function, or a method of the catalogue"
        raise RecipeError(explain(wrong, found=method, accepted=accepted, do=do))
