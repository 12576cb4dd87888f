"""Load every checkpoint below a folder through its own model.py and compare the logits; exit 1 where they differ.

Usage: read_checkpoints.py FOLDER   (as write_checkpoints.py leaves it)
"""

import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import load_file

# Two versions of torch may add in another order; a model that was put together differently is off by far more.
RELATIVE_TOLERANCE = 1e-3


def load_submission(checkpoint: Path) -> torch.nn.Module:
    """Load a model the way the evaluator does: model.py as a module on its own, then its `load_model`."""
    spec = importlib.util.spec_from_file_location("custom_model", checkpoint / "model.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["custom_model"] = module
    spec.loader.exec_module(module)
    return module.load_model(str(checkpoint / "model.safetensors"), num_classes=2)


def main() -> int:
    requirements = Path(__file__).with_name("requirements.txt").read_text().splitlines()
    for line in requirements:
        if "==" in line:
            package, pinned = line.split("==")
            found = version(package).split("+")[0]
            print(f"{package} {found}")
            if found != pinned:
                print(f"FAIL: {package} should be {pinned}")
                return 1

    checkpoints = sorted(Path(sys.argv[1]).iterdir())
    failures = 0
    for checkpoint in checkpoints:
        expected = load_file(checkpoint / "expected.safetensors")
        model = load_submission(checkpoint)
        with torch.no_grad():
            logits = model(expected["inputs"])
        error = (logits - expected["logits"]).abs().max().item()
        allowed = RELATIVE_TOLERANCE * expected["logits"].abs().max().item()
        same = logits.shape == expected["logits"].shape and error <= allowed
        failures += not same
        print(f"{'ok  ' if same else 'FAIL'} {checkpoint.name}: logits differ by {error:.2e}, {allowed:.2e} allowed")
    if not checkpoints:
        print("FAIL: no checkpoints")
    return 1 if failures or not checkpoints else 0


if __name__ == "__main__":
    sys.exit(main())
