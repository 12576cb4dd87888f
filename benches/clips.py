"""Make the clips and recordings that the benches read, with the ffmpeg command, laid out as a cache.

    FOLDER/datasets/{video,audio}/{dataset}/NNNNNN.* and FOLDER/gasbench_configs/*.yaml

Clips are H.264 pans over installed photographs, 480 to 720 lines, 3 to 10 s at 25 frames a second. Recordings are drawn
tones and noise, 3 to 12 s, wav, flac, mp3 and opus at 8 to 48 kHz.
"""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import yaml
from media import SEED, find_photographs

FRAME_SIZES = ((640, 480), (854, 480), (1280, 720))
FRAME_COUNTS = (75, 125, 250)
FRAMES_PER_SECOND = 25
RECORDING_SECONDS = (3.0, 12.0)
# Suffix, encoder and its settings, sample rates in Hz.
AUDIO_FORMATS = (
    ("wav", ("-c:a", "pcm_s16le"), (8000, 16000, 22050, 44100)),
    ("flac", ("-c:a", "flac"), (16000, 44100, 48000)),
    ("mp3", ("-c:a", "libmp3lame", "-b:a", "96k"), (16000, 44100)),
    ("opus", ("-c:a", "libopus", "-b:a", "48k"), (48000,)),
)
MEDIA_TYPES = ("real", "synthetic")


def _write_definitions(folder: Path, modality: str) -> None:
    configs = folder / "gasbench_configs"
    configs.mkdir(parents=True, exist_ok=True)
    definitions = [
        {"name": f"bench-{media_type}", "path": f"local/bench-{media_type}", "modality": modality}
        | {"media_type": media_type}
        for media_type in MEDIA_TYPES
    ]
    (configs / f"{modality}_datasets.yaml").write_text(yaml.safe_dump({"datasets": definitions}))


def _encode(source: list[str], encoder: list[str], path: Path, data: bytes) -> None:
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y", *source, "-i", "pipe:0", *encoder, str(path)]
    subprocess.run(command, input=data, check=True)


def make_video_corpus(folder: Path, count: int) -> None:
    """Write `count` clips, half of them of either class.

    Raises:
        SystemExit: no photograph is installed.
    """
    photographs = find_photographs()
    if not photographs:
        raise SystemExit("no photographs found: install a wallpaper package or scikit-image, or pass --media FOLDER")
    random = np.random.default_rng(SEED)
    for number in range(count):
        dataset = folder / "datasets" / "video" / f"bench-{MEDIA_TYPES[number % 2]}"
        dataset.mkdir(parents=True, exist_ok=True)
        width, height = FRAME_SIZES[random.integers(len(FRAME_SIZES))]
        frames = FRAME_COUNTS[random.integers(len(FRAME_COUNTS))]
        photograph = cv2.imread(str(photographs[number % len(photographs)]), cv2.IMREAD_COLOR)
        picture = cv2.resize(photograph, (width * 5 // 4, height * 5 // 4), interpolation=cv2.INTER_AREA)
        # A quarter of the picture's side to go, at sub-pixel steps.
        offsets = [(0.25 * width * step / frames, 0.25 * height * step / frames) for step in range(frames)]
        data = b"".join(
            cv2.getRectSubPix(picture, (width, height), (left + (width - 1) / 2, top + (height - 1) / 2)).tobytes()
            for left, top in offsets
        )
        source = ["-f", "rawvideo", "-pix_fmt", "bgr24", "-video_size", f"{width}x{height}"]
        source += ["-framerate", str(FRAMES_PER_SECOND)]
        encoder = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"]
        _encode(source, encoder, dataset / f"{number:06d}.mp4", data)
    _write_definitions(folder, "video")
    print(f"{count} clips from {len(photographs)} photographs in {folder}", file=sys.stderr)


def make_audio_corpus(folder: Path, count: int) -> None:
    """Write `count` recordings, half of them of either class."""
    random = np.random.default_rng(SEED)
    for number in range(count):
        dataset = folder / "datasets" / "audio" / f"bench-{MEDIA_TYPES[number % 2]}"
        dataset.mkdir(parents=True, exist_ok=True)
        suffix, encoder, rates = AUDIO_FORMATS[number // 2 % len(AUDIO_FORMATS)]
        rate = int(random.choice(rates))
        time = np.arange(int(random.uniform(*RECORDING_SECONDS) * rate)) / rate
        tone = np.sin(2 * np.pi * random.uniform(100, 300) * time * (1 + 0.05 * np.sin(3 * time)))
        samples = 0.3 * tone**3 + 0.05 * random.standard_normal(len(time))
        source = ["-f", "f32le", "-ar", str(rate), "-ac", "1"]
        _encode(source, list(encoder), dataset / f"{number:06d}.{suffix}", samples.astype("<f4").tobytes())
    _write_definitions(folder, "audio")
    print(f"{count} recordings in {folder}", file=sys.stderr)


def list_media(folder: Path, modality: str) -> list[tuple[Path, int]]:
    """The corpus' files of one modality with their labels (0 real, 1 synthetic), in the order of their names."""
    samples = []
    for config in sorted((folder / "gasbench_configs").glob("*.yaml")):
        for definition in yaml.safe_load(config.read_text())["datasets"]:
            if definition["modality"] == modality:
                label = int(definition["media_type"] != "real")
                dataset = folder / "datasets" / modality / definition["name"]
                files = sorted(path for path in dataset.iterdir() if path.suffix not in {".jsonl", ""})
                samples += [(path, label) for path in files]
    return samples


def prepare_corpus(media: Path | None, modality: str, least: int) -> tuple[Path, list[tuple[Path, int]]]:
    """Take the corpus in `media`, or make one in .bench/ once, and read its files into the page cache.

    Raises:
        SystemExit: it holds fewer than `least` files of the modality.
    """
    folder = media or Path(".bench")
    if media is None and not (folder / "gasbench_configs" / f"{modality}_datasets.yaml").exists():
        {"video": make_video_corpus, "audio": make_audio_corpus}[modality](
            folder, {"video": 60, "audio": 400}[modality]
        )
    samples = list_media(folder, modality)
    if len(samples) < least:
        raise SystemExit(f"{folder} holds {len(samples)} labelled {modality} files; {least} are needed")
    for path, _ in samples:
        path.read_bytes()
    return folder, samples
