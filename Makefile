# One spelling per verb. `make` alone prints them.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

VENV := .venv
LIGHT := .venv-light
BIN := $(VENV)/bin
# The first Python that is new enough; `make setup PYTHON=/path/to/python` overrides.
PYTHON ?=
# Processes that share the test suite.
WORKERS ?= 2
# Passed on to pytest, for instance ARGS="-k dpo".
ARGS ?=
# What `make bench` is limited to.
ONLY ?=

export PYTHONHASHSEED := 0
PIP := -m pip install --disable-pip-version-check -qq -c constraints.txt

.PHONY: help setup demo test test-light quick test-long lint types layers bench docs methods world files redteam reward clean

help:  ## print this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.ready  ## build the environment of tested versions, or do nothing if it is there

demo: setup  ## align a tiny model in front of your eyes: base, SFT, DPO, and their scorecards
	$(BIN)/python -m scripts.demo

test: setup test-light  ## run the whole suite: the torch-free run, then everything
	$(BIN)/python -m pytest -q -n $(WORKERS) --durations=10 $(ARGS)

test-light: $(LIGHT)/.package  ## run the torch-free tests against the built package, where torch is not installed
	CONCORD_LIGHT=1 $(LIGHT)/bin/python -m pytest -q -n $(WORKERS) -p no:cacheprovider $(ARGS)

quick: setup  ## run what fits in a minute
	$(BIN)/python -m pytest -q -n $(WORKERS) -m "not slow and not long" $(ARGS)

test-long: setup  ## run what takes too long for every change
	@$(BIN)/python -m pytest -q -m long $(ARGS) || { code=$$?; \
	    [ $$code -eq 5 ] && echo "No test is marked long." || exit $$code; }

lint: setup  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## check types: strict where torch is not, standard elsewhere
	$(BIN)/pyright --warnings

layers: setup  ## check who imports whom
	$(BIN)/lint-imports --no-logo

bench: setup  ## run the benchmarks, or those that ONLY= names
	@if [ -d benchmarks ]; then $(BIN)/python -m benchmarks $(ONLY); \
	else echo "There are no benchmarks yet: they come with the engine."; fi

docs: setup  ## build the pages into docs/_build/html; warnings are errors
	@rm -rf docs/_build
	$(BIN)/python -m sphinx -W --keep-going -q -E -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

world: setup  ## pretrain the base of Harbour anew (some forty minutes, on one core)
	$(BIN)/python -m scripts.harbour

files: setup  ## write Harbour as plain files into runs/harbour, for other tools
	$(BIN)/python -m scripts.files

redteam: setup  ## attack the utility of Harbour, and print the replies it likes best
	$(BIN)/python -m scripts.redteam

reward: setup  ## train reward models on Harbour's comparisons, and hold them against the best there can be
	$(BIN)/python -m scripts.reward

methods: setup  ## write the catalogue, methods.json, afresh from the objectives
	$(BIN)/python -m scripts.catalogue

clean:  ## remove everything these verbs made, environments included
	rm -rf $(VENV) $(LIGHT) build dist docs/_build docs/api docs/methods
	rm -rf .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call environment,FOLDER): make FOLDER a virtual environment, unless it is a working one already.
define environment
	@$(1)/bin/python -c "" 2>/dev/null && exit 0; \
	tried="$(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3 python)"; \
	for python in $$tried; do \
	    $$python -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null || continue; \
	    echo "Building $(1) with $$($$python --version), which takes a minute or two."; \
	    exec $$python -m venv --clear $(1); \
	done; \
	echo "Concord needs Python 3.11 or newer, and none of these is one: $$tried." >&2; \
	echo "Install one, or say where it is: make setup PYTHON=/path/to/python3.11" >&2; \
	exit 1
endef

$(VENV)/.ready: pyproject.toml constraints.txt
	$(call environment,$(VENV))
	@$(BIN)/python $(PIP) -e ".[train,quant,bench,docs,dev]"
	@$(BIN)/python -m pip check --disable-pip-version-check -q
	@touch $@

$(LIGHT)/.ready: pyproject.toml constraints.txt
	$(call environment,$(LIGHT))
	@$(LIGHT)/bin/python $(PIP) . pytest pytest-xdist hypothesis hatchling
	@touch $@

# The package as users get it, not a link to the source: what a wheel leaves out is missing here too.
$(LIGHT)/.package: $(LIGHT)/.ready README.md $(shell find src -type f -not -name "*.pyc")
	@$(LIGHT)/bin/python $(PIP) --force-reinstall --no-deps --no-build-isolation .
	@touch $@
