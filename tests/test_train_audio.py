"""The windows that `train_audio.py` trains on, and which models get the knob of the feature encoder."""

import pytest
import torch
from torch import nn
from training_runs import make_workplace, settings

import dfresearch_rs
import train_audio
from dfresearch.models import MODEL_REGISTRY


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    return make_workplace(tmp_path, monkeypatch, "audio")


def windows_of(loader):
    return torch.cat([inputs for inputs, _ in loader])


def test_training_takes_another_window_in_every_epoch_and_validation_the_middle(workplace):
    train_loader = train_audio.build_loader("train", settings("audio", batch_size=1))
    epochs = [{window.numpy().tobytes() for window in windows_of(train_loader)} for _ in range(2)]
    # Half of the recordings are longer than a window; the others are whole in every epoch.
    long = sum(len(dfresearch_rs.decode_audio(path)) > 96000 for path, _ in train_loader.dataset)
    assert 0 < long < len(train_loader.dataset)
    assert len(epochs[0] - epochs[1]) == pytest.approx(long, abs=1)

    val_loader = train_audio.build_loader("val", settings("audio"))
    for window, (path, _) in zip(windows_of(val_loader), val_loader.dataset, strict=True):
        whole = torch.from_numpy(dfresearch_rs.decode_audio(path))
        start = max(0, (len(whole) - 96000) // 2)
        middle = whole[start : start + 96000]
        assert torch.equal(window, nn.functional.pad(middle, (0, 96000 - len(middle))))


@pytest.mark.parametrize("freeze", [True, False])
def test_the_feature_encoder_is_frozen_where_there_is_one(monkeypatch, freeze):
    class WithEncoder(nn.Linear):
        def __init__(self, num_classes=2, pretrained=True, dropout=0.0, freeze_feature_encoder=None):
            super().__init__(3, num_classes)
            self.frozen = freeze_feature_encoder

    class WithoutEncoder(nn.Linear):
        def __init__(self, num_classes=2, pretrained=True, dropout=0.0):
            super().__init__(3, num_classes)
            self.dropout = dropout

    monkeypatch.setattr(train_audio, "FREEZE_FEATURE_ENCODER", freeze)
    monkeypatch.setitem(MODEL_REGISTRY["audio"], "with", WithEncoder)
    monkeypatch.setitem(MODEL_REGISTRY["audio"], "without", WithoutEncoder)
    assert train_audio.build_model(settings("audio", model="with")).frozen is freeze
    assert train_audio.build_model(settings("audio", model="without")).dropout == train_audio.DROPOUT


def test_frozen_parameters_are_not_trained():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    model[0].requires_grad_(False)
    (group,) = train_audio.build_optimizer(model, settings("audio")).param_groups
    assert group["params"] == list(model[1].parameters())
