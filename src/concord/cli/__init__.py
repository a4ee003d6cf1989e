"""The command `concord`: one file a verb, each imported when it is called for.

What a user can mend is said in one sentence on stderr, with exit code 2; a traceback means a bug of ours.
"""

import contextlib
import importlib
import os
import sys
from difflib import get_close_matches
from typing import IO, Any

import click

from concord import __version__, errors

__all__ = ["VERBS", "main"]

VERBS = {
    "audit": "Say what is in your data, and what is wrong with it.",
    "cache": "Look after what was computed once and is kept.",
    "methods": "List the methods of alignment, or show one.",
    "score": "Say what a model gained by alignment, and what that cost.",
    "train": "Train a model by one method, on data.",
}
"""Every verb with its line of help, so that listing them imports none of them."""


class _Refused(click.ClickException):
    """A ConcordError on its way to the terminal."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"concord: {self.message}", file=file, err=file is None)


class _Verbs(click.Group):
    """Finds verbs by the name of their module."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"concord.cli.{cmd_name}").command
        assert isinstance(command, click.Command), f"cli/{cmd_name}.py has a verb called `command`"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(sorted(VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            close = get_close_matches(args[0], sorted(VERBS), n=1, cutoff=0.4)
            meant = f" Did you mean {close[0]!r}?" if close else ""
            listed = ", ".join(sorted(VERBS))
            raise click.UsageError(f"There is no verb {args[0]!r}.{meant} There are: {listed}.", ctx=ctx)
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **extra: Any) -> Any:
        if (reconfigure := getattr(sys.stdout, "reconfigure", None)) is not None:
            # An output that has few letters is given the others by number.
            reconfigure(errors="backslashreplace")
        try:
            return super().main(*args, **extra)
        except OSError as error:
            if error.filename is not None:
                raise
            with contextlib.suppress(OSError, ValueError, AttributeError):
                # What is left in the buffer must not fail once more when Python ends.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            click.echo(f"concord: the output could not be written: {error.strerror or error}.", err=True)
            raise SystemExit(2) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except errors.ConcordError as error:
            raise _Refused(str(error)) from error
        except KeyboardInterrupt:
            click.echo("concord: stopped.", err=True)
            # As shells say it of whatever an interrupt ended.
            raise SystemExit(130) from None


@click.group(
    cls=_Verbs,
    subcommand_metavar="VERB ...",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`concord VERB --help` says more about a verb.",
)
@click.version_option(__version__, prog_name="concord", message="%(prog)s %(version)s")
def main() -> None:
    """Find out which way of aligning a language model works on your data, and do it."""
