"""Replies, had and read: asked for and scored, chosen among options, and what they are from their text alone.

    drawn(policy, items)        replies; `scored(feedback, items, replies)` what a feedback finds them worth
    choose(choices, policy)     which option of a question a policy takes
    PHRASES, text_results       whether a reply refuses, and how replies look; `similarity`, to what

None of it says whether a reply is good: that is for the protocols, which build on it.
"""

from concord.eval.replies.asking import drawn, joined_labels, preferred, scored, scored_by_name
from concord.eval.replies.choices import Choice, Chosen, choose
from concord.eval.replies.refusing import PHRASES, Detector, Refusal, agreement_with
from concord.eval.replies.texts import plain, repeats, text_results, words

__all__ = [
    "PHRASES",
    "Choice",
    "Chosen",
    "Detector",
    "Refusal",
    "agreement_with",
    "choose",
    "drawn",
    "joined_labels",
    "plain",
    "preferred",
    "repeats",
    "scored",
    "scored_by_name",
    "text_results",
    "words",
]
