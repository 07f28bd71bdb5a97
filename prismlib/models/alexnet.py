"""AlexNet's convolutions (Krizhevsky 2014, as torchvision has them) with a small head.

The fully connected layers, 54 of its 57 million numbers, give way to an average over places and
two small layers. Batch statistics stand between convolution and rectifier, without which training
from nothing on a few thousand radiographs hardly begins.
"""

from typing import Any

import torch
from timm.models import build_model_with_cfg, register_model
from torch import Tensor, nn

HIDDEN = 128


class AlexNet(nn.Module):
    """Five convolutions and a head; images (B, in_chans, H, W) to logits (B, num_classes)."""

    def __init__(self, num_classes: int = 1, in_chans: int = 1, **_unused: Any) -> None:
        from torchvision.models import alexnet

        super().__init__()
        self.num_classes, self.num_features = num_classes, HIDDEN
        layers: list[nn.Module] = []
        for layer in alexnet(weights=None).features:
            layers.append(layer)
            if isinstance(layer, nn.Conv2d):
                layers.append(nn.BatchNorm2d(layer.out_channels))
        layers[0] = nn.Conv2d(in_chans, 64, kernel_size=11, stride=4, padding=2)
        self.features = nn.Sequential(*layers)
        self.hidden = nn.Sequential(nn.Linear(256, HIDDEN), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(HIDDEN, num_classes)

    def forward_features(self, images: Tensor) -> Tensor:
        """The last convolution's maps (B, 256, h, w)."""
        return self.features(images)

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits of the maps' averages, or what they are made from."""
        hidden = self.hidden(maps.mean(dim=(2, 3)))
        return hidden if pre_logits else self.head(hidden)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, num_classes)."""
        return self.forward_head(self.forward_features(images))

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.head


@register_model
def prism_alexnet(pretrained: bool = False, **kwargs: Any) -> AlexNet:
    """AlexNet for `timm.create_model`, known to timm once this module is imported."""
    return build_model_with_cfg(AlexNet, "prism_alexnet", pretrained, **kwargs)


def with_imagenet_convolutions(model: AlexNet) -> AlexNet:
    """The same network with torchvision's ImageNet weights, which are fetched from the network.

    The first layer's three colours are added up for grey input.
    """
    from torchvision.models import AlexNet_Weights, alexnet

    learnt = [m for m in alexnet(weights=AlexNet_Weights.DEFAULT).features if hasattr(m, "weight")]
    ours = [m for m in model.features if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        for layer, source in zip(ours, learnt, strict=True):
            weight = source.weight
            grey = layer.in_channels != weight.shape[1]
            layer.weight.copy_(weight.sum(1, keepdim=True) if grey else weight)
            if layer.bias is not None:
                layer.bias.copy_(source.bias)
    return model
