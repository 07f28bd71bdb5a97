"""Networks that read a radiograph: sex and age, whether two show one patient, and signs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from prismlib.models.classifiers import Network
from prismlib.models.roles import PIXELS

HEIGHTS = ("fluid_height_right", "fluid_height_left")


@dataclass(frozen=True)
class Demographics:
    """What was read of n radiographs: the probability of male sex, and age in years, (n,) each."""

    male: NDArray[np.float32]
    age: NDArray[np.float32]


class DemographicsReader(Network):
    """Reads sex and age, to see whether an edit moves them (the drift of Appendix H)."""

    role = "reader"

    def read(self, images: Tensor, batch_size: int = 32) -> Demographics:
        """Sex and age of images (n, 1, H, W) in [0, 1]."""
        answers = self.answers(images, batch_size)
        return Demographics(answers[:, 0].sigmoid().numpy(), answers[:, 1].numpy())


class PatientVerifier(Network):
    """Says whether two radiographs are of one patient, by the cosine of their embeddings."""

    role = "verifier"

    def embed(self, images: Tensor, batch_size: int = 32) -> Tensor:
        """Unit embeddings (n, k) of images (n, 1, H, W) in [0, 1]."""
        return normalize(self.answers(images, batch_size), dim=-1)

    def similarity(self, first: Tensor, second: Tensor) -> Tensor:
        """The cosine (n,) between the images of each pair, both (n, 1, H, W) in [0, 1]."""
        return cosine_similarity(self.embed(first), self.embed(second), dim=-1)

    @property
    def threshold(self) -> float:
        """The cosine above which a pair counts as one patient: where both errors were equal on
        pairs of studies of patients that were not trained on."""
        return float(self.settings["threshold"])


class SignsReader(Network):
    """Measures a chest: the signs of `roles.SIGNS`, learnt from simulated radiographs."""

    role = "signs"

    def read(
        self, images: Tensor, mm_per_pixel: NDArray[np.floating] | None = None, batch_size: int = 32
    ) -> dict[str, NDArray[np.float64]]:
        """Each sign (n,) of images (n, 1, H, W) in [0, 1], by name.

        The ratio, fluid heights in widths of the inner thorax, or in mm given the size (n,) of a
        pixel of a picture of 512, and costophrenic angles in degrees.
        """
        answers = self.answers(images, batch_size).double().numpy()
        found = dict(zip(self.outputs, answers.T, strict=True))
        width = found.pop("thorax_width")
        for name in HEIGHTS:
            found[name] = found[name].clip(0)
        if mm_per_pixel is not None:
            for name in HEIGHTS:
                found[name] = found[name] * width * PIXELS * np.asarray(mm_per_pixel)
        return found
