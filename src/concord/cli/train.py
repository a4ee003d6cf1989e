"""`concord train`: train a model by one method. Settings are flags of the same names as in a recipe."""

import os
from pathlib import Path
from typing import Any

import click
import yaml

from concord.catalogue import find, search
from concord.cli.terminal import console
from concord.errors import NOTHING, RecipeError, Said, UnavailableError, explain
from concord.recipes import from_trl, offline_methods, read_recipe, recipe_file
from concord.recipes.flags import described, read_flags
from concord.recipes.loading import load_yaml
from concord.recipes.methods import wants_of
from concord.recipes.schema import SECTIONS

__all__ = ["command"]

_OTHERS = {"--recipe": 1, "--convert": 1, "--dry-run": 0, "--resume": 0, "--help": 0}
_SETTINGS, _METHOD = "concord.train.settings", "concord.train.method"


class _Train(click.Command):
    """Takes the settings out of the command line before click sees it: which there are depends on METHOD."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        left, ctx.meta[_SETTINGS] = read_flags(args, _OTHERS)
        after = {place + 1 for place, word in enumerate(left) if _OTHERS.get(word)}
        words = [w for place, w in enumerate(left) if place not in after and not w.startswith("-")]
        ctx.meta[_METHOD] = words[0] if words else ""
        return super().parse_args(ctx, left)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        method = ctx.meta[_METHOD]
        if method:
            _write_method(formatter, method)
        for heading, rows in described(method).items():
            if method or heading == SECTIONS[0]:
                with formatter.section(heading):
                    formatter.write_dl(
                        [
                            (row.flag, row.meaning + (f"  [{row.default}]" if row.default else ""))
                            for row in rows
                        ]
                    )
        with formatter.section("What to do"):
            own = [one for one in self.get_params(ctx) if isinstance(one, click.Option)]
            formatter.write_dl([record for one in own if (record := one.get_help_record(ctx))])
        if not method:
            _write_methods(formatter)


def _write_method(formatter: click.HelpFormatter, method: str) -> None:
    wants = wants_of(method)
    if not wants.known:
        return
    entry = find(wants.name)
    with formatter.section(entry.name):
        formatter.write_text(f"{entry.summary} Needs {', '.join(entry.needs)}.")
        formatter.write_paragraph()
        formatter.write_text(f"Its recipe, to copy: {recipe_file(method)}")


def _write_methods(formatter: click.HelpFormatter) -> None:
    known = set(offline_methods())
    families: dict[str, list[str]] = {}
    for entry in search(""):
        if entry.name in known and entry.kind in ("objective", "method"):
            families.setdefault(entry.family, []).append(entry.name)
    with formatter.section("Methods"):
        formatter.write_dl([(family, ", ".join(sorted(names))) for family, names in families.items()])


@click.command("train", cls=_Train, options_metavar="[--SETTING VALUE]...")
@click.argument("method", required=False)
@click.option(
    "--recipe",
    type=click.Path(path_type=Path),
    default=None,
    metavar="FILE",
    help="Settings from a file (YAML).",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done, with memory and time, and stop.")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint of the same run.")
@click.option(
    "--convert",
    type=click.Path(path_type=Path),
    default=None,
    metavar="FILE",
    help="Print the recipe that says what a file of TRL's settings says.",
)
@click.pass_context
def command(ctx: click.Context, method: str | None, **given: Any) -> None:
    """Train a model by METHOD, the name of a method or package.module:function.

    Settings are flags, or lines of a recipe with underscores in place of dashes; a flag goes before the
    recipe. `concord train METHOD --help` lists the knobs of a method, and all settings with its defaults.

    \b
    concord train dpo --model path/to/model --data prefs.jsonl
    concord train dpo --model path/to/model --data prefs.jsonl --dry-run
    concord train --recipe recipe.yaml --learning-rate 1e-6 --resume
    """
    settings: dict[str, Any] = ctx.meta[_SETTINGS]
    if given["convert"] is not None:
        _convert(given["convert"], method, settings)
        return
    if method is not None:
        if (other := settings.get("method", method)) != method:
            wrong, found = "two methods are named", Said(f"{method} and --method {other}")
            raise RecipeError(explain(wrong, found=found, accepted="one method", do="leave one of them out"))
        settings = {"method": method, **settings}
    if given["recipe"] is None and "method" not in settings:
        wrong, accepted = "no method is named", "concord train METHOD --model M --data FILE"
        do = "write it first, before any flag; `concord train --help` lists the methods"
        raise RecipeError(explain(wrong, found=NOTHING, accepted=accepted, do=do))
    recipe = read_recipe(given["recipe"], settings)
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    try:
        from concord.cli.live import Live
        from concord.train import train
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("concord"):
            raise
        wrong, do = "training needs parts that are not installed", 'pip install "concord-align[train]"'
        accepted = "torch and what goes with it"
        raise UnavailableError(explain(wrong, found=error.name, accepted=accepted, do=do)) from error
    with Live(console() if given["dry_run"] else None) as live:
        folder = train(recipe, resume=given["resume"], dry_run=given["dry_run"], watch=live)
    # Of several processes one speaks.
    if folder is not None and os.environ.get("RANK", "0") == "0":
        click.echo(folder)


def _convert(file: Path, trainer: str | None, settings: dict[str, Any]) -> None:
    """Print a recipe, and beside it, for people, what became of each setting."""
    if settings:
        wrong, found = "--convert takes no settings", Said(", ".join(settings))
        raise RecipeError(
            explain(wrong, found=found, accepted="a file", do="change the recipe that is printed")
        )
    try:
        given = load_yaml(file.read_text(encoding="utf-8-sig"), str(file))
    except (OSError, UnicodeError) as error:
        wrong, accepted = f"{file} cannot be read", "a file of TRL's settings, in YAML"
        raise RecipeError(
            explain(wrong, found=Said(str(error)), accepted=accepted, do="name another file")
        ) from error
    recipe, mapped, left = from_trl(given, trainer or "dpo")
    click.echo(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True), nl=False)
    for heading, lines in (("Said in the recipe:", mapped), ("Without a meaning here:", left)):
        if lines:
            click.echo("\n".join((heading, *(f"  {line}" for line in lines))), err=True)
