#!/usr/bin/env bash
# Shows that the package installs by pip and by maturin into environments that are not uv's.
# Makes throw-away environments of some gigabytes each; set CARGO_TARGET_DIR to reuse compiled crates.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

git clone --quiet "$root" "$work/clone"
cd "$work/clone"

check() {
    python - <<'PYTHON'
import numpy as np
import dfresearch, dfresearch_rs
assert dfresearch_rs.sn34_score([0, 1], [0.0, 1.0]).sn34_score == 1.0
assert dfresearch_rs.preprocess_image(np.zeros((8, 9, 3), np.uint8)).shape == (224, 224, 3)
PYTHON
}

echo "== pip install torch maturin && pip install --no-build-isolation -e ."
python3 -m venv "$work/pip"
source "$work/pip/bin/activate"
pip install --quiet torch==2.13.0 maturin
pip install --quiet --no-build-isolation -e .
check
pip uninstall --quiet --yes dfresearch
deactivate

echo "== maturin develop"
source "$work/pip/bin/activate"
# maturin installs the dependency groups, which older pips do not know.
pip install --quiet --upgrade "pip>=25.1"
maturin develop --release >"$work/maturin.log" 2>&1 || { cat "$work/maturin.log"; exit 1; }
check
deactivate
echo "installs by pip and by maturin"
