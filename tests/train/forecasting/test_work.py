"""What is computed, and how long that takes: tokens of real plans, honest times."""

import json

import numpy as np
import pytest
from transformers import LlamaForCausalLM

from concord.data import row_at
from concord.engine import Line, LogProbs
from concord.errors import InputError
from concord.train.forecasting.work import Stretch, as_json, compare, row_costs, time_for, work_of
from concord.train.loop import plan_rows, plan_step
from tests.train.forecasting.sized import CONFIG, COSTS, pairs

# --- tokens -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["forest", "rows"])
def test_tokens_are_those_that_the_engine_lays_out(layout: str) -> None:
    lengths, stretch = (
        pairs(12),
        Stretch(steps=4, batch_size=5, budget=250, positions=18, layout=layout, seed=3),
    )
    engine = LogProbs(LlamaForCausalLM(CONFIG), layout=layout)  # type: ignore[arg-type]
    tokens, passes, largest = 0, 0, 0
    for first in range(0, 18, 5):
        rows = [row_at(place, 12, 3) for place in range(first, min(first + 5, 18))]
        leaves = [int((lengths.row == number).sum()) for number in rows]
        shapes = list(zip(leaves, lengths.longest[rows].tolist(), strict=True))
        plan = (
            plan_rows(shapes, budget=250)
            if layout == "rows"
            else plan_step(row_costs(lengths, layout)[rows].tolist(), budget=250)
        )
        passes += plan.passes
        for places in plan.parts[0]:
            made: list[Line] = []
            for number in (rows[place] for place in places):
                for leaf in np.flatnonzero(lengths.row == number):
                    ids = np.full(lengths.length[leaf], len(made))
                    ids[: lengths.prompt[number]] = 100 + number
                    made.append(Line(ids))
            laid = engine.lay(made).tokens
            tokens, largest = tokens + laid, max(largest, laid)
    found = work_of(lengths, stretch)
    assert (found.tokens, found.passes, found.largest, found.planned) == (tokens, passes, largest, 4)
    assert found.trained == sum(int(lengths.trained[row_at(place, 12, 3)]) for place in range(18))


def test_the_fullest_step_is_that_of_the_largest_micro_batch() -> None:
    lengths = pairs(12)
    long = int(row_at(np.arange(12), 12, 3)[7])
    lengths.tokens[long] += 1000
    found = work_of(lengths, Stretch(steps=6, batch_size=2, budget=5000, seed=3))
    assert (found.fullest, found.largest > 1000) == (3, True)


def test_an_epoch_counts_every_row_once_and_ranks_share_passes() -> None:
    lengths = pairs(40)
    alone = work_of(lengths, Stretch(steps=5, batch_size=8, budget=300))
    shared = work_of(lengths, Stretch(steps=5, batch_size=8, budget=300, ranks=2))
    assert alone.tokens == shared.tokens == int(lengths.tokens.sum())
    assert alone.passes > shared.passes
    assert len([*alone.lines]) == 2


def test_long_runs_are_reckoned_from_their_first_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths, stretch = pairs(10), Stretch(steps=40, batch_size=5, budget=1000)
    whole = work_of(lengths, stretch)
    monkeypatch.setattr("concord.train.forecasting.work._MOST_STEPS", 2)
    part = work_of(lengths, stretch)
    assert (part.tokens, part.trained, part.steps) == (whole.tokens, whole.trained, 40)
    assert part.planned == 2
    assert "from the first 2" in next(part.lines)


# --- time -------------------------------------------------------------------------------------------------


def test_a_time_is_a_ratio_with_an_interval_that_narrows() -> None:
    exact = time_for([(100, 1.0), (200, 2.0), (50, 0.5)], 10_000, beside=7)
    assert exact.value == pytest.approx(107)
    assert exact.interval is not None
    assert exact.interval.high - exact.interval.low == pytest.approx(0, abs=1e-9)
    chance = np.random.default_rng(0)

    def probed(count: int) -> list[tuple[int, float]]:
        counts = chance.integers(100, 300, count)
        return [(int(one), float(one * 0.01 * chance.uniform(0.8, 1.2))) for one in counts]

    held = 0
    for _ in range(200):
        found = time_for(probed(6), 50_000)
        assert found.interval is not None
        held += found.interval.low <= 500 <= found.interval.high
    assert 180 <= held <= 199, "an interval of 95% holds the truth about that often"


def test_one_micro_batch_gives_no_interval_and_none_is_refused() -> None:
    assert time_for([(100, 1.0)], 720_000).line == "time: about 2 h 00 min"
    assert time_for([(100, 1.0)], 7200).line == "time: about 72 s"
    assert "between" in time_for([(100, 1.0), (100, 1.2)], 5000).line
    for bad in ([], [(0, 1.0)]):
        with pytest.raises(InputError, match="cannot be forecast"):
            time_for(bad, 10)


# --- afterwards -------------------------------------------------------------------------------------------


def test_a_forecast_is_kept_as_numbers_and_compared_with_what_happened() -> None:
    work = work_of(pairs(8), Stretch(steps=2, batch_size=4, budget=300))
    kept = json.loads(
        json.dumps(as_json(work, COSTS.memory(work.largest), time_for([(10, 1.0)], work.tokens)))
    )
    found = compare(kept, {"tokens": 2.0 * work.tokens, "seconds": 1.0, "unheard": 3.0})
    assert set(found) == {"tokens", "seconds"}
    assert found["tokens"]["ratio"] == 2
