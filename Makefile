# Everything a person or a machine does with this checkout. `make` alone lists it.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.complete
.DEFAULT_GOAL := help
.PHONY: help setup demo serve test bench proof-gate lint locks check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) ## make .venv with the pinned packages and this one (done once)

$(STAMP): requirements-dev.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "make: there is no $(PYTHON); name a Python of 3.11 or newer: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is $$($(PYTHON) -V 2>&1); Python 3.11 or newer is needed: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: setup ## run the whole loop on the example target: no key, no account
	$(BIN)/triage demo

serve: setup ## start the server; settings come from the environment or .env
	$(BIN)/triage serve

test: setup ## run the whole test suite
	$(BIN)/python -m pytest -n 2 --dist loadgroup

bench: setup ## measure this machine: intake against a bare endpoint, replay, drafts, critic, gate
	$(BIN)/python -m bench.speed

proof-gate: setup ## try every cheat, honest change, broken guard and way out of the box; a line of figures
	$(BIN)/python -m tests.cheats.proof

lint: setup ## look at style, form and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

locks: setup ## look whether the lock files fit pyproject.toml
	$(BIN)/python -m pytest tests/test_packaging.py -k "a_lock or both_locks"
	$(BIN)/python -m pip check

check: lint locks test ## everything that has to hold before a change is merged

clean: ## remove .venv and what tools left behind
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
