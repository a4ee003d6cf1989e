"""What is drawn after a restore is what was drawn after the states were taken."""

import inspect
import random
from typing import Any

import numpy as np
import pytest
import torch

from concord import wire
from concord.errors import RunError
from concord.train.loop import chance
from concord.train.loop.chance import states

# The checker of shapes and types draws from Python's generator itself.
restore = inspect.unwrap(chance.restore)


@pytest.fixture(autouse=True)
def leave_chance_as_it_was() -> Any:
    """Put back what the test found."""
    found = states()
    yield
    restore(*found)


def draw() -> tuple[Any, ...]:
    """Draw from each generator; odd numbers of normal values, so that one is left in hand."""
    python = random.random(), random.gauss(0, 1), random.getrandbits(70)
    numpy = np.random.rand(3).tolist(), np.random.normal(size=3).tolist(), np.random.permutation(9).tolist()
    drawn = torch.rand(3).tolist(), torch.randn(17).tolist(), torch.randperm(9).tolist()
    return python, numpy, drawn


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


@pytest.mark.parametrize("already", [0, 1, 2, 700])
def test_every_draw_comes_again(already: int) -> None:
    seed(5)
    for _ in range(already):
        draw()
    tensors, facts = states()
    first = [draw() for _ in range(3)]
    seed(6)
    assert draw() != first[0]
    assert restore(tensors, wire.loads(Any, wire.dumps(facts, cls=Any))) == ()
    assert [draw() for _ in range(3)] == first


def test_drawing_does_not_change_what_was_taken() -> None:
    seed(5)
    tensors, facts = states()
    kept = {name: tensor.clone() for name, tensor in tensors.items()}
    draw()
    assert all(torch.equal(tensors[name], kept[name]) for name in kept)
    restore(tensors, facts)
    draw()
    assert all(torch.equal(tensors[name], kept[name]) for name in kept)


def test_states_of_another_shape_are_refused() -> None:
    tensors, facts = states()
    with pytest.raises(RunError, match=r"cannot be put back.*KeyError.*same versions"):
        restore({"python": tensors["python"]}, facts)
    with pytest.raises(RunError, match="cannot be put back"):
        restore(tensors | {"torch": torch.zeros(3, dtype=torch.uint8)}, facts)
    with pytest.raises(RunError, match="cannot be put back"):
        restore(tensors, {**facts, "python": [99, None]})


def test_another_kind_of_numpy_generator_is_refused() -> None:
    numpy: Any = np.random  # whose stubs lack what exchanges the generator
    ours = numpy.get_bit_generator()
    numpy.set_bit_generator(np.random.PCG64(1))
    try:
        with pytest.raises(RunError, match="found 'PCG64'"):
            states()
    finally:
        numpy.set_bit_generator(ours)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens where no device is")
def test_a_device_that_is_not_here_is_named() -> None:
    tensors, facts = states()
    said = restore(tensors | {"cuda-0": torch.zeros(16, dtype=torch.uint8)}, facts)
    assert said == ("the generator of cuda-0 begins anew: it is not here",)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_every_cuda_device_draws_again() -> None:
    torch.cuda.manual_seed_all(5)
    devices = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    for device in devices:
        torch.rand(3, device=device)
    tensors, facts = states()
    first = [torch.randn(5, device=device) for device in devices]
    torch.cuda.manual_seed_all(6)
    assert restore(tensors, facts) == ()
    assert all(torch.equal(torch.randn(5, device=d), was) for d, was in zip(devices, first, strict=True))
