"""A change that cells bound has a border without their steps, and is else what it was."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prismlib.captions import ONE_THING
from prismlib.editing.composition import Manner, composed, manners
from prismlib.editing.contours import rounded
from prismlib.editing.counterfactual import RECIPES, Recipe, edit
from prismlib.editing.masks import Region
from prismlib.errors import UsageError

torch.set_num_threads(1)

WIDTH, CELLS, PIXELS = 1 / 64, 32, 512
LUNG, DENSE = 0.3, 0.8


def heart_with_a_slanted_border(slope):
    """A heart right of a slanted line, the steps of cells along it, and where the line is, (H,)."""
    row, column = np.mgrid[:CELLS, :CELLS] + 0.5
    line = CELLS / 2 + slope * (row - CELLS / 2)
    cells = torch.from_numpy(column < line)[None, None]
    factual = torch.full((1, 1, PIXELS, PIXELS), DENSE)
    factual[..., : PIXELS // 8] = LUNG  # the lung that was there already
    rows = np.arange(PIXELS) + 0.5
    return factual, cells, PIXELS / 2 + slope * (rows - PIXELS / 2)


def border_of(image):
    """The column at which each row turns from lung to heart."""
    return (image[0, 0] < (LUNG + DENSE) / 2).sum(-1).numpy()


@pytest.mark.parametrize("slope", [0.25, 0.5, 0.75, -0.3])
def test_a_slanted_border_has_no_steps(slope):
    factual, cells, line = heart_with_a_slanted_border(slope)
    stepped = torch.where(cells.repeat_interleave(16, 2).repeat_interleave(16, 3), LUNG, factual)
    smooth = rounded(factual, stepped, cells, WIDTH)
    middle = slice(40, -40)  # at the picture's edge the contour meets it at a right angle
    off = [np.abs(border_of(image) - line)[middle] for image in (stepped, smooth)]
    assert off[1].max() < 0.75 * off[0].max() and off[1].mean() < 0.75 * off[0].mean()
    steps = [np.abs(np.diff(border_of(image)))[middle].max() for image in (stepped, smooth)]
    assert steps[0] >= 16 and steps[1] <= 3
    assert smooth.min() >= LUNG - 1e-5 and smooth.max() <= DENSE + 1e-5


def test_what_is_lung_already_stays_as_it_is():
    """A change is not continued into what looks like its result: no dark seam beside a lung."""
    factual, cells, _ = heart_with_a_slanted_border(0.0)
    cells[..., :5] = False  # the mask begins a cell right of where the lung ends
    factual[..., :80] = LUNG
    stepped = torch.where(cells.repeat_interleave(16, 2).repeat_interleave(16, 3), LUNG, factual)
    smooth = rounded(factual, stepped, cells, WIDTH)
    torch.testing.assert_close(smooth[..., :80], factual[..., :80], atol=1e-5, rtol=0)


@given(st.integers(0, 200))
def test_far_from_the_border_nothing_differs(seed):
    rng = np.random.default_rng(seed)
    factual, changed = torch.from_numpy(rng.uniform(size=(2, 1, 1, 128, 128)))
    cells = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    cells[..., 4:] = True
    smooth = rounded(factual, changed, cells, WIDTH)
    torch.testing.assert_close(smooth[..., 80:], changed[..., 80:])
    torch.testing.assert_close(smooth[..., :48], factual[..., :48])
    assert smooth.min() >= 0 and smooth.max() <= 1


@given(st.integers(0, 200), st.floats(0.005, 0.1))
def test_where_nothing_changes_or_all_may_nothing_is_done(seed, width):
    rng = np.random.default_rng(seed)
    factual, changed = torch.from_numpy(rng.uniform(size=(2, 1, 1, 64, 64)).astype(np.float32))
    some = torch.from_numpy(rng.uniform(size=(1, 1, 8, 8)) < 0.4)
    for cells in (some, ~some, torch.zeros_like(some), torch.ones_like(some)):
        torch.testing.assert_close(rounded(factual, factual, cells, width), factual)
    everywhere, nowhere = torch.ones_like(some), torch.zeros_like(some)
    torch.testing.assert_close(rounded(factual, changed, everywhere, width), changed)
    torch.testing.assert_close(rounded(factual, changed, nowhere, width), factual)


@given(st.integers(0, 200))
def test_what_may_only_become_darker_does(seed):
    rng = np.random.default_rng(seed)
    factual, edited, back = torch.from_numpy(rng.uniform(size=(3, 1, 1, 64, 64)))
    cells = torch.from_numpy(rng.uniform(size=(1, 1, 8, 8)) < 0.5)
    image = composed(factual, edited, back, 0.0, Manner(None, True, WIDTH, cells))
    assert (image <= factual + 1e-9).all() and image.min() >= 0


@pytest.mark.parametrize(("task", "has"), [("devices", False), ("effusion", True)])
def test_devices_keep_their_ends(task, has):
    cells = torch.rand(1, 1, 8, 8) < 0.5
    prompt = ONE_THING[task]
    (manner,) = manners(RECIPES["fast"], [prompt.source], [prompt.target], cells)
    assert bool(manner.contour) is has and torch.equal(manner.cells, cells)


@pytest.mark.parametrize(("contour", "mask"), [(-0.1, "given"), (0.2, "given"), (0.1, "none")])
def test_a_senseless_contour_is_refused(contour, mask):
    with pytest.raises(UsageError, match="contour"):
        replace(RECIPES["fast"], contour=contour, mask=mask)


HEART = ONE_THING["cardiomegaly"]
GIVEN = Recipe("given", "virtual", 4, 3.0, mask="given", residual=True, contour=1 / 16)


def test_an_edit_has_its_contour_whenever_and_beside_whomever_it_is_composed(model, encoder):
    rng = np.random.default_rng(3)
    images = list(rng.uniform(0.2, 0.8, (3, 64, 64)).astype(np.float32))
    regions = [Region(rng.uniform(size=(8, 8)).repeat(8, 0).repeat(8, 1) < 0.5) for _ in images]
    texts = [HEART.source] * 3, [HEART.target] * 3

    def made(recipe, rows=slice(None)):
        some = images[rows], *(text[rows] for text in texts), recipe
        return edit(model, encoder, *some, regions=regions[rows])

    now, later = made(GIVEN), made(replace(GIVEN, residual=False))
    stepped = made(replace(GIVEN, contour=0.0))
    for row, (one, other, steps) in enumerate(zip(now, later, stepped, strict=True)):
        assert np.abs(one.image - steps.image).max() > 1e-3
        np.testing.assert_allclose(other.composed(), one.image, atol=1e-6)
        np.testing.assert_array_equal(one.cells, regions[row].edit[::8, ::8])
        (alone,) = made(GIVEN, slice(row, row + 1))
        np.testing.assert_allclose(alone.image, one.image, rtol=1e-4, atol=1e-5)
