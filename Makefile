# `make train` and `make test` do all the set-up they need: a virtual environment of
# their own, the install, the run. Choose another interpreter with PYTHON=python3.13,
# and an accelerator with EXTRA=cuda13 (or cuda12, tpu).

PYTHON ?= python3
EXTRA ?=
CONFIG ?= configs/digits_dropconnect.py
WORKDIR ?= runs/$(basename $(notdir $(CONFIG)))
VENV ?= .venv
JOBS ?= auto

comma := ,
accelerator := $(if $(EXTRA),$(comma)$(EXTRA))
bin := $(VENV)/bin

.PHONY: train compare test test-all cover battery lint format gpu bench twins picture clean

$(VENV)/%.installed: pyproject.toml
	test -x $(bin)/python || $(PYTHON) -m venv $(VENV)
	$(bin)/python -m pip install --quiet --editable '.[$*$(accelerator)]'
	touch $@

train: $(VENV)/examples.installed
	$(bin)/python examples/train.py --config=$(CONFIG) --workdir=$(WORKDIR) --resume $(ARGS)

compare: $(VENV)/examples.installed
	$(bin)/python examples/compare.py --config=configs/digits_compare.py $(ARGS)

test: $(VENV)/tests.installed
	$(bin)/python -m pytest -n $(JOBS) -m 'not slow' $(ARGS)

test-all: $(VENV)/tests.installed
	$(bin)/python -m pytest -n $(JOBS) $(ARGS)

cover: $(VENV)/tests.installed
	$(bin)/python -m pytest -n $(JOBS) -m 'not slow' --cov --cov-report=term-missing \
	    --cov-fail-under=95 $(ARGS)

battery: $(VENV)/tests.installed
	$(bin)/python -m tests.battery $(ARGS)

lint: $(VENV)/dev.installed
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy

format: $(VENV)/dev.installed
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

gpu: $(VENV)/tests.installed $(VENV)/benchmarks.installed
	$(bin)/python -m pytest -m gpu
	$(bin)/python benchmarks/run.py --out=benchmarks/results $(ARGS)

twins: $(VENV)/twins.installed
	$(bin)/python -m pytest -m torch $(ARGS)

bench: $(VENV)/benchmarks.installed
	$(bin)/python benchmarks/run.py $(ARGS)

picture: $(VENV)/examples.installed
	$(bin)/python docs/picture.py

clean:
	rm -rf $(VENV) build dist runs
