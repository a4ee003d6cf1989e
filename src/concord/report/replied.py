"""Replies to read beside the numbers: the best and the worst of one model, or where several differ most.

What a reply is worth is taken apart by gold itself, so that a reader can see what its number is made of.
"""

from collections.abc import Iterator, Mapping, Sequence

from concord.eval.card import CardRecord
from concord.eval.card.harbour.drawing import known_of
from concord.report.blocks import Block, Heading, Piece, Sample, Samples, ShownReply, Turn
from concord.report.numbers import number
from concord.store import key
from concord.worlds.harbour import PARTS, Asked, Harbour, Worth, worth

__all__ = ["reply_blocks"]

_SHOWN = 3  # at either end


def reply_blocks(records: Sequence[CardRecord], names: Sequence[str]) -> Iterator[Block]:
    """Replies of one record, or of several to the same requests; nothing where these are others."""
    asked = [[(one.kind, one.text) for one in record.prompts] for record in records]
    if not asked or any(one != asked[0] for one in asked):
        return
    rows = list(zip(*map(_valued, records), strict=True))
    gains = {at: gain for at, row in enumerate(rows) if (gain := _gain(row)) is not None}
    # Of equal ones which are shown is laid down by their texts, and not by where they stand.
    order = sorted(gains, key=lambda at: (gains[at], key(asked[0][at][1])))
    ends = (("What is worth most", order[::-1]), ("What is worth least", order))
    if len(records) > 1:
        ups, downs = ([at for at in order if sign * gains[at] > 0] for sign in (1, -1))
        ends = (("Where most was gained", ups[::-1]), ("Where most was lost", downs))
    if order:
        yield Heading("What it says")
    for caption, places in ends:
        if places:
            few = _spread(places, [one.family for one in records[0].prompts])
            yield Samples(tuple(_sample(records, names, at, rows[at]) for at in few), caption)


def _spread(places: Sequence[int], families: Sequence[str]) -> list[int]:
    """The first few places, each of another family."""
    first: dict[str, int] = {}
    for at in places:
        first.setdefault(families[at], at)
    return list(first.values())[:_SHOWN]


def _valued(record: CardRecord) -> list[Worth | None]:
    """What each likeliest reply is worth to the town; None where none came."""
    requests = _requests(record.settings.world)
    known = known_of(record.settings)
    found: list[Worth | None] = []
    for one in record.prompts:
        asked = requests.get(one.text)
        found.append(worth(asked, one.reply, known=known) if asked and one.reply is not None else None)
    return found


def _requests(world: int) -> Mapping[str, Asked]:
    """All that a card may ask, by its text."""
    splits = ("test", "ood", "adversarial")
    return {one.prompt.text: one for split in splits for one in Harbour(world).requests(split)}


def _gain(row: Sequence[Worth | None]) -> float | None:
    """What the last reply is worth more than the first; of one alone, what it is worth."""
    first, last = row[0], row[-1]
    if first is None or last is None:
        return None
    return last.value - first.value if len(row) > 1 else last.value


def _sample(
    records: Sequence[CardRecord], names: Sequence[str], at: int, row: Sequence[Worth | None]
) -> Sample:
    prompt = records[0].prompts[at]
    shown = [
        ShownReply(name if len(records) > 1 else "", _turns(record.prompts[at].reply, one))
        for record, name, one in zip(records, names, row, strict=True)
    ]
    turn = Turn("asked", (Piece(prompt.text),))
    return Sample(f"{prompt.family}, {prompt.kind}", (turn,), tuple(shown))


def _turns(reply: str | None, one: Worth | None) -> tuple[Turn, ...]:
    """A reply, and below it what it is worth and what that is made of."""
    if reply is None or one is None:
        return (Turn("", (Piece("no reply came"),)),)
    parts = (*PARTS, "correct", "harm")
    made = ", ".join(
        f"{part} {number(one.parts[part])}" for part in parts if part != "harm" or one.parts[part]
    )
    return Turn("", (Piece(reply),)), Turn(f"worth {number(one.value)}: {one.why}", (Piece(made),))
