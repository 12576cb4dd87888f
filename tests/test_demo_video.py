"""Demonstration clips: what is written, the same each time, and that nothing but pixels tells the classes apart."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dfresearch.demo import ToolError, build_video_demo, tools, video
from dfresearch.demo.photographs import Photograph
from dfresearch.demo.video import CLIP_SIDES, FRAMES, REAL_DATASET, SYNTHETIC_DATASET

DATASETS = (REAL_DATASET, SYNTHETIC_DATASET)
PHOTOGRAPHS = 5


def quiet(_line: str) -> None:
    pass


def draw_photograph(seed: int) -> np.ndarray:
    """A picture with a spectrum like a photograph's: noise added over octaves."""
    random = np.random.default_rng(seed)
    picture = np.zeros((640, 960, 3))
    for octave in (4, 16, 64, 256, 640):
        small = Image.fromarray(random.integers(0, 256, (octave, octave, 3), dtype=np.uint8))
        picture += np.asarray(small.resize((960, 640), Image.Resampling.BICUBIC), dtype=float) / octave**0.5
    picture = (picture - picture.mean()) / picture.std() * 40 + random.uniform(80, 170, 3)
    return picture.clip(0, 255).astype(np.uint8)


def write_photographs(folder: Path, count: int) -> list[Photograph]:
    folder.mkdir()
    photographs = []
    for number in range(count):
        path = folder / f"{number}.png"
        Image.fromarray(draw_photograph(number)).save(path, compress_level=1)
        photographs.append(Photograph("drawn", f"drawn/{number}", path))
    return photographs


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return write_photographs(tmp_path_factory.mktemp("demo") / "photographs", PHOTOGRAPHS)


@pytest.fixture(scope="module")
def built(tmp_path_factory, photographs):
    return build_video_demo(tmp_path_factory.mktemp("built"), seed=1, progress=quiet, photographs=photographs)


def read_samples(root: Path) -> list[tuple[Path, str, int]]:
    """List (path, group, label) from the manifests."""
    samples = []
    for label, name in enumerate(DATASETS):
        folder = root / "datasets" / "video" / name
        for line in (folder / "manifest.jsonl").read_text().splitlines():
            entry = json.loads(line)
            samples.append((folder / entry["file"], entry["group"], label))
    return samples


def read_tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def probe(path: Path) -> dict[str, object]:
    entries = "stream=codec_name,width,height,r_frame_rate,nb_read_frames"
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_entries", entries, "-of", "json", str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["streams"][0]


@pytest.fixture(scope="module")
def probes(built):
    return {path: probe(path) for path, _, _ in read_samples(built.root)}


def decode_frames(path: Path, side: int) -> np.ndarray:
    command = ["ffmpeg", "-loglevel", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, side, side, 3)


def test_every_file_is_in_the_manifest_and_decodes(built, probes):
    samples = read_samples(built.root)
    assert len(samples) == built.real_samples + built.synthetic_samples
    folders = [built.root / "datasets" / "video" / name for name in DATASETS]
    assert {path for path, _, _ in samples} == {
        path for folder in folders for path in folder.iterdir() if path.name != "manifest.jsonl"
    }
    for path, stream in probes.items():
        assert stream["width"] == stream["height"] <= CLIP_SIDES[1], path
        assert FRAMES[0] <= int(stream["nb_read_frames"]) <= FRAMES[1], path
        assert stream["r_frame_rate"] == "25/1", path


def test_definitions_name_both_datasets(built):
    text = (built.root / "gasbench_configs" / "video_datasets.yaml").read_text()
    entries = yaml.safe_load(text)["datasets"]
    assert {entry["name"]: entry["media_type"] for entry in entries} == dict(
        zip(DATASETS, ("real", "synthetic"), strict=True)
    )
    assert {entry["modality"] for entry in entries} == {"video"}


def test_the_two_clips_of_a_pair_are_stored_alike(built, probes):
    """The classes have the same codecs, sizes and lengths, photograph by photograph."""

    def describe(wanted: int) -> list[tuple[str, ...]]:
        return sorted(
            (group, path.suffix, *(str(value) for value in probes[path].values()))
            for path, group, label in read_samples(built.root)
            if label == wanted
        )

    assert describe(0) == describe(1)
    assert len({probes[path]["codec_name"] for path in probes}) >= 3


def test_light_colour_motion_and_edges_are_at_chance(built, probes):
    features, labels, groups = [], [], []
    for path, group, label in read_samples(built.root):
        frames = decode_frames(path, int(probes[path]["width"])).astype(float)
        motion = np.abs(np.diff(frames, axis=0)).mean()
        # A decoder's zero padding would darken the outermost pixels.
        border = frames[:, 0].mean() - frames[:, 8].mean()
        features.append([*frames.mean(axis=(0, 1, 2)), frames.std(), motion, border])
        labels.append(label)
        groups.append(group)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
    accuracy = cross_val_score(classifier, features, labels, groups=groups, cv=GroupKFold(PHOTOGRAPHS)).mean()
    assert accuracy < 0.7


def test_the_content_moves_by_less_than_a_pixel_or_two_a_frame(built, probes):
    for path in probes:
        frames = decode_frames(path, int(probes[path]["width"])).astype(float).mean(axis=3)
        first, last = frames[0], frames[-1]
        assert np.abs(first - last).mean() > 1.0, path
        assert np.abs(frames[0] - frames[1]).mean() < np.abs(first - last).mean() + 1.0, path


def test_the_same_seed_builds_the_same_bytes(tmp_path, photographs):
    trees = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        build_video_demo(tmp_path / name, seed=seed, progress=quiet, photographs=photographs[:1])
        trees.append(read_tree(tmp_path / name))
    assert trees[0] == trees[1]
    assert trees[0] != trees[2]


def test_a_complete_demonstration_is_kept_and_a_half_built_one_is_built_again(tmp_path, photographs):
    root = tmp_path / "cache"
    assert build_video_demo(root, progress=quiet, photographs=photographs[:1]).built
    before = read_tree(root)
    assert not build_video_demo(root, progress=quiet, photographs=photographs[:1]).built
    (root / "demo_video.json").unlink()
    (root / "datasets" / "video" / REAL_DATASET / "stray.mp4").write_bytes(b"")
    assert build_video_demo(root, progress=quiet, photographs=photographs[:1]).built
    assert read_tree(root) == before


def test_a_build_that_fails_leaves_what_was_there(tmp_path, photographs, monkeypatch):
    root = tmp_path / "cache"
    build_video_demo(root, progress=quiet, photographs=photographs[:1])
    before = read_tree(root)

    def fail(*_arguments):
        raise ToolError("ffmpeg is not installed")

    monkeypatch.setattr(video, "run_tool", fail)
    with pytest.raises(ToolError, match="not installed"):
        build_video_demo(root, seed=9, progress=quiet, photographs=photographs[:1])
    kept = read_tree(root)
    assert {name: data for name, data in kept.items() if not name.startswith(".building")} == before


def test_what_supports_no_accuracy_says_so(tmp_path, photographs, built):
    lines: list[str] = []
    report = build_video_demo(built.root, seed=1, progress=lines.append, photographs=photographs)
    assert not report.built
    assert not report.supports_accuracy
    assert any("fewer than 20 photographs" in line for line in lines)
    with pytest.raises(ValueError, match="install the packages"):
        build_video_demo(tmp_path, progress=quiet, photographs=[])


def test_a_missing_or_failing_command_is_named():
    with pytest.raises(ToolError, match="no-such-command is not installed: `make setup`"):
        tools.run_tool(["no-such-command"])
    with pytest.raises(ToolError, match=r"failed with exit code \d+: .*nowhere\.mp4"):
        tools.run_tool(["ffmpeg", "-hide_banner", "-loglevel", "error", "-i", "nowhere.mp4"])
