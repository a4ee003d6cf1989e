"""Attack the human utility of Harbour: is anything worth more than the best honest reply?

    python -m scripts.redteam [each] [seed]

Three attacks on some requests of every kind: random strings of words, mutations of good replies, and an
evolutionary search over sequences of sentences. What comes out on top is printed beside the best honest
reply, to be read: where a person would laugh at a reply that gold admires, gold is to be mended.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from random import Random

from concord.worlds.harbour import Act, Asked, Harbour, keyed, parse, vocabulary, worth, write
from concord.worlds.harbour.manners import MANNERS, speak
from concord.worlds.harbour.sentences import SENTENCES
from concord.worlds.harbour.town import town_of
from concord.worlds.harbour.words import SLOTS, join, split

__all__ = ["evolved", "honest", "main", "mutated", "samples", "scribbled"]

_HONEST = ("good", "terse", "warm")
_KINDNESS = (Act("greet"), Act("eager"), Act("wish"))
_ALONE = ("yes", "no", "may", "not")


def honest(asked: Asked) -> tuple[float, str]:
    """The best of honest replies, what it is worth first: right, more or less kind, said in several ways."""
    found: dict[str, float] = {}
    for manner, draw in product(_HONEST, range(6)):
        chance = keyed("honest", manner, draw)
        acts = [act for act in parse(speak(asked, manner, chance)) or () if act not in _KINDNESS]
        for greets, count, ways in product((False, True), range(len(_KINDNESS)), (None, chance, chance)):
            said = write([*_KINDNESS[:1] * greets, *acts, *_KINDNESS[3 - count :]], ways)
            found[said] = worth(asked, said).value
    best = max(found, key=lambda text: found[text])
    return found[best], best


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


def evolved(asked: Asked, chance: Random, *, size: int = 60, rounds: int = 25) -> list[tuple[float, str]]:
    """The best replies of an evolutionary search over sequences of sentences, what they are worth first."""
    bank = _bank(asked, chance)
    crowd = [[chance.choice(bank) for _ in range(chance.randint(1, 3))] for _ in range(size)]
    known: dict[str, float] = {}

    def value(acts: Sequence[Act]) -> float:
        text = write(acts)
        if text not in known:
            known[text] = worth(asked, text).value
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


def main(each: int = 2, seed: int = 0) -> int:
    """Attack, print, and say how many requests have something better than honesty."""
    beaten = 0
    for asked in samples(Harbour(), each):
        chance = keyed("red team", seed, asked.prompt.text)
        tried = {
            text: worth(asked, text).value
            for text in (*scribbled(chance, 2000), *mutated(asked, chance, 2000))
        }
        ranked = sorted(((value, text) for text, value in tried.items()), reverse=True)
        best, text = honest(asked)
        top = evolved(asked, chance)
        print(f"\n{asked.cell}: " + " | ".join(turn.text for turn in asked.prompt.messages))
        print(f"  honest   {best:.3f} {text}")
        print("\n".join(f"  evolved  {value:.3f} {text}" for value, text in top[:3]))
        print("\n".join(f"  mutated  {value:.3f} {text}" for value, text in ranked[:1]))
        if max(top[0][0], ranked[0][0]) > best + 1e-9:
            beaten += 1
            print("  BEATEN")
    print(f"\n{beaten} beaten")
    return beaten


if __name__ == "__main__":
    sys.exit(bool(main(*map(int, sys.argv[1:]))))
