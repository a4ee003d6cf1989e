"""From files to what a step reads: rows of one kind, rendered, on disk, and some of them held out.

    opened = open_data(["prefs.jsonl"], on_bad_row="skip")
    loaded = load_rows(opened, wanted(card), renderer, folder, settings=LoadSettings(eval_share=0.05))
    loaded.shards[7], loaded.held_out, loaded.notes, loaded.counts

Nothing is lost in silence: what is converted, left out, cut or taken for something is counted and said.
A folder that was made of the same data in the same way is used again.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np

from concord import durable, store
from concord.data import Limit, Preparation, Shards, prepare, prompt_key, split
from concord.data.shards import HEADER
from concord.errors import ConversionError, InputError, RowError, RunError, Said, StoreError, explain
from concord.formats import OnBadRow, Reading
from concord.messages import is_number
from concord.render.records import Rendered
from concord.render.renderer import Renderer
from concord.store import Store
from concord.train.rows.sides import Opened
from concord.train.rows.step_ends import with_step_ends
from concord.train.rows.stretches import Stretching
from concord.train.rows.usable import Usable, rows_said
from concord.train.rows.wanted import Wanted
from concord.types import JSON, RATED_BY, Item, Ratings

__all__ = [
    "KEY",
    "Build",
    "LoadSettings",
    "Loaded",
    "Progress",
    "load_rows",
]

KEY = "rows.json"
"""The file of a folder of loaded rows that says what they were made of, and what became of the data."""

Build: TypeAlias = Callable[[Item], Iterable[Item]]
"""Makes items of an item: a function that can be named."""

Progress: TypeAlias = Callable[[str, int, float | None], None]
"""Told which side is prepared (train or held_out), how many rows are, and the share of the data read."""

_TRAIN, _HELD_OUT = "train", "held_out"
_FORMAT = 2  # goes up when the same data are made into other rows
_CHUNK = 256


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    """How rows are made. What each does is said where it is done.

    `eval_share` of the prompts is held out, drawn by `seed`, with all rows that ask the same. `threshold` is
    the score from which a reply counts as good, where scores become labels. `build` makes other items of each
    that can be used. With `stretches` a text that is longer than the limit becomes several rows. `workers`
    render beside this process.
    """

    limit: Limit | None = None
    eval_share: float = 0.0
    seed: int = 0
    threshold: float | None = None
    build: Build | None = None
    stretches: bool = False
    workers: int = 0

    def __post_init__(self) -> None:
        if not is_number(self.eval_share) or not 0 <= self.eval_share < 1:
            wrong, do = "the share of prompts to hold out is no share", "give 0.05 for a twentieth"
            raise InputError(explain(wrong, found=self.eval_share, accepted="0 to less than 1", do=do))


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Rows that steps read, what is held out of them, and what became of the data: in words and in numbers.

    `counts` has for each side how many rows were `read`, `unreadable`, `dropped` (by reason), `too_long`,
    `refused` by rendering (by reason), and how many `rows`, `tokens` and `trained` tokens there are; `cut`
    rows lost `tokens_cut`; `judgements` are the votes, scores and examples that they hold, `rated_by` the
    feedbacks that gave them, where rows name any. Where replies are judged, `labels` counts good and bad
    ones; where scores were brought to mean 0 and deviation 1, `scores` has what these were. `reused` says
    that the folder held all this already.
    """

    shards: Shards
    held_out: Shards | None
    notes: tuple[str, ...]
    counts: Mapping[str, JSON]
    reused: bool = False


def load_rows(
    data: Opened,
    wanted: Wanted,
    renderer: Renderer,
    folder: str | Path,
    *,
    settings: LoadSettings | None = None,
    store: Store | None = None,
    progress: Progress | None = None,
) -> Loaded:
    """Prepare the rows that an objective can use, into `folder/train` and, if any, `folder/held_out`.

    Replies to one prompt are never on both sides. A folder of rows is replaced, unless it was made of the
    same data for the same end: then it is opened as it stands.
    """
    loading = _Loading(data, wanted, renderer, Path(folder), settings or LoadSettings(), store, progress)
    key = loading.key()
    return loading.found(key) or loading.made(key)


@dataclass
class _Loading:
    """One call of `load_rows`."""

    data: Opened
    wanted: Wanted
    renderer: Renderer
    folder: Path
    settings: LoadSettings
    store: Store | None
    progress: Progress | None
    notes: list[str] = field(default_factory=list[str])
    counts: dict[str, JSON] = field(default_factory=dict[str, JSON])
    asked: set[str] = field(default_factory=set[str])
    """Keys of the prompts of held-out data that are not a share of those trained on."""
    repeated: int = 0
    scale: "_Scale | None" = None
    passed: Counter[str] = field(default_factory=Counter[str])
    """Of the rows of a side, those of which something else is to be said, by what that is."""

    def __post_init__(self) -> None:
        if self.data.held_out and self.settings.eval_share:
            wrong, found = "it is said twice what is held out", Said(f"eval_share {self.settings.eval_share}")
            accepted, do = "data to evaluate on, or a share of the rows", "leave eval_share out"
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))

    def key(self) -> str:
        """A digest of all that decides the rows."""
        own = {"eval_share": self.settings.eval_share, "seed": self.settings.seed}
        settings = {**own, "threshold": self.settings.threshold, "build": _name(self.settings.build)}
        settings["stretches"] = self.settings.stretches
        limit = self.settings.limit
        return store.key(
            "train rows",
            _FORMAT,
            self.renderer.id,
            asdict(self.wanted),
            settings,
            None if limit is None else [limit.max_length, limit.on_long],
            *(
                [[one.fingerprint(), one.plan.line, one.on_bad_row] for one in side]
                for side in (self.data.train, self.data.held_out)
            ),
        )

    def found(self, key: str) -> Loaded | None:
        """What stands in the folder, if it was made of the same."""
        try:
            said = durable.read_object(self.folder / KEY, ["key"])
            if said["key"] != key:
                return None
            shards = Shards(self.folder / _TRAIN)
            held_out = Shards(self.folder / _HELD_OUT) if _HELD_OUT in said["counts"] else None
        except (RunError, StoreError):
            return None
        return Loaded(
            shards=shards, held_out=held_out, notes=tuple(said["notes"]), counts=said["counts"], reused=True
        )

    def made(self, key: str) -> Loaded:
        """The rows, prepared."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / KEY).unlink(missing_ok=True)
        except OSError as error:
            doing, kept = f"making the folder {self.folder}", "nothing was written"
            raise StoreError(durable.disk_message(error, doing=doing, kept=kept)) from error
        self.notes += (*self.data.notes, *self.wanted.advice)
        self.scale = self._scale() if self.wanted.standard else None
        held_out = None
        if self.data.held_out or self.settings.eval_share:
            held_out = self._side(_HELD_OUT, self.data.held_out or self.data.train)
        shards = self._side(_TRAIN, self.data.train)
        assert shards is not None
        if self.repeated:
            self.notes.append(f"train: {rows_said(self.repeated)} with a prompt that is held out too")
        if held_out is None and (self.folder / _HELD_OUT / HEADER).exists():
            shutil.rmtree(self.folder / _HELD_OUT, ignore_errors=True)
        durable.write_json(self.folder / KEY, {"key": key, "notes": self.notes, "counts": self.counts})
        return Loaded(shards=shards, held_out=held_out, notes=tuple(self.notes), counts=self.counts)

    def _side(self, side: str, readings: Sequence[Reading]) -> Shards | None:
        """One side, prepared; None where the share that is held out has nothing of use."""
        usable = self._usable(side, readings)
        skip, shared = readings[0].on_bad_row == "skip", side == _HELD_OUT and not self.data.held_out
        self.passed = Counter()
        rows = self._made_of(usable, skip=skip)
        first = next(rows, None)
        name = "the data" if side == _TRAIN else "the data to evaluate on"
        if first is None:
            if shared:
                return self._none_held_out("none can be used")
            self._require_rest(usable)
            usable.require(name)
            return self._nothing_built(name, usable)

        def told(done: int, _: int | None) -> None:
            if self.progress is not None:
                self.progress(side, done, _read(readings))

        try:
            done = self._prepared(side, chain([first], rows), skip=skip, progress=told)
        except InputError as error:
            if type(error) is not InputError:
                raise
            if shared:
                return self._none_held_out(str(error).partition("; accepted: ")[0])
            before = f" Before that: {'; '.join(usable.notes)}." if usable.notes else ""
            raise InputError(f"{side}: {error}{before}") from error
        if side == _TRAIN:
            usable.require_some(name)
        self._tell(side, usable, done, readings)
        return done.shards

    def _prepared(
        self, side: str, items: Iterator[Item], *, skip: bool, progress: Callable[[int, int | None], None]
    ) -> Preparation:
        """The rows of a side, written."""
        limit, on_bad_row = self.settings.limit, cast("OnBadRow", "skip" if skip else "stop")
        prepared = partial(prepare, limit=limit, on_bad_row=on_bad_row, progress=progress)
        if limit is None or not self.settings.stretches:
            workers = self.settings.workers
            return prepared(items, self.renderer, self.folder / side, store=self.store, workers=workers)
        stretching = Stretching(self.renderer, limit.max_length)
        done = prepared(stretching.items(items), cast("Renderer", stretching), self.folder / side)
        cut = f"longer than {limit.max_length:,} tokens, as {stretching.rows:,} rows that are not"
        self.passed[cut] += stretching.cut
        return done

    def _require_rest(self, usable: Usable) -> None:
        """Refuse a share that takes every row."""
        if self.settings.eval_share and not usable.read:
            wrong, found = "every row is held out, and none is left to train on", self.settings.eval_share
            accepted, do = "an eval_share that leaves some prompts", "lower it, or name eval_data instead"
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))

    def _nothing_built(self, name: str, usable: Usable) -> None:
        """Refuse data of which nothing could be made."""
        wrong = f"{name} hold no row of which {_name(self.settings.build)} makes anything"
        found, accepted = Said(f"{rows_said(usable.used)} of use"), "rows whose replies are told apart"
        raise InputError(explain(wrong, found=found, accepted=accepted, do="give other data"))

    def _none_held_out(self, why: str) -> None:
        """Say that the share that was to be held out holds nothing."""
        self.notes.append(f"no row is held out, of the share of {self.settings.eval_share:g}: {why}")

    def _items(self, side: str, readings: Sequence[Reading]) -> Iterator[Item]:
        """The items of a side."""
        share, seed = self.settings.eval_share, self.settings.seed
        shares = {_TRAIN: 1 - share, _HELD_OUT: share}
        for item in chain.from_iterable(readings):
            if share:
                if split(prompt_key(item), shares, seed) != side:
                    continue
            elif self.data.held_out:
                key = prompt_key(item)
                if side == _HELD_OUT:
                    self.asked.add(key)
                else:
                    self.repeated += key in self.asked
            yield item

    def _usable(self, side: str, readings: Sequence[Reading]) -> Usable:
        """The items of a side that can be used."""
        return Usable(self._items(side, readings), self.wanted, threshold=self.settings.threshold)

    def _made_of(self, usable: Usable, *, skip: bool) -> Iterator[Item]:
        """What is rendered of the items that can be used."""
        if "steps" in self.wanted.kinds:
            return self._with_step_ends(usable, skip=skip)
        if (build := self.settings.build) is not None:
            return self._built(usable, build)
        return map(self.scale.on, usable) if self.scale else iter(usable)

    def _built(self, usable: Usable, build: Build) -> Iterator[Item]:
        """What is built of items; replies of which nothing is are counted."""
        for item in usable:
            made = list(build(item))
            if sum(len(one.replies) for one in made) < len(item.replies):
                self.passed[f"of which {build.__name__} leaves some replies out"] += 1
            yield from made

    def _scale(self) -> "_Scale":
        """The mean and the deviation of the scores that are trained on."""
        known = (item.utilities for item in self._usable(_TRAIN, self.data.train))
        found = (score for one in known if isinstance(one, Ratings) for score in one.scores)
        scores = np.fromiter((score for score in found if score is not None), float)
        if not len(scores):
            return _Scale(0.0, 1.0)
        # Of equal scores the deviation may be a rounding error instead of zero.
        apart = scores.max() > scores.min()
        return _Scale(float(scores.mean()), float(scores.std()) if apart else 1.0)

    def _with_step_ends(self, usable: Usable, *, skip: bool) -> Iterator[Item]:
        """Items with the places of their steps; what cannot be rendered goes on, to be refused there."""
        waiting = iter(usable)
        while group := list(islice(waiting, _CHUNK)):
            for item, rendered in zip(group, self.renderer.render(group), strict=True):
                if not isinstance(rendered, Rendered):
                    yield item
                    continue
                try:
                    placed = with_step_ends(item, rendered, self.renderer, self.settings.limit)
                except ConversionError as error:
                    if not skip:
                        raise RowError(f"{item.origin}: {error}" if item.origin else str(error)) from error
                    usable.drop(str(error).partition("; found ")[0])
                    continue
                if placed is None:
                    usable.drop("no judged step is left within the allowed length")
                else:
                    yield placed

    def _tell(self, side: str, usable: Usable, done: Preparation, readings: Sequence[Reading]) -> None:
        """Keep what became of the rows of a side."""
        # A share is held out in a reading of its own, of which nothing is said twice.
        own = readings if side == _TRAIN or self.data.held_out else ()
        skipped = sum(reading.skipped for reading in own)
        self.counts[side] = {
            "read": usable.read,
            "unreadable": skipped,
            "dropped": dict(usable.dropped),
            "too_long": done.dropped,
            "refused": dict(done.refused),
            "cut": done.cut,
            "tokens_cut": done.tokens_cut,
            "rows": done.rows,
            "tokens": done.tokens,
            "trained": int(done.shards.lengths.trained.sum()),
            "judgements": usable.judgements,
            **({RATED_BY: sorted(usable.rated_by)} if usable.rated_by else {}),
            **({"labels": {"good": labels[True], "bad": labels[False]}} if (labels := usable.labels) else {}),
            **({"scores": asdict(self.scale)} if self.scale else {}),
        }
        numbers = {
            "not readable": skipped,
            "left out, as too long": done.dropped,
            f"cut, by {done.tokens_cut:,} tokens in all": done.cut,
            **{f"not rendered: {reason}": count for reason, count in done.refused.items()},
            **self.passed,
        }
        told = [*(note for reading in own for note in reading.notes), *usable.notes]
        told += [f"{rows_said(count)} {what}" for what, count in numbers.items() if count]
        if side == _TRAIN:
            told += [
                f"rated by {who}, which is not to judge what comes of this" for who in sorted(usable.rated_by)
            ]
            told += [*usable.advice, *([self.scale.said] if self.scale else [])]
        self.notes += [f"{side}: {one}" for one in told]


@dataclass(frozen=True)
class _Scale:
    """How scores are brought to mean 0 and deviation 1."""

    mean: float
    deviation: float

    def on(self, item: Item) -> Item:
        """An item with its scores on this scale."""
        known = item.utilities
        assert isinstance(known, Ratings)
        scores = tuple(None if one is None else (one - self.mean) / self.deviation for one in known.scores)
        return replace(item, utilities=replace(known, scores=scores))

    @property
    def said(self) -> str:
        """In words."""
        return (
            f"scores are brought to mean 0 and deviation 1: a reward r stands for a score of"
            f" {self.mean:g} + {self.deviation:g} r"
        )


def _name(build: Build | None) -> str:
    return "" if build is None else f"{build.__module__}:{build.__qualname__}"


def _read(readings: Iterable[Reading]) -> float | None:
    """Which share of all that is to be read has been."""
    parts = [(reading.size, reading.progress) for reading in readings]
    total = sum(size for size, _ in parts)
    if not total or any(done is None for _, done in parts):
        return None
    return sum(size * cast("float", done) for size, done in parts) / total
