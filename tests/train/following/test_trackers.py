"""What is reported elsewhere is what stands in the run, and a tracker that fails takes nothing with it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from concord.errors import UnavailableError
from concord.recipes import read_recipe
from concord.run import Run
from concord.train import train
from concord.train.following.trackers import Trackers, check_tracker, open_trackers
from tests.train.test_training import Heard, apart, asked, place

__all__ = ["apart", "place"]

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard reads there."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    names = read.Tags()["scalars"]
    return {name: {one.step: one.value for one in read.Scalars(name)} for name in names}


def kept(run: Run) -> dict[str, dict[int, float]]:
    """The run's own metrics, under the names of dashboards."""
    found: dict[str, dict[int, float]] = {}
    for row in run.read_metrics():
        for name, value in row.items():
            if name != "step":
                shown = f"eval/{name[5:]}" if name.startswith("eval_") else f"train/{name}"
                found.setdefault(shown, {})[int(row["step"])] = value
    return found


def test_tensorboard_shows_the_metrics_of_the_run(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra track")
    folder = train(asked("dpo", place, tmp_path, eval_share=0.3, report_to=["tensorboard"]))
    assert folder is not None
    shown, own = scalars(folder / "tensorboard"), kept(Run(folder))
    assert shown.keys() == own.keys()
    assert {"train/loss", "train/rewards/margins", "eval/loss"} <= shown.keys()
    for name, values in own.items():
        assert shown[name] == pytest.approx(values, rel=1e-5)


def test_after_a_resume_it_shows_each_step_once(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra track")
    recipe = asked("sft", place, tmp_path, max_steps=6, save_steps=2, report_to="tensorboard")
    append = Run.append_metrics

    def broken(run: Run, row: Mapping[str, float]) -> None:
        append(run, row)
        if row["step"] == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Run, "append_metrics", broken)
        with pytest.raises(KeyboardInterrupt):
            train(recipe)
    folder = train(recipe, resume=True)
    assert folder is not None
    assert scalars(folder / "tensorboard")["train/loss"] == pytest.approx(kept(Run(folder))["train/loss"])


def test_wandb_takes_the_metrics(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    heard = Heard()
    folder = train(asked("sft", place, tmp_path, report_to="wandb", offline=True), watch=heard)
    assert folder is not None
    assert "told no more" not in heard.text
    assert list((folder / "wandb").glob("offline-run-*/run-*.wandb"))


def test_trackio_takes_the_metrics(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # It looks where to write when it is imported.
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio", reason="trackio is not installed")
    heard = Heard()
    folder = train(asked("sft", place, tmp_path, report_to="trackio"), watch=heard)
    assert folder is not None
    assert "told no more" not in heard.text
    assert list((tmp_path / "trackio").glob("*.db"))


def test_one_that_fails_is_let_go_of_and_the_others_go_on() -> None:
    class Fails:
        def log(self, values: Mapping[str, float], step: int) -> None:
            raise ConnectionError("no way there")

        def close(self) -> None:
            raise AssertionError("it was let go of")

    class Keeps:
        def __init__(self) -> None:
            self.rows: list[tuple[int, Mapping[str, float]]] = []
            self.closed = 0

        def log(self, values: Mapping[str, float], step: int) -> None:
            self.rows.append((step, values))

        def close(self) -> None:
            self.closed += 1

    said: list[str] = []
    keeps = Keeps()
    trackers = Trackers({"one": Fails(), "other": keeps}, said.append)
    for step in (1, 2):
        trackers.row({"step": step, "loss": 0.5, "eval_loss": 0.7})
    trackers.close()
    trackers.close()
    assert keeps.rows == [(step, {"train/loss": 0.5, "eval/loss": 0.7}) for step in (1, 2)]
    assert keeps.closed == 1
    assert said == ["one is told no more: ConnectionError: no way there. All metrics are in metrics.jsonl."]


def test_what_is_not_installed_is_said_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(UnavailableError, match="trackio is not installed") as refused:
        check_tracker("trackio")
    assert "pip install trackio" in str(refused.value)


def test_one_that_does_not_open_is_said(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs the extra track")
    (tmp_path / "tensorboard").write_text("a file stands in the way")
    recipe = read_recipe({"method": "sft", "model": "m", "data": "d", "report_to": "tensorboard"})
    with pytest.raises(UnavailableError, match="tensorboard cannot be reported to"):
        open_trackers(recipe, tmp_path, done=0, say=print)
