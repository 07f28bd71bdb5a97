"""How far measured signs agree with the latent truth on development subjects.

    python benchmarks/signs.py [--first 200] [--last 321] [--otherwise] [--out FILE.csv]
    python benchmarks/signs.py --radiographs FOLDER --labels Data_Entry_2017.csv [--most 200]

The first form prints R2, Spearman's rho, Bland and Altman's bias, 95 % limits and least detectable
change, and the share that was measured; heights in mm, areas as shares of the picture. The signs'
constants were chosen on rows 0 to 119, the finder of devices was fitted to other subjects. `other
change` is the least change of a sign that a change of something else does not bring about. The
second form has no latent truth: the share measured, quantiles, and the area under the curve
against the label of the report.
"""

import argparse
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy import stats

from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.measures import signs
from prismlib.measures.agreement import bland_altman, least_detectable_change, r_squared

LITTLE = 30  # mm of fluid
ELSE = {"device_area": {"Pleural Effusion": (1.0, 0.0)}}
OTHERWISE = {"Support Devices": (1.0, 0.0)}


def pairs(cohort: PhantomCohort, index: int) -> dict[str, tuple[float, float]]:
    """Truth and measurement of each sign in one subject, and of some in a group it belongs to."""
    mm = cohort.scene(index).anatomy.frame.mm_per_pixel
    truth = signs.latent_signs(cohort.latents(index), mm)
    read = signs.read_signs(cohort.image(index), mm)
    found = {name: (truth[name], read[name]) for name in signs.NAMES}
    fluid = np.array([found[f"fluid_height_{name}"] for name in ("right", "left")])
    found["fluid_height, the higher"] = (fluid[:, 0].max(), fluid[:, 1].max())
    if fluid[:, 0].max() < LITTLE:
        found["cardiothoracic_ratio, little fluid"] = found["cardiothoracic_ratio"]
    view = "supine" if cohort.subject(index).supine else "upright"
    found[f"fluid_height, the higher, {view}"] = found["fluid_height, the higher"]
    return found


def unaffected(cohort: PhantomCohort, index: int, name: str) -> float:
    """How much a sign changes where something else is changed."""
    sign = getattr(signs, name)
    ((other, values),) = ELSE.get(name, OTHERWISE).items()
    first, second = (sign(cohort.truth(index, {other: value}).image) for value in values)
    return first - second


def agreement(truth: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """One row of the table; of `n` subjects a share was `measured`."""
    known = np.isfinite(truth) & np.isfinite(measured)
    limits = asdict(bland_altman(truth, measured))
    limits["n"] = len(truth)
    rho = stats.spearmanr(truth[known], measured[known])[0]
    return {"measured": known.mean(), "R2": r_squared(truth, measured), "rho": rho} | limits


def simulated(first: int, last: int, otherwise: bool) -> pd.DataFrame:
    """The table of agreement over rows `first` to `last` of the development split."""
    cohort = PhantomCohort("development", last, seed=0)
    start = time.process_time()
    found = [pairs(cohort, index) for index in range(first, last)]
    print(f"{(time.process_time() - start) / (last - first):.2f} s a subject, drawing included")
    names = dict.fromkeys(name for row in found for name in row)
    table = pd.DataFrame(
        {name: agreement(*np.array([row[name] for row in found if name in row]).T)
         for name in names}).T  # fmt: skip
    for name in ("cardiothoracic_ratio", "lower_zone_opacity", "device_area") * otherwise:
        changes = [unaffected(cohort, index, name) for index in range(first, last, 3)]
        table.loc[name, "other change"] = least_detectable_change(changes)
    return table


def area_under_curve(truth: np.ndarray, score: np.ndarray) -> float:
    """The chance that a positive scores above a negative, ties counting half."""
    ranks, positive = stats.rankdata(score), int(truth.sum())
    above = ranks[truth].sum() - positive * (positive + 1) / 2
    return float(above / (positive * (len(truth) - positive)))


def real(folder: Path, labels: Path, most: int) -> pd.DataFrame:
    """Signs of real radiographs against the labels that their reports were given."""
    known = pd.read_csv(labels).set_index("Image Index")["Finding Labels"]
    paths = [path for path in sorted(folder.iterdir()) if path.name in known.index][:most]
    if not paths:
        raise SystemExit(f"no picture in {folder} is named in {labels}")
    values = pd.DataFrame([signs.read_signs(opened(path)) for path in paths])
    values["fluid_height"] = values[["fluid_height_right", "fluid_height_left"]].max(axis=1)
    against = {"cardiothoracic_ratio": "Cardiomegaly", "fluid_height": "Effusion",
               "lower_zone_opacity": "Effusion", "device_area": None}  # fmt: skip
    table = {}
    for name, label in against.items():
        measured = values[name].notna().to_numpy()
        q = values[name].quantile([0.05, 0.5, 0.95]).to_list()
        table[name] = {"measured": measured.mean(), "5%": q[0], "median": q[1], "95%": q[2]}
        if label:
            truth = np.array([label in known[path.name].split("|") for path in paths])[measured]
            score = values[name].to_numpy()[measured]
            table[name] |= {
                "label": label,
                "positive": truth.sum(),
                "AUC": area_under_curve(truth, score),
            }
    return pd.DataFrame(table).T


def opened(path: Path) -> np.ndarray:
    """A radiograph as float32 (512, 512) in [0, 1]."""
    picture = Image.open(path).convert("L").resize((512, 512), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.float32) / 255


def main() -> None:
    """Print one of the two tables, and write it if asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--first", type=int, default=200)
    parser.add_argument("--last", type=int, default=321)
    parser.add_argument("--otherwise", action="store_true", help="also change something else")
    parser.add_argument("--radiographs", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--most", type=int, default=200)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.radiographs:
        table = real(given.radiographs, given.labels, given.most)
    else:
        table = simulated(given.first, given.last, given.otherwise)
    print(table.to_string(float_format="{:.3f}".format))
    if given.out:
        table.to_csv(given.out)


if __name__ == "__main__":
    main()
