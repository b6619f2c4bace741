# `make chat` installs Lindos into .venv and opens the chat; `make test` checks it. Both want Python 3.11+ only.
PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
# Processes that tests run in, whole files each; one takes about 1.2 GB.
WORKERS ?= 2
BIN := $(VENV)/bin
# What an installed Lindos was made from, besides Python files, which are used where they stand.
BUILT_FROM := pyproject.toml constraints.txt $(wildcard src/lindos/kernels/native/*)

.PHONY: chat test test-slow lint format bench bench-engine pebble clean

chat: $(VENV)/.installed
	@$(BIN)/lindos chat

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m "slow and not gpu and not peers" --timeout 1800 -n $(WORKERS) --dist loadfile

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

# The engine beside llama.cpp and transformers: docs/benchmarks.md. Builds llama.cpp and makes 20 GB of models, once.
bench-engine: $(VENV)/.installed-peers
	$(BIN)/python -m benchmarks.engine --json work/engine.json --plot work/engine.svg $(BENCH_ARGS)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Lindos wants Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Making a virtual environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "Python could not make a virtual environment (on Debian and Ubuntu: apt install python3-venv)"; exit 1; }

$(VENV)/.installed: $(BUILT_FROM) | $(VENV)/bin/python
	@echo "Installing Lindos and what it needs (PyTorch is the large part; this happens once, a few minutes) ..."
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -c constraints.txt $(PIP_ARGS) -e .
	@touch $@

$(VENV)/.installed-dev: $(BUILT_FROM) | $(VENV)/bin/python
	@echo "Installing Lindos with its development tools (once) ..."
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -c constraints.txt $(PIP_ARGS) -e '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-peers: $(BUILT_FROM) | $(VENV)/bin/python
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -c constraints.txt $(PIP_ARGS) -e '.[dev,peers]'
	@touch $@ $(VENV)/.installed-dev $(VENV)/.installed

# Everything that made the bundled model. DATA holds the texts and eval/. Each part goes on where it was stopped; what
# depends on something that has changed (a mix, a run file, the weights before it) is made anew, the old run put aside.
DATA ?= ../shared/data
BUNDLED := src/lindos/bundled/pebble

work/pebble/pretrain/meta.json: runs/pebble-data.toml | $(VENV)/.installed
	$(BIN)/lindos data prepare runs/pebble-data.toml --root $(DATA) --out work/pebble/pretrain

work/pebble/chat/meta.json: runs/pebble-chat-data.toml $(wildcard src/lindos/data/conversations/texts/*.toml) work/pebble/pretrain/meta.json
	$(BIN)/lindos data conversations runs/pebble-chat-data.toml --root $(DATA) --tokenizer work/pebble/pretrain --out work/pebble/chat

pebble: $(VENV)/.installed work/pebble/pretrain/meta.json work/pebble/chat/meta.json
	$(BIN)/lindos train runs/pebble.toml --resume --renew
	$(BIN)/lindos train runs/pebble-chat.toml --resume --renew
	rm -rf work/pebble/bundled work/pebble/evaluation.json
	$(BIN)/lindos convert work/runs/pebble-chat/model work/pebble/bundled --to own --dtype bf16
	$(BIN)/lindos evaluate work/pebble/bundled --root $(DATA) --data work/pebble/pretrain --data work/pebble/chat \
	  --run work/runs/pebble --run work/runs/pebble-chat --made-by "make pebble" --limits runs/pebble-limits.md --json work/pebble/evaluation.json --card
	rm -rf $(BUNDLED) && mkdir -p $(dir $(BUNDLED)) && cp -r work/pebble/bundled $(BUNDLED)

clean:
	rm -rf $(VENV) build dist
