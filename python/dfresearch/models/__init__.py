"""The registry of detectors.

A detector is one self-contained file and one line in `_LOCATIONS`. The file is copied into the submission as its
`model.py`, so it imports only what the competition allows and cannot read the environment. What depends on the
environment (whether pretrained weights are wanted, what to say when they cannot be fetched) lives here, in
`get_model`. A class that is called directly does what its arguments say.

Importing this package imports neither torch nor transformers: a detector's file is imported when it is asked for.

Example:
    >>> from dfresearch.models import get_model, list_models
    >>> list_models("image")
    ['efficientnet-b4', 'clip-vit-l14', 'smogy-swin', 'forensic-cnn']
    >>> model = get_model("image", "efficientnet-b4", pretrained=False)
"""

import os
from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "MODEL_REGISTRY",
    "ModelFamily",
    "PretrainedWeightsError",
    "get_model",
    "list_models",
    "model_module",
    "pretrained_is_disabled",
]

# One line a detector: modality -> name -> "file:class", relative to this package.
_LOCATIONS: dict[str, dict[str, str]] = {
    "image": {
        "efficientnet-b4": "image.efficientnet_b4:EfficientNetB4Detector",
        "clip-vit-l14": "image.clip_vit_l14:ClipViTL14Detector",
        "smogy-swin": "image.smogy_swin:SmogySwinDetector",
        "forensic-cnn": "image.forensic_cnn:ForensicCNN",
    },
    "video": {
        "r3d-18": "video.r3d_18:R3D18Detector",
        "videomae": "video.videomae:VideoMAEDetector",
        "hiera": "video.hiera:HieraDetector",
        "forensic-cnn": "video.forensic_cnn:ForensicVideoCNN",
    },
    "audio": {
        "wav2vec2": "audio.wav2vec2:Wav2Vec2Detector",
        "ast": "audio.ast:AstDetector",
        "wavlm": "audio.wavlm:WavLMDetector",
        "lfcc-lcnn": "audio.lfcc_lcnn:LfccLcnn",
    },
}

PRETRAINED_VARIABLE = "DFRESEARCH_PRETRAINED"
_OFF = frozenset({"0", "false", "no", "off"})


class PretrainedWeightsError(OSError):
    """A detector's pretrained weights could not be fetched from the hub."""


class ModelFamily(MutableMapping[str, "type[nn.Module]"]):
    """The detectors of one modality: name -> class, in registry order.

    Reads like a plain dict. A detector's file is imported on the first look at its class; names, length and
    membership import nothing. A class of one's own is added by assignment.
    """

    def __init__(self, locations: Mapping[str, str]) -> None:
        self._modules: dict[str, str] = {}
        self._class_names: dict[str, str] = {}
        self._classes: dict[str, type[nn.Module]] = {}
        for name, location in locations.items():
            file, class_name = location.split(":")
            self._modules[name] = f"{__name__}.{file}"
            self._class_names[name] = class_name

    def __getitem__(self, name: str) -> "type[nn.Module]":
        if name not in self._classes:
            module = import_module(self._modules[name])
            self._classes[name] = getattr(module, self._class_names[name])
        return self._classes[name]

    def __setitem__(self, name: str, model_class: "type[nn.Module]") -> None:
        self._modules[name] = model_class.__module__
        self._class_names[name] = model_class.__qualname__
        self._classes[name] = model_class

    def __delitem__(self, name: str) -> None:
        del self._modules[name]
        del self._class_names[name]
        self._classes.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __repr__(self) -> str:
        classes = (f"{name!r}: {self._modules[name]}.{self._class_names[name]}" for name in self)
        return "{" + ", ".join(classes) + "}"

    def module(self, name: str) -> str:
        """The dotted name of the module that holds `name`'s class and its `load_model`, without importing it."""
        return self._modules[name]


MODEL_REGISTRY: dict[str, ModelFamily] = {modality: ModelFamily(lines) for modality, lines in _LOCATIONS.items()}
"""modality -> name -> class."""


@overload
def list_models(modality: str) -> list[str]: ...


@overload
def list_models(modality: None = None) -> dict[str, list[str]]: ...


def list_models(modality: str | None = None) -> "list[str] | dict[str, list[str]]":
    """The names of one modality's detectors, or with no modality given, those of every modality by its name.

    Raises:
        ValueError: the modality is not one of the registry's.
    """
    if modality is None:
        return {known: list(family) for known, family in MODEL_REGISTRY.items()}
    return list(_family(modality))


def model_module(modality: str, name: str) -> str:
    """The dotted name of the self-contained module that defines a detector; nothing is imported.

    Raises:
        ValueError: the modality or the name is not in the registry.
    """
    return _family_with(modality, name).module(name)


def get_model(modality: str, name: str, **kwargs: Any) -> "nn.Module":
    """Build a detector.

    Args:
        modality: "image", "video" or "audio".
        name: a name that `list_models(modality)` gives.
        **kwargs: passed to the detector's class: `num_classes=2`, `pretrained=True`, `dropout=0.3` and what the
            class takes beside them. With DFRESEARCH_PRETRAINED=0 in the environment `pretrained` is False
            whatever is passed: the detector is built from its configuration and no network is asked.

    Raises:
        ValueError: the modality or the name is not in the registry.
        PretrainedWeightsError: the pretrained weights could not be fetched.
    """
    model_class = _family_with(modality, name)[name]
    if pretrained_is_disabled():
        kwargs["pretrained"] = False
    if kwargs.get("pretrained") is False:
        return model_class(**kwargs)

    # The hub's client reports through httpx; only a detector that may use the network pays for its import.
    from httpx import HTTPError

    try:
        return model_class(**kwargs)
    except (OSError, HTTPError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PretrainedWeightsError(
            f"the pretrained weights of the {modality} model {name!r} could not be fetched: {reason} "
            f"Check the connection to the hub, or start from random weights: --no-pretrained on the command line, "
            f"{PRETRAINED_VARIABLE}=0 in the environment, or pretrained=False in get_model."
        ) from error


def pretrained_is_disabled() -> bool:
    """Whether DFRESEARCH_PRETRAINED in the environment says 0 (or false, no, off)."""
    return os.environ.get(PRETRAINED_VARIABLE, "").strip().lower() in _OFF


def _family(modality: str) -> ModelFamily:
    family = MODEL_REGISTRY.get(modality)
    if family is None:
        raise ValueError(f"unknown modality {modality!r}; the known ones are: {', '.join(MODEL_REGISTRY)}")
    return family


def _family_with(modality: str, name: str) -> ModelFamily:
    family = _family(modality)
    if name not in family:
        known = ", ".join(family) or "none yet"
        raise ValueError(f"unknown {modality} model {name!r}; the known ones are: {known}")
    return family
