"""The demonstration: each step leaves what the next one needs, and what is there is used again."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def shown(folder: Path) -> str:
    """What the demonstration prints, in a process of its own."""
    command = [sys.executable, "-m", "scripts.demo", str(folder / "runs" / "demo"), "--limit", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_it_goes_from_base_to_scorecards_and_knows_what_it_has_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="models are trained")
    monkeypatch.setenv("CONCORD_CACHE", str(tmp_path / "cache"))
    first = shown(tmp_path)
    runs = tmp_path / "runs"
    cards = json.loads((runs / "demo" / "scorecard.json").read_text(encoding="utf-8"))
    assert [*cards] == ["base", "sft", "dpo"]
    assert cards["dpo"]["base"] == cards["base"]["model"]
    assert (runs / "demo" / "report.html").is_file()
    for line in ("1 of 5.", "5 of 5.", "concord train sft", "concord train dpo", "What changed"):
        assert line in first
    kept = sorted(path.name for path in runs.iterdir())
    again = shown(tmp_path)
    assert sorted(path.name for path in runs.iterdir()) == kept
    assert "What changed" in again
