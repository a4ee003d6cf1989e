"""From items to prepared rows: rendered once, kept, measured before anything is written.

    done = prepare(items, renderer, folder, store=store, limit=Limit(2048, "drop"))
    done.shards, done.tokens, done.dropped, done.refused

One pass in flat memory. Rows that were rendered before, by whatever run, come from the store; a run that
was killed goes on from there. The bytes written are the same whatever the number of workers.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Literal, TypeAlias

from concord import store as stores
from concord import wire
from concord.data.packed import LAYOUT, measure, pack, unpack
from concord.data.rendering import Refused, Rendering, Work, rendering
from concord.data.shards import Shards
from concord.data.writing import Writer
from concord.errors import NOTHING, InputError, RowError, Said, explain
from concord.messages import Message, Prompt, is_count
from concord.render.fit import How, TooLongError, check_limit, fit, too_long
from concord.render.renderer import Renderer
from concord.store import Store
from concord.types import JSON, Item

__all__ = ["Limit", "Preparation", "Progress", "prepare", "row_key"]

Progress: TypeAlias = Callable[[int, int | None], None]
"""Told how many items are done, and how many there are, where that is known."""

_CHUNK = 512
_PLACES = 3  # rows that a message names


@dataclass(frozen=True)
class Limit:
    """How many tokens the longest sequence of a row may have, and what becomes of rows with more.

    "error": all rows are measured, nothing is written, and the message says how many are too long. The
    other ways are those of `concord.render.fit`; what they leave out or cut is counted. `command` is what was
    typed, for a message with commands that work.
    """

    max_length: int
    on_long: How = "error"
    command: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_limit(self.max_length, self.on_long)


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What became of the items: `read` = `rows` + `dropped` + the sum of `refused`, which counts by reason.

    `dropped` were too long. `cut` of the rows lost `tokens_cut` tokens, those of a prompt counted once.
    `tokens` are those of all rows, prompts counted once. `reused` rows came from the store, `rendered` were
    made now.
    """

    shards: Shards
    read: int
    rows: int
    dropped: int
    cut: int
    tokens_cut: int
    refused: Mapping[str, int]
    tokens: int
    rendered: int
    reused: int


def prepare(
    items: Iterable[Item],
    renderer: Renderer,
    folder: str | Path,
    *,
    store: Store | None = None,
    limit: Limit | None = None,
    on_bad_row: Literal["stop", "skip"] = "stop",
    workers: int = 0,
    progress: Progress | None = None,
) -> Preparation:
    """Render items and write them to a folder of shards, which appears when it is whole.

    A row that cannot be rendered stops everything, with its file and line, or is skipped and counted.
    `workers` processes render beside this one; they take seconds to start, so they pay from some ten
    thousand new rows on.
    """
    if on_bad_row not in ("stop", "skip"):
        wrong, accepted = "no such way with bad rows", "stop, skip"
        raise InputError(explain(wrong, found=on_bad_row, accepted=accepted, do="give one of these"))
    if not is_count(workers):
        wrong, accepted = "the number of workers is not a count", "0, 1, 2, ..."
        raise InputError(explain(wrong, found=workers, accepted=accepted, do="give 0 for none"))
    total = len(items) if isinstance(items, Sized) else None
    with ExitStack() as stack:
        writer = stack.enter_context(Writer(folder, renderer=renderer.id))
        render = stack.enter_context(rendering(renderer, workers))
        tally = _Tally(writer, limit, renderer.prefix, skip=on_bad_row == "skip")
        for chunk in _rendered(iter(items), renderer.id, store, render):
            tally.reused, tally.rendered = tally.reused + chunk.reused, tally.rendered + chunk.rendered
            for item, row in zip(chunk.items, chunk.rows, strict=True):
                tally.add(item, row)
            if progress is not None:
                progress(tally.read, total)
        return tally.published()


def row_key(renderer: str, item: Item) -> str | None:
    """What the rendered row of an item is stored under.

    None where its prompt holds what no key can, or where the renderer looks at more than prompt and replies:
    at pictures in a column of their own, which it refuses.
    """
    prompt = item.prompt
    if item.meta.get("images"):
        return None
    try:
        asked: object = _turns(prompt.messages)
        if prompt != Prompt(prompt.messages):
            asked = {"messages": asked, "rest": wire.to_json(replace(prompt, messages=()))}
        return stores.key("rendered", LAYOUT, renderer, asked, [_turns(reply) for reply in item.replies])
    except InputError:
        return None


def _turns(turns: Sequence[Message]) -> list[object]:
    """Messages as JSON. Those that are a role and a text are by far the most, and are written short."""
    return [
        [turn.role, turn.content]
        if isinstance(turn.content, str) and turn == Message(turn.role, turn.content)
        else wire.to_json(turn)
        for turn in turns
    ]


# --- rendering, or finding what was rendered --------------------------------------------------------------


@dataclass
class _Chunk:
    """Some items, their keys, and what there is of their rows; the work that will give the rest."""

    items: list[Item]
    keys: list[str | None]
    known: dict[str, bytes]
    work: Work
    rows: list[bytes | Refused] = field(default_factory=list[bytes | Refused])

    @property
    def reused(self) -> int:
        """How many rows came from the store."""
        return sum(key in self.known for key in self.keys)

    @property
    def rendered(self) -> int:
        """How many rows were made now."""
        return sum(isinstance(row, bytes) for row in self.rows) - self.reused

    def finish(self, store: Store | None) -> None:
        """Wait for the work, keep what it gave, and put all rows in the order of the items."""
        made = self.work.result()
        fresh = [number for number, key in enumerate(self.keys) if key not in self.known]
        by_number = dict(zip(fresh, made, strict=True))
        if store is not None and fresh:
            keyed = ((self.keys[number], row) for number, row in by_number.items())
            store.put_many((key, row) for key, row in keyed if key is not None and isinstance(row, bytes))
        self.rows = [
            by_number[number] if number in by_number else self.known[key or ""]
            for number, key in enumerate(self.keys)
        ]


def _rendered(
    items: Iterator[Item], renderer: str, store: Store | None, render: Rendering
) -> Iterator[_Chunk]:
    """Chunks of items with their rows, in order; as many are under way at a time as there are hands for."""
    waiting: deque[_Chunk] = deque()
    while True:
        group = list(islice(items, _CHUNK))
        if group:
            keys = [row_key(renderer, item) if store is not None else None for item in group]
            asked = [key for key in keys if key is not None]
            known = store.get_many(asked) if store is not None else {}
            new = [item for item, key in zip(group, keys, strict=True) if key not in known]
            waiting.append(_Chunk(group, keys, known, render.submit(new)))
        while waiting and (not group or len(waiting) > render.ahead):
            chunk = waiting.popleft()
            chunk.finish(store)
            yield chunk
        if not group:
            return


# --- what becomes of the rows -----------------------------------------------------------------------------


class _Tally:
    """Counts rows and writes them, until one is found that forbids writing."""

    def __init__(self, writer: Writer, limit: Limit | None, keep: Sequence[int], *, skip: bool) -> None:
        self._writer, self._limit, self._keep, self._skip = writer, limit, keep, skip
        self._refused: Counter[str] = Counter()
        self._lengths: Counter[int] = Counter()
        self._long: list[str] = []
        self._rows = self._tokens = self._dropped = self._cut = self._tokens_cut = 0
        self.read = self.reused = self.rendered = 0

    def add(self, item: Item, row: bytes | Refused) -> None:
        """Count a row, and write it if it may be written."""
        self.read += 1
        if isinstance(row, Refused):
            self._refuse(row)
            return
        fitted = row if self._limit is None else self._fitted(item, row, self._limit)
        if fitted is None:
            return
        try:
            self._tokens += self._writer.append(fitted, item)
        except InputError as error:
            self._refuse(Refused.of(error, item))
            return
        self._rows += 1

    def _refuse(self, refused: Refused) -> None:
        if not self._skip:
            raise RowError(refused.message)
        self._refused[refused.reason] += 1

    def _fitted(self, item: Item, row: bytes, limit: Limit) -> bytes | None:
        """A row that has room, or nothing where it is left out or nothing will be written."""
        if limit.on_long == "error":
            longest = measure(row).longest
            self._lengths[longest] += 1
            if longest > limit.max_length and len(self._long) < _PLACES:
                self._long.append(f"{item.origin or f'item {self.read}'} ({longest})")
            return None if self._long else row
        rendered = unpack(row)
        done = fit(rendered, limit.max_length, limit.on_long, keep=self._keep)
        if done.rendered is None:
            self._dropped += 1
            return None
        if done.rendered is rendered:
            return row
        self._cut, self._tokens_cut = self._cut + 1, self._tokens_cut + done.prompt_cut + done.reply_cut
        return pack(done.rendered)

    def published(self) -> Preparation:
        """Publish what was written, unless rows were too long or nothing is left."""
        if self._limit is not None and self._long:
            error = too_long(self._lengths, self._limit.max_length, command=self._limit.command)
            raise TooLongError(f"{error}\nThe first such rows, with their tokens: {', '.join(self._long)}.")
        if not self._rows:
            wrong, do = "no row is left to train on", "look at the data, or allow longer rows"
            what = f"{self.read} items, {self._dropped} too long, {self._refused.total()} that cannot be used"
            found = Said(what) if self.read else NOTHING
            raise InputError(explain(wrong, found=found, accepted="one row or more", do=do))
        counts: dict[str, JSON] = {
            "read": self.read,
            "dropped": self._dropped,
            "cut": self._cut,
            "tokens_cut": self._tokens_cut,
            "refused": dict(self._refused),
        }
        return Preparation(
            shards=self._writer.publish(counts),
            read=self.read,
            rows=self._rows,
            dropped=self._dropped,
            cut=self._cut,
            tokens_cut=self._tokens_cut,
            refused=dict(self._refused),
            tokens=self._tokens,
            rendered=self.rendered,
            reused=self.reused,
        )
