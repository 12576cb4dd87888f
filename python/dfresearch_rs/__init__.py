"""Fast and exact building blocks for deepfake-detector research: decode, augment, load, score, package.

``source`` is a path or bytes everywhere; arrays are NumPy arrays unless a tensor is named.
"""

import importlib.util
import pathlib

import torch

# The extension resolves libtorch from the torch package that is already loaded, which has to
# be of the version that it was compiled against: torch has no stable binary interface.
TORCH_VERSION = "2.13.0"

if torch.__version__.split("+")[0] != TORCH_VERSION:
    raise ImportError(
        f"dfresearch_rs was built for torch {TORCH_VERSION}, but torch {torch.__version__} is installed. "
        f"Install torch=={TORCH_VERSION} and build dfresearch again."
    )

if importlib.util.find_spec("dfresearch_rs._native") is None:
    raise ImportError(
        f"dfresearch_rs is not built: {pathlib.Path(__file__).parent} has no extension module. "
        "Run `uv sync` or, in an activated environment, `maturin develop --release`."
    )

from dfresearch_rs import _native  # noqa: E402
from dfresearch_rs._native import (  # noqa: E402
    ConfigRefresh,
    DatasetOutcome,
    DatasetPlan,
    DatasetReport,
    Loader,
    LoaderIterator,
    ModelConfig,
    PrepareProgress,
    PrepareReport,
    SampleCacheReport,
    Samples,
    SampleStore,
    Score,
    StoreReport,
    SubmissionMember,
    SubmissionReport,
    WarmReport,
    additive_noise,
    augment_audio,
    augment_image,
    blend_robustness,
    check_audio_operation,
    check_model_source,
    check_operation,
    clear_sample_cache,
    color_contrast,
    color_shift,
    decode_audio,
    decode_image,
    decode_video,
    gain,
    gather_samples,
    gaussian_blur,
    gaussian_noise,
    horizontal_flip,
    jpeg_compress,
    load_catalog,
    low_pass,
    mp3_compress,
    opus_compress,
    plan_datasets,
    prepare_datasets,
    preprocess_audio,
    preprocess_image,
    preprocess_video,
    provenance_weights,
    quarantine,
    read_model_config,
    recompress_image,
    refresh_configs,
    reverberation,
    save_safetensors,
    sn34_score,
    survey_cache,
    survey_sample_cache,
    write_checkpoint,
    write_submission,
)
from dfresearch_rs.errors import (  # noqa: E402
    ArgumentError,
    AugmentError,
    CacheIndexError,
    DecodeError,
    DefinitionError,
    DfresearchError,
    FetchError,
    InternalError,
    LoaderError,
    SubmissionError,
)

__version__ = _native.__version__

__all__ = [
    "ArgumentError",
    "AugmentError",
    "CacheIndexError",
    "ConfigRefresh",
    "DatasetOutcome",
    "DatasetPlan",
    "DatasetReport",
    "DecodeError",
    "DefinitionError",
    "DfresearchError",
    "FetchError",
    "InternalError",
    "Loader",
    "LoaderError",
    "LoaderIterator",
    "ModelConfig",
    "PrepareProgress",
    "PrepareReport",
    "SampleCacheReport",
    "SampleStore",
    "Samples",
    "Score",
    "StoreReport",
    "SubmissionError",
    "SubmissionMember",
    "SubmissionReport",
    "WarmReport",
    "__version__",
    "additive_noise",
    "augment_audio",
    "augment_image",
    "blend_robustness",
    "check_audio_operation",
    "check_model_source",
    "check_operation",
    "clear_sample_cache",
    "color_contrast",
    "color_shift",
    "decode_audio",
    "decode_image",
    "decode_video",
    "gain",
    "gather_samples",
    "gaussian_blur",
    "gaussian_noise",
    "horizontal_flip",
    "jpeg_compress",
    "load_catalog",
    "low_pass",
    "mp3_compress",
    "opus_compress",
    "plan_datasets",
    "prepare_datasets",
    "preprocess_audio",
    "preprocess_image",
    "preprocess_video",
    "provenance_weights",
    "quarantine",
    "read_model_config",
    "recompress_image",
    "refresh_configs",
    "reverberation",
    "save_safetensors",
    "sn34_score",
    "survey_cache",
    "survey_sample_cache",
    "write_checkpoint",
    "write_submission",
]
