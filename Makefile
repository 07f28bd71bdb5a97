# What a user types. Everything runs in .venv, which is made here from Python and pip alone, with
# the exact versions and hashes of requirements.lock.
#
#   make reproduce [PROFILE=quick]   every table, figure and the report, in figures/<profile>/
#   make test                        the unit tests, and the notebooks as they are stored
#   make lint                        the linter and the type checker
#   make lab                         JupyterLab on the notebooks
#   make lock                        requirements.lock anew from pyproject.toml (needs uv)

PROFILE ?= quick
UV ?= uv
BIN := .venv/bin
READY := .venv/.installed

# python3 where it is new enough, else a newer one beside it; PYTHON=... takes any other.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
ifndef PYTHON
PYTHON := $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$python && break; done)
endif

.DEFAULT_GOAL := help
.PHONY: help reproduce test lint lab lock environment

help:
	@sed -n 's/^#   //p' Makefile

reproduce: $(READY)
	$(BIN)/prism reproduce --profile $(PROFILE)

test: $(READY)
	$(BIN)/pytest tests
	PRISM_OUTPUT="$(CURDIR)/runs/nbval" $(BIN)/pytest --nbval-lax --nbval-current-env notebooks

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/mypy

lab: $(READY)
	$(BIN)/jupyter lab notebooks

lock:
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-annotate --extra test --custom-compile-command "make lock" \
		-q pyproject.toml -o requirements.lock

environment: $(READY)

# The stamp is written last and removed first: an environment without it was interrupted and is
# made again from nothing; one that is older than the lock is brought up to it.
$(READY): requirements.lock pyproject.toml
	@$(if $(PYTHON),$(PYTHON),false) -c '$(NEW_ENOUGH)' 2>/dev/null || { \
		echo "no Python 3.11 or newer found$(if $(PYTHON), as $(PYTHON)); install one, or name it: make PYTHON=/path/to/python3" >&2; \
		exit 2; }
	@if [ -e $@ ]; then rm $@; else echo "making the environment in .venv (some 5 GB, minutes)"; \
		$(PYTHON) -m venv --clear .venv; fi
	$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet \
		--no-deps --no-build-isolation -e .
	@touch $@
