"""Rows made by chance for every kind of objective, and a tiny model that learns from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from concord import objectives, tensors, wire
from concord.data import Prepared
from concord.data.shards import Facts
from concord.engine import Line, LogProbs, RewardHead, StepHead
from concord.engine.heads import hidden_size
from concord.engine.statistics import Teacher
from concord.objectives.contract import Card, check_objective
from concord.render import Rendered
from concord.render.records import Leaf
from concord.train.loop import COMPANIONS, Batch, Task, shape_of
from concord.train.rows import STEP_ENDS
from concord.types import Label, Preference, Ratings, SegmentPreference, Shown, StepLabels, Utilities
from tests.engine.models import VOCABULARY, llama

VOICES = {"teacher": llama(seed=5).double().eval(), "teacher_ref": llama(seed=6).double().eval()}
"""Models that teach."""


def offline() -> Mapping[str, Card]:
    """The objectives over rows that are given, by name."""
    families = ("imitation", "pairs", "contrast", "replies", "rankings", "rewards", "distillation")
    found: dict[str, Card] = {}
    for family in families:
        module = getattr(objectives, family)
        for name in module.__all__:
            function = getattr(module, name)
            if (
                "paper" in objectives.describe(function).notes
                and objectives.describe(function).needs != "values"
            ):
                found[name] = check_objective(function)
    return found


# --- rows -------------------------------------------------------------------------------------------------


def row(
    number: int,
    replies: int,
    utilities: Utilities,
    chance: np.random.Generator,
    *,
    meta: Mapping[str, Any] | None = None,
    leaves: int = 1,
) -> Prepared:
    """A prompt with so many replies, some of them in two leaves."""
    prompt = _tokens(chance, 3, 20)
    made = [tuple(_leaf(prompt, chance) for _ in range(leaves)) for _ in range(replies)]
    return _prepared(number, Rendered(prompt, tuple(made)), Facts(utilities=utilities, meta=dict(meta or {})))


def _prepared(number: int, rendered: Rendered, facts: Facts) -> Prepared:
    text = wire.dumps(facts)
    return Prepared(number, rendered, text if isinstance(text, bytes) else text.encode())


def _leaf(prompt: Any, chance: np.random.Generator) -> Leaf:
    own = _tokens(chance, 4, 15)
    start, stop = len(prompt), len(prompt) + len(own)
    cut = start + len(own) // 2
    # Two trained turns with a token between them, and one that goes to the end.
    spans = [[start, cut], [cut + 1, stop]] if len(own) % 2 else [[start, stop]]
    return Leaf(np.concatenate([prompt, own]), np.array(spans, np.int32))


def _tokens(chance: np.random.Generator, least: int, most: int) -> Any:
    return chance.integers(0, VOCABULARY, chance.integers(least, most), dtype=np.int32)


def rows_for(card: Card, count: int = 9, seed: int = 0) -> list[Prepared]:
    """Rows that an objective learns from."""
    chance = np.random.default_rng(seed)
    kind = card.record
    if issubclass(kind if isinstance(kind, type) else object, tensors.Pairs | tensors.RewardPairs):
        return [_pair(number, card, chance) for number in range(count)]
    if isinstance(kind, type) and issubclass(kind, tensors.Ranked | tensors.RankedRewards):
        return [_ranking(number, chance) for number in range(count)]
    if kind is tensors.Rewards:
        return [_rated(number, chance) for number in range(count)]
    if kind is tensors.StepLogits:
        return [_steps(number, chance) for number in range(count)]
    if "desirable" in card.inputs:
        return [row(number, 1, Label(bool(number % 3)), chance) for number in range(count)]
    if "log_target" in card.inputs:
        meta = {"log_target": -4.0, "old": -30.0}
        return [row(number, 1, Shown(), chance, meta=meta) for number in range(count)]
    return [row(number, 1, Shown(), chance, leaves=1 + number % 2) for number in range(count)]


def _pair(number: int, card: Card, chance: np.random.Generator) -> Prepared:
    first = float(chance.choice([1.0, 0.0, 0.7])) if "preference" in card.inputs else float(number % 2)
    known: Utilities = Preference(first, strength=0.5, scores=(0.3, -0.2))
    if card.name == "segment_preference":
        known = SegmentPreference(first)
    meta = {"margins": [0.1, -0.4 * number], "psi": [0.6, 0.3]}
    return row(number, 2, known, chance, meta=meta)


def _ranking(number: int, chance: np.random.Generator) -> Prepared:
    count = int(chance.integers(2, 5))
    scores = tuple(float(one) for one in chance.permutation(count))
    return row(number, count, Ratings(scores), chance, meta={"shown": number % count})


def _rated(number: int, chance: np.random.Generator) -> Prepared:
    count = 1 + number % 3
    return row(number, count, Ratings(tuple(map(float, chance.normal(size=count)))), chance)


def _steps(number: int, chance: np.random.Generator) -> Prepared:
    made = row(number, 1, None, chance)
    start, stop = len(made.rendered.prompt), len(made.rendered.replies[0][0].ids)
    ends = sorted({start + 1, stop - 1})
    labels = tuple(float(chance.random()) for _ in ends)
    return _prepared(number, made.rendered, Facts(utilities=StepLabels(labels), meta={STEP_ENDS: ends}))


def batch_for(card: Card, count: int = 9, seed: int = 0) -> Batch:
    """A step of such rows, with the companions that the objective takes."""
    rows = rows_for(card, count, seed)
    beside = {
        name: [_mismatched(rows, place) for place in range(count)]
        for name in card.inputs
        if name in COMPANIONS
    }
    return Batch.of_step(rows, beside)


def _mismatched(rows: Sequence[Prepared], place: int) -> Prepared:
    """A row's first reply behind the prompt of another row."""
    own, other = rows[place].rendered, rows[(place + 1) % len(rows)].rendered
    leaf = own.replies[0][0]
    ids = np.concatenate([other.prompt, leaf.ids[len(own.prompt) :]])
    spans = leaf.spans + (len(other.prompt) - len(own.prompt))
    return replace(rows[place], rendered=Rendered(other.prompt, ((Leaf(ids, spans),),)))


def costs(batch: Batch) -> list[int]:
    """How many tokens each row has."""
    return [sum(len(leaf.ids) for leaves in row.rendered.replies for leaf in leaves) for row in batch.rows]


# --- models and tasks -------------------------------------------------------------------------------------


@cache
def small() -> Any:
    """A tiny model in double precision, so that what must be equal is."""
    return llama().double()


def engine_for(card: Card) -> LogProbs:
    """An engine with the head that an objective asks for, which does not begin at zero here."""
    model = small()
    model.zero_grad()
    name = shape_of(card.record).head
    if not name:
        return LogProbs(model)
    head = {"reward": RewardHead, "step": StepHead}[name](hidden_size(model)).double()
    torch.nn.init.normal_(head.score.weight, generator=torch.Generator().manual_seed(3))
    return LogProbs(model, heads={name: head})


def fake_reference(lines: Sequence[Line]) -> Tensor:
    """Some number for each target, whatever else is laid out beside it."""
    flat = [np.sin(line.ids[start:stop] * 1.0) - 4 for line in lines for start, stop in line.spans]
    return torch.from_numpy(np.concatenate([np.zeros(0), *flat]))


def taught_by(voice: str, lines: Sequence[Line]) -> Teacher:
    """What another model makes of the same lines."""
    engine = LogProbs(VOICES[voice])
    with torch.no_grad():
        found = engine(layout=engine.lay(lines), states=True)
    assert found.states is not None
    return Teacher(engine.head, found.states)


def task_for(card: Card, objective: Callable[..., Any] | None = None, **extra: Any) -> Task:
    """A task whose reference and teachers are at hand."""
    taught = {name: partial(taught_by, name) for name in VOICES if name in card.inputs}
    function = objective or getattr(objectives, card.name)
    return Task(function, reference=fake_reference, teachers=taught, **extra)
