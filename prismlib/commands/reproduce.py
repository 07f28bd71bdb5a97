"""`prism reproduce`: every table, figure and the report, from the notebooks."""

import argparse
from typing import Any

from prismlib.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("--profile", default="quick", metavar="P", help="quick, full or chexpert (%(default)s)")
    add(
        "--only",
        action="append",
        default=[],
        metavar="NOTEBOOK",
        help="run this notebook alone, by number or name (04); may be repeated",
    )
    add(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="KEY=VALUE",
        help="give the selected notebooks that have it another parameter; may be repeated",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--resume",
        dest="fresh",
        action="store_false",
        help="keep the notebooks that are finished and unchanged (the default)",
    )
    how.add_argument("--fresh", action="store_true", help="run everything again")


def run(args: argparse.Namespace) -> int:
    """Run the notebooks; say where the report lies."""
    settings = dict(parse_setting(text) for text in args.settings)
    from prismlib.runner.reproduction import Request, reproduce

    only = tuple(name for names in args.only for name in names.split(",") if name)
    page = reproduce(Request(args.profile, only, settings, fresh=args.fresh))
    print(f"The report: {page}")
    return 0


def parse_setting(text: str) -> tuple[str, Any]:
    """`key=value`, the value read as YAML: 3, 0.5, true and [a, b] are what they look like."""
    import yaml

    key, equals, value = text.partition("=")
    if not equals or not key.strip().isidentifier():
        raise UsageError(f"--set {text}: expected KEY=VALUE with the name of a parameter")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"--set {text}: the value is not valid YAML ({reason})") from error
