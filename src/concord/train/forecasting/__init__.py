"""What a training will take, said before it starts: memory, tokens, time.

`rehearsal` runs a step on tensors that hold nothing, `memory` adds up what is held and finds what fits, and
`work` counts what will be computed. `planning` decides by them what is trained and in which micro-batches,
and times a few of these.
"""

from concord.train.forecasting.planning import Decision, Where, all_work, config_of, decided, layout_of, probe
from concord.train.forecasting.work import Seconds, Work, as_json

__all__ = [
    "Decision",
    "Seconds",
    "Where",
    "Work",
    "all_work",
    "as_json",
    "config_of",
    "decided",
    "layout_of",
    "probe",
]
