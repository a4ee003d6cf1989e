"""Settings as flags: `--learning-rate 5e-7 --data a.jsonl b.jsonl --no-compile`, and help that lists them.

A flag is the name of a setting or knob, with dashes. Its value is what it would be in a recipe. Settings
that hold several values take all words up to the next flag.
"""

import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from concord.catalogue import Knob, load
from concord.errors import NOTHING, RecipeError, explain
from concord.recipes.checks import unread
from concord.recipes.loading import scalar
from concord.recipes.methods import recipe_settings, wants_of
from concord.recipes.schema import SECTIONS, Rates, section_of, setting_names

__all__ = ["Described", "described", "read_flags"]

_NUMBER = re.compile(r"-\.?[0-9].*|-\.?inf", re.IGNORECASE)
_METAVARS = {"names": "NAME...", "mapping": "NAME=VALUE...", "switch": "", "text": "TEXT", "count": "N"}


def read_flags(words: Sequence[str], others: Mapping[str, int]) -> tuple[list[str], dict[str, Any]]:
    """Take the settings out of a command line; what is left comes first.

    `others` are the flags that are no settings, with the number of words that follow each.
    """
    left: list[str] = []
    read: dict[str, Any] = {}
    place = 0
    while place < len(words):
        word, place = words[place], place + 1
        flag, equals, value = word.partition("=")
        if word == "--":
            return [*left, *words[place:]], read
        if not word.startswith("--") or flag in others:
            size = 0 if equals else others.get(flag, 0)
            left += [word, *words[place : place + size]]
            place += size
            continue
        name, kind = _named(flag)
        if equals:
            values = [value]
        else:
            values = _following(words[place:], kind)
            place += len(values)
        _put(read, name, kind, values, flag)
    return left, read


def _named(flag: str) -> tuple[str, str]:
    """The name that a flag sets, and what kind of values follow; "off" for a switch behind `no-`."""
    name = flag.removeprefix("--").replace("-", "_")
    if name not in setting_names() and name.startswith("no_"):
        bare = name.removeprefix("no_")
        if _kind(bare) == "switch" or bare in _switches():
            return bare, "off"
    return name, _kind(name)


def _switches() -> set[str]:
    return {name for entry in load() for name, knob in entry.knobs.items() if knob.type == "bool"}


def _kind(name: str) -> str:
    """What kind of values a setting takes; "knob" for what is no setting."""
    if name not in setting_names():
        return "knob"
    plain = _plain(setting_names()[name].annotation)
    if get_origin(plain) is Literal:
        return "choice"
    kinds = {bool: "switch", str: "text", int: "count", tuple: "names", Mapping: "mapping"}
    return kinds.get(get_origin(plain) or plain, "number")


def _plain(annotation: Any) -> Any:
    """The type without its bounds, of several forms the plainest: a model by name, and not by run."""
    if get_origin(annotation) in (types.UnionType, Union, Annotated):
        return _plain(get_args(annotation)[0])
    return annotation


def _following(words: Sequence[str], kind: str) -> list[str]:
    """The words that belong to a flag, of those that follow it."""
    if kind == "off":
        return []
    upto = next((i for i, word in enumerate(words) if _is_flag(word)), len(words))
    if kind == "switch":
        return list(words[:1]) if words and words[0].lower() in ("true", "false") else []
    return list(words[: upto if kind in ("names", "mapping") else min(upto, 1)])


def _is_flag(word: str) -> bool:
    return word.startswith("-") and word != "-" and not _NUMBER.fullmatch(word)


def _put(read: dict[str, Any], name: str, kind: str, values: list[str], flag: str) -> None:
    if not values and kind not in ("switch", "off", "knob"):
        wrong, accepted = f"{flag} has no value", f"{flag} {_METAVARS.get(kind, 'VALUE')}"
        raise RecipeError(explain(wrong, found=NOTHING, accepted=accepted, do="give it one"))
    if kind == "names":
        read[name] = [*read.get(name, []), *values]
    elif kind == "mapping":
        read[name] = {**read.get(name, {}), **_pairs(values, flag)}
    elif name in read:
        wrong, accepted = f"{flag} is given twice", "each flag once"
        raise RecipeError(
            explain(wrong, found=values[0] if values else flag, accepted=accepted, do="leave one out")
        )
    elif kind in ("switch", "off", "knob") and not values:
        read[name] = kind != "off"
    else:
        read[name] = values[0] if kind in ("text", "choice") else scalar(values[0])


def _pairs(values: Sequence[str], flag: str) -> dict[str, Any]:
    """NAME=VALUE, or a whole mapping in braces."""
    pairs: dict[str, Any] = {}
    for value in values:
        whole = scalar(value) if value.startswith("{") else None
        name, equals, text = value.partition("=")
        if isinstance(whole, Mapping):
            pairs |= whole
        elif equals and name:
            pairs[name] = scalar(text)
        else:
            wrong, accepted = f"{flag} has a value without a name", "NAME=VALUE"
            raise RecipeError(explain(wrong, found=value, accepted=accepted, do="write it so"))
    return pairs


@dataclass(frozen=True, kw_only=True)
class Described:
    """A setting or knob as help shows it; `default` is empty where there is none to speak of."""

    name: str
    metavar: str
    meaning: str
    default: str

    @property
    def flag(self) -> str:
        """How it is written on a command line."""
        return f"--{self.name.replace('_', '-')} {self.metavar}".rstrip()


def described(method: str = "") -> dict[str, list[Described]]:
    """Every setting under its heading, with its default; of a method its own, and its knobs."""
    wants = wants_of(method) if method else None
    own: Mapping[str, Any] = recipe_settings(wants.name) if wants is not None and wants.known else {}
    ignored = unread(wants) if wants is not None and wants.known else ()
    found: dict[str, list[Described]] = {}
    if wants is not None and wants.knobs:
        found[f"Knobs of {wants.name}"] = [_knob(name, knob) for name, knob in wants.knobs.items()]
    found |= {section: [] for section in SECTIONS}
    for name, field in setting_names().items():
        if name == "method" or name in ignored:
            continue  # the method is the word before all flags
        choices = get_args(_plain(field.annotation)) if _kind(name) == "choice" else ()
        metavar = "|".join(choices) or _METAVARS.get(_kind(name), "X")
        told = Described(
            name=name,
            metavar=metavar,
            meaning=field.description or "",
            default=_shown(own[name], name) if name in own else _shown(field.default, name),
        )
        found[section_of(name)].append(told)
    return found


def _knob(name: str, knob: Knob) -> Described:
    metavar = "|".join(knob.choices) or {"bool": "true|false"}.get(knob.type, "X")
    return Described(
        name=name,
        metavar=metavar,
        meaning="; ".join(filter(None, (knob.meaning, knob.allowed))),
        default=knob.shown,
    )


def _shown(value: Any, name: str) -> str:
    if name == "learning_rate":
        rates = Rates.model_validate(value)
        return f"{_short(rates.full)}; of an adapter {_short(rates.lora)}"
    if value is None or value is False or value in ("", ()) or isinstance(value, Mapping):
        return ""
    if isinstance(value, tuple):
        return " ".join(cast("tuple[str, ...]", value))
    return _short(value) if isinstance(value, float) else str(value)


def _short(value: float) -> str:
    return re.sub(r"e-0*", "e-", f"{value:g}")
