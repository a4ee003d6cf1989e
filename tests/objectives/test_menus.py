"""Advantages, reductions, shaping, divergences and metrics: identities, brute force, and edges."""

import itertools
import math
from dataclasses import fields, replace
from functools import partial
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import concord.objectives as ob
from concord.catalogue import load
from concord.errors import InputError, NotFoundError, RecipeError
from concord.tensors import (
    Groups,
    PairValues,
    PerPair,
    Ranked,
    ReferencedPairs,
    ReferencedRollouts,
    ReferencedTokens,
    Replies,
    Rollouts,
    StepLogits,
    Tokens,
    Values,
)
from tests.objectives.examples import Maker, make

t = torch.tensor
lengths = st.lists(st.integers(1, 6), min_size=1, max_size=5)


def tokens_of(sizes: list[int], seed: int = 0) -> tuple[Tokens, Tensor]:
    owner = torch.arange(len(sizes)).repeat_interleave(t(sizes))
    values = torch.randn(len(owner), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Tokens(logp=-values.abs(), owner=owner, num_replies=len(sizes)), values


# --- advantages -------------------------------------------------------------------------------------------


@given(lengths, st.floats(0.5, 1.0), st.floats(0.0, 1.0))
def test_gae_is_its_definition(sizes: list[int], gamma: float, lam: float) -> None:
    tokens, reward = tokens_of(sizes)
    value = tokens_of(sizes, seed=1)[1]
    advantage = ob.gae(tokens, reward=reward, value=value, gamma=gamma, lam=lam)
    at = 0
    for size in sizes:
        running, nxt = 0.0, 0.0
        for n in reversed(range(at, at + size)):
            running = reward[n].item() + gamma * nxt - value[n].item() + gamma * lam * running
            nxt = value[n].item()
            assert advantage[n].item() == pytest.approx(running, abs=1e-9)
        at += size


def test_gae_without_discount_is_reward_to_go_less_value() -> None:
    tokens, reward = tokens_of([3, 1, 5])
    value = tokens_of([3, 1, 5], seed=1)[1]
    advantage = ob.gae(tokens, reward=reward, value=value, lam=1.0)
    torch.testing.assert_close(advantage, ob.reward_to_go(tokens, reward=reward) - value)


def test_gae_has_no_gradient() -> None:
    tokens, reward = tokens_of([3, 2])
    value = reward.clone().requires_grad_()
    assert not ob.gae(tokens, reward=reward, value=value).requires_grad


def test_gae_of_a_known_case() -> None:
    tokens, _ = tokens_of([4])
    last = t([0.0, 0.0, 0.0, 1.0]).double()
    advantage = ob.gae(tokens, reward=last, value=last, gamma=0.9, lam=0.95)
    assert (advantage + last).tolist() == pytest.approx([0.657923, 0.7695, 0.9, 1.0], abs=1e-6)
    assert advantage[3].item() == 0


@given(st.lists(st.lists(st.floats(-3, 3), min_size=1, max_size=5), min_size=1, max_size=4))
def test_group_advantages_by_brute_force(table: list[list[float]]) -> None:
    flat = [(g, r) for g, rewards in enumerate(table) for r in rewards]
    groups = Groups(t([r for _, r in flat]).double(), t([g for g, _ in flat]), len(table))
    centred, loo = ob.centred(groups), ob.leave_one_out(groups)
    for place, (g, r) in enumerate(flat):
        mean = sum(table[g]) / len(table[g])
        assert centred[place].item() == pytest.approx(r - mean, abs=1e-6)
        others = len(table[g]) - 1
        rest = (sum(table[g]) - r) / others if others else r
        assert loo[place].item() == pytest.approx(r - rest, abs=1e-5)
    assert ob.standardised(groups).isfinite().all()


def test_a_group_of_equal_rewards_teaches_nothing() -> None:
    groups = Groups.of(t([[1.0, 1.0, 1.0], [0.0, 1.0, 0.0]]))
    for advantage in (ob.centred, ob.standardised, ob.leave_one_out, ob.batch_standardised):
        assert advantage(groups)[:3].tolist() == [0.0, 0.0, 0.0]
    assert ob.informative(groups).tolist() == [False] * 3 + [True] * 3


def test_a_reply_alone_in_its_group_gets_zero() -> None:
    groups = Groups(t([3.0, 1.0, 2.0]), t([0, 1, 1]), 2)
    assert ob.leave_one_out(groups)[0].item() == 0
    assert ob.standardised(groups)[0].item() == 0


def test_whitened_values() -> None:
    x = torch.randn(50, generator=torch.Generator().manual_seed(0)).double() * 3 + 7
    w = ob.whiten(x)
    assert w.mean().item() == pytest.approx(0, abs=1e-12)
    assert w.std().item() == pytest.approx(1, abs=1e-7)
    assert ob.whiten(x, shift=False).mean().item() == pytest.approx(x.mean().item())


# --- reductions -------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 6), min_size=2, max_size=6), st.data())
def test_any_split_adds_up_to_the_whole_when_totals_are_given(sizes: list[int], data: Any) -> None:
    tokens, loss = tokens_of(sizes)
    cut = data.draw(st.integers(1, len(sizes) - 1))
    order = data.draw(st.permutations(range(len(sizes))))
    for reduce in (ob.token_mean, ob.sequence_mean, ob.sequence_sum):
        pieces = []
        for chosen in (order[:cut], order[cut:]):
            index = t(sorted(chosen))
            pieces.append((loss[tokens.token_index(index)], tokens.rows(index)))
        total = sum(reduce.counts(*piece) for piece in pieces)  # type: ignore[attr-defined]
        parts = sum(reduce(*piece, total=total).item() for piece in pieces)
        assert parts == pytest.approx(reduce(loss, tokens).item(), abs=1e-9)


def test_parts_by_label_and_by_group_add_up_too() -> None:
    loss, good, head = t([1.0, 2.0, 6.0, 4.0]), t([True, True, False, False]), t([2, 0, 0, 2])
    cases: list[tuple[Any, dict[str, Any]]] = [
        (ob.label_sum, {"desirable": good}),
        (ob.group_mean, {"group": head, "num_groups": 3}),
        (ob.row_mean, {}),
    ]
    for reduce, inputs in cases:
        cut = [
            (loss[part], {k: v[part] if isinstance(v, Tensor) else v for k, v in inputs.items()})
            for part in (slice(0, 3), slice(3, 4))
        ]
        total = sum(reduce.counts(rows, **given) for rows, given in cut)
        parts = sum(reduce(rows, total=total, **given).item() for rows, given in cut)
        assert parts == pytest.approx(reduce(loss, **inputs).item())


def test_a_mean_of_means_would_be_another_number() -> None:
    tokens, loss = tokens_of([1, 6])
    halves = [ob.token_mean(loss[tokens.owner == i], tokens.rows(t([i]))).item() for i in (0, 1)]
    assert sum(halves) / 2 != pytest.approx(ob.token_mean(loss, tokens).item())


def test_reductions_of_equal_lengths_agree() -> None:
    tokens, loss = tokens_of([4, 4, 4])
    mean = ob.token_mean(loss, tokens)
    torch.testing.assert_close(ob.sequence_mean(loss, tokens), mean)
    torch.testing.assert_close(ob.fixed_length_mean(loss, tokens, max_length=4), mean)
    torch.testing.assert_close(ob.sequence_sum(loss, tokens), 4 * mean)


def test_means_by_label_and_by_group() -> None:
    loss, good = t([1.0, 2.0, 6.0]), t([True, True, False])
    assert ob.label_sum(loss, desirable=good).item() == 7.5
    assert ob.label_sum(loss[:2], desirable=good[:2]).item() == 1.5  # nothing bad adds nothing
    assert ob.label_sum(loss[:1], desirable=good[:1], total=t([1.0, 2.0])).item() == 0.5
    assert ob.group_mean(loss, group=t([3, 3, 0]), num_groups=5).item() == 3.75  # empty groups are no groups


# --- shaping ----------------------------------------------------------------------------------------------


@given(lengths)
def test_redistribution_keeps_the_return(sizes: list[int]) -> None:
    tokens, values = tokens_of(sizes)
    reward = torch.arange(1.0, len(sizes) + 1).double()
    weight = values.abs() * (tokens.owner != 0)  # the first reply has no weight at all
    for dense in (
        ob.redistribute_by_weight(tokens, reward=reward, weight=weight),
        ob.redistribute_by_value(tokens, reward=reward, value=values),
    ):
        torch.testing.assert_close(tokens.sum(dense), reward)


def test_only_one_token_carries_the_reward() -> None:
    tokens, _ = tokens_of([3, 1, 2])
    same = ReferencedTokens(**vars(tokens), ref=tokens.logp)
    shaped = ob.kl_shaped_rewards(same, reward=t([5.0, 6.0, 7.0]).double(), beta=0.1)
    assert shaped.tolist() == [0.0, 0.0, 5.0, 6.0, 0.0, 7.0]


def test_shaped_rewards_add_up() -> None:
    tokens, noise = tokens_of([3, 1, 2])
    moved = ReferencedTokens(**vars(tokens), ref=tokens.logp - noise)
    reward = t([5.0, 6.0, 7.0]).double()
    shaped = ob.kl_shaped_rewards(moved, reward=reward, beta=0.1)
    torch.testing.assert_close(tokens.sum(shaped) + 0.1 * tokens.sum(ob.k1(moved)), reward)


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=5), st.integers(1, 3))
def test_best_of_n_by_enumeration(rewards: list[float], n: int) -> None:
    p = torch.arange(1.0, len(rewards) + 1).double()
    p = p / p.sum()
    law = ob.best_of_n_weights(p, t(rewards, dtype=torch.float64), n=n)
    exact = torch.zeros_like(p)
    for draw in itertools.product(range(len(rewards)), repeat=n):
        best = max(rewards[i] for i in draw)
        tied = [i for i in draw if rewards[i] == best]
        exact[tied[0]] += math.prod(p[i].item() for i in draw)
    torch.testing.assert_close(law, exact)
    kl = torch.xlogy(law, law / p).sum().item()
    assert kl <= ob.best_of_n_kl_bound(n) + 1e-9


def test_best_of_n_picks_the_first_of_equals_in_each_group() -> None:
    groups = Groups(t([1.0, 3.0, 2.0, 3.0, 2.0]), t([0, 0, 1, 0, 1]), 2)
    assert ob.best_of_n(groups).tolist() == [False, True, True, False, False]


def test_tilted_weights_are_a_softmax_by_group() -> None:
    groups = Groups(t([1.0, 3.0, 1000.0, 2.0, 999.0]), t([0, 0, 1, 0, 1]), 2)
    weights = ob.tilted_weights(groups, beta=0.5)
    torch.testing.assert_close(weights[t([0, 1, 3])], (t([1.0, 3.0, 2.0]) / 0.5).softmax(-1))
    torch.testing.assert_close(weights[t([2, 4])], (t([1000.0, 999.0]) / 0.5).softmax(-1))


def test_overlong_penalty_and_threshold_edges() -> None:
    assert ob.overlong_penalty(t([90.0, 95.0, 100.0, 200.0]), max_length=100, cache=10).tolist() == [
        0,
        -0.5,
        -1,
        -1,
    ]
    groups = Groups.of(t([[0.5, 0.7, 0.7001]]))
    assert ob.above_threshold(groups, threshold=0.7).tolist() == [False, False, True]  # strictly above


def test_step_scores_of_ragged_replies() -> None:
    steps = StepLogits(logit=t([0.0, 2.0, -1.0]), label=torch.zeros(3), owner=t([0, 0, 2]), num_replies=3)
    p = steps.logit.sigmoid()
    wanted: list[tuple[Any, Tensor]] = [
        ("min", p[0]),
        ("prod", p[0] * p[1]),
        ("mean", (p[0] + p[1]) / 2),
        ("last", p[1]),
    ]
    for how, first in wanted:
        score = ob.step_aggregate(steps, how=how)
        torch.testing.assert_close(score, torch.stack([first, t(1.0), p[2]]))


def test_easy_to_hard_pays_only_falls_of_the_minimum() -> None:
    steps = StepLogits(logit=torch.zeros(5), label=torch.zeros(5), owner=t([0, 0, 0, 1, 1]), num_replies=2)
    score = t([0.9, 0.4, 0.45, 0.2, 0.1])
    rewards = ob.easy_to_hard_rewards(steps, score=score, bonus=0.0)
    assert rewards.tolist() == pytest.approx([0.0, -0.1, 0.0, -0.3, -0.1])


# --- divergences ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["kl", "reverse_kl", "js", "tv", "alpha", "chi2_pearson", "chi2_neyman", "hellinger2"]
)
def test_f_divergences_are_divergences(name: Any) -> None:
    p = torch.rand(6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    q = torch.rand(6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    p, q = p / p.sum(), q / q.sum()
    assert ob.f_divergence(p, p, generator=name).item() == pytest.approx(0, abs=1e-12)
    assert ob.f_divergence(p, q, generator=name).item() > 0
    if name != "tv":
        x = (p / q).requires_grad_()
        (slope,) = torch.autograd.grad(ob.f_generator(x, generator=name).sum(), x)
        torch.testing.assert_close(slope, ob.f_prime(x, generator=name).detach())


def test_the_alpha_divergence_meets_both_kls() -> None:
    p, q = t([0.5, 0.3, 0.2]).double(), t([0.2, 0.2, 0.6]).double()
    near_kl = ob.f_divergence(p, q, generator="alpha", alpha=1e-6)
    near_reverse = ob.f_divergence(p, q, generator="alpha", alpha=1 - 1e-6)
    torch.testing.assert_close(near_kl, ob.f_divergence(p, q, generator="kl"), atol=1e-5, rtol=0)
    torch.testing.assert_close(near_reverse, ob.f_divergence(p, q, generator="reverse_kl"), atol=1e-5, rtol=0)


@given(st.floats(-60, -1e-8))
def test_log1mexp(x: float) -> None:
    exact = math.log(-math.expm1(x))
    assert ob.log1mexp(t([x], dtype=torch.float64)).item() == pytest.approx(exact, rel=1e-12)


def test_log1mexp_has_a_finite_gradient_everywhere() -> None:
    x = t([-1e4, -30.0, -0.7, -0.69, -1e-6, 0.0], requires_grad=True)
    ob.log1mexp(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_token_divergences_against_distributions() -> None:
    a, b = torch.randn(3, 5).double(), torch.randn(3, 5).double()
    p, q = a.softmax(-1), b.softmax(-1)
    for row in range(3):
        kl = ob.f_divergence(q[row], p[row], generator="kl")
        torch.testing.assert_close(ob.forward_kl(a, teacher=b)[row], kl)
        torch.testing.assert_close(ob.reverse_kl(b, teacher=a)[row], kl)
        torch.testing.assert_close(ob.jsd(a, teacher=b)[row], ob.f_divergence(p[row], q[row], generator="js"))
        torch.testing.assert_close(ob.collision(a)[row], p[row].square().sum().log())
    torch.testing.assert_close(ob.entropy(a), math.log(5) - ob.forward_kl(torch.zeros_like(a), teacher=a))


def test_a_teacher_kept_by_its_top_tokens() -> None:
    a, b = torch.randn(3, 8).double(), torch.randn(3, 8).double()
    full = ob.forward_kl(a, teacher=b)
    torch.testing.assert_close(ob.topk_forward_kl(a, teacher=ob.topk(b, k=8)), full, atol=1e-9, rtol=1e-9)
    for k in (1, 3, 7):  # merging outcomes can only lose information
        kept = ob.topk_forward_kl(a, teacher=ob.topk(b, k=k))
        assert (kept <= full + 1e-12).all()
        assert (kept >= 0).all()
    torch.testing.assert_close(ob.topk_exact_kl(a, teacher=b, k=8), ob.reverse_kl(a, teacher=b))


@pytest.mark.parametrize(
    ("log_ratio", "k1", "k2", "k3"),
    [(-1.0, -1.0, 0.5, 0.718282), (14.0, 14.0, 98.0, 13.0), (29.0, 29.0, 420.5, 19.0)],
)
def test_kl_estimates_of_one_token(log_ratio: float, k1: float, k2: float, k3: float) -> None:
    zero = torch.zeros(1, dtype=torch.long)
    tokens = ReferencedTokens(logp=t([-1.0]), owner=zero, num_replies=1, ref=t([-1.0 - log_ratio]))
    assert ob.k1(tokens).item() == pytest.approx(k1)
    assert ob.k2(tokens).item() == pytest.approx(k2)
    assert ob.k3(tokens).item() == pytest.approx(k3, rel=1e-5)  # the last: the log-ratio is kept within 20


# --- policy gradient, by hand -----------------------------------------------------------------------------


def rollouts(new: list[float], old: list[float], advantage: list[float]) -> Rollouts:
    owner = torch.zeros(len(new), dtype=torch.long)
    return Rollouts(logp=t(new), owner=owner, num_replies=1, old=t(old), advantage=t(advantage))


def test_ppo_by_hand() -> None:
    r = rollouts([-1.69315, -1.0, -0.59453], [-1.0, -1.0, -1.0], [1.0, -1.0, 2.0])
    assert ob.ppo_clip(r).tolist() == pytest.approx([-0.5, 1.0, -2.4], abs=1e-5)
    assert r.sequence_importance[0].item() == pytest.approx(0.9086, abs=1e-4)
    assert ob.gspo_clip(r, low=0.2, high=0.2).mean().item() == pytest.approx(-0.6057, abs=1e-4)


def test_dual_clip_by_hand() -> None:
    r = rollouts([-1.69315, -1.0, -0.69741], [-1.0, -1.0, -3.0], [1.0, -1.0, -4.0])
    assert ob.ppo_dual_clip(r).tolist() == pytest.approx([-0.5, 1.0, 12.0], abs=1e-4)


def test_reinforce_by_hand() -> None:
    r = rollouts([-0.5, -1.0, -1.5], [-0.5, -1.0, -1.5], [1.0, -1.0, 2.0])
    assert ob.reinforce(r).mean().item() == pytest.approx(0.83333, abs=1e-5)


def test_on_policy_ppo_has_the_gradient_of_reinforce() -> None:
    maker = Maker(seed=5)
    r = maker.flat(Rollouts)
    on_policy = Rollouts(**{**vars(r), "old": r.logp.detach()})
    got = [
        torch.autograd.grad(f(on_policy).sum(), r.logp)[0]
        for f in (ob.ppo_clip, ob.reinforce, ob.ppo_dual_clip)
    ]
    torch.testing.assert_close(got[0], got[1])
    torch.testing.assert_close(got[2], got[1])


# --- metrics ----------------------------------------------------------------------------------------------


def test_metrics_of_parts_add_up() -> None:
    maker = Maker(seed=3)
    pairs = maker.record(ob.dpo.__annotations__["pairs"])
    whole = ob.pair_metrics(pairs)
    parts = [ob.pair_metrics(pairs.rows(t(index))) for index in ([0, 1, 2], [3, 4])]
    for name, metric in whole.items():
        both = parts[0][name].plus(parts[1][name])
        torch.testing.assert_close(both.mean, metric.mean)
        assert not metric.sum.requires_grad


def test_metrics_of_rankings_by_counting() -> None:
    record, _, _ = make(ob.plackett_luce, seed=8)
    metrics = ob.ranking_metrics(record, beta=2.0)
    right, pairs = 0.0, 0
    for row in range(len(record)):
        here = record.mask[row].nonzero()[:, 0].tolist()
        for i, j in itertools.permutations(here, 2):
            if record.utility[row, i] > record.utility[row, j]:
                pairs += 1
                right += float(record.ratio[row, i] > record.ratio[row, j])
    assert metrics["rewards/accuracies"].count.item() == pairs
    assert metrics["rewards/accuracies"].mean.item() == pytest.approx(right / pairs)
    torch.testing.assert_close(
        metrics["rewards/chosen"].sum, 2 * record.ratio.masked_fill(~record.best, 0.0).sum().detach()
    )


def test_metrics_of_shown_tokens() -> None:
    tokens, _ = tokens_of([2, 3])
    metrics = ob.nll_metrics(tokens)
    assert metrics["nll_loss"].mean.item() == pytest.approx(-tokens.logp.mean().item())
    assert metrics["nll_sequence"].mean.item() == pytest.approx(-tokens.logp.sum().item() / 2)
    assert metrics["length"].sum.item() == 5


def test_a_tie_is_half_right() -> None:
    maker = Maker(seed=3)
    side = maker.replies()
    pairs = ob.dpo.__annotations__["pairs"](side, side)
    assert ob.pair_metrics(pairs)["rewards/accuracies"].mean.item() == 0.5


def test_rewards_of_good_and_bad_have_their_own_counts() -> None:
    replies = Maker(seed=3).replies()
    metrics = ob.reply_metrics(replies, desirable=t([True, True, False, True, True]))
    assert metrics["rewards/chosen"].count.item() == 4
    assert metrics["rewards/rejected"].mean.item() == pytest.approx(0.1 * replies.ratio[2].item())
    nobody = ob.reply_metrics(replies, desirable=torch.zeros(5, dtype=torch.bool))
    assert nobody["rewards/chosen"].mean.isnan()


def test_kl_and_value_metrics() -> None:
    maker = Maker(seed=3)
    tokens = maker.flat(ReferencedTokens)
    kl = ob.token_metrics(tokens)
    assert kl["objective/kl"].mean.item() == pytest.approx((tokens.ratio.sum() / 5).item())
    assert kl["kl"].mean.item() == pytest.approx(ob.k3(tokens).mean().item())
    values = maker.flat(Values)
    assert ob.value_metrics(values, clip=float("inf"))["val/clipfrac_avg"].mean.item() == 0


# --- methods ----------------------------------------------------------------------------------------------


def resolve(name: str) -> Any:
    return getattr(ob, name)


def sampled(seed: int = 0) -> tuple[dict[str, Tensor], ReferencedTokens, Tensor, Tensor]:
    """Six sampled replies to two prompts: token values by name, their record, rewards and prompts."""
    mask = t([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 0], [1, 0, 0]]).bool()
    rng = torch.Generator().manual_seed(seed)
    logp = -torch.rand(6, 3, generator=rng, dtype=torch.float64)
    noise = [0.2 * torch.randn(6, 3, generator=rng, dtype=torch.float64) for _ in range(3)]
    values = {
        "logp": logp[mask],
        "ref": (logp + noise[0])[mask],
        "old": (logp + noise[1])[mask],
        "value": noise[2][mask],
    }
    tokens = ReferencedTokens.from_padded(mask=mask, logp=logp, ref=logp + noise[0])
    return values, tokens, t([1.0, 0.0, 0.5, 0.2, 0.9, 0.4]).double(), t([0, 0, 0, 1, 1, 1])


ON_SAMPLES = [name for name, method in ob.METHODS.items() if method.advantage]


@pytest.mark.parametrize("name", ON_SAMPLES)
def test_a_method_runs_from_rewards_to_gradient(name: str) -> None:
    method = ob.find_method(name)
    values, tokens, reward, group = sampled()
    critic_s = {"value": values["value"]} if "gae" in {step.name for step in method.advantage} else {}
    given = {"reward": reward, "group": group, "inputs": critic_s}
    advantage = ob.method_advantage(method, tokens, **given, resolve=resolve)
    assert advantage.shape == values["logp"].shape
    assert not advantage.requires_grad
    logp = values["logp"].clone().requires_grad_()
    flat: dict[str, Any] = {"owner": tokens.owner, "num_replies": 6}
    samples = ReferencedRollouts(logp=logp, ref=values["ref"], old=values["old"], advantage=advantage, **flat)
    returns = advantage + values["value"]
    critic = Values(
        value=values["value"].clone().requires_grad_(), old=values["value"], returns=returns, **flat
    )
    streams = {"samples": samples, "values": critic, "pretrain": Tokens(logp=logp, **flat)}
    fixed = {"max_length": 3} if name == "dr_grpo" else {}
    loss = ob.method_loss(method, streams, inputs=fixed, resolve=resolve)
    (g,) = torch.autograd.grad(loss, logp)
    assert loss.isfinite()
    assert g.abs().sum() > 0


def advantage_of(name: str, **inputs: Any) -> Tensor:
    _, tokens, reward, group = sampled()
    return ob.method_advantage(
        ob.find_method(name), tokens, reward=reward, group=group, inputs=inputs, resolve=resolve
    )


def test_advantages_of_named_methods_by_hand() -> None:
    values, tokens, reward, group = sampled()
    table = Groups(reward, group, 2)
    torch.testing.assert_close(advantage_of("grpo"), tokens.spread(ob.standardised(table)))
    torch.testing.assert_close(advantage_of("dr_grpo"), tokens.spread(ob.centred(table)))
    # RLOO's baseline is taken of rewards that already carry the KL of the whole reply.
    penalised = reward - 0.05 * tokens.sum(tokens.ratio)
    rloo = ob.leave_one_out(Groups(penalised, group, 2))
    torch.testing.assert_close(advantage_of("rloo"), tokens.spread(rloo))
    shaped = ob.kl_shaped_rewards(tokens, reward=reward)
    to_go = ob.reward_to_go(tokens, reward=shaped)
    torch.testing.assert_close(advantage_of("reinforce_pp"), ob.whiten(to_go, ddof=0))
    lighter = ob.kl_shaped_rewards(tokens, reward=reward, beta=0.02)
    gae = ob.gae(tokens, reward=lighter, value=values["value"])
    torch.testing.assert_close(advantage_of("ppo", value=values["value"]), ob.whiten(gae))
    # DAPO's penalty for length, with room for two tokens of which one is slack.
    late = reward + ob.overlong_penalty(tokens.length, max_length=3, cache=2)
    step = ob.Step("overlong_penalty", {"max_length": 3, "cache": 2})
    dapo = replace(ob.find_method("dapo"), bonus=(step,))
    got = ob.method_advantage(dapo, tokens, reward=reward, group=group, resolve=resolve)
    torch.testing.assert_close(got, tokens.spread(ob.standardised(Groups(late, group, 2))))


def test_every_name_a_method_uses_is_on_the_menus() -> None:
    for name, method in ob.METHODS.items():
        for step in (*method.keep, *method.bonus, *method.shaping, *method.advantage):
            assert step.name in ob.__all__, (name, step.name)
        for term in method.terms:
            assert term.objective in ob.__all__, (name, term.objective)
            assert term.reduction in ob.__all__, (name, term.reduction)


def test_a_misspelt_knob_of_a_term_is_refused() -> None:
    tokens, _ = tokens_of([2, 3])
    method = ob.Method(
        summary="", paper="", terms=(ob.Term(objective="sft", reduction="token_mean", knobs={"betta": 9}),)
    )
    with pytest.raises(RecipeError, match="sft has no knob 'betta'"):
        ob.method_loss(method, {"samples": tokens}, resolve=resolve)


def test_a_term_s_knobs_reach_its_reduction() -> None:
    tokens, _ = tokens_of([2, 3])
    term = ob.Term(objective="sft", reduction="fixed_length_mean", knobs={"max_length": 10})
    loss = ob.method_loss(
        ob.Method(summary="", paper="", terms=(term,)), {"samples": tokens}, resolve=resolve
    )
    torch.testing.assert_close(loss, -tokens.logp.sum() / 2 / 10)


def test_an_unknown_method_is_met_with_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="did you mean 'dr_grpo'"):
        ob.find_method("drgrpo")


def test_a_missing_stream_is_named() -> None:
    tokens, _ = tokens_of([2, 3])
    with pytest.raises(ValueError, match="no stream 'pretrain' for sft"):
        ob.method_loss(ob.find_method("chain_of_hindsight"), {"hindsight": tokens}, resolve=resolve)


def test_a_weighted_sum_is_the_sum_of_its_terms() -> None:
    pairs = Maker(seed=3).record(ReferencedPairs)
    both = ob.weighted_sum(dpo=(1.0, ob.dpo), simpo=(0.2, partial(ob.simpo, gamma=0.5)))
    torch.testing.assert_close(both(pairs), ob.dpo(pairs) + 0.2 * ob.simpo(pairs, gamma=0.5))
    preference = t([0.1, 0.9, 0.5, 0.7, 0.3]).double()
    soft = ob.weighted_sum(soft=(1.0, ob.dpo), ipo=(2.0, ob.ipo))
    torch.testing.assert_close(
        soft(pairs, preference=preference), ob.dpo(pairs, preference=preference) + 2 * ob.ipo(pairs)
    )


def test_a_weighted_sum_describes_itself() -> None:
    card = ob.check_objective(ob.weighted_sum(simpo=(1.0, ob.simpo), aot=(0.5, ob.aot)))
    assert card.record is ReferencedPairs  # what its most demanding term needs
    assert card.coupled
    assert ob.describe(ob.weighted_sum(dpo=(1.0, ob.dpo))).optional == ("preference",)


def test_a_weighted_sum_carries_the_state_of_its_terms() -> None:
    pairs = Maker(seed=3).record(ReferencedPairs)
    mixed = ob.weighted_sum(dpo=(0.8, ob.dpo), bco=(0.2, ob.bco_pair))
    start = ob.initial_state(ob.bco_pair, like=pairs.margin)
    rows, after = mixed(pairs, state={"bco": start})
    alone, state = ob.bco_pair(pairs, state=start)
    torch.testing.assert_close(rows, 0.8 * ob.dpo(pairs) + 0.2 * alone)
    assert after["bco"].count == state.count == 10


def test_losses_on_different_records_do_not_add_up() -> None:
    with pytest.raises(RecipeError, match="cannot be summed"):
        ob.weighted_sum(dpo=(1.0, ob.dpo), rrhf=(1.0, ob.rrhf))


# --- the contract -----------------------------------------------------------------------------------------


def test_bound_knobs_are_read_through() -> None:
    card = ob.describe(partial(ob.dpo, beta=0.3))
    assert card.knobs == {"beta": 0.3}
    assert (card.name, card.needs) == ("dpo", "pairs, reference")


def test_first_states() -> None:
    like = torch.zeros(1, dtype=torch.float64)
    assert ob.initial_state(ob.dpo, like=like) is None
    good, bad = ob.initial_state(ob.bco, like=like)
    assert good.mean.dtype == torch.float64
    assert good.count == bad.count == 0


def banana(pairs: ReferencedPairs, *, bananas: PerPair, beta: float = 0.1) -> PerPair:
    """Nobody supplies bananas."""
    return bananas * pairs.margin * beta


def on_floats(x: float) -> float:
    """A loss on no record."""
    return x


def test_an_objective_of_a_user_s_own_is_checked() -> None:
    with pytest.raises(RecipeError, match="nobody supplies the input 'bananas'"):
        ob.check_objective(banana)
    with pytest.raises(RecipeError, match="the first parameter of on_floats is no record"):
        ob.check_objective(on_floats)


@pytest.mark.parametrize("text", ["lambda x, y: x", "lambda: 0", "lambda *, x: x", "dict"])
def test_an_objective_that_says_nothing_of_itself_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="accepted: "):
        ob.check_objective(eval(text))


@pytest.mark.parametrize("entry", [e for e in load() if e.kind == "objective"], ids=lambda e: e.name)
def test_the_inputs_of_the_examples_fit(entry: Any) -> None:
    record, inputs, _ = make(getattr(ob, entry.name), optional=True)
    ob.check_inputs(getattr(ob, entry.name), record, inputs)


def test_inputs_that_would_broadcast_are_refused() -> None:
    pairs = Maker(seed=3).record(ReferencedPairs)
    for wrong in (t([[1.0], [0.0], [1.0], [0.0], [1.0]]), t([1.0]), t(1.0), t([1, 0, 1, 0, 1])):
        with pytest.raises(RecipeError, match="the input 'preference' of dpo does not fit its record"):
            ob.check_inputs(ob.dpo, pairs, {"preference": wrong})
    with pytest.raises(RecipeError, match="modpo needs the input 'margins'"):
        ob.check_inputs(ob.modpo, pairs, {})
    with pytest.raises(RecipeError, match="dpo does not take the input 'margins'"):
        ob.check_inputs(ob.dpo, pairs, {"margins": pairs})
    with pytest.raises(RecipeError, match="does not fit"):
        ob.check_inputs(ob.modpo, pairs, {"margins": PairValues(t([1.0]), t([1.0]))})


def test_a_sum_refuses_what_no_term_takes() -> None:
    pairs = Maker(seed=3).record(ReferencedPairs)
    with pytest.raises(RecipeError, match="no term of the sum takes 'beta'"):
        ob.weighted_sum(dpo=(1.0, ob.dpo))(pairs, beta=30)
    with pytest.raises(RecipeError, match="a sum of nothing"):
        ob.weighted_sum()


def test_whitening_equal_values_gives_zeros() -> None:
    for value in (1000.1, 1e6 + 0.3, 1 / 3):
        assert (ob.whiten(torch.full((7,), value)) == 0).all()
    assert ob.whiten(t([5.0])).tolist() == [0.0]


def test_rewards_of_zero_and_one_may_be_integers() -> None:
    _, tokens, _, group = sampled()
    whole = t([1, 0, 1, 0, 0, 1])
    for name in ("grpo", "rloo"):
        method = ob.find_method(name)
        got = ob.method_advantage(method, tokens, reward=whole, group=group, resolve=resolve)
        want = ob.method_advantage(method, tokens, reward=whole.float(), group=group, resolve=resolve)
        assert torch.equal(got, want)
    grpo = ob.find_method("grpo")
    with pytest.raises(InputError, match="7 rewards"):
        ob.method_advantage(grpo, tokens, reward=torch.arange(7.0), group=group, resolve=resolve)


def test_bco_stands_on_what_it_has_seen() -> None:
    replies = Maker(seed=3).replies()
    state = ob.initial_state(ob.bco, like=replies.logp)
    good = torch.ones(5, dtype=torch.bool)
    rows, _ = ob.bco(replies, desirable=good, state=state)
    reward = 0.1 * replies.ratio
    torch.testing.assert_close(rows, torch.nn.functional.softplus(reward.mean() - reward))


# --- the frame --------------------------------------------------------------------------------------------


def test_conditional_imitation_is_a_divergence() -> None:
    joint = t([[0.2, 0.3], [0.4, 0.1]]).double()
    exact = joint / joint.sum(-1, keepdim=True)
    assert ob.conditional_imitation(exact, joint=joint).item() == pytest.approx(0, abs=1e-12)
    policy = t([[0.5, 0.5], [0.7, 0.3]]).double()
    entropy = -(joint * exact.log()).sum()
    torch.testing.assert_close(
        ob.conditional_imitation(policy, joint=joint), -(joint * policy.log()).sum() - entropy
    )


def test_demonstrations_move_the_posterior() -> None:
    replies = t([[0.9, 0.1], [0.2, 0.8]]).double()
    prior = t([0.5, 0.5]).double()
    none = ob.in_context_posterior(torch.zeros(2).double(), prior=prior, replies=replies)
    torch.testing.assert_close(none, prior @ replies)
    many = ob.in_context_posterior(50 * replies[:, 0].log(), prior=prior, replies=replies)
    torch.testing.assert_close(many, replies[0], atol=1e-9, rtol=0)


def test_rlhf_optimum_beats_its_neighbours() -> None:
    reference, reward = t([0.2, 0.5, 0.3]).double(), t([1.0, -0.5, 0.2]).double()
    best = ob.rlhf_optimum(reference=reference, reward=reward, beta=0.5)
    top = ob.rlhf_objective(best, reference=reference, reward=reward, beta=0.5)
    for step in torch.eye(3, dtype=torch.float64):
        other = (best.log() + 0.05 * step).softmax(-1)
        assert ob.rlhf_objective(other, reference=reference, reward=reward, beta=0.5) < top


# --- rankings with ties, edges of grao and pro ------------------------------------------------------------


def test_ties_are_no_preference_in_rankings() -> None:
    mean = torch.randn(2, 3).double()
    tied = Ranked(logp=mean, length=torch.ones(2, 3), utility=torch.ones(2, 3).double())
    assert not tied.better.any()
    torch.testing.assert_close(ob.rrhf(tied), -mean[:, 0])
    assert ob.cpl_ranked(tied).tolist() == [0.0, 0.0]


def test_grao_statistics_without_the_shown_reply_cancel_it() -> None:
    logp = torch.randn(1, 4).double().requires_grad_()
    ranked = Ranked(logp=logp, length=torch.ones(1, 4), utility=t([[0.3, 0.9, 0.7, 0.8]]).double())
    shown = t([[False, False, False, True]])
    for include, reached in ((True, True), (False, False)):
        loss = ob.grao(ranked, shown=shown, beta=0.0, include_shown=include).sum()
        (g,) = torch.autograd.grad(loss, logp)
        assert (g[0, 3].abs() > 1e-9) == reached


# --- what worked values cannot tell apart -----------------------------------------------------------------

RANKINGS = [getattr(ob, e.name) for e in load() if e.kind == "objective" and "rankings" in e.needs]


def row_by_row(objective: Any, record: Any, inputs: dict[str, Any], order: Tensor | None = None) -> Tensor:
    """The losses of a ragged record, each row cut to the replies it has, in the given order."""
    rows = []
    for row in range(len(record)):
        kept = record.mask[row].nonzero()[:, 0]
        kept = kept if order is None else kept[order[: len(kept)].argsort()]

        def cut(value: Any, row: int = row, kept: Tensor = kept) -> Any:
            return value[row : row + 1, kept] if isinstance(value, Tensor) else value

        one = replace(record, **{f.name: cut(getattr(record, f.name)) for f in fields(record)})
        rows.append(objective(one, **{k: cut(v) for k, v in inputs.items()})[0])
    return torch.stack(rows)


@pytest.mark.parametrize("objective", RANKINGS, ids=lambda f: f.__name__)
def test_a_ragged_row_is_the_row_of_the_replies_it_has(objective: Any) -> None:
    record, inputs, _ = make(objective, seed=6)
    torch.testing.assert_close(objective(record, **inputs), row_by_row(objective, record, inputs))


@pytest.mark.parametrize("objective", RANKINGS, ids=lambda f: f.__name__)
def test_the_order_of_the_columns_does_not_matter(objective: Any) -> None:
    record, inputs, _ = make(objective, seed=7)
    mixed = row_by_row(objective, record, inputs, order=t([2, 0, 3, 1]))
    torch.testing.assert_close(objective(record, **inputs), mixed)


@pytest.mark.parametrize("objective", RANKINGS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("absent", [-torch.inf, torch.nan, 1e30])
def test_whatever_stands_at_an_absent_reply(objective: Any, absent: float) -> None:
    record, inputs, _ = make(objective, seed=6)
    trained = "reward" if hasattr(record, "reward") else "logp"
    leaf = torch.where(record.mask, getattr(record, trained), absent).detach().requires_grad_()
    rows = objective(replace(record, **{trained: leaf}), **inputs)
    torch.testing.assert_close(rows, objective(record, **inputs))
    (g,) = torch.autograd.grad(rows.sum(), leaf)
    assert g[record.mask].isfinite().all()


@pytest.mark.parametrize("objective", RANKINGS, ids=lambda f: f.__name__)
def test_a_row_without_replies_teaches_nothing(objective: Any) -> None:
    record, inputs, (leaf,) = make(objective, seed=6)
    mask = record.mask.clone()
    mask[0] = False
    given = {k: v & mask if k == "shown" else v for k, v in inputs.items()}
    rows = objective(replace(record, mask=mask), **given)
    (g,) = torch.autograd.grad(rows.sum(), leaf)
    assert rows[0].item() == 0
    assert (g[0] == 0).all()


def test_pro_imitates_what_is_shown() -> None:
    record, inputs, _ = make(ob.pro, seed=6)
    gap = ob.pro(record, shown=record.best) - ob.pro(record, **inputs)
    shown, best = (record.logp.masked_fill(~which, 0).sum(-1) for which in (inputs["shown"], record.best))
    torch.testing.assert_close(gap, 0.05 * (record.count - 1).square() * (shown - best))


def test_no_gradient_through_kto_s_reference_point() -> None:
    record, inputs, _ = make(ob.kto)
    logp = inputs["mismatched"].logp.detach().requires_grad_()
    record_leaf = record.logp
    loss = ob.kto(record, **{**inputs, "mismatched": replace(inputs["mismatched"], logp=logp)}).sum()
    assert torch.autograd.grad(loss, [logp, record_leaf], allow_unused=True)[0] is None


def test_rewards_without_scores_have_plain_gradients() -> None:
    chosen, rejected = t([1.2, -0.3]).requires_grad_(), t([0.5, 0.1]).requires_grad_()
    rewards = ob.describe(ob.bradley_terry).record(chosen, rejected)
    scores = PairValues(t([torch.nan, 0.4]), t([0.7, torch.nan]))
    rows = ob.bradley_terry_scored(rewards, scores=scores, alpha=0.2)
    plain = ob.bradley_terry(rewards)
    assert (rows - plain).tolist() == pytest.approx([0.2 * 0.04, 0.2 * 0.49], abs=1e-6)
    for g in torch.autograd.grad(rows.sum(), [chosen, rejected]):
        assert g.isfinite().all()


def test_people_who_guess_do_so_on_both_sides() -> None:
    rewards = ob.describe(ob.bradley_terry).record(t([1.5, 200.0]).double(), t([0.5, 0.0]).double())
    got = ob.segment_preference(rewards, preference=t([0.3, 0.0]).double(), error_rate=0.2)
    p = 0.8 * torch.sigmoid(rewards.gap) + 0.1
    torch.testing.assert_close(got[0], -0.3 * p[0].log() - 0.7 * (1 - p[0]).log())
    torch.testing.assert_close(got[1], -(t(0.1).double()).log())
    exact = ob.segment_preference(rewards, preference=t([1.0, 0.0]).double(), error_rate=0.0)
    assert exact[1].item() == pytest.approx(200.0)  # Bradley-Terry, without a floor


def test_the_reference_chooses_the_tokens_of_the_exact_kl() -> None:
    policy, reference = t([[0.0, 5.0, 1.0, -1.0]]).double(), t([[3.0, -2.0, 2.0, 1.0]]).double()
    p, q = policy[:, [0, 2]].softmax(-1), reference[:, [0, 2]].softmax(-1)
    torch.testing.assert_close(ob.topk_exact_kl(policy, teacher=reference, k=2), (p * (p / q).log()).sum(-1))


@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 3, 1000.1, -7.7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_rewards_are_equal_whatever_their_value(value: float, dtype: torch.dtype) -> None:
    for size in range(2, 17):
        groups = Groups.of(torch.full((1, size), value, dtype=dtype))
        assert not ob.informative(groups).any()
        for advantage in (ob.centred, ob.standardised, ob.batch_standardised, ob.leave_one_out):
            assert (advantage(groups) == 0).all()


def test_grao_of_equal_utilities_is_zero() -> None:
    for size in range(2, 12):
        logp = torch.randn(1, size).double()
        equal = Ranked(logp=logp, length=torch.ones(1, size), utility=torch.full((1, size), 0.1).double())
        assert ob.grao(equal, shown=torch.arange(size)[None] == 0).item() == 0


def test_deviation_of_the_batch_is_torch_s_own() -> None:
    rewards = t([[1.0, 0.0, 0.5], [0.3, 0.9, 0.1]]).double()
    for ddof in (0, 1):
        got = ob.batch_standardised(Groups.of(rewards), ddof=ddof, eps=0.0)
        centred = (rewards - rewards.mean(-1, keepdim=True)).flatten()
        torch.testing.assert_close(got, centred / rewards.std(correction=ddof))


def test_penalties_in_the_reward_have_the_sign_of_a_cost() -> None:
    _, tokens, _, _ = sampled()
    torch.testing.assert_close(ob.kl_k1_reward(tokens, beta=0.3), -0.3 * ob.k1(tokens))
    torch.testing.assert_close(ob.kl_k2_reward(tokens, beta=0.3), -0.3 * ob.k2(tokens))
    assert (ob.kl_k2_reward(tokens) <= 0).all()


def test_metrics_a_token() -> None:
    pairs = Maker(seed=3).record(ReferencedPairs)
    metrics = ob.pair_metrics(pairs, beta=2.0, per_token=True)
    torch.testing.assert_close(
        metrics["rewards/chosen"].mean, (2.0 * pairs.chosen.mean_ratio).mean().detach()
    )


def test_gae_stops_every_gradient() -> None:
    tokens, reward = tokens_of([3, 2])
    leaf = reward.clone().requires_grad_()
    assert not ob.gae(tokens, reward=leaf, value=reward).requires_grad


def test_a_red_reply_at_the_threshold_is_let_be() -> None:
    replies = Replies(t([-2.0, -1.9]), t([2, 2]))
    rows = ob.safe_align(replies, desirable=t([False, False]), red_weight=1.0)
    assert rows.tolist() == pytest.approx([0.0, -0.95])


def test_f_divergences_where_a_reply_is_impossible() -> None:
    p, q = t([1.0, 0.0, 0.0]).double(), t([0.0, 1.0, 0.0]).double()
    far: dict[Any, float] = {
        "tv": 1.0,
        "js": math.log(2),
        "hellinger2": 2.0,
        "kl": math.inf,
        "reverse_kl": math.inf,
    }
    for generator, value in far.items():
        assert ob.f_divergence(p, q, generator=generator).item() == pytest.approx(value)
    half, quarter = t([0.5, 0.5, 0.0]).double(), t([0.25, 0.75, 0.0]).double()
    for generator in get_args(ob.Generator):
        assert ob.f_divergence(half, quarter, generator=generator).isfinite()


def test_tokens_that_are_banned_are_no_numbers_nowhere() -> None:
    student, teacher = torch.randn(2, 5).double(), torch.randn(2, 5).double()
    student[:, 1] = teacher[:, 1] = -torch.inf
    leaf = student.requires_grad_()
    for loss in (
        ob.forward_kl(leaf, teacher=teacher),
        ob.jsd(leaf, teacher=teacher),
        ob.entropy(leaf),
        ob.adpa_advantage(leaf, teacher=teacher, teacher_ref=teacher.flip(0)),
    ):
        assert loss.isfinite().all()
        assert torch.autograd.grad(loss.sum(), leaf)[0].isfinite().all()


def test_half_precision_logits_are_taken_up() -> None:
    logits, teacher = torch.randn(3, 32000), torch.randn(3, 32000)
    exact = ob.forward_kl(logits.bfloat16().float(), teacher=teacher.bfloat16().float())
    torch.testing.assert_close(ob.forward_kl(logits.bfloat16(), teacher=teacher.bfloat16()), exact)


def test_a_setting_that_nothing_takes_is_refused() -> None:
    values, tokens, reward, group = sampled()
    grpo = ob.find_method("grpo")
    advantage = ob.method_advantage(grpo, tokens, reward=reward, group=group, resolve=resolve)
    flat: dict[str, Any] = {"owner": tokens.owner, "num_replies": 6, "advantage": advantage}
    samples = ReferencedRollouts(logp=values["logp"], ref=values["ref"], old=values["old"], **flat)
    with pytest.raises(RecipeError, match="no part of the method takes 'beta'"):
        ob.method_loss(grpo, {"samples": samples}, inputs={"beta": 9.0}, resolve=resolve)
    # What is given goes before what the method says.
    wide = ob.method_loss(
        ob.find_method("dapo"), {"samples": samples}, inputs={"high": 10.0}, resolve=resolve
    )
    narrow = ob.method_loss(ob.find_method("dapo"), {"samples": samples}, resolve=resolve)
    assert wide.item() < narrow.item()


def test_a_term_with_state_is_refused() -> None:
    pairs = Maker(seed=3).record(ReferencedPairs)
    method = ob.Method(summary="", paper="", terms=(ob.Term(objective="bco_pair", on="pairs"),))
    state = ob.initial_state(ob.bco_pair, like=pairs.margin)
    with pytest.raises(RecipeError, match="bco_pair carries state"):
        ob.method_loss(method, {"pairs": pairs}, inputs={"state": state}, resolve=resolve)


def test_an_empty_sample_is_refused() -> None:
    tokens = Tokens(logp=torch.zeros(2), owner=t([0, 0]), num_replies=2)
    with pytest.raises(InputError, match="a sampled reply is empty"):
        ob.method_advantage(
            ob.find_method("dr_grpo"), tokens, reward=t([1.0, 1.0]), group=t([0, 0]), resolve=resolve
        )


def test_losses_of_tokens_and_of_replies_do_not_add_up() -> None:
    r = Maker(seed=5).flat(Rollouts)
    with pytest.raises(RecipeError, match="another number of losses"):
        ob.weighted_sum(ppo=(1.0, ob.ppo_clip), sequence=(1.0, ob.sequence_clip))(r)


def test_the_plainest_common_record_serves() -> None:
    both = ob.weighted_sum(ppo=(1.0, ob.ppo_clip), kl=(0.04, ob.kl_k3_forward_loss))
    assert ob.describe(both).record is ReferencedRollouts
