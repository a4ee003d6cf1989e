"""Training: one loop for every objective over given rows, resumable to the bit.

fit         the loop: `Loop` of a `Policy`, `Term`s (a `Task` and where its rows come from) and an optimizer
gradient    one step's gradient, the same for every split over micro-batches and ranks
train       a recipe, carried out

`rows` leads from files to what a step reads, `loop` takes the steps, `models` has what is trained and what it
is compared with; `following` watches and keeps a run, `forecasting` says before what it will take, and
`leaving` writes what it leaves for others.
"""

from concord.train.following import restore, saved
from concord.train.loop import (
    Batch,
    Done,
    Hook,
    Loop,
    Optimizing,
    Plan,
    Policy,
    Rows,
    Source,
    Stepped,
    Task,
    Term,
    adamw,
    evaluate,
    fit,
    gradient,
    plan_step,
    rate,
)
from concord.train.ranks import Ranks
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
