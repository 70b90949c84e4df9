"""The command line: a face equal to the app, on the same engine calls.

Commands live in ftui/commands/, one file per group. Parameters of jobs come as flags
generated from the models in engines/config/. Exit codes: see engines/contract/errors.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter
from pydantic import ValidationError

from engines.config.job import explain
from engines.contract.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, UserError
from ftui.console import show_error
from ftui.help_text import HelpText

HELP = """Turn your own chats into a language-model adapter and recordings into a voice, on your own machine.

Without a command the app opens. Every command takes --home and --json, and `--help` shows examples.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 bad input, 4 not found, 5 not ready, 6 conflict, 7 stopped,
130 interrupted.
"""


def version() -> str:
    from importlib.metadata import version  # takes as long as a command

    return version("finetune-tui")


cli = App(
    name="ftui",
    help=HELP,
    version=version,
    help_format="plaintext",
    help_formatter=HelpText(),
    default_parameter=Parameter(negative_iterable=()),
)
cli.command("ftui.commands.voice_demo:tts", name="tts")
cli.command("ftui.commands.export:llm", name="llm")  # the last of its modules: each adds its commands
cli.command("ftui.commands.adapters:adapters", name="adapters")
cli.command("ftui.commands.serve_llm:serve_llm", name="serve-llm")
cli.command("ftui.commands.sweeps:sweeps", name="sweeps")
cli.command("ftui.commands.history:runs", name="runs")
cli.command("ftui.commands.data:data", name="data")
cli.command("ftui.commands.models:models", name="models")
cli.command("ftui.commands.machine:doctor", name="doctor")
cli.command("ftui.commands.machine:setup", name="setup")
cli.command("ftui.commands.demo:demo", name="demo")


@cli.default
def app(*, home: Annotated[Path | None, Parameter(help="The workspace folder")] = None) -> int:
    """Open the app."""
    from engines.workspace import Workspace
    from ftui.app import FtuiApp

    if not sys.stdout.isatty() or not sys.stdin.isatty():
        raise UserError("usage", "the app needs a terminal", "Use a command instead: ftui --help.")
    opened = FtuiApp(Workspace(home).home)
    opened.run()
    return opened.return_code or EXIT_OK


def options_last(arguments: list[str]) -> list[str]:
    """--home and --json are meant for any command, so they may stand before it."""
    first = 0
    while first < len(arguments) and arguments[first].partition("=")[0] in ("--home", "--json"):
        first += 2 if arguments[first] == "--home" else 1
    return arguments[first:] + arguments[:first]


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit code. Errors become one line and a next step."""
    as_json = "--json" in arguments
    try:
        code = cli(options_last(arguments), exit_on_error=False, print_error=False, result_action="return_value")
        return code if isinstance(code, int) else EXIT_OK
    except UserError as error:
        return show_error(error, as_json)
    except ValidationError as error:
        return show_error(UserError("usage", explain(error), "See --help for the bounds."), as_json)
    except CycloptsError as error:
        cause = error.__cause__
        text = explain(cause) if isinstance(cause, ValidationError) else " ".join(str(error).split())
        show_error(UserError("usage", text, "See `ftui --help` or the command's own --help."), as_json)
        return EXIT_USAGE
    except BrokenPipeError:
        return EXIT_OK
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
