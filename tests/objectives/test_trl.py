"""Our objectives against TRL's own code: the same logits give the same loss and the same gradient.

Nothing of TRL's is written again here. A trainer is made without its constructor and given its own
configuration; its own method is then called on a model whose logits are a table. One test at the end builds
a real trainer around a real model, to show that the short way computes what the long one does.
"""

import re
from collections import defaultdict, deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from concord import objectives as ours
from concord.tensors import (
    Groups,
    PairValues,
    ReferencedPairs,
    ReferencedReplies,
    ReferencedRollouts,
    ReferencedTokens,
    RewardPairs,
    RunningMean,
    Scalar,
    Tokens,
)
from tests.objectives.tabular import Table, agree, scored, trainer

trl = pytest.importorskip("trl", minversion="1.16", reason="TRL is in the extra `bench`")
if not trl.__version__.startswith("1.16."):
    pytest.skip("TRL's internals move between minor versions; this is for 1.16", allow_module_level=True)

VOCABULARY = 11
BETA = 0.3
Batch = dict[str, Tensor]


# --- batches, and what we read off them -------------------------------------------------------------------


@pytest.fixture
def plain(tmp_path: Path) -> dict[str, Any]:
    """Settings that keep a configuration to itself, on the processor."""
    return {
        "output_dir": str(tmp_path),
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "gradient_checkpointing": None,  # TRL's own default is a name that transformers warns of
    }


def some_ids(chance: torch.Generator, length: int) -> list[int]:
    return torch.randint(1, VOCABULARY, (length,), generator=chance).tolist()


def preference_batch(*, prompt: int = 3, pairs: int = 5) -> tuple[Batch, Tensor]:
    """Pairs of replies as TRL lays them out, chosen above rejected, and random logits for them."""
    chance = torch.Generator().manual_seed(20)
    rows = [
        {
            "prompt_ids": some_ids(chance, prompt),
            "chosen_ids": some_ids(chance, 2 + k),
            "rejected_ids": some_ids(chance, 6 - k),
            "ref_chosen_logps": -2.4 * (2 + k) + 0.5 * k,
            "ref_rejected_logps": -2.4 * (6 - k) - 0.3,
        }
        for k in range(pairs)
    ]
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    batch = DataCollatorForPreference(pad_token_id=0)(rows)
    return batch, torch.randn(*batch["input_ids"].shape, VOCABULARY, generator=chance)


def token_logps(logits: Tensor, ids: Tensor) -> Tensor:
    return logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]


def reply_tokens(logits: Tensor, batch: Batch) -> Tokens:
    mask = batch["completion_mask"][:, 1:].bool()
    return Tokens.from_padded(mask=mask, logp=token_logps(logits, batch["input_ids"]))


def referenced_pairs(logits: Tensor, batch: Batch) -> ReferencedPairs:
    flat = reply_tokens(logits, batch)
    sides = zip(
        flat.sum(flat.logp).chunk(2),
        flat.length.chunk(2),
        (batch["ref_chosen_logps"], batch["ref_rejected_logps"]),
        strict=True,
    )
    return ReferencedPairs(*(ReferencedReplies(logp, length, ref=ref) for logp, length, ref in sides))


# --- DPO --------------------------------------------------------------------------------------------------


def unshifted(pairs: ReferencedPairs) -> Tensor:
    """BCO on pairs against a running mean that never moves from zero."""
    still = RunningMean(torch.zeros(()), torch.tensor(10**18))
    return ours.bco_pair(pairs, state=still, beta=BETA)[0]


def chosen_nll(pairs: ReferencedPairs) -> Tensor:
    return pairs.chosen.token_nll


def mixed_preference(pairs: ReferencedPairs) -> Tensor:
    return 0.8 * ours.dpo(pairs, beta=BETA) + 0.2 * unshifted(pairs) + 1.0 * chosen_nll(pairs)


def losses(*names: str, **more: Any) -> dict[str, Any]:
    return {"loss_type": list(names), **more}


def at_beta(objective: Callable[..., Tensor], **knobs: Any) -> Callable[..., Tensor]:
    return partial(objective, beta=BETA, **knobs)


def divergence(kind: str, **more: Any) -> dict[str, Any]:
    return losses("sigmoid", f_divergence_type=kind, **more)


SMOOTH = {"label_smoothing": 0.2}
ipo_a_token = partial(ours.ipo_token_mean, tau=BETA)
three = ours.weighted_sum(
    dpo=(0.5, at_beta(ours.dpo)), ipo=(0.1, ipo_a_token), nca=(2.0, at_beta(ours.nca_pair))
)
# what DPOConfig is given beside beta, and what of ours that is the same as
DPO: dict[str, tuple[dict[str, Any], Callable[[ReferencedPairs], Tensor]]] = {
    "sigmoid": (losses("sigmoid"), at_beta(ours.dpo)),
    "sigmoid, soft": (losses("sigmoid"), at_beta(ours.dpo, preference=torch.ones(5))),
    "sigmoid takes no smoothing": (losses("sigmoid", **SMOOTH), at_beta(ours.dpo)),
    "hinge": (losses("hinge"), at_beta(ours.dpo_hinge)),
    "ipo": (losses("ipo"), ipo_a_token),
    "exo_pair": (losses("exo_pair", **SMOOTH), at_beta(ours.exo_pair, **SMOOTH)),
    "nca_pair": (losses("nca_pair"), at_beta(ours.nca_pair)),
    "robust": (losses("robust", **SMOOTH), at_beta(ours.robust_dpo, flip_rate=0.2)),
    "bco_pair": (losses("bco_pair"), unshifted),
    "sppo_hard": (losses("sppo_hard"), at_beta(ours.sppo_hard)),
    "aot": (losses("aot"), at_beta(ours.aot)),
    "aot, smoothed": (losses("aot", **SMOOTH), at_beta(ours.aot, **SMOOTH)),
    "aot_unpaired": (losses("aot_unpaired"), at_beta(ours.aot_unpaired)),
    "aot_unpaired, smoothed": (losses("aot_unpaired", **SMOOTH), at_beta(ours.aot_unpaired, **SMOOTH)),
    "apo_zero": (losses("apo_zero"), at_beta(ours.apo_zero)),
    "apo_down": (losses("apo_down"), at_beta(ours.apo_down)),
    "discopop": (losses("discopop", discopop_tau=0.07), at_beta(ours.discopop, tau=0.07)),
    "sft": (losses("sft"), chosen_nll),
    "sigmoid_norm": (losses("sigmoid_norm"), at_beta(ours.ln_dpo)),
    "two": (losses("sigmoid", "sft", loss_weights=[1.0, 0.7]), at_beta(ours.dpo_nll, alpha=0.7)),
    "three": (losses("sigmoid", "ipo", "nca_pair", loss_weights=[0.5, 0.1, 2.0]), three),
    "mixed": (losses("sigmoid", "bco_pair", "sft", loss_weights=[0.8, 0.2, 1.0]), mixed_preference),
    "reverse_kl": (divergence("reverse_kl"), at_beta(ours.f_dpo, divergence="reverse_kl")),
    "forward_kl": (divergence("forward_kl"), at_beta(ours.f_dpo, divergence="forward_kl")),
    "js": (divergence("js_divergence"), at_beta(ours.f_dpo, divergence="js")),
    "alpha is 1 - coefficient": (
        divergence("alpha_divergence", f_alpha_divergence_coef=0.7),
        at_beta(ours.f_dpo, divergence="alpha", alpha=1 - 0.7),
    ),
}


def dpo_trainer(plain: dict[str, Any], **given: Any) -> Any:
    config = trl.DPOConfig(**plain, beta=BETA, **given)
    weights = config.loss_weights or [1.0] * len(config.loss_type)
    return trainer(
        trl.DPOTrainer, config, loss_types=config.loss_type, loss_weights=weights, precompute_ref_logps=True
    )


def dpo_theirs(made: Any, batch: Batch) -> Callable[[Tensor], Tensor]:
    return lambda logits: made._compute_loss(scored((batch["input_ids"], logits)), batch, False)


@pytest.mark.parametrize("name", DPO)
def test_dpo_trainer(plain: dict[str, Any], name: str) -> None:
    given, mine = DPO[name]
    batch, logits = preference_batch()
    agree(
        lambda at: ours.row_mean(mine(referenced_pairs(at, batch))),
        dpo_theirs(dpo_trainer(plain, **given), batch),
        logits,
    )


def test_every_loss_of_the_dpo_trainer_is_compared(plain: dict[str, Any]) -> None:
    """TRL lists its losses when it is asked for one that it does not have."""
    batch, logits = preference_batch()
    with pytest.raises(ValueError, match="Unknown loss type") as refusal:
        dpo_theirs(dpo_trainer(plain, loss_type=["no such"]), batch)(logits)
    theirs = set(re.findall(r"'(\w+)'", str(refusal.value)))
    assert theirs == {name for given, _ in DPO.values() for name in given["loss_type"]}


COEFFICIENT = divergence("alpha_divergence", f_alpha_divergence_coef=0.7)
OTHER_THINGS = {
    "ipo is not summed": (losses("ipo"), partial(ours.ipo, tau=BETA)),
    "sigmoid is not smoothed": (losses("sigmoid", **SMOOTH), at_beta(ours.cdpo, **SMOOTH)),
    "alpha is not the coefficient": (COEFFICIENT, at_beta(ours.f_dpo, divergence="alpha", alpha=0.7)),
}


@pytest.mark.parametrize("name", OTHER_THINGS)
def test_where_one_name_means_two_things(plain: dict[str, Any], name: str) -> None:
    given, mine = OTHER_THINGS[name]
    batch, logits = preference_batch()
    theirs = dpo_theirs(dpo_trainer(plain, **given), batch)(logits)
    assert (theirs - mine(referenced_pairs(logits, batch)).mean()).abs() > 0.01


def test_smoothed_transport_of_one_pair_is_cdpo(plain: dict[str, Any]) -> None:
    """One pair is sorted already, so TRL's smoothed aot is the smoothed DPO that it has no name for."""
    batch, logits = preference_batch(pairs=1)
    agree(
        lambda at: ours.cdpo(referenced_pairs(at, batch), beta=BETA, **SMOOTH).mean(),
        dpo_theirs(dpo_trainer(plain, **losses("aot", **SMOOTH)), batch),
        logits,
    )


def weighted_by_policy(logits: Tensor, batch: Batch, max_weight: float) -> Scalar:
    mask = batch["completion_mask"][:, 1:].bool()
    collision = reply_tokens(logits, batch).mean(ours.collision(logits[:, :-1][mask]))
    wpo = partial(ours.wpo, collision=PairValues(*collision.chunk(2)), beta=BETA, max_weight=max_weight)
    return wpo(referenced_pairs(logits, batch)).mean()


def test_weighting_by_the_policy_is_wpo_without_its_cap(plain: dict[str, Any]) -> None:
    """With the paper's cap, ours differs wherever a weight is above one."""
    batch, logits = preference_batch()
    logits = logits + 3 * nn.functional.one_hot(batch["input_ids"].roll(-1, 1), VOCABULARY)
    theirs = dpo_theirs(dpo_trainer(plain, **losses("sigmoid", use_weighting=True)), batch)
    agree(lambda at: weighted_by_policy(at, batch, torch.inf), theirs, logits)
    assert weighted_by_policy(logits, batch, 1.0) < theirs(logits) - 0.01


# --- CPO, SimPO, ORPO -------------------------------------------------------------------------------------


def split_batch(batch: Batch) -> Batch:
    """The same pairs in the layout of TRL's older trainers."""
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    columns = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "labels": labels}
    halves = {k: v.chunk(2) for k, v in columns.items()}
    return {f"{side}_{k}": v[i] for i, side in enumerate(("chosen", "rejected")) for k, v in halves.items()}


def unreferenced(pairs: ReferencedPairs) -> ReferencedPairs:
    """Pairs whose reference says nothing: every reply has log-probability zero."""
    sides = (ReferencedReplies(s.logp, s.length, ref=0 * s.ref) for s in (pairs.chosen, pairs.rejected))
    return ReferencedPairs(*sides)


def cpo_loss(kind: str, alpha: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"loss_type": kind, "cpo_alpha": alpha, **more}


simpo = at_beta(ours.simpo, gamma=0.4)
CPO: dict[str, tuple[dict[str, Any], Callable[[ReferencedPairs], Tensor]]] = {
    "cpo": (cpo_loss("sigmoid", 0.6), at_beta(ours.cpo, alpha=0.6)),
    "contrast alone": (cpo_loss("sigmoid"), at_beta(ours.dpo_reference_free)),
    "smoothed": (cpo_loss("sigmoid", **SMOOTH), lambda p: at_beta(ours.cdpo, **SMOOTH)(unreferenced(p))),
    "hinge": (cpo_loss("hinge"), lambda p: at_beta(ours.dpo_hinge)(unreferenced(p))),
    "ipo": (cpo_loss("ipo"), lambda p: ipo_a_token(unreferenced(p))),
    "simpo": (cpo_loss("simpo", simpo_gamma=0.4), simpo),
    "simpo with imitation": (
        cpo_loss("simpo", 0.5, simpo_gamma=0.4),
        ours.weighted_sum(simpo=(1.0, simpo), nll=(0.5, chosen_nll)),
    ),
}


def contrast_theirs(kind: str, plain: dict[str, Any], batch: Batch, **given: Any) -> Callable[..., Tensor]:
    module = pytest.importorskip(f"trl.experimental.{kind}")
    config = getattr(module, f"{kind.upper()}Config")(**plain, beta=BETA, **given)
    made = trainer(
        getattr(module, f"{kind.upper()}Trainer"),
        config,
        is_encoder_decoder=False,
        pad_token_id=0,
        padding_value=0,
    )
    laid_out = split_batch(batch)
    return lambda logits: made.get_batch_loss_metrics(Table((batch["input_ids"], logits)), laid_out)[0]


@pytest.mark.parametrize("name", CPO)
def test_cpo_trainer(plain: dict[str, Any], name: str) -> None:
    given, mine = CPO[name]
    batch, logits = preference_batch()
    agree(
        lambda at: ours.row_mean(mine(referenced_pairs(at, batch))),
        contrast_theirs("cpo", plain, batch, **given),
        logits,
    )


@pytest.mark.parametrize("prompt", [1, 4])
def test_orpo_trainer_imitates_the_prompt_too(plain: dict[str, Any], prompt: int) -> None:
    """A prompt of one token has nothing to be predicted: there the two are one."""
    batch, logits = preference_batch(prompt=prompt)
    whole = batch | {"completion_mask": batch["attention_mask"]}

    def mine(at: Tensor) -> Tensor:
        pairs = referenced_pairs(at, batch)
        return (
            ours.orpo(pairs, lam=BETA) - chosen_nll(pairs) + chosen_nll(referenced_pairs(at, whole))
        ).mean()

    theirs = contrast_theirs("orpo", plain, batch)
    agree(mine, theirs, logits)
    alone = ours.orpo(referenced_pairs(logits, batch), lam=BETA).mean()
    assert ((alone - theirs(logits)).abs() < 1e-5) == (prompt == 1)


# --- single replies ---------------------------------------------------------------------------------------


def single_batch(lean: float) -> tuple[Batch, Tensor]:
    """Labelled replies, each also behind the next prompt, which the policy is by `lean` more sure of."""
    from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

    chance = torch.Generator().manual_seed(21)
    replies = [some_ids(chance, 2 + k % 4) for k in range(6)]
    rows = [
        {
            "prompt_ids": some_ids(chance, 3),
            "completion_ids": reply,
            "KL_completion_ids": replies[k - 1],
            "label": k % 3 > 0,
            "ref_logps": -2.4 * len(reply) + 0.4 * k,
            "ref_KL_logps": -3.2 * len(replies[k - 1]) - lean,
        }
        for k, reply in enumerate(replies)
    ]
    batch = DataCollatorForUnpairedPreference(pad_token_id=0)(rows)
    return batch, torch.randn(*batch["input_ids"].shape, VOCABULARY, generator=chance)


def single(logits: Tensor, batch: Batch, prefix: str = "") -> ReferencedReplies:
    ids, mask = batch[f"{prefix}input_ids"], batch[f"{prefix}completion_mask"][:, 1:].bool()
    flat = Tokens.from_padded(mask=mask, logp=token_logps(logits, ids))
    return ReferencedReplies(flat.sum(flat.logp), flat.length, ref=batch[f"ref_{prefix}logps"])


@pytest.mark.parametrize("lean", [2.0, -9.0], ids=["reference point above zero", "kept at zero"])
@pytest.mark.parametrize("loss_type", ["kto", "apo_zero_unpaired"])
def test_kto_trainer(plain: dict[str, Any], loss_type: str, lean: float) -> None:
    batch, logits = single_batch(lean)
    elsewhere = torch.randn(
        *batch["KL_input_ids"].shape, VOCABULARY, generator=torch.Generator().manual_seed(3)
    )
    config = trl.KTOConfig(
        **plain, beta=BETA, loss_type=loss_type, desirable_weight=1.2, undesirable_weight=0.7
    )
    made = trainer(
        trl.KTOTrainer, config, precompute_ref_logps=True, calculate_KL=loss_type != "apo_zero_unpaired"
    )

    def theirs(at: Tensor) -> Tensor:
        model = scored((batch["input_ids"], at), (batch["KL_input_ids"], elsewhere))
        return made._compute_loss(model, batch, False)

    def mine(at: Tensor) -> Tensor:
        replies, desirable = single(at, batch), batch["label"].bool()
        if loss_type == "apo_zero_unpaired":
            weight = torch.where(desirable, 1.2, 0.7)
            return (weight * ours.apo_zero_unpaired(replies, desirable=desirable, beta=BETA)).mean()
        return ours.kto(
            replies,
            desirable=desirable,
            mismatched=single(elsewhere, batch, "KL_"),
            beta=BETA,
            desirable_weight=1.2,
            undesirable_weight=0.7,
        ).mean()

    agree(mine, theirs, logits)
    if loss_type == "kto":
        assert (made._metrics["train"]["kl"][-1] > 0) == (lean > 0)


@pytest.mark.parametrize(("loss_type", "objective"), [("nll", ours.sft), ("dft", ours.dft)])
@pytest.mark.parametrize("total", [None, 60])
def test_sft_trainer(
    plain: dict[str, Any], loss_type: str, objective: Callable[[Tokens], Tensor], total: int | None
) -> None:
    """Over the batch's own tokens, or over those of a step that this batch is part of."""
    batch, logits = preference_batch()
    config = trl.SFTConfig(**plain, loss_type=loss_type, average_tokens_across_devices=False)
    made = trainer(trl.SFTTrainer, config, label_smoother=None, compute_loss_func=None)
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "labels": labels}

    def mine(at: Tensor) -> Tensor:
        flat = reply_tokens(at, batch)
        return ours.token_mean(objective(flat), flat, total=total)

    def theirs(at: Tensor) -> Tensor:
        model = scored((batch["input_ids"], at))
        return made.compute_loss(model, dict(inputs), num_items_in_batch=total)

    agree(mine, theirs, logits)


@pytest.mark.parametrize("beta", [0.0, 0.25, 0.5, 0.9, 1.0])
def test_generalised_jsd_of_the_gkd_trainer(beta: float) -> None:
    gkd = pytest.importorskip("trl.experimental.gkd")
    batch, logits = preference_batch()
    teacher = torch.randn(logits.shape, generator=torch.Generator().manual_seed(4))
    keep = batch["completion_mask"].bool()
    labels = batch["input_ids"].masked_fill(~keep, -100)
    agree(
        lambda at: ours.generalised_jsd(at[keep], teacher=teacher[keep], beta=beta, temperature=0.8).mean(),
        lambda at: gkd.GKDTrainer.generalized_jsd_loss(at, teacher, labels, beta=beta, temperature=0.8),
        logits,
    )


@pytest.mark.parametrize("margin", [None, torch.tensor([0.0, 0.3, 1.0, 2.0])], ids=["plain", "margin"])
@pytest.mark.parametrize("centring", [None, 0.05])
def test_reward_trainer(plain: dict[str, Any], margin: Tensor | None, centring: float | None) -> None:
    config = trl.RewardConfig(**plain, center_rewards_coefficient=centring)
    made = trainer(trl.RewardTrainer, config)
    inputs = {"attention_mask": torch.ones(8, 3)} | ({} if margin is None else {"margin": margin})

    def mine(at: Tensor) -> Tensor:
        pairs = RewardPairs(*at.chunk(2))
        return ours.bradley_terry(pairs, strength=margin, center_rewards_coefficient=centring or 0.0).mean()

    def theirs(at: Tensor) -> Tensor:
        return made.compute_loss(lambda **_: SimpleNamespace(logits=at[:, None]), dict(inputs))

    agree(mine, theirs, torch.randn(8, generator=torch.Generator().manual_seed(5)))


# --- policy gradient --------------------------------------------------------------------------------------

LONGEST = 7


def rollout_batch() -> tuple[Batch, Tensor]:
    """Eight sampled replies with their advantages, and log-probabilities of sampler and reference."""
    chance = torch.Generator().manual_seed(22)
    lengths = torch.tensor([2, 7, 3, 5, 1, 6, 4, 4])
    mask = (torch.arange(LONGEST) < lengths[:, None]).long()
    batch = {
        "prompt_ids": torch.randint(1, VOCABULARY, (8, 3), generator=chance),
        "prompt_mask": torch.ones(8, 3, dtype=torch.long),
        "completion_ids": torch.randint(1, VOCABULARY, (8, LONGEST), generator=chance) * mask,
        "completion_mask": mask,
        "advantages": torch.randn(8, generator=chance),
        "num_items_in_batch": torch.tensor(90),
    }
    logits = torch.randn(8, 3 + LONGEST, VOCABULARY, generator=chance)
    now = completion_logps(logits, batch)
    batch["old_per_token_logps"] = now + 0.3 * torch.randn(8, LONGEST, generator=chance)
    batch["ref_per_token_logps"] = now + 0.5 * torch.randn(8, LONGEST, generator=chance)
    batch["old_logps"] = (batch["old_per_token_logps"] * mask).sum(1)
    return batch, logits


def whole_ids(batch: Batch) -> Tensor:
    return torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)


def completion_logps(logits: Tensor, batch: Batch) -> Tensor:
    return token_logps(logits, whole_ids(batch))[:, -LONGEST:]


def rollouts(logits: Tensor, batch: Batch) -> ReferencedRollouts:
    logp = completion_logps(logits, batch)
    return ReferencedRollouts.from_padded(
        mask=batch["completion_mask"].bool(),
        logp=logp,
        old=batch.get("old_per_token_logps", logp.detach()),
        ref=batch["ref_per_token_logps"],
        advantage=batch["advantages"],
    )


WIDE = {"low": 0.1, "high": 0.25}
by_step = partial(ours.token_mean, total=90)
by_length = partial(ours.fixed_length_mean, max_length=LONGEST)
clip, clip_twice = partial(ours.ppo_clip, **WIDE), partial(ours.ppo_dual_clip, **WIDE, c=1.3)
sequence = {"importance_sampling_level": "sequence"}
# theirs: what GRPOConfig is given beside the clip; ours: an objective and a reduction
GRPO: dict[str, tuple[dict[str, Any], Callable[..., Tensor], Callable[..., Tensor]]] = {
    "grpo": ({"loss_type": "grpo"}, clip, ours.sequence_mean),
    "bnpo": ({"loss_type": "bnpo"}, clip, ours.token_mean),
    "dapo": ({"loss_type": "dapo"}, clip, by_step),
    "dr_grpo": ({"loss_type": "dr_grpo"}, clip, by_length),
    "gspo": ({"loss_type": "grpo", **sequence}, partial(ours.gspo_clip, **WIDE), ours.sequence_mean),
    "luspo": ({"loss_type": "luspo", **sequence}, partial(ours.gspo_clip, **WIDE), ours.sequence_sum),
    "delta is the dual clip": ({"loss_type": "grpo", "delta": 1.3}, clip_twice, ours.sequence_mean),
}


def policy_trainer(kind: type, config: Any, **more: Any) -> Any:
    made = trainer(
        kind,
        config,
        epsilon_low=config.epsilon,
        epsilon_high=config.epsilon_high or config.epsilon,
        current_gradient_accumulation_steps=1,
        state=SimpleNamespace(global_step=0),
        **more,
    )
    made.args.report_to = []
    return made


def grpo_trainer(plain: dict[str, Any], **given: Any) -> Any:
    config = trl.GRPOConfig(**plain, max_completion_length=LONGEST, **given)
    made = policy_trainer(trl.GRPOTrainer, config, _entropy_bonus_enabled=False)
    made.args.steps_per_generation = 1
    return made


@pytest.mark.parametrize("on_policy", [False, True])
@pytest.mark.parametrize("penalty", ["none", "k3", "k3 times the ratio"])
@pytest.mark.parametrize("name", GRPO)
def test_grpo_trainer(plain: dict[str, Any], name: str, penalty: str, on_policy: bool) -> None:
    """On samples old or fresh. TRL's default penalty is not the paper's k3 but k3 times the ratio, through
    which the gradient goes too: that makes it the gradient of the reverse KL, not of the forward one."""
    given, objective, reduce = GRPO[name]
    beta, corrected = 0.0 if penalty == "none" else 0.04, penalty != "k3"
    made = grpo_trainer(
        plain,
        beta=beta,
        epsilon=WIDE["low"],
        epsilon_high=WIDE["high"],
        **given | ({} if corrected else {"use_bias_correction_kl": False}),
    )
    batch, logits = rollout_batch()
    if on_policy:
        del batch["old_per_token_logps"]

    def mine(at: Tensor) -> Tensor:
        sampled = rollouts(at, batch)
        whole = "importance_sampling_level" in given
        ratio = sampled.sequence_importance if whole else sampled.importance
        kl = ours.kl_k3_forward_loss(sampled) * (ratio if corrected else 1.0)
        return reduce(objective(sampled), sampled) + beta * reduce(kl, sampled)

    agree(mine, lambda at: made._compute_loss(scored((whole_ids(batch), at)), batch), logits)


NAMED: dict[str, dict[str, Any]] = {
    "grpo": {"loss_type": "grpo", "beta": 0.04, "epsilon": 0.2, "use_bias_correction_kl": False},
    "dr_grpo": {"loss_type": "dr_grpo", "epsilon": 0.2},
    "dapo": {"loss_type": "dapo", "epsilon": 0.2, "epsilon_high": 0.28},
    "gspo": {"loss_type": "grpo", **sequence, "epsilon": 3e-4, "epsilon_high": 4e-4},
}


@pytest.mark.parametrize("name", NAMED)
def test_named_methods_with_their_own_knobs(plain: dict[str, Any], name: str) -> None:
    """What METHODS calls by a name is what TRL gives when it is set as the paper says."""
    made = grpo_trainer(plain, **NAMED[name])
    batch, logits = rollout_batch()
    inputs = {"dr_grpo": {"max_length": LONGEST}, "dapo": {"total": 90}}.get(name, {})
    method = partial(ours.method_loss, ours.METHODS[name], inputs=inputs, resolve=partial(getattr, ours))
    agree(
        lambda at: method({"samples": rollouts(at, batch)}),
        lambda at: made._compute_loss(scored((whole_ids(batch), at)), batch),
        logits,
    )


def test_rloo_trainer(plain: dict[str, Any]) -> None:
    made = policy_trainer(trl.RLOOTrainer, trl.RLOOConfig(**plain, epsilon=0.4, epsilon_high=0.6))
    batch, logits = rollout_batch()
    agree(
        lambda at: ours.row_mean(ours.sequence_clip(rollouts(at, batch), low=0.4, high=0.6)),
        lambda at: made._compute_loss(scored((whole_ids(batch), at)), batch),
        logits,
    )


# --- advantages -------------------------------------------------------------------------------------------

REWARDS = torch.tensor([[1.0, 0.0, 0.5, 2.0], [0.3, 0.3, 0.3, 0.3]])


def advantages(kind: type, config: Any, ref: Tensor | None = None) -> tuple[Tensor, Batch, Tensor]:
    """TRL's own way from rewards to advantages, with sampling and rewarding done already."""
    batch, logits = rollout_batch()
    ids = whole_ids(batch)
    lengths = batch["completion_mask"].sum(1).tolist()
    listed = [row[:n] for row, n in zip(batch["completion_ids"].tolist(), lengths, strict=True)]
    sampled = (batch["prompt_ids"].tolist(), listed)
    texts = [""] * len(ids)
    made = policy_trainer(
        kind,
        config,
        ref_model=None if ref is None else scored((ids, ref)),
        environment_factories=None,
        environments=None,
        tools=None,
        _tokenizer=SimpleNamespace(pad_token_id=0),
        reward_weights=torch.ones(1),
        reward_func_names=["given"],
        _logs=defaultdict(lambda: deque(maxlen=8)) | {"rewards": defaultdict(list)},
        _pending_extra_logs={},
        _pending_metrics={},
    )
    made.model = scored((ids, logits))
    grpo = kind is trl.GRPOTrainer
    made._generate = lambda _: (*sampled, None, texts, None, {}, None, None) if grpo else (*sampled, texts)
    made._calculate_rewards = lambda *_: REWARDS.reshape(-1, 1)
    found = made._generate_and_score_completions([{"prompt": ""}] * len(ids))
    return found["advantages"], batch, logits


@pytest.mark.parametrize(
    ("scale", "mine"),
    [("group", ours.standardised), ("batch", ours.batch_standardised), ("none", ours.centred)],
)
def test_advantages_of_grpo(plain: dict[str, Any], scale: str, mine: Callable[[Groups], Tensor]) -> None:
    config = trl.GRPOConfig(**plain, num_generations=4, per_device_train_batch_size=8, scale_rewards=scale)
    theirs, _, _ = advantages(trl.GRPOTrainer, config)
    torch.testing.assert_close(mine(Groups.of(REWARDS)), theirs)
    assert (theirs[:4].abs() > 0.1).all()


@pytest.mark.parametrize("penalty", [0.0, 0.05])
def test_advantages_of_rloo(plain: dict[str, Any], penalty: float) -> None:
    """The penalty is k1, summed over the reply, in the reward that the baseline is taken of."""
    config = trl.RLOOConfig(**plain, num_generations=4, per_device_train_batch_size=8, beta=penalty)
    ref = torch.randn(8, 3 + LONGEST, VOCABULARY, generator=torch.Generator().manual_seed(6))
    theirs, batch, logits = advantages(trl.RLOOTrainer, config, ref)
    flat = ReferencedTokens.from_padded(
        mask=batch["completion_mask"].bool(),
        logp=completion_logps(logits, batch),
        ref=completion_logps(ref, batch),
    )
    shaped = flat.sum(ours.kl_shaped_rewards(flat, reward=REWARDS.flatten(), beta=penalty))
    torch.testing.assert_close(ours.leave_one_out(Groups.of(shaped.view(2, 4))), theirs)
    assert (theirs[:4].abs() > 0.1).all()


# --- the long way -----------------------------------------------------------------------------------------


def tiny_llama(seed: int) -> Any:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
    )
    return transformers.LlamaForCausalLM(config)


def letters() -> Any:
    """A tokenizer of ten letters, one of which ends a reply."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: k for k, word in enumerate(["[PAD]", "[END]", *"abcdefghi"])}
    made = Tokenizer(models.WordLevel(words, unk_token="[PAD]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", eos_token="[END]")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_a_real_dpo_trainer_does_the_same(plain: dict[str, Any]) -> None:
    """From text to the gradient of every weight, through TRL's constructor, tokenizing and collating."""
    from datasets import Dataset

    rows = {
        "prompt": ["a b", "c", "d a"],
        "chosen": [" c d", " e f g", " h"],
        "rejected": [" e", " a", " b c i"],
    }
    made = trl.DPOTrainer(
        model=tiny_llama(1),
        ref_model=tiny_llama(2),
        args=trl.DPOConfig(**plain, beta=BETA, per_device_train_batch_size=3, disable_tqdm=True),
        train_dataset=Dataset.from_dict(rows),
        processing_class=letters(),
    )
    batch = next(iter(made.get_train_dataloader()))
    weights = [w for w in made.model.parameters() if w.requires_grad]
    for loss_type, mine in {
        "sigmoid": ours.dpo,
        "sigmoid_norm": ours.ln_dpo,
        "apo_down": ours.apo_down,
    }.items():
        made.loss_types = [loss_type]
        theirs = made.compute_loss(made.model, batch)
        with torch.no_grad():
            ref = reply_tokens(made.ref_model(batch["input_ids"]).logits, batch)
        sides = zip(("chosen", "rejected"), ref.sum(ref.logp).chunk(2), strict=True)
        seen = batch | {f"ref_{side}_logps": logp for side, logp in sides}
        own = mine(referenced_pairs(made.model(batch["input_ids"]).logits, seen), beta=BETA).mean()
        torch.testing.assert_close(own, theirs, atol=1e-5, rtol=1e-5)
        for a, b in zip(torch.autograd.grad(own, weights), torch.autograd.grad(theirs, weights), strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
