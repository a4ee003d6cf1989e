"""The models of a run: the one that is trained, whole or by an adapter, and those it is compared with.

    load_trainee(path, recipe, ...)    what is trained, in the precision that the recipe asks for
    alike(path, recipe, trainee)       a model to compare it with, made as that one was
    Moving(engine, ...)                a reference that follows the policy

The values of a reference that stands still are computed before the first step: `references`.
"""

from concord.train.models.adapters import Lora, check_targets, merged
from concord.train.models.loading import (
    Precision,
    Sizes,
    Trainee,
    alike,
    load_trainee,
    lora_of,
    model_path,
    opened,
    precision_of,
    weighed,
)
from concord.train.models.moving import Moving

__all__ = [
    "Lora",
    "Moving",
    "Precision",
    "Sizes",
    "Trainee",
    "alike",
    "check_targets",
    "load_trainee",
    "lora_of",
    "merged",
    "model_path",
    "opened",
    "precision_of",
    "weighed",
]
