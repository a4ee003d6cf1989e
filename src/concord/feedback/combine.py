"""Several feedbacks as one: by weight, by the worst, by rank, or as an ensemble that is careful when unsure.

    Weighted({"help": one, "harm": other}, weights={"harm": 2.0})          sum of weights times scores
    Worst({"help": one, "harm": other})                                    the least of the scores
    Lexicographic({"harm": other, "help": one}, tolerance={"harm": 0.1})   the first that tells replies apart
    Ensemble([one, other], cautious=1.0)                                   mean - cautious sd

Each keeps what it was made of in `Score.parts`. **One rule for missing parts**: a reply that one of the
feedbacks could not score is `Unscored`, with that one's name and reason. A sum without one of its terms is
another measure, and would favour the very replies that the missing feedback chokes on.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import fsum
from statistics import fmean, pstdev
from typing import Literal

from concord.errors import NOTHING, InputError, explain, nearest
from concord.messages import is_number
from concord.store import key
from concord.types import Feedback, Rate, Score, Unscored, Usage

__all__ = ["Combination", "Ensemble", "Lexicographic", "Weighted", "Worst"]

_Scores = Sequence[Score | Unscored]


class Combination(ABC):
    """A feedback that asks several, by name, and makes one score of theirs."""

    def __init__(self, feedbacks: Mapping[str, Feedback]) -> None:
        if not feedbacks:
            wrong, do = "there is nothing to combine", "name one feedback or more"
            raise InputError(explain(wrong, found=NOTHING, accepted="feedbacks by name", do=do))
        self.feedbacks = dict(feedbacks)

    @property
    def id(self) -> str:
        """The kind of combination, and the hash of its settings and of all ids."""
        # In order: it decides for some kinds, and a list tells it where a mapping would not.
        held = [[name, one.id] for name, one in self.feedbacks.items()]
        kind = type(self).__name__.lower()
        return f"{kind}-{key('combination', kind, held, self._settings())[:32]}"

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        """Ask every feedback once, for all, and combine reply by reply."""
        answers = [one.rate(rates) for one in self.feedbacks.values()]
        return [tuple(self._one_rate([*zip(*given, strict=True)])) for given in zip(*answers, strict=True)]

    def _one_rate(self, replies: Sequence[_Scores]) -> _Scores:
        """The scores of the replies of one rate, of each of which all feedbacks have said something."""
        values = [self._values(given) for given in replies]
        known = [one for one in values if isinstance(one, dict)]
        try:
            found = self._combined(known)
        except OverflowError:
            found = [Unscored("the scores are too large to be combined")] * len(known)
        left = iter(found)
        scores = [one if isinstance(one, Unscored) else next(left) for one in values]
        usages = [sum((one.usage for one in given), Usage()) for given in replies]
        return [replace(score, usage=usage) for score, usage in zip(scores, usages, strict=True)]

    def _values(self, given: _Scores) -> dict[str, float] | Unscored:
        """What each feedback says of a reply, or why one of them says nothing."""
        named = [*zip(self.feedbacks, given, strict=True)]
        missing = [f"{name}: {one.reason}" for name, one in named if isinstance(one, Unscored)]
        if missing:
            return Unscored("; ".join(missing))
        return {name: one.value for name, one in named if isinstance(one, Score)}

    @abstractmethod
    def _combined(self, values: Sequence[dict[str, float]]) -> _Scores:
        """One score for each reply of a rate that all feedbacks have scored."""

    def _settings(self) -> object:
        """What else the id depends on."""
        return None

    def _known(self, given: Mapping[str, float] | None, what: str, least: float | None) -> dict[str, float]:
        """Settings by name of a feedback, refused where they name another or are no numbers."""
        accepted = "a number" if least is None else f"a number of {least:g} or more"
        for name, value in (given or {}).items():
            if name not in self.feedbacks:
                wrong, do = f"a {what} is given for what is not combined", "name one of the feedbacks"
                raise InputError(explain(wrong, found=name, accepted=nearest(name, self.feedbacks), do=do))
            if not is_number(value) or (least is not None and value < least):
                wrong, do = f"the {what} of {name} cannot be used", "give a finite number"
                raise InputError(explain(wrong, found=value, accepted=accepted, do=do))
        return dict(given or {})


class Weighted(Combination):
    """The sum of weights times scores. A weight may be below 0, for what is a cost; 1 where none is given."""

    def __init__(
        self, feedbacks: Mapping[str, Feedback], *, weights: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(feedbacks)
        self.weights = dict.fromkeys(self.feedbacks, 1.0) | self._known(weights, "weight", None)

    def _settings(self) -> object:
        return {name: float(weight) for name, weight in self.weights.items()}

    def _combined(self, values: Sequence[dict[str, float]]) -> _Scores:
        return [
            Score(fsum(self.weights[name] * value for name, value in given.items()), parts=given)
            for given in values
        ]


class Worst(Combination):
    """The least of the scores, which have to be on one scale: no strength makes up for a weakness."""

    def _combined(self, values: Sequence[dict[str, float]]) -> _Scores:
        return [Score(min(given.values()), parts=given) for given in values]


class Lexicographic(Combination):
    """Rank by the first feedback; among those within its tolerance of the best, by the second; and so on.

    Best is, of the replies of a rate, what is left when each feedback in turn has kept those within its
    tolerance of its best; then comes the best of the rest. The score is the share of the other replies that
    are ranked behind, those beside counting one half: it orders the replies of one rate, and means nothing
    beyond. A reply alone, with nothing to be ranked against, is `Unscored`.
    """

    def __init__(
        self, feedbacks: Mapping[str, Feedback], *, tolerance: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(feedbacks)
        self.tolerance = dict.fromkeys(self.feedbacks, 0.0) | self._known(tolerance, "tolerance", 0)

    def _settings(self) -> object:
        return {name: float(slack) for name, slack in self.tolerance.items()}

    def _combined(self, values: Sequence[dict[str, float]]) -> _Scores:
        if len(values) == 1:
            return [Unscored("there is no other reply to rank this one against")]
        ranked: dict[int, float] = {}
        left = [*range(len(values))]
        while left:
            best = left
            for name, slack in self.tolerance.items():
                top = max(values[at][name] for at in best)
                best = [at for at in best if values[at][name] >= top - slack]
            left = [at for at in left if at not in best]
            ranked |= dict.fromkeys(best, (len(left) + (len(best) - 1) / 2) / (len(values) - 1))
        return [Score(ranked[at], parts=given) for at, given in enumerate(values)]


class Ensemble(Combination):
    """What several feedbacks of one kind agree on: their mean, less for what they disagree by.

    value = mean - cautious sd, over the members (1/k)

    With `by="variance"` it is mean - cautious sd^2, the uncertainty-weighted objective of Coste et al. 2023
    (arXiv 2310.02743). Where members err apart, a reply that fools one of them makes them disagree.
    """

    def __init__(
        self,
        feedbacks: Sequence[Feedback],
        *,
        cautious: float = 1.0,
        by: Literal["sd", "variance"] = "sd",
    ) -> None:
        super().__init__({f"member {at + 1}": one for at, one in enumerate(feedbacks)})
        if not is_number(cautious) or cautious < 0:
            wrong, do = "an ensemble cannot be so cautious", "give 0 for the mean"
            raise InputError(explain(wrong, found=cautious, accepted="0 or above", do=do))
        if by not in ("sd", "variance"):
            wrong, accepted = "disagreement is not measured so", nearest(str(by), ("sd", "variance"))
            raise InputError(explain(wrong, found=by, accepted=accepted, do="take sd"))
        self.cautious, self.by = float(cautious), by

    def _settings(self) -> object:
        return [self.cautious, self.by]

    def _combined(self, values: Sequence[dict[str, float]]) -> _Scores:
        scores: list[Score] = []
        for given in values:
            mean, spread = fmean(given.values()), pstdev(given.values())
            less = self.cautious * (spread if self.by == "sd" else spread**2)
            scores.append(Score(mean - less, parts={**given, "mean": mean, "sd": spread}))
        return scores
