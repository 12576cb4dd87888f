"""What the tests of the three modalities' detectors share: counting, comparing, a hub's cache, an evaluator."""

import importlib
import json
import os
import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dfresearch.submission import export_model, generate_model_config, generate_model_py
from dfresearch_rs import write_checkpoint, write_submission

PYTHON_SOURCES = Path(__file__).parents[1] / "python"
# Up to this size a submission goes through the export's own trial too; for larger ones the evaluator's is enough.
EXPORTED_PARAMETERS = 1_000_000
# A port that nothing listens on: what does not know the hub's offline switch is refused at once, not sent to a server.
NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def one_thread():
    """Small models gain nothing from more, and a busy machine's threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def parameter_count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def part_of(state, prefix):
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}


def assert_same_tensors(found, expected):
    assert set(found) == set(expected)
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, rtol=0, atol=0)


def load_model_of(model):
    return importlib.import_module(type(model).__module__).load_model


def relative_error_of_neighbours(model, samples):
    """How far logits move with their neighbours in the batch, relative to how far apart the samples' logits are."""
    with torch.no_grad():
        together = model(samples)
        alone = torch.cat([model(sample[None]) for sample in samples])
        reversed_order = model(samples.flip(0)).flip(0)
    largest_error = max((alone - together).abs().max(), (reversed_order - together).abs().max())
    smallest_distance = min((one - other).abs().max() for one, other in pairwise(together))
    return (largest_error / smallest_distance).item()


def assert_foreign_weights_are_refused(model, path):
    """A weight that is missing, and one too many, are named by the file's own `load_model`."""
    state = model.state_dict()
    removed = next(reversed(state))
    save_file({name: tensor for name, tensor in state.items() if name != removed}, path)
    with pytest.raises(RuntimeError, match=removed.replace(".", r"\.")):
        load_model_of(model)(str(path))
    save_file({**state, "unheard.of": torch.zeros(1)}, path)
    with pytest.raises(RuntimeError, match=r"unheard\.of"):
        load_model_of(model)(str(path))


def run_python(code, *arguments, **environment):
    process = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(PYTHON_SOURCES), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return process


# --- a hub that is there, and one that is not -------------------------------------------------------------------------


def snapshot_folder(hub_home, repository, absent=()):
    """A repository's folder in the hub client's own cache layout, as one download of `main` leaves it.

    `absent` names files that the client asked for and that the repository does not hold.
    """
    revision = "0123456789abcdef0123456789abcdef01234567"
    cached = hub_home / "hub" / f"models--{repository.replace('/', '--')}"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(revision)
    snapshot = cached / "snapshots" / revision
    snapshot.mkdir(parents=True)
    for name in absent:
        (cached / ".no_exist" / revision).mkdir(parents=True, exist_ok=True)
        (cached / ".no_exist" / revision / name).touch()
    return snapshot


# Builds every published backbone while the hub's cache is there, then asks again when it has gone.
_ASK_THE_HUB = """
import json, sys
from pathlib import Path
from safetensors.torch import save_file
from dfresearch.models import PretrainedWeightsError, get_model

modality, output, cache, *names = sys.argv[1:]
for name in names:
    model = get_model(modality, name, dropout=0.2)
    assert all(module.training for module in model.modules()), name
    state = model.state_dict()
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, f"{output}/{name}")
Path(cache).rename(f"{cache}-gone")
messages = {}
for name in names:
    try:
        get_model(modality, name, pretrained=True)
    except PretrainedWeightsError as error:
        messages[name] = str(error)
Path(output, "messages.json").write_text(json.dumps(messages))
"""


def ask_the_hub(modality, names, home, output):
    """What the detectors take from the cache at `home / "hub"`, and what they say once it has gone; never a network.

    Returns states by name and messages by name.
    """
    run_python(
        _ASK_THE_HUB, modality, output, home / "hub", *names,
        HF_HOME=str(home), HF_HUB_CACHE=str(home / "hub"), HF_HUB_OFFLINE="1", DFRESEARCH_PRETRAINED="1",
        TORCH_HOME=str(home / "hub"), **NO_NETWORK,
    )  # fmt: skip
    states = {name: load_file(output / name) for name in names}
    return states, json.loads((output / "messages.json").read_text())


def assert_names_the_ways_around(message, name):
    assert name in message
    assert "could not be fetched" in message
    assert "--no-pretrained" in message
    assert "DFRESEARCH_PRETRAINED=0" in message


# --- the competition's evaluator --------------------------------------------------------------------------------------

# Loads submissions as the evaluator does, one after the other: a folder and a file of inputs a line, answered by the
# name of the file with the logits. It sees neither the project nor a network.
_EVALUATE = """
import importlib.util, sys
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file

# Not importable, even where it is installed.
sys.modules["dfresearch"] = sys.modules["dfresearch_rs"] = None
torch.set_num_threads(1)
for line in sys.stdin:
    folder, inputs = map(Path, line.rstrip("\\n").split("\\t"))
    spec = importlib.util.spec_from_file_location("custom_model", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["custom_model"] = module
    spec.loader.exec_module(module)
    model = module.load_model(str(folder / "model.safetensors"), num_classes=2)
    with torch.no_grad():
        logits = model(load_file(inputs)["inputs"])
    save_file({"logits": logits}, folder / "logits.safetensors")
    print(folder / "logits.safetensors", flush=True)
"""


def pack(modality, name, state, preprocessing, folder):
    """Write a checkpoint of the weights `state` and pack it; returns the archive."""
    source = generate_model_py(modality, name)
    write_checkpoint(folder / "checkpoint", generate_model_config(modality, name, preprocessing), source, state)
    if sum(tensor.numel() for tensor in state.values()) < EXPORTED_PARAMETERS:
        return export_model(modality, name, folder / "checkpoint", folder)
    return write_submission(folder / "checkpoint", folder / "submission.zip").path


class Evaluator:
    """A fresh interpreter that knows nothing of this project and gives the logits of submissions."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _EVALUATE],
            env={**os.environ, "HF_HUB_OFFLINE": "1", **NO_NETWORK},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def logits(self, archive, inputs, folder):
        with zipfile.ZipFile(archive) as submission:
            submission.extractall(folder)
        save_file({"inputs": inputs}, folder / "inputs.safetensors")
        self._process.stdin.write(f"{folder}\t{folder / 'inputs.safetensors'}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().rstrip("\n")
        assert answer, "the evaluator's interpreter ended: its error is above"
        return load_file(answer)["logits"]

    def close(self):
        self._process.communicate()


@pytest.fixture(scope="module")
def evaluator():
    evaluator = Evaluator()
    yield evaluator
    evaluator.close()
