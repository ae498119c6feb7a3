# Every command of the README. Needs Python 3.11 or newer and make, nothing else.

PYTHON ?= python3
BIN := .venv/bin
LABEL_STUDIO := .venv-label-studio/bin/label-studio
SERVING := $(BIN)/.$(if $(GPU),gpu,cpu)-installed

.DEFAULT_GOAL := help
.PHONY: help run demo test test-fast soak fuzz bench lint format

help: ## list these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(SERVING) ## serve the backend on :9090; with GPU=1 on a GPU
	$(BIN)/gunicorn _wsgi:app

demo: $(BIN)/.demo-installed $(LABEL_STUDIO) ## Label Studio, a project and the backend, ready to click
	$(BIN)/python -m demo

test: $(BIN)/.dev-installed $(if $(shell command -v chromium),$(LABEL_STUDIO)) ## all tests
	$(BIN)/python -m pytest

test-fast: $(BIN)/.dev-installed ## the tests that need no server and no browser, in a minute
	$(BIN)/python -m pytest -m "not slow"

soak: $(BIN)/.dev-installed ## annotators click while things go wrong, for two minutes
	$(BIN)/python -m benchmarks.soak --minutes 2

fuzz: $(BIN)/.dev-installed ## odd requests for as long as you like: 50 times those of the tests
	$(BIN)/python -m pytest tests/backend/test_any_json.py --fuzz-factor 50

bench: $(BIN)/.bench-installed ## the table and the plot of README's Speed section
	$(BIN)/python -W ignore -m benchmarks

lint: $(BIN)/.dev-installed ## style, types and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(BIN)/.dev-installed ## put the code into the house's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv .venv

$(BIN)/.cpu-installed: requirements-cpu.txt | $(BIN)/python
	$(BIN)/python -m pip install -r requirements-cpu.txt
	$(BIN)/python -m pip install --no-deps label-studio-ml==1.0.9
	touch $@

$(BIN)/.gpu-installed: requirements.txt $(BIN)/.cpu-installed
	$(BIN)/python -m pip install -r requirements.txt
	touch $@

$(BIN)/.demo-installed: requirements-demo.txt $(SERVING)
	$(BIN)/python -m pip install -r requirements-demo.txt
	touch $@

# Ultralytics without its dependencies: it asks for a second OpenCV, over the one that is there.
$(BIN)/.dev-installed: requirements-dev.txt $(BIN)/.gpu-installed
	$(BIN)/python -m pip install -r requirements-dev.txt
	$(BIN)/python -m pip install --no-deps ultralytics==8.4.190
	touch $@

$(BIN)/.bench-installed: requirements-bench.txt $(BIN)/.dev-installed
	$(BIN)/python -m pip install -r requirements-bench.txt
	touch $@

# In an environment of its own: its dependencies and ours do not agree.
$(LABEL_STUDIO):
	$(PYTHON) -m venv .venv-label-studio
	.venv-label-studio/bin/python -m pip install label-studio==1.23.2
