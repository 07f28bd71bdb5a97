"""Trachea, bronchi, hila and the vessels that branch and taper towards the pleura."""

import numpy as np

from prismlib.cohorts.phantom.anatomy import Anatomy
from prismlib.cohorts.phantom.canvas import Canvas, Map, enlarge, ribbon, smooth_curve
from prismlib.cohorts.phantom.subject import Subject


def airways(subject: Subject, a: Anatomy) -> Map:
    """Air in cm that the trachea and the main bronchi put in place of soft tissue, (512, 512)."""
    rng = subject.patient_stream("trachea")
    width = (18.5 if subject.male else 15.0) + 1.6 * rng.standard_normal()
    x, lean = trachea_x(a), 1.5 * rng.standard_normal()
    canvas = Canvas(a.frame)
    canvas.curve([(lean, -40), (0.5 * x + lean, 60), (x, a.carina_y)], width)
    left = smooth_curve(
        [(x + 2, a.carina_y - 6), (x + 22, a.carina_y + 13), (x + 46, a.carina_y + 27)]
    )
    right = smooth_curve(
        [(x - 2, a.carina_y - 6), (x - 15, a.carina_y + 14), (x - 29, a.carina_y + 38)]
    )
    canvas.curve(left, 10.5, 0.55).curve(right, 12.5, 0.6)
    return np.float32(1.15) * a.frame.soften(canvas.map(), 1.6)


def trachea_x(a: Anatomy) -> float:
    """Where the trachea runs; the aorta pushes it a little to the right."""
    return 0.7 * a.shift - 2.0


def vessels(subject: Subject, a: Anatomy) -> Map:
    """Blood in cm in the lungs' place, (512, 512)."""
    rng = subject.patient_stream("vessels")
    large, small = Canvas(a.frame), Canvas(a.frame)
    for side in (-1, 1):
        hilum = (side * (43 + 0.02 * a.half_thorax) + 0.5 * a.shift,
                 a.carina_y + (30 if side < 0 else 19))  # fmt: skip
        _hilum(large, rng, hilum, side)
        paths, widths = _tree(rng, hilum, side, a.half_thorax)
        values = np.minimum(0.12 * widths[:, 0] + 0.05, 1.0)
        for canvas, chosen in ((large, widths[:, 0] > 2.6), (small, widths[:, 0] <= 2.6)):
            canvas.strokes(paths[chosen], widths[chosen], values[chosen])
    return np.float32(1.45) * large.map() + np.float32(1.45) * small.map()


def _hilum(canvas: Canvas, rng, hilum, side: int) -> None:
    """The descending pulmonary artery, about 14 mm wide, and a few vessels seen end on."""
    x, y = hilum
    course = [
        (x - side * 6, y - 14),
        (x + side * 2, y + 4),
        (x + side * 7, y + 34),
        (x + side * 12, y + 62),
    ]
    widths = np.interp(np.arange(32), [0, 10, 31], [11, 14, 4.5]) + rng.normal(0, 0.7)
    canvas.polygon(ribbon(smooth_curve(course), widths), 0.78)
    canvas.polygon(ribbon(smooth_curve(course), 0.7 * widths), 1.0)
    for _ in range(6):
        canvas.disc(x + side * rng.normal(5, 7), y + rng.normal(0, 15), rng.uniform(5, 10), 0.9)


def _tree(rng, hilum, side: int, reach: float):
    """All vessels of a lung, root first: courses (n, 3, 2) and widths (n, 3), in mm.

    A vessel goes on with 0.86 of its width and gives off a side branch of 0.66 (their cubes add up
    to about the parent's, Murray's law); upper vessels are thinner in a standing
    chest.
    """
    angle = np.linspace(-1.38, 1.48, 12) + rng.normal(0, 0.10, 12)
    start = np.stack([hilum[0] + side * rng.uniform(-2, 6, 12), hilum[1] + 16 * np.sin(angle)], 1)
    width = rng.uniform(3.6, 6.4, 12) * np.where(angle < -0.2, 0.72, 1.0)
    paths, widths = [], []
    for generation in range(5, -1, -1):
        n = len(angle)
        half = 0.5 * rng.uniform(0.10, 0.19, n) * reach * (0.75 + 0.07 * generation)
        bend = angle + rng.normal(0, 0.14, n)
        middle = start + half[:, None] * np.stack([side * np.cos(angle), np.sin(angle)], 1)
        end = middle + half[:, None] * np.stack([side * np.cos(bend), np.sin(bend)], 1)
        paths.append(np.stack([start, middle, end], 1))
        widths.append(width[:, None] * (1.0, 0.92, 0.84))
        start, bend, width = (np.repeat(each, 2, axis=0) for each in (end, bend, width))
        turn = np.sign(rng.standard_normal(n))[:, None] * (-0.16, 0.52)
        angle = bend + turn.ravel() + rng.normal(0, 0.12, 2 * n)
        width = width * (np.tile([0.86, 0.66], n) + rng.uniform(-0.06, 0.06, 2 * n))
    return np.concatenate(paths), np.concatenate(widths)


def lung_texture(subject: Subject) -> Map:
    """What is too fine to draw: a relative variation of the lung's density, mean 0, (512, 512)."""
    rng = subject.patient_stream("parenchyma")
    fine = rng.standard_normal((256, 256), dtype=np.float32)
    middle = rng.standard_normal((70, 70), dtype=np.float32)
    return np.float32(0.9) * enlarge(fine) + np.float32(0.95) * enlarge(middle)
