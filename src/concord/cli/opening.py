"""Models as people type them: a folder, a hub id, run:NAME, `base`, an address, openai:MODEL.

    model = find_model("run:dpo")         what is meant, and what is known of it without loading it
    policy = model.load()                 whatever answers

Verbs find first and load later, so that what was done with the same content before is found in no time.
"""

import os
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from concord import wire
from concord.durable import read_json, read_object
from concord.errors import CapabilityError, NotFoundError, Said, UnavailableError, explain
from concord.manifest import hash_tree
from concord.policies.ledger import Account
from concord.policies.opening import is_remote, open_policy, service_of
from concord.run import Run, find_run
from concord.store import Store
from concord.types import RATED_BY, Ledger, Policy

__all__ = [
    "BASE_NAME",
    "LIKELIHOOD",
    "FoundModel",
    "find_model",
    "find_scorer",
    "lineage",
    "needing_torch",
    "spent",
    "taught_by",
]

BASE_NAME = "base"
"""What the shipped base of Harbour is called."""

LIKELIHOOD = "likelihood:"
"""What stands before a model that scores replies by how likely it finds them."""

_RUN, _ACCEPTED = "run:", "a folder, a hub id, run:NAME, base, http(s)://host/v1 or openai:MODEL"
_HUB = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundModel:
    """A model that was meant: what to call it, where it is, and what it is known by.

    identity: the hash of its folder; its name, where its content is elsewhere and not known
    label: of a classifier, the label whose probability is meant
    likely: whether it scores replies by how likely it finds them
    run: the run that made it
    key_env, account: the variable that holds an endpoint's key, and who pays
    """

    name: str
    what: str
    identity: str
    served: str = ""
    label: str = ""
    likely: bool = False
    run: Run | None = None
    key_env: str | None = None
    account: Account | None = None

    @property
    def itself(self) -> "FoundModel":
        """The model as it speaks, not as it scores."""
        return replace(self, likely=False, identity=self.identity.removeprefix(LIKELIHOOD))

    def load(self, *, store: Store | None = None, offline: bool = False) -> Policy:
        """Load it, or reach for it; what endpoints answer is kept in the store."""
        if is_remote(self.what):
            return open_policy(
                self.what,
                model=self.served,
                key_env=self.key_env,
                store=store,
                account=self.account,
                offline=offline,
            )
        with needing_torch("a model on this machine"):
            from concord.engine import load_policy
        return cast("Policy", load_policy(self.what, offline=offline))


@contextmanager
def needing_torch(what: str) -> Generator[None]:
    """Say in a sentence that torch is missing, where what is imported within needs it."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("concord"):
            raise
        wrong, do = f"{what} needs parts that are not installed", 'pip install "concord-align[train]"'
        accepted = "torch and what goes with it"
        raise UnavailableError(explain(wrong, found=error.name, accepted=accepted, do=do)) from error
    from transformers.utils import logging

    # A verb tells of itself how far it is.
    logging.disable_progress_bar()


def find_model(
    what: str,
    *,
    runs: str | Path = "runs",
    served: str = "",
    key_env: str | None = None,
    offline: bool = False,
) -> FoundModel:
    """Find what is meant. `served` names the model of an address that serves several.

    An address that serves one is asked for its name: it may be another one than yesterday.
    """
    if is_remote(what):
        service = service_of(what, model=served, key_env=key_env, offline=offline)
        name = served or urlsplit(what).netloc or service.model
        return FoundModel(name=name, what=what, identity=service.id, served=service.model, key_env=key_env)
    if what == BASE_NAME:
        return _base()
    if what.startswith(_RUN):
        return _of_run(find_run(runs, what.removeprefix(_RUN)))
    folder = Path(what)
    if folder.is_dir():
        if (run := _made(folder)) is not None:
            return _of_run(run)
        return FoundModel(name=folder.absolute().name, what=what, identity=hash_tree(folder))
    if folder.exists() or not _HUB.fullmatch(what):
        wrong = (
            "there is no such folder" if not folder.exists() else "this is a file, and a model is a folder"
        )
        do = "look at the path; a model's folder holds config.json, its weights and its tokenizer"
        raise NotFoundError(explain(wrong, found=what, accepted=_ACCEPTED, do=do))
    return FoundModel(name=what.rpartition("/")[2], what=what, identity=f"hub:{what}")


def find_scorer(what: str, *, runs: str | Path = "runs", offline: bool = False) -> FoundModel:
    """Find what scores replies: MODEL, MODEL#LABEL of a classifier of several labels, or likelihood:MODEL."""
    likely = what.startswith(LIKELIHOOD)
    model, label = _labelled(what.removeprefix(LIKELIHOOD))
    if likely and (label or not model):
        wrong, accepted = "this names no model by whose likelihoods to score", f"{LIKELIHOOD}MODEL, without #"
        do = "name a folder, a hub id or run:NAME"
        raise NotFoundError(explain(wrong, found=what, accepted=accepted, do=do))
    if is_remote(model):
        wrong, accepted = "an endpoint is no reward model", "a folder, a hub id or run:NAME"
        do = "name one of these, or have the endpoint judge with --judge"
        raise CapabilityError(explain(wrong, found=model, accepted=accepted, do=do))
    found = find_model(model, runs=runs, offline=offline)
    if likely:
        return replace(found, likely=True, identity=f"{LIKELIHOOD}{found.identity}")
    return replace(found, label=label, identity=f"{found.identity}#{label}" if label else found.identity)


def _labelled(what: str) -> tuple[str, str]:
    """A model and its label: parted at the first # that a folder stands before, or else at the first."""
    if "#" not in what or Path(what).is_dir():
        return what, ""
    places = [at for at, letter in enumerate(what) if letter == "#"]
    at = next((place for place in places if place and Path(what[:place]).is_dir()), places[0])
    if not (what[:at] and what[at + 1 :]):
        wrong, accepted = "a model or its label is empty", "MODEL, or MODEL#LABEL"
        raise NotFoundError(explain(wrong, found=what, accepted=accepted, do="name both, or leave the # out"))
    return what[:at], what[at + 1 :]


def _base() -> FoundModel:
    from concord.worlds.harbour import BASE

    if not BASE.is_dir():
        wrong, do = "the base of Harbour is not here", "build it with `make world`, or name another model"
        raise UnavailableError(explain(wrong, found=str(BASE), accepted="the folder of a model", do=do))
    return FoundModel(name=BASE_NAME, what=str(BASE), identity=hash_tree(BASE))


def _of_run(run: Run) -> FoundModel:
    folder = run.path / "model"
    if not folder.is_dir():
        wrong, state = f"the run {run.path.name} has no model yet", run.status()
        found = Said(f"it is {state.state}" + (f": {state.reason}" if state.reason else ""))
        do = "let it finish first"
        raise CapabilityError(explain(wrong, found=found, accepted="a run that has finished", do=do))
    return FoundModel(name=run.name, what=str(folder), identity=hash_tree(folder), run=run)


# --- what a run and those before it took, and whom they went by ---------------------------------------------


def lineage(run: Run, *, runs: str | Path = "runs") -> list[Run]:
    """A run and those that it began from, whether they were named or their models' folders were."""
    found: list[Run] = []
    at: Run | None = run
    while at is not None and at.id not in {one.id for one in found}:
        found.append(at)
        began = at.resolved.get("model")
        if isinstance(began, dict):
            at = find_run(runs, cast("dict[str, str]", began)["run"])
        else:
            at = _made(Path(str(began)))
    return found


def _made(folder: Path) -> Run | None:
    """The run that left this model, if one did."""
    home = folder.parent
    return Run(home) if folder.name == "model" and (home / "manifest.json").is_file() else None


def spent(run: Run, *, runs: str | Path = "runs") -> Ledger:
    """What a run took, with those that it began from; what one of them does not know is not known."""
    kept = [one.path / "ledger.json" for one in lineage(run, runs=runs)]
    if not all(file.is_file() for file in kept):
        return Ledger()
    known = [wire.from_json(Ledger, read_json(file), where=str(file)) for file in kept]
    labels = _sum([one.labels for one in known])
    return Ledger(
        flops=_sum([one.flops for one in known]),
        labels=None if labels is None else int(labels),
        models_loaded=max((one.models_loaded or 0 for one in known), default=0) or None,
    )


def taught_by(run: Run, *, runs: str | Path = "runs") -> frozenset[str]:
    """The ids of the feedbacks that rated the rows of a run, or of those that it began from."""
    sides = [_read(one.path / "prepared.json").get("counts", {}).values() for one in lineage(run, runs=runs)]
    return frozenset(name for side in chain.from_iterable(sides) for name in side.get(RATED_BY, ()))


def _sum(known: Sequence[float | None]) -> float | None:
    """The sum, where every one is known."""
    numbers = [one for one in known if one is not None]
    return sum(numbers) if len(numbers) == len(known) else None


def _read(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}
