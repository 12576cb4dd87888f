# make demo    from nothing to a trained, scored, exported detector
# make test    everything that CI checks; the long fault tests are in make test-faults
SHELL := /bin/bash
UV = $(shell command -v uv || echo .tools/bin/uv)
RUN = $(UV) run --no-sync
DEMO = .demo
# Seconds of training, one of them for all or one for each.
DEMO_SECONDS ?= 150
DEMO_IMAGE_SECONDS ?= $(DEMO_SECONDS)
DEMO_VIDEO_SECONDS ?= $(DEMO_SECONDS)
DEMO_AUDIO_SECONDS ?= $(DEMO_SECONDS)
# Dependency groups that the benches need, and what benches/report.py is given: --quick, --media FOLDER.
BENCH_GROUPS ?= bench
BENCH_FLAGS ?=

.PHONY: setup demo demo-image demo-video demo-audio test lint test-core test-python test-faults test-pins test-install bench bench-prepare wheel

setup:
	@./setup.sh

demo: demo-image demo-video demo-audio

# One after the other: each trains for a fixed time and would have less of the machine beside another.
.NOTPARALLEL: demo

demo-image demo-video demo-audio: export DFRESEARCH_CACHE = $(DEMO)
demo-image demo-video demo-audio: export DFRESEARCH_RESULTS = $(DEMO)/results

demo-image: setup
	$(call run_demo,image,forensic-cnn,--lr 3e-3 --time-budget $(DEMO_IMAGE_SECONDS))

# A step for every batch, or smaller batches: few samples and little time give too few steps otherwise.
demo-video: setup
	$(call run_demo,video,forensic-cnn,--lr 3e-3 --accumulation 1 --time-budget $(DEMO_VIDEO_SECONDS))

demo-audio: setup
	$(call run_demo,audio,lfcc-lcnn,--lr 2e-3 --batch-size 8 --accumulation 1 --time-budget $(DEMO_AUDIO_SECONDS))

# $(call run_demo,modality,model,flags of the training)
define run_demo
$(RUN) prepare.py --demo --modality $(1)
$(RUN) train_$(1).py --model $(2) $(3)
$(RUN) evaluate.py --modality $(1) --model $(2)
$(RUN) export.py --modality $(1) --model $(2)
@echo "data:       $(DEMO)/datasets/$(1)"
@echo "checkpoint: $(DEMO)/results/checkpoints/$(1)"
@echo "submission: $(DEMO)/results/exports/$(1)_detector_$(2).zip"
endef

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

# Broken networks, killed processes and full disks: long.
test-faults: setup
	$(RUN) pytest tests/faults

test-pins: setup
	tests/pins/run.sh

test-install: setup
	tests/install/run.sh

# benches/REPORT.md and its plots. BENCH_GROUPS="bench peers" brings the peer that is a gigabyte, too.
bench: setup
	$(UV) sync --quiet $(addprefix --group ,$(BENCH_GROUPS))
	$(RUN) python benches/report.py $(BENCH_FLAGS)

bench-prepare: setup
	$(RUN) python benches/bench_prepare.py
	$(RUN) python benches/bench_prepare.py --memory

wheel: setup
	$(RUN) maturin build --release
