"""Of several edits the least that reads as was asked."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from prismlib.editing.reading import Reading, least


class Brightness:
    """An encoder to whom an image is an angle: its mean, as a point on the unit circle."""

    def embed_images(self, images):
        angle = images.mean(dim=(1, 2, 3))
        return torch.stack([angle.cos(), angle.sin()], dim=1)


TARGET, SOURCE = torch.tensor([[0.0, 2.0]]), torch.tensor([[3.0, 0.0]])  # lengths do not matter


def candidates(angles):
    """One image a column, one candidate a row."""
    return [torch.tensor(row)[:, None, None, None].expand(-1, 1, 4, 4) for row in angles]


def reading(n):
    return Reading(Brightness(), SOURCE.expand(n, -1), TARGET.expand(n, -1))


def test_a_margin_is_a_difference_of_cosines():
    found = reading(3).margins(candidates([[0.0, torch.pi / 4, torch.pi / 2]])[0])
    torch.testing.assert_close(found, torch.tensor([-1.0, 0.0, 1.0]), atol=1e-6, rtol=0)


@given(st.lists(st.tuples(*[st.floats(0, 1.5)] * 3), min_size=1, max_size=6), st.floats(-1, 1))
def test_the_first_that_will_do_and_else_the_first(angles, enough):
    tried = candidates([list(row) for row in angles])
    chosen = least(reading(3), enough, tried)
    margins = torch.stack([reading(3).margins(each) for each in tried])
    for row in range(3):
        good = [i for i in range(len(tried)) if margins[i, row] >= enough]
        place = good[0] if good else 0
        assert torch.equal(chosen[row], tried[place][row])
