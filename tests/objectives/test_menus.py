"""Advantages, reductions, shaping, divergences and metrics: identities, brute force, and edges."""

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import concord.objectives as ob
from concord.errors import NotFoundError
from concord.tensors import Groups, Ranked, ReferencedTokens, Rollouts, Steps, Tokens, Values
from tests.objectives.examples import Maker

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
    advantage, returns = ob.gae(tokens, reward=reward, value=value, gamma=gamma, lam=lam)
    at = 0
    for size in sizes:
        running, nxt = 0.0, 0.0
        for n in reversed(range(at, at + size)):
            running = reward[n].item() + gamma * nxt - value[n].item() + gamma * lam * running
            nxt = value[n].item()
            assert advantage[n].item() == pytest.approx(running, abs=1e-9)
        at += size
    torch.testing.assert_close(returns, advantage + value)


def test_gae_without_discount_is_reward_to_go_less_value() -> None:
    tokens, reward = tokens_of([3, 1, 5])
    value = tokens_of([3, 1, 5], seed=1)[1]
    advantage, _ = ob.gae(tokens, reward=reward, value=value, lam=1.0)
    torch.testing.assert_close(advantage, ob.reward_to_go(tokens, reward=reward) - value)


def test_gae_has_no_gradient() -> None:
    tokens, reward = tokens_of([3, 2])
    value = reward.clone().requires_grad_()
    assert not ob.gae(tokens, reward=reward, value=value)[0].requires_grad


def test_gae_of_a_known_case() -> None:
    tokens, _ = tokens_of([4])
    last = t([0.0, 0.0, 0.0, 1.0]).double()
    advantage, returns = ob.gae(tokens, reward=last, value=last, gamma=0.9, lam=0.95)
    assert returns.tolist() == pytest.approx([0.657923, 0.7695, 0.9, 1.0], abs=1e-6)
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
    for name, total in (
        ("token_mean", sum(sizes)),
        ("sequence_mean", len(sizes)),
        ("sequence_sum", len(sizes)),
    ):
        reduce = getattr(ob, name)
        whole = reduce(loss, tokens)
        parts = 0.0
        for chosen in (order[:cut], order[cut:]):
            index = t(sorted(chosen))
            parts += reduce(loss[torch.isin(tokens.owner, index)], tokens.rows(index), total=total).item()
        assert parts == pytest.approx(whole.item(), abs=1e-9)


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
    assert ob.label_sum(loss[:1], desirable=good[:1], totals=(1, 2)).item() == 0.5
    assert ob.group_mean(loss, group=t([3, 3, 0])).item() == 3.75  # empty groups are no groups


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
    steps = Steps(logit=t([0.0, 2.0, -1.0]), label=torch.zeros(3), owner=t([0, 0, 2]), num_replies=3)
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
    steps = Steps(logit=torch.zeros(5), label=torch.zeros(5), owner=t([0, 0, 0, 1, 1]), num_replies=2)
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
    assert ob.f_divergence(p, p, name=name).item() == pytest.approx(0, abs=1e-12)
    assert ob.f_divergence(p, q, name=name).item() > 0
    if name != "tv":
        x = (p / q).requires_grad_()
        (slope,) = torch.autograd.grad(ob.f_generator(x, name=name).sum(), x)
        torch.testing.assert_close(slope, ob.f_prime(x, name=name).detach())


def test_the_alpha_divergence_meets_both_kls() -> None:
    p, q = t([0.5, 0.3, 0.2]).double(), t([0.2, 0.2, 0.6]).double()
    near_kl = ob.f_divergence(p, q, name="alpha", alpha=1e-6)
    near_reverse = ob.f_divergence(p, q, name="alpha", alpha=1 - 1e-6)
    torch.testing.assert_close(near_kl, ob.f_divergence(p, q, name="kl"), atol=1e-5, rtol=0)
    torch.testing.assert_close(near_reverse, ob.f_divergence(p, q, name="reverse_kl"), atol=1e-5, rtol=0)


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
        kl = ob.f_divergence(q[row], p[row], name="kl")
        torch.testing.assert_close(ob.forward_kl(a, teacher=b)[row], kl)
        torch.testing.assert_close(ob.reverse_kl(b, teacher=a)[row], kl)
        torch.testing.assert_close(ob.jsd(a, teacher=b)[row], ob.f_divergence(p[row], q[row], name="js"))
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


def test_every_name_a_method_uses_is_on_the_menus() -> None:
    for name, method in ob.METHODS.items():
        for used in (method.advantage, method.shaping, method.keep):
            assert not used or used in ob.__all__, (name, used)
        for term in method.terms:
            assert term.objective in ob.__all__, (name, term.objective)
            assert term.reduction in ob.__all__, (name, term.reduction)


def test_an_unknown_method_is_met_with_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="did you mean 'dr_grpo'"):
        ob.find_method("drgrpo")


def test_a_missing_stream_is_named() -> None:
    tokens, _ = tokens_of([2, 3])
    with pytest.raises(ValueError, match="no stream 'pretrain' for sft"):
        ob.method_loss(ob.find_method("chain_of_hindsight"), {"samples": tokens}, resolve=resolve)


def test_a_weighted_sum_is_the_sum_of_its_terms() -> None:
    maker = Maker(seed=3)
    pairs = maker.record(ob.dpo.__annotations__["pairs"])
    both = ob.weighted_sum((1.0, ob.dpo), (0.2, ob.simpo))
    torch.testing.assert_close(both(pairs), ob.dpo(pairs) + 0.2 * ob.simpo(pairs))
    assert both.__annotations__["record"] is ob.dpo.__annotations__["pairs"]
    preference = t([0.1, 0.9, 0.5, 0.7, 0.3]).double()
    soft = ob.weighted_sum((1.0, ob.soft_dpo), (2.0, ob.ipo))
    torch.testing.assert_close(
        soft(pairs, preference=preference), ob.soft_dpo(pairs, preference=preference) + 2 * ob.ipo(pairs)
    )


def test_losses_on_different_records_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="cannot be summed"):
        ob.weighted_sum((1.0, ob.dpo), (1.0, ob.rrhf))


# --- the frame --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "gap", "concordance"),
    [
        ((7, 8, 9), 0.0, 1.0),
        ((0, 2, 4), 0.82, 1.0),
        ((0, 0.5, 3), 0.53, 1.0),
        ((0, -1, -2), 1.64, 0.0),
        ((1, 0, 2), 0.92, 0.516129),
    ],
)
def test_misalignment_under_a_law(agent: tuple[float, ...], gap: float, concordance: float) -> None:
    p, human = t([0.5, 0.3, 0.2]).double(), t([0.0, 1.0, 2.0]).double()
    a = t(agent).double()
    assert ob.misalignment(human, a, weight=p).item() == pytest.approx(gap)
    assert ob.misalignment(human, a, weight=p, form="signed").item() == pytest.approx(0, abs=1e-12)
    assert ob.concordance(human, a, weight=p).item() == pytest.approx(concordance, abs=1e-6)


def test_concordance_over_pairs_of_replies() -> None:
    human = t([0.0, 1.0, 2.0])
    assert ob.concordance(human, t([1.0, 0.0, 2.0])).item() == pytest.approx(2 / 3)
    assert ob.concordance(human, torch.zeros(3)).item() == 0.5  # a constant scorer knows nothing


def test_scaling_excuses_scale_and_nothing_else() -> None:
    human = t([0.0, 1.0, 2.0, 5.0]).double()
    assert ob.scaled_misalignment(human, 3 * human + 1).item() == pytest.approx(0, abs=1e-12)
    reversed_order = ob.scaled_misalignment(human, -human).item()
    assert reversed_order == pytest.approx(ob.misalignment(human, torch.zeros(4).double()).item())
    assert ob.order_violation(human, 3 * human + 1).item() == 0
    assert ob.order_violation(human, -human).item() == 1


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
