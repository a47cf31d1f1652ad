# `make demo` and `make test` set up all they need: Python packages in .venv, engine and Azurite in the user's cache.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup demo test test-exactness test-az test-clients lint format bench bench-autoscale revision lock clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Millpond needs Python 3.11 or newer; name it with make PYTHON=python3.12" >&2; exit 1; }
	@echo "==> Python packages into .venv"; started=$$(date +%s); \
	$(PYTHON) -m venv .venv && \
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --require-hashes --no-deps -r requirements.lock && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e . && \
	touch $@ && echo "    done in $$(( $$(date +%s) - started )) s"

setup: .venv/.ready ## Set up everything without running anything
	@$(BIN)/python -m infra.local.toolchain

demo: setup ## Run the main job on this machine: up, submit, nodes appear, results, nodes go
	@$(BIN)/python -m examples.value_at_risk.demo

test: setup lint ## Check style, types and all tests
	@$(BIN)/python -m pytest -n 3 --dist loadfile

test-az: setup ## Test the local Azure with the unmodified az command line (fetches 733 MB once)
	@MILLPOND_TEST_AZ=1 $(BIN)/python -m pytest tests/clients/az

test-exactness: setup ## Replay the largest known answers, and a million jobs for each law
	@MILLPOND_TEST_EXACTNESS=1 $(BIN)/python -m pytest -n 2 --timeout 900 tests/scheduler/simulator/test_known_answers.py tests/scheduler/simulator/test_analytic_laws.py

test-clients: setup ## Test the local Azure with the Azure SDKs for JavaScript and Go
	@MILLPOND_TEST_CLIENTS=1 $(BIN)/python -m pytest tests/clients/js tests/clients/go

lint: .venv/.ready ## Check style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: .venv/.ready ## Format the code and mend what the linter can
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: setup ## Measure speed and memory beside a peer
	@$(BIN)/python -m tests.bench

bench-autoscale: setup ## Compare our scaling with others' on real workloads: cost against wait
	@$(BIN)/python -m tests.bench.frontier

revision: .venv/.ready ## Draft the revision of the store's tables that a change needs: m="what changes"
	@$(BIN)/python -m tests.new_revision "$(m)" && $(MAKE) --no-print-directory format

lock: .venv/.ready ## Resolve pyproject.toml into requirements.lock (hashes, no addresses)
	@$(BIN)/python -m pip install --quiet uv && $(BIN)/uv pip compile --universal --generate-hashes --no-header --no-emit-index-url --no-annotate --group dev pyproject.toml -o requirements.lock --quiet

clean: ## Remove what was set up and made here (not the user's cache)
	rm -rf .venv .millpond out .mypy_cache .pytest_cache .ruff_cache .hypothesis
