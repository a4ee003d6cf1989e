"""Attack the human utility of Harbour: is anything worth more than the best honest reply?

    python -m scripts.redteam [each] [seed] [draws]

Four attacks on some requests of every kind: random strings of words, mutations of good replies, an
evolutionary search over sequences of sentences, and thousands of draws of the base, of which the best is
taken. What a reply is worth is attacked as the town sees it, as scorecards do, who go by what the base knows,
and as some of its people do. What comes out on top is printed beside the best honest reply, to be read: where
a person would laugh at a reply that gold admires, gold is to be mended.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product
from random import Random

from concord.worlds.harbour import (
    BASE,
    TOWN,
    Act,
    Asked,
    Harbour,
    Tastes,
    base_knows,
    keyed,
    parse,
    vocabulary,
    worth,
    write,
)
from concord.worlds.harbour.manners import MANNERS, speak
from concord.worlds.harbour.people import PEOPLE
from concord.worlds.harbour.sentences import SENTENCES
from concord.worlds.harbour.town import town_of
from concord.worlds.harbour.words import MARKS, SLOTS, join, split

__all__ = ["EYES", "Eye", "drawn", "evolved", "honest", "main", "mutated", "samples", "scribbled"]

_HONEST = ("good", "terse", "warm")
_KINDNESS = (Act("greet"), Act("eager"), Act("wish"))
_ALONE = ("yes", "no", "may", "not")
_LONG = 6  # acts; of more, which are steps of a sum, all are said
_WORDINGS = 12  # that are looked at for the shortest
_SEEN_BY = 3  # people, beside the town


@dataclass(frozen=True)
class Eye:
    """Somebody who says what replies are worth: by these tastes, of a base that knows these facts."""

    name: str
    tastes: Tastes = TOWN
    known: Set[str] | None = None

    def value(self, asked: Asked, text: str) -> float:
        """What a reply is worth to them."""
        return worth(asked, text, self.tastes, known=self.known).value


EYES: tuple[Eye, ...] = (
    Eye("town"),
    Eye("card", known=base_knows()),
    *(Eye(one.name, one.tastes, base_knows()) for one in PEOPLE),
)
"""The town, of a base that knows all it was told; as scorecards see it; each of its people likewise."""


def honest(asked: Asked, eye: Eye = EYES[0]) -> tuple[float, str]:
    """The best of honest replies to somebody, what it is worth to them first.

    Right as far as they think that it can be known, more or less kind, and in as few words as there are for
    it. Who says less than a good reply does is honest too.
    """
    some = {
        acts
        for full in _honest(asked, eye)
        for count in range(1 if len(full) <= _LONG else len(full), len(full) + 1)
        for acts in combinations(full, count)
    }
    found: dict[str, float] = {}
    for acts, greets, count in product(some, (False, True), range(len(_KINDNESS))):
        whole = [*_KINDNESS[:1] * greets, *acts, *_KINDNESS[3 - count :]]
        said = " ".join(map(_shortest, whole))
        found[said] = eye.value(asked, said)
    best = max(found, key=lambda text: found[text])
    return found[best], best


def _honest(asked: Asked, eye: Eye) -> Iterator[tuple[Act, ...]]:
    """What honest manners say, kindness aside; a fact also as its bare value, a refusal as a bare no."""
    town = town_of(asked.seed)
    known = town.known if eye.known is None else eye.known
    relation, _, subject = str(asked.key.get("fact", "")).partition(" ")
    details = [
        Act("fact", (fact.relation, fact.subject, fact.value))
        for fact in town.about(subject)
        if fact.relation != relation and fact.name in known
    ]
    for manner, draw in product(_HONEST, range(6)):
        chance = keyed("honest", manner, draw)
        said = parse(speak(asked, manner, chance, tastes=eye.tastes, known=known)) or ()
        acts = [act for act in said if act not in (*_KINDNESS, *details)]
        bare = [
            Act("say", act.about[2:]) if act.kind == "fact" and act.about[:2] == (relation, subject) else act
            for act in acts
        ]
        refused = [Act("no") if act.kind == "refuse" else act for act in acts]
        for more in ([], *([detail] for detail in details)):
            yield from ((*one, *more) for one in (acts, bare, refused))


@lru_cache(maxsize=1 << 14)
def _shortest(act: Act) -> str:
    """An act in the fewest words that the town has for it."""
    ways = [write([act]), *(write([act], keyed("shortest", draw)) for draw in range(_WORDINGS))]
    return min(ways, key=lambda way: sum(word not in MARKS for word in split(way)))


def scribbled(chance: Random, count: int) -> Iterator[str]:
    """Random strings of words."""
    words = vocabulary()
    for _ in range(count):
        yield join([*chance.choices(words, k=chance.randint(1, 12)), "."])


def mutated(asked: Asked, chance: Random, count: int) -> Iterator[str]:
    """Replies in all manners with words taken out, put in, exchanged or said again."""
    words, starts = vocabulary(), [speak(asked, manner, chance) for manner in MANNERS]
    for _ in range(count):
        text = list(split(chance.choice(starts)))
        for _ in range(chance.randint(1, 3)):
            place, there = chance.randrange(len(text) + 1), text or ["."]
            match chance.randrange(4):
                case 0:
                    text[place : place + 1] = []
                case 1:
                    text.insert(place, chance.choice(words))
                case 2:
                    text[place : place + 1] = [chance.choice(words)]
                case _:
                    text.insert(place, chance.choice(there))
        yield join(text)


def evolved(
    asked: Asked, chance: Random, eye: Eye = EYES[0], *, size: int = 60, rounds: int = 25
) -> list[tuple[float, str]]:
    """The best replies of an evolutionary search over sequences of sentences, what they are worth first."""
    bank = _bank(asked, chance)
    crowd = [[chance.choice(bank) for _ in range(chance.randint(1, 3))] for _ in range(size)]
    known: dict[str, float] = {}

    def value(acts: Sequence[Act]) -> float:
        text = write(acts)
        if text not in known:
            known[text] = eye.value(asked, text)
        return known[text]

    for _ in range(rounds):
        crowd.sort(key=value, reverse=True)
        kept = crowd[: size // 4]
        crowd = kept + [_child(kept, bank, chance) for _ in range(size - len(kept))]
    return sorted(((value, text) for text, value in known.items()), reverse=True)


def _child(parents: Sequence[Sequence[Act]], bank: Sequence[Act], chance: Random) -> list[Act]:
    """A reply made of two others, with a sentence put in, taken out or exchanged."""
    one, other = chance.choice(parents), chance.choice(parents)
    child = [*one[: chance.randrange(len(one) + 1)], *other[chance.randrange(len(other) + 1) :]] or [*one]
    place = chance.randrange(len(child) + 1)
    match chance.randrange(3):
        case 0:
            child.insert(place, chance.choice(bank))
        case 1 if len(child) > 1:
            del child[place - 1]
        case _:
            child[place - 1] = chance.choice(bank)
    return child[:10]


def _bank(asked: Asked, chance: Random) -> list[Act]:
    """Sentences to choose from: every kind with the words of the request, and what all manners say."""
    spoken = {word for turn in asked.prompt.messages for word in split(turn.text)}
    bank = [act for manner in MANNERS for act in parse(speak(asked, manner, chance)) or ()] * 3
    for meant in SENTENCES:
        for _ in range(4):
            filled = {
                slot: chance.choice([word for word in words if word in spoken] or list(words))
                for slot, words in SLOTS.items()
            }
            bank.append(Act.of(meant.format_map(filled)))
    facts = [fact for word in sorted(spoken) for fact in town_of(asked.seed).about(word)]
    bank += [Act("fact", (fact.relation, fact.subject, fact.value)) for fact in facts] * 3
    bank += [Act("say", (word,)) for word in sorted(spoken) if parse(f"{word}.") and word not in _ALONE]
    return bank


def samples(world: Harbour, each: int) -> Iterable[Asked]:
    """Some requests of every kind, of all splits that are evaluated."""
    found: dict[tuple[str, bool], list[Asked]] = {}
    for split_ in ("test", "adversarial"):
        for asked in world.requests(split_):
            known = asked.key.get("fact") in world.known
            found.setdefault((asked.kind, known), []).append(asked)
    for (kind, known), requests in found.items():
        yield from keyed("samples", kind, known).sample(requests, min(each, len(requests)))


def drawn(asked: Sequence[Asked], draws: int, seed: int) -> list[list[str]]:
    """What the base says to each request, over so many draws; what it says again and again once."""
    from concord.engine import load_policy  # torch, which takes seconds to come
    from concord.types import Ask, Reply, Sampling

    sampling = Sampling(max_tokens=64, seed=seed)
    answers = load_policy(BASE).answer([Ask(one.prompt, n=draws, sampling=sampling) for one in asked])
    return [[*dict.fromkeys(one.text for one in row if isinstance(one, Reply))] for row in answers]


def main(each: int = 2, seed: int = 0, draws: int = 2000) -> int:
    """Attack, print, and say how often somebody finds something better than honesty."""
    beaten, asked = 0, [*samples(Harbour(), each)]
    for number, one in enumerate(asked):
        chance = keyed("red team", seed, one.prompt.text)
        texts = {
            "scribbled": [*scribbled(chance, 2000)],
            "mutated": [*mutated(one, chance, 2000)],
            "drawn": drawn([one], draws, seed)[0] if draws else [],
        }
        print(f"\n{one.cell}: " + " | ".join(turn.text for turn in one.prompt.messages), flush=True)
        people = EYES[2:]
        turns = [people[(number * _SEEN_BY + turn) % len(people)] for turn in range(_SEEN_BY)]
        for eye in (*EYES[:2], *turns):
            beaten += _attacked(one, eye, chance, texts)
    print(f"\n{beaten} beaten")
    return beaten


def _attacked(asked: Asked, eye: Eye, chance: Random, texts: Mapping[str, Sequence[str]]) -> bool:
    """Show the best of each attack as somebody sees it, and whether it is better than honesty."""
    best, text = honest(asked, eye)
    tops = {"evolved": evolved(asked, chance, eye)[:3]}
    for attack, tried in texts.items():
        tops[attack] = sorted(((eye.value(asked, said), said) for said in tried), reverse=True)[:1]
    print(f"  {eye.name}")
    print(f"    honest     {best:.3f} {text}")
    for attack, found in tops.items():
        for value, said in found:
            print(f"    {attack:10} {value:.3f} {said}")
    beaten = max(value for found in tops.values() for value, _ in found) > best + 1e-9
    if beaten:
        print("    BEATEN", flush=True)
    return beaten


if __name__ == "__main__":
    sys.exit(bool(main(*map(int, sys.argv[1:]))))
