"""How often does an image-text encoder pick, of a sentence and its negation, the one that fits?

    prism train clip --out runs/clip
    python benchmarks/clip.py --model runs/clip/model/clip --n 1200 --out runs/clip

MODEL is a model's folder, its `clip` or its `second_clip` (`--part`). Development subjects are
scored against what is in the picture, in wordings that were trained on and in wordings that were
not; the sealed test list stays closed. Writes clip.csv. The bars, for subjects above visible
severity: balanced accuracy of at least 0.90 for effusion and devices, 0.85 for cardiomegaly, 0.80
for no finding, and at most 0.05 less in held-out wordings.
"""

import argparse
from pathlib import Path

import pandas as pd

from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.models.clip import ImageTextEncoder
from prismlib.models.data import prepare_images
from prismlib.models.zero_shot import pictures_of, worst_drop, zero_shot_table

BARS = {"Pleural Effusion": 0.90, "Cardiomegaly": 0.85, "No Finding": 0.80, "Support Devices": 0.90}
DROP = 0.05


def main() -> None:
    """Score, print and write the table."""
    args = _arguments()
    encoder = ImageTextEncoder.load(args.model, part=args.part)
    data = prepare_images(PhantomCohort("development", args.n, seed=args.seed))
    table = zero_shot_table(encoder, pictures_of(encoder, data.images), data.table)
    args.out.mkdir(parents=True, exist_ok=True)
    table.assign(domain="SIMULATED").to_csv(args.out / "clip.csv", index=False)
    print(table.round(3).to_string(index=False))
    print(*_verdicts(table), sep="\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="prism-mini")
    parser.add_argument("--part", default="clip", choices=["clip", "second_clip"])
    parser.add_argument("--n", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/clip"))
    return parser.parse_args()


def _verdicts(table: pd.DataFrame) -> list[str]:
    """One line for each bar."""
    chosen = table[(table["subjects"] == "visible") & (table["wording"] == "trained")]
    found = chosen.set_index("attribute")["balanced_accuracy"]
    lines = [
        f"{name}: {found[name]:.3f}, bar {bar:.2f}: {'met' if found[name] >= bar else 'missed'}"
        for name, bar in BARS.items()
    ]
    drop = worst_drop(table)
    return [*lines, f"held-out wordings: {drop:.3f} less at most, bar {DROP:.2f}"]


if __name__ == "__main__":
    main()
