"""The loop over given rows: what a step learns from, its gradient, and the optimizer that moves by it.

    fit(Loop(policy, [Term(task, rows)], optimizer, how, steps=100), hooks=[...])

`Rows` says which rows a step has, `Plan` how it is split over micro-batches and ranks, `Task` what an
objective makes of them, and `gradient` is that of one step, however it was split. The loop knows nothing of
recipes, files or runs: whatever else is to happen on the way hangs on it as a `Hook`.
"""

from concord.train.loop.batch import Batch
from concord.train.loop.fit import (
    Hook,
    Loop,
    Quiet,
    Remembering,
    Saved,
    Stepped,
    Term,
    bare,
    fit,
    is_memory,
    metrics_of,
)
from concord.train.loop.inputs import COMPANIONS, UNTRAINED
from concord.train.loop.optimizers import Optimizing, adamw, optimizer_tensors, rate, restore_optimizer
from concord.train.loop.plan import Plan, plan_rows, plan_step
from concord.train.loop.records import owners, shape_of
from concord.train.loop.source import Extent, Rows, Source, costs, plan_of, row_cost
from concord.train.loop.step import Counted, Done, Policy, evaluate, gradient
from concord.train.loop.task import RefOf, Task, TeacherOf

__all__ = [
    "COMPANIONS",
    "UNTRAINED",
    "Batch",
    "Counted",
    "Done",
    "Extent",
    "Hook",
    "Loop",
    "Optimizing",
    "Plan",
    "Policy",
    "Quiet",
    "RefOf",
    "Remembering",
    "Rows",
    "Saved",
    "Source",
    "Stepped",
    "Task",
    "TeacherOf",
    "Term",
    "adamw",
    "bare",
    "costs",
    "evaluate",
    "fit",
    "gradient",
    "is_memory",
    "metrics_of",
    "optimizer_tensors",
    "owners",
    "plan_of",
    "plan_rows",
    "plan_step",
    "rate",
    "restore_optimizer",
    "row_cost",
    "shape_of",
]
