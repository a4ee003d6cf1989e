"""What rows say to objectives: scores that some pairs lack pull at nothing there."""

from typing import Any

import numpy as np
import torch

from concord.objectives import bradley_terry, bradley_terry_scored
from concord.tensors import RewardPairs
from concord.train.loop.batch import Batch
from concord.train.loop.inputs import Knowledge, input_of
from concord.types import Preference, SegmentPreference
from tests.train.made import row


def test_pairs_without_scores_are_learned_from_as_pairs() -> None:
    chance = np.random.default_rng(0)
    known: list[Any] = [Preference(0.0, scores=(2.0, 5.0)), Preference(1.0), SegmentPreference(1.0)]
    batch = Batch.of_step([row(number, 2, one, chance) for number, one in enumerate(known)])
    rewards = torch.tensor([[1.0, -1.0, 0.5], [0.0, 2.0, 0.5]], requires_grad=True)
    pairs = RewardPairs(rewards[0], rewards[1])
    scores = input_of("scores", Knowledge(batch, rewards))
    assert scores.chosen[0] == 5.0
    assert scores.rejected[0] == 2.0
    assert scores.chosen[1:].isnan().all()
    losses = bradley_terry_scored(pairs, scores=scores, alpha=0.5)
    plain = bradley_terry(pairs)
    torch.testing.assert_close(losses - plain, torch.tensor([0.5 * (16.0 + 4.0), 0.0, 0.0]))
    pulled, free = (torch.autograd.grad(one.sum(), rewards, retain_graph=True)[0] for one in (losses, plain))
    torch.testing.assert_close(pulled[:, 1:], free[:, 1:])
