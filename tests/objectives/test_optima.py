"""Descent on each objective arrives where theory says: the closed-form optima of small bandits."""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from concord import objectives as ours
from concord.objectives import Generator
from concord.tensors import (
    Groups,
    PairValues,
    RankedRewards,
    ReferencedRanked,
    ReferencedReplies,
    ReferencedTokens,
    RewardPairs,
    Rewards,
    RunningMean,
)
from tests.objectives.tabular import (
    BANDITS,
    PROVED,
    Bandit,
    Loss,
    all_pairs,
    assert_leads_to,
    cross_entropy_of_two,
    descend,
    expected,
    fit,
    forward_kl_itself,
    group_relative,
    imitation,
    in_loss,
    k1_in_reward,
    kl_itself,
    numbers,
    on_policy,
    one_row,
    over_pairs,
    pair_law,
    preferences,
    proves,
    ranking_law,
    ranking_of_two,
    referenced,
    replies,
    slic,
    starts,
    tokens,
    weighted,
)

close = partial(torch.testing.assert_close, rtol=0)


pytestmark = pytest.mark.slow

# --- reinforcement ----------------------------------------------------------------------------------------

CLIPPED = [ours.reinforce, ours.ppo_clip, ours.ppo_dual_clip, ours.gspo_clip, ours.sequence_clip]


@proves("rlhf_kl_regularised")
def test_rlhf_objective_is_largest_at_its_optimum(bandit: Bandit) -> None:
    ref, reward, beta = bandit["pi_ref"], bandit["reward"], bandit.params["beta"]
    best = ours.rlhf_optimum(reference=ref, reward=reward, beta=beta)
    close(best, bandit.solution("pi_star"), atol=1e-9)
    objective = partial(ours.rlhf_objective, reference=ref, reward=reward)
    assert_leads_to(lambda logp: -objective(logp.exp(), beta=beta), best)
    close(objective(best, beta=beta), bandit.solution("objective_value"), atol=1e-9)
    close(objective(best, beta=0.0), bandit.solution("expected_reward"), atol=1e-9)
    close(ours.f_divergence(best, ref, generator="kl"), bandit.solution("kl_to_ref"), atol=1e-9)


@pytest.mark.parametrize("objective", CLIPPED, ids=lambda f: f.__name__)
@proves("rlhf_kl_regularised")
def test_policy_gradient_with_k1_in_the_reward_solves_rlhf(
    bandit: Bandit, objective: Callable[..., Tensor]
) -> None:
    def loss(logp: Tensor) -> Tensor:
        every = tokens(logp, bandit["pi_ref"])
        shaped = ours.kl_shaped_rewards(every, reward=bandit["reward"], beta=bandit.params["beta"])
        return expected(objective(on_policy(logp, shaped)), logp)

    assert_leads_to(loss, bandit.solution("pi_star"))


@proves("rlhf_kl_regularised")
def test_leave_one_out_of_groups_of_two_solves_rlhf(bandit: Bandit) -> None:
    """All groups of two replies, each weighted by the chance that the policy samples it."""
    both = torch.cartesian_prod(torch.arange(4), torch.arange(4))

    def loss(logp: Tensor) -> Tensor:
        kl = ours.kl_k1_reward(tokens(logp, bandit["pi_ref"]), beta=bandit.params["beta"])
        advantage = ours.leave_one_out(Groups.of((bandit["reward"] + kl)[both]))
        own = ours.reinforce(on_policy(logp[both].flatten(), advantage))
        return (logp.detach()[both].sum(1).exp() * own.view(-1, 2).mean(1)).sum()

    assert_leads_to(loss, bandit.solution("pi_star"))


@pytest.mark.parametrize("penalty", [ours.kl_k2_loss, ours.kl_k3_value_k2_gradient_loss])
@proves("rlhf_kl_regularised")
def test_penalties_with_the_gradient_of_k2_solve_rlhf(bandit: Bandit, penalty: Callable[..., Tensor]) -> None:
    loss = group_relative(bandit, penalty, std=False, beta=bandit.params["beta"])
    assert_leads_to(loss, bandit.solution("pi_star"))


@proves("grpo_k3_in_loss_fixed_point")
def test_k3_in_the_loss_leads_to_the_forward_kl_optimum(bandit: Bandit) -> None:
    loss = group_relative(bandit, ours.kl_k3_forward_loss, std=False, beta=bandit.params["beta"])
    assert_leads_to(loss, bandit.solution("pi_star"))
    assert (bandit.solution("pi_star") - BANDITS["rlhf_kl_regularised"].solution("pi_star")).abs().max() > 0.1


@proves("grpo_std_normalised_reverse_kl_fixed_point")
def test_dividing_by_the_deviation_moves_the_fixed_point(bandit: Bandit) -> None:
    """At a small beta there is none: the policy collapses on the best reply, which exact KL prevents."""
    assert not bandit.expected["interior_fixed_point_exists_at_beta_0_5"]
    best, reward = bandit.solution("pi_star"), bandit["reward"]
    assert_leads_to(group_relative(bandit, ours.kl_k2_loss, std=True, beta=bandit.params["beta"]), best)
    spread = (best * (reward - (best * reward).sum()).square()).sum().sqrt()
    close(spread, bandit.solution("reward_std_under_pi_star"), atol=1e-9)
    for start in starts(4):
        divided = fit(group_relative(bandit, ours.kl_k2_loss, std=True, beta=0.5), start, steps=60)
        exact = fit(group_relative(bandit, ours.kl_k2_loss, std=False, beta=0.5), start)
        assert divided[0] > 1 - 1e-9
        assert exact[0] < 0.5


@proves("grpo_binary_reward_gradient_scaling")
def test_deviation_rescales_the_gradient_of_a_binary_reward(bandit: Bandit) -> None:
    """Ten replies of which three succeed are the population of a policy that succeeds at 0.3."""
    p = bandit.inputs["success_prob"]
    logit = numbers(p).logit().requires_grad_()
    reward = numbers([1.0] * 3 + [0.0] * 7)
    group = Groups.of(reward[None])
    logp = torch.nn.functional.logsigmoid(torch.where(reward > 0, logit, -logit))

    def ascent(advantage: Tensor) -> Tensor:
        loss = ours.reinforce(on_policy(logp, advantage)).mean()
        return -torch.autograd.grad(loss, logit, retain_graph=True)[0]

    plain, divided = ascent(ours.centred(group)), ascent(ours.standardised(group, eps=0.0, ddof=0))
    close(plain, bandit.solution("dr_grpo_dlogit"), atol=1e-9)
    close(divided, bandit.solution("grpo_dlogit"), atol=1e-9)
    close(divided / plain, bandit.solution("ratio"), atol=1e-9)


@pytest.mark.parametrize(
    ("surrogate", "gradient"),
    [
        (in_loss(lambda t: t.ratio), "k1_in_loss"),
        (in_loss(ours.kl_k2_loss), "k2_in_loss"),
        (in_loss(ours.kl_k3_forward_loss), "k3_in_loss"),
        (in_loss(ours.kl_k3_value_k2_gradient_loss), "k2_in_loss"),
        (k1_in_reward, "true_grad_KL_pi_ref"),
        (kl_itself, "true_grad_KL_pi_ref"),
        (forward_kl_itself, "true_grad_KL_ref_pi"),
    ],
    ids=["k1 in loss", "k2", "k3", "k3 value", "k1 in reward", "KL(pi, ref)", "KL(ref, pi)"],
)
@proves("kl_estimators_as_loss_expected_gradient")
def test_where_an_estimator_stands_decides_its_gradient(
    bandit: Bandit, surrogate: Callable[[Tensor, Tensor], Tensor], gradient: str
) -> None:
    logits = bandit["logits"].requires_grad_()
    loss = surrogate(logits.log_softmax(-1), bandit["pi_ref"])
    close(torch.autograd.grad(loss, logits)[0], bandit.solution(gradient), atol=1e-8)


@pytest.mark.parametrize("estimator", [ours.k1, ours.k2, ours.k3])
@proves("kl_estimators_as_loss_expected_gradient")
def test_estimators_for_metrics_have_no_gradient_to_give(
    bandit: Bandit, estimator: Callable[[ReferencedTokens], Tensor]
) -> None:
    """k1 and k3 are unbiased, k2 is not."""
    logp = bandit["logits"].log_softmax(-1).requires_grad_()
    value = estimator(tokens(logp, bandit["pi_ref"]))
    assert not value.requires_grad
    error = (expected(value, logp) - kl_itself(logp, bandit["pi_ref"])).abs()
    assert (error < 1e-12) == (estimator is not ours.k2)


@pytest.mark.parametrize("generator", get_args(Generator))
@proves("f_dpg_optimum")
def test_every_f_leads_to_the_target(bandit: Bandit, generator: Generator) -> None:
    """Replies are proposed evenly, so a plain mean is exact, and the target comes without its normaliser."""
    target = bandit["target_p"].log() + 1.7
    proposal = torch.full_like(target, 1 / len(target)).log()

    def loss(logp: Tensor) -> Tensor:
        fresh = RunningMean.empty(logp), RunningMean.empty(logp)
        every, _ = ours.f_dpg(
            replies(logp), log_target=target, old=proposal, state=fresh, generator=generator
        )
        return every.mean()

    assert_leads_to(loss, bandit.solution("pi_star"))


# --- preferences ------------------------------------------------------------------------------------------


DPO_FAMILY: dict[str, Callable[..., Tensor]] = {
    "dpo": ours.dpo,
    "wpo": weighted,
    "plackett_luce": ranking_of_two,
    "info_nca": cross_entropy_of_two,
    "f_dpo": partial(ours.f_dpo, divergence="reverse_kl"),
    "robust_dpo": partial(ours.robust_dpo, flip_rate=0.0),
}


@pytest.mark.parametrize("name", DPO_FAMILY)
@proves("dpo_infinite_bt_data")
def test_dpo_and_its_kin_solve_rlhf(bandit: Bandit, name: str) -> None:
    objective = partial(DPO_FAMILY[name], beta=bandit.params["beta"])
    assert_leads_to(over_pairs(objective, preferences(bandit), bandit["pi_ref"]), bandit.solution("pi_star"))


@proves("dpo_infinite_bt_data")
def test_dpo_finds_the_optimum_whoever_samples_the_pairs(bandit: Bandit) -> None:
    """From an uneven law, and online, where the policy of the moment draws both replies."""
    ref, beta = bandit["pi_ref"], bandit.params["beta"]
    uneven = pair_law(bandit["p_star"], numbers([0.4, 0.1, 0.2, 0.3]))
    objective = partial(ours.dpo, beta=beta)
    assert_leads_to(over_pairs(objective, uneven, ref), bandit.solution("pi_star"))

    def online(logp: Tensor) -> Tensor:
        return over_pairs(objective, pair_law(bandit["p_star"], logp.detach().exp()), ref)(logp)

    assert_leads_to(online, bandit.solution("pi_star"))


@proves("dpo_infinite_bt_data")
def test_soft_labels_stand_for_many_hard_ones(bandit: Bandit) -> None:
    """Each pair once, with its probability, has the same optimum and the same least loss."""
    ref, best = bandit["pi_ref"], bandit.solution("pi_star")
    soft = partial(ours.dpo, preference=bandit["p_star"].flatten(), beta=bandit.params["beta"])
    once = over_pairs(soft, torch.full((4, 4), 1 / 16, dtype=torch.float64).triu(1).flatten(), ref)
    assert_leads_to(once, best)
    many = over_pairs(partial(ours.dpo, beta=bandit.params["beta"]), preferences(bandit), ref)
    alone = 4 / 16 * numbers(0.5) * numbers(2.0).log()  # a reply against itself, which `once` leaves out
    for population in (once(best.log()) + alone, many(best.log())):
        close(population, bandit.solution("population_loss"), atol=1e-8)


@proves("dpo_infinite_bt_data")
def test_whole_rankings_lead_where_pairs_do(bandit: Bandit) -> None:
    orders, law = ranking_law(bandit["reward"])
    utility = numbers([3.0, 2.0, 1.0, 0.0]).expand(len(orders), 4)
    ref, ones = bandit["pi_ref"].log()[orders], torch.ones(orders.shape, dtype=torch.float64)

    def loss(logp: Tensor) -> Tensor:
        ranked = ReferencedRanked(utility=utility, logp=logp[orders], length=ones, ref=ref)
        return (law * ours.plackett_luce(ranked, beta=bandit.params["beta"])).sum()

    assert_leads_to(loss, bandit.solution("pi_star"))


@proves("ipo_fixed_point", "ipo_deterministic_preferences")
def test_ipo_follows_the_probability_of_winning(bandit: Bandit) -> None:
    law, p, tau = preferences(bandit), bandit["p_star"], bandit.params["tau"]
    wins = p @ bandit["pair_sampling_mu"]
    if "p_star_beats_mu" in bandit.expected:
        close(wins, bandit.solution("p_star_beats_mu"), atol=1e-9)
    for objective in (partial(ours.ipo, tau=tau), partial(ours.ipo_token_mean, tau=tau)):
        assert_leads_to(over_pairs(objective, law, bandit["pi_ref"]), bandit.solution("pi_star"))


@proves("ipo_deterministic_preferences")
def test_certain_preferences_hold_ipo_where_dpo_runs_off(bandit: Bandit) -> None:
    law, ref = preferences(bandit), bandit["pi_ref"]
    for start in starts(4):
        away = fit(over_pairs(partial(ours.dpo, beta=bandit.params["tau"]), law, ref), start, steps=60)
        assert away[3] < 1e-6 < bandit.solution("pi_star")[3]


@pytest.mark.parametrize(
    ("psi", "solution"),
    [(lambda p: p, "pi_star_psi_identity"), (torch.logit, "pi_star_psi_logit")],
    ids=["identity", "logit"],
)
@proves("psipo_general")
def test_psi_po_leads_to_its_optimum_for_any_psi(
    bandit: Bandit, psi: Callable[[Tensor], Tensor], solution: str
) -> None:
    """The regression has the optimum of the objective itself, E Psi(p) - tau KL, made large."""
    ref, mu, tau = bandit["pi_ref"], bandit["pair_sampling_mu"], bandit.params["tau"]
    value = psi(bandit["p_star"]) @ mu
    i, j = torch.cartesian_prod(torch.arange(4), torch.arange(4)).T
    regression = partial(ours.psi_po, psi=PairValues(value[i], value[j]), tau=tau)
    assert_leads_to(over_pairs(regression, torch.outer(mu, mu).flatten(), ref), bandit.solution(solution))
    itself = partial(ours.rlhf_objective, reference=ref, reward=value, beta=tau)
    assert_leads_to(lambda logp: -itself(logp.exp()), bandit.solution(solution))


@proves("psipo_general")
def test_psi_po_with_the_logit_is_dpo_on_soft_labels(bandit: Bandit) -> None:
    soft = partial(ours.dpo, preference=bandit["p_star"].flatten(), beta=bandit.params["tau"])
    even = numbers([1 / 16] * 16)
    assert_leads_to(over_pairs(soft, even, bandit["pi_ref"]), bandit.solution("pi_star_psi_logit"))
    ipo = partial(ours.ipo, tau=bandit.params["tau"])
    population = over_pairs(ipo, preferences(bandit), bandit["pi_ref"])
    assert_leads_to(population, bandit.solution("pi_star_psi_identity"))


ONE = numbers([1.0] * 4)
TWO_ARMS: dict[str, list[Callable[..., Tensor]]] = {
    "dpo": [partial(ours.dpo, beta=0.5), partial(ours.dpo, preference=ONE, beta=0.5)],
    "cdpo_eps_0_1": [partial(ours.cdpo, beta=0.5, label_smoothing=0.1)],
    "robust_dpo_eps_0_1_noisy_labels": [partial(ours.robust_dpo, beta=0.5, flip_rate=0.1)],
    "ipo": [partial(ours.ipo, tau=0.5)],
    "exo_pref_eps_1e-3": [partial(ours.exo_pair, beta=0.5, label_smoothing=1e-3)],
    "simpo_beta2_gamma1_len1": [partial(ours.simpo, beta=2.0, gamma=1.0)],
    "cpo_beta0_5_alpha1": [
        partial(ours.cpo, beta=0.5, alpha=1.0),
        partial(ours.cpo_sequence_nll, beta=0.5, alpha=1.0),
    ],
    "orpo_lambda0_1_len1": [partial(ours.orpo, lam=0.1)],
    "slic_hf_delta1_lambda5_q0_6": [slic(5.0)],
    "slic_rank_only_delta1": [slic(0.0), partial(ours.slic_hf_chosen, delta=1.0, lam=0.0)],
    "dpo_hinge": [partial(ours.dpo_hinge, beta=0.5)],
    "cpl_lambda1_alpha0_5": [
        partial(ours.cpl, preference=ONE, alpha=0.5, lam=1.0),
        partial(ours.dpo_reference_free, beta=0.5),
    ],
    "nca_pair_beta0_5": [partial(ours.nca_pair, beta=0.5)],
}


@pytest.mark.parametrize("name", TWO_ARMS)
@proves("two_arm_optima")
def test_two_replies_meet_the_root_of_one_equation(bandit: Bandit, name: str) -> None:
    """The first of two replies is chosen with probability 0.8; for robust DPO one label in ten is wrong."""
    ref, p = bandit["pi_ref"], bandit.inputs["p_prefer_arm0"]
    if "noisy" in name:
        p = 0.9 * p + 0.1 * (1 - p)
    law, row = numbers([0.0, p, 1 - p, 0.0]), bandit.expected[name]
    for objective in TWO_ARMS[name]:
        loss = over_pairs(objective, law, ref)
        if "pi0_numeric" in row:
            assert_leads_to(loss, numbers([row["pi0_numeric"], 1 - row["pi0_numeric"]]), atol=1e-5)
            continue
        assert_leads_to(loss, numbers(row["pi_star"]))
        logp = fit(loss, starts(2)[0]).log() - (ref.log() if row["uses_reference"] else 0.0)
        close(logp[0] - logp[1], numbers(row["log_ratio_gap_s"]), atol=1e-4)


@proves("two_arm_optima")
def test_apo_zero_has_no_optimum_inside(bandit: Bandit) -> None:
    """The loss falls all the way to the edge of the policies."""
    law = numbers([0.0, bandit.inputs["p_prefer_arm0"], 1 - bandit.inputs["p_prefer_arm0"], 0.0])
    loss = over_pairs(partial(ours.apo_zero, beta=0.5), law, bandit["pi_ref"])
    first = torch.cat([torch.linspace(0.001, 0.999, 999), 1 - torch.logspace(-3.1, -6, 30)]).double()
    values = torch.stack([loss(torch.stack([p, 1 - p]).log()) for p in first])
    assert (values.diff() < 0).all()
    close(first[values.argmin()], bandit.solution("apo_zero_beta0_5", "pi0_numeric"), atol=1e-6)


@proves("two_arm_optima")
def test_every_two_arm_row_is_tried(bandit: Bandit) -> None:
    assert {*TWO_ARMS, "apo_zero_beta0_5"} == set(bandit.expected)


# our divergence, its alpha, the generator f with D_f(policy, reference), and a factor between the two
REGULARISERS: dict[str, tuple[Any, Any, float]] = {
    "reverse_kl": ("reverse_kl", "kl", 1.0),
    "forward_kl": ("forward_kl", "reverse_kl", 1.0),
    "js_fprime_log_2u_over_1pu": ("js", "js", 2.0),
    "alpha_0_5": ("alpha", "alpha", 1.0),
}


@pytest.mark.parametrize("name", REGULARISERS)
@proves("f_regularised_optima")
def test_f_dpo_finds_the_f_regularised_optimum(bandit: Bandit, name: str) -> None:
    """So does the regularised objective itself, with the divergence that f-DPO takes f' of."""
    ref, reward, beta = bandit["pi_ref"], bandit["reward"], bandit.params["beta"]
    divergence, generator, factor = REGULARISERS[name]
    best = bandit.solution(name, "pi_star")
    f_dpo = partial(ours.f_dpo, divergence=divergence, alpha=0.5, beta=beta)
    assert_leads_to(over_pairs(f_dpo, preferences(bandit), ref), best)

    def regularised(logp: Tensor) -> Tensor:
        penalty = factor * ours.f_divergence(logp.exp(), ref, generator=generator, alpha=0.5)
        return beta * penalty - (logp.exp() * reward).sum()

    assert_leads_to(regularised, best)


@pytest.mark.parametrize(
    ("objective", "solution"), [(ours.ln_dpo, "ln_dpo"), (partial(ours.simpo, gamma=0.0), "simpo_gamma0")]
)
@proves("length_normalised_optima")
def test_length_normalised_losses_pay_reward_by_the_token(
    bandit: Bandit, objective: Callable[..., Tensor], solution: str
) -> None:
    length, beta = bandit["lengths"], bandit.params["beta"]
    best = bandit.solution(f"{solution}_pi_star")
    assert_leads_to(
        over_pairs(partial(objective, beta=beta), preferences(bandit), bandit["pi_ref"], length), best
    )
    base = bandit["pi_ref"].log() if solution == "ln_dpo" else 0.0
    constant = beta * (best.log() - base) / length - bandit["reward"]
    close(constant, bandit.solution(f"{solution.split('_gamma')[0]}_c").expand(4), atol=1e-6)


@proves("r_dpo_optimum")
def test_r_dpo_charges_for_length(bandit: Bandit) -> None:
    r_dpo = partial(ours.r_dpo, beta=bandit.params["beta"], alpha=bandit.params["alpha"])
    loss = over_pairs(r_dpo, preferences(bandit), bandit["pi_ref"], bandit["lengths"])
    assert_leads_to(loss, bandit.solution("pi_star"))


@proves("modpo_optimum")
def test_modpo_adds_up_objectives(bandit: Bandit) -> None:
    """Preferences know the first reward only; the second comes in as a margin."""
    own, other = bandit.params["w"]
    i, j = torch.cartesian_prod(torch.arange(4), torch.arange(4)).T
    margin = other * bandit["reward_margin"]
    modpo = partial(
        ours.modpo, margins=PairValues(margin[i], margin[j]), weight=own, beta=bandit.params["beta"]
    )
    loss = over_pairs(modpo, preferences(bandit, "reward_pref"), bandit["pi_ref"])
    assert_leads_to(loss, bandit.solution("pi_star"))


@proves("cdpo_four_arms_numeric")
def test_cdpo_on_four_replies(bandit: Bandit) -> None:
    cdpo = partial(ours.cdpo, beta=bandit.params["beta"], label_smoothing=bandit.params["epsilon"])
    loss = over_pairs(cdpo, preferences(bandit), bandit["pi_ref"])
    assert_leads_to(loss, bandit.solution("pi_star"), atol=1e-5)


@proves("discopop_landscape")
def test_discopop_has_a_valley_before_its_hill(bandit: Bandit) -> None:
    def loss(margin: Tensor) -> Tensor:
        zero = torch.zeros(1, dtype=torch.float64)
        pairs = all_pairs(referenced(torch.cat([margin, zero]), torch.ones(2, dtype=torch.float64)))
        return ours.discopop(pairs, **bandit.params)[1]

    valley, hill = bandit.solution("stationary_rho")
    at_zero = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    close(loss(at_zero), bandit.solution("loss_at_0"), atol=1e-9)
    slope = torch.autograd.grad(loss(at_zero), at_zero)[0]
    close(slope[0], bandit.solution("dloss_drho_at_0"), atol=1e-9)
    for start in (-9.0, 0.0, hill.item() - 0.01):
        close(descend(loss, numbers([start]))[0], valley, atol=1e-3)
    close(descend(lambda m: -loss(m), numbers([0.0]))[0], hill, atol=1e-3)
    assert descend(loss, numbers([hill.item() + 0.01]), steps=50) > 20
    values = torch.stack([loss(at[None]) for at in (valley, hill)])
    close(values, bandit.solution("values"), atol=1e-8)


# --- rankings, rewards ------------------------------------------------------------------------------------


@proves("exo_rw_optimum")
def test_exo_and_info_nca_on_all_replies(bandit: Bandit) -> None:
    """Reverse and forward KL between the same two choices: one optimum."""
    beta, temperature = bandit.params["beta_pi"], bandit.params["beta_r"]
    exo = partial(ours.exo_ranked, beta=beta, beta_r=temperature)
    info_nca = partial(ours.info_nca, beta=beta, alpha=temperature)
    for objective in (exo, info_nca):
        assert_leads_to(lambda logp, f=objective: f(one_row(bandit, logp))[0], bandit.solution("pi_star"))


@proves("nca_reward_beta1_Kinf")
def test_nca_in_the_limit_of_many_replies(bandit: Bandit) -> None:
    """A row that holds each reply as often as the reference draws it is the limit, exactly."""
    copies = (10 * bandit["pi_ref"]).round().long()
    nca = partial(ours.nca, beta=bandit.params["beta"], alpha=bandit.params["alpha"])
    assert_leads_to(lambda logp: nca(one_row(bandit, logp, copies))[0], bandit.solution("pi_star"))
    for start in starts(4):
        few = fit(lambda logp: nca(one_row(bandit, logp))[0], start)
        assert (few - bandit.solution("pi_star")).abs().max() > 0.01


@proves("reward_model_optima")
def test_comparisons_identify_rewards_up_to_a_constant(bandit: Bandit) -> None:
    """Wherever descent starts, only the constant differs."""
    law, n = preferences(bandit, "true_reward"), 4
    i, j = torch.cartesian_prod(torch.arange(n), torch.arange(n)).T
    orders, order_law = ranking_law(bandit["true_reward"])
    utility = numbers([3.0, 2.0, 1.0, 0.0]).expand(len(orders), n)

    def over_rankings(objective: Callable[[RankedRewards], Tensor]) -> Loss:
        return lambda r: (order_law * objective(RankedRewards(utility=utility, reward=r[orders]))).sum()

    soft = partial(ours.bradley_terry, preference=bandit["p_star"].flatten())
    losses = {
        "bt_identified_up_to_constant": [
            lambda r: (law * ours.bradley_terry(RewardPairs(r[i], r[j]))).sum(),
            lambda r: soft(RewardPairs(r[i], r[j])).mean(),
        ],
        "plackett_luce_same": [
            over_rankings(ours.plackett_luce_reward),
            over_rankings(ours.listwise_top1),
            over_rankings(ours.kwise_bradley_terry),
        ],
    }
    for solution, start in product(losses, starts(n)):
        for loss in losses[solution]:
            found = descend(loss, start + 5.0)
            close(found - found.mean(), bandit.solution(solution), atol=1e-6)


@proves("reward_model_optima")
def test_centring_fixes_the_constant_and_shrinks_the_scale(bandit: Bandit) -> None:
    i, j = torch.cartesian_prod(torch.arange(4), torch.arange(4)).T
    law = preferences(bandit, "true_reward") * (i != j)

    def found(coefficient: float, start: Tensor) -> Tensor:
        loss = partial(ours.bradley_terry, center_rewards_coefficient=coefficient)
        return descend(lambda r: (law * loss(RewardPairs(r[i], r[j]))).sum(), start)

    limit = bandit.solution("bt_with_centering_limit")
    for start in starts(4):
        shrunk, nearly = found(0.01, start + 3.0), found(0.001, start + 3.0)
        close(shrunk, bandit.solution("bt_centering_coef_0_01_exact"), atol=1e-5)
        assert (nearly - limit).abs().max() < (shrunk - limit).abs().max() / 5


@proves("reward_model_optima")
def test_regression_finds_the_mean_score(bandit: Bandit) -> None:
    """Two annotators who differ: the reward is what they give on average, constant and scale included."""
    noise = numbers([0.3, -1.0, 0.5, 2.0])
    scores = torch.cat([bandit["true_reward"] + noise, bandit["true_reward"] - noise])
    for start in starts(4):
        found = descend(lambda r: ours.reward_regression(Rewards(r.repeat(2)), utility=scores).mean(), start)
        close(found, bandit.solution("mse"), atol=1e-7)


# --- imitation --------------------------------------------------------------------------------------------


@proves("best_of_n_distribution")
def test_imitating_the_best_of_n(bandit: Bandit) -> None:
    """The law of the winner, found by drawing every group there is, is the formula's, and is learned."""
    ref, reward, n = bandit["pi_ref"], bandit["reward"], bandit.params["n"]
    best = bandit.solution("pi_bon")
    close(ours.best_of_n_weights(ref, reward, n=n), best, atol=1e-9)
    drawn = torch.cartesian_prod(*[torch.arange(4)] * n)
    winner = drawn.flatten()[ours.best_of_n(Groups.of(reward[drawn]))]
    close(torch.zeros_like(ref).index_add(0, winner, ref[drawn].prod(1)), best, atol=1e-9)
    assert_leads_to(imitation(best), best)
    close(ours.f_divergence(best, ref, generator="kl"), bandit.solution("kl"), atol=1e-9)
    close(numbers(ours.best_of_n_kl_bound(n)), bandit.solution("kl_bound"), atol=1e-9)


@proves("rest_rising_thresholds")
def test_rest_climbs_its_ladder(bandit: Bandit) -> None:
    """Each round imitates what the last round's policy says and the threshold lets pass."""
    policy, reward = bandit["pi_ref"], bandit["reward"]
    for threshold in bandit.params["thresholds"]:
        kept = ours.above_threshold(Groups.of(reward[None]), threshold=threshold)
        policy = fit(imitation(policy * kept), starts(4)[1])
        close(policy, bandit.solution(str(threshold)), atol=1e-6)


@proves("eq7_policy_optimum")
def test_unified_objective_mixes_reward_and_start_geometrically(bandit: Bandit) -> None:
    reward, sft, lam = bandit["R_normalised"], bandit["pi_sft"], bandit.params["lam"]
    best = bandit.solution("pi_star")
    close(ours.unified_rlhf_optimum(reward=reward, sft=sft, lam=lam), best, atol=1e-9)
    objective = partial(ours.unified_rlhf, human=sft, reward=reward, sft=sft, lam=lam)
    assert_leads_to(lambda logp: objective(logp.exp()), best)


@proves("eq8_unbounded")
def test_raw_preference_imitation_has_no_floor(bandit: Bandit) -> None:
    """The reply that is rejected more often than chosen is taken towards nothing."""
    imitate = partial(ours.preference_imitation, chosen=bandit["p_w"], rejected=bandit["p_l"])
    values = [imitate(numbers([0.65, 0.35 - eps, eps]))[0] for eps in (1e-2, 1e-4, 1e-8)]
    close(torch.stack(values), bandit.solution("objective_at_eps"), atol=1e-8)
    for start in starts(3):
        assert fit(lambda logp: imitate(logp.exp())[0], start, steps=40)[2] < 1e-6


@proves("adpa_one_step_optimum")
def test_adpa_leans_from_the_chosen_to_the_advantage(bandit: Bandit) -> None:
    """Teachers are known up to a constant in their logits, so the advantage is too; it moves only nu."""
    chosen, advantage, gamma = bandit["p_w"], bandit["advantage"], bandit.params["gamma"]
    best, level = bandit.solution("pi_star"), torch.zeros(1, 3, dtype=torch.float64)
    adpa = partial(ours.adpa_advantage, teacher=advantage[None], teacher_ref=level, gamma=gamma)
    assert_leads_to(lambda logp: imitation(chosen)(logp) + adpa(logp[None])[0], best)
    close(chosen / (bandit.solution("nu") - gamma * advantage), best, atol=1e-8)


DISTILLED: dict[str, Callable[..., Tensor]] = {
    **{f"jsd {beta}": partial(ours.generalised_jsd, beta=beta) for beta in (0.0, 0.1, 0.5, 0.9, 1.0)},
    "cold jsd": partial(ours.generalised_jsd, beta=0.3, temperature=0.5),
    "dckd": ours.teacher_forward_kl,
    "reverse": ours.reverse_kl,
    "top two of three": lambda logits, teacher: ours.topk_forward_kl(logits, teacher=ours.topk(teacher, k=2)),
}


@pytest.mark.parametrize("name", DISTILLED)
@proves("distillation_optimum")
def test_distillation_arrives_at_the_teacher(bandit: Bandit, name: str) -> None:
    teacher = bandit["teacher"].log()[None] + 2.0
    loss = DISTILLED[name]
    assert_leads_to(lambda logp: loss(logp[None], teacher=teacher)[0], bandit.solution("pi_star"))


@proves("distillation_optimum")
def test_imitating_a_teachers_samples_arrives_at_the_teacher(bandit: Bandit) -> None:
    assert_leads_to(imitation(bandit["teacher"]), bandit.solution("pi_star"))


@pytest.mark.parametrize(("undesirable_weight", "signs"), [(1.0, None), (2.0, [1, -1, -1, -1])])
@proves("kto_direction")
def test_kto_moves_each_reply_towards_its_majority(
    bandit: Bandit, undesirable_weight: float, signs: list[int] | None
) -> None:
    """Wherever a reply stands, it goes up if its share of good labels is above lam_U / (lam_D + lam_U)."""
    good = bandit["p_desirable"]
    label = torch.tensor([True] * 4 + [False] * 4)
    for place in (-6.0, 0.0, 6.0):
        ratio = torch.full((4,), place, dtype=torch.float64, requires_grad=True)
        every = ReferencedReplies(ratio.repeat(2), torch.ones(8), ref=torch.zeros(8, dtype=torch.float64))
        elsewhere = referenced(numbers([0.3, 0.5]), numbers([1.0, 1.0]))
        loss = ours.kto(
            every, desirable=label, mismatched=elsewhere, undesirable_weight=undesirable_weight, beta=0.5
        )
        gradient = torch.autograd.grad((torch.cat([good, 1 - good]) * loss).sum(), ratio)[0]
        wanted = bandit.solution("sign_of_update_on_logratio") if signs is None else numbers(signs)
        close(-gradient.sign(), wanted.double(), atol=0.0)


# --- the tests themselves ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "objective"),
    [
        ("dpo_infinite_bt_data", partial(ours.dpo, beta=1.0)),
        ("ipo_fixed_point", partial(ours.ipo, tau=1.0)),
        ("r_dpo_optimum", partial(ours.r_dpo, beta=0.5, alpha=-0.1)),
        ("length_normalised_optima", partial(ours.ln_dpo, beta=1.0)),
        ("cdpo_four_arms_numeric", partial(ours.cdpo, beta=0.5, label_smoothing=0.0)),
    ],
)
def test_a_wrong_knob_misses_the_optimum(name: str, objective: Callable[..., Tensor]) -> None:
    bandit = BANDITS[name]
    best = bandit.solution("ln_dpo_pi_star" if "length" in name else "pi_star")
    length = bandit["lengths"] if "lengths" in bandit.inputs else None
    loss = over_pairs(objective, preferences(bandit), bandit["pi_ref"], length)
    for start in starts(4):
        assert (fit(loss, start) - best).abs().max() > 0.01


def test_no_start_is_an_optimum() -> None:
    for bandit in BANDITS.values():
        best = bandit.expected.get("pi_star")
        for start in starts(len(best)) if isinstance(best, list) else ():
            assert (start.softmax(-1) - numbers(best)).abs().max() > 0.03


def test_every_bandit_is_proved() -> None:
    assert set(BANDITS) == PROVED
