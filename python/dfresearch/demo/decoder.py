"""A small convolutional autoencoder whose decoder upsamples as image generators do, traces included.

```text
 pixels [3, H, W] ─ 4x4 blocks, principal components ─► latents [16, H/4, W/4]
   ─ transposed convolution 3x3, stride 2, leaky ReLU ─► features [32, H/2, W/2]
   ─ convolution 3x3, 12 outputs, pixel shuffle ───────► pixels [3, H, W]
```

A 3x3 kernel with stride 2 covers its outputs unevenly, which leaves the grid of A. Odena, V. Dumoulin, C. Olah,
"Deconvolution and Checkerboard Artifacts", Distill 2016; the peaks it makes in the spectrum are those that
X. Zhang, S. Karaman, S.-F. Chang, "Detecting and Simulating Artifacts in GAN Fake Images", WIFS 2019, describe.
The first stage is random, the last one is fitted by ridge regression to give the photographs back: no training loop,
and the same result each time.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

COLOURS = 3
BLOCK_SIDE = 4  # pixels that one latent position stands for, in each direction
UPSAMPLING = 2  # of each of the two stages
LATENT_CHANNELS = 16  # of the 48 numbers in a block
FEATURE_CHANNELS = 32
KERNEL_SIDE = 3
LEAKY_SLOPE = 0.2
LATENT_GAIN = 3.0
RIDGE = 1e-3  # per fitted position, in squared units of features
# Fitted weights are rounded to this step, so that the order in which threads add changes no pixel.
WEIGHT_STEP = 2.0**-16


class TraceDecoder:
    """Autoencoder of images f32 [3, H, W] in [0, 1], sides multiples of BLOCK_SIDE: same content, decoder's traces."""

    def __init__(self, images: Sequence[Tensor], seed: int) -> None:
        """Fit the encoder and the last stage to `images`.

        Raises:
            ValueError: there are no images.

        """
        if not images:
            raise ValueError("a decoder is fitted to images: give it at least one")
        self._fit_encoder(images)
        generator = torch.Generator().manual_seed(seed)
        # Each output of a strided transposed convolution sums 3 * 3 / (2 * 2) taps of each channel on average.
        taps = LATENT_CHANNELS * KERNEL_SIDE**2 / UPSAMPLING**2
        shape = (LATENT_CHANNELS, FEATURE_CHANNELS, KERNEL_SIDE, KERNEL_SIDE)
        self._upsampling = torch.randn(shape, generator=generator) / taps**0.5
        self._fit_last_stage(images)

    def _fit_encoder(self, images: Sequence[Tensor]) -> None:
        blocks = torch.cat([functional.pixel_unshuffle(image, BLOCK_SIDE).flatten(1).T for image in images]).double()
        self._mean = blocks.mean(0)
        centred = blocks - self._mean
        variances, directions = torch.linalg.eigh(centred.T @ centred / len(blocks))
        # Partly whitened: fine detail is to weigh more in the features than its variance says, but less than light.
        deviation = variances[-LATENT_CHANNELS:].clamp_min(1e-12).sqrt()
        components = directions[:, -LATENT_CHANNELS:] / deviation.sqrt() * LATENT_GAIN
        # A direction's sign is arbitrary: the largest entry is made positive.
        largest = components.gather(0, components.abs().argmax(0, keepdim=True))
        components = components * largest.sign()
        self._encoding = (components.T[:, :, None, None] / WEIGHT_STEP).round().mul(WEIGHT_STEP).float()
        self._mean = (self._mean / WEIGHT_STEP).round().mul(WEIGHT_STEP).float()

    def _features(self, image: Tensor) -> Tensor:
        blocks = functional.pixel_unshuffle(image[None], BLOCK_SIDE) - self._mean[None, :, None, None]
        latents = functional.conv2d(blocks, self._encoding)
        upsampled = functional.conv_transpose2d(
            latents, self._upsampling, stride=UPSAMPLING, padding=KERNEL_SIDE // 2, output_padding=1
        )
        return functional.leaky_relu(upsampled, LEAKY_SLOPE)

    def _fit_last_stage(self, images: Sequence[Tensor]) -> None:
        inputs = FEATURE_CHANNELS * KERNEL_SIDE**2 + 1
        outputs = COLOURS * UPSAMPLING**2
        gram = torch.zeros(inputs, inputs, dtype=torch.float64)
        moments = torch.zeros(inputs, outputs, dtype=torch.float64)
        positions = 0
        for image in images:
            neighbourhoods = functional.unfold(self._features(image), KERNEL_SIDE, padding=KERNEL_SIDE // 2)[
                0
            ].T.double()
            regressors = torch.cat([neighbourhoods, torch.ones(len(neighbourhoods), 1, dtype=torch.float64)], 1)
            targets = functional.pixel_unshuffle(image, UPSAMPLING).flatten(1).T.double()
            gram += regressors.T @ regressors
            moments += regressors.T @ targets
            positions += len(regressors)
        gram += RIDGE * positions * torch.eye(inputs, dtype=torch.float64)
        solution = (torch.linalg.solve(gram, moments) / WEIGHT_STEP).round().mul(WEIGHT_STEP).float()
        self._last_weight = solution[:-1].T.reshape(outputs, FEATURE_CHANNELS, KERNEL_SIDE, KERNEL_SIDE).contiguous()
        self._last_bias = solution[-1].contiguous()

    def render(self, image: Tensor) -> Tensor:
        """Encode and decode an image f32 [3, H, W] in [0, 1]; the shape and the range stay.

        Raises:
            ValueError: a side is no multiple of BLOCK_SIDE.

        """
        if image.shape[-1] % BLOCK_SIDE or image.shape[-2] % BLOCK_SIDE:
            raise ValueError(f"sides must be multiples of {BLOCK_SIDE}, not {tuple(image.shape[-2:])}: crop the image")
        decoded = functional.conv2d(self._features(image), self._last_weight, self._last_bias, padding=KERNEL_SIDE // 2)
        return functional.pixel_shuffle(decoded, UPSAMPLING)[0].clamp(0.0, 1.0)
