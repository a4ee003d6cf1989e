"""Building data: what makes a generated instruction new, edits from one text to another, hindsight.

The text form of edits stays in its module: `edits.serialise`, `edits.parse`.
"""

from concord.synth.edits import Edit, EditChain, apply_edits, edit_chain
from concord.synth.hindsight import BAD, GOOD, MARK, hindsight
from concord.synth.novelty import (
    NoveltyPool,
    RougeL,
    Similar,
    instruction_problems,
    is_novel,
    most_similar,
    rouge_l,
)

__all__ = [
    "BAD",
    "GOOD",
    "MARK",
    "Edit",
    "EditChain",
    "NoveltyPool",
    "RougeL",
    "Similar",
    "apply_edits",
    "edit_chain",
    "hindsight",
    "instruction_problems",
    "is_novel",
    "most_similar",
    "rouge_l",
]
