"""Trainings and evaluations on a tiny cache, for the tests of the scripts."""

import subprocess
import wave
from pathlib import Path

import numpy as np
from PIL import Image

import evaluate
import train_audio
import train_full
import train_image
import train_video
from dfresearch import data, training, training_script

ROOT = Path(__file__).parents[1]
PER_CLASS = 24
# The model of each modality that learns on a CPU.
MODELS = {"image": "forensic-cnn", "video": "forensic-cnn", "audio": "lfcc-lcnn"}
SCRIPTS = {"image": train_image, "video": train_video, "audio": train_audio}
MODEL = MODELS["image"]
CHECKPOINT = Path("results/checkpoints/image")

FRAMES = 4
SAMPLE_RATE = 16000
# Shorter and longer than what the model hears.
AUDIO_SECONDS = (1.0, 6.5)


def checkpoint(modality):
    return Path("results/checkpoints") / modality


def write_cache(cache, media_types=("real", "synthetic"), modality="image"):
    """Noise is real, what is smooth is synthetic: a few steps tell them apart."""
    definitions = cache / "gasbench_configs"
    definitions.mkdir(parents=True, exist_ok=True)
    entries = []
    for media_type in media_types:
        name = f"{media_type}-{modality}s"
        entries.append({"name": name, "path": f"by-hand/{name}", "modality": modality, "media_type": media_type})
        folder = cache / "datasets" / modality / name
        folder.mkdir(parents=True)
        # A class has its own numbers, or its files would be the same in every class that a test asks for.
        generator = np.random.default_rng([media_type == "real", len(modality)])
        WRITERS[modality](folder, generator, media_type == "real")
    lines = ["datasets:"]
    for entry in entries:
        lines += [f"  {'- ' if index == 0 else '  '}{key}: {value}" for index, (key, value) in enumerate(entry.items())]
    (definitions / f"{modality}_datasets.yaml").write_text("\n".join(lines) + "\n")


def write_images(folder, generator, is_noise):
    for number in range(PER_CLASS):
        pixels = generator.integers(0, 256, (32, 32, 3) if is_noise else (1, 1, 3), dtype=np.uint8)
        Image.fromarray(np.broadcast_to(pixels, (32, 32, 3)).copy()).save(folder / f"{number:06d}.png")


def write_clips(folder, generator, is_noise):
    """Encode all clips in one process: each output takes its own frames of the input."""
    shape = (PER_CLASS, 1, 1, 1, 3) if not is_noise else (PER_CLASS, FRAMES, 32, 32, 3)
    frames = np.broadcast_to(generator.integers(0, 256, shape, dtype=np.uint8), (PER_CLASS, FRAMES, 32, 32, 3))
    source = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", "32x32", "-framerate", "8", "-i", "-"]
    command = ["ffmpeg", "-v", "error", *source]
    for number in range(PER_CLASS):
        cut = f"trim=start_frame={number * FRAMES}:end_frame={(number + 1) * FRAMES},setpts=PTS-STARTPTS"
        command += ["-vf", cut, "-c:v", "mpeg4", "-q:v", "2", str(folder / f"{number:06d}.mp4")]
    subprocess.run(command, input=frames.tobytes(), check=True)


def write_recordings(folder, generator, is_noise):
    for number in range(PER_CLASS):
        count = int(SAMPLE_RATE * AUDIO_SECONDS[number % len(AUDIO_SECONDS)])
        wave_form = np.sin(np.arange(count) * generator.uniform(0.05, 0.2))
        if is_noise:
            wave_form = generator.uniform(-1, 1, count)
        write_wav(folder / f"{number:06d}.wav", wave_form)


def write_wav(path, samples):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((np.asarray(samples) * 30000).astype("<i2").tobytes())


WRITERS = {"image": write_images, "video": write_clips, "audio": write_recordings}


def make_workplace(tmp_path, monkeypatch, modality="image"):
    """Change to an empty folder for results; a cache with both classes, small inputs and a short warm-up are set."""
    write_cache(tmp_path / "cache", modality=modality)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(data, "CACHE_DIR", tmp_path / "cache")
    script = SCRIPTS[modality]
    monkeypatch.setattr(script, "WARMUP_STEPS", 2)
    if modality != "audio":
        monkeypatch.setattr(script, "TARGET_SIZE", (32, 32))
    if modality == "video":
        monkeypatch.setattr(script, "NUM_FRAMES", FRAMES)
    return tmp_path / "work"


def settings(modality="image", **changes):
    # Six seconds of sound are more work than a picture of 32 pixels.
    batch_size = 4 if modality == "audio" else 8
    defaults = {"model": MODELS[modality], "batch_size": batch_size, "learning_rate": 1e-2, "pretrained": False}
    defaults["accumulation"] = 1
    return SCRIPTS[modality].Settings(**defaults | changes)


def train(steps=6, modality="image", **changes):
    budget = training.Budget(steps=steps)
    return training.run_to_exit_code(
        lambda: training_script.run(SCRIPTS[modality], settings(modality, **changes), budget)
    )


def trained_in_full(epochs=1, modality="image"):
    changed = settings(modality, max_per_class=None)
    return training.run_to_exit_code(lambda: train_full.train(modality, changed, 1.0, epochs))


def summary_of(text):
    return dict(line.split(": ", 1) for line in text.split("---\n")[1].splitlines() if ": " in line)


def evaluated(*arguments):
    return training.run_to_exit_code(lambda: evaluate.run(*arguments))
