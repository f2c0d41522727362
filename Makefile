.DEFAULT_GOAL := help
.PHONY: help setup run up down test check bench clean other-servers
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
# Compiled once at set-up; a machine-wide wish not to write byte code would make every function start slowly.
unexport PYTHONDONTWRITEBYTECODE
export UV_COMPILE_BYTECODE := 1

# Another Python than the one that .venv was made with is a wish to make it anew.
ifneq ($(origin PYTHON),file)
  $(shell [ "$$(.venv/bin/python -V 2>&1)" = "$$($(PYTHON) -V 2>&1)" ] || rm -f .venv/ready)
endif

help: ## show these verbs
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: setup ## run the whole loop once, here, and show what it changed (TRACES=DIR for real traces)
	@$(BIN)/python -m infra.emulator run $(if $(TRACES),--traces "$(TRACES)")

up: setup ## keep the loop running with ticks every second, until make down
	@$(BIN)/python -m infra.emulator up $(if $(TRACES),--traces "$(TRACES)")

down: ## end what make up started
	@[ ! -x $(BIN)/python ] || $(BIN)/python -m infra.emulator down

test: setup ## run every test
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadscope --no-loadscope-reorder $(PYTEST)

check: setup ## lint, types, import rules, generated files
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports && $(BIN)/python -m infra.generate --check

bench: setup ## measure speed and memory; writes build/bench.json
	@$(BIN)/python -m tests.bench

other-servers: setup # build VictoriaMetrics (and Mimir: MIMIR=1) for their tests; minutes
	@$(BIN)/python -m tests.other_servers victoria-metrics vmauth $(if $(MIMIR),mimir)

clean: down ## remove everything that was built or installed
	rm -rf build .venv .venv-s3 .venv-scan .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find functions infra shared tests -name __pycache__ -prune -exec rm -r {} +

setup: .venv/ready
	@$(BIN)/python -m infra.emulator.setup

.venv/ready: requirements-setup.txt requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, $(PYTHON) is " + sys.version.split()[0] + "; name another with make PYTHON=...")'
	@echo "set-up: Python packages into .venv"
	@$(PYTHON) -m venv --clear .venv || { echo "set-up: no virtual environment could be made; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-setup.txt
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements-dev.txt 2>.venv/uv.log \
	  || { echo "set-up: uv could not ($$(tail -n 1 .venv/uv.log)); trying pip" >&2; \
	       $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.txt; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch .venv/ready
