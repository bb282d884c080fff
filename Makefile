# VENV= (empty) uses the active python and installs nothing: for a machine that already has torch.
VENV ?= .venv
PYTHON ?= python3

ifeq ($(strip $(VENV)),)
PY := $(PYTHON)
SETUP :=
else
PY := $(VENV)/bin/python
SETUP := $(VENV)/.installed
endif

.DEFAULT_GOAL := help
.PHONY: help setup run test test-slow check docs lint types gpu gpu-paper benchmarks bench-suite clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup: $(SETUP) ## create the virtual environment and install what constraints.txt pins

run: $(SETUP) ## benchmark configs/quickstart.yaml and say where the tables and plots are
	$(PY) -m bench run configs/quickstart.yaml

test: $(SETUP) ## run the test suite, a file at a time on each core
	$(PY) -m pytest -n auto --maxprocesses 8 --dist loadfile

test-slow: $(SETUP) ## run what takes long
	$(PY) -m pytest -m slow

lint: $(SETUP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: $(SETUP)
	$(PY) -m mypy

docs: $(SETUP) ## build the documentation into build/docs; a broken link is an error
	$(PY) -m mkdocs build --quiet --strict

check: lint types docs test ## lint, format check, strict types, documentation and tests

gpu: $(SETUP) ## the GPU tests, the clocks, configs/gpu.yaml, and the paper at its full size, whatever the tests say
	@# Versions are the machine's own here: what their libraries deprecate is no fault of the tests.
	$(PY) -m pytest -m gpu -W default; tests=$$?; \
	$(PY) -m benchmarks.known_length --backend cuda --output results/known-length; clocks=$$?; \
	$(PY) -m bench run configs/gpu.yaml; grid=$$?; \
	$(MAKE) --no-print-directory gpu-paper && [ $$tests = 0 ] && [ $$clocks = 0 ] && [ $$grid = 0 ]

gpu-paper: $(SETUP) ## the paper at its full size with few calls of each, into results/paper-gpu; goes on where it stopped
	$(PY) -m bench paper --brief --output results/paper-gpu

benchmarks: $(SETUP) ## put the harness itself to the test on an idle machine; tables into docs/evidence.md
	$(PY) -m benchmarks.agreement --write-docs
	$(PY) -m benchmarks.known_length --write-docs
	$(PY) -m benchmarks.hooks --write-docs
	$(PY) -m benchmarks.a_a --write-docs

bench-suite: $(SETUP) ## the pytest-benchmark suite (docs/compare.md); saved into .benchmarks
	$(PY) -m pytest tests/benchmarks --benchmark-autosave

clean: ## remove the virtual environment and caches
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
