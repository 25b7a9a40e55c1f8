# `make help` lists the verbs. Each sets up .venv first where that is needed.

# Creates the environment: Python 3.11 or newer.
PYTHON ?= python3
# Another Keras than the pinned one: a version, or `oldest` for the lower bound
# in pyproject.toml.
KERAS ?=
# Backends tested at the same time.
JOBS ?= 2
# Handed on to pytest, to the demo or to the comparison.
ARGS ?=

export KERAS_BACKEND ?= tensorflow
export TF_CPP_MIN_LOG_LEVEL ?= 3

KERAS_VERSION := $(if $(filter oldest,$(KERAS)),$(shell \
	sed -n 's/.*"keras>=\([0-9.]*\)".*/\1/p' pyproject.toml),$(KERAS))

VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --quiet --disable-pip-version-check
# The name tells which Keras is in, so that asking for another installs it.
STAMP := $(VENV)/.installed-keras-$(or $(KERAS_VERSION),pinned)

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the verbs
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) \
		| awk -F '\t' '{ printf "make %-16s %s\n", $$1, $$2 }'

.PHONY: demo
demo: $(STAMP) ## Run the quickstart; KERAS_BACKEND picks the backend
	@$(RUN) examples/quickstart.py $(ARGS)

.PHONY: compare
compare: $(STAMP) ## Train one network on each backend and compare
	@$(RUN) benchmarks/compare_backends.py $(ARGS)

.PHONY: test
test: lint types ## Check everything: lint, types, tests on each backend
	@$(RUN) tests/run_backends.py --jobs $(JOBS) -- $(ARGS)

.PHONY: test-tensorflow
test-tensorflow: $(STAMP) ## Run the tests on TensorFlow
	@$(RUN) tests/run_backends.py tensorflow -- $(ARGS)

.PHONY: test-torch
test-torch: $(STAMP) ## Run the tests on PyTorch
	@$(RUN) tests/run_backends.py torch -- $(ARGS)

.PHONY: test-jax
test-jax: $(STAMP) ## Run the tests on JAX
	@$(RUN) tests/run_backends.py jax -- $(ARGS)

.PHONY: lint
lint: $(STAMP) ## Check format and style with ruff
	@$(RUN) -m ruff format --check .
	@$(RUN) -m ruff check .

.PHONY: types
types: $(STAMP) ## Check types with mypy
	@$(RUN) -m mypy
	@$(RUN) -m mypy --allow-untyped-defs --allow-untyped-calls \
		--no-warn-return-any --implicit-reexport benchmarks examples

.PHONY: format
format: $(STAMP) ## Format, and mend what ruff can mend
	@$(RUN) -m ruff check --fix --exit-zero --quiet .
	@$(RUN) -m ruff format .

.PHONY: clean
clean: ## Remove caches and build products; .venv stays
	@rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d \
		-exec rm -rf {} +

$(STAMP): $(wildcard requirements/*.txt) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, and '$(PYTHON)' is not:" \
			"$$($(PYTHON) --version 2>&1). Name another with" \
			"'make PYTHON=python3.11'." >&2; \
		exit 1; }
	@echo "Setting up $(VENV); the first time takes a few minutes."
	@rm -f $(VENV)/.installed-*
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install -r requirements/torch.txt
	@$(PIP) install -r requirements/dev.txt
	@$(PIP) install --no-deps -r requirements/no-deps.txt
ifneq ($(KERAS_VERSION),)
	@$(PIP) install keras==$(KERAS_VERSION)
endif
	@$(PIP) install --no-deps --editable .
	@touch $@
