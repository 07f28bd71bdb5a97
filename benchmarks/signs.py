"""How far measured signs agree with the latent truth on development subjects.

    python benchmarks/signs.py [--first 200] [--last 280] [--out agreement.csv]
    python benchmarks/signs.py --radiographs FOLDER --labels Data_Entry_2017.csv [--most 200]

The first form prints R2, Spearman's rho, Bland and Altman's bias and 95 % limits, the share that
was measured and the seconds a picture; the signs' constants were chosen on rows 0 to 79. The least
detectable change is that of a change of something else. The second form has no latent truth: the
share measured, the quartiles, and the area under the curve against the report's label.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy import stats

from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.measures import signs
from prismlib.measures.agreement import least_detectable_change, r_squared

ELSE = {"device_area": {"Pleural Effusion": (1.0, 0.0)}}
OTHERWISE = {"Support Devices": (1.0, 0.0)}


def pairs(cohort: PhantomCohort, index: int) -> dict[str, tuple[float, float]]:
    """Truth and measurement of each sign in one subject."""
    image, latent = cohort.image(index), cohort.latents(index)
    mm = cohort.scene(index).anatomy.frame.mm_per_pixel
    devices = sum(value for name, value in latent.items() if name.endswith("area_mm2"))
    highest = max(latent[f"effusion_height_{name}_mm"] for name in ("right", "left"))
    found = {
        "cardiothoracic_ratio": (latent["ctr"], signs.cardiothoracic_ratio(image)),
        "lower_zone_opacity": (highest, signs.lower_zone_opacity(image)),
        "device_area": (devices / (512 * mm) ** 2, signs.device_area(image)),
    }
    if highest < 30:
        found["cardiothoracic_ratio, effusion < 30 mm"] = found["cardiothoracic_ratio"]
    for side, name in ((-1, "right"), (1, "left")):
        height, angle = latent[f"effusion_height_{name}_mm"], latent[f"costophrenic_angle_{name}"]
        found[f"fluid_height {name}"] = (height, signs.fluid_height(image, side, mm))
        found[f"costophrenic_angle {name}"] = (angle, signs.costophrenic_angle(image, side))
    return found


def unaffected(cohort: PhantomCohort, index: int, name: str) -> float:
    """How much a sign changes where something else is changed."""
    sign = getattr(signs, name)
    ((other, values),) = ELSE.get(name, OTHERWISE).items()
    first, second = (sign(cohort.truth(index, {other: value}).image) for value in values)
    return first - second


def agreement(truth: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """One row of the table."""
    known = np.isfinite(truth) & np.isfinite(measured)
    x, y = truth[known], measured[known]
    spread = 1.96 * float(np.std(y - x, ddof=1))
    bias = float(np.mean(y - x))
    return {
        "n": len(truth), "measured": known.mean(), "R2": r_squared(x, y),
        "rho": stats.spearmanr(x, y)[0], "bias": bias, "low": bias - spread, "high": bias + spread,
    }  # fmt: skip


def seconds(sign: Callable, image: np.ndarray) -> float:
    """Processor seconds for one picture."""
    start = time.process_time()
    sign(image)
    return time.process_time() - start


def simulated(first: int, last: int) -> pd.DataFrame:
    """The table of agreement over rows `first` to `last` of the development split."""
    cohort = PhantomCohort("development", last, seed=0)
    found = [pairs(cohort, index) for index in range(first, last)]
    names = dict.fromkeys(name for row in found for name in row)
    table = pd.DataFrame(
        {name: agreement(*np.array([row[name] for row in found if name in row]).T)
         for name in names}).T  # fmt: skip
    for name in ("cardiothoracic_ratio", "lower_zone_opacity", "device_area"):
        changes = [unaffected(cohort, index, name) for index in range(first, last, 3)]
        table.loc[name, "least change"] = least_detectable_change(changes)
        times = [seconds(getattr(signs, name), cohort.image(i)) for i in range(first, first + 5)]
        table.loc[name, "seconds"] = np.median(times)
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
    rows = []
    for path in paths:
        picture = Image.open(path).convert("L").resize((512, 512), Image.Resampling.BILINEAR)
        image = np.asarray(picture, np.float32) / 255
        fluid = [signs.fluid_height(image, side) for side in (-1, 1)]
        rows.append((signs.cardiothoracic_ratio(image), max(fluid),
                     signs.lower_zone_opacity(image), signs.device_area(image)))  # fmt: skip
    named = ("cardiothoracic_ratio", "fluid_height", "lower_zone_opacity", "device_area")
    values = pd.DataFrame(rows, columns=named)
    against = dict(zip(named, ("Cardiomegaly", "Effusion", "Effusion", None), strict=True))
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


def main() -> None:
    """Print one of the two tables, and write it if asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--first", type=int, default=200)
    parser.add_argument("--last", type=int, default=280)
    parser.add_argument("--radiographs", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--most", type=int, default=200)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.radiographs:
        table = real(given.radiographs, given.labels, given.most)
    else:
        table = simulated(given.first, given.last)
    print(table.to_string(float_format="{:.3f}".format))
    if given.out:
        table.to_csv(given.out)


if __name__ == "__main__":
    main()
