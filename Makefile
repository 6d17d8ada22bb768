# One command per intent; `make` alone lists them. Everything is installed into .venv, once.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
CODE := rle tests benchmarks examples
# Exact versions; torch goes first, alone, because it is by far the largest.
INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt
TORCH := $(shell grep '^torch==' constraints.txt)
SNOWFLAKE := .venv-snowflake
DRIVER_5 := $(SNOWFLAKE)/driver5
BENCHMARKS ?= sampling ingest train link jobs snowflake

.DEFAULT_GOAL := help
.PHONY: help demo demo-snowflake test test-cluster test-snowflake check fmt bench quality clean

help: ## Say what can be done here
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/demo.stamp ## Train on a real database and hold its predictions in a table
	$(BIN)/python -m examples.player_out

demo-snowflake: .venv/dev.stamp .venv-snowflake/stamp ## The same from and to Snowflake, against a stand-in on this machine
	$(BIN)/python -m examples.churn_snowflake

test: .venv/dev.stamp ## Run the tests (ARGS="-k name" picks some, ARGS="-n 0" in one process)
	OMP_NUM_THREADS=1 .ci/offline $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not cluster and not snowflake" $(ARGS)

test-cluster: .venv/dev.stamp ## Run the tests that need several Ray nodes
	OMP_NUM_THREADS=1 .ci/offline $(BIN)/python -m pytest -m cluster $(ARGS)

# Twice: with the driver that is installed, and with its rewrite, laid over it. The second run leaves
# out the slow tests in which the driver has no part.
test-snowflake: .venv/dev.stamp .venv-snowflake/stamp ## Run the tests that need the stand-in for Snowflake
	OMP_NUM_THREADS=1 .ci/offline $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m snowflake tests/snowflake $(ARGS)
	OMP_NUM_THREADS=1 PYTHONPATH=$(CURDIR)/$(DRIVER_5) .ci/offline $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "snowflake and not either_driver" tests/snowflake $(ARGS)

check: .venv/dev.stamp ## Lint, format, types and import order
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: .venv/dev.stamp ## Put the code in its one format
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

bench: .venv/dev.stamp .venv-snowflake/stamp ## Measure speed, one JSON line per figure (ARGS=--quick for under a minute each)
	@set -e; for name in $(BENCHMARKS); do .ci/offline $(BIN)/python -m benchmarks.$$name $(ARGS); done

quality: .venv/dev.stamp ## Measure the models against their baselines (hours)
	$(BIN)/python -m benchmarks.quality $(ARGS)

clean: ## Remove caches and build output; environments and the runs in .rle stay
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

# The stand-in's packages clash with ours, so it has an environment of its own.
$(SNOWFLAKE)/stamp: tests/snowflake/constraints.txt
	$(PYTHON) -m venv $(SNOWFLAKE) 2>/dev/null || { $(PYTHON) -m venv --without-pip $(SNOWFLAKE) && $(PYTHON) -m pip --python $(SNOWFLAKE)/bin/python install --quiet pip; }
	$(SNOWFLAKE)/bin/python -m pip install --quiet -c tests/snowflake/constraints.txt fakesnow numpy pyarrow pyjwt starlette uvicorn
	rm -rf $(DRIVER_5)
	$(SNOWFLAKE)/bin/python -m pip install --quiet --no-deps --target $(DRIVER_5) snowflake-connector-python==5.2.0 protobuf==6.33.6
	@touch $@
