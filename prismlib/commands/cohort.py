"""`prism cohort make`: a simulated cohort as a CheXpert-shaped folder."""

import argparse
from pathlib import Path

from prismlib.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's one action, `make`, and its arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    make = actions.add_parser("make", help="write the folder; the same command resumes it")
    add = make.add_argument
    add("--n", type=int, required=True, metavar="N", help="how many subjects")
    add("--out", required=True, metavar="DIR", help="the folder: new, empty, or to be resumed")
    add("--seed", type=int, default=0, metavar="S", help="who is drawn (%(default)s)")
    add("--split", default="train", help="train, development, test or judges (%(default)s)")
    add(
        "--spurious",
        default="natural",
        metavar="V",
        help="how strongly devices go with disease: natural, or the probability that they agree",
    )
    add(
        "--do",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="also the true counterfactual under this intervention, as in 'Support Devices=0'; "
        "'A=0,B=1' sets both; may be repeated for several counterfactuals",
    )
    add(
        "--total",
        action="store_true",
        help="also the total counterfactuals, in which what the intervention causes follows",
    )
    add("--masks", action="store_true", help="also masks of organs, findings and devices")
    add("--clean", action="store_true", help="also every picture without noise")
    add("--latents", action="store_true", help="also measurements of every picture, in mm and mL")
    add("--workers", type=int, metavar="W", help="processes; the bytes are the same (all CPUs)")


def run(args: argparse.Namespace) -> int:
    """Check the request, then write or resume the folder."""
    interventions = tuple(parse_intervention(text) for text in args.do)
    from prismlib.commands.cohort_folder import make
    from prismlib.commands.cohort_pictures import Recipe

    recipe = Recipe(
        n=args.n,
        seed=args.seed,
        split=args.split,
        spurious=parse_spurious(args.spurious),
        interventions=interventions,
        masks=args.masks,
        total=args.total,
        clean=args.clean,
        latents=args.latents,
    )
    table = make(recipe, Path(args.out), args.workers)
    print(f"{args.n} SIMULATED subjects: {table}")
    return 0


def parse_intervention(text: str) -> dict[str, float]:
    """`Support Devices=0` or `A=0, B=1` as values by name."""
    values = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        try:
            values[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            raise UsageError(f"--do {text!r}: expected NAME=VALUE, as in 'Support Devices=0'")
    return values


def parse_spurious(text: str) -> str | float:
    """A number where it is one, else the word."""
    try:
        return float(text)
    except ValueError:
        return text
