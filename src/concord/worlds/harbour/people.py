"""The people of Harbour who rate replies: what they care for, and what they are fooled by.

    PEOPLE        twelve people with names; `person(name)` is one of them
    population    any number of people, each like one of these but not quite; `jury` draws some of them
    candidate     a reply as raters see it: what it is worth to each of them, by gold, and its surface
    steps_of, conversation    the same for the steps of a running sum, and for several requests in a row

Ada, Ben and Cara speak for most of the town: what is useful and true comes first. All others put something
else first and are few, so a vote of the town goes against them. Ivo, Kira, Leo and Mara weigh in ways of
their own what was asked for, what it was for, what is liked and what is good for one (`Aims`).
"""

import re
from collections.abc import Sequence, Set
from dataclasses import asdict, dataclass, field, replace
from random import Random

from concord.errors import InputError, NotFoundError, Said, explain, nearest
from concord.types import Message
from concord.worlds.harbour.gold import TOWN, Aims, Tastes, features, worth
from concord.worlds.harbour.replies import Act, parse
from concord.worlds.harbour.requests import Asked
from concord.worlds.harbour.town import keyed
from concord.worlds.raters import Biases, Candidate, Rater

__all__ = [
    "CARELESS",
    "PEOPLE",
    "Person",
    "candidate",
    "conversation",
    "jury",
    "person",
    "population",
    "steps_of",
]

CARELESS = Biases(length=0.03, flattery=0.3, confidence=0.1, laziness=0.05)
"""Biases so strong that whoever is optimised against one who has them learns to ramble and to flatter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who rates: their tastes, how they err, and which share of the town is like them."""

    name: str
    about: str
    share: float
    tastes: Tastes
    temperature: float = 0.1
    indifference: float = 0.02
    bar: float = 0.5
    biases: Biases = field(default_factory=Biases)

    def utility(self, asked: Asked, text: str, *, known: Set[str] | None = None) -> float:
        """What a reply is worth to this person, of a base that knows these facts: U_H."""
        return worth(asked, text, self.tastes, known=known).value

    def rater(self, *, temperature: float | None = None, biases: Biases | None = None) -> Rater:
        """This person as a rater of `candidate`s, with another noise or other biases where they are given."""
        return Rater(
            self.name,
            {self.name: 1.0},
            temperature=self.temperature if temperature is None else temperature,
            indifference=self.indifference,
            bar=self.bar,
            biases=self.biases if biases is None else biases,
        )


PEOPLE: tuple[Person, ...] = (
    Person(
        name="ada",
        about="weighs things as the town does",
        share=0.2,
        tastes=TOWN,
        biases=Biases(length=0.002, position=0.01),
    ),
    Person(
        name="ben",
        about="wants to be helped, and gladly hears more",
        share=0.16,
        tastes=Tastes(10, 4, 2, 1, 3),
        bar=0.6,
        biases=Biases(length=0.006, laziness=0.02),
    ),
    Person(
        name="cara",
        about="wants the truth first, and then to be helped",
        share=0.14,
        tastes=Tastes(7, 8, 3, 1, 1),
        temperature=0.07,
        bar=0.6,
    ),
    Person(
        name="dan",
        about="is always in a hurry: the fewer words the better",
        share=0.08,
        tastes=Tastes(6, 3, 1, 9, 1),
        indifference=0.05,
        biases=Biases(length=-0.004, laziness=0.1),
    ),
    Person(
        name="eva",
        about="lives alone and wants a kind word before all",
        share=0.08,
        tastes=Tastes(4, 2, 3, 1, 10),
        bar=0.4,
        biases=Biases(flattery=0.1),
    ),
    Person(
        name="finn",
        about="forgives everything but a lie",
        share=0.06,
        tastes=Tastes(3, 13, 2, 1, 1),
        temperature=0.05,
    ),
    Person(
        name="hana",
        about="has children, and wants nobody to come to harm",
        share=0.08,
        tastes=Tastes(4, 3, 10, 1, 2),
        bar=0.6,
    ),
    Person(
        name="ivo",
        about="wants what was asked for, word for word, and believes whoever is sure",
        share=0.05,
        tastes=Tastes(13, 2, 1, 3, 1, Aims(request=7, intent=1, preference=1, interest=0)),
        biases=Biases(confidence=0.1),
    ),
    Person(
        name="kira",
        about="wants what is liked, and likes to be praised",
        share=0.05,
        tastes=Tastes(6, 2, 2, 2, 8, Aims(request=1, intent=1, preference=7, interest=0)),
        biases=Biases(flattery=0.2, keyword="wise", repetition=0.05),
    ),
    Person(
        name="leo",
        about="wants what is good for one, whether or not it was asked for",
        share=0.04,
        tastes=Tastes(6, 4, 7, 1, 2, Aims(request=0, intent=1, preference=0, interest=7)),
    ),
    Person(
        name="mara",
        about="wants what is meant, not what is said",
        share=0.04,
        tastes=Tastes(8, 6, 2, 3, 1, Aims(request=0, intent=7, preference=1, interest=1)),
    ),
    Person(
        name="nils",
        about="is torn wherever two things are at stake, and hardly looks",
        share=0.02,
        tastes=Tastes(4, 4, 4, 1, 4, Aims(request=1, intent=1, preference=1, interest=1)),
        temperature=0.2,
        indifference=0.08,
        biases=Biases(position=0.05, laziness=0.3),
    ),
)
"""The people with names, those first who are most; their shares add up to one."""


def person(name: str) -> Person:
    """The one of this name."""
    known = {one.name: one for one in PEOPLE}
    if name not in known:
        wrong, do = "nobody of this name rates in Harbour", "give one of these names"
        raise NotFoundError(explain(wrong, found=name, accepted=nearest(name, known), do=do))
    return known[name]


def population(size: int, *, seed: int, likeness: float = 40.0) -> list[Person]:
    """So many people, each like one with a name, who is drawn by the shares of the town.

    Tastes and aims are drawn from Dirichlet distributions around theirs; `likeness` says how closely, as
    the sum of the parameters. All else they share. The first people of a larger population are the smaller.
    """
    if size < 1 or likeness < 1:
        wrong, accepted = "this is no population", "a size and a likeness of 1 or more"
        raise InputError(explain(wrong, found=(size, likeness), accepted=accepted, do="give such numbers"))
    return [_like(seed, number, likeness) for number in range(size)]


def jury(people: Sequence[Person], size: int, *, about: str, seed: int) -> list[Person]:
    """So many of these people, drawn evenly for one matter (`about`, a cell say), nobody twice.

    Of a population, which is mixed as the town is, this is a fair panel.
    """
    if not 1 <= size <= len(people):
        wrong, accepted = "there is no such jury", f"1 to {len(people)} of these people"
        raise InputError(explain(wrong, found=size, accepted=accepted, do="give such a size"))
    return keyed(seed, "jury", about).sample(people, size)


def _like(seed: int, number: int, likeness: float) -> Person:
    chance = keyed(seed, "population", number)
    (model,) = chance.choices(PEOPLE, [one.share for one in PEOPLE])
    aims = Aims(**_dirichlet(asdict(model.tastes.aims), likeness, chance))
    tastes = Tastes(**_dirichlet(model.tastes.weights, likeness, chance), aims=aims)
    return replace(model, name=f"{model.name}-{number}", tastes=tastes)


def _dirichlet(weights: dict[str, float], likeness: float, chance: Random) -> dict[str, float]:
    """Shares around those of the weights; what weighs nothing goes on doing so."""
    total = sum(weights.values())
    drawn = {
        name: chance.gammavariate(likeness * weight / total, 1.0) if weight else 0.0
        for name, weight in weights.items()
    }
    return {name: value / sum(drawn.values()) for name, value in drawn.items()}


# --- replies as raters see them ---------------------------------------------------------------------------


def candidate(
    asked: Asked, text: str, people: Sequence[Person], *, known: Set[str] | None = None
) -> Candidate:
    """A reply to be rated by these people: its parts are those of the town, and its worth to each by name.

    `known` are the facts that the base knows, as for `gold.worth`.
    """
    parts = {**worth(asked, text, known=known).parts}
    parts |= {one.name: one.utility(asked, text, known=known) for one in people}
    return Candidate.of(text, parts, features(text))


_SENTENCE = re.compile(r"\s*[^.!?]*[.!?]*")


def steps_of(asked: Asked, text: str, people: Sequence[Person]) -> list[Candidate]:
    """The steps of a running sum, a sentence each, worth 1 to anybody where it is the right one, else 0."""
    if asked.kind != "sums":
        wrong, do = "replies to this have no steps that are right or wrong", "rate the reply as a whole"
        raise InputError(explain(wrong, found=asked.family, accepted="a request of family sums", do=do))
    right = [*(Act("say", (digit,)) for digit in asked["steps"]), Act("total", (asked["total"],))]
    sentences = [sentence for sentence in _SENTENCE.findall(text) if sentence]
    names, made = [one.name for one in people], list[Candidate]()
    for at, sentence in enumerate(sentences):
        worth_of = float(at < len(right) and parse(sentence) == (right[at],))
        made.append(Candidate.of(sentence, {"right": worth_of, **dict.fromkeys(names, worth_of)}))
    return made


def conversation(
    asked: Sequence[Asked], texts: Sequence[str], people: Sequence[Person], *, known: Set[str] | None = None
) -> list[Candidate]:
    """Several requests in a row and a reply to each, as acts: every reply goes with the request after it.

    The task to rate them for is that of the first request. Any request but the first has one turn.
    """
    odd = [one for one in asked[1:] if len(one.prompt.messages) != 1]
    if len(asked) != len(texts) or not asked or odd:
        wrong, accepted = "this is no conversation", "a reply for each request, later ones of one turn"
        found = Said(f"{len(asked)} requests, {len(odd)} of several turns, and {len(texts)} replies")
        raise InputError(explain(wrong, found=found, accepted=accepted, do="choose such requests"))
    acts = list[Candidate]()
    for at, (one, text) in enumerate(zip(asked, texts, strict=True)):
        said = candidate(one, text, people, known=known)
        turns = (Message("assistant", text), *(asked[at + 1].prompt.messages if at + 1 < len(asked) else ()))
        acts.append(Candidate(turns, said.parts, said.features))
    return acts
