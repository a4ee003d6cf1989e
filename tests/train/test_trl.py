"""The same training as TRL's: losses of twenty steps from the same weights, on the same rows."""

from pathlib import Path

import pytest

pytest.importorskip("trl")

from benchmarks.trajectory import STEPS, STORIES, Way, compare

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "way",
    [
        Way("demonstrations"),
        Way("pairs"),
        Way("judged"),
        Way("rewards"),
        Way("demonstrations", stories=True),
        Way("pairs", stories=True),
    ],
    ids=lambda way: f"{way.kind}-stories260K" if way.stories else way.kind,
)
def test_losses_are_those_of_trl(way: Way, tmp_path: Path) -> None:
    if way.stories and not STORIES.is_dir():
        pytest.skip("the real models are not beside the project")
    peer, ours = compare(way, tmp_path)
    apart = [mine - its for mine, its in zip(ours.losses, peer.losses, strict=True)]
    assert len(apart) == STEPS
    assert max(map(abs, apart)) < 1e-4
    # A drift to one side would show in the mean long before any step is that far off.
    assert abs(sum(apart) / STEPS) < 1e-5
    # Losses that stand still would be equal whatever the gradients are.
    assert max(peer.losses) - min(peer.losses) > 100 * max(map(abs, apart))
