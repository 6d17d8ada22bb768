# One command per intent; `make` alone lists them. Everything is installed into .venv, once.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
CODE := rle tests benchmarks examples
# Exact versions; torch goes first, alone, because it is by far the largest.
INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt
TORCH := $(shell grep '^torch==' constraints.txt)
BENCHMARKS ?= sampling ingest train link jobs

.DEFAULT_GOAL := help
.PHONY: help demo test test-cluster check fmt bench quality clean

help: ## Say what can be done here
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/demo.stamp ## Train on a real database and hold its predictions in a table
	$(BIN)/python -m examples.player_out

test: .venv/dev.stamp ## Run the tests (ARGS="-k name" picks some, ARGS="-n 0" in one process)
	OMP_NUM_THREADS=1 .ci/offline $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not cluster" $(ARGS)

test-cluster: .venv/dev.stamp ## Run the tests that need several Ray nodes
	OMP_NUM_THREADS=1 .ci/offline $(BIN)/python -m pytest -m cluster $(ARGS)

check: .venv/dev.stamp ## Lint, format, types and import order
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: .venv/dev.stamp ## Put the code in its one format
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

bench: .venv/dev.stamp ## Measure speed, one JSON line per figure (ARGS=--quick for under a minute each)
	@set -e; for name in $(BENCHMARKS); do .ci/offline $(BIN)/python -m benchmarks.$$name $(ARGS); done

quality: .venv/dev.stamp ## Measure the models against their baselines (hours)
	$(BIN)/python -m benchmarks.quality $(ARGS)

clean: ## Remove caches and build output; .venv and the runs in .rle stay
	rm -rf build dist ./*.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find rle tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

# A Python without ensurepip (Debian's) cannot put pip into .venv by itself; its own pip can.
.venv/torch.stamp: constraints.txt
	$(PYTHON) -m venv .venv 2>/dev/null || { $(PYTHON) -m venv --without-pip .venv && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }
	$(BIN)/python -m pip install -c constraints.txt $(TORCH)
	@touch $@

.venv/demo.stamp: .venv/torch.stamp pyproject.toml constraints.txt
	$(INSTALL) -e '.[demo]'
	@touch $@

# dev holds all that demo does, so that after `make test` a `make demo` installs nothing.
.venv/dev.stamp: .venv/torch.stamp pyproject.toml constraints.txt
	$(INSTALL) -e '.[dev]'
	@touch .venv/demo.stamp $@
