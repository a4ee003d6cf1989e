"""From a recipe to a loop, in stages that pass values on: what is open for it, rows, a decision, the loop."""

import math
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from concord.engine import LogProbs
from concord.engine.loading import adapted, device_named
from concord.engine.switch import kernel
from concord.errors import CapabilityError, InputError, NotFoundError, RecipeError, Said, explain
from concord.recipes import Recipe
from concord.render import Renderer
from concord.render.loading import load_tokenizer, out_of_reach
from concord.store import Store, default_root
from concord.train.assembling import (
    Assembled,
    Assembling,
    Material,
    load_material,
    renderer_of,
    sizes_of_rows,
    terms_of,
)
from concord.train.following import Watch
from concord.train.forecasting import Decision, Where, config_of, decided, layout_of
from concord.train.leaving import Beginning, begun_from
from concord.train.loop import Loop, Optimizing, Policy, adamw, shape_of
from concord.train.methods import Asked, asked_of
from concord.train.models import Precision, Sizes, Trainee, load_trainee, model_path, precision_of, weighed
from concord.train.ranks import Ranks, Sharding, device_for, wrapped
from concord.types import JSON

__all__ = ["Built", "Job", "build", "decide", "job_of", "prepare", "settled"]

_RENAMED = 0.01
"""The share of tokens that a teacher may call otherwise: those held in reserve are often given names."""

_TRAINED = {"full": "all weights", "lora": "an adapter (LoRA)"}


@dataclass(frozen=True, kw_only=True)
class Job:
    """A recipe to be carried out, and what is open for it."""

    recipe: Recipe
    asked: tuple[Asked, ...]
    path: str
    """Where the model lies."""
    device: torch.device
    ranks: Ranks
    store: Store
    renderer: Renderer
    watch: Watch

    @property
    def sharding(self) -> Sharding:
        """How ranks share the model; one alone has a copy."""
        return "fsdp" if self.ranks.count > 1 and self.recipe.sharding == "fsdp" else "ddp"

    @property
    def here(self) -> dict[str, Any]:
        """Where it is carried out, as far as that may change last bits."""
        return {"device": str(self.device), "threads": torch.get_num_threads(), "ranks": self.ranks.count}

    @property
    def precision(self) -> Precision:
        """What is computed in."""
        return precision_of(self.recipe, self.device)


def job_of(recipe: Recipe, watch: Watch, ranks: Ranks, stack: ExitStack) -> Job:
    """Import what a recipe names, find its model, and open the store and the tokenizer."""
    recipe, asked = asked_of(recipe)
    device = device_for(ranks) if recipe.device == "auto" else device_named(recipe.device)
    path = model_path(recipe.model, recipe.runs)
    recipe = _found(recipe)
    job = Job(
        recipe=recipe,
        asked=tuple(asked),
        path=path,
        device=device,
        ranks=ranks,
        store=stack.enter_context(Store(default_root())),
        renderer=renderer_of(path, recipe),
        watch=watch,
    )
    _check_teachers(job)
    if recipe.reference_sync_steps and job.sharding == "fsdp":
        wrong, found = "a reference that moves is a copy of the policy, which ranks share out", Said("fsdp")
        do = "use ddp, or a reference that stays"
        raise RecipeError(explain(wrong, found=found, accepted="sharding: ddp", do=do))
    if recipe.compile and ranks.count > 1:
        wrong, found = "several processes do not train a compiled model here", Said("compile")
        do = "leave compile out, or train in one process"
        raise CapabilityError(explain(wrong, found=found, accepted="one of both", do=do))
    return job


def _found(recipe: Recipe) -> Recipe:
    """Look at once for every model that a recipe names; where a hub does not answer, it is asked no more."""
    named = (recipe.model, recipe.reference, recipe.teacher, recipe.teacher_ref)
    paths = [model_path(one, recipe.runs) for one in named if one not in (None, "initial", "columns")]
    for path in paths:
        for home in (path, adapted(path, offline=recipe.offline) or path):
            if out_of_reach(home, offline=recipe.offline):
                recipe = recipe.model_copy(update={"offline": True})
        config_of(path, recipe)
    return recipe


def _check_teachers(job: Job) -> None:
    """Refuse a teacher with other tokens than the student: the same numbers would mean something else."""
    recipe, accepted = job.recipe, "the tokens of the student, under the same numbers"
    do = "take a teacher of the student's family, with its tokenizer"
    for name in ("teacher", "teacher_ref"):
        if (source := getattr(recipe, name)) is None:
            continue
        path = model_path(source, recipe.runs)
        ours, theirs = (config_of(one, recipe).get_text_config().vocab_size for one in (job.path, path))
        if ours != theirs:
            wrong, found = (
                f"the {name} does not speak of the same tokens",
                Said(f"{theirs:,} of them, not {ours:,}"),
            )
            raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
        own = (Path(path) / "tokenizer_config.json").is_file()
        home = path if own else adapted(path, offline=recipe.offline) or path
        try:
            found = load_tokenizer(home, offline=recipe.offline, trust_remote_code=recipe.trust_remote_code)
        except NotFoundError:
            job.watch.say(f"{name}: without a tokenizer, so its tokens are taken for those of the student")
            continue
        known = {number: token for token, number in found.get_vocab().items()}
        tokens = job.renderer.tokenizer.get_vocab()
        other = [(token, known[n]) for token, n in tokens.items() if known.get(n, token) != token]
        if len(other) > _RENAMED * len(tokens):
            said = Said(
                f"{len(other):,} others of {len(tokens):,}, such as {other[0][1]!r} for {other[0][0]!r}"
            )
            wrong = f"the {name} means other tokens by the same numbers"
            raise InputError(explain(wrong, found=said, accepted=accepted, do=do))


# --- rows -------------------------------------------------------------------------------------------------


def prepare(job: Job, folder: Path) -> Material:
    """The rows of all streams; on ranks the first prepares them, and the others find what it made."""
    if not job.ranks.first:
        job.ranks.barrier()
    material = load_material(job.recipe, job.asked, job.renderer, folder, job.store, job.watch.progress)
    if job.ranks.first:
        job.ranks.barrier()
    for note in material.notes:
        job.watch.say(note)
    return material


# --- the decision -----------------------------------------------------------------------------------------


def decide(job: Job, material: Material, before: Mapping[str, Any] | None = None) -> tuple[Job, Decision]:
    """Decide what is trained and in which micro-batches, and say it; the job, with that settled.

    before: what was settled when the run began; what was trained then is trained on
    """
    recipe, shards, held_out = job.recipe, material.main.shards, material.main.held_out
    if before:
        recipe = recipe.settled(before["train"])
    steps, positions = _steps(recipe, len(shards))
    held = 0 if held_out is None else len(held_out)
    job.watch.say(f"rows: {len(shards):,} to train on, {held:,} held out")
    layout = layout_of(recipe, job.path, int(shards.lengths.longest.max()))
    beside = {name for one in job.asked for name in one.companions}
    others = _others(job)
    found = decided(
        recipe,
        job.path,
        shards.lengths,
        steps=steps,
        positions=positions,
        where=Where(job.device, job.ranks, job.precision, job.sharding == "fsdp", others),
        layout=layout,
        sizes=sizes_of_rows(material, beside, layout),
    )
    for line in found.lines:
        job.watch.say(line)
    recipe = recipe.settled(found.train)
    job.watch.say(f"trained: {_TRAINED[found.train]}, learning rate {recipe.rate:g}")
    return replace(job, recipe=recipe), found


def _steps(recipe: Recipe, rows: int) -> tuple[int, int]:
    """How many steps, and how many rows in all; no bound of rows where steps are what was asked for."""
    if recipe.max_steps:
        return recipe.max_steps, 0
    positions = math.ceil(recipe.num_train_epochs * rows)
    return math.ceil(positions / recipe.batch_size), positions


def _others(job: Job) -> dict[str, int]:
    """Bytes of the models that stay in memory beside the one that is trained."""
    recipe = job.recipe
    named = {"teacher": recipe.teacher, "teacher_ref": recipe.teacher_ref}
    found = {name: weighed(model_path(one, recipe.runs)) for name, one in named.items() if one is not None}
    return found | ({"reference": 2 * weighed(job.path)} if recipe.reference_sync_steps else {})


# --- the loop ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Built:
    """A loop that is ready for its first step, and what it is made of."""

    trainee: Trainee
    made: Assembled
    loop: Loop
    began: Beginning
    """The weights that training begins with, read when they are wanted."""


def build(job: Job, material: Material, decision: Decision) -> Built:
    """Load the model, have its reference speak, and put the loop together."""
    recipe, stretch, sizes = job.recipe, decision.stretch, decision.sizes
    head = next((shape_of(one.card.record).head for one in job.asked), "")
    room = Sizes(sizes.longest, max(stretch.budget, sizes.tokens))
    trainee = load_trainee(job.path, recipe, job.device, room, head=head)
    began = begun_from(trainee.model, job.path, recipe)
    for line in trainee.said:
        job.watch.say(line)
    work = Assembling(
        recipe,
        trainee,
        material,
        job.store,
        job.ranks,
        stretch.steps,
        stretch.positions,
        job.watch.progress,
    )
    made = terms_of(job.asked, work)
    for line in made.said:
        job.watch.say(line)
    how = Optimizing(
        learning_rate=recipe.rate,
        schedule=recipe.lr_scheduler_type,
        warmup_steps=_warmup(job, stretch.steps),
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        beta1=recipe.adam_beta1,
        beta2=recipe.adam_beta2,
        epsilon=recipe.adam_epsilon,
    )
    # References are computed by now: of weights that are sharded none can be.
    outer = _compiled(trainee.engine) if recipe.compile else wrapped(trainee.engine, job.ranks, job.sharding)
    policy = Policy(trainee.engine, outer, trainee.precision, job.ranks)
    optimizer = adamw(trainee.engine, how)
    loop = Loop(policy, made.terms, optimizer, how, steps=stretch.steps, budget=stretch.budget)
    return Built(trainee, made, loop, began)


def _warmup(job: Job, steps: int) -> int:
    """Steps of the warm-up: in the first the rate is 0, so a run that is all warm-up would not move."""
    recipe = job.recipe
    none = "warmup_steps" in recipe.given and not recipe.warmup_steps
    asked = 0 if none else recipe.warmup_steps or math.ceil(recipe.warmup_ratio * steps)
    if asked > (most := max(0, steps - 1)):
        job.watch.say(f"warm-up: {most} steps and not {asked}, for there are only {steps}")
    return min(asked, most)


def _compiled(engine: LogProbs) -> nn.Module:
    """The engine, compiled as a whole."""
    made: Any = torch.compile(engine)
    return made


def settled(job: Job, decision: Decision, built: Built) -> dict[str, JSON]:
    """What was left to be decided here, as it was decided: what a recipe says `auto` of."""
    engine = built.trainee.engine
    return {
        "train": decision.train,
        "learning_rate": job.recipe.rate,
        "micro_tokens": decision.stretch.budget,
        "precision": job.precision,
        "layout": engine.layout,
        "kernel": kernel(engine.model),
    }
