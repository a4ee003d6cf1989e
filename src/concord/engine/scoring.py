"""Weighing given replies: the log-probabilities of what is learned in them, in few forward passes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from concord.engine.logprobs import LogProbs
from concord.engine.statistics import measured, top
from concord.engine.targets import Line
from concord.errors import InputError
from concord.render import Rendered

__all__ = ["Weighed", "weigh"]

_TOGETHER = 8192  # tokens that go through the model at a time, if all were padded and nothing shared


@dataclass(frozen=True, slots=True)
class Weighed:
    """The learned tokens of a reply in order, and their log-probabilities at temperature 1."""

    tokens: list[int]
    logps: list[float]
    top: list[list[tuple[int, float]]]
    """The likeliest tokens at each place and their log-probabilities, where they were asked for."""


def weigh(engine: LogProbs, replies: Sequence[Rendered | str], *, count: int = 0) -> list[Weighed | str]:
    """Weigh each reply, with `count` alternatives, or say why it cannot be; reasons are handed on as they
    are. The model is to be `resting`."""
    whole = [one for one in replies if isinstance(one, Rendered)]
    most = min(_TOGETHER, engine.limits.tokens or _TOGETHER)
    found = iter([one for group in _groups(whole, most) for one in _together(engine, group, count)])
    return [one if isinstance(one, str) else next(found) for one in replies]


def _groups(replies: Sequence[Rendered], most: int) -> Iterator[list[Rendered]]:
    """Replies in their order, as many as may go together."""
    group: list[Rendered] = []
    lines = longest = 0
    for one in replies:
        leaves = one.replies[0]
        lines, longest = lines + len(leaves), max(longest, *(len(leaf.ids) for leaf in leaves))
        if group and lines * longest > most:
            yield group
            group, lines, longest = [], len(leaves), max(len(leaf.ids) for leaf in leaves)
        group.append(one)
    if group:
        yield group


def _together(engine: LogProbs, group: Sequence[Rendered], count: int) -> list[Weighed | str]:
    lines = [
        Line(leaf.ids, leaf.spans, number) for number, one in enumerate(group) for leaf in one.replies[0]
    ]
    try:
        layout = engine.lay(lines).to(next(engine.model.parameters()).device)
        values = engine(layout=layout, functions={"top": measured(top(count))} if count else None)
    except InputError as error:
        if len(group) == 1:
            return [str(error)]
        # A reply that is too long is no reason against the others.
        return [one for each in group for one in _together(engine, [each], count)]
    # Targets stand in the order of the lines, and so reply after reply.
    sizes = values.lengths(len(group)).tolist()
    columns = [layout.targets.labels, values.logps]
    if count:
        columns += [values.functions["top"].index, values.functions["top"].logp]
    parts = ([part.tolist() for part in column.split(sizes)] for column in columns)
    return [_weighed(*each) for each in zip(*parts, strict=True)]


def _weighed(
    tokens: list[int],
    logps: list[float],
    index: Sequence[list[int]] = (),
    values: Sequence[list[float]] = (),
) -> Weighed | str:
    if any(map(math.isnan, logps)):
        return "the model's logits are not numbers"
    return Weighed(tokens, logps, [[*zip(*place, strict=True)] for place in zip(index, values, strict=True)])
