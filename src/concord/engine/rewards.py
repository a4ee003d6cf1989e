"""Models that score replies, as feedback: reward models, and models that judge each step.

    reward = load_reward("path/to/reward-model", store=store)       whichever of the two it is
    ((first, second),) = reward.rate([Rate(prompt, (one, other))])

A `RewardModel` gives a reply one number, at its last token. A `StepModel` gives each step of a reply the
probability that it is right, and makes one number of these. Replies to one prompt share its tokens where the
model's layout is the forest. What a model said of a row is kept in the store under all that decides it, so no
row is read twice. A reply that cannot be scored, for it is too long, or no text, or its score is no number,
is `Unscored` with the reason: nothing is cut, and nothing is zero that was not said to be.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from concord.engine.classifiers import Held, Kind, Loading, held, load_labels, load_scores
from concord.engine.generation import resting
from concord.engine.heads import Scores, mark_last
from concord.engine.labels import Classifier, LabelSettings
from concord.engine.logprobs import LogProbs
from concord.engine.model import text_config
from concord.engine.precision import hashed, identify
from concord.engine.reference import BUDGET, batches
from concord.engine.switch import kernel
from concord.engine.targets import Line
from concord.errors import CapabilityError, ConversionError, InputError, Said, explain, nearest
from concord.objectives import step_aggregate
from concord.render import Leaf, Renderer, RenderSettings, Unrendered
from concord.render.loading import load_tokenizer, out_of_reach, read_files
from concord.render.step_ends import step_ends
from concord.store import Store, key
from concord.tensors import StepLogits
from concord.types import Item, Message, Rate, Score, Text, Turns, Unscored, Usage

__all__ = [
    "FORMAT",
    "Aggregation",
    "RewardModel",
    "RewardSettings",
    "StepModel",
    "StepSettings",
    "load_reward",
]

FORMAT = 1
"""Counts the changes after which the same reply gets another score; part of the `id` of each model."""

Aggregation: TypeAlias = Literal["min", "prod", "last", "mean", "geometric_mean", "log_prod"]
"""How the probabilities of steps become one number, by the names of `concord.objectives.step_aggregate`."""

_NUMBER = np.dtype("<f4")
_Numbers: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class RewardSettings:
    """Where a reward model looks, if not at the last token of a reply, the one that ends it."""

    padding: int | None = None
    """At the last token that is not this one, as transformers does: what padded its batches was not seen."""
    tail: str = ""
    """Behind this text, which the template writes after a reply (a line break, in many): models trained
    elsewhere on the text of whole conversations look there."""


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """How a model of steps is read.

    `min` and `prod` are as published, for the best of several replies and for weighted voting (Lightman et
    al. 2023, arXiv 2305.20050; Sun et al. 2024, arXiv 2403.09472).
    """

    aggregation: Aggregation = "min"
    separator: str = "\n\n"
    """Where the steps of a reply that is one text are told apart, each with what separates it from the next;
    empty: the whole of it is one step. Of a reply in parts these are the steps, whatever they hold."""

    def __post_init__(self) -> None:
        if self.aggregation not in get_args(Aggregation):
            wrong, do = "steps are not put together so", "name one of these"
            accepted = nearest(self.aggregation, get_args(Aggregation))
            raise InputError(explain(wrong, found=self.aggregation, accepted=accepted, do=do))


# --- what both kinds do -----------------------------------------------------------------------------------


class _Marking(ABC):
    """A feedback that marks tokens of a reply and makes a score of what its model says there.

    Its weights must not move once it was asked: what it said is kept under their hash.
    """

    def __init__(self, engine: Scores | LogProbs, renderer: Renderer, store: Store | None = None) -> None:
        """Take an engine as it is; without a store everything is computed whenever it is asked for."""
        heads = [] if isinstance(engine, Scores) else [*engine.heads.values()]
        if not isinstance(engine, Scores) and [getattr(one, "at", "") for one in heads] != ["marks"]:
            wrong = "this engine has no head that scores replies"
            found = Said(", ".join(type(one).__name__ for one in heads) or "a model that only speaks")
            accepted = "Scores, or LogProbs with one RewardHead or StepHead"
            do = "load a reward model with load_reward, or give the engine its head"
            raise CapabilityError(explain(wrong, found=found, accepted=accepted, do=do))
        self.engine = engine
        self.renderer = renderer
        self.store = store

    @abstractmethod
    def _line(self, rate: Rate, turns: Turns, leaves: Sequence[Leaf]) -> Line:
        """The tokens of a reply with its marks; an InputError is the reason why it has no score."""

    @abstractmethod
    def _score(self, said: _Numbers) -> Score:
        """What is made of the model's numbers at the marks of a reply."""

    @cached_property
    def _weights(self) -> str:
        """The hash of the model and of its head."""
        heads = {} if isinstance(self.engine, Scores) else self.engine.heads.state_dict()
        beside = {name: weight.float().cpu().numpy().tobytes() for name, weight in heads.items()}
        return key("scores", hashed(self.engine.model), beside)

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        """Score all replies of all rates together, in order."""
        lines = list(self._lines([(rate, turns) for rate in rates for turns in rate.replies]))
        read = iter(self._read([line for line in lines if isinstance(line, Line)]))
        found: list[Score | Unscored] = []
        for line in lines:
            said, usage = (line, Usage()) if isinstance(line, str) else next(read)
            if isinstance(said, str):
                found.append(Unscored(said, usage=usage))
            else:
                found.append(replace(self._score(said), usage=usage))
        every = iter(found)
        return [tuple(next(every) for _ in rate.replies) for rate in rates]

    def _lines(self, asked: Sequence[tuple[Rate, Turns]]) -> Iterator[Line | str]:
        """The tokens of each reply behind its prompt with its marks, or why it has none."""
        items = [_item(rate, turns) for rate, turns in asked]
        rendered = self.renderer.render(one for one in items if isinstance(one, Item))
        for (rate, turns), item in zip(asked, items, strict=True):
            row = None if isinstance(item, str) else next(rendered)
            if row is None or isinstance(row, Unrendered):
                yield str(item if row is None else row.error)
                continue
            try:
                yield self._line(rate, turns, row.replies[0])
            except InputError as error:
                yield str(error)

    def _read(self, lines: Sequence[Line]) -> list[tuple[_Numbers | str, Usage]]:
        """What the model says at the marks of each line, or why it says nothing, and what that cost now."""
        how = {"layout": self.engine.layout, "kernel": str(kernel(self.engine.model)), "head": "scores"}
        name = identify(self.engine.model, **how, weights=self._weights).key
        keys = [key("scores", name, _bytes(line.ids), _bytes(line.marks)) for line in lines]
        by_key = dict(zip(keys, lines, strict=True))
        held = {} if self.store is None else self.store.get_many(by_key)
        found: dict[str, _Numbers | str] = {
            one: np.frombuffer(value, _NUMBER)
            for one, value in held.items()
            if len(value) == len(by_key[one].marks) * _NUMBER.itemsize
        }
        missing = [(one, line) for one, line in by_key.items() if one not in found]
        costs = {one: Usage(calls=1, prompt_tokens=len(line.ids)) for one, line in missing}
        budget = min(BUDGET, self.engine.limits.tokens or BUDGET)
        with resting(self.engine.model):
            for batch in batches([line for _, line in missing], budget, self.engine.layout):
                said = self._together([missing[number][1] for number in batch])
                made = {missing[number][0]: one for number, one in zip(batch, said, strict=True)}
                if self.store is not None:
                    kept = {one: said.tobytes() for one, said in made.items() if not isinstance(said, str)}
                    self.store.put_many(kept)
                found |= made
        return [(found[one], costs.pop(one, Usage())) for one in keys]

    def _together(self, lines: Sequence[Line]) -> list[_Numbers | str]:
        """What the model says of lines that go through it at a time."""
        try:
            found: Any = self.engine(layout=self.engine.lay(lines))
        except InputError as error:
            if len(lines) == 1:
                return [str(error)]
            # A reply that is too long is no reason against the others.
            half = len(lines) // 2
            return self._together(lines[:half]) + self._together(lines[half:])
        if not isinstance(self.engine, Scores):
            (found,) = found.heads.values()
        flat = found.float().cpu().numpy().astype(_NUMBER)
        parts = np.split(flat, np.cumsum([len(line.marks) for line in lines])[:-1])
        return [part if np.isfinite(part).all() else "the model's score is not a number" for part in parts]


def _item(rate: Rate, turns: Turns) -> Item | str:
    """A reply behind its prompt, or why it is none that can be read."""
    before = () if rate.prompt.tokens is not None else rate.prompt.messages
    odd = [part for turn in (*before, *turns) for part in turn.parts if not isinstance(part, Text)]
    try:
        if odd:
            wrong, accepted = "a reward model of text reads text alone", "messages of text"
            found, do = Said(type(odd[0]).__name__), "ask a feedback that can see or hear"
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
        return Item(rate.prompt, (turns,))
    except InputError as error:
        return str(error)


def _bytes(ids: Any) -> bytes:
    return np.ascontiguousarray(ids, "<i8").tobytes()


# --- the two kinds ----------------------------------------------------------------------------------------


class RewardModel(_Marking):
    """A reward model as `concord.types.Feedback`: a score is the raw number of its head."""

    def __init__(
        self,
        engine: Scores | LogProbs,
        renderer: Renderer,
        store: Store | None = None,
        *,
        reading: RewardSettings | None = None,
    ) -> None:
        """`engine`: of a sequence classifier, or of a causal model with a `RewardHead`."""
        super().__init__(engine, renderer, store)
        self.reading = reading or RewardSettings()
        encoded = renderer.tokenizer(self.reading.tail, add_special_tokens=False)
        self._tail = np.array(encoded["input_ids"], np.int32)

    @cached_property
    def id(self) -> str:
        """The hash of weights, renderer and settings. The first look reads every weight."""
        parts = (self._weights, self.renderer.id, self.reading.padding, self.reading.tail)
        return f"reward-{key('reward', FORMAT, *parts)[:32]}"

    def _line(self, rate: Rate, turns: Turns, leaves: Sequence[Leaf]) -> Line:
        ids = leaves[-1].ids  # the one in which the reply ends
        if not (rate.prompt.plain or self.renderer.settings.plain):
            ids = np.concatenate([ids, self._tail])
        return mark_last([Line(ids)], padding=self.reading.padding)[0]

    def _score(self, said: _Numbers) -> Score:
        return Score(float(said[0]))


class StepModel(_Marking):
    """A model that judges steps, as `concord.types.Feedback`: the parts of a score, `step/0` and so on, are
    the probabilities that the steps are right; its value is made of them by `reading.aggregation`.

    One class reads all three evaluators of Sun et al. 2024 (arXiv 2403.09472). A process model (PRM) learned
    the steps of replies. An outcome model (ORM) learned whole replies, as one step each: an empty `separator`
    reads it so. One of both (OPRM) learned rows of both kinds: what it says of the outcome it says at the end
    of the last step, which `last` is, and `min` and `prod` look at all.
    """

    def __init__(
        self,
        engine: Scores | LogProbs,
        renderer: Renderer,
        store: Store | None = None,
        *,
        reading: StepSettings | None = None,
    ) -> None:
        """`engine`: of a token classifier, or of a causal model with a `StepHead`."""
        super().__init__(engine, renderer, store)
        self.reading = reading or StepSettings()

    @cached_property
    def id(self) -> str:
        """The hash of weights, renderer and settings. The first look reads every weight."""
        parts = (self._weights, self.renderer.id, self.reading.aggregation, self.reading.separator)
        return f"steps-{key('steps', FORMAT, *parts)[:32]}"

    def _line(self, rate: Rate, turns: Turns, leaves: Sequence[Leaf]) -> Line:
        if len(turns) != 1 or len(leaves) != 1 or not turns[0].text.strip():
            wrong = "the steps of a reply are not those of one turn"
            found = Said(f"{len(turns)} turns" if len(turns) != 1 else "a reply without text")
            accepted, do = "steps of one turn", "have turns judged one by one, each behind those before"
            raise ConversionError(explain(wrong, found=found, accepted=accepted, do=do))
        ids, start = leaves[0].ids, int(leaves[0].spans[0, 0])
        steps = _steps(turns[0], self.reading.separator)
        ends = step_ends(steps, ids[start:].tolist(), self.renderer.decode)
        return Line(ids, marks=np.array(ends, np.int64) + start)

    def _score(self, said: _Numbers) -> Score:
        logit = torch.from_numpy(said.astype(np.float64))
        owner = torch.zeros(len(logit), dtype=torch.int64)
        steps = StepLogits(owner=owner, num_replies=1, logit=logit, label=torch.ones_like(logit))
        value = float(step_aggregate(steps, how=self.reading.aggregation)[0])
        return Score(value, parts={f"step/{number}": p for number, p in enumerate(logit.sigmoid().tolist())})


def _steps(message: Message, separator: str) -> list[str]:
    """The texts of the steps of a reply; blanks alone are no step, and belong to the one before."""
    if not isinstance(message.content, str) or not separator:
        return [part.text for part in message.parts if isinstance(part, Text)]
    steps = [""]
    for piece in re.split(f"(?<={re.escape(separator)})", message.content):
        if steps[-1].strip() and piece.strip():
            steps.append(piece)
        else:
            steps[-1] += piece
    return steps


# --- loading ----------------------------------------------------------------------------------------------


def _labelled(model: str | Path, what: Held, reading: LabelSettings) -> tuple[Held, LabelSettings | None]:
    """What a model is when it is to be read by a label.

    One that scores whole conversations is a reward model still: under one identity, whatever it is called.
    """
    if what == Held("rewards") and (reading.reads == "reply" or reading.probability):
        return Held("labels"), reading
    if what.kind == "rewards" and reading == LabelSettings():
        return what, None
    if what.kind != "labels":
        wrong, found = f"{model} has no labels to choose from", Said("a model of one number, or adapters")
        accepted = "a whole sequence classifier"
        do = "leave the label out, or merge adapters into their model and name that"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    return what, reading


_READINGS: Mapping[Kind, type[Any]] = {
    "rewards": RewardSettings,
    "steps": StepSettings,
    "labels": LabelSettings,
}


def load_reward(
    model: str | Path,
    *,
    store: Store | None = None,
    settings: RenderSettings | None = None,
    reading: RewardSettings | StepSettings | LabelSettings | None = None,
    dtype: str = "auto",
    device: str = "",
    offline: bool = True,
    trust_remote_code: bool = False,
) -> RewardModel | StepModel | Classifier:
    """The feedback that a folder holds, or a hub id that was fetched before or, not `offline`, is now.

    It may be what `concord train` exports of a reward model or of a step model (whole, as adapters, or with
    its head in a file beside it), or any sequence classifier: a causal one of one label is a reward model,
    every other a `Classifier`. `reading` is of the class that belongs to the model. Where it names no
    padding, that of the files is taken: who looks as transformers does scores a model as it was trained.
    """
    offline = out_of_reach(model, offline=offline)
    how = Loading(dtype=dtype, device=device, offline=offline, trust_remote_code=trust_remote_code)
    what = held(model, how)
    if isinstance(reading, LabelSettings):
        what, reading = _labelled(model, what, reading)
    made = _READINGS[what.kind]
    read: Any = made() if reading is None else reading
    if not isinstance(read, made):
        wrong, found = f"a model of {what.kind} is not read so", Said(repr(reading))
        accepted, do = made.__name__, "leave it out, or name another model"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    if what.kind == "labels":
        tokenizer = load_tokenizer(model, offline=offline, trust_remote_code=trust_remote_code)
        return Classifier(load_labels(model, how), tokenizer, store, reading=read, settings=settings)
    engine = load_scores(model, what, how)
    own = what.base is not None and (Path(model) / "tokenizer_config.json").is_file()
    home = model if what.base is None or own else what.base
    tokenizer = load_tokenizer(home, offline=offline, trust_remote_code=trust_remote_code)
    files = read_files(what.base or model, offline=offline)
    renderer = Renderer(tokenizer, settings=settings, files=files)
    if what.kind == "steps":
        return StepModel(engine, renderer, store, reading=read)
    if read.padding is None and what.head is None:
        # The configuration of the model below adapters knows nothing of the padding of their training.
        told = tokenizer if own else text_config(engine.model)
        read = replace(read, padding=getattr(told, "pad_token_id", None))
    return RewardModel(engine, renderer, store, reading=read)
