"""A reference is computed as the policy is, or taken from columns that fit, or moves with the policy."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from concord.engine import LogProbs, Reference, start
from concord.engine.guards import Limits
from concord.errors import InputError, RecipeError
from concord.recipes import Recipe, read_recipe
from concord.recipes.checks import check_moving
from concord.store import Store
from concord.tensors import Logits, ReferencedPairs, ReferencedRanked, ReferencedReplies, ReferencedTokens
from concord.train.loop import Batch, Loop, Optimizing, Policy, Stepped, adamw, owners
from concord.train.models.loading import Sizes, Trainee, alike, load_trainee
from concord.train.models.moving import Moving
from concord.train.models.references import Columns, brought, check, check_columns, fitting, initial, primed
from concord.train.ranks import ALONE
from concord.types import Preference
from tests.engine.models import llama
from tests.train import homes, made

CPU = torch.device("cpu")
SIZES = Sizes(longest=64, tokens=256)


def pair(number: int, meta: Mapping[str, Any], *, leaves: int = 1, seed: int = 0) -> Any:
    """A comparison with some columns."""
    chance = np.random.default_rng(seed + number)
    return made.row(number, 2, Preference(1.0), chance, meta=meta, leaves=leaves)


def told(number: int) -> dict[str, float]:
    """What the columns of a comparison say."""
    return {"ref_chosen_logps": -20.0 - number, "ref_rejected_logps": -10.0 - number}


def sums(batch: Batch, flat: Any) -> list[float]:
    """The sum of each reply."""
    return torch.zeros(batch.replies).index_add(0, owners(batch.lengths), flat.float()).tolist()


# --- as many rows as fit ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("layout", "some"), [("forest", 110), ("rows", 220)])
def test_no_more_rows_are_laid_out_at_once_than_fit(layout: Any, some: int) -> None:
    batch = Batch.of_step([pair(number, {}) for number in range(6)])
    engine = LogProbs(made.small(), layout=layout)
    assert len(fitting(batch, engine)) == 4
    assert len(fitting(batch.part([0, 1]), engine)) == 2
    counts: dict[int, int] = {}
    for tokens in (1, some, 10_000):
        engine.limits = Limits(tokens=tokens)
        part = fitting(batch, engine)
        counts[tokens] = len(part)
        assert len(part) == 1 or engine.lay(part.lines()).ids.numel() <= tokens
    assert (counts[1], counts[10_000]) == (1, 4)
    assert 1 < counts[some] < 4


# --- columns ----------------------------------------------------------------------------------------------


def test_sums_of_columns_add_up_over_replies_of_one_leaf_and_of_several() -> None:
    rows = [pair(0, told(0)), pair(1, told(1), leaves=2), pair(2, {"ref_logps": [-3, -4.5]})]
    # A last turn that is only read, behind one that is learned from.
    reply = rows[1].rendered.replies[0]
    bare = replace(reply[1], spans=np.zeros((0, 2), np.int32))
    object.__setattr__(rows[1].rendered, "replies", ((reply[0], bare), rows[1].rendered.replies[1]))
    batch = Batch.of_step(rows)
    found = Columns.read([batch])
    assert sums(batch, found.logps(batch.lines())) == [-20.0, -10.0, -21.0, -11.0, -3.0, -4.5]
    assert sums(batch.part([2]), found.logps(batch.part([2]).lines())) == [-3.0, -4.5]
    assert brought(rows[0]) == ["ref_chosen_logps", "ref_rejected_logps"]
    assert brought(rows[2]) == ["ref_logps"]
    assert brought(pair(3, {})) == []


@pytest.mark.parametrize(
    ("meta", "wrong"),
    [
        ({}, "row 1: the columns of a row do not fit its replies.*found none"),
        ({"ref_chosen_logps": -3.0}, "do not fit its replies"),
        ({"ref_logps": [-3.0]}, "do not fit its replies"),
        ({"ref_logps": -3.0}, "do not fit its replies"),
        ({"ref_logps": [-3.0, "-4"]}, "no log-probability of a reply"),
        ({"ref_logps": [-3.0, None]}, "no log-probability of a reply"),
        ({"ref_chosen_logps": -3.0, "ref_rejected_logps": 0.5}, "no log-probability of a reply"),
    ],
)
def test_columns_that_do_not_fit_are_refused_with_the_row(meta: dict[str, Any], wrong: str) -> None:
    with pytest.raises(InputError, match=wrong):
        Columns.read([Batch.of_step([pair(0, told(0)), pair(1, meta)])])


def test_one_reply_has_one_value() -> None:
    first, again = pair(0, told(0)), pair(0, told(0))
    close = pair(0, {"ref_chosen_logps": -20.1, "ref_rejected_logps": -10.05})
    batch = Batch.of_step([first, again, close])
    assert sums(batch, Columns.read([batch]).logps(batch.lines()))[::2] == [-20.0] * 3
    with pytest.raises(InputError, match=r"two values.*found -23, and -20 before"):
        Columns.read([Batch.of_step([first, pair(0, {**told(3)})])])


def test_columns_are_refused_where_sums_of_whole_replies_are_not_what_is_needed() -> None:
    for record in (ReferencedReplies, ReferencedPairs, ReferencedRanked):
        check_columns(record, (), 0)
    for record in (ReferencedTokens, Logits):
        with pytest.raises(InputError, match="sums over replies, and these are not enough"):
            check_columns(record, (), 0)
    with pytest.raises(InputError, match="replies that this method adds to each row; found mismatched"):
        check_columns(ReferencedReplies, ("mismatched",), 0)
    with pytest.raises(InputError, match=r"replies that were cut; found 1,200 rows cut.*on_long: drop"):
        check_columns(ReferencedPairs, (), 1200)


def test_how_far_columns_are_from_the_policy_is_said() -> None:
    engine = LogProbs(made.small())
    plain = Batch.of_step([pair(number, {}) for number in range(3)])
    with torch.no_grad():
        own = sums(plain, engine(layout=engine.lay(plain.lines())).logps)
    for off, line in ((0.0, "up to 0.00 nats a reply, 0.000 a token"), (7.5, "up to 7.50 nats a reply")):
        rows = [pair(n, {"ref_logps": [own[2 * n] - off, own[2 * n + 1]]}) for n in range(3)]
        batch = Batch.of_step(rows)
        assert line in Columns.read([batch]).compared(engine, batch)


# --- a model of its own -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is stored in bfloat16."""
    from transformers import AutoModelForCausalLM

    folder = homes.home(tmp_path_factory.mktemp("references") / "model")
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    return folder


def loaded(folder: Path, **settings: Any) -> tuple[Recipe, Trainee]:
    """A model that is to be trained."""
    recipe = read_recipe({"method": "dpo", "model": str(folder), "data": "x", "train": "full", **settings})
    return recipe, load_trainee(str(folder), recipe, CPU, SIZES)


@pytest.mark.parametrize("train", ["full", "lora"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "pure-bf16"])
def test_a_named_model_is_computed_as_the_policy_is(
    halves: Path, tmp_path: Path, train: str, precision: str
) -> None:
    recipe, trainee = loaded(halves, train=train, precision=precision, gradient_checkpointing=train == "full")
    model = alike(str(halves), recipe, trainee)
    engine = start(model, layout=trainee.engine.layout, longest=SIZES.longest, tokens=SIZES.tokens).engine
    with Store(tmp_path / "store") as store:
        named, (own, _) = Reference(engine, store), initial(trainee, store)
        assert named.weights == own.weights
        batch = Batch.of_step([pair(number, {}) for number in range(3)])
        with trainee.precision():
            assert torch.equal(named.logps(batch.lines()), own.logps(batch.lines()))
    expected = {"fp32": torch.float32, "bf16": torch.float32, "pure-bf16": torch.bfloat16}[precision]
    if (train, precision) == ("lora", "bf16"):
        expected = torch.bfloat16  # what is frozen stays as it is stored
    assert {weight.dtype for weight in model.parameters()} == {expected}


def test_a_named_model_of_another_shape_has_the_precision_of_the_policy(halves: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    recipe, trainee = loaded(halves, precision="fp32")
    other = homes.home(tmp_path / "other", layers=3)
    AutoModelForCausalLM.from_pretrained(other, dtype=torch.bfloat16).save_pretrained(other)
    model = alike(str(other), recipe, trainee)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_a_reference_is_checked_against_the_policy_at_step_0(halves: Path, tmp_path: Path) -> None:
    _, trainee = loaded(halves, precision="fp32")
    batch = Batch.of_step([pair(number, {}) for number in range(6)])
    with Store(tmp_path / "store") as store:
        own, _ = initial(trainee, store)
        values = primed(own, [batch], trainee.precision, ranks=ALONE)
        (line,) = check(trainee.engine, batch, values)
        assert line.startswith("reference: equal to the policy at step 0")
        with pytest.raises(InputError, match="does not equal it at step 0"):
            list(check(trainee.engine, batch, lambda lines: values(lines) - 1))


# --- a reference that moves -------------------------------------------------------------------------------


def asked(**settings: Any) -> Recipe:
    """A recipe with a reference that moves."""
    return read_recipe({"method": "dpo", "model": "m", "data": "x", "reference_sync_steps": 5, **settings})


def test_a_reference_moves_a_part_of_the_way_when_it_is_due() -> None:
    policy = LogProbs(llama())
    moving = Moving(policy, every=2, mixup=0.25)
    before = [weight.detach().clone() for weight in policy.model.parameters()]
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.add_(1.0)
    loop = Loop(
        Policy(policy), [], adamw(policy, how := Optimizing(learning_rate=1e-3)), how, steps=4, budget=99
    )
    quarters = []
    for step in (1, 2):
        moving.after(loop, Stepped(step, 0.0, {}, 0.0, 0.0, 0, 0, 0.0))
        pairs = zip(before, moving.engine.model.parameters(), strict=True)
        quarters.append({round(float((now - old).mean()), 4) for old, now in pairs})
    assert quarters == [{0.0}, {0.25}]


def test_a_reference_that_is_named_does_not_move() -> None:
    assert asked(reference="initial").reference_sync_steps == 5
    for reference in ("columns", "other", "run:sft"):
        with pytest.raises(RecipeError, match="a reference that is named stays as it is"):
            asked(reference=reference)


def test_adapters_are_not_mixed() -> None:
    with pytest.raises(RecipeError, match=r"found reference_mixup: 0.6.*set reference_mixup: 1"):
        asked(train="lora")
    assert asked(train="lora", reference_mixup=1).reference_mixup == 1
    open_still = asked(train="auto")
    check_moving(open_still.settled("full"))
    with pytest.raises(RecipeError, match="a policy that is an adapter"):
        check_moving(open_still.settled("lora"))


def test_columns_are_a_reference_that_a_run_records() -> None:
    recipe = read_recipe({"method": "dpo", "model": "m", "data": "x", "reference": "columns"})
    assert (recipe.reference, recipe.identity["reference"]) == ("columns", "columns")
