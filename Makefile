# Rowlock's commands; `make` lists them. All that is needed beforehand is Python 3.11 or newer.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
BENCHMARKS := locks booking auth fanout processes shards join

.DEFAULT_GOAL := help
FAULTS := crashes fault_mutants failover random_kills audit_storm idempotency_storm \
	redis_cluster redis_sentinel mongo_replica_set healing

.PHONY: help install run test quick faults lint format bench clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 18

install: $(INSTALLED) ## create .venv and install everything into it

run: $(INSTALLED) ## start the demo on http://localhost:8000; Ctrl-C stops it
	@$(PY) -m server dev --with-parent

test: lint ## run everything that CI runs
	$(PY) -m pytest -m "not alone" --numprocesses 4 --dist loadfile --no-loadscope-reorder
	$(PY) -m pytest -m alone

quick: lint ## run the fast tests
	$(PY) -m pytest -m "not slow and not browser"

faults: $(INSTALLED) ## kill, cut off and wipe everything, many times over
	ROWLOCK_FAULTS=whole $(PY) -m pytest $(FAULTS:%=tests/test_%.py)

lint: $(INSTALLED) ## check style and types
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy

format: $(INSTALLED) ## put the code into its form
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

bench: $(INSTALLED) ## run the benchmarks; each prints a ratio to its reference
	@for name in $(BENCHMARKS); do $(PY) -m bench.$$name || exit 1; done

clean: ## remove .venv and all caches; the demo's data in .rowlock stays
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
	find server tests bench -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { \
		echo "Rowlock needs Python 3.11 or newer: install python3.11." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Rowlock needs Python 3.11 or newer, and $(PYTHON) is older." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) lacks the venv module: install python3-venv." >&2; exit 1; }
	@echo "Installing into $(VENV)"
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[embedded,stripe,dev]'
	@touch $@
