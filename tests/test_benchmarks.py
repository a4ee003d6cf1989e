"""What the documentation says of speed is what the benchmarks found, and was compared loss by loss."""

import json

import pytest

pytest.importorskip("trl", reason="the benchmarks stand beside TRL, which is not installed")

from benchmarks.__main__ import RESULTS, names, standing
from benchmarks.train_work import WORKLOADS
from scripts.figures import RECORD
from tests.conftest import ROOT


def test_the_table_of_the_docs_is_that_of_the_results() -> None:
    lines = standing()
    assert len(lines) > 2
    assert "\n".join(lines) in (ROOT / "docs" / "training.md").read_text(encoding="utf-8")


def test_what_is_kept_was_measured_by_a_benchmark_that_is_there() -> None:
    kept = {file.stem for file in RESULTS.glob("*.json")}
    assert kept <= {*names(), RECORD.stem}
    for name in kept & {*WORKLOADS}:
        found = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        summary = found["summary"]
        assert summary["workload"] == name
        # In bfloat16 each side rounds in its own way, by about 1e-3 from what float32 gives.
        exact = found["settings"]["precision"] == "fp32"
        assert summary["losses_equal"] if exact else summary["largest_loss_difference"] < 2e-3, name
        assert summary["ratio"] > 1, name
