"""One suite over every objective, driven by the case table: its claims are true, and no row is missing."""

import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, get_type_hints

import pytest
import torch
from torch import Tensor

import concord.objectives as ob
from concord.catalogue import load
from concord.tensors import (
    Logits,
    Pairs,
    Ranked,
    RankedRewards,
    Record,
    ReferencedPairs,
    ReferencedReplies,
    Replies,
    RewardPairs,
)
from tests.objectives.cases import CASES, Case
from tests.objectives.examples import losses, make, take
from tests.objectives.worked import VECTORS

SEEDS = range(5)
each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def having(claim: Callable[[Case], Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [c for c in CASES if claim(c)], ids=lambda case: case.name)


def is_a(case: Case, kinds: Any) -> bool:
    return isinstance(kind_of(case), type) and issubclass(kind_of(case), kinds)


def kind_of(case: Case) -> Any:
    return next(iter(get_type_hints(case.objective).values()))


def changed(record: Any, change: Callable[[str, Tensor, str], Tensor], side: str = "") -> Any:
    """A copy of a record with its tensors changed: by field name, value, and side where there are two."""
    if isinstance(record, Tensor):
        return change("logits", record, side)
    new = {}
    for f in fields(record):
        value = getattr(record, f.name)
        if isinstance(value, Record):
            new[f.name] = changed(value, change, f.name)
        elif isinstance(value, Tensor):
            new[f.name] = change(f.name, value, side)
    return replace(record, **new)


# --- the table is whole -----------------------------------------------------------------------------------


def test_every_objective_has_a_case() -> None:
    catalogue = {entry.name for entry in load() if entry.kind == "objective"}
    assert {case.name for case in CASES} == catalogue
    assert len(CASES) == len(catalogue)
    summed = {term.objective for method in ob.METHODS.values() for term in method.terms}
    assert summed <= catalogue


@each
def test_a_case_names_its_worked_value(case: Case) -> None:
    known = {e["name"] for e in VECTORS["vectors"]}
    assert case.vectors or case.by_hand
    assert set(case.vectors) <= known
    assert not case.optimum or case.optimum in {e["name"] for e in VECTORS["bandits"]}


# --- values -----------------------------------------------------------------------------------------------


@having(lambda case: case.by_hand)
def test_worked_by_hand(case: Case) -> None:
    assert case.by_hand is not None
    assert case.by_hand.__doc__, "the page shows what was worked"
    for got, want in case.by_hand():
        got = torch.as_tensor(got, dtype=torch.float64)
        torch.testing.assert_close(got, torch.as_tensor(want, dtype=torch.float64), atol=1e-6, rtol=1e-6)


@having(lambda case: case.at_reference is not None)
def test_constant_at_the_reference(case: Case) -> None:
    for seed in SEEDS:
        record, inputs, _ = make(case.objective, seed=seed)
        if isinstance(record, ReferencedPairs):
            sides = [replace(side, ref=side.logp) for side in (record.chosen, record.rejected)]
            record = ReferencedPairs(*sides)
        else:
            record = replace(record, ref=record.logp)
        rows = losses(case.objective, record, inputs)
        torch.testing.assert_close(rows, torch.full_like(rows, case.at_reference or 0.0))


# --- what a loss does not see -----------------------------------------------------------------------------


def shift_of(what: str, record: Any) -> Callable[[str, Tensor, str], Tensor]:
    """The change of a record that a loss with this fact must not notice."""
    rows = torch.arange(1, 100, dtype=torch.float64)

    def column(value: Tensor, offset: float) -> Tensor:
        shift = (1 + offset) * rows[: len(value)]
        return shift if value.ndim == 1 else shift[:, None].expand_as(value)

    def change(name: str, value: Tensor, side: str) -> Tensor:
        other = 3.0 if side == "rejected" else 0.0
        match what:
            case "reference":
                return value + 1 if name == "ref" else value
            case "length":
                return value + 2 + int(other) if name in ("length", "mean_length") else value
            case "prompt":
                return value + column(value, 0.0) if name in ("logp", "logits") else value
            case "joint":
                return value + column(value, other) if name in ("logp", "ref") else value
            case "shift":
                return value + column(value, 0.0) if name in ("chosen", "rejected", "reward") else value
        raise AssertionError(what)

    return change


@having(lambda case: case.ignores)
def test_what_a_loss_ignores(case: Case) -> None:
    for seed in SEEDS:
        record, inputs, _ = make(case.objective, seed=seed)
        before = losses(case.objective, record, inputs)
        for what in case.ignores:
            after = losses(case.objective, changed(record, shift_of(what, record)), inputs)
            torch.testing.assert_close(after, before, msg=lambda m, what=what: f"sees {what}: {m}")


@each
def test_what_a_loss_does_see(case: Case) -> None:
    """A fact left out of the table is left out because it is false, not because nobody looked."""
    record, kind = make(case.objective)[0], kind_of(case)
    names = {f.name for f in every_field(record)}
    possible = {"length"} & names
    if kind in (RewardPairs, RankedRewards):
        possible |= {"shift"}
    elif isinstance(record, Pairs | Ranked) or kind is Logits:
        possible |= {"prompt"}
    if "ref" in names:
        possible |= {"joint"}
    for what in sorted(possible - set(case.ignores)):
        assert any(notices(case, what, seed) for seed in SEEDS), (
            f"ignores {what}, and the table does not say so"
        )


def notices(case: Case, what: str, seed: int) -> bool:
    record, inputs, _ = make(case.objective, seed=seed)
    after = losses(case.objective, changed(record, shift_of(what, record)), inputs)
    return not torch.allclose(after, losses(case.objective, record, inputs))


def every_field(record: Any) -> list[Any]:
    if isinstance(record, Tensor):
        return []
    own = list(fields(record))
    return own + [f for o in own if isinstance(v := getattr(record, o.name), Record) for f in every_field(v)]


# --- gradients --------------------------------------------------------------------------------------------


def gradient(case: Case, record: Any, inputs: Any, leaves: list[Tensor], **knobs: Any) -> list[Tensor]:
    total = losses(case.objective, record, inputs, **knobs).sum()
    got = torch.autograd.grad(total, leaves, allow_unused=True)
    return [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, got, strict=True)]


@having(lambda case: case.signs)
def test_signs_of_the_gradient(case: Case) -> None:
    moved = [False] * len(case.signs)
    for seed in range(20):
        record, inputs, leaves = make(case.objective, seed=seed)
        found = gradient(case, record, inputs, leaves)[: len(case.signs)]
        for side, (sign, g) in enumerate(zip(case.signs, found, strict=True)):
            moved[side] |= bool((g != 0).any())
            assert sign == "0" or ((g <= 0) if sign == "-" else (g >= 0)).all()
    assert all(moved), "a side that never moves has no sign"


@having(lambda case: not case.frozen)
@pytest.mark.parametrize("optional", [False, True])
def test_finite_differences(case: Case, optional: bool) -> None:
    record, inputs, leaves = make(case.objective, seed=1, optional=optional)

    def total(*values: Tensor) -> Tensor:
        swap = dict(zip(map(id, leaves), values, strict=True))

        def put(name: str, value: Tensor, side: str) -> Tensor:
            return swap.get(id(value), value)

        given = {k: changed(v, put) if isinstance(v, Record | Tensor) else v for k, v in inputs.items()}
        return losses(case.objective, changed(record, put), given).sum()

    assert torch.autograd.gradcheck(total, tuple(leaves), eps=1e-6, atol=1e-6)


FROZEN: dict[str, Callable[[Any, dict[str, Any]], Tensor]] = {}
"""For a loss with parts held constant: the same loss with those parts written as plain numbers."""


def frozen(function: Callable[[Any, dict[str, Any]], Tensor]) -> Callable[[Any, dict[str, Any]], Tensor]:
    FROZEN[function.__name__.removeprefix("plain_")] = function
    return function


@frozen
def plain_wpo(pairs: Any, x: dict[str, Any]) -> Tensor:
    sides = ((pairs.chosen, x["collision"].chosen), (pairs.rejected, x["collision"].rejected))
    logs = []
    for side, collision in sides:
        rows = zip(side.logp.tolist(), side.length.tolist(), collision.tolist(), strict=True)
        logs.append([logp / length - c for logp, length, c in rows])
    weight = [min(1.0, math.exp(sum(both))) for both in zip(*logs, strict=True)]
    return torch.tensor(weight, dtype=torch.float64) * ob.dpo(pairs, beta=0.01)


@frozen
def plain_dft(tokens: Any, x: dict[str, Any]) -> Tensor:
    return torch.tensor(tokens.logp.exp().tolist(), dtype=torch.float64) * -tokens.logp


@frozen
def plain_kto(replies: Any, x: dict[str, Any]) -> Tensor:
    z = max(0.0, x["mismatched"].ratio.mean().item())
    good = 1 - torch.sigmoid(0.1 * (replies.ratio - z))
    return torch.where(x["desirable"], good, 1 - torch.sigmoid(0.1 * (z - replies.ratio)))


@frozen
def plain_bco(replies: Any, x: dict[str, Any]) -> Tensor:
    shift = sum(s.mean.item() for s in ob.bco(replies, **x)[1]) / 2
    z = 0.1 * replies.ratio - shift
    return torch.nn.functional.softplus(torch.where(x["desirable"], -z, z))


@frozen
def plain_bco_pair(pairs: Any, x: dict[str, Any]) -> Tensor:
    delta = ob.bco_pair(pairs, **x)[1].mean.item()
    plus = torch.nn.functional.softplus
    return plus(delta - 0.1 * pairs.chosen.ratio) + plus(0.1 * pairs.rejected.ratio - delta)


@frozen
def plain_f_dpg(replies: Any, x: dict[str, Any]) -> Tensor:
    # KL(policy, target): A = -(log(pi Z / P) + 1), both running means having seen three values before.
    logp, target, old = (v.tolist() for v in (replies.logp, x["log_target"], x["old"]))
    z0, a0 = (state.mean.item() for state in x["state"])
    z = (3 * z0 + sum(math.exp(p - q) for p, q in zip(target, old, strict=True))) / 8

    def clip(value: float) -> float:
        return min(max(value, -20.0), 20.0)

    rewards = [-(clip(lp - p + math.log(z)) + 1) for lp, p in zip(logp, target, strict=True)]
    mean = (3 * a0 + sum(rewards)) / 8
    weight = [math.exp(clip(lp - q)) * (r - mean) for lp, q, r in zip(logp, old, rewards, strict=True)]
    return -torch.tensor(weight, dtype=torch.float64) * replies.logp


@frozen
def plain_temporal_difference(values: Any, x: dict[str, Any]) -> Tensor:
    target = torch.tensor((x["reward"] + values.later(values.value)).tolist(), dtype=torch.float64)
    return (values.value - target).square()


@frozen
def plain_kl_k3_value_k2_gradient_loss(tokens: Any, x: dict[str, Any]) -> Tensor:
    gap = torch.tensor((ob.k3(tokens) - ob.k2(tokens)).tolist(), dtype=torch.float64)
    return tokens.ratio.square() / 2 + gap


@having(lambda case: case.frozen)
def test_gradient_of_what_is_not_frozen(case: Case) -> None:
    record, inputs, leaves = make(case.objective, seed=1)
    plain = FROZEN[case.name](record, inputs)
    torch.testing.assert_close(losses(case.objective, record, inputs), plain)
    want = torch.autograd.grad(plain.sum(), leaves, allow_unused=True)
    for ours, theirs in zip(gradient(case, record, inputs, leaves), want, strict=True):
        torch.testing.assert_close(ours, torch.zeros_like(ours) if theirs is None else theirs)


# --- rows -------------------------------------------------------------------------------------------------


@each
def test_rows_are_independent_or_declared_coupled(case: Case) -> None:
    assert ob.describe(case.objective).coupled == case.coupled
    record, inputs, _ = make(case.objective, seed=2, optional=True)
    owner = getattr(record, "owner", None)
    whole = losses(case.objective, record, inputs)
    index = torch.tensor([1, 3])
    some = losses(
        case.objective,
        take(record, index, like=record),
        {k: take(v, index, like=record) for k, v in inputs.items()},
    )
    if owner is not None and len(whole) == len(owner):
        expected = whole[record.token_index(index)]
    else:
        expected = whole[index]
    assert torch.allclose(some, expected) != case.coupled


@each
def test_the_order_of_rows_does_not_matter(case: Case) -> None:
    record, inputs, _ = make(case.objective, seed=3, optional=True)
    order = torch.randperm(len(record), generator=torch.Generator().manual_seed(0))
    mixed_inputs = {k: take(v, order, like=record) for k, v in inputs.items()}
    mixed = losses(case.objective, take(record, order, like=record), mixed_inputs)
    torch.testing.assert_close(mixed.mean(), losses(case.objective, record, inputs).mean())


# --- numbers that machines make ---------------------------------------------------------------------------


@each
def test_float32_agrees_with_float64(case: Case) -> None:
    for seed in SEEDS:
        double = losses(case.objective, *make(case.objective, seed=seed, optional=True)[:2])
        single = losses(
            case.objective, *make(case.objective, seed=seed, optional=True, dtype=torch.float32)[:2]
        )
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), double, rtol=2e-5, atol=2e-5)


@each
def test_bfloat16_inputs_are_reckoned_in_float32(case: Case) -> None:
    record, inputs, _ = make(case.objective, dtype=torch.bfloat16, optional=True)
    rows = losses(case.objective, record, inputs)
    assert rows.dtype == torch.float32
    wide = {k: changed(v, widen) if isinstance(v, Record | Tensor) else v for k, v in inputs.items()}
    # Numbers beside the record may be rounded once more (1 - p); sums of log-probabilities are not.
    torch.testing.assert_close(
        rows, losses(case.objective, changed(record, widen), wide), rtol=1e-2, atol=1e-2
    )


def widen(name: str, value: Tensor, side: str) -> Tensor:
    return value.float() if value.dtype == torch.bfloat16 else value


def extremes() -> list[Callable[[str, Tensor, str], Tensor]]:
    """Ways in which a batch can be at the edge of what numbers can say."""
    logs = ("logp", "ref", "old", "logits", "reward", "chosen", "rejected", "logit", "value", "returns")

    def on(
        names: tuple[str, ...], to: Callable[[Tensor, str], Tensor]
    ) -> Callable[[str, Tensor, str], Tensor]:
        return lambda name, v, side: to(v, side).to(v.dtype) if name in names else v

    return [
        on(("logp",), lambda v, _: torch.full_like(v, -1e4)),
        on(("ref", "old"), lambda v, _: torch.full_like(v, -1e4)),
        on(("logp",), lambda v, side: torch.full_like(v, -1e4 if side == "chosen" else -1.0)),
        on(("logp",), lambda v, side: torch.full_like(v, -1e4 if side == "rejected" else -1.0)),
        on(logs, lambda v, _: torch.zeros_like(v)),
        on(logs, lambda v, _: torch.full_like(v, -3.0)),
        on(("utility",), lambda v, _: torch.zeros_like(v)),
        on(("length",), lambda v, _: torch.ones_like(v)),
        on(("logits", "logit", "reward", "value", "chosen", "rejected"), lambda v, _: 1e4 * v.sign()),
    ]


@each
@pytest.mark.parametrize("extreme", range(len(extremes())))
def test_finite_at_extremes(case: Case, extreme: int) -> None:
    record, inputs, _ = make(case.objective, dtype=torch.float32, optional=True)
    leaves: list[Tensor] = []
    edge = with_leaves(changed(record, extremes()[extreme]), leaves)
    beside = {k: changed(v, extremes()[extreme]) if edged(k, v) else v for k, v in inputs.items()}
    for given in (inputs, beside):
        rows = losses(case.objective, edge, given)
        assert rows.isfinite().all()
        for g in torch.autograd.grad(rows.sum(), leaves, allow_unused=True):
            assert g is None or g.isfinite().all()


def edged(name: str, value: Any) -> bool:
    """Whether an input can stand at the edge too: log-probabilities and logits can."""
    if isinstance(value, Tensor):
        return name in ("teacher", "teacher_ref")
    return isinstance(value, ReferencedReplies | Replies)


def with_leaves(record: Any, leaves: list[Tensor]) -> Any:
    """The record with its trained fields as leaves, which are appended."""
    if isinstance(record, Tensor):
        leaves.append(record.detach().requires_grad_())
        return leaves[-1]
    new = {}
    for f in fields(record):
        value = getattr(record, f.name)
        if isinstance(value, Record):
            new[f.name] = with_leaves(value, leaves)
        elif f.name in record.trained:
            leaves.append(value.detach().requires_grad_())
            new[f.name] = leaves[-1]
    return replace(record, **new)


@having(lambda case: is_a(case, Pairs))
def test_identical_replies_are_finite_and_pull_both_ways(case: Case) -> None:
    record, inputs, _ = make(case.objective, dtype=torch.float32)
    logp = record.chosen.logp.detach().requires_grad_()
    side = replace(record.chosen, logp=logp)
    rows = losses(case.objective, replace(record, chosen=side, rejected=side), inputs)
    assert rows.isfinite().all()
    if case.name in SYMMETRIC:
        (g,) = torch.autograd.grad(rows.sum(), logp)
        torch.testing.assert_close(g, torch.zeros_like(g), atol=1e-6, rtol=0)


SYMMETRIC = {
    "aot",
    "apo_zero",
    "cdpo",
    "discopop",
    "dpo",
    "dpo_hinge",
    "dpo_reference_free",
    "exo_pair",
    "exo_pair_unnormalised",
    "f_dpo",
    "ipo",
    "ipo_token_mean",
    "ln_dpo",
    "psi_po",
    "r_dpo",
    "robust_dpo",
    "simpo",
    "wpo",
}
"""Losses in which an identical pair teaches nothing: what one side gains the other loses."""


# --- masks of ragged rankings -----------------------------------------------------------------------------


@having(lambda case: is_a(case, Ranked | RankedRewards))
def test_absent_replies_change_nothing(case: Case) -> None:
    record, inputs, leaves = make(case.objective, seed=4)
    before = losses(case.objective, record, inputs)

    def noise(name: str, value: Tensor, side: str) -> Tensor:
        table = value.ndim == 2 and value.dtype != torch.bool
        return torch.where(record.mask, value, value + 50) if table else value

    torch.testing.assert_close(losses(case.objective, changed(record, noise), inputs), before)
    (g,) = gradient(case, record, inputs, leaves)
    assert (g[~record.mask] == 0).all()
