"""`prism train PART`: trains one part of a model, under `accelerate`."""

import argparse
from pathlib import Path
from typing import Any

import yaml

from prismlib import config, paths
from prismlib.errors import UsageError

PARTS = ("vae", "text", "clip", "unet", "classifier")
HELP = "train one part of a model; resumable, bounded in time if asked"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `prism train`."""
    add = parser.add_argument
    add("part", metavar="PART", help=f"what to train: {', '.join(PARTS)}")
    add("--config", metavar="FILE", help="settings as YAML, such as 'batch_size: 16'")
    add("--set", metavar="KEY=VALUE", action="append", default=[], help="one setting; repeatable")
    add("--resume", action="store_true", help="go on from the checkpoint in the work folder")
    add("--max-seconds", metavar="S", type=float, help="stop cleanly after S seconds of training")
    add(
        "--out",
        metavar="DIR",
        help="work folder (default runs/training/PART or its role)",
    )
    add("--profile", default="full", help="whose cohort to train on (%(default)s)")
    add("--cohort-size", metavar="N", type=int, default=3000, help="subjects (%(default)s)")
    add("--held-out", metavar="N", type=int, default=64, help="subjects to measure it on")
    add("--seed", type=int, help="of the weights and the order of the data (default 0)")
    add("--model", default="prism-mini", help="where frozen parts come from (%(default)s)")
    add("--start", metavar="MODEL", help="train this model's part further, not random weights")
    add(
        "--export",
        metavar="MODEL",
        nargs="?",
        const="prism-mini",
        help="also put the trained part into this model folder; alone: into prism-mini itself",
    )


def run(args: argparse.Namespace) -> int:
    """Check what was asked, then train."""
    if args.part not in PARTS:
        raise UsageError(f"part {args.part!r}: {config.nearest(args.part, PARTS)}")
    if args.max_seconds is not None and args.max_seconds <= 0:
        raise UsageError(f"--max-seconds is {args.max_seconds:g}; expected more than 0")
    if min(args.cohort_size, args.held_out) < 1:
        raise UsageError("--cohort-size and --held-out: expected at least 1")
    values = _settings(args)
    profile = config.load_profile(args.profile)

    from prismlib.models.parts import Request, part_name, train

    name = part_name(args.part, values)
    out = Path(args.out) if args.out else paths.output_root() / "runs" / "training" / name
    record = train(
        Request(
            part=args.part,
            profile=profile,
            out=out,
            values=values,
            resume=args.resume,
            max_seconds=args.max_seconds,
            cohort_size=args.cohort_size,
            held_out=args.held_out,
            model=args.model,
            export=args.export,
            start=args.start,
            report=lambda line: print(line, flush=True),
        )
    )
    print(f"{name} is in {out / 'model'}; {_summary(record)}")
    return 0


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """Settings from the file, then from --set, then --seed."""
    values: dict[str, Any] = {}
    if args.config:
        values |= _read(Path(args.config))
    for item in args.set:
        key, equals, text = item.partition("=")
        if not equals:
            raise UsageError(f"--set {item!r}; expected KEY=VALUE")
        values[key.strip()] = yaml.safe_load(text)
    if args.seed is not None:
        values["seed"] = args.seed
    return values


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UsageError(f"--config {path}: no such file; expected settings as YAML")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"--config {path} is not YAML: {reason}") from error
    if not isinstance(values, dict):
        raise UsageError(f"--config {path}: expected settings by name, such as 'batch_size: 16'")
    return values


def _summary(record: dict[str, Any]) -> str:
    steps, minutes = record.get("steps"), record.get("minutes")
    done = f"{steps} steps in {minutes} min; " if steps is not None else ""
    return done + "; ".join(f"{key} {value}" for key, value in record.get("measured", {}).items())
