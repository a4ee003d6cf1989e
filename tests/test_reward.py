"""The reward models of Harbour: each is trained by the command, and stands beside the best there can be."""

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="a model is trained")

from concord.formats import write_items
from concord.types import Preference
from concord.worlds.harbour import Harbour
from scripts.reward import VOTES, WAYS, compared, held, trained


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_it_learns_what_juries_prefer_and_nobody_beats_the_odds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setenv("CONCORD_CACHE", str(tmp_path / "cache"))
    world = Harbour()
    taught = world.requests("train", families=("forbidden", "lookalikes"))
    rows = tmp_path / "rows.jsonl"
    assert write_items(compared(taught, draws=5, pairs=4, seed=0), rows, shape="concord") > 500
    tried = list(
        compared(world.requests("test", families=("forbidden",)), draws=4, pairs=3, seed=1, odds=True)
    )
    assert all(isinstance(item.utilities, Preference) for item in tried)
    assert {sum(getattr(item.utilities, "votes", ())) for item in tried} == {VOTES}
    results = {(one.name, one.at["by"]): one for one in held(trained(rows, tmp_path / "runs", way), tried)}
    (below,) = [one for (name, _), one in results.items() if name == "judge_below_best"]
    best = results["judge_accuracy", "whoever knows all odds"].value
    assert best is not None
    assert below.value is not None
    assert 0.7 < best < 0.95
    # It has learned something: chance is a half, and some of what can be known is had.
    assert best - below.value > 0.55
