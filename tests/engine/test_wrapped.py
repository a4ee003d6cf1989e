"""What wrappers do with an engine in one process: the record it returns, autocast, compiling."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.utils._pytree import tree_leaves

from concord.engine.heads import ValueHead
from concord.engine.logprobs import LogProbs
from concord.engine.statistics import entropy
from tests.engine.models import apart, family_tree, llama
from tests.engine.ranks import ROOT


def test_wrappers_find_every_tensor_of_what_an_engine_returns() -> None:
    engine = LogProbs(llama(), heads={"value": ValueHead(32)})
    found = engine(layout=engine.lay(family_tree()), functions={"entropy": entropy}, states=True)
    leaves = [leaf for leaf in tree_leaves(found) if isinstance(leaf, torch.Tensor)]
    assert {id(leaf) for leaf in leaves} >= {
        id(tensor) for tensor in (found.logps, found.functions["entropy"], found.heads["value"], found.states)
    }
    # FSDP2 warns of views, for what is written into one would lose its hook.
    assert not [leaf for leaf in leaves if leaf.requires_grad and leaf._base is not None]


@pytest.mark.parametrize("layout", ["forest", "rows"])
def test_autocast_around_the_engine_reaches_the_model_and_leaves_sums_in_float32(layout: Any) -> None:
    engine, lines = LogProbs(llama(), layout=layout), family_tree()
    right = engine(layout=engine.lay(lines)).logps.detach()
    with torch.autocast("cpu", torch.bfloat16):
        found = engine(layout=engine.lay(lines))
    assert found.logps.dtype == torch.float32
    assert 1e-5 < apart(found.logps.detach(), right) < 5e-2


COMPILED = """
import sys, torch
from concord.engine.logprobs import LogProbs
from tests.engine.models import alone, apart, family_tree, gradients, llama, weighted

model, lines = llama(), family_tree()
right = alone(model, lines)
weighted(right).backward()
slopes = gradients(model)
engine = LogProbs(model, layout=sys.argv[1])
compiled = torch.compile(engine, backend="aot_eager")
weighted(compiled(layout=engine.lay(lines)).logps).backward()
assert apart(gradients(model), slopes) < 1e-4
for some in (lines[:3], []):
    found = compiled(layout=engine.lay(some)).logps.detach()
    assert torch.allclose(found, right[: len(found)], atol=1e-4)
assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 1
"""


@pytest.mark.long
@pytest.mark.parametrize("layout", ["forest", "rows"])
def test_a_compiled_engine_gives_the_same(layout: str) -> None:
    # In a process of its own, whose signatures are not checked: the compiler cannot look through checks.
    command = [sys.executable, "-W", "ignore", "-c", COMPILED, layout]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
