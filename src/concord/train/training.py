"""A recipe carried out: data, models, loop, and what is left of it in the directory of its run."""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn
from transformers.utils import logging

from concord import wire
from concord.durable import write_json
from concord.engine import LocalPolicy, LogProbs
from concord.errors import CapabilityError, ConcordError, RecipeError, RunError, Said, explain
from concord.messages import Prompt
from concord.recipes import Recipe
from concord.report import trained_page, write_page
from concord.results import Result
from concord.run import Run
from concord.store import Store, default_root
from concord.synth import MARK
from concord.train.assembling import (
    Assembled,
    Assembling,
    Material,
    audited,
    load_material,
    renderer_of,
    sizes_of_rows,
    terms_of,
)
from concord.train.checkpoint import Checkpoints
from concord.train.export import check_export, export
from concord.train.fit import Hook, Loop, fit
from concord.train.forecast import Schedule, Seconds, as_json
from concord.train.hooks import Evaluator, Recorder, Sampler, Saver
from concord.train.inputs import COMPANIONS
from concord.train.methods import Asked, asked_of
from concord.train.models import Sizes, Trainee, load_trainee, model_path, precision_of, weighed
from concord.train.opening import differences, open_run
from concord.train.optimizers import Optimizing, adamw
from concord.train.planning import Plan, Where, planned, probe
from concord.train.ranks import Ranks, Sharding, begun, device_for, whole_state, wrapped
from concord.train.records import shape_of
from concord.train.rounding import Begun, begun_from, surviving
from concord.train.saving import restore
from concord.train.source import costs
from concord.train.step import Policy
from concord.train.watching import Nobody, Teller, Watch, interruptible

__all__ = ["train"]

_TRAINED = {"full": "all weights", "lora": "an adapter (LoRA)"}


def train(
    recipe: Recipe, *, resume: bool = False, dry_run: bool = False, watch: Watch | None = None
) -> Path | None:
    """Carry a recipe out, and return the directory of its run; of a dry run there is none."""
    logging.disable_progress_bar()
    with ExitStack() as stack:
        ranks = stack.enter_context(begun())
        work = _Work(recipe, watch if watch and ranks.first else Nobody(), stack, ranks)
        if dry_run:
            work.rehearse()
            return None
        return work.carry_out(resume=resume)


@dataclass
class _Work:
    """One call of `train`."""

    recipe: Recipe
    watch: Watch
    stack: ExitStack
    ranks: Ranks
    asked: list[Asked] = field(default_factory=list[Asked])
    begun: Begun = dict[str, torch.Tensor]
    """The weights that training begins with, read when they are wanted."""

    def __post_init__(self) -> None:
        self.recipe, self.asked = asked_of(self.recipe)
        self.device = (
            device_for(self.ranks) if self.recipe.device == "auto" else torch.device(self.recipe.device)
        )
        self.path = model_path(self.recipe.model, self.recipe.runs)
        self.store = self.stack.enter_context(Store(default_root()))
        self.renderer = renderer_of(self.path, self.recipe)

    # --- the two ways -------------------------------------------------------------------------------------

    def rehearse(self) -> None:
        """Say what would be done, with a forecast from a few micro-batches, and stop."""
        material = self._material(Path(self.stack.enter_context(TemporaryDirectory())))
        plan = self._planned(material)
        _, _, loop = self._loop(material, plan)
        seconds = self._probed(loop, plan)
        if seconds is not None:
            self.watch.say(seconds.line)

    def carry_out(self, *, resume: bool) -> Path:
        """Train, and leave what came of it: a page too where it did not come to its end."""
        run = self._run(resume=resume) if self.ranks.first else None
        try:
            return self._trained(run, resume=resume)
        except BaseException as error:
            if run is not None and run.status().state == "running":
                interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
                said = f"{type(error).__name__}: {error}".rstrip(": ")
                with suppress(ConcordError):
                    run.mark("stopped" if interrupted else "failed", reason=said)
                    write_page(trained_page(run.path), run.path / "report.html")
            raise

    def _trained(self, run: Run | None, *, resume: bool) -> Path:
        home = Path(self.ranks.told(str(run.path) if run else ""))
        checkpoints = Checkpoints(home / "checkpoints", self.recipe.save_total_limit, ranks=self.ranks)
        if self.ranks.told(run is not None and run.status().state == "finished"):
            self.watch.say(f"This run has finished before: {home}")
            return home
        latest = checkpoints.latest()
        if latest is not None and not resume:
            wrong, found = f"{home} has begun already", Said(f"a checkpoint of step {latest}")
            do = "go on with --resume; to begin anew, give another name or seed, or delete the directory"
            raise RunError(explain(wrong, found=found, accepted="a run without checkpoints", do=do))
        if run is not None:
            if resume:
                for line in differences(run, self._here()):
                    self.watch.say(line)
            run.mark("running")
        material = self._material(home / "data")
        if run is not None:
            said = {"notes": list(material.notes), "counts": _counts(material)}
            write_json(home / "prepared.json", said)
            self._audit(home)
        plan = self._planned(material)
        trainee, made, loop = self._loop(material, plan)
        if run is not None and latest is None:
            seconds = self._probed(loop, plan)
            write_json(home / "forecast.json", as_json(plan.work, plan.memory, seconds))
        hooks = self._hooks(run, checkpoints, loop, made, trainee)
        if latest is not None:
            self._resume(run, checkpoints, latest, loop, hooks)
        elif run is not None:
            # What was written before there was a checkpoint is written anew.
            run.truncate_metrics(0)
        if latest is None and resume:
            self.watch.say("There is no checkpoint yet, so it begins with the first step.")
        self.watch.begin(loop.steps, done=loop.step)
        with interruptible(loop, self.watch):
            fit(loop, hooks)
        self._end(run, home, loop, trainee, made)
        return home

    def _end(self, run: Run | None, home: Path, loop: Loop, trainee: Trainee, made: Assembled) -> None:
        """What is left: a model, or the word that there is more to do; and the report."""
        if loop.step == loop.steps:
            # All ranks give their shares of it.
            state = whole_state(trainee.model, trainee.heads)
            if run is not None:
                self._finish(run, trainee, made, state)
        elif run is not None:
            run.mark("stopped", reason=f"asked to stop after step {loop.step} of {loop.steps}")
            self.watch.say(f"Stopped after step {loop.step}. The same command with --resume goes on.")
        if run is not None:
            write_page(trained_page(home), home / "report.html")
            self.watch.say(f"report: {home / 'report.html'}")
        self.ranks.barrier()

    def _probed(self, loop: Loop, plan: Plan) -> Seconds | None:
        """A forecast of the time. Ranks wait for each other in every pass, so of several none is probed."""
        return probe(loop, plan) if self.ranks.count == 1 else None

    # --- before -------------------------------------------------------------------------------------------

    def _run(self, *, resume: bool) -> Run:
        return self.stack.enter_context(open_run(self.recipe, self.asked, here=self._here(), resume=resume))

    def _here(self) -> dict[str, Any]:
        return {"device": str(self.device), "threads": torch.get_num_threads(), "ranks": self.ranks.count}

    def _material(self, folder: Path) -> Material:
        if not self.ranks.first:
            # What the first has made stands there, and is found.
            self.ranks.barrier()
        material = load_material(
            self.recipe, self.asked, self.renderer, folder, self.store, self.watch.progress
        )
        if self.ranks.first:
            self.ranks.barrier()
        for note in material.notes:
            self.watch.say(note)
        return material

    @property
    def _sharding(self) -> Sharding:
        return "fsdp" if self.ranks.count > 1 and self.recipe.sharding == "fsdp" else "ddp"

    def _audit(self, home: Path) -> None:
        """Keep what an audit finds in the data, and say what is grave."""
        if (home / "audit.json").exists():
            return
        found = audited(self.recipe)
        write_json(home / "audit.json", wire.to_json(found))
        for one in found.findings:
            if one.severity != "note":
                self.watch.say(f"audit, {one.severity}: {one.title}. To do: {one.do}")

    def _steps(self, rows: int) -> tuple[int, int]:
        """How many steps, and how many rows in all; no bound of rows where steps are what was asked for."""
        recipe = self.recipe
        if recipe.max_steps:
            return recipe.max_steps, 0
        positions = math.ceil(recipe.num_train_epochs * rows)
        return math.ceil(positions / recipe.batch_size), positions

    def _planned(self, material: Material) -> Plan:
        """Decide what is trained and in which micro-batches, and say what will be done."""
        recipe, shards, held_out = self.recipe, material.main.shards, material.main.held_out
        steps, positions = self._steps(len(shards))
        held = 0 if held_out is None else len(held_out)
        self.watch.say(f"rows: {len(shards):,} to train on, {held:,} held out")
        found = planned(
            recipe,
            self.path,
            shards.lengths,
            schedule=Schedule(
                steps=steps, batch_size=recipe.batch_size, budget=1, positions=positions, seed=recipe.seed
            ),
            where=Where(
                self.device,
                self.ranks,
                precision_of(recipe, self.device),
                self._sharding == "fsdp",
                self._others(),
            ),
            least=self._sizes(material).tokens,
        )
        # Of ranks with different memories the first decides, or they would not do the same.
        train, budget = self.ranks.told((found.train, found.budget))
        found = replace(found, train=train, budget=budget)
        for line in found.lines:
            self.watch.say(line)
        self.recipe = recipe.settled(found.train)
        self.watch.say(f"trained: {_TRAINED[found.train]}, learning rate {self.recipe.rate:g}")
        return found

    def _others(self) -> dict[str, int]:
        """Bytes of the models that stay in memory beside the one that is trained."""
        recipe = self.recipe
        named = {"teacher": recipe.teacher, "teacher_ref": recipe.teacher_ref}
        found = {
            name: weighed(model_path(one, recipe.runs)) for name, one in named.items() if one is not None
        }
        return found | ({"reference": 2 * weighed(self.path)} if recipe.reference_sync_steps else {})

    def _sizes(self, material: Material) -> Sizes:
        beside = [name for one in self.asked for name in one.card.inputs if name in COMPANIONS]
        return sizes_of_rows(material, beside, self.recipe.layout)

    # --- models and loop ----------------------------------------------------------------------------------

    def _loop(self, material: Material, plan: Plan) -> tuple[Trainee, Assembled, Loop]:
        recipe = self.recipe
        if recipe.reference_sync_steps and self._sharding == "fsdp":
            wrong, found = (
                "a reference that moves is a copy of the policy, which ranks share out",
                Said("fsdp"),
            )
            do = "use ddp, or a reference that stays"
            raise RecipeError(explain(wrong, found=found, accepted="sharding: ddp", do=do))
        sizes = self._sizes(material)
        head = next((shape_of(one.card.record).head for one in self.asked), "")
        trainee = load_trainee(
            self.path, recipe, self.device, Sizes(sizes.longest, max(plan.budget, sizes.tokens)), head=head
        )
        self.begun = begun_from(trainee.model, self.path, recipe)
        for line in trainee.said:
            self.watch.say(line)
        steps, positions = self._steps(len(material.main.shards))
        work = Assembling(
            recipe, trainee, material, self.store, self.ranks, steps, positions, self.watch.progress
        )
        made = terms_of(self.asked, work)
        for line in made.said:
            self.watch.say(line)
        how = Optimizing(
            learning_rate=recipe.rate,
            schedule=recipe.lr_scheduler_type,
            warmup_steps=self._warmup(steps),
            weight_decay=recipe.weight_decay,
            max_grad_norm=recipe.max_grad_norm,
            beta1=recipe.adam_beta1,
            beta2=recipe.adam_beta2,
            epsilon=recipe.adam_epsilon,
        )
        # References are computed by now: of weights that are sharded none can be.
        outer = wrapped(trainee.engine, self.ranks, self._sharding)
        if recipe.compile:
            outer = self._compiled(trainee.engine)
        policy = Policy(trainee.engine, outer, trainee.precision, self.ranks)
        optimizer = adamw(trainee.engine, how)
        return trainee, made, Loop(policy, made.terms, optimizer, how, steps=steps, budget=plan.budget)

    def _warmup(self, steps: int) -> int:
        """Steps of the warm-up: in the first the rate is 0, so a run that is all warm-up would not move."""
        recipe = self.recipe
        none = "warmup_steps" in recipe.given and not recipe.warmup_steps
        asked = 0 if none else recipe.warmup_steps or math.ceil(recipe.warmup_ratio * steps)
        if asked > (most := max(0, steps - 1)):
            self.watch.say(f"warm-up: {most} steps and not {asked}, for there are only {steps}")
        return min(asked, most)

    def _compiled(self, engine: LogProbs) -> nn.Module:
        """The engine, compiled as a whole."""
        if self.ranks.count > 1:
            wrong, found = "several processes do not train a compiled model here", Said("compile")
            do = "leave compile out, or train in one process"
            raise CapabilityError(explain(wrong, found=found, accepted="one of both", do=do))
        made: Any = torch.compile(engine)
        return made

    def _hooks(
        self, run: Run | None, checkpoints: Checkpoints, loop: Loop, made: Assembled, trainee: Trainee
    ) -> list[Hook]:
        recipe = self.recipe

        def tell(row: Mapping[str, float]) -> None:
            if run is not None:
                run.append_metrics(row)
                self.watch.row(row)

        rows = loop.terms[0].source.rows  # type: ignore[attr-defined]
        _, positions = self._steps(len(rows))

        def epoch(step: int) -> float:
            return min(step * recipe.batch_size, positions or step * recipe.batch_size) / len(rows)

        hooks: list[Hook] = [Recorder(recipe.logging_steps, epoch, tell)]
        if made.moving is not None:
            hooks.append(made.moving)
        if made.held_out is not None:
            hooks.append(Evaluator(recipe.eval_steps, tell))
        # What scores replies does not speak.
        prompts = {} if trainee.heads else self._prompts(made, rows)
        if run is not None and prompts and self._sharding != "fsdp":
            voice = LocalPolicy(trainee.engine, self.renderer)
            hooks.append(Sampler(prompts, voice, lambda step, found: _keep(run, step, found)))
        saver = Saver(checkpoints, recipe.save_steps, run=run)
        hooks += [saver, Teller(self.watch)]
        saver.hooks = hooks
        return hooks

    def _prompts(self, made: Assembled, rows: Any) -> dict[str, Prompt]:
        """Some prompts, held-out ones where there are any."""
        source = made.held_out.rows if made.held_out is not None else rows
        found: dict[str, Prompt] = {}
        for number in range(min(len(source), 4 * self.recipe.samples)):
            row = source[number]
            ids = row.rendered.prompt
            # Nobody will ask for bad replies.
            if row.meta.get(MARK) != "bad" and len(ids) and len(found) < self.recipe.samples:
                found[self.renderer.decode(ids.tolist())] = Prompt((), tokens=tuple(ids.tolist()))
        return found

    def _resume(
        self, run: Run | None, checkpoints: Checkpoints, step: int, loop: Loop, hooks: Sequence[Hook]
    ) -> None:
        shared = checkpoints.load(step)
        for line in restore(loop, shared, checkpoints.load_own(step), hooks):
            self.watch.say(line)
        most = loop.policy.engine.limits.tokens
        if most and loop.budget > most:
            self.watch.say(f"micro-batches of {loop.budget:,} tokens do not fit here: {most:,} from here on")
            loop.budget = most
        if run is not None:
            run.truncate_metrics(int(shared[1]["metrics_offset"]))  # type: ignore[arg-type]
        self.watch.say(f"Going on from the checkpoint of step {step} of {loop.steps}.")

    # --- after --------------------------------------------------------------------------------------------

    def _finish(
        self, run: Run, trainee: Trainee, made: Assembled, state: Mapping[str, torch.Tensor] | None
    ) -> None:
        head, wanted = next(iter(trainee.heads.values()), None), self.recipe.export_dtype
        kept = surviving(trainee.model, trainee.came, self.begun, wanted=wanted, state=state)
        exported = export(
            trainee.model,
            run.path / "model",
            came=kept.came,
            renderer=self.renderer,
            stilled=trainee.started.stilled,
            head=head,
            state=state,
        )
        # A fresh process computes them on its processor: the shortest row will do.
        batch = made.terms[0].source.batch(0)
        sizes = costs(batch)
        lines = batch.part([sizes.index(min(sizes))]).lines(made.terms[0].task.shape.marks)
        checked = check_export(
            exported,
            trainee.engine if state is None else None,
            lines,
            renderer=self.renderer,
            trust_remote_code=self.recipe.trust_remote_code,
        )
        for line in filter(None, (kept.line, *exported.notes, checked.line)):
            self.watch.say(line)
        last = [row for row in run.read_metrics() if "eval_loss" in row]
        count = len(made.held_out.rows) if made.held_out is not None else 0
        if last and count:
            run.write_results(
                [
                    Result(name=name, value=value, n=count, how="on held-out rows, after the last step")
                    for name, value in last[-1].items()
                    if name.startswith("eval_") and math.isfinite(value)
                ]
            )
        run.mark("finished")
        for line in exported.loading:
            self.watch.say(line)


def _counts(material: Material) -> dict[str, Any]:
    found = dict(material.main.counts)
    for name, loaded in material.others.items():
        found |= {f"{name}/{side}": count for side, count in loaded.counts.items()}
    return found


def _keep(run: Run, step: int, samples: Sequence[Mapping[str, Any]]) -> None:
    write_json(run.samples / f"step-{step}.json", {"step": step, "samples": list(samples)})
