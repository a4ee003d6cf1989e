"""A few rows, picked by their content and from different kinds and sources, as a model will see them."""

from dataclasses import dataclass, field, replace

from concord.data.auditing.columns import content_hash
from concord.data.auditing.records import Renders, Sample, SampleText
from concord.render.records import Unrendered
from concord.types import Item, Label, Preference, Prompt, Ranks, Ratings, SegmentPreference, Turns
from concord.views import view

__all__ = ["Sampler"]

_MOST_GROUPS = 64
_LONGEST = 6_000  # characters of one piece that are kept

_Piece = tuple[str, bool]


_Group = tuple[str, str, str]


@dataclass(slots=True)
class Sampler:
    """Keeps, of each kind and source, the rows whose keyed hashes are least: any, but always the same."""

    seed: int
    count: int
    best: dict[_Group, dict[int, Item]] = field(default_factory=dict[_Group, dict[int, Item]])

    def offer(self, content: int, item: Item, split: str, source: str) -> None:
        """Consider one row; `content` is the hash of what it says."""
        group = (view(item).kind, source, split)
        if group not in self.best and len(self.best) >= _MOST_GROUPS:
            return
        kept = self.best.setdefault(group, {})
        key = content_hash(f"{self.seed} {content}")
        # A row that says what a kept one says has its key, and is not shown beside it.
        kept.setdefault(key, item)
        if len(kept) > self.count:
            del kept[max(kept)]

    def samples(self, renderer: Renders | None) -> tuple[Sample, ...]:
        """The rows to show: other kinds first, then other sources, then other splits."""
        rest = sorted(
            ((key, group) for group, kept in self.best.items() for key in kept), key=lambda one: one[0]
        )
        chosen: list[tuple[int, _Group]] = []
        while rest and len(chosen) < self.count:
            taken = [{group[place] for _, group in chosen} for place in range(3)]
            rest.sort(key=lambda one: [one[1][place] in taken[place] for place in range(3)])
            chosen.append(rest.pop(0))
        return tuple(_sample(self.best[group][key], group, renderer) for key, group in chosen)


def _sample(item: Item, group: _Group, renderer: Renders | None) -> Sample:
    kind, source, split = group
    names = _names(item)
    if renderer is None:
        asked = _said(item.prompt)
        texts = [
            SampleText(name, (*asked, *_replied(turns)))
            for name, turns in zip(names, item.replies, strict=True)
        ]
        made = texts or [SampleText("prompt", asked)]
        return _short(Sample(kind=kind, split=split, source=source, texts=tuple(made), origin=item.origin))
    rendered = next(iter(renderer.render([item])))
    if isinstance(rendered, Unrendered):
        note = str(rendered.error)
        return Sample(
            kind=kind, split=split, source=source, texts=(), origin=item.origin, rendered=True, note=note
        )
    texts = [
        SampleText(
            name if len(leaves) == 1 else f"{name}, part {part}",
            tuple((piece.text, piece.trained) for piece in renderer.pieces(leaf)),
        )
        for name, leaves in zip(names, rendered.replies, strict=True)
        for part, leaf in enumerate(leaves, 1)
    ]
    made = tuple(texts) or (SampleText("prompt", _said(item.prompt)),)
    return _short(
        Sample(kind=kind, split=split, source=source, texts=made, origin=item.origin, rendered=True)
    )


def _names(item: Item) -> list[str]:
    """What each reply is."""
    match item.utilities:
        case Preference(first) | SegmentPreference(first) if first == 0.5:
            return ["tied", "tied"]
        case Preference(first) | SegmentPreference(first):
            return ["chosen", "rejected"] if first > 0.5 else ["rejected", "chosen"]
        case Ranks(ranks):
            return [f"rank {rank}" for rank in ranks]
        case Ratings(scores):
            return ["not scored" if score is None else f"score {score:g}" for score in scores]
        case Label(desirable):
            return ["desirable" if desirable else "undesirable"]
        case _:
            return ["reply"] * len(item.replies)


def _said(prompt: Prompt) -> tuple[_Piece, ...]:
    return tuple((f"{turn.role}: {turn.text}\n", False) for turn in prompt.messages)


def _replied(turns: Turns) -> tuple[_Piece, ...]:
    """A reply; where it is several turns, each with whose it is."""
    if len(turns) == 1:
        return ((turns[0].text, turns[0].learned),)
    pieces: list[_Piece] = []
    for at, turn in enumerate(turns):
        pieces += [("\n" * (at > 0) + f"{turn.role}: ", False), (turn.text, turn.learned)]
    return tuple(pieces)


def _short(sample: Sample) -> Sample:
    """The sample with the ends of its long texts, and a note of how much is missing between them."""
    cut = max((len(text) for one in sample.texts for text, _ in one.pieces), default=0) - _LONGEST
    if cut <= 0:
        return sample
    texts = tuple(SampleText(one.what, tuple(map(_shortened, one.pieces))) for one in sample.texts)
    note = f"Long texts are shortened here: {cut:,} characters are left out of the longest."
    return replace(sample, texts=texts, note=note)


def _shortened(piece: _Piece) -> _Piece:
    text, trained = piece
    if (cut := len(text) - _LONGEST) > 0:
        half = _LONGEST // 2
        text = f"{text[:half]} [... {cut} characters left out ...] {text[-half:]}"
    return text, trained
