"""The `yuzu` command: the group, and the one place that turns errors into exit codes.

Commands live one to a file and are imported when asked for; none of them imports torch, h5py or
numpy before it runs, so that `--help` answers at once. Nothing here computes.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence

import click

import yuzu_cli
from yuzu_cli.cli import _console
from yuzu_cli.cli._signals import Interrupted, interruptible
from yuzu_cli.errors import YuzuError
from yuzu_cli.selection import near

#: Each is `command` in the module here of that name, in the order of `yuzu --help`.
COMMANDS = (
    *("run", "example", "bench", "precompute", "init-model", "explain", "merge", "info"),
    *("export", "plot", "report", "variants"),
)


class _Group(click.Group):
    """A group whose commands are imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"{__name__}.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and name not in COMMANDS:
            hint = near(name, COMMANDS) or "see yuzu --help"
            raise click.UsageError(f"{name}: no such command; {hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
)
@click.version_option(yuzu_cli.__version__, prog_name="yuzu", message="%(prog)s %(version)s")
def group() -> None:
    """Exact in-silico saturation mutagenesis of sequence models.

    \b
    Example:
      yuzu run -m model.pt -b peaks.bed -g genome.fa -l 500 -o scores.h5
      yuzu info scores.h5
    """


def _say(text: str) -> None:
    """One `error:` line per line of text."""
    for line in text.splitlines() or [""]:
        _console.tell(f"error: {line}")


def _usage(error: click.ClickException) -> str:
    """What click found wrong, in the form of every other error."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    see = f"see {context.command_path if context else 'yuzu'} --help"
    if isinstance(error, click.NoSuchOption):
        options = context.command.params if context else []
        known = [name for option in options for name in (*option.opts, *option.secondary_opts)]
        return f"{error.option_name}: no such option; {near(error.option_name, known) or see}"
    if isinstance(error, click.BadOptionUsage):
        what = error.message.rpartition("' ")[2].rstrip(".")
        return f"{error.option_name}: {what}; {see}"
    if isinstance(error, click.BadParameter) and error.param is not None:
        name = error.param.metavar or ""
        if isinstance(error.param, click.Option):
            name = "/".join(error.param.opts)
        what = "missing" if isinstance(error, click.MissingParameter) else error.message
        return f"{name}: {what.rstrip('.')}; {see}"
    message = error.format_message().rstrip(".")
    return message if "; " in message else f"{message}; {see}"


def _invoke(arguments: list[str]) -> int:
    """Parse and run; the exit code. Click's own `main` would swallow a broken pipe and Ctrl-C."""
    try:
        with group.make_context("yuzu", arguments) as context:
            code = group.invoke(context)
    except click.exceptions.Exit as error:  # --help and --version
        code = error.exit_code
    if sys.stdout is not None:
        sys.stdout.flush()
    return code if isinstance(code, int) else 0


def _stopped(error: BaseException) -> int:
    """Say that the process was asked to stop."""
    _console.tell(str(error) or "interrupted")
    return error.exit_code if isinstance(error, Interrupted) else 130


def _fault(error: BaseException) -> int:
    """Say what went wrong, as `error: where: what; hint`; the exit code."""
    if isinstance(error, YuzuError):
        _say(str(error))
        return error.exit_code
    if isinstance(error, MemoryError):
        _say("memory: there is not enough of it; give a smaller --batch-size")
    elif isinstance(error, OSError) and error.strerror:
        _say(f"{error.filename or 'system'}: {error.strerror}")
    else:
        text = " ".join(str(error).split()) or "no message"
        hint = "run again with --debug and report it"
        _say(f"internal: {type(error).__name__}: {text}; {hint}")
    return 1


def _run(arguments: list[str]) -> int:
    """Run one command line; every error becomes a line on stderr and an exit code."""
    _console.debug = "--debug" in arguments
    try:
        with interruptible():
            return _invoke(arguments)
    except click.exceptions.NoArgsIsHelpError as error:
        _console.tell(error.ctx.get_help() if error.ctx else "")
        return 2
    except click.ClickException as error:
        _say(_usage(error))
        return 2
    except (Interrupted, KeyboardInterrupt, click.Abort) as error:
        return _stopped(error)
    except BrokenPipeError:
        return 0  # The reader of stdout has gone, e.g. `yuzu info | head`.
    except Exception as error:
        if _console.debug:
            traceback.print_exc()
        return _fault(error)


def _drop_unwritten() -> None:
    """Let go of what stdout did not take: Python would try, and complain, once more at its end."""
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(args: Sequence[str] | None = None) -> None:
    """Entry point of the console script: run, then exit with 0, 1, 2, 130 or 143."""
    if "_YUZU_COMPLETE" in os.environ:
        group.main(prog_name="yuzu")
    code = _run(list(sys.argv[1:] if args is None else args))
    _drop_unwritten()
    sys.exit(code)
