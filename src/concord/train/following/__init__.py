"""What goes along with a run: what it tells, what it keeps, and how it is gone on with.

Hooks record metrics, evaluate, sample and save; trackers and whoever watches are told. A loop that is `saved`
is tensors and facts, which `Checkpoints` keep on disk whole or not at all, and `restore` brings it back.
"""

from concord.train.following.checkpoint import Checkpoints
from concord.train.following.hooks import Evaluator, Recorder, Sampler, Saver, Tell
from concord.train.following.saving import restore, saved
from concord.train.following.trackers import check_tracker, open_trackers
from concord.train.following.watching import Nobody, Teller, Watch, interruptible

__all__ = [
    "Checkpoints",
    "Evaluator",
    "Nobody",
    "Recorder",
    "Sampler",
    "Saver",
    "Tell",
    "Teller",
    "Watch",
    "check_tracker",
    "interruptible",
    "open_trackers",
    "restore",
    "saved",
]
