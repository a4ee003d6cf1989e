"""The state of every generator of random numbers in this process, to be put back bit for bit.

    tensors, facts = states()
    restore(tensors, facts)

These are Python's, numpy's global one, torch's on the CPU and on every CUDA device. Generators that somebody
made are theirs to keep.
"""

import random
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from concord.errors import RunError, Said, explain
from concord.types import JSON

__all__ = ["restore", "states"]


def states() -> tuple[dict[str, Tensor], dict[str, JSON]]:
    """Take the states, as tensors and facts for a checkpoint."""
    version, words, gauss = random.getstate()
    known = _numpy_state()
    tensors = {
        "python": torch.tensor(words, dtype=torch.int64),
        "numpy": torch.from_numpy(known["state"]["key"].copy()),
        "torch": torch.get_rng_state(),
    }
    tensors |= {f"cuda-{device}": torch.cuda.get_rng_state(device) for device in range(_devices())}
    facts: dict[str, JSON] = {
        "python": [version, gauss],
        "numpy": [known["state"]["pos"], known["has_gauss"], known["gauss"]],
    }
    return tensors, facts


def restore(tensors: Mapping[str, Tensor], facts: Mapping[str, JSON]) -> tuple[str, ...]:
    """Put the states back; return in words what could not be: CUDA devices that are here or there only."""
    known = _numpy_state()
    try:
        version, gauss = cast("list[Any]", facts["python"])
        position, has_gauss, numpy_gauss = cast("list[Any]", facts["numpy"])
        random.setstate((version, tuple(tensors["python"].tolist()), gauss))
        known |= {"state": {"key": tensors["numpy"].numpy(), "pos": position}}
        np.random.set_state(known | {"has_gauss": has_gauss, "gauss": numpy_gauss})
        torch.set_rng_state(tensors["torch"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        wrong = "the generators of random numbers cannot be put back as they were"
        found = Said(f"{type(error).__name__}: {error}")
        accepted = "what states() took, with the same versions of Python, numpy and torch"
        do = "go on with the versions that the run's manifest names, or start the run anew"
        raise RunError(explain(wrong, found=found, accepted=accepted, do=do)) from error
    saved = {name for name in tensors if name.startswith("cuda-")}
    here = {f"cuda-{device}" for device in range(torch.cuda.device_count() if saved else _devices())}
    for name in saved & here:
        torch.cuda.set_rng_state(tensors[name], int(name.removeprefix("cuda-")))
    return tuple(
        f"the generator of {name} begins anew: it is {'not here' if name in saved else 'in no checkpoint'}"
        for name in sorted(saved ^ here)
    )


def _numpy_state() -> dict[str, Any]:
    state = cast("dict[str, Any]", np.random.get_state(legacy=False))
    if state["bit_generator"] != "MT19937":
        wrong, do = (
            "numpy's global generator was exchanged for one of another kind",
            "leave numpy's own in place",
        )
        raise RunError(explain(wrong, found=state["bit_generator"], accepted="MT19937", do=do))
    return state


def _devices() -> int:
    """How many CUDA devices can have drawn: none before CUDA is in use, which asking must not begin."""
    return torch.cuda.device_count() if torch.cuda.is_initialized() else 0
