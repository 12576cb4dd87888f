#!/usr/bin/env bash
# Shows that every model.py loads its own checkpoint, and gives the same logits, under the evaluator's pins.
# The project's environment writes the checkpoints; a throw-away one reads them. Needs a package index and, for both
# environments' libraries and the checkpoints, about 13 GB of disk.
set -euo pipefail
cd "$(dirname "$0")/../.."
uv=$(command -v uv || echo .tools/bin/uv)

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Two machines' worth of libraries should differ by their versions alone, not by how many threads add the numbers up.
export OMP_NUM_THREADS=1

PYTHONPATH=python "$uv" run --no-sync python tests/pins/write_checkpoints.py "$scratch/checkpoints"
"$uv" venv --quiet --python '>=3.11' "$scratch/environment"
"$uv" pip install --quiet --python "$scratch/environment/bin/python" --requirement tests/pins/requirements.txt
# No network from here on, as in the competition; -I keeps the project itself out of sight.
HF_HUB_OFFLINE=1 "$scratch/environment/bin/python" -I tests/pins/read_checkpoints.py "$scratch/checkpoints"
