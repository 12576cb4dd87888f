#!/usr/bin/env python3
"""Pack a trained model into the ZIP that the competition takes.

    uv run export.py --modality image --model efficientnet-b4

writes `results/exports/image_detector_efficientnet-b4.zip` with `model_config.yaml`, `model.py` and
`model.safetensors`, after the archive was loaded and run by itself.
"""
# ruff: noqa: E402 -- .env is loaded before the modules that read the environment when they are imported.

from dotenv import load_dotenv

load_dotenv()

import argparse
import sys
import warnings
from pathlib import Path

from dfresearch.results import checkpoint_directory, exports_directory
from dfresearch.submission import (
    MODEL_MODULES,
    PREPROCESSING_CONFIGS,
    export_model,
    generate_model_config,
    generate_model_py,
)
from dfresearch_rs import DfresearchError

__all__ = ["MODEL_MODULES", "PREPROCESSING_CONFIGS", "export_model", "generate_model_config", "generate_model_py"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description="Pack a trained model into the ZIP that the competition takes.")
    parser.add_argument("--modality", required=True, choices=list(PREPROCESSING_CONFIGS))
    parser.add_argument("--model", required=True, help="the model's name in the registry, as it was trained")
    parser.add_argument(
        "--checkpoint-dir", type=Path, help="the checkpoint's folder (default: results/checkpoints/MODALITY)"
    )
    parser.add_argument("--output-dir", type=Path, help="where the ZIP goes (default: results/exports)")
    options = parser.parse_args(arguments)

    checkpoint = options.checkpoint_dir or checkpoint_directory(options.modality)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            archive = export_model(
                options.modality, options.model, checkpoint, options.output_dir or exports_directory()
            )
    except (DfresearchError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for warning in caught:
        print(f"warning: {warning.message}", file=sys.stderr)
    print(f"Exported: {archive} ({archive.stat().st_size:,} bytes; read back, loaded and run)")
    print("\nTo score it with the competition's benchmark, which takes the folder:")
    print(f"  gasbench run --{options.modality}-model {checkpoint}/ --small")
    print("\nTo submit it:")
    print(f"  gascli d push --{options.modality}-model {archive} --wallet-name <NAME> --wallet-hotkey <KEY>")
    return 0


if __name__ == "__main__":
    sys.exit(main())
