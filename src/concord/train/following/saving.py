"""A loop as tensors and facts, and back again: everything that its next step depends on.

What every rank has alike is shared; random numbers, and the shards of what is sharded, are a rank's own.
Frozen weights are in neither: they come from the model that the run names, whose hash is in its manifest.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from concord.errors import RunError, Said, explain
from concord.train.loop import (
    Hook,
    Loop,
    Remembering,
    Saved,
    bare,
    chance,
    optimizer_tensors,
    restore_optimizer,
)
from concord.types import JSON

__all__ = ["restore", "saved"]

_WEIGHTS, _OPTIMIZER, _STATE, _HOOK, _CHANCE = "weights/", "optimizer/", "state/", "hook/", "chance/"


def saved(loop: Loop, hooks: Sequence[Hook] = ()) -> tuple[Saved, Saved]:
    """What all ranks have in common, and what is this rank's own."""
    names = _names(loop)
    every = {f"{_WEIGHTS}{name}": weight.detach() for weight, name in names.items()}
    every |= {f"{_OPTIMIZER}{name}": one for name, one in optimizer_tensors(loop.optimizer, names).items()}
    every |= {f"{_WEIGHTS}{name}": buffer for name, buffer in _buffers(loop)}
    facts: dict[str, JSON] = {
        "step": loop.step,
        "steps": loop.steps,
        "tokens": loop.tokens,
        "rows": loop.rows,
        "budget": loop.budget,
        "said": list(loop.said),
    }
    for number, term in enumerate(loop.terms):
        every |= {f"{_STATE}{number}{place}": one for place, one in _flat(term.state)}
    for hook in hooks:
        if isinstance(hook, Remembering):
            place = f"{_HOOK}{type(hook).__name__}"
            tensors, told = hook.remember()
            every |= {f"{place}/{name}": one for name, one in tensors.items()}
            facts[place] = dict(told)
    own = {name: one.to_local() for name, one in every.items() if isinstance(one, DTensor)}
    shared = {name: one for name, one in every.items() if not isinstance(one, DTensor)}
    drawn, how = chance.states()
    return (shared, facts), (own | {f"{_CHANCE}{name}": one for name, one in drawn.items()}, {"chance": how})


def restore(loop: Loop, shared: Saved, own: Saved, hooks: Sequence[Hook] = ()) -> tuple[str, ...]:
    """Bring a loop to where it was; returns in words what could not be brought back."""
    tensors, facts = {**shared[0], **own[0]}, shared[1]
    _check_steps(loop, facts)
    names = _names(loop)
    _restore_weights(loop, names, _under(tensors, _WEIGHTS))
    restore_optimizer(loop.optimizer, names, _alike(names, _under(tensors, _OPTIMIZER)))
    for name in ("step", "tokens", "rows", "budget"):
        setattr(loop, name, int(facts[name]))  # type: ignore[arg-type]
    loop.said[:] = list(facts["said"])  # type: ignore[arg-type]
    for number, term in enumerate(loop.terms):
        held = _under(tensors, f"{_STATE}{number}")
        term.state = _filled(term.state, held)
    for hook in hooks:
        place = f"{_HOOK}{type(hook).__name__}"
        if isinstance(hook, Remembering) and place in facts:
            told: Any = facts[place]
            hook.recall(_under(tensors, f"{place}/"), told)
    return chance.restore(_under(own[0], _CHANCE), own[1]["chance"])  # type: ignore[arg-type]


def _check_steps(loop: Loop, facts: Mapping[str, Any]) -> None:
    if facts["steps"] != loop.steps:
        # Another length is another schedule: what follows would not be what the run was.
        wrong = "the checkpoint is of a run of another length, whose learning rate falls otherwise"
        accepted, do = f"{facts['steps']} steps", "start a new run, from this one's model if you like"
        raise RunError(explain(wrong, found=Said(f"{loop.steps} steps"), accepted=accepted, do=do))


def _names(loop: Loop) -> dict[Tensor, str]:
    """The weights that are trained, with their names in the engine, whatever it is wrapped in."""
    return {weight: name for name, weight in loop.weights.items()}


def _buffers(loop: Loop) -> Iterator[tuple[str, Tensor]]:
    """Buffers that belong to a model's state, such as running means."""
    kept = loop.policy.engine.state_dict().keys()
    for name, buffer in loop.policy.engine.named_buffers():
        if name in kept:
            yield bare(name), buffer


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}


def _restore_weights(loop: Loop, names: Mapping[Tensor, str], held: Mapping[str, Tensor]) -> None:
    targets = {name: weight for weight, name in names.items()} | dict(_buffers(loop))
    if missing := sorted(targets.keys() ^ held.keys()):
        wrong, found = (
            "the checkpoint is of a model with other weights",
            Said(f"{missing[0]} on one side only"),
        )
        accepted, do = "the weights that this run trains", "resume with the settings of the run"
        raise RunError(explain(wrong, found=found, accepted=accepted, do=do))
    with torch.no_grad():
        for name, target in targets.items():
            local = target.to_local() if isinstance(target, DTensor) else target
            if local.shape != held[name].shape:
                wrong, found = (
                    "a weight of the checkpoint has another shape",
                    Said(f"{name} {list(held[name].shape)}"),
                )
                accepted, do = (
                    str(list(local.shape)),
                    "resume with the settings, and as many ranks, as before",
                )
                raise RunError(explain(wrong, found=found, accepted=accepted, do=do))
            local.copy_(held[name])


def _alike(names: Mapping[Tensor, str], held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What an optimizer remembers, laid out over ranks as its weights are."""
    weights = {name: weight for weight, name in names.items()}
    found: dict[str, Tensor] = {}
    for place, value in held.items():
        weight = weights[place.rpartition("/")[0]]
        if isinstance(weight, DTensor) and value.ndim:
            # With the shape of the whole: shares of a weight that does not divide evenly are not alike.
            value = DTensor.from_local(
                value.to(weight.device),
                weight.device_mesh,
                weight.placements,
                shape=weight.shape,
                stride=weight.stride(),
            )
        found[place] = value
    return found


# --- what objectives carry --------------------------------------------------------------------------------


def _flat(state: Any, place: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of a state, with their places in it."""
    for key, part in _parts(state):
        if isinstance(part, Tensor):
            yield f"{place}/{key}", part
        else:
            yield from _flat(part, f"{place}/{key}")


def _filled(state: Any, held: Mapping[str, Tensor], place: str = "") -> Any:
    """A state of the same form with the tensors that are held."""
    if isinstance(state, Tensor):
        return held[place].to(state.device)
    found = {key: _filled(part, held, f"{place}/{key}") for key, part in _parts(state)}
    if isinstance(state, tuple):
        return tuple(found.values())
    return type(state)(**found) if is_dataclass(state) else found or state


def _parts(state: Any) -> Iterator[tuple[str, Any]]:
    if is_dataclass(state):
        yield from ((one.name, getattr(state, one.name)) for one in fields(state))
    elif isinstance(state, Mapping):
        yield from ((str(key), part) for key, part in state.items())
    elif isinstance(state, tuple):
        yield from ((str(number), part) for number, part in enumerate(state))
