"""`prism edit`: counterfactuals of a user's own radiographs."""

import argparse
import contextlib
from pathlib import Path

from prismlib.commands.edit_requests import DEFAULT_RECIPE, gather
from prismlib.errors import UsageError

BUNDLED = "prism-mini"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments; values are judged in `run`, in one line each."""
    add = parser.add_argument
    add("images", nargs="*", metavar="IMAGE", help="radiographs: PNG (8 or 16 bit), JPEG or DICOM")
    add("--source", metavar="TEXT", help="what the images show, as in 'chest x-ray with devices'")
    add("--target", metavar="TEXT", help="what the counterfactuals shall show instead")
    add("--out", metavar="DIR", default="counterfactuals", help="folder of results (%(default)s)")
    add(
        "--recipe",
        metavar="NAME",
        help=f"fast, paper, authors or one of the other editors (default {DEFAULT_RECIPE})",
    )
    add(
        "--model",
        metavar="DIR_OR_HUB_ID",
        default=BUNDLED,
        help="a Stable Diffusion: local diffusers folder, or org/name on the hub (%(default)s)",
    )
    add(
        "--table",
        metavar="CSV",
        help="requests, one per row: columns image, source, target and if wanted recipe and mask; "
        "paths are relative to the table",
    )
    add(
        "--mask",
        metavar="FILE",
        help="where the change may lie (white; it fades out at the border), for recipes such as "
        "radedit and inpainting",
    )
    add("--batch-size", type=int, default=8, metavar="N", help="images in one pass (%(default)s)")
    add(
        "--keep-going",
        action="store_true",
        help="record requests that cannot be done in failures.csv and go on with the rest",
    )
    add("--resume", action="store_true", help="go on with an earlier run in the same folder")
    add("--inversions", metavar="DIR", help="keep inversions here, which serve every target")
    add("--truncate", action="store_true", help="cut prompts that are too long for the tokenizer")
    add(
        "--dicom",
        action="store_true",
        help="also write each counterfactual as DICOM, a derived image of a DICOM input's study "
        "that names its patient",
    )
    add("--overwrite", action="store_true", help="replace results of an earlier run")
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of the noise, for recipes that draw any (%(default)s)",
    )
    add("--device", metavar="NAME", help="cpu, cuda or cuda:N (default: a GPU if there is one)")


def run(args: argparse.Namespace) -> int:
    """Check every request, then carry them out in batches; 0 when all are written.

    Raises `UsageError` before anything is written if any image, prompt, recipe, model or output
    is not as it should be; with `--keep-going` requests whose image, recipe or long prompt cannot
    be used are recorded instead, and 1 is given.
    An edit whose S_CLIP misses the threshold is written, marked, and no failure of the command.
    Under `accelerate launch` the processes share the requests between them.
    """
    requests = gather(args.images, args.source, args.target, args.recipe, args.table, args.mask)
    if args.resume and args.overwrite:
        raise UsageError("got --resume and --overwrite, expected one: go on, or replace all")
    if not 0 <= args.seed < 2**63:
        raise UsageError(f"got --seed {args.seed}, expected 0 to 2^63 - 1; change it")
    if args.batch_size < 1:
        raise UsageError(f"got --batch-size {args.batch_size}, expected 1 or more; change it")
    # What follows imports numpy, pydicom and torch, which `prism --help` shall not wait for.
    from prismlib.commands import edit_bulk, edit_engine, edit_results
    from prismlib.models import ranks

    folder, replaced = Path(args.out), args.overwrite or args.resume
    outputs = edit_results.plan(requests, folder, replaced, args.dicom)
    edit_bulk.check_table(args.table, folder)
    edit_engine.check_model(args.model)
    if not args.keep_going:
        edit_engine.check_images(requests)
    state = ranks.joined()
    own = str(ranks.device()) if state.num_processes > 1 else None
    engine = edit_engine.load_engine(args.model, args.device or own)
    if args.inversions:
        engine = engine.keeping(Path(args.inversions))
    engine = engine.seeded(args.seed)
    manner = edit_bulk.Manner(
        args.batch_size,
        args.keep_going,
        args.resume,
        args.truncate,
        state.process_index,
        state.num_processes,
    )
    if not args.keep_going:
        for request in requests:
            edit_engine.prepare(request, engine, args.truncate)
    provenance = {**engine.provenance(), "seed": args.seed, "versions": edit_results.versions()}
    if ranks.leads():
        print(f"{edit_results.DISCLAIMER}: {'; '.join(engine.notes)}", flush=True)
    with edit_bulk.only_run_in(folder) if ranks.leads() else contextlib.nullcontext():
        if ranks.leads():
            edit_results.plan(requests, folder, replaced, args.dicom)  # again, now that it is alone
            edit_bulk.clear(outputs)
        state.wait_for_everyone()
        edit_bulk.carry_out_all(requests, outputs, engine, provenance, manner)
        state.wait_for_everyone()
        failed = edit_bulk.gather_failures(outputs, folder) if ranks.leads() else 0
    if state.num_processes > 1:
        ranks.leave()
    return 1 if failed else 0
