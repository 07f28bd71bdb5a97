"""A window on one edit, in a notebook: choose a radiograph, say what should change, compare."""

import io
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Protocol

import ipywidgets as widgets
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw

from prismlib.cohorts.radiographs import read_radiograph
from prismlib.errors import PrismError
from prismlib.report.difference_maps import DIFFERENCE_CMAP

Image = NDArray[np.float32]

FULL_SCALE = 0.3  # of a difference: what is drawn in the darkest red and blue
UPLOADED = "uploaded"


class Edited(Protocol):
    """What comes back from an edit."""

    image: Image
    s_clip: float
    passed: bool


@dataclass(frozen=True)
class Shown:
    """A radiograph to edit, float32 (H, W) in [0, 1], and its truth for two prompts, if known."""

    image: Image
    simulated: bool = False
    truth: Callable[[str, str], Image | None] = lambda _source, _target: None


class Explorer:
    """The widgets and what they hold; `view` is what a notebook cell ends in.

    `edit` makes the counterfactual of one radiograph from a source and a target prompt. A slider
    goes over from before to after, to their difference and, where it is known, to the truth.
    """

    def __init__(
        self,
        subjects: Mapping[str, Shown],
        edit: Callable[[Image, str, str], Edited],
        source: str,
        target: str,
    ) -> None:
        self.subjects, self.edit = dict(subjects), edit
        self.pictures: dict[str, NDArray[np.uint8]] = {}
        self.subject = widgets.Dropdown(options=list(self.subjects), description="radiograph")
        self.upload = widgets.FileUpload(accept=".png,.jpg,.jpeg,.dcm", description="upload")
        wide = widgets.Layout(width="44em")
        self.source = widgets.Text(source, description="it shows", layout=wide)
        self.target = widgets.Text(target, description="change to", layout=wide)
        self.button = widgets.Button(description="edit", button_style="primary")
        self.slider = widgets.FloatSlider(
            0.0, min=0.0, max=0.0, step=0.05, readout=False, description="before", layout=wide
        )
        self.status = widgets.HTML()
        self.screen = widgets.Image(format="png", width=512)
        self.subject.observe(lambda _: self.choose(), "value")
        self.upload.observe(lambda _: self.take(), "value")
        self.button.on_click(lambda _: self.run())
        self.slider.observe(lambda _: self.draw(), "value")
        row = widgets.HBox([self.subject, self.upload, self.button])
        self.view = widgets.VBox(
            [row, self.source, self.target, self.slider, self.status, self.screen]
        )
        self.choose()

    def choose(self) -> None:
        """Show the chosen radiograph as it is."""
        shown = self.subjects[self.subject.value]
        label = "SIMULATED" if shown.simulated else ""
        self._show({"before": _grey(shown.image, label)}, "")

    def take(self) -> None:
        """Add an uploaded radiograph to the choice; a line says why if it cannot be read."""
        if not self.upload.value:
            return
        uploaded = self.upload.value[0]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(uploaded["name"]).name
            path.write_bytes(bytes(uploaded["content"]))
            try:
                image = read_radiograph(path).image
            except PrismError as error:
                self.status.value = escape(str(error))
                return
        self.subjects[UPLOADED] = Shown(image)
        self.subject.options = list(self.subjects)
        self.subject.value = UPLOADED
        self.choose()

    def run(self) -> None:
        """Edit the chosen radiograph by the two prompts; a line says why if that cannot be done."""
        shown, texts = self.subjects[self.subject.value], (self.source.value, self.target.value)
        self.status.value = "editing ..."
        try:
            edited = self.edit(shown.image, *texts)
        except PrismError as error:
            self.status.value = escape(str(error))
            return
        label = "SIMULATED" if shown.simulated else ""
        pictures = {
            "before": _grey(shown.image, label),
            "after": _grey(edited.image, f"SYNTHETIC {label}".strip()),
            "difference": _coloured(edited.image - shown.image, f"SYNTHETIC {label}".strip()),
        }
        truth = shown.truth(*texts)
        if truth is not None:
            pictures["truth"] = _grey(truth, label)
        verdict = "passed" if edited.passed else "NOT passed"
        told = f"S_CLIP {edited.s_clip:.3f}, {verdict}; difference from -{FULL_SCALE} (blue) to "
        self._show(pictures, f"{told}{FULL_SCALE} (red). SYNTHETIC, not for clinical use.")

    def draw(self) -> None:
        """Draw what the slider stands at, between two pictures a mixture of both."""
        names = list(self.pictures)
        first = min(int(self.slider.value), len(names) - 1)
        second, share = min(first + 1, len(names) - 1), self.slider.value - first
        mixed = (1 - share) * self.pictures[names[first]] + share * self.pictures[names[second]]
        ends = (names[first],) if share == 0 else (names[first], names[second])
        self.slider.description = " / ".join(ends)
        held = io.BytesIO()
        Picture.fromarray(np.rint(mixed).astype(np.uint8)).save(held, format="PNG")
        self.screen.value = held.getvalue()

    def _show(self, pictures: dict[str, NDArray[np.uint8]], told: str) -> None:
        self.pictures, self.status.value = pictures, told
        self.slider.max = float(len(pictures) - 1)
        self.slider.value = min(1.0, self.slider.max)
        self.draw()


def _grey(image: Image, label: str) -> NDArray[np.uint8]:
    levels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return _labelled(np.repeat(levels[..., None], 3, axis=-1), label, "white")


def _coloured(difference: Image, label: str) -> NDArray[np.uint8]:
    shares = np.clip(difference / (2 * FULL_SCALE) + 0.5, 0, 1)
    colours = matplotlib.colormaps[DIFFERENCE_CMAP](shares)[..., :3]
    return _labelled(np.rint(colours * 255).astype(np.uint8), label, "black")


def _labelled(pixels: NDArray[np.uint8], label: str, colour: str) -> NDArray[np.uint8]:
    picture = Picture.fromarray(pixels)
    ImageDraw.Draw(picture).text((6, pixels.shape[0] - 16), label, fill=colour)
    return np.asarray(picture)
