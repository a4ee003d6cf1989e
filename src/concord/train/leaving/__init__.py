"""What a run leaves for others: a folder that transformers loads, tried in a process of its own.

    surviving(...)                 in which precision weights are written without undoing the training
    exported = export(...)         weights, tokenizer, template, what generation stops at
    check_export(exported, ...)    loaded there, it says what the trained model says, or this is an error

A folder that is written is whole, or what stood there before is.
"""

from concord.train.leaving.export import export
from concord.train.leaving.rounding import Beginning, begun_from, surviving
from concord.train.leaving.trial import check_export

__all__ = [
    "Beginning",
    "begun_from",
    "check_export",
    "export",
    "surviving",
]
