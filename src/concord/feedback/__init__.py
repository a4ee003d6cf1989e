"""Feedback: whatever says what a reply is worth, or which of two is better.

verifiers, answers, schemas, instructions   rules, checked against gold answers before use
functions                                   a function of the user's own
judge, templating, constitution             a policy that is asked, how, and by which principles
pairs                                       the seam to judges of two replies
likelihood                                  how likely a policy finds a reply
combine                                     several feedbacks as one
rating                                      rows that a feedback has rated, with its name
"""

from concord.feedback.answers import Choice, Numeric, read_letter, read_number
from concord.feedback.combine import Ensemble, Lexicographic, Weighted, Worst
from concord.feedback.constitution import Constitution, Drawn, Principle, read_constitution
from concord.feedback.functions import Function
from concord.feedback.instructions import Instructions
from concord.feedback.judge import BothOrders, Judge, OrderedJudge
from concord.feedback.likelihood import Likelihood
from concord.feedback.pairs import ByScore, Pair, PairJudge, Verdict
from concord.feedback.rating import rated_rows
from concord.feedback.schemas import Schema, read_json
from concord.feedback.templating import Template, read_template
from concord.feedback.verifiers import Exact, Length, Regex, Tagged, Verifier, check, normalised

__all__ = [
    "BothOrders",
    "ByScore",
    "Choice",
    "Constitution",
    "Drawn",
    "Ensemble",
    "Exact",
    "Function",
    "Instructions",
    "Judge",
    "Length",
    "Lexicographic",
    "Likelihood",
    "Numeric",
    "OrderedJudge",
    "Pair",
    "PairJudge",
    "Principle",
    "Regex",
    "Schema",
    "Tagged",
    "Template",
    "Verdict",
    "Verifier",
    "Weighted",
    "Worst",
    "check",
    "normalised",
    "rated_rows",
    "read_constitution",
    "read_json",
    "read_letter",
    "read_number",
    "read_template",
]
