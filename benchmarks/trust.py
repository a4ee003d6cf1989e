"""What reward models are worth on real comparisons, beside the longer reply and rules that read nothing.

A small pretrained model learns the comparisons of two thirds of the prompts and scores those of the rest, in
turns, so each comparison is judged by a model that has seen nothing of its prompt. No time is taken.
"""

import json
import shutil
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from benchmarks.record import Findings, Row
from concord.engine import load_reward
from concord.errors import NotFoundError, explain
from concord.eval.trust import judge_trust
from concord.formats import open_items, write_items
from concord.recipes import read_recipe
from concord.train import train
from concord.types import Feedback, Item, Preference, Rate, Result, Score, Unscored

__all__ = ["measure"]

SHARED = Path(__file__).parents[2] / "shared" / "data"
MODEL = SHARED / "models" / "stories260K"
SETS = {"Open Assistant": "pref/oasst_ranked.jsonl.gz", "PandaLM": "pref/pandalm.jsonl.gz"}
TURNS, TOKENS = 3, 2048
HOW = {
    "method": "bradley_terry",
    "train": "full",
    "learning_rate": 1e-3,
    "batch_size": 16,
    "num_train_epochs": 3,
    "max_length": TOKENS,
    "on_long": "drop",
    "eval_share": 0.0,
    "samples": 0,
    "device": "cpu",
}


class Turned:
    """Several reward models, each of which scores the replies to prompts that it has not learned from."""

    def __init__(self, models: Sequence[Feedback]) -> None:
        self.models = models

    @property
    def id(self) -> str:
        """Those of all."""
        return " ".join(one.id for one in self.models)

    def rate(self, rates: Sequence[Rate]) -> Sequence[tuple[Score | Unscored, ...]]:
        """Score each by the model whose turn it is."""
        return [self.models[turn_of(one.prompt.text)].rate([one])[0] for one in rates]


def turn_of(prompt: str) -> int:
    """In which turn the comparisons of a prompt are scored."""
    return int.from_bytes(sha256(prompt.encode()).digest()[:4]) % TURNS


def measure(*, quick: bool = False) -> Findings:
    """Both data sets."""
    if not SHARED.is_dir():
        wrong, accepted = "the data of this benchmark are not here", "the folder that holds them"
        raise NotFoundError(explain(wrong, found=str(SHARED), accepted=accepted, do="put them there"))
    tables: dict[str, Sequence[Row]] = {}
    with TemporaryDirectory() as name:
        home = _widened(Path(name) / "model")
        for title, file in SETS.items():
            items = [one for one in open_items(str(SHARED / file)) if isinstance(one.utilities, Preference)][
                : 60 if quick else None
            ]
            judge = _trained(items, home, Path(name) / title.split()[0], quick=quick)
            prompts = [one.prompt.text for one in items]
            tables[title] = [*_rows(judge_trust(judge, items, clusters=(prompts,)), judge.id)]
    notes = (
        f"each comparison is judged by one of {TURNS} models, which has seen nothing of its prompt",
        "intervals of 95 per cent by prompts; ties of people are left out, a judge's own count one half",
    )
    return Findings("What reward models are worth", tables, {"model": MODEL.name, "training": HOW}, notes)


def _widened(folder: Path) -> Path:
    """The model with room for long replies: its angles go on behind what it was trained on."""
    shutil.copytree(MODEL, folder)
    for file, names in (
        ("config.json", ("max_position_embeddings",)),
        ("tokenizer_config.json", ("model_max_length",)),
    ):
        path = folder / file
        path.chmod(0o644)
        path.write_text(json.dumps(json.loads(path.read_text()) | dict.fromkeys(names, TOKENS)))
    return folder


def _trained(items: Sequence[Item], home: Path, folder: Path, *, quick: bool) -> Turned:
    """A reward model for each turn."""
    models: list[Feedback] = []
    folder.mkdir()
    for turn in range(TURNS):
        rows = folder / f"{turn}.jsonl"
        write_items([one for one in items if turn_of(one.prompt.text) != turn], rows, shape="concord")
        short = {"max_steps": 2} if quick else {}
        given = {**HOW, **short, "model": str(home), "data": str(rows), "runs": str(folder / "runs")}
        made = train(read_recipe({**given, "name": f"turn-{turn}"}))
        assert made is not None
        models.append(cast("Feedback", load_reward(made / "model", device="cpu")))
    return Turned(models)


def _rows(results: Sequence[Result], judge: str) -> list[Row]:
    """How often each prefers what people prefer, and the lead of the model over the longer reply."""
    found: list[Row] = []
    for one in results:
        if one.value is not None and one.name in ("judge_accuracy", "judge_beyond_length"):
            by = str(one.at["by"])
            who = "the reward model" if by == judge else by
            ends = f"[{one.interval.low:.3f}, {one.interval.high:.3f}]" if one.interval else ""
            what = f"{who}, beyond the longer reply" if one.name.endswith("length") else who
            found.append({"what": what, "share": round(one.value, 3), "95 per cent": ends, "pairs": one.n})
    return found
