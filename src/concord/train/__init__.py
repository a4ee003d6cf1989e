"""Training: one loop for every objective over given rows, resumable to the bit.

fit         the loop: `Loop` of a `Policy`, `Term`s (a `Task` and where its rows come from) and an optimizer
gradient    one step's gradient, the same for every split over micro-batches and ranks
"""

from concord.train.batch import Batch
from concord.train.fit import Hook, Loop, Stepped, Term, fit
from concord.train.optimizers import Optimizing, adamw, rate
from concord.train.plan import Plan, plan_step
from concord.train.ranks import Ranks
from concord.train.saving import restore, saved
from concord.train.source import Rows, Source
from concord.train.step import Done, Policy, evaluate, gradient
from concord.train.task import Task
from concord.train.training import train

__all__ = [
    "Batch",
    "Done",
    "Hook",
    "Loop",
    "Optimizing",
    "Plan",
    "Policy",
    "Ranks",
    "Rows",
    "Source",
    "Stepped",
    "Task",
    "Term",
    "adamw",
    "evaluate",
    "fit",
    "gradient",
    "plan_step",
    "rate",
    "restore",
    "saved",
    "train",
]
