"""What the README says runs as it stands there."""

import importlib
import io
import re
import runpy
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from dotenv import dotenv_values
from printed_commands import git, make_checkout, run_block

from dfresearch import training, training_script
from dfresearch.models import list_models

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DATASETS_README = (ROOT / "datasets/README.md").read_text(encoding="utf-8")
PYTHON_BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL_BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)


def section(title):
    (body,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    return body


def run_python(block, folder):
    script = folder / "block.py"
    script.write_text(block, encoding="utf-8")
    return runpy.run_path(str(script))


# In a notebook


def test_the_notebook_example_of_images_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    assert cv2.imwrite("photo.jpg", image)
    (block,) = [block for block in PYTHON_BLOCKS if "photo.jpg" in block]
    names = run_python(block, tmp_path)
    assert names["model_input"].shape == (224, 224, 3)
    assert names["inputs"].shape == (1, 3, 224, 224)


def test_the_notebook_example_of_clips_and_recordings_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for source, name in (
        ("testsrc=size=64x48:rate=8", "clip.mp4"),
        ("sine=frequency=440:sample_rate=8000", "speech.wav"),
    ):
        command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", f"{source}:duration=3", name]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    (block,) = [block for block in PYTHON_BLOCKS if "clip.mp4" in block]
    names = run_python(block, tmp_path)
    assert names["frames"].shape == (16, 48, 64, 3)
    assert names["clip"].shape == (16, 224, 224, 3)
    assert names["waveform"].shape == (3 * 16000,)
    assert names["recording"].shape == (96000,)


# Commands


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    return make_checkout(tmp_path, monkeypatch)


def test_the_four_commands_run(checkout):
    (block,) = re.findall(r"```sh\n(.*?)```", section("In four commands"), re.DOTALL)
    commands = block.splitlines()
    assert len(commands) == 4
    outputs = [run_block(checkout, command) for command in commands]
    assert "48 image samples: 24 real, 24 synthetic" in outputs[0]
    assert "\nsn34_score: " in outputs[1]
    assert "entrance exam" in outputs[2]
    archive = re.search(r"results/exports/\S+\.zip", commands[3])[0].replace("efficientnet-b4", "forensic-cnn")
    assert (checkout / archive).is_file()
    # Runs leave nothing that git sees, and the export prints the commands that are printed here.
    assert git(checkout, "status", "--porcelain") == ""
    (printed,) = re.findall(r"^ *(gasbench run .*)$", README, re.MULTILINE)
    assert printed in outputs[3]
    (printed,) = re.findall(r"^ *(gascli d push .*)$", README, re.MULTILINE)
    assert printed.replace("efficientnet-b4", "forensic-cnn") in outputs[3]


def test_a_model_is_added_as_it_is_said(checkout):
    body = section("Models")
    path = checkout / re.search(r"For example `(python/\S+\.py)`", body)[1]
    (source,) = re.findall(r"```python\n(.*?)```", body, re.DOTALL)
    (line,) = re.findall(r'^```\n( +"tiny-cnn": .*\n)```', body, re.MULTILINE)
    path.write_text(source, encoding="utf-8")
    registry = checkout / "python/dfresearch/models/__init__.py"
    before = registry.read_text(encoding="utf-8")
    assert before.count('    "image": {\n') == 1
    registry.write_text(before.replace('    "image": {\n', '    "image": {\n' + line), encoding="utf-8")
    (command,) = re.findall(r"`(uv run train_image\.py --model tiny-cnn [^`]*)`", body)
    assert "every stage ran" in run_block(checkout, command)


def test_the_example_definitions_are_copied_as_it_is_said(checkout):
    for text in (README, DATASETS_README):
        (command,) = re.findall(r"^cp .*$", text, re.MULTILINE)
        run_block(checkout, command)
    assert (checkout / "datasets/image.yaml").is_file()
    assert (checkout / "datasets/audio.yaml").is_file()
    assert git(checkout, "status", "--porcelain") == ""


# Commands of every page, by script.
COMMANDS = sorted(
    {
        (script, arguments.strip())
        for text in (README, DATASETS_README)
        for script, arguments in re.findall(r"uv run (\w+)\.py([^`#\n]*)", text)
    }
)


@pytest.mark.parametrize(("script", "arguments"), COMMANDS)
def test_every_command_line_is_understood(script, arguments):
    # The model that the README adds.
    arguments = [word.replace("tiny-cnn", "forensic-cnn") for word in arguments.split()]
    module = importlib.import_module(script)
    if hasattr(module, "parse_arguments"):
        module.parse_arguments(arguments)
    elif script.startswith("train_"):
        training_script.parse_arguments(module, 600, arguments)
    else:
        # export.py parses where it runs: the checkpoint is missing, the usage is right.
        assert module.main([*arguments, "--checkpoint-dir", "missing"]) == 1


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z][a-z-]*)", README))))
def test_every_make_target_that_is_named_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


# What is named


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target
    titles = {
        re.sub(r"[^a-z -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^## (.*)$", README, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= titles


def test_the_table_of_models_is_the_registry():
    rows = re.findall(
        r"^\| (image|video|audio) \| `([\w-]+)`( \(default\))? \| ([\d.]+) (M|k) \|", README, re.MULTILINE
    )
    assert [(modality, name) for modality, name, *_ in rows] == [
        (modality, name) for modality, names in list_models().items() for name in names
    ]
    for modality, name, default, number, unit in rows:
        count = training.count_parameters(training._build_without_memory(modality, name))
        exact = count / {"M": 1e6, "k": 1e3}[unit]
        assert float(number) == round(exact, len(number.partition(".")[2])), name
        assert bool(default) == (name == importlib.import_module(f"train_{modality}").MODEL)


def test_the_table_of_troubles_quotes_what_is_printed():
    sources = [*ROOT.glob("*.py"), *(ROOT / "python").rglob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    # As it is printed: without the ends of adjacent literals, and with anything in place of a value.
    code = re.sub(r'"\s*\n\s*f?"', "", code)
    quoted = re.findall(r"^\| `(.*?)` \|", section("Troubleshooting"), re.MULTILINE)
    assert len(quoted) >= 8
    for message in quoted:
        words = message.removeprefix("error: ")
        words = words.replace("loss is nan", "loss is …").replace("the train split", "the … split")
        words = words.replace("holds no real", "holds no …")
        pattern = r"[^\n]*?".join(re.escape(part.strip()) for part in words.split("…"))
        assert re.search(pattern, code), message


def test_the_example_of_settings_names_what_is_read():
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    settings = dotenv_values(stream=io.StringIO("\n".join(line.removeprefix("#") for line in lines if "=" in line)))
    assert all(line.startswith("#") for line in lines if line)
    assert None not in settings.values()
    sources = [*ROOT.glob("*.py"), *(ROOT / "python").rglob("*.py"), *(ROOT / "rust").glob("*/src/**/*.rs")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    # What `env!` names is between the build script and the compiler.
    read = set(re.findall(r'(?<!env!\()"((?:DFRESEARCH|WANDB)_[A-Z_]+)"', code))
    assert {name for name in settings if name.startswith(("DFRESEARCH_", "WANDB_"))} == read
    others = {name for name in settings if name.startswith(("HF_", "MODELSCOPE_", "AWS_"))}
    assert {name for name in others if f'"{name}"' not in code} == set()
    assert set(settings) - read - others == {"CUDA_VISIBLE_DEVICES"}
