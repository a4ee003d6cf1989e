"""The logic of preference losses: what a loss says of the replies that a model should accept.

    LOSSES["dpo"].rule                  "W RL follows from L RW", as formulas
    structure_of(n, d, names=...)       the same of any loss -log sigma(log N / D), from its two polynomials

N and D are polynomials in the probabilities that the policy gives to the winner (W) and to the loser (L), and
the reference (RW, RL). Each is read as the probability of a proposition "the model accepts this reply",
independent of the others. Where N and D are weighted counts of the worlds in which a formula holds, the
loss asks that F_D implies F_N, counted over the worlds in which one of them holds. Margins, normalisation by
length and the convex function around the ratio stand outside of the formulas.

Source: Richardson et al. 2024, "Understanding the Logic of Direct Preference Alignment through Logic" (arXiv
2412.17696). The way back from polynomials to formulas is ours: a multilinear polynomial that is 0 or 1 at all
vertices counts exactly the worlds where it is 1, since no other has these vertices.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import fsum, inf, log, prod
from typing import TypeAlias

from concord.errors import InputError, Said, explain

__all__ = [
    "LOSSES",
    "Formula",
    "Polynomial",
    "Structure",
    "World",
    "formula_of",
    "minimal",
    "model_count",
    "structure_of",
]

World: TypeAlias = tuple[bool, ...]
"""Which propositions hold, in the order of their names."""
Formula: TypeAlias = frozenset[World]
"""The worlds in which a formula holds."""
Polynomial: TypeAlias = Callable[[Mapping[str, float]], float]
"""Of probabilities by their names, made of sums and products."""

_GRID = 4  # points a side: polynomials of lower degree in each variable are told apart


# --- from polynomials to formulas -------------------------------------------------------------------------


def formula_of(polynomial: Polynomial, names: Sequence[str]) -> Formula:
    """The formula whose weighted count of worlds a polynomial is; an error says why, where there is none."""
    value = {world: _at(polynomial, names, world) for world in product((False, True), repeat=len(names))}
    for point in product(range(_GRID), repeat=len(names)):
        if _at(polynomial, names, point) != sum(v * _weight(world, point) for world, v in value.items()):
            found = Said(f"another value than its vertices give it at {_said(names, point)}")
            wrong, accepted = "a polynomial is not multilinear", "no power of a probability above 1"
            do = "leave it out: it would need the same proposition twice"
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    if odd := [(world, one) for world, one in value.items() if one not in (0, 1)]:
        found, do = Said(f"{odd[0][1]} at {_said(names, odd[0][0])}"), "divide N and D by what they share"
        wrong, accepted = "a polynomial counts no worlds", "0 or 1 where each probability is 0 or 1"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    return frozenset(world for world, one in value.items() if one == 1)


def model_count(formula: Formula, probability: Sequence[float]) -> float:
    """How probable a formula is: the sum over its worlds of the product over propositions."""
    return fsum(_weight(world, probability) for world in formula)


def _weight(world: World, probability: Sequence[float]) -> float:
    return prod(p if holds else 1 - p for holds, p in zip(world, probability, strict=True))


def _at(polynomial: Polynomial, names: Sequence[str], point: Sequence[int]) -> float:
    return polynomial(dict(zip(names, map(int, point), strict=True)))


def _said(names: Sequence[str], point: Sequence[int]) -> str:
    return ", ".join(f"{name} = {int(one)}" for name, one in zip(names, point, strict=True))


# --- what a loss says -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """What a loss asks for: that `denominator` implies `numerator`.

    Any two formulas make a loss, so this is also the way from a wish to its loss.
    """

    names: tuple[str, ...]
    numerator: Formula
    denominator: Formula

    @property
    def core(self) -> Formula:
        """P: the worlds in which F_D implies F_N."""
        return _worlds(self.names) - (self.denominator - self.numerator)

    @property
    def counted(self) -> Formula:
        """P_C: the worlds that count at all, those of F_N or F_D."""
        return self.numerator | self.denominator

    @property
    def twice(self) -> Formula:
        """P_A: the worlds that count on both sides."""
        return self.numerator & self.denominator

    @property
    def rule(self) -> str:
        """The rule in words."""
        return f"{minimal(self.numerator, self.names)} follows from {minimal(self.denominator, self.names)}"

    def log_ratio(self, probability: Mapping[str, float]) -> float:
        """rho = log N / D."""
        above, below = self._counts(probability)
        return log(above) - log(below) if above and below else inf if above else -inf

    def loss(self, probability: Mapping[str, float]) -> float:
        """-log sigma(rho) = -log N / (N + D)."""
        above, below = self._counts(probability)
        return log(above + below) - log(above) if above else inf

    def outweighs(self, other: "Structure") -> bool:
        """Whether this loss is at least the other whatever the probabilities: F_N entails the other F_N, and
        the other F_D entails F_D."""
        if self.names != other.names:
            wrong, do = "the two losses are not about the same propositions", "give both the same names"
            accepted = ", ".join(self.names)
            raise InputError(explain(wrong, found=Said(", ".join(other.names)), accepted=accepted, do=do))
        return self.numerator <= other.numerator and other.denominator <= self.denominator

    def _counts(self, probability: Mapping[str, float]) -> tuple[float, float]:
        if missing := [name for name in self.names if name not in probability]:
            wrong, do = "a proposition has no probability", "give one for each name"
            raise InputError(explain(wrong, found=missing[0], accepted=", ".join(self.names), do=do))
        given = [probability[name] for name in self.names]
        return model_count(self.numerator, given), model_count(self.denominator, given)


def structure_of(numerator: Polynomial, denominator: Polynomial, *, names: Sequence[str]) -> Structure:
    """What the loss -log sigma(log N / D) asks for."""
    above, below = formula_of(numerator, names), formula_of(denominator, names)
    return Structure(names=tuple(names), numerator=above, denominator=below)


def _worlds(names: Sequence[str]) -> Formula:
    return frozenset(product((False, True), repeat=len(names)))


# --- formulas as text -------------------------------------------------------------------------------------


def minimal(formula: Formula, names: Sequence[str]) -> str:
    """A shortest disjunction of conjunctions for a formula: "W not-L or RW".

    Of all conjunctions that hold in no world beside, the largest are kept (Quine and McCluskey), and of these
    the fewest that cover every world.
    """
    if not formula:
        return "never"
    terms = [
        term
        for term in product((None, True, False), repeat=len(names))
        if (covered := _covered(term)) and covered <= formula
    ]
    largest = [term for term in terms if not any(_covered(term) < _covered(other) for other in terms)]
    for count in range(1, len(largest) + 1):
        for chosen in combinations(largest, count):
            if frozenset().union(*map(_covered, chosen)) == formula:
                return " or ".join(_spelled(term, names) for term in chosen)
    raise AssertionError("the largest conjunctions of a formula cover it")


def _covered(term: Sequence[bool | None]) -> Formula:
    """The worlds in which a conjunction holds; None is a proposition that it does not speak of."""
    return frozenset(product(*((False, True) if one is None else (one,) for one in term)))


def _spelled(term: Sequence[bool | None], names: Sequence[str]) -> str:
    parts = [name if one else f"not-{name}" for name, one in zip(names, term, strict=True) if one is not None]
    return " ".join(parts) or "always"


_PAIR, _REFERENCED = ("W", "L"), ("W", "L", "RW", "RL")
LOSSES: Mapping[str, Structure] = {
    "cross_entropy": structure_of(lambda p: p["W"], lambda p: 1 - p["W"], names=_PAIR),
    "unlikelihood": structure_of(
        lambda p: p["W"] * (1 - p["L"]), lambda p: 1 - p["W"] * (1 - p["L"]), names=_PAIR
    ),
    "cpo": structure_of(lambda p: p["W"], lambda p: p["L"], names=_PAIR),
    "orpo": structure_of(lambda p: p["W"] * (1 - p["L"]), lambda p: p["L"] * (1 - p["W"]), names=_PAIR),
    "implication": structure_of(
        lambda p: 1 - p["L"] * (1 - p["W"]), lambda p: p["L"] * (1 - p["W"]), names=_PAIR
    ),
    "dpo": structure_of(lambda p: p["W"] * p["RL"], lambda p: p["L"] * p["RW"], names=_REFERENCED),
}
"""What known losses ask for; `unlikelihood` is cross-entropy with it. CPO and DPO are without margins."""
