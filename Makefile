# Needs nothing but Python 3.11 to 3.13 and make: every target makes .venv and installs into it first.
PYTHON ?= python3
BUNDLE := bundles/em_membrane_segmentation
BIN := .venv/bin

.PHONY: help install train test bench lint format clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

install: .venv/installed ## make .venv with everything in it

train: install ## train the demo on generated images (minutes on two CPU cores)
	$(BIN)/unet-pipeline train $(BUNDLE) --overlay demo

# The files of tests are shared out among processes, each of one thread.
WORKERS ?= 2
test: install ## run all tests, WORKERS=2 at once
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

.venv/peers: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-binary elasticdeform --editable '.[test,benchmark]'
	touch $@

bench: .venv/peers ## measure what docs/performance.md claims (half an hour; wants a C compiler)
	$(BIN)/python -m benchmarks

lint: install ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## put the code into its standard form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove what runs and tests left behind
	rm -rf .venv build *.egg-info $(BUNDLE)/datasets $(BUNDLE)/models $(BUNDLE)/log
