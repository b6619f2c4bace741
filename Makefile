# `make chat` installs Lindos into .venv and opens the chat; `make test` checks it. Both want Python 3.11+ only.
PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
BIN := $(VENV)/bin

.PHONY: chat test test-slow lint format bench clean

chat: $(VENV)/.installed
	@$(BIN)/lindos chat

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "slow and not gpu and not peers" --timeout 1800

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-peers
	$(BIN)/python -m benchmarks.training

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Lindos wants Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Making a virtual environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing Lindos and what it needs (PyTorch is the large part; this happens once, a few minutes) ..."
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar on -c constraints.txt $(PIP_ARGS) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing Lindos with its development tools (once) ..."
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar on -c constraints.txt $(PIP_ARGS) -e '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-peers: pyproject.toml constraints.txt | $(VENV)/bin/python
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar on -c constraints.txt $(PIP_ARGS) -e '.[dev,peers]'
	@touch $@ $(VENV)/.installed-dev $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist
