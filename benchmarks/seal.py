"""Write the seal of the simulated cohort's test split into its manifest.

    python benchmarks/seal.py

Only for a cohort that is not yet frozen, or for a new VERSION with a manifest of its own: the hash
of the test list, and the block statistics of its first pictures.
"""

import yaml

from prismlib import paths
from prismlib.cohorts import sealed

MARK = "# sealed by benchmarks/seal.py"


def main() -> None:
    """Replace what stands below the mark, and say what was sealed."""
    path = sealed.manifest()
    head = path.read_text(encoding="utf-8").split(MARK)[0].rstrip("\n")
    seal = {
        "test_list": {
            "rows": sealed.SEALED_N,
            "seed": sealed.SEALED_SEED,
            "sha256": sealed.sealed_list_hash(),
        },
        "test_pixels": {"blocks": [sealed.packed(image) for image in sealed.sealed_images()]},
    }
    text = yaml.safe_dump(seal, sort_keys=False, width=1100)
    with paths.written_whole(path) as temporary:
        temporary.write_text(f"{head}\n\n{MARK}\n{text}", encoding="utf-8")
    print(f"{path.name}: test list {seal['test_list']['sha256']}, {sealed.SEALED_IMAGES} pictures")


if __name__ == "__main__":
    main()
