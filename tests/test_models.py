"""The registry of detectors: names, the environment's say, and what the competition allows in every file."""

import ast
import importlib
import typing
from pathlib import Path

import pytest
import torch
from model_checks import run_python

from dfresearch.models import (
    MODEL_REGISTRY,
    PretrainedWeightsError,
    get_model,
    list_models,
    model_module,
)

IMAGE_MODELS = list_models("image")
EVERY_MODEL = [(modality, name) for modality, names in list_models().items() for name in names]


# --- registry ---------------------------------------------------------------------------------------------------------


def test_lists_the_models_of_a_modality():
    assert [typing.get_type_hints(form)["return"] for form in typing.get_overloads(list_models)] == [
        list[str],
        dict[str, list[str]],
    ]
    assert list_models("image") == ["efficientnet-b4", "clip-vit-l14", "smogy-swin", "forensic-cnn"]
    assert list_models("video") == ["r3d-18", "videomae", "hiera", "forensic-cnn"]
    assert list_models("audio") == ["wav2vec2", "ast", "wavlm", "lfcc-lcnn"]
    assert list_models() == {modality: list_models(modality) for modality in ("image", "video", "audio")}


def test_registry_reads_like_a_nested_dict():
    family = MODEL_REGISTRY["image"]
    assert list(MODEL_REGISTRY) == ["image", "video", "audio"]
    assert list(family) == IMAGE_MODELS
    assert len(family) == len(IMAGE_MODELS)
    assert "efficientnet-b4" in family
    assert "resnet" not in family
    for name, model_class in family.items():
        assert issubclass(model_class, torch.nn.Module)
        assert family[name] is model_class
        assert family.get(name) is model_class
        assert model_class.__module__ == model_module("image", name)
    with pytest.raises(KeyError):
        family["resnet"]


def test_a_class_of_ones_own_can_be_registered():
    class Constant(torch.nn.Module):
        def __init__(self, num_classes=2, pretrained=True, dropout=0.3):
            super().__init__()
            self.arguments = (num_classes, pretrained, dropout)

    before = list_models("audio")
    MODEL_REGISTRY["audio"]["constant"] = Constant
    try:
        assert list_models("audio") == [*before, "constant"]
        assert model_module("audio", "constant") == __name__
        assert get_model("audio", "constant", dropout=0.1).arguments == (2, True, 0.1)
    finally:
        del MODEL_REGISTRY["audio"]["constant"]
    assert list_models("audio") == before


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown modality 'text'.*image, video, audio"):
        list_models("text")
    with pytest.raises(ValueError, match=r"unknown modality 'text'.*image, video, audio"):
        get_model("text", "efficientnet-b4")
    with pytest.raises(ValueError, match=r"unknown image model 'resnet'.*efficientnet-b4, clip-vit-l14"):
        get_model("image", "resnet")
    with pytest.raises(ValueError, match=r"unknown video model 'wav2vec2'.*r3d-18, videomae"):
        model_module("video", "wav2vec2")


def test_importing_the_registry_imports_no_deep_learning_library():
    code = (
        "import sys, dfresearch.models as models; models.list_models(); models.model_module('image', 'clip-vit-l14');"
        "print([name for name in ('torch', 'timm', 'transformers', 'httpx') if name in sys.modules])"
    )
    assert run_python(code).stdout.strip() == "[]"


# --- pretrained weights -----------------------------------------------------------------------------------------------


class WantsTheHub(torch.nn.Module):
    def __init__(self, num_classes=2, pretrained=True, dropout=0.3):
        super().__init__()
        if pretrained:
            raise ConnectionError("no route to the hub")


@pytest.fixture
def wants_the_hub(monkeypatch):
    monkeypatch.setitem(MODEL_REGISTRY["video"], "wants-the-hub", WantsTheHub)
    monkeypatch.delenv("DFRESEARCH_PRETRAINED", raising=False)
    return "wants-the-hub"


@pytest.mark.parametrize("value", ["0", "false", " OFF "])
def test_the_environment_overrules_pretrained(wants_the_hub, monkeypatch, value):
    monkeypatch.setenv("DFRESEARCH_PRETRAINED", value)
    assert isinstance(get_model("video", wants_the_hub, pretrained=True), WantsTheHub)
    assert isinstance(get_model("video", wants_the_hub), WantsTheHub)


@pytest.mark.parametrize("value", [None, "1", ""])
def test_without_it_pretrained_weights_are_fetched(wants_the_hub, monkeypatch, value):
    if value is not None:
        monkeypatch.setenv("DFRESEARCH_PRETRAINED", value)
    assert isinstance(get_model("video", wants_the_hub, pretrained=False), WantsTheHub)
    for keywords in ({}, {"pretrained": True}):
        with pytest.raises(PretrainedWeightsError, match="no route to the hub") as caught:
            get_model("video", wants_the_hub, **keywords)
        assert isinstance(caught.value.__cause__, ConnectionError)


def test_fetching_asks_the_hub_for_no_conversion(monkeypatch):
    from transformers.utils import is_env_variable_true

    class Fetched(torch.nn.Module):
        def __init__(self, pretrained=True):
            super().__init__()
            self.conversion_is_off = is_env_variable_true("DISABLE_SAFETENSORS_CONVERSION")

    monkeypatch.setitem(MODEL_REGISTRY["audio"], "fetched", Fetched)
    # Set and unset again, so that what the call leaves behind is taken away after the test.
    monkeypatch.setenv("DISABLE_SAFETENSORS_CONVERSION", "")
    monkeypatch.delenv("DISABLE_SAFETENSORS_CONVERSION")
    assert get_model("audio", "fetched").conversion_is_off
    monkeypatch.setenv("DISABLE_SAFETENSORS_CONVERSION", "0")
    assert not get_model("audio", "fetched").conversion_is_off


# --- what the competition allows in a model.py ------------------------------------------------------------------------

ALLOWED_MODULES = {
    *("torch", "torch.nn", "torch.nn.functional", "torch.cuda.amp", "torchvision", "torchvision.models"),
    *("torchvision.transforms", "torchaudio", "transformers", "timm", "einops", "safetensors", "safetensors.torch"),
    *("flash_attn", "PIL", "cv2", "skimage", "decord", "numpy", "scipy", "scipy.ndimage", "scipy.signal", "fvcore"),
    *("ultralytics", "math", "functools", "typing", "collections", "dataclasses", "enum", "abc", "pathlib"),
}
REFUSED_CALLS = {"eval", "exec", "compile", "__import__", "getattr", "setattr", "globals", "locals"}


@pytest.mark.parametrize(("modality", "name"), EVERY_MODEL)
def test_model_files_stay_within_what_the_competition_allows(modality, name):
    source = Path(importlib.import_module(model_module(modality, name)).__file__).read_text()
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= ALLOWED_MODULES
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert node.module in ALLOWED_MODULES
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
            assert called not in REFUSED_CALLS
    functions = {node.name: node.args for node in tree.body if isinstance(node, ast.FunctionDef)}
    load_model = functions["load_model"]
    assert [argument.arg for argument in load_model.args] == ["weights_path", "num_classes"]
    assert load_model.kwarg is not None
