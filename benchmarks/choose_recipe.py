"""Which settings make the best default recipe, on development subjects alone?

    python benchmarks/choose_recipe.py --n 12 --out runs/choose --only 'v1?-s0.[57]-g?-source*'
    python benchmarks/choose_recipe.py --n 48 --out runs/choose-final --only v20-s0.7-g4-source

Every candidate edits the same development subjects (patients who show an attribute, to the judge
too) by the sentences of `captions.ONE_THING`. How they are composed can be changed without editing
again, so each is scored in several ways: at every floor below which a change is dropped, at the
floors that the image-text encoder chooses image by image (`target_margin`), with several limits to
what stays of what the autoencoder lost (`residual_limit`), and where it may become brighter or not
(`only_darker`); one that insists is scored as it composes itself. One setting has to serve all
tasks: a candidate counts by its worst one. Best is, among those whose error outside the true mask
is at most half of the autoencoder's and, if any, at most 0.6 of doing nothing's inside it, what
flips the judge most often: in its worst task, of equals on average over the tasks, of equals again
what is nearest to the true counterfactual inside.
Writes candidates.csv and ranking.csv; the sealed test list stays closed. The recipe `fast` is one
of the candidates that insist, and was chosen so but for the last time: then strengths alone were
tried, and for more flips of hearts 0.05 more was taken inside than the rule allows, on 48 of them
(docs/recipe_fast.md).
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatch
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from prismlib.captions import ONE_THING
from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.editing.composition import each_composed, manners
from prismlib.editing.counterfactual import Counterfactual, Recipe, edit
from prismlib.editing.reading import Reading, chosen_floors
from prismlib.editing.recipe import Insistence
from prismlib.editing.reconstruction import autoencoded
from prismlib.measures.positives import positives
from prismlib.measures.scorecard import Cost, Task, as_table, score
from prismlib.models.classifiers import Classifier
from prismlib.models.clip import ImageTextEncoder
from prismlib.models.pipeline import LatentDiffusion

FLOORS = (0.0, 0.03, 0.05, 0.08, 0.1, 0.12, 0.15, 0.2)
MARGINS = (0.1, 0.2, 0.22, 0.25, 0.3)
LIMITS = (0.01, 0.015)
COMPOSITIONS: tuple[dict[str, Any], ...] = (
    *({"residual_floor": floor} for floor in FLOORS),
    *({"residual_floor": 0.22, "target_margin": margin} for margin in MARGINS),
)
BOUNDED: tuple[dict[str, Any], ...] = (  # what a mask bounds already has little left to drop
    {},
    *({"residual_limit": li, "only_darker": dark} for li, dark in product(LIMITS, (False, True))),
)
OUTSIDE = 0.5  # the most that may be added outside the mask, of the autoencoder's error
INSIDE = 0.6  # the most that should be left inside it, of doing nothing's


AWAY_FROM: dict[str, dict[str, Any]] = {
    "empty": {"source_guidance_scale": 1.0},
    "source": {"negative": "source"},
}


def candidates() -> Iterator[Recipe]:
    """What is tried: how the image is inverted, how far up, in how many steps, how it is led."""
    levels = list(product((10, 12, 16, 20, 30), (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)))
    for (steps, strength), scale, away in product(
        levels, (2, 3, 4, 5, 6, 7, 8, 9, 10, 12), AWAY_FROM
    ):
        name, rest = f"v{steps}-s{strength:g}-g{scale}-{away}", AWAY_FROM[away]
        plain = Recipe(name, "virtual", steps, float(scale), strength=strength, **rest)
        yield plain
        yield replace(plain, name=f"{name}-context", context=True)
        for share in (0.3, 0.6):  # of the steps keep the source's self-attention
            kept = f"{name}-self{share:g}"
            yield replace(plain, name=kept, attention="prompt-to-prompt", self_replace=share)
    details = (0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.8, 0.9, 1.0)
    strengths = product((8, 10, 12), (4, 5, 6, 7, 7.5, 9), details)
    for (steps, guidance, detail), (own, scale) in product(
        strengths, product((0.5, 0.6, 0.7), (2, 3, 4, 6))
    ):
        name = f"m{steps}-g{guidance:g}-d{detail:g}-o{own:g}-g{scale:g}"
        bounded = {"mask": "grounded", "context": True, "detail": detail}
        objects = {"object_detail": own, "object_scale": float(scale)}
        plain = Recipe(
            name, "virtual", steps, float(guidance), negative="source", **bounded, **objects
        )
        yield plain
        for margin, firmly, less in product((0.3, 0.35, 0.4), (9, 12, 15), (0.3, 0.4, 0.5)):
            yield replace(
                plain,
                name=f"{name}-i{margin:g}-g{firmly:g}-d{less:g}",
                insist=Insistence(float(firmly), less, margin),
                residual=True,  # it is what is composed that is read
                residual_limit=LIMITS[0],
                only_darker=True,
                contour=1 / 64,
            )
    for (steps, strength), scale in product(levels, (2, 3, 4, 5, 6, 8)):
        name = f"d{steps}-s{strength:g}-g{scale}"
        plain = Recipe(name, "delta", steps, float(scale), strength=strength, negative="source")
        yield plain
        yield replace(plain, name=f"{name}-context", context=True)
    for kind, scale in product(("direct-shared", "edit-friendly"), (3.0, 6.0)):
        yield Recipe(f"{kind}-g{scale:g}", kind, 20, scale, strength=0.7, negative="source")


def main() -> None:
    """Edit with every candidate, score at every floor, rank."""
    args = _arguments()
    model, encoder = LatentDiffusion.load(args.model), ImageTextEncoder.load(args.model)
    judge = Classifier.load(args.judge)
    cohort = PhantomCohort("development", args.searched, seed=args.seed)
    chosen = [one for one in candidates() if any(fnmatch(one.name, seen) for seen in args.only)]
    if not chosen:
        raise SystemExit(f"no candidate is called {' or '.join(args.only)}; see candidates()")
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in ONE_THING:
        prompt = ONE_THING[name]
        subjects = positives(cohort, judge, next(iter(prompt.intervention)), args.n)
        encode = partial(autoencoded, model, batch_size=args.batch_size)
        task = Task.of(name, cohort, subjects, prompt.intervention, encode)
        texts = [prompt.source] * len(subjects), [prompt.target] * len(subjects)
        reading = Reading(encoder, *(encoder.embed_texts(text) for text in texts))
        for recipe in chosen:
            made = edit(model, encoder, task.factual, *texts, recipe, args.batch_size)
            ways = COMPOSITIONS if recipe.mask == "none" else BOUNDED
            ways = ({},) if recipe.residual else ways
            for how in ways:
                composed = replace(recipe, residual=True, **how)
                rows.append(_scored(task, composed, made, judge, reading))
            print(f"{name}: {recipe.name}", flush=True)
            table = pd.concat(rows, ignore_index=True).assign(domain="SIMULATED")
            table.to_csv(args.out / "candidates.csv", index=False)
    ranking = ranked(table)
    ranking.to_csv(args.out / "ranking.csv", index=False)
    print(ranking.head(12).round(3).to_string(index=False))


def ranked(table: pd.DataFrame) -> pd.DataFrame:
    """The candidates by their worst task, best first."""
    worst = {
        "flip_rate": "min",
        "error_inside": "max",
        "error_outside": "max",
        "nfe": "max",
        "seconds_per_image": "max",
    }
    groups = table.groupby(
        ["method", "floor", "target_margin", "residual_limit", "only_darker"],
        sort=False,
        dropna=False,
    )
    by = groups.agg(worst).reset_index()
    by["flip_rate_mean"] = groups["flip_rate"].mean().to_numpy()
    by["stays"] = by["error_outside"] <= OUTSIDE
    by["near"] = by["error_inside"] <= INSIDE
    order = ["stays", "near", "flip_rate", "flip_rate_mean", "error_inside"]
    return by.sort_values(order, ascending=[False, False, False, False, True])


def _scored(
    task: Task, recipe: Recipe, made: list[Counterfactual], judge: Classifier, reading: Reading
) -> pd.DataFrame:
    pictures = _pictures(made, recipe, reading)
    row = score(task, recipe.name, pictures, judge, "", cost=Cost.of(made))
    return as_table([row]).assign(
        floor=recipe.residual_floor,
        target_margin=recipe.target_margin,
        residual_limit=recipe.residual_limit,
        only_darker=recipe.only_darker,
    )


def _pictures(made: list[Counterfactual], recipe: Recipe, reading: Reading) -> list[np.ndarray]:
    """The edits as `recipe` composes them, or as they are where it did so already."""
    if made[0].recipe.residual:
        return [one.image for one in made]
    ends = _ends(made)
    sources, targets = ([getattr(m, f"{end}_prompt") for m in made] for end in ("source", "target"))
    ways = manners(recipe, sources, targets, None)
    chosen = chosen_floors(*ends, recipe, reading, ways)
    return list(each_composed(*ends, chosen, ways)[:, 0].numpy())


def _ends(made: list[Counterfactual]) -> list[Tensor]:
    """Factual, edited and reconstructed images, (n, 1, 512, 512) each."""
    images = zip(*((one.factual, one.image, one.reconstruction) for one in made), strict=True)
    return [torch.from_numpy(np.stack(each))[:, None] for each in images]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="prism-mini")
    parser.add_argument("--judge", default="prism-mini")
    parser.add_argument("--only", nargs="+", default=["v*-s0.[57]-g[26]-*"], metavar="PATTERN")
    parser.add_argument("--n", type=int, default=12)
    parser.add_argument("--searched", type=int, default=1200)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/choose"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
