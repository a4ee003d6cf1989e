"""Run a named method, or any sum of objectives, on the records of one step.

A setting that nothing takes is refused: it must not pass for one that was set.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, get_type_hints

from torch import Tensor

from concord import tensors
from concord.errors import NOTHING, InputError, RecipeError, explain, nearest
from concord.objectives.contract import Card, describe
from concord.objectives.methods import Method, Term
from concord.tensors import Groups, PerToken, Record, ReplyIndex, Scalar, Tokens

__all__ = ["Resolve", "method_advantage", "method_loss", "weighted_sum"]

Resolve = Callable[[str], Callable[..., Any]]
"""Finds a function of the menus by its name."""


class _Caller:
    """Calls functions of the menus with those given values that each takes, and remembers what was taken."""

    def __init__(self, given: Mapping[str, Any] | None, resolve: Resolve) -> None:
        self.given, self.resolve = dict(given or {}), resolve
        self.taken: set[str] = set()

    def __call__(self, name: str, *args: Any, knobs: Mapping[str, Any], on: str = "", **values: Any) -> Any:
        """`values` come from the pipeline; what is given goes before a method's own `knobs`."""
        function = self.resolve(name)
        takes = [*inspect.signature(function).parameters][1:]
        if unknown := sorted(set(knobs) - set(takes)):
            raise RecipeError(
                explain(
                    f"{name} has no knob {unknown[0]!r}",
                    found=unknown[0],
                    accepted=nearest(unknown[0], takes),
                    do="correct the name, or leave it out for the default",
                )
            )
        chosen = {}
        for key, value in self.given.items():
            stream, _, bare = key.rpartition(".")
            if bare in takes and stream in ("", on):
                chosen[bare] = value
                self.taken.add(key)
        return function(*args, **{**knobs, **chosen, **{k: v for k, v in values.items() if k in takes}})

    def check_all_taken(self) -> None:
        """Refuse what was given and nothing took: a misspelt setting must not pass for a set one."""
        if unused := sorted(set(self.given) - self.taken):
            raise RecipeError(
                explain(
                    f"no part of the method takes {unused[0]!r}",
                    found=", ".join(unused),
                    accepted=", ".join(sorted(self.taken)) or "nothing beyond the records",
                    do="correct the name; `concord methods NAME` lists the inputs and knobs of each part",
                )
            )


def method_advantage(
    method: Method,
    tokens: Tokens,
    *,
    reward: Tensor,
    group: ReplyIndex,
    inputs: Mapping[str, Any] | None = None,
    resolve: Resolve,
) -> PerToken:
    """From the rewards of sampled replies to the advantage of each token, by a method's steps.

    `group` says which prompt each reply answers. `inputs` are what steps need beyond that, by keyword: the
    critic's `value`, or another setting for a knob. All replies of a step must be given at once: advantages
    compare them.

    A method's `keep` is not applied here: dropping groups is the sampler's, which must draw others for them.
    """
    if not bool(tokens.length.all()):
        raise InputError(
            explain(
                "a sampled reply is empty, so its reward has no token to stand at",
                found=f"{int((tokens.length == 0).sum())} empty of {len(tokens)} replies",
                accepted="replies of at least one token: the stop token counts",
                do="give an empty reply its stop token, or drop it together with its reward",
            )
        )
    if not len(tokens) == len(reward) == len(group):
        raise InputError(
            explain(
                "rewards, prompts and replies differ in number",
                found=f"{len(reward)} rewards, {len(group)} prompts' places, {len(tokens)} replies",
                accepted="one reward and one place for each reply",
                do="drop replies that were not scored from all three",
            )
        )
    if not reward.is_floating_point():
        reward = reward.float()
    call = _Caller(inputs, resolve)
    for step in method.bonus:
        reward = reward + call(step.name, tokens.length, knobs=step.knobs)
    values = tokens.at_last(reward)
    for step in method.shaping:
        # Shapers take a reply's reward and place it themselves.
        values = call(step.name, tokens, knobs=step.knobs, reward=reward)
    for step in method.advantage:
        kind = next(iter(get_type_hints(resolve(step.name)).values()))
        if kind is Groups:
            groups = Groups(tokens.sum(values), group, int(group.max()) + 1)
            values = tokens.spread(call(step.name, groups, knobs=step.knobs))
        elif kind is Tokens:
            values = call(step.name, tokens, knobs=step.knobs, reward=values)
        else:
            values = call(step.name, values, knobs=step.knobs)
    call.check_all_taken()
    return values.detach()


def method_loss(
    method: Method,
    streams: Mapping[str, Any],
    *,
    inputs: Mapping[str, Any] | None = None,
    resolve: Resolve,
) -> Scalar:
    """Evaluate a method on one step: streams are the records its terms speak of, by name.

    `inputs` are tensors and settings for objectives and reductions, by the name of their keyword, or by
    `stream.name` where streams differ; they go before the method's own settings.
    """
    call, total = _Caller(inputs, resolve), None
    for term in method.terms:
        if term.on not in streams:
            raise RecipeError(
                explain(
                    f"no stream {term.on!r} for {term.objective}",
                    found=", ".join(streams),
                    accepted=", ".join(sorted({t.on for t in method.terms})),
                    do="give a record for every stream that the method speaks of",
                )
            )
        part = term.weight * _term_loss(term, streams[term.on], call)
        total = part if total is None else total + part
    assert total is not None, "a method has at least one term"
    call.check_all_taken()
    return total


def _term_loss(term: Term, record: Any, call: _Caller) -> Scalar:
    for_reduction = inspect.signature(call.resolve(term.reduction)).parameters
    own = {k: v for k, v in term.knobs.items() if k in for_reduction}
    rest = {k: v for k, v in term.knobs.items() if k not in own}
    loss = call(term.objective, record, knobs=rest, on=term.on)
    if isinstance(loss, tuple):
        raise RecipeError(
            explain(
                f"{term.objective} carries state, which a term has no place for",
                found=term.objective,
                accepted="objectives without the input `state`",
                do="call the objective itself, or weighted_sum, and keep the state it returns",
            )
        )
    by_token = "tokens" in for_reduction
    return call(term.reduction, loss, *([record] if by_token else []), knobs=own, on=term.on)


def weighted_sum(**terms: tuple[float, Callable[..., Any]]) -> Callable[..., Any]:
    """An objective that is a weighted sum of named others on one record: `dpo=(1.0, dpo), nll=(0.2, simpo)`.

    It needs what its most demanding term needs, is coupled where one of them is, and takes all their inputs.
    Knobs are bound beforehand with functools.partial. Where a term carries state, `state` is a mapping
    from the term's name to its state, and comes back after the losses.
    """
    if not terms:
        raise RecipeError(
            explain(
                "a sum of nothing", found=NOTHING, accepted="one term or more", do="name=(weight, objective)"
            )
        )
    cards = {name: describe(term) for name, (_, term) in terms.items()}
    widest = _common_record(cards)
    known = {taken for card in cards.values() for taken in card.inputs} - {"state"}
    with_state = {name for name, card in cards.items() if "state" in card.inputs}

    def summed(record: Record, *, state: Mapping[str, Any] | None = None, **inputs: Any) -> Any:
        total: Any = 0.0
        after: dict[str, Any] = {}
        if unknown := sorted(set(inputs) - known):
            raise RecipeError(
                explain(
                    f"no term of the sum takes {unknown[0]!r}",
                    found=unknown[0],
                    accepted=nearest(unknown[0], known) if known else "the record alone",
                    do="bind knobs with functools.partial when the sum is made; correct the name of an input",
                )
            )
        for name, (weight, term) in terms.items():
            taken = {k: v for k, v in inputs.items() if k in cards[name].inputs}
            if name in with_state:
                loss, after[name] = term(record, state=(state or {})[name], **taken)
            else:
                loss = term(record, **taken)
            if isinstance(total, Tensor) and loss.shape != total.shape:
                raise RecipeError(
                    explain(
                        f"{name} has another number of losses than the terms before it",
                        found=f"{tuple(loss.shape)} beside {tuple(total.shape)}",
                        accepted="losses of one kind of row: pairs, replies or tokens",
                        do="give it a term of its own, with its own reduction, in a Method",
                    )
                )
            total = total + weight * loss
        return (total, after) if with_state else total

    hints, parameters = {"record": widest}, [inspect.Parameter("record", inspect.Parameter.POSITIONAL_ONLY)]
    for name, (_, term) in terms.items():
        function = term.func if isinstance(term, partial) else term
        own = inspect.signature(function).parameters
        for taken in cards[name].inputs:
            if taken not in hints:
                hints[taken] = get_type_hints(function)[taken]
                parameters.append(own[taken].replace(kind=inspect.Parameter.KEYWORD_ONLY))
    summed.__name__ = " + ".join(f"{weight:g} {cards[name].name}" for name, (weight, _) in terms.items())
    summed.__annotations__ = {**hints, "return": Tensor}
    summed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    summed.coupled = any(card.coupled for card in cards.values())  # type: ignore[attr-defined]
    return summed


def _common_record(cards: Mapping[str, Card]) -> Any:
    """The plainest kind of record that every term can read."""
    wanted = {card.record for card in cards.values()}
    kinds = [kind for kind in vars(tensors).values() if isinstance(kind, type) and issubclass(kind, Record)]
    fit = [kind for kind in kinds if all(isinstance(w, type) and issubclass(kind, w) for w in wanted)]
    if len(wanted) > 1 and not fit:
        raise RecipeError(
            explain(
                f"{' and '.join(cards)} cannot be summed",
                found=" beside ".join(sorted({card.needs for card in cards.values()})),
                accepted="objectives on one kind of record",
                do="give each kind of record a term of its own in a Method",
            )
        )
    return wanted.pop() if len(wanted) == 1 else min(fit, key=lambda kind: len(kind.__mro__))
