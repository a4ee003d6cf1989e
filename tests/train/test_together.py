"""A recipe that two processes carry out together: what one does alone, and no late surprise."""

from pathlib import Path
from typing import Any

import pytest

from concord.run import Run
from concord.train import train, training
from concord.train.leaving.trial import Checked
from tests.train import together
from tests.train.ranks import run

pytestmark = pytest.mark.slow


def test_two_processes_learn_what_one_does_go_on_and_fail_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In one test, for two processes take long to begin.
    together.prepare(tmp_path)
    first, second = run(tmp_path, "tests.train.together")
    monkeypatch.setenv("CONCORD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(training, "check_export", _believed)
    alone = train(together.recipe(tmp_path, "alone"))
    assert alone is not None
    for found in (first["enough"], second["enough"]):
        assert found["steps"] == list(range(together.STEPS))
        assert found["state"] == "finished"
        losses = [row["loss"] for row in Run(alone).read_metrics()]
        assert found["losses"] == pytest.approx(losses, rel=1e-4)
    for found in (first["sharded"], second["sharded"]):
        assert found["stopped"] == "stopped"
        assert found["resumed"] == found["whole"]
    assert "the memory does not suffice for step" in _failed(first, second)


def _believed(*given: Any, **more: Any) -> Checked:
    return Checked(weights=0)


def _failed(*found: Any) -> str:
    """What the process that had too little memory says; none of them took a step."""
    assert [one["little"]["steps"] for one in found] == [[], []]
    return " ".join(one["little"].get("error", "") for one in found)
