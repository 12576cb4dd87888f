"""Training scripts for video and audio that know the reference's API only run as they are.

The scripts below use the names of the drop-in API and nothing else of this project, on caches that the reference laid
out. Their clips are small and their recordings few: a step of the reference's models takes a CPU seconds.
"""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from training_runs import write_wav

ROOT = Path(__file__).parents[1]
SAMPLES_PER_DATASET = 10

SCRIPT = """
import argparse
import math
import time
from pathlib import Path

from dotenv import load_dotenv

load_dotenv()

import torch
import torch.nn as nn
import yaml
from safetensors.torch import save_file

from dfresearch.data import make_dataloader
from dfresearch.models import get_model, list_models
from export import export_model, generate_model_config, generate_model_py
from prepare import TIME_BUDGET, evaluate_model, verify_cache
{imports}

parser = argparse.ArgumentParser()
parser.add_argument("--time-budget", type=int, default=TIME_BUDGET)
parser.add_argument("--batch-size", type=int, default=DEFAULT_BATCH_SIZE)
args = parser.parse_args()

MODALITY = "{modality}"
NAME = "{name}"
assert NAME in list_models(MODALITY)
device = "cuda" if torch.cuda.is_available() else "cpu"
verify_cache(MODALITY)
{build}
for parameter in model.parameters():
    assert parameter.device.type == device
trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=1e-4)
criterion = nn.CrossEntropyLoss()

steps = 0
training_start = time.time()
while time.time() - training_start < args.time_budget:
    model.train()
    for batch_index, (inputs, labels) in enumerate(train_loader):
        assert inputs.dtype == {dtype} and tuple(inputs.shape[1:]) == {shape}
        loss = criterion(model(inputs.to(device)), labels.to(device)) / ACCUMULATION
        assert math.isfinite(loss.item())
        loss.backward()
        if (batch_index + 1) % ACCUMULATION == 0:
            nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            steps += 1
        if steps and time.time() - training_start >= args.time_budget:
            break

metrics = evaluate_model(model, val_loader, device=device)
checkpoint = Path("results/checkpoints") / MODALITY
checkpoint.mkdir(parents=True, exist_ok=True)
weights = {{key: value.contiguous().cpu() for key, value in model.state_dict().items()}}
save_file(weights, checkpoint / "model.safetensors")
config = generate_model_config(MODALITY, NAME{preprocessing})
(checkpoint / "model_config.yaml").write_text(yaml.dump(config))
(checkpoint / "model.py").write_text(generate_model_py(MODALITY, NAME))
export_model(MODALITY, NAME)

print("---")
print(f"model: {{NAME}}")
for key in ("sn34_score", "accuracy", "mcc", "brier"):
    print(f"{{key}}: {{metrics[key]:.6f}}")
print(f"num_steps: {{steps}}")
"""

VIDEO_SCRIPT = SCRIPT.format(
    modality="video",
    name="r3d-18",
    dtype="torch.uint8",
    shape="(NUM_FRAMES, 3, *TARGET_SIZE)",
    preprocessing=", preprocessing={'resize': list(TARGET_SIZE), 'num_frames': NUM_FRAMES}",
    imports="""
from prepare import DEFAULT_VIDEO_BATCH_SIZE as DEFAULT_BATCH_SIZE
from prepare import NUM_VIDEO_FRAMES, TARGET_VIDEO_SIZE

assert (NUM_VIDEO_FRAMES, TARGET_VIDEO_SIZE) == (16, (224, 224))
TARGET_SIZE = (48, 48)
NUM_FRAMES = 4
ACCUMULATION = 2
""",
    build="""
model = get_model("video", NAME, num_classes=2, pretrained=True, dropout=0.3).to(device)
train_loader = make_dataloader(
    "video", split="train", batch_size=args.batch_size, target_size=TARGET_SIZE, num_frames=NUM_FRAMES, augment_level=1,
    max_per_class=2000,
)
val_loader = make_dataloader(
    "video", split="val", batch_size=args.batch_size, target_size=TARGET_SIZE, num_frames=NUM_FRAMES, max_per_class=2000
)
""",
)

AUDIO_SCRIPT = SCRIPT.format(
    modality="audio",
    name="wav2vec2",
    dtype="torch.float32",
    shape="(AUDIO_SAMPLES,)",
    preprocessing="",
    imports="""
from prepare import AUDIO_DURATION, AUDIO_SAMPLE_RATE, AUDIO_SAMPLES
from prepare import DEFAULT_AUDIO_BATCH_SIZE as DEFAULT_BATCH_SIZE

assert AUDIO_SAMPLES == AUDIO_DURATION * AUDIO_SAMPLE_RATE
ACCUMULATION = 1
""",
    build="""
model = get_model(
    "audio", "wav2vec2", num_classes=2, pretrained=True, dropout=.2, freeze_feature_encoder=True
).to(device)
assert any(not parameter.requires_grad for parameter in model.parameters())
train_loader = make_dataloader("audio", split="train", batch_size=args.batch_size, max_per_class=3000)
val_loader = make_dataloader("audio", split="val", batch_size=args.batch_size, max_per_class=3000)
""",
)


def write_clips(folder, generator):
    command = ["ffmpeg", "-v", "error", "-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", "64x48"]
    command += ["-framerate", "10", "-i", "-"]
    for number in range(SAMPLES_PER_DATASET):
        cut = f"trim=start_frame={6 * number}:end_frame={6 * number + 6},setpts=PTS-STARTPTS"
        command += ["-vf", cut, "-c:v", "mpeg4", str(folder / f"{number:06d}.mp4")]
    frames = generator.integers(0, 256, (6 * SAMPLES_PER_DATASET, 48, 64, 3), dtype=np.uint8)
    subprocess.run(command, input=frames.tobytes(), check=True)


def write_recordings(folder, generator):
    for number in range(SAMPLES_PER_DATASET):
        write_wav(folder / f"{number:06d}.wav", generator.uniform(-1, 1, generator.integers(8000, 120_000)))


def write_reference_cache(cache, modality, write):
    """Lay a cache out as the reference's download does: one definition file, numbered files, a marker per dataset."""
    definitions = cache / "gasbench_configs"
    definitions.mkdir(parents=True)
    media_types = {"recorded": "real", "generated": "synthetic", "edited": "semisynthetic"}
    lines = ["datasets:"]
    for seed, (name, media_type) in enumerate(media_types.items()):
        lines += [f"  - name: {name}", f"    path: someone/{name}", f"    modality: {modality}"]
        lines += [f"    media_type: {media_type}", "    source_format: parquet"]
        folder = cache / "datasets" / modality / name
        folder.mkdir(parents=True)
        write(folder, np.random.default_rng(seed))
        (folder / ".download_complete").write_text("")
    (definitions / f"{modality}_datasets.yaml").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("modality", "name", "script", "write", "batch_size"),
    [
        ("video", "r3d-18", VIDEO_SCRIPT, write_clips, 4),
        ("audio", "wav2vec2", AUDIO_SCRIPT, write_recordings, 2),
    ],
    ids=["video", "audio"],
)
def test_a_script_for_the_reference_api_runs_unchanged(tmp_path, modality, name, script, write, batch_size):
    write_reference_cache(tmp_path / "cache", modality, write)
    (tmp_path / "train_reference.py").write_text(script)
    environment = os.environ | {
        "DFRESEARCH_CACHE": str(tmp_path / "cache"),
        "DFRESEARCH_PRETRAINED": "0",
        "PYTHONPATH": f"{ROOT / 'python'}{os.pathsep}{ROOT}",
    }
    process = subprocess.run(
        [sys.executable, "train_reference.py", "--time-budget", "1", "--batch-size", str(batch_size)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert process.returncode == 0, process.stderr
    summary = dict(line.split(": ", 1) for line in process.stdout.split("---\n")[1].splitlines())
    assert summary["model"] == name
    assert int(summary["num_steps"]) >= 1
    assert all(0 <= float(summary[key]) <= 1 for key in ("sn34_score", "accuracy", "brier"))
    with zipfile.ZipFile(tmp_path / f"results/exports/{modality}_detector_{name}.zip") as archive:
        assert sorted(archive.namelist()) == ["model.py", "model.safetensors", "model_config.yaml"]
