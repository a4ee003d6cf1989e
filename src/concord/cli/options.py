"""Options that verbs share: how data is read, and how it is rendered. Each is spelled once, here.

`data_options` and `render_options` decorate a verb; `Sectioned` lists options under headings in its help.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from concord.errors import InputError, explain

__all__ = ["DATA_OPTIONS", "RENDER_OPTIONS", "Sectioned", "data_options", "render_options", "template_args"]

DATA_OPTIONS = ("mapping", "on_bad_row", "skipped")
"""The parameters of `data_options`."""

RENDER_OPTIONS = ("template_pairs", "chat_template", "plain", "stop", "train_added")
"""The parameters of `render_options`."""

_F = TypeVar("_F", bound=Callable[..., Any])


class Sectioned(click.Command):
    """A verb whose help lists its options by what they are for: `sections` has their names by heading."""

    def __init__(self, *args: Any, sections: Mapping[str, tuple[str, ...]], **extra: Any) -> None:
        super().__init__(*args, **extra)
        self.sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, and those of none last."""
        options = [one for one in self.get_params(ctx) if isinstance(one, click.Option)]
        left = {one.name: record for one in options if (record := one.get_help_record(ctx))}
        for heading, names in self.sections.items():
            with formatter.section(heading):
                formatter.write_dl([left.pop(name) for name in names])
        with formatter.section("Other"):
            formatter.write_dl(list(left.values()))


def data_options(verb: _F) -> _F:
    """--map, --on-bad-row, --skipped: how rows are read."""
    return _all(
        verb,
        click.option(
            "--map",
            "mapping",
            default="",
            metavar="LINE",
            help='Which column is what, where that is not detected: "prompt=question reply=answer".',
        ),
        click.option(
            "--on-bad-row",
            type=click.Choice(["stop", "skip"]),
            default="stop",
            show_default=True,
            help="What a row that cannot be read does: stop all, or be left out and written to a file.",
        ),
        click.option(
            "--skipped",
            type=click.Path(path_type=Path),
            default=None,
            metavar="FILE",
            help="Where rows that are left out are written.  [default: NAME.skipped.jsonl]",
        ),
    )


def render_options(verb: _F) -> _F:
    """--template-arg, --chat-template, --plain, --stop-token, --train-added: how items become tokens."""
    return _all(
        verb,
        click.option(
            "--template-arg",
            "template_pairs",
            multiple=True,
            metavar="NAME=VALUE",
            help="An argument of the chat template, for instance enable_thinking=false. May be repeated.",
        ),
        click.option(
            "--chat-template",
            type=click.Path(path_type=Path),
            default=None,
            metavar="FILE",
            help="A chat template (Jinja) to use in place of the tokenizer's own.",
        ),
        click.option(
            "--plain", is_flag=True, help="Continue prompts as they stand, without a chat template."
        ),
        click.option(
            "--stop-token",
            "stop",
            multiple=True,
            metavar="TOKEN",
            help="The token that ends a reply, where the detected one is not right. May be repeated.",
        ),
        click.option(
            "--train-added",
            is_flag=True,
            help="Learn also from text that the template itself adds to a reply.",
        ),
    )


def _all(verb: _F, *options: Callable[[_F], _F]) -> _F:
    for option in reversed(options):
        verb = option(verb)
    return verb


def template_args(pairs: tuple[str, ...]) -> Mapping[str, Any]:
    """Arguments of a template from NAME=VALUE: true, false, numbers, JSON as such, all else as text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (equals and name.isidentifier()):
            wrong, accepted = (
                "a template argument has no name",
                "NAME=VALUE, for instance enable_thinking=false",
            )
            raise InputError(explain(wrong, found=pair, accepted=accepted, do="write it so"))
        if name in found:
            wrong, accepted = f"the template argument {name} is given twice", "each name once"
            raise InputError(explain(wrong, found=pair, accepted=accepted, do="leave one out"))
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
