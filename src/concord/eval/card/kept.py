"""Several cards in one JSON object: each under the name of its model, and what stands between them.

    cards_json(cards, sides)    {"before": card, "after": card, "side by side": [a row for each measure]}
    read_cards(data)            the same again; also of a single card, and of cards with nothing between them

Whoever reads the cards by their names need not know of the rows.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from concord import wire
from concord.errors import InputError, explain
from concord.eval.card.harbour.sidebyside import SideRow
from concord.types import JSON, Scorecard

__all__ = ["SIDES", "cards_json", "check_names", "read_cards"]

SIDES = "side by side"
"""The name under which the rows of `side_by_side` stand, which no model can have."""


def check_names(names: Sequence[str]) -> None:
    """Refuse a model that is called as the rows are."""
    if SIDES in names:
        wrong, accepted = "a model has the name under which comparisons are kept", f"any other than {SIDES!r}"
        raise InputError(explain(wrong, found=SIDES, accepted=accepted, do="give it another name"))


def cards_json(cards: Mapping[str, Scorecard], sides: Sequence[SideRow] = ()) -> JSON:
    """One card as it is, or several by their names; and the rows of what differs between them, if any."""
    check_names([*cards])
    plain = {name: wire.to_json(card) for name, card in cards.items()}
    if len(plain) == 1:
        return next(iter(plain.values()))
    return {**plain, SIDES: [wire.to_json(row) for row in sides]} if sides else plain


def read_cards(data: JSON, *, where: str = "") -> tuple[dict[str, Scorecard], tuple[SideRow, ...]]:
    """The cards by the names of their models, and the rows of what differs between them."""
    if not isinstance(data, Mapping):
        wrong, accepted = "this is no scorecard", "an object: a card, or several by their names"
        do = "give the content of a scorecard.json"
        told = explain(wrong, found=data, accepted=accepted, do=do)
        raise InputError(f"{where}: {told}" if where else told)
    if isinstance(data.get("model"), str):
        card = wire.from_json(Scorecard, data, where=where)
        return {card.model: card}, ()
    held = cast("Mapping[str, JSON]", data)
    cards = {name: wire.from_json(Scorecard, one, where=where) for name, one in held.items() if name != SIDES}
    rows: tuple[SideRow, ...] = wire.from_json(tuple[SideRow, ...], held.get(SIDES, []), where=where)
    return cards, rows
