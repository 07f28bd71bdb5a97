"""A change that a mask of cells bounds, given a border without the cells' steps."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.functional import gaussian_blur

FADE = 0.15  # of the smoothed mask, around a half, within which a change fades out
CONTINUED = 3 / 8  # of a contour's width: from how far around a change is continued
REACH = 4  # standard deviations after which a Gaussian is cut off


def rounded(factual: Tensor, changed: Tensor, cells: Tensor, width: float) -> Tensor:
    """Images (B, 1, H, W) changed in `cells`, bool (B, 1, h, w), with the cells' steps rounded off.

    Where the mask, smoothed by a Gaussian of `width` (a share of the images'), is above a half, it
    is changed, and fades out around that contour. What lies inside the contour but outside the
    cells is given the change beside it (normalized convolution, Knutsson and Westin 1993), but
    taken no further than the values beside it: what looks like them already stays. Where all cells
    may change, or none, nothing is done.
    """
    inside = interpolate(cells.to(changed), size=changed.shape[-2:], mode="nearest")
    change = changed - factual
    smooth = _smoothed(inside, width)
    near = _smoothed(inside, width * CONTINUED)
    weight = near.clamp_min(torch.finfo(near.dtype).eps)
    value = _smoothed(changed * inside, width * CONTINUED) / weight
    most = torch.where(near > 0, value - factual, 0.0)
    continued = _smoothed(change * inside, width * CONTINUED) / weight
    continued = torch.minimum(torch.maximum(continued, most.clamp(max=0.0)), most.clamp(min=0.0))
    share = ((smooth - 0.5 + FADE) / (2 * FADE)).clamp(0.0, 1.0)
    share = share.square() * (3 - 2 * share)  # without a kink at either end
    return factual + share * torch.where(inside > 0, change, continued)


def _smoothed(images: Tensor, width: float) -> Tensor:
    """Images (B, 1, H, W) under a Gaussian whose standard deviation is a share of their width."""
    sigma = width * images.shape[-1]
    size = 2 * max(1, round(REACH * sigma)) + 1
    across = gaussian_blur(images, [size, 1], [sigma, sigma])
    return gaussian_blur(across, [1, size], [sigma, sigma])
