"""Asking for what evaluations are made of: replies of a policy, and what a feedback makes of them.

    drawn(policy, items, n=4)                the replies that came, for each item
    scored(feedback, items, replies)         a score for each of them, None where there is none
    scored_by_name(named, policy, feedback)  one reply to each item and its score, for several named sets
    preferred(item)                          the reply that people show or prefer, and the one they do not
    joined_labels(sizes, clusters)           what the items of named sets share, as of one list

Those that ask do so in one call, so that a policy or a judge can answer all of it together.
"""

from collections.abc import Hashable, Mapping, Sequence

from concord.errors import InputError, Said, explain
from concord.eval.reckoning import Labels
from concord.types import Ask, Feedback, Item, Policy, Preference, Rate, Reply, Sampling, Score, Shown, Turns

__all__ = ["drawn", "joined_labels", "preferred", "scored", "scored_by_name"]


def drawn(
    policy: Policy, items: Sequence[Item], *, n: int = 1, sampling: Sampling | None = None
) -> list[tuple[Turns, ...]]:
    """The replies of a policy to the prompt of each item: n, or fewer where some did not come."""
    answers = policy.answer([Ask(item.prompt, n=n, sampling=sampling or Sampling()) for item in items])
    return [tuple((one.message,) for one in answer if isinstance(one, Reply)) for answer in answers]


def scored(
    feedback: Feedback, items: Sequence[Item], replies: Sequence[Sequence[Turns]]
) -> list[tuple[float | None, ...]]:
    """What a feedback finds each of the replies to each item worth; None where it cannot say.

    The replies to an item are rated together, and its `meta` goes with them.
    """
    both = zip(items, replies, strict=True)
    rates = [Rate(item.prompt, tuple(row), meta=item.meta) for item, row in both if row]
    answered = iter(feedback.rate(rates) if rates else ())
    scores = [next(answered) if row else () for row in replies]
    return [tuple(one.value if isinstance(one, Score) else None for one in row) for row in scores]


def scored_by_name(
    named: Mapping[str, Sequence[Item]],
    policy: Policy,
    feedback: Feedback | Mapping[str, Feedback],
    *,
    sampling: Sampling | None = None,
) -> dict[str, list[float | None]]:
    """Ask each item of each set once, and score the reply; None where there is no reply, or no score.

    feedback: one for all sets, or one for each by its name
    sampling: the likeliest reply, if left out
    """
    judges = feedback if isinstance(feedback, Mapping) else dict.fromkeys(named, feedback)
    if missing := sorted(named.keys() - judges.keys()):
        wrong, accepted = (
            "nothing scores the replies to some items",
            "one feedback, or one for each set by name",
        )
        raise InputError(explain(wrong, found=Said(", ".join(missing)), accepted=accepted, do="name theirs"))
    items = [item for each in named.values() for item in each]
    replies = iter(drawn(policy, items, sampling=sampling or Sampling(temperature=0)))
    said = {name: [next(replies) for _ in each] for name, each in named.items()}
    return {
        name: [next(iter(row), None) for row in scored(judges[name], each, said[name])]
        for name, each in named.items()
    }


def preferred(item: Item) -> tuple[Turns, Turns | None] | None:
    """The reply that people show or prefer, and the one that they do not; None where there is no such."""
    match item.utilities, item.replies:
        case Shown(), (only,):
            return only, None
        case Preference(first), (one, other) if first != 0.5:
            return (one, other) if first > 0.5 else (other, one)
        case _:
            return None


def joined_labels(sizes: Mapping[str, int], clusters: Mapping[str, Sequence[Labels]]) -> list[list[Hashable]]:
    """What the items of all sets share, one set after the other; equal labels are one cluster in all.

    An item of which nothing is said shares with none.
    """
    if odd := sorted(clusters.keys() - sizes.keys()):
        wrong, accepted = "clusters are given for a set that is not there", ", ".join(sizes)
        raise InputError(explain(wrong, found=odd[0], accepted=accepted, do="name the sets as the items do"))
    joined: list[list[Hashable]] = []
    for factor in range(max(map(len, clusters.values()), default=0)):
        labels: list[Hashable] = []
        for name, size in sizes.items():
            given = clusters.get(name, ())
            labels += given[factor] if factor < len(given) else [(name, place) for place in range(size)]
        joined.append(labels)
    return joined
