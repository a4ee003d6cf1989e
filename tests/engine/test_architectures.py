"""Every family of models through the layout it is given: values, all gradients, and the page that says so."""

import pytest
import torch

from concord.engine.forest import Forest
from concord.engine.guards import limits
from concord.engine.start import start
from tests.engine.models import (
    FAMILIES,
    ROOM,
    Family,
    alone,
    apart,
    family_tree,
    gradients,
    long_rope,
    weighted,
)
from tests.engine.support import PAGE, WORST, measure, table, written


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_goes_through_its_layout_as_one_by_one_and_as_the_page_says(family: Family) -> None:
    found = measure(family)
    assert found.layout == family.layout, found.reasons
    assert family.why in " ".join(found.reasons)
    assert bool(found.reasons) == (family.layout == "rows")
    assert max(found.values, found.gradients, *found.in_rows) < WORST
    said = next(cells for cells in table() if cells[0] == family.name)
    assert said[:4] == [*found.cells(family)][:4]
    assert found.values <= float(said[4]) <= WORST
    assert found.gradients <= float(said[5]) <= WORST


@pytest.mark.parametrize(
    "family", [family for family in FAMILIES if "window" in family.has], ids=lambda family: family.name
)
def test_windows_of_families_are_short_enough_to_matter(family: Family) -> None:
    model, lines = family.make(), family_tree()
    with torch.no_grad():
        right = alone(model, lines)
        model.config.sliding_window = ROOM
        for module in model.modules():
            if getattr(module, "sliding_window", None) is not None:
                module.sliding_window = ROOM
        assert float((alone(model, lines) - right).abs().max()) > 100 * WORST


def test_rows_of_the_tree_lie_on_both_sides_of_the_threshold_of_angles() -> None:
    lengths = [len(one.ids) for one in family_tree()]
    assert min(lengths) <= limits(long_rope()).thresholds[0] < max(lengths)


def test_the_page_is_as_it_would_be_written_for_all_families_in_order() -> None:
    assert [cells[0] for cells in table()] == [family.name for family in FAMILIES]
    assert PAGE.read_text(encoding="utf-8") == written(table())


@pytest.mark.slow
@pytest.mark.parametrize(
    "family",
    [family for family in FAMILIES if family.name in ("Mistral", "Gemma3", "GPT2")],
    ids=lambda family: family.name,
)
def test_layers_that_are_computed_again_in_the_backward_pass_still_find_the_forest(family: Family) -> None:
    model, lines = family.make(), family_tree()
    right = alone(model, lines)
    weighted(right).backward()
    slopes = gradients(model)
    model.activation_checkpointing_enable()
    started = start(model)
    layout = started.engine.lay(lines)
    assert isinstance(layout, Forest), started.refused
    weighted(started.engine(layout=layout).logps).backward()
    assert apart(gradients(model), slopes) < WORST
    layers = list(range(model.config.num_hidden_layers))
    assert layout.calls == layers + layers[::-1]
