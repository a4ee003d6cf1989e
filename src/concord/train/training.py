"""A recipe carried out: prepared, decided, built, run; and what is left of it in the directory of its run."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor
from transformers.utils import logging

from concord import wire
from concord.durable import read_object, write_json
from concord.engine import LocalPolicy
from concord.errors import ConcordError, RunError, Said, explain
from concord.manifest import manifest_differences
from concord.messages import Prompt
from concord.recipes import Recipe
from concord.report import trained_page, write_page
from concord.run import Run
from concord.synth import MARK
from concord.train.assembling import Material, audited
from concord.train.building import Built, Job, build, decide, job_of, prepare, settled
from concord.train.costing import LEDGER, ledger_of
from concord.train.following import (
    Checkpoints,
    Evaluator,
    Nobody,
    Recorder,
    Sampler,
    Saver,
    Tell,
    Teller,
    Watch,
    check_tracker,
    interruptible,
    open_trackers,
    restore,
)
from concord.train.forecasting import Decision, Seconds, Work, all_work, as_json, probe
from concord.train.leaving import check_export, export, surviving
from concord.train.loop import Hook, Loop, Rows, costs, fit
from concord.train.opening import differences, open_run
from concord.train.ranks import begun, whole_state

__all__ = ["train"]


def train(
    recipe: Recipe, *, resume: bool = False, dry_run: bool = False, watch: Watch | None = None
) -> Path | None:
    """Carry a recipe out, and return the directory of its run; of a dry run there is none."""
    logging.disable_progress_bar()
    with ExitStack() as stack:
        ranks = stack.enter_context(begun())
        job = job_of(recipe, watch if watch and ranks.first else Nobody(), ranks, stack)
        if dry_run:
            _rehearse(job)
            return None
        run = None
        if ranks.first:
            run = stack.enter_context(open_run(job.recipe, job.asked, here=job.here, resume=resume))
        try:
            return _carry_out(job, run, stack, resume=resume)
        except BaseException as error:
            if run is not None:
                _keep_failure(run, error)
            raise


def _rehearse(job: Job) -> None:
    """Say what would be done, with a forecast from a few micro-batches."""
    with TemporaryDirectory() as folder:
        material = prepare(job, Path(folder))
        job, decision = decide(job, material)
        built = build(job, material, decision)
        _, seconds = _forecast(job, material, decision, built.loop)
    if seconds is not None:
        job.watch.say(seconds.line)


@dataclass(frozen=True)
class _Place:
    """Where a run is kept: only the first rank writes there, but for its checkpoints."""

    run: Run | None
    home: Path
    checkpoints: Checkpoints
    latest: int | None
    """The step of the checkpoint that is gone on from."""


def _carry_out(job: Job, run: Run | None, stack: ExitStack, *, resume: bool) -> Path:
    """Train, and leave what came of it."""
    home = Path(job.ranks.told(str(run.path) if run else ""))
    if job.ranks.told(run is not None and run.status().state == "finished"):
        job.watch.say(f"This run has finished before: {home}")
        return home
    place = _placed(job, run, home, resume=resume)
    material = prepare(job, home / "data")
    if run is not None:
        write_json(home / "prepared.json", {"notes": list(material.notes), "counts": _counts(material)})
        _audit(job, home)
    before = _settled_before(job, home) if resume else {}
    job, decision = decide(job, material, before)
    built = build(job, material, decision)
    _keep_plan(job, place, material, decision, built, before)
    hooks, evaluator = _hooks(job, place, decision, built, stack)
    loop = built.loop
    if place.latest is not None:
        _go_on(job, place, place.latest, loop, hooks)
    elif run is not None:
        if resume:
            job.watch.say("There is no checkpoint yet, so it begins with the first step.")
        # What was written before there was a checkpoint is written anew.
        run.truncate_metrics(0)
    hooks.append(Teller(job.watch, len(loop.said)))
    job.watch.begin(loop.steps, done=loop.step)
    with interruptible(loop, job.watch):
        if job.ranks.count > 1:
            loop.try_out(decision.work.fullest)
        fit(loop, hooks)
    _end(job, run, material, built, evaluator)
    job.ranks.barrier()
    return home


# --- before -----------------------------------------------------------------------------------------------


def _placed(job: Job, run: Run | None, home: Path, *, resume: bool) -> _Place:
    """Look for a checkpoint to go on from, and say where the run stands."""
    checkpoints = Checkpoints(home / "checkpoints", job.recipe.save_total_limit, ranks=job.ranks)
    latest = checkpoints.latest()
    if latest is not None and not resume:
        wrong, found = f"{home} has begun already", Said(f"a checkpoint of step {latest}")
        do = "go on with --resume; to begin anew, give another name or seed, or delete the directory"
        raise RunError(explain(wrong, found=found, accepted="a run without checkpoints", do=do))
    for name in job.recipe.report_to:
        check_tracker(name)
    if run is not None:
        for line in differences(run, job.here) if resume else ():
            job.watch.say(line)
        run.mark("running")
    return _Place(run, home, checkpoints, latest)


def _audit(job: Job, home: Path) -> None:
    """Keep what an audit finds in the data, and say what is grave."""
    if (home / "audit.json").exists():
        return
    found = audited(job.recipe)
    write_json(home / "audit.json", wire.to_json(found))
    for one in found.findings:
        if one.severity != "note":
            job.watch.say(f"audit, {one.severity}: {one.title}. To do: {one.do}")


def _settled_before(job: Job, home: Path) -> Mapping[str, Any]:
    """What was settled when the run began; nothing where it did not come so far."""
    file = home / "settled.json"
    return job.ranks.told(read_object(file, ["train"]) if job.ranks.first and file.is_file() else {})


def _keep_plan(
    job: Job,
    place: _Place,
    material: Material,
    decision: Decision,
    built: Built,
    before: Mapping[str, Any],
) -> None:
    """Keep what was settled and forecast where a run begins; where it goes on, say what is other by now."""
    if place.run is None:
        return
    known = settled(job, decision, built)
    if place.latest is None or not before:
        write_json(place.home / "settled.json", known)
    else:
        # The size of micro-batches is that of the checkpoint.
        now = known | {"micro_tokens": before["micro_tokens"]}
        for line in manifest_differences({"extra": before}, {"extra": now}):
            job.watch.say(f"Not as when the run began: {line}")
    if place.latest is None:
        work, seconds = _forecast(job, material, decision, built.loop)
        write_json(place.home / "forecast.json", as_json(work, decision.memory, seconds))


def _forecast(job: Job, material: Material, decision: Decision, loop: Loop) -> tuple[Work, Seconds | None]:
    """All that will be computed, and how long it will take.

    Ranks wait for each other in every pass, so of several the time of none is probed.
    """
    work = all_work(decision.work, material.main.shards.lengths, decision.stretch, loop)
    if work.tokens > decision.work.tokens:
        job.watch.say(f"tokens, with companions, second passes and further terms: {work.tokens:,}")
    return work, probe(loop, work) if job.ranks.count == 1 else None


# --- on the way -------------------------------------------------------------------------------------------


def _hooks(
    job: Job, place: _Place, decision: Decision, built: Built, stack: ExitStack
) -> tuple[list[Hook], Evaluator | None]:
    """What hangs on the loop. First what counts and follows, then checkpoints, then what uses the model: so
    nothing that fails there costs a step."""
    recipe, run, made, loop = job.recipe, place.run, built.made, built.loop
    rows = loop.terms[0].source
    assert isinstance(rows, Rows)
    most, tell = decision.stretch.positions, _tell(job, run, place.latest or 0, stack)

    def epoch(step: int) -> float:
        taken = step * recipe.batch_size
        return min(taken, most or taken) / len(rows.rows)

    hooks: list[Hook] = [Recorder(recipe.logging_steps, epoch, tell)]
    if made.moving is not None:
        hooks.append(made.moving)
    saver = Saver(place.checkpoints, recipe.save_steps, run=run)
    hooks.append(saver)
    evaluator = Evaluator(recipe.eval_steps, tell) if made.held_out is not None else None
    if evaluator is not None:
        hooks.append(evaluator)
    # What scores replies does not speak, and sharded weights do not answer one rank alone.
    prompts = _prompts(job, made.held_out or rows) if not built.trainee.heads else {}
    if run is not None and prompts and job.sharding != "fsdp":
        held_out = made.held_out is not None

        def keep(step: int, samples: Sequence[Mapping[str, Any]]) -> None:
            kept = {"step": step, "samples": list(samples), "held_out": held_out}
            write_json(run.samples / f"step-{step}.json", kept)

        hooks.append(Sampler(prompts, LocalPolicy(loop.policy.engine, job.renderer), keep))
    saver.hooks = hooks
    return hooks, evaluator


def _tell(job: Job, run: Run | None, done: int, stack: ExitStack) -> Tell:
    """How rows of metrics are passed on; on ranks the first one speaks."""
    if run is None:
        return lambda row: None
    trackers = open_trackers(job.recipe, run.path, done=done, say=job.watch.say)
    stack.callback(trackers.close)
    waiting: list[Mapping[str, float]] = []

    def tell(row: Mapping[str, float]) -> None:
        waiting.append(row)
        try:
            while waiting:
                run.append_metrics(waiting[0])
                del waiting[0]
        except RunError as error:
            if not isinstance(error.__cause__, OSError):
                raise
            # A disk without room does not end a training; where there is room again, they are written.
            if len(waiting) == 1:
                job.watch.say(f"no metrics of step {row['step']:g} in the run as yet: {error}")
        job.watch.row(row)
        trackers.row(row)

    return tell


def _prompts(job: Job, source: Rows) -> dict[str, Prompt]:
    """Some prompts of some rows, by their texts."""
    found: dict[str, Prompt] = {}
    for number in range(min(len(source.rows), 4 * job.recipe.samples)):
        row = source.rows[number]
        ids = row.rendered.prompt
        # Nobody will ask for bad replies.
        if row.meta.get(MARK) != "bad" and len(ids) and len(found) < job.recipe.samples:
            found[job.renderer.decode(ids.tolist())] = Prompt((), tokens=tuple(ids.tolist()))
    return found


def _go_on(job: Job, place: _Place, step: int, loop: Loop, hooks: Sequence[Hook]) -> None:
    """Bring everything to where it was at a checkpoint."""
    shared = place.checkpoints.load(step)
    for line in restore(loop, shared, place.checkpoints.load_own(step), hooks):
        job.watch.say(line)
    asked = job.recipe.micro_tokens
    if asked and asked != loop.budget:
        job.watch.say(
            f"micro-batches of {asked:,} tokens from here on, as asked for, and not {loop.budget:,}"
        )
        loop.budget = asked
    most = loop.policy.engine.limits.tokens
    if most and loop.budget > most:
        job.watch.say(f"micro-batches of {loop.budget:,} tokens do not fit here: {most:,} from here on")
        loop.budget = most
    if place.run is not None:
        place.run.truncate_metrics(int(shared[1]["metrics_offset"]))  # type: ignore[arg-type]
    job.watch.say(f"Going on from the checkpoint of step {step} of {loop.steps}.")


# --- after ------------------------------------------------------------------------------------------------


def _end(job: Job, run: Run | None, material: Material, built: Built, evaluator: Evaluator | None) -> None:
    """What is left: a model, or the word that there is more to do; and the report."""
    loop, trainee, state = built.loop, built.trainee, None
    if loop.step == loop.steps:
        # All ranks give their shares of it.
        state = whole_state(trainee.model, trainee.heads)
    if run is None:
        return
    if loop.step == loop.steps:
        if evaluator is not None:
            run.write_results(evaluator.results)
        loaded = [material.main, *material.others.values()]
        took = ledger_of(loop, trainee.model, loaded, built.made.others)
        write_json(run.path / LEDGER, wire.to_json(took))
        _export(job, run, built, state)
    else:
        run.mark("stopped", reason=f"asked to stop after step {loop.step} of {loop.steps}")
        job.watch.say(f"Stopped after step {loop.step}. The same command with --resume goes on.")
    write_page(trained_page(run.path), run.path / "report.html")
    job.watch.say(f"report: {run.path / 'report.html'}")


def _export(job: Job, run: Run, built: Built, state: Mapping[str, Tensor] | None) -> None:
    """Leave the model, tried in a fresh process, and the lines that load it."""
    trainee, term = built.trainee, built.loop.terms[0]
    kept = surviving(trainee.model, trainee.came, built.began, wanted=job.recipe.export_dtype, state=state)
    exported = export(
        trainee.model,
        run.path / "model",
        came=kept.came,
        renderer=job.renderer,
        stilled=trainee.started.stilled,
        head=next(iter(trainee.heads.values()), None),
        state=state,
    )
    # A fresh process computes them on its processor: the shortest row will do.
    batch = term.source.batch(0)
    sizes = costs(batch)
    checked = check_export(
        exported,
        trainee.engine if state is None else None,
        batch.part([sizes.index(min(sizes))]).lines(term.task.shape.marks),
        renderer=job.renderer,
        trust_remote_code=job.recipe.trust_remote_code,
    )
    for line in filter(None, (kept.line, *exported.notes, checked.line)):
        job.watch.say(line)
    write_json(run.path / "exported.json", {"adapter": exported.adapter, "loading": list(exported.loading)})
    run.mark("finished")
    for line in exported.loading:
        job.watch.say(line)


def _keep_failure(run: Run, error: BaseException) -> None:
    """Say in the run what ended it, with a page of what there is."""
    if run.status().state != "running":
        return
    interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
    said = f"{type(error).__name__}: {error}".rstrip(": ")
    with suppress(ConcordError):
        run.mark("stopped" if interrupted else "failed", reason=said)
        write_page(trained_page(run.path), run.path / "report.html")


def _counts(material: Material) -> dict[str, Any]:
    found = dict(material.main.counts)
    for name, loaded in material.others.items():
        found |= {f"{name}/{side}": count for side, count in loaded.counts.items()}
    return found
