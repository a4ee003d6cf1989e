"""The one pass of an audit: each row is looked at once, and only counts and columns of numbers are kept."""

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from pathlib import Path

from concord.data.auditing.columns import Columns, content_hash, prompt_hash, turns_hash, turns_text
from concord.data.auditing.minhash import Signatures
from concord.data.auditing.records import AuditSettings
from concord.data.auditing.texts import looks_cut, oddities, surface
from concord.types import (
    Item,
    Label,
    Origin,
    Preference,
    Ranks,
    Ratings,
    SegmentPreference,
    StepLabels,
    Text,
    TurnRewards,
    Turns,
)
from concord.views import view

__all__ = ["Near", "Observer"]

# Columns that say where a row came from: the first that is there counts, else its file does.
_SOURCE_COLUMNS = ("source", "dataset", "data_source", "dataset_name", "origin", "subset", "domain")
_MOST_SOURCES = 200
_OTHER = "(other sources)"
_ALL_PAIRS = 12  # replies of a ranking up to which every pair of them counts; beyond, neighbours in rank
_LARGEST = 2**32 - 1
_MOST_SCORES = 10_000
_LARGEST_FLOAT = 3.4e38  # of four bytes

_Place = tuple[int, int]  # a split and a source, by their numbers


class Near:
    """Signatures of texts whose like will be looked for, of each text that differs from those just seen."""

    def __init__(self, path: Path) -> None:
        self.signatures = Signatures(path)
        self.hashes: array[int] = array("Q")
        self._recent: dict[int, None] = {}

    def add(self, content: int, text: str) -> None:
        """Sign a text, unless it was seen among the last few thousand."""
        if content in self._recent:
            return
        if len(self._recent) >= 4096:
            self._recent.clear()
        self._recent[content] = None
        self.hashes.append(content)
        self.signatures.add(text)


@dataclass(slots=True)
class Observer:
    """What is gathered in the pass."""

    settings: AuditSettings
    near: Mapping[str, Near] = field(default_factory=dict[str, Near])
    columns: Columns = field(default_factory=Columns)
    tally: Counter[tuple[str, _Place]] = field(default_factory=Counter[tuple[str, _Place]])
    lengths: dict[tuple[str, str, int], Counter[int]] = field(
        default_factory=dict[tuple[str, str, int], Counter[int]]
    )
    """By side, unit and split, how often each length occurs."""
    examples: dict[str, list[Origin]] = field(default_factory=dict[str, list[Origin]])
    votes_row: "array[int]" = field(default_factory=lambda: array("I"))
    votes_agree: "array[float]" = field(default_factory=lambda: array("f"))
    votes_given: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    """Votes for a side, for a tie, and for the other side, of comparisons with two votes or more.

    Each side gets half of those for either: which stands first is an accident, or it is the winner, and tells
    nothing of the voters.
    """
    scores: Counter[float] = field(default_factory=Counter[float])
    """How often each score occurs, to six digits, or to as many as leave 10,000 different ones."""
    margins: dict[str, "array[float]"] = field(default_factory=dict[str, "array[float]"])
    aspects: dict[str, tuple[int, float]] = field(default_factory=dict[str, tuple[int, float]])
    """How many scores each aspect has, and their mean."""
    _digits: int = 6
    _file: dict[str, int] = field(default_factory=dict[str, int])
    _source: dict[str, int] = field(default_factory=dict[str, int])

    def split(self, name: str) -> int:
        """Begin a split; its number comes back."""
        self.columns.splits.append(name)
        return len(self.columns.splits) - 1

    def add(self, item: Item, split: int) -> _Place:
        """Look at one row."""
        at = (split, self._number_of_source(item))
        kind = view(item).kind
        row = self._add_row(item, at, kind)
        first = len(self.columns.reply)
        prompt_text = self._add_prompt(item, at)
        texts = [self._add_reply(reply, row, prompt_text, item, at) for reply in item.replies]
        self._add_known(item, first, at)
        longest = max(map(len, texts), default=0)
        self.count(len(prompt_text) + longest, split, "characters", "row")
        return at

    def note(self, fact: str, at: _Place, origin: Origin | None) -> None:
        """Count that something holds of a row, and remember the first few of which it does."""
        self.tally[fact, at] += 1
        seen = self.examples.setdefault(fact, [])
        if len(seen) < self.settings.examples and origin is not None:
            seen.append(origin)

    def count(self, length: int, split: int, unit: str, side: str) -> None:
        """Count a length."""
        counts = self.lengths.get((side, unit, split))
        if counts is None:
            counts = self.lengths[side, unit, split] = Counter()
        counts[length] += 1

    def count_sides(self, pair: int, split: int, unit: str) -> None:
        """Count the lengths of the chosen and the rejected reply of a comparison that has a winner."""
        columns = self.columns
        if (share := columns.preference[pair]) == 0.5:
            return
        lengths = columns.tokens if unit == "tokens" else columns.characters
        sides = (columns.first[pair], columns.second[pair])
        chosen, rejected = sides if share > 0.5 else sides[::-1]
        self.count(lengths[chosen], split, unit, "chosen")
        self.count(lengths[rejected], split, unit, "rejected")

    def total(self, fact: str, split: int | None = None) -> int:
        """How often something holds, in a split or everywhere."""
        return sum(
            count for (name, at), count in self.tally.items() if name == fact and split in (None, at[0])
        )

    def kinds(self, split: int | None = None) -> dict[str, int]:
        """How many rows there are of each kind, in a split or everywhere; kinds without rows left out."""
        names = sorted({name for name, _ in self.tally if name.startswith("kind ")})
        return {name[5:]: count for name in names if (count := self.total(name, split))}

    # --- rows and prompts -----------------------------------------------------------------------------------

    def _number_of_source(self, item: Item) -> int:
        meta = item.meta
        named = next((meta[key] for key in _SOURCE_COLUMNS if key in meta), None) if meta else None
        if isinstance(named, str) and 0 < len(named) <= 200:
            name = named
        else:
            name = item.origin.file if item.origin else ""
        number = self._source.get(name)
        if number is None:
            if len(self._source) >= _MOST_SOURCES:
                name = _OTHER
            number = self._source.setdefault(name, len(self._source))
            if number == len(self.columns.sources):
                self.columns.sources.append(name)
        return number

    def _add_row(self, item: Item, at: _Place, kind: str) -> int:
        columns, origin = self.columns, item.origin
        row = len(columns.split)
        file = origin.file if origin else ""
        if file not in self._file:
            self._file[file] = len(columns.files)
            columns.files.append(file)
        columns.split.append(at[0])
        columns.source.append(at[1])
        columns.file.append(self._file[file])
        columns.line.append(min(_LARGEST, origin.line or 0) if origin else 0)
        self.tally["rows", at] += 1
        self.tally[f"kind {kind}", at] += 1
        if item.prompt.tools:
            self.tally["tools", at] += 1
        turns = len(item.prompt.messages) + max(map(len, item.replies), default=0)
        self.count(turns, at[0], "turns", "conversation")
        return row

    def _add_prompt(self, item: Item, at: _Place) -> str:
        columns, messages = self.columns, item.prompt.messages
        content = prompt_hash(item)
        replies = [turns_hash(reply) for reply in item.replies]
        columns.prompt.append(content)
        columns.content.append(content_hash(f"{content} {replies} {item.utilities!r}"))
        columns.reply.extend(replies)
        if any(turn.role in ("system", "developer") for turn in messages):
            self.tally["system prompt", at] += 1
        if item.meta.get("images") or any(_has_more_than_text(turns) for turns in (messages, *item.replies)):
            self.tally["pictures or sounds", at] += 1
        text = item.prompt.text if len(messages) != 1 else messages[0].text
        self.count(len(text), at[0], "characters", "prompt")
        if not text.strip() and item.prompt.tokens is None:
            self.note("empty prompt", at, item.origin)
        for oddity in oddities(text):
            self.note(f"prompt {oddity}", at, item.origin)
        if (near := self.near.get("prompts")) and not item.meta.get("images"):
            # What all rows share (a system message) would make all of them alike.
            asked = tuple(turn for turn in messages if turn.role not in ("system", "developer"))
            _sign(near, content, asked)
        return text

    def _add_reply(self, reply: Turns, row: int, prompt: str, item: Item, at: _Place) -> str:
        columns, text = self.columns, turns_text(reply)
        dress = surface(text)
        content = columns.reply[len(columns.reply_row)]
        columns.reply_row.append(row)
        columns.characters.append(len(text))
        columns.formatting.append(dress.formatting)
        columns.lists.append(dress.lists)
        columns.code.append(dress.code)
        columns.exclamations.append(dress.exclamations)
        columns.refusal.append(dress.refusal)
        self.tally["replies", at] += 1
        self.count(len(text), at[0], "characters", "reply")
        if dress.refusal:
            self.note("reply refusal", at, item.origin)
        if looks_cut(text):
            self.note("reply cut", at, item.origin)
        if not text.strip():
            if not any(turn.tool_calls or turn.reasoning or _has_more_than_text((turn,)) for turn in reply):
                self.note("reply empty", at, item.origin)
        elif text == prompt:
            self.note("reply equals prompt", at, item.origin)
        for oddity in oddities(text):
            self.note(f"reply {oddity}", at, item.origin)
        if near := self.near.get("replies"):
            _sign(near, content, reply)
        return text

    # --- what is known of them ------------------------------------------------------------------------------

    def _add_known(self, item: Item, first: int, at: _Place) -> None:
        known = item.utilities
        match known:
            case Preference():
                self._add_preference(item, known, first, at)
            case SegmentPreference(share):
                self._add_pair(first, first + 1, _wins(share), share, implied=False)
                self._add_sides(share, at)
            case Ranks(ranks):
                self._add_order(first, [-float(rank) for rank in ranks], at)
            case Ratings(scores, aspects):
                self._add_order(first, scores, at)
                for score in scores:
                    if score is None:
                        self.tally["unscored", at] += 1
                    else:
                        self._add_score(score)
                for name, values in aspects.items():
                    given = [value for value in values if value is not None]
                    for value in given:
                        n, mean = self.aspects.get(name, (0, 0.0))
                        # Not from a sum, which large scores would take beyond what a float holds.
                        self.aspects[name] = (n + 1, mean * (n / (n + 1)) + value / (n + 1))
            case Label(desirable):
                self.columns.judged.append(first)
                self.columns.desirable.append(desirable)
            case StepLabels(labels):
                for label in labels:
                    word = "none" if label is None else "good" if label >= 0.5 else "bad"
                    self.tally[f"step {word}", at] += 1
            case TurnRewards(rewards):
                self._margin("reward", sum(reward for reward in rewards if reward is not None))
            case _:
                pass

    def _add_score(self, score: float) -> None:
        self.scores[float(f"{score:.{self._digits}g}")] += 1
        while len(self.scores) > _MOST_SCORES and self._digits > 1:
            self._digits -= 1
            coarser = Counter[float]()
            for value, count in self.scores.items():
                coarser[float(f"{value:.{self._digits}g}")] += count
            self.scores = coarser

    def _add_preference(self, item: Item, known: Preference, first: int, at: _Place) -> None:
        share, votes = known.first, known.votes
        wins = _wins(share) if votes is None else (votes[0], votes[2])
        self._add_pair(first, first + 1, wins, share, implied=False)
        self._add_sides(share, at)
        columns = self.columns
        if columns.reply[first] == columns.reply[first + 1]:
            self.note("same reply twice", at, item.origin)
        elif turns_text(item.replies[0]).split() == turns_text(item.replies[1]).split():
            self.note("same but for white space", at, item.origin)
        if votes is not None:
            if _denied(share, votes):
                self.note("against votes", at, item.origin)
            n = sum(votes)
            if n >= 2:
                either = (votes[0] + votes[2]) / 2
                for place, count in enumerate((either, votes[1], either)):
                    self.votes_given[place] += count
                self.votes_row.append(len(columns.split) - 1)
                self.votes_agree.append(sum(count * (count - 1) for count in votes) / (n * (n - 1)))
        if known.scores is not None:
            gap = known.scores[0] - known.scores[1]
            if gap * (share - 0.5) < 0:
                self.note("against scores", at, item.origin)
            self._margin("difference of scores", abs(gap))
        if known.strength is not None:
            self._margin("strength", known.strength)

    def _add_sides(self, share: float, at: _Place) -> None:
        """Count a comparison, whether it has a winner, and the lengths of its two sides."""
        self.tally["comparisons", at] += 1
        if share == 0.5:
            self.tally["ties", at] += 1
            return
        if share not in (0.0, 1.0):
            self.tally["soft", at] += 1
        self.count_sides(len(self.columns.first) - 1, at[0], "characters")

    def _add_order(self, first: int, utilities: "_Utilities", at: _Place) -> None:
        """The comparisons that ranks or scores imply."""
        for a, b in _implied(utilities):
            x, y = utilities[a], utilities[b]
            assert x is not None
            assert y is not None
            share = 1.0 if x > y else 0.0 if x < y else 0.5
            self._add_pair(first + a, first + b, _wins(share), share, implied=True)

    def _add_pair(
        self, first: int, second: int, wins: tuple[float, float], share: float, *, implied: bool
    ) -> None:
        columns = self.columns
        columns.first.append(first)
        columns.second.append(second)
        columns.first_wins.append(min(wins[0], _LARGEST_FLOAT))
        columns.second_wins.append(min(wins[1], _LARGEST_FLOAT))
        columns.preference.append(share)
        columns.implied.append(implied)

    def _margin(self, name: str, value: float) -> None:
        inside = max(-_LARGEST_FLOAT, min(_LARGEST_FLOAT, value))
        self.margins.setdefault(name, array("f")).append(inside)


_Utilities = tuple[float | None, ...] | list[float]


def _implied(utilities: _Utilities) -> Iterator[tuple[int, int]]:
    """Pairs of replies that an order compares: all, or in a long one neighbours by utility."""
    scored = [place for place, value in enumerate(utilities) if value is not None]
    if len(scored) <= _ALL_PAIRS:
        return combinations(scored, 2)
    return pairwise(sorted(scored, key=lambda place: (-(utilities[place] or 0.0), place)))


def _wins(share: float) -> tuple[float, float]:
    """What a preference counts for either side; a tie for none."""
    return (0.0, 0.0) if share == 0.5 else (share, 1 - share)


def _denied(share: float, votes: tuple[int, int, int]) -> bool:
    """Whether votes speak against a preference: for the other side, or most for a side and not for a tie."""
    first, tied, second = votes
    if share == 0.5:
        return first != second and tied < max(first, second)
    return (first - second) * (share - 0.5) < 0 or tied > max(first, second)


def _sign(near: Near, content: int, turns: Turns) -> None:
    """Sign all that is said, thought and called, if anything is; what is shown has no likeness in letters."""
    said = "\n".join(
        "\n".join((turn.text, turn.reasoning or "", repr(turn.tool_calls) if turn.tool_calls else ""))
        for turn in turns
    )
    if said.strip() and not _has_more_than_text(turns):
        near.add(content, said)


def _has_more_than_text(turns: Turns) -> bool:
    return any(
        not isinstance(turn.content, str) and any(not isinstance(part, Text) for part in turn.content)
        for turn in turns
    )
