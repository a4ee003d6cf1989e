"""What a run is made of, put together: rows of all streams, sizes, tasks, references and teachers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from concord.data import Audit, AuditSettings, Limit, audit
from concord.data.shards import Lengths
from concord.engine import Line, LogProbs, Reference, start
from concord.engine.forest import PRICE
from concord.engine.statistics import Teacher
from concord.errors import CapabilityError, Said, explain
from concord.recipes import Recipe
from concord.render import Renderer, RenderSettings
from concord.store import Store
from concord.tensors import PerToken
from concord.train.data import Loaded, LoadSettings, Progress, Wanted, load_rows, open_data
from concord.train.fit import Term
from concord.train.hooks import Moving
from concord.train.methods import Asked, build_of, rows_wanted, stream_of
from concord.train.models import Sizes, Trainee, model_path, opened
from concord.train.ranks import Ranks
from concord.train.references import check, initial, primed, told_values
from concord.train.source import Rows
from concord.train.task import RefOf, Task, TeacherOf

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

    @property
    def notes(self) -> Iterator[str]:
        """What became of the data, in words."""
        yield from self.main.notes
        for name, loaded in self.others.items():
            yield from (f"{name}: {note}" for note in loaded.notes)


def renderer_of(path: str, recipe: Recipe) -> Renderer:
    """What makes tokens of rows, as the recipe has it."""
    template = Path(recipe.chat_template).read_text(encoding="utf-8") if recipe.chat_template else None
    settings = RenderSettings(
        template_args=recipe.template_args,
        stop=recipe.stop_token,
        chat_template=template,
        plain=recipe.plain,
        train_added=recipe.train_added,
    )
    return Renderer.load(path, settings, offline=recipe.offline)


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
    )
    files, held_out = list(recipe.data), list(recipe.eval_data)
    data = open_data(files, held_out, mapping=recipe.map, on_bad_row=recipe.on_bad_row)
    main = load_rows(
        data, rows_wanted(list(asked)), renderer, folder, settings=how, store=store, progress=progress
    )
    others: dict[str, Loaded] = {}
    for name, files in _own_data(recipe, asked).items():
        wanted = Wanted(kinds=_DEMONSTRATIONS.kinds, by=f"{name}_data")
        others[name] = load_rows(
            open_data(list(files)),
            wanted,
            renderer,
            folder / name,
            settings=LoadSettings(limit=limit),
            store=store,
        )
    return Material(main, others)


def _own_data(recipe: Recipe, asked: Sequence[Asked]) -> dict[str, tuple[str, ...]]:
    """The streams that have data of their own, with its files."""
    found = {
        one.stream: getattr(recipe, stream_of(one.stream).setting)
        for one in asked
        if stream_of(one.stream).setting
    }
    if any("target" in one.card.inputs for one in asked):
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


def sizes_of_rows(material: Material, companions: Sequence[str], layout: str) -> Sizes:
    """The longest sequence there will be, and the most tokens of one row with its companions."""
    tables = [material.main.shards.lengths, *(one.shards.lengths for one in material.others.values())]
    if material.main.held_out is not None:
        tables.append(material.main.held_out.lengths)
    longest = max(int(table.longest.max()) for table in tables)
    largest = max(_largest(table, layout) for table in tables)
    if "mismatched" in companions:
        # The longest reply may come to stand behind the longest prompt.
        tails = max(int((table.length - table.prompt[table.row]).max()) for table in tables)
        longest = max(longest, max(int(table.prompt.max()) for table in tables) + tails)
        largest += longest
    if "target" in companions:
        largest += _largest(material.others["target"].shards.lengths, layout)
    return Sizes(longest, largest)


def _largest(table: Lengths, layout: str) -> int:
    leaves = np.bincount(table.row, minlength=len(table.tokens))
    if layout == "rows":
        return int((leaves * table.longest).max())
    return int((table.tokens + PRICE * leaves).max())


# --- terms ------------------------------------------------------------------------------------------------


@dataclass
class Assembled:
    """The terms of a loop, and what goes with them."""

    terms: list[Term]
    held_out: Rows | None
    moving: Moving | None = None
    said: list[str] = field(default_factory=list[str])


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

    def rows(self, one: Asked) -> Rows:
        """Where the rows of a term come from."""
        own = bool(stream_of(one.stream).setting)
        shards = self.material.others[one.stream].shards if own else self.material.main.shards
        return Rows(
            shards,
            self.recipe.batch_size,
            seed=self.recipe.seed,
            positions=0 if own else self.positions,
            companions=_companions(one),
            streams={name: loaded.shards for name, loaded in self.material.others.items()},
            view=stream_of(one.stream).view,
        )

    def held_out(self, one: Asked) -> Rows | None:
        """The same for held-out rows."""
        shards = self.material.main.held_out
        if shards is None or not len(shards) or ("mismatched" in _companions(one) and len(shards) < 2):
            return None
        made = self.rows(one)
        return Rows(shards, len(shards), companions=made.companions, streams=made.streams, view=made.view)

    def seen(self, rows: Rows, held_out: Rows | None) -> Iterator[Any]:
        """All rows that the reference will be asked about, some at a time."""
        places = range(len(rows.rows))
        if self.steps * rows.batch_size < len(places):
            places = sorted({place for step in range(self.steps) for place in rows.places(step)})
        for one, wanted in ((rows, places), (held_out, range(len(held_out.rows)) if held_out else ())):
            for first in range(0, len(wanted), _CHUNK):
                assert one is not None
                yield one.of([wanted[place] for place in range(first, min(first + _CHUNK, len(wanted)))])

    def reference(self, one: Asked, rows: Rows, held_out: Rows | None) -> tuple[RefOf, Moving | None]:
        """Who the policy is compared with."""
        recipe, trainee = self.recipe, self.trainee
        if recipe.reference_sync_steps:
            every, mixup = recipe.reference_sync_steps, recipe.reference_mixup
            moving = Moving(trainee.engine, every=every, mixup=mixup, precision=trainee.precision)
            self.said.append(
                f"reference: moves towards the policy every {every} steps, by {mixup:g} of the way"
            )
            return moving.logps, moving
        if "reference" not in recipe.given and not rows.companions:
            told = told_values(self.seen(rows, held_out))
            if told is not None:
                self.said.append("reference: its values are columns of the data, and are taken from there")
                return told, None
        if recipe.reference in (None, "initial"):
            reference, what = initial(trainee, self.store)
        else:
            path = model_path(recipe.reference, recipe.runs)  # type: ignore[arg-type]
            reference, what = Reference(self.started(path).engine, self.store), path
        self.said.append(f"reference: {what}, weights {reference.weights[:12]}")
        parts = list(self.seen(rows, held_out))
        values = primed(
            reference,
            parts,
            trainee.precision,
            ranks=self.ranks,
            told=lambda done, total: self.progress("reference values", done * _CHUNK, done / total),
        )
        self.said.append(
            f"reference: {reference.computed:,} replies computed, {reference.read:,} kept from before"
        )
        if recipe.reference in (None, "initial"):
            with trainee.precision():
                self.said += check(trainee.engine, parts[0].part(range(min(4, len(parts[0])))), values)
        return values, None

    def started(self, path: str) -> Any:
        """An engine of another model, ready for the rows of this run."""
        device = next(self.trainee.engine.parameters()).device
        limits = self.trainee.engine.limits
        return start(
            opened(path, self.recipe, device),
            layout=self.recipe.layout,
            longest=limits.longest,
            tokens=limits.tokens,
        )

    def teachers(self, one: Asked) -> dict[str, TeacherOf]:
        """Whom the policy learns from."""
        found: dict[str, TeacherOf] = {}
        for name in ("teacher", "teacher_ref"):
            if name in one.card.inputs:
                path = model_path(getattr(self.recipe, name), self.recipe.runs)
                found[name] = _teaching(self.started(path).engine, self.trainee.precision)
                self.said.append(f"{name.replace('_', ' ')}: {path}")
        return found


def _companions(one: Asked) -> tuple[str, ...]:
    return tuple(name for name in one.card.inputs if name in ("mismatched", "target"))


def _teaching(engine: LogProbs, precision: Callable[[], AbstractContextManager[Any]]) -> TeacherOf:
    def taught(lines: Sequence[Line]) -> Teacher:
        with torch.no_grad(), precision():
            found = engine(layout=engine.lay(lines), states=True)
        assert found.states is not None
        return Teacher(engine.head, found.states)

    return taught


def terms_of(asked: Sequence[Asked], work: Assembling) -> Assembled:
    """The terms of a loop: a task each, its rows, its reference and its teachers."""
    made: list[Term] = []
    first_held: Rows | None = None
    moving: Moving | None = None
    for number, one in enumerate(asked):
        rows, held_out = work.rows(one), work.held_out(one) if not number else None
        first_held = first_held or held_out
        values: Callable[[Sequence[Line]], PerToken] | None = None
        if "reference" in one.card.needs:
            values, moving = work.reference(one, rows, held_out)
        teachers = work.teachers(one)
        task = Task(one.objective, one.reduction, reference=values, teachers=teachers, weight=one.weight)
        made.append(Term(task, rows))
    return Assembled(made, first_held, moving, work.said)
