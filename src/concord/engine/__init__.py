"""The engine: exact and fast log-probabilities of any causal language model, or a refusal with the reason.

start         try a model out, and make the engine that is right for it: a `LogProbs`
Line          a sequence with the spans that are predicted; `engine.lay(lines)`, then `engine(layout=...)`
Reference     what a fixed model says of rows, kept in the store
Scores        a sequence classifier, as scores of marked tokens
ValueHead     a head beside the policy's own, on the same hidden states; so are `RewardHead` and `StepHead`
LocalPolicy   a model that answers asks; `load_policy` makes one of a folder
RewardModel   a model that scores replies, a `StepModel` each of their steps, a `Classifier` by a label;
              `load_reward` makes each of them
"""

from concord.engine.forest import Forest, plant
from concord.engine.heads import RewardHead, Scores, StepHead, ValueHead
from concord.engine.labels import Classifier, LabelSettings
from concord.engine.loading import adapted, load_model, load_policy
from concord.engine.local import LocalPolicy
from concord.engine.logprobs import LogProbs, TokenValues
from concord.engine.reference import Reference, check_initial
from concord.engine.rewards import RewardModel, RewardSettings, StepModel, StepSettings, load_reward
from concord.engine.rows import Rows, stack
from concord.engine.start import Started, start
from concord.engine.targets import Line, Targets

__all__ = [
    "Classifier",
    "Forest",
    "LabelSettings",
    "Line",
    "LocalPolicy",
    "LogProbs",
    "Reference",
    "RewardHead",
    "RewardModel",
    "RewardSettings",
    "Rows",
    "Scores",
    "Started",
    "StepHead",
    "StepModel",
    "StepSettings",
    "Targets",
    "TokenValues",
    "ValueHead",
    "adapted",
    "check_initial",
    "load_model",
    "load_policy",
    "load_reward",
    "plant",
    "stack",
    "start",
]
