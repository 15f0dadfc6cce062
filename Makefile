# `make train` and `make test` first create a virtual environment and install what they
# need. Choose another interpreter with PYTHON=python3.13, and an accelerator with
# EXTRA=cuda13 (or cuda12, tpu).

PYTHON ?= python3
EXTRA ?=
CONFIG ?= configs/digits_dropconnect.py
WORKDIR ?= runs/$(basename $(notdir $(CONFIG)))
VENV ?= .venv
JOBS ?= auto
TAG ?=
ISAS ?= SSE4_2 AVX2 AVX512
OLDEST ?= python3.11
NEWEST ?= python3.13

comma := ,
accelerator := $(if $(EXTRA),$(comma)$(EXTRA))
bin := $(VENV)/bin
# Other tests run without LLVM's optimizations, in little more than half the time.
optimized := JAX_DISABLE_MOST_OPTIMIZATIONS=0

.PHONY: train compare test test-all cover isas battery lint format versions oldest \
    newest dist release gpu pods gpus bench ends twins mutants picture docs browser clean

$(VENV)/%.installed: pyproject.toml
	test -x $(bin)/python || $(PYTHON) -m venv $(VENV)
	$(bin)/python -m pip install --quiet --editable '.[$*$(accelerator)]'
	touch $@

train: $(VENV)/examples.installed
	$(bin)/python examples/train.py --config=$(CONFIG) --workdir=$(WORKDIR) --resume $(ARGS)

compare: $(VENV)/examples.installed
	$(bin)/python examples/compare.py --config=configs/digits_compare.py --resume $(ARGS)

test: $(VENV)/tests.installed
	$(bin)/python -m pytest -n $(JOBS) -m 'not slow' $(ARGS)

test-all: $(VENV)/tests.installed
	$(optimized) $(bin)/python -m pytest -n $(JOBS) $(ARGS)

cover: $(VENV)/tests.installed
	$(bin)/python -m pytest -n $(JOBS) -m 'not slow' --cov --cov-report=term-missing \
	    --cov-fail-under=95 $(ARGS)

# The suite with the instruction sets of other x86-64 processors: without FMA, with FMA,
# with AVX-512.
isas: $(VENV)/tests.installed
	for isa in $(ISAS); do \
	    XLA_FLAGS="$$XLA_FLAGS --xla_cpu_max_isa=$$isa" \
	        $(bin)/python -m pytest -n $(JOBS) -m 'not slow' $(ARGS) || exit; \
	done

battery: $(VENV)/tests.installed
	$(bin)/python -m tests.battery $(ARGS)

lint: $(VENV)/dev.installed
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/python -m pytest -q tests/test_types.py

format: $(VENV)/dev.installed
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

# The suite on the oldest versions that pyproject.toml allows, and on the newest. Old
# versions of dependencies emit deprecation warnings that do not concern us.
versions: oldest newest

newest:
	$(MAKE) test VENV=.venv-newest PYTHON=$(NEWEST)

.venv-oldest/%.installed: pyproject.toml .ci/oldest.py
	test -x .venv-oldest/bin/python || $(OLDEST) -m venv .venv-oldest
	.venv-oldest/bin/python .ci/oldest.py $* > .venv-oldest/constraints.txt
	.venv-oldest/bin/python -m pip install --quiet \
	    --constraint .venv-oldest/constraints.txt --editable '.[$*]'
	touch $@

oldest: .venv-oldest/tests.installed
	.venv-oldest/bin/python -m pytest -n $(JOBS) -m 'not slow' \
	    -W ignore::DeprecationWarning $(ARGS)

# Builds the release artifacts, checks their contents, and installs and runs them in an
# empty virtual environment.
dist: $(VENV)/dev.installed
	rm -rf build/dist build/venv
	$(bin)/python -m build --outdir build/dist .
	$(bin)/twine check --strict build/dist/*
	$(bin)/python .ci/check_dist.py build/dist
	$(bin)/python -m venv build/venv
	build/venv/bin/python -m pip install --quiet jax jaxtyping
	build/venv/bin/python -m pip install --quiet --no-deps build/dist/*.whl
	build/venv/bin/python -I .ci/alone.py
	build/venv/bin/python -m pip install --quiet build/dist/*.whl
	build/venv/bin/python -I .ci/smoke.py

# A release without its upload, which .github/workflows/release.yml does for a tag.
release: dist
	$(bin)/python .ci/release.py build/dist build/release-notes.md $(TAG)

gpu: $(VENV)/tests.installed $(VENV)/benchmarks.installed
	$(optimized) $(bin)/python -m pytest -m gpu
	$(bin)/python benchmarks/run.py --out=benchmarks/results $(ARGS)

# In a separate virtual environment: if libtpu is installed, JAX always looks for a TPU.
pods:
	$(MAKE) .venv-pods/tests.installed VENV=.venv-pods EXTRA=pods
	$(optimized) .venv-pods/bin/python -m pytest -m tpu_compiler
	.venv-pods/bin/python benchmarks/pods.py $(ARGS)

# Also separate: if the CUDA plugin is installed, JAX looks for a GPU by default.
gpus:
	$(MAKE) .venv-gpus/tests.installed VENV=.venv-gpus EXTRA=gpus
	JAX_PLATFORMS=cpu $(optimized) .venv-gpus/bin/python -m pytest -m gpu_compiler
	.venv-gpus/bin/python benchmarks/gpus.py $(ARGS)

twins: $(VENV)/twins.installed
	$(bin)/python -m pytest -m torch $(ARGS)

mutants: $(VENV)/mutation.installed
	$(bin)/python -m tests.mutation $(ARGS)

bench: $(VENV)/benchmarks.installed $(if $(findstring --versions,$(ARGS)),ends)
	$(bin)/python benchmarks/run.py $(ARGS)

ends: .venv-oldest/benchmarks.installed
	$(MAKE) .venv-newest/benchmarks.installed VENV=.venv-newest PYTHON=$(NEWEST)

picture: $(VENV)/examples.installed
	$(bin)/python docs/picture.py

# The site, in build/docs. Warnings are errors, and nothing is fetched.
browser: docs $(VENV)/browser.installed
	$(bin)/python -m pytest -n $(JOBS) -m browser tests/browser $(ARGS)

docs: $(VENV)/docs.installed
	$(bin)/python -m sphinx -W --keep-going -b html -d build/doctrees $(ARGS) \
	    docs build/docs

clean:
	rm -rf $(VENV) .venv-oldest .venv-newest .venv-pods .venv-gpus build dist runs
