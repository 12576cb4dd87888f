# make demo    from nothing to a trained, scored, exported detector
# make test    everything that CI checks
SHELL := /bin/bash
UV = $(shell command -v uv || echo .tools/bin/uv)
RUN = $(UV) run --no-sync
DEMO = .demo
DEMO_SECONDS ?= 150

.PHONY: setup demo demo-image test lint test-core test-python test-pins test-install bench wheel

setup:
	@./setup.sh

demo: demo-image

demo-image: export DFRESEARCH_CACHE = $(DEMO)
demo-image: export DFRESEARCH_RESULTS = $(DEMO)/results
demo-image: setup
	$(RUN) prepare.py --demo --modality image
	$(RUN) train_image.py --model forensic-cnn --lr 3e-3 --time-budget $(DEMO_SECONDS)
	$(RUN) evaluate.py --modality image --model forensic-cnn
	$(RUN) export.py --modality image --model forensic-cnn
	@echo "data:       $(DEMO)/datasets/image"
	@echo "checkpoint: $(DEMO)/results/checkpoints/image"
	@echo "submission: $(DEMO)/results/exports/image_detector_forensic-cnn.zip"

test: setup lint test-core test-python

# The binding is linted in the release profile, in which `make setup` has built libtorch's wrapper already.
lint:
	cargo fmt --all --check
	cargo clippy --all-targets --quiet -- -D warnings
	$(RUN) cargo clippy --release --package dfresearch-py --quiet -- -D warnings
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) python -m mypy.stubtest dfresearch_rs --ignore-missing-stub

test-core:
	cargo test --quiet

test-python:
	$(RUN) pytest

test-pins: setup
	tests/pins/run.sh

test-install: setup
	tests/install/run.sh

bench: setup
	$(RUN) python benches/bench_loader.py

wheel: setup
	$(RUN) maturin build --release
