"""Scorecards: all that is known of one policy, a section for each research challenge.

    card = score_harbour(policy)              of a policy in Harbour, where the human utility is known
    record = record_harbour(policy)           the same with the values of each prompt, to compare cards by
    side_by_side({"base": one, "dpo": two})   several of these, paired by prompt
    score_own(policy, sets=..., data=...)     of a policy on the user's own rows, test sets and judges
    read_cards(json)                          what `concord score` wrote, of one model or of several
    lit(card)                                 which of six ways to go wrong it shows

What could not be measured stands in a card as well, and says what would give it.
"""

from concord.eval.card.harbour.diagnostics import DIAGNOSTIC, EXPLAINING, RULES, lit
from concord.eval.card.harbour.proxy import Careless
from concord.eval.card.harbour.record import record_harbour, score_harbour
from concord.eval.card.harbour.sidebyside import SideRow, side_by_side
from concord.eval.card.kept import cards_json, read_cards
from concord.eval.card.leaves import LEAVES
from concord.eval.card.own.score import OwnSettings, score_own
from concord.eval.card.own.sets import EvalSet, read_sets
from concord.eval.card.records import CARD_FORMAT, CardPrompt, CardRecord, CardSettings, Tell

__all__ = [
    "CARD_FORMAT",
    "DIAGNOSTIC",
    "EXPLAINING",
    "LEAVES",
    "RULES",
    "CardPrompt",
    "CardRecord",
    "CardSettings",
    "Careless",
    "EvalSet",
    "OwnSettings",
    "SideRow",
    "Tell",
    "cards_json",
    "lit",
    "read_cards",
    "read_sets",
    "record_harbour",
    "score_harbour",
    "score_own",
    "side_by_side",
]
