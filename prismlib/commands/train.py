"""`prism train PART`: trains one part of a model, under `accelerate`.

On several GPUs or machines: `accelerate launch --multi_gpu -m prismlib train PART ...`. What is not
said on the command line is as `data_manifests/training.yaml` has it for the profile and the part.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from prismlib import config, paths
from prismlib.errors import UsageError
from prismlib.models.presets import count, load_preset

PARTS = ("vae", "text", "clip", "unet", "classifier", "ganterfactual", "grounding")
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
    add("--cohort-size", metavar="N", help="subjects to train on, or `all` (default 3000)")
    add("--held-out", metavar="N", help="development subjects to measure it on (default 64)")
    add("--seed", type=int, help="of the weights and the order of the data (default 0)")
    add("--model", help="where frozen parts come from (default: the profile's model)")
    add("--start", metavar="MODEL", help="train this model's part further; `nothing`: begin anew")
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
    profile = config.load_profile(args.profile)
    preset = load_preset(profile.name, args.part)
    values = {**preset.settings, **_settings(args)}

    from prismlib.models.parts import train
    from prismlib.models.request import Request, part_name

    name = part_name(args.part, values)
    out = Path(args.out) if args.out else paths.output_root() / "runs" / "training" / name
    needed = {"clip": profile.clip, "ganterfactual": profile.judge}  # else the pipeline's parts
    model = args.model or needed.get(args.part, profile.model)
    record = train(
        Request(
            part=args.part,
            profile=profile,
            out=out,
            values=values,
            resume=args.resume,
            max_seconds=args.max_seconds,
            cohort_size=_size(args.cohort_size, "--cohort-size", preset.cohort_size),
            held_out=_size(args.held_out, "--held-out", preset.held_out),
            model=model,
            export=args.export,
            start=_start(args.start, model if preset.from_model else None),
            bar=sys.stderr.isatty(),
            report=lambda line: print(line, flush=True),
        )
    )
    if record is not None:
        print(f"{name} is in {out / 'model'}; {_summary(record)}")
    return 0


def _size(given: str | None, option: str, preset: int | None) -> int | None:
    return preset if given is None else count(given, option)


def _start(given: str | None, preset: str | None) -> str | None:
    return preset if given is None else None if given == "nothing" else given


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
