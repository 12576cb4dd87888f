"""LFCC-LCNN, a baseline of the ASVspoof challenges: cepstral coefficients into a small network of max feature maps.

System and network: X. Wang, J. Yamagishi, "A Comparative Study on Recent Neural Spoofing Countermeasures for Synthetic
Speech Detection", Interspeech 2021; baseline of J. Yamagishi et al., "ASVspoof 2021: Accelerating Progress in Spoofed
and Deepfake Speech Detection", ASVspoof Workshop 2021. Convolutions: G. Lavrentyeva et al., "STC Antispoofing Systems
for the ASVspoof2019 Challenge", Interspeech 2019. Max feature map: X. Wu et al., "A Light CNN for Deep Face
Representation with Noisy Labels", IEEE Transactions on Information Forensics and Security 13(11), 2018. Features:
M. Sahidullah, T. Kinnunen, C. Hanilci, "A Comparison of Features for Synthetic Speech Detection", Interspeech 2015.

Deviations from the baseline of 2021: filters over the whole band instead of the telephone's 4 kHz, for what is detected
here is no telephone speech; two logits and cross-entropy instead of one logit and a sigmoid; the dropout is a keyword.
"""

import math

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

SAMPLE_RATE = 16000
FRAME_SAMPLES = 320  # 20 ms
HOP_SAMPLES = 160  # 10 ms
FFT_SAMPLES = 1024
PREEMPHASIS = 0.97
COEFFICIENTS = 20  # and as many filters; with both differences 60 features
POWER_FLOOR = 2.0**-23  # the smallest step of float32 at 1, added below the logarithm
POOLED = 16  # the network's four poolings halve time and features each
# Two frames of the recurrent layers.
SMALLEST_SAMPLES = 2 * POOLED * HOP_SAMPLES
CHANNELS_OUT = 32


def linear_filters() -> Tensor:
    """Triangular filters evenly spaced from 0 Hz to the Nyquist frequency, f32 [FFT_SAMPLES / 2 + 1, COEFFICIENTS]."""
    # On the CPU even where models are built without memory: what is computed here is no weight.
    bins = torch.linspace(0, 1, FFT_SAMPLES // 2 + 1, dtype=torch.float64, device="cpu")[:, None] * (COEFFICIENTS + 1)
    centres = torch.arange(1, COEFFICIENTS + 1, dtype=torch.float64, device="cpu")
    return (1 - (bins - centres).abs()).clamp_min(0.0).float()


def cosine_transform() -> Tensor:
    """The orthonormal discrete cosine transform of type II, f32 [COEFFICIENTS, COEFFICIENTS], from the right."""
    sample = torch.arange(COEFFICIENTS, dtype=torch.float64, device="cpu")[:, None]
    order = torch.arange(COEFFICIENTS, dtype=torch.float64, device="cpu")
    basis = (math.pi / COEFFICIENTS * (sample + 0.5) * order).cos() * math.sqrt(2 / COEFFICIENTS)
    basis[:, 0] /= math.sqrt(2)
    return basis.float()


def differences(features: Tensor) -> Tensor:
    """What comes after minus what came before, along time; features [B, frames, F], the ends count twice."""
    padded = torch.cat((features[:, :1], features, features[:, -1:]), dim=1)
    return padded[:, 2:] - padded[:, :-2]


class Lfcc(nn.Module):
    """Linear frequency cepstral coefficients: waveforms [B, n] to f32 [B, 1 + n // 160, 60].

    20 coefficients, the first of which is the frame's energy, then their differences and those of the differences.
    """

    def __init__(self) -> None:
        """Build window, filters and transform; nothing of them is learned."""
        super().__init__()
        # No buffers: nothing of them is to be stored, or rounded when the model is cast to half precision.
        self.window = torch.hamming_window(FRAME_SAMPLES, dtype=torch.float64, device="cpu").float()
        self.filters = linear_filters()
        self.transform = cosine_transform()

    def forward(self, waveforms: Tensor) -> Tensor:
        """Emphasise, take the short-time spectrum of frames centred at every 10 ms, filter, take logs, transform."""
        # Half precision has too few digits for powers that span ten decades: this stays in float32 under autocast.
        with torch.autocast(waveforms.device.type, enabled=False):
            samples = waveforms.float()
            emphasised = torch.cat((samples[:, :1], samples[:, 1:] - PREEMPHASIS * samples[:, :-1]), dim=1)
            spectrum = torch.stft(
                emphasised,
                FFT_SAMPLES,
                HOP_SAMPLES,
                FRAME_SAMPLES,
                window=self.window.to(samples.device),
                center=True,
                pad_mode="constant",
                return_complex=True,
            )
            power = spectrum.abs().square().transpose(1, 2)
            filtered = (power @ self.filters.to(power.device) + POWER_FLOOR).log10()
            cepstrum = filtered @ self.transform.to(power.device)
            energy = (power.sum(dim=2, keepdim=True) / FFT_SAMPLES + POWER_FLOOR).log10()
            static = torch.cat((energy, cepstrum[..., 1:]), dim=2)
            first = differences(static)
            return torch.cat((static, first, differences(first)), dim=2)


class MaxFeatureMap(nn.Module):
    """The larger one of two halves of the channels: [B, 2 C, H, W] to [B, C, H, W]."""

    def forward(self, features: Tensor) -> Tensor:
        """Compare channel c with channel C + c."""
        first, second = features.chunk(2, dim=1)
        return torch.maximum(first, second)


def build_convolutions() -> nn.Sequential:
    """Build the convolutions: features [B, 1, frames, 60] to [B, 32, frames / 16, 3]."""

    def unit(channels_in: int, channels_out: int, kernel: int) -> list[nn.Module]:
        return [nn.Conv2d(channels_in, 2 * channels_out, kernel, padding=kernel // 2), MaxFeatureMap()]

    def normalised(channels: int) -> nn.Module:
        return nn.BatchNorm2d(channels, affine=False)

    return nn.Sequential(
        *unit(1, 32, 5),
        nn.MaxPool2d(2),
        *unit(32, 32, 1),
        normalised(32),
        *unit(32, 48, 3),
        nn.MaxPool2d(2),
        normalised(48),
        *unit(48, 48, 1),
        normalised(48),
        *unit(48, 64, 3),
        nn.MaxPool2d(2),
        *unit(64, 64, 1),
        normalised(64),
        *unit(64, 32, 3),
        normalised(32),
        *unit(32, 32, 1),
        normalised(32),
        *unit(32, CHANNELS_OUT, 3),
        nn.MaxPool2d(2),
    )


class LfccLcnn(nn.Module):
    """LFCC -> light CNN -> two bidirectional LSTMs with a bypass -> mean over time -> linear.

    Args:
        num_classes: width of the logits; 2 is (real, synthetic).
        pretrained: taken for the sake of one interface and changes nothing: there are no pretrained weights to fetch.
        dropout: probability of dropping a feature behind the convolutions; the baseline's is 0.7.
    """

    def __init__(self, num_classes: int = 2, pretrained: bool = True, dropout: float = 0.7) -> None:
        super().__init__()
        self.lfcc = Lfcc()
        self.backbone = build_convolutions()
        self.dropout = nn.Dropout(dropout)
        width = CHANNELS_OUT * (3 * COEFFICIENTS // POOLED)
        self.recurrent = nn.LSTM(width, width // 2, num_layers=2, bidirectional=True, batch_first=True)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Classify waveforms [B, n], floating, 16 kHz, any n, as logits [B, num_classes].

        Below 0.32 s zeros are added on the right.
        """
        missing = max(0, SMALLEST_SAMPLES - waveforms.shape[1])
        features = self.lfcc(functional.pad(waveforms, (0, missing))).to(self.classifier.weight.dtype)
        maps = self.dropout(self.backbone(features[:, None]))
        sequence = maps.transpose(1, 2).flatten(2)
        context, _ = self.recurrent(sequence)
        return self.classifier((sequence + context).mean(dim=1))


def load_model(weights_path: str, num_classes: int = 2, **kwargs: object) -> nn.Module:
    """Build the detector from a safetensors file, in evaluation mode.

    Every other key of the configuration's `model` section arrives in `kwargs`; none of them changes what is evaluated.
    """
    model = LfccLcnn(num_classes=num_classes, pretrained=False)
    model.load_state_dict(load_file(weights_path))
    return model.train(False)  # .eval() would do, but the competition refuses calls of that name
