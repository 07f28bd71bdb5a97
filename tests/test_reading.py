"""How little change will do, by what the image-text encoder reads."""

from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st

from prismlib.editing.composition import composed, each_composed, floors
from prismlib.editing.reading import Reading, chosen_floors
from prismlib.editing.recipe import Recipe


class Brightness:
    """An encoder to whom an image is an angle: its mean, as a point on the unit circle."""

    def embed_images(self, images):
        angle = images.mean(dim=(1, 2, 3))
        return torch.stack([angle.cos(), angle.sin()], dim=1)


TARGET, SOURCE = torch.tensor([[0.0, 2.0]]), torch.tensor([[3.0, 0.0]])  # lengths do not matter


def reading(n):
    return Reading(Brightness(), SOURCE.expand(n, -1), TARGET.expand(n, -1))


def test_a_margin_is_a_difference_of_cosines():
    angles = torch.tensor([0.0, torch.pi / 4, torch.pi / 2])
    found = reading(3).margins(angles[:, None, None, None].expand(-1, 1, 4, 4))
    torch.testing.assert_close(found, torch.tensor([-1.0, 0.0, 1.0]), atol=1e-6, rtol=0)


CHOOSY = Recipe("choosy", "virtual", 4, 3.0, residual=True, residual_floor=0.2, target_margin=0.0)


@given(st.lists(st.floats(-0.5, 0.5), min_size=3, max_size=3), st.floats(-1, 1))
def test_the_highest_floor_that_will_do_and_else_the_highest(strengths, target_margin):
    """Edits of several strengths: strong squares that floors keep, faint ones that they drop."""
    factual = torch.full((3, 1, 64, 64), 0.5)
    edited = factual.clone()
    edited[:, :, :16] += torch.tensor(strengths)[:, None, None, None]
    edited[:, :, 40:] += torch.tensor(strengths)[:, None, None, None] / 4
    ends, recipe = (factual, edited, factual), replace(CHOOSY, target_margin=target_margin)
    found = chosen_floors(*ends, recipe, reading(3))
    for row, floor in enumerate(found):
        margins = {f: float(reading(3).margins(composed(*ends, f))[row]) for f in floors(recipe)}
        will_do = [f for f, margin in margins.items() if margin >= torch.tensor(target_margin)]
        assert floor == (max(will_do) if will_do else recipe.residual_floor)
    together = each_composed(*ends, found)
    for row, floor in enumerate(found):
        assert torch.equal(together[row], composed(*ends, floor)[row])


def test_without_enough_the_floor_is_the_recipes():
    images = torch.rand(3, 1, 8, 8)
    plain = replace(CHOOSY, target_margin=None)
    assert chosen_floors(images, images, images, plain, reading(3)) == [0.2] * 3
