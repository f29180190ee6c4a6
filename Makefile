# `make demo` and `make test` need Python 3.11 to 3.13 and nothing else: each makes the environment if it is not there.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
READY := $(VENV)/.ready-$(shell cat constraints.txt pyproject.toml | cksum | cut -d' ' -f1)

.PHONY: demo flink-demo test lint engines clean

demo: $(READY)
	$(VENV)/bin/mmc4 demo

flink-demo: $(READY)
	$(VENV)/bin/python -m tests.engines.flink_demo

test:
	$(MAKE) --jobs 2 lint engines
	$(VENV)/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Prism and Flink for the tests, got while the environment is made. Tests skip what this machine has no programs for.
engines:
	-$(PYTHON) -m tests.engines.install

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(READY): constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --upgrade pip --quiet
	@echo "installing PyTorch, Beam and the rest: some 6 GB, a few minutes"
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	rm -f $(VENV)/.ready-*
	touch $@

clean:
	rm -rf demo flink-demo build .mypy_cache .pytest_cache .ruff_cache .hypothesis
