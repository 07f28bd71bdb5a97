"""Write the seal of the simulated cohort's test split into its manifest.

    python benchmarks/seal.py

Only for a cohort that is not yet frozen, or for a new VERSION with a manifest of its own: the hash
of the test lists, and the block statistics of the first one's first pictures.
"""

import yaml

from prismlib import paths
from prismlib.cohorts import sealed

MARK = "# sealed by benchmarks/seal.py"


def main() -> None:
    """Replace what stands below the mark, and say what was sealed."""
    path = sealed.manifest()
    head = path.read_text(encoding="utf-8").split(MARK)[0].rstrip("\n")
    lists = {
        name: {"rows": sealed.SEALED_N, "seed": seed, "sha256": sealed.sealed_list_hash(seed)}
        for name, seed in sealed.SEALED_LISTS.items()
    }
    seal = lists | {
        "test_pixels": {"blocks": [sealed.packed(image) for image in sealed.sealed_images()]},
    }
    text = yaml.safe_dump(seal, sort_keys=False, width=1100)
    with paths.written_whole(path) as temporary:
        temporary.write_text(f"{head}\n\n{MARK}\n{text}", encoding="utf-8")
    for name, held in lists.items():
        print(f"{path.name}: {name} {held['sha256']}")


if __name__ == "__main__":
    main()
