# One verb per habit. Every verb sets up what it needs first.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: setup test demo compile lint format clean

setup:
	@PYTHON="$(PYTHON)" scripts/setup

test: setup
	$(BIN)/pytest $(ARGS)

demo: setup
	$(BIN)/offchain demo $(ARGS)

compile: setup
	$(BIN)/python scripts/compile.py $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" node node_modules/solhint/solhint.js --quiet 'contracts/**/*.sol'

format:
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv node_modules build reports dist offchain.egg-info
