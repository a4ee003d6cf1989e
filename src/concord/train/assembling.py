"""What a run is made of, put together: rows of all streams, sizes, tasks, references and teachers."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import torch

from concord.data import Audit, AuditSettings, Limit, Shards, audit
from concord.engine import Line, LogProbs, Reference, Started, start
from concord.engine.start import Choice
from concord.engine.statistics import Teacher
from concord.errors import CapabilityError, InputError, Said, explain
from concord.recipes import Recipe, RunRef
from concord.recipes.checks import check_moving
from concord.render import Renderer, RenderSettings
from concord.store import Store
from concord.tensors import PerToken
from concord.train.costing import Beside, weights_of
from concord.train.loop import Extent, RefOf, Rows, Task, TeacherOf, Term, row_cost
from concord.train.methods import Asked, build_of, rows_wanted, stream_of
from concord.train.models import Moving, Sizes, Trainee, alike, model_path, opened
from concord.train.models.references import Columns, brought, check, check_columns, initial, primed
from concord.train.ranks import Ranks
from concord.train.rows import Loaded, LoadSettings, Progress, Wanted, load_rows, open_data

__all__ = [
    "Assembled",
    "Assembling",
    "Material",
    "audited",
    "load_material",
    "renderer_of",
    "sizes_of_rows",
    "terms_of",
]

_DEMONSTRATIONS = Wanted(kinds=("demonstration", "dialogue"))
_CHUNK = 64


@dataclass(frozen=True)
class Material:
    """The rows of a run: those of its data, and of the streams that have data of their own."""

    main: Loaded
    others: Mapping[str, Loaded] = field(default_factory=dict[str, Loaded])
    columns: tuple[str, ...] = ()
    """What the columns were taken for, as `map` says it."""

    @property
    def notes(self) -> Iterator[str]:
        """What became of the data, in words."""
        yield from (f"columns: {line}" for line in self.columns)
        yield from self.main.notes
        for name, loaded in self.others.items():
            yield from (f"{name}: {note}" for note in loaded.notes)


def renderer_of(path: str, recipe: Recipe) -> Renderer:
    """What makes tokens of rows, as the recipe has it."""
    template = _template(recipe.chat_template) if recipe.chat_template else None
    settings = RenderSettings(
        template_args=recipe.template_args,
        stop=recipe.stop_token,
        chat_template=template,
        plain=recipe.plain,
        train_added=recipe.train_added,
    )
    return Renderer.load(path, settings, offline=recipe.offline, trust_remote_code=recipe.trust_remote_code)


def _template(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        wrong, accepted = f"the chat template {path} cannot be read", "a file of text, in UTF-8"
        found = Said(str(error))
        raise InputError(explain(wrong, found=found, accepted=accepted, do="name another one")) from error


def load_material(
    recipe: Recipe, asked: Sequence[Asked], renderer: Renderer, folder: Path, store: Store, progress: Progress
) -> Material:
    """Prepare all rows that the terms of a method learn from."""
    limit = Limit(recipe.max_length, recipe.on_long, ("concord", "train", recipe.method))
    how = LoadSettings(
        limit=limit,
        eval_share=recipe.eval_share,
        seed=recipe.seed,
        threshold=recipe.label_threshold,
        build=build_of(list(asked)),
        workers=recipe.dataset_num_proc,
    )
    files, held_out = list(recipe.data), list(recipe.eval_data)
    data = open_data(files, held_out, mapping=recipe.map, on_bad_row=recipe.on_bad_row)
    main = load_rows(
        data, rows_wanted(list(asked)), renderer, folder, settings=how, store=store, progress=progress
    )
    if any("mismatched" in one.companions for one in asked):
        # Where all rows ask the same, the first of them says so.
        Rows(main.shards, 1, companions=("mismatched",)).of([0])
    others: dict[str, Loaded] = {}
    for name, files in _own_data(recipe, asked).items():
        wanted = Wanted(kinds=_DEMONSTRATIONS.kinds, by=f"{name}_data")
        others[name] = load_rows(
            open_data(list(files)),
            wanted,
            renderer,
            folder / name,
            settings=LoadSettings(limit=limit, stretches=stream_of(name).stretches),
            store=store,
        )
    return Material(main, others, tuple(dict.fromkeys(reading.plan.line for reading in data.train)))


def _own_data(recipe: Recipe, asked: Sequence[Asked]) -> dict[str, tuple[str, ...]]:
    """The streams that have data of their own, with its files."""
    found = {
        one.stream: getattr(recipe, stream_of(one.stream).setting)
        for one in asked
        if stream_of(one.stream).setting
    }
    if any("target" in one.companions for one in asked):
        found["target"] = recipe.target_data
    for name, files in found.items():
        if not files:
            wrong, do = f"{recipe.method} learns from {name} data too", f"give {name}_data"
            raise CapabilityError(
                explain(wrong, found=Said("none"), accepted="files of demonstrations", do=do)
            )
    return found


def audited(recipe: Recipe) -> Audit:
    """What is in the data, and what is wrong with it; near duplicates, which take long, are left out."""
    opened = open_data(list(recipe.data), list(recipe.eval_data), mapping=recipe.map, on_bad_row="skip")
    sides = {"train": opened.train, "held_out": opened.held_out}
    return audit(
        {name: chain.from_iterable(side) for name, side in sides.items() if side},
        settings=AuditSettings(near=False, max_length=None, seed=recipe.seed),
    )


# --- sizes ------------------------------------------------------------------------------------------------


def sizes_of_rows(material: Material, companions: Collection[str], layout: str) -> Sizes:
    """The longest sequence there will be, and the most tokens of one row with its companions."""
    tables = [material.main.shards.lengths, *(one.shards.lengths for one in material.others.values())]
    if material.main.held_out is not None:
        tables.append(material.main.held_out.lengths)
    longest, beside = max(int(table.longest.max()) for table in tables), list[Extent]()
    if "mismatched" in companions:
        # The longest reply may come to stand behind the longest prompt.
        tails = max(int((table.length - table.prompt[table.row]).max()) for table in tables)
        longest = max(longest, max(int(table.prompt.max()) for table in tables) + tails)
        beside.append(Extent(longest, 1, longest))
    if "target" in companions:
        targets = Extent.of_all(material.others["target"].shards.lengths)
        beside.append(Extent(*(int(column.max()) for column in targets)))
    largest = max(int(row_cost([Extent.of_all(table), *beside], layout).max()) for table in tables)
    return Sizes(longest, largest)


# --- terms ------------------------------------------------------------------------------------------------


@dataclass
class Assembled:
    """The terms of a loop, and what goes with them."""

    terms: list[Term]
    held_out: Rows | None
    moving: Moving | None = None
    said: list[str] = field(default_factory=list[str])
    others: list[Beside] = field(default_factory=list[Beside])


@dataclass
class Assembling:
    """What the terms of a loop are put together from."""

    recipe: Recipe
    trainee: Trainee
    material: Material
    store: Store
    ranks: Ranks
    steps: int
    positions: int
    progress: Callable[[str, int, float | None], None]
    said: list[str] = field(default_factory=list[str])
    moving: Moving | None = None
    """The reference that moves, which all terms share."""
    others: list[Beside] = field(default_factory=list[Beside])
    _engines: dict[str, LogProbs] = field(default_factory=dict[str, LogProbs])
    """Those of teachers, by path."""

    def rows(self, one: Asked) -> Rows:
        """Where the rows of a term come from."""
        own = bool(stream_of(one.stream).setting)
        shards = self.material.others[one.stream].shards if own else self.material.main.shards
        return Rows(
            shards,
            self.recipe.batch_size,
            seed=self.recipe.seed,
            positions=0 if own else self.positions,
            companions=one.companions,
            streams={name: loaded.shards for name, loaded in self.material.others.items()},
            view=stream_of(one.stream).view,
        )

    def held_out(self, one: Asked) -> Rows | None:
        """The same for held-out rows."""
        shards = self.material.main.held_out
        own = bool(stream_of(one.stream).setting)
        if own or shards is None or not len(shards) or _alike(one, shards):
            return None
        made = self.rows(one)
        return Rows(shards, len(shards), companions=made.companions, streams=made.streams, view=made.view)

    def seen(self, rows: Rows, held_out: Rows | None) -> Iterator[Any]:
        """All rows that the reference will be asked about, some at a time."""
        if any(name in rows.streams for name in rows.companions):
            # Which row of another stream stands beside a row may change with every epoch.
            yield from (rows.batch(step) for step in range(self.steps))
        else:
            places = range(len(rows.rows))
            if self.steps * rows.batch_size < len(places):
                places = sorted({place for step in range(self.steps) for place in rows.places(step)})
            yield from (rows.of(places[first : first + _CHUNK]) for first in range(0, len(places), _CHUNK))
        if held_out is not None:
            wanted = range(len(held_out.rows))
            for first in wanted[::_CHUNK]:
                yield held_out.of(wanted[first : first + _CHUNK], first)

    def reference(self, one: Asked, rows: Rows, held_out: Rows | None) -> RefOf:
        """Who the policy is compared with."""
        recipe = self.recipe
        if recipe.reference == "columns":
            return self.columns(one, rows, held_out)
        if names := brought(rows.rows[0]):
            what = f"the data bring {' and '.join(names)}, which are not used"
            self.said.append(f"reference: {what}; `reference: columns` takes them in place of a model")
        if recipe.reference_sync_steps:
            return self.followed().logps
        first = initial(self.trainee, self.store)
        named = recipe.reference not in (None, "initial")
        reference, what = self.named(recipe.reference) if named else first  # type: ignore[arg-type]
        self.said.append(f"reference: {what}, weights {reference.weights[:12]}")
        parts = list(self.seen(rows, held_out))
        asked = [row for part in parts for one in (part, *part.companions.values()) for row in one.rows]
        count = sum(int(Extent.of(row.rendered).tokens) for row in asked)
        self.others.append(Beside(weights_of(reference.engine.model), count, apart=named))
        ends = list(accumulate(map(len, parts)))
        values = primed(
            reference,
            parts,
            self.trainee.precision,
            ranks=self.ranks,
            told=lambda done, total: self.progress("reference values", ends[done - 1], done / total),
        )
        self.said.append(
            f"reference: {reference.computed:,} replies computed, {reference.read:,} kept from before"
        )
        if reference.weights == first[0].weights:
            with self.trainee.precision():
                self.said += check(self.trainee.engine, parts[0], values)
        return values

    def columns(self, one: Asked, rows: Rows, held_out: Rows | None) -> RefOf:
        """What the data say of a reference."""
        counts: Any = self.material.main.counts
        check_columns(one.card.record, rows.companions, sum(side["cut"] for side in counts.values()))
        found = Columns.read(self.seen(rows, held_out))
        with self.trainee.precision():
            self.said.append(found.compared(self.trainee.engine, next(self.seen(rows, held_out))))
        return found.logps

    def followed(self) -> Moving:
        """A reference that moves: one for all terms."""
        if self.moving is None:
            check_moving(self.recipe)
            every, mixup = self.recipe.reference_sync_steps, self.recipe.reference_mixup
            trainee = self.trainee
            self.others.append(Beside(weights_of(trainee.model)))
            self.moving = Moving(trainee.engine, every=every, mixup=mixup, precision=trainee.precision)
            self.said.append(
                f"reference: moves towards the policy every {every} steps, by {mixup:g} of the way"
            )
        return self.moving

    def named(self, source: str | RunRef) -> tuple[Reference, str]:
        """A reference that is a model of its own, computed as the policy is; and where it lies."""
        path, engine = model_path(source, self.recipe.runs), self.trainee.engine
        model = alike(path, self.recipe, self.trainee)
        # Where the policy has rows, so has the reference; a forest it has if its model allows it.
        started = self.started(model, layout="rows" if engine.layout == "rows" else self.recipe.layout)
        if started.engine.layout != engine.layout:
            self.said.append(f"reference: layout {started.engine.layout}, for {'; '.join(started.refused)}")
        return Reference(started.engine, self.store), path

    def started(self, model: Any, *, layout: Choice) -> Started:
        """An engine of another model, ready for the rows of this run."""
        limits = self.trainee.engine.limits
        return start(model, layout=layout, longest=limits.longest, tokens=limits.tokens)

    def teachers(self, one: Asked) -> dict[str, TeacherOf]:
        """Whom the policy learns from: each is loaded once, however many terms ask it."""
        found: dict[str, TeacherOf] = {}
        for name in ("teacher", "teacher_ref"):
            if name in one.card.inputs:
                path = model_path(getattr(self.recipe, name), self.recipe.runs)
                if path not in self._engines:
                    model = opened(path, self.recipe, next(self.trainee.engine.parameters()).device)
                    self._engines[path] = self.started(model, layout=self.recipe.layout).engine
                    self.others.append(Beside(weights_of(model)))
                    self.said.append(f"{name.replace('_', ' ')}: {path}")
                found[name] = _teaching(self._engines[path], self.trainee.precision)
        return found


def _alike(one: Asked, shards: Shards) -> bool:
    """Whether no other prompt could be put before a reply, where that is asked for."""
    if "mismatched" not in one.companions:
        return False
    return len({row.rendered.prompt.tobytes() for row in shards}) < 2


def _teaching(engine: LogProbs, precision: Callable[[], AbstractContextManager[Any]]) -> TeacherOf:
    def taught(lines: Sequence[Line]) -> Teacher:
        with torch.no_grad(), precision():
            found = engine(layout=engine.lay(lines), states=True)
        assert found.states is not None
        return Teacher(engine.head, found.states)

    return taught


def _tried(one: Asked, rows: Rows) -> None:
    """Reckon the first loss of a term before anybody is asked anything for it."""

    def silent(lines: Sequence[Line]) -> Any:
        raise AssertionError("in a trial no model is asked")

    teachers: dict[str, TeacherOf] = {"teacher": silent, "teacher_ref": silent}
    Task(one.objective, one.reduction, reference=silent, teachers=teachers).try_out(rows.batch(0))


def terms_of(asked: Sequence[Asked], work: Assembling) -> Assembled:
    """The terms of a loop: a task each, its rows, its reference and its teachers."""
    made: list[Term] = []
    first_held: Rows | None = None
    for number, one in enumerate(asked):
        rows, held_out = work.rows(one), work.held_out(one)
        first_held = first_held or held_out
        _tried(one, rows)
        values: Callable[[Sequence[Line]], PerToken] | None = None
        if "reference" in one.card.needs:
            values = work.reference(one, rows, held_out)
        teachers = work.teachers(one)
        task = Task(one.objective, one.reduction, reference=values, teachers=teachers, weight=one.weight)
        looked_at = held_out.of(range(len(held_out.rows))) if held_out is not None else None
        made.append(Term(task, rows, name=one.stream if number else "", held_out=looked_at))
    return Assembled(made, first_held, work.moving, work.said, work.others)
