"""How real do the simulated radiographs look, and what gives them away?

    python benchmarks/realism.py REAL_DIR --out DIR [--n 300] [--sizes 64 128 256]

REAL_DIR holds frontal radiographs (PNG, JPEG or DICOM); the part of a file's name before the first
"_" names its patient. Simulated subjects are of the development split and pass through the same
JPEG compression as the real files. Written to DIR: `curves.png` (grey levels and power),
`traits.csv` (AUC of single numbers), `classifier.csv` (AUC of a small network on patients that it
was not trained on, as drawn and with equalised grey levels) and `contact_sheet.png`. The contact
sheet shows real patients: keep it on your machine, never commit it.
"""

import argparse
import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupShuffleSplit
from torch import Tensor, nn

from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.cohorts.radiographs import read_radiograph
from prismlib.measures import realism
from prismlib.models.devices import keep_freed_memory
from prismlib.report import cohort_figures, figures

SUFFIXES = {".png", ".jpg", ".jpeg", ".dcm"}
SHEET, TILE = 64, 128
EPOCHS, BATCH, RATE = 12, 16, 2e-3
NAMES = ("SIMULATED", "real")

Images = NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("real_dir", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=300, help="images a side")
    parser.add_argument("--sizes", type=int, nargs="*", default=[64, 128, 256])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    keep_freed_memory()
    options.out.mkdir(parents=True, exist_ok=True)
    files = chosen(options.real_dir, options.n, options.seed)
    real = np.stack([read_radiograph(file).image for file in files])
    cohort = PhantomCohort("development", len(files), seed=options.seed)
    simulated = np.stack([compressed(cohort.image(row), file) for row, file in enumerate(files)])
    patients = [*cohort.table["Patient"], *(file.stem.split("_")[0] for file in files)]
    draw(simulated, real, options.out)
    told = np.repeat([1, 0], len(files))
    print(trait_table(simulated, real, told, options.out))
    print(classifier_table(np.concatenate([simulated, real]), told, patients, options))


def chosen(folder: Path, n: int, seed: int) -> list[Path]:
    """At most `n` radiographs of a folder, drawn with a seed, in the order of their names."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    if len(files) < SHEET:
        raise SystemExit(f"{folder} holds {len(files)} radiographs; expected at least {SHEET}")
    keep = np.random.default_rng(seed).permutation(len(files))[:n]
    return [files[place] for place in sorted(keep)]


def compressed(image: Images, like: Path) -> Images:
    """The image at 8 bits, through JPEG with the tables of the file `like` if that is a JPEG."""
    greys = Image.fromarray(np.rint(image * 255).astype(np.uint8))
    if like.suffix.lower() in (".jpg", ".jpeg"):
        stored = io.BytesIO()
        with Image.open(like) as file:
            greys.save(stored, "JPEG", qtables=[list(vars(file)["quantization"][0])])
        greys = Image.open(stored)
    return np.asarray(greys, np.float32) / np.float32(255)


def draw(simulated: Images, real: Images, out: Path) -> None:
    """Both curves with their spread and distance, and the contact sheet."""
    figures.use_style()
    sets = dict(zip(NAMES, (simulated, real), strict=True))
    figure = plt.figure(figsize=(9.5, 3.2))
    left, right = figure.subplots(1, 2)
    cohort_figures.plot_spread(
        np.arange(8, 256, 8) / 255,
        {name: 100 * smoothed(realism.grey_histogram(images)) for name, images in sets.items()},
        xlabel="grey", ylabel="per cent of pixels", ax=left,
    )  # fmt: skip
    left.set_title(f"distance {realism.grey_distance(simulated, real):.3f}")
    power = {name: realism.power_spectrum(images) for name, images in sets.items()}
    cycles = np.arange(1, power["real"].shape[1] + 1)
    cohort_figures.plot_spread(
        cycles, power, xlabel="cycles a picture", ylabel="log10 power", ax=right
    )
    right.set_xscale("log")
    right.set_title(f"distance {realism.power_distance(simulated, real):.3f}")
    figure.savefig(out / "curves.png", bbox_inches="tight", dpi=120)
    small = {name: resized(images[:SHEET], TILE) for name, images in sets.items()}
    sheet = cohort_figures.plot_contact_sheet(small)[0].figure
    sheet.savefig(out / "contact_sheet.png", bbox_inches="tight", dpi=200)


def smoothed(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares of grey levels summed in steps of eight, the first (black borders) left out."""
    return shares.reshape(len(shares), -1, 8).sum(axis=2)[:, 1:]


def trait_table(simulated: Images, real: Images, told: NDArray, out: Path) -> pd.DataFrame:
    """How well each single number tells the sets apart; 0.5 means not at all."""
    both = pd.concat([realism.traits(simulated), realism.traits(real)], ignore_index=True)
    groups = both.groupby(told)
    table = pd.DataFrame(
        {
            "simulated": groups.mean().loc[1], "simulated_sd": groups.std().loc[1],
            "real": groups.mean().loc[0], "real_sd": groups.std().loc[0],
            "auc": [roc_auc_score(told, both[name].fillna(0)) for name in both],
        }
    )  # fmt: skip
    table["auc"] = table["auc"].where(table["auc"] > 0.5, 1 - table["auc"])
    table = table.sort_values("auc", ascending=False).rename_axis("trait").reset_index()
    table.to_csv(out / "traits.csv", index=False, float_format="%.4g")
    return table.round(3)


def classifier_table(
    images: Images, told: NDArray, patients: Sequence[str], options: argparse.Namespace
) -> pd.DataFrame:
    """AUC on patients that the network did not see, at each size, as drawn and equalised."""
    rows = []
    for size in options.sizes:
        small = resized(images, size)
        for treatment, shown in (("as drawn", small), ("equalised", realism.equalised(small))):
            auc, n = held_out_auc(shown, told, patients, options.seed)
            rows.append({"size": size, "grey_levels": treatment, "n_held_out": n, "auc": auc})
            print(rows[-1], flush=True)
            pd.DataFrame(rows).to_csv(options.out / "classifier.csv", index=False)
    return pd.DataFrame(rows)


def held_out_auc(
    images: Images, told: NDArray, patients: Sequence[str], seed: int
) -> tuple[float, int]:
    """Train on two thirds of the patients, score the rest."""
    split = GroupShuffleSplit(1, test_size=1 / 3, random_state=seed)
    train, test = next(split.split(images, told, patients))
    torch.manual_seed(seed)
    pictures = torch.from_numpy(images)[:, None]
    network = trained(pictures[train], torch.from_numpy(told[train]).float(), seed)
    with torch.inference_mode():
        scores = torch.cat([network(part)[:, 0] for part in pictures[test].split(BATCH)])
    return float(roc_auc_score(told[test], scores.numpy())), len(test)


def trained(pictures: Tensor, told: Tensor, seed: int) -> nn.Module:
    """A four-layer convolutional network, trained for a few passes."""
    widths = (1, 16, 24, 32, 48)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after)]
        layers += [nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, 1))
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE)
    order = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        for part in torch.randperm(len(pictures), generator=order).split(BATCH):
            loss = nn.functional.binary_cross_entropy_with_logits(
                network(pictures[part])[:, 0], told[part]
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network.eval()


def resized(images: Images, size: int) -> Images:
    """Area averages at `size` x `size`, which must divide the images' size."""
    step = images.shape[1] // size
    return images.reshape(len(images), size, step, size, step).mean(axis=(2, 4))


if __name__ == "__main__":
    main()
