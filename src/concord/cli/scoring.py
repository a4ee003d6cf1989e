"""How `concord score` works: a card is a run, found again by all that went into it, and made once.

    job = Job(...)                        on what, and how, all models are scored
    kept = score(job, model, tell)        the card of one, made now or before
    together(job, several)                of several, side by side

A run's folder holds scorecard.json, record.json with the values of each request, and report.html.
"""

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

from concord import __version__, wire
from concord.cli.opening import FoundModel, needing_torch, spent, taught_by
from concord.durable import read_json, write_json
from concord.errors import InputError, Said, explain, nearest
from concord.eval.card import CARD_FORMAT, CardRecord, CardSettings, SideRow, record_harbour, side_by_side
from concord.eval.card.harbour.drawing import known_of
from concord.eval.card.kept import cards_json
from concord.eval.card.own.score import OwnSettings, score_own
from concord.eval.card.own.sets import EvalSet, read_sets
from concord.feedback import Judge, Likelihood, OrderedJudge, PairJudge
from concord.formats import OnBadRow, Reading, open_items
from concord.manifest import hash_tree
from concord.report import Page, write_page
from concord.report.scored import scored_page
from concord.run import Run
from concord.store import Store, key
from concord.types import JSON, Ask, Capability, Feedback, Ledger, Policy, Reply, Scorecard, Unanswered

__all__ = ["CARD", "PAGE", "AskedOnce", "CardFolder", "Job", "score", "together"]

CARD = "scorecard.json"
"""The file of a card, or of several by the names of their models."""
PAGE = "report.html"
"""The file of the page."""

_RECORD = "record.json"
_DRAWN, _PROBED = 2, 4  # requests of a family that many draws are taken of; facts asked for, for each
_Tell = Callable[[float, str], None]


class AskedOnce:
    """A policy that is asked the same twice and answers once: a base is, beside each model that has it.

    The same is what can have one answer only: given replies, the likeliest reply, draws with a seed. What
    did not come is asked for again. Else it is the policy, attributes and all.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy, self.said = policy, dict[str, tuple[Reply | Unanswered, ...]]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.policy, name)

    @property
    def id(self) -> str:
        """As the policy's."""
        return self.policy.id

    @property
    def capabilities(self) -> Capability:
        """As the policy's."""
        return self.policy.capabilities

    def answer(self, asks: Sequence[Ask]) -> Sequence[tuple[Reply | Unanswered, ...]]:
        """Answer what was not answered before, in one call, and all else as it was answered then."""
        names = [wire.dumps(ask) if _fixed(ask) else f"draw {at}" for at, ask in enumerate(asks)]
        new = {name: ask for name, ask in zip(names, asks, strict=True) if name not in self.said}
        came = dict(zip(new, self.policy.answer(list(new.values())) if new else (), strict=True))
        for name, answer in came.items():
            if _fixed(new[name]) and all(isinstance(one, Reply) for one in answer):
                self.said[name] = answer
        return [came[name] if name in came else self.said[name] for name in names]


def _fixed(ask: Ask) -> bool:
    """Whether the same answer must come again."""
    return bool(ask.given) or not ask.sampling.temperature or ask.sampling.seed is not None


@dataclass(frozen=True, kw_only=True)
class Job:
    """What models are scored on, and how: the same for all that stand side by side.

    Without data, sets, reward model and judge that is Harbour. `limit` is the most requests of each family
    there, or rows of each file; `mapping` and `on_bad_row` say how rows are read. `shelf` holds policies that
    are loaded, so that none is loaded twice.
    """

    runs: Path
    base: FoundModel | None = None
    data: tuple[Path, ...] = ()
    sets: tuple[Path, ...] = ()
    reward: FoundModel | None = None
    judge: FoundModel | None = None
    toxicity: FoundModel | None = None
    mapping: str = ""
    domain: tuple[str, str] = ("", "")
    on_bad_row: OnBadRow = "stop"
    limit: int | None = None
    seed: int = 0
    trained_on: frozenset[str] = frozenset()
    offline: bool = False
    store: Store | None = None
    shelf: dict[str, Policy] = field(default_factory=dict[str, Policy])

    @property
    def own(self) -> bool:
        """Whether models are scored on the user's own, and not in Harbour."""
        return bool(self.data or self.sets or self.reward or self.judge or self.toxicity)

    @property
    def harbour(self) -> CardSettings:
        """How much Harbour asks."""
        if self.limit is None:
            return CardSettings(seed=self.seed)
        return CardSettings(
            test=max(self.limit, 2),
            ood=self.limit,
            adversarial=self.limit,
            drawn=min(_DRAWN, self.limit),
            probed=_PROBED * self.limit,
            seed=self.seed,
        )

    def before(self, model: FoundModel) -> FoundModel | None:
        """What a model is held against: the base, unless it is the base itself."""
        return None if self.base is None or self.base.identity == model.identity else self.base

    def taught_by(self, model: FoundModel) -> frozenset[str]:
        """The feedbacks that a model was optimised against: those that its run names, and those given."""
        own = frozenset[str]() if model.run is None else taught_by(model.run, runs=self.runs)
        return own | self.trained_on

    def spent(self, model: FoundModel) -> Ledger | None:
        """What the making of a model took, where a run made it."""
        return None if model.run is None else spent(model.run, runs=self.runs)

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides a card and is no file: what is asked, and what honesty is judged by."""
        if self.own:
            how: dict[str, Any] = {"world": "own", "limit": self.limit, "seed": self.seed}
            how |= {"map": self.mapping, "on_bad_row": self.on_bad_row, "domain": list(self.domain)}
        else:
            known = key("known", sorted(known_of(self.harbour)))
            how = {"world": "harbour", "asked": wire.to_json(self.harbour), "known": known}
        how |= {"trained_on": sorted(self.trained_on)}
        return how | {"concord": __version__, "card": CARD_FORMAT}

    def inputs(self, model: FoundModel) -> dict[str, str]:
        """The content of all that goes into a card."""
        parts = {"model": model, "base": self.before(model), "reward": self.reward, "judge": self.judge}
        parts |= {"toxicity": self.toxicity}
        found = {name: one.identity for name, one in parts.items() if one is not None}
        if model.run is not None:
            found["run"] = model.run.id  # what the making took stands on the card
        for name, files in (("data", self.data), ("set", self.sets)):
            found |= {f"{name}/{at}": hash_tree(file) for at, file in enumerate(files)}
        return found

    def policy(self, model: FoundModel) -> Policy:
        """The model, loaded the first time that it is asked for."""
        if model.identity not in self.shelf:
            self.shelf[model.identity] = AskedOnce(model.load(store=self.store, offline=self.offline))
        return self.shelf[model.identity]


@dataclass(frozen=True, kw_only=True)
class CardFolder:
    """The card of one model, or those of several; where they lie, and whether they were there before."""

    names: tuple[str, ...]
    cards: tuple[Scorecard | CardRecord, ...]
    folder: Path
    known: bool

    @cached_property
    def sides(self) -> Sequence[SideRow]:
        """What differs between several cards, request by request; nothing where they have no such values."""
        records = {
            name: one for name, one in zip(self.names, self.cards, strict=True) if isinstance(one, CardRecord)
        }
        return side_by_side(records) if len(records) == len(self.cards) > 1 else ()

    def page(self, *, brief: bool = False) -> Page:
        """The page; `brief` for a terminal."""
        return scored_page(self.cards, self.names, sides=self.sides, brief=brief)

    @property
    def json(self) -> JSON:
        """The card as JSON, or several by their names with what differs; no values of single requests."""
        plain = [one.card if isinstance(one, CardRecord) else one for one in self.cards]
        return cards_json(dict(zip(self.names, plain, strict=True)), self.sides)

    def write(self, folder: Path) -> None:
        """Write the card and its page."""
        write_json(folder / CARD, self.json)
        write_page(self.page(), folder / PAGE)


def score(
    job: Job,
    model: FoundModel,
    tell: _Tell,
    *,
    again: bool = False,
    short: Callable[[], bool] = lambda: False,
) -> CardFolder:
    """The card of a model: what is there of it or, `again` in any case, made and kept.

    short: whether something could not be asked for want of money: the card is then made anew the next time
    """
    run = Run.open(
        job.runs,
        name=_slug("score", model.name),
        recipe={"model": model.what},
        resolved=job.settings,
        inputs=job.inputs(model),
        seeds={"seed": job.seed},
    )
    with run:
        here = partial(CardFolder, names=(model.name,), folder=run.path)
        if run.status().state == "finished" and not again and (card := _read(run.path)) is not None:
            return here(cards=(card,), known=True)
        run.mark("running")
        known = None if again else _under_another_name(run)
        card = known or (_own(job, model, tell) if job.own else _harbour(job, model, tell))
        kept = here(cards=(card,), known=known is not None)
        if isinstance(card, CardRecord):
            write_json(run.path / _RECORD, wire.to_json(card))
        kept.write(run.path)
        run.write_results(card.card.results if isinstance(card, CardRecord) else card.results)
        if short():
            run.mark("stopped", reason="the ceiling left no room for all requests")
        else:
            run.mark("finished")
        return kept


def together(job: Job, several: Sequence[CardFolder]) -> CardFolder:
    """Cards together, in a folder of their own; the first is what the others are held against."""
    names = tuple(name for one in several for name in one.names)
    inputs = {f"card/{at}": one.folder.name for at, one in enumerate(several)}
    what = {"names": list(names)}
    with Run.open(job.runs, name="scores", recipe=what, resolved=what, inputs=inputs) as run:
        cards = tuple(card for one in several for card in one.cards)
        kept = CardFolder(names=names, cards=cards, folder=run.path, known=all(one.known for one in several))
        whole = all((run.path / name).is_file() for name in (CARD, PAGE))
        if not (kept.known and whole and run.status().state == "finished"):
            run.mark("running")
            kept.write(run.path)
            run.mark("finished")
        return kept


def _slug(*words: str) -> str:
    """A name that a folder can have."""
    said = (re.sub("[^A-Za-z0-9._-]+", "-", word).strip("-.") for word in words)
    return "-".join(filter(None, said))[:100]


def _under_another_name(run: Run) -> Scorecard | CardRecord | None:
    """The card of the same content and settings, where it was made when the model was called otherwise."""
    for folder in sorted(run.path.parent.glob(f"score*-{run.id[:12]}")):
        if folder != run.path and (folder / CARD).is_file():
            other = Run(folder)
            if other.id == run.id and other.status().state == "finished":
                return _read(folder)
    return None


def _read(folder: Path) -> Scorecard | CardRecord | None:
    """The card of a finished run, None where its files were taken away."""
    kinds: Mapping[str, Any] = {_RECORD: CardRecord, CARD: Scorecard}
    for name, kind in kinds.items():
        if (folder / name).is_file():
            return wire.from_json(kind, read_json(folder / name), where=str(folder / name))
    return None


def _harbour(job: Job, model: FoundModel, tell: _Tell) -> CardRecord:
    tell(0.0, "loading")
    before = job.before(model)
    return record_harbour(
        job.policy(model),
        base=None if before is None else job.policy(before),
        settings=job.harbour,
        trained_on=job.taught_by(model),
        ledger=job.spent(model),
        tell=tell,
    )


def _own(job: Job, model: FoundModel, tell: _Tell) -> Scorecard:
    tell(0.0, "reading the rows")
    sets, data = _read_own(job)
    tell(0.0, "loading")
    feedback, toxicity = _scorer(job, job.reward), _scorer(job, job.toxicity, alone=True)
    before = job.before(model)
    base = None if before is None else job.policy(before)
    return score_own(
        job.policy(model),
        sets=sets,
        data=data,
        feedback=feedback,
        judge=_judge(job, base),
        base=base,
        settings=OwnSettings(
            limit=job.limit,
            seed=job.seed,
            trained_on=job.taught_by(model),
            ledger=job.spent(model),
            domain=job.domain[0],
            inside=job.domain[1],
            toxicity=toxicity,
        ),
        tell=tell,
    )


def _read_own(job: Job) -> tuple[list[EvalSet], Reading | None]:
    """Test sets and data, read to the end: what is wrong with them is found before a model is loaded."""
    sets = [one for file in job.sets for one in read_sets(str(file), on_bad_row=job.on_bad_row)]
    if job.toxicity is not None and not any(one.shape.name == "rtp" for one in sets):
        wrong, do = (
            "no set asks what could be toxic",
            "give beginnings of texts, as RealToxicityPrompts has them",
        )
        found = Said(", ".join(dict.fromkeys(one.shape.name for one in sets)) or "no set")
        raise InputError(explain(wrong, found=found, accepted="a set of the shape rtp", do=do))
    if not job.data:
        return sets, None
    data = open_items(list(map(str, job.data)), mapping=job.mapping, on_bad_row=job.on_bad_row)
    column, inside = job.domain
    there = {str(item.meta[column]) for item in data if column in item.meta} if column else set[str]()
    if not column:
        deque(data, maxlen=0)
    if column and inside not in there:
        wrong, do = (
            "no row is of the domain that was learned from",
            "name a column of --data and a value in it",
        )
        accepted = nearest(inside, sorted(there)[:99]) if there else "a column of --data"
        raise InputError(explain(wrong, found=f"{column}={inside}", accepted=accepted, do=do))
    return sets, data


def _scorer(job: Job, scorer: FoundModel | None, *, alone: bool = False) -> Feedback | None:
    """A reward model or a classifier, loaded; `alone`: it reads replies without what was asked."""
    if scorer is None:
        return None
    if scorer.likely:
        return Likelihood(job.policy(scorer.itself))
    with needing_torch("a model that scores replies"):
        from concord.engine import LabelSettings, load_reward
    reading = LabelSettings(label=scorer.label, reads="reply" if alone else "", probability=alone)
    read = reading if alone or scorer.label else None
    loaded = load_reward(scorer.what, store=job.store, reading=read, offline=job.offline)
    return cast("Feedback", loaded)


def _judge(job: Job, base: Policy | None) -> Feedback | PairJudge | None:
    """The judge: of pairs where there is a base to compare with, else of single replies."""
    if job.judge is None:
        return None
    asked = job.policy(job.judge)
    return Judge(asked) if base is None else OrderedJudge(asked)
