"""What a judge is asked and how its verdict is read, as data: a YAML file for each template.

    read_template("pair")        one of those that Concord brings: pair, pair_token, score, score_token
    read_template("mine.yaml")   one of your own

What is judged is put between lines with a mark that is the hash of all of it, so that no reply can write the
line at which it seems to end. A placeholder is filled in once: braces in a reply stay what they are.
Pictures and sounds go to the judge as they are, in their places.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from math import exp
from pathlib import Path
from typing import Any, Literal, cast

import yaml

from concord.errors import InputError, NotFoundError, explain, nearest
from concord.messages import is_number
from concord.store import key
from concord.types import Content, Finish, Message, Part, Prompt, Reply, Text, Turns

__all__ = ["TEMPLATES", "Template", "read_template", "share_of", "transcript"]

TEMPLATES = Path(__file__).parent / "templates"
"""The folder of the templates that Concord brings."""

_PLACE = re.compile(r"\{([a-z]+)\}")
_NEEDED = {"score": ("prompt", "reply"), "pair": ("prompt", "first", "second")}
_SIDES = {"first": 1.0, "tie": 0.5, "second": 0.0}
_CUT = {Finish.LENGTH: " (it was cut off)", Finish.FILTERED: " (it was withheld)"}
_SHOWN = 200  # characters of a verdict that cannot be read


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """How a judge is asked, and how its verdict is read.

    `ask` has the places {prompt}, {criteria}, {mark}, and {reply} or {first} and {second}. `labels` says what
    a verdict means: of a pair first, second or tie, of a score its number. A verdict is read by the pattern
    `read`, whose one group is a label or, where there are no labels, a number on the `scale`; or with
    `token` from the probabilities of the labels as first token.
    """

    kind: Literal["score", "pair"]
    ask: str
    system: str = ""
    criteria: str = ""
    read: str = ""
    token: bool = False
    scale: tuple[float, float] = (0.0, 1.0)
    labels: Mapping[str, str | float] = field(default_factory=dict[str, "str | float"])

    def __post_init__(self) -> None:
        for wrong, found, accepted, do in self._problems():
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))

    def _problems(self) -> list[tuple[str, object, str, str]]:
        """What keeps this from being asked or read."""
        for name in ("ask", "system", "criteria", "read"):
            if not isinstance(value := getattr(self, name), str):
                return [(f"{name} of a template is no text", value, "a text", "put it in quotes")]
        if self.kind not in _NEEDED:
            return [("a template is of no kind", self.kind, "score, pair", "name one")]
        found: list[tuple[str, object, str, str]] = []
        needed = {*_NEEDED[self.kind]}
        places = {*_PLACE.findall(self.ask)}
        if missing := sorted(needed - places):
            found.append(
                (f"the template does not show {missing[0]}", sorted(places), f"{{{missing[0]}}}", "put it in")
            )
        if odd := sorted(places - needed - {"criteria", "mark"}):
            accepted = ", ".join(sorted(needed | {"criteria", "mark"}))
            found.append(
                ("the template has a place for nothing", odd[0], accepted, "write it without braces")
            )
        if not self.token:
            try:
                groups = re.compile(self.read).groups
            except re.error as error:
                groups = str(error)
            if groups != 1:
                accepted = "a regular expression with one group"
                found.append(("a verdict cannot be read by this pattern", self.read, accepted, "mend `read`"))
        means = [*self.labels.values()]
        if self.kind == "pair" and not {"first", "second"} <= {*means} <= {*_SIDES}:
            accepted, do = (
                "labels for first and second, and maybe for tie",
                "write labels: {A: first, B: second}",
            )
            found.append(("the labels of a pair name no sides", dict(self.labels), accepted, do))
        low, high = self.scale
        on_scale = low < high and all(is_number(one) and low <= cast(float, one) <= high for one in means)
        if self.kind == "score" and (not on_scale or (self.token and not means)):
            accepted, do = f"numbers from {low:g} to {high:g}", "write scale: [1, 5] and labels within it"
            found.append(("the labels of a score are not on its scale", dict(self.labels), accepted, do))
        return found

    @property
    def id(self) -> str:
        """The hash of all that it says."""
        return key("template", asdict(self))

    def prompt(self, prompt: Prompt, *replies: Turns, criteria: str = "") -> Prompt:
        """The judge's prompt about one reply, or two in the order in which they are shown."""
        names = _NEEDED[self.kind][1:]
        shown = {"prompt": transcript(prompt.messages)}
        shown |= {name: transcript(turns, reply=True) for name, turns in zip(names, replies, strict=True)}
        shown["criteria"] = [Text((criteria or self.criteria).strip())]
        shown["mark"] = [Text(key("mark", repr(prompt), [repr(turns) for turns in replies])[:8])]
        # Every second piece is the name of a place.
        pieces = _PLACE.split(self.ask)
        parts = [
            part for at, piece in enumerate(pieces) for part in (shown[piece] if at % 2 else [Text(piece)])
        ]
        said = [Message("system", self.system)] if self.system else []
        return Prompt((*said, Message("user", _merged(parts))))

    def verdict(self, reply: Reply) -> float | str:
        """What a reply of the judge comes to, or why it cannot be read.

        Of a pair the preference for what was shown first; of a score the number on the scale. A reply that
        gives two verdicts gives none.
        """
        return self._of_token(reply) if self.token else self._of_text(reply)

    def _of_text(self, reply: Reply) -> float | str:
        matches = re.finditer(self.read, reply.text, re.MULTILINE)
        said = {found[1].strip() for found in matches if found[1]}
        cut = _CUT.get(reply.finish, "")
        text = " ".join(reply.text.split())
        shown = f"{text[:_SHOWN]!r}" + "..." * (len(text) > _SHOWN) + cut
        if len(said) != 1:
            return f"{'two verdicts' if said else 'no verdict'} in the judge's reply {shown}"
        label = said.pop()
        if self.labels:
            means = self.labels.get(label)
            if means is None:
                return f"the verdict {label!r} is none of {', '.join(self.labels)}"
            return _SIDES[cast(str, means)] if self.kind == "pair" else cast(float, means)
        low, high = self.scale
        value = float(label) if re.fullmatch(r"-?[0-9]+(?:\.[0-9]+)?", label) else None
        if value is None or not low <= value <= high:
            return f"the verdict {label!r} is no number from {low:g} to {high:g}"
        return value

    def _of_token(self, reply: Reply) -> float | str:
        if not reply.top:
            return "the judge's policy gave no probabilities of tokens"
        values = {label: _SIDES.get(str(means), means) for label, means in self.labels.items()}
        share = share_of(reply.top[0], [*values])
        if share is None:
            likeliest = ", ".join(repr(text) for text, _ in reply.top[0][:5])
            return f"none of {', '.join(values)} is among the judge's likeliest tokens {likeliest}"
        return sum(share[label] * cast(float, value) for label, value in values.items())


def share_of(top: Sequence[tuple[str, float]], labels: Sequence[str]) -> dict[str, float] | None:
    """The probability of each label among these labels, from tokens and their log-probabilities.

    P(label) / sum of P(labels); blanks around a token do not count, and a label that is not among the
    likeliest has probability 0. None where none of them is.
    """
    found: dict[str, float] = dict.fromkeys(labels, 0.0)
    highest = max((logp for text, logp in top if text.strip() in found), default=None)
    if highest is None:
        return None
    for text, logp in top:
        if text.strip() in found:
            found[text.strip()] += exp(logp - highest)
    total = sum(found.values())
    return {label: mass / total for label, mass in found.items()}


def transcript(turns: Turns, *, reply: bool = False) -> list[Part]:
    """What is said, as a judge is shown it: one turn as it stands, several with the name of who speaks.

    The only turn of a reply, or of a prompt by the user, needs no name. Calls of tools are written out;
    reasoning is not shown, as it is not to the one who asked, nor what tools were on offer.
    """
    parts: list[Part] = []
    for at, turn in enumerate(turns):
        named = len(turns) > 1 or turn.role != ("assistant" if reply else "user")
        opening = "\n" * bool(at) + f"[{turn.role}]\n" * named
        calls = "".join(f"\n[calls {call.name} with {call.arguments}]" for call in turn.tool_calls)
        parts += [Text(opening), *turn.parts, Text(calls)]
    return parts


def _merged(parts: Sequence[Part]) -> Content:
    """Parts with texts that follow each other made one; text alone as text."""
    merged: list[Part] = []
    for part in parts:
        if merged and isinstance(part, Text) and isinstance(last := merged[-1], Text):
            merged[-1] = Text(last.text + part.text)
        else:
            merged.append(part)
    return merged[0].text if len(merged) == 1 and isinstance(merged[0], Text) else tuple(merged)


def read_template(name: str | Path) -> Template:
    """A template by the name of one that Concord brings, or from a YAML file."""
    brought = {path.stem: path for path in TEMPLATES.glob("*.yaml")}
    path = brought.get(str(name), Path(name))
    try:
        given: object = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        wrong, accepted = (
            "there is no template of this name",
            f"{nearest(str(name), brought)}, or a YAML file",
        )
        raise NotFoundError(explain(wrong, found=str(name), accepted=accepted, do="name one")) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        wrong, accepted = f"{path} is not YAML ({' '.join(str(error).split())})", "a template"
        raise InputError(explain(wrong, found=str(name), accepted=accepted, do="mend the file")) from error
    known = [one.name for one in fields(Template)]
    settings = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    for odd in [name for name in settings if name not in known]:
        wrong, do = f"{path} has a field that templates do not have", "rename it, or leave it out"
        raise InputError(explain(wrong, found=odd, accepted=nearest(str(odd), known), do=do))
    for odd in [name for name in ("kind", "ask") if name not in settings]:
        wrong, do = f"{path} lacks what every template has", f"give {odd}"
        raise InputError(explain(wrong, found=[*settings], accepted="kind and ask", do=do))
    scale: object = settings.get("scale", [0.0, 1.0])
    labels: object = settings.get("labels", {})
    ends = cast("list[float]", scale) if isinstance(scale, list) else []
    if len(ends) != 2 or not all(map(is_number, ends)):
        wrong, do = f"the scale of {path} has no two ends", "write scale: [1, 10]"
        raise InputError(
            explain(wrong, found=cast(object, scale), accepted="the lowest and the highest score", do=do)
        )
    if not isinstance(labels, dict) or not all(
        isinstance(one, str) for one in cast("dict[Any, Any]", labels)
    ):
        # YAML reads 1 as a number and yes as a truth value.
        wrong, accepted = f"the labels of {path} are not all texts", "a mapping from texts to what they mean"
        found = cast(object, labels)
        raise InputError(explain(wrong, found=found, accepted=accepted, do="put them in quotes"))
    made: dict[str, Any] = {**settings, "scale": (ends[0], ends[1])}
    return Template(**made)
