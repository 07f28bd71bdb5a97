"""How different two images look to a network: the distance of LPIPS without its learned weights.

LPIPS (Zhang et al. 2018, arXiv 1801.03924) weights the channels of a network trained on ImageNet
so that distances agree with what people said. Neither these weights nor such ratings exist for
radiographs here: all channels of the given network count alike, as in that paper's unweighted
baseline, which already follows people better than pixels do. Values are not LPIPS values.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from prismlib.errors import UsageError
from prismlib.measures.extractors import Stages


@torch.no_grad()
def perceptual_distance(a: Tensor, b: Tensor, stages: Stages) -> Tensor:
    """How far apart images `a` and `b`, both (B, 1, H, W) in [0, 1], look to a network: (B,).

    At every place of every stage the channels are scaled to unit length; the squared length of the
    two images' difference is averaged over places, then over stages. 0 for equal images, at most
    4, and at most 2 where a network's features are never negative. Zhang et al., Equation 1, with
    all weights 1 and the mean of the stages in the place of their sum.
    """
    if a.shape != b.shape or a.ndim != 4:
        raise UsageError(
            f"got images of {tuple(a.shape)} and {tuple(b.shape)}, expected one shape (B, 1, H, W)"
        )
    distances = [
        (normalize(x.double(), dim=1) - normalize(y.double(), dim=1)).square().sum(1).mean((1, 2))
        for x, y in zip(stages(a), stages(b), strict=True)
    ]
    return torch.stack(distances).mean(0).cpu()
