"""The video detectors: shapes, published sizes, what their backbones see, weights, submissions, what offline says."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
import transformers
from model_checks import (
    ask_the_hub,
    assert_foreign_weights_are_refused,
    assert_names_the_ways_around,
    assert_same_tensors,
    evaluator,
    load_model_of,
    one_thread,
    pack,
    parameter_count,
    part_of,
    relative_error_of_neighbours,
    snapshot_folder,
)
from safetensors.torch import save_file
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torchvision.models import video as torchvision_video

from dfresearch.models import get_model, list_models
from dfresearch.models.video import forensic_cnn, hiera, videomae

pytestmark = pytest.mark.usefixtures(one_thread.__name__)

VIDEO_MODELS = list_models("video")
PUBLISHED_BACKBONES = ["r3d-18", "videomae", "hiera"]
assert callable(evaluator)

# Small versions of the published configurations, for what is compared with other implementations.
SMALL_VIDEOMAE = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "decoder_hidden_size": 12,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 24,
}
SMALL_HIERA = {"embed_dim": 8, "depths": [1, 1, 2, 1], "num_heads": [1, 1, 2, 2]}


@pytest.fixture(scope="module", params=VIDEO_MODELS)
def built_model(request):
    """One at a time, at full size, which short and small clips make cheap enough."""
    torch.manual_seed(0)
    return get_model("video", request.param, pretrained=False)


@pytest.fixture
def video_model(built_model):
    return built_model.train(False)


@pytest.fixture
def videomae_is_small(monkeypatch):
    small = transformers.VideoMAEConfig(**SMALL_VIDEOMAE, use_mean_pooling=True)
    monkeypatch.setattr(videomae, "encoder_config", lambda: small)


def random_clips(count, frames, height, width, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, frames, 3, height, width), dtype=torch.uint8, generator=generator)


# --- what a detector is -----------------------------------------------------------------------------------------------


def vision_transformer_parameters(patch_numbers, width=768, layers=12, hidden=3072, key_has_bias=True):
    """ViT without class token, positions and last norm, counted by hand."""
    attention = 4 * width * width + (4 if key_has_bias else 3) * width
    block = attention + 2 * width * hidden + hidden + width + 4 * width
    return patch_numbers * width + width + layers * block


@pytest.mark.parametrize(
    ("name", "backbone_parameters", "features", "other_parameters"),
    [
        # torchvision states 33,371,472 with a classifier for 400 classes of 512 features.
        ("r3d-18", torchvision_video.R3D_18_Weights.DEFAULT.meta["num_params"] - (512 * 400 + 400), 512, 0),
        # The paper's ViT-B, 87 M with a classifier; keys have no bias.
        ("videomae", vision_transformer_parameters(2 * 16 * 16 * 3, key_has_bias=False), 768, 2 * 768),
        # The authors state 51.52 M with a classifier for 1000 classes of 768 features.
        ("hiera", 50_755_968, 768, 0),
    ],
)
def test_parameter_counts_are_the_published_ones(name, backbone_parameters, features, other_parameters):
    with torch.device("meta"):
        model = get_model("video", name, pretrained=False)
    assert parameter_count(model.backbone) == backbone_parameters
    assert parameter_count(model) == backbone_parameters + other_parameters + 2 * features + 2
    with_published_classifier = {
        "r3d-18": (33.37, backbone_parameters + 512 * 400 + 400),
        "videomae": (86.5, backbone_parameters + 2 * 768 + 768 * 400 + 400),
        "hiera": (51.52, backbone_parameters + 768 * 1000 + 1000),
    }
    published, counted = with_published_classifier[name]
    assert counted / 1e6 == pytest.approx(published, abs=0.05)


def test_the_forensic_network_is_small_and_its_filters_are_not_learned():
    model = get_model("video", "forensic-cnn")
    assert parameter_count(model) < 20_000
    assert list(model.high_pass.parameters()) == []


@pytest.mark.parametrize(("frames", "height", "width"), [(16, 64, 64), (1, 64, 64), (3, 48, 80)])
def test_clips_of_any_length_and_size_give_one_column_per_class(video_model, frames, height, width):
    with torch.no_grad():
        logits = video_model(random_clips(2, frames, height, width))
    assert logits.shape == (2, 2)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


def test_frames_of_the_competitions_size_are_taken(video_model):
    with torch.no_grad():
        logits = video_model(random_clips(1, 2, 224, 224))
    assert logits.shape == (1, 2)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", ["r3d-18", "forensic-cnn"])
def test_number_of_classes_and_dropout_are_taken(name):
    assert_takes_classes_and_dropout(name)


def test_number_of_classes_and_dropout_are_taken_by_transformers(videomae_is_small, monkeypatch):
    monkeypatch.setattr(hiera, "backbone_config", lambda: transformers.HieraConfig(**SMALL_HIERA))
    for name in ("videomae", "hiera"):
        assert_takes_classes_and_dropout(name)


def assert_takes_classes_and_dropout(name):
    model = get_model("video", name, num_classes=3, pretrained=False, dropout=0.125).train(False)
    with torch.no_grad():
        assert model(random_clips(1, 2, 32, 32)).shape == (1, 3)
    assert 0.125 in [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]


def test_floating_clips_count_in_the_same_range(video_model):
    clips = random_clips(1, 2, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(video_model(clips.float()), video_model(clips), rtol=0, atol=0)


def test_a_samples_logits_do_not_depend_on_its_neighbours(built_model):
    # In double precision, since a random deep network magnifies single precision's rounding.
    model = copy.deepcopy(built_model).double().train(False)
    clips = torch.stack([random_clips(1, 4, 32, 32)[0] // divisor for divisor in (1, 3, 8)])
    # The forensic network's residuals are in single precision whatever the rest is in.
    allowed = 1e-4 if isinstance(model, forensic_cnn.ForensicVideoCNN) else 1e-6
    assert relative_error_of_neighbours(model, clips) < allowed


def test_every_frame_counts(video_model):
    # The first three of four: VideoMAE pairs frames.
    clips = random_clips(1, 4, 32, 32)
    changed = clips.clone()
    with torch.no_grad():
        before = video_model(clips)
        for frame in range(4):
            changed[:, frame] //= 2
            after = video_model(changed)
            assert (after - before).abs().max() > 1e-6, frame
            before = after


def test_reduced_precision_works(built_model):
    model = copy.deepcopy(built_model).to(torch.bfloat16).train(False)
    with torch.no_grad():
        logits = model(random_clips(1, 2, 32, 32))
    assert logits.dtype == torch.bfloat16
    assert logits.isfinite().all()


def test_gradients_reach_every_parameter(built_model):
    model = copy.deepcopy(built_model).train(True)
    torch.nn.functional.cross_entropy(model(random_clips(2, 2, 32, 32)), torch.tensor([0, 1])).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


# --- what the backbones see -------------------------------------------------------------------------------------------


def test_r3d_sees_pixels_as_torchvision_prepares_them():
    model = get_model("video", "r3d-18", pretrained=False).train(False)
    prepare = torchvision_video.R3D_18_Weights.DEFAULT.transforms()
    clips = random_clips(1, 4, 112, 112)
    # Everything but the scaling, which is the one thing left out.
    prepare.resize_size = [112, 112]
    with torch.no_grad():
        torch.testing.assert_close(model(clips), model.head(model.backbone(prepare(clips))), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def published_videomae():
    """transformers' own classifier, its norm and classifier filled with numbers that show where they are used."""
    torch.manual_seed(3)
    config = transformers.VideoMAEConfig(**SMALL_VIDEOMAE, use_mean_pooling=True, num_labels=2)
    model = transformers.VideoMAEForVideoClassification(config).train(False)
    with torch.no_grad():
        for parameter in (*model.fc_norm.parameters(), *model.classifier.parameters()):
            parameter.normal_()
    return model


def test_videomae_equals_the_published_fine_tuning(published_videomae, videomae_is_small):
    model = get_model("video", "videomae", pretrained=False).train(False)
    model.backbone.load_state_dict(published_videomae.videomae.state_dict())
    model.norm.load_state_dict(published_videomae.fc_norm.state_dict())
    model.head[1].load_state_dict(published_videomae.classifier.state_dict())
    clips = random_clips(1, 16, 224, 224)
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    with torch.no_grad():
        expected = published_videomae((clips / 255 - mean) / std).logits
        torch.testing.assert_close(model(clips), expected, rtol=1e-4, atol=1e-5)


def test_videomae_position_embeddings_are_the_published_ones():
    from transformers.models.videomae.modeling_videomae import get_sinusoid_encoding_table

    found = videomae.position_embeddings((8, 14, 14), 768, torch.device("cpu"))
    torch.testing.assert_close(found, get_sinusoid_encoding_table(8 * 14 * 14, 768), rtol=0, atol=1e-6)
    # Twice as fine a grid: four tokens lie around the place of one.
    fine = videomae.position_embeddings((1, 28, 28), 768, torch.device("cpu"))[0].unflatten(0, (28, 28))
    position = 14 * (-0.25) + (-0.25)
    assert fine[0, 0, 0].item() == pytest.approx(math.sin(position), abs=1e-6)
    assert fine[0, 0, 1].item() == pytest.approx(math.cos(position), abs=1e-6)


def test_an_odd_clip_is_its_last_frame_longer_for_videomae(videomae_is_small):
    model = get_model("video", "videomae", pretrained=False).train(False)
    clip = random_clips(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(clip), model(torch.cat((clip, clip[:, -1:]), dim=1)), rtol=0, atol=0)


def test_hiera_is_the_image_model_on_every_frame(monkeypatch):
    monkeypatch.setattr(hiera, "backbone_config", lambda: transformers.HieraConfig(**SMALL_HIERA))
    torch.manual_seed(0)
    model = get_model("video", "hiera", pretrained=False).train(False)
    clips = random_clips(1, 3, 224, 224)
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    with torch.no_grad():
        frames = [model.backbone((frame[None] / 255 - mean) / std).pooler_output for frame in clips[0]]
        torch.testing.assert_close(model(clips), model.head(sum(frames) / 3), rtol=1e-4, atol=1e-5)
        # Filled up by its last row and column to the next multiple of 32.
        padded = torch.nn.functional.pad(
            clips[:, :, :, :60, :50].flatten(0, 1).float(), (0, 14, 0, 4), mode="replicate"
        )
        torch.testing.assert_close(model(clips[:, :, :, :60, :50]), model(padded[None]), rtol=0, atol=0)


def test_the_forensic_network_sees_the_published_filters():
    from dfresearch.models.image.forensic_cnn import KERNELS, LUMA_WEIGHTS

    pixels = random_clips(1, 2, 20, 24)[0]
    line, square = (
        torch.tensor(kernel, dtype=torch.float64)[1:4, 1:4] / magnitude for kernel, magnitude in KERNELS[:2]
    )
    luma = (pixels.double() * torch.tensor(LUMA_WEIGHTS, dtype=torch.float64).view(3, 1, 1)).sum(dim=1, keepdim=True)
    # Ours have the sign of a second difference, the published ones that of their centre.
    kernels = torch.stack((line, line.T, -square))[:, None]
    residual = torch.nn.functional.conv2d(luma, kernels)
    expected = (residual / (residual.abs().mean(dim=(2, 3), keepdim=True) + 0.5)).clamp(-4, 4) / 2
    torch.testing.assert_close(forensic_cnn.HighPass()(pixels).double(), expected, rtol=0, atol=1e-4)


def test_the_forensic_network_learns_from_still_pictures_without_breaking():
    """A clip whose frames are all alike has no deviation over time, and its square root no slope."""
    torch.manual_seed(0)
    model = get_model("video", "forensic-cnn", dropout=0.0)
    still = random_clips(2, 1, 32, 32).expand(-1, 4, -1, -1, -1)
    torch.nn.functional.cross_entropy(model(still), torch.tensor([0, 1])).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_the_forensic_network_learns_a_checkerboard_from_scratch():
    torch.manual_seed(0)
    model = get_model("video", "forensic-cnn", dropout=0.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    checkerboard = 6.0 * torch.ones(48, 48)
    checkerboard[::2, ::2] = checkerboard[1::2, 1::2] = -6.0

    def draw_batch(count):
        content = torch.nn.functional.interpolate(60 * torch.randn(count, 3, 6, 6), (48, 48), mode="bicubic") + 128
        labels = torch.arange(count) % 2
        frames = content[:, None] + 6 * torch.randn(count, 3, 3, 48, 48)
        return (frames + labels[:, None, None, None, None] * checkerboard).clamp(0, 255).byte(), labels

    for _ in range(60):
        clips, labels = draw_batch(8)
        loss = torch.nn.functional.cross_entropy(model(clips), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    clips, labels = draw_batch(48)
    with torch.no_grad():
        accuracy = (model.train(False)(clips).argmax(1) == labels).float().mean()
    assert accuracy > 0.9


# --- weights ----------------------------------------------------------------------------------------------------------


def test_a_submission_gives_the_same_logits_by_its_own_source(built_model, request, evaluator, tmp_path):
    name = request.node.callspec.params["built_model"]
    archive = pack("video", name, built_model.state_dict(), {"resize": (32, 32), "num_frames": 2}, tmp_path)
    clips = random_clips(2, 3, 48, 32)
    with torch.no_grad():
        expected = built_model.train(False)(clips)
    torch.testing.assert_close(
        evaluator.logits(archive, clips, tmp_path / "submission"), expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", ["r3d-18", "forensic-cnn"])
def test_missing_or_foreign_weights_are_refused(name, tmp_path):
    model = get_model("video", name, pretrained=False)
    assert_foreign_weights_are_refused(model, tmp_path / "model.safetensors")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """What the detectors take from a hub that is there, and what they say of one that is not; never a network."""
    torch.manual_seed(0)
    home, output = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("output")
    # As published: the model of pretraining, decoder included, whose configuration says use_mean_pooling=False.
    config = transformers.VideoMAEConfig(**SMALL_VIDEOMAE, use_mean_pooling=False)
    pretraining = transformers.VideoMAEForPreTraining(config)
    assert "videomae.layernorm.weight" in pretraining.state_dict()
    pretraining.to(torch.float16).save_pretrained(snapshot_folder(home, "MCG-NJU/videomae-base"))
    frames = transformers.HieraModel(transformers.HieraConfig(**SMALL_HIERA))
    frames.save_pretrained(snapshot_folder(home, "facebook/hiera-base-224-hf"))
    # torchvision's file has no small version; a number for each tensor, spread over its shape, takes no room.
    with torch.device("meta"):
        shapes = torchvision_video.r3d_18().state_dict()
    kinetics = {
        key: torch.tensor(number, dtype=shape.dtype).expand(shape.shape)
        for number, (key, shape) in enumerate(shapes.items())
    }
    checkpoints = home / "hub" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.save(kinetics, checkpoints / "r3d_18-b3b3357e.pth")
    states, messages = ask_the_hub("video", PUBLISHED_BACKBONES, home, output)
    return SimpleNamespace(
        pretraining=pretraining, frames=frames, kinetics=kinetics, states=states, messages=messages, output=output
    )


def test_r3d_takes_torchvisions_backbone(hub):
    published = {key: tensor for key, tensor in hub.kinetics.items() if not key.startswith("fc.")}
    assert_same_tensors(part_of(hub.states["r3d-18"], "backbone."), published)


def test_hiera_takes_the_hubs_backbone(hub):
    assert_same_tensors(part_of(hub.states["hiera"], "backbone."), hub.frames.state_dict())


def test_videomae_takes_the_hubs_encoder_as_float32_without_its_norm(hub):
    encoder = part_of(hub.pretraining.state_dict(), "videomae.")
    published = {key: tensor.float() for key, tensor in encoder.items() if not key.startswith("layernorm.")}
    assert_same_tensors(part_of(hub.states["videomae"], "backbone."), published)


def test_a_pretrained_videomae_comes_back_through_the_files_own_load_model(hub, videomae_is_small):
    loaded = videomae.load_model(str(hub.output / "videomae"), num_classes=2)
    assert not loaded.training
    assert_same_tensors(loaded.state_dict(), hub.states["videomae"])
    fresh = get_model("video", "videomae", pretrained=False)
    assert set(fresh.state_dict()) == set(hub.states["videomae"])


def test_saved_weights_come_back_exactly(videomae_is_small, tmp_path):
    model = get_model("video", "videomae", pretrained=False).train(False)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    loaded = load_model_of(model)(str(tmp_path / "model.safetensors"), num_classes=2, name="anything", dropout=0.5)
    clips = random_clips(2, 4, 48, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(clips), model(clips), rtol=0, atol=0)


@pytest.mark.parametrize("name", PUBLISHED_BACKBONES)
def test_an_unreachable_hub_is_named_with_the_ways_around_it(hub, name):
    assert_names_the_ways_around(hub.messages[name], name)
