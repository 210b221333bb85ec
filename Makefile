# Every chore of the repository is a target here; `make` alone lists them.
# Nothing but Python 3.11 or newer is needed: the targets make .venv from the hash-locked requirements
# the first time, and start at once after that.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
UV ?= uv
COMPOSE ?= docker compose
# Most tests wait for a broker or a server rather than for the processor.
JOBS ?= 3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --quiet --no-input --disable-pip-version-check --progress-bar off
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
# What a machine cannot have by nature is told apart by these markers; make test-stack brings its own engine.
PLAIN := not stack and not fault and not needs_registry and not needs_community

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test check test-stack test-faults bench openapi lock certs up down

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(VENV)/.dev $(VENV)/.grafana $(VENV)/.hefa ## everything for development, in .venv

demo: $(VENV)/.demo $(VENV)/.hefa ## the whole stack on this machine, no Docker; ARGS='--for 90s --history 6h'
	@exec $(BIN)/hefa demo $(ARGS)

test: setup ## all tests that need no Docker; ARGS='-k topics' JOBS=0
	@$(BIN)/pytest -n $(JOBS) --dist loadfile -m "$(PLAIN)" $(ARGS)

check: setup ## format, lint, types, architecture, Dockerfile, documents
	@$(BIN)/ruff format --quiet --check || { echo "run: $(BIN)/ruff format" >&2; exit 1; }
	@$(BIN)/ruff check --quiet
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/pytest -q tests/test_house.py tests/test_docs.py

test-stack: setup ## bring the Docker Compose stack up for real and test it
	@$(BIN)/pytest -m "stack and not needs_registry" tests/stack $(ARGS)
	@HEFA_TEST_BROKER=docker $(BIN)/pytest tests/stack/test_broker.py
	@HEFA_TEST_DSN=docker $(BIN)/pytest $(addprefix tests/platform/test_,intake.py rollups.py registers.py)

test-faults: setup ## kill everything and look whether it was lost; ARGS='--long --table FILE'
	@$(BIN)/pytest tests/faults -n 2 $(ARGS)

bench: setup ## measured against this machine's own limits, in the same minutes; exit code 1 over budget
	@for file in bench/*.py; do echo "$$file"; $(BIN)/python $$file $(ARGS) || exit 1; done

openapi: setup ## write docs/openapi.json from the code
	@$(BIN)/hefa-platform openapi > docs/openapi.json.new
	@mv docs/openapi.json.new docs/openapi.json

lock: ## compile requirements/*.lock anew (needs uv); UPGRADE=--upgrade to move versions
	@command -v $(UV) >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	$(LOCK) $(UPGRADE) pyproject.toml --extra demo --group build -o requirements/demo.lock
	$(LOCK) $(UPGRADE) pyproject.toml --extra demo --group dev -c requirements/demo.lock -o requirements/dev.lock
	$(LOCK) --group pyproject.toml:build -c requirements/dev.lock -o requirements/build.lock
	for tier in edge platform apps; do \
		$(LOCK) pyproject.toml --extra $$tier -c requirements/dev.lock -o requirements/$$tier.lock || exit 1; done
	$(LOCK) $(UPGRADE) pyproject.toml --extra grafana -c requirements/dev.lock -o requirements/grafana.lock

certs: setup ## an authority and certificates of your own, in certs/; ARGS='--host broker.example.org gw-hall3'
	@$(BIN)/hefa-platform certs $(ARGS)

up: ## start the stack with Docker Compose and wait until it is healthy
	@$(COMPOSE) up --detach --wait
	@echo "Portal, API and key: $(COMPOSE) exec api cat /run/hefa/stack.json"

down: ## stop the Docker Compose stack; its data stays (down --volumes removes it)
	@$(COMPOSE) down

# The environment. A stamp is newer than what it was made from; the development set contains the demo's.

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "hefa needs Python 3.11 or newer: install it, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "hefa needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1)" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) -V) ..."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "no venv module: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }

$(VENV)/.demo: requirements/demo.lock | $(BIN)/python
	@echo "Installing what the demo needs (once, about a minute) ..."
	@$(PIP) --require-hashes -r requirements/demo.lock
	@touch $@

$(VENV)/.dev: requirements/dev.lock | $(BIN)/python
	@echo "Installing what development needs (once, a minute or two) ..."
	@$(PIP) --require-hashes -r requirements/dev.lock
	@touch $(VENV)/.demo $@

# urllib3-future, which grafana-client brings, overwrites urllib3 at every start of Python, and other tools then fail;
# built from source with this switch it keeps to itself. A wheel that pip built earlier without it must not be taken.
$(VENV)/.grafana: requirements/grafana.lock $(VENV)/.dev
	@URLLIB3_NO_OVERRIDE=1 $(PIP) --require-hashes --no-cache-dir --no-build-isolation --no-binary urllib3-future -r requirements/grafana.lock
	@touch $@

$(VENV)/.hefa: pyproject.toml | $(BIN)/python
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@
