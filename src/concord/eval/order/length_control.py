"""Length-controlled win rate, the minimal variant: what the win rate would be if both replies were as long.

Judges favour length. A logistic regression takes that apart (Dubois et al. 2024, arXiv 2404.04475):

    logit P(our reply is preferred) = theta + phi tanh(d / sd(d)) + psi difficulty

with d the length of our reply less that of the baseline's, in characters. The length-controlled win rate is
the mean over prompts of that probability with d = 0. The published leaderboard adds rows of a baseline told
to be brief or wordy, difficulties of its own prompts, and a penalty chosen by cross-validation; without these
a number is not comparable with it, and is called minimal here.

    length_control_results    preferences and lengths in, results out
    fit_length                the fit itself; `LengthFit.against` predicts one model against another
    gap_warning               whether so large a correction is to be believed
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from concord.errors import InputError, Said, explain
from concord.eval.reckoning import SHARE, Labels, complete_result, mean_result
from concord.types import Challenge, Result

__all__ = ["LengthFit", "fit_length", "gap_warning", "length_control_results"]

_Floats = NDArray[np.float64]

_PENALTY = 1e-6  # of squared parameters beside the mean log-loss: keeps them finite, moves them by less
_STEPS, _SMALL = 100, 1e-10  # of Newton's method, and a step that ends it
_FARTHEST = 2.0  # of one step, since far from its optimum the log-loss is no parabola
_HUGE = 8.0  # log-odds that only verdicts without exception can have


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthFit:
    """What verdicts follow from: `theta` for whose reply it is, `phi` for length, `psi` for difficulty."""

    theta: float
    phi: float
    psi: float = 0.0

    @property
    def separated(self) -> bool:
        """Whether verdicts follow from length, or from whose reply it is, without an exception.

        The parameters are then as large as the penalty lets them be, and say no more than that.
        """
        return max(abs(self.theta), abs(self.phi)) > _HUGE

    def win_rate(self, difficulty: Sequence[float] = (0.0,)) -> float:
        """The mean probability that ours is preferred where both replies are as long."""
        return _mean_probability(self.theta, self.psi, difficulty)

    def against(self, other: "LengthFit", difficulty: Sequence[float] = (0.0,)) -> float:
        """The predicted win rate against another model that was held against the same baseline."""
        return _mean_probability(self.theta - other.theta, self.psi - other.psi, difficulty)


def fit_length(
    preferences: Sequence[float], longer: Sequence[float], *, difficulty: Sequence[float] | None = None
) -> LengthFit:
    """Fit the logistic regression by Newton's method; preferences from 0 to 1 are soft labels.

    longer: how many characters our reply is longer than the baseline's, for each pair
    difficulty: of each prompt, in any unit; where it is left out, so is its term
    """
    _check(preferences, longer, difficulty)
    if not preferences:
        raise InputError(
            explain("there is nothing to fit", found=0, accepted="one pair or more", do="judge some pairs")
        )
    return _named(_fit(_columns(longer, difficulty), np.asarray(preferences, dtype=np.float64)))


def length_control_results(
    preferences: Sequence[float | None],
    lengths: Sequence[tuple[float, float] | None],
    *,
    difficulty: Sequence[float] | None = None,
    clusters: Sequence[Labels] = (),
    seed: int = 0,
) -> list[Result]:
    """The length-controlled win rate (minimal), and how much longer our replies are.

    preferences: for our reply, 0 to 1, as `win_rate_results` averages them; None where there is no verdict
    lengths: characters of our reply and of the baseline's; None where there is no pair
    """
    longer = [None if pair is None else pair[0] - pair[1] for pair in lengths]
    return [
        _controlled(preferences, longer, difficulty=difficulty, clusters=clusters, seed=seed),
        mean_result(
            "length_difference",
            longer,
            clusters=clusters,
            seed=seed,
            unit="pairs",
            how="mean of how many characters our reply is longer than the baseline's",
            challenge=Challenge.GAMING,
        ),
    ]


def _controlled(
    preferences: Sequence[float | None],
    longer: Sequence[float | None],
    *,
    difficulty: Sequence[float] | None,
    clusters: Sequence[Labels],
    seed: int,
) -> Result:
    _check(preferences, longer, difficulty)
    hard = [0.0] * len(preferences) if difficulty is None else difficulty
    triples = zip(preferences, longer, hard, strict=True)
    known = [(one, more, harder) for one, more, harder in triples if one is not None and more is not None]
    columns = _columns([more for _, more, _ in known], [harder for _, _, harder in known])
    whole = _fit(columns, np.asarray([one for one, _, _ in known])) if known else np.zeros(3)
    # Each pair with its columns and its verdict, as what is drawn again.
    pairs = iter(np.column_stack((columns, [one for one, _, _ in known])) if known else ())
    rows = [
        None if one is None or more is None else next(pairs)
        for one, more in zip(preferences, longer, strict=True)
    ]

    def controlled(drawn: Sequence[_Floats]) -> float:
        table = np.asarray(drawn)
        fitted = _fit(table[:, :3], table[:, 3], start=whole)
        return _mean_probability(float(fitted[0]), float(fitted[2]), table[:, 2])

    fit = _named(whole)
    how = (
        "LC (minimal): mean probability of a win at equal lengths, by a logistic fit of verdicts on tanh of"
        f" the difference in characters, which weighs {fit.phi:.3g}; not comparable with the leaderboard's"
    )
    if fit.separated:
        how += "; verdicts follow without exception from length or from whose reply it is, so that the two"
        how += " cannot be told apart for certain"
    found = complete_result(
        "length_controlled_win_rate",
        rows,
        controlled,
        why_none="no pair has a verdict and both lengths; look at why the judge gives none",
        scale=SHARE,
        clusters=clusters,
        seed=seed,
        unit="pairs",
        how=how,
        challenge=Challenge.EFFICACY,
        higher_is_better=True,
    )
    raw = sum(one for one, _, _ in known) / max(len(known), 1)
    warning = "" if found.value is None else gap_warning(raw, found.value)
    return replace(found, how=f"{found.how}; {warning}") if warning else found


def gap_warning(raw: float, controlled: float) -> str:
    """What is wrong with a correction that large, in words; empty where nothing is (arXiv 2404.04475).

    The published rule, on win rates of 0 to 1: more than a tenth, and more than a quarter of what is left on
    that side.
    """
    low, high = min(raw - raw / 4, raw - 0.1), max(raw + (1 - raw) / 4, raw + 0.1)
    if low <= controlled <= high:
        return ""
    return (
        f"length control moves the win rate from {100 * raw:.1f}% to {100 * controlled:.1f}%, more than"
        " length usually explains: look at the lengths, and whether verdicts follow from them alone"
    )


# --- the fit ----------------------------------------------------------------------------------------------


def _fit(columns: _Floats, preferences: _Floats, *, start: _Floats | None = None) -> _Floats:
    """The parameters that make the mean log-loss, and a trace of their squares, least."""
    parameters = np.zeros(columns.shape[1]) if start is None else start
    for _ in range(_STEPS):
        step = _newton_step(columns, preferences, parameters)
        longest = float(np.abs(step).max())
        parameters = np.add(parameters, step * min(1.0, _FARTHEST / max(longest, _SMALL)))
        if longest < _SMALL:
            break
    return parameters


def _newton_step(columns: _Floats, preferences: _Floats, parameters: _Floats) -> _Floats:
    n, width = columns.shape
    fitted = _sigmoid(columns @ parameters)
    slope: _Floats = columns.T @ (preferences - fitted) / n - _PENALTY * parameters
    bend: _Floats = (columns.T * (fitted * (1 - fitted))) @ columns / n + _PENALTY * np.eye(width)
    return np.asarray(np.linalg.solve(bend, slope), dtype=np.float64)


def _columns(longer: Sequence[float], difficulty: Sequence[float] | None) -> _Floats:
    """A constant, the length term (0 where no length differs), the difficulty (0 where it is left out)."""
    apart = np.asarray(longer, dtype=np.float64)
    differ = len(apart) > 0 and float(np.ptp(apart)) > 0
    term = np.tanh(apart / np.std(apart, ddof=1)) if differ else np.zeros_like(apart)
    hard = np.zeros_like(apart) if difficulty is None else np.asarray(difficulty, dtype=np.float64)
    return np.column_stack((np.ones_like(apart), term, hard))


def _named(parameters: _Floats) -> LengthFit:
    theta, phi, psi = map(float, parameters)
    return LengthFit(theta=theta, phi=phi, psi=psi)


def _sigmoid(logits: _Floats) -> _Floats:
    return 0.5 * (1 + np.tanh(0.5 * logits))


def _mean_probability(theta: float, psi: float, difficulty: Sequence[float] | _Floats) -> float:
    return float(_sigmoid(theta + psi * np.asarray(difficulty, dtype=np.float64)).mean())


def _check(
    preferences: Sequence[float | None],
    longer: Sequence[float | None],
    difficulty: Sequence[float] | None,
) -> None:
    counts = {len(preferences), len(longer), *([] if difficulty is None else [len(difficulty)])}
    if len(counts) > 1:
        wrong, accepted = "verdicts, lengths and difficulties differ in number", "one of each for each pair"
        do = "give None where a pair lacks a verdict or a length"
        raise InputError(explain(wrong, found=Said(f"{sorted(counts)}"), accepted=accepted, do=do))
    for one in preferences:
        if one is not None and not 0 <= one <= 1:
            wrong, accepted = "a preference is a probability", "0 to 1, or None where there is no verdict"
            do = "give the probability that ours is the better reply"
            raise InputError(explain(wrong, found=one, accepted=accepted, do=do))
    finite = [value for values in (longer, difficulty or ()) for value in values if value is not None]
    if not np.isfinite(np.asarray(finite, dtype=np.float64)).all():
        wrong, do = "a length or a difficulty is not finite", "give None for a reply that did not come"
        odd = next(value for value in finite if not np.isfinite(value))
        raise InputError(explain(wrong, found=odd, accepted="finite numbers", do=do))
