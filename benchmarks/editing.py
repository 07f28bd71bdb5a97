"""How good and how fast are the editors, on the same subjects and weights, in one run?

    python benchmarks/editing.py --n 8 --out runs/editing
    python benchmarks/editing.py --recipes fast null-text-p2p --tasks effusion --n 4 --batch-size 1

Development subjects who show an attribute, to the judge too, are asked to lose it and nothing else
(`captions.ONE_THING`; by the paper's prompts with `--prompts paper`), by every recipe in turn; the
sealed test list stays closed. Writes editing.csv: task, method, U-Net evaluations and seconds per
image, the errors to the true counterfactual inside and outside its mask, the flip rate by the
independent judge, and how far the method's reconstruction lies from the autoencoder's own.
`speed_up` is the time of `--against` by a method's. Recipes whose mask is given get the true one,
which nobody has in earnest: they say so.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from prismlib.captions import EDIT_PROMPTS, ONE_THING
from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.editing.counterfactual import CONTROLS, OTHERS, RECIPES, Counterfactual, edit
from prismlib.editing.masks import Region
from prismlib.editing.reconstruction import autoencoded
from prismlib.measures.positives import positives
from prismlib.measures.preservation import psnr
from prismlib.measures.scorecard import Cost, Task, as_table, score
from prismlib.models.classifiers import Classifier
from prismlib.models.clip import ImageTextEncoder
from prismlib.models.pipeline import LatentDiffusion

TASKS = tuple(ONE_THING)
SHOWN = ["task", "method", "n", "nfe", "seconds_per_image", "speed_up", "error_inside",
         "error_outside", "flip_rate", "flip_low", "passed", "reconstruction_db"]  # fmt: skip


def main() -> None:
    """Edit, score, print and write the table."""
    args = _arguments()
    model, encoder = LatentDiffusion.load(args.model), ImageTextEncoder.load(args.model)
    judge = Classifier.load(args.judge)
    table = pd.concat([_task_rows(name, model, encoder, judge, args) for name in args.tasks])
    args.out.mkdir(parents=True, exist_ok=True)
    table.assign(domain="SIMULATED").to_csv(args.out / "editing.csv", index=False)
    print(table[SHOWN].round(3).to_string(index=False))


def _task_rows(
    name: str,
    model: LatentDiffusion,
    encoder: ImageTextEncoder,
    judge: Classifier,
    args: argparse.Namespace,
) -> pd.DataFrame:
    prompt = ONE_THING[name] if args.prompts == "one" else EDIT_PROMPTS[f"remove_{name}"]
    cohort = PhantomCohort("development", args.searched, seed=args.seed)
    rows = positives(cohort, judge, next(iter(prompt.intervention)), args.n)
    encode = partial(autoencoded, model, batch_size=args.batch_size)
    task = Task.of(name, cohort, rows, prompt.intervention, encode)
    images = task.factual

    def made(recipe_name: str) -> list[Counterfactual]:
        recipe = (RECIPES | OTHERS | CONTROLS)[recipe_name]
        known = [Region(truth.mask) for truth in task.truths if truth is not None]
        regions = known if recipe.mask == "given" else None
        texts = [prompt.source] * len(images), [prompt.target] * len(images)
        return edit(model, encoder, images, *texts, recipe, args.batch_size, regions=regions)

    scored, nearness = [score(task, "do nothing", images, judge, "independent")], [np.nan]
    for recipe_name in args.recipes:
        results = made(recipe_name)
        cost = Cost.of(results)
        pictures, passed = [one.image for one in results], [one.passed for one in results]
        scored.append(
            score(task, recipe_name, pictures, judge, "independent", cost=cost, passed=passed)
        )
        pairs = zip([one.reconstruction for one in results], task.autoencoded, strict=True)
        nearness.append(float(np.mean([min(psnr(*pair), 100.0) for pair in pairs])))
        print(f"{name}: {recipe_name} {cost.seconds_per_image:.1f} s an image", flush=True)
    table = as_table(scored).assign(reconstruction_db=nearness)
    seconds = table.set_index("method")["seconds_per_image"]
    against = seconds.get(args.against, np.nan)
    return table.assign(speed_up=against / table["seconds_per_image"].replace(0.0, np.nan))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    known = [*RECIPES, *OTHERS, *CONTROLS]
    parser.add_argument("--model", default="prism-mini")
    parser.add_argument("--judge", default="prism-mini")
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--prompts", default="one", choices=("one", "paper"))
    parser.add_argument(
        "--recipes", nargs="+", default=["autoencoder", *RECIPES, *OTHERS], choices=known
    )
    parser.add_argument("--against", default="null-text-p2p", choices=known)
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--searched", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/editing"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
