# Each target makes the environment that it needs if it is not there yet. `make demo` and `make test` need Python 3.11 to
# 3.13 and nothing else; `make test-engines` also needs Go, Java, Maven and Chromium.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
READY := $(VENV)/.ready-$(shell cat constraints.txt pyproject.toml | cksum | cut -d' ' -f1)
PYTEST := $(VENV)/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: demo flink-demo test test-engines lint environment engines clean

demo: $(READY)
	$(VENV)/bin/mmc4 demo

flink-demo: $(READY)
	$(PYTHON) -m tests.engines.install flink
	$(VENV)/bin/python -m tests.engines.flink_demo

# Lint, types, and all tests that need nothing but the project's environment.
test: lint
	$(PYTEST) -m 'not engines'

# All other tests: Prism, Flink, object stores, img2dataset, Chromium, trainers, and builds from real pages.
test-engines: environment engines
	$(PYTEST) -m engines

lint: environment
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

environment: $(READY)

engines:
	$(PYTHON) -m tests.engines.install

$(READY): constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --upgrade pip --quiet
	@echo "installing PyTorch, Beam and the rest: about 6 GB, a few minutes"
	$(VENV)/bin/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	rm -f $(VENV)/.ready-*
	touch $@

clean:
	rm -rf demo flink-demo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
