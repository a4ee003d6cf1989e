"""The module itself: what it is given, what it counts, and how it travels."""

import copy
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from concord.engine.logprobs import LogProbs
from concord.engine.targets import Line
from concord.errors import CapabilityError, InputError
from tests.conftest import run_script
from tests.engine.models import VOCABULARY, alone, family_tree, llama

LAYOUTS = ("forest", "rows")


def values(engine: LogProbs, lines: list[Line]) -> torch.Tensor:
    with torch.no_grad():
        return engine(layout=engine.lay(lines)).logps


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_token_beyond_the_vocabulary_is_refused(layout: Any) -> None:
    engine = LogProbs(llama(), layout=layout)
    for token in (VOCABULARY, 2**32 + 5):
        with pytest.raises(InputError, match=f"not in the vocabulary .* found {token}; accepted: 0 to 127"):
            engine.lay([Line(np.array([5, token, 6]), np.array([[2, 3]]))])
    engine.lay([Line(np.array([5, VOCABULARY - 1, 6]), np.array([[2, 3]]))])


def test_each_engine_takes_its_own_layout() -> None:
    forest, rows = LogProbs(llama()), LogProbs(llama(), layout="rows")
    with pytest.raises(InputError, match="not its own; found Rows; accepted: Forest"):
        forest(layout=rows.lay(family_tree()))
    with pytest.raises(InputError, match="not its own; found Forest; accepted: Rows"):
        rows(layout=forest.lay(family_tree()))


def test_fewer_replies_than_there_are_is_refused_and_a_reply_without_tokens_is_none() -> None:
    engine = LogProbs(llama())
    lines = [Line(np.array([5, 6, 7]), np.array([[1, 3]]), number) for number in (0, 3)]
    found = engine(layout=engine.lay(lines))
    for count in (found.sums, found.lengths, found.replies, found.tokens):
        with pytest.raises(InputError, match="beyond the count of replies; found 3; accepted: 4 or more"):
            count(3)
    assert found.lengths(5).tolist() == [2, 0, 0, 2, 0]
    assert found.sums(5)[[1, 2, 4]].tolist() == [0, 0, 0]
    assert engine(layout=engine.lay([])).sums(0).tolist() == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_copy_is_an_engine_of_its_own(layout: Any) -> None:
    engine, lines = LogProbs(llama(), layout=layout), family_tree()
    right, twin = values(engine, lines), copy.deepcopy(engine)
    with torch.no_grad():
        twin.head.module.weight.zero_()  # type: ignore[union-attr,operator]
    torch.testing.assert_close(values(engine, lines), right, rtol=0, atol=0)
    assert values(twin, lines).unique().numel() == 1


def test_an_engine_goes_to_another_process(tmp_path: Path) -> None:
    engine, line = LogProbs(llama()), Line(np.arange(3, 20), np.array([[4, 17]]))
    torch.save(engine, tmp_path / "engine.pt")
    said = run_script(
        "import sys, numpy, torch\n"
        "engine = torch.load(sys.argv[1], weights_only=False)\n"
        "from concord.engine import Line\n"
        "line = Line(numpy.arange(3, 20), numpy.array([[4, 17]]))\n"
        "print(float(engine(layout=engine.lay([line])).logps.sum()))",
        tmp_path / "engine.pt",
    )
    assert float(said) == pytest.approx(float(values(engine, [line]).sum()), abs=1e-4)


def test_two_engines_of_one_model_share_it_and_rows_take_it_from_forests() -> None:
    model, lines = llama(), family_tree()
    first, second = LogProbs(model), LogProbs(model)
    torch.testing.assert_close(values(first, lines), values(second, lines), rtol=0, atol=0)
    rows = LogProbs(model, layout="rows")
    torch.testing.assert_close(values(rows, lines), alone(model, lines).detach(), rtol=0, atol=1e-4)
    with pytest.raises(CapabilityError, match="attention of the model is not the forest's; found sdpa"):
        first(layout=first.lay(lines))


def test_there_are_two_layouts() -> None:
    with pytest.raises(InputError, match="no such layout; found 'tree'; accepted: forest or rows"):
        # Past the checker of types, which only tests have.
        inspect.unwrap(LogProbs.__init__)(LogProbs.__new__(LogProbs), llama(), layout="tree")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_laid_out_is_where_the_model_is(layout: Any) -> None:
    laid = LogProbs(llama().to("meta"), layout=layout).lay(family_tree())
    assert {part.device.type for part in (laid.ids, laid.positions, laid.targets.where)} == {"meta"}
