"""Small worlds in which every objective can be solved exactly.

A policy is a softmax over a few replies. Nothing is sampled: a loss is the sum over all replies, pairs or
rankings, each weighted by its probability, so what descent arrives at is the optimum of the population.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, fields
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from concord import objectives as ours
from concord.tensors import (
    Pairs,
    PairValues,
    ReferencedPairs,
    ReferencedRanked,
    ReferencedReplies,
    ReferencedTokens,
    Replies,
    Rollouts,
)

Loss = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Bandit:
    """A small problem in numbers, and the numbers that solve it."""

    inputs: Mapping[str, Any]
    params: Mapping[str, Any]
    expected: Mapping[str, Any]

    def __getitem__(self, name: str) -> Tensor:
        return numbers(self.inputs[name])

    def solution(self, *path: str) -> Tensor:
        """What is expected under a name, or under a name within a name."""
        value: Any = self.expected
        for name in path:
            value = value[name]
        return numbers(value)


def numbers(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


_ENTRIES = json.loads((Path(__file__).parent / "vectors.json").read_text(encoding="utf-8"))["bandits"]
BANDITS = {e["name"]: Bandit(e["inputs"], e["params"], e["expected"]) for e in _ENTRIES}
PROVED: set[str] = set()


def proves(*names: str) -> pytest.MarkDecorator:
    """Give a test the bandits of these names in turn, and note that there is a test of them."""
    PROVED.update(names)
    return pytest.mark.parametrize("bandit", [pytest.param(BANDITS[name], id=name) for name in names])


# --- descent ----------------------------------------------------------------------------------------------


def descend(loss: Loss, start: Tensor, *, steps: int = 600) -> Tensor:
    """Where descent on the loss ends.

    Rprop looks at signs of the gradient only. So it serves surrogates, whose values mean nothing, kinks, at
    which gradients do not vanish, and gradients of any size.
    """
    x = start.clone().requires_grad_()
    optimizer = torch.optim.Rprop([x], lr=0.1, step_sizes=(1e-14, 2.0))
    for _ in range(steps):
        optimizer.zero_grad()
        loss(x).backward()
        optimizer.step()
        if optimizer.state[x]["step_size"].max() < 1e-9:
            break
    return x.detach()


def fit(loss: Loss, start: Tensor, *, steps: int = 600) -> Tensor:
    """The probabilities of the policy that descent ends at; the loss is given log-probabilities."""
    return descend(lambda logits: loss(logits.log_softmax(-1)), start, steps=steps).softmax(-1)


def starts(size: int) -> tuple[Tensor, ...]:
    """Logits to start from: level, and far off, the worst reply 3000 times as likely as the best."""
    return torch.zeros(size, dtype=torch.float64), torch.linspace(-4.0, 4.0, size, dtype=torch.float64)


def assert_leads_to(loss: Loss, optimum: Tensor, *, atol: float = 1e-6) -> None:
    """Descent on the loss arrives at this policy, wherever it starts."""
    for start in starts(len(optimum)):
        torch.testing.assert_close(fit(loss, start), optimum, atol=atol, rtol=0)


# --- records of all there is ------------------------------------------------------------------------------


def replies(logp: Tensor, *, length: Tensor | None = None) -> Replies:
    """Every reply once; one token each unless lengths are given."""
    return Replies(logp, torch.ones_like(logp) if length is None else length)


def referenced(logp: Tensor, ref: Tensor, *, length: Tensor | None = None) -> ReferencedReplies:
    """Every reply once, with the reference's probabilities of them."""
    return ReferencedReplies(logp, torch.ones_like(logp) if length is None else length, ref=ref.log())


def all_pairs(every: Any) -> Any:
    """The record of all ordered pairs: reply i chosen over reply j, i the slower index."""
    i, j = torch.cartesian_prod(*2 * [torch.arange(len(every))]).T
    kind = ReferencedPairs if isinstance(every, ReferencedReplies) else Pairs
    return kind(every.rows(i), every.rows(j))


def pair_law(p_star: Tensor, mu: Tensor) -> Tensor:
    """Probability of each ordered pair: both replies drawn from mu, then the first preferred."""
    return (mu[:, None] * mu[None, :] * p_star).flatten()


def bradley_terry_law(reward: Tensor) -> Tensor:
    """Probability that each reply is preferred to each other one."""
    return torch.sigmoid(reward[:, None] - reward[None, :])


def ranking_law(reward: Tensor) -> tuple[Tensor, Tensor]:
    """All rankings, best first, and the probability of each under Plackett-Luce."""
    orders = torch.tensor(list(permutations(range(len(reward)))))
    weight = reward.exp()[orders]
    remaining = weight.flip(-1).cumsum(-1).flip(-1)
    return orders, (weight / remaining).prod(-1)


def tokens(logp: Tensor, ref: Tensor) -> ReferencedTokens:
    """Every reply once, each a single token."""
    return ReferencedTokens(owner=torch.arange(len(logp)), num_replies=len(logp), logp=logp, ref=ref.log())


def on_policy(logp: Tensor, advantage: Tensor) -> Rollouts:
    """Every reply once, each a single token that the policy itself has sampled."""
    return Rollouts(
        owner=torch.arange(len(logp)),
        num_replies=len(logp),
        logp=logp,
        old=logp.detach(),
        advantage=advantage,
    )


def expected(values: Tensor, logp: Tensor) -> Tensor:
    """The mean of values over the policy's own samples: the law of the samples has no gradient."""
    return (logp.detach().exp() * values).sum()


# --- losses of whole populations ---------------------------------------------------------------------------


def over_pairs(objective: Callable[..., Tensor], law: Tensor, ref: Tensor, length: Any = None) -> Loss:
    """The population loss of an objective on pairs, all of which have this probability."""
    return lambda logp: (law * objective(all_pairs(referenced(logp, ref, length=length)))).sum()


def preferences(bandit: Bandit, reward: str = "reward") -> Tensor:
    """The law of pairs: drawn evenly unless the bandit says how, preferred as it says or by its reward."""
    p = bandit["p_star"] if "p_star" in bandit.inputs else bradley_terry_law(bandit[reward])
    size = len(p)
    mu = bandit.inputs.get("pair_sampling_mu", [1 / size] * size)
    return pair_law(p, numbers(mu))


def group_relative(bandit: Bandit, penalty: Callable[..., Tensor], *, std: bool, beta: float) -> Loss:
    """GRPO with so many samples that group statistics are the policy's own; the penalty is in the loss."""
    reward = bandit["reward"]

    def loss(logp: Tensor) -> Tensor:
        centred = reward - expected(reward, logp)
        advantage = centred / (expected(centred.square(), logp).sqrt() if std else 1.0)
        every = ours.ppo_clip(on_policy(logp, advantage)) + beta * penalty(tokens(logp, bandit["pi_ref"]))
        return expected(every, logp)

    return loss


def in_loss(estimator: Callable[[ReferencedTokens], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda logp, ref: expected(estimator(tokens(logp, ref)), logp)


def k1_in_reward(logp: Tensor, ref: Tensor) -> Tensor:
    reward = ours.kl_k1_reward(tokens(logp, ref), beta=1.0)
    return expected(ours.reinforce(on_policy(logp, reward)), logp)


def kl_itself(logp: Tensor, ref: Tensor) -> Tensor:
    return ours.f_divergence(logp.exp(), ref, generator="kl")


def forward_kl_itself(logp: Tensor, ref: Tensor) -> Tensor:
    return ours.f_divergence(logp.exp(), ref, generator="reverse_kl")


def two_way_rankings(pairs: ReferencedPairs) -> ReferencedRanked:
    both = (pairs.chosen, pairs.rejected)
    return ReferencedRanked(
        utility=numbers([[1.0, 0.0]]).expand(len(pairs), 2),
        logp=torch.stack([side.logp for side in both], 1),
        length=torch.stack([side.length for side in both], 1),
        ref=torch.stack([side.ref for side in both], 1),
    )


def ranking_of_two(pairs: ReferencedPairs, *, beta: float) -> Tensor:
    return ours.plackett_luce(two_way_rankings(pairs), beta=beta)


def weighted(pairs: ReferencedPairs, *, beta: float) -> Tensor:
    """WPO with a weight of its own for each pair, of which some are over the cap and some under."""
    weight = pairs.chosen.ref * 1.5 + 1.0, pairs.rejected.ref * 1.5 + 1.0
    return ours.wpo(pairs, collision=PairValues(*weight), beta=beta)


def cross_entropy_of_two(pairs: ReferencedPairs, *, beta: float) -> Tensor:
    """InfoNCA with two replies, at so low a temperature that the winner takes all."""
    return ours.info_nca(two_way_rankings(pairs), beta=beta, alpha=1e-3)


def slic(lam: float) -> Callable[..., Tensor]:
    """SLiC-HF whose targets are the first reply six times in ten, the second otherwise."""

    def objective(pairs: ReferencedPairs) -> Tensor:
        every = pairs.chosen.rows(torch.tensor([0, 3]))  # of the four pairs, the first and the last
        towards = [
            q * ours.slic_hf(pairs, target=every.rows(torch.full((4,), k)), delta=1.0, lam=lam)
            for k, q in enumerate((0.6, 0.4))
        ]
        return towards[0] + towards[1]

    return objective


def one_row(bandit: Bandit, logp: Tensor, copies: Tensor | None = None) -> ReferencedRanked:
    """A single ranking that holds every reply, once or as many times as is said."""
    index = torch.arange(len(logp)) if copies is None else torch.arange(len(logp)).repeat_interleave(copies)
    return ReferencedRanked(
        utility=bandit["reward"][index][None],
        logp=logp[index][None],
        length=torch.ones(1, len(index), dtype=torch.float64),
        ref=bandit["pi_ref"].log()[index][None],
    )


def imitation(target: Tensor) -> Loss:
    """Supervised fine-tuning on replies that come with these probabilities."""
    return lambda logp: (target * ours.sft(tokens(logp, target))).sum()


# --- models and trainers that are tables ------------------------------------------------------------------


class Table(nn.Module):
    """A model that looks its logits up: for these tokens, those. Its head is the identity."""

    is_gradient_checkpointing = False
    config = SimpleNamespace(get_text_config=SimpleNamespace)

    def __init__(self, *entries: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.entries = entries
        width = entries[0][1].shape[-1]
        self.head = nn.Linear(width, width, bias=False).requires_grad_(False)
        self.head.weight.copy_(torch.eye(width))

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def base_model(self, input_ids: Tensor, **_: Any) -> SimpleNamespace:
        found = [logits for ids, logits in self.entries if torch.equal(ids, input_ids)]
        return SimpleNamespace(last_hidden_state=found[0])

    def forward(self, input_ids: Tensor, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(logits=self.base_model(input_ids).last_hidden_state)


def scored(*entries: tuple[Tensor, Tensor]) -> Table:
    """A table with the head by which TRL reads log-probabilities off a model."""
    from trl.trainer.utils import add_fused_lm_head

    model: Any = Table(*entries)
    kinds = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")
    add_fused_lm_head(model, outputs=kinds)
    return model


def same(value: Tensor, **_: Any) -> Tensor:
    return value


ALONE = SimpleNamespace(
    device=torch.device("cpu"),
    num_processes=1,
    process_index=0,
    is_main_process=True,
    parallelism_config=None,
    gather=same,
    gather_for_metrics=same,
    reduce=same,
    autocast=nullcontext,
)


def trainer(kind: Any, config: Any, **more: Any) -> Any:
    """A trainer as it is after its constructor, as far as its loss looks at it."""
    made = kind.__new__(kind)
    settings = {f.name: getattr(config, f.name) for f in fields(config)}
    state = {
        "args": config,
        "accelerator": ALONE,
        "model": SimpleNamespace(training=True, is_gradient_checkpointing=False),
        "aux_loss_enabled": False,
        "_metrics": {"train": defaultdict(list)},
        "_total_train_tokens": 0,
        "_tp_size": 1,
    }
    vars(made).update(settings | state | more)
    return made


def agree(mine: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor], at: Tensor) -> None:
    """Two functions of a tensor have one value and one gradient there."""
    values, gradients = [], []
    for function in (mine, theirs):
        leaf = at.clone().requires_grad_()
        value = function(leaf)
        values.append(value.detach())
        gradients.append(torch.autograd.grad(value, leaf)[0])
    assert gradients[0].abs().max() > 1e-4
    torch.testing.assert_close(*values, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-5)
