"""Fit the two small networks that `signs.device_area` finds devices with.

    python benchmarks/fit_devices.py [--subjects 96]     # rewrites devices.npz, some minutes

Reads simulated subjects of the judges' split from row 150000 on, which no classifier is trained
on and nothing is reported on. The first network learns where devices are dense (optical depth),
the second what they cover, from the first one's answer and the same responses. Background is
sampled more thinly than devices and weighted accordingly.
"""

import argparse
from collections.abc import Iterator

import numpy as np
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from prismlib.cohorts.phantom.cohort import PhantomCohort
from prismlib.measures.signs import devices

FIRST, SUBJECTS = 150_000, 96
DENSE, COVERED = 0.06, 0.5  # optical depth; share of a pixel
PIXELS = 1500  # of devices, and of background, in each subject
HIDDEN, EPOCHS = 20, 14

Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]


def subjects(count: int) -> Iterator[Drawn]:
    """Radiographs (512, 512) with devices' optical depth and coverage, (256, 256) each."""
    cohort = PhantomCohort("judges", FIRST + count, seed=0)
    for index in range(FIRST, FIRST + count):
        subject, scene = cohort.subject(index), cohort.scene(index)
        depth, covered = np.zeros((2, 512, 512), np.float32)
        for kind in subject.devices:
            device = scene.device(subject, kind)
            depth, covered = depth + device.optical_depth, np.maximum(covered, device.footprint)
        halved = (m.reshape(256, 2, 256, 2).mean(axis=(1, 3)) for m in (depth, covered))
        yield cohort.image(index), *halved


def sampled(rng: np.random.Generator, features: np.ndarray, truth: np.ndarray):
    """Features, truth and weight of some pixels of one subject."""
    picked, weights = [], []
    for kind in (True, False):
        (there,) = np.nonzero(truth.ravel() == kind)
        some = rng.permutation(there)[:PIXELS]
        picked.append(some)
        weights.append(np.full(len(some), len(there) / max(len(some), 1)))
    places = np.concatenate(picked)
    return (features.reshape(-1, features.shape[-1])[places], truth.ravel()[places],
            np.concatenate(weights))  # fmt: skip


def fitted(samples: list, seed: int) -> tuple[np.ndarray, ...]:
    """Layers of a network on the features as they are; their scaling is folded in."""
    features, truth, weight = (np.concatenate(parts) for parts in zip(*samples, strict=True))
    scaler = StandardScaler().fit(features)
    network = MLPClassifier((HIDDEN,), alpha=1e-4, batch_size=1000, learning_rate_init=3e-3,
                            max_iter=EPOCHS, random_state=seed)  # fmt: skip
    network.fit(scaler.transform(features), truth, sample_weight=weight / weight.mean())
    (first, last), (bias, end) = network.coefs_, network.intercepts_
    first = first / scaler.scale_[:, None]
    layers = (first, bias - scaler.mean_ @ first, last, end)
    return tuple(layer.astype(np.float32) for layer in layers)


def fit(drawn: list[Drawn], seed: int = 0) -> dict[str, np.ndarray]:
    """Both networks' layers by name, as `devices.npz` holds them."""
    rng = np.random.default_rng(seed)
    seen = [devices.responses(image).astype(np.float16) for image, _, _ in drawn]
    dense = [sampled(rng, s.astype(np.float32), depth > DENSE)
             for s, (_, depth, _) in zip(seen, drawn, strict=True)]  # fmt: skip
    first = fitted(dense, seed)
    covered = []
    for responses, (_, _, cover) in zip(seen, drawn, strict=True):
        wide = responses.astype(np.float32)
        around = devices.surroundings(wide, devices.likelihood(wide, first))
        covered.append(sampled(rng, around, cover > COVERED))
    second = fitted(covered, seed)
    return {f"{k}{n}": layer for k, net in (("a", first), ("b", second))
            for n, layer in enumerate(net)}  # fmt: skip


def main() -> None:
    """Fit both networks and store them beside the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--subjects", type=int, default=SUBJECTS)
    np.savez(devices.WEIGHTS, **fit(list(subjects(parser.parse_args().subjects))))


if __name__ == "__main__":
    main()
