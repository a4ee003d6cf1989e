"""Feedback of the town as it is collected: examples to imitate, and comparisons of what a policy said.

    examples(world, requests, people)       for each request a reply that somebody picked, of a mixed pool
    comparisons(replies, people)            pairs of a policy's replies, with the votes of a jury

Whoever rates goes by tastes, with noise and biases of their own, and never by gold. Everything follows from
the seed; replies that are alike are not compared.
"""

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import astuple, replace

from concord.types import Item
from concord.worlds import raters
from concord.worlds.harbour.people import Person, candidate, jury
from concord.worlds.harbour.requests import Asked
from concord.worlds.harbour.world import Harbour, pool

__all__ = ["comparisons", "examples"]


def examples(
    world: Harbour,
    requests: Iterable[Asked],
    people: Sequence[Person],
    *,
    size: int = 8,
    temperature: float | None = None,
    known: Set[str] | None = None,
    seed: int = 0,
) -> Iterator[Item]:
    """For each request a reply out of so many in mixed manners, as one of the people picked it.

    `temperature`: how carelessly they pick, where it is not their own; `known`: the facts the base knows.
    """
    for asked in requests:
        (one,) = jury(people, 1, about=f"examples {asked.cell}", seed=seed)
        said = [candidate(asked, text, [one], known=known) for text in pool(asked, world, size, seed)]
        yield raters.demonstration(asked.item(), said, [one.rater(temperature=temperature)], seed=seed)


def comparisons(
    replies: Iterable[tuple[Asked, Sequence[str]]],
    people: Sequence[Person],
    *,
    pairs: int = 1,
    votes: int = 3,
    known: Set[str] | None = None,
    seed: int = 0,
    odds: bool = False,
) -> Iterator[Item]:
    """So many pairs of the replies to each request, with the votes of a jury of so many people.

    With `odds` each item says in its meta how likely its verdicts were, of any such jury: [first, tie,
    second]. All people look at all replies then, which takes a while.
    """
    for asked, texts in replies:
        panel = jury(people, votes, about=f"comparisons {asked.cell}", seed=seed)
        seers = people if odds else panel
        # What speaks in tokens of control, or begins in mid-sentence, has not replied: no row could hold it.
        read = [text for text in dict.fromkeys(texts) if text[:1].isalnum() and "<" not in text]
        said = [candidate(asked, text, seers, known=known) for text in read]
        task, rating = asked.item(), [one.rater() for one in panel]
        for first, second in raters.drawn_pairs(task, said, pairs, seed=seed):
            item = raters.comparison(task, first, second, rating, seed=seed)
            if odds:
                chances = raters.jury_odds([one.rater() for one in people], votes, first, second)
                item = replace(item, meta={**item.meta, "odds": list(astuple(chances))})
            yield item
