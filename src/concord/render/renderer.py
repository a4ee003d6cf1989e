"""The renderer: what inference is given, and what training learns from, both from one place.

    renderer = Renderer.load("path/to/model", RenderSettings())
    renderer.prompt(prompt)      the ids that generation starts from
    renderer.render(items)       prompts and replies with their trained spans, verified or refused
    renderer.pieces(leaf)        the text of a leaf, trained and untrained stretches told apart

A trained token is one by its position, never by its id. Each span is verified on its text
(`concord.render.spans`) and again on its tokens: the ids that inference is given come first, the last id is a
stop token and none before it is, and the span decodes to the text it is meant to be. Of a text that nothing
comes before the first token is the prompt.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import numpy as np

from concord.errors import NOTHING, InputError, Said, explain
from concord.messages import Prompt, Text, Turns, is_count
from concord.render.encoder import Encoder
from concord.render.facts import find_out, special_texts
from concord.render.loading import ModelFiles, load_tokenizer, read_files
from concord.render.records import (
    Facts,
    Ids,
    Leaf,
    MaskError,
    Rendered,
    RenderError,
    RenderSettings,
    Unrendered,
)
from concord.render.show import Piece, pieces
from concord.render.spans import Conversation, Rules, TurnText, guard, written_plain
from concord.render.templates import plain_data
from concord.store import key
from concord.types import Item

__all__ = ["FORMAT", "Renderer"]

_LONE = re.compile("[\ud800-\udfff]")
_T = TypeVar("_T")
_Made = TypeVar("_Made")

FORMAT = 1
"""Counts the changes after which the same item gives other tokens; part of `Renderer.id`."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """An item as text: what inference is given, and the trained turns of each reply.

    `opened` is None where a reply begins with another's turn, so that no one text is generated from. `prefix`
    are ids that come before any text, `tokens` ids in the place of a text.
    """

    item: Item
    opened: str | None
    replies: tuple[tuple[TurnText, ...], ...]
    prefix: tuple[int, ...] = ()
    tokens: tuple[int, ...] | None = None

    @property
    def texts(self) -> Iterator[str]:
        """All texts whose ids are needed."""
        if self.opened is not None:
            yield self.opened
        for reply in self.replies:
            for turn in reply:
                yield turn.before
                yield turn.before + turn.span


@dataclass(frozen=True, slots=True)
class _Sequence:
    """The ids up to the end of a trained turn, where those of its span begin, and the text of the span."""

    ids: list[int]
    start: int
    span: str

    @property
    def learned(self) -> tuple[int, int]:
        """The ids that are learned from: not the first of a text that nothing comes before."""
        return max(1, self.start), len(self.ids)


class Renderer:
    """A tokenizer and its chat template, with settings; `id` names all that decides the tokens."""

    def __init__(
        self, tokenizer: Any, *, settings: RenderSettings | None = None, files: ModelFiles | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.settings = settings or RenderSettings()
        self.files = files or ModelFiles()
        self._encoder = Encoder(tokenizer)
        self._args = plain_data(self.settings.template_args)
        found = find_out(self._encoder, self.settings, self.files)
        self.facts: Facts = found.facts
        self._template = found.template
        self._size = len(tokenizer)
        self._stops = frozenset(token.id for token in found.facts.stop)
        stops = [token.text for token in found.facts.stop]
        self._rules = Rules(
            stops=_any_of(stops),
            control=_any_of({*stops, *self._encoder.control}),
            normal=self._encoder.normal,
            stop=stops[0] if stops else None,
            appends=bool(self.settings.stop),
            ends_turn=found.ends_turn,
            train_added=self.settings.train_added,
        )
        self._plain = found.facts.template == "plain fallback"
        self._prefix = tuple(self._encoder.prefix)
        self.id: str = key(
            "render",
            FORMAT,
            self._encoder.content,
            special_texts(tokenizer),
            found.texts,
            self._args,
            [token.id for token in found.facts.stop],
            list(self._prefix),
            found.facts.date,
            [self.settings.plain, self.settings.train_added],
        )

    @classmethod
    def load(
        cls,
        model: str | Path,
        settings: RenderSettings | None = None,
        *,
        offline: bool = True,
        trust_remote_code: bool = False,
    ) -> Self:
        """The renderer of a model: a folder, or a hub id that was fetched before or, not offline, is now."""
        tokenizer = load_tokenizer(model, offline=offline, trust_remote_code=trust_remote_code)
        return cls(tokenizer, settings=settings, files=read_files(model, offline=offline))

    @property
    def stop_ids(self) -> frozenset[int]:
        """The ids that generation stops at."""
        return self._stops

    @property
    def prefix(self) -> tuple[int, ...]:
        """The ids that open a text and that cutting keeps: what the tokenizer begins with, or its bos."""
        bos = self.tokenizer.bos_token_id
        return self._prefix or (() if bos is None else (int(bos),))

    def prompt(self, prompt: Prompt) -> Ids:
        """The ids that inference is given for a prompt."""
        draft = self._written(Item(prompt))
        if draft.tokens is not None:
            return _array(draft.tokens)
        assert draft.opened is not None
        return _array(self._prefixed(draft, self._encoder.encode(draft.opened)))

    def render(self, items: Iterable[Item], *, batch: int = 256) -> Iterator[Rendered | Unrendered]:
        """Each item's tokens, or why it has none, in order; what a batch holds twice is encoded once."""
        if not is_count(batch, 1):
            wrong, accepted = "a batch has no size", "1 or more rows"
            raise InputError(explain(wrong, found=batch, accepted=accepted, do="give a number of rows"))
        waiting = iter(items)
        while group := list(islice(waiting, batch)):
            yield from self._batch(group)

    def pieces(self, leaf: Leaf) -> list[Piece]:
        """The text of a leaf, special tokens visible, in stretches that are learned from or not."""
        return pieces(leaf.ids.tolist(), leaf.spans.tolist(), self.decode)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens visible."""
        return self._encoder.decode_all([ids])[0]

    # --- text ---------------------------------------------------------------------------------------------

    def _written(self, item: Item) -> _Draft:
        """An item as text that a tokenizer can be given."""
        draft = self._draft(item)
        for text in draft.texts:
            if not text.isascii() and (odd := _LONE.search(text)):
                wrong, found = "a text holds half of a character (a lone surrogate)", ascii(odd.group())
                do = "read the data as UTF-8 again, or leave the row out"
                raise RenderError(explain(wrong, found=Said(found), accepted="Unicode text", do=do))
        return draft

    def _draft(self, item: Item) -> _Draft:
        """An item as text."""
        prompt = item.prompt
        if prompt.tokens is not None or prompt.plain or self.settings.plain:
            return self._draft_plain(item)
        if item.meta.get("images"):
            wrong, do = (
                "the pictures of a row stand in no message",
                "put them into a message, for a model that sees",
            )
            found = Said("pictures in a column of their own")
            raise RenderError(explain(wrong, found=found, accepted="text", do=do))
        guard(prompt.messages, self._rules)
        _learned(item)
        talk = Conversation(self._template, self._rules, prompt, self._args)
        replies: list[tuple[TurnText, ...]] = []
        for reply in item.replies:
            guard(reply, self._rules)
            replies.append(tuple(talk.turns(reply)))
        answered = all(reply[0].role == "assistant" for reply in item.replies)
        prefix = self._prefix if self._plain else ()
        return _Draft(item, talk.opened if answered else None, tuple(replies), prefix)

    def _draft_plain(self, item: Item) -> _Draft:
        """An item whose prompt stands as it is, without a template."""
        prompt = item.prompt
        _learned(item)
        if prompt.tokens is None and len(prompt.messages) > 1:
            wrong, do = (
                "a prompt that stands as it is has several messages",
                "join their texts, or do without plain",
            )
            found = Said(", ".join(message.role for message in prompt.messages))
            raise RenderError(explain(wrong, found=found, accepted="one text", do=do))
        if prompt.tokens is not None and (odd := [one for one in prompt.tokens if not 0 <= one < self._size]):
            wrong, do = (
                "the tokens of a prompt are not all this tokenizer's",
                "render them by the same tokenizer",
            )
            raise RenderError(explain(wrong, found=odd[0], accepted=f"ids from 0 to {self._size - 1}", do=do))
        opened = "".join(message.text for message in prompt.messages)
        if prompt.tokens is not None:
            opened = ""
        elif any(not isinstance(part, Text) for message in prompt.messages for part in message.parts):
            wrong, do = "a picture or a sound in a plain text", "give the prompt as messages"
            raise RenderError(explain(wrong, found=Said("a part that is not text"), accepted="text", do=do))
        replies = tuple((TurnText(opened, written_plain(reply, self._rules)),) for reply in item.replies)
        if prompt.tokens is not None:
            return _Draft(item, None, replies, tokens=prompt.tokens)
        return _Draft(item, opened, replies, self._prefix)

    # --- tokens -------------------------------------------------------------------------------------------

    def _batch(self, items: Sequence[Item]) -> Iterator[Rendered | Unrendered]:
        drafts: list[_Draft | RenderError] = [self._tried(self._written, item, item) for item in items]
        written = [draft for draft in drafts if isinstance(draft, _Draft)]
        encoded = self._encoder.encode_all(text for draft in written for text in draft.texts)
        # Together some make other tokens than inference has: what that is given stands, the rest follows.
        apart = (turn.span for draft in written for turn in self._apart(draft, encoded))
        following = self._encoder.continuing(apart)
        rows: list[list[list[_Sequence]] | RenderError] = []
        for item, draft in zip(items, drafts, strict=True):
            if isinstance(draft, RenderError):
                rows.append(draft)
            else:
                step = partial(self._sequences, encoded=encoded, following=following)
                rows.append(self._tried(step, draft, item))
        self._verify(items, rows)
        for item, draft, row in zip(items, drafts, rows, strict=True):
            if isinstance(row, RenderError):
                yield Unrendered(item.origin, row)
            else:
                yield self._rendered(cast("_Draft", draft), row, encoded)

    def _tried(self, step: Callable[[_T], _Made], given: _T, item: Item) -> _Made | RenderError:
        """What a step makes of an item, or the error, which then names the item's place."""
        try:
            return step(given)
        except RenderError as error:
            return _placed(error, item)

    def _prefixed(self, draft: _Draft, ids: list[int]) -> list[int]:
        """Ids behind what the tokenizer puts before any text, never twice."""
        prefix = list(draft.prefix)
        return ids if not prefix or ids[: len(prefix)] == prefix else prefix + ids

    def _apart(self, draft: _Draft, encoded: Mapping[str, list[int]]) -> Iterator[TurnText]:
        """The turns whose ids, encoded with what is before, do not begin with what inference is given."""
        for reply in draft.replies:
            for turn in reply:
                if draft.tokens is not None or not _begins(
                    encoded[turn.before + turn.span], encoded[turn.before]
                ):
                    yield turn

    def _sequences(
        self, draft: _Draft, *, encoded: Mapping[str, list[int]], following: Mapping[str, list[int] | None]
    ) -> list[list[_Sequence]]:
        """The ids of each trained turn of each reply."""
        return [
            [self._sequence(draft, turn, encoded, following) for turn in reply] for reply in draft.replies
        ]

    def _sequence(
        self,
        draft: _Draft,
        turn: TurnText,
        encoded: Mapping[str, list[int]],
        following: Mapping[str, list[int] | None],
    ) -> _Sequence:
        """The ids of a trained turn: those that inference is given, then the span's."""
        given = draft.tokens if draft.tokens is not None else encoded[turn.before]
        joint = None if draft.tokens is not None else encoded[turn.before + turn.span]
        if joint is not None and _begins(joint, given):
            span: list[int] | None = joint[len(given) :]
        else:
            span = following[turn.span]
        if span is None:
            wrong = "the tokenizer has no way to write the reply behind its prompt"
            accepted, do = "a reply whose tokens say what it says", "leave the row out"
            raise MaskError(explain(wrong, found=turn.span, accepted=accepted, do=do))
        if span[-1] not in self._stops or not self._stops.isdisjoint(span[:-1]):
            wrong, accepted = "the reply's tokens end on no stop token", "one stop token, the last"
            do = "name a token by --stop-token that the tokenizer always takes for one"
            raise MaskError(explain(wrong, found=turn.span[-60:], accepted=accepted, do=do))
        before = list(given) if draft.tokens is not None else self._prefixed(draft, list(given))
        alone = len(draft.replies) == 1 and draft.tokens is None and len(span) > 1
        if not before and not alone:
            wrong = "no token comes before the reply, so there is nothing to predict its first token from"
            do = "give a prompt, if only the token that texts begin with"
            raise MaskError(explain(wrong, found=NOTHING, accepted="a prompt of 1 token or more", do=do))
        return _Sequence(before + span, len(before), turn.span)

    def _verify(self, items: Sequence[Item], rows: list[list[list[_Sequence]] | RenderError]) -> None:
        """Replace rows whose spans do not decode to the text they are meant to be."""
        spans = [
            (at, one)
            for at, row in enumerate(rows)
            if not isinstance(row, RenderError)
            for reply in row
            for one in reply
        ]
        decoded = self._encoder.decode_all([one.ids[one.start :] for _, one in spans])
        for (at, one), text in zip(spans, decoded, strict=True):
            if text != one.span and not self._encoder.same(text, one.span):
                wrong, accepted = "the reply's tokens say something else than the reply", one.span[:60]
                do = "take out the characters that the tokenizer does not know, or leave the row out"
                error = MaskError(explain(wrong, found=text[:60], accepted=accepted, do=do))
                rows[at] = _placed(error, items[at])

    def _rendered(
        self, draft: _Draft, row: list[list[_Sequence]], encoded: Mapping[str, list[int]]
    ) -> Rendered:
        replies = tuple(_leaves(reply) for reply in row)
        if draft.tokens is not None:
            prompt = list(draft.tokens)
        elif draft.opened is not None:
            prompt = self._prefixed(draft, encoded[draft.opened])
        else:
            prompt = []
        if not prompt and replies:
            prompt = replies[0][0].ids[: replies[0][0].spans[0, 0]].tolist()
        return Rendered(_array(prompt[: _shared(prompt, replies)]), replies)


def _begins(ids: Sequence[int], first: Sequence[int]) -> bool:
    """Whether ids begin with others, and go on."""
    return len(ids) > len(first) and ids[: len(first)] == first


def _shared(prompt: list[int], replies: tuple[tuple[Leaf, ...], ...]) -> int:
    """How many ids of a prompt all replies begin with: all of them, unless others' turns come first."""
    length = len(prompt)
    for reply in replies:
        leaf = reply[0]
        head = leaf.ids[: min(length, int(leaf.spans[0, 0]))]
        differs = np.flatnonzero(head != _array(prompt[: len(head)]))
        length = int(differs[0]) if len(differs) else len(head)
    return length


def _leaves(turns: Sequence[_Sequence]) -> tuple[Leaf, ...]:
    """As few leaves as hold each turn exactly as inference would have seen it.

    A turn can stand in the leaf of a later one if its ids, with all before them, are the first ids of that.
    """
    homes: list[tuple[list[int], list[tuple[int, int]]]] = []
    for turn in sorted(turns, key=lambda one: len(one.ids), reverse=True):
        stop = len(turn.ids)
        for ids, spans in homes:
            if spans[-1][0] >= stop and ids[:stop] == turn.ids:
                spans.append(turn.learned)
                break
        else:
            homes.append((turn.ids, [turn.learned]))
    return tuple(
        Leaf(_array(ids), np.array(spans[::-1], dtype=np.int32).reshape(-1, 2))
        for ids, spans in sorted(homes, key=lambda home: home[1][-1])
    )


def _learned(item: Item) -> None:
    """Refuse replies of which nothing is learned."""
    if not all(any(turn.learned for turn in reply) for reply in item.replies):
        wrong, do = "no turn of a reply is trained", "mark a turn trained, or leave the row out"
        roles: tuple[Turns, ...] = item.replies
        found = Said("; ".join(", ".join(turn.role for turn in reply) for reply in roles))
        raise RenderError(explain(wrong, found=found, accepted="at least one trained turn", do=do))


def _placed(error: RenderError, item: Item) -> RenderError:
    """An error that names the place of its item."""
    return error if item.origin is None else type(error)(f"{item.origin}: {error}")


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """A pattern for any of several texts, the longest first; for none of them, one that is never found."""
    ordered = sorted(texts, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered)) or r"(?!)")


def _array(ids: Sequence[int]) -> Ids:
    return np.array(ids, dtype=np.int32)
