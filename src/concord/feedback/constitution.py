"""Constitutions: principles in words, with where they hold and which prevails, and draws of them by seed.

    constitution = read_constitution()                    the one that Concord brings, 13 principles
    Drawn(constitution, count=1, seed=0)                  one of them for each thing that is judged

A draw gives every principle a number by hashing it with the seed and what is judged, and takes the highest.
So the same seed draws the same, in any order of asking, and taking a principle out of the constitution
changes only the draws that held it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import cast

import yaml

from concord.errors import NOTHING, InputError, NotFoundError, Said, explain, nearest
from concord.messages import first_odd, is_count
from concord.store import key
from concord.types import JSON

__all__ = ["DEFAULT", "Constitution", "Drawn", "Principle", "read_constitution"]

DEFAULT = Path(__file__).parent / "constitutions" / "default.yaml"
"""The file of the constitution that Concord brings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principle:
    """One rule in words. `scope` names the kinds of prompt it is for, all where it names none.

    `priority` is 1 for what prevails over everything; equal numbers are weighed against each other.
    """

    id: str
    text: str
    scope: tuple[str, ...] = ()
    priority: int = 1

    def __post_init__(self) -> None:
        for name in ("id", "text"):
            said: object = getattr(self, name)
            if not isinstance(said, str) or not said.strip():
                wrong, do = f"a principle has no {name}", "give it one"
                raise InputError(explain(wrong, found=said, accepted="a text", do=do))
        if not is_count(self.priority, 1):
            wrong, do = f"the priority of {self.id} is no rank", "count from 1, which prevails"
            raise InputError(explain(wrong, found=self.priority, accepted="1 or more", do=do))
        if first_odd(self.scope, lambda one: isinstance(one, str)):
            wrong, do = (
                f"the scope of {self.id} is no list of names",
                "write scope=('safety',), or leave it out",
            )
            raise InputError(explain(wrong, found=self.scope, accepted="names of kinds of prompt", do=do))


@dataclass(frozen=True, slots=True)
class Constitution:
    """Principles, each under an id of its own, in the order in which they are shown."""

    principles: tuple[Principle, ...]

    def __post_init__(self) -> None:
        if not self.principles:
            wrong, do = "a constitution has no principle", "write one"
            raise InputError(explain(wrong, found=NOTHING, accepted="one principle or more", do=do))
        if twice := [name for name, count in Counter(self.ids).items() if count > 1]:
            wrong, do = "two principles have one id", "rename one of them"
            raise InputError(explain(wrong, found=twice[0], accepted="each id once", do=do))

    @property
    def id(self) -> str:
        """The hash of all that the principles say."""
        return f"constitution-{key('constitution', [_plain(one) for one in self.principles])[:32]}"

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids, in order."""
        return tuple(one.id for one in self.principles)

    def __getitem__(self, name: str) -> Principle:
        """The principle of an id."""
        for one in self.principles:
            if one.id == name:
                return one
        wrong, do = "the constitution has no principle of this id", "name one that it has"
        raise NotFoundError(explain(wrong, found=name, accepted=nearest(name, self.ids), do=do))

    def without(self, *names: str) -> "Constitution":
        """The same without some principles."""
        gone = {self[name].id for name in names}
        return Constitution(tuple(one for one in self.principles if one.id not in gone))

    def within(self, scope: str = "") -> tuple[Principle, ...]:
        """The principles that hold for a kind of prompt; all, where no kind is said."""
        held = tuple(one for one in self.principles if not (scope and one.scope) or scope in one.scope)
        if not held:
            wrong, do = "no principle is for this kind of prompt", "name another kind, or none"
            known = sorted({name for one in self.principles for name in one.scope})
            raise NotFoundError(explain(wrong, found=scope, accepted=nearest(scope, known), do=do))
        return held

    def draw(self, *judged: str, count: int = 1, seed: int = 0, scope: str = "") -> tuple[Principle, ...]:
        """Some of the principles for what is judged, in order of priority; all, where there are no more."""
        if not is_count(count, 1):
            wrong, do = "no principle is drawn", "draw one or more"
            raise InputError(explain(wrong, found=count, accepted="1 or more", do=do))
        held = self.within(scope)
        about = key("judged", list(judged))
        drawn = sorted(held, key=lambda one: key("draw", seed, one.id, about), reverse=True)[:count]
        return tuple(one for one in _by_priority(held) if one in drawn)


def _by_priority(principles: Iterable[Principle]) -> list[Principle]:
    """Principles, those that prevail first, else in the order they came."""
    return sorted(principles, key=lambda one: one.priority)


@dataclass(frozen=True, slots=True)
class Drawn:
    """Which principles each thing is judged by: so many of a constitution, drawn by a seed.

    `column` names the column of a row that says of which kind its prompt is (a `scope` of principles); a row
    without it is of every kind.
    """

    constitution: Constitution
    count: int = 1
    seed: int = 0
    column: str = "scope"

    @property
    def id(self) -> str:
        """The hash of the constitution and of how it is drawn from."""
        return key("drawn", self.constitution.id, self.count, self.seed, self.column)

    def of(self, *judged: str, meta: Mapping[str, JSON]) -> tuple[Principle, ...]:
        """The principles for what is judged, which is told from all else by these texts."""
        scope = meta.get(self.column)
        known = isinstance(scope, str) and any(scope in one.scope for one in self.constitution.principles)
        return self.constitution.draw(
            *judged, count=self.count, seed=self.seed, scope=cast(str, scope) if known else ""
        )


def read_constitution(path: str | Path = DEFAULT) -> Constitution:
    """The constitution in a YAML file: a list of principles: id, text, and maybe scope and priority."""
    try:
        rows: object = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        wrong, accepted = f"a constitution cannot be read ({error.strerror})", "a YAML file"
        raise NotFoundError(explain(wrong, found=str(path), accepted=accepted, do="name a file")) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        wrong, accepted = f"{path} is not YAML ({' '.join(str(error).split())})", "a list of principles"
        raise InputError(explain(wrong, found=str(path), accepted=accepted, do="mend the file")) from error
    if not isinstance(rows, list):
        wrong, do = f"{path} is no list of principles", "begin each with - id: NAME"
        raise InputError(explain(wrong, found=Said(type(rows).__name__), accepted="a list", do=do))
    listed = enumerate(cast("list[object]", rows))
    return Constitution(tuple(_read(row, f"{path}, principle {at + 1}") for at, row in listed))


def _read(row: object, where: str) -> Principle:
    known = [one.name for one in fields(Principle)]
    given = cast("dict[str, object]", row) if isinstance(row, dict) else {}
    odd = [name for name in given if name not in known] or [name for name in known[:2] if name not in given]
    if odd:
        wrong = f"{where}: {odd[0]} is {'no field of a principle' if odd[0] in given else 'missing'}"
        accepted, do = f"id and text, and if it has them {' and '.join(known[2:])}", "mend the file"
        raise InputError(explain(wrong, found=given or cast(object, row), accepted=accepted, do=do))
    scope = given.get("scope", ())
    text = given["text"]
    made = given | {
        "scope": tuple(cast("list[str]", scope)) if isinstance(scope, list) else scope,
        "text": " ".join(text.split()) if isinstance(text, str) else text,
    }
    return Principle(**cast("dict[str, str]", made))  # pyright: ignore[reportArgumentType]


def _plain(one: Principle) -> list[object]:
    return [one.id, one.text, list(one.scope), one.priority]
