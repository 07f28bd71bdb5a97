"""The `prism` command. Nothing heavy is imported before a command that needs it runs."""

import argparse
import importlib
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from prismlib import __version__
from prismlib.errors import PrismError, UsageError

COMMANDS = {
    "reproduce": "run the notebooks and write every table, figure and the report",
    "edit": "counterfactuals of your own radiographs",
    "train": "train or fine-tune one part",
    "cohort": "make a simulated cohort as a CheXpert-shaped folder",
    "audit": "split leakage, majority baselines and co-occurrence of a label table",
    "doctor": "what is installed, found and verified, and what each profile lacks",
}

INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are `UsageError`s of one line."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print over several lines."""
        raise UsageError(f"{' '.join(message.split())}; see `{self.prog} --help`")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; give its exit code: 0 done, 1 failed, 2 wrong use, 130 interrupted."""
    given = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in given
    try:
        return _run([word for word in given if word != "--debug"])
    except KeyboardInterrupt:
        return _end("interrupted", INTERRUPTED, debug)
    except PrismError as error:
        return _end(str(error), error.exit_code, debug)
    except BrokenPipeError:
        sys.stderr.close()  # nobody reads on, as in `prism audit ... | head`
        return 1
    except Exception as error:
        text = f"{type(error).__name__}: {error} (unforeseen; --debug shows where)"
        return _end(text, 1, debug)


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """The parser with every command's name, and with the arguments of `command` alone."""
    parser = Parser(prog="prism", description="The companion of PRISM (arXiv 2503.00196).")
    parser.add_argument("--version", action="version", version=f"prism {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, what in COMMANDS.items():
        own = commands.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".")
        if name == command:
            _module(name).add_arguments(own)
    return parser


def _run(argv: list[str]) -> int:
    command = next((word for word in argv if not word.startswith("-")), None)
    if command is not None and command not in COMMANDS:
        from prismlib.config import nearest

        raise UsageError(f"no command {command!r}: {nearest(command, COMMANDS)}")
    try:
        args = build_parser(command).parse_args(argv)
    except SystemExit as done:  # --help and --version have printed what was asked for
        return int(done.code or 0)
    return int(_module(args.command).run(args))


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"prismlib.commands.{command}")


def _end(text: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"prism: {' '.join(text.split())}", file=sys.stderr)
    return code
