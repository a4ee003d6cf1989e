"""Data that people have, and a model that was trained: a few steps of each kind, from the files as is."""

import json
from pathlib import Path

import pytest

from concord.recipes import read_recipe
from concord.run import Run
from concord.train import train, training
from concord.train.leaving.trial import Checked
from tests.shared import SHARED, needs_shared

pytestmark = [pytest.mark.slow, needs_shared]

CASES = [
    ("dpo", "pref/hh_harmless.jsonl.gz", {}),
    ("plackett_luce", "pref/oasst_ranked.jsonl.gz", {}),
    ("simpo", "pref/pandalm.jsonl.gz", {}),
    ("dpo", "pref/pandalm.jsonl.gz", {}),
    ("kto", "unary/truthfulqa_truth.jsonl.gz", {}),
    ("sft", "sft/gsm8k_train.jsonl.gz", {}),
    ("bradley_terry", "pref/hh_harmless.jsonl.gz", {}),
]


@pytest.mark.parametrize(("method", "file", "settings"), CASES)
def test_real_data_train_a_real_model(
    method: str, file: str, settings: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCORD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(training, "check_export", lambda *given, **more: Checked(weights=0))
    recipe = read_recipe(
        {
            "method": method,
            "model": str(SHARED / "models" / "stories260K"),
            "data": str(SHARED / file),
            "runs": str(tmp_path / "runs"),
            "max_length": 512,
            "on_long": "drop",
            "max_steps": 4,
            "batch_size": 8,
            "logging_steps": 1,
            "samples": 0,
            "learning_rate": 1e-3,
            "warmup_ratio": 0.0,
            **settings,
        }
    )
    folder = train(recipe)
    assert folder is not None
    rows = [row for row in Run(folder).read_metrics() if "loss" in row]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    told = json.loads((folder / "prepared.json").read_text())["counts"]["train"]
    assert told["read"] >= told["rows"] > 100
    dropped = sum(told["dropped"].values())
    if file.endswith("pandalm.jsonl.gz"):
        # Ties are values to DPO, and nothing to SimPO.
        assert bool(dropped) == (method == "simpo")
