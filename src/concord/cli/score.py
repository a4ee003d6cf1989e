"""`concord score`: the scorecard of a model or endpoint, or of several side by side."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from concord.cli.blocks import show_page
from concord.cli.opening import BASE_NAME, LIKELIHOOD, FoundModel, find_model, find_scorer
from concord.cli.options import Sectioned
from concord.cli.reaching import Reach
from concord.cli.telling import Telling
from concord.cli.terminal import console, emit
from concord.durable import disk_message, read_json
from concord.errors import InputError, NotFoundError, RunError, Said, explain
from concord.policies.opening import is_remote
from concord.store import Store, default_root

if TYPE_CHECKING:
    from concord.cli import scoring

__all__ = ["command"]

_SECTIONS = {
    "What to score it on": ("world", "base", "data", "sets"),
    "Who scores": ("reward", "judge", "toxicity", "trained_on"),
    "How rows are read": ("mapping", "domain", "on_bad_row"),
    "How much": ("limit", "seed", "again"),
    "What to write": ("names", "output", "runs", "as_json"),
    "How models are reached": ("served", "key_env", "price", "ceiling", "offline"),
}
_OWN = {
    "data": "--data",
    "sets": "--set",
    "reward": "--reward",
    "judge": "--judge",
    "toxicity": "--toxicity",
}
_UNPROPOSED = ("toxicity",)  # of use with one kind of set only
_FILE = click.Path(path_type=Path)
_FOLDER = click.Path(path_type=Path, file_okay=False)


def _domain(_context: click.Context, _option: click.Parameter, said: str) -> tuple[str, str]:
    """The column of domains and the one that was learned from, or nothing of both."""
    column, mark, inside = said.partition("=")
    if said and not (mark and column.strip() and inside.strip()):
        wrong, accepted = "--domain cannot be read", "COLUMN=VALUE, such as subject=law"
        do = "name the column of --data, and its value for what MODEL learned from"
        raise InputError(explain(wrong, found=said, accepted=accepted, do=do))
    return column.strip(), inside.strip()


@click.command("score", cls=Sectioned, sections=_SECTIONS)
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option(
    "--world",
    type=click.Choice(["harbour"]),
    default=None,
    help="A small world in which what people want is known exactly.  [default, without files and judges]",
)
@click.option("--base", default=None, metavar="MODEL", help="What to hold MODEL against: what it was before.")
@click.option("--data", multiple=True, type=_FILE, metavar="FILE", help="Rows of your own; may be repeated.")
@click.option(
    "--set",
    "sets",
    multiple=True,
    type=_FILE,
    metavar="FILE",
    help="A test set (MMLU, GSM8K, TruthfulQA, XSTest, IFEval, ...), known by its columns; may be repeated.",
)
@click.option(
    "--reward",
    default=None,
    metavar="MODEL[#LABEL]|likelihood:MODEL",
    help="A reward model or a classifier, to score replies by; of several labels, the one that is meant."
    " Or a model whose likelihood of a reply, for each token, is its score.",
)
@click.option("--judge", default=None, metavar="MODEL", help="A model or endpoint that judges replies.")
@click.option(
    "--toxicity",
    default=None,
    metavar="MODEL#LABEL",
    help="A classifier, and its label for what is toxic: for sets such as RealToxicityPrompts.",
)
@click.option(
    "--trained-on",
    multiple=True,
    metavar="ID",
    help="A feedback, by its id, that MODEL was optimised against, and may not be judged by.",
)
@click.option(
    "--map",
    "mapping",
    default="",
    metavar="LINE",
    help='Which column of --data is what, where that is not detected: "prompt=question reply=answer".',
)
@click.option(
    "--domain",
    default="",
    callback=_domain,
    metavar="COLUMN=VALUE",
    help="The column of --data that says of which domain a row is, and the one that MODEL learned from.",
)
@click.option(
    "--on-bad-row",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="What a row that cannot be read does: stop all, or be left out and counted on the card.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="At most so many requests of each family, or rows of each file.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Of draws and of resamples.",
)
@click.option("--again", is_flag=True, help="Score anew, in place of what was there before.")
@click.option("--name", "names", multiple=True, metavar="NAME", help="What to call each MODEL, in order.")
@click.option(
    "--output",
    type=_FOLDER,
    default=None,
    metavar="DIR",
    help="Write scorecard.json and report.html into this folder too.",
)
@click.option(
    "--runs",
    type=_FOLDER,
    default=Path("runs"),
    show_default=True,
    metavar="DIR",
    help="The folder of runs, where cards are kept.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs, in place of text.")
@click.option(
    "--served",
    multiple=True,
    metavar="[MODEL=]NAME",
    help="Which of its models, where an address serves several.",
)
@click.option(
    "--key-env",
    multiple=True,
    metavar="[MODEL=]NAME",
    help="The variable that holds the key of an endpoint.  [OPENAI_API_KEY, for openai: alone]",
)
@click.option(
    "--price",
    multiple=True,
    metavar="[MODEL=]PROMPT/NEW",
    help="What a million tokens cost at an endpoint, those of prompts and new ones: 0.15/0.6.",
)
@click.option(
    "--ceiling",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    metavar="AMOUNT",
    help="The most that all endpoints together may cost, by --price.",
)
@click.option("--offline", is_flag=True, help="Fetch nothing and send nothing.")
def command(models: tuple[str, ...], **given: Any) -> None:
    """Say what MODEL gained and what that cost: a scorecard, challenge by challenge, with intervals.

    MODEL is a folder, a hub id, run:NAME, `base` (the base of Harbour, which is shipped), an address such as
    http://host/v1, or openai:MODEL. It is scored in Harbour, or, where files or judges are given, on these.
    Several stand side by side, and the first is what the others are held against. What was scored before is
    only shown.

    \b
    concord score run:dpo --base run:sft
    concord score base run:sft run:dpo --name before --name between --name after
    concord score http://localhost:8000/v1 --set mmlu.jsonl --limit 200
    """
    from concord.cli.scoring import PAGE, score, together

    _check(given)
    if given["output"] is not None:
        _make(given["output"])
    reach = _reach(models, given)
    found = _found(models, given, reach)
    with ExitStack() as stack:
        stack.callback(lambda: click.echo(reach.bill.rstrip(), err=True) if reach.bill else None)
        job = _job(found, given, stack, reach)
        kept: list[scoring.CardFolder] = []
        for at, model in enumerate(found, 1):
            which = f" ({at} of {len(found)})" if len(found) > 1 else ""
            with Telling(f"{model.name}{which}") as tell:
                kept.append(score(job, model, tell, again=given["again"], short=lambda: reach.short))
        shown = kept[0] if len(kept) == 1 else together(job, kept)
    if given["as_json"]:
        emit(shown.json)
    else:
        show_page(console(), shown.page(brief=True))
    if given["output"] is not None:
        _put(shown, given["output"], again=given["again"])
    before = "It was scored before; --again scores it anew. " if shown.known else ""
    flags = ", ".join(_missing(models, given))
    more = f"More would be measured with {flags}. " if flags else ""
    click.echo(f"{before}{more}The page is {(given['output'] or shown.folder) / PAGE}.", err=True)


def _missing(models: Sequence[str], given: dict[str, Any]) -> list[str]:
    """The flags without which a card has gaps: its reasons name what is lacking, not how to give it here."""
    own = {name: flag for name, flag in _OWN.items() if any(given[one] for one in _OWN)}
    flags = own if len(models) > 1 or models[0] == BASE_NAME else {"base": "--base"} | own
    return [flag for name, flag in flags.items() if not given[name] and name not in _UNPROPOSED]


def _reach(models: Sequence[str], given: dict[str, Any]) -> Reach:
    """How the endpoints among all that is named are reached."""
    return Reach.of(
        [*models, *(given[name] for name in ("base", "judge") if given[name])],
        keys=given["key_env"],
        prices=given["price"],
        ceiling=given["ceiling"],
        runs=given["runs"],
        served=given["served"],
        offline=given["offline"],
    )


def _found(models: Sequence[str], given: dict[str, Any], reach: Reach) -> list[FoundModel]:
    """The models by their names, of which no two are alike."""
    from concord.eval.card.kept import check_names

    found = [reach.find(one) for one in models]
    if (names := given["names"]) and len(names) != len(found):
        wrong, accepted = "--name and MODEL are not as many", f"{len(found)} names, one for each MODEL"
        raise InputError(explain(wrong, found=names, accepted=accepted, do="name each, or none"))
    found = [replace(one, name=name) for one, name in zip(found, names, strict=True)] if names else found
    check_names([one.name for one in found])
    if twice := [name for name, times in Counter(one.name for one in found).items() if times > 1]:
        wrong, accepted = "two models have one name", "another name for each"
        raise InputError(explain(wrong, found=twice[0], accepted=accepted, do="give --name for each MODEL"))
    return found


def _job(found: Sequence[FoundModel], given: dict[str, Any], stack: ExitStack, reach: Reach) -> "scoring.Job":
    """On what, and how, all of them are scored; of several the first is the base, if no other is named."""
    from concord.cli.scoring import Job

    named = {name: reach.find(given[name]) for name in ("base", "judge") if given[name] is not None}
    named |= {
        name: find_scorer(given[name], runs=given["runs"], offline=given["offline"])
        for name in ("reward", "toxicity")
        if given[name] is not None
    }
    if len(found) > 1:
        named.setdefault("base", found[0])
    _check_spelled_once([*found, *named.values()])
    _check_not_by_itself(found, named.get("reward"))
    remote = any(is_remote(one.what) for one in (*found, *named.values()))
    scored = "reward" in named or "toxicity" in named
    return Job(
        runs=given["runs"],
        data=given["data"],
        sets=given["sets"],
        mapping=given["mapping"],
        domain=given["domain"],
        on_bad_row=given["on_bad_row"],
        limit=given["limit"],
        seed=given["seed"],
        trained_on=frozenset(given["trained_on"]),
        offline=given["offline"],
        store=stack.enter_context(Store(default_root())) if remote or scored else None,
        base=named.get("base"),
        reward=named.get("reward"),
        judge=named.get("judge"),
        toxicity=named.get("toxicity"),
    )


def _check_not_by_itself(models: Sequence[FoundModel], scorer: FoundModel | None) -> None:
    """Refuse a model that its own likelihood would score: its likeliest reply is what it says."""
    if scorer is not None and scorer.likely and scorer.itself.identity in {one.identity for one in models}:
        wrong, accepted = "a model would be scored by its own likelihood", "the likelihood of another model"
        do = "name another one as --reward"
        raise InputError(explain(wrong, found=scorer.name, accepted=accepted, do=do))


def _check_spelled_once(models: Sequence[FoundModel]) -> None:
    """Refuse an endpoint under two spellings: its key and its price would be those of one of them."""
    spelled: dict[str, str] = {}
    for one in models:
        if is_remote(one.what) and spelled.setdefault(one.identity, one.what) != one.what:
            wrong, accepted = "one endpoint is spelled in two ways", f"{spelled[one.identity]} in every place"
            do = "spell it in one way"
            raise InputError(explain(wrong, found=one.what, accepted=accepted, do=do))


def _check(given: dict[str, Any]) -> None:
    """Refuse what does not go together, before anything is loaded."""
    own = [flag for name, flag in _OWN.items() if given[name]]
    if given["world"] and own:
        wrong, found = "a world and files of one's own make two cards", Said(f"--world and {own[0]}")
        do = "score once with --world, and once without"
        raise InputError(explain(wrong, found=found, accepted="one of the two", do=do))
    if own and not given["data"] and not given["sets"]:
        wrong, accepted = "there is nothing to ask the model", "--data FILE or --set FILE beside it"
        do = "give the prompts whose replies are to be judged"
        raise InputError(explain(wrong, found=Said(f"{own[0]} alone"), accepted=accepted, do=do))
    if given["mapping"] and not given["data"]:
        wrong, accepted = "a mapping of columns has nothing to map", "--map beside --data"
        found, do = given["mapping"], "leave it out; test sets are known by the names of their columns"
        raise InputError(explain(wrong, found=found, accepted=accepted, do=do))
    if any(given["domain"]) and not (given["data"] and given["reward"]):
        wrong, accepted = "domains say nothing by themselves", "--domain beside --data and --reward"
        do = "give both, or leave it out"
        raise InputError(explain(wrong, found="=".join(given["domain"]), accepted=accepted, do=do))
    if (given["toxicity"] or "").startswith(LIKELIHOOD):
        wrong, accepted = "a likelihood is no probability of being toxic", "MODEL#LABEL of a classifier"
        raise InputError(
            explain(wrong, found=given["toxicity"], accepted=accepted, do="name a classifier and its label")
        )
    if given["toxicity"] and not given["sets"]:
        wrong, accepted = "nothing is asked that could be toxic", "--toxicity beside --set"
        do = "give a set of beginnings, such as RealToxicityPrompts, or leave it out"
        raise InputError(explain(wrong, found=given["toxicity"], accepted=accepted, do=do))
    if nameless := [name for name in given["names"] if not name.strip()]:
        do, accepted = "give a name, or leave --name out", "a name that can be read"
        raise InputError(explain("a model has an empty name", found=nameless[0], accepted=accepted, do=do))
    if not own:
        find_model(BASE_NAME)  # what it knows is what honesty is judged by in Harbour
    for file in (*given["data"], *given["sets"]):
        if not file.exists():
            accepted, do = "a file, or a folder of files", "look at the path"
            raise NotFoundError(explain("there is no such file", found=str(file), accepted=accepted, do=do))


def _make(folder: Path) -> None:
    """Make the folder now, so that one that cannot be made is found before all the work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(disk_message(error, doing=f"making {folder}", kept="nothing was scored")) from error


def _put(shown: "scoring.CardFolder", folder: Path, *, again: bool) -> None:
    """Write a card and its page into a folder that holds no other one, or `again` in place of it."""
    from concord.cli.scoring import CARD

    there = folder / CARD
    if there.exists() and not again and read_json(there) != shown.json:
        wrong, accepted = "another card lies there", "a folder without a card, or with the same"
        do = f"name another folder, or give --again to replace it; the new card is kept in {shown.folder}"
        raise InputError(explain(wrong, found=str(there), accepted=accepted, do=do))
    shown.write(folder)
