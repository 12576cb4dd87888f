import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dfresearch.demo import MINIMUM_PHOTOGRAPHS, build_image_demo
from dfresearch.demo.cells import draw_cells
from dfresearch.demo.decoder import TraceDecoder
from dfresearch.demo.image import CELL_SIDES, REAL_DATASET, SYNTHETIC_DATASET
from dfresearch.demo.photographs import Photograph, find_photographs

DATASETS = (REAL_DATASET, SYNTHETIC_DATASET)


def quiet(_line: str) -> None:
    pass


def draw_photograph(seed: int, height: int, width: int) -> np.ndarray:
    """A picture with a spectrum like a photograph's: noise added over octaves, in a tint of its own."""
    random = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3))
    for octave in (4, 16, 64, 256):
        small = Image.fromarray(random.integers(0, 256, (octave, octave, 3), dtype=np.uint8))
        picture += np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), dtype=float) / octave**0.5
    picture = (picture - picture.mean()) / picture.std() * 40 + random.uniform(80, 170, 3)
    return picture.clip(0, 255).astype(np.uint8)


def write_photographs(folder: Path, count: int, height: int = 520, width: int = 960) -> list[Photograph]:
    folder.mkdir()
    photographs = []
    for number in range(count):
        path = folder / f"{number}.png"
        Image.fromarray(draw_photograph(number, height, width)).save(path, compress_level=1)
        photographs.append(Photograph("drawn", f"drawn/{number}", path))
    return photographs


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    photographs = write_photographs(folder / "photographs", MINIMUM_PHOTOGRAPHS)
    report = build_image_demo(folder / "cache", seed=1, progress=quiet, photographs=photographs)
    return report, photographs


def read_samples(root: Path) -> list[tuple[Path, str, int]]:
    """List (path, group, label) from the manifests."""
    samples = []
    for label, name in enumerate(DATASETS):
        folder = root / "datasets" / "image" / name
        for line in (folder / "manifest.jsonl").read_text().splitlines():
            entry = json.loads(line)
            samples.append((folder / entry["file"], entry["group"], label))
    return samples


def read_tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_photographs_of_the_python_packages_are_found():
    photographs = find_photographs(Path("nowhere"))
    assert len(photographs) == 12
    assert {photograph.package for photograph in photographs} == {"matplotlib", "skimage", "sklearn"}
    for photograph in photographs:
        with Image.open(photograph.path) as image:
            assert min(image.size) >= 256


def test_photographs_of_the_system_are_found_below_its_share(tmp_path):
    path = tmp_path / "backgrounds/mate/nature/Dune.jpg"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    (path.parent / "Painting.jpg").write_bytes(b"")
    found = {photograph.group for photograph in find_photographs(tmp_path)}
    assert "mate-backgrounds/Dune.jpg" in found
    assert len(found) == 13


def test_every_file_is_in_the_manifest_and_opens(built):
    report, _ = built
    samples = read_samples(report.root)
    assert len(samples) == report.real_samples + report.synthetic_samples
    on_disk = {path for name in DATASETS for path in (report.root / "datasets" / "image" / name).glob("*.[pj][np]g")}
    assert {path for path, _, _ in samples} == on_disk
    for path, _, _ in samples:
        with Image.open(path) as image:
            assert image.mode == "RGB"
            assert 224 <= image.width == image.height <= 320
            assert image.format == {".png": "PNG", ".jpg": "JPEG"}[path.suffix]


def test_definitions_name_both_datasets(built):
    report, _ = built
    text = (report.root / "gasbench_configs" / "image_datasets.yaml").read_text()
    entries = {entry["name"]: entry for entry in yaml.safe_load(text)["datasets"]}
    assert {name: entry["media_type"] for name, entry in entries.items()} == {
        REAL_DATASET: "real",
        SYNTHETIC_DATASET: "synthetic",
    }
    assert all(entry["modality"] == "image" and entry["path"] for entry in entries.values())


def test_every_photograph_gives_both_classes(built):
    report, photographs = built
    groups = [{group for _, group, label in read_samples(report.root) if label == wanted} for wanted in (0, 1)]
    assert groups[0] == groups[1] == {photograph.group for photograph in photographs}


@pytest.mark.parametrize(("width", "height"), [(512, 512), (2560, 1600), (451, 300), (256, 900)])
def test_no_pixel_stands_in_two_cells(width, height):
    for seed in range(20):
        cells = draw_cells(width, height, CELL_SIDES, np.random.default_rng(seed))
        assert {synthetic for *_, synthetic in cells} == {False, True}
        covered = np.zeros((height, width), dtype=int)
        for left, top, side, _ in cells:
            assert left >= 0
            assert left + side <= width
            assert top + side <= height
            covered[top : top + side, left : left + side] += 1
        assert covered.max() == 1


def test_nothing_about_the_files_tells_the_classes_apart(built):
    """Format, dimensions, JPEG tables and colour are at chance on unseen photographs.

    Bytes per pixel are not quite: the traces themselves change how well pixels compress. It has a bound, too.
    """
    report, _ = built
    containers, sizes, labels, groups = [], [], [], []
    for path, group, label in read_samples(report.root):
        with Image.open(path) as image:
            quality = sum(image.quantization[0]) if path.suffix == ".jpg" else 0
            means = np.asarray(image).mean(axis=(0, 1))
        is_png = path.suffix == ".png"
        size = path.stat().st_size / image.width**2
        containers.append([is_png, quality, image.width, *means])
        sizes.append([size * is_png, size * (not is_png), is_png])
        labels.append(label)
        groups.append(group)
    classifier = make_pipeline(StandardScaler(), LogisticRegression())
    for features, limit in ((containers, 0.6), (sizes, 0.75)):
        accuracy = cross_val_score(classifier, features, labels, groups=groups, cv=GroupKFold(5)).mean()
        assert accuracy < limit


def test_the_same_seed_builds_the_same_bytes(tmp_path):
    photographs = write_photographs(tmp_path / "photographs", 2)
    trees = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        build_image_demo(tmp_path / name, seed=seed, progress=quiet, photographs=photographs)
        trees.append(read_tree(tmp_path / name))
    assert trees[0] == trees[1]
    assert trees[0] != trees[2]


def test_a_complete_demonstration_is_kept_and_a_half_built_one_is_built_again(tmp_path):
    photographs = write_photographs(tmp_path / "photographs", 2)
    root = tmp_path / "cache"
    assert build_image_demo(root, progress=quiet, photographs=photographs).built
    before = read_tree(root)
    assert not build_image_demo(root, progress=quiet, photographs=photographs).built

    (root / "demo_image.json").unlink()
    (root / "datasets" / "image" / REAL_DATASET / "000001.png").unlink(missing_ok=True)
    (root / "datasets" / "image" / REAL_DATASET / "stray.png").write_bytes(b"")
    (root / "datasets" / "image" / SYNTHETIC_DATASET / "manifest.jsonl").write_text("")
    assert build_image_demo(root, progress=quiet, photographs=photographs).built
    assert read_tree(root) == before
    assert build_image_demo(root, seed=7, progress=quiet, photographs=photographs).built


def test_what_else_lies_in_the_root_stays(tmp_path):
    photographs = write_photographs(tmp_path / "photographs", 2)
    results = tmp_path / "cache" / "results" / "checkpoint"
    results.parent.mkdir(parents=True)
    results.write_text("weights")
    build_image_demo(tmp_path / "cache", progress=quiet, photographs=photographs)
    assert results.read_text() == "weights"


def test_few_photographs_support_no_accuracy(tmp_path, built):
    assert built[0].supports_accuracy
    lines: list[str] = []
    photographs = write_photographs(tmp_path / "photographs", 2)
    report = build_image_demo(tmp_path / "cache", progress=lines.append, photographs=photographs)
    assert not report.supports_accuracy
    assert any("fewer than 20 photographs" in line for line in lines)


def test_no_photographs_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="install the packages"):
        build_image_demo(tmp_path, progress=quiet, photographs=[])


def test_the_decoder_keeps_the_content_and_leaves_a_grid():
    images = [torch.from_numpy(draw_photograph(seed, 128, 128)).permute(2, 0, 1).float() / 255 for seed in range(16)]
    decoder = TraceDecoder(images, seed=0)
    rendered = [decoder.render(image) for image in images]
    assert torch.stack([((a - b) ** 2).mean() for a, b in zip(images, rendered, strict=True)]).mean() < 0.003  # 25 dB

    def weigh_grid(batch: list[torch.Tensor]) -> float:
        """Mean energy at multiples of a quarter of the sampling rate over that of the frequencies around."""
        spectrum = torch.fft.fft2(torch.stack(batch).mean(dim=1)).abs().mean(dim=0)
        ratios = []
        for row, column in ((0, 32), (32, 0), (32, 32), (64, 32), (32, 64), (64, 64)):
            neighbourhood = spectrum.roll((2 - row, 2 - column), (0, 1))[:5, :5]
            ratios.append(spectrum[row, column] / neighbourhood.median())
        return float(torch.stack(ratios).mean())

    assert weigh_grid(rendered) > 1.2 * weigh_grid(images)


def test_the_decoder_refuses_sides_it_cannot_divide():
    decoder = TraceDecoder([torch.rand(3, 64, 64)], seed=0)
    with pytest.raises(ValueError, match="multiples of 4"):
        decoder.render(torch.rand(3, 62, 64))
