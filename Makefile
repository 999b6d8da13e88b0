# Two commands for a stranger: `make demo` and `make test`. Every target does all its own set-up in .venv.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := .make

.DEFAULT_GOAL := help
.PHONY: help demo test e2e cluster soak bench bench-overcommit chart fuzz sanitize lint lock clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# --no-deps: the lock is complete, and hashes are required for everything in it.
$(STAMPS)/run: $(BIN)/python requirements.lock pyproject.toml $(wildcard cext/*.c cext/*.h)
	@mkdir -p $(STAMPS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-build.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --no-build-isolation -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMPS)/dev: $(STAMPS)/run requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

demo: $(STAMPS)/run ## A simulated node, an API server stub and the unmodified agent, live in the terminal
	$(BIN)/plimsoll demo $(DEMO_ARGS)

# Which parts are slow: make test TEST_ARGS=--durations=20; one process, to be stopped in: TEST_ARGS="-n 0 --pdb".
TEST_ARGS ?=

test: $(STAMPS)/dev ## Everything that needs no root, no Go and no guest
	$(BIN)/python -m coverage erase
	PYTEST_DEBUG_TEMPROOT=$${PYTEST_DEBUG_TEMPROOT-$$($(BIN)/python -m tests.temporary)} $(BIN)/python -m coverage run -m pytest \
	  -m "not vm and not cluster and not bench" -n auto --dist worksteal -o tmp_path_retention_policy=failed $(TEST_ARGS) tests
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --fail-under=$(COVERAGE_FLOOR)

COVERAGE_FLOOR ?= 85

# An emulated guest waits as much as it works, and works on one processor most of the time.
E2E_PROCESSES ?= 2

e2e: $(STAMPS)/dev ## Stock kernels and a real kubelet in guests, a real kube-apiserver (root, Debian packages, Go)
	$(BIN)/python -m pytest -m "vm or cluster" -n $(E2E_PROCESSES) --dist loadscope --no-loadscope-reorder --timeout=1500 -p no:randomly --durations=25 $(TEST_ARGS) tests

# CLUSTER_ARGS=--driver=cgroupfs: the other cgroup driver.
cluster: $(STAMPS)/dev ## A whole cluster, its node in a guest, until Ctrl-C; prints its KUBECONFIG (root, Debian packages, Go)
	$(BIN)/python -m tests.kubelet.up $(CLUSTER_ARGS)

SOAK_SECONDS ?= 3600

soak: $(STAMPS)/dev ## An hour of pod churn and a hostile writer on a stock kernel (root, Debian packages)
	PLIMSOLL_SOAK_SECONDS=$(SOAK_SECONDS) $(BIN)/python -m pytest -m vm -s tests/vm/test_soak.py

bench: $(STAMPS)/dev ## Ratios against named references, measured in one run
	@for bench in observation scrape agent_cost pod_churn frequency; do echo "== $$bench"; $(BIN)/python tests/bench/$$bench.py || exit 1; done

bench-overcommit: $(STAMPS)/dev ## Memory saved for each ms of waiting, beside the laws of others (root, Debian packages; hours)
	$(BIN)/python -m tests.bench.overcommit $(BENCH_ARGS)

sanitize: $(STAMPS)/dev ## The C code under the address and undefined-behaviour sanitizers
	PYTHON=$(BIN)/python tests/native/sanitize.sh

chart: $(STAMPS)/dev ## The generated parts of deploy/ anew from their sources
	$(BIN)/python -m tests.deploy.made

FUZZ_SECONDS ?= 300

fuzz: $(STAMPS)/dev ## Every fuzz target for FUZZ_SECONDS, keeping what it learns in .fuzz
	@for target in $$($(BIN)/python -c 'from tests.fuzz.targets import TARGETS; print(*TARGETS)'); do \
	  echo "== $$target"; $(BIN)/python -m tests.fuzz $$target .fuzz/$$target -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -artifact_prefix=.fuzz/$$target- || exit 1; done

lint: $(STAMPS)/dev ## Formatting, types, layers, C and shell
	$(BIN)/ruff format --check agent tests
	$(BIN)/ruff check agent tests
	$(BIN)/mypy
	@# A mistake in one of these would show after half an hour.
	$(BIN)/mypy tests/vm tests/cluster tests/kubelet
	$(BIN)/lint-imports
	@if command -v shellcheck >/dev/null; then git ls-files '*.sh' .ci/run | xargs -r shellcheck && shellcheck -s sh -e SC2239 tests/vm/guest/init; else echo "shellcheck is not installed: shell scripts not checked"; fi
	@if command -v cppcheck >/dev/null; then cppcheck --quiet --error-exitcode=1 --enable=warning,performance,portability --inline-suppr --suppress=missingIncludeSystem cext; else echo "cppcheck is not installed: C not checked"; fi

lock: $(STAMPS)/dev ## Resolve the dependencies again into the lock files
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --universal --quiet --generate-hashes --no-emit-index-url --no-header --python-version 3.11 pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --universal --quiet --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --group build -o requirements-build.lock
	$(BIN)/uv pip compile --universal --quiet --generate-hashes --no-emit-index-url --no-header --python-version 3.11 pyproject.toml --group dev -o requirements-dev.lock
	printf 'checkov==3.3.30\n' | $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-annotate --python-version 3.11 - -o tests/deploy/checkov.lock

clean: ## Remove everything made here
	rm -rf agent/plimsoll/_native*.so $(VENV) $(STAMPS) build dist .coverage .coverage.* htmlcov .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz
