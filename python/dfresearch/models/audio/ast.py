"""The Audio Spectrogram Transformer (Gong et al., 2021; https://arxiv.org/abs/2104.01778) with a linear head.

Pretrained weights: `MIT/ast-finetuned-audioset-10-10-0.4593`, a ViT-B/16 on log-mel spectrograms, trained on AudioSet.
The backbone has 86,187,264 parameters, 86,188,802 with the head for two classes.

Its features are Kaldi's log-mel energies, computed here by torch alone, and normalised by AudioSet's mean and standard
deviation: by constants, so that a score never depends on what else is in the batch.

AudioSet's clips have 1024 frames. Six seconds have 598, which are neither padded nor stretched: as in the authors'
code, a spectrogram with fewer columns of patches takes the middle ones of the position embeddings, and one with more
takes interpolated ones.
"""

from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from transformers import ASTConfig, ASTModel

HUB_REPOSITORY = "MIT/ast-finetuned-audioset-10-10-0.4593"
# Kaldi's features as the model was trained on them (https://kaldi-asr.org/doc/feat.html).
SAMPLE_RATE = 16000
FRAME_SAMPLES = 400  # 25 ms
HOP_SAMPLES = 160  # 10 ms
FFT_SAMPLES = 512
PREEMPHASIS = 0.97
MEL_BINS = 128
LOWEST_HERTZ = 20.0
POWER_FLOOR = 2.0**-23  # the smallest step of float32 at 1, Kaldi's floor below the logarithm
AUDIOSET_MEAN = -4.2677393
AUDIOSET_STD = 4.5689974
PATCH_SIDE = 16  # frames and mel bins
# What one column of patches needs.
SMALLEST_SAMPLES = FRAME_SAMPLES + (PATCH_SIDE - 1) * HOP_SAMPLES


def backbone_config() -> ASTConfig:
    """The published configuration: ViT-B, patches of 16 x 16 with a stride of 10, 128 mel bins, 1024 frames."""
    return ASTConfig(
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        layer_norm_eps=1e-12,
        patch_size=PATCH_SIDE,
        frequency_stride=10,
        time_stride=10,
        max_length=1024,
        num_mel_bins=MEL_BINS,
    )


def mel_filters() -> torch.Tensor:
    """Kaldi's triangular filters, f32 [FFT_SAMPLES / 2 + 1, MEL_BINS]: straight sides over mel, peaks of 1."""

    def mel(hertz: torch.Tensor) -> torch.Tensor:
        return 1127.0 * torch.log1p(hertz / 700.0)

    # On the CPU even where models are built without memory: what is computed here is no weight.
    options = {"dtype": torch.float64, "device": "cpu"}
    bins = mel(torch.arange(FFT_SAMPLES // 2 + 1, **options) * SAMPLE_RATE / FFT_SAMPLES)[:, None]
    lowest, highest = mel(torch.tensor([LOWEST_HERTZ, SAMPLE_RATE / 2], **options)).tolist()
    edges = torch.linspace(lowest, highest, MEL_BINS + 2, **options)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return torch.minimum(rising, falling).clamp_min(0.0).float()


class LogMel(nn.Module):
    """Kaldi's log-mel energies: waveforms [B, n] at 16 kHz to f32 [B, 1 + (n - 400) // 160, 128]."""

    def __init__(self) -> None:
        super().__init__()
        # No buffers: nothing of them is to be stored, or rounded when the model is cast to half precision.
        self.filters = mel_filters()
        self.window = torch.hann_window(FRAME_SAMPLES, periodic=False, dtype=torch.float64, device="cpu").float()

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Remove each frame's mean, emphasise, window, and sum the power spectrum by mel filters."""
        # Half precision has too few digits for powers that span ten decades: this stays in float32 under autocast.
        with torch.autocast(waveforms.device.type, enabled=False):
            frames = waveforms.float().unfold(1, FRAME_SAMPLES, HOP_SAMPLES)
            frames = frames - frames.mean(dim=2, keepdim=True)
            # Kaldi takes the sample before the first for equal to it.
            before = torch.cat((frames[..., :1], frames[..., :-1]), dim=2)
            frames = (frames - PREEMPHASIS * before) * self.window.to(frames.device)
            power = torch.fft.rfft(frames, FFT_SAMPLES).abs().square()
            return (power @ self.filters.to(power.device)).clamp_min(POWER_FLOOR).log()


class AstDetector(nn.Module):
    """Log-mel energies -> spectrogram transformer -> mean of its two class tokens -> dropout -> linear.

    Args:
        num_classes: width of the logits; 2 is (real, synthetic).
        pretrained: fetch the weights from the hub; False starts from random ones and asks no network.
        dropout: probability of dropping a feature before the head.
    """

    def __init__(self, num_classes: int = 2, pretrained: bool = True, dropout: float = 0.2) -> None:
        super().__init__()
        self.log_mel = LogMel()
        if pretrained:
            # Always float32: from_pretrained would otherwise keep whatever type the checkpoint was stored in.
            self.backbone = ASTModel.from_pretrained(HUB_REPOSITORY, dtype=torch.float32).train()
        else:
            self.backbone = ASTModel(backbone_config())
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.backbone.config.hidden_size, num_classes))

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Waveforms [B, n], floating, 16 kHz, any n -> logits [B, num_classes].

        Below 2800 samples, which one column of patches needs, zeros are added on the right.
        """
        missing = max(0, SMALLEST_SAMPLES - waveforms.shape[1])
        features = self.log_mel(functional.pad(waveforms, (0, missing)))
        features = ((features - AUDIOSET_MEAN) / (2 * AUDIOSET_STD)).to(self.head[1].weight.dtype)

        # Piece by piece, for the model's own forward takes spectrograms of the published length alone.
        embeddings = self.backbone.embeddings
        patches = embeddings.patch_embeddings.projection(features.transpose(1, 2)[:, None])
        class_tokens = torch.cat((embeddings.cls_token, embeddings.distillation_token), dim=1)
        tokens = torch.cat((class_tokens.expand(len(patches), -1, -1), patches.flatten(2).transpose(1, 2)), dim=1)
        tokens = embeddings.dropout(tokens + self.position_embeddings(*patches.shape[2:]))
        encoded = self.backbone.layernorm(self.backbone.encoder(tokens).last_hidden_state)
        return self.head(encoded[:, :2].mean(dim=1))

    def position_embeddings(self, rows: int, columns: int) -> torch.Tensor:
        """The embeddings of two class tokens and of rows (mel) x columns (time) of patches, [1, 2 + patches, width]."""
        stored = self.backbone.embeddings.position_embeddings
        grid = stored[:, 2:].transpose(1, 2).unflatten(2, (rows, -1))
        surplus = grid.shape[3] - columns
        if surplus >= 0:
            first = grid.shape[3] // 2 - columns // 2
            grid = grid[..., first : first + columns]
        else:
            grid = functional.interpolate(grid, size=(rows, columns), mode="bilinear", align_corners=False)
        return torch.cat((stored[:, :2], grid.flatten(2).transpose(1, 2)), dim=1)


def load_model(weights_path: str, num_classes: int = 2, **config: Any) -> nn.Module:
    """Build the detector from this file alone and load its weights, every one of them, for evaluation.

    `config` takes the other entries under `model:` in model_config.yaml. None of them changes the architecture.
    """
    model = AstDetector(num_classes=num_classes, pretrained=False)
    model.load_state_dict(load_file(weights_path), strict=True)
    return model.train(False)  # .eval() would do, but the competition refuses calls of that name
