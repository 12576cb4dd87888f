"""The encoder of VideoMAE, ViT-B (Tong et al., 2022; https://arxiv.org/abs/2203.12602), with a linear head.

Pretrained weights: `MCG-NJU/videomae-base`, self-supervised on Kinetics-400. The encoder has 86,225,664 parameters,
86,228,738 with the norm and the head for two classes.

The published pretraining ends the encoder with a LayerNorm; the published fine-tuning drops it, takes the mean over the
tokens and starts a new LayerNorm behind that. transformers switches between the two by `use_mean_pooling`, whose value
in the hub's configuration differs from its default. Here it is set for both ways of building, so that there is one
architecture, the one of fine-tuning, whatever the weights came from.
"""

from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import VideoMAEConfig, VideoMAEModel

HUB_REPOSITORY = "MCG-NJU/videomae-base"
USE_MEAN_POOLING = True
PATCH_SIDE = 16  # pixels
TUBELET_FRAMES = 2
# Patches a side at the published 224 x 224, which the positions count by.
PUBLISHED_GRID_SIDE = 14
SINUSOID_BASE = 10000
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def encoder_config() -> VideoMAEConfig:
    """The published configuration: ViT-B on 16 frames of 224 x 224, tubelets of 2 x 16 x 16."""
    return VideoMAEConfig(
        image_size=224,
        patch_size=PATCH_SIDE,
        num_frames=16,
        tubelet_size=TUBELET_FRAMES,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        layer_norm_eps=1e-12,
        qkv_bias=True,
        use_mean_pooling=USE_MEAN_POOLING,
    )


def position_embeddings(grid: tuple[int, int, int], features: int, device: torch.device) -> torch.Tensor:
    """The published fixed embeddings of a grid (tubelets, rows, columns) of tokens, f32 [1, tokens, features].

    Position p counts tubelet by tubelet, row by row over the published grid: p = 196 * tubelet + 14 * row + column.
    Entry 2k is sin(p / 10000^(2k / features)), entry 2k + 1 is its cosine (Vaswani et al., 2017). Another grid of rows
    and columns is laid over the same area, where p takes fractions.
    """
    tubelets, rows, columns = grid
    options = {"dtype": torch.float64, "device": device}
    tubelet = torch.arange(tubelets, **options)[:, None, None]
    row = (torch.arange(rows, **options)[:, None] + 0.5) * PUBLISHED_GRID_SIDE / rows - 0.5
    column = (torch.arange(columns, **options) + 0.5) * PUBLISHED_GRID_SIDE / columns - 0.5
    position = PUBLISHED_GRID_SIDE**2 * tubelet + PUBLISHED_GRID_SIDE * row + column
    frequency = SINUSOID_BASE ** (-torch.arange(0, features, 2, **options) / features)
    angle = position.flatten()[:, None] * frequency
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[None].float()


class VideoMAEDetector(nn.Module):
    """VideoMAE encoder -> mean over tokens -> layer norm -> dropout -> linear.

    Args:
        num_classes: width of the logits; 2 is (real, synthetic).
        pretrained: fetch VideoMAE's weights from the hub; False starts from random ones and asks no network.
        dropout: probability of dropping a feature before the head.
    """

    def __init__(self, num_classes: int = 2, pretrained: bool = True, dropout: float = 0.3) -> None:
        super().__init__()
        if pretrained:
            # Always float32: from_pretrained would otherwise keep whatever type the checkpoint was stored in.
            self.backbone = VideoMAEModel.from_pretrained(
                HUB_REPOSITORY, dtype=torch.float32, use_mean_pooling=USE_MEAN_POOLING
            ).train()
        else:
            self.backbone = VideoMAEModel(encoder_config())
        features = self.backbone.config.hidden_size
        self.norm = nn.LayerNorm(features)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, num_classes))
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 1, 3, 1, 1))

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Clips [B, T, 3, H, W], values 0..255 (uint8 or floating), RGB -> logits [B, num_classes].

        16 frames of 224 x 224 are the native size. An odd number of frames is made even by the last frame again. At
        other sizes, from 16 pixels a side, the pixels stay as they are, and what is left beyond the last whole patch of
        16 pixels is not seen.
        """
        if clips.shape[1] % TUBELET_FRAMES:
            clips = torch.cat((clips, clips[:, -1:]), dim=1)
        pixels = (clips.to(self.mean.dtype) / 255 - self.mean) / self.std
        # Piece by piece, for the model's own forward takes clips of the published length and size alone.
        patches = self.backbone.embeddings.patch_embeddings.projection(pixels.transpose(1, 2))
        tokens = patches.flatten(2).transpose(1, 2)
        positions = position_embeddings(tuple(patches.shape[2:]), tokens.shape[2], tokens.device)
        encoded = self.backbone.encoder(tokens + positions.to(tokens.dtype)).last_hidden_state
        return self.head(self.norm(encoded.mean(dim=1)))


def load_model(weights_path: str, num_classes: int = 2, **config: Any) -> nn.Module:
    """Build the detector from this file alone and load its weights, every one of them, for evaluation.

    `config` takes the other entries under `model:` in model_config.yaml. None of them changes the architecture.
    """
    model = VideoMAEDetector(num_classes=num_classes, pretrained=False)
    model.load_state_dict(load_file(weights_path), strict=True)
    return model.train(False)  # .eval() would do, but the competition refuses calls of that name
