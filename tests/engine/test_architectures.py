"""Every family of models through the layout it is given: values and all gradients as one by one."""

from collections.abc import Sequence

import pytest
import torch

from concord.engine.logprobs import LogProbs
from concord.engine.start import start
from concord.engine.targets import Line
from tests.engine.models import FAMILIES, Family, alone, apart, family_tree, gradients, weighted

VALUES, GRADIENTS = 1e-4, 1e-4
NAMES = [family.name for family in FAMILIES]


def check_equal(engine: LogProbs, lines: Sequence[Line], right: torch.Tensor, slopes: torch.Tensor) -> None:
    """Compare an engine with what was computed one by one before it was made."""
    found = engine(layout=engine.lay(lines)).logps
    assert float((found.detach() - right).abs().max()) < VALUES
    weighted(found).backward()
    assert apart(gradients(engine.model), slopes) < GRADIENTS


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=NAMES)
def test_a_family_goes_through_its_layout_as_one_by_one(family: Family) -> None:
    model, lines = family.make(), family_tree()
    right = alone(model, lines)
    weighted(right).backward()
    slopes = gradients(model)
    assert slopes.norm() > 0
    started = start(model)
    assert started.engine.layout == family.layout, started.refused
    assert family.why in " ".join(started.refused)
    check_equal(started.engine, lines, right.detach(), slopes)
    if family.layout == "forest":
        # Rows serve what the forest does too.
        check_equal(LogProbs(model, layout="rows"), lines, right.detach(), slopes)


@pytest.mark.slow
@pytest.mark.parametrize("family", [one for one in FAMILIES if one.layout == "forest"][3:9:2], ids=lambda f: f.name)
def test_layers_that_are_computed_again_in_the_backward_pass_still_find_the_forest(family: Family) -> None:
    model, lines = family.make(), family_tree()
    right = alone(model, lines)
    weighted(right).backward()
    slopes = gradients(model)
    model.activation_checkpointing_enable()
    started = start(model)
    assert started.engine.layout == "forest", started.refused
    layout = started.engine.lay(lines)
    weighted(started.engine(layout=layout).logps).backward()
    assert apart(gradients(model), slopes) < GRADIENTS
    layers = list(range(model.config.num_hidden_layers))
    assert layout.calls == layers + layers[::-1]
