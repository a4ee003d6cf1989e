"""A few rows, picked by their content and from different kinds and sources, as a model will see them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from concord.data.audited import Renders, Sample, SampleText
from concord.data.columns import content_hash
from concord.render.records import Unrendered
from concord.types import Item, Label, Preference, Prompt, Ranks, Ratings, SegmentPreference, Turns
from concord.views import view

__all__ = ["Sampler"]

_MOST_GROUPS = 64
_LONGEST = 6_000  # characters of one piece that are kept

_Piece = tuple[str, bool]


@dataclass(slots=True)
class Sampler:
    """Keeps, of each kind from each source, the row whose keyed hash is least: any, but always the same."""

    seed: int
    best: dict[tuple[str, str, str], tuple[int, Item]] = field(
        default_factory=dict[tuple[str, str, str], tuple[int, Item]]
    )

    def offer(self, content: int, item: Item, split: str, source: str) -> None:
        """Consider one row; `content` is the hash of what it says."""
        group = (view(item).kind, source, split)
        known = self.best.get(group)
        if known is None and len(self.best) >= _MOST_GROUPS:
            return
        key = content_hash(f"{self.seed} {content}")
        if known is None or key < known[0]:
            self.best[group] = (key, item)

    def samples(self, count: int, renderer: Renders | None) -> tuple[Sample, ...]:
        """The rows to show: other kinds first, then other sources, then other splits."""
        chosen: list[tuple[str, str, str]] = []
        rest = sorted(self.best, key=lambda group: self.best[group][0])
        while rest and len(chosen) < count:
            taken = [{group[place] for group in chosen} for place in range(3)]
            rest.sort(key=lambda group: [group[place] in taken[place] for place in range(3)])
            chosen.append(rest.pop(0))
        return tuple(_sample(self.best[group][1], group, renderer) for group in chosen)


def _sample(item: Item, group: tuple[str, str, str], renderer: Renders | None) -> Sample:
    kind, source, split = group
    names = _names(item)
    if renderer is None:
        asked = _said(item.prompt)
        texts = [
            SampleText(name, (*asked, *_replied(turns)))
            for name, turns in zip(names, item.replies, strict=True)
        ]
        made = tuple(texts) or (SampleText("prompt", asked),)
        return Sample(kind=kind, split=split, source=source, texts=made, origin=item.origin)
    rendered = next(iter(renderer.render([item])))
    if isinstance(rendered, Unrendered):
        note = str(rendered.error)
        return Sample(
            kind=kind, split=split, source=source, texts=(), origin=item.origin, rendered=True, note=note
        )
    texts = [
        SampleText(
            name if len(leaves) == 1 else f"{name}, part {part}",
            _shortened((piece.text, piece.trained) for piece in renderer.pieces(leaf)),
        )
        for name, leaves in zip(names, rendered.replies, strict=True)
        for part, leaf in enumerate(leaves, 1)
    ]
    made = tuple(texts) or (SampleText("prompt", _said(item.prompt)),)
    return Sample(kind=kind, split=split, source=source, texts=made, origin=item.origin, rendered=True)


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
    return _shortened((f"{turn.role}: {turn.text}\n", False) for turn in prompt.messages)


def _replied(turns: Turns) -> tuple[_Piece, ...]:
    return _shortened((turn.text, turn.learned) for turn in turns)


def _shortened(pieces: Iterable[_Piece]) -> tuple[_Piece, ...]:
    """The pieces, of which long ones keep beginning and end and say how much is missing."""
    short: list[_Piece] = []
    for text, trained in pieces:
        if (cut := len(text) - _LONGEST) > 0:
            half = _LONGEST // 2
            text = f"{text[:half]} [... {cut} characters left out ...] {text[-half:]}"
        short.append((text, trained))
    return tuple(short)
