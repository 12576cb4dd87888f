"""The image detectors: shapes, sizes, weights, what offline says."""

import copy
from types import SimpleNamespace

import pytest
import timm
import torch
import transformers
from model_checks import (
    ask_the_hub,
    assert_foreign_weights_are_refused,
    assert_names_the_ways_around,
    assert_same_tensors,
    load_model_of,
    one_thread,
    parameter_count,
    part_of,
    relative_error_of_neighbours,
    snapshot_folder,
)
from safetensors.torch import save_file
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from dfresearch.models import get_model, list_models
from dfresearch.models.image import clip_vit_l14, smogy_swin

pytestmark = pytest.mark.usefixtures(one_thread.__name__)

IMAGE_MODELS = list_models("image")
PUBLISHED_BACKBONES = ["efficientnet-b4", "clip-vit-l14", "smogy-swin"]

# Small versions of the published configurations, so that a forward pass on a CPU takes no time.
SMALL_CLIP_VISION = transformers.CLIPVisionConfig(
    hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=224, patch_size=14
)
SMALL_SWIN = transformers.SwinConfig(
    image_size=224,
    patch_size=4,
    window_size=7,
    embed_dim=16,
    depths=[2, 2, 2, 2],
    num_heads=[1, 2, 4, 8],
    num_labels=2,
    id2label={0: "artificial", 1: "human"},
    label2id={"artificial": 0, "human": 1},
)


@pytest.fixture(scope="module")
def small_configs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clip_vit_l14, "vision_config", lambda: SMALL_CLIP_VISION)
        patch.setattr(smogy_swin, "swin_config", lambda: SMALL_SWIN)
        yield


@pytest.fixture(scope="module", params=IMAGE_MODELS)
def built_model(request, small_configs):
    torch.manual_seed(0)
    return get_model("image", request.param, pretrained=False)


@pytest.fixture
def image_model(built_model):
    return copy.deepcopy(built_model).train(False)


def random_images(count, height, width, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


def backbone_of(model):
    return model.backbone if hasattr(model, "backbone") else model.vision_model


# --- what a detector is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "backbone_parameters", "published_head_parameters", "published_parameters"),
    [
        # timm's model card: 19.34 M, with a classifier for 1000 classes.
        ("efficientnet-b4", 17_548_616, 1792 * 1000 + 1000, 19_341_616),
        # CLIP's vision tower with its projection: 304 M.
        ("clip-vit-l14", 303_179_776, 1024 * 768, 303_966_208),
        # Swin-B, 88 M with a classifier for 1000 classes; 87 M with SMOGY's for two.
        ("smogy-swin", 86_743_224, 1024 * 1000 + 1000, 87_768_224),
    ],
)
def test_parameter_counts_are_the_published_ones(
    name, backbone_parameters, published_head_parameters, published_parameters
):
    with torch.device("meta"):
        model = get_model("image", name, pretrained=False)
    backbone = parameter_count(backbone_of(model))
    assert backbone == backbone_parameters
    assert backbone + published_head_parameters == published_parameters
    features = {"efficientnet-b4": 1792, "clip-vit-l14": 1024, "smogy-swin": 1024}[name]
    assert parameter_count(model) == backbone + 2 * features + 2


def test_logits_have_one_column_per_class(image_model):
    with torch.no_grad():
        logits = image_model(random_images(3, 224, 224))
    assert logits.shape == (3, 2)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_number_of_classes_and_dropout_are_taken(name, small_configs):
    model = get_model("image", name, num_classes=3, pretrained=False, dropout=0.125).train(False)
    with torch.no_grad():
        assert model(random_images(1, 64, 64)).shape == (1, 3)
    assert 0.125 in [module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)]


def test_floating_images_count_in_the_same_range(image_model):
    images = random_images(2, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(image_model(images.float()), image_model(images), rtol=0, atol=0)


def test_a_samples_logits_do_not_depend_on_its_neighbours(image_model):
    # In double precision, since a random deep network magnifies single precision's rounding.
    image_model.double()
    # Distinct in brightness and in texture, so that even a random network tells them apart.
    images = torch.stack([random_images(1, 48, 48)[0] // divisor for divisor in (1, 3, 8)])
    assert relative_error_of_neighbours(image_model, images) < 1e-6


@pytest.mark.parametrize(("height", "width"), [(256, 230), (96, 128)])
def test_other_sizes_are_handled_and_leave_no_trace(image_model, height, width):
    images, others = random_images(1, 224, 224), random_images(1, height, width)
    with torch.no_grad():
        before = image_model(images)
        logits = image_model(others)
        assert logits.shape == (1, 2)
        assert logits.isfinite().all()
        torch.testing.assert_close(image_model(images), before, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(image_model(others), logits, rtol=1e-4, atol=1e-5)


def test_swin_logits_do_not_depend_on_which_size_came_first(small_configs):
    torch.manual_seed(0)
    seen_native_first = get_model("image", "smogy-swin", pretrained=False).train(False)
    torch.manual_seed(0)
    seen_larger_first = get_model("image", "smogy-swin", pretrained=False).train(False)
    larger = random_images(2, 288, 288)
    with torch.no_grad():
        seen_native_first(random_images(1, 224, 224))
        torch.testing.assert_close(seen_native_first(larger), seen_larger_first(larger), rtol=1e-4, atol=1e-5)


def test_reduced_precision_works(image_model):
    images = random_images(2, 64, 64)
    with torch.no_grad():
        logits = image_model.to(torch.bfloat16)(images)
    assert logits.dtype == torch.bfloat16
    assert logits.isfinite().all()


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("efficientnet-b4", IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
        ("clip-vit-l14", OPENAI_CLIP_MEAN, OPENAI_CLIP_STD),
        ("smogy-swin", IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
    ],
)
def test_backbones_see_pixels_in_their_own_scale(name, mean, std, small_configs):
    model = get_model("image", name, pretrained=False).train(False)
    seen = []

    def remember(_module, arguments, keywords):
        seen.append(arguments[0] if arguments else keywords["pixel_values"])

    backbone_of(model).register_forward_pre_hook(remember, with_kwargs=True)
    images = random_images(2, 224, 224)
    with torch.no_grad():
        model(images)
    for channel in range(3):
        expected = (images[:, channel].double() / 255 - mean[channel]) / std[channel]
        torch.testing.assert_close(seen[0][:, channel].double(), expected, rtol=0, atol=1e-6)


def test_gradients_reach_every_parameter(image_model):
    image_model.train(True)
    torch.nn.functional.cross_entropy(image_model(random_images(2, 64, 64)), torch.tensor([0, 1])).backward()
    without = [name for name, parameter in image_model.named_parameters() if parameter.grad is None]
    assert without == []


# --- weights ----------------------------------------------------------------------------------------------------------


def test_saved_weights_come_back_through_the_files_own_load_model(image_model, tmp_path):
    weights = tmp_path / "model.safetensors"
    save_file(image_model.state_dict(), weights)
    torch.manual_seed(99)
    loaded = load_model_of(image_model)(str(weights), num_classes=2, name="anything", dropout=0.5)
    images = random_images(2, 64, 64)
    assert not loaded.training
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), image_model(images), rtol=0, atol=0)


def test_missing_or_foreign_weights_are_refused(image_model, tmp_path):
    assert_foreign_weights_are_refused(image_model, tmp_path / "model.safetensors")


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """What the detectors take from a hub that is there, and what they say of one that is not; never a network."""
    torch.manual_seed(0)
    home, output = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("output")
    efficientnet = timm.create_model("efficientnet_b4", pretrained=False)
    save_file(efficientnet.state_dict(), snapshot_folder(home, "timm/efficientnet_b4.ra2_in1k") / "model.safetensors")
    small_text = transformers.CLIPTextConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    clip = transformers.CLIPModel(
        transformers.CLIPConfig(text_config=small_text.to_dict(), vision_config=SMALL_CLIP_VISION.to_dict())
    )
    # As published, one file for both towers; at half precision, to see float32 come out.
    clip.to(torch.float16).save_pretrained(snapshot_folder(home, "openai/clip-vit-large-patch14"))
    swin = transformers.SwinForImageClassification(SMALL_SWIN)
    swin.save_pretrained(snapshot_folder(home, "Smogy/SMOGY-Ai-images-detector"))

    states, messages = ask_the_hub("image", PUBLISHED_BACKBONES, home, output)
    return SimpleNamespace(
        efficientnet=efficientnet.state_dict(),
        clip_vision=clip.vision_model.state_dict(),
        swin=swin,
        states=states,
        messages=messages,
    )


def test_efficientnet_takes_the_hubs_backbone(hub):
    published = {key: tensor for key, tensor in hub.efficientnet.items() if not key.startswith("classifier.")}
    assert_same_tensors(part_of(hub.states["efficientnet-b4"], "backbone."), published)


def test_clip_takes_the_hubs_vision_tower_as_float32(hub):
    published = {key: tensor.float() for key, tensor in hub.clip_vision.items()}
    assert_same_tensors(part_of(hub.states["clip-vit-l14"], "vision_model."), published)


def test_smogy_takes_the_hubs_backbone_and_its_head_in_our_order(hub):
    state = hub.states["smogy-swin"]
    assert_same_tensors(part_of(state, "backbone."), hub.swin.swin.state_dict())
    # The published classifier's order is artificial, human; ours is real, synthetic.
    head = {key: tensor.flip(0) for key, tensor in hub.swin.classifier.state_dict().items()}
    assert_same_tensors(part_of(state, "head.1."), head)


@pytest.mark.parametrize("name", PUBLISHED_BACKBONES)
def test_an_unreachable_hub_is_named_with_the_ways_around_it(hub, name):
    assert_names_the_ways_around(hub.messages[name], name)
