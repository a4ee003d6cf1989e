"""RC2, generalisation: does what was learned hold for new wordings and people, longer lists, later years?

    generalised(drawn)    gaps to each kind of novelty, what of the gain over the base is kept, consistency

Each kind of novelty is compared with test requests of the same families, for families differ in how hard they
are; requests that are new in two ways are not asked.
"""

from dataclasses import replace

from concord.eval.card.common import NO_BASE, missing, placed
from concord.eval.card.harbour.drawing import KINDS, Drawn, Kind, Valued
from concord.eval.costs.generalisation import consistency_results, gap_results, robustness_results
from concord.eval.reckoning import SHARE
from concord.types import Challenge, Result

__all__ = ["generalised"]

_ABOUT: dict[Kind, str] = {
    "wording": "wordings that come up in no training data",
    "people": "people and ships that nobody ever spoke of",
    "length": "lists longer than any in training data",
    "years": "customs of years that were never told",
    "adversarial": "requests made to lead astray",
}


def generalised(drawn: Drawn) -> list[Result]:
    """All of the section."""
    return [*_gaps(drawn), *_kept(drawn), *_consistency(drawn)]


def _both(drawn: Drawn, kind: Kind) -> dict[str, list[int]]:
    """The places of a kind, and the test places of the same families."""
    outside = drawn.at(kind)
    families = {drawn.places[number].asked.family for number in outside}
    return {"test": drawn.at("test", families=families), kind: outside}


def _gaps(drawn: Drawn) -> list[Result]:
    """The level at each kind of novelty, and how far below the test split it is, family by family."""
    found: list[Result] = []
    for kind in KINDS[1:]:
        numbers = _both(drawn, kind)
        results = gap_results(
            {split: drawn.values(places) for split, places in numbers.items()},
            inside="test",
            metric="gold_utility",
            scale=SHARE,
            clusters={split: drawn.templates(places) for split, places in numbers.items()},
            seed=drawn.seed,
        )
        found += [
            replace(one, how=f"{one.how}; {_ABOUT[kind]}, beside test requests of the same families")
            for one in results
            if one.at.get("split") == kind and one.name != "worst_split"
        ]
    return found


def _kept(drawn: Drawn) -> list[Result]:
    """What was gained over the base, where it was learned and where it was not."""
    if drawn.base is None:
        how = "what alignment gained on requests of a kind, relative to the test split"
        return [
            missing(
                "relative_robustness",
                Challenge.GENERALISATION,
                NO_BASE,
                unit="items",
                how=how,
                higher=True,
                at={"split": kind},
            )
            for kind in KINDS[1:]
        ]
    found: list[Result] = []
    for kind in KINDS[1:]:
        numbers = _both(drawn, kind)
        results = robustness_results(
            {split: drawn.values(places) for split, places in numbers.items()},
            {split: drawn.values_before(places) for split, places in numbers.items()},
            inside="test",
            clusters={split: drawn.templates(places) for split, places in numbers.items()},
            seed=drawn.seed,
        )
        found += [one for one in results if one.at.get("split") == kind]
    return found


def _consistency(drawn: Drawn) -> list[Result]:
    """Whether the decision stays the same in other words, and from draw to draw."""
    rows = [[_decided(said) for _, said in asked] for asked in drawn.probes.values()]
    names = [[name.partition(" ")[0] for name in drawn.probes]]
    found = placed(
        consistency_results(rows, clusters=names, seed=drawn.seed),
        Challenge.GENERALISATION,
        at={"over": "wordings of a question"},
    )
    drawn_rows = [[_decided(said) for said in row] for row in drawn.draws.values()]
    among = consistency_results(drawn_rows, clusters=drawn.templates([*drawn.draws]), seed=drawn.seed)
    return [
        *found,
        *placed(
            among, Challenge.GENERALISATION, only=["decision_agreement"], at={"over": "draws to a request"}
        ),
    ]


def _decided(said: Valued) -> str | None:
    """What a reply decides: right, refused, not known; what is wrong decides what it says."""
    return said.text if said.stance in ("wrong", "none", "unreadable") else said.stance
