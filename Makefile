# Every target sets up what it needs: a virtual environment in $(VENV), built again when pyproject.toml or constraints.txt
# change. No accelerator is needed; one that is there is used.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
DOCS ?= site
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two workers: more of them wait for each other on a small machine. PYTEST="-n 0" runs everything in one process.
PYTEST ?= -n 2 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup test test-fast lint format demo docs bench clean

help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20
	@echo "  variables: PYTHON=$(PYTHON) (3.11 or newer)  VENV=$(VENV)"

setup: $(STAMP) ## virtual environment with the library and all development tools

$(STAMP): pyproject.toml constraints.txt
	@command -v '$(PYTHON)' >/dev/null || { echo "there is no '$(PYTHON)': name one, e.g. make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("anyjepa needs Python 3.11 or newer, $(PYTHON) is %d.%d: name another, e.g. make PYTHON=python3.12 ..." % v[:2])'
	'$(PYTHON)' -m venv --clear '$(VENV)'
	'$(BIN)/python' -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

test: $(STAMP) ## all tests, those that train on real data included
	$(BIN)/python -m pytest $(PYTEST)

test-fast: $(STAMP) ## all tests but those that train for minutes
	$(BIN)/python -m pytest $(PYTEST) -m 'not quality'

lint: $(STAMP) ## format, style and types, nothing is changed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP) ## bring the code into form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

demo: $(STAMP) ## pretrain on a small built-in data set, probe, and compare with the untrained encoder
	$(BIN)/anyjepa demo

docs: $(STAMP) ## the documentation as a static site in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir '$(abspath $(DOCS))'

bench: $(STAMP) ## benchmarks on this machine
	for script in benchmarks/*.py; do $(BIN)/python $$script; done

clean: ## remove what make and the tools made; runs/ stays
	rm -rf '$(VENV)' build dist site .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
