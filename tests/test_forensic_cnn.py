import inspect

import pytest
import torch
from safetensors.torch import save_file

from dfresearch.models.image import forensic_cnn
from dfresearch.models.image.forensic_cnn import KERNELS, ForensicCNN, HighPass, load_model


def draw_images(count: int, height: int = 64, width: int = 96) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)
    )


def test_takes_bytes_and_returns_logits():
    logits = ForensicCNN(num_classes=5)(draw_images(2))
    assert logits.shape == (2, 5)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


def test_an_image_scores_the_same_in_any_batch():
    torch.manual_seed(0)
    model = ForensicCNN().train()
    model(draw_images(8))
    model.eval()
    images = draw_images(6)
    with torch.no_grad():
        together = model(images)
        alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_memory_layout_and_type_of_the_input_do_not_matter():
    torch.manual_seed(0)
    model = ForensicCNN().eval()
    images = draw_images(2)
    with torch.no_grad():
        expected = model(images)
        torch.testing.assert_close(model(images.contiguous(memory_format=torch.channels_last)), expected)
        torch.testing.assert_close(model(images.float()), expected)


@pytest.mark.parametrize("kernel", [kernel for kernel, _ in KERNELS])
def test_kernels_do_not_see_flat_content(kernel):
    assert torch.tensor(kernel).sum() == 0


def test_high_pass_ignores_brightness_and_is_bounded():
    pixels = draw_images(2).float() / 2
    high_pass = HighPass()
    residual = high_pass(pixels)
    assert residual.shape == (2, 3, 60, 92)
    assert residual.abs().max() <= forensic_cnn.TRUNCATION / forensic_cnn.RESIDUAL_SCALE
    torch.testing.assert_close(high_pass(pixels + 100), residual, atol=1e-3, rtol=1e-3)


def test_high_pass_is_published_not_learned():
    model = ForensicCNN()
    assert "high_pass.weight" in model.state_dict()
    assert "high_pass.weight" not in dict(model.named_parameters())


def test_backbone_is_most_of_the_model():
    model = ForensicCNN()
    in_backbone = sum(parameter.numel() for parameter in model.backbone.parameters())
    assert in_backbone > 0.9 * sum(parameter.numel() for parameter in model.parameters())


def test_pretrained_is_accepted_and_changes_nothing():
    torch.manual_seed(0)
    first = ForensicCNN(pretrained=True).state_dict()
    torch.manual_seed(0)
    second = ForensicCNN(pretrained=False).state_dict()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value)


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    model = ForensicCNN(dropout=0.9).eval()
    images = draw_images(4)
    with torch.no_grad():
        assert torch.equal(model(images), model(images))
        model.dropout.train()
        assert not torch.equal(model(images), model(images))


def test_load_model_gives_back_the_saved_model(tmp_path):
    torch.manual_seed(0)
    model = ForensicCNN()
    model(draw_images(4))
    weights_path = tmp_path / "model.safetensors"
    save_file(model.state_dict(), weights_path)
    loaded = load_model(str(weights_path), num_classes=2, name="forensic-cnn", dropout=0.3)
    assert not loaded.training
    with torch.no_grad():
        torch.testing.assert_close(loaded(draw_images(3)), model.eval()(draw_images(3)))


def test_source_imports_torch_and_safetensors_only():
    source = inspect.getsource(forensic_cnn)
    imports = [line.split()[1] for line in source.splitlines() if line.startswith(("import ", "from "))]
    assert {name.split(".")[0] for name in imports} == {"torch", "safetensors"}
    assert "getattr" not in source


def test_learns_a_checkerboard_from_scratch():
    """The trace of an uneven upsampling over smooth content and noise: learnt in a few dozen steps."""
    torch.manual_seed(0)
    model = ForensicCNN(dropout=0.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    checkerboard = 6.0 * torch.ones(64, 64)
    checkerboard[::2, ::2] = checkerboard[1::2, 1::2] = -6.0

    def draw_batch(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        content = 60 * torch.randn(count, 3, 8, 8)
        smooth = torch.nn.functional.interpolate(content, (64, 64), mode="bicubic") + 128
        labels = torch.arange(count) % 2
        traced = smooth + 6 * torch.randn(count, 3, 64, 64) + labels[:, None, None, None] * checkerboard
        return traced.clamp(0, 255).byte(), labels

    for _ in range(60):
        images, labels = draw_batch(16)
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    images, labels = draw_batch(64)
    with torch.no_grad():
        accuracy = (model.eval()(images).argmax(1) == labels).float().mean()
    assert accuracy > 0.9
